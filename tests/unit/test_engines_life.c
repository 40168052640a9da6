/* The life of a channel, over every engine: connecting, accepting, resets, shutting down and
 * closing with operations in flight. */
#include "engine_world.h"

#define BIG (1024 * 1024)
#include <signal.h>
#include <stdio.h>

static void reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    close(fd);
}

static void test_reset(void **state)
{
    enum { READING, PAUSED, PAUSED_BY_DATA_BEFORE, KINDS };
    for (int kind = READING; kind < KINDS; kind++) {
        struct world world;
        world_open(&world, state, 100);
        int peer;
        struct end *end = end_of_tcp(&world, &peer);
        start_receiving(end);
        settle(&world);
        if (kind == PAUSED) {
            pause_receiving(end);
        } else if (kind == PAUSED_BY_DATA_BEFORE) {
            end->pause_after_receive = true;
            assert_int_equal(write(peer, "last", 4), 4);
        }
        reset(peer);
        if (kind != READING) {
            settle(&world);
            assert_false(end->ended);
            start_receiving(end);
        }
        REAP_WHILE_NOT(&world, end->ended);
        assert_int_equal(end->end_result, -ECONNRESET);
        assert_int_equal(end->received_length, kind == PAUSED_BY_DATA_BEFORE ? 4 : 0);
        settle(&world);
        start_send(end, "x", 1, OP_QUIET);
        REAP_WHILE_NOT(&world, end->sent);
        assert_true(end->send_result == -EPIPE || end->send_result == -ECONNRESET);
        end_close(end);
        world_close(&world);
    }
}

static void test_connect_refused(void **state)
{
    struct world world;
    world_open(&world, state, 100);
    struct sockaddr_in address;
    close(listen_tcp(&address));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct end *end = end_add(&world, CHANNEL_SOCKET, fd, fd);
    submit_op(end, (struct op){.kind = OP_CONNECT,
                               .data = (const uint8_t *)&address,
                               .length = sizeof address});
    REAP_WHILE_NOT(&world, end->connected);
    assert_int_equal(end->connect_result, -ECONNREFUSED);
    end_close(end);
    world_close(&world);
}

static void test_accept(void **state)
{
    enum { COUNT = 60 };
    struct world world;
    world_open(&world, state, 100);
    struct sockaddr_in address;
    int listener = listen_tcp(&address);
    int clients[COUNT];
    struct end *end = end_add(&world, CHANNEL_LISTENER, listener, listener);
    submit_op(end, (struct op){.kind = OP_ACCEPT});
    for (uint32_t i = 0; i < COUNT; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(clients[i], (struct sockaddr *)&address, sizeof address), 0);
        if (i % 7 == 0) {
            REAP_WHILE_NOT(&world, end->accept_count == i + 1);
        }
    }
    REAP_WHILE_NOT(&world, end->accept_count == COUNT);
    for (int i = 0; i < COUNT; i++) {
        int fd = end->accepted[i];
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(write(clients[i], &i, sizeof i), sizeof i);
        expect_from(fd, &i, sizeof i); /* accepted in order */
        close(fd);
        close(clients[i]);
    }
    assert_int_equal(end->accept_error, 0);
    end_close(end);
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(late, (struct sockaddr *)&address, sizeof address), -1);
    close(late);
    world_close(&world);
}

static void test_shutdown(void **state)
{
    struct world world;
    world_open(&world, state, 100);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    start_receiving(end);
    start_send(end, "last", 4, 0);
    REAP_WHILE_NOT(&world, end->sent);
    assert_int_equal(submit_op(end, (struct op){.kind = OP_SHUTDOWN}), SUBMIT_DONE);
    settle(&world);
    expect_from(peer, "last", 4);
    char byte;
    assert_int_equal(read(peer, &byte, 1), 0);
    assert_int_equal(write(peer, "x", 1), 1);
    REAP_WHILE_NOT(&world, end->received_length == 1);
    end_close(end);
    close(peer);
    world_close(&world);
}

/* Nothing comes for a channel once it is closed (`note` checks), with a receive and a send that
 * waits for room still under way. */
static void test_close_in_flight(void **state)
{
    for (int round = 0; round < 4; round++) {
        struct world world;
        world_open(&world, state, 100);
        int peer;
        struct end *end = end_of_tcp(&world, &peer);
        uint8_t *data = calloc(1, BIG);
        assert_non_null(data);
        start_receiving(end);
        do {
            start_send(end, data, BIG, 0);
            settle(&world);
        } while (end->sent && end->send_result > 0);
        assert_false(end->sent);
        if (round & 1) {
            pause_receiving(end);
        }
        if (round & 2) {
            assert_int_equal(write(peer, "late", 4), 4);
        }
        int fd = end->channel.fd;
        end_close(end);
        assert_int_equal(fcntl(fd, F_GETFD), -1);
        free(data); /* the kernel no longer reads from it */
        close(peer);
        world_close(&world);
    }
}

int main(void)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(test_reset),           cmocka_unit_test(test_connect_refused),
        cmocka_unit_test(test_accept),          cmocka_unit_test(test_shutdown),
        cmocka_unit_test(test_close_in_flight),
    };
    return run_variants("engines_life", cases, sizeof cases / sizeof *cases);
}
