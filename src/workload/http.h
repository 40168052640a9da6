/* HTTP/1.1 and 1.0 (RFC 9110, 9112): requests on connections that stay, or each on a connection of
 * its own. Both ways have the same client underneath and the same server. */
#ifndef SONDE_WORKLOAD_HTTP_H
#define SONDE_WORKLOAD_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workload/web_target.h"
#include "workload/workload.h"

enum http_version_choice { HTTP_1_1, HTTP_1_0 };

/* Options of the server's role; also those of `sonde serve`. */
struct http_server_options {
    const char *root;         /* a directory of static files; NULL: there are none */
    uint64_t head_most;       /* bytes of a request's head */
    uint64_t body_most;       /* bytes of a request's body */
    uint64_t requests_most;   /* of one connection, which is closed behind them; 0: no end */
    uint64_t memory_bytes;    /* no row: most that one worker's answers may hold */
    uint64_t idle_timeout_ns; /* no row: close what is silent for so long; 0: never */
};

struct http_options {
    const char *method;        /* NULL: GET, or POST where there is a body */
    struct opt_list headers;   /* "Name: value" */
    const char *body_file;     /* NULL: no body */
    const char *url_file;      /* NULL: the target's path alone (codec/request_list.h) */
    uint32_t version;          /* enum http_version_choice */
    bool keep_alive;           /* false: a connection for each request */
    uint64_t pipeline;         /* requests in flight on a connection */
    uint64_t timeout_ns;       /* without a byte of an answer that is awaited */
    uint64_t request_most_ns;  /* from a request's send to the end of its answer; 0: no end */
    const char *expect_status; /* "2xx,304"; "any" */
    const char *expect_sha256; /* of the body, in hexadecimal digits; NULL: any */
    uint64_t response_most;    /* bytes of an answer's body */
    uint64_t size_bytes;       /* sonde's own server: of an answer's body */
    uint64_t buffer_bytes;     /* each connection's own receive buffer; 0: none, they share one */
    bool keep_body;            /* each connection keeps the body until the answer is whole */
    struct http_server_options server;
    struct web_target where; /* no row */
};

/* Counters of the client's roles. */
enum http_counter {
    HTTP_COUNT_COMPLETED,    /* whole answers that were as expected */
    HTTP_COUNT_SENT,         /* requests whose send was begun */
    HTTP_COUNT_FAILED,       /* requests that were not answered, or not as expected */
    HTTP_COUNT_BYTES,        /* of answers, on the wire: heads, framing and bodies */
    HTTP_COUNT_BODY_BYTES,   /* of answers, without what chunks them */
    HTTP_COUNT_HEADER_BYTES, /* of answers: heads, trailers and interim answers */
    HTTP_COUNT_SENT_BYTES,   /* of requests */
    HTTP_COUNT_WHOLE_BYTES,  /* bodies of the completed ones alone */
    HTTP_COUNT_1XX,          /* interim answers */
    HTTP_COUNT_2XX,
    HTTP_COUNT_3XX,
    HTTP_COUNT_4XX,
    HTTP_COUNT_5XX,
    HTTP_COUNT_UNEXPECTED,   /* whole answers with another status or body than was asked for */
    HTTP_COUNT_DIALED,       /* connections that were begun */
    HTTP_COUNT_UNDIALED,     /* of them: never established */
    HTTP_COUNT_REPEATED,     /* requests behind an answer that ended the connection: asked again */
    HTTP_COUNT_IDLE_CLOSED,  /* connections that the server ended while no request was in flight */
    HTTP_COUNT_SERVER_FIRST, /* connections that the server ended behind their last answer */
    HTTP_COUNT_CLIENT_FIRST, /* those that this end did */
    HTTP_COUNT_TLS_RESUMED,
    HTTP_COUNT_THROTTLED, /* of the dialing of connections for one request */
    HTTP_COUNT_RESUMED,
};

/* Of both client roles. */
enum http_histogram {
    HTTP_RESPONSE_TIME,
    HTTP_SERVICE_TIME,
    HTTP_SEND_LAG,
    HTTP_SOCKET,     /* making the socket */
    HTTP_SET_UP,     /* from there until the connect was begun; of an engine with a thread for each
                        connection: with the start of its thread */
    HTTP_CONNECT,    /* from there until TCP was connected */
    HTTP_TLS,        /* TLS's handshake */
    HTTP_FIRST_BYTE, /* from the send of a request to the first byte of its answer */
    HTTP_DOWNLOAD,   /* from there to the last */
};

enum http_server_counter {
    HTTP_SERVER_ACCEPTED,
    HTTP_SERVER_REFUSED,  /* connections, because it was full */
    HTTP_SERVER_REQUESTS, /* answered */
    HTTP_SERVER_BYTES,    /* of answers, as the kernel took them */
    HTTP_SERVER_BODY_BYTES,
    HTTP_SERVER_REJECTED, /* requests that broke the protocol, or the limits */
    HTTP_SERVER_IDLE_CLOSED,
};

extern const struct role http_client, http_single_client, http_server;

/* The workload that the options ask for: of connections that stay, or one for each request. */
const struct workload *http_choose(const void *options);

/* Those of a run: all but the last, of a limit that the run does not set. */
enum { HTTP_SERVER_METRICS = 8, HTTP_SERVER_METRICS_OF_RUN = 7, HTTP_SERVER_OPTIONS = 4 };
extern const struct metric http_server_metrics[HTTP_SERVER_METRICS];

/* Option rows over struct http_server_options. */
extern const struct opt http_server_rows[HTTP_SERVER_OPTIONS];

/* Whether there is a directory at --root, and a kernel that keeps to it. 0 or -1 with *error. */
int http_server_check(const struct http_server_options *options, struct err *error);

#endif
