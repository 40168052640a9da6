/* What both ends of streams of datagrams share: sending one stream, keeping account of one that is
 * received. Only for the files of that workload.
 *
 * A stream that the server sends: the client says hello until datagrams come; the server answers
 * with a token, and sends nothing to whom has not said hello with that. The client goes on saying
 * it now and then; a server that has not heard it for long stops. At the end the client asks for a
 * stop until it hears the end, which the sender says until that is answered. */
#ifndef SONDE_WORKLOAD_STREAM_DATAGRAM_H
#define SONDE_WORKLOAD_STREAM_DATAGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "codec/datagram.h"
#include "workload/arrivals.h"
#include "workload/stream.h"

/* Room of a connection without its batch. */
enum { DATAGRAM_CONNECTION_BYTES = 640 };
/* Sent before the loop is entered again. */
enum { DATAGRAM_SENDS_IN_A_ROW = 64 };
/* How often the end of a stream, a hello or a wish to stop is said until it is answered. */
#define DATAGRAM_AGAIN_NS (20 * NS_PER_MS)
/* How often a receiving client says that it is still there, and how long it may be silent. */
#define DATAGRAM_ALIVE_NS (500 * NS_PER_MS)
#define DATAGRAM_GONE_NS (2 * NS_PER_SECOND)
/* The kernel had no memory for a datagram: not full, so that it would say when there is room. */
#define DATAGRAM_NO_BUFFERS_NS NS_PER_MS

/* What a worker's connections share: what a datagram holds, but for its head. */
struct datagram_worker {
    uint32_t opened;
    uint8_t pattern[];
};

/* A stream as its sender sees it. */
struct datagram_sender {
    uint8_t *batch; /* what is being sent: `batch` datagrams; NULL: this end does not send it */
    uint64_t sequence;
    uint64_t left;   /* bytes; UINT64_MAX: no end */
    uint64_t due_ns; /* paced: when the next may go */
    uint32_t number;
};

static inline const struct stream_options *datagram_options(const struct role_context *context)
{
    return context->options;
}

void *datagram_open_worker(const void *options, uint32_t connections, struct err *error);
void datagram_close_worker(void *shared);
size_t datagram_worker_memory(const void *options);
size_t datagram_connection_memory(const void *options);

/* Bytes of stream `number`; UINT64_MAX: no end. */
uint64_t datagram_share(const struct stream_options *options, uint32_t number);

/* 0 or -ENOMEM. */
int datagram_sender_open(struct datagram_sender *sender, const struct role_context *context,
                         uint32_t number);
void datagram_sender_close(struct datagram_sender *sender);

/* False where the next batch has to wait until sender->due_ns. */
bool datagram_sender_due(struct datagram_sender *sender, const struct stream_options *options,
                         uint64_t now_ns);

/* Makes the next batch what `op` sends. */
void datagram_sender_fill(struct datagram_sender *sender, const struct stream_options *options,
                          uint64_t now_ns, struct op *op);

/* Counts what the kernel has taken of it. */
void datagram_sender_sent(struct datagram_sender *sender, struct role_context *context,
                          struct bank_flow *flow, uint64_t bytes);

/* Takes the payload of one datagram into account. */
void datagram_take(struct role_context *context, struct arrivals *arrivals, struct bank_flow *flow,
                   const struct datagram *head, const uint8_t *data, size_t length,
                   uint64_t now_ns);

/* Takes into account how many were sent. */
void datagram_take_end(struct role_context *context, struct arrivals *arrivals,
                       struct bank_flow *flow, uint64_t count);

/* Counts a receive that brought payload. */
void datagram_count_receive(struct role_context *context, size_t bytes);

extern const struct histogram_metric datagram_histograms[1];

#define DATAGRAM_ROLE                                                                              \
    .histograms = datagram_histograms,                                                             \
    .histogram_count = sizeof datagram_histograms / sizeof *datagram_histograms,                   \
    .refused_counter = STREAM_COUNT_REFUSED, .flow_counters = STREAM_FLOW_DATAGRAM_COUNTERS,       \
    .drops_counter = STREAM_COUNT_DROPS, .connection_memory = datagram_connection_memory,          \
    .worker_memory = datagram_worker_memory, .open_worker = datagram_open_worker,                  \
    .close_worker = datagram_close_worker

#endif
