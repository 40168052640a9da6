/* The roles of a client of HTTP, fed by hand: what they ask for and what they count. */
#include "http_talk.h"

#define GET "GET /p HTTP/1.1\r\n"

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
        talk_adds_up(&talk);
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
    talk_adds_up(&talk);
    talk_hear_bytes(&talk, text, sizeof text - 1, chop);
    assert_int_equal(talk_asked(&talk, GET), 20);
    assert_int_equal(world_outstanding(&talk.world), 4);
    talk_hear_bytes(&talk, text, (sizeof text - 1) / 2, chop);
    assert_int_equal(talk_count(&talk, HTTP_COUNT_COMPLETED), 20);
    assert_int_equal(world_outstanding(&talk.world), 0);
    assert_int_equal(bank_errors(talk.world.bank), 0);
    talk_adds_up(&talk);
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
    talk_adds_up(&talk);
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
    talk_adds_up(&talk);
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
        talk_adds_up(&talk);
        talk_over(&talk);
    }
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
    talk_adds_up(&talk);
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
    talk_adds_up(&talk);
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
        talk_adds_up(&talk);
        talk_over(&talk);
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
        talk_adds_up(&talk);
        talk_over(&talk);
    }
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
            talk_adds_up(&talk);
            talk_over(&talk);
        }
        free(body);
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
    talk_adds_up(&talk);
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
        assert_true(talk.send.length <= HTTP_GATHER_BYTES);
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
    assert_true(large + small > 1000 && share > 0.48 && share < 0.52);
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
        cmocka_unit_test(statuses),
        cmocka_unit_test(digests),
        cmocka_unit_test(long_answers),
        cmocka_unit_test(short_sends),
        cmocka_unit_test(bodies),
        cmocka_unit_test(answer_before_the_send),
        cmocka_unit_test(keeps_bodies),
        cmocka_unit_test(own_buffer),
        cmocka_unit_test(gathered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
