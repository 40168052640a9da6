/* The client of `sonde ping` in an open loop. */
#include "ping_world.h"

static void a_schedule(void **state)
{
    (void)state;
    struct pinger pinger;
    struct ping_options options = ping_options(8);
    uint8_t messages[128 * 8];
    uint64_t intended_ns = clock_now_ns() - NS_PER_SECOND;
    pinger_open(&pinger, options, CHANNEL_DATAGRAM);
    pinger.world.context.open_loop = true;
    pinger_event(&pinger, OP_START, clock_now_ns());
    assert_false(asks_to_send(&pinger));
    for (size_t i = 0; i < options.high; i++) { /* beyond the ring's first room */
        assert_true(ping_client.can_take(&pinger.world.context, pinger.world.connection));
        pinger_event(&pinger, OP_ARRIVAL, intended_ns);
        pinger_send(&pinger, messages + i * 8);
    }
    assert_false(ping_client.can_take(&pinger.world.context, pinger.world.connection));
    assert_int_equal(world_outstanding(&pinger.world), options.high);
    assert_int_equal(timed(&pinger, PING_SEND_LAG), options.high);
    for (size_t i = 0; i < options.high; i++) {
        pinger_receive(&pinger, messages + i * 8, 8);
    }
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), options.high);
    assert_int_equal(pinged(&pinger, PING_COUNT_OUT_OF_ORDER), 0);
    /* From the intended start, which lies a second back; the service began later. */
    assert_true(pinger.world.bank->histograms[PING_RESPONSE_TIME].minimum >= NS_PER_SECOND);
    assert_true(pinger.world.bank->histograms[PING_SERVICE_TIME].minimum < NS_PER_SECOND);
    assert_false(asks_to_send(&pinger));
    pinger_close(&pinger);
}

/* One message is lost, all others are answered at once: they go on, and it counts as lost. */
static void a_lost_message_holds_up_nobody(void **state)
{
    (void)state;
    struct pinger pinger;
    uint8_t lost[8], message[8];
    pinger_open(&pinger, ping_options(8), CHANNEL_DATAGRAM);
    pinger.world.context.open_loop = true;
    pinger_event(&pinger, OP_START, clock_now_ns());
    pinger_event(&pinger, OP_ARRIVAL, clock_now_ns());
    pinger_send(&pinger, lost);
    for (uint64_t i = 1; i <= 1000; i++) {
        assert_true(ping_client.can_take(&pinger.world.context, pinger.world.connection));
        pinger_event(&pinger, OP_ARRIVAL, clock_now_ns());
        pinger_send(&pinger, message);
        pinger_receive(&pinger, message, 8);
        assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), i);
        assert_int_equal(pinged(&pinger, PING_COUNT_LOST), i >= 128);
        if (i == 200) { /* known for what it is; it stays lost */
            pinger_receive(&pinger, lost, 8);
        }
    }
    assert_int_equal(pinged(&pinger, PING_COUNT_LATE), 1);
    assert_int_equal(pinged(&pinger, PING_COUNT_OUT_OF_ORDER), 0);
    assert_int_equal(timed(&pinger, PING_RESPONSE_TIME), 1000);
    assert_int_equal(world_outstanding(&pinger.world), 0);
    pinger_close(&pinger);
}

/* Without --high, a server that falls silent for a while does not hold up the schedule; once it
 * answers again, everything is counted, and nothing was given up meanwhile. */
static void silence_holds_up_nobody(void **state)
{
    (void)state;
    struct pinger pinger;
    struct ping_options options = ping_options(8);
    struct err error;
    uint64_t count = 3 * PING_SPAN;
    options.high = 0;
    assert_int_equal(workload_ping.check(&options, 65536, &error), 0);
    uint8_t *messages = malloc(count * 8);
    assert_non_null(messages);
    pinger_open(&pinger, options, CHANNEL_DATAGRAM);
    pinger.world.context.open_loop = true;
    pinger_event(&pinger, OP_START, clock_now_ns());
    for (uint64_t i = 0; i < count; i++) {
        assert_true(ping_client.can_take(&pinger.world.context, pinger.world.connection));
        pinger_event(&pinger, OP_ARRIVAL, clock_now_ns());
        pinger_send(&pinger, messages + i * 8);
    }
    for (uint64_t i = 0; i < count; i++) {
        pinger_receive(&pinger, messages + i * 8, 8);
    }
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), count);
    assert_int_equal(pinged(&pinger, PING_COUNT_LOST), 0);
    pinger_close(&pinger);
    free(messages);
}

static void messages_wait_for_a_send_under_way(void **state)
{
    (void)state;
    struct pinger pinger;
    uint8_t message[8];
    pinger_open(&pinger, ping_options(8), CHANNEL_DATAGRAM);
    pinger.world.context.open_loop = true;
    pinger_event(&pinger, OP_START, clock_now_ns());
    pinger_event(&pinger, OP_ARRIVAL, clock_now_ns());
    struct op first = *world_asked(&pinger.world, OP_SEND);
    memcpy(message, first.data, 8);
    pinger_event(&pinger, OP_ARRIVAL, clock_now_ns());
    assert_false(asks_to_send(&pinger)); /* one send at a time */
    assert_memory_equal(first.data, message, 8);
    pinger_receive(&pinger, message, 8); /* answered before the send says that it is done */
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), 1);
    world_sent(&pinger.world, &first, 8, clock_now_ns());
    assert_true(asks_to_send(&pinger));
    assert_memory_equal(first.data, message, 8); /* an engine may still look at it */
    pinger_close(&pinger);
}

/* Sends that fail hold up nothing, and are not lost. */
static void sends_that_fail(void **state)
{
    (void)state;
    struct pinger pinger;
    uint8_t message[8];
    pinger_open(&pinger, ping_options(8), CHANNEL_DATAGRAM);
    pinger.world.context.open_loop = true;
    pinger_event(&pinger, OP_START, clock_now_ns());
    for (uint64_t i = 1; i <= 300; i++) {
        assert_true(ping_client.can_take(&pinger.world.context, pinger.world.connection));
        pinger_event(&pinger, OP_ARRIVAL, clock_now_ns());
        struct op send = *world_asked(&pinger.world, OP_SEND);
        memcpy(message, send.data, 8);
        world_sent(&pinger.world, &send, -ECONNREFUSED, 0);
        assert_int_equal(pinged(&pinger, PING_COUNT_UNSENT), i);
        assert_int_equal(world_outstanding(&pinger.world), 0);
    }
    pinger_receive(&pinger, message, 8); /* nobody can have answered it */
    assert_int_equal(pinged(&pinger, PING_COUNT_INVALID), 1);
    pinger_event(&pinger, OP_ARRIVAL, clock_now_ns());
    pinger_send(&pinger, message);
    pinger_receive(&pinger, message, 8);
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), 1);
    assert_int_equal(pinged(&pinger, PING_COUNT_LOST), 0);
    assert_int_equal(pinger.world.bank->silence.refused, 0); /* it is there */
    pinger_close(&pinger);
}

/* Lost is counted of the messages of which the send was: not those of the warm-up, nor those after
 * the window. */
static void only_the_window_loses(void **state)
{
    (void)state;
    struct pinger pinger;
    uint8_t message[8];
    pinger_open(&pinger, ping_options(8), CHANNEL_DATAGRAM);
    pinger.world.context.open_loop = true;
    pinger_event(&pinger, OP_START, clock_now_ns());
    for (int i = 0; i < 6; i++) {
        if (i == 1) {
            pinger.world.context.measured_from_ns = clock_now_ns();
        } else if (i == 3) {
            pinger.world.context.measured_until_ns = clock_now_ns();
        }
        pinger_event(&pinger, OP_ARRIVAL, clock_now_ns());
        pinger_send(&pinger, message);
    }
    pinger_expire(&pinger, clock_now_ns() + 2 * TIMEOUT_NS);
    assert_int_equal(world_outstanding(&pinger.world), 0);
    assert_int_equal(pinged(&pinger, PING_COUNT_LOST), 2);
    assert_int_equal(pinger.world.bank->silence.lost, 6);
    pinger_close(&pinger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_schedule),
        cmocka_unit_test(a_lost_message_holds_up_nobody),
        cmocka_unit_test(silence_holds_up_nobody),
        cmocka_unit_test(sends_that_fail),
        cmocka_unit_test(only_the_window_loses),
        cmocka_unit_test(messages_wait_for_a_send_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
