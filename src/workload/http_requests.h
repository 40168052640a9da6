/* What a client of HTTP asks for: its requests as they go over the wire, made once, and which of
 * them is next. */
#ifndef SONDE_WORKLOAD_HTTP_REQUESTS_H
#define SONDE_WORKLOAD_HTTP_REQUESTS_H

#include "base/rng.h"
#include "codec/http.h"
#include "workload/http.h"

/* Of a smaller request so many are written one behind the other, to be sent together. */
enum { HTTP_GATHER_BYTES = 64 << 10 };

struct http_ask {
    char method[HTTP_METHOD_MOST + 1];
    uint8_t *head; /* with the body behind it where that is small, `copies` times */
    size_t head_bytes;
    uint32_t copies;
    bool body_apart; /* requests->body is sent behind it */
    uint64_t upto;   /* its weight and those of all before it */
};

struct http_requests {
    struct http_ask *asks;
    uint32_t count;
    uint64_t weight; /* of all */
    uint8_t *body;   /* NULL: none */
    size_t body_bytes;
    uint8_t expected[75]; /* bit i: status i counts as success */
};

/* Reads the files that the options name and makes the requests. 0, or -1 with *error;
 * http_requests_close takes an empty struct, and one that failed. */
int http_requests_open(struct http_requests *requests, const struct http_options *options,
                       struct err *error);
void http_requests_close(struct http_requests *requests);

/* One of several, by weight. */
static inline const struct http_ask *http_requests_pick(const struct http_requests *requests,
                                                        struct rng *rng)
{
    if (requests->count == 1) {
        return requests->asks;
    }
    uint64_t at = rng_below(rng, requests->weight);
    uint32_t low = 0, high = requests->count - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (at < requests->asks[middle].upto) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return &requests->asks[low];
}

static inline bool http_requests_expects(const struct http_requests *requests, unsigned status)
{
    return status < 600 && requests->expected[status / 8] >> status % 8 & 1;
}

#endif
