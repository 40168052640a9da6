/* Both ends of `sonde ws` as state machines, joined in memory: what one sends the other receives,
 * in pieces of any size. */
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

static void a_handshake_in_pieces(void **state)
{
    (void)state;
    const struct ws_options options = options_of(WS_HANDSHAKE);
    for (size_t i = 0; i < PIECES; i++) {
        for (size_t send = 0; send < 3; send++) {
            struct pair pair;
            pair_open(&pair, &options, pieces[i], 1);
            pair.send_piece = send;
            run_pair(&pair);
            assert_no_errors(&pair);
            assert_true(pair.server.closed && pair.client.closed); /* the server first */
            assert_int_equal(of_client(&pair, WS_COUNT_STARTED), 1);
            assert_int_equal(of_client(&pair, WS_COUNT_COMPLETED), 1);
            assert_int_equal(of_client(&pair, WS_COUNT_SERVER_FIRST), 1);
            assert_int_equal(of_client(&pair, WS_COUNT_CLIENT_FIRST), 0);
            assert_int_equal(of_server(&pair, WS_SERVER_UPGRADED), 1);
            assert_int_equal(of_server(&pair, WS_SERVER_CLOSED), 1);
            for (enum ws_histogram k = 0; k <= WS_OPEN_TIME; k++) {
                assert_int_equal(times(&pair, k), k != WS_SEND_LAG && k != WS_TLS);
            }
            pair_close(&pair);
        }
    }
}

static void check_messages(const struct ws_options *options, size_t piece, size_t send_piece)
{
    enum { COUNT = 23 };
    struct pair pair;
    pair_open(&pair, options, piece, COUNT);
    pair.send_piece = send_piece;
    assert_int_equal(world_outstanding(&pair.client.world), 1); /* the upgrade */
    run_pair(&pair);
    assert_no_errors(&pair);
    assert_int_equal(of_client(&pair, WS_COUNT_COMPLETED), COUNT);
    assert_int_equal(of_client(&pair, WS_COUNT_STARTED), COUNT);
    assert_int_equal(of_client(&pair, WS_COUNT_BYTES), 2 * COUNT * options->size_bytes);
    assert_int_equal(of_client(&pair, WS_COUNT_CLOSED), 1);
    assert_int_equal(times(&pair, WS_RESPONSE_TIME), COUNT);
    assert_int_equal(times(&pair, WS_SERVICE_TIME), COUNT);
    assert_int_equal(
        of_server(&pair, options->message == WS_PING ? WS_SERVER_PINGS : WS_SERVER_MESSAGES),
        COUNT);
    assert_int_equal(world_outstanding(&pair.client.world), 0);
    assert_true(pair.server.closed);
    assert_false(pair.client.closed); /* it would count as lost */
    pair_close(&pair);
}

static void messages_in_pieces(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 125, 126, 300, 66000};
    for (size_t i = 0; i < PIECES; i++) {
        for (size_t size = 0; size < 6; size++) {
            struct ws_options options = options_of(WS_MESSAGE);
            if (pieces[i] < 130 && sizes[size] > 1000) {
                continue;
            }
            options.size_bytes = sizes[size];
            options.high = 1 + i;
            check_messages(&options, pieces[i], 0);
            options.message = WS_TEXT;
            options.fragment_bytes = 1 + sizes[size] / 3;
            check_messages(&options, pieces[i], 100);
            if (sizes[size] <= WEBSOCKET_CONTROL_MOST) {
                options.message = WS_PING;
                options.high = 1;
                check_messages(&options, pieces[i], 0);
            }
            options = options_of(WS_MESSAGE);
            options.size_bytes = sizes[size];
            options.deflate = options.server.deflate = true;
            check_messages(&options, pieces[i], 0);
            options.fragment_bytes = 5;
            options.message = WS_TEXT;
            check_messages(&options, pieces[i], 3);
            options.payload = WS_RANDOM;
            check_messages(&options, pieces[i], 3);
            options.message = WS_BINARY;
            check_messages(&options, pieces[i], 0);
        }
    }
}

/* Behind the upgrade, with nothing sent by the client. */
static void open_idle(struct pair *pair, struct ws_options options)
{
    options.mode = WS_MESSAGE;
    pair_open(pair, &options, 65536, UINT64_MAX);
    pair->client.world.context.open_loop = true;
    assert_false(
        ws_message_client.can_take(&pair->client.world.context, pair->client.world.connection));
    run_pair(pair);
    assert_int_equal(of_client(pair, WS_COUNT_UPGRADED), 1);
    assert_true(
        ws_message_client.can_take(&pair->client.world.context, pair->client.world.connection));
}

static void arrivals_are_timed_from_their_intended_start(void **state)
{
    (void)state;
    struct pair pair;
    struct ws_options options = options_of(WS_MESSAGE);
    options.high = 2;
    open_idle(&pair, options);
    uint64_t intended_ns = clock_now_ns() - 50 * NS_PER_MS;
    for (int i = 0; i < 2; i++) {
        world_event(&pair.client.world, OP_ARRIVAL, intended_ns);
        take(&pair, &pair.client);
    }
    assert_false(
        ws_message_client.can_take(&pair.client.world.context, pair.client.world.connection));
    run_pair(&pair);
    assert_no_errors(&pair);
    assert_int_equal(of_client(&pair, WS_COUNT_COMPLETED), 2);
    assert_int_equal(times(&pair, WS_SEND_LAG), 2);
    assert_true(pair.client.world.bank->histograms[WS_SEND_LAG].minimum >= 50 * NS_PER_MS);
    pair.client.world.context.draining = true;
    feed(&pair, &pair.client, (struct op){.kind = OP_DRAIN});
    run_pair(&pair);
    assert_int_equal(of_client(&pair, WS_COUNT_CLOSED), 1);
    assert_no_errors(&pair);
    pair_close(&pair);
}

static void of_a_flood_of_pings_the_last_is_answered(void **state)
{
    (void)state;
    struct pair pair;
    open_idle(&pair, options_of(WS_MESSAGE));
    static const uint8_t flood[] = {0x89, 1, 'a', 0x89, 1, 'b', 0x89, 0, 0x89, 2, 'c', 'd'};
    feed(&pair, &pair.client,
         (struct op){.kind = OP_RECEIVE, .data = flood, .result = sizeof flood});
    assert_int_equal(of_client(&pair, WS_COUNT_PINGED), 4);
    assert_int_equal(pair.client.send.kind, OP_SEND);
    const uint8_t *sent = pair.client.send.data;
    assert_int_equal(pair.client.send.length, 8);
    assert_int_equal(sent[0], 0x8a);
    assert_int_equal(sent[1], 0x82);
    assert_int_equal(sent[6] ^ sent[2], 'c');
    assert_int_equal(sent[7] ^ sent[3], 'd');
    run_pair(&pair);
    assert_no_errors(&pair);
    pair_close(&pair);
}

static void silence_has_an_end(void **state)
{
    (void)state;
    struct ws_options options = options_of(WS_HANDSHAKE);
    struct pair pair;
    pair_open(&pair, &options, 65536, 1);
    assert_int_equal(pair.client.timer_ns, pair.now_ns + options.timeout_ns);
    feed(&pair, &pair.client, (struct op){.kind = OP_TIMER});
    assert_error(&pair.client, PHASE_UPGRADE, "no answer within --timeout");
    assert_true(pair.client.closed);
    assert_int_equal(of_client(&pair, WS_COUNT_FAILED), 1);
    assert_int_equal(world_outstanding(&pair.client.world), 0);
    pair_close(&pair);

    pair_open(&pair, &options, 65536, 1);
    complete_send(&pair, &pair.client, &pair.server.to);
    deliver(&pair, &pair.server, &pair.client);
    complete_send(&pair, &pair.server, &pair.client.to);
    deliver(&pair, &pair.client, &pair.server); /* the close frame is on its way */
    assert_true(pair.client.timer_ns > 0);
    feed(&pair, &pair.client, (struct op){.kind = OP_TIMER});
    assert_error(&pair.client, PHASE_CLOSE, "no answer within --timeout");
    assert_true(pair.client.closed);
    pair_close(&pair);
}

static void what_is_wrong_is_told(void **state)
{
    (void)state;
    struct pair pair;
    open_idle(&pair, options_of(WS_MESSAGE));
    static const uint8_t reserved[] = {0xc2, 0x00};
    feed(&pair, &pair.client,
         (struct op){.kind = OP_RECEIVE, .data = reserved, .result = sizeof reserved});
    assert_true(pair.client.closed);
    assert_error(&pair.client, PHASE_PROTOCOL, "a frame with reserved bits");
    run_pair(&pair); /* its close frame says 1002, which the server answers */
    assert_int_equal(of_server(&pair, WS_SERVER_CLOSED), 1);
    assert_memory_equal(pair.client.to.data + pair.client.to.end - 4, "\x88\x02\x03\xea", 4);
    pair_close(&pair);
}

/* Two messages of 4 bytes are in flight: the server answers as it is told. */
static void check_answer(const uint8_t *answer, size_t length, const char *name)
{
    struct pair pair;
    struct ws_options options = options_of(WS_MESSAGE);
    options.high = 2;
    options.size_bytes = 4;
    pair_open(&pair, &options, 65536, UINT64_MAX);
    complete_send(&pair, &pair.client, &pair.server.to);
    deliver(&pair, &pair.server, &pair.client);
    complete_send(&pair, &pair.server, &pair.client.to);
    deliver(&pair, &pair.client, &pair.server);
    assert_int_equal(world_outstanding(&pair.client.world), 2);
    complete_send(&pair, &pair.client, &pair.server.to);
    feed(&pair, &pair.client,
         (struct op){.kind = OP_RECEIVE, .data = answer, .result = (int64_t)length});
    if (name) {
        assert_error(&pair.client, PHASE_PROTOCOL, name);
        assert_true(pair.client.closed);
        assert_int_equal(of_client(&pair, WS_COUNT_COMPLETED) + of_client(&pair, WS_COUNT_FAILED),
                         2);
    } else {
        assert_no_errors(&pair);
        assert_int_equal(of_client(&pair, WS_COUNT_COMPLETED), 2);
    }
    pair_close(&pair);
}

static void only_what_was_sent_is_an_answer(void **state)
{
    (void)state;
    static const char lengths[] = "an answer of another length than its message";
    static const uint8_t right[] = {0x82, 4, 0, 1, 2, 3, 0x82, 4, 1, 2, 3, 4};
    static const uint8_t swapped[] = {0x82, 4, 1, 2, 3, 4, 0x82, 4, 0, 1, 2, 3};
    static const uint8_t longer[] = {0x82, 5, 0, 1, 2, 3, 4};
    static const uint8_t shorter[] = {0x82, 4, 0, 1, 2, 3, 0x82, 3, 1, 2, 3};
    static const uint8_t text[] = {0x81, 4, 0, 1, 2, 3};
    /* What breaks the protocol says more than a payload that differs before it. */
    static const uint8_t broken[] = {0x02, 2, 9, 9, 0xf0};
    check_answer(broken, sizeof broken, "a frame with reserved bits");
    check_answer(right, sizeof right, NULL);
    check_answer(swapped, sizeof swapped, "the answer is not what was sent");
    check_answer(longer, sizeof longer, lengths);
    check_answer(shorter, sizeof shorter, lengths);
    check_answer(text, sizeof text, "an answer of another kind than its message");
}

static void a_send_that_finds_no_room_is_kept(void **state)
{
    (void)state;
    struct pair pair;
    open_idle(&pair, options_of(WS_MESSAGE));
    static uint8_t message[] = {0x82, 0x83, 1, 2, 3, 4, 'x', 'y', 'z'};
    static const uint8_t echoed[] = {0x82, 0x03, 'x' ^ 1, 'y' ^ 2, 'z' ^ 3};
    feed(&pair, &pair.server,
         (struct op){.kind = OP_RECEIVE, .data = message, .result = sizeof message});
    struct op tried = pair.server.send;
    assert_int_equal(tried.flags, OP_TRY);
    assert_int_equal(tried.length, sizeof echoed);
    pair.server.send.kind = OP_CONNECT;
    tried.result = -EAGAIN;
    feed(&pair, &pair.server, tried);
    assert_true(pair.server.paused);
    assert_int_equal(world_outstanding(&pair.server.world), 1);
    assert_int_equal(pair.server.send.length, sizeof echoed);
    assert_memory_equal(pair.server.send.data, echoed, sizeof echoed);
    struct op kept = pair.server.send;
    pair.server.send.kind = OP_CONNECT;
    kept.result = 2;
    feed(&pair, &pair.server, kept);
    assert_int_equal(pair.server.send.length, sizeof echoed - 2);
    kept = pair.server.send;
    pair.server.send.kind = OP_CONNECT;
    kept.result = (int64_t)kept.length;
    feed(&pair, &pair.server, kept);
    assert_false(pair.server.paused);
    assert_int_equal(world_outstanding(&pair.server.world), 0);
    pair_close(&pair);
}

static void answers_are_bounded(void **state)
{
    (void)state;
    struct pair pair;
    struct ws_options options = options_of(WS_MESSAGE);
    options.server.memory_bytes = 8192;
    open_idle(&pair, options);
    static uint8_t head[] = {0x02, 0xfe, 0x40, 0x00, 0, 0, 0, 0}; /* 16 KiB, not the last frame */
    static uint8_t payload[4096];
    feed(&pair, &pair.server, (struct op){.kind = OP_RECEIVE, .data = head, .result = sizeof head});
    for (int i = 0; i < 4 && pair.server.send.kind != OP_SEND; i++) {
        feed(&pair, &pair.server,
             (struct op){.kind = OP_RECEIVE, .data = payload, .result = sizeof payload});
    }
    assert_int_equal(pair.server.send.kind, OP_SEND);
    assert_memory_equal(pair.server.send.data, "\x88\x02\x03\xf3", 4); /* 1011 */
    assert_error(&pair.server, PHASE_PROTOCOL, "no memory");
    pair_close(&pair);
}

/* However many pieces it comes in. */
static void a_request_has_its_time_but_once(void **state)
{
    (void)state;
    struct world world = {.ws = {.server = {.idle_timeout_ns = 100, .frame_most = 125}}};
    world_open_with(&world, &ws_server, 65536, true);
    assert_int_equal(world_event(&world, OP_START, 1000)->timer_ns, 1100);
    static const uint8_t begin[] = "GET /";
    for (uint64_t i = 0; i < 5; i++) {
        world_received(&world, begin + i, 1, 1080 + i);
    }
    world_event(&world, OP_TIMER, 1100);
    assert_non_null(world_asked(&world, OP_CLOSE));
    assert_int_equal(world_counter(&world, WS_SERVER_IDLE_CLOSED), 1);
    world_close(&world);
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
        cmocka_unit_test(a_handshake_in_pieces),
        cmocka_unit_test(messages_in_pieces),
        cmocka_unit_test(arrivals_are_timed_from_their_intended_start),
        cmocka_unit_test(of_a_flood_of_pings_the_last_is_answered),
        cmocka_unit_test(silence_has_an_end),
        cmocka_unit_test(what_is_wrong_is_told),
        cmocka_unit_test(only_what_was_sent_is_an_answer),
        cmocka_unit_test(a_send_that_finds_no_room_is_kept),
        cmocka_unit_test(answers_are_bounded),
        cmocka_unit_test(a_request_has_its_time_but_once),
    };
    const struct CMUnitTest without[] = {cmocka_unit_test(not_built)};
    char reason[160];
    if (websocket_why_not(reason, sizeof reason) < 0) {
        return cmocka_run_group_tests(without, NULL, NULL);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
