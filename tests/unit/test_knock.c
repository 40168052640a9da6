/* What is said before datagrams flow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "codec/knock.h"

static const struct knock example = {
    .kind = KNOCK_ECHO,
    .number = 0x01020304,
    .token = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xff}};

static void test_there_and_back(void **state)
{
    (void)state;
    uint8_t bytes[KNOCK_BYTES];
    for (uint8_t kind = 0; kind < KNOCK_KINDS; kind++) {
        struct knock knock = example, back;
        knock.kind = kind;
        knock_encode(bytes, &knock);
        assert_true(knock_decode(bytes, sizeof bytes, &back));
        assert_int_equal(back.kind, kind);
        assert_int_equal(back.number, knock.number);
        assert_memory_equal(back.token, knock.token, sizeof knock.token);
    }
    assert_int_equal(bytes[8], 1); /* big-endian */
    assert_int_equal(bytes[11], 4);
}

static void test_any_other_length(void **state)
{
    (void)state;
    uint8_t whole[KNOCK_BYTES + 1] = {0};
    knock_encode(whole, &example);
    for (size_t length = 0; length <= sizeof whole; length++) {
        struct knock back;
        uint8_t *copy = malloc(length + !length); /* its end is guarded */
        assert_non_null(copy);
        memcpy(copy, whole, length);
        assert_int_equal(knock_decode(copy, length, &back), length == KNOCK_BYTES);
        free(copy);
    }
}

static void test_every_byte_that_is_not_free(void **state)
{
    (void)state;
    for (size_t at = 0; at < 16; at++) {
        uint8_t bytes[KNOCK_BYTES];
        struct knock back;
        knock_encode(bytes, &example);
        bytes[at] ^= 0x80;
        bool number = at >= 8 && at < 12;
        assert_int_equal(knock_decode(bytes, sizeof bytes, &back), number);
    }
}

static void test_tokens(void **state)
{
    (void)state;
    for (size_t at = 0; at < KNOCK_TOKEN_BYTES; at++) {
        struct knock other = example;
        assert_true(knock_same_token(other.token, example.token));
        other.token[at] ^= 1;
        assert_false(knock_same_token(other.token, example.token));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_any_other_length),
        cmocka_unit_test(test_every_byte_that_is_not_free),
        cmocka_unit_test(test_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
