/* Streams of datagrams without I/O: the server sends to nobody but who has shown where it is, and
 * not for ever; and whatever is lost, doubled or reordered between both ends, each stream ends and
 * every datagram is accounted for. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

#include "base/clock.h"
#include "base/rng.h"
#include "codec/datagram.h"
#include "role_world.h"

#define LENGTH 100

static struct sockaddr_in address_of(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
}

static void open_server(struct world *world)
{
    *world = (struct world){.stream = {.length_bytes = LENGTH,
                                       .streams = 1,
                                       .reverse = true,
                                       .batch = 1,
                                       .verify = true,
                                       .datagrams = true}};
    world_open_with(world, &stream_datagram_server, 65536, true);
    world_event(world, OP_START, clock_now_ns());
    assert_non_null(world_asked(world, OP_RECEIVE));
    assert_null(world_asked(world, OP_SEND));
}

/* The server hears this; what it sends first, in *send (kind 255: nothing). */
static void hear(struct world *world, uint16_t port, uint8_t kind, uint64_t sequence,
                 uint64_t now_ns, struct datagram *said, struct op *send)
{
    static struct sockaddr_in from;
    uint8_t data[DATAGRAM_BYTES];
    from = address_of(port);
    datagram_encode(data, &(struct datagram){.kind = kind, .sequence = sequence});
    const struct step_out *out =
        world_step(world, (struct op){.kind = OP_RECEIVE,
                                      .data = data,
                                      .result = sizeof data,
                                      .length = sizeof data,
                                      .now_ns = now_ns,
                                      .peer = (const struct sockaddr *)(const void *)&from,
                                      .peer_length = sizeof from});
    *said = (struct datagram){.kind = 255};
    for (uint32_t i = 0; i < out->count; i++) {
        assert_int_equal(out->ops[i].kind, OP_SEND);
        *send = out->ops[i];
        assert_true(datagram_decode(send->data, send->length, said));
        if (said->kind == DATAGRAM_PAYLOAD) {
            assert_int_equal(send->length, LENGTH);
        } else {
            assert_int_equal(send->length, DATAGRAM_BYTES); /* nobody is sent more than it sent */
        }
        break;
    }
}

static void assert_to(const struct op *send, uint16_t port)
{
    const struct sockaddr_in to = address_of(port);
    assert_int_equal(send->peer_length, sizeof to);
    assert_memory_equal(send->peer, &to, sizeof to);
}

/* Says hello with the token that the server asks for: the first payload is then under way. */
static uint64_t begin(struct world *world, uint16_t port, struct op *send)
{
    struct datagram said;
    hear(world, port, DATAGRAM_HELLO, 0, clock_now_ns(), &said, send);
    assert_int_equal(said.kind, DATAGRAM_WHO);
    assert_to(send, port);
    uint64_t token = said.sequence;
    assert_true(token != 0);
    world_sent(world, send, (int64_t)send->length, 0);
    assert_int_equal(world->context.out.count, 0);
    hear(world, port, DATAGRAM_HELLO, token, clock_now_ns(), &said, send);
    assert_int_equal(said.kind, DATAGRAM_PAYLOAD);
    assert_to(send, port);
    return token;
}

static void test_token_is_needed(void **state)
{
    struct world world;
    struct datagram said;
    struct op send;
    (void)state;
    open_server(&world);
    for (uint64_t wrong = 0; wrong < 5; wrong++) {
        hear(&world, 7, DATAGRAM_HELLO, wrong * UINT64_C(0x123456789), clock_now_ns(), &said,
             &send);
        assert_int_equal(said.kind, DATAGRAM_WHO);
        assert_to(&send, 7);
        world_sent(&world, &send, (int64_t)send.length, 0);
        assert_int_equal(world.context.out.count, 0);
    }
    world_event(&world, OP_TIMER, clock_now_ns());
    assert_int_equal(world.context.out.count, 0);
    assert_int_equal(world_counter(&world, STREAM_COUNT_SENT), 0);
    world_close(&world);
}

static void test_nobody_else_gets_it(void **state)
{
    struct world world;
    struct datagram said;
    struct op send, other;
    (void)state;
    open_server(&world);
    uint64_t token = begin(&world, 7, &send);
    /* Somebody who knows the token, later. */
    hear(&world, 8, DATAGRAM_HELLO, token, clock_now_ns(), &said, &other);
    assert_int_equal(said.kind, 255);
    hear(&world, 8, DATAGRAM_STOP, 0, clock_now_ns(), &said, &other);
    assert_int_equal(said.kind, 255);
    hear(&world, 8, DATAGRAM_END_HEARD, 0, clock_now_ns(), &said, &other);
    assert_int_equal(said.kind, 255);
    for (int i = 0; i < 20; i++) {
        world_sent(&world, &send, LENGTH, 0);
        const struct op *next = world_asked(&world, OP_SEND);
        assert_non_null(next);
        assert_to(next, 7);
        send = *next;
    }
    assert_int_equal(world_counter(&world, STREAM_COUNT_SENT), 20);
    world_close(&world);
}

static void test_stops_when_asked(void **state)
{
    struct world world;
    struct datagram said;
    struct op send, none;
    (void)state;
    open_server(&world);
    begin(&world, 7, &send);
    hear(&world, 7, DATAGRAM_STOP, 0, clock_now_ns(), &said, &none);
    world_sent(&world, &send, LENGTH, 0);
    const struct op *end = world_asked(&world, OP_SEND);
    assert_non_null(end);
    assert_true(datagram_decode(end->data, end->length, &said));
    assert_int_equal(said.kind, DATAGRAM_END);
    assert_int_equal(said.sequence, 1);
    world_sent(&world, end, DATAGRAM_BYTES, 0);
    assert_true(world.context.out.set_timer); /* said again */
    hear(&world, 7, DATAGRAM_END_HEARD, 1, clock_now_ns(), &said, &none);
    world_event(&world, OP_TIMER, clock_now_ns() + NS_PER_SECOND);
    assert_int_equal(world.context.out.count, 0);
    assert_false(world.context.out.set_timer);
    world_close(&world);
}

static void test_stops_when_the_client_is_gone(void **state)
{
    struct world world;
    struct datagram said;
    struct op send;
    (void)state;
    open_server(&world);
    hear(&world, 7, DATAGRAM_HELLO, 0, clock_now_ns(), &said, &send);
    world_sent(&world, &send, DATAGRAM_BYTES, 0);
    uint64_t token = said.sequence;
    hear(&world, 7, DATAGRAM_HELLO, token, clock_now_ns() - 3 * NS_PER_SECOND, &said, &send);
    assert_int_equal(said.kind, 255);
    hear(&world, 7, DATAGRAM_HELLO, token, clock_now_ns(), &said, &send); /* it is over */
    assert_int_equal(said.kind, 255);
    assert_false(world.context.out.set_timer);
    world_close(&world);
}

/* One that says that it is there is sent to; and a full socket is waited for. */
static void test_waits_for_room(void **state)
{
    struct world world;
    struct op send;
    (void)state;
    open_server(&world);
    begin(&world, 7, &send);
    world_sent(&world, &send, -EAGAIN, 0);
    assert_null(world_asked(&world, OP_SEND));
    assert_true(world.context.out.set_timer);
    uint64_t at_ns = world.context.out.timer_ns;
    while (clock_now_ns() < at_ns) {
    }
    world_event(&world, OP_TIMER, clock_now_ns());
    const struct op *again = world_asked(&world, OP_SEND);
    assert_non_null(again);
    struct datagram head;
    assert_true(datagram_decode(again->data, again->length, &head));
    assert_int_equal(head.sequence, 0); /* the same one */
    assert_int_equal(world_counter(&world, STREAM_COUNT_SENT), 0);
    world_close(&world);
}

static void test_refused_ends_it(void **state)
{
    struct world world;
    struct op send;
    (void)state;
    open_server(&world);
    begin(&world, 7, &send);
    world_sent(&world, &send, -ECONNREFUSED, 0);
    assert_int_equal(world.context.out.count, 0);
    assert_false(world.context.out.set_timer);
    assert_int_equal(world.bank->errors[0].count, 0);
    world_close(&world);
}

/* ---- both ends ---- */

enum { WIRE = 64 };

struct wire {
    struct {
        uint8_t data[LENGTH];
        size_t length;
    } waiting[WIRE];
    size_t count;
};

struct side {
    struct world world;
    struct wire *in, *out;
    bool timer, resume;
    uint64_t timer_ns;
};

struct talk {
    struct side client, server;
    struct wire up, down;
    struct rng rng;
    uint64_t payload[2]; /* put on the wire by either end: client, server */
};

static void put(struct talk *talk, struct wire *wire, const uint8_t *data, size_t length)
{
    bool lost = rng_next(&talk->rng) % 5 == 0;
    size_t copies = lost ? 0 : 1 + (rng_next(&talk->rng) % 10 == 0);
    for (size_t i = 0; i < copies && wire->count < WIRE; i++) {
        memcpy(wire->waiting[wire->count].data, data, length);
        wire->waiting[wire->count++].length = length;
    }
}

static void feed(struct talk *talk, struct side *side, struct op op)
{
    struct op chain[8];
    size_t begin = 0, end = 0;
    chain[end++] = op;
    while (begin != end) {
        const struct step_out *out = world_step(&side->world, chain[begin++ % 8]);
        side->resume |= out->resume;
        if (out->set_timer) {
            side->timer = out->timer_ns != 0;
            side->timer_ns = out->timer_ns;
        }
        for (uint32_t i = 0; i < out->count; i++) {
            struct op asked = out->ops[i];
            if (asked.kind != OP_SEND) {
                continue;
            }
            struct datagram head;
            assert_true(asked.length <= LENGTH);
            assert_true(datagram_decode(asked.data, asked.length, &head));
            talk->payload[side == &talk->server] += head.kind == DATAGRAM_PAYLOAD;
            put(talk, side->out, asked.data, asked.length);
            asked.result = (int64_t)asked.length;
            asked.now_ns = 0;
            assert_true(end - begin < 8);
            chain[end++ % 8] = asked;
        }
    }
}

/* One of those that wait arrives. */
static void arrive(struct talk *talk, struct side *side)
{
    struct sockaddr_in from = address_of(7);
    struct wire *wire = side->in;
    if (wire->count == 0) {
        return;
    }
    size_t which = rng_next(&talk->rng) % 4 ? 0 : rng_next(&talk->rng) % wire->count;
    uint8_t data[LENGTH];
    size_t length = wire->waiting[which].length;
    memcpy(data, wire->waiting[which].data, length);
    memmove(&wire->waiting[which], &wire->waiting[which + 1],
            (--wire->count - which) * sizeof wire->waiting[0]);
    feed(talk, side,
         (struct op){.kind = OP_RECEIVE,
                     .data = data,
                     .result = (int64_t)length,
                     .length = length,
                     .now_ns = clock_now_ns(),
                     .peer = (const struct sockaddr *)(const void *)&from,
                     .peer_length = sizeof from});
}

/* Timers expire early: the role only says something once more, or sooner. */
static void move(struct talk *talk)
{
    struct side *side = rng_next(&talk->rng) % 2 ? &talk->client : &talk->server;
    uint64_t what = rng_next(&talk->rng) % 8;
    if (side->resume) {
        side->resume = false;
        feed(talk, side, (struct op){.kind = OP_RESUME, .now_ns = clock_now_ns()});
        arrive(talk, side); /* the loop has been entered */
    } else if (what == 0 && side->timer) {
        side->timer = false;
        feed(talk, side, (struct op){.kind = OP_TIMER, .now_ns = clock_now_ns()});
    } else {
        arrive(talk, side);
    }
}

static void talk_once(uint64_t seed)
{
    struct talk *talk = calloc(1, sizeof *talk);
    assert_non_null(talk);
    rng_seed(&talk->rng, seed);
    bool counted = rng_next(&talk->rng) % 2;
    struct stream_options options = {.length_bytes = LENGTH,
                                     .streams = 1,
                                     .reverse = rng_next(&talk->rng) % 4 != 0,
                                     .batch = 1,
                                     .total_bytes = counted ? 5001 : 0,
                                     .verify = true,
                                     .datagrams = true};
    talk->client.world.stream = talk->server.world.stream = options;
    talk->client.out = talk->server.in = &talk->up;
    talk->client.in = talk->server.out = &talk->down;
    world_open_with(&talk->client.world, &stream_datagram_client, 65536, true);
    world_open_with(&talk->server.world, &stream_datagram_server, 65536, true);
    struct world *client = &talk->client.world, *server = &talk->server.world;
    client->context.quota = counted ? 5001 : UINT64_MAX;
    feed(talk, &talk->server, (struct op){.kind = OP_START, .now_ns = clock_now_ns()});
    feed(talk, &talk->client, (struct op){.kind = OP_START, .now_ns = clock_now_ns()});
    uint64_t moves = rng_next(&talk->rng) % 500;
    for (uint64_t i = 0; i < moves; i++) {
        move(talk);
    }
    if (!counted || rng_next(&talk->rng) % 2) {
        client->context.draining = true;
        feed(talk, &talk->client, (struct op){.kind = OP_DRAIN, .now_ns = clock_now_ns()});
    }
    /* A server's end that was lost is said again 20 ms later by the clock, however many moves. */
    uint64_t until_ns = clock_now_ns() + 20 * NS_PER_SECOND;
    while (world_outstanding(client) > 0) {
        assert_true(clock_now_ns() < until_ns);
        move(talk);
    }
    struct world *sender = options.reverse ? server : client;
    struct world *receiver = options.reverse ? client : server;
    uint64_t sent = world_counter(sender, STREAM_COUNT_SENT);
    assert_int_equal(sent, talk->payload[options.reverse]);
    assert_int_equal(talk->payload[!options.reverse], 0);
    /* Those on their way would be late, or come again. */
    assert_int_equal(world_counter(receiver, STREAM_COUNT_EXPECTED), sent);
    assert_true(world_counter(receiver, STREAM_COUNT_ARRIVED) <= sent);
    if (counted && !client->context.draining) {
        assert_int_equal(world_counter(sender, STREAM_COUNT_SENT_BYTES), 5001);
        assert_int_equal(client->context.quota, 0);
    }
    assert_int_equal(client->bank->errors[0].count, 0);
    assert_int_equal(server->bank->errors[0].count, 0);
    world_close(client);
    world_close(server);
    free(talk);
}

static void test_every_stream_ends(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        talk_once(seed);
    }
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(test_token_is_needed),
        cmocka_unit_test(test_nobody_else_gets_it),
        cmocka_unit_test(test_stops_when_asked),
        cmocka_unit_test(test_stops_when_the_client_is_gone),
        cmocka_unit_test(test_waits_for_room),
        cmocka_unit_test(test_refused_ends_it),
        cmocka_unit_test(test_every_stream_ends),
    };
    return cmocka_run_group_tests_name("stream_datagrams", cases, NULL, NULL);
}
