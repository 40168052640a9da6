/* `sonde http` as the workload table sees it: options, metrics, one workload for connections that
 * stay and one for connections of one request. */
#include "workload/http.h"

#include <string.h>

#include "base/clock.h"
#include "codec/http.h"
#include "codec/sha256.h"
#include "workload/http_requests.h"

static const char *const versions[] = {"1.1", "1.0", NULL}; /* enum http_version_choice */

static const struct opt option_rows[] = {
    OPT_SIZE(struct http_options, size_bytes, .name = "size", .letter = 'm', .initial = "200",
             .most = (uint64_t)1 << 40, .argument = "SIZE",
             .help = "without a URL: bytes of an answer's body"),
    OPT_TEXT(struct http_options, method, .name = "method", .letter = 'X', .argument = "METHOD",
             .help = "what is asked for, such as HEAD (else GET, with --body POST)"),
    OPT_LIST(struct http_options, headers, .name = "header", .letter = 'H', .whole = true,
             .argument = "LINE", .help = "a header of every request, \"Name: value\" (repeatable)"),
    OPT_TEXT(struct http_options, body_file, .name = "body", .argument = "FILE",
             .help = "every request has this file as its body"),
    OPT_TEXT(struct http_options, url_file, .name = "urls", .argument = "FILE",
             .help =
                 "ask for what its lines say, at random: [weight=N] [METHOD] PATH-or-URL, all of "
                 "the target's server"),
    OPT_CHOICE(struct http_options, version, .name = "http", .choices = versions, .initial = "1.1",
               .argument = "VERSION", .help = "version of HTTP that is asked in"),
    OPT_BOOL(struct http_options, keep_alive, .name = "keep-alive", .initial = "yes",
             .help = "connections take one request after the other; else each request has one of "
                     "its own"),
    OPT_COUNT(struct http_options, pipeline, .name = "pipeline", .initial = "1", .least = 1,
              .most = HTTP_PIPELINE_MOST, .argument = "N",
              .help = "requests in flight on a connection"),
    OPT_DURATION(struct http_options, timeout_ns, .name = "timeout", .initial = "10s",
                 .least = NS_PER_MS, .most = 3600 * NS_PER_SECOND, .argument = "TIME",
                 .help = "a connection has failed where nothing comes for so long while an answer "
                         "is awaited"),
    OPT_DURATION(struct http_options, request_most_ns, .name = "max-time", .initial = "0",
                 .most = 24 * 3600 * NS_PER_SECOND, .argument = "TIME",
                 .help = "likewise where an answer is not whole after so long (0: no limit)"),
    OPT_TEXT(struct http_options, expect_status, .name = "expect-status", .initial = "2xx,3xx",
             .argument = "LIST", .help = "an answer with another status has failed: 200, 2xx, any"),
    OPT_TEXT(struct http_options, expect_sha256, .name = "expect-body-sha256", .argument = "HEX",
             .help = "likewise with a body of another SHA-256"),
    OPT_SIZE(struct http_options, response_most, .name = "max-response", .initial = "1t",
             .argument = "SIZE", .help = "likewise with a longer body"),
    OPT_SIZE(struct http_options, buffer_bytes, .name = "buffer", .initial = "0",
             .most = (uint64_t)1 << 30, .argument = "SIZE",
             .help = "each connection has a receive buffer of its own, of so many bytes (0: a "
                     "thread's connections share one, of --receive-buffer bytes)"),
    OPT_BOOL(struct http_options, keep_body, .name = "keep-body",
             .help = "keep each body in memory until its answer is whole"),
};

static const char *take_target(void *member, const char *target)
{
    struct http_options *options = member;
    return web_target_take(URL_HTTP, target, &options->where);
}

static int check_digest(const struct http_options *options, struct err *error)
{
    char reason[160];
    uint8_t digest[SHA256_BYTES];
    if (!options->expect_sha256) {
        return 0;
    }
    if (!sha256_parse(options->expect_sha256, digest)) {
        err_set(error, ERR_USAGE, "--expect-body-sha256", "\"%.70s\" is no SHA-256",
                options->expect_sha256);
        return err_hint(error, "64 hexadecimal digits, as sha256sum prints them");
    }
    if (sha256_why_not(reason, sizeof reason) < 0) {
        return err_set(error, ERR_UNSUPPORTED, "--expect-body-sha256", "%s", reason);
    }
    return 0;
}

static int check(void *member, uint64_t receive_bytes, struct err *error)
{
    struct http_options *options = member;
    struct http_requests requests;
    (void)receive_bytes;
    if (web_target_check(URL_HTTP, &options->where, error) < 0 ||
        check_digest(options, error) < 0) {
        return -1;
    }
    if (options->url_file && options->where.named && strcmp(options->where.path, "/") != 0) {
        err_set(error, ERR_USAGE, "--urls", "names what is asked for, and so does the URL's path");
        return err_hint(error, "give the URL without a path");
    }
    if (options->expect_sha256 && options->method && strcmp(options->method, "HEAD") == 0) {
        return err_set(error, ERR_USAGE, "--expect-body-sha256", "an answer to HEAD has no body");
    }
    if (options->buffer_bytes && options->where.secure) {
        return err_set(error, ERR_USAGE, "--buffer",
                       "through TLS all bytes are decrypted into a buffer that connections share");
    }
    if (!options->keep_alive && options->pipeline > 1) {
        err_set(error, ERR_USAGE, "--pipeline", "a connection for each request has but one");
        return err_hint(error, "leave out --no-keep-alive");
    }
    /* What the files say is looked at before anything starts. */
    int failed = http_requests_open(&requests, options, error);
    http_requests_close(&requests);
    return failed;
}

/* Answers are read as they come; who serves pauses for the sake of a slow reader alone. */
static void tune(const void *options, struct net_tuning *tuning, uint8_t *channel_options)
{
    (void)options;
    (void)tuning;
    *channel_options |= CHANNEL_STEADY;
}

static int fits(const void *member, const struct engine_ops *client,
                const struct engine_ops *server, const struct transport_ops *transport,
                struct err *error)
{
    (void)member;
    (void)server;
    if (client && client->flags & ENGINE_NO_KERNEL) {
        return err_set(error, ERR_USAGE, "--engine", "null answers no request");
    }
    if (!(transport->caps & TRANSPORT_CONNECTS)) {
        return err_set(error, ERR_USAGE, transport->scheme,
                       "connections are dialed: it needs a transport that connects, tcp, tls or "
                       "unix");
    }
    return 0;
}

/* ---- figures --------------------------------------------------------------------------------- */

static const struct metric metrics[] = {
    {"requests_per_second", "1/s", "requests/s",
     "requests whose answer was whole and as expected, per second", METRIC_PER_SECOND,
     HTTP_COUNT_COMPLETED, 0, true},
    {"requests", "1", "requests", "requests whose answer was whole and as expected", METRIC_COUNT,
     HTTP_COUNT_COMPLETED, 0, true},
    {"requests_sent", "1", "sent", "requests whose send was begun in the window", METRIC_COUNT,
     HTTP_COUNT_SENT, 0, false},
    {"requests_failed", "1", "failed",
     "requests that were not answered as expected; the errors say where and why", METRIC_COUNT,
     HTTP_COUNT_FAILED, 0, true},
    {"body_bytes_per_second", "bytes/s", "bodies received", "bytes of answers' bodies, per second",
     METRIC_PER_SECOND, HTTP_COUNT_BODY_BYTES, 0, true},
    {"body_bytes", "bytes", "body bytes", "bytes of answers' bodies, without what chunks them",
     METRIC_COUNT, HTTP_COUNT_BODY_BYTES, 0, false},
    {"header_bytes", "bytes", "header bytes",
     "bytes of answers' heads, trailers and interim answers", METRIC_COUNT, HTTP_COUNT_HEADER_BYTES,
     0, false},
    {"request_bytes", "bytes", "request bytes", "bytes of requests, their bodies too", METRIC_COUNT,
     HTTP_COUNT_SENT_BYTES, 0, false},
    {"status_1xx", "1", "status 1xx", "interim answers", METRIC_COUNT, HTTP_COUNT_1XX, 0, false,
     true},
    {"status_2xx", "1", "status 2xx", "whole answers of this class, expected or not", METRIC_COUNT,
     HTTP_COUNT_2XX, 0, false},
    {"status_3xx", "1", "status 3xx", "likewise", METRIC_COUNT, HTTP_COUNT_3XX, 0, false, true},
    {"status_4xx", "1", "status 4xx", "likewise", METRIC_COUNT, HTTP_COUNT_4XX, 0, false, true},
    {"status_5xx", "1", "status 5xx", "likewise", METRIC_COUNT, HTTP_COUNT_5XX, 0, false, true},
    {"unexpected", "1", "unexpected",
     "whole answers with another status or body than expected; they are among the failed",
     METRIC_COUNT, HTTP_COUNT_UNEXPECTED, 0, false, true},
    {"connections_dialed", "1", "dialed",
     "connections that were begun in the window; where they stay, each in the place of one that "
     "had "
     "ended",
     METRIC_COUNT, HTTP_COUNT_DIALED, 0, false, true},
    {"connections_undialed", "1", "not established", "of them those that were never established",
     METRIC_COUNT, HTTP_COUNT_UNDIALED, 0, false, true},
    {"requests_repeated", "1", "asked again",
     "requests behind an answer that was its connection's last, which another one took",
     METRIC_COUNT, HTTP_COUNT_REPEATED, 0, false, true},
    {"idle_closed", "1", "closed while idle",
     "connections that the server ended while no request was in flight", METRIC_COUNT,
     HTTP_COUNT_IDLE_CLOSED, 0, false, true},
    {"server_ended_first", "1", "server ended first",
     "connections that the server ended behind their last answer: the TIME_WAIT is its own",
     METRIC_COUNT, HTTP_COUNT_SERVER_FIRST, 0, false, true},
    {"client_ended_first", "1", "client ended first",
     "connections that this end closed behind their last answer, since the server did not say or "
     "did not do it: it has the TIME_WAIT",
     METRIC_COUNT, HTTP_COUNT_CLIENT_FIRST, 0, false, true},
    {"tls_resumed", "1", "TLS sessions resumed",
     "connections whose TLS handshake resumed the session of one before", METRIC_COUNT,
     HTTP_COUNT_TLS_RESUMED, 0, false},
};

static bool has(const void *member, const struct metric *metric, bool server)
{
    const struct http_options *options = member;
    if (server) {
        return true;
    }
    switch (metric->numerator) {
    case HTTP_COUNT_TLS_RESUMED:
        return options->where.secure;
    case HTTP_COUNT_REPEATED:
    case HTTP_COUNT_IDLE_CLOSED:
    case HTTP_COUNT_UNDIALED:
        return options->keep_alive;
    default:
        return true;
    }
}

#define ROWS_OF_BOTH                                                                               \
    .name = "http", .options = option_rows,                                                        \
    .option_count = sizeof option_rows / sizeof *option_rows,                                      \
    .options_bytes = sizeof(struct http_options), .server_options = http_server_rows,              \
    .server_option_count = HTTP_SERVER_OPTIONS,                                                    \
    .server_options_offset = offsetof(struct http_options, server), .check = check,                \
    .take_target = take_target, .tune = tune, .fits = fits, .has = has, .metrics = metrics,        \
    .metric_count = sizeof metrics / sizeof *metrics, .operations = HTTP_COUNT_COMPLETED,          \
    .bytes = HTTP_COUNT_BYTES, .whole_bytes = HTTP_COUNT_WHOLE_BYTES, .send_lag = HTTP_SEND_LAG,   \
    .needs = WORKLOAD_STREAM, .server_metrics = http_server_metrics,                               \
    .server_metric_count = HTTP_SERVER_METRICS, .server = &http_server, .own_protocol = true,      \
    .may_be_long = true, .operation = "request",                                                   \
    .kept = 1 << HTTP_COUNT_FAILED | 1 << HTTP_COUNT_SERVER_FIRST | 1 << HTTP_COUNT_CLIENT_FIRST

const struct workload workload_http = {
    ROWS_OF_BOTH,
    .summary = "HTTP: requests on connections that stay",
    .client = &http_client,
};

const struct workload workload_http_single = {
    ROWS_OF_BOTH,
    .summary = "HTTP: requests, each on a connection of its own",
    .client = &http_single_client,
};

const struct workload *http_choose(const void *options)
{
    const struct http_options *http = options;
    return http->keep_alive ? &workload_http : &workload_http_single;
}
