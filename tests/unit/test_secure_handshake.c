/* TLS as a layer around every engine: handshakes that fail, sessions, and channels without TLS.
 * Each case runs over all of them. */
#include "secure_world.h"

static void expect_refusal(void **state, struct tls_context *client, int failure, const char *alert)
{
    struct world world;
    struct tls_peer peer;
    int fd;
    open_with(&world, state, 4096, client);
    struct end *end = connecting(&world, &fd);
    peer_open(&peer, fd, server_tls, TLS_SERVER);
    TURN_WHILE_NOT(&world, &peer, end->connected);
    assert_int_equal(end->connect_result, -failure);
    assert_true(end->explained);
    start_send(end, "secret", 6, 0);
    assert_int_equal(end->send_result, -EPIPE);
    end_close(end);
    while (!peer.failed && !peer.gone) {
        peer_turn(&peer);
    }
    peer_turn(&peer);
    assert_non_null(strstr(peer.error.what, alert));
    peer_close(&peer);
    world_close(&world);
}

static void test_untrusted(void **state)
{
    expect_refusal(state, stranger_tls, TLS_FAILED_SELF_SIGNED,
                   "alert: unknown certificate authority");
}

static void test_other_name(void **state)
{
    expect_refusal(state, misled_tls, TLS_FAILED_NAME, "alert: bad certificate");
}

static void expect_failure(void **state, const void *bytes, size_t length, bool close_it,
                           int64_t result)
{
    struct world world;
    int fd;
    open_with(&world, state, 4096, NULL);
    struct end *end = connecting(&world, &fd);
    settle(&world);
    assert_false(end->connected);
    if (length) {
        assert_int_equal(send(fd, bytes, length, 0), length);
    }
    if (close_it) {
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
    }
    REAP_WHILE_NOT(&world, end->connected);
    assert_int_equal(end->connect_result, result);
    end_close(end);
    close(fd);
    world_close(&world);
}

static void test_no_tls_there(void **state)
{
    expect_failure(state, "HTTP/1.1 400 Bad Request\r\n", 26, false, -TLS_FAILED_NOT_TLS);
    expect_failure(state, "", 0, true, -TLS_FAILED_ENDED);
    expect_failure(state, "\x16\x03\x03\x00", 4, true, -TLS_FAILED_ENDED);
}

static void test_reset_in_handshake(void **state)
{
    struct world world;
    int fd;
    open_with(&world, state, 4096, NULL);
    struct end *end = connecting(&world, &fd);
    settle(&world);
    struct linger at_once = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
    REAP_WHILE_NOT(&world, end->connected);
    assert_int_equal(end->connect_result, -ECONNRESET);
    end_close(end);
    world_close(&world);
}

/* Silence ends nothing by itself: the owner closes it when it has waited enough. */
static void test_silence_in_handshake(void **state)
{
    struct world world;
    int fd;
    open_with(&world, state, 4096, NULL);
    struct end *end = connecting(&world, &fd);
    settle(&world);
    assert_false(end->connected);
    end_close(end);
    close(fd);
    int other;
    end = accepted(&world, &other);
    settle(&world);
    assert_false(end->connected);
    end_close(end);
    close(other);
    world_close(&world);
}

static void test_damaged(void **state)
{
    struct world world;
    struct tls_peer peer;
    uint8_t bytes[256];
    open_with(&world, state, 4096, NULL);
    struct end *end = connected(&world, &peer);
    start_receiving(end);
    peer_write(&peer, "some words", 10);
    size_t length = tls_take(peer.tls, bytes, sizeof bytes);
    bytes[length - 1] ^= 1;
    assert_int_equal(send(peer.fd, bytes, length, 0), length);
    REAP_WHILE_NOT(&world, end->ended);
    assert_int_equal(end->end_result, -TLS_FAILED_RECORD);
    assert_int_equal(end->received_length, 0);
    finish(&world, end, &peer);
}

/* ---- sessions, and channels without TLS ------------------------------------------------------ */

static void resume(void **state, uint32_t version)
{
    struct world world;
    struct tls_context *client = NULL;
    char reason[80];
    if (tls_why_not(reason, sizeof reason) == 0) {
        client = context_of((struct tls_settings){.side = TLS_CLIENT,
                                                  .name = "server.example",
                                                  .trusted = giving_tls,
                                                  .versions = version,
                                                  .resume = true});
    }
    open_with(&world, state, 4096, client);
    for (int i = 0; i < 3; i++) {
        struct tls_peer peer;
        struct end *end = connected_to(&world, &peer, giving_tls);
        assert_int_equal(end->resumed, i > 0);
        assert_string_equal(end->version, version == TLS_1_3 ? "TLSv1.3" : "TLSv1.2");
        TURN_WHILE_NOT(&world, &peer, !tls_context_awaits_session(client));
        end_close(end);
        peer_close(&peer);
    }
    world_close(&world);
    tls_context_close(client);
}

static void test_resume_1_2(void **state)
{
    resume(state, TLS_1_2);
}

static void test_resume_1_3(void **state)
{
    resume(state, TLS_1_3);
}

static void test_without_tls(void **state)
{
    struct world world;
    int peer;
    open_with(&world, state, 4096, NULL);
    struct end *end = end_of_pair(&world, &peer);
    start_receiving(end);
    assert_int_equal(write(peer, "plain", 5), 5);
    REAP_WHILE_NOT(&world, end->received_length == 5);
    start_send(end, "text", 4, 0);
    REAP_WHILE_NOT(&world, end->sent);
    expect_from(peer, "text", 4);
    end_close(end);
    close(peer);
    world_close(&world);
}

int main(void)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(test_untrusted),
        cmocka_unit_test(test_other_name),
        cmocka_unit_test(test_no_tls_there),
        cmocka_unit_test(test_reset_in_handshake),
        cmocka_unit_test(test_silence_in_handshake),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_resume_1_2),
        cmocka_unit_test(test_resume_1_3),
        cmocka_unit_test(test_without_tls),
    };
    return run_secure("secure handshakes", cases, sizeof cases / sizeof *cases);
}
