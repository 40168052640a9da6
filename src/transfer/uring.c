/* uring: writes and reads through io_uring, several linked ones for each entry into the kernel. */
#include <stdio.h>

#include "transfer/stream.h"

#if SONDE_HAVE_URING

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <liburing.h>

#include "engine/uring_setup.h"

/* A chain is as long as a pipe is deep by default: what does not fit comes back short, which breaks
 * the chain, and the operations after it are cancelled and submitted again. So linking is for
 * blocks that are small beside the cost of an entry; from 64 KiB on each has its own. */
#define CHAIN_MOST 16
#define CHAIN_BYTES (UINT64_C(64) << 10)

struct uring_end {
    struct stream stream;
    struct io_uring ring;
    bool ring_open;
    bool sender;
};

static int method_why_not(const struct transport_ops *transport, char *reason, size_t size)
{
    struct io_uring ring;
    (void)transport;
    int result = uring_open(&ring, CHAIN_MOST);
    if (result < 0) {
        snprintf(reason, size, "io_uring_setup: %s: %s", strerror(-result), uring_explain(-result));
        return -1;
    }
    io_uring_queue_exit(&ring);
    return 0;
}

static void method_close(struct transfer_end *end)
{
    struct uring_end *uring = (struct uring_end *)(void *)end;
    if (uring && uring->ring_open) {
        io_uring_queue_exit(&uring->ring);
    }
    stream_close(end);
}

/* The ring, with the file and the memory known to it beforehand, so that the kernel looks neither
 * up for each operation. */
static int start(struct uring_end *uring, struct err *error)
{
    struct stream *stream = &uring->stream;
    const char *what = "io_uring_setup";
    int result = uring_open(&uring->ring, CHAIN_MOST);
    uring->ring_open = result == 0;
    if (result == 0) {
        what = "registering the file";
        result = io_uring_register_files(&uring->ring, &stream->end.config.fd, 1);
    }
    if (result == 0) {
        struct iovec memory = {.iov_base = stream->memory, .iov_len = stream->memory_bytes};
        what = "registering the buffer";
        result = io_uring_register_buffers(&uring->ring, &memory, 1);
        if (result == -EFAULT || result == -ENOMEM) {
            err_system(error, -result, "io_uring", "%s of %zu bytes failed", what,
                       stream->memory_bytes);
            return err_hint(error, "at most 1 GiB, and it counts as locked memory (ulimit -l)");
        }
    }
    if (result < 0) {
        err_system(error, -result, "io_uring", "%s failed", what);
        return err_hint(error, "%s", uring_explain(-result));
    }
    return 0;
}

static int method_open(struct transfer_end **end, bool sender, const struct transfer_config *config,
                       struct transfer_counts *counts, struct err *error)
{
    uint64_t blocks =
        config->buffer_bytes ? stream_blocks(config->buffer_bytes, CHAIN_BYTES, CHAIN_MOST) : 1;
    if (stream_open(end, sizeof(struct uring_end), &method_uring, sender, config, counts, blocks,
                    error) < 0) {
        return -1;
    }
    struct uring_end *uring = (struct uring_end *)(void *)*end;
    uring->sender = sender;
    if (start(uring, error) < 0) {
        method_close(*end);
        *end = NULL;
        return -1;
    }
    return 0;
}

/* The bytes of each operation of a chain; then what became of them. */
struct chain {
    unsigned count;
    uint32_t asked[CHAIN_MOST];
    int result[CHAIN_MOST];
};

/* Queues linked operations, one a block, from the position on: within the window, at most `bytes`
 * in all. At most `most` operations. */
static void queue_chain(struct uring_end *uring, struct chain *chain, uint64_t bytes, unsigned most)
{
    struct stream *stream = &uring->stream;
    uint64_t buffer = stream->end.config.buffer_bytes, left = stream_asked(stream, bytes);
    uint64_t room = buffer - stream->position % buffer;
    uint8_t *at = uring->sender ? stream_next(stream) : stream->memory + stream->position;
    struct io_uring_sqe *entry = NULL;
    chain->count = 0;
    while (left > 0 && chain->count < most) {
        /* An operation's length is an unsigned int, its result an int. */
        uint64_t part = room < left ? room : left;
        unsigned asked = part < INT32_MAX ? (unsigned)part : INT32_MAX;
        entry = io_uring_get_sqe(&uring->ring); /* never full: each chain is waited for */
        if (uring->sender) {
            io_uring_prep_write_fixed(entry, 0, at, asked, 0, 0);
        } else {
            io_uring_prep_read_fixed(entry, 0, at, asked, 0, 0);
        }
        /* io_uring waits for a file that can be polled, O_NONBLOCK or not, unless told here. */
        entry->rw_flags = stream->end.config.nonblocking ? RWF_NOWAIT : 0;
        io_uring_sqe_set_flags(entry, IOSQE_FIXED_FILE | IOSQE_IO_LINK);
        io_uring_sqe_set_data64(entry, chain->count);
        chain->asked[chain->count++] = asked;
        at += asked;
        left -= asked;
        room = buffer;
        if (asked < part) {
            break;
        }
    }
    if (entry) {
        entry->flags = IOSQE_FIXED_FILE; /* the last one links to nothing */
    }
}

/* Submits the chain and waits until all of it has completed, whatever became of it: then no memory
 * is in the kernel's hands. */
static int run_chain(struct uring_end *uring, struct chain *chain, struct err *error)
{
    struct call_table *calls = &uring->stream.end.counts->calls;
    unsigned completed = 0;
    while (completed < chain->count) {
        int result = io_uring_submit_and_wait(&uring->ring, chain->count - completed);
        if (result < 0) {
            errno = -result;
        }
        call_counted(calls, CALL_IO_URING_ENTER, result < 0 ? -1 : 0, false);
        if (result < 0 && result != -EINTR) {
            return stream_failed(&uring->stream, -result, "io_uring_enter", error);
        }
        if (result > 0) {
            calls->uring_submitted += (unsigned)result;
        }
        struct io_uring_cqe *entry;
        unsigned head, seen = 0;
        io_uring_for_each_cqe(&uring->ring, head, entry)
        {
            chain->result[io_uring_cqe_get_data64(entry) % CHAIN_MOST] = entry->res;
            seen++;
        }
        io_uring_cq_advance(&uring->ring, seen);
        calls->uring_completed += seen;
        completed += seen;
    }
    return 0;
}

/* Goes through what a chain did, in order. Returns the bytes moved: all, those up to the first
 * short operation, or with none 0 where the first would block or was interrupted. */
static ssize_t take_chain(struct uring_end *uring, const struct chain *chain, uint64_t bytes,
                          struct err *error)
{
    struct stream *stream = &uring->stream;
    struct transfer_counts *counts = stream->end.counts;
    uint64_t moved = 0;
    for (unsigned i = 0; i < chain->count; i++) {
        int result = chain->result[i];
        if (result == -EAGAIN || result == -EINTR) {
            break;
        }
        if (result < 0) {
            return stream_failed(stream, -result, uring->sender ? "a write" : "a read", error);
        }
        if (result == 0) {
            return stream_ended(stream, bytes - moved, error);
        }
        moved += (unsigned)result;
        counts->bytes += (unsigned)result;
        stream_count_blocks(stream, (unsigned)result, moved == bytes);
        if (!uring->sender && stream->expected &&
            stream_compare(stream, stream->memory + stream->position, (unsigned)result, error)) {
            return -1;
        }
        stream_moved(stream, (unsigned)result);
        if ((unsigned)result < chain->asked[i]) {
            counts->short_calls++;
            break; /* the rest of the chain was cancelled */
        }
    }
    return (ssize_t)moved;
}

static ssize_t run(struct transfer_end *end, uint64_t bytes, unsigned most, struct err *error)
{
    struct uring_end *uring = (struct uring_end *)(void *)end;
    struct chain chain;
    queue_chain(uring, &chain, bytes, most);
    if (run_chain(uring, &chain, error) < 0) {
        return -1;
    }
    return take_chain(uring, &chain, bytes, error);
}

static int uring_all(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    stream_of(end)->position = 0;
    while (bytes > 0) {
        ssize_t moved = run(end, bytes, CHAIN_MOST, error);
        if (moved < 0) {
            return -1;
        }
        bytes -= (uint64_t)moved;
    }
    return 0;
}

/* One operation: it completes at once, with EAGAIN where it would block. */
static ssize_t uring_some(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    return run(end, bytes, 1, error);
}

#else

#define REASON "built without liburing (2.3 or newer)"

static int method_why_not(const struct transport_ops *transport, char *reason, size_t size)
{
    (void)transport;
    snprintf(reason, size, REASON);
    return -1;
}

static int method_open(struct transfer_end **end, bool sender, const struct transfer_config *config,
                       struct transfer_counts *counts, struct err *error)
{
    (void)sender;
    (void)config;
    (void)counts;
    *end = NULL;
    return err_set(error, ERR_UNSUPPORTED, "io_uring", REASON);
}

static int uring_all(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    (void)end;
    (void)bytes;
    return err_set(error, ERR_UNSUPPORTED, "io_uring", REASON);
}

static ssize_t uring_some(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    return uring_all(end, bytes, error);
}

static void method_close(struct transfer_end *end)
{
    (void)end;
}

#endif

const struct method_ops method_uring = {
    .name = "uring",
    .help =
        "io_uring writes and reads of registered memory, up to 16 linked ones (64 KiB) an entry",
    .flags = METHOD_SOME | METHOD_VERIFY,
    .buffers = 2,
    .why_not = method_why_not,
    .open = method_open,
    .send = uring_all,
    .receive = uring_all,
    .send_some = uring_some,
    .receive_some = uring_some,
    .close = method_close,
};
