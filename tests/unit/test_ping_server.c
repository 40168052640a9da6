/* The server of `sonde ping` as a state machine: one send for each message, never longer. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "codec/sockperf.h"
#include "role_world.h"

#define RECEIVE_BYTES 256

static void open_server(struct world *world, uint64_t size, enum ping_format format,
                        enum channel_kind kind)
{
    *world = (struct world){.ping = {.size_bytes = size, .format = format}};
    world_open_with(world, &ping_server, RECEIVE_BYTES, true);
    world->connection->channel.kind = (uint8_t)kind;
    world_event(world, OP_START, clock_now_ns());
    assert_non_null(world_asked(world, OP_RECEIVE));
}

/* Receives from memory of exactly this size. */
static void receive(struct world *world, const uint8_t *data, size_t length)
{
    uint8_t *exact = malloc(length ? length : 1);
    assert_non_null(exact);
    memcpy(exact, data, length);
    world_received(world, exact, (int64_t)length, clock_now_ns());
    memset(exact, 0xee, length); /* lent until now */
    free(exact);
}

/* The answer that was asked for is this one; completes it. */
static void assert_answer(struct world *world, const uint8_t *data, size_t length)
{
    const struct op *send = world_asked(world, OP_SEND);
    assert_non_null(send);
    assert_int_equal(send->length, length);
    assert_memory_equal(send->data, data, length);
    struct op copy = *send;
    world_sent(world, &copy, (int64_t)length, 0);
}

static void assert_silent(const struct world *world)
{
    assert_null(world_asked(world, OP_SEND));
    assert_null(world_asked(world, OP_CLOSE));
}

static void one_send_for_each_message(void **state)
{
    (void)state;
    struct world world;
    uint8_t data[35];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)i;
    }
    open_server(&world, 10, PING_OWN, CHANNEL_SOCKET);
    receive(&world, data, 35); /* three and a half together */
    assert_answer(&world, data, 10);
    assert_answer(&world, data + 10, 10);
    assert_answer(&world, data + 20, 10);
    assert_silent(&world);
    receive(&world, data, 4); /* the rest in pieces */
    assert_silent(&world);
    receive(&world, data + 4, 1);
    const struct op *send = world_asked(&world, OP_SEND);
    assert_non_null(send);
    assert_int_equal(send->length, 10);
    assert_memory_equal(send->data, data + 30, 5);
    assert_memory_equal(send->data + 5, data, 5);
    assert_int_equal(world_counter(&world, PING_SERVER_RECEIVED), 4);
    assert_int_equal(world_counter(&world, PING_SERVER_ANSWERED), 3);
    assert_int_equal(world_outstanding(&world), 1);
    world_close(&world);
}

static void short_sends_are_completed(void **state)
{
    (void)state;
    struct world world;
    const uint8_t data[8] = "abcdefgh";
    open_server(&world, 8, PING_OWN, CHANNEL_SOCKET);
    receive(&world, data, 8);
    for (size_t at = 0; at < 8; at++) {
        struct op copy = *world_asked(&world, OP_SEND);
        assert_int_equal(copy.length, 8 - at);
        assert_memory_equal(copy.data, data + at, 8 - at);
        world_sent(&world, &copy, 1, clock_now_ns());
    }
    assert_silent(&world);
    assert_int_equal(world_counter(&world, PING_SERVER_ANSWERED), 1);
    world_close(&world);
}

static void a_flood_is_not_read(void **state)
{
    (void)state;
    struct world world;
    uint8_t data[RECEIVE_BYTES];
    memset(data, 'x', sizeof data);
    open_server(&world, 16, PING_OWN, CHANNEL_SOCKET);
    receive(&world, data, sizeof data);
    struct op first = *world_asked(&world, OP_SEND); /* not taken yet */
    assert_null(world_asked(&world, OP_PAUSE));
    receive(&world, data, sizeof data);
    assert_non_null(world_asked(&world, OP_PAUSE));
    world_sent(&world, &first, 16, clock_now_ns());
    for (size_t i = 1; i < 2 * sizeof data / 16; i++) {
        /* It goes on with the last one. */
        assert_int_equal(world_asked(&world, OP_RECEIVE) != NULL, i == 2 * sizeof data / 16 - 1);
        assert_answer(&world, data, 16);
    }
    assert_silent(&world);
    assert_int_equal(world_counter(&world, PING_SERVER_ANSWERED), 2 * sizeof data / 16);
    world_close(&world);
}

static void the_end_waits_for_the_answer(void **state)
{
    (void)state;
    struct world world;
    const uint8_t data[4] = "abcd";
    open_server(&world, 4, PING_OWN, CHANNEL_SOCKET);
    receive(&world, data, 4);
    struct op send = *world_asked(&world, OP_SEND);
    receive(&world, data, 0);
    assert_silent(&world);
    world_sent(&world, &send, 4, clock_now_ns());
    assert_non_null(world_asked(&world, OP_CLOSE));
    world_close(&world);
}

static void a_peer_that_went_away(void **state)
{
    (void)state;
    struct world world;
    const uint8_t data[4] = "abcd";
    open_server(&world, 4, PING_OWN, CHANNEL_SOCKET);
    receive(&world, data, 4);
    struct op send = *world_asked(&world, OP_SEND);
    world_sent(&world, &send, -EPIPE, clock_now_ns());
    assert_non_null(world_asked(&world, OP_CLOSE));
    assert_int_equal(world.bank->errors[0].phase, PHASE_SEND);
    assert_int_equal(world.bank->errors[0].number, EPIPE);
    world_close(&world);
}

static void without_a_size_a_receive_is_a_message(void **state)
{
    (void)state;
    struct world world;
    const uint8_t data[8] = "abcdefgh";
    open_server(&world, 0, PING_OWN, CHANNEL_SOCKET);
    receive(&world, data, 3);
    assert_answer(&world, data, 3);
    receive(&world, data, 8);
    assert_answer(&world, data, 8);
    assert_silent(&world);
    world_close(&world);
}

static size_t make_message(uint8_t *to, uint16_t flags, uint32_t length)
{
    const struct sockperf_header header = {.sequence = 7, .flags = flags, .length = length};
    memset(to, 'b', length);
    sockperf_encode(to, &header);
    return length;
}

static void streams_of_sockperf(void **state)
{
    (void)state;
    struct world world;
    uint8_t data[120], answer[30];
    size_t length = make_message(data, SOCKPERF_CLIENT, 20); /* wants none */
    length += make_message(data + length, SOCKPERF_CLIENT | SOCKPERF_PONG, 30);
    length += make_message(data + length, SOCKPERF_CLIENT | SOCKPERF_PONG | SOCKPERF_WARMUP, 14);
    length += make_message(data + length, SOCKPERF_CLIENT | SOCKPERF_PONG, 14);
    make_message(answer, SOCKPERF_PONG, 30);
    for (size_t piece = 1; piece <= length; piece++) { /* cut anywhere */
        unsigned answers = 0;
        open_server(&world, 0, PING_SOCKPERF, CHANNEL_SOCKET);
        for (size_t at = 0; at < length; at += piece) {
            receive(&world, data + at, piece < length - at ? piece : length - at);
            while (world_asked(&world, OP_SEND)) {
                make_message(answer, SOCKPERF_PONG, answers == 0 ? 30 : 14);
                assert_answer(&world, answer, answers == 0 ? 30 : 14);
                answers++;
            }
        }
        assert_int_equal(answers, 2);
        assert_int_equal(world_counter(&world, PING_SERVER_RECEIVED), 4);
        assert_int_equal(world_counter(&world, PING_SERVER_SILENT), 2);
        assert_int_equal(world_counter(&world, PING_SERVER_SENT_BYTES), 44);
        world_close(&world);
    }
}

static void a_stream_that_is_not_sockperf(void **state)
{
    (void)state;
    static const struct sockperf_header headers[] = {
        {.flags = SOCKPERF_CLIENT | SOCKPERF_PONG, .length = 13},
        {.flags = SOCKPERF_CLIENT | SOCKPERF_PONG, .length = SOCKPERF_MESSAGE_MAX + 1},
        {.flags = SOCKPERF_CLIENT | SOCKPERF_PONG, .length = UINT32_MAX},
        {.flags = SOCKPERF_PONG, .length = 20},
        {.flags = SOCKPERF_CLIENT | 8, .length = 20},
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        struct world world;
        uint8_t data[SOCKPERF_HEADER_BYTES];
        sockperf_encode(data, &headers[i]);
        open_server(&world, 0, PING_SOCKPERF, CHANNEL_SOCKET);
        receive(&world, data, sizeof data);
        assert_non_null(world_asked(&world, OP_CLOSE));
        assert_null(world_asked(&world, OP_SEND));
        assert_int_equal(world_counter(&world, PING_SERVER_INVALID), 1);
        assert_int_equal(world.bank->errors[0].phase, PHASE_PROTOCOL);
        world_close(&world);
    }
}

static const struct op *receive_from(struct world *world, const struct sockaddr *peer,
                                     const uint8_t *data, size_t length)
{
    world_step(world, (struct op){.kind = OP_RECEIVE,
                                  .data = data,
                                  .result = (int64_t)length,
                                  .now_ns = clock_now_ns(),
                                  .peer = peer,
                                  .peer_length = sizeof *peer});
    return world_asked(world, OP_SEND);
}

static void datagrams_go_back(void **state)
{
    (void)state;
    struct world world;
    const struct sockaddr peer = {.sa_family = 1};
    const uint8_t data[5] = "hello";
    open_server(&world, 0, PING_OWN, CHANNEL_MANY);
    const struct op *send = receive_from(&world, &peer, data, 5);
    assert_non_null(send);
    assert_ptr_equal(send->peer, &peer);
    assert_int_equal(send->peer_length, sizeof peer);
    assert_int_equal(send->length, 5);
    const uint8_t answer[5] = {'h' | 0x80, 'e', 'l', 'l', 'o'};
    assert_memory_equal(send->data, answer, 5);
    struct op copy = *send;
    world_sent(&world, &copy, 5, 0);
    assert_int_equal(world_counter(&world, PING_SERVER_ANSWERED), 1);
    /* What may be an answer is not answered: else two servers could be set on each other. */
    assert_null(receive_from(&world, &peer, answer, 5));
    assert_null(receive_from(&world, &peer, answer, 1));
    assert_null(receive_from(&world, &peer, data, 0));
    assert_int_equal(world_counter(&world, PING_SERVER_INVALID), 3);
    send = receive_from(&world, &peer, data, 5);
    copy = *send;
    world_sent(&world, &copy, -EAGAIN, 0); /* said, not retried: a datagram may be lost */
    assert_silent(&world);
    assert_int_equal(world_counter(&world, PING_SERVER_DROPPED), 1);
    world_received(&world, NULL, -EHOSTUNREACH, clock_now_ns()); /* of an answer: no end */
    assert_silent(&world);
    world_step(&world, (struct op){.kind = OP_RECEIVE, .data = data, .result = 5, .length = 6});
    assert_silent(&world); /* cut: no answer could be of its length */
    assert_int_equal(world_counter(&world, PING_SERVER_INVALID), 4);
    world_close(&world);
}

static void datagrams_of_sockperf(void **state)
{
    (void)state;
    struct world world;
    const struct sockaddr peer = {.sa_family = 1};
    uint8_t data[40], answer[40];
    open_server(&world, 0, PING_SOCKPERF, CHANNEL_MANY);
    make_message(data, SOCKPERF_CLIENT | SOCKPERF_PONG, 40);
    make_message(answer, SOCKPERF_PONG, 40);
    const struct op *send = receive_from(&world, &peer, data, 40);
    assert_non_null(send);
    assert_int_equal(send->length, 40);
    assert_memory_equal(send->data, answer, 40);
    /* A length that is not the datagram's, either way. */
    assert_null(receive_from(&world, &peer, data, 39));
    make_message(data, SOCKPERF_CLIENT | SOCKPERF_PONG, 20);
    assert_null(receive_from(&world, &peer, data, 40));
    /* No client's: two servers must not answer each other for ever. */
    make_message(data, SOCKPERF_PONG, 40);
    assert_null(receive_from(&world, &peer, data, 40));
    for (size_t length = 0; length < SOCKPERF_HEADER_BYTES; length++) {
        assert_null(receive_from(&world, &peer, data, length));
    }
    assert_int_equal(world_counter(&world, PING_SERVER_INVALID), 3 + SOCKPERF_HEADER_BYTES);
    make_message(data, SOCKPERF_CLIENT, 40);
    assert_null(receive_from(&world, &peer, data, 40));
    assert_int_equal(world_counter(&world, PING_SERVER_SILENT), 1);
    assert_null(world_asked(&world, OP_CLOSE));
    world_close(&world);
}

static void drains(void **state)
{
    (void)state;
    struct world world;
    const uint8_t data[4] = "abcd";
    open_server(&world, 4, PING_OWN, CHANNEL_SOCKET);
    receive(&world, data, 4);
    struct op send = *world_asked(&world, OP_SEND);
    world.context.draining = true;
    world_event(&world, OP_DRAIN, clock_now_ns());
    assert_silent(&world);
    world_sent(&world, &send, 4, clock_now_ns());
    assert_non_null(world_asked(&world, OP_CLOSE));
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_send_for_each_message),
        cmocka_unit_test(short_sends_are_completed),
        cmocka_unit_test(a_flood_is_not_read),
        cmocka_unit_test(the_end_waits_for_the_answer),
        cmocka_unit_test(a_peer_that_went_away),
        cmocka_unit_test(without_a_size_a_receive_is_a_message),
        cmocka_unit_test(streams_of_sockperf),
        cmocka_unit_test(a_stream_that_is_not_sockperf),
        cmocka_unit_test(datagrams_go_back),
        cmocka_unit_test(datagrams_of_sockperf),
        cmocka_unit_test(drains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
