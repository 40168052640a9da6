#if SONDE_HAVE_URING

#include "engine/uring_state.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Tells of the end of a stream, or of an error, after what came before it. Of datagrams an error
 * ends nothing. */
static void end_receive(struct uring *uring, struct channel *channel, int64_t result)
{
    if (channel->wants & CHANNEL_WANTS_RECEIVE && !channel->held) {
        if (!channel_is_datagram(channel)) {
            channel->wants &= (uint8_t)~CHANNEL_WANTS_RECEIVE;
        }
        channel->slot = 0;
        uring_deliver(uring, channel, OP_RECEIVE, result, NULL);
    } else {
        channel->slot = result < 0 ? (uint32_t)-result : ENDED_BY_PEER;
    }
}

/* Hands on a filled buffer. */
static void deliver_buffer(struct uring *uring, struct channel *channel, uint32_t buffer,
                           uint32_t length)
{
    const uint8_t *data = uring_buffers_at(uring_buffers_of(uring, channel), buffer);
    if (channel_is_plain(channel)) {
        uring_deliver(uring, channel, OP_RECEIVE, length, data);
        return;
    }
    struct uring_received received;
    uring_messages_read(&uring->messages, channel, data, length, &received);
    struct op *op = &received.op;
    if (op->result == 0 && !channel_is_datagram(channel)) {
        end_receive(uring, channel, 0);
        return;
    }
    struct op_stamps stamps = {.received_ns = received.received_ns};
    op->kind = OP_RECEIVE;
    op->channel = channel;
    op->now_ns = clock_now_ns();
    if (channel->options & CHANNEL_STAMPS) {
        stamps.sent_ns = message_sent_ns(&uring->messages.calls, &uring->engine, channel);
        op->stamps = &stamps;
    }
    uring->engine.config.deliver(uring->engine.config.owner, op);
}

/* Something has come into the channel's own memory. */
static void received_in_memory(struct uring *uring, struct channel *channel, uint32_t length)
{
    if (channel->wants & CHANNEL_WANTS_RECEIVE) {
        uring_deliver(uring, channel, OP_RECEIVE, length, channel->memory);
    } else if (!channel->closing) {
        channel->held = HELD_IN_MEMORY | length;
    }
}

static void completed_receive(struct uring *uring, struct channel *channel, int32_t result,
                              uint32_t flags)
{
    uint32_t buffer = flags >> IORING_CQE_BUFFER_SHIFT;
    struct uring_buffers *buffers = uring_buffers_of(uring, channel);
    bool filled = result > 0 && flags & IORING_CQE_F_BUFFER;
    bool wanted = channel->wants & CHANNEL_WANTS_RECEIVE;
    if (filled) {
        uring_buffers_note(buffers, (uint32_t)result);
    }
    if (filled && !channel->closing && (!wanted || channel->held)) {
        uring_buffers_hold(buffers, channel, buffer, (uint32_t)result);
    } else {
        if (filled && !channel->closing) {
            deliver_buffer(uring, channel, buffer, (uint32_t)result);
        }
        if (flags & IORING_CQE_F_BUFFER) {
            uring_buffers_give(buffers, buffer);
        }
        if (__builtin_expect(channel->memory && !filled && result > 0, 0)) {
            received_in_memory(uring, channel, (uint32_t)result);
        }
    }
    if (result == -ENOBUFS) {
        uring_buffers_relieve(buffers);
    } else if (result <= 0 && result != -ECANCELED && result != -EINTR && !channel->closing) {
        end_receive(uring, channel, result);
    }
    if (!channel->closing) {
        uring_rearm(uring, channel, flags & IORING_CQE_F_SOCK_NONEMPTY);
    }
}

static void completed_send(struct uring *uring, struct channel *channel, int32_t result)
{
    if (channel_is_datagram(channel) && !channel->closing) {
        bool waited = channel->send_flags & SEND_WAITS;
        channel->send_flags &= ~SEND_WAITS;
        if (result == -EAGAIN && channel->send_data) {
            uring_wait_for_room(uring, channel);
            return;
        }
        result = waited && result >= 0 ? -EAGAIN : result; /* the events that it waited for */
    }
    if (result == -EAGAIN && channel->send_data && !channel->closing) {
        channel->wants |= CHANNEL_WANTS_SEND; /* found no room: again, and now it may wait */
        uring_rearm(uring, channel, false);
        return;
    }
    if (channel->armed & ARMED_SHUTDOWN) {
        channel->armed &= (uint8_t)~ARMED_SHUTDOWN;
        uring_shut_down(uring, channel);
    }
    if (!channel->closing) {
        uring_deliver(uring, channel, OP_SEND, result, NULL);
    }
}

static void forget_quiet(struct uring *uring, const struct channel *channel)
{
    for (uint32_t i = 0; i < uring->quiet_count; i++) {
        if (uring->quiet[i] == channel) {
            uring->quiet[i] = NULL;
        }
    }
}

static void completed_accept(struct uring *uring, struct channel *channel, int32_t result)
{
    if (!channel->closing) {
        uring_deliver(uring, channel, OP_ACCEPT, result, NULL);
        if (!channel->closing) {
            uring_rearm(uring, channel, false);
        }
    } else if (result >= 0) {
        call_counted(uring->engine.calls, CALL_CLOSE, close(result), false);
    }
}

/* All cancellations of the channel are through. One that came too late or too early for its
 * request (-ENOENT, -EALREADY) is made again as long as the request is there. */
static void completed_cancel(struct uring *uring, struct channel *channel)
{
    unsigned requests = (unsigned)__builtin_popcount(channel->armed & ARMED_REQUESTS);
    if (channel->in_flight > requests) {
        return;
    }
    channel->armed &= (uint8_t)~ARMED_CANCEL;
    if (!channel->closing && !(channel->wants & CHANNEL_WANTS_RECEIVE)) {
        uring_cancel(uring, channel, ARMED_RECEIVE);
    }
}

/* A send that has been DONE already can only be told of like an error of the network: as one of the
 * receive. */
static void completed_message(struct uring *uring, struct uring_message *message, int32_t result)
{
    struct channel *channel = uring_fail_message(uring, message);
    if (channel->closing) {
        uring_advance_close(uring, channel);
    } else if (result < 0) {
        end_receive(uring, channel, result);
    }
}

/* The network no longer reads the data of a send. */
static void noticed(struct uring *uring, struct channel *channel, int32_t result)
{
    struct call_table *calls = uring->engine.calls;
    calls->zerocopy_reported++;
    calls->zerocopy_copied += ((uint32_t)result & IORING_NOTIF_USAGE_ZC_COPIED) != 0;
    channel->notices--;
    if (channel->closing) {
        uring_advance_close(uring, channel);
    }
}

/* Where the request is through, it is taken off the channel before anything is delivered. */
static void completed(struct uring *uring, uint64_t user_data, int32_t result, uint32_t flags)
{
    struct channel *channel = (struct channel *)(uintptr_t)(user_data & ~TAG_MASK);
    enum tag tag = (enum tag)(user_data & TAG_MASK);
    if (tag == TAG_MESSAGE) {
        completed_message(uring, (struct uring_message *)(void *)channel, result);
        return;
    }
    if (flags & IORING_CQE_F_NOTIF) {
        noticed(uring, channel, result);
        return;
    }
    bool more = flags & IORING_CQE_F_MORE;
    if (more && tag == TAG_SEND) { /* through, but for its notice */
        uring->engine.calls->zerocopy_sends++;
        channel->notices++;
        more = false;
    }
    if (!more) {
        channel->in_flight--;
        if (tag < TAGS_CANCELLABLE) {
            channel->armed &= (uint8_t) ~(1 << tag);
        }
    }
    /* Submitted during a delivery below, OP_CLOSE has begun its own way. */
    bool closing = channel->closing;
    switch (tag) {
    case TAG_RECEIVE:
        completed_receive(uring, channel, result, flags);
        break;
    case TAG_SEND:
        if (channel->armed & ARMED_QUIET) {
            channel->armed &= (uint8_t)~ARMED_QUIET;
            forget_quiet(uring, channel);
        }
        uring_end_message(uring, channel, result);
        completed_send(uring, channel, result);
        break;
    case TAG_CONNECT:
        if (!closing) {
            uring_deliver(uring, channel, OP_CONNECT, result, NULL);
        }
        break;
    case TAG_ACCEPT:
        completed_accept(uring, channel, result);
        break;
    case TAG_CANCEL:
        completed_cancel(uring, channel);
        break;
    case TAG_CLOSE:
        if (result < 0) {
            channel->slot = (uint32_t)-result;
        }
        break;
    case TAG_MESSAGE: /* above */
        break;
    }
    if (closing) {
        uring_advance_close(uring, channel);
    }
}

/* Delivers what the channel holds, as long as it is wanted; the count of deliveries. */
static unsigned deliver_held(struct uring *uring, struct channel *channel)
{
    unsigned delivered = 0;
    uint32_t buffer, length;
    struct uring_buffers *buffers = uring_buffers_of(uring, channel);
    if (channel->held & HELD_IN_MEMORY && channel->wants & CHANNEL_WANTS_RECEIVE) {
        length = channel->held & ~HELD_IN_MEMORY;
        channel->held = 0;
        uring_deliver(uring, channel, OP_RECEIVE, length, channel->memory);
        delivered++;
    }
    while (!(channel->held & HELD_IN_MEMORY) && channel->wants & CHANNEL_WANTS_RECEIVE &&
           uring_buffers_unhold(buffers, channel, &buffer, &length)) {
        deliver_buffer(uring, channel, buffer, length);
        uring_buffers_give(buffers, buffer);
        delivered++;
    }
    if (channel->wants & CHANNEL_WANTS_RECEIVE && channel->slot) {
        int64_t result = channel->slot == ENDED_BY_PEER ? 0 : -(int64_t)channel->slot;
        end_receive(uring, channel, result);
        delivered++;
    }
    return delivered;
}

unsigned uring_work_off_pending(struct uring *uring)
{
    unsigned delivered = 0;
    uint32_t held;
    do { /* again where buffers came back that others in the list had been waiting for */
        held = uring->buffers.held_count + uring->messages.buffers.held_count;
        struct channel *next = uring->pending;
        uring->pending = NULL;
        uring->pending_end = &uring->pending;
        while (next) {
            struct channel *channel = next;
            next = channel->next_pending;
            channel->armed &= (uint8_t)~ARMED_PENDING;
            if (!channel->closing) {
                delivered += deliver_held(uring, channel);
            } else {
                uring_advance_close(uring, channel);
                delivered++;
                continue;
            }
            if (!channel->closing) {
                uring_rearm(uring, channel, true);
                if (!(channel->wants & CHANNEL_WANTS_RECEIVE)) {
                    uring_cancel(uring, channel, ARMED_RECEIVE);
                }
            }
        }
    } while (uring->pending &&
             uring->buffers.held_count + uring->messages.buffers.held_count < held);
    return delivered;
}

void uring_settle_quiet(struct uring *uring)
{
    if (uring->quiet_count == 0 || !uring_sees_all(uring)) {
        return;
    }
    struct io_uring_cqe *entry;
    unsigned head;
    io_uring_for_each_cqe(&uring->ring, head, entry)
    {
        uint64_t user_data = io_uring_cqe_get_data64(entry);
        if ((user_data & TAG_MASK) == TAG_SEND) {
            struct channel *channel = (struct channel *)(uintptr_t)(user_data & ~TAG_MASK);
            channel->armed &= (uint8_t)~ARMED_QUIET;
        }
    }
    uint32_t count = uring->quiet_count; /* deliveries may append more */
    for (uint32_t i = 0; i < count; i++) {
        struct channel *channel = uring->quiet[i];
        if (!channel || !(channel->armed & ARMED_QUIET)) {
            continue;
        }
        channel->armed &= (uint8_t) ~(ARMED_QUIET | ARMED_SEND);
        channel->in_flight--;
        bool closing = channel->closing;
        completed_send(uring, channel, (int32_t)channel->send_length);
        if (closing) {
            uring_advance_close(uring, channel);
        }
    }
    uring->quiet_count -= count;
    memmove(uring->quiet, uring->quiet + count, uring->quiet_count * sizeof(struct channel *));
}

void uring_drain(struct uring *uring)
{
    /* No more than are there now: deliveries may submit, and so complete, without end. */
    unsigned ready = io_uring_cq_ready(&uring->ring);
    uring->engine.calls->uring_completed += ready;
    for (unsigned i = 0; i < ready; i++) {
        struct io_uring_cqe *entry;
        if (io_uring_peek_cqe(&uring->ring, &entry) < 0) {
            break; /* not reached: it does not enter the kernel while entries are there */
        }
        uint64_t user_data = io_uring_cqe_get_data64(entry);
        int32_t result = entry->res;
        uint32_t flags = entry->flags;
        io_uring_cqe_seen(&uring->ring, entry);
        completed(uring, user_data, result, flags);
    }
}

#else

/* An empty translation unit is no valid C. */
typedef int uring_complete_is_absent;

#endif
