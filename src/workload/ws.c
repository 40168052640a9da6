/* `sonde ws` as the workload table sees it: options, metrics, one workload for each mode. */
#include "workload/ws.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "codec/websocket_handshake.h"

/* In the order of enum ws_mode, enum ws_message and enum ws_payload. */
static const char *const modes[] = {"handshake", "hold", "message", NULL};
static const char *const messages[] = {"binary", "text", "ping", NULL};
static const char *const payloads[] = {"pattern", "random", NULL};

enum { SIZE_USUAL = 64 }; /* bytes, as the row says */

static const struct opt option_rows[] = {
    OPT_CHOICE(struct ws_options, mode, .name = "mode", .choices = modes, .initial = "handshake",
               .argument = "WHAT",
               .help = "handshake (connect, upgrade, close, and again with a new connection), hold "
                       "(open --connections and keep them until the end of the window) or message "
                       "(echoed, on connections that stay)"),
    OPT_DURATION(struct ws_options, ramp_ns, .name = "ramp", .initial = "0",
                 .most = 24 * 3600 * NS_PER_SECOND, .argument = "TIME",
                 .help = "hold: open the connections in this time, evenly, from the beginning of "
                         "the window on (0: 5000 a second)"),
    OPT_DURATION(struct ws_options, ping_every_ns, .name = "ping-every", .initial = "0",
                 .most = 24 * 3600 * NS_PER_SECOND, .argument = "TIME",
                 .help = "hold: send a ping on each connection so often, once the one before has "
                         "been answered (0: none)"),
    OPT_COUNT(struct ws_options, low, .name = "low", .initial = "0", .most = 1000000,
              .argument = "N",
              .help = "handshake: once all connections of a thread are in flight, dial again only "
                      "when fewer than this are (0: whenever one has ended). It is of each thread, "
                      "while --connections are divided among the threads of all --workers"),
    OPT_COUNT(struct ws_options, code, .name = "code", .initial = "1000", .least = 1000,
              .most = 4999, .argument = "CODE", .help = "close with this code"),
    OPT_DURATION(struct ws_options, timeout_ns, .name = "timeout", .initial = "5s",
                 .least = NS_PER_MS, .most = 3600 * NS_PER_SECOND, .argument = "TIME",
                 .help = "an upgrade, a message, a ping or a close has failed after this time "
                         "without an answer"),
    OPT_CHOICE(struct ws_options, message, .name = "message", .choices = messages,
               .initial = "binary", .argument = "KIND",
               .help = "message: what is sent; ping: ping frames, answered by pongs"),
    OPT_SIZE(struct ws_options, size_bytes, .name = "size", .letter = 'm', .initial = "64",
             .most = WS_SIZE_MAX, .argument = "SIZE", .help = "message: bytes of its payload"),
    OPT_CHOICE(struct ws_options, payload, .name = "payload", .choices = payloads,
               .initial = "pattern", .argument = "WHAT",
               .help = "message: pattern (every 251st byte is the same, of text every 89th: "
                       "--deflate makes next to nothing of it) or random (of a fixed seed; text: "
                       "any of 89 characters)"),
    OPT_SIZE(struct ws_options, fragment_bytes, .name = "fragment", .initial = "0",
             .most = WS_SIZE_MAX, .argument = "SIZE",
             .help = "message: send it in frames of at most so many bytes (0: in one)"),
    OPT_COUNT(struct ws_options, high, .name = "high", .initial = "1", .least = 1, .most = 1 << 20,
              .argument = "N", .help = "message: most in flight on a connection"),
    OPT_BOOL(struct ws_options, deflate, .name = "deflate",
             .help = "offer permessage-deflate, and fail where the server does not agree to it"),
    OPT_BOOL(struct ws_options, verify, .name = "verify", .initial = "yes",
             .help = "message: check that every answer is what was sent"),
};

static const char *take_target(void *member, const char *target)
{
    struct ws_options *options = member;
    return web_target_take(URL_WEBSOCKET, target, &options->where);
}

/* Refuses what the mode makes nothing of: nobody types it for nothing. */
static int check_mode(const struct ws_options *options, struct err *error)
{
    const struct {
        const char *option;
        bool given; /* another value than that of its row */
        enum ws_mode of;
    } rows[] = {
        {"--low", options->low, WS_HANDSHAKE},
        {"--ramp", options->ramp_ns, WS_HOLD},
        {"--ping-every", options->ping_every_ns, WS_HOLD},
        {"--message", options->message != WS_BINARY, WS_MESSAGE},
        {"--size", options->size_bytes != SIZE_USUAL, WS_MESSAGE},
        {"--payload", options->payload != WS_PATTERN, WS_MESSAGE},
        {"--fragment", options->fragment_bytes, WS_MESSAGE},
        {"--high", options->high != 1, WS_MESSAGE},
        {"--verify", !options->verify, WS_MESSAGE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].given && rows[i].of != options->mode) {
            err_set(error, ERR_USAGE, rows[i].option, "has no effect with --mode %s",
                    modes[options->mode]);
            return err_hint(error, "it is one of --mode %s", modes[rows[i].of]);
        }
    }
    return 0;
}

static int check(void *member, uint64_t receive_bytes, struct err *error)
{
    struct ws_options *options = member;
    char reason[160];
    (void)receive_bytes;
    if (web_target_check(URL_WEBSOCKET, &options->where, error) < 0) {
        return -1;
    }
    if (websocket_why_not(reason, sizeof reason) < 0) {
        return err_set(error, ERR_UNSUPPORTED, "ws", "%s", reason);
    }
    if (check_mode(options, error) < 0) {
        return -1;
    }
    if (!websocket_code_valid((unsigned)options->code)) {
        err_set(error, ERR_USAGE, "--code", "%lu may not be sent", options->code);
        return err_hint(error, "such as 1000 (normal), 1001 (going away), or 3000 to 4999");
    }
    if (options->message == WS_PING && options->size_bytes > WEBSOCKET_CONTROL_MOST) {
        return err_set(error, ERR_USAGE, "--size", "a ping has at most %d bytes",
                       WEBSOCKET_CONTROL_MOST);
    }
    if (options->message == WS_PING && options->high > 1) {
        err_set(error, ERR_USAGE, "--high", "a server may answer the latest of several pings only");
        return err_hint(error, "leave it 1; more connections make more load");
    }
    if (options->message == WS_PING && options->fragment_bytes) {
        return err_set(error, ERR_USAGE, "--fragment", "a ping is one frame");
    }
    /* Sonde's own server. */
    options->server.deflate = options->server.deflate || options->deflate;
    return 0;
}

static int fits(const void *member, const struct engine_ops *client,
                const struct engine_ops *server, const struct transport_ops *transport,
                struct err *error)
{
    const struct ws_options *options = member;
    (void)server;
    if (client && client->flags & ENGINE_NO_KERNEL) {
        return err_set(error, ERR_USAGE, "--engine", "null answers no handshake");
    }
    if (options->mode != WS_MESSAGE && !(transport->caps & TRANSPORT_CONNECTS)) {
        return err_set(error, ERR_USAGE, transport->scheme,
                       "connections are dialed: it needs a transport that connects, tcp, tls or "
                       "unix");
    }
    return 0;
}

/* ---- figures --------------------------------------------------------------------------------- */

static const struct metric handshake_metrics[] = {
    {"handshakes_per_second", "1/s", "handshakes/s",
     "connections that were upgraded and whose close was answered, per second", METRIC_PER_SECOND,
     WS_COUNT_COMPLETED, 0, true},
    {"handshakes", "1", "handshakes", "connections that were upgraded and whose close was answered",
     METRIC_COUNT, WS_COUNT_COMPLETED, 0, true},
    {"handshakes_failed", "1", "failed",
     "connections that did not come so far; the errors say where and why", METRIC_COUNT,
     WS_COUNT_FAILED, 0, true},
    {"connections_dialed", "1", "dialed", "connections that were begun", METRIC_COUNT,
     WS_COUNT_STARTED, 0, false},
    {"upgrades", "1", "upgrades", "handshakes that were answered with 101", METRIC_COUNT,
     WS_COUNT_UPGRADED, 0, false},
    {"throttled", "1", "dialing throttled",
     "times that all of a thread's --connections were in flight", METRIC_COUNT, WS_COUNT_THROTTLED,
     0, false},
    {"resumed", "1", "dialing resumed", "times that they fell below --low, and dialing went on",
     METRIC_COUNT, WS_COUNT_RESUMED, 0, false},
    {"server_ended_first", "1", "server ended first",
     "connections that the server ended behind its close frame: the TIME_WAIT is its own (through "
     "TLS nobody's, where the answer to its close_notify finds it gone and is reset)",
     METRIC_COUNT, WS_COUNT_SERVER_FIRST, 0, false},
    {"server_reset", "1", "server reset behind close",
     "connections that the server reset behind its close frame: nobody has a TIME_WAIT",
     METRIC_COUNT, WS_COUNT_RESET, 0, false},
    {"client_ended_first", "1", "client ended first",
     "connections that it left open for a second: this end closed them, and has the TIME_WAIT",
     METRIC_COUNT, WS_COUNT_CLIENT_FIRST, 0, false},
    {"tls_resumed", "1", "TLS sessions resumed",
     "connections whose TLS handshake resumed the session of one before", METRIC_COUNT,
     WS_COUNT_TLS_RESUMED, 0, false},
};

static const struct metric message_metrics[] = {
    {"round_trips_per_second", "1/s", "round trips/s", "messages answered, per second",
     METRIC_PER_SECOND, WS_COUNT_COMPLETED, 0, true},
    {"round_trips", "1", "round trips", "messages answered", METRIC_COUNT, WS_COUNT_COMPLETED, 0,
     true},
    {"messages_sent", "1", "messages sent",
     "messages whose send was begun in the window; those that were begun before it and answered or "
     "lost in it are not among them",
     METRIC_COUNT, WS_COUNT_STARTED, 0, false},
    {"messages_lost", "1", "lost", "messages in flight on a connection that failed", METRIC_COUNT,
     WS_COUNT_FAILED, 0, false},
    {"bytes_per_second", "bytes/s", "payload both ways", "payload, both directions, per second",
     METRIC_PER_SECOND, WS_COUNT_BYTES, 0, false},
    {"wire_bytes_per_message", "bytes", "wire bytes sent/message",
     "one way: bytes that this end sent for a message, its frames' headers too, compressed or not",
     METRIC_RATIO, WS_COUNT_WIRE_SENT, WS_COUNT_STARTED, false},
    {"closes", "1", "closes", "connections whose close frame was answered, at the end too",
     METRIC_COUNT, WS_COUNT_CLOSED, 0, false},
    {"pings_of_server", "1", "server's pings", "ping frames of the server's", METRIC_COUNT,
     WS_COUNT_PINGED, 0, false},
};

const struct metric ws_server_metrics[WS_SERVER_METRICS] = {
    {"server_upgraded", "1", "upgrades answered", "handshakes that the server answered with 101",
     METRIC_COUNT, WS_SERVER_UPGRADED, 0, false},
    {"server_requests_refused", "1", "requests refused",
     "requests that the server answered otherwise", METRIC_COUNT, WS_SERVER_REQUESTS_REFUSED, 0,
     false},
    {"server_messages", "1", "messages echoed", "whole messages that the server echoed",
     METRIC_COUNT, WS_SERVER_MESSAGES, 0, false},
    {"server_message_bytes", "bytes", "bytes echoed", "payload of these messages, one way",
     METRIC_COUNT, WS_SERVER_BYTES, 0, false},
    {"server_pings", "1", "pings answered", "ping frames that the server answered", METRIC_COUNT,
     WS_SERVER_PINGS, 0, false},
    {"server_closed", "1", "closes answered", "close frames that the server answered", METRIC_COUNT,
     WS_SERVER_CLOSED, 0, false},
    {"server_accepted", "1", "connections accepted", "connections that the server accepted",
     METRIC_COUNT, WS_SERVER_ACCEPTED, 0, false},
    {"server_refused", "1", "connections refused",
     "connections that the server closed at once because it was full", METRIC_COUNT,
     WS_SERVER_REFUSED, 0, false},
    {"server_idle_closed", "1", "idle connections closed",
     "connections that the server closed after the idle timeout", METRIC_COUNT,
     WS_SERVER_IDLE_CLOSED, 0, false},
};

const struct opt ws_server_rows[WS_SERVER_OPTIONS] = {
    OPT_SIZE(struct ws_server_options, frame_most, .name = "max-frame", .initial = "64m",
             .least = 125, .argument = "SIZE",
             .help = "ws: break off (1009) where a frame has more payload"),
    OPT_SIZE(struct ws_server_options, message_most, .name = "max-message", .initial = "64m",
             .least = 125, .argument = "SIZE",
             .help = "ws: likewise where a message has more, also once inflated"),
    OPT_BOOL(struct ws_server_options, deflate, .name = "agree-deflate",
             .help = "ws: agree to permessage-deflate where a client offers it"),
};

static bool has(const void *member, const struct metric *metric, bool server)
{
    const struct ws_options *options = member;
    if (server) {
        return true;
    }
    switch (metric->numerator) {
    case WS_COUNT_TLS_RESUMED:
        return options->where.secure;
    case WS_COUNT_THROTTLED:
    case WS_COUNT_RESUMED: /* without a mark every handshake that ends is both */
        return options->low || options->journal;
    default:
        return true;
    }
}

#define ROWS_OF_ALL                                                                                \
    .options = option_rows, .option_count = sizeof option_rows / sizeof *option_rows,              \
    .options_bytes = sizeof(struct ws_options), .server_options = ws_server_rows,                  \
    .server_option_count = WS_SERVER_OPTIONS,                                                      \
    .server_options_offset = offsetof(struct ws_options, server), .check = check,                  \
    .take_target = take_target, .fits = fits, .operations = WS_COUNT_COMPLETED,                    \
    .bytes = WS_COUNT_BYTES, .send_lag = WS_SEND_LAG, .needs = WORKLOAD_STREAM,                    \
    .server_metrics = ws_server_metrics, .server_metric_count = WS_SERVER_METRICS_OF_RUN,          \
    .server = &ws_server, .own_protocol = true

const struct workload workload_ws = {
    .name = "ws",
    .summary = "WebSocket: opening and closing handshakes",
    ROWS_OF_ALL,
    .metrics = handshake_metrics,
    .metric_count = sizeof handshake_metrics / sizeof *handshake_metrics,
    .kept = 1 << WS_COUNT_SERVER_FIRST | 1 << WS_COUNT_RESET | 1 << WS_COUNT_CLIENT_FIRST |
            1 << WS_COUNT_FAILED,
    .has = has,
    .operation = "handshake",
    .client = &ws_handshake_client,
};

const struct workload workload_ws_messages = {
    .name = "ws",
    .summary = "WebSocket: messages that are echoed",
    ROWS_OF_ALL,
    .metrics = message_metrics,
    .metric_count = sizeof message_metrics / sizeof *message_metrics,
    .kept = 1 << WS_COUNT_CLOSED | 1 << WS_COUNT_FAILED,
    .server_whole = 1 << WS_SERVER_ACCEPTED | 1 << WS_SERVER_REFUSED | 1 << WS_SERVER_UPGRADED |
                    1 << WS_SERVER_REQUESTS_REFUSED | 1 << WS_SERVER_CLOSED,
    .operation = "message",
    .client = &ws_message_client,
};

const struct workload workload_ws_hold = {
    .name = "ws",
    .summary = "WebSocket: connections that are held open",
    ROWS_OF_ALL,
    .metrics = ws_hold_metrics,
    .metric_count = WS_HOLD_METRICS,
    .kept = 1 << WS_COUNT_CLOSED | 1 << WS_COUNT_SERVER_FIRST | 1 << WS_COUNT_RESET |
            1 << WS_COUNT_CLIENT_FIRST | 1 << WS_COUNT_LOST | 1 << WS_COUNT_FAILED |
            1 << WS_COUNT_PONGS,
    .whole = UINT64_MAX,
    .server_whole = UINT64_MAX,
    .ramp_ns = ws_ramp_ns,
    .operation = "connection",
    .client = &ws_hold_client,
};

const struct workload *ws_choose(const void *options)
{
    static const struct workload *const all[] = {[WS_HANDSHAKE] = &workload_ws,
                                                 [WS_HOLD] = &workload_ws_hold,
                                                 [WS_MESSAGE] = &workload_ws_messages};
    return all[((const struct ws_options *)options)->mode];
}
