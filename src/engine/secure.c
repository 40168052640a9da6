#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/secure_state.h"

const char *engine_failure_name(int number)
{
    return tls_failure_name(number);
}

uint32_t secure_flags(uint32_t flags)
{
    return flags & (ENGINE_ONE_CHANNEL | ENGINE_SENDS_AT_ONCE);
}

enum submit_result secure_put(struct secure *secure, struct op *op)
{
    enum submit_result result = secure->inner->ops->submit(secure->inner, op);
    if (result != SUBMIT_BUSY) {
        return result;
    }
    if (secure->busy_count == secure->busy_capacity) {
        size_t capacity = secure->busy_capacity ? 2 * secure->busy_capacity : 16;
        struct op *busy = reallocarray(secure->busy, capacity, sizeof *busy);
        if (!busy) {
            secure->failed = true;
            return SUBMIT_QUEUED;
        }
        secure->busy = busy;
        secure->busy_capacity = capacity;
    }
    secure->busy[secure->busy_count++] = *op;
    return SUBMIT_QUEUED;
}

/* The rest of what the owner submits to a channel without TLS. */
static enum submit_result pass(struct secure *secure, struct secured *secured, struct op *op)
{
    op->channel = &secured->inner;
    enum submit_result result = secure->inner->ops->submit(secure->inner, op);
    op->channel = secured->outer;
    if (op->kind == OP_CLOSE) {
        secured->outer->closing = 1;
        if (result == SUBMIT_DONE) {
            secure_closed(secure, secured);
        }
    }
    return result;
}

uint64_t secure_connected_ns(const struct channel *channel)
{
    return secured_of(channel->next_pending)->connected_ns;
}

static enum submit_result secure_submit(struct engine *engine, struct op *op)
{
    struct secure *secure = secure_of(engine);
    struct secured *secured = secured_of(op->channel->next_pending);
    secure->inner->calls = engine->calls;
    if (!secured->layered) {
        return pass(secure, secured, op);
    }
    op->result = 0;
    switch (op->kind) {
    case OP_CONNECT:
        return secure_connect(secure, secured, op);
    case OP_SECURE:
        return secure_accept(secure, secured, op);
    case OP_RECEIVE:
        return secure_receive(secure, secured, op);
    case OP_PAUSE:
        secured->wants = false; /* below only once something comes that nobody wants */
        return SUBMIT_DONE;
    case OP_SEND:
        return secure_send(secure, secured, op);
    case OP_PUSH:
        secure_put(secure, &(struct op){.kind = OP_PUSH, .channel = &secured->inner});
        return SUBMIT_DONE;
    case OP_SHUTDOWN:
        secure_shut_down(secure, secured);
        return SUBMIT_DONE;
    case OP_CLOSE:
        return secure_close(secure, secured, op);
    default:
        op->result = -EINVAL;
        return SUBMIT_DONE;
    }
}

/* Something below has completed. */
static void completed(struct secure *secure, struct op *op)
{
    struct secured *secured = secured_of(op->channel);
    if (secured->dead) {
        return;
    }
    if (op->kind == OP_CLOSE) {
        secure_closed(secure, secured);
        struct op closed = {.kind = OP_CLOSE, .result = op->result, .now_ns = op->now_ns};
        secure_deliver(secure, secured, &closed);
        return;
    }
    if (!secured->layered) {
        secure_deliver(secure, secured, op);
        return;
    }
    switch (op->kind) {
    case OP_CONNECT:
        secure_connected(secure, secured, op);
        break;
    case OP_RECEIVE:
        secure_received(secure, secured, op);
        break;
    case OP_SEND:
        secure_sent(secure, secured, op->result, op->now_ns);
        break;
    default:
        break;
    }
}

static void delivered(void *owner, struct op *op)
{
    completed(owner, op);
}

static int secure_add(struct engine *engine, struct channel *channel)
{
    struct secure *secure = secure_of(engine);
    struct secured *secured = calloc(1, sizeof *secured);
    if (!secured) {
        return -ENOMEM;
    }
    secured->inner = *channel;
    secured->inner.options = channel->options & (uint8_t)~CHANNEL_SECURE & 0x7fu;
    secured->inner.next_pending = NULL;
    secured->outer = channel;
    secured->layered = channel->options & CHANNEL_SECURE;
    if (secured->layered && channel->kind != CHANNEL_SOCKET) {
        free(secured);
        return -EINVAL;
    }
    int failed = secure->inner->ops->add(secure->inner, &secured->inner);
    if (failed) {
        free(secured);
        return failed;
    }
    channel->next_pending = &secured->inner;
    secured->next = secure->channels;
    if (secured->next) {
        secured->next->previous = secured;
    }
    secure->channels = secured;
    return 0;
}

/* What was busy below, again. */
static void retry_busy(struct secure *secure)
{
    size_t count = secure->busy_count, kept = 0;
    for (size_t i = 0; i < count; i++) {
        struct op op = secure->busy[i];
        struct secured *secured = secured_of(op.channel);
        if (!secured || (op.kind == OP_RECEIVE && !secured->receiving) ||
            (secured->inner_closing && op.kind != OP_CLOSE)) {
            continue;
        }
        enum submit_result result = secure->inner->ops->submit(secure->inner, &op);
        if (result == SUBMIT_BUSY) {
            secure->busy[kept++] = op;
        } else if (result == SUBMIT_DONE && (op.kind == OP_SEND || op.kind == OP_CONNECT ||
                                             op.kind == OP_CLOSE || op.result < 0)) {
            op.now_ns = clock_now_ns();
            completed(secure, &op);
        }
    }
    memmove(secure->busy + kept, secure->busy + count,
            (secure->busy_count - count) * sizeof *secure->busy);
    secure->busy_count = kept + secure->busy_count - count;
}

static void free_secured(struct secured *secured)
{
    tls_close(secured->tls);
    free(secured);
}

static void bury(struct secure *secure)
{
    while (secure->dead) {
        struct secured *secured = secure->dead;
        secure->dead = secured->next;
        free_secured(secured);
    }
}

static int secure_reap(struct engine *engine, uint64_t until_ns, struct err *error)
{
    struct secure *secure = secure_of(engine);
    secure->inner->calls = engine->calls;
    if (secure_work_off_pending(secure) || secure->busy_count) {
        until_ns = 0;
    }
    for (const struct secured *one = secure->lingering; one; one = one->next_lingering) {
        until_ns = one->linger_until_ns < until_ns ? one->linger_until_ns : until_ns;
    }
    int result = secure->inner->ops->reap(secure->inner, until_ns, error);
    if (secure->busy_count) {
        retry_busy(secure);
    }
    if (secure->lingering) {
        secure_end_lingering(secure, clock_now_ns());
    }
    bury(secure);
    if (secure->failed) {
        return err_system(error, ENOMEM, "TLS", "cannot queue an operation");
    }
    return result;
}

static void secure_fini(struct engine *engine)
{
    struct secure *secure = secure_of(engine);
    if (!secure) {
        return;
    }
    if (secure->inner) {
        secure->inner->ops->fini(secure->inner);
    }
    while (secure->channels) {
        struct secured *secured = secure->channels;
        secure->channels = secured->next;
        secure_drop_output(secure, secured);
        free_secured(secured);
    }
    bury(secure);
    secure_buffers_close(secure);
    free(secure->stray.bytes);
    free(secure->plain);
    free(secure->busy);
    free(secure);
}

static int no_init(struct engine **engine, const struct engine_config *config,
                   struct call_table *calls, struct err *error)
{
    (void)config, (void)calls;
    *engine = NULL;
    return err_set(error, ERR_UNSUPPORTED, "TLS", "is opened by secure_open");
}

int secure_open(struct engine **engine, const struct engine_ops *inner,
                const struct secure_config *config, const struct engine_config *engine_config,
                struct call_table *calls, struct err *error)
{
    struct secure *secure = calloc(1, sizeof *secure);
    if (secure) {
        secure->plain = malloc(engine_config->receive_bytes);
    }
    if (!secure || !secure->plain) {
        free(secure);
        return err_system(error, ENOMEM, "TLS", "cannot start the engine");
    }
    secure->ops = (struct engine_ops){.name = inner->name,
                                      .help = inner->help,
                                      .flags = secure_flags(inner->flags),
                                      .why_not = inner->why_not,
                                      .init = no_init,
                                      .add = secure_add,
                                      .submit = secure_submit,
                                      .reap = secure_reap,
                                      .fini = secure_fini};
    secure->engine = (struct engine){.ops = &secure->ops, .calls = calls, .config = *engine_config};
    secure->config = *config;
    struct engine_config below = *engine_config;
    below.owner = secure;
    below.deliver = delivered;
    if (inner->init(&secure->inner, &below, calls, error) < 0) {
        secure->inner = NULL;
        secure_fini(&secure->engine);
        return -1;
    }
    *engine = &secure->engine;
    return 0;
}
