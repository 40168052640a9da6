/* The roles of a client of HTTP, fed by hand: what they ask for, what they count, and how
 * connections end. */
#include <errno.h>

#include "http_talk.h"

#define GET "GET /p HTTP/1.1\r\n"

/* Everything that was sent has come to something. */
static void adds_up(const struct talk *talk)
{
    assert_int_equal(talk_count(talk, HTTP_COUNT_SENT),
                     talk_count(talk, HTTP_COUNT_COMPLETED) + talk_count(talk, HTTP_COUNT_FAILED) +
                         talk_count(talk, HTTP_COUNT_REPEATED) + world_outstanding(&talk->world));
    assert_int_equal(histogram_count(&talk->world.bank->histograms[HTTP_RESPONSE_TIME]),
                     talk_count(talk, HTTP_COUNT_COMPLETED));
    assert_int_equal(histogram_count(&talk->world.bank->histograms[HTTP_FIRST_BYTE]),
                     talk_count(talk, HTTP_COUNT_COMPLETED));
    assert_int_equal(talk_count(talk, HTTP_COUNT_SENT_BYTES), talk->wire_bytes);
}

static void closed_loop(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk_begin(&talk, 3);
    assert_string_equal(talk.wire, GET "Host: h\r\n\r\n");
    assert_int_equal(talk.quiets, 1);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(world_outstanding(&talk.world), 1);
        talk_hear(&talk, ANSWER);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), i);
        adds_up(&talk);
    }
    assert_int_equal(talk.sends, 3);
    assert_int_equal(world_outstanding(&talk.world), 0);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_2XX), 3);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_BODY_BYTES), 6);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_BYTES), 3 * strlen(ANSWER));
    assert_int_equal(talk_count(&talk, HTTP_COUNT_HEADER_BYTES), 3 * strlen(ANSWER) - 6);
    assert_int_equal(bank_errors(talk.world.bank), 0);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_DIALED), 1);
    assert_false(talk.closed);
    talk_over(&talk);
}

#define EIGHT(text) text text text text text text text text

static void pipelined(size_t chop, size_t cut)
{
    struct talk talk;
    static const char text[] = EIGHT(ANSWER);
    talk_init(&talk);
    talk.world.http.pipeline = 8;
    talk_begin(&talk, 20);
    assert_int_equal(talk.sends, 1);
    assert_int_equal(talk_asked(&talk, GET), 8);
    assert_int_equal(world_outstanding(&talk.world), 8);
    if (cut) {
        talk_hear_bytes(&talk, text, cut, 0);
        talk_hear_bytes(&talk, text + cut, sizeof text - 1 - cut, 0);
    } else {
        talk_hear_bytes(&talk, text, sizeof text - 1, chop);
    }
    assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 8);
    assert_int_equal(talk_asked(&talk, GET), 16);
    adds_up(&talk);
    talk_hear_bytes(&talk, text, sizeof text - 1, chop);
    assert_int_equal(talk_asked(&talk, GET), 20);
    assert_int_equal(world_outstanding(&talk.world), 4);
    talk_hear_bytes(&talk, text, (sizeof text - 1) / 2, chop);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 20);
    assert_int_equal(world_outstanding(&talk.world), 0);
    assert_int_equal(bank_errors(talk.world.bank), 0);
    adds_up(&talk);
    talk_over(&talk);
}

static void pipelines(void **state)
{
    (void)state;
    for (size_t chop = 0; chop < 90; chop++) {
        pipelined(chop, 0);
    }
    for (size_t cut = 1; cut < sizeof(EIGHT(ANSWER)) - 1; cut++) {
        pipelined(0, cut);
    }
}

static void heads(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk.world.http.method = "HEAD";
    talk_begin(&talk, 2);
    talk_hear(&talk, "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n");
    talk_hear(&talk, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 2);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_BODY_BYTES), 0);
    assert_int_equal(talk_asked(&talk, "HEAD /p"), 2);
    adds_up(&talk);
    talk_over(&talk);
}

static void interim(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk_begin(&talk, 2);
    talk_hear(&talk, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n");
    assert_int_equal(talk_count(&talk, HTTP_COUNT_1XX), 2);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 0);
    talk_hear(&talk, ANSWER);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 1);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_HEADER_BYTES) + 2,
                     talk_count(&talk, HTTP_COUNT_BYTES));
    for (int i = 0; i < 17; i++) {
        talk_hear(&talk, "HTTP/1.1 102 Processing\r\n\r\n");
    }
    assert_true(talk.closed);
    assert_int_equal(talk_errors(&talk, PHASE_PROTOCOL, 0, http_error_text(HTTP_BAD_INTERIM_MANY)),
                     1);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), 1);
    adds_up(&talk);
    talk_over(&talk);
}

static void chunked(void **state)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX: trailer\r\n\r\n";
    (void)state;
    for (size_t chop = 0; chop < sizeof text; chop++) {
        struct talk talk;
        talk_init(&talk);
        talk_begin(&talk, 1);
        talk_hear_bytes(&talk, text, sizeof text - 1, chop);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 1);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_BODY_BYTES), 11);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_BYTES), sizeof text - 1);
        adds_up(&talk);
        talk_over(&talk);
    }
}

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
        adds_up(&talk);
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
        adds_up(&talk);
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
    adds_up(&talk);
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
    adds_up(&talk);
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

static void statuses(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk_begin(&talk, 4);
    talk_hear(&talk, "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno!");
    talk_hear(&talk, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    talk_hear(&talk, "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n");
    talk_hear(&talk, ANSWER);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 2);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), 2);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_UNEXPECTED), 2);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_2XX), 1);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_3XX), 1);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_4XX), 1);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_5XX), 1);
    assert_int_equal(talk_errors(&talk, PHASE_ANSWER, 0, "status 404 Not Found"), 1);
    assert_int_equal(talk_errors(&talk, PHASE_ANSWER, 0, "status 503 Service Unavailable"), 1);
    assert_false(talk.closed); /* the connection is in order */
    adds_up(&talk);
    talk_over(&talk);
}

/* sha256 of "hi" */
#define HI "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"

static void digests(void **state)
{
    struct talk talk;
    char reason[160];
    (void)state;
    if (sha256_why_not(reason, sizeof reason) < 0) {
        skip();
    }
    talk_init(&talk);
    talk.world.http.expect_sha256 = HI;
    talk_begin(&talk, 4);
    talk_hear(&talk, ANSWER);
    talk_hear(&talk, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "1\r\nh\r\n1\r\ni\r\n0\r\n\r\n");
    talk_hear(&talk, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nho");
    talk_hear(&talk, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 2);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_UNEXPECTED), 2);
    assert_int_equal(
        talk_errors(&talk, PHASE_ANSWER, 0, "a body with another SHA-256 than expected"), 2);
    adds_up(&talk);
    talk_over(&talk);
}

static void long_answers(void **state)
{
    static const struct {
        const char *text;
        bool good;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!", false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
         true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n3\r\nlo!\r\n0\r\n\r\n",
         false},
        {"HTTP/1.1 200 OK\r\n\r\nhello!", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct talk talk;
        talk_init(&talk);
        talk.world.http.response_most = 5;
        talk_begin(&talk, 1);
        talk_hear(&talk, rows[i].text);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), rows[i].good);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), !rows[i].good);
        assert_int_equal(talk_errors(&talk, PHASE_PROTOCOL, 0, http_error_text(HTTP_BAD_BODY_LONG)),
                         !rows[i].good);
        adds_up(&talk);
        talk_over(&talk);
    }
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
            adds_up(&talk);
            talk_over(&talk);
        }
    }
}

static void short_sends(void **state)
{
    (void)state;
    for (size_t most = 1; most < 40; most++) {
        struct talk talk;
        talk_init(&talk);
        talk.holds = true;
        talk.world.http.pipeline = 3;
        talk_begin(&talk, 3);
        while (talk.send.kind == OP_SEND) {
            talk_sent(&talk, (int64_t)(talk.send.length < most ? talk.send.length : most));
        }
        assert_string_equal(talk.wire,
                            GET "Host: h\r\n\r\n" GET "Host: h\r\n\r\n" GET "Host: h\r\n\r\n");
        talk_hear(&talk, ANSWER ANSWER ANSWER);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 3);
        adds_up(&talk);
        talk_over(&talk);
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
    talk_sent(&talk, -EPIPE);
    assert_true(talk.closed);
    assert_int_equal(talk_errors(&talk, PHASE_SEND, EPIPE, NULL), 1);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), 1);
    assert_int_equal(talk.timer_ns, 0);
    adds_up(&talk);
    talk_over(&talk);
}

static void bodies(void **state)
{
    static const size_t sizes[] = {0, 1, 16384, 16385, 100000};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t size = sizes[i];
        bool apart = size > 16384;
        char *body = malloc(size + 1), length[64];
        assert_non_null(body);
        memset(body, 'b', size);
        for (size_t most = 1000; most <= 1000000; most *= 1000) {
            struct talk talk;
            talk_init(&talk);
            talk.holds = true;
            talk.world.http.pipeline = 2;
            talk.world.http.body_file = talk_file(&talk, body, size);
            talk_begin(&talk, 2);
            while (talk.send.kind == OP_SEND) {
                talk_sent(&talk, (int64_t)(talk.send.length < most ? talk.send.length : most));
            }
            snprintf(length, sizeof length, "Content-Length: %zu\r\n\r\n", size);
            assert_int_equal(talk_asked(&talk, "POST /p"), 2);
            assert_int_equal(talk_asked(&talk, length), 2);
            assert_int_equal(talk.mores, apart ? 2 : 0);
            size_t head = (talk.wire_bytes - 2 * size) / 2;
            for (size_t at = 0; at < size; at++) {
                assert_true(talk.wire[head + at] == 'b' && talk.wire[2 * head + size + at] == 'b');
            }
            talk_hear(&talk, ANSWER ANSWER);
            assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 2);
            adds_up(&talk);
            talk_over(&talk);
        }
        free(body);
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
        adds_up(&talk);
        talk_over(&talk);
    }
}

/* The answer is delivered before the completion of its request's send. */
static void answer_before_the_send(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk.holds = true;
    talk_begin(&talk, 2);
    for (unsigned i = 1; i <= 2; i++) {
        talk_hear(&talk, ANSWER);
        assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), i);
        talk_sent(&talk, (int64_t)talk.send.length);
    }
    assert_int_equal(talk.sends, 2);
    adds_up(&talk);
    talk_over(&talk);
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
    adds_up(&talk);
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
    adds_up(&talk);
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
    adds_up(&talk);
    talk_over(&talk);
}

static void keeps_bodies(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk.world.http.keep_body = true;
    talk_begin(&talk, 3);
    struct http_connection *http = http_client_of(talk.world.connection);
    talk_hear(&talk, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    talk_hear(&talk, "def");
    assert_int_equal(http->body_bytes, 6);
    assert_memory_equal(http->body, "abcdef", 6);
    talk_hear(&talk, "ghi");
    assert_null(http->body);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 1);
    talk_hear(&talk, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"); /* and leaves */
    talk_over(&talk);
}

static void own_buffer(void **state)
{
    struct talk talk;
    (void)state;
    talk_init(&talk);
    talk_begin(&talk, 1);
    assert_null(talk.receive.data);
    assert_int_equal(talk.receive.length, 0);
    talk_over(&talk);
    talk_init(&talk);
    talk.world.http.buffer_bytes = 4096;
    talk_begin(&talk, 1);
    assert_non_null(talk.receive.data);
    assert_int_equal(talk.receive.length, 4096);
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
        adds_up(&talk);
        talk_over(&talk);
    }
}

/* Several from a list go out together, as often as their weights say, the large ones too. */
static void gathered(void **state)
{
    enum { LARGE = 7000, ROUNDS = 1000, DEPTH = 128 };
    static char list[LARGE + 100];
    (void)state;
    int length = snprintf(list, sizeof list, "HEAD /small\nweight=1 GET /");
    memset(list + length, 'x', LARGE);
    struct talk talk;
    talk_init(&talk);
    talk.world.http.pipeline = DEPTH;
    talk.world.http.url_file = talk_file(&talk, list, strlen(list));
    talk.holds = true;
    talk_begin(&talk, UINT64_MAX);
    unsigned small = 0, large = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        talk.wire_bytes = 0;
        assert_true(talk.send.length <= HTTP_BLOCK_BYTES);
        talk_sent(&talk, (int64_t)talk.send.length);
        for (const char *at = talk.wire; at < talk.wire + talk.wire_bytes;) {
            bool head = strncmp(at, "HEAD", 4) == 0;
            small += head;
            large += !head;
            at = strstr(at, "\r\n\r\n") + 4;
        }
        if (talk.send.kind == OP_SEND) {
            continue;
        }
        /* All of them are answered at once. The reader knows which were HEAD. */
        static char text[DEPTH * sizeof ANSWER];
        const struct http_response_reader *reader = &http_client_of(talk.world.connection)->reader;
        size_t used = 0;
        for (unsigned n = 0; n < reader->asked; n++) {
            bool head = reader->heads[n / 64] >> n % 64 & 1;
            used += (size_t)snprintf(text + used, sizeof text - used, "%.*s",
                                     (int)(sizeof ANSWER - (head ? 3 : 1)), ANSWER);
        }
        talk_hear_bytes(&talk, text, used, 0);
    }
    assert_int_equal(talk_count(&talk, HTTP_COUNT_FAILED), 0);
    double share = (double)large / (double)(large + small);
    assert_true(large + small > 1000 && share > 0.4 && share < 0.6);
    talk_over(&talk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_loop),
        cmocka_unit_test(pipelines),
        cmocka_unit_test(heads),
        cmocka_unit_test(interim),
        cmocka_unit_test(chunked),
        cmocka_unit_test(until_close),
        cmocka_unit_test(closed_in_a_pipeline),
        cmocka_unit_test(asked_again_in_an_open_loop),
        cmocka_unit_test(what_is_asked_again_goes_first),
        cmocka_unit_test(drained_before_it_was_asked_again),
        cmocka_unit_test(lingers),
        cmocka_unit_test(idle),
        cmocka_unit_test(statuses),
        cmocka_unit_test(digests),
        cmocka_unit_test(long_answers),
        cmocka_unit_test(garbage),
        cmocka_unit_test(short_sends),
        cmocka_unit_test(failed_send),
        cmocka_unit_test(bodies),
        cmocka_unit_test(early_answers),
        cmocka_unit_test(answer_before_the_send),
        cmocka_unit_test(timeouts),
        cmocka_unit_test(idle_for_long),
        cmocka_unit_test(max_time),
        cmocka_unit_test(slow_upload),
        cmocka_unit_test(drains),
        cmocka_unit_test(keeps_bodies),
        cmocka_unit_test(own_buffer),
        cmocka_unit_test(single_connections),
        cmocka_unit_test(gathered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
