/* What the client's roles of http share: a connection from its first request to its end, and what
 * the connections of a worker have in common. */
#ifndef SONDE_WORKLOAD_HTTP_CLIENT_H
#define SONDE_WORKLOAD_HTTP_CLIENT_H

#include "codec/http.h"
#include "codec/sha256.h"
#include "workload/http_requests.h"

/* What a worker's connections share. */
struct http_worker {
    struct http_requests requests;
    struct http_limits limits;
    struct rng rng;
    uint8_t digest[SHA256_BYTES]; /* of the body that is expected */
    bool expects_digest;
    /* Open loop: intended starts of requests whose connection ended before their turn. */
    uint64_t *again_ns;
    size_t again_first, again_end, again_room;
};

enum http_state {
    HTTP_DIALED, /* not established yet, or not begun */
    HTTP_OPEN,
    HTTP_LINGERS, /* nothing more is asked: the server is to end it */
    HTTP_GONE,    /* ended, or failed */
};

struct http_times {
    uint64_t intended_ns, sent_ns;
};

struct http_connection {
    struct connection base;
    uint8_t state; /* enum http_state */
    bool sending;
    bool body_next;  /* the body of the last request begun is to follow its head */
    uint16_t status; /* of the answer under way */
    uint32_t issued, begun, completed; /* requests; they wrap around */
    uint32_t mask;
    struct http_times one, *times; /* of a power of two */
    const uint8_t *send_data;      /* what is under way */
    size_t send_bytes;
    uint64_t first_ns; /* when the answer's first byte came; 0: none has */
    uint64_t heard_ns; /* when anything came */
    struct http_response_reader reader;
    const struct http_ask *picked; /* what found no room beside others; NULL: nothing */
    uint8_t *out;    /* several requests of a list, to be sent together; NULL: they never are */
    uint8_t *buffer; /* its own, to receive into; NULL: it is lent one */
    uint8_t *body;   /* of the answer under way, where it is kept */
    size_t body_bytes, body_room;
    struct sha256 *hash; /* NULL: bodies are not looked at */
};

static inline struct http_connection *http_client_of(struct connection *connection)
{
    return (struct http_connection *)(void *)connection;
}

static inline const struct http_options *http_options_of(const struct role_context *context)
{
    return context->options;
}

static inline uint32_t http_in_flight(const struct http_connection *http)
{
    return http->issued - http->completed;
}

static inline struct http_times *http_times_of(const struct http_connection *http, uint32_t number)
{
    return &http->times[number & http->mask];
}

/* Of struct role. */
void http_client_step(struct role_context *context, struct connection *connection,
                      const struct op *op);

/* Frees a body that is kept. */
void http_client_drop_body(struct http_connection *http);

#endif
