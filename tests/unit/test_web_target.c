/* Targets of http and ws: what is taken out of them, and what is said of those that are wrong. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "workload/web_target.h"

static struct web_target taken; /* it is large */

static const struct {
    enum url_family family;
    const char *target, *plain, *host, *path;
    bool secure, named;
} good[] = {
    {URL_HTTP, "http://h/", "tcp://h:80", "h", "/", false, true},
    {URL_HTTP, "http://h", "tcp://h:80", "h", "/", false, true},
    {URL_HTTP, "HTTP://h:80/a?b=c", "tcp://h:80", "h", "/a?b=c", false, true},
    {URL_HTTP, "http://h:8080?x", "tcp://h:8080", "h:8080", "/?x", false, true},
    {URL_HTTP, "http://127.0.0.1:1/%20", "tcp://127.0.0.1:1", "127.0.0.1:1", "/%20", false, true},
    {URL_HTTP, "http://[::1]:8080/", "tcp://[::1]:8080", "[::1]:8080", "/", false, true},
    {URL_HTTP, "https://[::1]/", "tls://[::1]:443", "[::1]", "/", true, true},
    {URL_HTTP, "https://h:443/a", "tls://h:443", "h", "/a", true, true},
    {URL_HTTP, "https://h:80/", "tls://h:80", "h:80", "/", true, true},
    {URL_HTTP, "http://h/a#part", "tcp://h:80", "h", "/a", false, true},
    {URL_HTTP, "http:", "tcp:", "", "", false, false},
    {URL_HTTP, "https:", "tls:", "", "", true, false},
    {URL_HTTP, "tcp://h:1", "tcp://h:1", "", "/", false, false},
    {URL_HTTP, "tls://h:1", "tls://h:1", "", "/", true, false},
    {URL_HTTP, "unix:/p", "unix:/p", "", "/", false, false},
    {URL_HTTP, "http+unix:/p", "unix:/p", "", "/", false, false},
    {URL_HTTP, "http+tls://h:1", "tls://h:1", "", "/", true, false},
    {URL_HTTP, "local:", "local:", "", "", false, false},
    {URL_WEBSOCKET, "ws://h/chat?x", "tcp://h:80", "h", "/chat?x", false, true},
    {URL_WEBSOCKET, "wss://h:9/", "tls://h:9", "h:9", "/", true, true},
    {URL_WEBSOCKET, "ws:", "tcp:", "", "", false, false},
    {URL_WEBSOCKET, "wss:", "tls:", "", "", true, false},
    {URL_WEBSOCKET, "ws+unix:/p", "unix:/p", "", "/", false, false},
};

static void take_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct err error = {0};
        memset(&taken, 0, sizeof taken);
        assert_string_equal(web_target_take(good[i].family, good[i].target, &taken), good[i].plain);
        assert_int_equal(web_target_check(good[i].family, &taken, &error), 0);
        assert_string_equal(taken.host, good[i].host);
        assert_string_equal(taken.path, good[i].path);
        assert_int_equal(taken.secure, good[i].secure);
        assert_int_equal(taken.named, good[i].named);
        assert_string_equal(taken.given, good[i].target);
    }
}

static const struct {
    enum url_family family;
    const char *target, *message, *hint;
} bad[] = {
    {URL_HTTP, "http://", "no host", "write http://HOST:PORT"},
    {URL_HTTP, "http:///a", "no host", "write http://"},
    {URL_HTTP, "http://:80/", "no host", "write http://"},
    {URL_HTTP, "http:/h/", "no // behind", "write http://"},
    {URL_HTTP, "http:h", "no // behind", "write http://"},
    {URL_HTTP, "https:443", "no // behind", "write http://"},
    {URL_HTTP, "http://h:/", "a port", "write http://"},
    {URL_HTTP, "http://h:0/", "a port", "write http://"},
    {URL_HTTP, "http://h:65536/", "a port", "write http://"},
    {URL_HTTP, "http://h:-1/", "a port", "write http://"},
    {URL_HTTP, "http://h:80x/", "a port", "write http://"},
    {URL_HTTP, "http://h:80:80/", "", "write http://"},
    {URL_HTTP, "http://user@h/", "a user's name", "write http://"},
    {URL_HTTP, "http://user:word@h/", "a user's name", "write http://"},
    {URL_HTTP, "http://h h/", "a character", "write http://"},
    {URL_HTTP, "http://h/a b", "a character", "write http://"},
    {URL_HTTP, "http://h/\n", "a character", "write http://"},
    {URL_HTTP, "http://h/\xc3\xa4", "a character", "write http://"},
    {URL_HTTP, "http://h/%", "a '%'", "write http://"},
    {URL_HTTP, "http://h/%4", "a '%'", "write http://"},
    {URL_HTTP, "http://h/%gg", "a '%'", "write http://"},
    {URL_HTTP, "http://-$h/", "a host that is no name", "write http://"},
    {URL_HTTP, "http://1.2.3/", "a host that is no IPv4", "write http://"},
    {URL_HTTP, "http://1.2.3.256/", "a host that is no IPv4", "write http://"},
    {URL_HTTP, "http://[::1/", "", "write http://"},
    {URL_HTTP, "http://[::g]/", "a host in brackets", "write http://"},
    {URL_HTTP, "http://::1/", "", "write http://"},
    {URL_HTTP, "ws://h:1/a", "it is a URL of a WebSocket", "did you mean http://h:1/a?"},
    {URL_HTTP, "wss://h", "it is a URL of a WebSocket", "did you mean https://h?"},
    {URL_HTTP, "127.0.0.1:80/a", "neither http:// nor https://",
     "did you mean http://127.0.0.1:80/a?"},
    {URL_HTTP, "localhost/a", "neither http:// nor https://", "did you mean http://localhost/a?"},
    {URL_HTTP, "[::1]:80", "neither http:// nor https://", "did you mean http://[::1]:80?"},
    {URL_WEBSOCKET, "http://h/a", "it is no URL of a WebSocket", "did you mean ws://h/a?"},
    {URL_WEBSOCKET, "HTTPS://h", "it is no URL of a WebSocket", "did you mean wss://h?"},
    {URL_WEBSOCKET, "h:9000/chat", "neither ws:// nor wss://", "did you mean ws://h:9000/chat?"},
    {URL_WEBSOCKET, "ws://h/#part", "a fragment", "write ws://HOST:PORT"},
    {URL_WEBSOCKET, "ws:h", "no // behind", "write ws://"},
};

static void take_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err error = {0};
        memset(&taken, 0, sizeof taken);
        web_target_take(bad[i].family, bad[i].target, &taken);
        int failed = web_target_check(bad[i].family, &taken, &error);
        if (failed != -1 || !strstr(error.what, bad[i].message) ||
            !strstr(error.hint, bad[i].hint)) {
            print_error("%s: %s: %s\n", bad[i].target, error.what, error.hint);
        }
        assert_int_equal(failed, -1);
        assert_int_equal(error.code, ERR_USAGE);
        assert_non_null(strstr(error.what, bad[i].message));
        assert_non_null(strstr(error.hint, bad[i].hint));
    }
}

static void lengths(void **state)
{
    char *text = malloc(20000);
    (void)state;
    assert_non_null(text);
    for (size_t length = 0; length<12000; length += length> 300 && length < 7900 ? 97 : 1) {
        struct err error = {0};
        memset(&taken, 0, sizeof taken);
        strcpy(text, "http://h/");
        memset(text + 9, 'a', length);
        text[9 + length] = '\0';
        const char *plain = web_target_take(URL_HTTP, text, &taken);
        if (9 + length <= URL_MOST) {
            assert_string_equal(plain, "tcp://h:80");
            assert_string_equal(taken.path, text + 8);
        }
        assert_int_equal(web_target_check(URL_HTTP, &taken, &error),
                         9 + length <= URL_MOST ? 0 : -1);
        /* A host as long. */
        memset(&taken, 0, sizeof taken);
        memset(text + 7, 'a', length);
        text[7 + length] = '\0';
        web_target_take(URL_HTTP, text, &taken);
        if (web_target_check(URL_HTTP, &taken, &error) == 0) {
            assert_int_equal(strlen(taken.host), length);
            assert_int_equal(strlen(taken.plain), length + 9);
        }
        /* And what only seems to be one. */
        memset(&taken, 0, sizeof taken);
        strcpy(text + 7 + length, ":80");
        web_target_take(URL_HTTP, text + 7, &taken);
        web_target_check(URL_HTTP, &taken, &error);
    }
    free(text);
}

static void same(void **state)
{
    static const struct {
        const char *target, *url;
        bool same;
    } rows[] = {
        {"http://h:80/", "http://h/a", true},     {"http://h/", "HTTP://H:80/a", true},
        {"http://h/", "https://h/", false},       {"http://h/", "http://h:81/", false},
        {"http://h/", "http://g/", false},        {"https://h/", "https://h:443/", true},
        {"http://[::1]/", "http://[::1]/", true}, {"tcp://h:80", "http://h/", false},
        {"http:", "http://localhost/", false},    {"https://h:80/", "http://h/", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct url url;
        memset(&taken, 0, sizeof taken);
        web_target_take(URL_HTTP, rows[i].target, &taken);
        assert_int_equal(url_parse(URL_HTTP, slice_of(rows[i].url), &url), 0);
        assert_int_equal(web_target_same(&taken, &url), rows[i].same);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(take_good),
        cmocka_unit_test(take_bad),
        cmocka_unit_test(lengths),
        cmocka_unit_test(same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
