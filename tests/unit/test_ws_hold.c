/* Held connections of `sonde ws`: opened, kept, pinged, lost, closed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "codec/websocket_handshake.h"
#include "ws_pair.h"
#include "workload/ws_client.h"

static const struct ws_client *client_of(const struct pair *pair)
{
    return (const struct ws_client *)(const void *)pair->client.world.connection;
}

static void drain_client(struct pair *pair)
{
    pair->client.world.context.draining = true;
    feed(pair, &pair->client, (struct op){.kind = OP_DRAIN});
    run_pair(pair);
}

static void a_held_connection_in_pieces(void **state)
{
    (void)state;
    const struct ws_options options = options_of(WS_HOLD);
    for (size_t i = 0; i < PIECES; i++) {
        for (size_t send = 0; send < 3; send++) {
            struct pair pair;
            pair_open(&pair, &options, pieces[i], 1);
            pair.send_piece = send;
            assert_int_equal(world_outstanding(&pair.client.world), 1);
            run_pair(&pair);
            assert_int_equal(of_client(&pair, WS_COUNT_STARTED), 1);
            assert_int_equal(of_client(&pair, WS_COUNT_COMPLETED), 1);
            assert_int_equal(pair.client.world.bank->opened_ns, client_of(&pair)->since_ns);
            assert_int_equal(world_outstanding(&pair.client.world), 1); /* or the run would end */
            assert_null(client_of(&pair)->out); /* it holds nothing while it says nothing */
            assert_int_equal(pair.client.timer_ns, 0);
            assert_int_equal(times(&pair, WS_OPEN_TIME), 0);
            drain_client(&pair);
            assert_no_errors(&pair);
            assert_true(pair.server.closed && pair.client.closed);
            assert_int_equal(of_client(&pair, WS_COUNT_CLOSED), 1);
            assert_int_equal(of_client(&pair, WS_COUNT_SERVER_FIRST), 1);
            assert_int_equal(of_client(&pair, WS_COUNT_LOST), 0);
            assert_int_equal(world_outstanding(&pair.client.world), 0);
            for (enum ws_histogram k = 0; k <= WS_OPEN_TIME; k++) {
                assert_int_equal(times(&pair, k), k != WS_SEND_LAG);
            }
            pair_close(&pair);
        }
    }
}

/* The window ended while it was being opened. */
static void what_opens_in_the_drain_is_closed(void **state)
{
    (void)state;
    const struct ws_options options = options_of(WS_HOLD);
    struct pair pair;
    pair_open(&pair, &options, 65536, 1);
    drain_client(&pair);
    assert_no_errors(&pair);
    assert_true(pair.server.closed && pair.client.closed);
    assert_int_equal(of_client(&pair, WS_COUNT_COMPLETED), 1);
    assert_int_equal(of_client(&pair, WS_COUNT_CLOSED), 1);
    assert_int_equal(of_client(&pair, WS_COUNT_LOST), 0);
    pair_close(&pair);
}

static void held_connections_ping(void **state)
{
    (void)state;
    struct ws_options options = options_of(WS_HOLD);
    options.ping_every_ns = 10 * NS_PER_SECOND;
    for (size_t i = 0; i < PIECES; i++) {
        struct pair pair;
        pair_open(&pair, &options, pieces[i], 1);
        run_pair(&pair);
        assert_int_equal(pair.client.timer_ns, client_of(&pair)->since_ns + options.ping_every_ns);
        for (uint64_t round = 1; round < 4; round++) {
            uint64_t before_ns = clock_now_ns();
            feed(&pair, &pair.client, (struct op){.kind = OP_TIMER});
            assert_int_equal(of_client(&pair, WS_COUNT_PINGS), round);
            /* Until its answer is there, or has not come in time. */
            assert_true(pair.client.timer_ns >= before_ns + options.timeout_ns);
            assert_true(pair.client.timer_ns <= clock_now_ns() + options.timeout_ns);
            /* A pong that answers no ping, and a message, are nothing. */
            static const uint8_t unasked[] = {0x8a, 1, 'x', 0x81, 2, 'h', 'i'};
            feed(&pair, &pair.client,
                 (struct op){.kind = OP_RECEIVE, .data = unasked, .result = sizeof unasked});
            assert_int_equal(of_client(&pair, WS_COUNT_PONGS), round - 1);
            run_pair(&pair);
            assert_int_equal(of_client(&pair, WS_COUNT_PONGS), round);
            assert_int_equal(of_server(&pair, WS_SERVER_PINGS), round);
            assert_int_equal(times(&pair, WS_PONG), round);
            assert_true(pair.client.timer_ns >= before_ns + options.ping_every_ns);
            assert_null(client_of(&pair)->out);
        }
        drain_client(&pair);
        assert_no_errors(&pair);
        assert_int_equal(of_client(&pair, WS_COUNT_CLOSED), 1);
        assert_int_equal(of_client(&pair, WS_COUNT_PINGS), 3);
        pair_close(&pair);
    }
}

static void a_held_connection_answers_pings(void **state)
{
    (void)state;
    const struct ws_options options = options_of(WS_HOLD);
    struct pair pair;
    pair_open(&pair, &options, 65536, 1);
    run_pair(&pair);
    static const uint8_t ping[] = {0x89, 2, 'a', 'b'};
    feed(&pair, &pair.client, (struct op){.kind = OP_RECEIVE, .data = ping, .result = sizeof ping});
    assert_int_equal(of_client(&pair, WS_COUNT_PINGED), 1);
    assert_int_equal(pair.client.send.kind, OP_SEND);
    assert_int_equal(pair.client.send.data[0], 0x8a);
    run_pair(&pair);
    assert_null(client_of(&pair)->out);
    assert_null(client_of(&pair)->pong);
    drain_client(&pair);
    assert_no_errors(&pair);
    pair_close(&pair);
}

static void check_lost(const struct op *what, enum bank_phase phase, const char *name)
{
    struct ws_options options = options_of(WS_HOLD);
    options.ping_every_ns = NS_PER_SECOND;
    struct pair pair;
    pair_open(&pair, &options, 65536, 1);
    run_pair(&pair);
    if (what->kind == OP_TIMER) { /* the first makes the ping */
        feed(&pair, &pair.client, *what);
        complete_send(&pair, &pair.client, &pair.server.to);
    }
    feed(&pair, &pair.client, *what);
    assert_error(&pair.client, phase, name);
    assert_true(pair.client.closed);
    assert_int_equal(of_client(&pair, WS_COUNT_LOST), 1);
    assert_int_equal(of_client(&pair, WS_COUNT_FAILED), 0);
    assert_int_equal(times(&pair, WS_OPEN_TIME), 1);
    assert_int_equal(times(&pair, WS_CLOSE), 0);
    assert_int_equal(world_outstanding(&pair.client.world), 0);
    pair_close(&pair);
}

static void a_lost_connection_says_how(void **state)
{
    (void)state;
    static const uint8_t code[] = {0x88, 2, 0x03, 0xf3}, reserved[] = {0xc2, 0};
    check_lost(&(struct op){.kind = OP_RECEIVE, .data = code, .result = sizeof code},
               PHASE_PROTOCOL, "the server closed with code 1011");
    check_lost(&(struct op){.kind = OP_RECEIVE, .data = reserved, .result = sizeof reserved},
               PHASE_PROTOCOL, "a frame with reserved bits");
    check_lost(&(struct op){.kind = OP_RECEIVE}, PHASE_RECEIVE,
               "the connection ended without a close frame");
    check_lost(&(struct op){.kind = OP_RECEIVE, .result = -ECONNRESET}, PHASE_RECEIVE, "");
    check_lost(&(struct op){.kind = OP_TIMER}, PHASE_RECEIVE, "no pong within --timeout");
}

/* Without the handshake's hash there is no WebSocket: the integration tests look at what is said.
 */
static void not_built(void **state)
{
    (void)state;
    skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_held_connection_in_pieces),
        cmocka_unit_test(what_opens_in_the_drain_is_closed),
        cmocka_unit_test(held_connections_ping),
        cmocka_unit_test(a_held_connection_answers_pings),
        cmocka_unit_test(a_lost_connection_says_how),
    };
    const struct CMUnitTest without[] = {cmocka_unit_test(not_built)};
    char reason[160];
    if (websocket_why_not(reason, sizeof reason) < 0) {
        return cmocka_run_group_tests(without, NULL, NULL);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
