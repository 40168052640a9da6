/* Receive buffers that the io_uring engine lends to the kernel: a provided buffer ring, and the
 * data that came for a channel while its owner did not want any. */
#ifndef SONDE_ENGINE_URING_BUFFERS_H
#define SONDE_ENGINE_URING_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <liburing.h>

#include "base/err.h"
#include "engine/engine.h"

/* One group of plain bytes, one of messages with what precedes them (uring_messages.h). */
#define URING_BUFFER_GROUP 0
#define URING_MESSAGE_GROUP 1

/* A filled buffer that waits for its channel to be resumed. */
struct uring_held {
    uint32_t next; /* buffer that follows; the last one names the first */
    uint32_t length;
};

/* Address space is reserved for `entries` buffers; only `published` of them have ever been given
 * to the kernel, and a buffer takes memory only once it has been written to. */
struct uring_buffers {
    struct io_uring_buf_ring *ring;
    uint8_t *memory;
    struct uring_held *held; /* by buffer number */
    uint32_t entries;        /* power of two */
    uint32_t published;
    uint32_t held_count;
    uint32_t first;         /* of published: so many at least are not held */
    uint32_t typical_bytes; /* of what came lately into one */
    uint16_t group;         /* URING_*_GROUP */
    size_t bytes;           /* of one buffer */
    size_t stride;          /* from one to the next */
};

/* Registers the ring as `group` with `first` buffers of `bytes`, which may grow to `entries` (both
 * powers of two; to fewer where address space is short). 0 or -1 with *error. */
int uring_buffers_open(struct uring_buffers *buffers, struct io_uring *ring, uint16_t group,
                       uint32_t first, uint32_t entries, size_t bytes, struct err *error);

/* Frees the memory, after the ring itself has gone. Safe to call twice. */
void uring_buffers_close(struct uring_buffers *buffers);

/* The kernel found no buffer: publishes some more, if there are any, where paused channels hold
 * those that there are, or where little comes into each, so that more cost little memory. Where
 * they come back full, whoever found none waits for his turn: more would only be memory that the
 * caches do not hold. */
void uring_buffers_relieve(struct uring_buffers *buffers);

/* Keeps a filled buffer behind those that the channel already holds. */
void uring_buffers_hold(struct uring_buffers *buffers, struct channel *channel, uint32_t buffer,
                        uint32_t length);

/* Takes the oldest held buffer off the channel; false where it holds none. */
bool uring_buffers_unhold(struct uring_buffers *buffers, struct channel *channel, uint32_t *buffer,
                          uint32_t *length);

static inline const uint8_t *uring_buffers_at(const struct uring_buffers *buffers, uint32_t buffer)
{
    return buffers->memory + buffer * buffers->stride;
}

/* So much has come into one. */
static inline void uring_buffers_note(struct uring_buffers *buffers, uint32_t bytes)
{
    buffers->typical_bytes += bytes / 8 - buffers->typical_bytes / 8;
}

/* Gives a buffer (back) to the kernel. */
static inline void uring_buffers_give(struct uring_buffers *buffers, uint32_t buffer)
{
    io_uring_buf_ring_add(buffers->ring, buffers->memory + buffer * buffers->stride,
                          (unsigned)buffers->bytes, (unsigned short)buffer,
                          io_uring_buf_ring_mask(buffers->entries), 0);
    io_uring_buf_ring_advance(buffers->ring, 1);
}

/* True where the kernel has, or will have once the buffers being delivered are back, one to fill.
 */
static inline bool uring_buffers_left(const struct uring_buffers *buffers)
{
    return buffers->held_count < buffers->published;
}

#endif
