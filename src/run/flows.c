#include "run/flows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "run/conductor.h"
#include "run/session.h"
#include "workload/stream.h"

/* About 8 MiB: 4 streams, both ends, for half an hour of seconds. */
#define KEPT_MOST ((size_t)16384)

const struct metric flow_tcp_metrics[FLOW_TCP_METRICS] = {
    {"retransmits", "1", "retransmits", "segments that this end sent again", METRIC_VALUE, 0, 0,
     false},
    {"rtt_ns", "ns", "RTT", "smoothed round-trip time at the end, as the kernel estimates it",
     METRIC_VALUE, 0, 0, false},
    {"congestion_window_bytes", "bytes", "cwnd", "congestion window at the end", METRIC_VALUE, 0, 0,
     false},
    {"rtt_least_ns", "ns", "least RTT", "the least round-trip time that the kernel remembers",
     METRIC_VALUE, 0, 0, false},
    {"delivery_bytes_per_second", "bytes/s", "delivery",
     "the kernel's most recent measurement of the rate of delivery", METRIC_VALUE, 0, 0, false},
    {"acknowledged_bytes_per_second", "bytes/s", "acknowledged",
     "payload that the other end's TCP acknowledged, per second", METRIC_VALUE, 0, 0, false},
    {"busy_share", "1", "busy",
     "share of the time in which it had something to send (the kernel counts in ticks of 1 to 10 "
     "ms: "
     "of a short time it may be more than all)",
     METRIC_VALUE, 0, 0, false},
    {"receive_window_share", "1", "rwnd-limited",
     "share of the time in which the peer's receive window held it up", METRIC_VALUE, 0, 0, false},
    {"send_buffer_share", "1", "sndbuf-limited",
     "share of the time in which its own send buffer held it up", METRIC_VALUE, 0, 0, false},
};
enum {
    TCP_RETRANSMITS,
    TCP_RTT,
    TCP_CONGESTION_WINDOW,
    TCP_RTT_LEAST,
    TCP_DELIVERY,
    TCP_ACKNOWLEDGED,
    TCP_BUSY,
    TCP_RECEIVE_WINDOW,
    TCP_SEND_BUFFER
};

const struct metric bulk_metrics[BULK_METRICS] = {
    {"bytes_lost", "bytes", "bytes lost",
     "payload that one end sent and the other did not receive: of streams and of a counted run "
     "from "
     "the first to the last byte, else of the datagrams that are lost in the window",
     METRIC_VALUE, 0, 0, false},
    {"cpu_ns_per_gib", "ns", "CPU/GiB", "CPU time of both ends for each GiB that was delivered",
     METRIC_VALUE, 0, 0, false},
    {"client_cpu_ns_per_gib", "ns", "client CPU/GiB", "CPU time of the client for each GiB",
     METRIC_VALUE, 0, 0, false},
    {"server_cpu_ns_per_gib", "ns", "server CPU/GiB",
     "CPU time of the server for each GiB: sonde's own or, of what is no stream, the observed one",
     METRIC_VALUE, 0, 0, false},
    {"stream_retransmits", "1", "TCP retransmits",
     "segments that the measured ends sent again on their streams (TCP_INFO)", METRIC_VALUE, 0, 0,
     false},
};

bool flows_are_tcp(const struct conductor *conductor)
{
    const struct run_plan *plan = conductor->plan;
    if (plan->engine->flags & ENGINE_NO_KERNEL) {
        return false;
    }
    return plan->session ? !plan->session->datagrams
                         : conductor->address.transport == &transport_tcp;
}

void flows_keep(struct interval_flows *kept, uint64_t start_ns, enum flow_end end,
                const struct tally *interval)
{
    for (uint32_t i = 0; i < interval->flow_count && !kept->dropped; i++) {
        if (!interval->flows[i].seen) {
            continue;
        }
        if (kept->count == kept->capacity) {
            size_t capacity = kept->capacity ? 2 * kept->capacity : 64;
            struct interval_flow *items =
                capacity > KEPT_MOST ? NULL : reallocarray(kept->items, capacity, sizeof *items);
            if (!items) {
                kept->dropped = true;
                return;
            }
            kept->items = items;
            kept->capacity = capacity;
        }
        kept->items[kept->count++] = (struct interval_flow){.start_ns = start_ns,
                                                            .window_ns = interval->window_ns,
                                                            .number = i,
                                                            .end = (uint32_t)end,
                                                            .flow = interval->flows[i]};
    }
}

void flows_release(struct interval_flows *kept)
{
    free(kept->items);
    *kept = (struct interval_flows){0};
}

int64_t flows_lost(const struct conductor *conductor)
{
    const struct workload *workload = conductor->plan->workload;
    const uint64_t *client = conductor->client_whole, *server = conductor->server_whole;
    if (!workload->bulk || !server_counted(conductor)) {
        return 0;
    }
    return (int64_t)(client[workload->sent_bytes] + server[workload->sent_bytes] -
                     client[workload->received_bytes] - server[workload->received_bytes]);
}

/* What fill says of it: of datagrams in the window, like the figures beside it. */
static int64_t lost_in_window(const struct conductor *conductor)
{
    const struct run_plan *plan = conductor->plan;
    if (!plan->workload->lossy || plan->options->count) {
        return flows_lost(conductor);
    }
    const struct stream_options *stream = plan->workload_options;
    const uint64_t *ends[FLOW_ENDS] = {conductor->client.plain.bank->counters,
                                       conductor->server.plain.bank->counters};
    int64_t lost = 0;
    for (int i = 0; i < FLOW_ENDS; i++) {
        uint64_t expected = ends[i][STREAM_COUNT_EXPECTED], arrived = ends[i][STREAM_COUNT_ARRIVED];
        lost += expected > arrived ? (int64_t)(expected - arrived) : 0; /* as METRIC_MISSING */
    }
    return lost * (int64_t)stream->length_bytes;
}

/* ---- rows ---- */

/* Whose rows are written where. */
struct writer {
    const struct workload *workload;
    struct record_flows *to;
    const char *role;
    pid_t pid;
    uint64_t window_ns;
    bool both_ways; /* streams take turns with their direction */
};

static bool sends(const struct writer *writer, const struct tally_flow *flow)
{
    return flow->counters[writer->workload->flow_metrics[0].numerator] > 0;
}

static int add_value(struct record_probe_row *row, const struct metric *metric, double value,
                     const char *reason)
{
    struct record_value *entry = record_row_add_value(row, metric);
    if (!entry) {
        return -1;
    }
    entry->available = !reason && isfinite(value);
    entry->value = entry->available ? value : 0;
    if (!entry->available) {
        snprintf(entry->reason, sizeof entry->reason, "%s", reason ? reason : "");
    }
    return 0;
}

/* `senders`: how many flows it is the sum of; NULL reason: there are figures. */
static int add_tcp(struct record_probe_row *row, const struct writer *writer,
                   const struct tally_flow *flow, uint32_t senders, const char *reason)
{
    const struct tcp_figures *tcp = &flow->tcp;
    /* The time between the readings; of a connection that was read once, the window. */
    double time_ns =
        tcp->covered_ns ? (double)tcp->covered_ns : (double)writer->window_ns * senders;
    double values[FLOW_TCP_METRICS] = {
        [TCP_RETRANSMITS] = (double)tcp->retransmits,
        [TCP_RTT] = (double)tcp->rtt_ns,
        [TCP_RTT_LEAST] = tcp->rtt_least_ns ? (double)tcp->rtt_least_ns : NAN,
        [TCP_CONGESTION_WINDOW] = (double)tcp->congestion_window_bytes,
        [TCP_DELIVERY] = (double)tcp->delivery_bytes_per_second,
        [TCP_ACKNOWLEDGED] = (double)tcp->bytes_acked * 1e9 / (double)writer->window_ns,
        [TCP_BUSY] = (double)tcp->busy_ns / time_ns,
        [TCP_RECEIVE_WINDOW] = (double)tcp->receive_window_ns / time_ns,
        [TCP_SEND_BUFFER] = (double)tcp->send_buffer_ns / time_ns,
    };
    int result = 0;
    for (size_t i = 0; i < FLOW_TCP_METRICS && result == 0; i++) {
        /* Windows and most recent measurements of several connections are of different moments. */
        bool single = i == TCP_CONGESTION_WINDOW || i == TCP_DELIVERY;
        const char *why = !reason && single && senders > 1 ? "each stream has its own" : reason;
        result = add_value(row, &flow_tcp_metrics[i], values[i], why);
    }
    return result;
}

static int add_row(const struct writer *writer, const char *what, const struct tally_flow *flow,
                   bool tcp, uint32_t senders)
{
    const struct workload *workload = writer->workload;
    struct record_scope scope = {.pid = writer->pid};
    snprintf(scope.role, sizeof scope.role, "%s", writer->role);
    snprintf(scope.what, sizeof scope.what, "%s", what);
    struct record_probe_row *row = record_add_flow(writer->to, &scope);
    if (!row) {
        return -1;
    }
    for (size_t i = 0; i < workload->flow_metric_count; i++) {
        double value;
        bool known =
            metric_compute(&workload->flow_metrics[i], flow->counters, writer->window_ns, &value);
        if (add_value(row, &workload->flow_metrics[i], known ? value : NAN,
                      known ? NULL : "nothing of it came here") < 0) {
            return -1;
        }
    }
    const char *reason = senders == 0           ? "it sends nothing"
                         : flow->tcp.at_ns == 0 ? "the kernel did not say"
                                                : NULL;
    return tcp ? add_tcp(row, writer, flow, senders, reason) : 0;
}

/* Rows of one end: each connection, and their sum where there are several. */
static int add_rows(const struct writer *writer, const struct tally_flow *flows, uint32_t count,
                    bool tcp)
{
    struct tally_flow sum = {0};
    uint64_t rtt_ns = 0;
    uint32_t seen = 0, senders = 0;
    char what[48];
    for (uint32_t i = 0; i < count; i++) {
        const struct tally_flow *flow = &flows[i];
        bool sender = sends(writer, flow);
        if (!flow->seen) {
            continue;
        }
        snprintf(what, sizeof what, "%s %u%s", writer->workload->flow, i + 1,
                 !writer->both_ways ? ""
                 : i % 2            ? " to the client"
                                    : " to the server");
        if (add_row(writer, what, flow, tcp, sender) < 0) {
            return -1;
        }
        seen++;
        if (sender) {
            senders++;
            rtt_ns += flow->tcp.rtt_ns;
        }
        struct tally_flow share = *flow;
        share.tcp = sender ? share.tcp : (struct tcp_figures){0};
        tally_flow_add(&sum, &share);
    }
    if (seen < 2) {
        return 0;
    }
    sum.tcp.rtt_ns = senders ? rtt_ns / senders : 0;
    snprintf(what, sizeof what, "all %u", seen);
    return add_row(writer, what, &sum, tcp, senders);
}

static bool any_tcp(const struct tally *tally)
{
    for (uint32_t i = 0; i < tally->flow_count; i++) {
        if (tally->flows[i].tcp.at_ns) {
            return true;
        }
    }
    return false;
}

/* The kept flows of one end from `start_ns` to before `end_ns`, summed by connection. */
static uint64_t sum_kept(const struct interval_flows *kept, enum flow_end end, uint64_t start_ns,
                         uint64_t end_ns, struct tally_flow *flows)
{
    uint64_t window_ns = 0, counted_ns = UINT64_MAX;
    for (size_t i = 0; i < kept->count; i++) {
        const struct interval_flow *item = &kept->items[i];
        if (item->end != (uint32_t)end || item->start_ns < start_ns || item->start_ns >= end_ns) {
            continue;
        }
        if (item->start_ns != counted_ns) { /* each source interval's time once */
            counted_ns = item->start_ns;
            window_ns += item->window_ns;
        }
        tally_flow_add(&flows[item->number], &item->flow);
    }
    return window_ns;
}

/* The time that an end's rows cover. The server of a counted run is cut some time after everything
 * has ended: what it moved, it moved in the client's window. */
static uint64_t rows_ns(const struct conductor *conductor, uint64_t client_ns, uint64_t server_ns)
{
    return conductor->plan->options->count && client_ns ? client_ns : server_ns;
}

static pid_t server_pid(const struct conductor *conductor)
{
    return conductor->own_server ? conductor->servers.pids[0] : conductor->peer_pid;
}

static bool both_ways(const struct conductor *conductor)
{
    const struct stream_options *stream = conductor->plan->workload_options;
    return conductor->plan->workload->bulk && stream->bidir;
}

static int fill_interval(struct conductor *conductor, size_t index, bool tcp,
                         struct tally_flow *flows)
{
    struct record_run *run = conductor->run;
    struct record_interval *interval = &run->intervals[index];
    uint64_t end_ns =
        index + 1 < run->interval_count ? run->intervals[index + 1].start_ns : UINT64_MAX;
    struct writer writer = {.workload = conductor->plan->workload,
                            .to = &interval->flows,
                            .both_ways = both_ways(conductor)};
    uint32_t count = conductor->interval.flow_count;
    uint64_t client_ns = 0;
    for (int end = 0; end < FLOW_ENDS; end++) {
        for (uint32_t i = 0; i < count; i++) {
            flows[i] = (struct tally_flow){0};
        }
        writer.role = end == FLOW_CLIENT ? "client" : "server";
        writer.pid = end == FLOW_CLIENT ? conductor->clients.pids[0] : server_pid(conductor);
        writer.window_ns = sum_kept(&conductor->interval_flows, (enum flow_end)end,
                                    interval->start_ns, end_ns, flows);
        if (end == FLOW_CLIENT) {
            client_ns = writer.window_ns;
        } else {
            writer.window_ns = rows_ns(conductor, client_ns, writer.window_ns);
        }
        if (add_rows(&writer, flows, count, tcp) < 0) {
            return -1;
        }
    }
    return 0;
}

static int fill_rows(struct conductor *conductor)
{
    struct record_run *run = conductor->run;
    const struct tally *client = &conductor->client.plain, *server = &conductor->server.plain;
    struct writer writer = {.workload = conductor->plan->workload,
                            .to = &run->flows,
                            .both_ways = both_ways(conductor),
                            .role = "client",
                            .pid = conductor->clients.pids[0],
                            .window_ns = client->window_ns};
    bool tcp = any_tcp(client) || any_tcp(server);
    int result = add_rows(&writer, client->flows, client->flow_count, tcp);
    writer.role = "server";
    writer.pid = server_pid(conductor);
    writer.window_ns = rows_ns(conductor, client->window_ns, server->window_ns);
    result = result == 0 && server_counted(conductor)
                 ? add_rows(&writer, server->flows, server->flow_count, tcp)
                 : result;
    struct tally_flow *flows = calloc(client->flow_count + 1, sizeof *flows);
    for (size_t i = 0; i < run->interval_count && result == 0; i++) {
        result = flows ? fill_interval(conductor, i, tcp, flows) : -1;
    }
    free(flows);
    return result;
}

static void warn(struct conductor *conductor)
{
    const struct run_options *options = conductor->plan->options;
    uint32_t rows = 0;
    const struct tally *client = &conductor->client.plain;
    for (uint32_t i = 0; i < client->flow_count; i++) {
        rows += client->flows[i].seen;
    }
    if (rows && rows < options->connections) {
        record_add_warning(conductor->record, "%s: only %u of %lu %ss have rows of their own",
                           conductor->plan->label, rows, options->connections,
                           conductor->plan->workload->flow);
    }
    if (conductor->interval_flows.dropped) {
        record_add_warning(conductor->record, "%s: later intervals have no rows for each %s",
                           conductor->plan->label, conductor->plan->workload->flow);
    }
}

/* ---- bulk ---- */

/* Drops are counted in what the kernel queues, which is no datagram where it joins them. */
static void warn_of_joined(struct conductor *conductor)
{
    const struct workload *workload = conductor->plan->workload;
    const struct stream_options *stream = conductor->plan->workload_options;
    uint64_t drops = conductor->client.plain.bank->counters[STREAM_COUNT_DROPS] +
                     conductor->server.plain.bank->counters[STREAM_COUNT_DROPS];
    if (workload->lossy && stream->segments && drops) {
        record_add_warning(conductor->record,
                           "%s: --gso: a packet that the receive buffer dropped may have been up "
                           "to %lu datagrams that the kernel had joined",
                           conductor->plan->label, stream->batch);
    }
}

static int set_value(struct record_run *run, const struct metric *metric, double value,
                     const char *reason)
{
    struct record_value *row = record_add_value(run, metric);
    if (!row) {
        return -1;
    }
    row->available = !reason && isfinite(value);
    row->value = row->available ? value : 0;
    snprintf(row->reason, sizeof row->reason, "%s", reason ? reason : "");
    return 0;
}

static double cpu_per_gib(const struct tally *tally, double bytes_per_second)
{
    double cpu_ns = (double)(tally->bank->cpu_user_ns + tally->bank->cpu_system_ns);
    double bytes = bytes_per_second * (double)tally->window_ns / 1e9;
    return bytes > 0 ? cpu_ns * (1 << 30) / bytes : NAN;
}

/* What TCP says of the run's own connections, at all ends that count. */
static int fill_retransmits(struct conductor *conductor)
{
    const struct tally *ends[FLOW_ENDS] = {&conductor->client.plain, &conductor->server.plain};
    uint64_t retransmits = 0, senders = 0;
    const char *reason = NULL;
    for (int end = 0; end < FLOW_ENDS; end++) {
        for (uint32_t i = 0; i < ends[end]->flow_count; i++) {
            const struct tally_flow *flow = &ends[end]->flows[i];
            bool sender = flow->counters[conductor->plan->workload->flow_metrics[0].numerator];
            retransmits += sender ? flow->tcp.retransmits : 0;
            senders += sender;
            reason = sender && flow->tcp.at_ns == 0 ? "the kernel did not say" : reason;
        }
    }
    if (conductor->plan->options->connections > ends[FLOW_CLIENT]->flow_count) {
        reason = "not all streams are told apart";
    } else if (senders == 0) {
        reason = "the measured end sends nothing";
    }
    return set_value(conductor->run, &bulk_metrics[BULK_RETRANSMITS], (double)retransmits, reason);
}

static int fill_bulk(struct conductor *conductor)
{
    struct record_run *run = conductor->run;
    const struct tally *plain = &conductor->client.plain;
    warn_of_joined(conductor);
    bool own = server_counted(conductor), drained = !conductor->unfinished && !conductor->lost;
    double delivered = (double)plain->bank->counters[conductor->plan->workload->bytes];
    double rate = plain->window_ns ? delivered * 1e9 / (double)plain->window_ns : 0;
    double client = cpu_per_gib(plain, rate);
    double server = own ? cpu_per_gib(&conductor->server.plain, rate) : NAN;
    const struct session_ops *session = conductor->plan->session;
    const char *foreign = own                          ? NULL
                          : session && session->totals ? "the server did not say what it counted"
                                                       : "the server is not sonde's";
    const char *open = drained ? foreign : "not every stream came to its end";
    if (set_value(run, &bulk_metrics[BULK_LOST], (double)lost_in_window(conductor), open) < 0 ||
        set_value(run, &bulk_metrics[BULK_CPU], client + server, foreign) < 0 ||
        set_value(run, &bulk_metrics[BULK_CLIENT_CPU], client, NULL) < 0 ||
        set_value(run, &bulk_metrics[BULK_SERVER_CPU], server, foreign) < 0) {
        return -1;
    }
    return flows_are_tcp(conductor) ? fill_retransmits(conductor) : 0;
}

int flows_fill(struct conductor *conductor)
{
    const struct workload *workload = conductor->plan->workload;
    if (workload->bulk && fill_bulk(conductor) < 0) {
        return -1;
    }
    if (workload->client->flow_counters == 0) {
        return 0;
    }
    warn(conductor);
    return fill_rows(conductor);
}
