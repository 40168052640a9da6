/* zerocopy: send with MSG_ZEROCOPY (Linux, Documentation/networking/msg_zerocopy.rst). The network
 * reads the sender's own pages; a page is the sender's again once the socket's error queue says so,
 * and each notice says whether the kernel copied after all, as it does for loopback, where the data
 * stays in the machine. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/notice.h"
#include "transfer/stream.h"

/* Blocks of their own that may be under way at once: then sending waits for notices only where they
 * are late by a whole round. Two at least: with one, every send would wait for its own. */
#define SLOTS_MOST 16
#define SLOTS_LEAST 2
#define SLOTS_BYTES (UINT64_C(4) << 20)

/* The sends of one block, numbered from 0 up as this end made them. */
struct slot {
    uint32_t first;   /* number of its first */
    uint32_t sends;   /* made */
    uint32_t notices; /* of them come back */
};

struct zerocopy_end {
    struct stream stream;
    struct slot slots[SLOTS_MOST];
    uint32_t slot_count;
    uint32_t next; /* number of the next send */
    uint32_t base; /* the kernel's number of this end's send 0: it counts from the socket's first */
    bool base_known;
};

static int zerocopy_why_not(const struct transport_ops *transport, char *reason, size_t size)
{
    const int on = 1;
    if (stream_only(transport, &transport_tcp,
                    "the kernel sends without a copy over the network, not between local files",
                    reason, size) < 0) {
        return -1;
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int result = fd < 0 ? -1 : setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on);
    if (result < 0) {
        snprintf(reason, size, "SO_ZEROCOPY: %s: Linux 4.14 or newer is needed", strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    return result;
}

static int zerocopy_open(struct transfer_end **end, bool sender,
                         const struct transfer_config *config, struct transfer_counts *counts,
                         struct err *error)
{
    const int on = 1;
    uint64_t blocks = 1;
    if (sender && config->buffer_bytes) {
        blocks = stream_blocks(config->buffer_bytes, SLOTS_BYTES, SLOTS_MOST);
        blocks = blocks < SLOTS_LEAST ? SLOTS_LEAST : blocks;
    }
    if (stream_open(end, sizeof(struct zerocopy_end), &method_zerocopy, sender, config, counts,
                    blocks, error) < 0) {
        return -1;
    }
    struct zerocopy_end *zerocopy = (struct zerocopy_end *)(void *)*end;
    zerocopy->slot_count = (uint32_t)blocks;
    if (sender && setsockopt(config->fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) < 0) {
        err_system(error, errno, "tcp", "cannot set SO_ZEROCOPY");
        stream_close(*end);
        *end = NULL;
        return -1;
    }
    return 0;
}

/* Notes that the sends first..last, as the kernel numbers them, are done. The numbers may wrap
 * around. */
static void note(struct zerocopy_end *zerocopy, uint32_t first, uint32_t last, bool copied)
{
    struct transfer_counts *counts = zerocopy->stream.end.counts;
    uint32_t count = last - first + 1;
    counts->zerocopy_sent += count;
    counts->zerocopy_copied += copied ? count : 0;
    if (!zerocopy->base_known) {
        zerocopy->base_known = true;
        zerocopy->base = first;
    }
    first -= zerocopy->base;
    for (uint32_t i = 0; i < zerocopy->slot_count; i++) {
        struct slot *slot = &zerocopy->slots[i];
        if (slot->notices == slot->sends) {
            continue;
        }
        /* The overlap of both ranges, as distances from the older start. */
        uint32_t skew = first - slot->first;
        if (skew < slot->sends) {
            uint32_t rest = slot->sends - skew;
            slot->notices += rest < count ? rest : count;
        } else if (slot->first - first < count) {
            uint32_t rest = count - (slot->first - first);
            slot->notices += rest < slot->sends ? rest : slot->sends;
        }
    }
}

/* Reads one message of the error queue. 1; 0 where it is empty; -1 with *error. */
static int read_notice(struct zerocopy_end *zerocopy, struct err *error)
{
    struct stream *stream = &zerocopy->stream;
    struct net_notice notice;
    ssize_t result = call_counted(&stream->end.counts->calls, CALL_RECVMSG,
                                  net_notice_read(stream->end.config.fd, &notice), false);
    if (result < 0) {
        return errno == EAGAIN || errno == EINTR ? 0
                                                 : stream_failed(stream, errno, "recvmsg", error);
    }
    if (notice.valid) {
        note(zerocopy, notice.first, notice.last, notice.copied);
    }
    return 1;
}

/* Waits until the error queue has something. A connection that has failed or been closed at both
 * ends wakes for ever and will bring no notice: an error. */
static int wait_notice(struct zerocopy_end *zerocopy, struct err *error)
{
    struct stream *stream = &zerocopy->stream;
    struct call_table *calls = &stream->end.counts->calls;
    struct pollfd file = {.fd = stream->end.config.fd}; /* POLLERR comes unasked */
    if (call_counted(calls, CALL_PPOLL, ppoll(&file, 1, NULL, NULL), false) < 0) {
        return errno == EINTR ? 0 : stream_failed(stream, errno, "ppoll", error);
    }
    int got = read_notice(zerocopy, error);
    if (got != 0) {
        return got < 0 ? -1 : 0;
    }
    int number = 0;
    socklen_t length = sizeof number;
    if (call_counted(calls, CALL_GETSOCKOPT,
                     getsockopt(stream->end.config.fd, SOL_SOCKET, SO_ERROR, &number, &length),
                     false) < 0) {
        number = errno;
    }
    if (number == 0 && file.revents & (POLLHUP | POLLNVAL)) {
        number = ECONNRESET;
    }
    return number ? stream_failed(stream, number, "waiting for notices", error) : 0;
}

/* Reads a notice, or waits until there may be one. */
static int next_notice(struct zerocopy_end *zerocopy, struct err *error)
{
    int got = read_notice(zerocopy, error);
    return got == 0 ? wait_notice(zerocopy, error) : got < 0 ? -1 : 0;
}

/* Returns once the slot's memory is the sender's again. */
static int reclaim(struct zerocopy_end *zerocopy, const struct slot *slot, struct err *error)
{
    while (slot->notices < slot->sends) {
        if (next_notice(zerocopy, error) < 0) {
            return -1;
        }
    }
    return 0;
}

/* The socket may have sent before this end was opened, and nothing but a notice tells its number:
 * the first send waits for its own, alone, since notices need not come in order. */
static int learn_base(struct zerocopy_end *zerocopy, struct err *error)
{
    while (!zerocopy->base_known) {
        if (next_notice(zerocopy, error) < 0) {
            return -1;
        }
    }
    return 0;
}

static int reclaim_all(struct zerocopy_end *zerocopy, struct err *error)
{
    for (uint32_t i = 0; i < zerocopy->slot_count; i++) {
        if (reclaim(zerocopy, &zerocopy->slots[i], error) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ENOBUFS: the notices that are outstanding use up what the socket may hold for them. 0 where the
 * send is to be made again once some have come. */
static int make_room(struct zerocopy_end *zerocopy, struct err *error)
{
    for (uint32_t i = 0; i < zerocopy->slot_count; i++) {
        if (zerocopy->slots[i].notices < zerocopy->slots[i].sends) {
            return reclaim_all(zerocopy, error);
        }
    }
    stream_failed(&zerocopy->stream, ENOBUFS, "sendto", error);
    return err_hint(error, "net.core.optmem_max and locked memory (ulimit -l) limit it");
}

/* Sends one block, in as many calls as it takes. */
static int send_block(struct zerocopy_end *zerocopy, struct slot *slot, uint64_t bytes,
                      struct err *error)
{
    struct stream *stream = &zerocopy->stream;
    struct transfer_counts *counts = stream->end.counts;
    while (bytes > 0) {
        ssize_t sent = call_counted(
            &counts->calls, CALL_SENDTO,
            send(stream->end.config.fd, stream_next(stream), bytes, MSG_ZEROCOPY | MSG_NOSIGNAL),
            true);
        if (sent < 0 && errno == ENOBUFS) {
            if (make_room(zerocopy, error) < 0) {
                return -1;
            }
            continue;
        }
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            return stream_failed(stream, errno, "sendto", error);
        }
        slot->sends++;
        zerocopy->next++;
        counts->bytes += (uint64_t)sent;
        counts->short_calls += (uint64_t)sent < bytes;
        bytes -= (uint64_t)sent;
        stream_moved(stream, (uint64_t)sent);
        if (!zerocopy->base_known && learn_base(zerocopy, error) < 0) {
            return -1;
        }
    }
    counts->blocks++;
    return 0;
}

static int zerocopy_send(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    struct zerocopy_end *zerocopy = (struct zerocopy_end *)(void *)end;
    uint64_t buffer = end->config.buffer_bytes;
    uint32_t i = 0;
    zerocopy->stream.position = 0;
    while (bytes > 0) {
        uint64_t block = buffer < bytes ? buffer : bytes;
        struct slot *slot = &zerocopy->slots[i];
        if (reclaim(zerocopy, slot, error) < 0) {
            return -1;
        }
        *slot = (struct slot){.first = zerocopy->next};
        if (send_block(zerocopy, slot, block, error) < 0) {
            return -1;
        }
        bytes -= block;
        i = (i + 1) % zerocopy->slot_count;
    }
    return reclaim_all(zerocopy, error);
}

const struct method_ops method_zerocopy = {
    .name = "zerocopy",
    .help = "send with MSG_ZEROCOPY and its notices, read: loopback copies after all, and says so",
    .flags = METHOD_VERIFY,
    .buffers = 3,
    .why_not = zerocopy_why_not,
    .open = zerocopy_open,
    .send = zerocopy_send,
    .receive = stream_read,
    .close = stream_close,
};
