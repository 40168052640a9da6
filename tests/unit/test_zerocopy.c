/* Sends without a copy: every byte arrives, every notice is read and none ends a wait for ever. */
#include "engine_world.h"

#include <sys/mman.h>

#define BIG (1024 * 1024)

static struct end *zerocopy_end(struct world *world, int *peer)
{
    const int on = 1;
    struct end *end = end_of_tcp(world, peer);
    assert_int_equal(setsockopt(end->channel.fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on), 0);
    return end;
}

/* Sends all of it in pieces as they are taken, while the peer reads; returns how many sends. */
static uint64_t transfer(struct end *end, int peer, const struct op *all, size_t piece)
{
    struct world *world = end->world;
    uint8_t *got = malloc(all->length);
    assert_non_null(got);
    size_t taken = 0, arrived = 0;
    uint64_t sends = 0, stop_ns = clock_now_ns() + LIMIT_NS;
    bool under_way = false;
    while ((arrived < all->length || taken < all->length) && clock_now_ns() < stop_ns) {
        if (!under_way && taken < all->length) {
            struct op op = *all;
            op.kind = OP_SEND;
            op.data += taken;
            op.length = all->length - taken < piece ? all->length - taken : piece;
            end->sent = false;
            under_way = true;
            submit_op(end, op);
        }
        if (under_way && end->sent) {
            assert_true(end->send_result > 0);
            taken += (size_t)end->send_result;
            sends++;
            under_way = false;
        }
        reap_until(world, clock_now_ns() + NS_PER_MS / 10);
        ssize_t count = read(peer, got + arrived, all->length - arrived);
        arrived += count > 0 ? (size_t)count : 0;
    }
    assert_int_equal(arrived, all->length);
    assert_int_equal(taken, all->length);
    assert_memory_equal(got, all->data, all->length);
    free(got);
    return sends;
}

static void test_notices(void **state)
{
    struct world world;
    world_open(&world, state, 4096);
    assert_true(world.variant->ops->flags & ENGINE_ZEROCOPY);
    int peer;
    struct end *end = zerocopy_end(&world, &peer);
    assert_int_equal(fcntl(peer, F_SETFL, O_NONBLOCK), 0);
    uint8_t *data = malloc(BIG);
    assert_non_null(data);
    fill(data, BIG);
    start_receiving(end); /* so that the engine may not block, and waits for more than room */
    uint64_t sends = transfer(
        end, peer, &(struct op){.data = data, .length = BIG, .flags = OP_ZEROCOPY}, 100000);
    assert_int_equal(world.calls.zerocopy_sends, sends);
    /* With notices waiting it waits, and does not spin. */
    for (int round = 0; round < 3; round++) {
        uint64_t until_ns = clock_now_ns() + 20 * NS_PER_MS;
        for (int i = 0; clock_now_ns() < until_ns; i++) {
            assert_true(i < 100);
            reap_until(&world, until_ns);
        }
    }
    assert_int_equal(write(peer, "x", 1), 1);
    REAP_WHILE_NOT(&world, end->received_length == 1);
    end_close(end);
    assert_int_equal(world.calls.zerocopy_reported, sends);
    assert_int_equal(world.calls.zerocopy_copied, sends); /* loopback */
    close(peer);
    free(data);
    world_close(&world);
}

/* A plain send beside it counts as none. */
static void test_plain_counts_nothing(void **state)
{
    struct world world;
    world_open(&world, state, 4096);
    int peer;
    struct end *end = zerocopy_end(&world, &peer);
    start_send(end, "plain", 5, 0);
    REAP_WHILE_NOT(&world, end->sent);
    expect_from(peer, "plain", 5);
    start_send(end, "zero", 4, OP_ZEROCOPY);
    REAP_WHILE_NOT(&world, end->sent);
    assert_int_equal(end->send_result, 4);
    expect_from(peer, "zero", 4);
    assert_int_equal(world.calls.zerocopy_sends, 1);
    end_close(end);
    assert_int_equal(world.calls.zerocopy_reported, 1);
    close(peer);
    world_close(&world);
}

/* The peer goes away in the middle: an error, and the channel can be closed. */
static void test_peer_resets(void **state)
{
    struct world world;
    world_open(&world, state, 4096);
    int peer;
    struct end *end = zerocopy_end(&world, &peer);
    const struct linger now = {.l_onoff = 1};
    uint8_t *data = calloc(1, BIG);
    assert_non_null(data);
    start_send(end, data, BIG, OP_ZEROCOPY);
    settle(&world);
    assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close(peer);
    for (int i = 0; i < 1000; i++) {
        REAP_WHILE_NOT(&world, end->sent);
        if (end->send_result < 0) {
            break;
        }
        start_send(end, data, BIG, OP_ZEROCOPY);
    }
    assert_true(end->send_result == -ECONNRESET || end->send_result == -EPIPE);
    end_close(end);
    free(data);
    world_close(&world);
}

/* Closed while the network still has data, and notices are owed: io_uring's completions point at
 * the channel, whose memory may not go before they have come. */
static void test_close_with_data(void **state)
{
    struct world world;
    world_open(&world, state, 4096);
    int peer;
    struct end *end = zerocopy_end(&world, &peer);
    limit_buffer(peer, SO_RCVBUF);
    uint8_t *data = calloc(1, BIG);
    assert_non_null(data);
    do { /* until there is no room: what lies in the send buffer has no notice yet */
        start_send(end, data, 4000, OP_ZEROCOPY);
        settle(&world);
    } while (end->sent && end->sends < 10000);
    assert_false(end->sent);
    assert_true(end->channel.notices > 0);
    submit_op(end, (struct op){.kind = OP_CLOSE});
    settle(&world);
    assert_int_equal(end->closed, world.variant->ops != &engine_uring);
    close(peer);
    REAP_WHILE_NOT(&world, end->closed);
    if (world.variant->ops == &engine_uring) {
        assert_int_equal(world.calls.zerocopy_reported, world.calls.zerocopy_sends);
    }
    free(end->received);
    free(end);
    free(data);
    world_close(&world);
}

static void transfer_file(struct world *world, struct end *end, int peer)
{
    struct op_file file = {.fd = memfd_create("sonde-test", MFD_CLOEXEC)};
    assert_true(file.fd >= 0);
    assert_int_equal(ftruncate(file.fd, BIG), 0);
    uint8_t *data = mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);
    assert_true(data != MAP_FAILED);
    fill(data, BIG);
    file.mapped = data;
    assert_int_equal(fcntl(peer, F_SETFL, O_NONBLOCK), 0);
    uint64_t sends = transfer(
        end, peer, &(struct op){.data = data + 7, .length = BIG - 10, .file = &file}, 100000);
    const struct call_count *calls = &world->calls.of[CALL_SENDFILE];
    assert_int_equal(calls->bytes, BIG - 10);
    assert_int_equal(calls->calls - calls->again, sends);
    assert_int_equal(world->calls.of[CALL_SENDTO].calls, 0);
    assert_int_equal(world->calls.of[CALL_WRITE].calls, 0);
    end_close(end);
    assert_int_equal(lseek(file.fd, 0, SEEK_CUR), 0); /* its position is nobody's */
    close(peer);
    munmap(data, BIG);
    close(file.fd);
    world_close(world);
}

/* Skips engines that send no files. */
static void files_open(struct world *world, void **state)
{
    world_open(world, state, 4096);
    if (!(world->variant->ops->flags & ENGINE_FILES)) {
        print_message("%s: sends no files\n", world->variant->ops->name);
        world_close(world);
        skip();
    }
}

static void test_file_over_tcp(void **state)
{
    struct world world;
    files_open(&world, state);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    transfer_file(&world, end, peer);
}

static void test_file_over_unix(void **state)
{
    struct world world;
    files_open(&world, state);
    int peer;
    struct end *end = end_of_pair(&world, &peer);
    transfer_file(&world, end, peer);
}

static void test_file_into_pipe(void **state)
{
    struct world world;
    files_open(&world, state);
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    struct end *end = end_add(&world, CHANNEL_PIPE, in[0], out[1]);
    transfer_file(&world, end, out[0]);
    close(in[1]);
}

int main(void)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(test_notices),        cmocka_unit_test(test_plain_counts_nothing),
        cmocka_unit_test(test_peer_resets),    cmocka_unit_test(test_close_with_data),
        cmocka_unit_test(test_file_over_tcp),  cmocka_unit_test(test_file_over_unix),
        cmocka_unit_test(test_file_into_pipe),
    };
    return run_variants("zerocopy", cases, sizeof cases / sizeof *cases);
}
