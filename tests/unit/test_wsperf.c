/* wsperf's result files as a stream, whole, in pieces, cut and broken; the table over them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/as_wsperf.h"
#include "codec/wsperf.h"

#define MOST 8

struct reading {
    struct wsperf_reader reader;
    struct wsperf_connection connections[MOST];
    size_t count;
    int error;
};

/* In pieces of `piece` bytes, each at the end of a page behind which nothing may be read. */
static void read_in_pieces(struct reading *reading, const char *text, size_t length, size_t piece)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(pages != MAP_FAILED);
    assert_int_equal(mprotect(pages + page, page, PROT_NONE), 0);
    *reading = (struct reading){.count = 0};
    while (length && !reading->error) {
        size_t now = length < piece ? length : piece;
        assert_true(now <= page);
        char *at = pages + page - now;
        memcpy(at, text, now);
        for (size_t left = now; left && !reading->error;) {
            bool found;
            ssize_t taken = wsperf_read(&reading->reader, at, left, &found);
            if (taken < 0) {
                reading->error = (int)-taken;
                assert_false(found);
                break;
            }
            assert_true(taken > 0 && (size_t)taken <= left);
            assert_true(found || (size_t)taken == left);
            if (found) {
                assert_true(reading->count < MOST);
                reading->connections[reading->count++] = reading->reader.connection;
            }
            at += taken;
            left -= (size_t)taken;
        }
        text += now;
        length -= now;
    }
    if (!reading->error) {
        reading->error = -wsperf_end(&reading->reader);
    }
    munmap(pages, 2 * page);
}

#define WHOLE                                                                                      \
    "{\"total_duration\":5547,\"started\":1795644698471335924,\"ended\":1795644698476883315,"      \
    "\"handshake_throttle_count\":1,\"handshake_resume_count\":2,\"connection_stats\":["           \
    "{\"tcp_pre_init\":1065,\"tcp_post_init\":3,\"open\":1015,\"close\":1311,\"failed\":false},"   \
    "{\"tcp_pre_init\":191,\"tcp_post_init\":-7,\"open\":0,\"close\":-9223372036854775808,"        \
    "\"failed\":true}]}\n"

static void is_whole(const struct reading *reading)
{
    const struct wsperf_head *head = &reading->reader.head;
    assert_int_equal(reading->error, 0);
    assert_int_equal(reading->count, 2);
    assert_int_equal(head->total_duration_us, 5547);
    assert_int_equal(head->started_ns, 1795644698471335924);
    assert_int_equal(head->ended_ns, 1795644698476883315);
    assert_int_equal(head->throttled, 1);
    assert_int_equal(head->resumed, 2);
    assert_int_equal(reading->connections[0].tcp_pre_init_us, 1065);
    assert_int_equal(reading->connections[0].tcp_post_init_us, 3);
    assert_int_equal(reading->connections[0].open_us, 1015);
    assert_int_equal(reading->connections[0].close_us, 1311);
    assert_false(reading->connections[0].failed);
    assert_int_equal(reading->connections[1].tcp_pre_init_us, 191);
    assert_int_equal(reading->connections[1].tcp_post_init_us, -7);
    assert_int_equal(reading->connections[1].open_us, 0);
    assert_true(reading->connections[1].close_us == INT64_MIN);
    assert_true(reading->connections[1].failed);
}

static void in_pieces_of_any_size(void **state)
{
    struct reading reading;
    (void)state;
    for (size_t piece = 1; piece <= sizeof WHOLE; piece++) {
        read_in_pieces(&reading, WHOLE, strlen(WHOLE), piece);
        is_whole(&reading);
        assert_int_equal(reading.reader.position, strlen(WHOLE));
        assert_int_equal(reading.reader.line, 1);
    }
}

static void cut_anywhere_is_truncated(void **state)
{
    struct reading reading;
    size_t end = strlen(WHOLE) - 1; /* of the newline nothing depends */
    (void)state;
    for (size_t length = 0; length < end; length++) {
        read_in_pieces(&reading, WHOLE, length, 7);
        assert_int_equal(reading.error, length ? WSPERF_TRUNCATED : WSPERF_EMPTY);
        assert_int_equal(reading.reader.position, length);
    }
    read_in_pieces(&reading, WHOLE, end, 7);
    is_whole(&reading);
}

/* Other orders, white space, unknown members of every kind, escaped names. */
static void other_writers(void **state)
{
    static const char text[] =
        " {\r\n\t\"x\" : [ { \"connection_stats\" : 7, \"failed\": null, \"open\": [[]] }, \"}\" , "
        "1.5e-3 , true, {} ],\n"
        "\"connection_stats\" : [ { \"failed\" : false , \"more\":{\"open\":\"no\"}, "
        "\"\\u006fpen\" : 12 } ,\n"
        "{\"open\":5,\"failed\":true,\"\\ud83d\\ude00\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"} ] ,\n"
        "\"ended\":3,\"started\":3,\"open\":\"of no connection\","
        "\"a name that is longer than any that is known and longer than its room, too\":0 }";
    struct reading reading;
    (void)state;
    for (size_t piece = 1; piece < 9; piece++) {
        read_in_pieces(&reading, text, strlen(text), piece);
        assert_int_equal(reading.error, 0);
        assert_int_equal(reading.count, 2);
        assert_int_equal(reading.connections[0].open_us, 12);
        assert_int_equal(reading.connections[1].open_us, 5);
        assert_true(reading.connections[1].failed);
        assert_int_equal(reading.reader.head.started_ns, 3);
    }
}

#define HEAD "\"started\":1,\"ended\":2,"
#define ONE(members) "{" HEAD "\"connection_stats\":[{" members "}]}"

static void each_fault_has_its_name(void **state)
{
    static const struct {
        const char *text;
        int error;
        int position; /* -1: at the end */
    } rows[] = {
        {"", WSPERF_EMPTY, 0},
        {" \n ", WSPERF_EMPTY, -1},
        {"[]", WSPERF_NO_OBJECT, 0},
        {"7", WSPERF_NO_OBJECT, 0},
        {"\x7f"
         "ELF",
         WSPERF_NO_OBJECT, 0},
        {"{}", WSPERF_NO_STARTED, 1},
        {"{\"started\":1}", WSPERF_NO_ENDED, 12},
        {"{\"started\":1,\"ended\":2}", WSPERF_NO_STATS, 22},
        {"{\"started\":2,\"ended\":1,\"connection_stats\":[]}", WSPERF_ENDED_EARLY, 44},
        {"{" HEAD "\"connection_stats\":[]} x", WSPERF_BEHIND, -1},
        {"{" HEAD "\"connection_stats\":[]}{}", WSPERF_BEHIND, 45},
        {"{" HEAD "\"connection_stats\":{}}", WSPERF_NO_LIST, 42},
        {"{" HEAD "\"connection_stats\":[7]}", WSPERF_NO_LIST, 43},
        {"{" HEAD "\"connection_stats\":[[]]}", WSPERF_NO_LIST, 43},
        {"{\"started\":1,\"started\":1}", WSPERF_TWICE, 21},
        {ONE("\"open\":1,\"open\":1"), WSPERF_TWICE, 58},
        {ONE("\"open\":1"), WSPERF_NO_FAILED, 52},
        {ONE("\"failed\":true"), WSPERF_NO_OPEN, 57},
        {ONE("\"failed\":0"), WSPERF_NO_BOOLEAN, 53},
        {ONE("\"failed\":null"), WSPERF_NO_BOOLEAN, 53},
        {ONE("\"failed\":fals"), WSPERF_LITERAL, 57},
        {ONE("\"open\":\"1\""), WSPERF_NO_INTEGER, 51},
        {ONE("\"open\":1.0"), WSPERF_NO_INTEGER, 54},
        {ONE("\"open\":1e3"), WSPERF_NO_INTEGER, 54},
        {ONE("\"open\":9223372036854775808"), WSPERF_NO_INTEGER, 70},
        {ONE("\"open\":01"), WSPERF_NUMBER, 53},
        {ONE("\"open\":-"), WSPERF_NUMBER, 52},
        {ONE("\"open\":-1,\"failed\":false"), WSPERF_IMPOSSIBLE, 68},
        {ONE("\"open\":2592000000001,\"failed\":false"), WSPERF_IMPOSSIBLE, 79},
        {"{\"a\":1.}", WSPERF_NUMBER, 7},
        {"{\"a\":1e}", WSPERF_NUMBER, 7},
        {"{\"a\":1+1}", WSPERF_NUMBER, 8},
        {"{\"a\":1111111111111111111111111111111111111111111111111111111111111111}", WSPERF_NUMBER,
         -1},
        {"{\"a\":nul}", WSPERF_LITERAL, 8},
        {"{\"a\":nulll}", WSPERF_LITERAL, 10},
        {"{\"a\":True}", WSPERF_SYNTAX, 5},
        {"{\"a\":'x'}", WSPERF_SYNTAX, 5},
        {"{\"a\" 1}", WSPERF_SYNTAX, 5},
        {"{\"a\":1,}", WSPERF_SYNTAX, 7},
        {"{\"a\":1]", WSPERF_SYNTAX, 6},
        {"{\"a\":[1}", WSPERF_SYNTAX, 7},
        {"{\"a\":[1,]", WSPERF_SYNTAX, 8},
        {"{a:1}", WSPERF_SYNTAX, 1},
        {"{,}", WSPERF_SYNTAX, 1},
        {"{\"a\":\"\n\"}", WSPERF_STRING, 6},
        {"{\"a\":\"\\x\"}", WSPERF_STRING, 7},
        {"{\"a\":\"\\u00g0\"}", WSPERF_STRING, 10},
    };
    struct reading reading;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t piece = 1; piece < 3; piece++) {
            size_t length = strlen(rows[i].text);
            read_in_pieces(&reading, rows[i].text, length, piece * piece * piece);
            size_t last = length && reading.error != WSPERF_EMPTY ? length - 1 : length;
            if (reading.error != rows[i].error) {
                fail_msg("%s: %s", rows[i].text, wsperf_error_text(reading.error));
            }
            assert_int_equal(reading.reader.position,
                             rows[i].position < 0 ? last : (size_t)rows[i].position);
            assert_true(strlen(wsperf_error_text(reading.error)) > 5);
        }
    }
}

/* An error stays; nothing is taken behind it. */
static void an_error_stays(void **state)
{
    struct wsperf_reader reader = {0};
    bool found = true;
    (void)state;
    assert_int_equal(wsperf_read(&reader, "[", 1, &found), -WSPERF_NO_OBJECT);
    assert_false(found);
    assert_int_equal(wsperf_read(&reader, WHOLE, strlen(WHOLE), &found), -WSPERF_NO_OBJECT);
    assert_int_equal(wsperf_end(&reader), -WSPERF_NO_OBJECT);
}

static void nested_at_most_64_levels(void **state)
{
    (void)state;
    for (int depth = 60; depth < 70; depth++) {
        struct wsperf_reader reader = {0};
        bool found, deep = false;
        ssize_t taken = wsperf_read(&reader, "{\"a\":", 5, &found);
        for (int i = 1; i < depth && taken > 0; i++) {
            taken = wsperf_read(&reader, "[", 1, &found);
            deep = taken == -WSPERF_DEPTH;
        }
        assert_int_equal(deep, depth > 64);
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

static struct as_wsperf_totals totals_of(const int64_t *open_us, size_t count, uint64_t fail)
{
    struct as_wsperf_totals totals;
    struct err error;
    assert_int_equal(as_wsperf_totals_open(&totals, &error), 0);
    for (size_t i = 0; i < count; i++) {
        const struct wsperf_connection connection = {.open_us = open_us[i]};
        as_wsperf_add_connection(&totals, &connection);
    }
    for (uint64_t i = 0; i < fail; i++) {
        const struct wsperf_connection connection = {.open_us = -5, .failed = true};
        as_wsperf_add_connection(&totals, &connection);
    }
    return totals;
}

static void prints(struct as_wsperf_totals *totals, const char *expected)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    assert_non_null(out);
    as_wsperf_print(totals, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, expected);
    free(text);
    as_wsperf_totals_close(totals);
    as_wsperf_totals_close(totals);
}

/* 1 to 10,000 ms in an order of their own, beside failures; two files, whose spans overlap. */
static void table(void **state)
{
    int64_t *open_us = calloc(10000, sizeof *open_us);
    (void)state;
    assert_non_null(open_us);
    for (int64_t i = 0; i < 10000; i++) {
        open_us[i] = (i * 7919 % 10000 + 1) * 100;
    }
    struct as_wsperf_totals totals = totals_of(open_us, 10000, 2500);
    as_wsperf_add_head(&totals, &(struct wsperf_head){.started_ns = 7000000000, /* the later one */
                                                      .ended_ns = 9000000000});
    as_wsperf_add_head(&totals,
                       &(struct wsperf_head){.started_ns = 6000000000, .ended_ns = 8000000000});
    prints(&totals, "\nAggregate results (WebSocket Opening+Closing Handshake)\n\n"
                    "          Duration:       3.0 s\n"
                    "             Total:     12500\n"
                    "           Success:     10000\n"
                    "              Fail:      2500\n"
                    "            Fail %:     20.00\n"
                    "    Handshakes/sec:      3333\n\n"
                    "     Min:       0.1 ms\n"
                    "      SD:     288.7 ms\n"
                    "     Avg:     500.1 ms\n"
                    "  Median:     500.1 ms\n"
                    "  q90   :     900.1 ms\n"
                    "  q95   :     950.1 ms\n"
                    "  q99   :     990.1 ms\n"
                    "  q99.9 :     999.1 ms\n"
                    "  q99.99:    1000.0 ms\n"
                    "     Max:    1000.0 ms\n\n\n");
    free(open_us);
}

static void what_is_not_known_is_not_zero(void **state)
{
    struct as_wsperf_totals totals = totals_of(NULL, 0, 3);
    (void)state;
    as_wsperf_add_head(&totals, &(struct wsperf_head){.started_ns = 5, .ended_ns = 5});
    prints(&totals, "\nAggregate results (WebSocket Opening+Closing Handshake)\n\n"
                    "          Duration:       0.0 s\n"
                    "             Total:         3\n"
                    "           Success:         0\n"
                    "              Fail:         3\n"
                    "            Fail %:    100.00\n"
                    "    Handshakes/sec:       n/a\n\n"
                    "     Min:       n/a ms\n"
                    "      SD:       n/a ms\n"
                    "     Avg:       n/a ms\n"
                    "  Median:       n/a ms\n"
                    "  q90   :       n/a ms\n"
                    "  q95   :       n/a ms\n"
                    "  q99   :       n/a ms\n"
                    "  q99.9 :       n/a ms\n"
                    "  q99.99:       n/a ms\n"
                    "     Max:       n/a ms\n\n\n");
}

/* Exact below 4.19 s, within a thousandth above; and never beyond the largest. */
static void long_times(void **state)
{
    const int64_t open_us[] = {4194303, 4194304, 9999999, 123456789, WSPERF_OPEN_MOST_US};
    struct as_wsperf_totals totals = totals_of(open_us, 5, 0);
    (void)state;
    assert_int_equal(as_wsperf_at(&totals, 0), 4194303);
    for (uint64_t place = 1; place < 5; place++) {
        double value = (double)as_wsperf_at(&totals, place), exact = (double)open_us[place];
        assert_true(value >= exact && value <= exact * 1.001);
    }
    assert_int_equal(as_wsperf_at(&totals, 4), WSPERF_OPEN_MOST_US);
    assert_int_equal(totals.longer->out_of_range, 0);
    as_wsperf_totals_close(&totals);
}

/* Where the mean is far above what the times differ by. */
static void deviation_is_exact(void **state)
{
    int64_t open_us[1000];
    (void)state;
    for (int i = 0; i < 1000; i++) {
        open_us[i] = INT64_C(1000000000000) + (i & 1);
    }
    struct as_wsperf_totals totals = totals_of(open_us, 1000, 0);
    assert_true(fabs(as_wsperf_deviation_us(&totals) - sqrt(0.25 * 1000 / 999)) < 1e-3);
    assert_true(as_wsperf_mean_us(&totals) == 1000000000000.5);
    as_wsperf_totals_close(&totals);
}

static void file_names(void **state)
{
    static const struct {
        const char *pattern, *name;
        unsigned numbers;
    } rows[] = {
        {"result_%d.json", "result_7.json", 1},
        {"%d", "7", 1},
        {"r%03d", "r007", 1},
        {"r%3d", "r  7", 1},
        {"100%%", "100%", 0},
        {"%d-%d", "7-7", 2},
        {"%s", NULL, 0},
        {"%", NULL, 0},
        {"%99999d", NULL, 0},
        {"a name that does not fit", NULL, 0},
    };
    char name[16];
    unsigned numbers;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool fits = as_wsperf_file_name(rows[i].pattern, 7, name, sizeof name, &numbers);
        assert_int_equal(fits, rows[i].name != NULL);
        if (fits) {
            assert_string_equal(name, rows[i].name);
            assert_int_equal(numbers, rows[i].numbers);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_pieces_of_any_size),
        cmocka_unit_test(cut_anywhere_is_truncated),
        cmocka_unit_test(other_writers),
        cmocka_unit_test(each_fault_has_its_name),
        cmocka_unit_test(an_error_stays),
        cmocka_unit_test(nested_at_most_64_levels),
        cmocka_unit_test(table),
        cmocka_unit_test(what_is_not_known_is_not_zero),
        cmocka_unit_test(long_times),
        cmocka_unit_test(deviation_is_exact),
        cmocka_unit_test(file_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
