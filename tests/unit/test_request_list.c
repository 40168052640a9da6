/* Files of requests that are right, and wrong in every part. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "codec/request_list.h"

#define TEXT(text) text, sizeof(text) - 1

/* Text at the end of a page behind which nothing may be read. */
struct edge {
    char *pages;
    size_t bytes, page;
};

static struct edge edge_new(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct edge edge = {.bytes = 5 * page, .page = page};
    edge.pages = mmap(NULL, edge.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(edge.pages != MAP_FAILED);
    assert_int_equal(mprotect(edge.pages + edge.bytes - page, page, PROT_NONE), 0);
    return edge;
}

static struct slice edge_put(const struct edge *edge, const char *text, size_t length)
{
    char *at = edge->pages + edge->bytes - edge->page - length;
    memcpy(at, text, length);
    return (struct slice){at, length};
}

static void assert_slice(struct slice seen, const char *wanted)
{
    assert_int_equal(seen.length, strlen(wanted));
    assert_true(seen.length == 0 || memcmp(seen.at, wanted, seen.length) == 0);
}

static const struct {
    const char *text;
    uint32_t weight;
    const char *method, *target, *host, *path; /* as they are in the line and in its URL */
} good[] = {
    {"/", 1, "", "/", "", "/"},
    {"GET /", 1, "GET", "/", "", "/"},
    {"weight=3 /a?b=c", 3, "", "/a?b=c", "", "/a?b=c"},
    {"weight=1 POST /a", 1, "POST", "/a", "", "/a"},
    {"weight=1000000 /", 1000000, "", "/", "", "/"},
    {"weight=0000000007 /", 7, "", "/", "", "/"},
    {"http://h:8080/x", 1, "", "http://h:8080/x", "h", "/x"},
    {"https://[::1]", 1, "", "https://[::1]", "::1", ""},
    {"HEAD http://h?x", 1, "HEAD", "http://h?x", "h", "?x"},
    {"weight=2 DELETE https://h/", 2, "DELETE", "https://h/", "h", "/"},
    {"get /", 1, "get", "/", "", "/"},
    {"M-SEARCH /", 1, "M-SEARCH", "/", "", "/"},
    {"ABCDEFGHIJKLMNOPQRST /", 1, "ABCDEFGHIJKLMNOPQRST", "/", "", "/"},
    {"CONNECTED /", 1, "CONNECTED", "/", "", "/"},
    {" \t weight=2\t \tGET\t/a \t", 2, "GET", "/a", "", "/a"},
    {"/a#b", 1, "", "/a", "", "/a"},
    {"http://h/a#b", 1, "", "http://h/a", "h", "/a"},
    {"http://h#b", 1, "", "http://h", "h", ""},
    {"/%20%fF?weight=2", 1, "", "/%20%fF?weight=2", "", "/%20%fF?weight=2"},
    {"/a?to=http://h/", 1, "", "/a?to=http://h/", "", "/a?to=http://h/"},
    {"//a/../b", 1, "", "//a/../b", "", "//a/../b"},
};

static void right(void **state)
{
    static const char *const ends[] = {"", "\n", "\r\n"};
    struct edge edge = edge_new();
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        for (size_t k = 0; k < sizeof ends / sizeof ends[0]; k++) {
            char text[200];
            struct request_list_line line;
            strcpy(text, good[i].text);
            strcat(text, ends[k]);
            struct request_list list = request_list_of(edge_put(&edge, text, strlen(text)));
            int result = request_list_next(&list, &line);
            if (result != 1) {
                print_error("%s: %s\n", text, request_list_error_name(result));
            }
            assert_int_equal(result, 1);
            assert_int_equal(line.number, 1);
            assert_int_equal(line.weight, good[i].weight);
            assert_slice(line.method, good[i].method);
            assert_int_equal(line.method.at == NULL, line.method.length == 0);
            assert_slice(line.target, good[i].target);
            assert_slice(line.url.host, good[i].host);
            assert_int_equal(line.url.host.at == NULL, line.url.host.length == 0);
            assert_slice(line.url.target, good[i].path);
            assert_int_equal(request_list_next(&list, &line), 0);
            assert_int_equal(request_list_next(&list, &line), 0);
        }
    }
    munmap(edge.pages, edge.bytes);
}

static const struct {
    const char *text;
    size_t length;
    int error;
} bad[] = {
    {TEXT("/\0"), REQUEST_LIST_BAD_CONTROL},
    {TEXT("\0"), REQUEST_LIST_BAD_CONTROL},
    {TEXT("# a\0"), REQUEST_LIST_BAD_CONTROL},
    {TEXT("/\r"), REQUEST_LIST_BAD_CONTROL},
    {TEXT("/a\rGET /b"), REQUEST_LIST_BAD_CONTROL},
    {TEXT("/a\r\r\n"), REQUEST_LIST_BAD_CONTROL},
    {TEXT("/\x7f"), REQUEST_LIST_BAD_CONTROL},
    {TEXT("/\x1b[0m"), REQUEST_LIST_BAD_CONTROL},
    {TEXT("GET\v/"), REQUEST_LIST_BAD_CONTROL},
    {TEXT("weight= /"), REQUEST_LIST_BAD_WEIGHT},
    {TEXT("weight=x /"), REQUEST_LIST_BAD_WEIGHT},
    {TEXT("weight=-1 /"), REQUEST_LIST_BAD_WEIGHT},
    {TEXT("weight=+1 /"), REQUEST_LIST_BAD_WEIGHT},
    {TEXT("weight=1.5 /"), REQUEST_LIST_BAD_WEIGHT},
    {TEXT("weight=1k /"), REQUEST_LIST_BAD_WEIGHT},
    {TEXT("weight=0x1 /"), REQUEST_LIST_BAD_WEIGHT},
    {TEXT("weight=99999999999999999999x /"), REQUEST_LIST_BAD_WEIGHT},
    {TEXT("weight=1/ /"), REQUEST_LIST_BAD_WEIGHT},
    {TEXT("weight=0 /"), REQUEST_LIST_BAD_WEIGHT_RANGE},
    {TEXT("weight=00 /"), REQUEST_LIST_BAD_WEIGHT_RANGE},
    {TEXT("weight=1000001 /"), REQUEST_LIST_BAD_WEIGHT_RANGE},
    {TEXT("weight=4294967297 /"), REQUEST_LIST_BAD_WEIGHT_RANGE},
    {TEXT("weight=18446744073709551617 /"), REQUEST_LIST_BAD_WEIGHT_RANGE},
    {TEXT("weight=99999999999999999999999999999999999999 /"), REQUEST_LIST_BAD_WEIGHT_RANGE},
    {TEXT("weight=1 weight=2 /"), REQUEST_LIST_BAD_WEIGHT_PLACE},
    {TEXT("GET weight=2 /"), REQUEST_LIST_BAD_WEIGHT_PLACE},
    {TEXT("/ weight=2"), REQUEST_LIST_BAD_WEIGHT_PLACE},
    {TEXT("GET / weight=2"), REQUEST_LIST_BAD_WEIGHT_PLACE},
    {TEXT("/a /b"), REQUEST_LIST_BAD_TARGETS},
    {TEXT("GET /a /b"), REQUEST_LIST_BAD_TARGETS},
    {TEXT("/a http://h/"), REQUEST_LIST_BAD_TARGETS},
    {TEXT("/a b"), REQUEST_LIST_BAD_WORDS},
    {TEXT("/a # b"), REQUEST_LIST_BAD_WORDS},
    {TEXT("GET / HTTP/1.1"), REQUEST_LIST_BAD_WORDS},
    {TEXT("GET / a b"), REQUEST_LIST_BAD_WORDS},
    {TEXT("Weight=2 /"), REQUEST_LIST_BAD_METHOD},
    {TEXT("G(T /"), REQUEST_LIST_BAD_METHOD},
    {TEXT("\xef\xbb\xbfGET /"), REQUEST_LIST_BAD_METHOD},
    {TEXT("ABCDEFGHIJKLMNOPQRSTU /"), REQUEST_LIST_BAD_METHOD},
    {TEXT("G\xc3\x89T /"), REQUEST_LIST_BAD_METHOD},
    {TEXT("CONNECT /"), REQUEST_LIST_BAD_METHOD_CONNECT},
    {TEXT("CONNECT h:80"), REQUEST_LIST_BAD_METHOD_CONNECT},
    {TEXT("GET"), REQUEST_LIST_BAD_TARGET_MISSING},
    {TEXT("index.html"), REQUEST_LIST_BAD_TARGET_MISSING},
    {TEXT("weight=1"), REQUEST_LIST_BAD_TARGET_MISSING},
    {TEXT("weight=1 GET"), REQUEST_LIST_BAD_TARGET_MISSING},
    {TEXT("GET index.html"), REQUEST_LIST_BAD_TARGET},
    {TEXT("GET GET"), REQUEST_LIST_BAD_TARGET},
    {TEXT("OPTIONS *"), REQUEST_LIST_BAD_TARGET},
    {TEXT("example.org/a"), REQUEST_LIST_BAD_TARGET},
    {TEXT("h:8080"), REQUEST_LIST_BAD_TARGET},
    {TEXT("http:/h"), REQUEST_LIST_BAD_TARGET},
    {TEXT("ABCDEFGHIJKLMNOPQRSTU"), REQUEST_LIST_BAD_TARGET},
    {TEXT("://h/"), URL_BAD_SCHEME_MISSING},
    {TEXT("ws://h/"), URL_BAD_SCHEME},
    {TEXT("ftp://h/"), URL_BAD_SCHEME},
    {TEXT("tcp://h:1"), URL_BAD_SCHEME},
    {TEXT("http://"), URL_BAD_HOST_MISSING},
    {TEXT("http://u@h/"), URL_BAD_USER},
    {TEXT("http://127.1/"), URL_BAD_IPV4},
    {TEXT("http://h:0/"), URL_BAD_PORT},
    {TEXT("http://h/%"), URL_BAD_PERCENT},
    {TEXT("/%"), URL_BAD_PERCENT},
    {TEXT("/%2"), URL_BAD_PERCENT},
    {TEXT("GET /?%zz"), URL_BAD_PERCENT},
    {TEXT("/[a]"), URL_BAD_CHARACTER},
    {TEXT("/a\"b"), URL_BAD_CHARACTER},
    {TEXT("/\xc3\xa9"), URL_BAD_CHARACTER},
    {TEXT("GET http://h/\\"), URL_BAD_CHARACTER},
    {TEXT("/a#\xc3\xa9"), URL_BAD_CHARACTER},
};

/* Each between two lines that are right: it is said which one is wrong, and nothing else is. */
static void wrong(void **state)
{
    struct edge edge = edge_new();
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[200] = "/before\n";
        struct request_list_line line;
        size_t start = strlen(text);
        for (int followed = 0; followed <= 1; followed++) {
            size_t length = start + bad[i].length;
            memcpy(text + start, bad[i].text, bad[i].length);
            bool ends = bad[i].text[bad[i].length - 1] == '\r'; /* LF would be its end */
            if (followed && !ends) {
                memcpy(text + length, "\nPUT /after", strlen("\nPUT /after"));
                length += strlen("\nPUT /after");
            }
            struct request_list list = request_list_of(edge_put(&edge, text, length));
            assert_int_equal(request_list_next(&list, &line), 1);
            int result = request_list_next(&list, &line);
            if (result != bad[i].error) {
                print_error("%s\n", bad[i].text);
            }
            assert_string_equal(request_list_error_name(result),
                                request_list_error_name(bad[i].error));
            assert_int_equal(line.number, 2);
            assert_int_equal(line.weight, 0);
            assert_null(line.method.at);
            assert_null(line.target.at);
            assert_null(line.url.target.at);
            if (followed && !ends && !strchr(bad[i].text, '\n')) {
                assert_int_equal(request_list_next(&list, &line), 1);
                assert_slice(line.method, "PUT");
                assert_int_equal(line.number, 3);
            }
        }
    }
    munmap(edge.pages, edge.bytes);
}

static void many(void **state)
{
    static const char text[] = "# what a shop is asked for: caf\xc3\xa9\n"
                               "\n"
                               "weight=10 /\r\n"
                               " \t\r\n"
                               "   # indented\n"
                               "#/no\n"
                               "\r\n"
                               "POST /cart\n"
                               "weight=2 HEAD http://other:81/x\n"
                               "\n"
                               "/last";
    static const struct {
        size_t number;
        uint32_t weight;
        const char *method, *target;
    } wanted[] = {{3, 10, "", "/"},
                  {8, 1, "POST", "/cart"},
                  {9, 2, "HEAD", "http://other:81/x"},
                  {11, 1, "", "/last"}};
    struct edge edge = edge_new();
    struct request_list list = request_list_of(edge_put(&edge, TEXT(text)));
    struct request_list_line line;
    (void)state;
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        assert_int_equal(request_list_next(&list, &line), 1);
        assert_int_equal(line.number, wanted[i].number);
        assert_int_equal(line.weight, wanted[i].weight);
        assert_slice(line.method, wanted[i].method);
        assert_slice(line.target, wanted[i].target);
    }
    assert_int_equal(line.url.port, 0);
    assert_int_equal(request_list_next(&list, &line), 0);
    /* Cut anywhere: it ends, and no line is more than it was. */
    for (size_t length = 0; length < sizeof text; length++) {
        size_t lines = 0;
        int result;
        list = request_list_of(edge_put(&edge, text, length));
        while ((result = request_list_next(&list, &line)) != 0) {
            assert_true(++lines <= sizeof wanted / sizeof wanted[0]);
            assert_true(result == 1 || list.at == length);
        }
    }
    list = request_list_of((struct slice){0});
    assert_int_equal(request_list_next(&list, &line), 0);
    munmap(edge.pages, edge.bytes);
}

static void long_lines(void **state)
{
    static char text[REQUEST_LIST_LINE_MOST + 2];
    struct request_list_line line;
    (void)state;
    for (int comment = 0; comment <= 1; comment++) {
        memset(text, 'x', sizeof text);
        memcpy(text, comment ? "# " : "/ ", 1);
        struct request_list list = request_list_of((struct slice){text, sizeof text - 1});
        assert_int_equal(request_list_next(&list, &line), REQUEST_LIST_BAD_LINE_LONG);
        assert_int_equal(request_list_next(&list, &line), 0);
        list = request_list_of((struct slice){text, REQUEST_LIST_LINE_MOST});
        assert_int_equal(request_list_next(&list, &line), comment ? 0 : URL_BAD_LONG);
        list = request_list_of((struct slice){text, URL_MOST});
        assert_int_equal(request_list_next(&list, &line), comment ? 0 : 1);
        /* The end of a line does not count. */
        memcpy(text + REQUEST_LIST_LINE_MOST, "\r\n", 2);
        list = request_list_of((struct slice){text, sizeof text});
        assert_int_equal(request_list_next(&list, &line), comment ? 0 : URL_BAD_LONG);
    }
}

static void errors_have_names(void **state)
{
    (void)state;
    for (int error = REQUEST_LIST_ERROR_BASE + 1; error < REQUEST_LIST_ERROR_END; error++) {
        assert_string_not_equal(request_list_error_name(error), "unknown");
        assert_string_not_equal(request_list_error_text(error), "unknown error");
        assert_string_equal(url_error_name(error), "unknown"); /* they stay apart */
    }
    assert_string_equal(request_list_error_name(URL_BAD_PORT), "PORT");
    assert_string_equal(request_list_error_text(URL_BAD_PORT), url_error_text(URL_BAD_PORT));
    assert_string_equal(request_list_error_name(0), "unknown");
    assert_string_equal(request_list_error_name(REQUEST_LIST_ERROR_END), "unknown");
    assert_string_equal(request_list_error_text(REQUEST_LIST_ERROR_BASE), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right),
        cmocka_unit_test(wrong),
        cmocka_unit_test(many),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(errors_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
