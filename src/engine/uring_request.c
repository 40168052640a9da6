#if SONDE_HAVE_URING

#include "engine/uring_state.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel cuts a send at 2 GiB, which for a quiet one would look like success. */
#define QUIET_BYTES_MAX (UINT32_C(1) << 30)

int uring_count_enter(struct uring *uring, unsigned queued, int result)
{
    struct call_table *calls = uring->engine.calls;
    bool failed = result < 0 && result != -ETIME; /* a wait that was long enough is none */
    errno = failed ? -result : 0;
    call_counted(calls, CALL_IO_URING_ENTER, failed ? -1 : 0, false);
    calls->uring_submitted += queued - io_uring_sq_ready(&uring->ring);
    return result;
}

struct io_uring_sqe *uring_take_entry(struct uring *uring)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);
    if (!entry) {
        unsigned queued = io_uring_sq_ready(&uring->ring);
        uring_count_enter(uring, queued, io_uring_submit(&uring->ring));
        entry = io_uring_get_sqe(&uring->ring);
    }
    return entry;
}

void uring_tag_entry(struct io_uring_sqe *entry, struct channel *channel, enum tag tag)
{
    io_uring_sqe_set_data64(entry, (uint64_t)(uintptr_t)channel | tag);
    channel->in_flight++;
    if (tag < TAGS_CANCELLABLE) {
        channel->armed |= (uint8_t)(1 << tag);
    }
}

/* Into memory of the channel's own: one receive at a time, so that what is delivered stays as it is
 * until it has been looked at. */
static void arm_memory(struct io_uring_sqe *entry, struct channel *channel, bool likely)
{
    if (channel->kind == CHANNEL_PIPE) {
        io_uring_prep_read(entry, channel->fd, channel->memory, channel->memory_bytes, UINT64_MAX);
        return;
    }
    io_uring_prep_recv(entry, channel->fd, channel->memory, channel->memory_bytes, 0);
    if (!likely) {
        entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
    }
}

/* Asks for a receive. `likely` says that data is probably there; otherwise the kernel need not try
 * before it waits. False: no room now. */
static bool arm_receive(struct uring *uring, struct channel *channel, bool likely)
{
    struct io_uring_sqe *entry = uring_take_entry(uring);
    if (!entry) {
        return false;
    }
    if (channel->memory) {
        arm_memory(entry, channel, likely);
        uring_tag_entry(entry, channel, TAG_RECEIVE);
        return true;
    }
    if (channel->kind == CHANNEL_PIPE) {
        /* The length of a read is a limit; of a receive 0 stands for the buffer's. */
        io_uring_prep_read(entry, channel->fd, NULL, (unsigned)uring->buffers.bytes, UINT64_MAX);
    } else if (!channel_is_plain(channel)) {
        /* Multishot in every mode: a single one would need a header, an address and control
         * messages of its own a channel, for as long as it waits. Here they come in the buffer. */
        io_uring_prep_recvmsg_multishot(entry, channel->fd,
                                        uring_receive_header(&uring->messages, channel),
                                        channel_is_datagram(channel) ? MSG_TRUNC : 0);
    } else if (uring->multishot || (uring->steady && channel->options & CHANNEL_STEADY)) {
        io_uring_prep_recv_multishot(entry, channel->fd, NULL, 0, 0);
    } else {
        io_uring_prep_recv(entry, channel->fd, NULL, 0, 0);
        if (!likely) {
            entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
        }
    }
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = uring_buffers_of(uring, channel)->group;
    uring_tag_entry(entry, channel, TAG_RECEIVE);
    return true;
}

static bool arm_accept(struct uring *uring, struct channel *channel)
{
    struct io_uring_sqe *entry = uring_take_entry(uring);
    if (!entry) {
        return false;
    }
    io_uring_prep_multishot_accept(entry, channel->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    uring_tag_entry(entry, channel, TAG_ACCEPT);
    return true;
}

/* By user_data: by file the kernel would search all requests. */
void uring_cancel(struct uring *uring, struct channel *channel, uint8_t which)
{
    if (channel->armed & ARMED_CANCEL) {
        return; /* looked at again when it is through */
    }
    for (unsigned tag = 0; tag < TAGS_CANCELLABLE; tag++) {
        if (!(channel->armed & which & (1 << tag))) {
            continue;
        }
        struct io_uring_sqe *entry = uring_take_entry(uring);
        if (!entry) {
            uring_pend(uring, channel);
            return;
        }
        io_uring_prep_cancel64(entry, (uint64_t)(uintptr_t)channel | tag, 0);
        uring_tag_entry(entry, channel, TAG_CANCEL);
        channel->armed |= ARMED_CANCEL;
    }
}

static bool close_file(struct uring *uring, struct channel *channel, int *fd)
{
    if (*fd < 0) {
        return true;
    }
    struct io_uring_sqe *entry = uring_take_entry(uring);
    if (!entry) {
        return false;
    }
    io_uring_prep_close(entry, *fd);
    uring_tag_entry(entry, channel, TAG_CLOSE);
    *fd = -1;
    return true;
}

void uring_advance_close(struct uring *uring, struct channel *channel)
{
    if (channel->armed & ARMED_PENDING) {
        return; /* the list still points at it; continued from there */
    }
    if (channel->armed & ARMED_REQUESTS) {
        uring_cancel(uring, channel, ARMED_REQUESTS);
        return;
    }
    if (channel->in_flight > 0) {
        return;
    }
    if (channel->write_fd == channel->fd) {
        channel->write_fd = -1;
    }
    if (!close_file(uring, channel, &channel->fd) ||
        !close_file(uring, channel, &channel->write_fd)) {
        uring_pend(uring, channel);
    } else if (channel->in_flight == 0 && channel->notices == 0) {
        uring_deliver(uring, channel, OP_CLOSE, -(int64_t)channel->slot, NULL);
    }
}

static void start_close(struct uring *uring, struct channel *channel)
{
    uint32_t buffer, length;
    struct uring_buffers *buffers = uring_buffers_of(uring, channel);
    if (channel->held & HELD_IN_MEMORY) {
        channel->held = 0;
    }
    while (uring_buffers_unhold(buffers, channel, &buffer, &length)) {
        uring_buffers_give(buffers, buffer);
    }
    channel->closing = 1;
    channel->wants = 0;
    channel->slot = 0; /* from here on: errno of a failed close */
    if (channel->armed & ARMED_REQUESTS || channel->in_flight > 0 || channel->fd >= 0) {
        uring_advance_close(uring, channel);
    } else {
        uring_pend(uring, channel); /* completes from reap, like any other */
    }
}

void uring_shut_down(struct uring *uring, struct channel *channel)
{
    struct call_table *calls = uring->engine.calls;
    if (channel->armed & ARMED_SEND || channel->wants & CHANNEL_WANTS_SEND) {
        channel->armed |= ARMED_SHUTDOWN;
    } else if (channel->kind != CHANNEL_PIPE) {
        /* The call itself: io_uring would hand it to a kernel thread. */
        call_counted(calls, CALL_SHUTDOWN, shutdown(channel->fd, SHUT_WR), false);
    } else if (channel->write_fd >= 0) {
        call_counted(calls, CALL_CLOSE, close(channel->write_fd), false);
        channel->write_fd = -1;
    }
}

/* MSG_WAITALL: what finds no room is sent by the kernel when there is some, without
 * coming back here; one that completes short has been cancelled or has failed.
 * A quiet send (OP_QUIET) must not wait, so that it is through once it has been submitted, and
 * posts no completion if all went: then it does not end the wait that follows in the same entry. */
bool uring_arm_send(struct uring *uring, struct channel *channel, const uint8_t *data,
                    size_t length, uint32_t flags)
{
    struct io_uring_sqe *entry = uring_take_entry(uring);
    if (!entry) {
        return false;
    }
    channel->send_data = NULL;
    channel->send_length = 0;
    if (channel->kind == CHANNEL_PIPE) {
        io_uring_prep_write(entry, channel->write_fd, data, (unsigned)length, UINT64_MAX);
    } else {
        bool datagram = channel_is_datagram(channel);
        int how = MSG_NOSIGNAL | (datagram ? MSG_DONTWAIT : MSG_WAITALL) |
                  (flags & OP_MORE ? MSG_MORE : 0);
        bool quiet =
            flags & OP_QUIET && length <= QUIET_BYTES_MAX && uring->quiet_count < uring->quiet_most;
        if (flags & OP_ZEROCOPY && !quiet) {
            io_uring_prep_send_zc(entry, channel->write_fd, data, length, how,
                                  IORING_SEND_ZC_REPORT_USAGE);
        } else {
            io_uring_prep_send(entry, channel->write_fd, data, length,
                               how | (quiet ? MSG_DONTWAIT : 0));
        }
        if (quiet || datagram) {
            channel->send_data = data ? data : (const uint8_t *)""; /* of an empty message */
            channel->send_length = (uint32_t)length;
            channel->send_flags = flags & ~(uint32_t)OP_QUIET;
        }
        if (quiet) {
            entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
            channel->armed |= ARMED_QUIET;
            uring->quiet[uring->quiet_count++] = channel;
        }
    }
    uring_tag_entry(entry, channel, TAG_SEND);
    return true;
}

static enum submit_result submit_connect(struct uring *uring, struct op *op)
{
    struct io_uring_sqe *entry = uring_take_entry(uring);
    if (!entry) {
        return SUBMIT_BUSY;
    }
    io_uring_prep_connect(entry, op->channel->fd, (const struct sockaddr *)(const void *)op->data,
                          (socklen_t)op->length);
    uring_tag_entry(entry, op->channel, TAG_CONNECT);
    return SUBMIT_QUEUED;
}

static enum submit_result submit_receive(struct uring *uring, const struct op *op)
{
    struct channel *channel = op->channel;
    /* What is being filled, or is full, stays where it is. */
    if (!(channel->armed & ARMED_RECEIVE) && !channel->held) {
        channel_take_memory(channel, op);
    }
    if (channel->held || channel->slot) {
        uring_pend(uring, channel);
    } else if (!(channel->armed & ARMED_RECEIVE) && !arm_receive(uring, channel, false)) {
        return SUBMIT_BUSY;
    }
    channel->wants |= CHANNEL_WANTS_RECEIVE;
    return SUBMIT_QUEUED;
}

static enum submit_result submit_accept(struct uring *uring, struct channel *channel)
{
    if (!(channel->armed & ARMED_ACCEPT) && !arm_accept(uring, channel)) {
        return SUBMIT_BUSY;
    }
    channel->wants |= CHANNEL_WANTS_ACCEPT;
    return SUBMIT_QUEUED;
}

void uring_rearm(struct uring *uring, struct channel *channel, bool likely)
{
    bool armed = true;
    if (channel->wants & CHANNEL_WANTS_SEND) {
        armed = uring_arm_send(uring, channel, channel->send_data, channel->send_length,
                               channel->send_flags);
        channel->wants &= (uint8_t)(armed ? ~CHANNEL_WANTS_SEND : UINT8_MAX);
    }
    if (channel->wants & CHANNEL_WANTS_RECEIVE && !(channel->armed & ARMED_RECEIVE)) {
        armed &= !channel->held && !channel->slot &&
                 (channel->memory || uring_buffers_left(uring_buffers_of(uring, channel))) &&
                 arm_receive(uring, channel, likely);
    }
    if (channel->wants & CHANNEL_WANTS_ACCEPT && !(channel->armed & ARMED_ACCEPT)) {
        armed &= arm_accept(uring, channel);
    }
    if (!armed) {
        uring_pend(uring, channel);
    }
}

enum submit_result uring_submit(struct engine *engine, struct op *op)
{
    struct uring *uring = uring_of(engine);
    struct channel *channel = op->channel;
    op->result = 0;
    switch (op->kind) {
    case OP_SEND:
        if (!channel_is_plain(channel)) {
            return uring_send_message(uring, op);
        }
        return uring_arm_send(uring, channel, op->data, op->length, op->flags) ? SUBMIT_QUEUED
                                                                               : SUBMIT_BUSY;
    case OP_RECEIVE:
        return submit_receive(uring, op);
    case OP_ACCEPT:
        return submit_accept(uring, channel);
    case OP_CONNECT:
        return submit_connect(uring, op);
    case OP_PAUSE:
        channel->wants &= (uint8_t)~CHANNEL_WANTS_RECEIVE;
        uring_cancel(uring, channel, ARMED_RECEIVE);
        return SUBMIT_DONE;
    case OP_PUSH:
        engine_push(engine, op->channel);
        return SUBMIT_DONE;
    case OP_SHUTDOWN:
        uring_shut_down(uring, channel);
        return SUBMIT_DONE;
    case OP_CLOSE:
        start_close(uring, channel);
        return SUBMIT_QUEUED;
    default:
        op->result = -EINVAL;
        return SUBMIT_DONE;
    }
}

#else

/* An empty translation unit is no valid C. */
typedef int uring_request_is_absent;

#endif
