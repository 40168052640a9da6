/* Large, many and compressed messages by the numbers of the Autobahn test suite (9, 10, 12, 13), in
 * both roles. Of the suite's thousand messages a case some are enough here; its files are stood in
 * for by made ones of the same kinds. */
#include "websocket_world.h"

#include <stdio.h>

enum { KIB = 1 << 10, MIB = 1 << 20, DATA_BYTES = 256 << 10 };

static enum websocket_role other(enum websocket_role role)
{
    return role == WEBSOCKET_CLIENT ? WEBSOCKET_SERVER : WEBSOCKET_CLIENT;
}

/* The record of the one message that a tester has heard. */
static void expect_message(const char *number, struct ws_end *tester, bool text,
                           const uint8_t *data, size_t length)
{
    uint64_t heard;
    if (tester->error || tester->read.length != 9 + length) {
        fail_msg("case %s: %s", number, websocket_error_text(tester->error));
    }
    memcpy(&heard, tester->read.data + 1, sizeof heard);
    assert_int_equal(tester->read.data[0], text ? 0x81 : 0x82);
    assert_int_equal(heard, length);
    if (length && memcmp(tester->read.data + 9, data, length) != 0) {
        fail_msg("case %s: another message", number);
    }
    tester->read.length = 0;
}

static void echo_plain(const char *number, bool text, size_t length, size_t fragment, size_t chop,
                       unsigned times)
{
    uint8_t *data = malloc(length + 1);
    assert_non_null(data);
    memset(data, text ? '*' : 0xfe, length);
    for (int role = WEBSOCKET_CLIENT; role <= WEBSOCKET_SERVER; role++) {
        struct ws_end echo, tester;
        struct ws_bytes wire = {0};
        ws_open(&echo, role, true, NULL);
        ws_open(&tester, other(role), false, NULL);
        size_t at = 0;
        do {
            size_t piece = fragment && length - at > fragment ? fragment : length - at;
            int first = (at ? 0x100 : text ? 0x01 : 0x02) | (at + piece == length ? 0x80 : 0);
            struct ws_frame frame = {first, (const char *)data + at, piece, 0};
            ws_send(&wire, tester.role, &tester.rng, &frame);
            at += piece;
        } while (at < length);
        for (unsigned i = 0; i < times; i++) {
            ws_feed(&echo, wire.data, wire.length, chop);
            ws_feed(&tester, echo.out.data, echo.out.length, 0);
            echo.out.length = 0;
            expect_message(number, &tester, text, data, length);
        }
        ws_free(&wire);
        ws_close(&echo);
        ws_close(&tester);
    }
    free(data);
}

static void large(void **state)
{
    (void)state;
    static const size_t sizes[] = {64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB};
    static const size_t parts[] = {64,       256,       KIB, 4 * KIB, 16 * KIB,
                                   64 * KIB, 256 * KIB, MIB, 4 * MIB};
    char number[16];
    for (size_t text = 0; text < 2; text++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            snprintf(number, sizeof number, "9.%d.%zu", text ? 1 : 2, i + 1);
            echo_plain(number, text, sizes[i], 0, 64 * KIB, 1);
        }
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            snprintf(number, sizeof number, "9.%d.%zu", text ? 3 : 4, i + 1);
            echo_plain(number, text, 4 * MIB, parts[i], 64 * KIB, 1);
        }
        for (size_t i = 0; i < 6; i++) {
            snprintf(number, sizeof number, "9.%d.%zu", text ? 5 : 6, i + 1);
            echo_plain(number, text, MIB, 0, (size_t)64 << i, 1);
        }
    }
}

static void many(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 16, 64, 256, 1024, 4096};
    char number[16];
    for (size_t text = 0; text < 2; text++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            snprintf(number, sizeof number, "9.%d.%zu", text ? 7 : 8, i + 1);
            echo_plain(number, text, sizes[i], 0, 0, 1000);
        }
    }
    echo_plain("10.1.1", true, 65536, 1300, 0, 1);
}

/* 9.9.1: a message without an end goes on until a limit ends it. */
static void endless(void **state)
{
    (void)state;
    struct ws_end echo;
    struct rng rng;
    ws_open(&echo, WEBSOCKET_SERVER, true, NULL);
    rng_seed(&rng, 9);
    size_t sent = 0;
    while (!echo.error) {
        struct ws_bytes wire = {0};
        struct ws_frame frame = {sent ? 0x100 : 0x01, "*", 1, 4 * KIB};
        ws_send(&wire, WEBSOCKET_CLIENT, &rng, &frame);
        ws_feed(&echo, wire.data, wire.length, 0);
        ws_free(&wire);
        sent += 4 * KIB;
    }
    assert_int_equal(echo.error, WEBSOCKET_BAD_MESSAGE_LONG);
    assert_int_equal(echo.code, 1009);
    assert_int_equal(sent, (32 << 20) + 4 * KIB);
    ws_close(&echo);
}

/* ---- compressed ---- */

static size_t put_text(uint8_t *to, const char *text)
{
    size_t length = strlen(text);
    memcpy(to, text, length);
    return length;
}

/* Records, a picture's noise, prose, markup, and what is compressed already. */
static void make_data(uint8_t *data, unsigned kind)
{
    static const char *const words[] = {"habe ",
                                        "nun, ",
                                        "ach! ",
                                        "und ",
                                        "leider ",
                                        "M\xc3\xbc"
                                        "h",
                                        "h\xc3\xb6"
                                        "r",
                                        "wei\xc3\x9f ",
                                        "Tor ",
                                        "klug "};
    struct rng rng;
    size_t at = 0;
    rng_seed(&rng, kind);
    while (at < DATA_BYTES - 200) {
        uint64_t random = rng_next(&rng);
        char line[160];
        if (kind == 0) {
            snprintf(line, sizeof line, "{\"id\": %u, \"name\": \"%c%c%c\", \"on\": %s},\n",
                     (unsigned)(random % 100000), 'a' + (int)(random >> 20) % 26,
                     'a' + (int)(random >> 28) % 26, 'a' + (int)(random >> 36) % 26,
                     random >> 63 ? "true" : "false");
            at += put_text(data + at, line);
        } else if (kind == 1) {
            data[at] = (uint8_t)(128 + at / 64 % 64 + random % 8);
            at++;
        } else if (kind == 2) {
            at += put_text(data + at, words[random % 10]);
        } else if (kind == 3) {
            snprintf(line, sizeof line, "<tr class=\"c%u\"><td>%u</td></tr>\n",
                     (unsigned)(random % 7), (unsigned)(random >> 50));
            at += put_text(data + at, line);
        } else {
            memcpy(data + at, &random, sizeof random);
            at += sizeof random;
        }
    }
    memset(data + at, ' ', DATA_BYTES - at);
}

/* Both ends' handshakes over bytes: what they have agreed on. */
static struct websocket_deflate agree(const char *number, const struct websocket_deflate *offers,
                                      size_t count, const struct websocket_deflate *wish)
{
    static const uint8_t nonce[WEBSOCKET_NONCE_BYTES] = {1, 2, 3};
    const struct websocket_offer offer = {
        .target = "/", .host = "localhost", .deflate = offers, .deflate_count = count};
    char key[WEBSOCKET_KEY_TEXT + 1], accept[WEBSOCKET_ACCEPT_TEXT + 1], head[1000], reason[100];
    if (websocket_why_not(reason, sizeof reason)) {
        skip();
    }
    struct websocket_head reading = {0};
    struct websocket_request request;
    struct websocket_response response;
    struct websocket_deflate agreed;
    assert_int_equal(websocket_key(nonce, key), 0);
    assert_int_equal(websocket_accept(NULL, key, accept), 0);
    ssize_t length = websocket_request_write(&offer, key, head, sizeof head);
    assert_int_equal(websocket_request_read(&reading, head, (size_t)length, &request), length);
    if (!websocket_deflate_choose(&request, wish, &agreed)) {
        fail_msg("case %s: no agreement", number);
    }
    const struct websocket_answer answer = {.accept = accept, .deflate = &agreed};
    length = websocket_response_write(&answer, head, sizeof head);
    reading = (struct websocket_head){0};
    ssize_t read =
        websocket_response_read(&reading, head, (size_t)length, &offer, accept, &response);
    if (read != length || !response.deflated ||
        memcmp(&response.deflate, &agreed, sizeof agreed) != 0) {
        fail_msg("case %s: %s", number, websocket_error_text((int)read));
    }
    return agreed;
}

static const struct {
    size_t bytes, fragment;
} sizes[] = {{16, 0},        {64, 0},        {256, 0},       {1024, 0},    {4096, 0},
             {8192, 0},      {16384, 0},     {32768, 0},     {65536, 0},   {131072, 0},
             {8192, 256},    {16384, 256},   {32768, 256},   {65536, 256}, {131072, 256},
             {131072, 1024}, {131072, 4096}, {131072, 32768}};

static void echo_deflated(const char *number, const struct websocket_deflate *agreed,
                          const uint8_t *data, bool text, size_t length, size_t fragment)
{
    for (int role = WEBSOCKET_CLIENT; role <= WEBSOCKET_SERVER; role++) {
        struct ws_end echo, tester;
        ws_open(&echo, role, true, agreed);
        ws_open(&tester, other(role), false, agreed);
        echo.fragment = tester.fragment = fragment;
        unsigned times = length > 16384 ? 2 : 6;
        for (unsigned i = 0; i < times; i++) {
            /* Text begins anywhere, but not inside a character. */
            size_t from = i * length % (DATA_BYTES - length);
            size_t to = from + length;
            while (text && (data[from] & 0xc0) == 0x80) {
                from++;
            }
            while (text && (data[to] & 0xc0) == 0x80) {
                to--;
            }
            ws_write_deflated(&tester, text, data + from, to - from);
            ws_feed(&echo, tester.out.data, tester.out.length, i % 2 ? 0 : 1000);
            if (echo.error) {
                fail_msg("case %s: %s", number, websocket_error_text(echo.error));
            }
            ws_feed(&tester, echo.out.data, echo.out.length, 0);
            expect_message(number, &tester, text, data + from, to - from);
            tester.out.length = echo.out.length = 0;
        }
        ws_close(&echo);
        ws_close(&tester);
    }
}

static void run_sizes(const char *group, const struct websocket_deflate *agreed,
                      const uint8_t *data, bool text)
{
    char number[24];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        snprintf(number, sizeof number, "%s.%zu", group, i + 1);
        echo_deflated(number, agreed, data, text, sizes[i].bytes, sizes[i].fragment);
    }
}

static void contents(void **state)
{
    (void)state;
    static uint8_t data[DATA_BYTES];
    static const struct websocket_deflate offer = {0}, wish = {0};
    struct websocket_deflate agreed = agree("12", &offer, 1, &wish);
    for (unsigned kind = 0; kind < 5; kind++) {
        char group[16];
        snprintf(group, sizeof group, "12.%u", kind + 1);
        make_data(data, kind);
        run_sizes(group, &agreed, data, kind == 0 || kind == 2 || kind == 3);
    }
}

#define NO_CONTEXT .server_no_context_takeover = true, .client_no_context_takeover = true
#define WINDOWS(bits) .server_max_window_bits = (bits), .client_max_window_bits = (bits)

static void parameters(void **state)
{
    (void)state;
    static uint8_t data[DATA_BYTES];
    static const struct {
        const char *group;
        struct websocket_deflate offers[3];
        size_t count;
    } rows[] = {
        {"13.1", {{0}}, 1},
        {"13.2", {{NO_CONTEXT}}, 1},
        {"13.3", {{WINDOWS(9)}}, 1},
        {"13.4", {{WINDOWS(15)}}, 1},
        {"13.5", {{NO_CONTEXT, WINDOWS(9)}}, 1},
        {"13.6", {{NO_CONTEXT, WINDOWS(15)}}, 1},
        {"13.7", {{NO_CONTEXT, WINDOWS(9)}, {NO_CONTEXT}, {0}}, 3},
        /* What zlib cannot do by itself. */
        {"(8 bits)", {{WINDOWS(8)}}, 1},
        {"(8 bits, no context)", {{NO_CONTEXT, WINDOWS(8)}}, 1},
    };
    make_data(data, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct websocket_deflate agreed =
            agree(rows[i].group, rows[i].offers, rows[i].count, &rows[i].offers[0]);
        assert_memory_equal(&agreed, &rows[i].offers[0], sizeof agreed);
        run_sizes(rows[i].group, &agreed, data, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large),    cmocka_unit_test(many),       cmocka_unit_test(endless),
        cmocka_unit_test(contents), cmocka_unit_test(parameters),
    };
    return cmocka_run_group_tests_name("websocket_bulk", tests, NULL, NULL);
}
