/* The threads engine's blocking calls: one for each block that is sent or received in bulk, and
 * none to wait with. */
#include "engine_world.h"

#include <pthread.h>

#define BLOCK (1024 * 1024)
#define BLOCKS 20

static uint64_t far_ns(void)
{
    return clock_now_ns() + 3600 * NS_PER_SECOND;
}

static uint64_t calls(const struct world *world, enum engine_call call)
{
    return world->calls.of[call].calls;
}

static void *read_all(void *argument)
{
    int fd = *(int *)argument;
    static uint8_t buffer[65536];
    size_t total = 0;
    ssize_t count;
    while ((count = recv(fd, buffer, sizeof buffer, 0)) > 0) {
        total += (size_t)count;
    }
    return (void *)(uintptr_t)total;
}

/* `end_only`: a receive is under way, and expects nothing but the end. */
static void send_blocks(void **state, bool end_only)
{
    struct world world;
    world_open(&world, state, 4096);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    limit_buffer(peer, SO_RCVBUF);
    if (end_only) {
        start_receiving(end);
        submit_op(end, (struct op){.kind = OP_RECEIVE, .flags = OP_END_ONLY});
    }
    const struct call_table before = world.calls;
    int64_t most = 0;
    uint8_t *data = calloc(1, BLOCK);
    assert_non_null(data);
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_all, &peer), 0);
    size_t sent = 0;
    uint64_t partial = 0;
    for (int i = 0; i < BLOCKS; i++) {
        start_send(end, data, BLOCK, i % 2 ? OP_QUIET : 0);
        if (end->sent && end->send_result > most) {
            most = end->send_result; /* of those that were through at once */
        }
        while (!end->sent) { /* only where the reader did not run for as long as a call may last */
            partial++;
            reap_until(&world, far_ns());
        }
        assert_true(end->send_result > 0);
        partial += end->send_result < BLOCK;
        sent += (size_t)end->send_result;
    }
    assert_true(most > BLOCK / 2); /* more than there is room for at once: it has waited */
    uint64_t polls = calls(&world, CALL_PPOLL) - before.of[CALL_PPOLL].calls;
    assert_in_range(polls, 0, end_only ? partial : 0);
    assert_in_range(calls(&world, CALL_SENDTO), BLOCKS, BLOCKS + partial);
    assert_int_equal(world.calls.of[CALL_SENDTO].bytes, sent);
    if (end_only) { /* which is heard */
        assert_int_equal(shutdown(peer, SHUT_WR), 0);
        REAP_WHILE_NOT(&world, end->ended);
    }
    end_close(end);
    void *got;
    assert_int_equal(pthread_join(reader, &got), 0);
    assert_int_equal((size_t)(uintptr_t)got, sent);
    close(peer);
    free(data);
    world_close(&world);
}

static void test_one_send_a_block(void **state)
{
    send_blocks(state, false);
}

static void test_one_send_a_block_with_end(void **state)
{
    send_blocks(state, true);
}

/* Nobody reads: what fits is reported; then a send is left after a while, and taken up again. */
static void test_send_is_left(void **state)
{
    struct world world;
    world_open(&world, state, 4096);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    limit_buffer(peer, SO_RCVBUF);
    const uint64_t polls = calls(&world, CALL_PPOLL);
    uint8_t *data = calloc(1, BLOCK);
    assert_non_null(data);
    size_t sent = 0;
    start_send(end, data, BLOCK, 0);
    for (int left = 0; left < 3;) { /* a peer's window may open a little, but not without end */
        if (end->sent) {
            assert_true(end->send_result > 0);
            sent += (size_t)end->send_result;
            assert_true(sent < (size_t)64 * BLOCK);
            start_send(end, data, BLOCK, 0);
            left = 0;
        } else {
            reap_until(&world, far_ns()); /* comes back by itself */
            left += !end->sent;
        }
    }
    assert_int_equal(calls(&world, CALL_PPOLL), polls);
    reap_until(&world, clock_now_ns() + NS_PER_MS); /* too near for a blocking call */
    assert_int_equal(calls(&world, CALL_PPOLL), polls + 1);
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_all, &peer), 0);
    REAP_WHILE_NOT(&world, end->sent);
    assert_true(end->send_result > 0);
    sent += (size_t)end->send_result;
    end_close(end);
    void *got;
    assert_int_equal(pthread_join(reader, &got), 0);
    assert_int_equal((size_t)(uintptr_t)got, sent);
    close(peer);
    free(data);
    world_close(&world);
}

/* A receive is wanted, or the submitter only tries: a send that finds no room does not block. */
static void test_does_not_block(void **state)
{
    for (int with_receive = 0; with_receive < 2; with_receive++) {
        struct world world;
        world_open(&world, state, 4096);
        int peer;
        struct end *end = end_of_tcp(&world, &peer);
        uint8_t *data = calloc(1, BLOCK);
        assert_non_null(data);
        if (with_receive) {
            start_receiving(end);
        }
        do {
            start_send(end, data, BLOCK, with_receive ? 0 : OP_TRY);
        } while (end->sent && end->send_result > 0);
        if (with_receive) {
            assert_false(end->sent);
            assert_int_equal(write(peer, "x", 1), 1);
            REAP_WHILE_NOT(&world, end->received_length == 1);
        } else {
            assert_int_equal(end->send_result, -EAGAIN);
        }
        assert_int_equal(calls(&world, CALL_SETSOCKOPT), 0);
        end_close(end);
        close(peer);
        free(data);
        world_close(&world);
    }
}

/* Full buffers, one receive each and none that finds nothing. */
static void test_one_receive_a_buffer(void **state)
{
    enum { COUNT = 50, ROOM = 1000 };
    struct world world;
    world_open(&world, state, ROOM);
    int peer;
    struct end *end = end_of_pair(&world, &peer);
    uint8_t data[COUNT * ROOM];
    fill(data, sizeof data);
    assert_int_equal(write(peer, data, sizeof data), sizeof data);
    start_receiving(end);
    while (end->received_length < sizeof data) {
        reap_until(&world, far_ns());
    }
    assert_memory_equal(end->received, data, sizeof data);
    assert_int_equal(calls(&world, CALL_RECVFROM), COUNT);
    assert_int_equal(world.calls.of[CALL_RECVFROM].again, 0);
    assert_int_equal(calls(&world, CALL_PPOLL), 0);
    end_close(end);
    close(peer);
    world_close(&world);
}

int main(void)
{
    static struct variant threads = {&engine_threads, URING_RECEIVE_AUTO};
    const struct CMUnitTest cases[] = {
        cmocka_unit_test_prestate(test_one_send_a_block, &threads),
        cmocka_unit_test_prestate(test_one_send_a_block_with_end, &threads),
        cmocka_unit_test_prestate(test_send_is_left, &threads),
        cmocka_unit_test_prestate(test_does_not_block, &threads),
        cmocka_unit_test_prestate(test_one_receive_a_buffer, &threads),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("threads", cases, NULL, NULL);
}
