/* The HTTP server's options and figures. */
#include "workload/http.h"

const struct metric http_server_metrics[HTTP_SERVER_METRICS] = {
    {"server_requests_per_second", "1/s", "served/s",
     "requests that the server answered, per second", METRIC_PER_SECOND, HTTP_SERVER_REQUESTS, 0,
     true},
    {"server_requests", "1", "requests answered",
     "requests whose whole answer the kernel took from the server", METRIC_COUNT,
     HTTP_SERVER_REQUESTS, 0, false},
    {"server_bytes", "bytes", "bytes sent",
     "heads, framing and bodies of answers, as the kernel took them", METRIC_COUNT,
     HTTP_SERVER_BYTES, 0, false},
    {"server_body_bytes", "bytes", "bytes of bodies", "of these, bodies without what chunks them",
     METRIC_COUNT, HTTP_SERVER_BODY_BYTES, 0, false},
    {"server_rejected", "1", "requests rejected",
     "requests that broke the protocol or the server's limits", METRIC_COUNT, HTTP_SERVER_REJECTED,
     0, false},
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
             .help = "http: serve the files below this directory"),
    OPT_SIZE(struct http_server_options, head_most, .name = "max-head", .initial = "64k",
             .least = 64, .most = 1 << 20, .argument = "SIZE",
             .help = "http: refuse (431) a request whose head is longer"),
    OPT_SIZE(struct http_server_options, body_most, .name = "max-body", .initial = "64m",
             .argument = "SIZE", .help = "http: refuse (413) a request whose body is longer"),
    OPT_COUNT(struct http_server_options, requests_most, .name = "max-requests", .initial = "0",
              .argument = "N",
              .help = "http: close a connection behind so many requests (0: never)"),
};
