/* llhttp on the same bytes: what is taken here, it understands alike; what is refused here, it need
 * not refuse, and how much of that it would have counted is said. */
#include <stdlib.h>

#include "http_hostile_answers.h"

enum { RECORDING_MOST = 64 << 10 };

static void judged(void **state, const struct http_case *row, struct judge *judge)
{
    if (!SONDE_HAVE_LLHTTP) {
        skip();
    }
    (void)state;
    *judge = (struct judge){.responses = true, .ended = true};
    for (size_t i = 0; row->asked[i]; i++) {
        judge->heads |= row->asked[i] == 'H' ? UINT32_C(1) << i : 0;
    }
    judge_read(judge, row->text, row->length);
}

static void agree(const struct http_case *row, const struct judge *judge)
{
    struct http_response_reader reader;
    struct http_event event;
    size_t used = 0, count = 0;
    uint64_t sum = 0;
    http_response_reader_init(&reader, &http_limits_usual);
    for (const char *asked = row->asked; *asked; asked++) {
        assert_true(http_response_asked(&reader, *asked == 'H' ? "HEAD" : "GET"));
    }
    do {
        ssize_t taken = http_response_read(&reader, (const uint8_t *)row->text + used,
                                           row->length - used, &event);
        assert_true(taken >= 0);
        used += (size_t)taken;
        if (event.kind == HTTP_BODY) {
            judge_sum(&sum, event.data, event.length);
        } else if (event.kind == HTTP_NOTHING) {
            assert_int_equal(http_response_finish(&reader, &event), 0);
        }
        if (event.kind == HTTP_END) {
            assert_int_equal(event.status, judge->messages[count].status);
            assert_int_equal(event.body_bytes, judge->messages[count].body_bytes);
            assert_int_equal(sum, judge->messages[count].body_sum);
            assert_true(judge->messages[count].whole);
            count++;
            sum = 0;
        }
    } while (used < row->length || event.kind != HTTP_NOTHING);
    assert_int_equal(count, judge->count);
}

static void recorded(void **state)
{
    static const char *const names[][2] = {
        {"nginx_pipelined", "GHGGGGG"}, {"nginx_listing", "GG"},
        {"nginx_statuses", "GGGGG"},    {"lighttpd_pipelined", "GHGGGGG"},
        {"lighttpd_old_keep", "GG"},    {"python_pipelined", "GHGG"},
        {"python_continue", "G"},       {"python_usual_listing", "G"},
    };
    static char bytes[RECORDING_MOST];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[300];
        struct judge judge;
        snprintf(path, sizeof path, "%s/tests/data/http/%s.http", SOURCE_ROOT, names[i][0]);
        FILE *file = fopen(path, "rb");
        assert_non_null(file);
        struct http_case row = {names[i][1], bytes, fread(bytes, 1, sizeof bytes, file), 0, 0};
        fclose(file);
        judged(state, &row, &judge);
        assert_false(judge.failed);
        agree(&row, &judge);
    }
}

/* Not of limits, nor of what was asked for, which llhttp does not know. */
static bool is_of_bytes(int error)
{
    static const int others[] = {HTTP_BAD_HEAD_LONG,
                                 HTTP_BAD_HEAD_LINES,
                                 HTTP_BAD_BODY_LONG,
                                 HTTP_BAD_INTERIM_MANY,
                                 HTTP_BAD_UNASKED,
                                 HTTP_BAD_AFTER_LAST,
                                 HTTP_BAD_UNANSWERED,
                                 HTTP_BAD_CHUNK_RANGE,
                                 HTTP_BAD_SWITCHED,
                                 HTTP_BAD_CODING,
                                 HTTP_BAD_CHUNK_EXTENSION_LONG};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (others[i] == error) {
            return false;
        }
    }
    return true;
}

static size_t counted(void **state, const struct http_case *rows, size_t count)
{
    size_t more = 0;
    for (size_t i = 0; i < count; i++) {
        struct judge judge;
        unsigned whole = 0;
        judged(state, &rows[i], &judge);
        for (size_t m = 0; m < judge.count; m++) {
            whole += judge.messages[m].whole;
        }
        more += is_of_bytes(rows[i].error) && whole > rows[i].ends;
    }
    return more;
}

#define COUNTED(rows) counted(state, rows, sizeof(rows) / sizeof((rows)[0]))

static void hostile(void **state)
{
    size_t more = COUNTED(hostile_first_lines) + COUNTED(hostile_lines) + COUNTED(hostile_lengths) +
                  COUNTED(hostile_chunks) + COUNTED(hostile_ends);
    print_message("llhttp counts an answer in %zu of the hostile ones\n", more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(recorded), cmocka_unit_test(hostile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
