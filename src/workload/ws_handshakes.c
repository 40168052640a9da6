/* Handshakes, one connection after the other: connected, upgraded, closed with a code. The worker
 * dials (struct role's renew_below); a handshake counts once its close frame has been answered. */
#include "workload/ws_client.h"

static void opened(struct role_context *context, struct ws_client *client, uint64_t now_ns)
{
    (void)context;
    (void)now_ns;
    ws_client_end(client);
}

static void closed(struct role_context *context, struct ws_client *client, uint64_t now_ns)
{
    struct histogram *histograms = context->bank->histograms;
    const struct connection *connection = &client->base;
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
    ws_client_step(context, ws_client_of(connection), op, &ways);
}

static uint32_t renew_below(const void *member, uint32_t most)
{
    const struct ws_options *options = member;
    return options->low && options->low < most ? (uint32_t)options->low : most;
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
    WS_PHASE_CONNECT,
    WS_PHASES,
};

const struct role ws_handshake_client = {
    .connection_bytes = sizeof(struct ws_client),
    .histograms = histograms,
    .histogram_count = sizeof histograms / sizeof *histograms,
    WS_ROLE_THAT_DIALS,
    .step = step,
    .renew_below = renew_below,
};
