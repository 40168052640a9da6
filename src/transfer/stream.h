/* What the methods share: the memory of an end, what stands where in the stream, and the loop
 * around one call to the kernel. */
#ifndef SONDE_TRANSFER_STREAM_H
#define SONDE_TRANSFER_STREAM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "transfer/transfer.h"

/* With verify, the byte at place i of the stream is pattern[i % STREAM_PERIOD]. So memory that
 * never changes (vmsplice and zero-copy need that) still has another content for each block. What
 * is lost, doubled or swapped shows unless it moves the rest by a multiple of the period: being
 * prime, that is no multiple of pages or blocks below 4096 * 65521 = 256 MiB. */
#define STREAM_PERIOD 65521

/* One end. The window is the blocks that lie side by side in memory; a call moves from the position
 * to the end of the window at most, then the next begins at its start again. One block, but for
 * methods that hand several to the kernel at once. */
struct stream {
    struct transfer_end end;
    uint8_t *memory;          /* page-aligned; for a sender with verify a period longer */
    uint8_t *expected;        /* a receiver with verify: window and a period of the pattern */
    size_t memory_bytes;      /* mapped at memory */
    size_t expected_bytes;    /* mapped at expected */
    uint64_t window_bytes;    /* a multiple of the block's */
    uint64_t position;        /* in the window */
    uint64_t block_bytes_now; /* of the block under way: for blocks that more calls finish */
};

static inline struct stream *stream_of(struct transfer_end *end)
{
    return (struct stream *)(void *)end;
}

/* How many blocks fit `window_bytes`: at least 1, at most `most`. */
uint64_t stream_blocks(uint64_t buffer_bytes, uint64_t window_bytes, uint64_t most);

/* Allocates a method's struct of `size` bytes, which begins with a struct stream, and its memory,
 * touched and filled; refuses what the method cannot do. On failure nothing is left and *end is
 * NULL. No call made while opening is counted: counts are those of the transfer. */
int stream_open(struct transfer_end **end, size_t size, const struct method_ops *ops, bool sender,
                const struct transfer_config *config, struct transfer_counts *counts,
                uint64_t blocks, struct err *error);

/* Frees all of it. */
void stream_close(struct transfer_end *end);

/* What a method does whose window is one block. */
int stream_open_one(struct transfer_end **end, const struct method_ops *ops, bool sender,
                    const struct transfer_config *config, struct transfer_counts *counts,
                    struct err *error);

/* why_not of a method that serves one transport: says `reason_for_others` for all others. */
int stream_only(const struct transport_ops *transport, const struct transport_ops *served,
                const char *reason_for_others, char *reason, size_t size);

/* Compares what was received at the stream's offset, which has not moved yet. 0, or -1 with
 * *error, which names the first byte that differs. */
int stream_compare(const struct stream *stream, const uint8_t *received, uint64_t bytes,
                   struct err *error);

/* A call that moved nothing: counts it; 0 where it is to be made again (EINTR), else -1 with
 * *error. `result` is 0 at the end of the stream, -1 with errno otherwise. */
int stream_nothing(struct stream *stream, enum engine_call call, ssize_t result, uint64_t left,
                   struct err *error);

/* As its error says: the stream ended although `left` bytes were still to come. Returns -1. */
int stream_ended(const struct stream *stream, uint64_t left, struct err *error);

/* As its error says: sending or receiving failed with this errno. Returns -1. */
int stream_failed(const struct stream *stream, int number, const char *call, struct err *error);

/* Counts so many bytes of blocks that may take several calls; `last`: the stream ends with them. */
void stream_count_blocks(struct stream *stream, uint64_t bytes, bool last);

/* Where the bytes lie that a sender sends next. */
static inline uint8_t *stream_next(const struct stream *stream)
{
    return stream->memory +
           (stream->end.config.verify ? stream->end.offset % STREAM_PERIOD : stream->position);
}

/* How much the next call may move. */
static inline uint64_t stream_asked(const struct stream *stream, uint64_t left)
{
    uint64_t room = stream->window_bytes - stream->position;
    return room < left ? room : left;
}

/* Goes on by what was moved. */
static inline void stream_moved(struct stream *stream, uint64_t bytes)
{
    stream->end.offset += bytes;
    stream->position += bytes;
    if (stream->position == stream->window_bytes) {
        stream->position = 0;
    }
}

/* Makes one call that moves at most `asked` bytes. */
typedef ssize_t stream_call(struct stream *stream, uint64_t asked);

/* transfer's send and receive: makes the call until all is moved. To be inlined, so that `move` is
 * no indirect call: this loop is what is measured, and it shall cost what one written by hand does.
 * For that the successful calls are counted in registers. */
__attribute__((always_inline)) static inline int stream_all(struct stream *stream, uint64_t bytes,
                                                            enum engine_call call,
                                                            stream_call *move, bool compares,
                                                            struct err *error)
{
    uint64_t left = bytes, calls = 0, short_calls = 0, buffer = stream->end.config.buffer_bytes;
    bool verify = compares && stream->expected;
    int result = 0;
    stream->position = 0;
    while (left > 0 && result == 0) {
        uint64_t asked = stream_asked(stream, left);
        ssize_t moved = move(stream, asked);
        if (__builtin_expect(moved <= 0, 0)) {
            result = stream_nothing(stream, call, moved, left, error);
            continue;
        }
        calls++;
        short_calls += (uint64_t)moved < asked;
        left -= (uint64_t)moved;
        if (__builtin_expect(verify, 0)) {
            result =
                stream_compare(stream, stream->memory + stream->position, (uint64_t)moved, error);
        }
        stream_moved(stream, (uint64_t)moved);
    }
    struct transfer_counts *counts = stream->end.counts;
    counts->calls.of[call].calls += calls;
    counts->calls.of[call].bytes += bytes - left;
    counts->short_calls += short_calls;
    counts->bytes += bytes - left;
    counts->blocks += (bytes - left) / buffer + (left == 0 && bytes % buffer != 0);
    return result;
}

/* transfer's send_some and receive_some: makes the call once. */
__attribute__((always_inline)) static inline ssize_t
stream_some(struct stream *stream, uint64_t bytes, enum engine_call call, stream_call *move,
            bool compares, struct err *error)
{
    struct transfer_counts *counts = stream->end.counts;
    uint64_t asked = stream_asked(stream, bytes);
    ssize_t moved = call_counted(&counts->calls, call, move(stream, asked), true);
    if (moved < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    if (moved < 0) {
        return stream_failed(stream, errno, engine_call_name(call), error);
    }
    if (moved == 0) {
        return stream_ended(stream, bytes, error);
    }
    counts->bytes += (uint64_t)moved;
    counts->short_calls += (uint64_t)moved < asked;
    stream_count_blocks(stream, (uint64_t)moved, (uint64_t)moved == bytes);
    if (compares && stream->expected &&
        stream_compare(stream, stream->memory + stream->position, (uint64_t)moved, error) < 0) {
        return -1;
    }
    stream_moved(stream, (uint64_t)moved);
    return moved;
}

/* The receiver of `copy`, which other methods have too: blocking reads that fill the buffer. */
int stream_read(struct transfer_end *end, uint64_t bytes, struct err *error);
ssize_t stream_read_some(struct transfer_end *end, uint64_t bytes, struct err *error);

#endif
