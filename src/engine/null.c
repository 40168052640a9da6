/* null: completes everything without the kernel, so that what remains is sonde's own cost. What is
 * sent on a channel comes back on it at the next reap; where nothing has ever been received from
 * it, it is gone (a stream in one direction). After a shutdown the channel's own end is received.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "engine/engine.h"

/* In channel->held. */
enum { CHANNEL_READ = 1, CHANNEL_SHUT = 2 };

struct null_engine {
    struct engine engine;
    struct channel **ready; /* channels with something to receive, in order: room for two entries
                               a channel, since one being handled may be added again */
    uint32_t count, capacity;
    uint32_t added; /* channels known: the room that `ready` needs */
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

static enum submit_result send_back(struct null_engine *null, struct op *op)
{
    struct channel *channel = op->channel;
    if (!(channel->held & CHANNEL_READ)) {
        op->result = (int64_t)op->length;
        return SUBMIT_DONE;
    }
    bool full = !channel->armed && null->count == 2 * null->capacity;
    if (channel->send_length || full) {
        if (op->flags & OP_TRY) {
            op->result = -EAGAIN;
            return SUBMIT_DONE;
        }
        return SUBMIT_BUSY; /* what was sent before is received first */
    }
    channel->send_data = op->data;
    channel->send_length = (uint32_t)op->length;
    op->result = (int64_t)op->length;
    if (!channel->armed) {
        channel->armed = 1;
        null->ready[null->count++] = channel;
    }
    return SUBMIT_DONE;
}

/* Its end is to be received at the next reap. */
static enum submit_result make_ready(struct null_engine *null, struct channel *channel)
{
    if (!channel->armed && null->count == 2 * null->capacity) {
        return SUBMIT_BUSY;
    }
    if (!channel->armed) {
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
        channel->wants |= CHANNEL_WANTS_RECEIVE;
        channel->held |= CHANNEL_READ;
        return channel->held & CHANNEL_SHUT ? make_ready(null, channel) : SUBMIT_QUEUED;
    case OP_PAUSE:
        channel->wants &= (uint8_t)~CHANNEL_WANTS_RECEIVE;
        return SUBMIT_DONE;
    case OP_CLOSE:
        channel->closing = 1;
        channel->wants = 0;
        null->added--;
        return SUBMIT_DONE;
    case OP_SHUTDOWN:
        channel->held |= CHANNEL_SHUT;
        if (channel->wants & CHANNEL_WANTS_RECEIVE) {
            make_ready(null, channel);
        }
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
        size_t piece = rest < config->receive_bytes ? rest : config->receive_bytes;
        struct op op = {.kind = OP_RECEIVE,
                        .channel = channel,
                        .data = data,
                        .result = (int64_t)piece,
                        .now_ns = clock_now_ns()};
        config->deliver(config->owner, &op);
        data += piece;
        rest -= piece;
    }
    if (channel->held & CHANNEL_SHUT && !channel->send_length && !channel->closing &&
        channel->wants & CHANNEL_WANTS_RECEIVE) {
        channel->wants = 0;
        struct op op = {.kind = OP_RECEIVE, .channel = channel, .now_ns = clock_now_ns()};
        config->deliver(config->owner, &op);
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
        if (!channel->closing && channel->wants & CHANNEL_WANTS_RECEIVE) {
            give_back(null, channel);
        } else if (!channel->closing) {
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
