/* iperf3's protocol over bytes: what iperf3 3.12 and older ones send, byte by byte, and what nobody
 * should. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "codec/iperf3.h"

/* Bytes that end where nothing can be read any more. */
static uint8_t *at_the_edge(const void *bytes, size_t length)
{
    static uint8_t *pages;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (pages == NULL) {
        pages = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(pages, MAP_FAILED);
        assert_int_equal(mprotect(pages + 2 * page, page, PROT_NONE), 0);
    }
    assert_true(length <= 2 * page);
    uint8_t *to = pages + 2 * page - length;
    if (length) {
        memcpy(to, bytes, length);
    }
    return to;
}

static int cookie_of(const void *bytes, size_t length, char cookie[IPERF3_COOKIE_BYTES])
{
    return iperf3_cookie_decode(at_the_edge(bytes, length), length, cookie);
}

static void cookies(void **state)
{
    (void)state;
    uint8_t random[IPERF3_COOKIE_BYTES - 1];
    char made[IPERF3_COOKIE_BYTES], cookie[IPERF3_COOKIE_BYTES];

    for (unsigned seed = 0; seed < 256; seed++) {
        for (size_t i = 0; i < sizeof random; i++) {
            random[i] = (uint8_t)(seed + i * 7);
        }
        iperf3_cookie_make(random, made);
        assert_int_equal(strlen(made), 36);
        assert_int_equal(strspn(made, "abcdefghijklmnopqrstuvwxyz234567"), 36);
        assert_int_equal(cookie_of(made, sizeof made, cookie), 37);
        assert_memory_equal(cookie, made, sizeof made);
    }
    for (size_t length = 0; length < sizeof made; length++) {
        assert_int_equal(cookie_of(made, length, cookie), 0);
    }
    /* A host name, a time and a counter: before 3.7. */
    static const char old[IPERF3_COOKIE_BYTES] = "host.1234567890.123456.2f3a.12345678";
    assert_int_equal(cookie_of(old, sizeof old, cookie), 37);
    /* Shorter ones, filled with zeros. */
    static const char brief[IPERF3_COOKIE_BYTES] = "x";
    assert_int_equal(cookie_of(brief, sizeof brief, cookie), 37);
}

static void bad_cookies(void **state)
{
    (void)state;
    char good[IPERF3_COOKIE_BYTES], cookie[IPERF3_COOKIE_BYTES];
    memset(good, 'a', sizeof good);
    assert_int_equal(cookie_of(good, sizeof good, cookie), IPERF3_BAD_COOKIE); /* no zero */
    for (size_t i = 0; i < IPERF3_COOKIE_BYTES - 1; i++) {
        memset(good, 'a', sizeof good);
        good[IPERF3_COOKIE_BYTES - 1] = '\0';
        static const uint8_t bad[] = {1, ' ', '\n', 0x7f, 0x80, 0xff};
        for (size_t b = 0; b < sizeof bad; b++) {
            good[i] = (char)bad[b];
            /* At once, however little has come. */
            assert_int_equal(cookie_of(good, i + 1, cookie), IPERF3_BAD_COOKIE);
        }
        good[i] = '\0'; /* and then goes on */
        assert_int_equal(cookie_of(good, sizeof good, cookie),
                         i == IPERF3_COOKIE_BYTES - 2 ? 37 : IPERF3_BAD_COOKIE);
    }
    assert_int_equal(cookie_of("GET / HTTP/1.1\r\n\r\n", 18, cookie), IPERF3_BAD_COOKIE);
    assert_int_equal(cookie_of("", 1, cookie), IPERF3_BAD_COOKIE);
}

static void states(void **state)
{
    (void)state;
    enum iperf3_state found;
    int known = 0;

    assert_int_equal(iperf3_state_decode(at_the_edge("", 0), 0, &found), 0);
    for (int value = -128; value < 128; value++) {
        int8_t byte = (int8_t)value;
        int status = iperf3_state_decode(at_the_edge(&byte, 1), 1, &found);
        if (status == 1) {
            known++;
            assert_int_equal(found, value);
            assert_string_not_equal(iperf3_state_name(value), "unknown");
        } else {
            assert_int_equal(status, IPERF3_BAD_STATE);
            assert_string_equal(iperf3_state_name(value), "unknown");
        }
    }
    assert_int_equal(known, 18);
    assert_string_equal(iperf3_state_name(9), "PARAM_EXCHANGE");
    assert_string_equal(iperf3_state_name(-1), "ACCESS_DENIED");
    assert_string_equal(iperf3_state_name(-2), "SERVER_ERROR");
    assert_string_equal(iperf3_state_name(16), "IPERF_DONE");
}

static void frames(void **state)
{
    (void)state;
    static const uint8_t frame[] = {0,   0,   0,   11,  '{', '"', 't', 'c',
                                    'p', '"', ':', 't', 'r', 'u', 'e', '}'};
    uint8_t header[4];
    const char *body;
    uint32_t length;

    for (size_t there = 0; there < 15; there++) {
        assert_int_equal(iperf3_frame_decode(at_the_edge(frame, there), there, 100, &body, &length),
                         0);
    }
    const uint8_t *at = at_the_edge(frame, 16);
    assert_int_equal(iperf3_frame_decode(at, 16, 100, &body, &length), 15);
    assert_int_equal(length, 11);
    assert_ptr_equal(body, at + 4);
    assert_int_equal(iperf3_frame_decode(at, 16, 11, &body, &length), 15);
    assert_int_equal(iperf3_frame_decode(at, 4, 10, &body, &length), IPERF3_BAD_FRAME_LONG);
    iperf3_frame_header(header, 0x01020304);
    assert_memory_equal(header, "\1\2\3\4", 4);
    memset(header, 0, 4);
    assert_int_equal(iperf3_frame_decode(at_the_edge(header, 4), 4, 100, &body, &length),
                     IPERF3_BAD_FRAME_EMPTY);
}

/* Lengths that arithmetic would stumble over. */
static void hostile_frames(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {0xffffffff,
                                       0xfffffffc,
                                       0xfffffffb,
                                       0x80000000,
                                       0x7fffffff,
                                       0x7ffffffc,
                                       IPERF3_RESULTS_MOST + 1};
    uint8_t header[4];
    const char *body;
    uint32_t length;

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        iperf3_frame_header(header, lengths[i]);
        const uint8_t *at = at_the_edge(header, 4);
        assert_int_equal(iperf3_frame_decode(at, 4, IPERF3_PARAMETERS_MOST, &body, &length),
                         IPERF3_BAD_FRAME_LONG);
        assert_int_equal(iperf3_frame_decode(at, 4, UINT32_MAX, &body, &length),
                         IPERF3_BAD_FRAME_LONG);
    }
    iperf3_frame_header(header, IPERF3_PARAMETERS_MOST);
    assert_int_equal(
        iperf3_frame_decode(at_the_edge(header, 4), 4, IPERF3_PARAMETERS_MOST, &body, &length), 0);
}

static void refusals(void **state)
{
    (void)state;
    const struct iperf3_refusal said = {.reason = 144, .number = 11};
    struct iperf3_refusal heard;
    uint8_t bytes[IPERF3_REFUSAL_BYTES];

    iperf3_refusal_encode(bytes, &said);
    assert_memory_equal(bytes, "\0\0\0\x90\0\0\0\x0b", 8);
    for (size_t length = 0; length < 8; length++) {
        assert_int_equal(iperf3_refusal_decode(at_the_edge(bytes, length), length, &heard), 0);
    }
    assert_int_equal(iperf3_refusal_decode(at_the_edge(bytes, 8), 8, &heard), 8);
    assert_int_equal(heard.reason, 144);
    assert_int_equal(heard.number, 11);
    assert_int_equal(iperf3_refusal_decode(at_the_edge("\xff\xff\xff\xff\x80\0\0\0", 8), 8, &heard),
                     8);
    assert_int_equal(heard.reason, -1);
    assert_int_equal(heard.number, INT32_MIN);
    assert_non_null(iperf3_reason_text(144));
    assert_null(iperf3_reason_text(-1));
    assert_null(iperf3_reason_text(0));
}

static void datagrams(void **state)
{
    (void)state;
    const struct iperf3_datagram said = {.sent_ns = UINT64_C(4294967295999999000),
                                         .sequence = UINT64_C(0x0102030405060708)};
    struct iperf3_datagram heard;
    uint8_t bytes[IPERF3_DATAGRAM_MOST];

    for (int wide = 0; wide < 2; wide++) {
        size_t length = iperf3_datagram_encode(bytes, wide, &said);
        assert_int_equal(length, wide ? 16 : 12);
        assert_memory_equal(bytes, "\xff\xff\xff\xff\x00\x0f\x42\x3f", 8);
        assert_memory_equal(bytes + 8, wide ? "\1\2\3\4\5\6\7\x8" : "\5\6\7\x8", length - 8);
        for (size_t there = 0; there < length; there++) {
            assert_int_equal(iperf3_datagram_decode(at_the_edge(bytes, there), there, wide, &heard),
                             IPERF3_BAD_DATAGRAM_SHORT);
        }
        assert_int_equal(iperf3_datagram_decode(at_the_edge(bytes, length), length, wide, &heard),
                         (int)length);
        assert_true(heard.sent_ns == said.sent_ns);
        assert_true(heard.sequence == (wide ? said.sequence : 0x05060708));
        bytes[7]++; /* a millionth too many in the second */
        assert_int_equal(iperf3_datagram_decode(at_the_edge(bytes, length), length, wide, &heard),
                         IPERF3_BAD_DATAGRAM_RANGE);
    }
    memset(bytes, 0, sizeof bytes);
    bytes[8] = 0x80;
    assert_int_equal(iperf3_datagram_decode(at_the_edge(bytes, 16), 16, true, &heard),
                     IPERF3_BAD_DATAGRAM_RANGE);
    assert_int_equal(iperf3_datagram_decode(at_the_edge(bytes, 12), 12, false, &heard), 12);
    assert_true(heard.sequence == 0x80000000);
}

static void greetings(void **state)
{
    (void)state;
    static const struct {
        const char *hello, *reply;
    } forms[] = {{"9876", "6789"},                         /* 3.10 and later */
                 {"6789", "9876"},                         /* on a big-endian machine */
                 {"\x15\xcd\x5b\x07", "\xb1\x68\xde\x3a"}, /* 123456789, 987654321 */
                 {"\x07\x5b\xcd\x15", "\x3a\xde\x68\xb1"}};
    uint8_t bytes[IPERF3_HELLO_BYTES];
    enum iperf3_greeting greeting;

    for (int i = 0; i < 4; i++) {
        const uint8_t *hello = at_the_edge(forms[i].hello, 4);
        assert_int_equal(iperf3_hello_decode(hello, 4, &greeting), 4);
        assert_int_equal(greeting, i);
        iperf3_reply_encode(bytes, greeting);
        assert_memory_equal(bytes, forms[i].reply, 4);
        assert_int_equal(iperf3_reply_decode(bytes, 4, &greeting), 4);
        assert_int_equal(greeting, i);
        for (size_t length = 0; length < 4; length++) {
            assert_int_equal(
                iperf3_hello_decode(at_the_edge(forms[i].hello, length), length, &greeting),
                IPERF3_BAD_HELLO);
        }
    }
    iperf3_hello_encode(bytes);
    assert_memory_equal(bytes, "9876", 4);
    assert_int_equal(iperf3_hello_decode(at_the_edge("98765", 5), 5, &greeting), IPERF3_BAD_HELLO);
    assert_int_equal(iperf3_hello_decode(at_the_edge("\0\0\0\0", 4), 4, &greeting),
                     IPERF3_BAD_HELLO);
}

static void errors_have_texts(void **state)
{
    (void)state;
#define X(name, text) assert_string_equal(iperf3_error_text(IPERF3_BAD_##name), text);
    IPERF3_ERRORS(X)
#undef X
#define X(name, text) assert_true(IPERF3_BAD_##name < 0);
    IPERF3_ERRORS(X)
#undef X
    assert_string_equal(iperf3_error_text(-5), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cookies),
        cmocka_unit_test(bad_cookies),
        cmocka_unit_test(states),
        cmocka_unit_test(frames),
        cmocka_unit_test(hostile_frames),
        cmocka_unit_test(refusals),
        cmocka_unit_test(datagrams),
        cmocka_unit_test(greetings),
        cmocka_unit_test(errors_have_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
