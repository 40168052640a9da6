#include "engine/ready.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define RECEIVES_IN_A_ROW 16
#define ACCEPTS_IN_A_ROW 64u

/* channel->send_flags of a send that waits: its OP_* flags, above them its op->segment. */
#define SEGMENT_SHIFT 8
#define SEGMENT_MAX (UINT32_MAX >> SEGMENT_SHIFT)

int ready_init(struct ready_engine *engine, const struct engine_ops *ops,
               const struct engine_config *config, struct call_table *calls)
{
    engine->engine = (struct engine){.ops = ops, .calls = calls, .config = *config};
    engine->receives_in_a_row = RECEIVES_IN_A_ROW;
    engine->buffer = malloc(config->receive_bytes);
    return engine->buffer ? 0 : -1;
}

void ready_fini(struct ready_engine *engine)
{
    free(engine->buffer);
    engine->buffer = NULL;
    messages_close(&engine->messages);
}

int ready_add(struct ready_engine *engine, const struct channel *channel)
{
    return messages_add(&engine->messages, channel, engine->engine.config.receive_bytes, true);
}

uint64_t ready_wait_ns(uint64_t until_ns)
{
    if (until_ns == 0) {
        return 0;
    }
    uint64_t now_ns = clock_now_ns();
    return until_ns > now_ns ? until_ns - now_ns : 0;
}

static ssize_t try_send(struct engine *engine, struct channel *channel, const struct op *op,
                        int blocking)
{
    if (__builtin_expect(op->file || op->flags & OP_ZEROCOPY, 0)) {
        return zerocopy_send(engine, channel, op, blocking);
    }
    if (channel->kind == CHANNEL_PIPE) {
        return call_counted(engine->calls, CALL_WRITE,
                            write(channel->write_fd, op->data, op->length), true);
    }
    int how = MSG_NOSIGNAL | blocking | (op->flags & OP_MORE ? MSG_MORE : 0);
    return call_counted(engine->calls, CALL_SENDTO,
                        send(channel->write_fd, op->data, op->length, how), true);
}

static ssize_t try_receive(struct engine *engine, const struct channel *channel, uint8_t *data,
                           size_t size, int flags)
{
    if (channel->kind == CHANNEL_PIPE) {
        return call_counted(engine->calls, CALL_READ, read(channel->fd, data, size), true);
    }
    return call_counted(engine->calls, CALL_RECVFROM, recv(channel->fd, data, size, flags), true);
}

/* Waits for what the channel now wants; an error of arming is the operation's own result. */
static enum submit_result wait_for(struct ready_engine *ready, struct op *op, uint8_t want)
{
    op->channel->wants |= want;
    int failed = ready->arm(ready, op->channel);
    if (failed) {
        op->channel->wants &= (uint8_t)~want;
        op->result = failed;
        return SUBMIT_DONE;
    }
    return SUBMIT_QUEUED;
}

static ssize_t try_message(struct ready_engine *ready, const struct channel *channel,
                           const struct op *op)
{
    ssize_t sent = message_send(&ready->engine, channel, op);
    if (sent >= 0 && channel->options & CHANNEL_STAMPS) {
        message_stamp_sent(&ready->messages, &ready->engine, channel);
    }
    return sent;
}

/* `blocking`: MSG_DONTWAIT, or 0 where the send may wait. */
static enum submit_result submit_send(struct ready_engine *ready, struct op *op, int blocking)
{
    struct channel *channel = op->channel;
    bool plain = channel_is_plain(channel);
    ssize_t sent;
    do {
        sent = plain ? try_send(&ready->engine, channel, op, blocking)
                     : try_message(ready, channel, op);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EAGAIN && !(op->flags & OP_TRY) && channel->kind != CHANNEL_MANY) {
        /* A segment that is no UDP message's: the first one alone. */
        bool segments = op->segment <= SEGMENT_MAX;
        channel->send_data = op->data;
        channel->send_file = op->file;
        channel->send_length = segments ? (uint32_t)op->length : op->segment;
        channel->send_flags = op->flags | (segments ? op->segment << SEGMENT_SHIFT : 0);
        return wait_for(ready, op, CHANNEL_WANTS_SEND);
    }
    op->result = sent < 0 ? -errno : sent;
    return SUBMIT_DONE;
}

enum submit_result ready_send_blocking(struct ready_engine *ready, struct op *op)
{
    return submit_send(ready, op, 0);
}

static enum submit_result submit_connect(struct ready_engine *ready, struct op *op)
{
    const struct sockaddr *address = (const struct sockaddr *)(const void *)op->data;
    int result = connect(op->channel->fd, address, (socklen_t)op->length);
    int failed = result < 0 ? errno : 0;
    call_counted(ready->engine.calls, CALL_CONNECT, failed == EINPROGRESS ? 0 : result, false);
    if (failed == EINPROGRESS || failed == EINTR) {
        return wait_for(ready, op, CHANNEL_WANTS_CONNECT);
    }
    op->result = -failed;
    return SUBMIT_DONE;
}

static void close_files(struct ready_engine *ready, struct channel *channel)
{
    ready->forget(ready, channel);
    channel->closing = 1;
    channel->wants = 0;
    ready_handle_error(ready, channel); /* what has been reported until now */
    if (channel->write_fd != channel->fd && channel->write_fd >= 0) {
        call_counted(ready->engine.calls, CALL_CLOSE, close(channel->write_fd), false);
    }
    if (channel->fd >= 0) {
        call_counted(ready->engine.calls, CALL_CLOSE, close(channel->fd), false);
    }
    channel->fd = channel->write_fd = -1;
}

static void shut_down(struct ready_engine *ready, struct channel *channel)
{
    if (channel->kind != CHANNEL_PIPE) {
        call_counted(ready->engine.calls, CALL_SHUTDOWN, shutdown(channel->fd, SHUT_WR), false);
    } else if (channel->write_fd >= 0) {
        call_counted(ready->engine.calls, CALL_CLOSE, close(channel->write_fd), false);
        channel->write_fd = -1;
    }
}

enum submit_result ready_submit(struct engine *engine, struct op *op)
{
    struct ready_engine *ready = (struct ready_engine *)(void *)engine;
    op->result = 0;
    switch (op->kind) {
    case OP_SEND:
        return submit_send(ready, op, MSG_DONTWAIT);
    case OP_RECEIVE:
        channel_take_memory(op->channel, op);
        return wait_for(ready, op, CHANNEL_WANTS_RECEIVE);
    case OP_ACCEPT:
        return wait_for(ready, op, CHANNEL_WANTS_ACCEPT);
    case OP_CONNECT:
        return submit_connect(ready, op);
    case OP_PAUSE:
        op->channel->wants &= (uint8_t)~CHANNEL_WANTS_RECEIVE;
        op->result = ready->arm(ready, op->channel);
        return SUBMIT_DONE;
    case OP_PUSH:
        engine_push(engine, op->channel);
        return SUBMIT_DONE;
    case OP_SHUTDOWN:
        shut_down(ready, op->channel);
        return SUBMIT_DONE;
    case OP_CLOSE:
        close_files(ready, op->channel);
        return SUBMIT_DONE;
    default:
        op->result = -EINVAL;
        return SUBMIT_DONE;
    }
}

static void deliver(struct ready_engine *ready, struct channel *channel, enum op_kind kind,
                    int64_t result, const uint8_t *data)
{
    struct op op = {.kind = kind, .channel = channel, .result = result, .data = data};
    op.now_ns = clock_now_ns();
    ready->engine.config.deliver(ready->engine.config.owner, &op);
}

static void end_want(struct ready_engine *ready, struct channel *channel, uint8_t want)
{
    channel->wants &= (uint8_t)~want;
    ready->arm(ready, channel); /* asking for less does not fail on a file that was added */
}

/* All that came before the end has been received: the end itself needs no call. False where it is
 * not wanted. */
static bool handle_end(struct ready_engine *ready, struct channel *channel)
{
    if (!(channel->wants & CHANNEL_WANTS_RECEIVE)) {
        return false;
    }
    end_want(ready, channel, CHANNEL_WANTS_RECEIVE);
    deliver(ready, channel, OP_RECEIVE, 0, ready->buffer);
    return true;
}

/* False where something may be left that was there when the kernel reported it. */
static bool handle_receive(struct ready_engine *ready, struct channel *channel, unsigned reported)
{
    for (uint32_t i = 0; i < ready->receives_in_a_row && channel->wants & CHANNEL_WANTS_RECEIVE;
         i++) {
        uint8_t *data = channel->memory; /* deliveries may name another */
        size_t size = channel->memory_bytes;
        if (!data) {
            data = ready->buffer;
            size = ready->engine.config.receive_bytes;
        }
        /* Only the first may block, in a thread that has nothing else to do. */
        ssize_t received =
            try_receive(&ready->engine, channel, data, size, i > 0 ? MSG_DONTWAIT : 0);
        if (received < 0 && (errno == EAGAIN || errno == EINTR)) {
            return errno == EAGAIN;
        }
        int64_t result = received < 0 ? -errno : received;
        if (result <= 0) {
            end_want(ready, channel, CHANNEL_WANTS_RECEIVE);
        }
        deliver(ready, channel, OP_RECEIVE, result, data);
        if (result <= 0) {
            return true;
        }
        /* A short receive has emptied the socket: the next wait tells of more. */
        if (result < (int64_t)size) {
            unsigned rest = reported & (READY_ENDED | READY_FAILED | READY_URGENT);
            return !rest || (rest == READY_ENDED && handle_end(ready, channel));
        }
    }
    return false;
}

static void handle_send(struct ready_engine *ready, struct channel *channel, int blocking)
{
    struct op op = {.data = channel->send_data,
                    .length = channel->send_length,
                    .flags = channel->send_flags,
                    .segment = channel->send_flags >> SEGMENT_SHIFT,
                    .file = channel->send_file};
    ssize_t sent;
    do {
        sent = channel_is_plain(channel) ? try_send(&ready->engine, channel, &op, blocking)
                                         : try_message(ready, channel, &op);
    } while (sent < 0 && errno == EINTR && blocking == MSG_DONTWAIT);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    int64_t result = sent < 0 ? -errno : sent;
    end_want(ready, channel, CHANNEL_WANTS_SEND);
    deliver(ready, channel, OP_SEND, result, NULL);
}

void ready_handle_send_blocking(struct ready_engine *ready, struct channel *channel)
{
    handle_send(ready, channel, 0);
}

/* A socket that can be written to, and has not failed, is connected. */
static void handle_connect(struct ready_engine *ready, struct channel *channel, unsigned reported)
{
    int failed = 0;
    if (reported & READY_FAILED) {
        socklen_t size = sizeof failed;
        int result = getsockopt(channel->fd, SOL_SOCKET, SO_ERROR, &failed, &size);
        call_counted(ready->engine.calls, CALL_GETSOCKOPT, result, false);
        failed = result < 0 ? errno : failed;
    }
    end_want(ready, channel, CHANNEL_WANTS_CONNECT);
    deliver(ready, channel, OP_CONNECT, -failed, NULL);
}

/* An accept that finds nobody costs the kernel a file for nothing. So not until one does: one is
 * taken, and where somebody is waiting at the next look too, twice as many each time. */
static void handle_accept(struct ready_engine *ready, struct channel *channel)
{
    uint32_t most = channel->held ? channel->held : 1;
    for (uint32_t i = 0; i < most && channel->wants & CHANNEL_WANTS_ACCEPT; i++) {
        int fd = accept4(channel->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        call_counted(ready->engine.calls, CALL_ACCEPT4, fd, false);
        if (fd < 0 && (errno == EAGAIN || errno == EINTR)) {
            channel->held = 1;
            return;
        }
        deliver(ready, channel, OP_ACCEPT, fd < 0 ? -errno : fd, NULL);
        if (fd < 0) {
            return;
        }
    }
    channel->held = most < ACCEPTS_IN_A_ROW ? 2 * most : most;
}

bool ready_handle(struct ready_engine *ready, struct channel *channel, unsigned reported)
{
    bool readable = reported & READY_READS;
    bool writable = reported & READY_WRITES;
    if (writable && channel->wants & CHANNEL_WANTS_CONNECT) {
        handle_connect(ready, channel, reported);
    }
    if (writable && channel->wants & CHANNEL_WANTS_SEND) {
        handle_send(ready, channel, MSG_DONTWAIT);
    }
    if (readable && channel->wants & CHANNEL_WANTS_RECEIVE) {
        if (channel_is_plain(channel)) {
            return handle_receive(ready, channel, reported);
        }
        ready_handle_messages(ready, channel);
    } else if (readable && channel->wants & CHANNEL_WANTS_ACCEPT) {
        handle_accept(ready, channel);
    }
    return !readable;
}
