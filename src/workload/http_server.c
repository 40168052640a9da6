/* The server of HTTP. */
#include <errno.h>

#include "workload/http.h"

const struct metric http_server_metrics[HTTP_SERVER_METRICS] = {
    {"server_requests", "1", "requests answered", "requests that the server answered", METRIC_COUNT,
     HTTP_SERVER_REQUESTS, 0, false},
    {"server_bytes", "bytes", "bytes sent", "of answers, as the kernel took them", METRIC_COUNT,
     HTTP_SERVER_BYTES, 0, false},
    {"server_rejected", "1", "requests rejected", "requests that broke the protocol", METRIC_COUNT,
     HTTP_SERVER_REJECTED, 0, false},
    {"server_accepted", "1", "connections accepted", "connections that the server accepted",
     METRIC_COUNT, HTTP_SERVER_ACCEPTED, 0, false},
    {"server_refused", "1", "connections refused",
     "connections that the server closed at once because it was full", METRIC_COUNT,
     HTTP_SERVER_REFUSED, 0, false},
    {"server_idle_closed", "1", "idle connections closed",
     "connections that the server closed after the idle timeout", METRIC_COUNT,
     HTTP_SERVER_IDLE_CLOSED, 0, false},
};

const struct opt http_server_rows[HTTP_SERVER_OPTIONS] = {
    OPT_TEXT(struct http_server_options, root, .name = "root", .argument = "DIR",
             .help = "http: files"),
    OPT_SIZE(struct http_server_options, head_most, .name = "max-head", .initial = "64k",
             .help = "http: head"),
    OPT_SIZE(struct http_server_options, body_most, .name = "max-body", .initial = "64m",
             .help = "http: body"),
    OPT_COUNT(struct http_server_options, requests_most, .name = "max-requests", .initial = "0",
              .help = "http: requests"),
};

static void *open_worker(const void *options, uint32_t connections, struct err *error)
{
    static char nothing;
    (void)options;
    (void)connections;
    (void)error;
    return &nothing;
}

static void close_worker(void *shared)
{
    (void)shared;
}

static int open_peer(struct role_context *context, struct connection *connection)
{
    (void)context;
    (void)connection;
    return -ENOTSUP;
}

static void step(struct role_context *context, struct connection *connection, const struct op *op)
{
    (void)context;
    (void)connection;
    (void)op;
}

static void close_peer(struct role_context *context, struct connection *connection)
{
    (void)context;
    (void)connection;
}

const struct role http_server = {
    .connection_bytes = sizeof(struct connection),
    .open_worker = open_worker,
    .close_worker = close_worker,
    .open = open_peer,
    .step = step,
    .close = close_peer,
    .refused_counter = HTTP_SERVER_REFUSED,
};
