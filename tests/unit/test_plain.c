/* Which texts a terminal might obey. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/opt_value.h"
#include "base/plain.h"

/* A character as UTF-8. */
static void encode(char *to, uint32_t character)
{
    unsigned more = character < 0x80 ? 0 : character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
    static const unsigned heads[] = {0, 0xc0, 0xe0, 0xf0};
    *to++ = (char)(heads[more] | character >> 6 * more);
    while (more--) {
        *to++ = (char)(0x80 | (character >> 6 * more & 0x3f));
    }
    *to = '\0';
}

static bool is_control(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character < 0xa0) ||
           (character >= 0x202a && character <= 0x202e) ||
           (character >= 0x2066 && character <= 0x2069);
}

static void test_every_character(void **state)
{
    (void)state;
    for (uint32_t character = 1; character <= 0x10ffff; character++) {
        char text[8];
        if (character >= 0xd800 && character <= 0xdfff) {
            continue; /* surrogates are no characters */
        }
        encode(text, character);
        size_t length = strlen(text);
        if (plain_utf8(text) != length ||
            plain_control(text) != (is_control(character) ? length : 0) ||
            plain_text(text) == is_control(character)) {
            fail_msg("U+%04X", character);
        }
    }
}

static void test_texts(void **state)
{
    (void)state;
    assert_true(plain_text(""));
    assert_true(plain_text("100 GiB \xc2\xb5s \xe2\x80\xa6 \xf0\x9f\x8e\x89"));
    assert_false(plain_text("a\x1b[2J"));
    assert_false(plain_text("a\xc2\x9b"));
    assert_false(plain_text("a\xe2\x80\xaeZ"));
    assert_false(plain_text("\x9b")); /* by itself, for a terminal of 8 bits */
    assert_false(plain_text("a\xe2\x80"));
}

/* What is quoted in an error is shown without it, whatever it is and wherever it is cut off. */
static void test_quoted(void **state)
{
    (void)state;
    assert_string_equal(opt_quote("a\x1b[2J\xc2\x9bZ\xe2\x81\xa6", 11).text, "a?[2J?Z?");
    assert_string_equal(opt_quote("\x9b\xe2\x80", 3).text, "???");
    assert_string_equal(opt_quote("\xc3\xa4=1", 2).text, "\xc3\xa4");
    char text[256];
    for (unsigned seed = 0; seed < 2000; seed++) {
        srand(seed);
        size_t length = (size_t)rand() % (sizeof text - 1);
        for (size_t i = 0; i < length; i++) {
            text[i] = (char)(1 + rand() % 255);
        }
        text[length] = '\0';
        assert_true(plain_text(opt_quote(text, length).text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_quoted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
