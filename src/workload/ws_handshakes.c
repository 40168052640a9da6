/* Handshakes, one connection after the other: connected, upgraded, closed with a code. The worker
 * dials (struct role's renew_below); a handshake counts once its close frame has been answered. */
#include <stdatomic.h>

#include "base/clock.h"
#include "workload/ws_client.h"

struct ws_handshake {
    struct ws_client client;
    struct ws_record *record; /* of a journal; NULL: there is none */
    bool settled;             /* counted in context->settled */
};

static struct ws_handshake *handshake_of(struct ws_client *client)
{
    return (struct ws_handshake *)(void *)client;
}

static struct ws_record *take_record(struct ws_journal *journal)
{
    uint64_t number = journal ? atomic_fetch_add(&journal->dialed, 1) : 0;
    return journal && number < journal->room ? &journal->records[number] : NULL;
}

static int dial(struct role_context *context, struct connection *connection)
{
    struct ws_handshake *handshake = handshake_of(ws_client_of(connection));
    handshake->record = take_record(ws_options_of(context)->journal);
    return ws_client_dial(context, connection);
}

static void release(struct role_context *context, struct connection *connection)
{
    struct ws_handshake *handshake = handshake_of(ws_client_of(connection));
    struct ws_record *record = handshake->record;
    context->settled -= handshake->settled;
    if (record) {
        record->dialed_ns = connection->dialed_ns;
        /* Nothing was heard of its end: it was never established, or is given up. */
        record->ended_ns = record->ended_ns ? record->ended_ns : clock_now_ns();
        if (record->connected_ns == 0 && connection->tcp_connected_ns) {
            record->tls_ns = record->ended_ns - connection->tcp_connected_ns;
        }
    }
    ws_client_release(context, connection);
}

static void opened(struct role_context *context, struct ws_client *client, uint64_t now_ns)
{
    struct ws_handshake *handshake = handshake_of(client);
    handshake->settled = ws_options_of(context)->until_open;
    context->settled += handshake->settled;
    if (handshake->record) {
        handshake->record->opened_ns = now_ns;
    }
    ws_client_end(client);
}

static void closed(struct role_context *context, struct ws_client *client, uint64_t now_ns)
{
    struct ws_record *record = handshake_of(client)->record;
    struct histogram *histograms = context->bank->histograms;
    const struct connection *connection = &client->base;
    if (record) {
        record->closed = true;
    }
    context->bank->counters[WS_COUNT_COMPLETED]++;
    histogram_record(&histograms[WS_RESPONSE_TIME], now_ns - connection->intended_ns, 1);
    histogram_record(&histograms[WS_SERVICE_TIME], now_ns - connection->dialed_ns, 1);
}

static void failed(struct role_context *context, struct ws_client *client)
{
    (void)client;
    context->bank->counters[WS_COUNT_FAILED]++;
}

/* A server may greet: that is no part of a handshake. */
static const struct ws_ways ways = {
    .opened = opened, .closed = closed, .failed = failed, .dials = true};

static void step(struct role_context *context, struct connection *connection, const struct op *op)
{
    struct ws_client *client = ws_client_of(connection);
    struct ws_record *record = handshake_of(client)->record;
    bool gone = client->state == WS_GONE;
    if (record && op->kind == OP_START) {
        record->connected_ns = op->now_ns;
        record->tls_ns = op->security ? op->security->handshake_ns : 0;
    }
    ws_client_step(context, client, op, &ways);
    if (record && !gone && client->state == WS_GONE) {
        record->ended_ns = op->now_ns;
    }
}

/* With a journal until its connection has ended. */
static uint64_t outstanding(const struct connection *connection)
{
    const struct ws_handshake *handshake = (const struct ws_handshake *)(const void *)connection;
    return handshake->record ? handshake->client.state != WS_GONE
                             : ws_client_outstanding(connection);
}

static size_t memory(const void *options)
{
    return sizeof(struct ws_handshake) - sizeof(struct ws_client) + ws_client_memory(options);
}

static uint32_t renew_below(const void *member, uint32_t most)
{
    const struct ws_options *options = member;
    uint64_t low = options->low;
    if (options->low_of) {
        low = low * most / options->low_of;
        low = low ? low : 1;
    }
    return low && low < most ? (uint32_t)low : most;
}

static const struct histogram_metric histograms[] = {
    [WS_RESPONSE_TIME] = {"response_time", "ns", "handshake",
                          "from when a connection should have been dialed (closed loop: from its "
                          "dialing) to the receive of the answer to its close frame",
                          PART_NONE},
    [WS_SERVICE_TIME] = {"service_time", "ns", "from its dialing",
                         "from making a connection's socket to the receive of the answer to its "
                         "close frame",
                         PART_NONE},
    [WS_SEND_LAG] = {"send_lag", "ns", "dial lag",
                     "open loop: how long after its intended start a connection was dialed",
                     PART_NONE},
    WS_PHASES_OF_DIALING,
    WS_PHASES,
};

const struct role ws_handshake_client = {
    .connection_bytes = sizeof(struct ws_handshake),
    .histograms = histograms,
    .histogram_count = sizeof histograms / sizeof *histograms,
    WS_ROLE_THAT_DIALS,
    .connection_memory = memory,
    .open = dial,
    .step = step,
    .outstanding = outstanding,
    .renew_below = renew_below,
    .close = release,
};
