/* Requests at the server's end: what is refused, and how; what is taken; and what a client writes.
 */
#include <stdlib.h>

#include "http_hostile_requests.h"

static void request_lines(void **state)
{
    (void)state;
    HTTP_ALL_BAD(hostile_request_lines, true);
}

static void requests(void **state)
{
    (void)state;
    HTTP_ALL_BAD(hostile_requests, true);
    assert_true(sizeof hostile_requests / sizeof hostile_requests[0] +
                    sizeof hostile_request_lines / sizeof hostile_request_lines[0] >=
                80);
}

static const struct {
    const char *text, *said;
} good[] = {
    {GET, "GET / 1.1 framing 0; end 27+0+0 0; good"},
    {GET GET, "GET / 1.1 framing 0; end 27+0+0 0; GET / 1.1 framing 0; end 27+0+0 0; good"},
    {"\r\n" GET "\r\n" GET "\r\n",
     "GET / 1.1 framing 0; end 29+0+0 0; GET / 1.1 framing 0; end 29+0+0 0; good"},
    {"GET / HTTP/1.0\r\n\r\n", "GET / 1.0 framing 0 close; end 18+0+0 0; good"},
    {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" GET,
     "GET / 1.0 framing 0; end 42+0+0 0; GET / 1.1 framing 0; end 27+0+0 0; good"},
    {LINE NAMED "Connection: close\r\n\r\n", "GET / 1.1 framing 0 close; end 46+0+0 0; good"},
    {"HEAD /a/b?c=d&e=%20f HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
     "HEAD /a/b?c=d&e=%20f 1.1 framing 0; end 51+0+0 0; good"},
    {"OPTIONS * HTTP/1.1\r\n" NAMED "\r\n", "OPTIONS * 1.1 framing 0; end 31+0+0 0; good"},
    {"ABCDEFGHIJKLMNOPQRST / HTTP/1.1\r\n" NAMED "\r\n",
     "ABCDEFGHIJKLMNOPQRST / 1.1 framing 0; end 44+0+0 0; good"},
    {"GET http://h/a?b HTTP/1.1\r\n" NAMED "\r\n", "GET /a?b 1.1 framing 0; end 38+0+0 0; good"},
    {"GET HTTPS://h:1 HTTP/1.1\r\n" NAMED "\r\n", "GET / 1.1 framing 0; end 37+0+0 0; good"},
    {POST(LENGTH("2")) "hi" GET,
     "POST / 1.1 framing 1 length 2; end 47+0+2 %; GET / 1.1 framing 0; end 27+0+0 0; good"},
    {POST(LENGTH("0")), "POST / 1.1 framing 1 length 0; end 47+0+0 0; good"},
    {POST(CODING("chunked")) "2;x\r\nhi\r\n0\r\nA: b\r\n\r\n" GET,
     "POST / 1.1 framing 2; end 64+10+2 %; GET / 1.1 framing 0; end 27+0+0 0; good"},
    {POST("Expect: 100-Continue\r\n" LENGTH("2")) "hi",
     "POST / (waits) 1.1 framing 1 length 2; end 69+0+2 %; good"},
    {POST("Expect: 100-continue\r\n" LENGTH("0")),
     "POST / 1.1 framing 1 length 0; end 69+0+0 0; good"},
    {"POST / HTTP/1.0\r\nExpect: 100-continue\r\n" LENGTH("2") "\r\nhi",
     "POST / 1.0 framing 1 close length 2; end 60+0+2 %; good"},
    {"GET /" SIXTEEN("xxx") "xxxxxxxxxxxxxxx HTTP/1.1\r\n" NAMED "\r\n",
     "GET /" SIXTEEN("xxx") "xxxxxxxxxxxxxxx 1.1 framing 0; end 90+0+0 0; good"},
    {"", "good"},
    {"\r\n", "good"},
};

#define HI "1618900012c7323" /* judge_sum of "hi" */

static void expect(const char *form, char *to, size_t room)
{
    const char *sum = strchr(form, '%');
    bool escape = sum && sum[1] == '2'; /* of a target */
    int length = sum && !escape
                     ? snprintf(to, room, "%.*s" HI "%s", (int)(sum - form), form, sum + 1)
                     : snprintf(to, room, "%s", form);
    assert_true(length >= 0 && (size_t)length < room);
}

static void allowed(void **state)
{
    (void)state;
    struct http_end end;
    char expected[HTTP_SAID_MOST];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct http_case row = {NULL, good[i].text, strlen(good[i].text), 0, 0};
        http_play_all(&end, &row, true, &http_few);
        expect(good[i].said, expected, sizeof expected);
        if (strcmp(end.said.text, expected) != 0) {
            print_error("row %zu: %s\n", i, end.said.text);
        }
        assert_string_equal(end.said.text, expected);
    }
}

/* ---- writing ---- */

static void written(void **state)
{
    (void)state;
    static const struct {
        struct http_request request;
        const char *text;
    } cases[] = {
        {{.target = "/", .host = "h"}, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {{.method = "POST",
          .target = "/a?b",
          .host = "[::1]:8080",
          .headers = "X: y\r\nEmpty:\r\n",
          .close = true,
          .has_body = true,
          .body_bytes = UINT64_MAX},
         "POST /a?b HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: close\r\n"
         "Content-Length: 18446744073709551615\r\nX: y\r\nEmpty:\r\n\r\n"},
        {{.method = "HEAD", .target = "/", .host = "h", .old = true},
         "HEAD / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n"},
        {{.target = "/", .host = "h", .old = true, .close = true, .has_body = true},
         "GET / HTTP/1.0\r\nHost: h\r\nContent-Length: 0\r\n\r\n"},
        {{.method = "OPTIONS", .target = "*", .host = "h"},
         "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"},
        {{.method = "CONNECT", .target = "h:80", .host = "h:80"},
         "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t length = strlen(cases[i].text);
        for (size_t room = 0; room <= length; room++) {
            char *to = malloc(room + 1);
            assert_non_null(to);
            ssize_t written_bytes = http_request_write(&cases[i].request, to, room);
            assert_int_equal(written_bytes, room < length ? HTTP_BAD_ROOM : (ssize_t)length);
            assert_true(room < length || memcmp(to, cases[i].text, length) == 0);
            free(to);
        }
    }
}

/* Nothing of the caller's can bring lines of its own into a head, or say how it is to be read. */
static void not_written(void **state)
{
    (void)state;
    static const struct {
        struct http_request request;
        int error;
    } cases[] = {
        {{.method = "", .target = "/", .host = "h"}, HTTP_BAD_OWN_METHOD},
        {{.method = "G T", .target = "/", .host = "h"}, HTTP_BAD_OWN_METHOD},
        {{.method = "GET\r\n", .target = "/", .host = "h"}, HTTP_BAD_OWN_METHOD},
        {{.method = "G:T", .target = "/", .host = "h"}, HTTP_BAD_OWN_METHOD},
        {{.method = "ABCDEFGHIJKLMNOPQRSTU", .target = "/", .host = "h"}, HTTP_BAD_OWN_METHOD},
        {{.host = "h"}, HTTP_BAD_OWN_TARGET},
        {{.target = "", .host = "h"}, HTTP_BAD_OWN_TARGET},
        {{.target = "a", .host = "h"}, HTTP_BAD_OWN_TARGET},
        {{.target = "*", .host = "h"}, HTTP_BAD_OWN_TARGET},
        {{.target = "/a b", .host = "h"}, HTTP_BAD_OWN_TARGET},
        {{.target = "/a#b", .host = "h"}, HTTP_BAD_OWN_TARGET},
        {{.target = "/ HTTP/1.1\r\nX: y", .host = "h"}, HTTP_BAD_OWN_TARGET},
        {{.target = "/\xc3\xa9", .host = "h"}, HTTP_BAD_OWN_TARGET},
        {{.method = "CONNECT", .target = "", .host = "h"}, HTTP_BAD_OWN_TARGET},
        {{.method = "CONNECT", .target = "h/", .host = "h"}, HTTP_BAD_OWN_TARGET},
        {{.target = "/"}, HTTP_BAD_OWN_HOST},
        {{.target = "/", .host = ""}, HTTP_BAD_OWN_HOST},
        {{.target = "/", .host = "h\r\nX: y"}, HTTP_BAD_OWN_HOST},
        {{.target = "/", .host = "a b"}, HTTP_BAD_OWN_HOST},
        {{.target = "/", .host = "a/b"}, HTTP_BAD_OWN_HOST},
        {{.target = "/", .host = "u@h"}, HTTP_BAD_OWN_HOST},
        {{.target = "/", .host = "h", .headers = "X: y"}, HTTP_BAD_OWN_HEADER},
        {{.target = "/", .host = "h", .headers = "X: y\n"}, HTTP_BAD_OWN_HEADER},
        {{.target = "/", .host = "h", .headers = "X: y\r"}, HTTP_BAD_OWN_HEADER},
        {{.target = "/", .host = "h", .headers = "\r\n"}, HTTP_BAD_OWN_HEADER},
        {{.target = "/", .host = "h", .headers = "X: y\r\n\r\n"}, HTTP_BAD_OWN_HEADER},
        {{.target = "/", .host = "h", .headers = "X: y\rz\r\n"}, HTTP_BAD_OWN_HEADER},
        {{.target = "/", .host = "h", .headers = "X\r\n"}, HTTP_BAD_OWN_HEADER},
        {{.target = "/", .host = "h", .headers = "X : y\r\n"}, HTTP_BAD_OWN_HEADER},
        {{.target = "/", .host = "h", .headers = " X: y\r\n"}, HTTP_BAD_OWN_HEADER},
        {{.target = "/", .host = "h", .headers = ": y\r\n"}, HTTP_BAD_OWN_HEADER},
        {{.target = "/", .host = "h", .headers = "X: \x7f\r\n"}, HTTP_BAD_OWN_HEADER},
        {{.target = "/", .host = "h", .headers = "hOST: y\r\n"}, HTTP_BAD_OWN_FRAMING},
        {{.target = "/", .host = "h", .headers = "X: y\r\nContent-Length: 1\r\n"},
         HTTP_BAD_OWN_FRAMING},
        {{.target = "/", .host = "h", .headers = "Transfer-Encoding: chunked\r\n"},
         HTTP_BAD_OWN_FRAMING},
        {{.target = "/", .host = "h", .headers = "Connection: close\r\n"}, HTTP_BAD_OWN_FRAMING},
    };
    char to[1000];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(http_request_write(&cases[i].request, to, sizeof to), cases[i].error);
    }
    static const char zero[] = "X: a\0b";
    assert_int_equal(http_header_check((struct slice){zero, sizeof zero - 1}), HTTP_BAD_OWN_HEADER);
    assert_int_equal(http_header_check(slice_of("X: y\r\nZ: z")), HTTP_BAD_OWN_HEADER);
    assert_int_equal(http_header_check(slice_of("X:y\tz \xff")), 0);
    assert_int_equal(http_header_check(slice_of("")), HTTP_BAD_OWN_HEADER);
}

static void answers_written(void **state)
{
    (void)state;
    static const struct {
        struct http_answer answer;
        const char *text;
    } cases[] = {
        {{.status = 200, .framing = HTTP_BY_LENGTH, .content_length = 5, .headers = "X: y\r\n"},
         "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\n"},
        {{.status = 200}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
        {{.status = 100, .framing = HTTP_BY_LENGTH}, "HTTP/1.1 100 Continue\r\n\r\n"},
        {{.status = 204, .framing = HTTP_CHUNKED, .keep = true},
         "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n"},
        {{.status = 304}, "HTTP/1.1 304 Not Modified\r\n\r\n"},
        {{.status = 304, .framing = HTTP_BY_LENGTH, .content_length = 5},
         "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"},
        {{.status = 404, .framing = HTTP_CHUNKED, .close = true, .keep = true},
         "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"},
        {{.status = 599, .framing = HTTP_UNTIL_CLOSE},
         "HTTP/1.1 599 Unknown\r\nConnection: close\r\n\r\n"},
    };
    char to[1000];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ssize_t length = http_answer_write(&cases[i].answer, to, sizeof to);
        assert_int_equal(length, strlen(cases[i].text));
        assert_memory_equal(to, cases[i].text, (size_t)length);
        assert_int_equal(http_answer_write(&cases[i].answer, to, (size_t)length - 1),
                         HTTP_BAD_ROOM);
    }
    struct http_answer answer = {.status = 99};
    assert_int_equal(http_answer_write(&answer, to, sizeof to), HTTP_BAD_OWN_STATUS);
    answer.status = 600;
    assert_int_equal(http_answer_write(&answer, to, sizeof to), HTTP_BAD_OWN_STATUS);
    answer = (struct http_answer){.status = 200, .headers = "X: y\r\n\r\n"};
    assert_int_equal(http_answer_write(&answer, to, sizeof to), HTTP_BAD_OWN_HEADER);
}

static void chunk_heads(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {{1, "1\r\n"},
                 {15, "f\r\n"},
                 {16, "10\r\n"},
                 {0xabcdef, "abcdef\r\n"},
                 {UINT64_MAX, "ffffffffffffffff\r\n"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char to[HTTP_CHUNK_HEAD_MOST];
        size_t length = http_chunk_write(cases[i].bytes, to);
        assert_int_equal(length, strlen(cases[i].text));
        assert_memory_equal(to, cases[i].text, length);
    }
}

/* What one end writes, the other one reads, any number of times from the same buffer. */
static void there_and_back(void **state)
{
    (void)state;
    const struct http_request request = {.method = "PUT",
                                         .target = "/a",
                                         .host = "h",
                                         .headers = "User-Agent: sonde\r\n",
                                         .has_body = true,
                                         .body_bytes = 2};
    char bytes[1000];
    struct http_end end;
    ssize_t head = http_request_write(&request, bytes, sizeof bytes - 2);
    assert_true(head > 0);
    memcpy(bytes + head, "hi", 2);
    http_open(&end, true, NULL, &http_few);
    for (int i = 0; i < 10; i++) {
        http_feed(&end, bytes, (size_t)head + 2);
    }
    http_finish(&end);
    assert_int_equal(end.said.error, 0);
    assert_int_equal(end.said.ends, 10);
    assert_int_equal(end.said.wire_bytes, 10 * ((size_t)head + 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_lines), cmocka_unit_test(requests),
        cmocka_unit_test(allowed),       cmocka_unit_test(written),
        cmocka_unit_test(not_written),   cmocka_unit_test(answers_written),
        cmocka_unit_test(chunk_heads),   cmocka_unit_test(there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
