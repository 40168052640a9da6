#include "run/arrived.h"

#include <stddef.h>

#include "run/conductor.h"
#include "run/session.h"

#define HEADLINE(title, help)                                                                      \
    {                                                                                              \
        "bytes_per_second", "bytes/s", title, help, METRIC_PER_SECOND, 0, 0, true                  \
    }

/* The headline's other names; the counter is the workload's. */
static const struct metric headlines[] = {
    [ARRIVED_PEER] = HEADLINE("throughput, as the peer counted",
                              "payload that the peer says it received, over its own time (and "
                              "what the client received)"),
    [ARRIVED_ACKNOWLEDGED] = HEADLINE("throughput, acknowledged by the other end's TCP",
                                      "payload that the other end's TCP acknowledged, per second "
                                      "(and what the client received)"),
    [ARRIVED_SENT] = HEADLINE("sent: nobody counted what arrived",
                              "payload that this end's kernel took, per second (and what the "
                              "client received)"),
};

/* Whether somebody at the other end of sonde's own counts, now or at the end. */
static bool counted(const struct conductor *conductor)
{
    const struct session_ops *session = conductor->plan->session;
    return server_counted(conductor) || (session && session->totals);
}

/* What TCP says of all connections of a part; false where it does not say it of each. */
static bool acknowledged(const struct conductor *conductor, const struct tally *client,
                         uint64_t *bytes)
{
    *bytes = 0;
    if (conductor->plan->options->connections > client->flow_count) {
        return false;
    }
    for (uint32_t i = 0; i < client->flow_count; i++) {
        const struct tally_flow *flow = &client->flows[i];
        if (flow->seen && flow->tcp.at_ns == 0) {
            return false;
        }
        *bytes += flow->tcp.bytes_acked;
    }
    return true;
}

void arrived_take(struct conductor *conductor, struct tally *client)
{
    const struct workload *workload = conductor->plan->workload;
    uint64_t *counters = client->bank->counters;
    if (!workload->bulk || conductor->own_server) {
        return;
    }
    uint64_t sent = counters[workload->sent_bytes], bytes = 0;
    if (client->flow_count == 0) {
        conductor->arrived.sent += sent; /* discarded: no connections are told apart */
        return;
    }
    uint64_t *whole_sent = &conductor->arrived.sent, *whole = &conductor->arrived.bytes;
    bool known = acknowledged(conductor, client, &bytes);
    /* In the drain connections are gone already, and nothing is told of it. */
    bool drains = atomic_load(&conductor->shared->client.phase) == RUN_DRAIN;
    conductor->arrived.unknown = conductor->arrived.unknown || (sent && !known && !drains);
    *whole_sent += sent;
    bytes = conductor->arrived.unknown ? sent : bytes;
    /* The end of a stream takes a sequence number, and is acknowledged like a byte. */
    bytes = *whole + bytes > *whole_sent ? *whole_sent - *whole : bytes;
    *whole += bytes;
    counters[workload->arrived_bytes] = bytes;
}

enum arrived_basis arrived_basis_of_intervals(const struct conductor *conductor)
{
    if (!conductor->plan->workload->bulk || conductor->own_server || conductor->arrived.sent == 0 ||
        conductor->plan->engine->flags & ENGINE_NO_KERNEL) {
        return ARRIVED_COUNTED;
    }
    return conductor->arrived.unknown ? ARRIVED_SENT : ARRIVED_ACKNOWLEDGED;
}

enum arrived_basis arrived_basis(const struct conductor *conductor)
{
    if (counted(conductor)) {
        return ARRIVED_COUNTED;
    }
    return conductor->arrived.by_peer ? ARRIVED_PEER : arrived_basis_of_intervals(conductor);
}

void arrived_finish(struct conductor *conductor)
{
    const struct run_plan *plan = conductor->plan;
    const struct workload *workload = plan->workload;
    struct tally *plain = &conductor->client.plain;
    uint64_t bytes = 0, sent = 0, duration_ns = 0, *counters = plain->bank->counters;
    bool observed = conductor->client.seen.window_ns > 0;
    if (!workload->bulk || conductor->arrived.sent == 0 || !plan->session->arrived ||
        plain->window_ns == 0 ||
        !plan->session->arrived(conductor->session, &bytes, &sent, &duration_ns)) {
        return;
    }
    if (plan->options->count) {
        /* It has moved once it has arrived, not when this end's kernel had taken it. */
        plain->window_ns = duration_ns > plain->window_ns ? duration_ns : plain->window_ns;
        uint64_t end_ns = plain->bank->start_ns + plain->window_ns;
        plain->bank->end_ns = end_ns > plain->bank->end_ns ? end_ns : plain->bank->end_ns;
        counters[workload->arrived_bytes] = bytes;
    } else if (!observed) {
        counters[workload->arrived_bytes] =
            (uint64_t)((double)bytes * (double)plain->window_ns / (double)duration_ns + 0.5);
    } else if (conductor->arrived.unknown && sent) {
        /* The peer's count covers observed parts too: what it has is a share. */
        counters[workload->arrived_bytes] =
            (uint64_t)((double)counters[workload->sent_bytes] * (double)bytes / (double)sent + 0.5);
    } else {
        return;
    }
    conductor->arrived.by_peer = true;
    workload->join(plan->workload_options, counters, NULL, 1);
}

const struct metric *arrived_metric(const struct conductor *conductor, const struct metric *metric,
                                    enum arrived_basis basis)
{
    bool headline = metric == &conductor->plan->workload->metrics[0];
    return headline && basis != ARRIVED_COUNTED ? &headlines[basis] : metric;
}

void arrived_warn(struct conductor *conductor)
{
    if (arrived_basis(conductor) == ARRIVED_SENT) {
        record_add_warning(conductor->record,
                           "%s: nobody says what arrived: the figures count what this end sent%s",
                           conductor->plan->label,
                           conductor->plan->workload->lossy
                               ? "; a server that counts is sonde serve sonde+udp://"
                               : "");
    } else if (arrived_basis_of_intervals(conductor) == ARRIVED_SENT &&
               conductor->run->interval_count > 1) {
        record_add_warning(conductor->record,
                           "%s: intervals show what this end sent: what arrived is said at the end",
                           conductor->plan->label);
    }
}
