/* RFC 6455 and 7692 by cases, numbered as the Autobahn test suite numbers its own; each in both
 * roles, and where it is short also byte by byte and all at once. */
#include "websocket_world.h"

#include <stdio.h>

#define B(text) text, sizeof text - 1
#define HELLO                                                                                      \
    {                                                                                              \
        0x81, B("Hello, world!")                                                                   \
    }
#define PING                                                                                       \
    {                                                                                              \
        0x89, B("")                                                                                \
    }
#define BINARY "\x00\xff\xfe\xfd\xfc\xfb\x00\xff"

enum { CLEAN = 1000, FRAMES = 10 };

struct ws_case {
    const char *number;
    struct ws_frame sent[FRAMES];
    struct ws_frame answered[FRAMES];
    unsigned code; /* CLEAN: it goes on until the tester closes; else how the peer closes */
    size_t chop;
};

static void expect(const char *number, struct ws_end *tester, const struct ws_frame *frames,
                   size_t most)
{
    size_t at = 0;
    for (size_t i = 0; i < most && frames[i].first; i++) {
        struct ws_bytes payload = ws_payload(&frames[i]);
        uint64_t length;
        if (at == tester->read.length) {
            fail_msg("case %s: answer %zu is missing", number, i);
        }
        memcpy(&length, tester->read.data + at + 1, sizeof length);
        if (tester->read.data[at] != frames[i].first || length != payload.length ||
            memcmp(tester->read.data + at + 9, payload.data, payload.length) != 0) {
            fail_msg("case %s: answer %zu is another one", number, i);
        }
        at += 9 + length;
        ws_free(&payload);
    }
    if (at != tester->read.length) {
        fail_msg("case %s: more answers than expected", number);
    }
}

/* The other end reads all that the echo has written, and must find nothing wrong with it. */
static void hear(const char *number, struct ws_end *tester, struct ws_end *echo)
{
    ws_feed(tester, echo->out.data, echo->out.length, 0);
    if (tester->error) {
        fail_msg("case %s: the answer: %s", number, websocket_error_text(tester->error));
    }
    echo->out.length = 0;
}

static enum websocket_role other(enum websocket_role role)
{
    return role == WEBSOCKET_CLIENT ? WEBSOCKET_SERVER : WEBSOCKET_CLIENT;
}

static void run_as(const struct ws_case *one, enum websocket_role role, size_t chop)
{
    struct ws_end echo, tester;
    struct ws_bytes wire = {0};
    ws_open(&echo, role, true, NULL);
    ws_open(&tester, other(role), false, NULL);
    for (size_t i = 0; i < FRAMES && one->sent[i].first >= 0; i++) {
        if (one->sent[i].payload) {
            ws_send(&wire, tester.role, &tester.rng, &one->sent[i]);
        }
    }
    ws_feed(&echo, wire.data, wire.length, chop);
    hear(one->number, &tester, &echo);
    if (one->code == CLEAN && !tester.code) {
        struct ws_frame close = {0x88, B("\x03\xe8")};
        wire.length = 0;
        ws_send(&wire, tester.role, &tester.rng, &close);
        ws_feed(&echo, wire.data, wire.length, chop);
        hear(one->number, &tester, &echo);
    }
    expect(one->number, &tester, one->answered, FRAMES);
    if (tester.code != one->code) {
        fail_msg("case %s: closed with %u, not %u (%s)", one->number, tester.code, one->code,
                 echo.error ? websocket_error_text(echo.error) : "no error");
    }
    ws_free(&wire);
    ws_close(&echo);
    ws_close(&tester);
}

static void run(const struct ws_case *one)
{
    size_t length = 0;
    for (size_t i = 0; i < FRAMES; i++) {
        length += ws_length(&one->sent[i]);
    }
    for (int role = WEBSOCKET_CLIENT; role <= WEBSOCKET_SERVER; role++) {
        run_as(one, role, one->chop);
        if (length <= 70000) {
            run_as(one, role, 1);
            run_as(one, role, 7);
            run_as(one, role, 0);
        }
    }
}

#define RUN(cases)                                                                                 \
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases)[0]; i++) {                                \
        run(&(cases)[i]);                                                                          \
    }

static void frames(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 125, 126, 127, 128, 65535, 65536, 65536};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (int kind = 1; kind <= 2; kind++) {
            char number[16];
            snprintf(number, sizeof number, "1.%d.%zu", kind, i + 1);
            struct ws_frame frame = {0x80 | kind, kind == 1 ? "*" : "\xfe", lengths[i] ? 1 : 0,
                                     lengths[i]};
            struct ws_case one = {number, {frame}, {frame}, CLEAN, i == 7 ? 997 : 0};
            run(&one);
        }
    }
}

static void pings(void **state)
{
    (void)state;
    static const struct ws_case cases[] = {
        {"2.1", {PING}, {{0x8a, B("")}}, CLEAN},
        {"2.2", {{0x89, B("Hello, world!")}}, {{0x8a, B("Hello, world!")}}, CLEAN},
        {"2.3", {{0x89, B(BINARY)}}, {{0x8a, B(BINARY)}}, CLEAN},
        {"2.4", {{0x89, B("\xfe"), 125}}, {{0x8a, B("\xfe"), 125}}, CLEAN},
        {"2.5", {{0x89, B("\xfe"), 126}}, {{0}}, 1002},
        {"2.6", {{0x89, B("\xfe"), 125}}, {{0x8a, B("\xfe"), 125}}, CLEAN, 1},
        {"2.7", {{0x8a, B("")}}, {{0}}, CLEAN},
        {"2.8", {{0x8a, B("unasked")}}, {{0}}, CLEAN},
        {"2.9", {{0x8a, B("unasked")}, {0x89, B("asked")}}, {{0x8a, B("asked")}}, CLEAN},
        {"2.10",
         {{0x89, B("0")},
          {0x89, B("1")},
          {0x89, B("2")},
          {0x89, B("3")},
          {0x89, B("4")},
          {0x89, B("5")},
          {0x89, B("6")},
          {0x89, B("7")},
          {0x89, B("8")},
          {0x89, B("9")}},
         {{0x8a, B("0")},
          {0x8a, B("1")},
          {0x8a, B("2")},
          {0x8a, B("3")},
          {0x8a, B("4")},
          {0x8a, B("5")},
          {0x8a, B("6")},
          {0x8a, B("7")},
          {0x8a, B("8")},
          {0x8a, B("9")}},
         CLEAN},
        {"2.11",
         {{0x89, B("0")},
          {0x89, B("1")},
          {0x89, B("2")},
          {0x89, B("3")},
          {0x89, B("4")},
          {0x89, B("5")},
          {0x89, B("6")},
          {0x89, B("7")},
          {0x89, B("8")},
          {0x89, B("9")}},
         {{0x8a, B("0")},
          {0x8a, B("1")},
          {0x8a, B("2")},
          {0x8a, B("3")},
          {0x8a, B("4")},
          {0x8a, B("5")},
          {0x8a, B("6")},
          {0x8a, B("7")},
          {0x8a, B("8")},
          {0x8a, B("9")}},
         CLEAN,
         1},
    };
    RUN(cases)
}

static void reserved_bits(void **state)
{
    (void)state;
    static const struct ws_case cases[] = {
        {"3.1", {{0xc1, B("Hello, world!")}}, {{0}}, 1002},
        {"3.2", {HELLO, {0xa1, B("Hello, world!")}, PING}, {HELLO}, 1002},
        {"3.3", {HELLO, {0xb1, B("Hello, world!")}, PING}, {HELLO}, 1002, 15},
        {"3.4", {HELLO, {0xc1, B("Hello, world!")}, PING}, {HELLO}, 1002, 1},
        {"3.5", {{0xd2, B(BINARY)}}, {{0}}, 1002},
        {"3.6", {{0xe9, B("Hello, world!")}}, {{0}}, 1002},
        {"3.7", {{0xf8, B("")}}, {{0}}, 1002},
    };
    RUN(cases)
}

static void opcodes(void **state)
{
    (void)state;
    static const struct ws_case cases[] = {
        {"4.1.1", {{0x83, B("")}}, {{0}}, 1002},
        {"4.1.2", {{0x84, B("reserved")}}, {{0}}, 1002},
        {"4.1.3", {HELLO, {0x85, B("")}, PING}, {HELLO}, 1002},
        {"4.1.4", {HELLO, {0x86, B("reserved")}, PING}, {HELLO}, 1002},
        {"4.1.5", {HELLO, {0x87, B("reserved")}, PING}, {HELLO}, 1002, 1},
        {"4.2.1", {{0x8b, B("")}}, {{0}}, 1002},
        {"4.2.2", {{0x8c, B("reserved")}}, {{0}}, 1002},
        {"4.2.3", {HELLO, {0x8d, B("")}, PING}, {HELLO}, 1002},
        {"4.2.4", {HELLO, {0x8e, B("reserved")}, PING}, {HELLO}, 1002},
        {"4.2.5", {HELLO, {0x8f, B("reserved")}, PING}, {HELLO}, 1002, 1},
    };
    RUN(cases)
}

#define ONE B("fragment1")
#define TWO B("fragment2")
#define BOTH                                                                                       \
    {                                                                                              \
        0x81, B("fragment1fragment2")                                                              \
    }
#define NOTHING_TO_CONTINUE B("to nothing")

static void fragments(void **state)
{
    (void)state;
    static const struct ws_case cases[] = {
        {"5.1", {{0x09, ONE}, {0x80, TWO}}, {{0}}, 1002},
        {"5.2", {{0x0a, ONE}, {0x80, TWO}}, {{0}}, 1002},
        {"5.3", {{0x01, ONE}, {0x80, TWO}}, {BOTH}, CLEAN},
        {"5.4", {{0x01, ONE}, {0x80, TWO}}, {BOTH}, CLEAN, 11},
        {"5.5", {{0x01, ONE}, {0x80, TWO}}, {BOTH}, CLEAN, 1},
        {"5.6", {{0x01, ONE}, {0x89, B("p")}, {0x80, TWO}}, {{0x8a, B("p")}, BOTH}, CLEAN},
        {"5.7", {{0x01, ONE}, {0x89, B("p")}, {0x80, TWO}}, {{0x8a, B("p")}, BOTH}, CLEAN, 11},
        {"5.8", {{0x01, ONE}, {0x89, B("p")}, {0x80, TWO}}, {{0x8a, B("p")}, BOTH}, CLEAN, 1},
        {"5.9", {{0x80, NOTHING_TO_CONTINUE}, HELLO}, {{0}}, 1002},
        {"5.10", {{0x80, NOTHING_TO_CONTINUE}, HELLO}, {{0}}, 1002, 12},
        {"5.11", {{0x80, NOTHING_TO_CONTINUE}, HELLO}, {{0}}, 1002, 1},
        {"5.12", {{0x100, NOTHING_TO_CONTINUE}, HELLO}, {{0}}, 1002},
        {"5.13", {{0x100, NOTHING_TO_CONTINUE}, HELLO}, {{0}}, 1002, 12},
        {"5.14", {{0x100, NOTHING_TO_CONTINUE}, HELLO}, {{0}}, 1002, 1},
        {"5.15", {{0x01, ONE}, {0x80, TWO}, {0x100, ONE}, {0x81, TWO}}, {BOTH}, 1002},
        {"5.16", {{0x100, ONE}, {0x01, ONE}, {0x80, TWO}}, {{0}}, 1002},
        {"5.17", {{0x80, ONE}, {0x01, ONE}, {0x80, TWO}}, {{0}}, 1002},
        {"5.18", {{0x01, ONE}, {0x81, TWO}}, {{0}}, 1002},
        {"5.19",
         {{0x01, B("1")},
          {0x100, B("2")},
          {0x89, B("p1")},
          {0x100, B("3")},
          {0x100, B("4")},
          {0x89, B("p2")},
          {0x80, B("5")}},
         {{0x8a, B("p1")}, {0x8a, B("p2")}, {0x81, B("12345")}},
         CLEAN},
        {"5.20",
         {{0x01, B("1")},
          {0x100, B("2")},
          {0x89, B("p1")},
          {0x100, B("3")},
          {0x100, B("4")},
          {0x89, B("p2")},
          {0x80, B("5")}},
         {{0x8a, B("p1")}, {0x8a, B("p2")}, {0x81, B("12345")}},
         CLEAN,
         3},
    };
    RUN(cases)
}

#define KOSME "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
#define WORDS "Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xc3\xa4"
#define MORE_WORDS "\xc3\xbc\xc3\xa0\xc3\xa1-UTF-8!!"

static void texts(void **state)
{
    (void)state;
    static const struct ws_case cases[] = {
        {"6.1.1", {{0x81, B("")}}, {{0x81, B("")}}, CLEAN},
        {"6.1.2", {{0x01, B("")}, {0x100, B("")}, {0x80, B("")}}, {{0x81, B("")}}, CLEAN},
        {"6.1.3", {{0x01, B("")}, {0x100, B("x")}, {0x80, B("")}}, {{0x81, B("x")}}, CLEAN},
        {"6.2.1", {{0x81, B(WORDS MORE_WORDS)}}, {{0x81, B(WORDS MORE_WORDS)}}, CLEAN},
        {"6.2.2", {{0x01, B(WORDS)}, {0x80, B(MORE_WORDS)}}, {{0x81, B(WORDS MORE_WORDS)}}, CLEAN},
        {"6.2.3",
         {{0x01, B("\xc2")}, {0x100, B("\xb5@\xe2")}, {0x100, B("\x82")}, {0x80, B("\xac")}},
         {{0x81, B("\xc2\xb5@\xe2\x82\xac")}},
         CLEAN},
        {"6.2.4",
         {{0x01, B("\xce")}, {0x100, B("\xba\xe1")}, {0x100, B("\xbd")}, {0x80, B("\xb9")}},
         {{0x81, B("\xce\xba\xe1\xbd\xb9")}},
         CLEAN},
        {"6.3.1",
         {{0x81, B(KOSME "\xed\xa0\x80"
                         "edited")}},
         {{0}},
         1007},
        {"6.3.2",
         {{0x01, B(KOSME)}, {0x100, B("\xed")}, {0x100, B("\xa0")}, {0x80, B("\x80")}},
         {{0}},
         1007},
    };
    RUN(cases)
}

/* 6.4: the bad byte is found when it comes, not when its frame or message ends. */
static void fail_fast(void **state)
{
    (void)state;
    static const char text[] = KOSME "\xf4\x90\x80\x80"
                                     "edited";
    for (int role = WEBSOCKET_CLIENT; role <= WEBSOCKET_SERVER; role++) {
        for (int fragmented = 0; fragmented < 2; fragmented++) {
            struct ws_end echo;
            struct rng rng;
            struct ws_bytes wire = {0};
            rng_seed(&rng, 1);
            ws_open(&echo, role, true, NULL);
            if (fragmented) { /* 6.4.1 and 6.4.2 */
                struct ws_frame first = {0x01, text, 12, 0}, second = {0x100, text + 12, 1, 0};
                ws_send(&wire, other(role), &rng, &first);
                ws_send(&wire, other(role), &rng, &second);
            } else { /* 6.4.3 and 6.4.4 */
                struct ws_frame whole = {0x81, text, sizeof text - 1, 0};
                ws_send(&wire, other(role), &rng, &whole);
                wire.length -= sizeof text - 1 - 13;
            }
            ws_feed(&echo, wire.data, wire.length - 1, 0);
            assert_int_equal(echo.error, 0);
            ws_feed(&echo, wire.data + wire.length - 1, 1, 0);
            assert_int_equal(echo.error, WEBSOCKET_BAD_TEXT);
            assert_int_equal(echo.code, 1007);
            ws_free(&wire);
            ws_close(&echo);
        }
    }
}

struct utf8_case {
    const char *number;
    const char *bytes; /* of a string: none of them has a zero but where `length` says so */
    size_t length;     /* 0: as the string */
    bool valid;
};

static const struct utf8_case utf8_cases[] = {
    {"6.5.1", "hello\x24world", 0, true},
    {"6.5.2", "hello\xc2\xa2world", 0, true},
    {"6.5.3", "hello\xe2\x82\xacworld", 0, true},
    {"6.5.4", "hello\xf0\xa4\xad\xa2world", 0, true},
    {"6.5.5", KOSME, 0, true},
    {"6.6.1", KOSME, 1, false},
    {"6.6.2", KOSME, 2, true},
    {"6.6.3", KOSME, 3, false},
    {"6.6.4", KOSME, 4, false},
    {"6.6.5", KOSME, 5, true},
    {"6.6.6", KOSME, 6, false},
    {"6.6.7", KOSME, 7, true},
    {"6.6.8", KOSME, 8, false},
    {"6.6.9", KOSME, 9, true},
    {"6.6.10", KOSME, 10, false},
    {"6.6.11", KOSME, 11, true},
    {"6.7.1", "\0", 1, true},
    {"6.7.2", "\xc2\x80", 0, true},
    {"6.7.3", "\xe0\xa0\x80", 0, true},
    {"6.7.4", "\xf0\x90\x80\x80", 0, true},
    {"6.8.1", "\xf8\x88\x80\x80\x80", 0, false},
    {"6.8.2", "\xfc\x84\x80\x80\x80\x80", 0, false},
    {"6.9.1", "\x7f", 0, true},
    {"6.9.2", "\xdf\xbf", 0, true},
    {"6.9.3", "\xef\xbf\xbf", 0, true},
    {"6.9.4", "\xf4\x8f\xbf\xbf", 0, true},
    {"6.10.1", "\xf7\xbf\xbf\xbf", 0, false},
    {"6.10.2", "\xfb\xbf\xbf\xbf\xbf", 0, false},
    {"6.10.3", "\xfd\xbf\xbf\xbf\xbf\xbf", 0, false},
    {"6.11.1", "\xed\x9f\xbf", 0, true},
    {"6.11.2", "\xee\x80\x80", 0, true},
    {"6.11.3", "\xef\xbf\xbd", 0, true},
    {"6.11.4", "\xf4\x8f\xbf\xbf", 0, true},
    {"6.11.5", "\xf4\x90\x80\x80", 0, false},
    {"6.12.1", "\x80", 0, false},
    {"6.12.2", "\xbf", 0, false},
    {"6.12.3", "\x80\xbf", 0, false},
    {"6.12.4", "\x80\xbf\x80", 0, false},
    {"6.12.5", "\x80\xbf\x80\xbf", 0, false},
    {"6.12.6", "\x80\xbf\x80\xbf\x80", 0, false},
    {"6.12.7", "\x80\xbf\x80\xbf\x80\xbf", 0, false},
    {"6.12.8", "\x80\x81\x82\x83\x9e\x9f\xa0\xa1\xbd\xbe", 0, false},
    {"6.13.1", "\xc0 \xc1 \xc2 \xc3 \xde ", 0, false},
    {"6.13.2", "\xe0 \xe1 \xe2 \xed \xee ", 0, false},
    {"6.13.3", "\xf0 \xf1 \xf2 \xf4 \xf6 ", 0, false},
    {"6.13.4", "\xf8 \xf9 \xfa ", 0, false},
    {"6.13.5", "\xfc ", 0, false},
    {"6.14.1", "\xc0", 0, false},
    {"6.14.2", "\xe0\x80", 0, false},
    {"6.14.3", "\xf0\x80\x80", 0, false},
    {"6.14.4", "\xf8\x80\x80\x80", 0, false},
    {"6.14.5", "\xfc\x80\x80\x80\x80", 0, false},
    {"6.14.6", "\xdf", 0, false},
    {"6.14.7", "\xef\xbf", 0, false},
    {"6.14.8", "\xf7\xbf\xbf", 0, false},
    {"6.14.9", "\xfb\xbf\xbf\xbf", 0, false},
    {"6.14.10", "\xfd\xbf\xbf\xbf\xbf", 0, false},
    {"6.15.1",
     "\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xfc\x80\x80\x80\x80\xdf\xef\xbf\xf7\xbf\xbf", 0,
     false},
    {"6.16.1", "\xfe", 0, false},
    {"6.16.2", "\xff", 0, false},
    {"6.16.3", "\xfe\xfe\xff\xff", 0, false},
    {"6.17.1", "\xc0\xaf", 0, false},
    {"6.17.2", "\xe0\x80\xaf", 0, false},
    {"6.17.3", "\xf0\x80\x80\xaf", 0, false},
    {"6.17.4", "\xf8\x80\x80\x80\xaf", 0, false},
    {"6.17.5", "\xfc\x80\x80\x80\x80\xaf", 0, false},
    {"6.18.1", "\xc1\xbf", 0, false},
    {"6.18.2", "\xe0\x9f\xbf", 0, false},
    {"6.18.3", "\xf0\x8f\xbf\xbf", 0, false},
    {"6.18.4", "\xf8\x87\xbf\xbf\xbf", 0, false},
    {"6.18.5", "\xfc\x83\xbf\xbf\xbf\xbf", 0, false},
    {"6.19.1", "\xc0\x80", 0, false},
    {"6.19.2", "\xe0\x80\x80", 0, false},
    {"6.19.3", "\xf0\x80\x80\x80", 0, false},
    {"6.19.4", "\xf8\x80\x80\x80\x80", 0, false},
    {"6.19.5", "\xfc\x80\x80\x80\x80\x80", 0, false},
    {"6.20.1", "\xed\xa0\x80", 0, false},
    {"6.20.2", "\xed\xad\xbf", 0, false},
    {"6.20.3", "\xed\xae\x80", 0, false},
    {"6.20.4", "\xed\xaf\xbf", 0, false},
    {"6.20.5", "\xed\xb0\x80", 0, false},
    {"6.20.6", "\xed\xbe\x80", 0, false},
    {"6.20.7", "\xed\xbf\xbf", 0, false},
    {"6.21.1", "\xed\xa0\x80\xed\xb0\x80", 0, false},
    {"6.21.2", "\xed\xa0\x80\xed\xbf\xbf", 0, false},
    {"6.21.3", "\xed\xad\xbf\xed\xb0\x80", 0, false},
    {"6.21.4", "\xed\xad\xbf\xed\xbf\xbf", 0, false},
    {"6.21.5", "\xed\xae\x80\xed\xb0\x80", 0, false},
    {"6.21.6", "\xed\xae\x80\xed\xbf\xbf", 0, false},
    {"6.21.7", "\xed\xaf\xbf\xed\xb0\x80", 0, false},
    {"6.21.8", "\xed\xaf\xbf\xed\xbf\xbf", 0, false},
    {"6.22.1", "\xef\xbf\xbe", 0, true},
    {"6.22.2", "\xef\xbf\xbf", 0, true},
    {"6.23.1", "\xef\xbf\xb9", 0, true},
    {"6.23.2", "\xef\xbf\xba", 0, true},
    {"6.23.3", "\xef\xbf\xbb", 0, true},
    {"6.23.4", "\xef\xbf\xbc", 0, true},
    {"6.23.5", "\xef\xbf\xbd", 0, true},
    {"6.23.6", "\xef\xbf\xbe", 0, true},
    {"6.23.7", "\xef\xbf\xbf", 0, true},
};

static void run_utf8(const struct utf8_case *one)
{
    struct ws_frame frame = {0x81, one->bytes, one->length ? one->length : strlen(one->bytes), 0};
    struct ws_case all = {one->number, {frame}, {{0}}, one->valid ? CLEAN : 1007, 0};
    if (one->valid) {
        all.answered[0] = frame;
    }
    run(&all);
}

static void utf8(void **state)
{
    (void)state;
    unsigned number = 3;
    for (size_t i = 0; i < sizeof utf8_cases / sizeof utf8_cases[0]; i++) {
        run_utf8(&utf8_cases[i]);
    }
    /* 6.22.3 to 34: the last two code points of each plane that ends in these. */
    for (uint8_t first = 0xf0; first <= 0xf4; first++) {
        for (uint8_t second = 0x8f; second >= 0x8f; second = (uint8_t)(second + 0x10)) {
            for (uint8_t last = 0xbe; last <= 0xbf; last++) {
                char bytes[] = {(char)first, (char)second, (char)0xbf, (char)last, '\0'};
                char name[16];
                bool valid =
                    !(first == 0xf0 && second == 0x8f) && !(first == 0xf4 && second > 0x8f);
                if (valid && second <= 0xbf) {
                    snprintf(name, sizeof name, "6.22.%u", number++);
                    struct utf8_case one = {name, bytes, 4, true};
                    run_utf8(&one);
                }
            }
        }
    }
    assert_int_equal(number, 35);
}

static void closes(void **state)
{
    (void)state;
    static const struct ws_case cases[] = {
        {"7.1.1", {HELLO}, {HELLO}, CLEAN},
        {"7.1.2", {{0x88, B("\x03\xe8")}, {0x88, B("")}}, {{0}}, 1000},
        {"7.1.3", {{0x88, B("\x03\xe8")}, PING}, {{0}}, 1000},
        {"7.1.4", {{0x88, B("\x03\xe8")}, HELLO}, {{0}}, 1000},
        {"7.1.5", {{0x01, ONE}, {0x88, B("\x03\xe8")}, {0x80, TWO}}, {{0}}, 1000},
        {"7.1.6",
         {{0x81, B("BAsd7&jh23"), 26214}, HELLO, {0x88, B("\x03\xe8")}, PING},
         {{0x81, B("BAsd7&jh23"), 26214}, HELLO},
         1000},
        {"7.3.1", {{0x88, B("")}}, {{0}}, WEBSOCKET_NO_CODE},
        {"7.3.2", {{0x88, B("a")}}, {{0}}, 1002},
        {"7.3.3", {{0x88, B("\x03\xe8")}}, {{0}}, 1000},
        {"7.3.4", {{0x88, B("\x03\xe8Hello World!")}}, {{0}}, 1000},
        {"7.3.5",
         {{0x88, B("\x03\xe8*********************************************************"
                   "****************************************************************"
                   "**")}},
         {{0}},
         1000},
        {"7.3.6", {{0x88, B("\x03\xe8*"), 42}}, {{0}}, 1002},
        {"7.5.1",
         {{0x88, B("\x03\xe8" KOSME "\xed\xa0\x80"
                   "edited")}},
         {{0}},
         1007},
    };
    RUN(cases)
    assert_int_equal(cases[10].sent[0].length, 125);
}

static void close_codes(void **state)
{
    (void)state;
    static const struct {
        const char *number;
        uint16_t codes[13];
        bool valid;
    } rows[] = {
        {"7.7",
         {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999},
         true},
        /* 0 is the first of them */
        {"7.9", {1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999}, false},
        {"7.13", {5000, 65535}, false},
    };
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        for (size_t i = 0; i < 13 && rows[row].codes[i]; i++) {
            uint16_t code = rows[row].codes[i] == 1 ? 0 : rows[row].codes[i];
            char body[] = {(char)(code >> 8), (char)code}, number[16];
            snprintf(number, sizeof number, "%s.%zu", rows[row].number, i + 1);
            struct ws_case one = {
                number, {{0x88, body, 2, 0}}, {{0}}, rows[row].valid ? code : 1002, 0};
            run(&one);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames),      cmocka_unit_test(pings),     cmocka_unit_test(reserved_bits),
        cmocka_unit_test(opcodes),     cmocka_unit_test(fragments), cmocka_unit_test(texts),
        cmocka_unit_test(fail_fast),   cmocka_unit_test(utf8),      cmocka_unit_test(closes),
        cmocka_unit_test(close_codes),
    };
    return cmocka_run_group_tests_name("websocket_cases", tests, NULL, NULL);
}
