/* The two roles of a client of HTTP: connections that stay and take one request after the other,
 * and connections that the worker dials for one request each. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "workload/http_client.h"

/* Which of a list's requests is next, differs from worker to worker. */
#define REQUEST_SEED 9112

/* Of a connection for one request also while it is being established. */
static uint64_t outstanding(const struct connection *connection)
{
    const struct http_connection *http = (const struct http_connection *)(const void *)connection;
    return http->state == HTTP_OPEN ? http_in_flight(http) : 0;
}

static uint64_t outstanding_single(const struct connection *connection)
{
    const struct http_connection *http = (const struct http_connection *)(const void *)connection;
    return http->state == HTTP_DIALED || outstanding(connection);
}

/* What is to be asked again is of the quota, too, and goes first. */
static bool can_take(const struct role_context *context, const struct connection *connection)
{
    const struct http_connection *http = (const struct http_connection *)(const void *)connection;
    const struct http_worker *worker = context->shared;
    return http->state == HTTP_OPEN && http_in_flight(http) < http_options_of(context)->pipeline &&
           context->quota > worker->again_end - worker->again_first;
}

static bool takes_none(const struct role_context *context, const struct connection *connection)
{
    (void)context;
    (void)connection;
    return false; /* arrivals dial */
}

/* ---- memory ---------------------------------------------------------------------------------- */

static uint32_t ring_room(uint64_t pipeline)
{
    uint32_t room = 1;
    while (room < pipeline) {
        room *= 2;
    }
    return room;
}

static bool gathers(const struct http_options *options)
{
    return options->url_file && options->pipeline > 1;
}

static void release(struct role_context *context, struct connection *connection)
{
    struct http_connection *http = http_client_of(connection);
    (void)context;
    if (http->times != &http->one) {
        free(http->times);
    }
    free(http->out);
    free(http->buffer);
    http_client_drop_body(http);
    sha256_close(http->hash);
    http->times = NULL;
    http->out = http->buffer = NULL;
    http->hash = NULL;
}

static int open_connection(struct role_context *context, struct connection *connection)
{
    struct http_connection *http = http_client_of(connection);
    const struct http_options *options = http_options_of(context);
    struct http_worker *worker = context->shared;
    uint32_t room = ring_room(options->pipeline);
    http->mask = room - 1;
    http->times = room > 1 ? calloc(room, sizeof *http->times) : &http->one;
    http->out = gathers(options) ? malloc(HTTP_GATHER_BYTES) : NULL;
    http->buffer = options->buffer_bytes ? malloc(options->buffer_bytes) : NULL;
    http->hash = worker->expects_digest ? sha256_open() : NULL;
    if (!http->times || (gathers(options) && !http->out) ||
        (options->buffer_bytes && !http->buffer) || (worker->expects_digest && !http->hash)) {
        release(context, connection);
        return -ENOMEM;
    }
    http_response_reader_init(&http->reader, &worker->limits);
    context->bank->counters[HTTP_COUNT_DIALED]++;
    context->quota -= options->keep_alive || context->quota == UINT64_MAX ? 0 : 1;
    return 0;
}

static size_t connection_memory(const void *member)
{
    const struct http_options *options = member;
    uint32_t room = ring_room(options->pipeline);
    return sizeof(struct http_connection) + (room > 1 ? room * sizeof(struct http_times) : 0) +
           (gathers(options) ? HTTP_GATHER_BYTES : 0) + options->buffer_bytes +
           (options->keep_body ? options->size_bytes : 0);
}

static void close_worker(void *shared)
{
    struct http_worker *worker = shared;
    if (worker) {
        http_requests_close(&worker->requests);
        free(worker->again_ns);
    }
    free(worker);
}

static void *open_worker(const void *member, uint32_t connections, struct err *error)
{
    const struct http_options *options = member;
    struct http_worker *worker = calloc(1, sizeof *worker);
    (void)connections;
    if (!worker) {
        err_system(error, ENOMEM, "http", "cannot make the requests");
        return NULL;
    }
    if (http_requests_open(&worker->requests, options, error) < 0) {
        close_worker(worker);
        return NULL;
    }
    worker->limits = http_limits_usual;
    worker->limits.body_bytes = options->response_most;
    worker->expects_digest =
        options->expect_sha256 && sha256_parse(options->expect_sha256, worker->digest);
    rng_seed(&worker->rng, REQUEST_SEED ^ clock_now_ns());
    return worker;
}

static uint32_t renew_below(const void *options, uint32_t most)
{
    (void)options;
    return most;
}

/* ---- the roles ------------------------------------------------------------------------------- */

#define TIMES_OF_BOTH                                                                              \
    [HTTP_SERVICE_TIME] = {"service_time", "ns", "from its send",                                  \
                           "from the send of a request to the receive that completed its answer",  \
                           PART_NONE},                                                             \
    [HTTP_SEND_LAG] =                                                                              \
        {"send_lag", "ns", "send lag",                                                             \
         "open loop: how long after its intended start a request was issued, or its "              \
         "connection dialed",                                                                      \
         PART_NONE},                                                                               \
    [HTTP_SOCKET] = {"socket", "ns", "socket", "making a connection's socket", PART_NONE},         \
    [HTTP_SET_UP] =                                                                                \
        {"set_up", "ns", "set-up",                                                                 \
         "from the socket until connecting was begun: the connection's memory, making "            \
         "it known to the engine, and the start of a thread that has it alone",                    \
         PART_NONE},                                                                               \
    [HTTP_CONNECT] = {"connect", "ns", "TCP connect",                                              \
                      "from the beginning of the connect to the established connection",           \
                      PART_NONE},                                                                  \
    [HTTP_TLS] =                                                                                   \
        {"tls_handshake", "ns", "TLS handshake",                                                   \
         "from the established connection to the end of TLS's handshake, as this end saw "         \
         "it",                                                                                     \
         PART_NONE},                                                                               \
    [HTTP_FIRST_BYTE] = {"first_byte", "ns", "first byte",                                         \
                         "from the send of a request to the receive with the first byte of its "   \
                         "answer",                                                                 \
                         PART_NONE},                                                               \
    [HTTP_DOWNLOAD] = {"download", "ns", "download",                                               \
                       "from that receive to the one that completed the answer", PART_NONE}

static const struct histogram_metric histograms[] = {
    [HTTP_RESPONSE_TIME] = {"response_time", "ns", "response time",
                            "from the intended start of a request (closed loop: from its issue) to "
                            "the receive that completed its answer",
                            PART_NONE},
    TIMES_OF_BOTH,
};

static const struct histogram_metric single_histograms[] = {
    [HTTP_RESPONSE_TIME] = {"response_time", "ns", "response time",
                            "from when a request's connection should have been dialed (closed "
                            "loop: from its dialing) to the receive that completed the answer",
                            PART_NONE},
    TIMES_OF_BOTH,
};

#define ROLE_OF_BOTH                                                                               \
    .connection_bytes = sizeof(struct http_connection),                                            \
    .histogram_count = sizeof histograms / sizeof *histograms,                                     \
    .connection_memory = connection_memory, .open_worker = open_worker,                            \
    .close_worker = close_worker, .open = open_connection, .step = http_client_step,               \
    .close = release, .throttled_counter = HTTP_COUNT_THROTTLED,                                   \
    .resumed_counter = HTTP_COUNT_RESUMED

const struct role http_client = {
    ROLE_OF_BOTH,         .histograms = histograms, .outstanding = outstanding,
    .can_take = can_take, .redials = true,          .undialed_counter = HTTP_COUNT_UNDIALED,
};

const struct role http_single_client = {
    ROLE_OF_BOTH,
    .histograms = single_histograms,
    .outstanding = outstanding_single,
    .can_take = takes_none,
    .renew_below = renew_below,
    .times_security = true,
    .undialed_counter = HTTP_COUNT_FAILED,
};
