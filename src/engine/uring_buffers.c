#if SONDE_HAVE_URING

#include "engine/uring_buffers.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define CACHE_LINE 64
#define BUFFERS_MORE 16 /* published at a time when the kernel ran out */

static void *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void publish(struct uring_buffers *buffers, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uring_buffers_give(buffers, buffers->published++);
    }
}

int uring_buffers_open(struct uring_buffers *buffers, struct io_uring *ring, uint16_t group,
                       uint32_t first, uint32_t entries, size_t bytes, struct err *error)
{
    *buffers = (struct uring_buffers){.bytes = bytes, .group = group};
    /* One line more than the size: buffers of a power of two would all begin in the same few
     * sets of the cache, and short receives touch little but the beginning. */
    buffers->stride = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE + CACHE_LINE;
    /* Where memory is never promised beyond what there is, fewer must do. */
    while (!(buffers->memory = map(entries * buffers->stride)) && entries > first) {
        entries /= 2;
    }
    buffers->entries = entries;
    buffers->ring = map(entries * sizeof(struct io_uring_buf));
    buffers->held = calloc(entries, sizeof *buffers->held);
    if (!buffers->ring || !buffers->memory || !buffers->held) {
        return err_system(error, ENOMEM, "io_uring", "cannot reserve %zu bytes of receive buffers",
                          entries * buffers->stride);
    }

    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)buffers->ring,
        .ring_entries = entries,
        .bgid = group,
    };
    int result = io_uring_register_buf_ring(ring, &registration, 0);
    if (result < 0) {
        return err_system(error, -result, "io_uring", "cannot register a buffer ring");
    }
    buffers->first = first < entries ? first : entries;
    publish(buffers, buffers->first);
    return 0;
}

void uring_buffers_close(struct uring_buffers *buffers)
{
    if (buffers->ring) {
        munmap(buffers->ring, buffers->entries * sizeof(struct io_uring_buf));
    }
    if (buffers->memory) {
        munmap(buffers->memory, buffers->entries * buffers->stride);
    }
    free(buffers->held);
    *buffers = (struct uring_buffers){0};
}

void uring_buffers_relieve(struct uring_buffers *buffers)
{
    uint32_t left = buffers->entries - buffers->published;
    bool light = buffers->typical_bytes < buffers->bytes / 4;
    bool starved = buffers->published - buffers->held_count < buffers->first;
    uint32_t more = light ? buffers->published : starved ? BUFFERS_MORE : 0;
    publish(buffers, left < more ? left : more);
}

/* channel->held names the newest held buffer plus one, 0: none. The newest names the oldest, so
 * that one number a channel is enough for both ends of the queue. */
void uring_buffers_hold(struct uring_buffers *buffers, struct channel *channel, uint32_t buffer,
                        uint32_t length)
{
    struct uring_held *entry = &buffers->held[buffer];
    entry->length = length;
    if (channel->held) {
        struct uring_held *newest = &buffers->held[channel->held - 1];
        entry->next = newest->next;
        newest->next = buffer;
    } else {
        entry->next = buffer;
    }
    channel->held = buffer + 1;
    buffers->held_count++;
}

bool uring_buffers_unhold(struct uring_buffers *buffers, struct channel *channel, uint32_t *buffer,
                          uint32_t *length)
{
    if (!channel->held) {
        return false;
    }
    uint32_t newest = channel->held - 1;
    uint32_t oldest = buffers->held[newest].next;
    if (oldest == newest) {
        channel->held = 0;
    } else {
        buffers->held[newest].next = buffers->held[oldest].next;
    }
    buffers->held_count--;
    *buffer = oldest;
    *length = buffers->held[oldest].length;
    return true;
}

#else

/* An empty translation unit is no valid C. */
typedef int uring_is_absent;

#endif
