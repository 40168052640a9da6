/* null: completes everything without the kernel, so that what remains is sonde's own cost. What is
 * sent on a channel comes back on it at the next reap; datagrams message by message. What is sent
 * on a channel that has never been received from is dropped there, as by a peer that only takes.
 * Behind a shutdown the end of the stream comes back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "engine/message.h"

/* channel->slot: it has been received from; it has been shut down. channel->send_flags:
 * op->segment. */
enum { RECEIVED_FROM = 1, SHUT_DOWN = 2 };

struct copy {
    uint8_t *data;
    size_t room;
    struct sockaddr_storage peer;
    socklen_t peer_length;
};

struct null_engine {
    struct engine engine;
    struct channel **ready; /* channels with something to receive, in order: room for two entries
                               a channel, since one being handled may be added again */
    uint32_t count, capacity;
    uint32_t added; /* channels known: the room that `ready` needs */
    /* What a CHANNEL_MANY has sent and not yet got back, since it does not outlive the call: one
     * such channel is served at a time. NULL: there is nothing. */
    struct channel *copied;
    struct copy copies[2]; /* one to fill while the other is lent */
    unsigned filled;       /* of them */
};

static int null_why_not(char *reason, size_t size)
{
    (void)reason;
    (void)size;
    return 0;
}

static int null_init(struct engine **engine, const struct engine_config *config,
                     struct call_table *calls, struct err *error)
{
    struct null_engine *null = calloc(1, sizeof *null);
    if (!null) {
        return err_system(error, ENOMEM, "null", "cannot start the engine");
    }
    null->engine = (struct engine){.ops = &engine_null, .calls = calls, .config = *config};
    *engine = &null->engine;
    return 0;
}

static int null_add(struct engine *engine, struct channel *channel)
{
    struct null_engine *null = (struct null_engine *)(void *)engine;
    (void)channel;
    if (null->added == null->capacity) {
        uint32_t capacity = null->capacity ? 2 * null->capacity : 16;
        struct channel **ready = reallocarray(null->ready, capacity, 2 * sizeof(struct channel *));
        if (!ready) {
            return -ENOMEM;
        }
        null->ready = ready;
        null->capacity = capacity;
    }
    null->added++;
    return 0;
}

/* Keeps what a CHANNEL_MANY sends. */
static bool keep_copy(struct null_engine *null, const struct op *op)
{
    struct copy *copy = &null->copies[null->filled];
    if (null->copied) {
        return false;
    }
    if (op->length > copy->room) {
        uint8_t *data = realloc(copy->data, op->length);
        if (!data) {
            return false;
        }
        copy->data = data;
        copy->room = op->length;
    }
    if (op->length) {
        memcpy(copy->data, op->data, op->length);
    }
    copy->peer_length = 0;
    if (op->peer && op->peer_length <= sizeof copy->peer) {
        copy->peer_length = op->peer_length;
        memcpy(&copy->peer, op->peer, op->peer_length);
    }
    null->copied = op->channel;
    return true;
}

static enum submit_result send_back(struct null_engine *null, struct op *op)
{
    struct channel *channel = op->channel;
    bool many = channel->kind == CHANNEL_MANY;
    bool full = channel->armed || null->count == 2 * null->capacity;
    if (full || (many && !keep_copy(null, op))) {
        if (op->flags & OP_TRY || many) {
            op->result = -EAGAIN;
            return SUBMIT_DONE;
        }
        return SUBMIT_BUSY; /* what was sent before is received first */
    }
    channel->send_data = many ? null->copies[null->filled].data : op->data;
    channel->send_length = (uint32_t)op->length;
    channel->send_flags = op->segment;
    op->result = (int64_t)op->length;
    channel->armed = 1;
    null->ready[null->count++] = channel;
    return SUBMIT_DONE;
}

/* Of a stream that is shut down and received from, the end comes with the next reap. */
static enum submit_result end_soon(struct null_engine *null, struct channel *channel)
{
    bool ends = channel->slot & SHUT_DOWN && channel->wants & CHANNEL_WANTS_RECEIVE;
    if (ends && !channel->armed && null->count == 2 * null->capacity) {
        return SUBMIT_BUSY;
    }
    if (ends && !channel->armed) {
        channel->armed = 1;
        null->ready[null->count++] = channel;
    }
    return SUBMIT_QUEUED;
}

static enum submit_result null_submit(struct engine *engine, struct op *op)
{
    struct null_engine *null = (struct null_engine *)(void *)engine;
    struct channel *channel = op->channel;
    op->result = 0;
    switch (op->kind) {
    case OP_SEND:
        return send_back(null, op);
    case OP_RECEIVE:
        channel_take_memory(channel, op);
        channel->wants |= CHANNEL_WANTS_RECEIVE;
        channel->slot |= RECEIVED_FROM;
        return end_soon(null, channel);
    case OP_PAUSE:
        channel->wants &= (uint8_t)~CHANNEL_WANTS_RECEIVE;
        return SUBMIT_DONE;
    case OP_CLOSE:
        channel->closing = 1;
        channel->wants = 0;
        null->copied = null->copied == channel ? NULL : null->copied;
        null->added--;
        return SUBMIT_DONE;
    case OP_SHUTDOWN:
        channel->slot |= SHUT_DOWN;
        end_soon(null, channel);
        return SUBMIT_DONE;
    case OP_CONNECT:
    case OP_PUSH:
        return SUBMIT_DONE;
    default:
        op->result = -EINVAL;
        return SUBMIT_DONE;
    }
}

/* Delivers everything that one channel has been sent, in pieces of the size of a receive. */
static void give_back(struct null_engine *null, struct channel *channel)
{
    const struct engine_config *config = &null->engine.config;
    const uint8_t *data = channel->send_data;
    size_t rest = channel->send_length;
    channel->send_length = 0;
    while (rest && !channel->closing) {
        if (!(channel->wants & CHANNEL_WANTS_RECEIVE) && !channel->send_length) {
            /* Paused half way: the rest waits like something sent later. */
            send_back(null, &(struct op){.channel = channel, .data = data, .length = rest});
            return;
        }
        uint8_t *memory = channel->memory;
        size_t most = memory ? channel->memory_bytes : config->receive_bytes;
        size_t piece = rest < most ? rest : most;
        if (memory) {
            memmove(memory, data, piece);
        }
        struct op op = {.kind = OP_RECEIVE,
                        .channel = channel,
                        .data = memory ? memory : data,
                        .result = (int64_t)piece,
                        .now_ns = clock_now_ns()};
        config->deliver(config->owner, &op);
        data += piece;
        rest -= piece;
    }
    if (channel->slot & SHUT_DOWN && !channel->closing && !channel->send_length &&
        channel->wants & CHANNEL_WANTS_RECEIVE) {
        channel->wants = 0;
        struct op op = {.kind = OP_RECEIVE, .channel = channel, .now_ns = clock_now_ns()};
        config->deliver(config->owner, &op);
    }
}

/* Delivers the messages that one channel has sent: with CHANNEL_SEGMENTS joined, as the kernel
 * would. Paused half way, the rest waits like something sent later. */
static void give_back_messages(struct null_engine *null, struct channel *channel)
{
    static const struct op_stamps no_stamps = {0};
    const struct engine_config *config = &null->engine.config;
    const uint8_t *data = channel->send_data;
    size_t rest = channel->send_length;
    uint32_t segment = channel->send_flags;
    bool joined = channel->options & CHANNEL_SEGMENTS;
    bool wanted = true;
    size_t most = segment && !joined ? segment : rest;
    const struct copy *copy = channel->kind == CHANNEL_MANY ? &null->copies[null->filled] : NULL;
    if (copy) {
        null->filled ^= 1;
        null->copied = NULL;
    }
    do {
        size_t length = rest < most ? rest : most;
        struct op op = {
            .kind = OP_RECEIVE,
            .channel = channel,
            .data = data,
            .length = length,
            .result = (int64_t)(length < config->receive_bytes ? length : config->receive_bytes),
            .segment = segment < length ? segment : 0,
            .peer = copy ? (const struct sockaddr *)(const void *)&copy->peer : NULL,
            .peer_length = copy ? copy->peer_length : 0,
            .stamps = channel->options & CHANNEL_STAMPS ? &no_stamps : NULL,
            .now_ns = clock_now_ns()};
        config->deliver(config->owner, &op);
        data += length;
        rest -= length;
        wanted = channel->wants & CHANNEL_WANTS_RECEIVE || channel->armed;
    } while (rest && !channel->closing && wanted);
    if (rest && !channel->closing) {
        send_back(null, &(struct op){.channel = channel,
                                     .data = data,
                                     .length = rest,
                                     .segment = segment,
                                     .peer = copy ? (const void *)&copy->peer : NULL,
                                     .peer_length = copy ? copy->peer_length : 0});
    }
}

static int null_reap(struct engine *engine, uint64_t until_ns, struct err *error)
{
    struct null_engine *null = (struct null_engine *)(void *)engine;
    (void)error;
    uint32_t count = null->count;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct channel *channel = null->ready[i];
        channel->armed = 0;
        if (channel->closing || !(channel->slot & RECEIVED_FROM)) {
            channel->send_length = 0;
            null->copied = null->copied == channel ? NULL : null->copied;
        } else if (channel->wants & CHANNEL_WANTS_RECEIVE) {
            if (channel_is_datagram(channel)) {
                give_back_messages(null, channel);
            } else {
                give_back(null, channel);
            }
        } else {
            channel->armed = 1; /* paused: stays */
            null->ready[kept++] = channel;
        }
    }
    /* Completions may have sent again: those stand behind `count`. */
    for (uint32_t i = count; i < null->count; i++) {
        null->ready[kept++] = null->ready[i];
    }
    null->count = kept;
    if (count == 0 && until_ns > clock_now_ns()) {
        struct timespec until = clock_timespec(until_ns);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    return 0;
}

static void null_fini(struct engine *engine)
{
    struct null_engine *null = (struct null_engine *)(void *)engine;
    if (null) {
        free(null->ready);
        free(null->copies[0].data);
        free(null->copies[1].data);
        free(null);
    }
}

const struct engine_ops engine_null = {
    .name = "null",
    .help = "completes everything without the kernel: measures sonde itself",
    .flags = ENGINE_NO_KERNEL | ENGINE_SENDS_AT_ONCE,
    .why_not = null_why_not,
    .init = null_init,
    .add = null_add,
    .submit = null_submit,
    .reap = null_reap,
    .fini = null_fini,
};
