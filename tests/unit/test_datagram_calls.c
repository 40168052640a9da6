/* Datagrams over every engine: segments, the kernel's time stamps, and which calls are made. */
#include "datagram_world.h"

#include <linux/net_tstamp.h>
#include <netinet/udp.h>
#include <time.h>

/* Several messages with one send; the last one is shorter. */
static void send_segments(void **state, bool many, uint32_t options, size_t length)
{
    enum { SEGMENT = 1000 };
    struct world world;
    world_open(&world, state, 65536);
    int peer;
    struct sockaddr_in address;
    struct end *end = many ? NULL : end_of_udp(&world, &peer, options);
    if (many) {
        struct sockaddr_in own;
        int fd = udp_socket(&own);
        peer = udp_socket(&address);
        end = end_add_with(&world, CHANNEL_MANY, fd, fd, options);
    }
    uint8_t *data = malloc(length);
    assert_non_null(data);
    fill(data, length);
    size_t taken = 0;
    unsigned sends = 0;
    while (taken < length) {
        end->sent = false;
        submit_op(end, (struct op){.kind = OP_SEND,
                                   .data = data + taken,
                                   .length = length - taken,
                                   .segment = SEGMENT,
                                   .peer = many ? (struct sockaddr *)&address : NULL,
                                   .peer_length = many ? sizeof address : 0});
        REAP_WHILE_NOT(&world, end->sent);
        assert_true(end->send_result > 0);
        taken += (size_t)end->send_result;
        assert_true(taken % SEGMENT == 0 || taken == length);
        sends++;
    }
    assert_int_equal(sends, (length + 63999) / 64000);
    settle(&world);
    for (size_t at = 0; at < length; at += SEGMENT) {
        size_t left = length - at;
        expect_message(peer, data + at, left < SEGMENT ? left : SEGMENT);
    }
    uint64_t alone = length % 64000 && length % 64000 <= SEGMENT;
    if (!(options & CHANNEL_SEGMENTS)) {
        assert_int_equal(*calls_of(&world, CALL_SENDMMSG), sends - alone);
        assert_int_equal(world.calls.of[CALL_SENDMMSG].bytes,
                         alone ? length - length % 64000 : length);
    } else if (world.variant->ops != &engine_uring) {
        assert_int_equal(*calls_of(&world, CALL_SENDMSG), sends - alone);
        assert_int_equal(*calls_of(&world, CALL_SENDTO), alone);
    }
    end_close(end);
    close(peer);
    free(data);
    world_close(&world);
}

static void test_send_segments(void **state)
{
    static const size_t lengths[] = {2000, 2001, 999, 64000, 64001, 130500, 200000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        send_segments(state, false, 0, lengths[i]);
        send_segments(state, false, CHANNEL_SEGMENTS, lengths[i]);
        send_segments(state, true, 0, lengths[i]);
        send_segments(state, true, CHANNEL_SEGMENTS, lengths[i]);
    }
}

/* What the peer sends in segments comes joined, with their size. */
static void test_receive_segments(void **state)
{
    for (uint32_t options = CHANNEL_SEGMENTS; options <= (CHANNEL_SEGMENTS | CHANNEL_BATCHED);
         options += CHANNEL_BATCHED) {
        struct world world;
        world_open(&world, state, 65536);
        int peer;
        struct end *end = end_of_udp(&world, &peer, options);
        int one = 1, segment = 500;
        assert_int_equal(setsockopt(end->channel.fd, SOL_UDP, UDP_GRO, &one, sizeof one), 0);
        uint8_t data[5100];
        fill(data, sizeof data);
        start_receiving(end);
        assert_int_equal(send(peer, data, 100, 0), 100);
        REAP_WHILE_NOT(&world, end->letter_count == 1);
        expect_letter(end, 0, data, 100);
        assert_int_equal(setsockopt(peer, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment), 0);
        assert_int_equal(send(peer, data, sizeof data, 0), sizeof data);
        REAP_WHILE_NOT(&world, end->received_length == 100 + sizeof data);
        assert_int_equal(end->letter_count, 2);
        assert_int_equal(end->letters[1].segment, 500);
        assert_int_equal(end->letters[1].result, sizeof data);
        assert_memory_equal(end->received + 100, data, sizeof data);
        end_close(end);
        close(peer);
        world_close(&world);
    }
}

static void stamp(int fd)
{
    int flags = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE |
                SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags), 0);
}

static uint64_t real_ns(void)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* Each question and its answer: before < left the stack <= answer entered it <= delivered. */
static void test_stamps(void **state)
{
    enum { UDP, UDP_BATCHED, TCP, KINDS };
    for (int kind = UDP; kind < KINDS; kind++) {
        struct world world;
        world_open(&world, state, ROOM);
        int peer;
        struct end *end;
        if (kind == TCP) {
            struct sockaddr_in address;
            int listener = listen_tcp(&address);
            int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
            peer = accept(listener, NULL, NULL);
            assert_true(peer >= 0);
            close(listener);
            end = end_add_with(&world, CHANNEL_SOCKET, fd, fd, CHANNEL_STAMPS);
        } else {
            end = end_of_udp(&world, &peer,
                             CHANNEL_STAMPS | (kind == UDP_BATCHED ? CHANNEL_BATCHED : 0));
        }
        stamp(end->channel.fd);
        start_receiving(end);
        const uint64_t give_up_ns = clock_now_ns() + LIMIT_NS;
        size_t exact = 0;
        size_t i = 0;
        for (; exact < 20; i++) {
            assert_true(clock_now_ns() < give_up_ns);
            uint64_t before_ns = real_ns();
            start_send(end, "question", 8, i % 2 ? OP_QUIET : 0);
            REAP_WHILE_NOT(&world, end->sent);
            expect_message(peer, "question", 8);
            assert_int_equal(send(peer, "answer", 6, 0), 6);
            REAP_WHILE_NOT(&world, end->letter_count == i + 1);
            const struct letter *letter = &end->letters[i];
            assert_true(letter->stamped);
            /* The kernel begins to stamp a moment after it has been asked to. */
            if (exact || letter->stamps.received_ns) {
                exact++;
                assert_in_range(letter->stamps.sent_ns, before_ns, letter->stamps.received_ns);
                assert_in_range(letter->stamps.received_ns, before_ns, real_ns());
            }
        }
        if (world.variant->ops != &engine_uring && kind != UDP_BATCHED) {
            assert_int_equal(*calls_of(&world, CALL_RECVMMSG), i);
            assert_int_equal(*calls_of(&world, CALL_SENDTO), i);
        }
        if (kind == TCP) {
            close(peer);
            REAP_WHILE_NOT(&world, end->ended);
            assert_int_equal(end->end_result, 0);
        }
        end_close(end);
        if (kind != TCP) {
            close(peer);
        }
        world_close(&world);
    }
}

/* A stamp that comes when nobody looks for it, as where packets leave later than the send: it ends
 * no wait but one, and is told with the next receive. */
static void test_late_stamp(void **state)
{
    for (uint32_t batched = 0; batched <= CHANNEL_BATCHED; batched += CHANNEL_BATCHED) {
        struct world world;
        world_open(&world, state, ROOM);
        int peer;
        struct end *end = end_of_udp(&world, &peer, CHANNEL_STAMPS | batched);
        stamp(end->channel.fd);
        start_receiving(end);
        settle(&world);
        memset(&world.calls, 0, sizeof world.calls);
        uint64_t before_ns = real_ns();
        assert_int_equal(send(end->channel.fd, "x", 1, 0), 1); /* behind the engine's back */
        settle(&world);
        if (world.variant->ops == &engine_poll || world.variant->ops == &engine_epoll) {
            assert_int_equal(*calls_of(&world, CALL_RECVMMSG), batched ? 2 : 1);
            assert_int_equal(*calls_of(&world, CALL_RECVMSG), batched ? 0 : 1);
        }
        assert_int_equal(send(peer, "answer", 6, 0), 6);
        REAP_WHILE_NOT(&world, end->letter_count == 1);
        expect_letter(end, 0, "answer", 6);
        if (world.variant->ops != &engine_uring) {
            assert_in_range(end->letters[0].stamps.sent_ns, before_ns, real_ns());
        }
        end_close(end);
        close(peer);
        world_close(&world);
    }
}

/* A ping of the blocking engine is one send and one receive; io_uring makes no call but its own. */
static void test_exact_calls(void **state)
{
    enum { ROUNDS = 50 };
    struct world world;
    world_open(&world, state, ROOM);
    int peer;
    struct end *end = end_of_udp(&world, &peer, 0);
    start_receiving(end);
    const uint64_t far_ns = clock_now_ns() + 3600 * NS_PER_SECOND;
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        start_send(end, "question", 8, OP_QUIET);
        assert_int_equal(send(peer, "answer", 6, 0), 6);
        while (end->letter_count < i) {
            reap_until(&world, far_ns);
        }
    }
    if (world.variant->ops == &engine_threads) {
        assert_int_equal(*calls_of(&world, CALL_SENDTO), ROUNDS);
        assert_int_equal(*calls_of(&world, CALL_RECVFROM), ROUNDS);
        assert_int_equal(*calls_of(&world, CALL_PPOLL), 0);
        assert_int_equal(world.calls.of[CALL_RECVFROM].bytes, 6 * ROUNDS);
    } else if (world.variant->ops == &engine_uring) {
        for (int i = 0; i < CALL_KINDS; i++) {
            assert_true(i == CALL_IO_URING_ENTER || world.calls.of[i].calls == 0);
        }
        assert_in_range(*calls_of(&world, CALL_IO_URING_ENTER), ROUNDS, ROUNDS + 1);
    } else {
        /* Several in a row, until there is none. */
        assert_int_equal(*calls_of(&world, CALL_RECVFROM), 2 * ROUNDS);
        assert_int_equal(world.calls.of[CALL_RECVFROM].again, ROUNDS);
    }
    end_close(end);
    close(peer);
    world_close(&world);
}

/* A batch is one call. */
static void test_batch_calls(void **state)
{
    struct world world;
    world_open(&world, state, ROOM);
    int peer;
    struct end *end = end_of_udp(&world, &peer, CHANNEL_BATCHED);
    for (uint32_t i = 0; i < 70; i++) {
        assert_int_equal(send(peer, &i, sizeof i, 0), sizeof i);
    }
    start_receiving(end);
    REAP_WHILE_NOT(&world, end->letter_count == 70);
    for (uint32_t i = 0; i < 70; i++) {
        expect_letter(end, i, &i, sizeof i);
    }
    if (world.variant->ops != &engine_uring) {
        assert_int_equal(*calls_of(&world, CALL_RECVMMSG), 3);
        assert_int_equal(world.calls.of[CALL_RECVMMSG].bytes, 280);
        assert_int_equal(*calls_of(&world, CALL_RECVFROM), 0);
    }
    end_close(end);
    close(peer);
    world_close(&world);
}

int main(void)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(test_send_segments), cmocka_unit_test(test_receive_segments),
        cmocka_unit_test(test_stamps),        cmocka_unit_test(test_late_stamp),
        cmocka_unit_test(test_exact_calls),   cmocka_unit_test(test_batch_calls),
    };
    return run_variants("datagram_calls", cases, sizeof cases / sizeof *cases);
}
