/* Receives into memory of the channel's own: each case runs over every engine. The buffers that
 * engines lend are tiny here, so that what comes in larger pieces cannot have been in one. */
#include "engine_world.h"

#define BIG (1024 * 1024)
#define LENT_BYTES 16

static void name_memory(struct end *end, size_t bytes)
{
    end->memory = malloc(bytes);
    assert_non_null(end->memory);
    end->memory_bytes = bytes;
}

static void talk(struct end *end, int from, int to)
{
    uint8_t data[1000];
    fill(data, sizeof data);
    name_memory(end, sizeof data);
    start_receiving(end);
    for (uint32_t i = 1; i <= 10; i++) {
        memset(end->memory, 0, end->memory_bytes);
        assert_int_equal(write(from, data, sizeof data), sizeof data);
        end->received_length = 0;
        REAP_WHILE_NOT(end->world, end->received_length == sizeof data);
        assert_int_equal(end->receives, i);
        assert_memory_equal(end->memory, data, sizeof data);
        start_send(end, "answer", 6, 0);
        REAP_WHILE_NOT(end->world, end->sent);
        char got[8];
        assert_int_equal(read(to, got, sizeof got), 6);
    }
}

static void test_pair(void **state)
{
    struct world world;
    world_open(&world, state, LENT_BYTES);
    int peer;
    struct end *end = end_of_pair(&world, &peer);
    talk(end, peer, peer);
    close(peer);
    REAP_WHILE_NOT(&world, end->ended);
    assert_int_equal(end->end_result, 0);
    free(end->memory);
    end_close(end);
    world_close(&world);
}

/* What is asked for by CHANNEL_STEADY takes the same way. */
static void test_steady(void **state)
{
    struct world world;
    world_open(&world, state, LENT_BYTES);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    struct end *end = end_add_with(&world, CHANNEL_SOCKET, fds[0], fds[0], CHANNEL_STEADY);
    talk(end, fds[1], fds[1]);
    close(fds[1]);
    REAP_WHILE_NOT(&world, end->ended);
    free(end->memory);
    end_close(end);
    world_close(&world);
}

static void test_tcp(void **state)
{
    struct world world;
    world_open(&world, state, LENT_BYTES);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    talk(end, peer, peer);
    struct linger reset = {.l_onoff = 1};
    assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(peer);
    REAP_WHILE_NOT(&world, end->ended);
    assert_int_equal(end->end_result, -ECONNRESET);
    free(end->memory);
    end_close(end);
    world_close(&world);
}

static void test_pipe(void **state)
{
    struct world world;
    world_open(&world, state, LENT_BYTES);
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    struct end *end = end_add(&world, CHANNEL_PIPE, in[0], out[1]);
    talk(end, in[1], out[0]);
    close(in[1]);
    REAP_WHILE_NOT(&world, end->ended);
    free(end->memory);
    end_close(end);
    close(out[0]);
    world_close(&world);
}

/* No more at a time than was named. */
static void test_small_memory(void **state)
{
    struct world world;
    world_open(&world, state, 4096);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    uint8_t data[500];
    fill(data, sizeof data);
    name_memory(end, 7);
    assert_int_equal(write(peer, data, sizeof data), sizeof data);
    close(peer);
    start_receiving(end);
    REAP_WHILE_NOT(&world, end->ended);
    assert_int_equal(end->received_length, sizeof data);
    assert_memory_equal(end->received, data, sizeof data);
    assert_true(end->receives >= sizeof data / 7);
    free(end->memory);
    end_close(end);
    world_close(&world);
}

/* Each receive goes behind the last: all of it stands there in the end, and nothing beyond. */
static void test_walks(void **state)
{
    struct world world;
    world_open(&world, state, LENT_BYTES);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    uint8_t *data = malloc(BIG), *memory = malloc(BIG + 1);
    assert_true(data && memory);
    fill(data, BIG);
    memory[BIG] = 42;
    end->memory = memory;
    end->memory_bytes = BIG;
    end->walks = true;
    start_receiving(end);
    size_t written = 0;
    while (written < BIG) {
        ssize_t count = send(peer, data + written, BIG - written, MSG_DONTWAIT);
        written += count > 0 ? (size_t)count : 0;
        reap_until(&world, clock_now_ns() + NS_PER_MS);
    }
    REAP_WHILE_NOT(&world, end->received_length == BIG);
    assert_int_equal(write(peer, "more", 4), 4);
    settle(&world);
    assert_int_equal(end->received_length, BIG);
    assert_memory_equal(memory, data, BIG);
    assert_int_equal(memory[BIG], 42);
    end_close(end);
    close(peer);
    free(data);
    free(memory);
    world_close(&world);
}

static void test_pause_in_delivery(void **state)
{
    struct world world;
    world_open(&world, state, LENT_BYTES);
    int peer;
    struct end *end = end_of_pair(&world, &peer);
    uint8_t data[2000];
    fill(data, sizeof data);
    name_memory(end, 100);
    end->pause_after_receive = true;
    assert_int_equal(write(peer, data, sizeof data), sizeof data);
    for (uint32_t i = 1; i <= 20; i++) {
        start_receiving(end);
        REAP_WHILE_NOT(&world, end->receives == i);
        settle(&world);
        assert_int_equal(end->receives, i);
    }
    assert_int_equal(end->received_length, sizeof data);
    assert_memory_equal(end->received, data, sizeof data);
    free(end->memory);
    end_close(end);
    close(peer);
    world_close(&world);
}

/* Paused while the kernel already waits for data: nothing is lost, whether it was in time or not.
 */
static void test_pause_while_waiting(void **state)
{
    struct world world;
    world_open(&world, state, LENT_BYTES);
    int peer;
    struct end *end = end_of_pair(&world, &peer);
    uint8_t data[1000];
    fill(data, sizeof data);
    name_memory(end, 100);
    start_receiving(end);
    for (size_t i = 0; i < 10; i++) {
        if (i % 3) {
            settle(&world);
        }
        if (i % 4 == 3) { /* it comes first, and nobody looks */
            assert_int_equal(write(peer, data + i * 100, 100), 100);
        }
        pause_receiving(end);
        if (i % 2) {
            settle(&world);
        }
        if (i % 4 != 3) {
            assert_int_equal(write(peer, data + i * 100, 100), 100);
        }
        settle(&world);
        assert_int_equal(end->receives, i);
        start_receiving(end);
        REAP_WHILE_NOT(&world, end->receives == i + 1);
    }
    pause_receiving(end);
    assert_int_equal(write(peer, data, 100), 100);
    close(peer);
    settle(&world);
    start_receiving(end);
    REAP_WHILE_NOT(&world, end->ended);
    assert_int_equal(end->end_result, 0);
    assert_int_equal(end->received_length, 1100);
    assert_memory_equal(end->received, data, sizeof data);
    assert_memory_equal(end->received + sizeof data, data, 100);
    free(end->memory);
    end_close(end);
    world_close(&world);
}

/* Closed while the kernel waits to fill it, and while it is full and nobody wants it. */
static void test_close(void **state)
{
    for (int full = 0; full < 2; full++) {
        struct world world;
        world_open(&world, state, LENT_BYTES);
        int peer;
        struct end *end = end_of_pair(&world, &peer);
        name_memory(end, 100);
        uint8_t *memory = end->memory;
        start_receiving(end);
        settle(&world);
        if (full) {
            assert_int_equal(write(peer, "late", 4), 4);
            pause_receiving(end);
            settle(&world);
        }
        end_close(end);
        free(memory);
        assert_int_equal(read(peer, &peer, 0), 0);
        close(peer);
        world_close(&world);
    }
}

/* Beside channels that are lent buffers. */
static void test_both_kinds(void **state)
{
    struct world world;
    world_open(&world, state, LENT_BYTES);
    if (world.variant->ops->flags & ENGINE_ONE_CHANNEL) {
        world_close(&world);
        return;
    }
    struct end *ends[20];
    int peers[20];
    uint8_t data[400];
    fill(data, sizeof data);
    for (size_t i = 0; i < 20; i++) {
        ends[i] = end_of_pair(&world, &peers[i]);
        if (i % 2) {
            name_memory(ends[i], 200);
        }
        start_receiving(ends[i]);
    }
    for (size_t round = 0; round < 4; round++) {
        for (size_t i = 0; i < 20; i++) {
            assert_int_equal(write(peers[i], data + round * 100, 100), 100);
        }
        for (size_t i = 0; i < 20; i++) {
            REAP_WHILE_NOT(&world, ends[i]->received_length == (round + 1) * 100);
        }
    }
    for (size_t i = 0; i < 20; i++) {
        assert_memory_equal(ends[i]->received, data, sizeof data);
        assert_int_equal(ends[i]->receives >= 28, i % 2 == 0); /* of 16 bytes at most */
        free(ends[i]->memory);
        end_close(ends[i]);
        close(peers[i]);
    }
    world_close(&world);
}

/* Named in vain: messages come in what is lent. */
static void test_datagrams(void **state)
{
    struct world world;
    world_open(&world, state, 4096);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
    struct end *end = end_add(&world, CHANNEL_DATAGRAM, fds[0], fds[0]);
    name_memory(end, 3);
    end->lent_all_the_same = true;
    start_receiving(end);
    assert_int_equal(write(fds[1], "message", 7), 7);
    REAP_WHILE_NOT(&world, end->received_length == 7);
    assert_memory_equal(end->received, "message", 7);
    free(end->memory);
    end_close(end);
    close(fds[1]);
    world_close(&world);
}

int main(void)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(test_pair),
        cmocka_unit_test(test_steady),
        cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_small_memory),
        cmocka_unit_test(test_walks),
        cmocka_unit_test(test_pause_in_delivery),
        cmocka_unit_test(test_pause_while_waiting),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_both_kinds),
        cmocka_unit_test(test_datagrams),
    };
    return run_variants("engines_memory", cases, sizeof cases / sizeof *cases);
}
