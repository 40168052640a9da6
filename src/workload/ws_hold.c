/* Connections that are opened one after the other, evenly over --ramp, and held until the end of
 * the window: what becomes of each is counted, and one that was lost is not dialed again. At the
 * end each is closed in order. */
#include <string.h>

#include "base/clock.h"
#include "workload/ws_client.h"

/* Without --ramp. */
#define OPENED_PER_SECOND 5000

struct ws_held {
    struct ws_client client;
    uint64_t pinged_ns; /* the latest ping, whose payload it is */
    bool ping_due, unanswered;
};

static struct ws_held *held_of(struct ws_client *client)
{
    return (struct ws_held *)(void *)client;
}

uint64_t ws_ramp_ns(const void *member, uint64_t connections)
{
    const struct ws_options *options = member;
    return options->ramp_ns ? options->ramp_ns : connections * NS_PER_SECOND / OPENED_PER_SECOND;
}

static void opened(struct role_context *context, struct ws_client *client, uint64_t now_ns)
{
    struct bank *bank = context->bank;
    const struct connection *connection = &client->base;
    const struct ws_options *options = ws_options_of(context);
    bank->counters[WS_COUNT_COMPLETED]++;
    bank->opened_ns = now_ns;
    histogram_record(&bank->histograms[WS_RESPONSE_TIME], now_ns - connection->intended_ns, 1);
    histogram_record(&bank->histograms[WS_SERVICE_TIME], now_ns - connection->dialed_ns, 1);
    if (options->ping_every_ns) {
        ws_client_timer(context, now_ns + options->ping_every_ns);
    }
}

static const char *due(struct role_context *context, struct ws_client *client, uint64_t now_ns)
{
    struct ws_held *held = held_of(client);
    (void)context;
    (void)now_ns;
    held->ping_due = true;
    return held->unanswered ? "no pong within --timeout" : NULL;
}

static bool fill(struct role_context *context, struct ws_client *client)
{
    struct ws_held *held = held_of(client);
    if (context->draining) {
        ws_client_end(client);
    } else if (held->ping_due) {
        uint8_t payload[sizeof held->pinged_ns];
        held->ping_due = false;
        held->unanswered = true;
        held->pinged_ns = clock_now_ns();
        memcpy(payload, &held->pinged_ns, sizeof payload);
        ws_client_append(
            context, client,
            (struct websocket_frame){.opcode = WEBSOCKET_PING, .length = sizeof payload}, payload);
        context->bank->counters[WS_COUNT_PINGS]++;
        ws_client_timer(context, held->pinged_ns + ws_options_of(context)->timeout_ns);
    }
    return true;
}

/* Messages are nobody's business here, nor is a pong that answers no ping (section 5.5.3). */
static const char *took(struct role_context *context, struct ws_client *client,
                        const struct websocket_event *event, uint64_t now_ns)
{
    struct ws_held *held = held_of(client);
    bool answers = event->kind == WEBSOCKET_PONGED && held->unanswered &&
                   event->length == sizeof held->pinged_ns &&
                   memcmp(event->data, &held->pinged_ns, event->length) == 0;
    if (!answers) {
        return NULL;
    }
    held->unanswered = false;
    context->bank->counters[WS_COUNT_PONGS]++;
    histogram_record(&context->bank->histograms[WS_PONG], now_ns - held->pinged_ns, 1);
    if (client->state == WS_OPEN) {
        ws_client_timer(context, held->pinged_ns + ws_options_of(context)->ping_every_ns);
    }
    return NULL;
}

/* One that cannot be closed in order was held all the same. */
static void failed(struct role_context *context, struct ws_client *client)
{
    context->bank->counters[WS_COUNT_FAILED] += client->state == WS_UPGRADING;
    context->bank->counters[WS_COUNT_LOST] += client->state == WS_OPEN;
}

static const struct ws_ways ways = {.opened = opened,
                                    .took = took,
                                    .fill = fill,
                                    .due = due,
                                    .failed = failed,
                                    .dials = true,
                                    .lean = true};

static void step(struct role_context *context, struct connection *connection, const struct op *op)
{
    ws_client_step(context, ws_client_of(connection), op, &ways);
}

/* Until it has ended, so that each is counted by who ended it first. */
static uint64_t outstanding(const struct connection *connection)
{
    return ((const struct ws_client *)(const void *)connection)->state != WS_GONE;
}

static uint32_t renew_below(const void *options, uint32_t most)
{
    (void)options;
    return most;
}

static const struct histogram_metric histograms[] = {
    [WS_RESPONSE_TIME] = {"response_time", "ns", "opening",
                          "from when a connection should have been dialed to the receive of the "
                          "answer 101",
                          PART_NONE},
    [WS_SERVICE_TIME] = {"service_time", "ns", "from its dialing",
                         "from making a connection's socket to the receive of the answer 101",
                         PART_NONE},
    [WS_SEND_LAG] = {"send_lag", "ns", "dial lag",
                     "how long after the instant that --ramp gives it a connection was dialed",
                     PART_NONE},
    [WS_PONG] = {"pong", "ns", "ping to pong",
                 "from a ping of --ping-every to the receive of its answer", PART_NONE},
    WS_PHASES_OF_DIALING,
    WS_PHASES,
};

const struct role ws_hold_client = {
    .connection_bytes = sizeof(struct ws_held),
    .histograms = histograms,
    .histogram_count = sizeof histograms / sizeof *histograms,
    WS_ROLE_THAT_DIALS,
    .connection_memory = ws_client_memory,
    .open = ws_client_dial,
    .step = step,
    .outstanding = outstanding,
    .renew_below = renew_below,
    .once = true,
    .close = ws_client_release,
};

const struct metric ws_hold_metrics[WS_HOLD_METRICS] = {
    {"connections_held", "1", "held",
     "connections that were open at the end: of the window, or of the interval", METRIC_LEVEL,
     WS_COUNT_LOST, WS_COUNT_COMPLETED, true},
    {"connections_opened", "1", "opened", "connections whose upgrade was answered with 101",
     METRIC_COUNT, WS_COUNT_COMPLETED, 0, true},
    {"connections_lost", "1", "lost",
     "connections that were open and ended before they were to be closed; the errors say how",
     METRIC_COUNT, WS_COUNT_LOST, 0, true},
    {"connections_failed", "1", "failed",
     "connections that were dialed and never open; the errors say where and why", METRIC_COUNT,
     WS_COUNT_FAILED, 0, true},
    {"connections_dialed", "1", "dialed", "connections that were begun", METRIC_COUNT,
     WS_COUNT_STARTED, 0, false},
    {"closes", "1", "closes", "connections whose close frame was answered, at the end",
     METRIC_COUNT, WS_COUNT_CLOSED, 0, false},
    {"pings", "1", "pings", "ping frames of --ping-every", METRIC_COUNT, WS_COUNT_PINGS, 0, false},
    {"pongs", "1", "pongs", "of these answered", METRIC_COUNT, WS_COUNT_PONGS, 0, true},
    {"pings_of_server", "1", "server's pings", "ping frames of the server's", METRIC_COUNT,
     WS_COUNT_PINGED, 0, false},
    {"server_ended_first", "1", "server ended first",
     "connections that the server ended behind its close frame: the TIME_WAIT is its own",
     METRIC_COUNT, WS_COUNT_SERVER_FIRST, 0, false},
    {"server_reset", "1", "server reset behind close",
     "connections that the server reset behind its close frame: nobody has a TIME_WAIT",
     METRIC_COUNT, WS_COUNT_RESET, 0, false},
    {"client_ended_first", "1", "client ended first",
     "connections that it left open for a second: this end closed them, and has the TIME_WAIT",
     METRIC_COUNT, WS_COUNT_CLIENT_FIRST, 0, false},
};
