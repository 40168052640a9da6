/* The client of `sonde call`: strategies, answers, quota, drain, failures. */
#include "call_world.h"

/* ---- write strategies ------------------------------------------------------------------------ */

static void gather_writes_when_the_loop_is_about_to_wait(void **state)
{
    struct client client;
    (void)state;
    client_open(&client, options_of(WRITE_GATHER, 0, 100));
    const struct step_out *out = event(&client, OP_START, 0);
    assert_non_null(world_asked(&client.world, OP_RECEIVE));
    assert_no_send(&client);
    assert_true(out->flush);
    assert_false(out->resume || out->set_timer);
    assert_int_equal(count(&client, CALL_COUNT_ISSUED), 100);
    assert_int_equal(count(&client, CALL_COUNT_THROTTLED), 1);
    event(&client, OP_FLUSH, 10);
    assert_send(&client, 100);
    out = sent_at_once(&client);
    assert_int_equal(out->count, 0);
    assert_false(out->flush || out->resume);
    assert_int_equal(count(&client, CALL_COUNT_SENDS), 1);
    /* 50 answers: 50 are in flight, which is not below the low mark. One more is. */
    out = answer(&client, 50, 20);
    assert_false(out->flush);
    assert_int_equal(count(&client, CALL_COUNT_ISSUED), 100);
    assert_int_equal(count(&client, CALL_COUNT_RESUMED), 0);
    out = answer(&client, 1, 30);
    assert_true(out->flush);
    assert_int_equal(count(&client, CALL_COUNT_ISSUED), 151);
    assert_int_equal(count(&client, CALL_COUNT_RESUMED), 1);
    assert_int_equal(count(&client, CALL_COUNT_THROTTLED), 2);
    event(&client, OP_FLUSH, 40);
    assert_send(&client, 51);
    check_invariants(&client);
    client_close(&client);
}

static void each_sends_one_call_and_then_enters_the_loop(void **state)
{
    struct client client;
    (void)state;
    struct call_options options = options_of(WRITE_EACH, 0, 3);
    options.size_bytes = 7;
    options.low = 2;
    client_open(&client, options);
    event(&client, OP_START, 0);
    for (int i = 1; i <= 3; i++) {
        assert_send(&client, 7);
        assert_int_equal(count(&client, CALL_COUNT_ISSUED), i);
        const struct step_out *out = sent_at_once(&client);
        assert_int_equal(out->count, 0);
        assert_false(out->flush);
        assert_int_equal(out->resume, i < 3); /* at the mark there is nothing to go on with */
        event(&client, OP_RESUME, (uint64_t)i);
    }
    assert_no_send(&client);
    assert_int_equal(count(&client, CALL_COUNT_THROTTLED), 1);
    answer(&client, 7, 100);
    assert_no_send(&client);
    answer(&client, 7, 110); /* one in flight, below the mark: goes on */
    assert_send(&client, 7);
    assert_int_equal(count(&client, CALL_COUNT_ISSUED), 4);
    assert_int_equal(count(&client, CALL_COUNT_RESUMED), 1);
    check_invariants(&client);
    client_close(&client);
}

/* An answer that comes while the loop is still to be entered lets nothing jump ahead. */
static void each_sends_nothing_before_the_loop_was_entered(void **state)
{
    struct client client;
    (void)state;
    client_open(&client, options_of(WRITE_EACH, 0, 10));
    event(&client, OP_START, 0);
    assert_send(&client, 1);
    assert_true(sent_at_once(&client)->resume);
    answer(&client, 1, 10);
    assert_no_send(&client);
    assert_int_equal(count(&client, CALL_COUNT_ISSUED), 1);
    event(&client, OP_RESUME, 20);
    assert_send(&client, 1);
    assert_int_equal(count(&client, CALL_COUNT_ISSUED), 2);
    client_close(&client);
}

static void each_waits_for_a_queued_send(void **state)
{
    struct client client;
    (void)state;
    client_open(&client, options_of(WRITE_EACH, 0, 10));
    event(&client, OP_START, 0);
    assert_send(&client, 1);
    /* The answer comes before the engine says that the send has completed. */
    struct op send = *world_asked(&client.world, OP_SEND);
    answer(&client, 1, 50);
    assert_no_send(&client);
    assert_int_equal(count(&client, CALL_COUNT_COMPLETED), 1);
    assert_int_equal(count(&client, CALL_COUNT_ISSUED), 1);
    world_sent(&client.world, &send, 1, client.zero_ns + 60);
    assert_send(&client, 1);
    assert_int_equal(count(&client, CALL_COUNT_ISSUED), 2);
    assert_int_equal(times(&client, CALL_SERVICE_TIME)->minimum, 50);
    check_invariants(&client);
    client_close(&client);
}

static void queue_is_flushed_by_its_timer(void **state)
{
    struct client client;
    (void)state;
    const uint64_t period_ns = 10 * NS_PER_MS;
    client_open(&client, options_of(WRITE_QUEUE, period_ns, 4));
    client.zero_ns -= client.zero_ns % period_ns;
    const struct step_out *out = event(&client, OP_START, 3);
    assert_true(out->set_timer);
    /* The next tick of a periodic timer; the client read the clock after the given instant. */
    assert_int_equal(out->timer_ns % period_ns, 0);
    assert_no_send(&client);
    assert_false(out->flush);
    event(&client, OP_TIMER, period_ns);
    assert_send(&client, 4);
    sent_at_once(&client);
    answer(&client, 2, period_ns + 5);
    out = answer(&client, 1, period_ns + 6); /* below the low mark: issues three, sets the timer */
    assert_true(out->set_timer);
    assert_no_send(&client);
    out = answer(&client, 1, period_ns + 7);
    assert_false(out->set_timer); /* it is set */
    event(&client, OP_TIMER, 2 * period_ns);
    assert_send(&client, 3);
    check_invariants(&client);
    client_close(&client);
}

static void queue_leaves_to_the_timer_what_was_issued_during_a_send(void **state)
{
    struct client client;
    (void)state;
    const uint64_t period_ns = 10 * NS_PER_MS;
    client_open(&client, options_of(WRITE_QUEUE, period_ns, 4));
    event(&client, OP_START, 0);
    event(&client, OP_TIMER, period_ns);
    struct op send = *world_asked(&client.world, OP_SEND);
    answer(&client, 4, period_ns + 1); /* all answered, four more issued */
    const struct step_out *out =
        world_sent(&client.world, &send, 4, client.zero_ns + period_ns + 2);
    assert_no_send(&client);
    assert_true(out->set_timer);
    event(&client, OP_TIMER, 2 * period_ns);
    assert_send(&client, 4);
    client_close(&client);
}

static void batch_writes_a_full_batch_or_before_the_loop_waits(void **state)
{
    struct client client;
    (void)state;
    struct call_options options = options_of(WRITE_BATCH, 4, 10);
    options.size_bytes = 3;
    client_open(&client, options);
    event(&client, OP_START, 0);
    assert_send(&client, 12);
    assert_int_equal(count(&client, CALL_COUNT_ISSUED), 4);
    sent_at_once(&client);
    assert_send(&client, 12);
    const struct step_out *out = sent_at_once(&client);
    assert_no_send(&client); /* two more fit below the mark: less than a batch */
    assert_true(out->flush);
    assert_int_equal(count(&client, CALL_COUNT_ISSUED), 10);
    event(&client, OP_FLUSH, 20);
    assert_send(&client, 6);
    check_invariants(&client);
    client_close(&client);
}

static void cork_says_more_where_more_follows(void **state)
{
    (void)state;
    for (int cork = 0; cork < 2; cork++) {
        struct client client;
        struct call_options options = options_of(WRITE_EACH, 0, 3);
        options.cork = cork;
        client_open(&client, options);
        event(&client, OP_START, 0);
        for (int i = 1; i <= 3; i++) {
            uint32_t flags = world_asked(&client.world, OP_SEND)->flags;
            assert_int_equal(flags & OP_MORE, cork && i < 3 ? OP_MORE : 0);
            sent_at_once(&client);
            event(&client, OP_RESUME, (uint64_t)i);
        }
        client_close(&client);
    }
    /* Nothing follows in a gathered write. */
    struct client client;
    struct call_options options = options_of(WRITE_GATHER, 0, 3);
    options.cork = true;
    client_open(&client, options);
    event(&client, OP_START, 0);
    event(&client, OP_FLUSH, 1);
    assert_int_equal(world_asked(&client.world, OP_SEND)->flags & OP_MORE, 0);
    client_close(&client);
}

/* ---- answers, quota, drain ------------------------------------------------------------------- */

static void answers_byte_by_byte_complete_at_their_last_byte(void **state)
{
    struct client client;
    (void)state;
    struct call_options options = options_of(WRITE_GATHER, 0, 4);
    options.size_bytes = 5;
    client_open(&client, options);
    event(&client, OP_START, 0);
    event(&client, OP_FLUSH, 1);
    sent_at_once(&client);
    for (uint64_t i = 1; i <= 20; i++) {
        answer(&client, 1, 100 * i);
        assert_int_equal(count(&client, CALL_COUNT_COMPLETED), i / 5);
        check_invariants(&client);
    }
    assert_int_equal(times(&client, CALL_RECEIVED_SIZE)->maximum, 1);
    assert_int_equal(times(&client, CALL_SERVICE_TIME)->maximum / 10, 1999 / 10);
    client_close(&client);
}

static void big_calls_leave_in_pieces(void **state)
{
    struct client client;
    (void)state;
    const uint64_t size = 2 * SEND_MOST + 1000;
    struct call_options options = options_of(WRITE_EACH, 0, 1);
    options.size_bytes = size;
    client_open(&client, options);
    event(&client, OP_START, 0);
    uint64_t position = 0;
    for (int piece = 0; piece < 3; piece++) {
        const struct op *send = world_asked(&client.world, OP_SEND);
        assert_non_null(send);
        assert_int_equal(send->length, piece < 2 ? SEND_MOST : 1000);
        for (size_t i = 0; i < send->length; i++) {
            assert_int_equal(send->data[i], position++ % PERIOD);
        }
        struct op copy = *send;
        const struct step_out *out =
            world_sent(&client.world, &copy, (int64_t)copy.length, piece == 1 ? 0 : 1);
        if (out->resume) {
            event(&client, OP_RESUME, 10);
        }
    }
    assert_no_send(&client);
    answer(&client, SEND_MOST, 100);
    answer(&client, SEND_MOST, 200);
    assert_int_equal(count(&client, CALL_COUNT_COMPLETED), 0);
    answer(&client, 1000, 300);
    assert_int_equal(count(&client, CALL_COUNT_COMPLETED), 1);
    check_invariants(&client);
    client_close(&client);
}

static void quota_is_never_exceeded(void **state)
{
    (void)state;
    static const struct call_write writes[] = {
        {WRITE_GATHER, 0}, {WRITE_EACH, 0}, {WRITE_QUEUE, NS_PER_MS}, {WRITE_BATCH, 4}};
    for (size_t i = 0; i < sizeof writes / sizeof *writes; i++) {
        struct client client;
        client_open(&client, options_of(writes[i].strategy, writes[i].parameter, 5));
        client.world.context.quota = 13;
        const struct step_out *out = event(&client, OP_START, 0);
        for (int round = 0; round < 60; round++) {
            const struct op *send = world_asked(&client.world, OP_SEND);
            if (send) {
                out = sent_at_once(&client);
            } else if (out->resume) {
                out = event(&client, OP_RESUME, 10);
            } else if (out->flush || out->set_timer) {
                out = event(&client, out->flush ? OP_FLUSH : OP_TIMER, 10);
            } else if (client.answered_bytes < count(&client, CALL_COUNT_SENT_BYTES)) {
                out = answer(&client, 1, 100);
            }
        }
        assert_int_equal(client.world.context.quota, 0);
        assert_int_equal(count(&client, CALL_COUNT_ISSUED), 13);
        assert_int_equal(count(&client, CALL_COUNT_COMPLETED), 13);
        assert_int_equal(count(&client, CALL_COUNT_SENT_BYTES), 13);
        assert_int_equal(world_outstanding(&client.world), 0);
        check_invariants(&client);
        client_close(&client);
    }
}

static void drain_writes_the_rest_and_issues_nothing(void **state)
{
    struct client client;
    (void)state;
    client_open(&client, options_of(WRITE_QUEUE, NS_PER_SECOND, 6));
    event(&client, OP_START, 0);
    assert_no_send(&client);
    client.world.context.draining = true;
    event(&client, OP_DRAIN, 50);
    assert_send(&client, 6);
    sent_at_once(&client);
    assert_int_equal(world_outstanding(&client.world), 6);
    const struct step_out *out = answer(&client, 6, 100);
    assert_int_equal(out->count, 0);
    assert_false(out->flush || out->set_timer || out->resume);
    assert_int_equal(count(&client, CALL_COUNT_ISSUED), 6);
    assert_int_equal(world_outstanding(&client.world), 0);
    check_invariants(&client);
    client_close(&client);
}

/* ---- failures -------------------------------------------------------------------------------- */

static void start_ten(struct client *client)
{
    struct call_options options = options_of(WRITE_GATHER, 0, 10);
    options.size_bytes = 3;
    client_open(client, options);
    event(client, OP_START, 0);
    event(client, OP_FLUSH, 1);
    sent_at_once(client);
}

static void too_many_bytes_are_an_error(void **state)
{
    struct client client;
    (void)state;
    start_ten(&client);
    answer(&client, 31, 100);
    assert_lost(&client, PHASE_PROTOCOL, 0, 10);
    assert_int_equal(count(&client, CALL_COUNT_COMPLETED), 0);
    assert_false(call_client.can_take(&client.world.context, client.world.connection));
    /* Whatever still comes is ignored. */
    const struct step_out *out = answer(&client, 5, 200);
    assert_int_equal(out->count, 0);
    assert_int_equal(client.world.bank->errors[0].count, 1);
    client_close(&client);
}

static void wrong_bytes_are_an_error_only_where_verified(void **state)
{
    (void)state;
    for (int verify = 0; verify < 2; verify++) {
        for (int position = 0; position < 12; position++) {
            struct client client;
            uint8_t data[12];
            start_ten(&client);
            client.world.options.verify = verify;
            make_answer(&client, data, sizeof data);
            data[position] ^= 1;
            world_received(&client.world, data, sizeof data, client.zero_ns + 100);
            if (verify) {
                assert_lost(&client, PHASE_PROTOCOL, 0, 10);
            } else {
                assert_int_equal(count(&client, CALL_COUNT_COMPLETED), 4);
            }
            client_close(&client);
        }
    }
}

static void peer_close_loses_what_is_in_flight(void **state)
{
    struct client client;
    (void)state;
    start_ten(&client);
    answer(&client, 7, 100); /* two whole answers */
    world_received(&client.world, NULL, 0, client.zero_ns + 200);
    assert_lost(&client, PHASE_RECEIVE, 0, 8);
    assert_int_equal(count(&client, CALL_COUNT_COMPLETED), 2);
    assert_int_equal(histogram_count(times(&client, CALL_RESPONSE_TIME)), 2);
    client_close(&client);
}

static void reset_is_counted_under_its_errno(void **state)
{
    struct client client;
    (void)state;
    start_ten(&client);
    world_received(&client.world, NULL, -ECONNRESET, client.zero_ns + 200);
    assert_lost(&client, PHASE_RECEIVE, ECONNRESET, 10);
    client_close(&client);

    client_open(&client, options_of(WRITE_EACH, 0, 2));
    event(&client, OP_START, 0);
    sent(&client, -EPIPE, 10);
    assert_lost(&client, PHASE_SEND, EPIPE, 1);
    client_close(&client);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(gather_writes_when_the_loop_is_about_to_wait),
        cmocka_unit_test(each_sends_one_call_and_then_enters_the_loop),
        cmocka_unit_test(each_sends_nothing_before_the_loop_was_entered),
        cmocka_unit_test(each_waits_for_a_queued_send),
        cmocka_unit_test(queue_is_flushed_by_its_timer),
        cmocka_unit_test(queue_leaves_to_the_timer_what_was_issued_during_a_send),
        cmocka_unit_test(batch_writes_a_full_batch_or_before_the_loop_waits),
        cmocka_unit_test(cork_says_more_where_more_follows),
        cmocka_unit_test(answers_byte_by_byte_complete_at_their_last_byte),
        cmocka_unit_test(big_calls_leave_in_pieces),
        cmocka_unit_test(quota_is_never_exceeded),
        cmocka_unit_test(drain_writes_the_rest_and_issues_nothing),
        cmocka_unit_test(too_many_bytes_are_an_error),
        cmocka_unit_test(wrong_bytes_are_an_error_only_where_verified),
        cmocka_unit_test(peer_close_loses_what_is_in_flight),
        cmocka_unit_test(reset_is_counted_under_its_errno),
    };
    return cmocka_run_group_tests_name("call", tests, NULL, NULL);
}
