/* What a client of HTTP asks for (workload/http_requests.h): how its options become requests, and
 * what is said of those that are wrong. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "workload/http_requests.h"

struct asking {
    struct http_options options;
    struct http_requests requests;
    struct err error;
    char *headers[8];
    char lines[8][80];
    char file[64];
};

static struct asking *new_asking(void)
{
    struct asking *asking = calloc(1, sizeof *asking);
    assert_non_null(asking);
    asking->options = (struct http_options){
        .keep_alive = true, .pipeline = 1, .expect_status = "2xx,3xx", .size_bytes = 200};
    snprintf(asking->options.where.path, sizeof asking->options.where.path, "/p?q");
    snprintf(asking->options.where.host, sizeof asking->options.where.host, "h:81");
    asking->options.where.named = true;
    return asking;
}

static void over(struct asking *asking)
{
    http_requests_close(&asking->requests);
    if (asking->file[0]) {
        unlink(asking->file);
    }
    free(asking);
}

static const char *file(struct asking *asking, const void *bytes, size_t length)
{
    snprintf(asking->file, sizeof asking->file, "/tmp/sonde-asks-XXXXXX");
    int fd = mkstemp(asking->file);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), length);
    close(fd);
    return asking->file;
}

static void header(struct asking *asking, const char *line)
{
    size_t at = asking->options.headers.count++;
    snprintf(asking->lines[at], sizeof asking->lines[at], "%s", line);
    asking->headers[at] = asking->lines[at];
    asking->options.headers.items = asking->headers;
}

static int open_requests(struct asking *asking)
{
    return http_requests_open(&asking->requests, &asking->options, &asking->error);
}

/* One request, and its text. */
static void asks(struct asking *asking, const char *text)
{
    assert_int_equal(open_requests(asking), 0);
    const struct http_ask *ask = asking->requests.asks;
    assert_int_equal(asking->requests.count, 1);
    assert_int_equal(ask->head_bytes, strlen(text));
    assert_memory_equal(ask->head, text, strlen(text));
    over(asking);
}

/* Nothing is asked, and why. */
static void refuses(struct asking *asking, const char *why)
{
    assert_int_equal(open_requests(asking), -1);
    char said[2 * sizeof asking->error.what];
    snprintf(said, sizeof said, "%s: %s", asking->error.subject, asking->error.what);
    if (!strstr(said, why)) {
        print_error("%s\n", said);
    }
    assert_non_null(strstr(said, why));
    assert_int_equal(asking->error.code, ERR_USAGE);
    over(asking);
}

static void plain(void **state)
{
    struct asking *asking = new_asking();
    (void)state;
    asks(asking, "GET /p?q HTTP/1.1\r\nHost: h:81\r\n\r\n");
    asking = new_asking();
    asking->options.keep_alive = false;
    asks(asking, "GET /p?q HTTP/1.1\r\nHost: h:81\r\nConnection: close\r\n\r\n");
    asking = new_asking();
    asking->options.version = HTTP_1_0;
    asks(asking, "GET /p?q HTTP/1.0\r\nHost: h:81\r\nConnection: keep-alive\r\n\r\n");
    asking = new_asking();
    asking->options.version = HTTP_1_0;
    asking->options.keep_alive = false;
    asks(asking, "GET /p?q HTTP/1.0\r\nHost: h:81\r\n\r\n");
    asking = new_asking(); /* sonde's own server */
    asking->options.where.path[0] = asking->options.where.host[0] = '\0';
    asks(asking, "GET /bytes/200 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    asking = new_asking();
    asking->options.method = "PURGE";
    asks(asking, "PURGE /p?q HTTP/1.1\r\nHost: h:81\r\n\r\n");
}

static void headers(void **state)
{
    struct asking *asking = new_asking();
    (void)state;
    header(asking, "X-One: 1");
    header(asking, "Accept: a/b, c/d");
    asks(asking, "GET /p?q HTTP/1.1\r\nHost: h:81\r\nX-One: 1\r\nAccept: a/b, c/d\r\n\r\n");
    asking = new_asking();
    header(asking, "hOST: \tother.example:1");
    header(asking, "X: y");
    asks(asking, "GET /p?q HTTP/1.1\r\nHost: other.example:1\r\nX: y\r\n\r\n");
    static const struct {
        const char *line, *why;
    } bad[] = {
        {"", "--header: "},
        {"X", "--header: "},
        {": y", "--header: "},
        {"X y: z", "--header: "},
        {"X: y\r\nZ: z", "--header: "},
        {"X: y\n", "--header: "},
        {"X: \x01", "--header: "},
        {"X: \x7f", "--header: "},
        {" X: y", "--header: "},
        {"Content-Length: 5", "one that sonde writes itself"},
        {"content-length : 5", "--header: "},
        {"Transfer-Encoding: chunked", "one that sonde writes itself"},
        {"Connection: close", "one that sonde writes itself"},
        {"Host: ", "--header: "},
        {"Host:", "--header: "},
        {"Host: a b", "--header: "},
        {"Host: a\r\nX: y", "--header: "},
        {"Host: a/b", "--header: "},
        {"Host : a", "--header: "},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        asking = new_asking();
        header(asking, bad[i].line);
        refuses(asking, bad[i].why);
    }
}

static void methods(void **state)
{
    static const char *const bad[] = {
        "", "GET POST", "G\r\nX: y", "GET/", "ABCDEFGHIJKLMNOPQRSTU", "\xff"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct asking *asking = new_asking();
        asking->options.method = bad[i];
        refuses(asking, "--method: ");
    }
    struct asking *asking = new_asking();
    asking->options.method = "CONNECT";
    refuses(asking, "");
    asking = new_asking();
    asking->options.method = "ABCDEFGHIJKLMNOPQRST";
    asks(asking, "ABCDEFGHIJKLMNOPQRST /p?q HTTP/1.1\r\nHost: h:81\r\n\r\n");
}

static void bodies(void **state)
{
    struct asking *asking = new_asking();
    (void)state;
    asking->options.body_file = file(asking, "hello", 5);
    asks(asking, "POST /p?q HTTP/1.1\r\nHost: h:81\r\nContent-Length: 5\r\n\r\nhello");
    asking = new_asking();
    asking->options.method = "PUT";
    asking->options.body_file = file(asking, "", 0);
    asks(asking, "PUT /p?q HTTP/1.1\r\nHost: h:81\r\nContent-Length: 0\r\n\r\n");
    char *large = calloc(1, 100000);
    assert_non_null(large);
    asking = new_asking();
    asking->options.pipeline = 8;
    asking->options.body_file = file(asking, large, 100000);
    free(large);
    assert_int_equal(open_requests(asking), 0);
    assert_true(asking->requests.asks->body_apart);
    assert_int_equal(asking->requests.asks->copies, 1);
    assert_int_equal(asking->requests.body_bytes, 100000);
    over(asking);
}

static void copies(void **state)
{
    (void)state;
    for (uint64_t pipeline = 1; pipeline <= 128; pipeline++) {
        struct asking *asking = new_asking();
        static char body[16384];
        asking->options.pipeline = pipeline;
        asking->options.body_file = pipeline % 2 ? file(asking, body, sizeof body) : NULL;
        assert_int_equal(open_requests(asking), 0);
        const struct http_ask *ask = asking->requests.asks;
        assert_true(ask->copies >= 1 && ask->copies <= pipeline);
        assert_true(ask->copies * ask->head_bytes <= HTTP_GATHER_BYTES);
        for (uint32_t i = 1; i < ask->copies; i++) {
            assert_memory_equal(ask->head + i * ask->head_bytes, ask->head, ask->head_bytes);
        }
        over(asking);
    }
}

static void wrong_files(void **state)
{
    static const struct {
        const char *path, *why;
    } bad[] = {
        {"/nonexistent/file", "cannot open the file"},
        {"", "cannot open the file"},
        {"/", "needs a regular file"},
        {"/dev/zero", "needs a regular file"},
        {"/dev/null", "needs a regular file"},
        {"/dev/full", "needs a regular file"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        for (int urls = 0; urls < 2; urls++) {
            struct asking *asking = new_asking();
            *(urls ? &asking->options.url_file : &asking->options.body_file) = bad[i].path;
            refuses(asking, bad[i].why);
        }
    }
    struct asking *asking = new_asking(); /* each worker would read something else of it */
    char pipe_name[64] = "/tmp/sonde-asks-pipe-XXXXXX";
    int fd = mkstemp(pipe_name);
    assert_true(fd >= 0);
    close(fd);
    unlink(pipe_name);
    assert_int_equal(mkfifo(pipe_name, 0600), 0);
    asking->options.body_file = pipe_name;
    refuses(asking, "needs a regular file");
    unlink(pipe_name);
    asking = new_asking(); /* sparse, and longer than is read */
    asking->options.body_file = file(asking, "", 0);
    assert_int_equal(truncate(asking->file, 1L << 40), 0);
    refuses(asking, "has more than");
}

static struct asking *listed(const char *text, size_t length)
{
    struct asking *asking = new_asking();
    asking->options.url_file = file(asking, text, length);
    return asking;
}

static void lists(void **state)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "no request in it"},
        {"\n\n# only this\n", "no request in it"},
        {"/a\nno target\n", "line 2: "},
        {"weight=0 /a\n", "line 1: a weight"},
        {"weight=x /a\n", "line 1: a weight"},
        {"/a weight=2\n", "line 1: a weight behind"},
        {"/a /b\n", "line 1: more than one target"},
        {"CONNECT h:1\n", "line 1: CONNECT"},
        {"GET\n", "line 1: no target"},
        {"ABCDEFGHIJKLMNOPQRSTU /a\n", "line 1: a method"},
        {"/a\n/b\nhttp://other/\n", "line 3: a URL of another server"},
        {"https://h:81/\n", "line 1: a URL of another server"},
        {"http://h/\n", "line 1: a URL of another server"},
        {"/a%\n", "line 1: a '%'"},
        {"http://h:81/%zz\n", "line 1: a '%'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        refuses(listed(bad[i].text, strlen(bad[i].text)), bad[i].why);
    }
    refuses(listed("/a\n/b\0c\n", 8), "line 2: a control character");
    char *longer = malloc(10000);
    assert_non_null(longer);
    memset(longer, 'a', 10000);
    longer[0] = '/';
    refuses(listed(longer, 10000), "line 1: a line longer");
    refuses(listed(longer, 8100), "line 1: longer than 8,000");
    free(longer);
}

static void weights(void **state)
{
    enum { PICKS = 100000 };
    static const char text[] = "weight=1 /a\n/b\nweight=7 HEAD /c\nhttp://H:81/d\r\n";
    struct asking *asking = listed(text, sizeof text - 1);
    unsigned seen[4] = {0};
    struct rng rng;
    (void)state;
    asking->options.pipeline = 128;
    assert_int_equal(open_requests(asking), 0);
    assert_int_equal(asking->requests.count, 4);
    assert_int_equal(asking->requests.weight, 10);
    assert_string_equal(asking->requests.asks[2].method, "HEAD");
    assert_memory_equal(asking->requests.asks[3].head, "GET /d HTTP/1.1\r\nHost: h:81\r\n", 29);
    rng_seed(&rng, 1);
    for (int i = 0; i < PICKS; i++) {
        const struct http_ask *ask = http_requests_pick(&asking->requests, &rng);
        assert_int_equal(ask->copies, 1); /* they are gathered */
        seen[ask - asking->requests.asks]++;
    }
    static const double shares[] = {0.1, 0.1, 0.7, 0.1};
    for (size_t i = 0; i < 4; i++) {
        double share = (double)seen[i] / PICKS;
        assert_true(share > shares[i] - 0.01 && share < shares[i] + 0.01);
    }
    over(asking);
}

static void statuses(void **state)
{
    static const struct {
        const char *text;
        unsigned from, to, not ;
    } good[] = {{"200", 200, 200, 201},    {"2xx", 200, 299, 300},     {"2XX", 200, 299, 199},
                {"any", 100, 599, 600},    {"404,500", 500, 500, 200}, {"599", 599, 599, 598},
                {"2xx,3xx", 300, 399, 400}};
    static const char *const bad[] = {
        "",  ",",   "200,", ",200", "20",   "2000", "6xx",  "0xx",  "600",  "099",      "2x",
        "x", "2x0", "20x",  "-20",  "any,", "anyx", " 200", "200 ", "200;", "200,,404", "2\3770"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct asking *asking = new_asking();
        asking->options.expect_status = good[i].text;
        assert_int_equal(open_requests(asking), 0);
        for (unsigned status = good[i].from; status <= good[i].to; status++) {
            assert_true(http_requests_expects(&asking->requests, status));
        }
        assert_false(http_requests_expects(&asking->requests, good[i].not ));
        assert_false(http_requests_expects(&asking->requests, 999));
        over(asking);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct asking *asking = new_asking();
        asking->options.expect_status = bad[i];
        refuses(asking, "--expect-status: ");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),  cmocka_unit_test(headers), cmocka_unit_test(methods),
        cmocka_unit_test(bodies), cmocka_unit_test(copies),  cmocka_unit_test(wrong_files),
        cmocka_unit_test(lists),  cmocka_unit_test(weights), cmocka_unit_test(statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
