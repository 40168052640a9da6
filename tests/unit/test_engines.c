/* Every engine does the same: each case runs over all of them. */
#include "engine_world.h"

#include <signal.h>
#include <stdio.h>

#define BIG (1024 * 1024)

static void expect_received(const struct end *end, const void *data, size_t length)
{
    assert_int_equal(end->received_length, length);
    assert_memory_equal(end->received, data, length);
}

static void echo(struct end *end, int peer)
{
    struct world *world = end->world;
    start_receiving(end);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(write(peer, "question", 8), 8);
        end->received_length = 0;
        REAP_WHILE_NOT(world, end->received_length == 8);
        expect_received(end, "question", 8);
        start_send(end, "answer", 6, i % 2 ? OP_QUIET : 0);
        struct pollfd poll_peer = {.fd = peer, .events = POLLIN};
        REAP_WHILE_NOT(world, end->sent && poll(&poll_peer, 1, 0) == 1);
        assert_int_equal(end->send_result, 6);
        expect_from(peer, "answer", 6);
    }
    assert_int_equal(end->sends, 20);
}

static void test_echo_pair(void **state)
{
    struct world world;
    world_open(&world, state, 4096);
    int peer;
    struct end *end = end_of_pair(&world, &peer);
    echo(end, peer);
    end_close(end);
    assert_int_equal(read(peer, &peer, 1), 0); /* the file is really closed */
    close(peer);
    world_close(&world);
}

static void test_echo_tcp(void **state)
{
    struct world world;
    world_open(&world, state, 4096);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    echo(end, peer);
    end_close(end);
    assert_int_equal(read(peer, &peer, 1), 0);
    close(peer);
    world_close(&world);
}

static void test_pipe(void **state)
{
    struct world world;
    world_open(&world, state, 4096);
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    struct end *end = end_add(&world, CHANNEL_PIPE, in[0], out[1]);
    start_receiving(end);
    for (int i = 0; i < 10; i++) {
        char got[8];
        assert_int_equal(write(in[1], "question", 8), 8);
        end->received_length = 0;
        REAP_WHILE_NOT(&world, end->received_length == 8);
        start_send(end, "answer", 6, 0);
        REAP_WHILE_NOT(&world, end->sent);
        assert_int_equal(end->send_result, 6);
        assert_int_equal(read(out[0], got, sizeof got), 6);
        assert_memory_equal(got, "answer", 6);
    }
    submit_op(end, (struct op){.kind = OP_SHUTDOWN});
    char byte;
    assert_int_equal(read(out[0], &byte, 1), 0);
    close(in[1]);
    REAP_WHILE_NOT(&world, end->ended);
    assert_int_equal(end->end_result, 0);
    end_close(end);
    close(out[0]);
    world_close(&world);
}

static void test_byte_at_a_time(void **state)
{
    struct world world;
    world_open(&world, state, 4096);
    int peer;
    struct end *end = end_of_pair(&world, &peer);
    uint8_t data[300];
    fill(data, sizeof data);
    start_receiving(end);
    for (size_t i = 0; i < sizeof data; i++) {
        assert_int_equal(write(peer, data + i, 1), 1);
        reap_until(&world, 0);
    }
    REAP_WHILE_NOT(&world, end->received_length == sizeof data);
    expect_received(end, data, sizeof data);
    end_close(end);
    close(peer);
    world_close(&world);
}

/* More pieces than there are buffers. */
static void test_small_buffers(void **state)
{
    struct world world;
    world_open(&world, state, 3);
    int peer;
    struct end *end = end_of_pair(&world, &peer);
    uint8_t data[5000];
    fill(data, sizeof data);
    assert_int_equal(write(peer, data, sizeof data), sizeof data);
    start_receiving(end);
    REAP_WHILE_NOT(&world, end->received_length == sizeof data);
    expect_received(end, data, sizeof data);
    assert_true(end->receives >= sizeof data / 3);
    end_close(end);
    close(peer);
    world_close(&world);
}

/* Sends without a reader until the kernel takes no more, then reads all of it. */
static void transfer_out(void **state, uint32_t flags)
{
    struct world world;
    world_open(&world, state, 4096);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    uint8_t *data = malloc(BIG), *got = malloc(BIG);
    assert_true(data && got);
    fill(data, BIG);
    size_t taken = 0, arrived = 0;
    uint64_t stop_ns = clock_now_ns() + LIMIT_NS;
    bool reading = false, idle = false;
    start_send(end, data, BIG, flags);
    while (arrived < BIG && clock_now_ns() < stop_ns) {
        if (end->sent) {
            assert_true(end->send_result > 0);
            taken += (size_t)end->send_result;
            end->sent = false;
            if (taken < BIG) {
                start_send(end, data + taken, BIG - taken, flags);
            }
            continue;
        }
        uint64_t before = world.deliveries;
        reap_until(&world, clock_now_ns() + 2 * NS_PER_MS);
        idle = world.deliveries == before;
        if (idle && !reading) {
            assert_true(taken < BIG); /* nobody has read: it cannot all have gone */
            reading = true;
        }
        ssize_t count = reading ? recv(peer, got + arrived, BIG - arrived, MSG_DONTWAIT) : 0;
        arrived += count > 0 ? (size_t)count : 0;
    }
    REAP_WHILE_NOT(&world, end->sent || taken == BIG);
    assert_int_equal(arrived, BIG);
    assert_int_equal(taken + (end->sent ? (size_t)end->send_result : 0), BIG);
    assert_memory_equal(got, data, BIG);
    end_close(end);
    close(peer);
    free(data);
    free(got);
    world_close(&world);
}

static void test_send_with_back_pressure(void **state)
{
    transfer_out(state, 0);
}

static void test_quiet_send_with_back_pressure(void **state)
{
    transfer_out(state, OP_QUIET);
}

static void test_large_receive(void **state)
{
    struct world world;
    world_open(&world, state, 16384);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    uint8_t *data = malloc(BIG);
    assert_non_null(data);
    fill(data, BIG);
    start_receiving(end);
    size_t written = 0;
    while (written < BIG) {
        ssize_t count = send(peer, data + written, BIG - written, MSG_DONTWAIT);
        written += count > 0 ? (size_t)count : 0;
        reap_until(&world, clock_now_ns() + NS_PER_MS);
    }
    close(peer);
    REAP_WHILE_NOT(&world, end->ended);
    assert_int_equal(end->end_result, 0);
    expect_received(end, data, BIG);
    end_close(end);
    free(data);
    world_close(&world);
}

/* Paused from inside a delivery: all that came stays where it is, in order. */
static void test_pause_in_delivery(void **state)
{
    struct world world;
    world_open(&world, state, 100);
    int peer;
    struct end *end = end_of_pair(&world, &peer);
    uint8_t data[2000];
    fill(data, sizeof data);
    end->pause_after_receive = true;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(write(peer, data + i * 100, 100), 100);
    }
    for (uint32_t i = 1; i <= 20; i++) {
        start_receiving(end);
        REAP_WHILE_NOT(&world, end->receives == i);
        settle(&world);
        assert_int_equal(end->receives, i);
    }
    expect_received(end, data, sizeof data);
    end_close(end);
    close(peer);
    world_close(&world);
}

/* Paused while the kernel already waits for data. */
static void test_pause_while_waiting(void **state)
{
    struct world world;
    world_open(&world, state, 100);
    int peer;
    struct end *end = end_of_pair(&world, &peer);
    start_receiving(end);
    for (int i = 0; i < 10; i++) {
        if (i % 3) {
            settle(&world); /* also without: paused before the kernel has heard of it */
        }
        pause_receiving(end);
        if (i % 2) {
            settle(&world);
        }
        assert_int_equal(write(peer, &i, sizeof i), sizeof i);
        settle(&world);
        assert_int_equal(end->receives, i);
        start_receiving(end);
        if (i % 4 == 3) { /* and changed its mind twice */
            pause_receiving(end);
            start_receiving(end);
        }
        REAP_WHILE_NOT(&world, end->receives == (uint32_t)i + 1);
        assert_memory_equal(end->received + (size_t)i * sizeof i, &i, sizeof i);
    }
    end_close(end);
    close(peer);
    world_close(&world);
}

/* The end is told after the data before it, and after the pause. */
static void test_end_while_paused(void **state)
{
    struct world world;
    world_open(&world, state, 100);
    int peer;
    struct end *end = end_of_pair(&world, &peer);
    start_receiving(end);
    settle(&world);
    assert_int_equal(write(peer, "last", 4), 4);
    close(peer);
    pause_receiving(end);
    settle(&world);
    assert_false(end->ended);
    assert_int_equal(end->received_length, 0);
    start_receiving(end);
    REAP_WHILE_NOT(&world, end->ended);
    expect_received(end, "last", 4);
    assert_int_equal(end->end_result, 0);
    settle(&world); /* `note` fails on a second end */
    end_close(end);
    world_close(&world);
}

/* Once the pause has taken effect, data stays in the kernel, and so holds up the peer. */
static void test_pause_leaves_data(void **state)
{
    struct world world;
    world_open(&world, state, 100);
    int peer;
    struct end *end = end_of_pair(&world, &peer);
    uint8_t data[1000];
    fill(data, sizeof data);
    start_receiving(end);
    settle(&world);
    pause_receiving(end);
    settle(&world);
    for (size_t i = 0; i < sizeof data; i += 100) {
        assert_int_equal(write(peer, data + i, 100), 100);
        reap_until(&world, 0);
    }
    int waiting = 0;
    assert_int_equal(ioctl(end->channel.fd, FIONREAD, &waiting), 0);
    assert_int_equal(waiting, sizeof data);
    start_receiving(end);
    REAP_WHILE_NOT(&world, end->received_length == sizeof data);
    expect_received(end, data, sizeof data);
    end_close(end);
    close(peer);
    world_close(&world);
}

static void test_reap_times_out(void **state)
{
    struct world world;
    world_open(&world, state, 100);
    int peer;
    struct end *end = end_of_pair(&world, &peer);
    start_receiving(end);
    uint64_t until_ns = clock_now_ns() + 20 * NS_PER_MS;
    for (int i = 0; clock_now_ns() < until_ns; i++) {
        assert_true(i < 100); /* it waits, and does not spin */
        reap_until(&world, until_ns);
    }
    reap_until(&world, 0);
    reap_until(&world, clock_now_ns() - NS_PER_SECOND);
    assert_int_equal(world.deliveries, 0);
    end_close(end);
    close(peer);
    world_close(&world);
}

static void test_many_channels(void **state)
{
    enum { COUNT = 100, ROUNDS = 5 };
    struct world world;
    world_open(&world, state, 64);
    if (world.variant->ops->flags & ENGINE_ONE_CHANNEL) {
        world_close(&world);
        skip();
    }
    struct end *ends[COUNT];
    int peers[COUNT];
    for (int i = 0; i < COUNT; i++) {
        ends[i] = end_of_pair(&world, &peers[i]);
        start_receiving(ends[i]);
    }
    for (int round = 0; round < ROUNDS; round++) {
        int value[COUNT];
        for (int i = 0; i < COUNT; i++) {
            value[i] = i * ROUNDS + round;
            assert_int_equal(write(peers[i], &value[i], sizeof(int)), sizeof(int));
            start_send(ends[i], &value[i], sizeof(int), round % 2 ? OP_QUIET : 0);
        }
        for (int i = 0; i < COUNT; i++) {
            size_t length = (size_t)(round + 1) * sizeof(int);
            REAP_WHILE_NOT(&world, ends[i]->received_length == length && ends[i]->sent);
            assert_memory_equal(ends[i]->received + length - sizeof(int), &value[i], sizeof(int));
            expect_from(peers[i], &value[i], sizeof(int));
        }
    }
    for (int i = 0; i < COUNT; i++) {
        end_close(ends[i]);
        close(peers[i]);
    }
    world_close(&world);
}

/* What paused channels have received does not take the buffers away from the others. */
static void test_paused_do_not_starve(void **state)
{
    enum { COUNT = 50 };
    struct world world;
    world_open(&world, state, 64);
    if (world.variant->ops->flags & ENGINE_ONE_CHANNEL) {
        world_close(&world);
        skip();
    }
    struct end *ends[COUNT];
    int peers[COUNT];
    for (int i = 0; i < COUNT; i++) {
        ends[i] = end_of_pair(&world, &peers[i]);
        start_receiving(ends[i]);
    }
    settle(&world);
    for (int i = 1; i < COUNT; i++) { /* what arrives before the kernel hears of the pause */
        assert_int_equal(write(peers[i], &i, sizeof i), sizeof i);
        pause_receiving(ends[i]);
    }
    echo(ends[0], peers[0]);
    for (int i = 1; i < COUNT; i++) {
        start_receiving(ends[i]);
        REAP_WHILE_NOT(&world, ends[i]->received_length == sizeof i);
        expect_received(ends[i], &i, sizeof i);
    }
    for (int i = 0; i < COUNT; i++) {
        end_close(ends[i]);
        close(peers[i]);
    }
    world_close(&world);
}

/* Each request that the kernel took has ended, and exactly once. */
static void test_uring_balance(void **state)
{
    struct world world;
    world_open(&world, state, 64);
    if (world.variant->ops != &engine_uring) {
        assert_int_equal(world.calls.uring_submitted + world.calls.uring_completed, 0);
        assert_int_equal(world.calls.of[CALL_IO_URING_ENTER].calls, 0);
        world_close(&world);
        skip();
    }
    int peer;
    struct end *end = end_of_pair(&world, &peer);
    start_receiving(end);
    for (uint64_t i = 1; i <= 50; i++) {
        start_send(end, "x", 1, 0);
        REAP_WHILE_NOT(&world, end->sends == i);
        assert_int_equal(write(peer, "y", 1), 1);
        REAP_WHILE_NOT(&world, end->receives == i);
    }
    end_close(end);
    const struct call_table *calls = &world.calls;
    if (world.variant->receive_mode == URING_RECEIVE_MULTISHOT) {
        /* 50 receives of one submission. */
        assert_int_equal(calls->uring_completed, calls->uring_submitted + 50);
    } else {
        assert_int_equal(calls->uring_completed, calls->uring_submitted);
        assert_true(calls->uring_submitted >= 100);
    }
    for (int i = 0; i < CALL_KINDS; i++) {
        assert_true(i == CALL_IO_URING_ENTER || calls->of[i].calls == 0);
    }
    close(peer);
    world_close(&world);
}
int main(void)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(test_echo_pair),
        cmocka_unit_test(test_echo_tcp),
        cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_byte_at_a_time),
        cmocka_unit_test(test_small_buffers),
        cmocka_unit_test(test_send_with_back_pressure),
        cmocka_unit_test(test_quiet_send_with_back_pressure),
        cmocka_unit_test(test_large_receive),
        cmocka_unit_test(test_pause_in_delivery),
        cmocka_unit_test(test_pause_while_waiting),
        cmocka_unit_test(test_pause_leaves_data),
        cmocka_unit_test(test_end_while_paused),
        cmocka_unit_test(test_reap_times_out),
        cmocka_unit_test(test_many_channels),
        cmocka_unit_test(test_paused_do_not_starve),
        cmocka_unit_test(test_uring_balance),
    };
    return run_variants("engines", cases, sizeof cases / sizeof *cases);
}
