/* Sends of the io_uring engine that are more than bytes of a stream.
 *
 * One message: IORING_OP_SEND of a connected channel, IORING_OP_SENDMSG of a CHANNEL_MANY, with a
 * copy of what the submitter may forget; segments that the kernel cuts: IORING_OP_SENDMSG. A send
 * of a CHANNEL_MANY is DONE when it has been queued. It may not wait (MSG_DONTWAIT), so that it is
 * through once submitted, and posts no completion if all went; one that failed is told of as an
 * error of the receive.
 *
 * No datagram waits for room inside the kernel's send: tried again, some sockets (unix; Linux 6.18)
 * send an empty message, because the first try has consumed the data. It waits by a poll of the
 * file and is then sent anew.
 *
 * Two kinds of sends are plain calls, made and counted under their own names: several messages
 * without CHANNEL_SEGMENTS (sendmmsg: the ring has no such operation, and as many requests for one
 * channel would not keep their order where one of them waits), and those of CHANNEL_STAMPS (the
 * stamp goes to the error queue, which has to be empty again before a receive looks at the file:
 * io_uring would retry it until it gave up and blocked a kernel thread). */
#if SONDE_HAVE_URING

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/uring_state.h"

/* Makes the kernel take all that is queued. */
static void submit_queued(struct uring *uring)
{
    unsigned queued = io_uring_sq_ready(&uring->ring);
    if (queued) {
        uring_count_enter(uring, queued, io_uring_submit(&uring->ring));
    }
    uring_settle_messages(uring);
}

static enum submit_result send_now(struct uring *uring, struct op *op)
{
    struct channel *channel = op->channel;
    if (uring->messages.queued_count) {
        submit_queued(uring); /* what came before goes before */
    }
    ssize_t sent;
    do {
        sent = message_send(&uring->engine, channel, op);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EAGAIN && channel->kind != CHANNEL_MANY) {
        /* The first message waits for room; what follows is the submitter's next send. */
        bool several = op->segment && op->segment < op->length;
        return uring_arm_send(uring, channel, op->data, several ? op->segment : op->length,
                              op->flags)
                   ? SUBMIT_QUEUED
                   : SUBMIT_BUSY;
    }
    op->result = sent < 0 ? -errno : sent;
    if (sent >= 0 && channel->options & CHANNEL_STAMPS) {
        message_stamp_sent(&uring->messages.calls, &uring->engine, channel);
    }
    return SUBMIT_DONE;
}

static struct uring_message *take_message(struct uring *uring)
{
    struct uring_message *message = uring_messages_take(&uring->messages);
    if (!message) {
        submit_queued(uring);
        message = uring_messages_take(&uring->messages);
    }
    return message;
}

static enum submit_result send_copy(struct uring *uring, struct op *op, size_t length,
                                    bool segments)
{
    struct uring_messages *messages = &uring->messages;
    struct uring_message *message = take_message(uring);
    struct io_uring_sqe *entry = message ? uring_take_entry(uring) : NULL;
    if (!entry) {
        if (message) {
            uring_messages_give(messages, message);
        }
        op->result = -EAGAIN;
        return SUBMIT_DONE;
    }
    uring_messages_describe(message, op, length, segments);
    if (length) {
        memcpy(message->data, op->data, length);
    }
    message->vector.iov_base = message->data;
    io_uring_prep_sendmsg(entry, op->channel->write_fd, &message->header,
                          MSG_NOSIGNAL | MSG_DONTWAIT);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(entry, (uint64_t)(uintptr_t)message | TAG_MESSAGE);
    op->channel->in_flight++;
    messages->queued[messages->queued_count++] = uring_message_number(messages, message);
    op->result = (int64_t)length;
    return SUBMIT_DONE;
}

/* channel->send_length: the message's number plus 1, while send_data is NULL. */
static enum submit_result send_segments(struct uring *uring, struct op *op, size_t length)
{
    struct uring_message *message = take_message(uring);
    struct io_uring_sqe *entry = message ? uring_take_entry(uring) : NULL;
    if (!entry) {
        if (message) {
            uring_messages_give(&uring->messages, message);
        }
        return SUBMIT_BUSY;
    }
    uring_messages_describe(message, op, length, true);
    io_uring_prep_sendmsg(entry, op->channel->write_fd, &message->header,
                          MSG_NOSIGNAL | MSG_DONTWAIT);
    uring_tag_entry(entry, op->channel, TAG_SEND);
    op->channel->send_data = NULL;
    op->channel->send_flags = 0;
    op->channel->send_length = uring_message_number(&uring->messages, message) + 1;
    return SUBMIT_QUEUED;
}

enum submit_result uring_send_message(struct uring *uring, struct op *op)
{
    struct channel *channel = op->channel;
    bool several = channel_is_datagram(channel) && op->segment && op->length > op->segment;
    size_t length = op->length;
    if (channel->options & CHANNEL_STAMPS || (several && !(channel->options & CHANNEL_SEGMENTS))) {
        return send_now(uring, op);
    }
    if (several) {
        length = message_segmented_bytes(length, op->segment);
        several = length > op->segment;
    }
    if (channel->kind == CHANNEL_MANY) {
        return length > URING_MESSAGE_BYTES ? send_now(uring, op)
                                            : send_copy(uring, op, length, several);
    }
    if (several) {
        return send_segments(uring, op, length);
    }
    uint32_t flags = channel_is_datagram(channel) ? op->flags & ~(uint32_t)OP_MORE : op->flags;
    return uring_arm_send(uring, channel, op->data, length, flags) ? SUBMIT_QUEUED : SUBMIT_BUSY;
}

void uring_end_message(struct uring *uring, struct channel *channel, int32_t result)
{
    if (!channel_is_datagram(channel) || channel->send_data || !channel->send_length) {
        return;
    }
    struct uring_message *message = &uring->messages.sends[channel->send_length - 1];
    channel->send_length = 0;
    if (result == -EAGAIN) {
        channel->send_data = message->vector.iov_base;
        channel->send_length = message->segment;
    }
    uring_messages_give(&uring->messages, message);
}

void uring_wait_for_room(struct uring *uring, struct channel *channel)
{
    struct io_uring_sqe *entry = uring_take_entry(uring);
    if (!entry) {
        channel->wants |= CHANNEL_WANTS_SEND; /* tried again at the next reap */
        uring_pend(uring, channel);
        return;
    }
    io_uring_prep_poll_add(entry, channel->write_fd, POLLOUT);
    uring_tag_entry(entry, channel, TAG_SEND);
    channel->send_flags |= SEND_WAITS;
}

void uring_settle_messages(struct uring *uring)
{
    struct uring_messages *messages = &uring->messages;
    if (messages->queued_count == 0 || !uring_sees_all(uring)) {
        return;
    }
    struct io_uring_cqe *entry;
    unsigned head;
    io_uring_for_each_cqe(&uring->ring, head, entry)
    {
        uint64_t user_data = io_uring_cqe_get_data64(entry);
        if ((user_data & TAG_MASK) == TAG_MESSAGE) {
            ((struct uring_message *)(uintptr_t)(user_data & ~TAG_MASK))->told = true;
        }
    }
    for (uint32_t i = 0; i < messages->queued_count; i++) {
        struct uring_message *message = &messages->sends[messages->queued[i]];
        if (message->told) {
            continue; /* ends with its completion */
        }
        struct channel *channel = message->channel;
        channel->in_flight--;
        uring_messages_give(messages, message);
        if (channel->closing) {
            uring_pend(uring, channel);
        }
    }
    messages->queued_count = 0;
}

struct channel *uring_fail_message(struct uring *uring, struct uring_message *message)
{
    struct uring_messages *messages = &uring->messages;
    uint32_t number = uring_message_number(messages, message);
    for (uint32_t i = 0; i < messages->queued_count; i++) {
        if (messages->queued[i] == number) { /* not settled: seen here first */
            messages->queued[i] = messages->queued[--messages->queued_count];
            break;
        }
    }
    struct channel *channel = message->channel;
    channel->in_flight--;
    uring_messages_give(messages, message);
    return channel;
}

#else

/* An empty translation unit is no valid C. */
typedef int uring_send_messages_is_absent;

#endif
