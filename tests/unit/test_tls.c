/* TLS between two ends in memory: no socket anywhere. */
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

#include "net/tls.h"

#define WIRE_BYTES 65536

struct wire {
    uint8_t bytes[WIRE_BYTES];
    size_t length;
};

struct pair {
    struct tls *client, *server;
    struct err client_error, server_error;
};

static struct tls_secret secret_of(const char *text)
{
    struct tls_secret secret = {.length = strlen(text)};
    memcpy(secret.bytes, text, secret.length);
    return secret;
}

static void skip_without(void)
{
    char reason[80];
    if (tls_why_not(reason, sizeof reason) < 0) {
        skip();
    }
}

static void open_pair(struct pair *pair, const char *client, const char *server)
{
    struct tls_secret mine = secret_of(client), yours = secret_of(server);
    const struct tls_config at_client = {TLS_CLIENT, &mine, "the server"};
    const struct tls_config at_server = {TLS_SERVER, &yours, "the client"};
    memset(pair, 0, sizeof *pair);
    assert_int_equal(tls_open(&pair->client, &at_client, &pair->client_error), 0);
    assert_int_equal(tls_open(&pair->server, &at_server, &pair->server_error), 0);
}

static void close_pair(struct pair *pair)
{
    tls_close(pair->client);
    tls_close(pair->server);
}

/* What one end has for the other, taken out in pieces of `piece` bytes. */
static void take(struct tls *from, struct wire *wire, size_t piece)
{
    size_t taken;
    while (
        (taken = tls_take(from, wire->bytes + wire->length,
                          piece < WIRE_BYTES - wire->length ? piece : WIRE_BYTES - wire->length))) {
        wire->length += taken;
    }
}

static void move(struct tls *from, struct tls *to, size_t piece)
{
    struct wire wire = {.length = 0};
    struct err error = {0};
    take(from, &wire, piece);
    for (size_t at = 0; at < wire.length; at += piece) {
        size_t some = wire.length - at < piece ? wire.length - at : piece;
        assert_int_equal(tls_feed(to, wire.bytes + at, some, &error), 0);
    }
}

/* Both ends in turn, until both are done or one has failed. 1: both are. */
static int shake_hands(struct pair *pair, size_t piece)
{
    int client = 0, server = 0;
    for (int i = 0; i < 10 && (client != 1 || server != 1); i++) {
        if (client == 0) {
            client = tls_handshake(pair->client, &pair->client_error);
        }
        move(pair->client, pair->server, piece);
        if (server == 0) {
            server = tls_handshake(pair->server, &pair->server_error);
        }
        move(pair->server, pair->client, piece);
    }
    return client == 1 && server == 1;
}

static void test_plain_text_goes_both_ways(void **state)
{
    (void)state;
    skip_without();
    static const size_t pieces[] = {1, 7, WIRE_BYTES};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct pair pair;
        struct err error = {0};
        char text[64] = "";
        open_pair(&pair, "a secret of some length", "a secret of some length");
        assert_int_equal(shake_hands(&pair, pieces[i]), 1);
        assert_int_equal(tls_read(pair.server, text, sizeof text, &error), 0);
        assert_int_equal(tls_write(pair.client, "to the server", 13, &error), 0);
        move(pair.client, pair.server, pieces[i]);
        assert_int_equal(tls_read(pair.server, text, sizeof text, &error), 13);
        assert_memory_equal(text, "to the server", 13);
        assert_int_equal(tls_write(pair.server, "to the client", 13, &error), 0);
        move(pair.server, pair.client, pieces[i]);
        assert_int_equal(tls_read(pair.client, text, sizeof text, &error), 13);
        assert_memory_equal(text, "to the client", 13);
        tls_end(pair.client);
        move(pair.client, pair.server, pieces[i]);
        assert_int_equal(tls_read(pair.server, text, sizeof text, &error), -1);
        assert_int_equal(error.code, ERR_NONE); /* an end in order */
        close_pair(&pair);
    }
}

static void test_secrets_that_differ(void **state)
{
    (void)state;
    skip_without();
    struct pair pair;
    open_pair(&pair, "a secret of some length", "another one of some length");
    assert_int_equal(shake_hands(&pair, WIRE_BYTES), 0);
    assert_int_equal(pair.server_error.code, ERR_PROTOCOL);
    assert_string_equal(pair.server_error.subject, "the client");
    assert_string_equal(pair.server_error.what, "the secrets of the two ends differ");
    assert_int_equal(pair.client_error.code, ERR_PROTOCOL);
    assert_string_equal(pair.client_error.subject, "the server");
    assert_string_equal(pair.client_error.what, "the secrets of the two ends differ");
    close_pair(&pair);
}

static void test_a_handshake_that_is_cut(void **state)
{
    (void)state;
    skip_without();
    struct pair pair;
    struct wire hello = {.length = 0};
    open_pair(&pair, "a secret of some length", "a secret of some length");
    assert_int_equal(tls_handshake(pair.client, &pair.client_error), 0);
    take(pair.client, &hello, WIRE_BYTES);
    for (size_t length = 0; length < hello.length; length++) {
        struct tls_secret secret = secret_of("a secret of some length");
        const struct tls_config config = {TLS_SERVER, &secret, "the client"};
        struct tls *server;
        struct err error = {0};
        assert_int_equal(tls_open(&server, &config, &error), 0);
        assert_int_equal(tls_feed(server, hello.bytes, length, &error), 0);
        assert_int_equal(tls_handshake(server, &error), 0);
        assert_int_equal(tls_waiting(server), 0);
        tls_close(server);
    }
    close_pair(&pair);
}

/* Everything that a client once said, said again to a new server. */
static void test_a_replay(void **state)
{
    (void)state;
    skip_without();
    struct pair pair;
    struct wire said = {.length = 0};
    struct err error = {0};
    char text[64];
    open_pair(&pair, "a secret of some length", "a secret of some length");
    assert_int_equal(tls_handshake(pair.client, &error), 0);
    take(pair.client, &said, WIRE_BYTES);
    assert_int_equal(tls_feed(pair.server, said.bytes, said.length, &error), 0);
    assert_int_equal(tls_handshake(pair.server, &error), 0);
    move(pair.server, pair.client, WIRE_BYTES);
    assert_int_equal(tls_handshake(pair.client, &error), 1);
    assert_int_equal(tls_write(pair.client, "do it", 5, &error), 0);
    take(pair.client, &said, WIRE_BYTES);

    struct tls_secret secret = secret_of("a secret of some length");
    const struct tls_config config = {TLS_SERVER, &secret, "the client"};
    struct tls *server;
    assert_int_equal(tls_open(&server, &config, &error), 0);
    assert_int_equal(tls_feed(server, said.bytes, said.length, &error), 0);
    int done = tls_handshake(server, &error);
    assert_true(done <= 0);
    assert_true(tls_read(server, text, sizeof text, &error) <= 0);
    tls_close(server);
    close_pair(&pair);
}

static void test_bytes_that_are_changed(void **state)
{
    (void)state;
    skip_without();
    struct pair pair;
    struct wire wire = {.length = 0};
    struct err error = {0};
    char text[64];
    open_pair(&pair, "a secret of some length", "a secret of some length");
    assert_int_equal(shake_hands(&pair, WIRE_BYTES), 1);
    assert_int_equal(tls_write(pair.client, "do it", 5, &error), 0);
    take(pair.client, &wire, WIRE_BYTES);
    wire.bytes[wire.length - 1] ^= 1;
    assert_int_equal(tls_feed(pair.server, wire.bytes, wire.length, &error), 0);
    assert_int_equal(tls_read(pair.server, text, sizeof text, &error), -1);
    assert_int_equal(error.code, ERR_PROTOCOL);
    close_pair(&pair);
}

/* ---- certificates ---- */

struct trust {
    struct tls_context *server, *client;
};

static void open_trust(struct trust *trust, uint32_t versions)
{
    struct err error = {0};
    const struct tls_settings at_server = {.side = TLS_SERVER, .versions = versions};
    assert_int_equal(tls_context_open(&trust->server, &at_server, &error), 0);
    const struct tls_settings at_client = {
        .side = TLS_CLIENT, .name = "localhost", .trusted = trust->server};
    assert_int_equal(tls_context_open(&trust->client, &at_client, &error), 0);
}

static void close_trust(struct trust *trust)
{
    tls_context_close(trust->client);
    tls_context_close(trust->server);
}

static void open_trusting(struct pair *pair, const struct trust *trust)
{
    const struct tls_config at_client = {
        .side = TLS_CLIENT, .peer = "the server", .context = trust->client};
    const struct tls_config at_server = {
        .side = TLS_SERVER, .peer = "the client", .context = trust->server};
    memset(pair, 0, sizeof *pair);
    assert_int_equal(tls_open(&pair->client, &at_client, &pair->client_error), 0);
    assert_int_equal(tls_open(&pair->server, &at_server, &pair->server_error), 0);
}

static void test_certificates(void **state)
{
    (void)state;
    skip_without();
    static const size_t pieces[] = {1, 7, WIRE_BYTES};
    static const uint32_t versions[] = {TLS_1_2, TLS_1_3};
    for (size_t i = 0; i < 2 * (sizeof pieces / sizeof *pieces); i++) {
        struct trust trust;
        struct pair pair;
        struct tls_facts facts;
        char text[16];
        open_trust(&trust, versions[i % 2]);
        open_trusting(&pair, &trust);
        assert_int_equal(shake_hands(&pair, pieces[i / 2]), 1);
        tls_facts(pair.client, &facts);
        assert_string_equal(facts.version, i % 2 ? "TLSv1.3" : "TLSv1.2");
        assert_true(facts.verified);
        assert_false(facts.resumed);
        assert_int_equal(tls_write(pair.client, "words", 5, &pair.client_error), 0);
        move(pair.client, pair.server, pieces[i / 2]);
        assert_int_equal(tls_read(pair.server, text, sizeof text, &pair.server_error), 5);
        close_pair(&pair);
        close_trust(&trust);
    }
}

/* The server's answer, cut at every length: no error, and nothing is believed. */
static void test_certificates_that_are_cut(void **state)
{
    (void)state;
    skip_without();
    struct trust trust;
    struct pair pair;
    open_trust(&trust, TLS_1_2 | TLS_1_3);
    for (size_t length = 0;; length++) {
        struct wire answer = {.length = 0};
        open_trusting(&pair, &trust);
        assert_int_equal(tls_handshake(pair.client, &pair.client_error), 0);
        move(pair.client, pair.server, WIRE_BYTES);
        assert_int_equal(tls_handshake(pair.server, &pair.server_error), 0);
        take(pair.server, &answer, WIRE_BYTES);
        if (length >= answer.length) {
            close_pair(&pair);
            break;
        }
        assert_int_equal(tls_feed(pair.client, answer.bytes, length, &pair.client_error), 0);
        int done = tls_handshake(pair.client, &pair.client_error);
        assert_int_equal(done, 0);
        close_pair(&pair);
    }
    close_trust(&trust);
}

static void test_failures_have_names(void **state)
{
    (void)state;
    assert_null(tls_failure_name(0));
    assert_null(tls_failure_name(104));
    assert_null(tls_failure_name(TLS_FAILED_NONE));
    for (int number = TLS_FAILED_NONE + 1; number <= TLS_FAILED_PROTOCOL; number++) {
        assert_non_null(tls_failure_name(number));
        assert_true(strlen(tls_failure_name(number)) < 48);
    }
    assert_null(tls_failure_name(TLS_FAILED_PROTOCOL + 1));
    for (int alert = 0; alert <= 255; alert++) {
        assert_non_null(tls_failure_name(TLS_FAILED_ALERT + alert));
        assert_true(strlen(tls_failure_name(TLS_FAILED_ALERT + alert)) < 48);
    }
    assert_null(tls_failure_name(TLS_FAILED_ALERT + 256));
}

/* ---- secrets in files ---- */

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static void refuses(const char *path, const char *what)
{
    struct tls_secret secret;
    struct err error = {0};
    assert_int_equal(tls_secret_read(path, &secret, &error), -1);
    assert_int_equal(error.code, ERR_USAGE);
    assert_string_equal(error.subject, path);
    assert_non_null(strstr(error.what, what));
    assert_int_equal(secret.length, 0);
}

static void test_secret_files(void **state)
{
    (void)state;
    char folder[] = "/tmp/sonde-secret-XXXXXX", path[64], other[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/secret", folder);
    snprintf(other, sizeof other, "%s/fifo", folder);
    struct tls_secret secret;
    struct err error = {0};
    write_file(path, "0123456789abcdef\n", 0600);
    assert_int_equal(tls_secret_read(path, &secret, &error), 0);
    assert_int_equal(secret.length, 16);
    assert_memory_equal(secret.bytes, "0123456789abcdef", 16);
    chmod(path, 0400);
    assert_int_equal(tls_secret_read(path, &secret, &error), 0);
    chmod(path, 0640);
    refuses(path, "others may read or change the secret (mode 640)");
    chmod(path, 0602);
    refuses(path, "(mode 602)");
    write_file(path, "0123456789abcde\n", 0600);
    refuses(path, "less than 16 bytes");
    write_file(path, "", 0600);
    refuses(path, "less than 16 bytes");
    char *large = calloc(1, TLS_SECRET_MOST + 2);
    memset(large, 'x', TLS_SECRET_MOST + 1);
    write_file(path, large, 0600);
    refuses(path, "more than 4096 bytes");
    free(large);
    assert_int_equal(mkfifo(other, 0600), 0);
    refuses(other, "is no regular file");
    refuses(folder, "is no regular file");
    if (geteuid() == 0) {
        write_file(path, "0123456789abcdef\n", 0600);
        assert_int_equal(chown(path, 12345, 0), 0);
        refuses(path, "belongs to another user");
    }
    unlink(path);
    refuses(path, "cannot be read");
    unlink(other);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_text_goes_both_ways),
        cmocka_unit_test(test_secrets_that_differ),
        cmocka_unit_test(test_a_handshake_that_is_cut),
        cmocka_unit_test(test_a_replay),
        cmocka_unit_test(test_bytes_that_are_changed),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_certificates_that_are_cut),
        cmocka_unit_test(test_failures_have_names),
        cmocka_unit_test(test_secret_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
