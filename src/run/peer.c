#include "run/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "run/arrived.h"
#include "workload/stream.h"

int peer_open(struct conductor *conductor, struct err *error)
{
    const struct run_plan *plan = conductor->plan;
    const struct session_config config = {.plan = plan,
                                          .record = conductor->record,
                                          .target = plan->session_target,
                                          .stop_fd = plan->stop_fd};
    if (!plan->session) {
        return 0;
    }
    return plan->session->open(&conductor->session, &config, error);
}

int peer_connect(struct conductor *conductor, struct err *error)
{
    const struct run_plan *plan = conductor->plan;
    uint32_t count = (uint32_t)plan->options->connections;
    if (!conductor->session) {
        return 0;
    }
    conductor->client_ends = calloc(count, sizeof *conductor->client_ends);
    conductor->session_flows = calloc(count, sizeof *conductor->session_flows);
    if (!conductor->client_ends || !conductor->session_flows) {
        return err_system(error, ENOMEM, "memory", "cannot make the connections");
    }
    if (plan->session->connect(conductor->session, conductor->client_ends, count, error) < 0) {
        return -1;
    }
    conductor->pair_count = conductor->session_flow_count = count;
    return 0;
}

void peer_count_begins(struct conductor *conductor)
{
    for (uint32_t i = 0; i < conductor->session_flow_count; i++) {
        conductor->session_flows[i] = (struct tally_flow){0};
    }
    conductor->session_flows_ns = clock_now_ns();
}

void peer_count(struct conductor *conductor, const struct tally *client)
{
    for (uint32_t i = 0; i < conductor->session_flow_count && i < client->flow_count; i++) {
        if (client->flows[i].seen) {
            tally_flow_add(&conductor->session_flows[i], &client->flows[i]);
        }
    }
}

/* What was waited for did not come: a further question would only find that out again, later and
 * for a reason that says less. */
static int keep_failure(struct conductor *conductor, int result, const struct err *error)
{
    if (result < 0 && conductor->peer_failure.code == ERR_NONE) {
        conductor->peer_failure = *error;
    }
    return result;
}

int peer_start(struct conductor *conductor, struct err *error)
{
    if (!conductor->session) {
        return 0;
    }
    return keep_failure(conductor, conductor->plan->session->start(conductor->session, error),
                        error);
}

bool peer_ended(struct conductor *conductor)
{
    const struct session_ops *ops = conductor->plan->session;
    return conductor->session && ops->peer_ended && ops->peer_ended(conductor->session);
}

void peer_cut(struct conductor *conductor, enum session_part part, enum session_gate gate)
{
    const struct session_ops *ops = conductor->plan->session;
    if (conductor->session && ops->cut) {
        ops->cut(conductor->session, part, gate);
    }
}

static bool observes(const struct conductor *conductor)
{
    const struct session_ops *ops = conductor->plan->session;
    return conductor->session && ops->probe_count && ops->probe_count(conductor->session) > 0;
}

size_t peer_turns(const struct conductor *conductor)
{
    size_t own = watch_probes(conductor->watch);
    return own || !observes(conductor) ? own
                                       : conductor->plan->session->probe_count(conductor->session);
}

/* The name of the probe whose turn it is. */
static const char *turn_name(const struct conductor *conductor, int turn)
{
    if (turn == WATCH_OFF) {
        return NULL;
    }
    return watch_probes(conductor->watch)
               ? watch_probe_name(conductor->watch, turn)
               : conductor->plan->session->probe_name(conductor->session, (size_t)turn);
}

void peer_seen(struct conductor *conductor)
{
    const struct tally *part = &conductor->client.part;
    if (observes(conductor)) {
        conductor->plan->session->seen(conductor->session, part->bank->counters, part->window_ns);
    }
}

int peer_attach(struct conductor *conductor, int turn, struct err *error)
{
    if (!observes(conductor)) {
        return 0;
    }
    int result =
        conductor->plan->session->attach(conductor->session, turn_name(conductor, turn), error);
    return keep_failure(conductor, result, error);
}

void peer_block(struct conductor *conductor, int turn)
{
    uint32_t operations = conductor->plan->workload->operations;
    if (observes(conductor) && turn != WATCH_OFF) {
        conductor->plan->session->block(
            conductor->session, turn_name(conductor, turn),
            conductor->block_plain.bank->counters[operations], conductor->block_plain.window_ns,
            conductor->block_seen.bank->counters[operations], conductor->block_seen.window_ns);
    }
}

int peer_sync(struct conductor *conductor, struct err *error)
{
    const struct session_ops *ops = conductor->plan->session;
    if (!conductor->session || !ops->sync) {
        return 0;
    }
    return keep_failure(conductor, ops->sync(conductor->session, error), error);
}

void peer_stop(struct conductor *conductor)
{
    conductor->session_end_ns = clock_now_ns();
    if (conductor->session && conductor->plan->session->stop &&
        conductor->peer_failure.code == ERR_NONE) {
        conductor->plan->session->stop(conductor->session);
    }
}

static void share_of_flow(const struct tally_flow *flow, struct session_flow *share)
{
    const uint64_t *counters = flow->counters;
    uint64_t arrived = counters[STREAM_FLOW_ARRIVED], expected = counters[STREAM_FLOW_EXPECTED];
    *share = (struct session_flow){
        .bytes = counters[STREAM_FLOW_SENT_BYTES] + counters[STREAM_FLOW_RECEIVED_BYTES],
        .messages = counters[STREAM_FLOW_SENT] + arrived,
        .lost = expected > arrived ? expected - arrived : 0,
        .out_of_order = counters[STREAM_FLOW_LATE],
        .jitter_ns = arrived ? (double)counters[STREAM_FLOW_JITTER_NS] / (double)arrived : 0,
        .retransmits = flow->tcp.at_ns ? flow->tcp.retransmits : UINT64_MAX,
    };
}

/* What a peer is told that counts from the end of the warm-up until it hears of the end: everything
 * in between, observed or not, the drain included. NULL: there are no streams, or no memory. */
static struct session_flow *make_shares(const struct conductor *conductor)
{
    uint32_t count = conductor->session_flow_count;
    bool streams = conductor->plan->workload->bulk;
    struct session_flow *shares = streams ? calloc(count, sizeof *shares) : NULL;
    for (uint32_t i = 0; shares && i < count; i++) {
        share_of_flow(&conductor->session_flows[i], &shares[i]);
    }
    return shares;
}

/* The server's counts complete the client's, as an own server's do in each part. */
static int take_totals(struct conductor *conductor, struct err *error)
{
    const struct run_plan *plan = conductor->plan;
    struct tally *client = &conductor->client.plain, *server = &conductor->server.plain;
    struct session_totals totals = {
        .plain = server, .seen = &conductor->server.seen, .whole = conductor->server_whole};
    if (plan->session->totals(conductor->session, &totals, error) < 0) {
        return -1;
    }
    conductor->peer_counted = true;
    conductor->peer_same_host = totals.same_host;
    conductor->peer_pid = totals.pid;
    if (plan->workload->join) {
        double scale = 1;
        if (plan->options->count == 0 && client->window_ns && server->window_ns) {
            scale = (double)client->window_ns / (double)server->window_ns;
        }
        plan->workload->join(plan->workload_options, client->bank->counters, server->bank->counters,
                             scale);
    }
    return 0;
}

int peer_finish(struct conductor *conductor, struct err *error)
{
    const struct run_plan *plan = conductor->plan;
    const struct tally *client = &conductor->client.plain;
    if (!conductor->session) {
        return 0;
    }
    if (conductor->peer_failure.code != ERR_NONE) {
        *error = conductor->peer_failure;
        return -1;
    }
    struct session_flow *shares = make_shares(conductor);
    const struct session_own own = {
        .flow_count = shares ? conductor->session_flow_count : 0,
        .flows = shares,
        .flows_ns = conductor->session_flows_ns
                        ? conductor->session_end_ns - conductor->session_flows_ns
                        : 0,
        .window_ns = client->window_ns,
        .counters = client->bank->counters,
        .operations = client->bank->counters[plan->workload->operations],
    };
    int result = plan->session->finish(conductor->session, &own, error);
    free(shares);
    if (result < 0) {
        return -1;
    }
    conductor->peer_finished = true;
    arrived_finish(conductor);
    return plan->session->totals ? take_totals(conductor, error) : 0;
}

int peer_fill(struct conductor *conductor, struct err *error)
{
    return conductor->peer_finished
               ? conductor->plan->session->fill(conductor->session, conductor->run, error)
               : 0;
}

void peer_close(struct conductor *conductor)
{
    if (conductor->session) {
        conductor->plan->session->close(conductor->session);
        conductor->session = NULL;
    }
}
