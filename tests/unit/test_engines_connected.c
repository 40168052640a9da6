/* TCP connections that an engine has made, and its listeners: nothing that comes while nobody waits
 * for it is lost, and no more is asked of the kernel than has to be. Each case runs over all
 * engines. */
#include "engine_world.h"

static void expect_all(const struct end *end, const char *text)
{
    assert_int_equal(end->received_length, strlen(text));
    assert_memory_equal(end->received, text, strlen(text));
}

static void finish(struct world *world, struct end *end, int peer)
{
    end_close(end);
    if (peer >= 0) {
        close(peer);
    }
    world_close(world);
}

static void test_data_before_it_is_wanted(void **state)
{
    struct world world;
    world_open(&world, state, 4096);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    assert_int_equal(write(peer, "early", 5), 5);
    settle(&world);
    assert_int_equal(end->received_length, 0);
    start_receiving(end);
    REAP_WHILE_NOT(&world, end->received_length == 5);
    assert_int_equal(write(peer, " late", 5), 5);
    REAP_WHILE_NOT(&world, end->received_length == 10);
    expect_all(end, "early late");
    finish(&world, end, peer);
}

static void test_end_before_it_is_wanted(void **state)
{
    struct world world;
    world_open(&world, state, 4096);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    assert_int_equal(write(peer, "last", 4), 4);
    close(peer);
    settle(&world);
    start_receiving(end);
    REAP_WHILE_NOT(&world, end->ended);
    assert_int_equal(end->end_result, 0);
    expect_all(end, "last");
    finish(&world, end, -1);
}

static void test_end_after_a_pause(void **state)
{
    struct world world;
    world_open(&world, state, 4096);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    assert_int_equal(write(peer, "last", 4), 4);
    close(peer);
    end->pause_after_receive = true;
    start_receiving(end);
    REAP_WHILE_NOT(&world, end->received_length == 4);
    settle(&world);
    assert_false(end->ended);
    end->pause_after_receive = false;
    start_receiving(end);
    REAP_WHILE_NOT(&world, end->ended);
    assert_int_equal(end->end_result, 0);
    finish(&world, end, -1);
}

/* More than an engine takes before others get their turn, all there at once, and its end with it.
 */
static void test_many_receives(void **state)
{
    struct world world;
    world_open(&world, state, 3);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    uint8_t data[4999];
    fill(data, sizeof data);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(write(peer, data, sizeof data), sizeof data);
        end->received_length = 0;
        if (i == 0) {
            settle(&world);
            start_receiving(end);
        } else {
            close(peer);
        }
        REAP_WHILE_NOT(&world, end->received_length == sizeof data);
        assert_memory_equal(end->received, data, sizeof data);
    }
    REAP_WHILE_NOT(&world, end->ended);
    assert_int_equal(end->end_result, 0);
    finish(&world, end, -1);
}

/* A receive stops where a byte of urgent data was, though more has come. */
static void test_urgent_data(void **state)
{
    struct world world;
    world_open(&world, state, 4096);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    start_receiving(end);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(send(peer, "before", 6, MSG_NOSIGNAL), 6);
        assert_int_equal(send(peer, "!", 1, MSG_NOSIGNAL | MSG_OOB), 1);
        assert_int_equal(send(peer, " after ", 7, MSG_NOSIGNAL), 7);
        end->received_length = 0;
        REAP_WHILE_NOT(&world, end->received_length == 13);
        expect_all(end, "before after ");
    }
    close(peer);
    REAP_WHILE_NOT(&world, end->ended);
    assert_int_equal(end->end_result, 0);
    finish(&world, end, -1);
}

/* What a connection costs that is made, asks, is answered and ended: of epoll each call is known.
 */
static void test_calls_of_a_connection(void **state)
{
    static const struct {
        enum engine_call call;
        uint64_t count;
    } expected[] = {{CALL_CONNECT, 1}, {CALL_EPOLL_CTL, 1}, {CALL_GETSOCKOPT, 0},
                    {CALL_SENDTO, 2},  {CALL_RECVFROM, 2},  {CALL_CLOSE, 1}};
    struct world world;
    world_open(&world, state, 4096);
    int peer;
    struct end *end = end_of_tcp(&world, &peer);
    start_receiving(end);
    start_send(end, "ask", 3, 0);
    REAP_WHILE_NOT(&world, end->sent);
    expect_from(peer, "ask", 3);
    assert_int_equal(write(peer, "answer", 6), 6);
    REAP_WHILE_NOT(&world, end->received_length == 6);
    start_send(end, "close", 5, 0);
    REAP_WHILE_NOT(&world, end->sent);
    expect_from(peer, "close", 5);
    /* Data and end with one segment, so that both are there at the next look. */
    assert_int_equal(send(peer, "closed", 6, MSG_MORE), 6);
    close(peer);
    REAP_WHILE_NOT(&world, end->ended);
    expect_all(end, "answerclosed");
    end_close(end);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        if (world.variant->ops == &engine_epoll) {
            assert_int_equal(world.calls.of[expected[i].call].calls, expected[i].count);
        }
    }
    world_close(&world);
}

/* A listener that another process has open, too, is not reported once its channel is gone. */
static void test_shared_listener(void **state)
{
    struct world world;
    struct sockaddr_in address;
    world_open(&world, state, 4096);
    int listener = listen_tcp(&address);
    int other = dup(listener);
    assert_true(other >= 0);
    struct end *end = end_add(&world, CHANNEL_LISTENER, listener, listener);
    submit_op(end, (struct op){.kind = OP_ACCEPT});
    settle(&world);
    end_close(end);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    settle(&world);
    close(client);
    close(other);
    world_close(&world);
}

/* Whoever waits is accepted, few or many, and engines that try do not try in vain each time. */
static void test_accepts(void **state)
{
    enum { BURST = 100, SINGLES = 20 };
    struct world world;
    struct sockaddr_in address;
    int clients[BURST];
    world_open(&world, state, 4096);
    int listener = listen_tcp(&address);
    struct end *end = end_add(&world, CHANNEL_LISTENER, listener, listener);
    submit_op(end, (struct op){.kind = OP_ACCEPT});
    for (int i = 0; i < BURST; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(clients[i], (struct sockaddr *)&address, sizeof address), 0);
    }
    REAP_WHILE_NOT(&world, end->accept_count == BURST);
    for (int i = 0; i < SINGLES; i++) {
        close(clients[i]);
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(clients[i], (struct sockaddr *)&address, sizeof address), 0);
        REAP_WHILE_NOT(&world, end->accept_count == BURST + i + 1u);
    }
    const struct call_count *accepts = &world.calls.of[CALL_ACCEPT4];
    assert_true(accepts->again < SINGLES * 3 / 4);
    for (uint32_t i = 0; i < end->accept_count; i++) {
        close(end->accepted[i]);
    }
    for (int i = 0; i < BURST; i++) {
        close(clients[i]);
    }
    finish(&world, end, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data_before_it_is_wanted),
        cmocka_unit_test(test_end_before_it_is_wanted),
        cmocka_unit_test(test_end_after_a_pause),
        cmocka_unit_test(test_many_receives),
        cmocka_unit_test(test_urgent_data),
        cmocka_unit_test(test_calls_of_a_connection),
        cmocka_unit_test(test_shared_listener),
        cmocka_unit_test(test_accepts),
    };
    return run_variants("engines_connected", tests, sizeof tests / sizeof *tests);
}
