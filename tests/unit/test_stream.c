/* Streams without a socket: both ends joined by buffers whose room, delays and cuts are random. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "codec/hello.h"
#include "workload/stream.h"

enum { CLIENT, SERVER, SIDES, PIPE_BYTES = 20000, RECEIVE_BYTES = 4096 };

/* What one side has written and the other not yet read. */
struct wire {
    uint8_t data[PIPE_BYTES];
    size_t length;
    bool shut;
};

struct side {
    const struct role *role;
    struct role_context context;
    struct bank *bank;
    struct connection *connection;
    struct wire *out, *in;
    struct op queued; /* a send that waits for room */
    bool has_queued, wants_receive, resume, timer, closed;
    uint64_t timer_ns;
};

struct world {
    struct stream_options options;
    struct rng rng;
    struct wire wires[SIDES];
    struct side sides[SIDES];
    bool at_once; /* every send is taken whole and at once */
};

static uint64_t random_below(struct world *world, uint64_t bound)
{
    return rng_next(&world->rng) % bound;
}

static void side_open(struct world *world, int which)
{
    struct side *side = &world->sides[which];
    struct err error = {0};
    side->role = which == CLIENT ? &stream_client : &stream_server;
    side->bank = calloc(1, sizeof *side->bank);
    assert_non_null(side->bank);
    bank_clear(side->bank);
    side->context = (struct role_context){.bank = side->bank,
                                          .options = &world->options,
                                          .foreign_peer = side->context.foreign_peer,
                                          .first_number = side->context.first_number,
                                          .quota = world->options.total_bytes && which == CLIENT
                                                       ? world->options.total_bytes
                                                       : UINT64_MAX,
                                          .receive_bytes = RECEIVE_BYTES};
    side->context.shared = side->role->open_worker(&world->options, 1, &error);
    assert_non_null(side->context.shared);
    side->connection = calloc(1, side->role->connection_bytes);
    assert_non_null(side->connection);
    side->connection->flow = 3;
    assert_int_equal(side->role->open(&side->context, side->connection), 0);
    side->out = &world->wires[which];
    side->in = &world->wires[1 - which];
}

static struct world *world_open(struct stream_options options, uint64_t seed)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    options.streams = options.streams ? options.streams : 1;
    world->options = options;
    rng_seed(&world->rng, seed);
    side_open(world, CLIENT);
    side_open(world, SERVER);
    return world;
}

static void world_close(struct world *world)
{
    for (int i = 0; i < SIDES; i++) {
        struct side *side = &world->sides[i];
        side->role->close(&side->context, side->connection);
        side->role->close_worker(side->context.shared);
        free(side->connection);
        free(side->bank);
    }
    free(world);
}

/* As much as there is room for, or less; -1 where it has to wait. */
static int64_t take(struct world *world, struct side *side, const struct op *op)
{
    size_t room = world->at_once ? op->length : PIPE_BYTES - side->out->length;
    size_t most = room < op->length ? room : op->length;
    assert_false(side->out->shut);
    if (most == 0 || (!world->at_once && random_below(world, 4) == 0)) {
        return -1;
    }
    size_t taken = world->at_once ? most : 1 + random_below(world, most);
    if (!world->at_once) {
        memcpy(side->out->data + side->out->length, op->data, taken);
        side->out->length += taken;
    }
    return (int64_t)taken;
}

static void feed(struct world *world, struct side *side, struct op op);

static void submit(struct world *world, struct side *side, struct op op)
{
    assert_ptr_equal(op.channel, &side->connection->channel);
    assert_false(side->closed);
    switch (op.kind) {
    case OP_SEND:
        assert_false(side->has_queued);
        op.now_ns = 0;
        op.result = take(world, side, &op);
        if (op.result < 0) {
            side->queued = op;
            side->has_queued = true;
        } else {
            feed(world, side, op);
        }
        break;
    case OP_RECEIVE:
        /* Again: a sending server's goes on, for its end alone. */
        assert_int_equal(side->wants_receive || side->context.foreign_peer,
                         op.flags == OP_END_ONLY);
        side->wants_receive = true;
        break;
    case OP_PAUSE:
        side->wants_receive = false;
        break;
    case OP_SHUTDOWN:
        assert_false(side->out->shut);
        assert_false(side->has_queued);
        side->out->shut = true;
        break;
    case OP_CLOSE:
        side->closed = side->out->shut = true;
        side->has_queued = side->wants_receive = false;
        break;
    default:
        fail_msg("asked for operation %d", op.kind);
    }
}

static void feed(struct world *world, struct side *side, struct op op)
{
    struct step_out *out = &side->context.out;
    out->count = 0;
    out->flush = out->resume = out->set_timer = false;
    op.channel = &side->connection->channel;
    side->role->step(&side->context, side->connection, &op);
    struct step_out asked = *out;
    assert_true(asked.count <= OUT_OPS);
    side->resume |= asked.resume;
    if (asked.set_timer) {
        side->timer = asked.timer_ns != 0;
        side->timer_ns = asked.timer_ns;
    }
    for (uint32_t i = 0; i < asked.count && !side->closed; i++) {
        submit(world, side, asked.ops[i]);
    }
}

static void event(struct world *world, int which, enum op_kind kind)
{
    feed(world, &world->sides[which], (struct op){.kind = kind, .now_ns = clock_now_ns()});
}

static void deliver(struct world *world, struct side *side, const uint8_t *data, int64_t result)
{
    feed(world, side,
         (struct op){.kind = OP_RECEIVE, .data = data, .result = result, .now_ns = clock_now_ns()});
}

/* Some of what has been written arrives; the end of it does once there is nothing left. */
static bool move_receive(struct world *world, struct side *side)
{
    struct wire *in = side->in;
    if (!side->wants_receive || (in->length == 0 && !in->shut)) {
        return false;
    }
    if (in->length == 0) {
        side->wants_receive = false;
        deliver(world, side, NULL, 0);
        return true;
    }
    size_t most = in->length < RECEIVE_BYTES ? in->length : RECEIVE_BYTES;
    size_t length = 1 + random_below(world, most);
    uint8_t *lent = malloc(length); /* of exactly this size: a sanitizer sees a read beyond it */
    assert_non_null(lent);
    memcpy(lent, in->data, length);
    in->length -= length;
    memmove(in->data, in->data + length, in->length);
    deliver(world, side, lent, (int64_t)length);
    free(lent);
    return true;
}

static bool move_send(struct world *world, struct side *side)
{
    if (!side->has_queued) {
        return false;
    }
    int64_t result = take(world, side, &side->queued);
    if (result >= 0) {
        struct op op = side->queued;
        op.result = result;
        op.now_ns = clock_now_ns();
        side->has_queued = false;
        feed(world, side, op);
    }
    return true;
}

/* One thing happens, at random. */
static void move(struct world *world)
{
    struct side *side = &world->sides[random_below(world, SIDES)];
    switch (side->closed ? 4 : random_below(world, 4)) {
    case 0:
        move_send(world, side);
        break;
    case 1:
        if (side->resume) {
            side->resume = false;
            event(world, side == &world->sides[CLIENT] ? CLIENT : SERVER, OP_RESUME);
        }
        break;
    case 2:
        if (side->timer && side->timer_ns <= clock_now_ns()) {
            side->timer = false;
            event(world, side == &world->sides[CLIENT] ? CLIENT : SERVER, OP_TIMER);
        }
        break;
    case 3:
        move_receive(world, side);
        break;
    default:
        break;
    }
}

static uint64_t counter(const struct world *world, int which, enum stream_counter index)
{
    return world->sides[which].bank->counters[index];
}

static uint64_t outstanding(const struct world *world)
{
    return stream_client.outstanding(world->sides[CLIENT].connection);
}

static void assert_no_errors(const struct world *world)
{
    for (int i = 0; i < SIDES; i++) {
        assert_int_equal(world->sides[i].bank->errors[0].count, 0);
    }
}

static void assert_error(const struct world *world, int which, enum bank_phase phase, int number,
                         const char *name)
{
    const struct bank_error *row = &world->sides[which].bank->errors[0];
    assert_int_equal(row->count, 1);
    assert_int_equal(row->phase, phase);
    assert_int_equal(row->number, number);
    if (name) {
        assert_string_equal(row->name, name);
    }
    assert_true(world->sides[which].closed);
}

/* Every byte that one end counted as sent the other counted as received. */
static void assert_accounted(const struct world *world)
{
    const struct stream_options *options = &world->options;
    int sender = options->reverse ? SERVER : CLIENT;
    uint64_t sent = counter(world, sender, STREAM_COUNT_SENT_BYTES);
    assert_int_equal(sent, counter(world, 1 - sender, STREAM_COUNT_RECEIVED_BYTES));
    assert_int_equal(counter(world, 1 - sender, STREAM_COUNT_SENT_BYTES), 0);
    assert_int_equal(counter(world, sender, STREAM_COUNT_RECEIVED_BYTES), 0);
    for (int i = 0; i < SIDES; i++) {
        const struct bank *bank = world->sides[i].bank;
        const struct bank_flow *flow = &bank->flows[3];
        if (sent) {
            assert_int_equal(flow->number_plus_1, 1);
            assert_int_equal(bank->flow_count, 4);
        }
        assert_int_equal(flow->counters[STREAM_FLOW_SENT_BYTES],
                         bank->counters[STREAM_COUNT_SENT_BYTES]);
        assert_int_equal(flow->counters[STREAM_FLOW_RECEIVED_BYTES],
                         bank->counters[STREAM_COUNT_RECEIVED_BYTES]);
        assert_int_equal(histogram_count(&bank->histograms[STREAM_RECEIVED_SIZE]),
                         bank->counters[STREAM_COUNT_RECEIVES]);
    }
    if (options->total_bytes && world->sides[CLIENT].context.quota == 0) {
        assert_int_equal(sent, options->total_bytes);
    }
}

/* A whole run: some way, the drain, the end. */
static void run_random(uint64_t seed)
{
    struct rng rng;
    rng_seed(&rng, seed);
    struct stream_options options = {
        .length_bytes = 1 + rng_next(&rng) % (rng_next(&rng) % 2 ? 9000 : 300),
        .reverse = rng_next(&rng) % 2,
        .total_bytes = rng_next(&rng) % 2 ? 1 + rng_next(&rng) % 300000 : 0,
        .rate_bytes = rng_next(&rng) % 3 ? 0 : 1000000000,
        .pacing = PACING_TIMER,
        .verify = true,
    };
    struct world *world = world_open(options, seed);
    uint64_t moves = rng_next(&rng) % 3000;
    event(world, SERVER, OP_START);
    event(world, CLIENT, OP_START);
    for (uint64_t i = 0; i < moves; i++) {
        move(world);
    }
    bool by_itself = options.total_bytes && rng_next(&rng) % 2;
    if (by_itself) {
        for (uint64_t i = 0;
             i < 10000000 && (world->sides[CLIENT].context.quota || outstanding(world)); i++) {
            move(world);
        }
        assert_int_equal(world->sides[CLIENT].context.quota, 0);
        assert_int_equal(outstanding(world), 0);
    }
    world->sides[CLIENT].context.draining = true;
    event(world, CLIENT, OP_DRAIN);
    for (int i = 0; i < 1000000 && outstanding(world); i++) {
        move(world);
    }
    assert_int_equal(outstanding(world), 0);
    assert_false(world->sides[CLIENT].closed); /* it is the conductor who closes it */
    assert_no_errors(world);
    assert_accounted(world);
    world_close(world);
}

static void every_byte_arrives(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        run_random(seed);
    }
}

static void shares_are_exact(void **state)
{
    (void)state;
    struct stream_options options = {.streams = 7, .total_bytes = UINT64_MAX - 3, .bidir = true};
    uint64_t before = 0;
    for (uint32_t i = 0; i < stream_connections(&options); i++) {
        uint64_t end = stream_share_end(&options, i);
        assert_in_range(end - before, options.total_bytes / 14, options.total_bytes / 14 + 1);
        before = end;
    }
    assert_int_equal(before, options.total_bytes);
}

/* Where sends always succeed, the loop is entered all the same. */
static void lets_the_loop_in(void **state)
{
    (void)state;
    struct world *world = world_open((struct stream_options){.length_bytes = 100}, 1);
    world->at_once = true;
    event(world, CLIENT, OP_START);
    for (int i = 1; i < 5; i++) {
        uint64_t sends = counter(world, CLIENT, STREAM_COUNT_SENDS);
        assert_in_range(sends, 1, (uint64_t)64 * (uint64_t)i);
        assert_true(world->sides[CLIENT].resume);
        world->sides[CLIENT].resume = false;
        event(world, CLIENT, OP_RESUME);
    }
    world_close(world);
}

static void waits_for_its_time(void **state)
{
    (void)state;
    struct world *world = world_open(
        (struct stream_options){.length_bytes = 1000, .rate_bytes = 1000, .pacing = PACING_TIMER},
        1);
    struct side *client = &world->sides[CLIENT];
    world->at_once = true;
    uint64_t before_ns = clock_now_ns();
    event(world, CLIENT, OP_START);
    assert_int_equal(counter(world, CLIENT, STREAM_COUNT_SENDS), 1);
    assert_true(client->timer);
    assert_in_range(client->timer_ns, before_ns + NS_PER_SECOND, clock_now_ns() + NS_PER_SECOND);
    event(world, CLIENT, OP_TIMER); /* too early */
    assert_int_equal(counter(world, CLIENT, STREAM_COUNT_SENDS), 1);
    assert_true(client->timer);
    client->context.draining = true;
    event(world, CLIENT, OP_DRAIN); /* does not wait for it */
    assert_false(client->timer);
    assert_true(client->out->shut);
    world_close(world);
}

/* Where the kernel paces, it is given no more than it can send in a moment. */
static void keeps_little_in_the_kernel(void **state)
{
    (void)state;
    struct world *world = world_open(
        (struct stream_options){.length_bytes = 10, .rate_bytes = 1000, .pacing = PACING_KERNEL},
        1);
    struct side *client = &world->sides[CLIENT];
    world->at_once = true;
    uint64_t before_ns = clock_now_ns();
    event(world, CLIENT, OP_START);
    uint64_t sends = counter(world, CLIENT, STREAM_COUNT_SENDS);
    uint64_t after_ns = clock_now_ns();
    /* 20 ms of it, and one send more; each is 10 ms. */
    assert_in_range(sends, 3, 4 + (after_ns - before_ns) / (10 * NS_PER_MS));
    assert_true(client->timer);
    assert_in_range(client->timer_ns, before_ns + (sends - 2) * 10 * NS_PER_MS,
                    after_ns + (sends - 2) * 10 * NS_PER_MS);
    world_close(world);
}

static void the_length_follows_the_rate(void **state)
{
    (void)state;
    static const struct {
        uint64_t length, rate, batch;
        bool datagrams;
        uint64_t becomes; /* 0: refused */
    } cases[] = {
        {0, 0, 1, false, STREAM_LENGTH},
        {0, 125000000, 1, false, STREAM_LENGTH},
        {0, 125000, 1, false, 1250},
        {0, 3, 1, false, 1},
        {125000, 125000, 1, false, 125000},
        {125001, 125000, 1, false, 0},
        {0, 1400, 1, true, STREAM_DATAGRAM_LENGTH},
        {0, 1399, 1, true, 0},
        {0, 2799, 2, true, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err error = {0};
        struct stream_options options = {.length_bytes = cases[i].length,
                                         .rate_bytes = cases[i].rate,
                                         .streams = 1,
                                         .batch = cases[i].batch};
        int result = cases[i].datagrams ? stream_datagrams_check(&options, 65536, &error)
                                        : stream_check(&options, 65536, &error);
        assert_int_equal(result, cases[i].becomes ? 0 : -1);
        if (cases[i].becomes) {
            assert_int_equal(options.length_bytes, cases[i].becomes);
        } else {
            assert_int_equal(error.code, ERR_USAGE);
            assert_non_null(strstr(error.what, "longer than a second"));
        }
    }
}

static void finds_a_wrong_byte(void **state)
{
    (void)state;
    for (size_t wrong = 0; wrong < 600; wrong += 37) {
        struct world *world =
            world_open((struct stream_options){.length_bytes = 300, .verify = true}, wrong + 1);
        event(world, SERVER, OP_START);
        event(world, CLIENT, OP_START);
        while (world->sides[SERVER].in->length < HELLO_BYTES + 600) {
            struct side *client = &world->sides[CLIENT];
            move_send(world, client);
            if (client->resume) {
                client->resume = false;
                event(world, CLIENT, OP_RESUME);
            }
        }
        world->sides[SERVER].in->data[HELLO_BYTES + wrong] ^= 1;
        while (move_receive(world, &world->sides[SERVER])) {
        }
        assert_error(world, SERVER, PHASE_PROTOCOL, 0, "payload is not what was sent");
        assert_true(counter(world, SERVER, STREAM_COUNT_RECEIVED_BYTES) <= wrong);
        world_close(world);
    }
}

static void server_refuses_what_is_no_hello(void **state)
{
    (void)state;
    struct world *world = world_open((struct stream_options){.length_bytes = 300}, 1);
    struct side *server = &world->sides[SERVER];
    event(world, SERVER, OP_START);
    deliver(world, server, (const uint8_t *)"GET / HTTP/1.1\r\n", 16);
    assert_error(world, SERVER, PHASE_PROTOCOL, 0, "not a hello of sonde's");
    assert_int_equal(counter(world, SERVER, STREAM_COUNT_RECEIVED_BYTES), 0);
    world_close(world);
}

static void hello_may_come_in_pieces(void **state)
{
    (void)state;
    uint8_t bytes[HELLO_BYTES + 1] = {0};
    hello_encode(bytes, &(struct hello){.number = 5});
    for (size_t first = 1; first <= HELLO_BYTES; first++) {
        struct world *world =
            world_open((struct stream_options){.length_bytes = 300, .verify = true}, 1);
        struct side *server = &world->sides[SERVER];
        event(world, SERVER, OP_START);
        deliver(world, server, bytes, (int64_t)first);
        for (size_t i = first; i < HELLO_BYTES; i++) {
            deliver(world, server, bytes + i, i == HELLO_BYTES - 1 ? 2 : 1);
        }
        assert_int_equal(counter(world, SERVER, STREAM_COUNT_RECEIVED_BYTES),
                         first < HELLO_BYTES ? 1 : 0);
        assert_no_errors(world);
        world_close(world);
    }
}

static void a_peer_that_goes_is_an_error(void **state)
{
    (void)state;
    for (int reverse = 0; reverse < 2; reverse++) {
        struct world *world =
            world_open((struct stream_options){.length_bytes = 300, .reverse = reverse}, 1);
        struct side *client = &world->sides[CLIENT];
        event(world, CLIENT, OP_START);
        while (client->has_queued && client->out->length < 2000) {
            move_send(world, client);
        }
        if (reverse) {
            deliver(world, client, NULL, 0);
            assert_error(world, CLIENT, PHASE_RECEIVE, 0, "the other end closed the stream");
        } else {
            struct op op = {.kind = OP_SEND, .result = -ECONNRESET, .now_ns = 1};
            feed(world, client, op);
            assert_error(world, CLIENT, PHASE_SEND, ECONNRESET, NULL);
        }
        assert_int_equal(outstanding(world), 0);
        world_close(world);
    }
}

static void a_receiver_that_talks_is_an_error(void **state)
{
    (void)state;
    struct world *world = world_open((struct stream_options){.length_bytes = 300}, 1);
    event(world, CLIENT, OP_START);
    deliver(world, &world->sides[CLIENT], (const uint8_t *)"?", 1);
    assert_error(world, CLIENT, PHASE_PROTOCOL, 0, "the receiving end sent data");
    world_close(world);
}

/* Nothing of sonde's own is said to a foreign server, and nobody waits for its answer. */
static void a_foreign_peer_hears_payload_alone(void **state)
{
    (void)state;
    struct world *world = world_open((struct stream_options){.length_bytes = 300}, 1);
    struct side *client = &world->sides[CLIENT];
    free(client->connection);
    free(client->bank);
    client->role->close_worker(client->context.shared);
    client->context.foreign_peer = true;
    side_open(world, CLIENT);
    event(world, CLIENT, OP_START);
    while (client->out->length < 1000) {
        move_send(world, client);
    }
    for (size_t i = 0; i < client->out->length; i++) {
        assert_int_equal(client->out->data[i], i % 251);
    }
    assert_int_equal(client->out->length, counter(world, CLIENT, STREAM_COUNT_SENT_BYTES));
    assert_true(client->wants_receive); /* so that an echo is found while there is room yet */
    deliver(world, client, client->out->data, 500);
    assert_error(world, CLIENT, PHASE_PROTOCOL, 0, "the server sends back what it gets (an echo)");
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_arrives),
        cmocka_unit_test(shares_are_exact),
        cmocka_unit_test(lets_the_loop_in),
        cmocka_unit_test(waits_for_its_time),
        cmocka_unit_test(keeps_little_in_the_kernel),
        cmocka_unit_test(the_length_follows_the_rate),
        cmocka_unit_test(finds_a_wrong_byte),
        cmocka_unit_test(server_refuses_what_is_no_hello),
        cmocka_unit_test(hello_may_come_in_pieces),
        cmocka_unit_test(a_peer_that_goes_is_an_error),
        cmocka_unit_test(a_receiver_that_talks_is_an_error),
        cmocka_unit_test(a_foreign_peer_hears_payload_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
