/* The hello: back and forth, in pieces, cut, and with every byte wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "codec/hello.h"

static const struct hello example = {
    .flags = HELLO_REVERSE,
    .number = 0x01020304,
    .token = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

/* The bytes are part of a protocol: they may not change. */
static void is_these_bytes(void **state)
{
    static const uint8_t expected[HELLO_BYTES] = {'s', 'O', 'n', 'd', 1,  1,  0,  0,  1,  2, 3,
                                                  4,   0,   0,   0,   0,  1,  2,  3,  4,  5, 6,
                                                  7,   8,   9,   10,  11, 12, 13, 14, 15, 16};
    uint8_t bytes[HELLO_BYTES];
    (void)state;
    hello_encode(bytes, &example);
    assert_memory_equal(bytes, expected, sizeof expected);
}

static void comes_back(void **state)
{
    uint8_t bytes[HELLO_BYTES];
    struct hello hello;
    const char *reason;
    (void)state;
    hello_encode(bytes, &example);
    assert_int_equal(hello_decode(bytes, sizeof bytes, &hello, &reason), HELLO_BYTES);
    assert_null(reason);
    assert_memory_equal(&hello, &example, sizeof hello);
}

/* Cut at every length, at the end of a page behind which nothing may be read. */
static void is_patient_and_reads_no_further(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *pages =
        mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t bytes[HELLO_BYTES];
    struct hello hello;
    const char *reason;
    (void)state;
    assert_true(pages != MAP_FAILED);
    assert_int_equal(mprotect(pages + page, page, PROT_NONE), 0);
    hello_encode(bytes, &example);
    for (size_t length = 0; length < HELLO_BYTES; length++) {
        uint8_t *at = pages + page - length;
        memcpy(at, bytes, length);
        assert_int_equal(hello_decode(at, length, &hello, &reason), 0);
        assert_null(reason);
    }
    uint8_t *at = pages + page - HELLO_BYTES;
    memcpy(at, bytes, HELLO_BYTES);
    assert_int_equal(hello_decode(at, HELLO_BYTES, &hello, &reason), HELLO_BYTES);
    munmap(pages, 2 * page);
}

/* As soon as the wrong byte is there, not when the rest has come. */
static void refuses_early(void **state)
{
    (void)state;
    for (size_t at = 0; at < HELLO_BYTES; at++) {
        uint8_t bytes[HELLO_BYTES];
        struct hello hello;
        const char *reason;
        bool free_choice = (at >= 8 && at < 12) || at >= 16;
        hello_encode(bytes, &example);
        bytes[at] ^= 0x82;
        int result = hello_decode(bytes, at + 1, &hello, &reason);
        if (free_choice) {
            assert_int_equal(result, at + 1 == HELLO_BYTES ? HELLO_BYTES : 0);
        } else {
            assert_int_equal(result, -1);
            assert_non_null(reason);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_these_bytes),
        cmocka_unit_test(comes_back),
        cmocka_unit_test(is_patient_and_reads_no_further),
        cmocka_unit_test(refuses_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
