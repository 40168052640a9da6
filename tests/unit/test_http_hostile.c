/* What breaks HTTP is an error with a name, however it comes, and never a message that counts. */
#include <stdlib.h>

#include "http_hostile_answers.h"

static void first_lines(void **state)
{
    (void)state;
    HTTP_ALL_BAD(hostile_first_lines, false);
}

static void lines(void **state)
{
    (void)state;
    HTTP_ALL_BAD(hostile_lines, false);
}

static void lengths(void **state)
{
    (void)state;
    HTTP_ALL_BAD(hostile_lengths, false);
}

static void chunks(void **state)
{
    (void)state;
    HTTP_ALL_BAD(hostile_chunks, false);
}

static void ends(void **state)
{
    (void)state;
    HTTP_ALL_BAD(hostile_ends, false);
}

/* A text `times` over, between others. */
static void play_long(const char *before, const char *text, size_t times, const char *behind,
                      int error, size_t chop)
{
    size_t first = strlen(before), piece = strlen(text), last = strlen(behind);
    struct http_case row = {.asked = "G", .length = first + piece * times + last};
    char *all = malloc(row.length + 1);
    struct http_end end;
    assert_non_null(all);
    memcpy(all, before, first);
    for (size_t i = 0; i < times; i++) {
        memcpy(all + first + i * piece, text, piece);
    }
    memcpy(all + first + piece * times, behind, last + 1);
    row.text = all;
    http_play(&end, &row, false, &http_limits_usual, chop, 0);
    assert_string_equal(http_error_name(end.said.error), http_error_name(error));
    assert_int_equal(end.said.ends, error ? 0 : 1);
    free(all);
}

/* By the usual limits: heads of 1 MB, interim answers without an end. */
static void endless(void **state)
{
    (void)state;
    static const size_t chops[] = {HTTP_WHOLE, 1, 1400};
    for (size_t i = 0; i < sizeof chops / sizeof chops[0]; i++) {
        size_t chop = chops[i];
        play_long(FIRST "X: ", "x", 1 << 20, "\r\n\r\n", HTTP_BAD_HEAD_LONG, chop);
        play_long(FIRST, "x", 1 << 20, ": y\r\n\r\n", HTTP_BAD_HEAD_LONG, chop);
        play_long("HTTP/1.1 200 ", "x", 1 << 20, "\r\n\r\n", HTTP_BAD_HEAD_LONG, chop);
        play_long(FIRST, "X: y\r\n", 1 << 17, "\r\n", HTTP_BAD_HEAD_LINES, chop);
        play_long(FIRST,
                  "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                  "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                  "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                  "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                  "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                  "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                  "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                  "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
                  1 << 10, "\r\n", HTTP_BAD_HEAD_LONG, chop);
        play_long("", CONTINUE, 1 << 15, FULL, HTTP_BAD_INTERIM_MANY, chop);
        play_long("", CONTINUE, 16, FULL, 0, chop);
        play_long("", CONTINUE, 17, FULL, HTTP_BAD_INTERIM_MANY, chop);
        play_long(CHUNKS("5;"), "x", 1 << 20, "\r\n", HTTP_BAD_CHUNK_EXTENSION_LONG, chop);
        play_long(CHUNKS(""), "0", 1 << 20, "\r\n\r\n", HTTP_BAD_CHUNK_RANGE, chop);
        play_long(CHUNKS("0\r\nX: "), "x", 1 << 20, "\r\n\r\n", HTTP_BAD_HEAD_LONG, chop);
        play_long(CHUNKS(""), "1\r\nx\r\n", 1 << 12, "0\r\n\r\n", 0, chop);
    }
}

/* A body that is cut anywhere is never whole. */
static void cut_anywhere(void **state)
{
    (void)state;
    static const char chunked[] = CHUNKS("5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n");
    struct http_end end;
    for (size_t length = 0; length < sizeof chunked - 1; length++) {
        struct http_case row = {.asked = "G", .text = chunked, .length = length};
        http_play(&end, &row, false, &http_few, HTTP_WHOLE, 0);
        assert_true(end.said.error == HTTP_BAD_UNANSWERED || end.said.error == HTTP_BAD_HEAD_CUT ||
                    end.said.error == HTTP_BAD_BODY_CUT);
        assert_int_equal(end.said.ends, 0);
    }
}

/* The corpus is as large as it has to be, and each error of an answer is in it. */
static void complete(void **state)
{
    (void)state;
    static const struct {
        const struct http_case *rows;
        size_t count;
    } tables[] = {
#define TABLE(rows) {rows, sizeof(rows) / sizeof((rows)[0])}
        TABLE(hostile_first_lines), TABLE(hostile_lines), TABLE(hostile_lengths),
        TABLE(hostile_chunks), TABLE(hostile_ends)};
    size_t all = 0;
    for (int error = HTTP_ERROR_BASE + 1; error < HTTP_BAD_REQUEST_LINE; error++) {
        size_t found = 0;
        for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++) {
            for (size_t i = 0; i < tables[t].count; i++) {
                found += tables[t].rows[i].error == error;
            }
        }
        if (!found) {
            print_error("%s is not in the corpus\n", http_error_name(error));
        }
        assert_true(found);
        all += found;
    }
    assert_true(all >= 200);
    print_message("%zu hostile answers\n", all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_lines), cmocka_unit_test(lines),        cmocka_unit_test(lengths),
        cmocka_unit_test(chunks),      cmocka_unit_test(ends),         cmocka_unit_test(endless),
        cmocka_unit_test(complete),    cmocka_unit_test(cut_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
