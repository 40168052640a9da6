/* Handshakes, one connection after the other: connected, upgraded, closed with a code. The worker
 * dials (struct role's renew_below); a handshake counts once its close frame has been answered. */
#include <stdatomic.h>

#include "base/clock.h"
#include "workload/ws_client.h"

static struct ws_record *take_record(struct ws_journal *journal)
{
    uint64_t number = journal ? atomic_fetch_add(&journal->dialed, 1) : 0;
    return journal && number < journal->room ? &journal->records[number] : NULL;
}

static int open_handshake(struct role_context *context, struct connection *connection)
{
    ws_client_of(connection)->record = take_record(ws_options_of(context)->journal);
    context->quota -= context->quota == UINT64_MAX ? 0 : 1;
    context->bank->counters[WS_COUNT_STARTED]++;
    return ws_client_open(context, ws_client_of(connection), 0);
}

static void close_handshake(struct role_context *context, struct connection *connection)
{
    struct ws_client *client = ws_client_of(connection);
    struct ws_record *record = client->record;
    context->settled -= client->settled;
    if (record) {
        record->dialed_ns = connection->dialed_ns;
        record->connected_ns = client->started_ns;
        record->opened_ns = client->open_ns;
        /* Nothing was heard of its end: it was never established, or is given up. */
        record->ended_ns = record->ended_ns ? record->ended_ns : clock_now_ns();
    }
    ws_client_close(client);
}

static void opened(struct role_context *context, struct ws_client *client, uint64_t now_ns)
{
    (void)now_ns;
    client->settled = ws_options_of(context)->until_open;
    context->settled += client->settled;
    ws_client_end(context, client);
}

static const char *took(struct role_context *context, struct ws_client *client,
                        const struct websocket_event *event, uint64_t now_ns)
{
    (void)context;
    (void)client;
    (void)event;
    (void)now_ns;
    return NULL; /* a server may greet: that is no part of a handshake */
}

static void fill(struct role_context *context, struct ws_client *client)
{
    (void)context;
    (void)client;
}

static void closed(struct role_context *context, struct ws_client *client, uint64_t now_ns)
{
    struct histogram *histograms = context->bank->histograms;
    const struct connection *connection = &client->base;
    if (client->record) {
        client->record->closed = true;
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

static const struct ws_ways ways = {
    .opened = opened,
    .took = took,
    .fill = fill,
    .closed = closed,
    .failed = failed,
    .leaves = true,
};

static void connected(struct role_context *context, const struct connection *connection,
                      const struct op *op)
{
    struct histogram *histograms = context->bank->histograms;
    const struct op_security *security = op->security;
    uint64_t tls_ns = security ? security->handshake_ns : 0;
    histogram_record(&histograms[WS_CONNECT], op->now_ns - tls_ns - connection->dialed_ns, 1);
    if (security) {
        histogram_record(&histograms[WS_TLS], tls_ns, 1);
        context->bank->counters[WS_COUNT_TLS_RESUMED] += security->resumed;
    }
}

static void step(struct role_context *context, struct connection *connection, const struct op *op)
{
    struct ws_client *client = ws_client_of(connection);
    if (client->state == WS_GONE) {
        return;
    }
    if (op->kind == OP_START) {
        connected(context, connection, op);
        if (client->record && op->security) {
            client->record->tls_ns = op->security->handshake_ns;
        }
    }
    ws_client_step(context, client, op, &ways);
    if (client->record && client->state == WS_GONE) {
        client->record->ended_ns = op->now_ns;
    }
}

/* Also of one that is being established; with a journal until its connection has ended. */
static uint64_t outstanding(const struct connection *connection)
{
    const struct ws_client *client = (const struct ws_client *)(const void *)connection;
    return client->state != WS_GONE && (client->state != WS_CLOSED || client->record);
}

static bool can_take(const struct role_context *context, const struct connection *connection)
{
    (void)context;
    (void)connection;
    return false; /* arrivals dial */
}

static uint32_t renew_below(const void *member, uint32_t most)
{
    const struct ws_options *options = member;
    return options->low && options->low < most ? (uint32_t)options->low : most;
}

static size_t connection_memory(const void *options)
{
    (void)options;
    return sizeof(struct ws_client) + WS_PATH_MAX + WS_HOST_MAX + 512;
}

static const struct histogram_metric histograms[] = {
    [WS_RESPONSE_TIME] = {"response_time", "ns", "handshake",
                          "from when a connection should have been dialed (closed loop: from its "
                          "dialing) to the receive of the answer to its close frame"},
    [WS_SERVICE_TIME] = {"service_time", "ns", "from its dialing",
                         "from making a connection's socket to the receive of the answer to its "
                         "close frame"},
    [WS_SEND_LAG] = {"send_lag", "ns", "dial lag",
                     "open loop: how long after its intended start a connection was dialed"},
    [WS_UPGRADE] =
        {"upgrade", "ns", "upgrade",
         "from the established connection (TLS: from the end of its handshake) to the receive "
         "that completed the answer 101"},
    [WS_CLOSE] = {"close", "ns", "close",
                  "from that answer to the receive of the answer to the close frame"},
    [WS_CONNECT] = {"connect", "ns", "TCP connect",
                    "from making the socket to the established connection"},
    [WS_TLS] = {"tls_handshake", "ns", "TLS handshake",
                "from the established connection to the end of TLS's handshake, as this end saw "
                "it"},
};

const struct role ws_handshake_client = {
    .connection_bytes = sizeof(struct ws_client),
    .histograms = histograms,
    .histogram_count = sizeof histograms / sizeof *histograms,
    .connection_memory = connection_memory,
    .open_worker = ws_open_worker,
    .close_worker = ws_close_worker,
    .open = open_handshake,
    .step = step,
    .outstanding = outstanding,
    .can_take = can_take,
    .renew_below = renew_below,
    .times_security = true,
    .throttled_counter = WS_COUNT_THROTTLED,
    .resumed_counter = WS_COUNT_RESUMED,
    .undialed_counter = WS_COUNT_FAILED,
    .close = close_handshake,
};
