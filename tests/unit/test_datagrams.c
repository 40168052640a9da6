/* Datagrams over every engine: each case runs over all of them, on real sockets of the loopback and
 * on pairs of unix datagram sockets. */
#include "datagram_world.h"

typedef struct end *make_end(struct world *world, int *peer, uint32_t options);
static make_end *const makers[] = {end_of_udp, end_of_unix};
enum { MAKERS = sizeof makers / sizeof *makers };

/* Questions and answers of every length, the empty one among them; nothing runs together. */
static void test_echo(void **state)
{
    for (int maker = 0; maker < MAKERS; maker++) {
        struct world world;
        world_open(&world, state, ROOM);
        int peer;
        struct end *end = makers[maker](&world, &peer, 0);
        uint8_t data[64];
        fill(data, sizeof data);
        start_receiving(end);
        for (size_t i = 0; i < sizeof data; i++) {
            size_t length = i % 7 == 3 ? 0 : i;
            assert_int_equal(send(peer, data, length, 0), length);
            REAP_WHILE_NOT(&world, end->letter_count == i + 1);
            expect_letter(end, i, data, length);
            start_send(end, length ? data : NULL, length, i % 2 ? OP_QUIET : 0);
            struct pollfd poll_peer = {.fd = peer, .events = POLLIN};
            REAP_WHILE_NOT(&world, end->sent && poll(&poll_peer, 1, 0) == 1);
            assert_int_equal(end->send_result, length);
            expect_message(peer, data, length);
        }
        settle(&world);
        assert_int_equal(end->letter_count, sizeof data);
        end_close(end);
        close(peer);
        world_close(&world);
    }
}

/* More than are taken in a row, in their order, with and without CHANNEL_BATCHED. */
static void test_many_waiting(void **state)
{
    enum { COUNT = 100 };
    for (int kind = 0; kind < 2 * MAKERS; kind++) {
        struct world world;
        world_open(&world, state, ROOM);
        int peer;
        struct end *end = makers[kind % MAKERS](&world, &peer, kind < MAKERS ? 0 : CHANNEL_BATCHED);
        start_receiving(end);
        uint32_t sent = 0;
        while (end->letter_count < COUNT) {
            while (sent < COUNT && send(peer, &sent, sizeof sent, MSG_DONTWAIT) > 0) {
                sent++;
            }
            REAP_WHILE_NOT(&world, end->letter_count == sent);
        }
        for (uint32_t i = 0; i < COUNT; i++) {
            expect_letter(end, i, &i, sizeof i);
        }
        end_close(end);
        close(peer);
        world_close(&world);
    }
}

/* What is longer than a buffer is cut there, and its length is told; the next one is whole. */
static void test_truncated(void **state)
{
    for (int kind = 0; kind < 2 * MAKERS; kind++) {
        struct world world;
        world_open(&world, state, 100);
        int peer;
        struct end *end = makers[kind % MAKERS](&world, &peer, kind < MAKERS ? 0 : CHANNEL_BATCHED);
        uint8_t data[5000];
        fill(data, sizeof data);
        start_receiving(end);
        static const size_t lengths[] = {101, 100, 5000, 1};
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(send(peer, data, lengths[i], 0), lengths[i]);
        }
        REAP_WHILE_NOT(&world, end->letter_count == 4);
        for (size_t i = 0; i < 4; i++) {
            const struct letter *letter = &end->letters[i];
            assert_int_equal(letter->length, lengths[i]);
            assert_int_equal(letter->result, lengths[i] < 100 ? lengths[i] : 100);
            assert_memory_equal(end->received + letter->at, data, (size_t)letter->result);
        }
        if (world.variant->ops != &engine_uring) {
            const struct call_count *calls = world.calls.of;
            assert_int_equal(calls[CALL_RECVFROM].bytes + calls[CALL_RECVMMSG].bytes, 301);
        }
        end_close(end);
        close(peer);
        world_close(&world);
    }
}

/* Paused, messages wait, empty ones too. */
static void test_pause(void **state)
{
    struct world world;
    world_open(&world, state, ROOM);
    int peer;
    struct end *end = end_of_udp(&world, &peer, 0);
    end->pause_after_receive = true;
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(send(peer, &i, i % 5 == 4 ? 0 : sizeof i, 0), i % 5 == 4 ? 0 : sizeof i);
    }
    while (end->letter_count < 20) {
        size_t before = end->letter_count;
        start_receiving(end);
        REAP_WHILE_NOT(&world, end->letter_count > before);
        settle(&world);
    }
    for (uint32_t i = 0; i < 20; i++) {
        expect_letter(end, i, &i, i % 5 == 4 ? 0 : sizeof i);
    }
    end_close(end);
    close(peer);
    world_close(&world);
}

/* Nobody is there: told with the next receive or send, and the channel goes on. */
static void test_refused(void **state)
{
    for (uint32_t options = 0; options <= CHANNEL_BATCHED; options += CHANNEL_BATCHED) {
        struct world world;
        world_open(&world, state, ROOM);
        int peer;
        struct end *end = end_of_udp(&world, &peer, options);
        struct sockaddr_in address;
        socklen_t size = sizeof address;
        assert_int_equal(getsockname(peer, (struct sockaddr *)&address, &size), 0);
        close(peer);
        start_receiving(end);
        settle(&world);
        for (uint32_t i = 1; i <= 3; i++) {
            start_send(end, "x", 1, 0);
            REAP_WHILE_NOT(&world, end->sent && end->errors == i);
            assert_int_equal(end->send_result, 1);
            assert_int_equal(end->letters[end->letter_count - 1].result, -ECONNREFUSED);
        }
        peer = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(peer, (struct sockaddr *)&address, size), 0);
        assert_int_equal(getsockname(end->channel.fd, (struct sockaddr *)&address, &size), 0);
        assert_int_equal(sendto(peer, "back", 4, 0, (struct sockaddr *)&address, size), 4);
        REAP_WHILE_NOT(&world, end->received_length == 4);
        assert_int_equal(end->errors, 3);
        end_close(end);
        close(peer);
        world_close(&world);
    }
}

/* The peer's queue is full: the send waits, and is through when there is room. */
static void test_full(void **state)
{
    for (uint32_t segment = 0; segment <= 4; segment += 4) {
        struct world world;
        world_open(&world, state, ROOM);
        int peer;
        struct end *end = end_of_unix(&world, &peer, 0);
        uint8_t data[16384];
        fill(data, sizeof data);
        size_t taken = 0, got = 0;
        do {
            end->sent = false;
            submit_op(end, (struct op){.kind = OP_SEND,
                                       .data = data + taken,
                                       .length = segment ? sizeof data - taken : 4,
                                       .segment = segment});
            settle(&world);
            taken += end->sent ? (size_t)end->send_result : 0;
        } while (end->sent && taken < sizeof data);
        assert_false(end->sent); /* it waits */
        assert_true(taken > 0 && taken % 4 == 0);
        uint8_t message[ROOM];
        ssize_t length;
        while ((length = recv(peer, message, sizeof message, MSG_DONTWAIT)) > 0) {
            assert_int_equal(length, 4);
            assert_memory_equal(message, data + got, 4);
            got += 4;
        }
        REAP_WHILE_NOT(&world, end->sent);
        assert_true(end->send_result >= 4);
        while ((length = recv(peer, message, sizeof message, MSG_DONTWAIT)) > 0) {
            assert_memory_equal(message, data + got, 4);
            got += 4;
        }
        assert_int_equal(got, taken + (size_t)end->send_result);
        if (segment && world.variant->ops != &engine_uring) {
            assert_int_equal(world.calls.of[CALL_SENDTO].calls, 0);
            assert_true(world.calls.of[CALL_SENDMMSG].again > 0);
        }
        end_close(end);
        close(peer);
        world_close(&world);
    }
}

/* One socket for all peers: each answer goes to who has asked. Neither data nor peer outlive the
 * submission. */
static void test_peers(void **state)
{
    enum { PEERS = 50 };
    for (uint32_t options = 0; options <= CHANNEL_BATCHED; options += CHANNEL_BATCHED) {
        struct world world;
        world_open(&world, state, ROOM);
        struct sockaddr_in address, peer_addresses[PEERS];
        int fd = udp_socket(&address);
        struct end *end = end_add_with(&world, CHANNEL_MANY, fd, fd, options);
        int peers[PEERS];
        start_receiving(end);
        for (uint32_t i = 0; i < PEERS; i++) {
            peers[i] = udp_socket(&peer_addresses[i]);
            assert_int_equal(
                sendto(peers[i], &i, i ? sizeof i : 0, 0, (void *)&address, sizeof address),
                i ? sizeof i : 0);
        }
        REAP_WHILE_NOT(&world, end->letter_count == PEERS);
        for (uint32_t i = 0; i < PEERS; i++) {
            const struct letter *letter = &end->letters[i];
            expect_letter(end, i, &i, i ? sizeof i : 0);
            assert_int_equal(letter->peer_length, sizeof address);
            assert_memory_equal(&letter->peer, &peer_addresses[i], sizeof address);
            struct sockaddr_storage to = letter->peer;
            uint32_t answer = 1000 + i;
            assert_int_equal(submit_op(end, (struct op){.kind = OP_SEND,
                                                        .data = (uint8_t *)&answer,
                                                        .length = i == 7 ? 0 : sizeof answer,
                                                        .peer = (struct sockaddr *)&to,
                                                        .peer_length = sizeof address}),
                             SUBMIT_DONE);
            assert_int_equal(end->send_result, i == 7 ? 0 : sizeof answer);
            memset(&to, 0, sizeof to);
            answer = 0;
        }
        settle(&world);
        for (uint32_t i = 0; i < PEERS; i++) {
            uint32_t answer = 1000 + i;
            expect_message(peers[i], &answer, i == 7 ? 0 : sizeof answer);
            close(peers[i]);
        }
        assert_int_equal(end->errors, 0);
        end_close(end);
        world_close(&world);
    }
}

/* Without room a send to one of many peers is DONE with -EAGAIN; io_uring, which has said DONE
 * before it tried, tells it as an error of the receive. What was taken has gone, no more. */
static void test_many_without_room(void **state)
{
    enum { SENDS = 2000 };
    struct world world;
    world_open(&world, state, ROOM);
    struct sockaddr_un address = {.sun_family = AF_UNIX}; /* bound to an abstract name */
    socklen_t size = sizeof(sa_family_t);
    int peer = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(peer, (struct sockaddr *)&address, size), 0);
    size = sizeof address;
    assert_int_equal(getsockname(peer, (struct sockaddr *)&address, &size), 0);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct end *end = end_add(&world, CHANNEL_MANY, fd, fd);
    start_receiving(end);
    size_t taken = 0, again = 0, got = 0;
    for (uint32_t i = 0; i < SENDS; i++) {
        assert_int_equal(submit_op(end, (struct op){.kind = OP_SEND,
                                                    .data = (uint8_t *)&i,
                                                    .length = sizeof i,
                                                    .peer = (struct sockaddr *)&address,
                                                    .peer_length = size}),
                         SUBMIT_DONE);
        taken += end->send_result == sizeof i;
        again += end->send_result == -EAGAIN;
    }
    settle(&world);
    assert_int_equal(taken + again, SENDS);
    uint32_t value;
    while (recv(peer, &value, sizeof value, MSG_DONTWAIT) == sizeof value) {
        assert_int_equal(value, got);
        got++;
    }
    assert_true(got > 0 && got < SENDS);
    assert_int_equal(got, taken - end->errors);
    for (size_t i = 0; i < end->letter_count; i++) {
        assert_int_equal(end->letters[i].result, -EAGAIN);
    }
    end_close(end);
    close(peer);
    world_close(&world);
}

/* A client of a unix socket that is full waits for its peer, who is connected to nobody. */
static void test_full_one_way(void **state)
{
    struct world world;
    world_open(&world, state, ROOM);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof(sa_family_t);
    int peer = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(peer, (struct sockaddr *)&address, size), 0);
    size = sizeof address;
    assert_int_equal(getsockname(peer, (struct sockaddr *)&address, &size), 0);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, size), 0);
    struct end *end = end_add(&world, CHANNEL_DATAGRAM, fd, fd);
    start_receiving(end);
    uint32_t values[2000];
    uint32_t sent = 0, got = 0;
    for (; sent < 2000; sent++) {
        values[sent] = sent;
        start_send(end, &values[sent], sizeof sent, sent % 2 ? OP_QUIET : 0);
        settle(&world);
        if (!end->sent) {
            break;
        }
        assert_int_equal(end->send_result, sizeof sent);
    }
    assert_in_range(sent, 1, 1999);
    while (got <= sent) {
        uint32_t value;
        if (recv(peer, &value, sizeof value, MSG_DONTWAIT) < 0) {
            REAP_WHILE_NOT(&world, end->sent);
            continue;
        }
        assert_int_equal(value, got);
        got++;
    }
    REAP_WHILE_NOT(&world, end->sent);
    end_close(end);
    close(peer);
    world_close(&world);
}

/* Closed with messages queued, held and on their way: nothing comes any more. */
static void test_close(void **state)
{
    for (int round = 0; round < 8; round++) {
        struct world world;
        world_open(&world, state, ROOM);
        struct sockaddr_in address, peer_address;
        int fd = udp_socket(&address);
        int peer = udp_socket(&peer_address);
        struct end *end = end_add(&world, CHANNEL_MANY, fd, fd);
        start_receiving(end);
        settle(&world);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(sendto(peer, "x", 1, 0, (void *)&address, sizeof address), 1);
        }
        if (round & 1) {
            pause_receiving(end);
        }
        if (round & 2) {
            settle(&world);
        }
        start_send(end, "y", 1, 0); /* fails: no peer */
        if (round & 4) {
            submit_op(end, (struct op){.kind = OP_SEND,
                                       .data = (const uint8_t *)"last",
                                       .length = 4,
                                       .peer = (struct sockaddr *)&peer_address,
                                       .peer_length = sizeof peer_address});
        }
        end_close(end);
        if (round & 4) {
            expect_message(peer, "last", 4);
        }
        assert_int_equal(fcntl(fd, F_GETFD), -1);
        close(peer);
        world_close(&world);
    }
}

int main(void)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(test_echo),         cmocka_unit_test(test_many_waiting),
        cmocka_unit_test(test_truncated),    cmocka_unit_test(test_pause),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_full),
        cmocka_unit_test(test_peers),        cmocka_unit_test(test_many_without_room),
        cmocka_unit_test(test_full_one_way), cmocka_unit_test(test_close),
    };
    return run_variants("datagrams", cases, sizeof cases / sizeof *cases);
}
