#include "transfer/stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/rng.h"

/* Any will do, if both ends have the same. */
#define PATTERN_SEED 0x736f6e6465

uint64_t stream_blocks(uint64_t buffer_bytes, uint64_t window_bytes, uint64_t most)
{
    uint64_t blocks = window_bytes / buffer_bytes;
    if (blocks > most) {
        return most;
    }
    return blocks > 0 ? blocks : 1;
}

/* Fills with the pattern, period after period. */
static void fill_pattern(uint8_t *memory, size_t bytes)
{
    size_t first = bytes < STREAM_PERIOD ? bytes : STREAM_PERIOD;
    struct rng rng;
    rng_seed(&rng, PATTERN_SEED);
    for (size_t i = 0; i < first; i += sizeof(uint64_t)) {
        uint64_t random = rng_next(&rng);
        size_t rest = first - i;
        memcpy(memory + i, &random, rest < sizeof random ? rest : sizeof random);
    }
    for (size_t i = first; i < bytes; i += STREAM_PERIOD) {
        size_t rest = bytes - i;
        memcpy(memory + i, memory, rest < STREAM_PERIOD ? rest : STREAM_PERIOD);
    }
}

/* Whole pages of their own, as a page of zeros until they are written to. NULL where there is no
 * such room. */
static uint8_t *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static int allocate(struct stream *stream, bool sender, uint64_t blocks, struct err *error)
{
    const struct transfer_config *config = &stream->end.config;
    uint64_t window, patterned;
    if (__builtin_mul_overflow(config->buffer_bytes, blocks, &window) ||
        __builtin_add_overflow(window, STREAM_PERIOD, &patterned) || patterned > SIZE_MAX / 2) {
        goto failed;
    }
    stream->window_bytes = window;
    size_t bytes = sender && config->verify ? patterned : window;
    stream->memory = map(bytes);
    if (!stream->memory) {
        goto failed;
    }
    stream->memory_bytes = bytes;
    if (!sender && config->verify) {
        stream->expected = map(patterned);
        if (!stream->expected) {
            goto failed;
        }
        stream->expected_bytes = patterned;
        fill_pattern(stream->expected, stream->expected_bytes);
    }
    if (sender) {
        fill_pattern(stream->memory, stream->memory_bytes);
    } else {
        /* Not zeros: the receiver's memory must be pages of its own, too, and no byte of it right
         * before it was received. */
        memset(stream->memory, 0xa5, stream->memory_bytes);
    }
    return 0;
failed:
    err_system(error, ENOMEM, stream->end.ops->name, "no memory for %llu blocks of %llu bytes",
               (unsigned long long)blocks, (unsigned long long)config->buffer_bytes);
    return err_hint(error, "take a smaller buffer");
}

/* What can be said before anything is done. */
static int refuse(const struct method_ops *ops, const struct transfer_config *config,
                  struct err *error)
{
    char reason[sizeof error->what];
    if (config->buffer_bytes == 0) {
        return err_set(error, ERR_USAGE, ops->name, "a block has at least 1 byte");
    }
    if (config->verify && !(ops->flags & METHOD_VERIFY)) {
        return err_set(error, ERR_USAGE, ops->name,
                       "its receiver does not see the content and cannot verify it");
    }
    if (config->nonblocking && !(ops->flags & METHOD_SOME)) {
        return err_set(error, ERR_USAGE, ops->name, "it cannot be both ends in one thread");
    }
    if (ops->why_not(config->transport, reason, sizeof reason) < 0) {
        return err_set(error, ERR_UNSUPPORTED, ops->name, "%s", reason);
    }
    return 0;
}

int stream_open(struct transfer_end **end, size_t size, const struct method_ops *ops, bool sender,
                const struct transfer_config *config, struct transfer_counts *counts,
                uint64_t blocks, struct err *error)
{
    *end = NULL;
    if (refuse(ops, config, error) < 0) {
        return -1;
    }
    struct stream *stream = calloc(1, size);
    if (!stream) {
        return err_system(error, ENOMEM, ops->name, "cannot start");
    }
    stream->end = (struct transfer_end){.ops = ops, .config = *config, .counts = counts};
    if (allocate(stream, sender, blocks, error) < 0) {
        stream_close(&stream->end);
        return -1;
    }
    *end = &stream->end;
    return 0;
}

int stream_open_one(struct transfer_end **end, const struct method_ops *ops, bool sender,
                    const struct transfer_config *config, struct transfer_counts *counts,
                    struct err *error)
{
    return stream_open(end, sizeof(struct stream), ops, sender, config, counts, 1, error);
}

void stream_close(struct transfer_end *end)
{
    struct stream *stream = stream_of(end);
    if (!stream) {
        return;
    }
    if (stream->memory) {
        munmap(stream->memory, stream->memory_bytes);
    }
    if (stream->expected) {
        munmap(stream->expected, stream->expected_bytes);
    }
    free(stream);
}

int stream_only(const struct transport_ops *transport, const struct transport_ops *served,
                const char *reason_for_others, char *reason, size_t size)
{
    if (transport == served) {
        return 0;
    }
    snprintf(reason, size, "serves %s alone: %s", served->scheme, reason_for_others);
    return -1;
}

int stream_compare(const struct stream *stream, const uint8_t *received, uint64_t bytes,
                   struct err *error)
{
    const uint8_t *expected = stream->expected + stream->end.offset % STREAM_PERIOD;
    if (memcmp(received, expected, bytes) == 0) {
        return 0;
    }
    uint64_t first = 0;
    while (received[first] == expected[first]) {
        first++;
    }
    return err_set(error, ERR_PROTOCOL, stream->end.config.transport->scheme,
                   "byte %llu of the stream differs from what was sent: 0x%02x instead of 0x%02x",
                   (unsigned long long)(stream->end.offset + first), received[first],
                   expected[first]);
}

int stream_ended(const struct stream *stream, uint64_t left, struct err *error)
{
    return err_set(error, ERR_PROTOCOL, stream->end.config.transport->scheme,
                   "the stream ended at byte %llu, %llu bytes too early",
                   (unsigned long long)stream->end.offset, (unsigned long long)left);
}

int stream_failed(const struct stream *stream, int number, const char *call, struct err *error)
{
    err_system(error, number, stream->end.config.transport->scheme,
               "%s failed at byte %llu of the stream", call,
               (unsigned long long)stream->end.offset);
    if (number == EPIPE || number == ECONNRESET) {
        err_hint(error, "the other end is gone: see why it ended");
    }
    return -1;
}

int stream_nothing(struct stream *stream, enum engine_call call, ssize_t result, uint64_t left,
                   struct err *error)
{
    call_counted(&stream->end.counts->calls, call, result, true);
    if (result == 0) {
        return stream_ended(stream, left, error);
    }
    return errno == EINTR ? 0 : stream_failed(stream, errno, engine_call_name(call), error);
}

void stream_count_blocks(struct stream *stream, uint64_t bytes, bool last)
{
    struct transfer_counts *counts = stream->end.counts;
    uint64_t buffer = stream->end.config.buffer_bytes;
    stream->block_bytes_now += bytes;
    while (stream->block_bytes_now >= buffer) {
        stream->block_bytes_now -= buffer;
        counts->blocks++;
    }
    if (last && stream->block_bytes_now > 0) {
        stream->block_bytes_now = 0;
        counts->blocks++;
    }
}

static ssize_t call_read(struct stream *stream, uint64_t asked)
{
    return read(stream->end.config.fd, stream->memory + stream->position, asked);
}

int stream_read(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    return stream_all(stream_of(end), bytes, CALL_READ, call_read, true, error);
}

ssize_t stream_read_some(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    return stream_some(stream_of(end), bytes, CALL_READ, call_read, true, error);
}
