#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/net.h"
#include "net/tls.h"

/* Parses, or fails the test with the error. */
static struct address parsed(const char *url, bool to_listen)
{
    struct address address;
    struct err error = {0};
    if (address_parse(url, to_listen, &address, &error)) {
        fail_msg("%s: %s: %s", url, error.subject, error.what);
    }
    assert_non_null(address.transport);
    return address;
}

static void test_canonical(void **state)
{
    static const struct {
        const char *url, *text;
        int family;
    } rows[] = {
        {"tcp://127.0.0.1:1234", "tcp://127.0.0.1:1234", AF_INET},
        {"TCP://127.0.0.1:0080", "tcp://127.0.0.1:80", AF_INET},
        {"tcp://:9", "tcp://127.0.0.1:9", AF_INET},
        {"tcp://localhost:9", "tcp://127.0.0.1:9", AF_INET},
        {"tcp://255.255.255.255:65535", "tcp://255.255.255.255:65535", AF_INET},
        {"tcp://[::1]:1234", "tcp://[::1]:1234", AF_INET6},
        {"tcp://[2001:DB8:0:0::7]:1", "tcp://[2001:db8::7]:1", AF_INET6},
        {"tcp://[::ffff:127.0.0.1]:1", "tcp://[::ffff:127.0.0.1]:1", AF_INET6},
        {"udp://127.0.0.1:1234", "udp://127.0.0.1:1234", AF_INET},
        {"UDP://localhost:09", "udp://127.0.0.1:9", AF_INET},
        {"udp://[2001:DB8:0:0::7]:1", "udp://[2001:db8::7]:1", AF_INET6},
        {"unix:/run/x.sock", "unix:/run/x.sock", AF_UNIX},
        {"unix:///run/x.sock", "unix:/run/x.sock", AF_UNIX},
        {"unix:////run//x", "unix:/run//x", AF_UNIX},
        {"unix:x.sock", "unix:x.sock", AF_UNIX},
        {"unix:/tmp/a b", "unix:/tmp/a b", AF_UNIX},
        {"unix:@name", "unix:@name", AF_UNIX},
        {"unix-dgram:/run/x", "unix-dgram:/run/x", AF_UNIX},
        {"Unix-Dgram:///run/x", "unix-dgram:/run/x", AF_UNIX},
        {"unix-dgram:@name", "unix-dgram:@name", AF_UNIX},
        {"tcp:", "tcp:", AF_INET},
        {"UDP:", "udp:", AF_INET},
        {"unix:", "unix:", AF_UNIX},
        {"unix-dgram:", "unix-dgram:", AF_UNIX},
        {"local:", "local:", 0},
        {"pipe:", "pipe:", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct address address = parsed(rows[i].url, false);
        assert_string_equal(address.text, rows[i].text);
        assert_int_equal(address.socket_address.ss_family, rows[i].family);
        struct address again = parsed(address.text, false);
        assert_string_equal(again.text, address.text);
        assert_ptr_equal(again.transport, address.transport);
        assert_int_equal(again.length, address.length);
        assert_memory_equal(&again.socket_address, &address.socket_address,
                            sizeof address.socket_address);
    }
}

static void test_malformed(void **state)
{
    static const struct {
        const char *url, *what, *hint; /* parts of the texts */
    } rows[] = {
        {"", "empty", "tcp://HOST:PORT"},
        {"tcp//x", "no transport named", "tcp://HOST:PORT"},
        {"local", "no transport named", "local:"},
        {"127.0.0.1:80", "no transport named", "tcp://127.0.0.1:80"},
        {"localhost:80", "no transport named", "tcp://localhost:80"},
        {"[::1]:80", "no transport named", "tcp://[::1]:80"},
        {":80", "no transport named", "tcp://:80"},
        {"/run/x.sock", "no transport named", "unix:/run/x.sock"},
        {"@name", "no transport named", "unix:@name"},
        {"nonsense", "no transport named", "pipe:"},
        {"tpc://127.0.0.1:80", "no transport \"tpc\"", "tcp://HOST:PORT"},
        {"unx:/run/x", "no transport \"unx\"", "unix:PATH"},
        {"gopher://x:70", "no transport \"gopher\"",
         "write one of tcp://HOST:PORT, tls://HOST:PORT, udp://HOST:PORT"},
        {"gopher://x:70", "no transport \"gopher\"", "unix:PATH, unix-dgram:PATH, local:, pipe:"},
        {"udp", "no transport named", "udp://HOST:PORT"},
        {"unix-dgram", "no transport named", "unix-dgram:PATH"},
        {"upd://127.0.0.1:80", "no transport \"upd\"", "udp://HOST:PORT"},
        {"unix-dgarm:x", "no transport \"unix-dgarm\"", "unix-dgram:PATH"},
        {"udp:127.0.0.1:80", "\"//\" is missing after \"udp:\"", "udp://HOST:PORT"},
        {"udp:/", "\"//\" is missing", ""},
        {"udp://", "no port", "udp://HOST:PORT"},
        {"udp://::1:80", "in brackets", "udp://[::1]:1234"},
        {"udp://127.0.0.1:0", "port 0", "for listening"},
        {"tcp:127.0.0.1:80", "\"//\" is missing", "tcp://HOST:PORT"},
        {"tcp:x", "\"//\" is missing", ""},
        {"tcp://", "no port", ""},
        {"tcp://127.0.0.1", "no port", "tcp://HOST:PORT"},
        {"tcp://127.0.0.1:", "no port", ""},
        {"tcp://[::1]", "no port", ""},
        {"tcp://[::1]80", "no port", ""},
        {"tcp://127.0.0.1:70000", "above 65535", ""},
        {"tcp://127.0.0.1:65536", "above 65535", ""},
        {"tcp://127.0.0.1:99999999999999999999", "above 65535", ""},
        {"tcp://127.0.0.1:-1", "no number from 1 to 65535", ""},
        {"tcp://127.0.0.1:+80", "no number", ""},
        {"tcp://127.0.0.1:80/", "no number", ""},
        {"tcp://127.0.0.1:0x50", "no number", ""},
        {"tcp://127.0.0.1:0", "port 0", "for listening"},
        {"tcp://::1:80", "in brackets", "tcp://[::1]:1234"},
        {"tcp://::1", "in brackets", ""},
        {"tcp://[::1:80", "without \"]\"", ""},
        {"tcp://[]:80", "not an IPv6 address", ""},
        {"tcp://[127.0.0.1]:80", "not an IPv6 address", ""},
        {"tcp://[fe80::1%eth0]:80", "zone identifiers", "loopback"},
        {"tcp://fe80::1%eth0:80", "in brackets", ""},
        {"tcp://300.1.1.1:80", "not an IPv4 address", ""},
        {"tcp://127.1:80", "not an IPv4 address", ""},
        {"tcp://a@b:80", "is not a host", ""},
        {"tcp://*:80", "is not a host", ""},
        {"tcp://a b:80", "is not a host", ""},
        {" tcp://127.0.0.1:80", "white space", ""},
        {"tcp://127.0.0.1:80 ", "white space", ""},
        {"tcp://127.0.0.1:80\n", "control character", ""},
        {"unix:/tmp/a\tb", "control character", ""},
        {"unix:@", "no name", "unix:@NAME"},
        {"unix-dgram:@", "no name", "unix-dgram:@NAME"},
        {"unix-dgram://run/x", "no host", "unix-dgram:/run/x"},
        {"unix://run/x.sock", "no host", "unix:/run/x.sock"},
        {"local:x", "nothing follows", ""},
        {"pipe://", "nothing follows", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct address address;
        struct err error = {0};
        assert_int_equal(address_parse(rows[i].url, false, &address, &error), -1);
        if (error.code != ERR_USAGE || !strstr(error.what, rows[i].what) ||
            !strstr(error.hint, rows[i].hint) || !error.subject[0]) {
            fail_msg("\"%s\" gave code %d \"%s: %s: %s\"", rows[i].url, error.code, error.subject,
                     error.what, error.hint);
        }
        assert_null(address.transport);
    }
}

static void test_listening_forms(void **state)
{
    struct address address = parsed("tcp://127.0.0.1:0", true);
    struct err error = {0};
    (void)state;
    assert_string_equal(address.text, "tcp://127.0.0.1:0");
    assert_int_equal(address_parse("local:", true, &address, &error), -1);
    assert_int_equal(error.code, ERR_USAGE);
    assert_int_equal(address_parse("pipe:", true, &address, &error), -1);
    assert_int_equal(error.code, ERR_USAGE);
    assert_int_equal(address_parse("tcp://127.0.0.1:-1", true, &address, &error), -1);
    assert_non_null(strstr(error.what, "from 0 to 65535"));
}

/* Bare, a transport is sonde's own server as a target, and no place to listen. */
/* The name that a certificate has to be for. */
static void test_hosts(void **state)
{
    static const struct {
        const char *url, *host;
    } rows[] = {{"tls://localhost:1", "localhost"},
                {"tls://127.0.0.1:1", "127.0.0.1"},
                {"tls://[::1]:1", "::1"},
                {"tls://:1", "127.0.0.1"},
                {"tls:", "127.0.0.1"},
                {"tcp://LOCALHOST:1", "LOCALHOST"}};
    char reason[80];
    (void)state;
    if (tls_why_not(reason, sizeof reason) < 0) {
        skip();
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct address address = parsed(rows[i].url, false);
        assert_string_equal(address.host, rows[i].host);
    }
}

static void test_own(void **state)
{
    static const struct {
        const char *url, *hint; /* of listening there */
    } bare[] = {{"tcp:", "write tcp://HOST:PORT"},
                {"udp:", "write udp://HOST:PORT"},
                {"unix:", "write unix:PATH or unix:@NAME"},
                {"unix-dgram:", "write unix-dgram:PATH or unix-dgram:@NAME"},
                {"local:", "listen on"},
                {"pipe:", "listen on"}};
    static const char *const theirs[] = {"tcp://127.0.0.1:1", "udp://[::1]:1", "unix:@x",
                                         "unix-dgram:/x"};
    (void)state;
    for (size_t i = 0; i < sizeof bare / sizeof *bare; i++) {
        struct address address = parsed(bare[i].url, false);
        struct err error = {0};
        assert_true(address.own);
        assert_true(address_is_loopback(&address));
        assert_int_equal(address_parse(bare[i].url, true, &address, &error), -1);
        assert_int_equal(error.code, ERR_USAGE);
        assert_non_null(strstr(error.hint, bare[i].hint));
    }
    struct address address = parsed("udp:", false);
    const struct sockaddr_in *four = (const struct sockaddr_in *)&address.socket_address;
    assert_int_equal(ntohl(four->sin_addr.s_addr), INADDR_LOOPBACK);
    assert_int_equal(four->sin_port, 0);
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++) {
        assert_false(parsed(theirs[i], false).own);
        assert_false(parsed(theirs[i], true).own);
    }
}

static void test_long_names(void **state)
{
    char url[600];
    struct address address;
    struct err error = {0};
    (void)state;
    /* 107 bytes fit into sun_path, 108 do not; the same for an abstract name. */
    for (int abstract = 0; abstract < 2; abstract++) {
        for (int length = 107; length <= 108; length++) {
            int used = snprintf(url, sizeof url, "unix:%s", abstract ? "@" : "");
            memset(url + used, 'x', (size_t)length);
            url[used + length] = '\0';
            if (length == 107) {
                address = parsed(url, true);
                assert_string_equal(address.text, url);
            } else {
                assert_int_equal(address_parse(url, true, &address, &error), -1);
                assert_int_equal(error.code, ERR_USAGE);
                assert_non_null(strstr(error.what, "108 bytes, at most 107"));
            }
        }
    }
    int used = snprintf(url, sizeof url, "tcp://");
    memset(url + used, 'h', 254);
    snprintf(url + used + 254, sizeof url - 260, ":80");
    assert_int_equal(address_parse(url, false, &address, &error), -1);
    assert_int_equal(error.code, ERR_USAGE);
    assert_non_null(strstr(error.what, "at most 253"));
}

static void test_names(void **state)
{
    struct address address;
    struct err error = {0};
    (void)state;
    /* RFC 6761: .invalid never resolves. */
    assert_int_equal(address_parse("tcp://no-such-host.invalid:80", false, &address, &error), -1);
    assert_int_equal(error.code, ERR_SYSTEM);
    assert_non_null(strstr(error.what, "cannot resolve \"no-such-host.invalid\""));
    assert_int_equal(
        address_parse_with("tcp://no-such-host.invalid:80", ADDRESS_NUMERIC, &address, &error), -1);
    assert_int_equal(error.code, ERR_USAGE);
    assert_int_equal(address_parse_with("tcp://[::1]:80", ADDRESS_NUMERIC, &address, &error), 0);
}

static void test_kinds(void **state)
{
    static const struct {
        const char *url;
        bool loopback, any;
    } rows[] = {
        {"tcp://127.8.9.1:1", true, false},
        {"tcp://128.0.0.1:1", false, false},
        {"tcp://0.0.0.0:1", false, true},
        {"tcp://[::]:1", false, true},
        {"tcp://[::1]:1", true, false},
        {"tcp://[::2]:1", false, false},
        {"tcp://[::ffff:127.0.0.1]:1", true, false},
        {"tcp://[::ffff:0.0.0.0]:1", false, true},
        {"unix:@x", true, false},
        {"local:", true, false},
        {"pipe:", true, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct address address = parsed(rows[i].url, false);
        assert_int_equal(address_is_loopback(&address), rows[i].loopback);
        assert_int_equal(address_is_any(&address), rows[i].any);
    }
    assert_false(address_is_loopback(&(struct address){0}));
}

static void test_source_lists(void **state)
{
    static const char *const wrong[] = {"",
                                        ",",
                                        "127.0.0.1,",
                                        "127.0.0.1,,127.0.0.2",
                                        "127.0.0.1 ",
                                        "x",
                                        "127.0.0.1-",
                                        "127.0.0.9-127.0.0.1",
                                        "127.0.0.1-::1",
                                        "::1-::2",
                                        "127.0.0.1,::1",
                                        "0.0.0.0-255.255.255.255",
                                        "127.0.0.1-127.1.0.1",
                                        "127.0.0.1,127.0.0.1",
                                        "127.0.0.1-127.0.0.3,127.0.0.2",
                                        "localhost",
                                        "127.0.0.1-127.0.0.2-127.0.0.3",
                                        "[127.0.0.1"};
    struct sockaddr_storage *sources;
    size_t count;
    struct err error = {0};
    (void)state;

    assert_int_equal(
        address_parse_sources("127.0.0.8-127.0.0.11,127.0.0.2", &sources, &count, &error), 0);
    assert_int_equal(count, 5);
    static const uint32_t expected[] = {2, 8, 9, 10, 11};
    for (size_t i = 0; i < count; i++) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)&sources[i];
        assert_int_equal(four->sin_family, AF_INET);
        assert_int_equal(ntohl(four->sin_addr.s_addr), 0x7f000000 + expected[i]);
        assert_int_equal(address_source_length(&sources[i]), sizeof(struct sockaddr_in));
    }
    free(sources);
    assert_int_equal(address_parse_sources("127.0.0.5-127.0.0.5", &sources, &count, &error), 0);
    assert_int_equal(count, 1);
    free(sources);
    /* Over an octet's end, and as many as there may be. */
    assert_int_equal(address_parse_sources("127.0.0.0-127.0.255.255", &sources, &count, &error), 0);
    assert_int_equal(count, 65536);
    assert_int_equal(ntohl(((struct sockaddr_in *)&sources[256])->sin_addr.s_addr), 0x7f000100);
    free(sources);
    assert_int_equal(address_parse_sources("[::1],::2", &sources, &count, &error), 0);
    assert_int_equal(count, 2);
    assert_int_equal(address_source_length(sources), sizeof(struct sockaddr_in6));
    free(sources);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        error = (struct err){0};
        if (!address_parse_sources(wrong[i], &sources, &count, &error)) {
            fail_msg("\"%s\" was accepted", wrong[i]);
        }
        assert_int_equal(error.code, ERR_USAGE);
        assert_null(sources);
    }
}

/* Every transport has the operations that its caps promise. */
static void test_table(void **state)
{
    size_t count = 0;
    (void)state;
    for (; transports[count]; count++) {
        const struct transport_ops *ops = transports[count];
        assert_true(ops->scheme && ops->form && ops->help && ops->parse && ops->tune);
        assert_memory_equal(ops->form, ops->scheme, strlen(ops->scheme));
        assert_int_equal(ops->caps & TRANSPORT_CONNECTS ? 1 : 0, ops->listen && ops->open);
        assert_int_equal(ops->caps & TRANSPORT_PAIRS ? 1 : 0, ops->pair != NULL);
        bool datagrams = ops == &transport_udp || ops == &transport_unix_dgram;
        assert_int_equal(ops->caps & TRANSPORT_DATAGRAMS ? 1 : 0, datagrams);
    }
    assert_int_equal(count, 7);
}

/* Where more is taken than transports, errors offer it; a listener is not offered what it cannot
 * be. */
static void test_among(void **state)
{
    static const char *const further[] = {"sonde://HOST:PORT", "iperf3://HOST[:PORT]", NULL};
    struct address address;
    struct err error = {0};
    (void)state;
    assert_int_equal(address_parse_among("sond://a:1", 0, further, &address, &error), -1);
    assert_string_equal(error.hint, "did you mean sonde://HOST:PORT?");
    assert_int_equal(address_parse_among("gopher://a:1", 0, further, &address, &error), -1);
    assert_non_null(strstr(error.hint, "local:, pipe:, sonde://HOST:PORT, iperf3://HOST[:PORT]"));
    assert_int_equal(
        address_parse_among("gopher://a:1", ADDRESS_TO_LISTEN, further, &address, &error), -1);
    assert_null(strstr(error.hint, "pipe:"));
    assert_non_null(strstr(error.hint, "unix-dgram:PATH, sonde://HOST:PORT"));
    assert_int_equal(address_parse_among("tcp://127.0.0.1:1", 0, further, &address, &error), 0);
}

static void test_error_of(void **state)
{
    struct err error;
    (void)state;
    err_set(&error, ERR_USAGE, "tcp://::1", "an IPv6 address stands in brackets");
    err_hint(&error, "write tcp://[ADDRESS]:PORT, for instance tcp://[::1]:1, not a+tcp://x");
    assert_int_equal(address_error_of(&error, "tcp", "sonde"), -1);
    assert_string_equal(error.subject, "sonde://::1");
    assert_string_equal(
        error.hint, "write sonde://[ADDRESS]:PORT, for instance sonde://[::1]:1, not a+tcp://x");
    /* What grows beyond its room is cut. */
    memset(error.subject, 'x', sizeof error.subject - 1);
    memcpy(error.subject, "tcp://", 6);
    address_error_of(&error, "tcp", "sockperf+tcp");
    assert_int_equal(strlen(error.subject), sizeof error.subject - 1);
    assert_memory_equal(error.subject, "sockperf+tcp://xxx", 18);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),      cmocka_unit_test(test_canonical),
        cmocka_unit_test(test_malformed),  cmocka_unit_test(test_listening_forms),
        cmocka_unit_test(test_long_names), cmocka_unit_test(test_names),
        cmocka_unit_test(test_kinds),      cmocka_unit_test(test_source_lists),
        cmocka_unit_test(test_own),        cmocka_unit_test(test_among),
        cmocka_unit_test(test_error_of),   cmocka_unit_test(test_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
