/* Limits of a load: what is read, and what keeps to them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "stats/goal.h"

static struct goal goal_of(const char *text)
{
    struct goal goal;
    struct err error = {0};
    assert_int_equal(goal_parse(text, &goal, &error), 0);
    return goal;
}

static void is_read_and_printed(void **state)
{
    (void)state;
    static const struct {
        const char *text, *printed;
    } cases[] = {
        {"p99 < 5ms", "p99 < 5ms"},
        {"p99<5ms", "p99 < 5ms"},
        {"  p99.9  <=  200us ", "p99.9 <= 200us"},
        {"p50.0<1s", "p50 < 1s"},
        {"mean<1ms,max<=1s,errors<0.1%", "mean < 1ms, max <= 1s, errors < 0.1%"},
        {"errors <= 0%", "errors <= 0%"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct goal goal = goal_of(cases[i].text), again;
        struct err error = {0};
        char printed[GOAL_TEXT_MAX] = "";
        FILE *out = fmemopen(printed, sizeof printed, "w");
        assert_non_null(out);
        goal_print(&goal, out);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(printed, cases[i].printed);
        assert_int_equal(goal_parse(printed, &again, &error), 0);
        assert_int_equal(again.count, goal.count);
    }
}

static void what_is_no_limit_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *subject, *what;
    } wrong[] = {
        {"p99", "p99", "no <"},
        {"p99 > 5ms", "p99 > 5ms", "no <"},
        {"p99 = 5ms", "p99 = 5ms", "no <"},
        {"p99 < 5", "5", "unit"},
        {"p99 <", "", "no time"},
        {"p99 < -5ms", "-5ms", "no time"},
        {"p99 < 0ms", "0ms", "no time"},
        {"p99 < 5mx", "5mx", "no time"},
        {"p99 << 5ms", "< 5ms", "no time"},
        {"p99 < 2h", "2h", "1h"},
        {"p < 5ms", "p", "cannot be limited"},
        {"p0 < 5ms", "p0", "no percentile"},
        {"p100 < 5ms", "p100", "too far out"},
        {"p9.9.9 < 5ms", "p9.9.9", "no percentile"},
        {"q99 < 5ms", "q99", "cannot be limited"},
        {"< 5ms", "", "what is to be limited"},
        {"p99 < 5ms,", "", "missing"},
        {",p99 < 5ms", "", "missing"},
        {"errors < 5ms", "5ms", "share"},
        {"errors < 101%", "101", "share"},
        {"errors < 1", "1", "share"},
        {"errors < %", "%", "share"},
        {"p99 < 5ms, p99 < 6ms", "p99", "twice"},
        {"max<1s,mean<1s,p1<1s,p2<1s,p3<1s,p4<1s,p5<1s,p6<1s,p7<1s", "", "too long"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct goal goal;
        struct err error = {0};
        assert_int_equal(goal_parse(wrong[i].text, &goal, &error), -1);
        assert_int_equal(error.code, ERR_USAGE);
        assert_string_equal(error.subject, wrong[i].subject);
        assert_non_null(strstr(error.what, wrong[i].what));
    }
    char longest[4 * GOAL_TEXT_MAX];
    struct goal goal;
    struct err error = {0};
    memset(longest, ' ', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(goal_parse(longest, &goal, &error), -1);
}

static bool keeps(const char *text, const struct goal_measured *measured)
{
    struct goal goal = goal_of(text);
    assert_int_equal(goal.count, 1);
    struct goal_value value = goal_judge(&goal.terms[0], measured);
    assert_true(value.known || !value.met);
    return value.met;
}

static void is_judged(void **state)
{
    (void)state;
    struct histogram *histogram = histogram_new();
    struct goal_measured measured = {histogram, 2000, 2};
    assert_non_null(histogram);
    assert_false(keeps("mean < 1s", &measured));
    assert_false(keeps("max < 1s", &measured));
    histogram_record(histogram, 1000, 1500);
    histogram_record(histogram, 2000, 500);
    assert_true(keeps("p50 < 1001ns", &measured));
    assert_false(keeps("p50 < 1000ns", &measured));
    assert_true(keeps("p50 <= 1000ns", &measured));
    assert_false(keeps("p90 < 2us", &measured));
    assert_true(keeps("max <= 2us", &measured));
    assert_true(keeps("mean < 1251ns", &measured));
    assert_false(keeps("mean < 1249ns", &measured));
    assert_true(keeps("p99 < 3us", &measured));
    assert_false(keeps("p99.99 < 1s", &measured)); /* of 2,000 values there is none */
    assert_true(keeps("errors < 0.1%", &measured));
    assert_false(keeps("errors < 0.09%", &measured));
    assert_false(keeps("errors <= 0%", &measured));
    histogram->out_of_range = 1; /* one took more than an hour */
    assert_false(keeps("p50 < 30min", &measured));
    histogram_free(histogram);
    measured = (struct goal_measured){0};
    assert_false(keeps("errors < 1%", &measured));
    assert_false(keeps("p50 < 1s", &measured));
}

static void so_many_operations_are_needed(void **state)
{
    (void)state;
    struct goal goal = goal_of("mean < 1s");
    assert_true(fabs(goal_operations_least(&goal) - 100) < 1e-6);
    goal = goal_of("p99.9 < 1s, p50 < 1ms");
    assert_true(fabs(goal_operations_least(&goal) - 10000) < 1e-3);
    goal = goal_of("p50 < 1ms, errors < 0.01%");
    assert_true(fabs(goal_operations_least(&goal) - 10000) < 1e-3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_read_and_printed),
        cmocka_unit_test(what_is_no_limit_is_refused),
        cmocka_unit_test(is_judged),
        cmocka_unit_test(so_many_operations_are_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
