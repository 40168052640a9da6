/* SHA-256 in pieces: the examples of FIPS 180-4, and what is no digest. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "codec/sha256.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define LONGER "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
#define MILLION "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

static void check(struct sha256 *hash, const char *text, size_t times, size_t chop,
                  const char *wanted)
{
    uint8_t digest[SHA256_BYTES], expected[SHA256_BYTES];
    size_t length = strlen(text);
    assert_true(sha256_begin(hash));
    for (size_t i = 0; i < times; i++) {
        for (size_t at = 0; at < length; at += chop) {
            assert_true(sha256_add(hash, text + at, length - at < chop ? length - at : chop));
        }
    }
    assert_true(sha256_end(hash, digest));
    assert_true(sha256_parse(wanted, expected));
    assert_memory_equal(digest, expected, sizeof digest);
}

static void vectors(void **state)
{
    char reason[160];
    (void)state;
    if (sha256_why_not(reason, sizeof reason) < 0) {
        assert_true(reason[0] != '\0');
        assert_null(sha256_open());
        skip();
    }
    struct sha256 *hash = sha256_open();
    assert_non_null(hash);
    for (size_t chop = 1; chop < 60; chop++) {
        check(hash, "", 1, chop, EMPTY);
        check(hash, "abc", 1, chop, ABC);
        check(hash, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1, chop, LONGER);
    }
    check(hash, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 20000, 50, MILLION);
    assert_true(sha256_begin(hash));
    assert_true(sha256_add(hash, "half", 4)); /* begun anew in the middle */
    check(hash, "abc", 1, 3, ABC);
    sha256_close(hash);
    sha256_close(NULL);
}

static void texts(void **state)
{
    uint8_t digest[SHA256_BYTES], other[SHA256_BYTES];
    char text[SHA256_TEXT + 2] = ABC;
    (void)state;
    assert_true(sha256_parse(text, digest));
    assert_int_equal(digest[0], 0xba);
    assert_int_equal(digest[31], 0xad);
    for (char *at = text; *at; at++) {
        *at = (char)(*at >= 'a' ? *at - 32 : *at);
    }
    assert_true(sha256_parse(text, other));
    assert_memory_equal(digest, other, sizeof digest);
    for (size_t i = 0; i < SHA256_TEXT; i++) {
        static const char wrong[] = {'g', 'G', ' ', '/', ':', '`', '@', '\xff', '\0'};
        for (size_t j = 0; j < sizeof wrong; j++) {
            char kept = text[i];
            text[i] = wrong[j];
            assert_false(sha256_parse(text, other));
            text[i] = kept;
        }
    }
    text[SHA256_TEXT] = '0';
    assert_false(sha256_parse(text, other));
    assert_false(sha256_parse("", other));
    assert_false(sha256_parse("0x" ABC, other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors), cmocka_unit_test(texts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
