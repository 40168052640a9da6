/* Rates that change: what is read, how it fits a window, and the arrivals of steps and ramps. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stats/arrival.h"
#include "stats/rate_course.h"

#define SECOND UINT64_C(1000000000)
#define MS UINT64_C(1000000)
#define START UINT64_C(123456789012345)
#define WHOLE ((struct arrival_share){0, 1, 1})

/* A course that has been read and fitted to a window of 5 s. */
static struct rate_course course_of(const char *text)
{
    struct rate_course course;
    struct err error = {0};
    uint64_t duration_ns = 5 * SECOND, interval_ns = SECOND;
    assert_int_equal(rate_course_parse(text, &course, &error), 0);
    assert_int_equal(
        rate_course_fit(&course, &duration_ns, false, &interval_ns, false, 100 * MS, &error), 0);
    return course;
}

static void is_read_and_printed(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "1000..50000",       "1000:5s", "1000:5s,10000:5s,1..20:10s", "0..1000", "50..0:2.5s",
        "1:1s,0:1s,0.5:1ms", ""};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct rate_course course;
        struct err error = {0};
        char printed[200] = "";
        assert_int_equal(rate_course_parse(texts[i], &course, &error), 0);
        FILE *out = fmemopen(printed, sizeof printed, "w");
        assert_non_null(out);
        rate_course_print(&course, out);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(printed, texts[i]);
    }
    struct rate_course course = course_of("1.5k..50k"), again = course_of("1500..50000:5s");
    assert_true(course.pieces[0].from == again.pieces[0].from);
    assert_true(course.pieces[0].to == again.pieces[0].to);
    assert_int_equal(course.pieces[0].length_ns, again.pieces[0].length_ns);
}

static void what_is_no_course_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *subject, *what;
    } wrong[] = {
        {"10k..", "10k..", "a rate is missing"},
        {"..10k", "..10k", "a rate is missing"},
        {":5s", ":5s", "a rate is missing"},
        {"1k:5s,", "", "a rate is missing"},
        {"1k:0s", "1k:0s", "less than 1ms"},
        {"1k:999us", "1k:999us", "less than 1ms"},
        {"1k:367h,1k:9000h", "1k:9000h", "366 days"},
        {"1k:8000h,1k:8000h", "", "366 days"},
        {"1k:x", "1k:x", "not a time"},
        {"1k:-5s", "1k:-5s", "not a time"},
        {"-1k:5s", "-1k", "not a rate"},
        {"1k..-5:5s", "-5", "not a rate"},
        {"1k..2k..3k", "2k..3k", "not a rate"},
        {"1k", "1k", "for how long"},
        {"1k:5s,2k", "2k", "for how long"},
        {"1k..2k,3k:5s", "1k..2k", "needs its time"},
        {"3k:5s,1k..2k", "1k..2k", "needs its time"},
        {"2G:5s", "2G", "more than 1G"},
        {"nan:5s", "nan", "not a rate"},
        {"0:5s", "", "nothing would ever start"},
        {"0..0", "", "nothing would ever start"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct rate_course course;
        struct err error = {0};
        assert_int_equal(rate_course_parse(wrong[i].text, &course, &error), -1);
        assert_int_equal(error.code, ERR_USAGE);
        assert_string_equal(error.subject, wrong[i].subject);
        assert_non_null(strstr(error.what, wrong[i].what));
    }
    char many[RATE_PIECES_MAX * 6 + 8] = "1:1s";
    for (int i = 1; i < RATE_PIECES_MAX; i++) {
        strncat(many, ",1:1s", sizeof many - strlen(many) - 1);
    }
    struct rate_course course;
    struct err error = {0};
    assert_int_equal(rate_course_parse(many, &course, &error), 0);
    strncat(many, ",1:1s", sizeof many - strlen(many) - 1);
    assert_int_equal(rate_course_parse(many, &course, &error), -1);
}

static void the_window_follows_or_must_agree(void **state)
{
    (void)state;
    struct rate_course course;
    struct err error = {0};
    uint64_t duration_ns = 5 * SECOND, interval_ns = SECOND;
    assert_int_equal(rate_course_parse("1k:5s,10k:5s,1k..20k:10s", &course, &error), 0);
    assert_int_equal(
        rate_course_fit(&course, &duration_ns, true, &interval_ns, false, 100 * MS, &error), -1);
    assert_string_equal(error.subject, "--rate-course");
    assert_non_null(strstr(error.what, "20s"));
    assert_int_equal(
        rate_course_fit(&course, &duration_ns, false, &interval_ns, false, 100 * MS, &error), 0);
    assert_int_equal(duration_ns, 20 * SECOND);
    assert_int_equal(interval_ns, SECOND);
    assert_int_equal(
        rate_course_fit(&course, &duration_ns, true, &interval_ns, false, 100 * MS, &error), 0);
    /* a ramp without a time takes the window */
    duration_ns = 7 * SECOND;
    assert_int_equal(rate_course_parse("1k..50k", &course, &error), 0);
    assert_int_equal(
        rate_course_fit(&course, &duration_ns, true, &interval_ns, false, 100 * MS, &error), 0);
    assert_int_equal(course.pieces[0].length_ns, 7 * SECOND);
}

static void intervals_divide_the_pieces(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool given;
        uint64_t interval_ns;
    } cases[] = {
        {"1:5s,2:3s", false, SECOND},         {"1:1500ms,2:3s", false, 750 * MS},
        {"1:500ms,2:200ms", false, 100 * MS}, {"1:1300ms,2:2600ms", false, 650 * MS},
        {"1:150ms,2:1s", false, SECOND}, /* only 50 ms would, which is too short */
        {"1:1500ms,2:3s", true, SECOND},      {"1..2:1500ms", false, SECOND},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rate_course course;
        struct err error = {0};
        uint64_t duration_ns = 5 * SECOND, interval_ns = SECOND;
        assert_int_equal(rate_course_parse(cases[i].text, &course, &error), 0);
        assert_int_equal(rate_course_fit(&course, &duration_ns, false, &interval_ns, cases[i].given,
                                         100 * MS, &error),
                         0);
        assert_int_equal(interval_ns, cases[i].interval_ns);
    }
}

static void count_and_time_are_inverse(void **state)
{
    (void)state;
    static const char *const texts[] = {"1k..50k", "50k..1k", "0..40k:3s,40k:1s,40k..0:2s,7:9s",
                                        "1k:1s,0:2s,1k:1s", "3:1s,1G:1s,0.001:1000s"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct rate_course course = course_of(texts[i]);
        long double all = rate_course_count(&course, (long double)course.all_ns);
        long double before = -1;
        uint32_t piece = 0;
        for (int k = 0; k < 10000; k++) {
            long double count = all * k / 10000;
            long double ns = rate_course_time(&course, count, &piece);
            assert_true(ns >= before && ns <= (long double)course.all_ns);
            assert_true(fabsl(rate_course_count(&course, ns) - count) <= all * 1e-12L + 1e-6L);
            before = ns;
        }
    }
}

/* Arrivals in each second behind the warm-up, of a share of the schedule; [0]: of the warm-up. */
static void count_seconds(const struct rate_course *course, enum arrival_kind kind,
                          struct arrival_share share, uint64_t seed, uint64_t *seconds,
                          size_t count)
{
    struct arrival arrival;
    uint64_t before = START;
    arrival_init_course(&arrival, kind, course, SECOND, share, START, seed);
    for (;;) {
        uint64_t at = arrival_peek(&arrival);
        assert_true(at >= before);
        if (at >= START + count * SECOND) {
            return;
        }
        seconds[(at - START) / SECOND]++;
        before = at;
        arrival_take(&arrival);
    }
}

static void fixed_arrivals_follow_the_integral(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t seconds[6]; /* the warm-up's second, and five of the course */
    } cases[] = {
        {"1k:2s,10k:1s,5k:2s", {1000, 1000, 1000, 10000, 5000, 5000}},
        {"0..10k", {0, 1000, 3000, 5000, 7000, 9000}},
        {"10k..0", {10000, 9000, 7000, 5000, 3000, 1000}},
        {"2k:1s,0:3s,2k:1s", {2000, 2000, 0, 0, 0, 2000}},
        {"1k..5k:2s,5k..1k:2s", {1000, 2000, 4000, 4000, 2000, 1000}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rate_course course = course_of(cases[i].text);
        uint64_t whole[6] = {0}, parts[6] = {0};
        count_seconds(&course, ARRIVAL_FIXED, WHOLE, 1, whole, 6);
        for (size_t s = 0; s < 6; s++) { /* one may lie on the border */
            assert_in_range(whole[s] + 1, cases[i].seconds[s], cases[i].seconds[s] + 2);
        }
        /* Workers of uneven shares together are the whole schedule. */
        count_seconds(&course, ARRIVAL_FIXED, (struct arrival_share){0, 2, 7}, 1, parts, 6);
        count_seconds(&course, ARRIVAL_FIXED, (struct arrival_share){2, 1, 7}, 1, parts, 6);
        count_seconds(&course, ARRIVAL_FIXED, (struct arrival_share){3, 4, 7}, 1, parts, 6);
        assert_memory_equal(parts, whole, sizeof whole);
    }
}

static void a_step_that_does_not_change_is_a_plain_rate(void **state)
{
    (void)state;
    struct rate_course course = course_of("30k:1s,30k..30k:4s");
    struct arrival plain, changing;
    struct arrival_share share = {2, 3, 7};
    arrival_init(&plain, ARRIVAL_FIXED, 30000, share, START, 1);
    arrival_init_course(&changing, ARRIVAL_FIXED, &course, 500 * MS, share, START, 1);
    for (int i = 0; i < 200000; i++) {
        assert_in_range(arrival_peek(&changing) + 1, arrival_peek(&plain),
                        arrival_peek(&plain) + 2);
        uint64_t now_ns = arrival_peek(&plain) + 12345;
        assert_int_equal(arrival_backlog(&changing, now_ns), arrival_backlog(&plain, now_ns));
        arrival_take(&plain);
        arrival_take(&changing);
    }
}

static void backlog_counts_what_is_due(void **state)
{
    (void)state;
    struct rate_course course = course_of("0..10k:2s,500:1s,0:1s,3k:1s");
    struct arrival_share share = {1, 2, 5};
    struct arrival arrival;
    arrival_init_course(&arrival, ARRIVAL_FIXED, &course, SECOND, share, START, 1);
    for (int skipped = 0; skipped < 3; skipped++) {
        for (uint64_t now_ns = START; now_ns < START + 7 * SECOND; now_ns += 77777777) {
            struct arrival copy = arrival;
            uint64_t due = 0;
            for (; arrival_peek(&copy) <= now_ns; arrival_take(&copy)) {
                due++;
            }
            assert_int_equal(arrival_backlog(&arrival, now_ns), due);
        }
        for (int i = 0; i < 100; i++) {
            arrival_take(&arrival);
        }
    }
}

static void behind_a_ramp_to_nothing_nothing_comes(void **state)
{
    (void)state;
    struct rate_course course = course_of("100..0");
    struct arrival arrival;
    arrival_init_course(&arrival, ARRIVAL_FIXED, &course, 0, WHOLE, START, 1);
    for (int i = 0; i < 250; i++) { /* 100 a second, falling, for 5 s */
        assert_true(arrival_peek(&arrival) <= START + 5 * SECOND);
        arrival_take(&arrival);
    }
    arrival_take(&arrival);
    assert_true(arrival_peek(&arrival) > START + 1000 * SECOND);
    assert_int_equal(arrival_backlog(&arrival, START + 100 * SECOND), 0);
}

/* Counts of a second over many seeds: mean and variance are both the integral. */
static void poisson_arrivals_have_its_mean_and_variance(void **state)
{
    (void)state;
    enum { SEEDS = 400 };
    static const double expected[] = {0, 100, 300, 500, 700, 900};
    struct rate_course course = course_of("0..1k");
    double sum[6] = {0}, squares[6] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        uint64_t seconds[6] = {0};
        /* uneven shares */
        count_seconds(&course, ARRIVAL_POISSON, (struct arrival_share){0, 3, 4}, seed, seconds, 6);
        count_seconds(&course, ARRIVAL_POISSON, (struct arrival_share){3, 1, 4}, seed, seconds, 6);
        for (size_t s = 0; s < 6; s++) {
            sum[s] += (double)seconds[s];
            squares[s] += (double)seconds[s] * (double)seconds[s];
        }
    }
    for (size_t s = 0; s < 6; s++) {
        double mean = sum[s] / SEEDS, variance = squares[s] / SEEDS - mean * mean;
        /* five standard errors of each */
        assert_true(fabs(mean - expected[s]) <= 5 * sqrt(expected[s] / SEEDS));
        assert_true(fabs(variance - expected[s]) <= 5 * expected[s] * sqrt(2.0 / SEEDS));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_read_and_printed),
        cmocka_unit_test(what_is_no_course_is_refused),
        cmocka_unit_test(the_window_follows_or_must_agree),
        cmocka_unit_test(intervals_divide_the_pieces),
        cmocka_unit_test(count_and_time_are_inverse),
        cmocka_unit_test(fixed_arrivals_follow_the_integral),
        cmocka_unit_test(a_step_that_does_not_change_is_a_plain_rate),
        cmocka_unit_test(backlog_counts_what_is_due),
        cmocka_unit_test(behind_a_ramp_to_nothing_nothing_comes),
        cmocka_unit_test(poisson_arrivals_have_its_mean_and_variance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
