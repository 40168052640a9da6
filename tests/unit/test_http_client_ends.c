/* How the connections of a client of HTTP end: in order, in failure, in time; and what becomes of
 * what was asked on them. */
#include <errno.h>

#include "http_talk.h"

#define GET "GET /p HTTP/1.1\r\n"

static void until_close(void **state)
{
    (void)state;
    for (int reset = 0; reset < 2; reset++) {
        struct talk talk;
        talk_init(&talk);
        talk.world.http.pipeline = 2;
        talk_begin(&talk, 2);
        talk_hear(&talk, "HTTP/1.1 200 OK\r\n\r\nall of it");
        assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 0);
        talk_end(&talk, reset ? -ECONNRESET : 0);
        assert_true(talk.closed);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_BODY_BYTES), 9);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), !reset);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_REPEATED), !reset);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_SERVER_FIRST), !reset);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), reset ? 2 : 0);
        assert_int_equal(talk_errors(&talk, PHASE_RECEIVE, ECONNRESET, NULL), reset);
        assert_int_equal(talk.world.context.quota, !reset);
        talk_adds_up(&talk);
        talk_over(&talk);
    }
}

/* What stood behind the last answer is asked on another connection. */
static void closed_in_a_pipeline(void **state)
{
    (void)state;
    for (size_t chop = 0; chop < 3; chop++) {
        struct talk talk;
        talk_init(&talk);
        talk.world.http.pipeline = 4;
        talk_begin(&talk, 4);
        talk_hear_bytes(&talk, ANSWER LAST, strlen(ANSWER LAST), chop);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 2);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_REPEATED), 2);
        assert_int_equal(talk.world.context.quota, 2);
        assert_int_equal(world_outstanding(&talk.world), 0);
        assert_false(talk.closed); /* the server is to do it */
        assert_int_equal(talk_asked(&talk, GET), 4);
        talk_end(&talk, 0);
        assert_true(talk.closed);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_SERVER_FIRST), 1);
        talk_redial(&talk);
        assert_int_equal(talk_asked(&talk, GET), 6);
        assert_int_equal(talk.world.context.quota, 0);
        talk_hear(&talk, ANSWER ANSWER);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 4);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_DIALED), 2);
        assert_int_equal(bank_errors(talk.world.bank), 0);
        talk_adds_up(&talk);
        talk_over(&talk);
    }
}

static void arrive(struct talk *talk, uint64_t intended_ns)
{
    assert_true(talk->world.role->can_take(&talk->world.context, talk->world.connection));
    talk_event(talk, OP_ARRIVAL, intended_ns);
}

static bool takes(const struct talk *talk)
{
    return talk->world.role->can_take(&talk->world.context, talk->world.connection);
}

/* A schedule's requests that are asked again are late from when they were meant to be. */
static void asked_again_in_an_open_loop(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk.world.http.pipeline = 3;
    talk_open(&talk, 3);
    talk.world.context.open_loop = true;
    talk_start(&talk);
    assert_int_equal(talk.sends, 0);
    uint64_t now_ns = clock_now_ns();
    for (unsigned i = 0; i < 3; i++) {
        arrive(&talk, now_ns - (5 + i) * NS_PER_SECOND);
    }
    assert_int_equal(talk.quiets, 0);
    assert_int_equal(talk.sends, 3);
    assert_false(takes(&talk));
    talk_hear(&talk, LAST);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_REPEATED), 2);
    assert_int_equal(talk.world.context.quota, 2); /* it dials again */
    talk_end(&talk, 0);
    talk_redial(&talk);
    assert_int_equal(talk.world.context.quota, 0);
    assert_int_equal(talk_asked(&talk, GET), 5);
    talk_hear(&talk, ANSWER ANSWER);
    const struct histogram *times = &talk.world.bank->histograms[HTTP_RESPONSE_TIME];
    assert_int_equal(histogram_count(times), 3);
    assert_true(times->minimum >= 5 * NS_PER_SECOND);
    assert_true(times->maximum >= 7 * NS_PER_SECOND - NS_PER_SECOND / 10);
    talk_adds_up(&talk);
    talk_over(&talk);
}

/* Until they are, no arrival takes what of the quota is theirs. */
static void what_is_asked_again_goes_first(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk.world.http.pipeline = 2;
    talk_open(&talk, 3);
    talk.world.context.open_loop = true;
    talk_start(&talk);
    arrive(&talk, clock_now_ns());
    arrive(&talk, clock_now_ns());
    talk_hear(&talk, LAST);
    talk_end(&talk, 0);
    assert_int_equal(talk.world.context.quota, 2);
    /* Another connection of the worker's, which was idle. */
    struct http_connection *http = http_client_of(talk.world.connection);
    http->state = HTTP_OPEN;
    assert_true(takes(&talk));
    talk.world.context.quota = 1;
    assert_false(takes(&talk));
    http->state = HTTP_GONE;
    talk.world.context.quota = 2;
    talk_redial(&talk);
    assert_int_equal(talk.world.context.quota, 1);
    assert_true(takes(&talk));
    talk_over(&talk);
}

static void drained_before_it_was_asked_again(void **state)
{
    (void)state;
    for (int open_loop = 0; open_loop < 2; open_loop++) {
        struct talk talk;
        talk_init(&talk);
        talk.world.http.pipeline = 3;
        talk_open(&talk, UINT64_MAX);
        talk.world.context.open_loop = open_loop;
        talk_start(&talk);
        for (int i = 0; i < 3 && open_loop; i++) {
            arrive(&talk, clock_now_ns());
        }
        talk.world.context.draining = true;
        talk_event(&talk, OP_DRAIN, clock_now_ns());
        talk_hear(&talk, LAST);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 1);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), open_loop ? 2 : 0);
        assert_int_equal(world_outstanding(&talk.world), 0);
        talk_over(&talk);
    }
}

static void lingers(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk_begin(&talk, 5);
    talk_hear(&talk, LAST);
    assert_false(talk.closed);
    assert_true(talk.timer_ns > clock_now_ns());
    talk_event(&talk, OP_TIMER, talk.timer_ns);
    assert_true(talk.closed);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_CLIENT_FIRST), 1);
    assert_int_equal(bank_errors(talk.world.bank), 0);
    talk_redial(&talk);
    talk_hear(&talk, LAST);
    talk_hear(&talk, "more"); /* behind the last answer, which has been counted */
    assert_true(talk.closed);
    assert_int_equal(talk_errors(&talk, PHASE_PROTOCOL, 0, http_error_text(HTTP_BAD_AFTER_LAST)),
                     1);
    talk_redial(&talk);
    talk_hear(&talk, LAST);
    talk_end(&talk, -ECONNRESET); /* it is its way to end */
    assert_int_equal(talk_count(&talk, HTTP_COUNT_SERVER_FIRST), 1);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 3);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), 0);
    talk_adds_up(&talk);
    talk_over(&talk);
}

static void idle(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk_begin(&talk, 1);
    talk_hear(&talk, ANSWER);
    talk_end(&talk, 0);
    assert_true(talk.closed);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_IDLE_CLOSED), 1);
    assert_int_equal(bank_errors(talk.world.bank), 0);
    talk_redial(&talk);
    talk_hear(&talk, ANSWER);
    assert_true(talk.closed);
    assert_int_equal(talk_errors(&talk, PHASE_PROTOCOL, 0, http_error_text(HTTP_BAD_UNASKED)), 1);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 1);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), 0);
    talk_redial(&talk);
    talk_end(&talk, -ECONNRESET);
    assert_int_equal(talk_errors(&talk, PHASE_RECEIVE, ECONNRESET, NULL), 1);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), 0);
    talk_over(&talk);
}

/* An answer with something behind it in the same receive was framed as something else. */
static void garbage(void **state)
{
    static const char *const texts[] = {ANSWER "!", ANSWER ANSWER, ANSWER "\r\n", LAST "!",
                                        LAST ANSWER};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (int keep_alive = 0; keep_alive < 2; keep_alive++) {
            struct talk talk;
            talk_init(&talk);
            talk.world.http.keep_alive = keep_alive;
            talk_begin(&talk, 1);
            talk_hear(&talk, texts[i]);
            assert_true(talk.closed);
            assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 0);
            assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), 1);
            assert_int_equal(talk_count(&talk, HTTP_COUNT_2XX), 0);
            assert_int_equal(bank_errors(talk.world.bank), 1);
            talk_adds_up(&talk);
            talk_over(&talk);
        }
    }
}

static void failed_send(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk.holds = true;
    talk_begin(&talk, 2);
    talk_sent(&talk, 3);
    talk_sent(&talk, -ETIMEDOUT);
    assert_true(talk.closed);
    assert_int_equal(talk_errors(&talk, PHASE_SEND, ETIMEDOUT, NULL), 1);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), 1);
    assert_int_equal(talk.timer_ns, 0);
    talk_adds_up(&talk);
    talk_over(&talk);
}

/* A server that has closed: what it had said before is still read, and then how it ended. */
static void send_to_nobody(void **state)
{
    (void)state;
    for (int answered = 0; answered < 2; answered++) {
        struct talk talk;
        talk_init(&talk);
        talk.holds = true;
        talk_begin(&talk, 2);
        talk_sent(&talk, -EPIPE);
        assert_false(talk.closed);
        assert_int_equal(bank_errors(talk.world.bank), 0);
        if (answered) {
            talk_hear(&talk, LAST);
            assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 1);
        }
        talk_end(&talk, -ECONNRESET);
        assert_true(talk.closed);
        assert_int_equal(talk_errors(&talk, PHASE_RECEIVE, ECONNRESET, NULL), !answered);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), !answered);
        talk_adds_up(&talk);
        talk_over(&talk);
    }
}

/* A server that answers before it has read. */
static void early_answers(void **state)
{
    static char body[40000];
    (void)state;
    memset(body, 'b', sizeof body);
    for (int last = 0; last < 2; last++) {
        struct talk talk;
        talk_init(&talk);
        talk.holds = true;
        talk.world.http.expect_status = "any";
        talk.world.http.body_file = talk_file(&talk, body, sizeof body);
        talk_begin(&talk, 2);
        talk_sent(&talk, (int64_t)talk.send.length); /* the head */
        talk_sent(&talk, 10000);
        talk_hear(&talk, last ? LAST : ANSWER);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 1);
        if (last) { /* the server reads no more, and says so in its way */
            talk_sent(&talk, -EPIPE);
            assert_false(talk.closed);
            talk_end(&talk, -ECONNRESET);
            assert_true(talk.closed);
            assert_int_equal(talk_count(&talk, HTTP_COUNT_SERVER_FIRST), 1);
        } else { /* the next one stands behind all of it */
            talk_sent(&talk, 30000);
            assert_int_equal(talk.send.kind, OP_SEND);
            talk_sent(&talk, (int64_t)talk.send.length);
            talk_sent(&talk, 40000);
            assert_int_equal(talk_asked(&talk, "POST /p"), 2);
            talk_hear(&talk, ANSWER);
            assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 2);
        }
        assert_int_equal(bank_errors(talk.world.bank), 0);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), 0);
        talk_adds_up(&talk);
        talk_over(&talk);
    }
}

static void timeouts(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk.world.http.timeout_ns = NS_PER_SECOND;
    talk_begin(&talk, 5);
    uint64_t first_ns = talk.timer_ns;
    assert_true(first_ns > clock_now_ns());
    talk_hear(&talk, ANSWER); /* the next one is sent later: it has its own second */
    talk_event(&talk, OP_TIMER, first_ns);
    assert_false(talk.closed);
    assert_true(talk.timer_ns > first_ns);
    talk_hear(&talk, "HTTP/1.1 200 OK\r\n"); /* half a head */
    talk_event(&talk, OP_TIMER, talk.timer_ns);
    assert_false(talk.closed);
    talk_event(&talk, OP_TIMER, talk.timer_ns);
    assert_true(talk.closed);
    assert_int_equal(talk_errors(&talk, PHASE_RECEIVE, 0, "nothing came within --timeout"), 1);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), 1);
    talk_redial(&talk);
    talk_hear(&talk, ANSWER);
    talk_adds_up(&talk);
    talk_over(&talk);
}

/* Where nothing is awaited, silence is no failure. */
static void idle_for_long(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk.world.http.timeout_ns = NS_PER_MS;
    talk.world.http.request_most_ns = NS_PER_MS;
    talk_begin(&talk, 1);
    talk_hear(&talk, ANSWER);
    for (int i = 0; i < 5; i++) {
        uint64_t before_ns = talk.timer_ns;
        talk_event(&talk, OP_TIMER, before_ns);
        assert_true(talk.timer_ns > before_ns);
    }
    assert_false(talk.closed);
    assert_int_equal(bank_errors(talk.world.bank), 0);
    talk_over(&talk);
}

static void max_time(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk.world.http.request_most_ns = NS_PER_SECOND;
    talk_begin(&talk, 2);
    talk_event(&talk, OP_TIMER, talk.timer_ns);
    assert_false(talk.closed); /* it was sent since */
    talk_hear(&talk, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell");
    talk_event(&talk, OP_TIMER, talk.timer_ns);
    assert_true(talk.closed);
    assert_int_equal(
        talk_errors(&talk, PHASE_RECEIVE, 0, "an answer was not whole within --max-time"), 1);
    talk_adds_up(&talk);
    talk_over(&talk);
}

/* A body that takes longer than --timeout, and moves. */
static void slow_upload(void **state)
{
    static char body[40000];
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk.holds = true;
    talk.world.http.timeout_ns = 20 * NS_PER_MS;
    talk.world.http.body_file = talk_file(&talk, body, sizeof body);
    talk_begin(&talk, 1);
    talk_sent(&talk, (int64_t)talk.send.length);
    for (int i = 0; i < 3; i++) {
        usleep(25000);
        talk_sent(&talk, 10000);
        talk_event(&talk, OP_TIMER, clock_now_ns());
        assert_false(talk.closed);
    }
    talk_event(&talk, OP_TIMER, talk.timer_ns); /* and stops */
    assert_true(talk.closed);
    talk_over(&talk);
}

static void drains(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk.world.http.pipeline = 2;
    talk_begin(&talk, UINT64_MAX);
    talk.world.context.draining = true;
    talk_event(&talk, OP_DRAIN, clock_now_ns());
    assert_int_equal(world_outstanding(&talk.world), 2);
    talk_hear(&talk, ANSWER);
    talk_hear(&talk, ANSWER);
    assert_int_equal(world_outstanding(&talk.world), 0);
    assert_int_equal(talk_asked(&talk, GET), 2);
    talk_adds_up(&talk);
    talk_over(&talk);
}

static void single_connections(void **state)
{
    static const struct {
        const char *text;
        bool ends, completed, server_first;
    } rows[] = {
        {LAST, true, true, true},
        {ANSWER, false, true, false},
        {"HTTP/1.0 200 OK\r\n\r\nall", true, true, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", true, false, false},
        {"", true, false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct talk talk;
        talk_init(&talk);
        talk.world.http.keep_alive = false;
        talk_open(&talk, 2);
        assert_int_equal(talk.world.context.quota, 1);
        assert_int_equal(world_outstanding(&talk.world), 1); /* while it is being dialed */
        assert_false(takes(&talk));
        talk.world.connection->dialed_ns = clock_now_ns();
        talk.world.connection->intended_ns = clock_now_ns() - 3 * NS_PER_SECOND;
        talk_start(&talk);
        assert_int_equal(talk_asked(&talk, "Connection: close\r\n"), 1);
        talk_hear(&talk, rows[i].text);
        if (rows[i].ends) {
            talk_end(&talk, 0);
        }
        assert_true(talk.closed);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), rows[i].completed);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), !rows[i].completed);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_SERVER_FIRST), rows[i].server_first);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_CLIENT_FIRST),
                         rows[i].completed && !rows[i].server_first);
        assert_int_equal(world_outstanding(&talk.world), 0);
        assert_int_equal(talk.sends, 1);
        const struct histogram *histograms = talk.world.bank->histograms;
        if (rows[i].completed) {
            assert_true(histograms[HTTP_RESPONSE_TIME].minimum >= 3 * NS_PER_SECOND);
            assert_true(histograms[HTTP_SERVICE_TIME].maximum < 3 * NS_PER_SECOND);
        }
        assert_int_equal(histogram_count(&histograms[HTTP_CONNECT]), 1);
        talk_adds_up(&talk);
        talk_over(&talk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(until_close),
        cmocka_unit_test(closed_in_a_pipeline),
        cmocka_unit_test(asked_again_in_an_open_loop),
        cmocka_unit_test(what_is_asked_again_goes_first),
        cmocka_unit_test(drained_before_it_was_asked_again),
        cmocka_unit_test(lingers),
        cmocka_unit_test(idle),
        cmocka_unit_test(garbage),
        cmocka_unit_test(failed_send),
        cmocka_unit_test(send_to_nobody),
        cmocka_unit_test(early_answers),
        cmocka_unit_test(timeouts),
        cmocka_unit_test(idle_for_long),
        cmocka_unit_test(max_time),
        cmocka_unit_test(slow_upload),
        cmocka_unit_test(drains),
        cmocka_unit_test(single_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
