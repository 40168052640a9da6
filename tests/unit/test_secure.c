/* TLS as a layer around every engine: what is sent, received and ended. Each case runs over all of
 * them. */
#include "secure_world.h"

#define BIG (1024 * 1024)

/* Both ways, and an end in order. */
static void talk(struct world *world, struct end *end, struct tls_peer *peer)
{
    start_receiving(end);
    for (size_t i = 1; i <= 10; i++) {
        peer_write(peer, "question", 8);
        TURN_WHILE_NOT(world, peer, end->received_length == 8 * i);
        assert_memory_equal(end->received + 8 * (i - 1), "question", 8);
        start_send(end, "answer", 6, i % 2 ? OP_QUIET : OP_MORE);
        submit_op(end, (struct op){.kind = OP_PUSH});
        TURN_WHILE_NOT(world, peer, end->sent && peer->length == 6 * i);
        assert_int_equal(end->send_result, 6);
        assert_memory_equal(peer->received + 6 * (i - 1), "answer", 6);
    }
    tls_end(peer->tls);
    TURN_WHILE_NOT(world, peer, end->ended);
    assert_int_equal(end->end_result, 0);
    assert_false(peer->failed);
}

static void test_client(void **state)
{
    struct world world;
    struct tls_peer peer;
    open_with(&world, state, 4096, NULL);
    struct end *end = connected(&world, &peer);
    talk(&world, end, &peer);
    finish(&world, end, &peer);
}

static void test_server(void **state)
{
    struct world world;
    struct tls_peer peer;
    open_with(&world, state, 4096, NULL);
    struct end *end = served(&world, &peer, 65536);
    talk(&world, end, &peer);
    finish(&world, end, &peer);
}

static void test_byte_at_a_time(void **state)
{
    struct world world;
    struct tls_peer peer;
    open_with(&world, state, 4096, NULL);
    struct end *end = served(&world, &peer, 1);
    peer.piece = 3;
    talk(&world, end, &peer);
    finish(&world, end, &peer);
}

/* Plain text is lent in pieces of the engine's size, wherever records end. */
static void test_small_buffers(void **state)
{
    struct world world;
    struct tls_peer peer;
    uint8_t data[5000];
    open_with(&world, state, 100, NULL);
    struct end *end = connected(&world, &peer);
    fill(data, sizeof data);
    start_receiving(end);
    peer_write(&peer, data, sizeof data);
    TURN_WHILE_NOT(&world, &peer, end->received_length == sizeof data);
    assert_memory_equal(end->received, data, sizeof data);
    finish(&world, end, &peer);
}

/* Memory of the receiver's own is named in vain. */
static void test_lent_all_the_same(void **state)
{
    struct world world;
    struct tls_peer peer;
    uint8_t memory[3] = "ab";
    open_with(&world, state, 4096, NULL);
    struct end *end = connected(&world, &peer);
    end->memory = memory;
    end->memory_bytes = sizeof memory;
    end->lent_all_the_same = true;
    talk(&world, end, &peer);
    assert_memory_equal(memory, "ab", 3);
    finish(&world, end, &peer);
}

static void test_large_send(void **state)
{
    struct world world;
    struct tls_peer peer;
    uint8_t *data = malloc(BIG);
    open_with(&world, state, 65536, NULL);
    struct end *end = connected(&world, &peer);
    limit_buffer(peer.fd, SO_RCVBUF);
    fill(data, BIG);
    size_t sent = 0;
    while (sent < BIG) {
        start_send(end, data + sent, BIG - sent, 0);
        TURN_WHILE_NOT(&world, &peer, end->sent);
        assert_true(end->send_result > 0 && end->send_result <= SECURE_SEND_BYTES);
        sent += (size_t)end->send_result;
    }
    TURN_WHILE_NOT(&world, &peer, peer.length == BIG);
    assert_memory_equal(peer.received, data, BIG);
    free(data);
    finish(&world, end, &peer);
}

static void test_large_receive(void **state)
{
    struct world world;
    struct tls_peer peer;
    uint8_t *data = malloc(BIG);
    open_with(&world, state, 65536, NULL);
    struct end *end = connected(&world, &peer);
    fill(data, BIG);
    start_receiving(end);
    for (size_t done = 0; done < BIG; done += 32768) {
        peer_write(&peer, data + done, 32768);
        TURN_WHILE_NOT(&world, &peer, end->received_length == done + 32768);
    }
    assert_memory_equal(end->received, data, BIG);
    free(data);
    finish(&world, end, &peer);
}

/* What comes while nobody wants it waits, and its sender with it. */
static void test_pause(void **state)
{
    struct world world;
    struct tls_peer peer;
    uint8_t *data = malloc(BIG);
    open_with(&world, state, 4096, NULL);
    struct end *end = connected(&world, &peer);
    fill(data, BIG);
    start_receiving(end);
    end->pause_after_receive = true;
    peer_write(&peer, data, 30000);
    for (size_t i = 0; i < 20 && end->received_length < 30000; i++) {
        size_t before = end->received_length;
        TURN_WHILE_NOT(&world, &peer, end->received_length > before);
        size_t now = end->received_length;
        for (int turn = 0; turn < 2; turn++) {
            peer_turn(&peer);
            settle(&world);
        }
        assert_int_equal(end->received_length, now);
        start_receiving(end);
    }
    assert_int_equal(end->received_length, 30000);
    assert_memory_equal(end->received, data, 30000);
    pause_receiving(end);
    size_t pushed = 0;
    uint8_t bytes[16384];
    for (int quiet = 0; quiet < 20 && pushed < 64 * BIG;) {
        if (tls_waiting(peer.tls) == 0) {
            peer_write(&peer, data, 16384);
        }
        size_t length = tls_take(peer.tls, bytes, sizeof bytes);
        ssize_t result = send(peer.fd, bytes, length, MSG_NOSIGNAL);
        quiet = result < 0 ? quiet + 1 : 0;
        pushed += result > 0 ? (size_t)result : 0;
        reap_until(&world, clock_now_ns() + NS_PER_MS / 5);
    }
    assert_true(pushed < 64 * BIG);
    free(data);
    finish(&world, end, &peer);
}

/* What is not wanted yet is kept apart from the engine's own buffers, which others fill meanwhile.
 */
static void test_kept_apart(void **state)
{
    enum { RECORD = 300, COUNT = 20, ROOM = 100 };
    struct world world;
    struct tls_peer peer;
    uint8_t data[RECORD * COUNT];
    int other_peer;
    open_with(&world, state, ROOM, NULL);
    if (world.engine->ops->flags & ENGINE_ONE_CHANNEL) {
        world_close(&world);
        skip();
    }
    struct end *end = connected(&world, &peer);
    struct end *other = end_of_pair(&world, &other_peer);
    fill(data, sizeof data);
    start_receiving(end);
    start_receiving(other);
    end->pause_after_receive = true;
    for (size_t i = 0; i < COUNT; i++) {
        peer_write(&peer, data + i * RECORD, RECORD);
    }
    while (end->received_length < sizeof data) {
        size_t before = end->received_length;
        TURN_WHILE_NOT(&world, &peer, end->received_length > before);
        before = other->received_length;
        uint8_t noise[64 * ROOM];
        memset(noise, 0xee, sizeof noise);
        assert_int_equal(write(other_peer, noise, sizeof noise), sizeof noise);
        REAP_WHILE_NOT(&world, other->received_length == before + sizeof noise);
        start_receiving(end);
    }
    assert_memory_equal(end->received, data, sizeof data);
    end_close(other);
    close(other_peer);
    finish(&world, end, &peer);
}

/* An end that comes while nobody reads is told of once somebody does, behind what came before. */
static void test_end_while_paused(void **state)
{
    struct world world;
    struct tls_peer peer;
    open_with(&world, state, 4096, NULL);
    struct end *end = connected(&world, &peer);
    peer_write(&peer, "last words", 10);
    tls_end(peer.tls);
    peer_turn(&peer);
    assert_int_equal(shutdown(peer.fd, SHUT_WR), 0);
    settle(&world);
    assert_false(end->ended);
    start_receiving(end);
    TURN_WHILE_NOT(&world, &peer, end->ended);
    assert_int_equal(end->end_result, 0);
    assert_int_equal(end->received_length, 10);
    finish(&world, end, &peer);
}

static void test_half_close(void **state)
{
    struct world world;
    struct tls_peer peer;
    open_with(&world, state, 4096, NULL);
    struct end *end = connected(&world, &peer);
    start_receiving(end);
    start_send(end, "all", 3, 0);
    TURN_WHILE_NOT(&world, &peer, end->sent);
    assert_int_equal(submit_op(end, (struct op){.kind = OP_SHUTDOWN}), SUBMIT_DONE);
    TURN_WHILE_NOT(&world, &peer, peer.ended && peer.gone);
    assert_int_equal(peer.length, 3);
    start_send(end, "more", 4, 0);
    assert_int_equal(end->send_result, -EPIPE);
    peer_write(&peer, "the other way", 13);
    TURN_WHILE_NOT(&world, &peer, end->received_length == 13);
    tls_end(peer.tls);
    TURN_WHILE_NOT(&world, &peer, end->ended);
    assert_int_equal(end->end_result, 0);
    finish(&world, end, &peer);
}

static void test_truncated(void **state)
{
    struct world world;
    struct tls_peer peer;
    open_with(&world, state, 4096, NULL);
    struct end *end = connected(&world, &peer);
    start_receiving(end);
    peer_write(&peer, "half of", 7);
    TURN_WHILE_NOT(&world, &peer, end->received_length == 7);
    assert_int_equal(shutdown(peer.fd, SHUT_WR), 0);
    REAP_WHILE_NOT(&world, end->ended);
    assert_int_equal(end->end_result, -TLS_FAILED_TRUNCATED);
    assert_string_equal(engine_failure_name(TLS_FAILED_TRUNCATED),
                        "ended without close_notify: truncated");
    finish(&world, end, &peer);
}

static void test_reset(void **state)
{
    struct world world;
    struct tls_peer peer;
    open_with(&world, state, 4096, NULL);
    struct end *end = connected(&world, &peer);
    start_receiving(end);
    struct linger at_once = {.l_onoff = 1};
    setsockopt(peer.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(peer.fd);
    peer.fd = -1;
    REAP_WHILE_NOT(&world, end->ended);
    assert_int_equal(end->end_result, -ECONNRESET);
    finish(&world, end, &peer);
}

static void test_close_says_so(void **state)
{
    struct world world;
    struct tls_peer peer;
    open_with(&world, state, 4096, NULL);
    struct end *end = connected(&world, &peer);
    start_send(end, "bye", 3, 0);
    REAP_WHILE_NOT(&world, end->sent);
    end_close(end);
    while (!peer.gone) {
        peer_turn(&peer);
    }
    assert_int_equal(peer.length, 3);
    assert_true(peer.ended);
    peer_close(&peer);
    world_close(&world);
}

/* What a send that only tries has taken arrives, though the channel is closed at once. */
static void test_try_and_close(void **state)
{
    struct world world;
    struct tls_peer peer;
    uint8_t *data = malloc(65536);
    open_with(&world, state, 4096, NULL);
    if (!(world.engine->ops->flags & ENGINE_SENDS_AT_ONCE)) {
        free(data);
        world_close(&world);
        skip();
    }
    struct end *end = connected(&world, &peer);
    limit_buffer(peer.fd, SO_RCVBUF);
    fill(data, 65536);
    size_t taken = 0;
    for (int i = 0; i < 10000; i++) {
        start_send(end, data + taken % 1000, 30000, OP_TRY);
        assert_true(end->sent);
        if (end->send_result == -EAGAIN) {
            break;
        }
        assert_int_equal(end->send_result, 30000);
        taken += 30000;
    }
    assert_int_equal(end->send_result, -EAGAIN);
    submit_op(end, (struct op){.kind = OP_CLOSE});
    assert_false(end->closed);
    TURN_WHILE_NOT(&world, &peer, end->closed);
    while (!peer.gone) {
        peer_turn(&peer);
    }
    assert_int_equal(peer.length, taken);
    assert_true(peer.ended);
    free(end->received);
    free(end);
    free(data);
    peer_close(&peer);
    world_close(&world);
}

/* A peer that takes nothing holds a close up, but not for ever. */
static void test_close_does_not_hang(void **state)
{
    struct world world;
    struct tls_peer peer;
    static uint8_t data[65536];
    open_with(&world, state, 4096, NULL);
    struct end *end = connected(&world, &peer);
    limit_buffer(peer.fd, SO_RCVBUF);
    do {
        start_send(end, data, sizeof data, 0);
        settle(&world);
    } while (end->sent);
    end_close(end);
    peer_close(&peer);
    world_close(&world);
}

int main(void)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(test_client),
        cmocka_unit_test(test_server),
        cmocka_unit_test(test_byte_at_a_time),
        cmocka_unit_test(test_small_buffers),
        cmocka_unit_test(test_lent_all_the_same),
        cmocka_unit_test(test_large_send),
        cmocka_unit_test(test_large_receive),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_kept_apart),
        cmocka_unit_test(test_end_while_paused),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_close_says_so),
        cmocka_unit_test(test_try_and_close),
        cmocka_unit_test(test_close_does_not_hang),
    };
    return run_secure("secure", cases, sizeof cases / sizeof *cases);
}
