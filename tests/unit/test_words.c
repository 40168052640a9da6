/* Command lines in one argument. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "cli/words.h"

static void assert_words(const char *text, const char *const *expected)
{
    char **words;
    struct err error = {0};
    assert_int_equal(words_split(text, "--run", &words, &error), 0);
    size_t i = 0;
    for (; expected[i]; i++) {
        if (!words[i] || strcmp(words[i], expected[i]) != 0) {
            fail_msg("%s: word %zu is '%s', not '%s'", text, i, words[i] ? words[i] : "(none)",
                     expected[i]);
        }
    }
    assert_null(words[i]);
    words_release(&words);
    words_release(&words);
}

#define WORDS(text, ...) assert_words(text, (const char *const[]){__VA_ARGS__, NULL})

static void words_are_split_as_by_a_shell(void **state)
{
    (void)state;
    WORDS("call", "call");
    WORDS("  ipc \t -b\n4k  ", "ipc", "-b", "4k");
    WORDS("a 'b c' \"d  e\"", "a", "b c", "d  e");
    WORDS("--x='b c'd", "--x=b cd");
    WORDS("'' \"\"", "", "");
    WORDS("a\\ b \\' \\\"", "a b", "'", "\"");
    WORDS("'a\\b' 'a\"b' \"a'b\"", "a\\b", "a\"b", "a'b");
    WORDS("\"a\\\"b\\\\c\\d\"", "a\"b\\c\\d");
    WORDS("$HOME *.c `x` ~ #", "$HOME", "*.c", "`x`", "~", "#");
}

static void wrong_texts_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "is empty"},
        {" \t ", "is empty"},
        {"call 'a", "has a ' that is not closed"},
        {"call \"a\\\"", "has a \" that is not closed"},
        {"call a\\", "ends in a backslash"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char **words;
        struct err error = {0};
        assert_int_equal(words_split(cases[i][0], "--run", &words, &error), -1);
        assert_int_equal(error.code, ERR_USAGE);
        assert_string_equal(error.subject, "--run");
        assert_string_equal(error.what, cases[i][1]);
        assert_null(words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_split_as_by_a_shell),
        cmocka_unit_test(wrong_texts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
