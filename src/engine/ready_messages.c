/* Receives of the readiness engines that are more than bytes of a stream: messages with their
 * senders, segments and time stamps. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "engine/ready.h"

/* A receive as it is handed on: lengths and what it lends. */
struct received {
    struct op op;
    struct op_stamps stamps;
};

/* The kernel tells a message's own length (MSG_TRUNC); the bytes that are there are fewer where it
 * did not fit. */
static int64_t cut_to(int64_t length, size_t room)
{
    return length > (int64_t)room ? (int64_t)room : length;
}

static void deliver(struct ready_engine *ready, struct channel *channel, struct received *received)
{
    struct engine *engine = &ready->engine;
    struct op *op = &received->op;
    op->kind = OP_RECEIVE;
    op->channel = channel;
    op->now_ns = clock_now_ns();
    if (channel->options & CHANNEL_STAMPS) {
        received->stamps.sent_ns = message_sent_ns(&ready->messages, engine, channel);
        op->stamps = &received->stamps;
    }
    engine->config.deliver(engine->config.owner, op);
}

/* What a header that the kernel has filled says of its message. */
static void describe(struct received *received, const struct channel *channel,
                     struct msghdr *header, int64_t length, size_t room)
{
    struct op *op = &received->op;
    op->data = header->msg_iov->iov_base;
    op->length = (size_t)length;
    op->result = cut_to(length, room);
    if (channel->kind == CHANNEL_MANY) {
        op->peer = header->msg_name;
        op->peer_length = header->msg_namelen;
    }
    if (header->msg_control) {
        message_read_control(header, &op->segment, &received->stamps.received_ns);
        op->segment = op->segment < op->length ? op->segment : 0;
    }
}

/* The kernel had something to report, and it was no message: a stamp. Where nobody waits for a
 * report, a look that found nothing is nothing, and stamps are read with the next message. */
static void found_nothing(struct ready_engine *ready, struct channel *channel)
{
    const struct engine *engine = &ready->engine;
    bool reported = !engine->config.spins || !(engine->ops->flags & ENGINE_ONE_CHANNEL);
    if (channel->options & CHANNEL_STAMPS && reported) {
        message_stamps_late(&ready->messages, &ready->engine, channel);
    }
}

static void handle_batch(struct ready_engine *ready, struct channel *channel)
{
    struct message_batch *batch = ready->messages.batch;
    size_t room = ready->engine.config.receive_bytes;
    bool control = channel->options & (CHANNEL_SEGMENTS | CHANNEL_STAMPS);
    bool many = channel->kind == CHANNEL_MANY;
    for (size_t i = 0; i < MESSAGES_RECEIVED_AT_ONCE; i++) {
        batch->vectors[i] = (struct iovec){.iov_base = batch->data + i * room, .iov_len = room};
        batch->headers[i].msg_hdr =
            (struct msghdr){.msg_name = many ? &batch->peers[i] : NULL,
                            .msg_namelen = many ? sizeof batch->peers[i] : 0,
                            .msg_iov = &batch->vectors[i],
                            .msg_iovlen = 1,
                            .msg_control = control ? &batch->controls[i] : NULL,
                            .msg_controllen = control ? sizeof batch->controls[i] : 0};
    }
    /* Where the file is in blocking mode, it waits for the first only. */
    int count = recvmmsg(channel->fd, batch->headers, MESSAGES_RECEIVED_AT_ONCE,
                         MSG_TRUNC | MSG_WAITFORONE, NULL);
    int64_t bytes = count < 0 ? -1 : 0;
    for (int i = 0; i < count; i++) {
        bytes += cut_to(batch->headers[i].msg_len, room);
    }
    call_counted(ready->engine.calls, CALL_RECVMMSG, bytes, true);
    if (count < 0 && errno != EAGAIN && errno != EINTR) {
        struct received failed = {.op.result = -errno};
        deliver(ready, channel, &failed);
    } else if (count < 0) {
        found_nothing(ready, channel);
    }
    for (int i = 0; i < count && !channel->closing; i++) {
        struct received received = {0};
        describe(&received, channel, &batch->headers[i].msg_hdr, batch->headers[i].msg_len, room);
        deliver(ready, channel, &received);
    }
}

/* One call: recvmsg where control messages are wanted, else recvfrom. False: nothing there. */
static bool receive(struct ready_engine *ready, struct channel *channel, int flags,
                    struct received *received, struct sockaddr_storage *peer)
{
    struct call_table *calls = ready->engine.calls;
    size_t room = ready->engine.config.receive_bytes;
    union message_control control;
    struct iovec vector = {.iov_base = ready->buffer, .iov_len = room};
    struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
    if (channel->kind == CHANNEL_MANY) {
        header.msg_name = peer;
        header.msg_namelen = sizeof *peer;
    }
    flags |= channel_is_datagram(channel) ? MSG_TRUNC : 0; /* of TCP it would discard */
    ssize_t length;
    if (channel->options & (CHANNEL_SEGMENTS | CHANNEL_STAMPS)) {
        header.msg_control = &control;
        header.msg_controllen = sizeof control;
        length = recvmsg(channel->fd, &header, flags);
        call_counted(calls, CALL_RECVMSG, cut_to(length, room), true);
    } else {
        length = recvfrom(channel->fd, ready->buffer, room, flags, header.msg_name,
                          header.msg_name ? &header.msg_namelen : NULL);
        call_counted(calls, CALL_RECVFROM, cut_to(length, room), true);
    }
    if (length < 0) {
        received->op.result = -errno;
        return errno != EAGAIN && errno != EINTR;
    }
    describe(received, channel, &header, length, room);
    return true;
}

void ready_handle_messages(struct ready_engine *ready, struct channel *channel)
{
    if (channel_is_datagram(channel) && channel->options & CHANNEL_BATCHED) {
        handle_batch(ready, channel);
        return;
    }
    for (uint32_t i = 0; i < ready->receives_in_a_row && channel->wants & CHANNEL_WANTS_RECEIVE;
         i++) {
        struct sockaddr_storage peer;
        struct received received = {0};
        if (!receive(ready, channel, i > 0 ? MSG_DONTWAIT : 0, &received, &peer)) {
            if (i == 0) {
                found_nothing(ready, channel);
            }
            return;
        }
        bool stream = !channel_is_datagram(channel);
        int64_t result = received.op.result;
        if (stream && result <= 0) {
            channel->wants &= (uint8_t)~CHANNEL_WANTS_RECEIVE;
            ready->arm(ready, channel);
        }
        deliver(ready, channel, &received);
        if (stream && result < (int64_t)ready->engine.config.receive_bytes) {
            return; /* as for any stream: the next wait tells of more */
        }
    }
}
