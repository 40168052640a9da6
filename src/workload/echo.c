/* The echo end: answers every byte, as read or one send a byte. Answers that the kernel does not
 * take at once wait in blocks from a bounded pool; meanwhile nothing more is read from that
 * connection, so that an idle or well-behaved one holds no memory at all. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "workload/call.h"

/* Blocks come in three sizes, so that ten thousand small answers do not need ten thousand big
 * buffers. */
enum { CLASSES = 3 };
static const uint32_t class_bytes[CLASSES - 1] = {256, 4096};

struct block {
    struct block *next;
    uint32_t class;
    uint8_t data[];
};

struct echo_pool {
    struct block *spare[CLASSES];
    uint32_t largest; /* bytes of the last class: one receive */
    uint64_t used_bytes, most_bytes;
};

struct echo_connection {
    struct connection base;
    struct block *block; /* the unsent answer; NULL: none */
    uint32_t begin, end; /* of it in the block */
    uint64_t active_ns;  /* when it last said something */
    bool paused, peer_done, closing;
};

static const struct echo_options *options_of(const struct role_context *context)
{
    return &((const struct call_options *)context->options)->echo;
}

static struct echo_connection *echo_of(struct connection *connection)
{
    return (struct echo_connection *)(void *)connection;
}

static uint32_t bytes_of_class(const struct echo_pool *pool, uint32_t class)
{
    return class < CLASSES - 1 ? class_bytes[class] : pool->largest;
}

static void free_spares(struct echo_pool *pool)
{
    for (uint32_t i = 0; i < CLASSES; i++) {
        while (pool->spare[i]) {
            struct block *block = pool->spare[i];
            pool->spare[i] = block->next;
            pool->used_bytes -= bytes_of_class(pool, i);
            free(block);
        }
    }
}

static void *echo_open_worker(const void *options, uint32_t connections, struct err *error)
{
    const struct call_options *call = options;
    (void)connections;
    struct echo_pool *pool = calloc(1, sizeof *pool);
    if (!pool) {
        err_system(error, ENOMEM, "echo", "cannot make the buffer pool");
        return NULL;
    }
    pool->most_bytes = call->echo.memory_bytes;
    return pool;
}

static void echo_close_worker(void *shared)
{
    struct echo_pool *pool = shared;
    if (pool) {
        free_spares(pool);
    }
    free(pool);
}

/* A block for `length` bytes; NULL where the pool's limit or the memory ends. */
static struct block *take_block(struct echo_pool *pool, uint32_t length)
{
    uint32_t class = 0;
    while (class < CLASSES - 1 && length > bytes_of_class(pool, class)) {
        class ++;
    }
    struct block *block = pool->spare[class];
    if (block) {
        pool->spare[class] = block->next;
        return block;
    }
    uint32_t bytes = bytes_of_class(pool, class);
    if (pool->used_bytes + bytes > pool->most_bytes) {
        free_spares(pool); /* of other sizes */
    }
    if (pool->used_bytes + bytes > pool->most_bytes) {
        return NULL;
    }
    block = malloc(sizeof *block + bytes);
    if (block) {
        block->class = class;
        pool->used_bytes += bytes;
    }
    return block;
}

static void give_block(struct echo_pool *pool, struct echo_connection *echo)
{
    if (echo->block) {
        echo->block->next = pool->spare[echo->block->class];
        pool->spare[echo->block->class] = echo->block;
        echo->block = NULL;
    }
}

static void close_connection(struct role_context *context, struct echo_connection *echo)
{
    if (!echo->closing) {
        echo->closing = true;
        context->bank->counters[ECHO_COUNT_CLOSED]++;
        step_submit(context, &echo->base, OP_CLOSE);
    }
}

static void set_idle_timer(struct role_context *context, uint64_t from_ns)
{
    if (options_of(context)->idle_timeout_ns) {
        context->out.set_timer = true;
        context->out.timer_ns = from_ns + options_of(context)->idle_timeout_ns;
    }
}

static uint32_t answer_length(const struct role_context *context, uint32_t waiting)
{
    return options_of(context)->answer == ECHO_BYTE ? 1 : waiting;
}

/* Sends from the block. */
static void send_waiting(struct role_context *context, struct echo_connection *echo)
{
    struct op *op = step_submit(context, &echo->base, OP_SEND);
    op->data = echo->block->data + echo->begin;
    op->length = answer_length(context, echo->end - echo->begin);
}

/* Keeps an answer in a block and sends from there; reading waits until it has gone. */
static void keep(struct role_context *context, struct echo_connection *echo, const uint8_t *data,
                 uint32_t length)
{
    struct echo_pool *pool = context->shared;
    pool->largest = context->receive_bytes;
    echo->block = take_block(pool, length);
    if (!echo->block) {
        bank_error(context->bank, PHASE_SEND, 0, "out of memory for answers");
        close_connection(context, echo);
        return;
    }
    memcpy(echo->block->data, data, length);
    echo->begin = 0;
    echo->end = length;
    send_waiting(context, echo);
}

static void pause_reading(struct role_context *context, struct echo_connection *echo)
{
    if (!echo->paused) {
        echo->paused = true;
        step_submit(context, &echo->base, OP_PAUSE);
    }
}

static void received(struct role_context *context, struct echo_connection *echo,
                     const struct op *op)
{
    uint64_t *counters = context->bank->counters;
    if (op->result <= 0) {
        if (op->result < 0) {
            bank_error(context->bank, PHASE_RECEIVE, (int)-op->result, NULL);
        }
        echo->peer_done = true;
        if (!echo->block || op->result < 0) {
            close_connection(context, echo);
        }
        return;
    }
    uint32_t length = (uint32_t)op->result;
    counters[ECHO_COUNT_RECEIVES]++;
    counters[ECHO_COUNT_RECEIVED_BYTES] += length;
    histogram_record(&context->bank->histograms[ECHO_RECEIVED_SIZE], length, 1);
    echo->active_ns = op->now_ns;
    if (options_of(context)->discard) {
        return;
    }
    if (context->sends_at_once && options_of(context)->answer == ECHO_AS_READ) {
        struct op *send = step_submit(context, &echo->base, OP_SEND);
        send->data = op->data;
        send->length = length;
        send->flags = OP_TRY; /* what does not go at once comes back in `sent` */
        return;
    }
    pause_reading(context, echo);
    keep(context, echo, op->data, length);
}

static void sent(struct role_context *context, struct echo_connection *echo, const struct op *op)
{
    struct echo_pool *pool = context->shared;
    bool tried = op->flags & OP_TRY;
    int64_t result = tried && op->result == -EAGAIN ? 0 : op->result;
    if (result < 0) {
        /* A peer that went away before its answer is not the server's failure, but it is said. */
        bank_error(context->bank, PHASE_SEND, (int)-result, NULL);
        give_block(pool, echo);
        close_connection(context, echo);
        return;
    }
    context->bank->counters[ECHO_COUNT_SENDS] += result > 0;
    context->bank->counters[ECHO_COUNT_SENT_BYTES] += (uint64_t)result;
    if (tried) {
        if ((size_t)result < op->length) {
            pause_reading(context, echo);
            keep(context, echo, op->data + result, (uint32_t)(op->length - (size_t)result));
        }
        return;
    }
    echo->begin += (uint32_t)result;
    echo->active_ns = op->now_ns > echo->active_ns ? op->now_ns : echo->active_ns; /* it reads */
    if (echo->begin < echo->end) {
        send_waiting(context, echo);
        return;
    }
    give_block(pool, echo);
    if (echo->peer_done || context->draining) {
        close_connection(context, echo);
    } else if (echo->paused) {
        echo->paused = false;
        step_submit(context, &echo->base, OP_RECEIVE);
    }
}

static void idle_check(struct role_context *context, struct echo_connection *echo, uint64_t now_ns)
{
    if (now_ns - echo->active_ns < options_of(context)->idle_timeout_ns) {
        set_idle_timer(context, echo->active_ns);
        return;
    }
    context->bank->counters[ECHO_COUNT_IDLE_CLOSED]++;
    close_connection(context, echo);
}

static void echo_step(struct role_context *context, struct connection *connection,
                      const struct op *op)
{
    struct echo_connection *echo = echo_of(connection);
    if (echo->closing) {
        return;
    }
    switch (op->kind) {
    case OP_START:
        context->bank->counters[ECHO_COUNT_ACCEPTED]++;
        echo->active_ns = op->now_ns;
        set_idle_timer(context, op->now_ns);
        step_submit(context, connection, OP_RECEIVE);
        break;
    case OP_RECEIVE:
        received(context, echo, op);
        break;
    case OP_SEND:
        sent(context, echo, op);
        break;
    case OP_TIMER:
        idle_check(context, echo, op->now_ns);
        break;
    case OP_DRAIN:
        if (!echo->block) {
            close_connection(context, echo);
        }
        break;
    default:
        break;
    }
}

static size_t echo_connection_memory(const void *options)
{
    (void)options;
    return sizeof(struct echo_connection); /* waiting answers come out of the pool */
}

static int echo_open(struct role_context *context, struct connection *connection)
{
    (void)context;
    (void)connection;
    return 0;
}

static void echo_close(struct role_context *context, struct connection *connection)
{
    give_block(context->shared, echo_of(connection));
}

static uint64_t echo_outstanding(const struct connection *connection)
{
    const struct echo_connection *echo = (const struct echo_connection *)(const void *)connection;
    return echo->closing || !echo->block ? 0 : 1;
}

static const struct histogram_metric histograms[] = {
    [ECHO_RECEIVED_SIZE] = {"received_size", "bytes", "received sizes",
                            "bytes that one receive returned"},
};

const struct role echo_server = {
    .connection_bytes = sizeof(struct echo_connection),
    .histograms = histograms,
    .histogram_count = sizeof histograms / sizeof *histograms,
    .refused_counter = ECHO_COUNT_REFUSED,
    .open_worker = echo_open_worker,
    .close_worker = echo_close_worker,
    .open = echo_open,
    .step = echo_step,
    .outstanding = echo_outstanding,
    .close = echo_close,
    .connection_memory = echo_connection_memory,
};

#define RECEIVED_RATE                                                                              \
    {                                                                                              \
        "server_received_bytes_per_second", "bytes/s", "bytes received/s",                         \
            "bytes that the server received, per second", METRIC_PER_SECOND,                       \
            ECHO_COUNT_RECEIVED_BYTES, 0, false                                                    \
    }
#define RECEIVED_EACH                                                                              \
    {                                                                                              \
        "server_bytes_per_receive", "bytes", "server bytes/receive",                               \
            "bytes that one receive of the server returned, mean", METRIC_RATIO,                   \
            ECHO_COUNT_RECEIVED_BYTES, ECHO_COUNT_RECEIVES, false                                  \
    }
#define RECEIVED_IN_ALL                                                                            \
    {                                                                                              \
        "server_received_bytes", "bytes", "bytes received",                                        \
            "bytes that the server received in all", METRIC_COUNT, ECHO_COUNT_RECEIVED_BYTES, 0,   \
            false                                                                                  \
    }
#define CONNECTIONS                                                                                \
    {"server_accepted",                                                                            \
     "1",                                                                                          \
     "connections accepted",                                                                       \
     "connections that the server accepted",                                                       \
     METRIC_COUNT,                                                                                 \
     ECHO_COUNT_ACCEPTED,                                                                          \
     0,                                                                                            \
     false},                                                                                       \
        {"server_refused",                                                                         \
         "1",                                                                                      \
         "connections refused",                                                                    \
         "connections that the server closed at once because it was full",                         \
         METRIC_COUNT,                                                                             \
         ECHO_COUNT_REFUSED,                                                                       \
         0,                                                                                        \
         false},                                                                                   \
    {                                                                                              \
        "server_idle_closed", "1", "idle connections closed",                                      \
            "connections that the server closed after the idle timeout", METRIC_COUNT,             \
            ECHO_COUNT_IDLE_CLOSED, 0, false                                                       \
    }

const struct metric echo_metrics[ECHO_METRICS] = {
    RECEIVED_RATE,
    RECEIVED_EACH,
    {"server_bytes_per_send", "bytes", "server bytes/send",
     "bytes that one send of the server took, mean", METRIC_RATIO, ECHO_COUNT_SENT_BYTES,
     ECHO_COUNT_SENDS, false},
    RECEIVED_IN_ALL,
    CONNECTIONS,
};

const struct metric discard_metrics[DISCARD_METRICS] = {RECEIVED_RATE, RECEIVED_EACH,
                                                        RECEIVED_IN_ALL, CONNECTIONS};

static const char *const answers[] = {"read", "byte", NULL};

const struct opt echo_option_rows[ECHO_OPTIONS] = {
    OPT_CHOICE(struct echo_options, answer, .name = "answer", .choices = answers, .initial = "read",
               .argument = "HOW", .help = "answer as much as was read at once, or one send a byte"),
    OPT_SIZE(struct echo_options, memory_bytes, .name = "answer-memory", .initial = "64m",
             .least = 65536, .argument = "SIZE",
             .help = "most that the unsent answers of one server thread may hold"),
    OPT_DURATION(struct echo_options, idle_timeout_ns, .name = "idle-timeout", .initial = "0",
                 .argument = "TIME",
                 .help = "close a connection that is silent for so long (0: never)"),
};

int echo_check(const struct echo_options *options, uint64_t receive_bytes, struct err *error)
{
    if (options->memory_bytes < receive_bytes) {
        err_set(error, ERR_USAGE, "--answer-memory", "%lu bytes do not hold one receive of %lu",
                options->memory_bytes, receive_bytes);
        return err_hint(error, "raise it, or lower --receive-buffer");
    }
    return 0;
}
