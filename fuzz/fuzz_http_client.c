/* A client's HTTP connection under any sequence of completions: answers in pieces, ends, resets,
 * short and failed sends, timers, arrivals, a drain. What is counted adds up at every step. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "workload/http_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SETTINGS = 3 };

struct world {
    const struct role *role;
    struct http_options options;
    struct role_context context;
    struct bank bank;
    struct connection *connection;
    struct op send; /* under way: its kind is OP_SEND */
    uint64_t timer_ns, now_ns;
    uint64_t quota; /* at the beginning */
    bool closed;
};

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static const char *const answers[] = {
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n",
};

/* Sent is completed, failed, to be asked again, or under way; issued is that and what was not sent
 * yet. In a drain who has no schedule forgets what stood behind a last answer. */
static void check(const struct world *world)
{
    const uint64_t *counters = world->bank.counters;
    const struct http_connection *http =
        (const struct http_connection *)(const void *)world->connection;
    const struct http_worker *worker = world->context.shared;
    uint64_t over = counters[HTTP_COUNT_COMPLETED] + counters[HTTP_COUNT_FAILED] +
                    counters[HTTP_COUNT_REPEATED];
    uint64_t open = http->state == HTTP_OPEN ? http_in_flight(http) : 0;
    uint64_t again = worker->again_end - worker->again_first;
    require(world->role->outstanding(world->connection) <= (world->options.keep_alive ? open : 1));
    require(open <= world->options.pipeline);
    require(counters[HTTP_COUNT_SENT] <= over + open || world->context.draining);
    require(http->begun - http->completed <= open || http->state != HTTP_OPEN);
    require(counters[HTTP_COUNT_UNEXPECTED] <= counters[HTTP_COUNT_FAILED]);
    require(counters[HTTP_COUNT_2XX] + counters[HTTP_COUNT_3XX] + counters[HTTP_COUNT_4XX] +
                counters[HTTP_COUNT_5XX] ==
            counters[HTTP_COUNT_COMPLETED] + counters[HTTP_COUNT_UNEXPECTED]);
    require(counters[HTTP_COUNT_BODY_BYTES] + counters[HTTP_COUNT_HEADER_BYTES] <=
            counters[HTTP_COUNT_BYTES]);
    require(world->context.open_loop || again == 0);
    require(again <= world->context.quota || world->context.draining);
    if (world->options.keep_alive && !world->context.draining) {
        require(world->quota - world->context.quota + counters[HTTP_COUNT_REPEATED] == over + open);
    }
    require(histogram_count(&world->bank.histograms[HTTP_RESPONSE_TIME]) ==
            counters[HTTP_COUNT_COMPLETED]);
}

static void step(struct world *world, struct op op)
{
    struct step_out *out = &world->context.out;
    out->count = 0;
    out->flush = out->resume = out->set_timer = false;
    op.channel = &world->connection->channel;
    op.now_ns = op.now_ns ? op.now_ns : world->now_ns;
    world->role->step(&world->context, world->connection, &op);
    require(out->count <= OUT_OPS && !out->flush && !out->resume);
    world->timer_ns = out->set_timer ? out->timer_ns : world->timer_ns;
    for (uint32_t i = 0; i < out->count; i++) {
        const struct op *asked = &out->ops[i];
        require(!world->closed);
        if (asked->kind == OP_SEND) {
            require(world->send.kind != OP_SEND && asked->length > 0);
            world->send = *asked;
        }
        world->closed |= asked->kind == OP_CLOSE;
    }
    check(world);
}

static void dial(struct world *world)
{
    memset(world->connection, 0, world->role->connection_bytes);
    world->closed = false;
    world->send.kind = OP_START;
    require(world->role->open(&world->context, world->connection) == 0);
    world->connection->intended_ns = world->now_ns;
    step(world, (struct op){.kind = OP_START});
}

static void hear(struct world *world, const uint8_t *bytes, size_t length)
{
    uint8_t *copy = malloc(length); /* overruns, and what is kept too long, are seen */
    require(copy != NULL);
    memcpy(copy, bytes, length);
    step(world, (struct op){.kind = OP_RECEIVE, .data = copy, .result = (int64_t)length});
    free(copy);
}

/* A send completes: by all of it, by a part, or not at all. */
static void finish_send(struct world *world, uint8_t how)
{
    struct op op = world->send;
    if (op.kind != OP_SEND) {
        return;
    }
    world->send.kind = OP_START;
    op.result = how == 255  ? -EPIPE
                : how > 127 ? (int64_t)op.length
                            : (int64_t)(how < op.length ? how + 1u : op.length);
    step(world, op);
}

static void arrive(struct world *world)
{
    if (world->context.open_loop && !world->context.draining && world->context.quota &&
        world->role->can_take(&world->context, world->connection)) {
        step(world, (struct op){.kind = OP_ARRIVAL, .now_ns = world->now_ns});
    }
}

/* One act that the input asks for; how many bytes it took. */
static size_t act(struct world *world, const uint8_t *data, size_t size)
{
    uint8_t with = size > 1 ? data[1] : 0;
    world->now_ns += with * NS_PER_MS;
    switch (data[0] % 12) {
    case 0:
    case 1:
    case 2: {
        const char *text = answers[with % (sizeof answers / sizeof answers[0])];
        hear(world, (const uint8_t *)text, strlen(text));
        return 2;
    }
    case 3: {
        size_t length = size - 2 < with ? size - 2 : with;
        if (size > 2 && length) {
            hear(world, data + 2, length);
        }
        return 2 + length;
    }
    case 4:
    case 5:
        finish_send(world, with);
        return 2;
    case 6:
        if (world->timer_ns) {
            world->now_ns = world->timer_ns > world->now_ns ? world->timer_ns : world->now_ns;
            step(world, (struct op){.kind = OP_TIMER});
        }
        return 1;
    case 7:
        step(world, (struct op){.kind = OP_RECEIVE, .result = with & 1 ? -ECONNRESET : 0});
        return 2;
    case 8:
    case 9:
        arrive(world);
        return 2;
    case 10:
        for (unsigned i = 0; i < 3; i++) { /* several in one receive */
            static const char both[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                                       "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            hear(world, (const uint8_t *)both, sizeof both - 1);
            if (world->closed) {
                break;
            }
        }
        return 2;
    default:
        if (with > 200) {
            world->context.draining = true;
            step(world, (struct op){.kind = OP_DRAIN});
        }
        return 2;
    }
}

static void play(struct world *world, const uint8_t *data, size_t size)
{
    dial(world);
    for (size_t at = 0; at < size;) {
        at += act(world, data + at, size - at);
        if (world->closed) {
            step(world, (struct op){.kind = OP_RECEIVE}); /* nothing more is heard */
            world->role->close(&world->context, world->connection);
            if (world->context.draining || world->context.quota == 0) {
                return;
            }
            dial(world);
        }
    }
    world->role->close(&world->context, world->connection);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < SETTINGS) {
        return 0;
    }
    struct world *world = calloc(1, sizeof *world);
    struct err error = {0};
    require(world != NULL);
    world->options = (struct http_options){.keep_alive = !(data[0] & 1),
                                           .keep_body = data[0] & 2,
                                           .method = data[0] & 4 ? "HEAD" : NULL,
                                           .expect_status = "2xx",
                                           .timeout_ns = NS_PER_SECOND,
                                           .request_most_ns = data[0] & 8 ? 2 * NS_PER_SECOND : 0,
                                           .response_most = 20,
                                           .pipeline = 1};
    if (world->options.keep_alive) {
        world->options.pipeline = 1 + data[1] % 8;
    }
    if (data[0] & 16) {
        world->options.expect_sha256 =
            "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4";
    }
    strcpy(world->options.where.path, "/");
    world->role = world->options.keep_alive ? &http_client : &http_single_client;
    bank_clear(&world->bank);
    world->now_ns = clock_now_ns();
    world->quota = 1 + data[2];
    world->context = (struct role_context){.bank = &world->bank,
                                           .options = &world->options,
                                           .open_loop = data[0] & 32,
                                           .quota = world->quota,
                                           .receive_bytes = 65536};
    world->context.shared = world->role->open_worker(&world->options, 1, &error);
    world->connection = calloc(1, world->role->connection_bytes);
    require(world->context.shared && world->connection);
    play(world, data + SETTINGS, size - SETTINGS);
    world->role->close_worker(world->context.shared);
    free(world->connection);
    free(world);
    return 0;
}
