/* Answers that are right: what real servers said (tests/data/http), and what they may say. */
#include <stdlib.h>

#include "http_world.h"

enum { RECORDING_MOST = 64 << 10 };

/* The statuses of a recording and the bytes of each body. */
struct recording {
    const char *name, *asked, *said;
};

static const struct recording recordings[] = {
    {"nginx_pipelined", "GHGGGGG", "200:200 200:0 200:8893 404:153 304:0 200:0 200:200 "},
    {"nginx_old", "G", "200:200 "},
    {"nginx_old_keep", "GG", "200:200 200:200 "},
    {"nginx_listing", "GG", "200:355 200:200 "},
    {"nginx_part", "G", "206:200 "},
    {"nginx_moved", "G", "301:169 "},
    {"nginx_statuses", "GGGGG", "204:0 301:169 503:197 405:157 405:157 "},
    {"nginx_refusal", "G", "400:157 "},
    {"lighttpd_pipelined", "GHGGGGG", "200:200 200:0 200:8893 404:341 200:200 200:0 200:200 "},
    {"lighttpd_old", "G", "200:200 "},
    {"lighttpd_old_keep", "GG", "200:200 200:200 "},
    {"lighttpd_listing", "GG", "200:6741 200:200 "},
    {"lighttpd_part", "G", "206:200 "},
    {"lighttpd_moved", "G", "301:0 "},
    {"python_pipelined", "GHGG", "200:200 200:0 200:8893 404:335 "},
    {"python_old", "G", "200:200 "},
    {"python_old_keep", "GG", "200:200 200:200 "},
    {"python_listing", "GG", "200:249 200:200 "},
    {"python_part", "G", "200:8893 "},
    {"python_moved", "G", "301:0 "},
    {"python_continue", "G", "501:357 "},
    {"python_usual", "G", "200:200 "},
    {"python_usual_listing", "G", "200:249 "},
};

static size_t load(const char *name, char *to)
{
    char path[300];
    snprintf(path, sizeof path, "%s/tests/data/http/%s.http", SOURCE_ROOT, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        print_error("%s is not there\n", path);
    }
    assert_non_null(file);
    size_t length = fread(to, 1, RECORDING_MOST, file);
    assert_true(length < RECORDING_MOST);
    fclose(file);
    return length;
}

static void summarise(const struct recording *recording, const char *bytes, size_t length,
                      struct http_said *said)
{
    struct http_response_reader reader;
    struct http_event event;
    size_t used = 0;
    http_response_reader_init(&reader, &http_limits_usual);
    for (const char *asked = recording->asked; *asked; asked++) {
        assert_true(http_response_asked(&reader, *asked == 'H' ? "HEAD" : "GET"));
    }
    do {
        ssize_t taken =
            http_response_read(&reader, (const uint8_t *)bytes + used, length - used, &event);
        assert_true(taken >= 0);
        used += (size_t)taken;
        if (event.kind == HTTP_END) {
            http_say(said, "%u:%" PRIu64 " ", event.status, event.body_bytes);
        }
    } while (event.kind != HTTP_NOTHING);
    assert_int_equal(used, length);
    int error = http_response_finish(&reader, &event);
    if (error) {
        print_error("%s: %s\n", recording->name, http_error_name(error));
    }
    assert_int_equal(error, 0);
    if (event.kind == HTTP_END) {
        http_say(said, "%u:%" PRIu64 " ", event.status, event.body_bytes);
    }
}

static void recorded(void **state)
{
    (void)state;
    static char bytes[RECORDING_MOST];
    struct http_end end;
    for (size_t i = 0; i < sizeof recordings / sizeof recordings[0]; i++) {
        size_t length = load(recordings[i].name, bytes);
        struct http_said said = {0};
        struct http_case row = {recordings[i].asked, bytes, length, 0, 0};
        summarise(&recordings[i], bytes, length, &said);
        if (strcmp(said.text, recordings[i].said) != 0) {
            print_error("%s: %s\n", recordings[i].name, said.text);
        }
        assert_string_equal(said.text, recordings[i].said);
        http_play_all(&end, &row, false, &http_limits_usual);
        assert_int_equal(end.said.error, 0);
        assert_int_equal(end.said.ends, strlen(recordings[i].asked));
        assert_int_equal(end.said.wire_bytes, length);
    }
}

struct good_case {
    const char *asked, *text, *said;
};

#define FIRST "HTTP/1.1 200 OK\r\n"
#define HELLO "a8375b79486d6cd8" /* judge_sum of "hello" */

/* As many interim answers as are allowed before each. */
#define BEFORE "HTTP/1.1 100 Continue\r\n\r\n"
#define FOUR_BEFORE BEFORE BEFORE BEFORE BEFORE
#define FOUR_SAID "interim 100; interim 100; interim 100; interim 100; "

static const struct good_case good[] = {
    {"G", FIRST "Content-Length: 5\r\n\r\nhello", "200 1.1 framing 1 length 5; end 38+0+5 %; good"},
    {"G", "HTTP/1.1 200 \r\nContent-Length:5\r\n\r\nhello",
     "200 1.1 framing 1 length 5; end 35+0+5 %; good"},
    {"G", "HTTP/1.1 200\r\ncontent-length: 05 \t\r\n\r\nhello",
     "200 1.1 framing 1 length 5; end 38+0+5 %; good"},
    {"G", "HTTP/1.1 200 \xc3\x9c\t\"'\r\nCONTENT-LENGTH:\t 5\r\n\r\nhello",
     "200 1.1 framing 1 length 5; end 42+0+5 %; good"},
    {"G",
     FIRST "X:\r\nY: \r\nZ:\t\xff\t\r\n!#$%&'*+-.^_`|~09aZ: x\r\nContent-Length: 5\r\n\r\nhello",
     "200 1.1 framing 1 length 5; end 78+0+5 %; good"},
    {"G", FIRST "\r\nhello", "200 1.1 framing 3 close; end 19+0+5 %; good"},
    {"G", FIRST "\r\n", "200 1.1 framing 3 close; end 19+0+0 0; good"},
    {"G", FIRST "Connection: keep-alive\r\n\r\nhello",
     "200 1.1 framing 3 close; end 43+0+5 %; good"},
    {"G", "HTTP/1.0 200 OK\r\n\r\nhello", "200 1.0 framing 3 close; end 19+0+5 %; good"},
    {"G", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
     "200 1.0 framing 1 close length 5; end 38+0+5 %; good"},
    {"GG",
     "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello" FIRST "\r\n",
     "200 1.0 framing 1 length 5; end 62+0+5 %; 200 1.1 framing 3 close; end 19+0+0 0; good"},
    {"G", FIRST "Connection: keep-alive, , close\r\nContent-Length: 5\r\n\r\nhello",
     "200 1.1 framing 1 close length 5; end 71+0+5 %; good"},
    {"G", FIRST "Connection: x-close, close-x\r\nConnection:\r\nContent-Length: 5\r\n\r\nhello",
     "200 1.1 framing 1 length 5; end 81+0+5 %; good"},
    {"G", FIRST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
     "200 1.1 framing 2; end 49+8+5 %; good"},
    {"G", FIRST "transfer-encoding:CHUNKED \r\n\r\n1\r\nh\r\n0004;a=\"b;c\"\r\nello\r\n000\r\n\r\n",
     "200 1.1 framing 2; end 49+26+5 %; good"},
    {"G", FIRST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0;x\r\nX: y\r\nTrailer: z\r\n\r\n",
     "200 1.1 framing 2; end 67+10+5 %; good"},
    {"G", FIRST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     "200 1.1 framing 2; end 49+3+0 0; good"},
    {"GG", FIRST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" FIRST "Content-Length: 0\r\n\r\n",
     "200 1.1 framing 2; end 49+3+0 0; 200 1.1 framing 1 length 0; end 38+0+0 0; good"},
    {"HG", FIRST "Content-Length: 5\r\n\r\n" FIRST "Content-Length: 5\r\n\r\nhello",
     "200 1.1 framing 0 length 5; end 38+0+0 0; 200 1.1 framing 1 length 5; end 38+0+5 %; good"},
    {"HH", FIRST "Transfer-Encoding: chunked\r\n\r\n" FIRST "\r\n",
     "200 1.1 framing 0; end 47+0+0 0; 200 1.1 framing 0; end 19+0+0 0; good"},
    {"G", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
     "304 1.1 framing 0 length 5; end 48+0+0 0; good"},
    {"GG", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
     "204 1.1 framing 0; end 27+0+0 0; 204 1.1 framing 0 length 0; end 46+0+0 0; good"},
    {"G",
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" FIRST
     "Content-Length: 5\r\n\r\nhello",
     "interim 100; interim 103; 200 1.1 framing 1 length 5; end 103+0+5 %; good"},
    {"G", "HTTP/1.1 100\r\nConnection: closer\r\n\r\n" FIRST "Content-Length: 5\r\n\r\nhello",
     "interim 100; 200 1.1 framing 1 length 5; end 74+0+5 %; good"},
    {"GG",
     FOUR_BEFORE FIRST "Content-Length: 0\r\n\r\n" FOUR_BEFORE FIRST "Content-Length: 0\r\n\r\n",
     FOUR_SAID "200 1.1 framing 1 length 0; end 138+0+0 0; " FOUR_SAID
               "200 1.1 framing 1 length 0; end 138+0+0 0; good"},
    {"C", FIRST "\r\n", "200 1.1 framing 4 close; end 19+0+0 0; good"},
    {"C", FIRST "Content-Length: 5\r\n\r\n",
     "200 1.1 framing 4 close length 5; end 38+0+0 0; good"},
    {"C", "HTTP/1.1 407 No\r\nContent-Length: 5\r\n\r\nhello",
     "407 1.1 framing 1 length 5; end 38+0+5 %; good"},
    {"GC", FIRST "Content-Length: 5\r\n\r\nhello" FIRST "\r\n",
     "200 1.1 framing 1 length 5; end 38+0+5 %; 200 1.1 framing 4 close; end 19+0+0 0; good"},
    {"", "", "good"},
};

/* In the text that is expected, "%" stands for the sum over "hello". */
static void expect(const char *form, char *to, size_t room)
{
    size_t length = 0;
    for (; *form; form++) {
        const char piece[] = {*form, '\0'};
        length += (size_t)snprintf(to + length, room - length, "%s", *form == '%' ? HELLO : piece);
        assert_true(length < room);
    }
}

static void allowed(void **state)
{
    (void)state;
    struct http_end end;
    char expected[HTTP_SAID_MOST];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct http_case row = {good[i].asked, good[i].text, strlen(good[i].text), 0, 0};
        http_play_all(&end, &row, false, &http_few);
        expect(good[i].said, expected, sizeof expected);
        if (strcmp(end.said.text, expected) != 0) {
            print_error("row %zu: %s\n", i, end.said.text);
        }
        assert_string_equal(end.said.text, expected);
        assert_int_equal(end.said.wire_bytes, row.length);
    }
}

/* Exactly as much as is allowed. */
static void limits(void **state)
{
    (void)state;
    static const char text[] =
        FIRST "X: y\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    const struct http_limits exact = {.head_bytes = 55, .lines = 2, .interim = 0, .body_bytes = 5};
    const struct {
        struct http_limits limits;
        int error;
    } cases[] = {
        {exact, 0},
        {{54, 2, 0, 5}, HTTP_BAD_HEAD_LONG},
        {{52, 2, 0, 5}, HTTP_BAD_HEAD_LONG},
        {{0, 2, 0, 5}, HTTP_BAD_HEAD_LONG},
        {{55, 1, 0, 5}, HTTP_BAD_HEAD_LINES},
        {{55, 0, 0, 5}, HTTP_BAD_HEAD_LINES},
        {{55, 2, 0, 4}, HTTP_BAD_BODY_LONG},
        {{55, 2, 0, 0}, HTTP_BAD_BODY_LONG},
    };
    struct http_case row = {"G", text, sizeof text - 1, 0, 0};
    struct http_end end;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        http_play_all(&end, &row, false, &cases[i].limits);
        assert_string_equal(http_error_name(end.said.error), http_error_name(cases[i].error));
    }
}

/* As many as may wait, of which some are HEAD; then one more. */
static void pipeline(void **state)
{
    (void)state;
    struct http_response_reader reader;
    struct http_event event;
    http_response_reader_init(&reader, &http_few);
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < HTTP_PIPELINE_MOST; i++) {
            assert_true(http_response_asked(&reader, i * i % 7 == turn ? "HEAD" : "POST"));
        }
        assert_false(http_response_asked(&reader, "GET"));
        for (int i = 0; i < HTTP_PIPELINE_MOST; i++) {
            static const char answer[] = FIRST "Content-Length: 2\r\n\r\nhi";
            bool head = i * i % 7 == turn;
            size_t length = sizeof answer - 1 - (head ? 2 : 0), used = 0, bytes = 0;
            do {
                ssize_t taken = http_response_read(&reader, (const uint8_t *)answer + used,
                                                   length - used, &event);
                assert_true(taken >= 0);
                used += (size_t)taken;
                bytes += event.kind == HTTP_BODY ? event.length : 0;
            } while (event.kind != HTTP_END);
            assert_int_equal(used, length);
            assert_int_equal(bytes, head ? 0 : 2);
        }
    }
    assert_true(http_response_asked(&reader, "CONNECT"));
    assert_false(http_response_asked(&reader, "GET"));
    assert_int_equal(http_response_finish(&reader, &event), HTTP_BAD_UNANSWERED);
}

/* Pieces of a body lie where they came, and nothing is kept of them. */
static void bodies_in_place(void **state)
{
    (void)state;
    static const char text[] = FIRST "Content-Length: 1000\r\n\r\n";
    static uint8_t piece[600];
    struct http_response_reader reader;
    struct http_event event;
    http_response_reader_init(&reader, &http_few);
    assert_true(http_response_asked(&reader, "GET"));
    assert_int_equal(http_response_read(&reader, (const uint8_t *)text, sizeof text - 1, &event),
                     sizeof text - 1);
    assert_int_equal(event.kind, HTTP_HEAD);
    assert_int_equal(http_response_read(&reader, NULL, 0, &event), 0);
    assert_int_equal(event.kind, HTTP_NOTHING);
    assert_int_equal(http_response_read(&reader, piece, sizeof piece, &event), 600);
    assert_ptr_equal(event.data, piece);
    assert_int_equal(event.length, 600);
    assert_int_equal(http_response_read(&reader, piece, sizeof piece, &event), 400);
    assert_ptr_equal(event.data, piece);
    assert_int_equal(http_response_read(&reader, NULL, 0, &event), 0);
    assert_int_equal(event.kind, HTTP_END);
    assert_int_equal(event.body_bytes, 1000);
    assert_true(sizeof reader <= 144);
}

static void errors_have_names(void **state)
{
    (void)state;
    for (int error = HTTP_ERROR_BASE + 1; error < HTTP_ERROR_END; error++) {
        assert_string_not_equal(http_error_name(error), "unknown");
        assert_string_not_equal(http_error_text(error), "unknown error");
        unsigned answer = http_error_answer(error);
        assert_true(answer == 0 || (answer >= 400 && answer <= 505));
        assert_string_not_equal(http_status_text(answer ? answer : 200), "Unknown");
    }
    assert_string_equal(http_error_name(0), "unknown");
    assert_string_equal(http_error_text(HTTP_ERROR_END), "unknown error");
    assert_int_equal(http_error_answer(HTTP_ERROR_BASE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded),        cmocka_unit_test(allowed),
        cmocka_unit_test(limits),          cmocka_unit_test(pipeline),
        cmocka_unit_test(bodies_in_place), cmocka_unit_test(errors_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
