/* The client of `sonde call`: which times it records. */
#include "call_world.h"

/* ---- times ----------------------------------------------------------------------------------- */

static void times_are_exact(void **state)
{
    struct client client;
    (void)state;
    client_open(&client, options_of(WRITE_GATHER, 0, 1));
    event(&client, OP_START, 1000);
    event(&client, OP_FLUSH, 1300);
    sent(&client, 1, 1400);
    answer(&client, 1, 1900);
    assert_int_equal(times(&client, CALL_RESPONSE_TIME)->minimum, 900);
    assert_int_equal(times(&client, CALL_RESPONSE_TIME)->maximum, 900);
    assert_int_equal(times(&client, CALL_SERVICE_TIME)->minimum, 600);
    assert_int_equal(times(&client, CALL_SERVICE_TIME)->maximum, 600);
    check_invariants(&client);
    client_close(&client);
}

/* Units of the integral: what one step leaves below them comes with a later one. */
static void in_flight_integral_loses_nothing(void **state)
{
    enum { STEPS = 1000, STEP_NS = 900 };
    struct client client;
    (void)state;
    client_open(&client, options_of(WRITE_GATHER, 0, 1));
    event(&client, OP_START, 1000);
    uint64_t now_ns = 1000;
    for (int i = 0; i < STEPS; i++) {
        event(&client, OP_FLUSH, now_ns + 100);
        sent(&client, 1, now_ns + 200);
        now_ns += STEP_NS;
        answer(&client, 1, now_ns);
    }
    /* One call was in flight all the time. */
    uint64_t units = STEPS * STEP_NS >> CALL_TIME_SHIFT;
    assert_int_equal(count(&client, CALL_COUNT_TIME), units);
    assert_int_equal(count(&client, CALL_COUNT_IN_FLIGHT), units);
    client_close(&client);
}

static void short_sends_give_each_call_its_own_send(void **state)
{
    struct client client;
    (void)state;
    struct call_options options = options_of(WRITE_GATHER, 0, 3);
    options.size_bytes = 10;
    client_open(&client, options);
    event(&client, OP_START, 0);
    event(&client, OP_FLUSH, 100);
    sent(&client, 15, 200); /* two calls have begun; the rest leaves now */
    assert_send(&client, 15);
    sent(&client, 15, 250);
    answer(&client, 30, 1100);
    const struct histogram *service = times(&client, CALL_SERVICE_TIME);
    assert_int_equal(histogram_count(service), 3);
    assert_int_equal(service->counts[histogram_index(1000)], 2);
    assert_int_equal(service->counts[histogram_index(900)], 1);
    check_invariants(&client);
    client_close(&client);
}

/* Sends so short that no call begins in some of them: the first keeps its time. */
static void sends_without_a_beginning_do_not_push_others_out(void **state)
{
    struct client client;
    (void)state;
    struct call_options options = options_of(WRITE_GATHER, 0, 2);
    options.size_bytes = 10;
    client_open(&client, options);
    event(&client, OP_START, 0);
    event(&client, OP_FLUSH, 100);
    for (uint64_t i = 1; i <= 8; i++) {
        sent(&client, 1, 100 + 10 * i);
    }
    sent(&client, 12, 200); /* its submission, at 180, carried the second call's first byte */
    answer(&client, 10, 1100);
    assert_int_equal(times(&client, CALL_SERVICE_TIME)->minimum, 1000);
    assert_int_equal(times(&client, CALL_SERVICE_TIME)->maximum, 1000);
    answer(&client, 10, 1180);
    assert_int_equal(histogram_count(times(&client, CALL_SERVICE_TIME)), 2);
    assert_int_equal(times(&client, CALL_SERVICE_TIME)->counts[histogram_index(1000)], 2);
    client_close(&client);
}

static void a_second_reading_of_the_clock_is_never_before_the_first(void **state)
{
    struct client client;
    (void)state;
    client_open(&client, options_of(WRITE_GATHER, 0, 64));
    uint64_t start_ns = clock_now_ns();
    world_event(&client.world, OP_START, start_ns);
    world_event(&client.world, OP_FLUSH, clock_now_ns());
    sent_at_once(&client);
    uint8_t data[64];
    make_answer(&client, data, sizeof data);
    uint64_t end_ns = clock_now_ns();
    world_received(&client.world, data, 64, end_ns);
    const struct histogram *response = times(&client, CALL_RESPONSE_TIME);
    assert_int_equal(histogram_count(response), 64);
    assert_int_equal(response->maximum, end_ns - start_ns); /* the first was issued then */
    check_invariants(&client);
    client_close(&client);
}

static void open_loop_times_from_the_intended_start(void **state)
{
    struct client client;
    (void)state;
    client_open(&client, options_of(WRITE_GATHER, 0, 2));
    client.world.context.open_loop = true;
    uint64_t start_ns = clock_now_ns();
    world_event(&client.world, OP_START, start_ns);
    assert_int_equal(count(&client, CALL_COUNT_ISSUED), 0);
    assert_false(client.world.context.out.flush);
    assert_true(call_client.can_take(&client.world.context, client.world.connection));
    const uint64_t intended_ns = start_ns - 5 * NS_PER_MS; /* due 5 ms ago */
    const struct step_out *out = world_event(&client.world, OP_ARRIVAL, intended_ns);
    uint64_t after_ns = clock_now_ns();
    assert_true(out->flush);
    assert_int_equal(count(&client, CALL_COUNT_ISSUED), 1);
    const struct histogram *lag = times(&client, CALL_SEND_LAG);
    assert_int_equal(histogram_count(lag), 1);
    assert_true(lag->minimum >= 5 * NS_PER_MS && lag->minimum <= after_ns - intended_ns);
    world_event(&client.world, OP_FLUSH, after_ns);
    sent_at_once(&client);
    uint8_t byte = 0;
    client.answered_bytes = 1;
    world_received(&client.world, &byte, 1, after_ns + 777);
    assert_int_equal(times(&client, CALL_RESPONSE_TIME)->minimum, after_ns + 777 - intended_ns);
    assert_int_equal(times(&client, CALL_SERVICE_TIME)->minimum, 777);
    /* Answers do not make an open loop issue. */
    assert_int_equal(count(&client, CALL_COUNT_ISSUED), 1);
    world_event(&client.world, OP_ARRIVAL, after_ns);
    world_event(&client.world, OP_ARRIVAL, after_ns);
    assert_false(call_client.can_take(&client.world.context, client.world.connection));
    check_invariants(&client);
    client_close(&client);
}

static void open_loop_with_each_sends_what_piled_up_one_by_one(void **state)
{
    struct client client;
    (void)state;
    client_open(&client, options_of(WRITE_EACH, 0, 10));
    client.world.context.open_loop = true;
    event(&client, OP_START, 0);
    world_event(&client.world, OP_ARRIVAL, clock_now_ns());
    assert_send(&client, 1);
    struct op send = *world_asked(&client.world, OP_SEND);
    world_event(&client.world, OP_ARRIVAL, clock_now_ns());
    world_event(&client.world, OP_ARRIVAL, clock_now_ns());
    assert_no_send(&client);
    const struct step_out *out = world_sent(&client.world, &send, 1, 0);
    assert_true(out->resume);
    for (int i = 0; i < 2; i++) {
        event(&client, OP_RESUME, 0);
        assert_send(&client, 1);
        out = sent_at_once(&client);
        assert_int_equal(out->resume, i == 0);
    }
    assert_int_equal(count(&client, CALL_COUNT_SENDS), 3);
    client_close(&client);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_exact),
        cmocka_unit_test(in_flight_integral_loses_nothing),
        cmocka_unit_test(short_sends_give_each_call_its_own_send),
        cmocka_unit_test(sends_without_a_beginning_do_not_push_others_out),
        cmocka_unit_test(a_second_reading_of_the_clock_is_never_before_the_first),
        cmocka_unit_test(open_loop_times_from_the_intended_start),
        cmocka_unit_test(open_loop_with_each_sends_what_piled_up_one_by_one),
    };
    return cmocka_run_group_tests_name("call_times", tests, NULL, NULL);
}
