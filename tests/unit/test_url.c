/* URLs that are right, and wrong in every part. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "codec/url.h"

#define HEX64 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl"
#define LABEL63 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"

/* In memory that ends where the text does. */
static int parse(enum url_family family, const char *text, size_t length, struct url *url,
                 char **copy)
{
    *copy = malloc(length ? length : 1);
    assert_non_null(*copy);
    memcpy(*copy, text, length);
    return url_parse(family, (struct slice){*copy, length}, url);
}

static const struct {
    const char *text;
    bool websocket, secure;
    uint16_t port;
    const char *host, *target; /* as they are written */
} good[] = {
    {"http://h", false, false, 80, "h", "/"},
    {"http://h/", false, false, 80, "h", "/"},
    {"HTTP://h:80/", false, false, 80, "h", "/"},
    {"http://h:00080/", false, false, 80, "h", "/"},
    {"https://h", false, true, 443, "h", "/"},
    {"https://h:80", false, true, 80, "h:80", "/"},
    {"http://h:443", false, false, 443, "h:443", "/"},
    {"http://h:65535/a/b;c=d?e=f/g?h", false, false, 65535, "h:65535", "/a/b;c=d?e=f/g?h"},
    {"http://h?x", false, false, 80, "h", "/?x"},
    {"http://h:1?x", false, false, 1, "h:1", "/?x"},
    {"http://h#x", false, false, 80, "h", "/"},
    {"http://h/a#b?c", false, false, 80, "h", "/a"},
    {"http://h?a#b", false, false, 80, "h", "/?a"},
    {"http://h/a@b:c", false, false, 80, "h", "/a@b:c"},
    {"http://h/%20%fF%00", false, false, 80, "h", "/%20%fF%00"},
    {"http://h//a/../b/.", false, false, 80, "h", "//a/../b/."},
    {"http://h/-._~!$&'()*+,;=:@", false, false, 80, "h", "/-._~!$&'()*+,;=:@"},
    {"http://127.0.0.1:8080/x", false, false, 8080, "127.0.0.1:8080", "/x"},
    {"http://[::1]/", false, false, 80, "[::1]", "/"},
    {"http://[2001:db8::ffff:1.2.3.4]:8080", false, false, 8080, "[2001:db8::ffff:1.2.3.4]:8080",
     "/"},
    {"http://a-b.c_d.example.", false, false, 80, "a-b.c_d.example.", "/"},
    {"http://1a/", false, false, 80, "1a", "/"},
    {"http://0xg/", false, false, 80, "0xg", "/"},
    {"http://" LABEL63 ".x/", false, false, 80, LABEL63 ".x", "/"},
    {"ws://h/chat?x=1", true, false, 80, "h", "/chat?x=1"},
    {"WSS://h:8443", true, true, 8443, "h:8443", "/"},
};

static void right(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct url url;
        char *copy, host[300], target[300];
        int error = parse(good[i].websocket ? URL_WEBSOCKET : URL_HTTP, good[i].text,
                          strlen(good[i].text), &url, &copy);
        if (error) {
            print_error("%s: %s\n", good[i].text, url_error_name(error));
        }
        assert_int_equal(error, 0);
        assert_int_equal(url.secure, good[i].secure);
        assert_int_equal(url.port, good[i].port);
        assert_int_equal(url.usual, strlen(good[i].host) == url.host.length + 2u * url.ipv6);
        assert_int_equal(url_host_write(&url, host, sizeof host), strlen(good[i].host));
        assert_string_equal(host, good[i].host);
        assert_int_equal(url_target_write(&url, target, sizeof target), strlen(good[i].target));
        assert_string_equal(target, good[i].target);
        for (size_t room = 0; room <= strlen(target); room++) {
            char *little = malloc(room ? room : 1);
            assert_non_null(little);
            assert_int_equal(url_target_write(&url, little, room), URL_BAD_ROOM);
            free(little);
        }
        assert_int_equal(url_host_write(&url, host, strlen(host)), URL_BAD_ROOM);
        free(copy);
    }
}

#define TEXT(text) text, sizeof(text) - 1

static const struct {
    const char *text;
    size_t length;
    int error;
} bad[] = {
    {TEXT(""), URL_BAD_EMPTY},
    {TEXT(" http://h/"), URL_BAD_CHARACTER},
    {TEXT("http://h/ "), URL_BAD_CHARACTER},
    {TEXT("http://h/a b"), URL_BAD_CHARACTER},
    {TEXT("http://h/\r\nX: y"), URL_BAD_CHARACTER},
    {TEXT("http://h/\n"), URL_BAD_CHARACTER},
    {TEXT("http://h/\0"), URL_BAD_CHARACTER},
    {TEXT("http://h\0.x/"), URL_BAD_CHARACTER},
    {TEXT("http://h/\t"), URL_BAD_CHARACTER},
    {TEXT("http://h/\x7f"), URL_BAD_CHARACTER},
    {TEXT("http://h/\xc3\xa9"), URL_BAD_CHARACTER},
    {TEXT("http://h\xc3\xa9/"), URL_BAD_CHARACTER},
    {TEXT("http://h/\"a\""), URL_BAD_CHARACTER},
    {TEXT("http://h/<a>"), URL_BAD_CHARACTER},
    {TEXT("http://h/a\\b"), URL_BAD_CHARACTER},
    {TEXT("http://h/{a}"), URL_BAD_CHARACTER},
    {TEXT("http://h/a|b"), URL_BAD_CHARACTER},
    {TEXT("http://h/a^b`"), URL_BAD_CHARACTER},
    {TEXT("http://h/[a]"), URL_BAD_CHARACTER},
    {TEXT("http://h/?a[0]=b"), URL_BAD_CHARACTER},
    {TEXT("h"), URL_BAD_SCHEME_MISSING},
    {TEXT("h/"), URL_BAD_SCHEME_MISSING},
    {TEXT("/a"), URL_BAD_SCHEME_MISSING},
    {TEXT("//h/"), URL_BAD_SCHEME_MISSING},
    {TEXT("://h/"), URL_BAD_SCHEME_MISSING},
    {TEXT("localhost:8080"), URL_BAD_SCHEME_MISSING},
    {TEXT("127.0.0.1"), URL_BAD_SCHEME_MISSING},
    {TEXT("http"), URL_BAD_SCHEME_MISSING},
    {TEXT("http:"), URL_BAD_SCHEME_MISSING},
    {TEXT("http:/h"), URL_BAD_SCHEME_MISSING},
    {TEXT("http:h"), URL_BAD_SCHEME_MISSING},
    {TEXT("http//h"), URL_BAD_SCHEME_MISSING},
    {TEXT("?http://h"), URL_BAD_SCHEME_MISSING},
    {TEXT("ftp://h/"), URL_BAD_SCHEME},
    {TEXT("file:///a"), URL_BAD_SCHEME},
    {TEXT("ws://h/"), URL_BAD_SCHEME},
    {TEXT("httpx://h/"), URL_BAD_SCHEME},
    {TEXT("htt://h/"), URL_BAD_SCHEME},
    {TEXT("tcp://h:1"), URL_BAD_SCHEME},
    {TEXT("http://u@h/"), URL_BAD_USER},
    {TEXT("http://u:p@h/"), URL_BAD_USER},
    {TEXT("http://@h/"), URL_BAD_USER},
    {TEXT("http://a@b@h/"), URL_BAD_USER},
    {TEXT("http://"), URL_BAD_HOST_MISSING},
    {TEXT("http:///"), URL_BAD_HOST_MISSING},
    {TEXT("http:///a"), URL_BAD_HOST_MISSING},
    {TEXT("http://?a"), URL_BAD_HOST_MISSING},
    {TEXT("http://#a"), URL_BAD_HOST_MISSING},
    {TEXT("http://:80/"), URL_BAD_HOST_MISSING},
    {TEXT("http://."), URL_BAD_HOST},
    {TEXT("http://.h"), URL_BAD_HOST},
    {TEXT("http://a..b"), URL_BAD_HOST},
    {TEXT("http://a!b"), URL_BAD_HOST},
    {TEXT("http://a%20b"), URL_BAD_HOST},
    {TEXT("http://a,b"), URL_BAD_HOST},
    {TEXT("http://a]b"), URL_BAD_HOST},
    {TEXT("http://" HEX64), URL_BAD_HOST},
    {TEXT("http://" LABEL63 "." LABEL63 "." LABEL63 "." LABEL63), URL_BAD_HOST},
    {TEXT("http://1"), URL_BAD_IPV4},
    {TEXT("http://127.1"), URL_BAD_IPV4},
    {TEXT("http://127.0.0.1.5"), URL_BAD_IPV4},
    {TEXT("http://127.0.0.256"), URL_BAD_IPV4},
    {TEXT("http://127.0.0.01"), URL_BAD_IPV4},
    {TEXT("http://127.0.0.1."), URL_BAD_IPV4},
    {TEXT("http://a.1"), URL_BAD_IPV4},
    {TEXT("http://0x7f.1"), URL_BAD_IPV4},
    {TEXT("http://0x7f000001"), URL_BAD_IPV4},
    {TEXT("http://2130706433"), URL_BAD_IPV4},
    {TEXT("http://[]"), URL_BAD_IPV6},
    {TEXT("http://[::1"), URL_BAD_IPV6},
    {TEXT("http://["), URL_BAD_IPV6},
    {TEXT("http://[::1]x"), URL_BAD_IPV6},
    {TEXT("http://[::1]]"), URL_BAD_IPV6},
    {TEXT("http://[:1]"), URL_BAD_IPV6},
    {TEXT("http://[1.2.3.4]"), URL_BAD_IPV6},
    {TEXT("http://[h]"), URL_BAD_IPV6},
    {TEXT("http://[fe80::1%25eth0]/"), URL_BAD_IPV6},
    {TEXT("http://[1:2:3:4:5:6:7:8:9]/"), URL_BAD_IPV6},
    {TEXT("http://[::1/]"), URL_BAD_IPV6},
    {TEXT("http://[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]"), URL_BAD_IPV6},
    {TEXT("http://::1/"), URL_BAD_HOST_MISSING},
    {TEXT("http://fe80::1/"), URL_BAD_PORT},
    {TEXT("http://h:"), URL_BAD_PORT},
    {TEXT("http://h:/"), URL_BAD_PORT},
    {TEXT("http://h:0"), URL_BAD_PORT},
    {TEXT("http://h:65536"), URL_BAD_PORT},
    {TEXT("http://h:99999"), URL_BAD_PORT},
    {TEXT("http://h:000080"), URL_BAD_PORT},
    {TEXT("http://h:4294967376"), URL_BAD_PORT},
    {TEXT("http://h:-80"), URL_BAD_PORT},
    {TEXT("http://h:+80"), URL_BAD_PORT},
    {TEXT("http://h:http"), URL_BAD_PORT},
    {TEXT("http://h:8o"), URL_BAD_PORT},
    {TEXT("http://h:80:80"), URL_BAD_PORT},
    {TEXT("http://h:0x50"), URL_BAD_PORT},
    {TEXT("http://[::1]:"), URL_BAD_PORT},
    {TEXT("http://h/%"), URL_BAD_PERCENT},
    {TEXT("http://h/%2"), URL_BAD_PERCENT},
    {TEXT("http://h/%g0"), URL_BAD_PERCENT},
    {TEXT("http://h/%0g"), URL_BAD_PERCENT},
    {TEXT("http://h/%%20"), URL_BAD_PERCENT},
    {TEXT("http://h/?%"), URL_BAD_PERCENT},
    {TEXT("http://h?%zz"), URL_BAD_PERCENT},
    {TEXT("http://h/%2#0"), URL_BAD_PERCENT},
};

static void wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct url url;
        char *copy;
        int error = parse(URL_HTTP, bad[i].text, bad[i].length, &url, &copy);
        if (error != bad[i].error) {
            print_error("%s\n", bad[i].text);
        }
        assert_string_equal(url_error_name(error), url_error_name(bad[i].error));
        assert_null(url.host.at);
        free(copy);
    }
    struct url url;
    assert_int_equal(url_parse(URL_WEBSOCKET, slice_of("ws://h/#"), &url), URL_BAD_FRAGMENT);
    assert_int_equal(url_parse(URL_WEBSOCKET, slice_of("http://h/"), &url), URL_BAD_SCHEME);
    static char text[URL_MOST + 2];
    memset(text, 'x', sizeof text - 1);
    memcpy(text, "http://h/", 9);
    assert_int_equal(url_parse(URL_HTTP, slice_of(text), &url), URL_BAD_LONG);
    text[URL_MOST] = '\0';
    assert_int_equal(url_parse(URL_HTTP, slice_of(text), &url), 0);
}

static void path_alone(void **state)
{
    struct url url;
    (void)state;
    assert_int_equal(url_path_parse(slice_of("/a?x=1#y"), &url), 0);
    assert_int_equal(url.target.length, 6);
    assert_null(url.host.at);
    assert_int_equal(url_path_parse(slice_of(""), &url), URL_BAD_EMPTY);
    assert_int_equal(url_path_parse(slice_of("a/"), &url), URL_BAD_SCHEME_MISSING);
    assert_int_equal(url_path_parse(slice_of("/a b"), &url), URL_BAD_CHARACTER);
    assert_int_equal(url_path_parse(slice_of("/%2"), &url), URL_BAD_PERCENT);
    assert_null(url.target.at);
}

static const struct {
    const char *text;
    const char *path; /* NULL: the error */
    int error;
} paths[] = {
    {"/", "/", 0},
    {"/a/b?c/../d%00", "/a/b", 0},
    {"/%61%7e%C3%a9", "/a~\xc3\xa9", 0},
    {"/a/.../..b/c../.", "/a/.../..b/c../.", 0},
    {"", "", 0},
    {"?x", "", 0},
    {"/..", NULL, URL_BAD_DOTS},
    {"/../", NULL, URL_BAD_DOTS},
    {"..", NULL, URL_BAD_DOTS},
    {"/a/../b", NULL, URL_BAD_DOTS},
    {"/a/%2e%2E/b", NULL, URL_BAD_DOTS},
    {"/a/.%2e?x", NULL, URL_BAD_DOTS},
    {"/a%2fb", NULL, URL_BAD_SLASH},
    {"/..%2F..", NULL, URL_BAD_SLASH},
    {"/a%00", NULL, URL_BAD_ZERO},
    {"/a%", NULL, URL_BAD_PERCENT},
    {"/a%1", NULL, URL_BAD_PERCENT},
    {"/a%1?", NULL, URL_BAD_PERCENT},
    {"/a%x1", NULL, URL_BAD_PERCENT},
};

static void decoded(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        char to[100];
        ssize_t length = url_path_decode(slice_of(paths[i].text), to, sizeof to);
        if (!paths[i].path) {
            assert_string_equal(url_error_name((int)length), url_error_name(paths[i].error));
            continue;
        }
        assert_int_equal(length, strlen(paths[i].path));
        assert_string_equal(to, paths[i].path);
        for (size_t room = 0; room <= (size_t)length; room++) {
            assert_int_equal(url_path_decode(slice_of(paths[i].text), to, room), URL_BAD_ROOM);
        }
    }
    char to[10];
    assert_int_equal(url_path_decode((struct slice){"/\0", 2}, to, sizeof to), URL_BAD_ZERO);
    for (int error = URL_ERROR_BASE + 1; error < URL_ERROR_END; error++) {
        assert_string_not_equal(url_error_name(error), "unknown");
        assert_string_not_equal(url_error_text(error), "unknown error");
    }
    assert_string_equal(url_error_name(0), "unknown");
    assert_string_equal(url_error_text(URL_ERROR_END), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right),
        cmocka_unit_test(wrong),
        cmocka_unit_test(path_alone),
        cmocka_unit_test(decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
