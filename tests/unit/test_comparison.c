/* Two sets of runs side by side, over results made here. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/comparison.h"

#define RUNS 10

/* What one side is like; run i adds a little, the same on both sides. */
struct side {
    const char *label, *operation, *kernel, *size;
    double rate, p99, cpu_ns; /* of the client, for each operation */
    const char *call;         /* its one system call */
    size_t runs, incomplete;  /* the last ones are not complete */
};

static const struct side usual = {.label = "epoll",
                                  .operation = "call",
                                  .kernel = "Linux 6.1",
                                  .size = "64",
                                  .rate = 1000,
                                  .p99 = 5000,
                                  .cpu_ns = 700,
                                  .call = "sendto",
                                  .runs = RUNS};

static json_t *run_of(const struct side *side, size_t i)
{
    double noise = 1 + 0.001 * (double)(i * 7 % 10);
    json_t *run = json_pack(
        "{s:s, s:b, s:{s:{s:f,s:s}, s:{s:i,s:s}}, s:{s:{s:s,s:{s:f}}, s:{s:s,s:{s:f}}}}", "label",
        side->label, "complete", i + side->incomplete < side->runs, "metrics", "calls_per_second",
        "value", side->rate * noise, "unit", "1/s", "always_zero", "value", 0, "unit", "1",
        "histograms", "response_time", "unit", "ns", "percentiles", "99", side->p99 * noise,
        "service_time", "unit", "ns", "percentiles", "99", side->p99 * noise);
    json_t *process = json_pack(
        "{s:s, s:i, s:i, s:f, s:f, s:{s:i,s:i}, s:{s:b, s:i, s:i, s:[{s:s, s:i, s:i}]}}", "role",
        "client", "cpu_window_ns", 1000000000, "cpu_operations", 1000, "cpu_user_ns",
        side->cpu_ns * 1000 * noise, "cpu_system_ns", 0.0, "context_switches", "voluntary", 0,
        "involuntary", 0, "engine_calls", "available", 1, "window_ns", 1000000000, "operations",
        1000, "syscalls", "name", side->call, "calls", 1000, "bytes", 64000);
    assert_non_null(run);
    assert_non_null(process);
    json_object_set_new(run, "processes", json_pack("[o]", process));
    return run;
}

static struct result make(const struct side *side)
{
    struct result result;
    struct err error = {0};
    json_t *runs = json_array();
    for (size_t i = 0; i < side->runs; i++) {
        json_array_append_new(runs, run_of(side, i));
    }
    json_t *record =
        json_pack("{s:s, s:s, s:{s:s, s:i}, s:{s:s, s:s}, s:o}", "schema", "sonde.record/1",
                  "operation", side->operation, "machine", "kernel", side->kernel, "cores", 2,
                  "options", "size", side->size, "json", side->kernel, "runs", runs);
    assert_non_null(record);
    if (result_from_json(record, "side", &result, &error) != 0) {
        fail_msg("%s", error.what);
    }
    json_decref(record);
    return result;
}

struct pair {
    struct result results[2];
    struct comparison_report report;
    struct err error;
    int status;
};

static struct pair compare(const struct side *a, const struct side *b, bool paired)
{
    struct pair pair = {.results = {make(a), make(b)}};
    const struct comparison_side sides[] = {{"A", &pair.results[0], 1}, {"B", &pair.results[1], 1}};
    pair.status = comparison_build(&sides[0], &sides[1], paired, &pair.report, &pair.error);
    return pair;
}

static void release(struct pair *pair)
{
    comparison_release(&pair->report);
    comparison_release(&pair->report);
    result_release(&pair->results[0]);
    result_release(&pair->results[1]);
}

static const struct compared *figure(const struct pair *pair, const char *key)
{
    const struct compared *found = comparison_figure(&pair->report, &pair->report.groups[0], key);
    if (!found) {
        fail_msg("there is no %s", key);
    }
    return found;
}

static void what_changed_is_seen(void **state)
{
    (void)state;
    struct side slower = usual;
    slower.p99 = 6000;
    slower.cpu_ns = 1400;
    slower.call = "write";
    struct pair pair = compare(&usual, &slower, false);
    assert_int_equal(pair.status, 0);
    assert_int_equal(pair.report.group_count, 1);
    const struct compared_group *group = &pair.report.groups[0];
    assert_string_equal(group->figures[0].key, "calls_per_second");
    assert_int_equal(group->a_runs, RUNS);
    assert_false(figure(&pair, "rate")->numbers.different);
    assert_true(figure(&pair, "p99")->numbers.different && figure(&pair, "p99")->holds);
    assert_true(fabs(figure(&pair, "p99")->numbers.ratio.value - 1.2) < 1e-9);
    assert_true(fabs(figure(&pair, "cpu")->numbers.ratio.value - 2) < 1e-9);
    const struct compared *copy = figure(&pair, "service_time.p99");
    assert_true(copy->copy && copy->holds); /* as what it is a copy of */
    assert_string_equal(group->figures[copy->original].key, "response_time.p99");
    /* A call that only one side makes: from 1 to 0, and from 0 to 1. */
    assert_true(figure(&pair, "client.sendto_per_call")->holds);
    assert_true(figure(&pair, "client.sendto_per_call")->numbers.b_median == 0);
    assert_true(figure(&pair, "client.write_per_call")->numbers.difference.value == 1);
    release(&pair);
}

/* Constants and copies are no tests; each KiB says nothing new where operations are equal. */
static void only_what_can_differ_is_tested(void **state)
{
    (void)state;
    struct pair pair = compare(&usual, &usual, true);
    assert_int_equal(pair.status, 0);
    assert_false(figure(&pair, "always_zero")->tested);
    assert_false(figure(&pair, "client.sendto_per_call")->tested);
    assert_true(figure(&pair, "response_time.p99")->tested);
    assert_true(figure(&pair, "service_time.p99")->copy);
    assert_false(figure(&pair, "service_time.p99")->tested);
    assert_true(figure(&pair, "rate")->numbers.paired);
    size_t tests = 0;
    for (size_t i = 1; i < pair.report.groups[0].figure_count; i++) {
        tests += pair.report.groups[0].figures[i].tested;
    }
    assert_true(tests > 0);
    assert_int_equal(pair.report.groups[0].tests, tests);
    assert_null(comparison_figure(&pair.report, pair.report.groups, "client.cpu_ns_per_kib"));
    assert_int_equal(pair.report.difference_count, 0);
    assert_int_equal(pair.report.warning_count, 0);
    for (size_t i = 0; i < pair.report.groups[0].figure_count; i++) {
        assert_false(pair.report.groups[0].figures[i].numbers.different);
    }
    release(&pair);
}

static void machines_and_options_that_differ_are_said(void **state)
{
    (void)state;
    struct side other = usual;
    other.kernel = "Linux 6.18";
    other.size = "4k";
    struct pair pair = compare(&usual, &other, false);
    assert_int_equal(pair.status, 0);
    assert_int_equal(pair.report.warning_count, 1);
    assert_string_equal(pair.report.warnings[0],
                        "the machines differ: kernel is 'Linux 6.1' (A), 'Linux 6.18' (B)");
    assert_int_equal(pair.report.difference_count, 1); /* where the JSON goes does not matter */
    assert_string_equal(pair.report.differences[0].name, "size");
    assert_string_equal(pair.report.differences[0].b, "4k");
    release(&pair);
}

static void different_workloads_are_refused(void **state)
{
    (void)state;
    struct side other = usual;
    other.operation = "block";
    struct pair pair = compare(&usual, &other, false);
    assert_int_equal(pair.status, -1);
    assert_int_equal(pair.error.code, ERR_USAGE);
    assert_string_equal(pair.error.what, "cannot compare different workloads");
    release(&pair);
}

/* One label each is compared whatever they are called. */
static void labels(void **state)
{
    (void)state;
    struct side other = usual;
    other.label = "uring";
    struct pair pair = compare(&usual, &other, false);
    assert_int_equal(pair.status, 0);
    assert_string_equal(pair.report.groups[0].a_label, "epoll");
    assert_string_equal(pair.report.groups[0].b_label, "uring");
    /* Two results on one side: epoll with epoll, and uring is left out. */
    struct result both[2] = {pair.results[0], pair.results[1]};
    const struct comparison_side a = {"A", both, 2}, b = {"B", &pair.results[0], 1};
    struct comparison_report report;
    struct err error = {0};
    assert_int_equal(comparison_build(&a, &b, false, &report, &error), 0);
    assert_int_equal(report.group_count, 1);
    assert_string_equal(report.groups[0].a_label, "epoll");
    assert_int_equal(report.warning_count, 1);
    assert_string_equal(report.warnings[0], "'uring' of A has no counterpart: left out");
    comparison_release(&report);
    release(&pair);
}

static void incomplete_runs_are_left_out_with_their_pair(void **state)
{
    (void)state;
    struct side broken = usual;
    broken.incomplete = 3;
    struct pair pair = compare(&usual, &broken, true);
    assert_int_equal(pair.status, 0);
    assert_false(pair.report.complete);
    assert_int_equal(pair.report.groups[0].a_runs, RUNS - 3);
    assert_int_equal(pair.report.groups[0].b_runs, RUNS - 3);
    assert_string_equal(pair.report.warnings[0], "3 runs of B are not complete: left out");
    release(&pair);
    pair = compare(&usual, &broken, false);
    assert_int_equal(pair.report.groups[0].a_runs, RUNS);
    release(&pair);
    broken.incomplete = RUNS;
    pair = compare(&usual, &broken, true);
    assert_int_equal(pair.status, -1);
    assert_string_equal(pair.error.what, "holds no complete run to compare");
    release(&pair);
}

/* ---- conditions ---- */

static void conditions_are_parsed(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",           "p99",         "p99 >",      "> 5%",
                                        "p99 = 5%",   "p99 > x",     "p99 >> 5%",  "p99 >= 5%",
                                        "p99 > %",    "p99 > 5%%",   "p99 > 5 %x", "p99 > nan%",
                                        "p99 > inf%", "p99 > 1e999%"};
    struct comparison_condition condition;
    struct err error;
    assert_int_equal(comparison_parse_condition("p99 > +5%", &condition, &error), 0);
    assert_string_equal(condition.figure, "p99");
    assert_true(condition.above && condition.percent && fabs(condition.limit - 0.05) < 1e-15);
    assert_int_equal(comparison_parse_condition(" rate<-3.5% ", &condition, &error), 0);
    assert_string_equal(condition.figure, "rate");
    assert_true(!condition.above && condition.percent && fabs(condition.limit + 0.035) < 1e-15);
    assert_int_equal(comparison_parse_condition("calls_per_second < 100k", &condition, &error), 0);
    assert_true(!condition.percent);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (comparison_parse_condition(wrong[i], &condition, &error) != -1) {
            fail_msg("'%s' was accepted", wrong[i]);
        }
        assert_int_equal(error.code, ERR_USAGE);
        assert_non_null(strstr(error.hint, "FIGURE > VALUE"));
    }
}

/* 1: met, 0: not met, -1: an error, with its text in `what`. */
static int judge(struct pair *pair, const char *text, char *what, size_t size)
{
    struct comparison_condition condition;
    struct err error = {0};
    assert_int_equal(comparison_parse_condition(text, &condition, &error), 0);
    int status = comparison_judge(&pair->report, &condition, 1, &error);
    snprintf(what, size, "%s: %s", error.what, error.hint);
    return status ? -1 : pair->report.outcomes[0].holds;
}

static void conditions_are_judged(void **state)
{
    (void)state;
    struct side slower = usual;
    char what[768];
    slower.p99 = 5500;
    slower.rate = 1001; /* within the noise */
    struct pair pair = compare(&usual, &slower, false);
    assert_int_equal(judge(&pair, "p99 > +5%", what, sizeof what), 1);
    assert_int_equal(judge(&pair, "p99 > +15%", what, sizeof what), 0);
    assert_int_equal(judge(&pair, "p99 < -5%", what, sizeof what), 0);
    assert_int_equal(judge(&pair, "response_time.p99 > 5%", what, sizeof what), 1);
    assert_int_equal(judge(&pair, "rate > +0%", what, sizeof what), 0); /* not seen */
    assert_int_equal(judge(&pair, "rate < 2k", what, sizeof what), 1);
    assert_int_equal(judge(&pair, "rate < 500", what, sizeof what), 0);
    assert_int_equal(judge(&pair, "p99 > 5.2us", what, sizeof what), 1);
    assert_int_equal(judge(&pair, "p99 > 6us", what, sizeof what), 0);
    assert_int_equal(judge(&pair, "p99 > 5", what, sizeof what), -1);
    assert_non_null(strstr(what, "a time such as"));
    assert_int_equal(judge(&pair, "p98 > 5%", what, sizeof what), -1);
    assert_non_null(strstr(what, "there is no figure 'p98': did you mean p9"));
    assert_int_equal(judge(&pair, "sendto > 5%", what, sizeof what), -1);
    assert_non_null(strstr(what, "did you mean client.sendto_per_call"));
    release(&pair);
}

static void a_single_run_decides_nothing(void **state)
{
    (void)state;
    struct side single = usual;
    char what[768];
    single.runs = 1;
    struct pair pair = compare(&single, &usual, false);
    assert_int_equal(pair.status, 0);
    assert_true(isnan(figure(&pair, "rate")->numbers.p));
    assert_int_equal(judge(&pair, "p99 > +5%", what, sizeof what), -1);
    assert_non_null(strstr(what, "cannot be decided from 1 and 10 runs"));
    assert_int_equal(judge(&pair, "p99 > 6us", what, sizeof what), 0);
    release(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_changed_is_seen),
        cmocka_unit_test(only_what_can_differ_is_tested),
        cmocka_unit_test(machines_and_options_that_differ_are_said),
        cmocka_unit_test(different_workloads_are_refused),
        cmocka_unit_test(labels),
        cmocka_unit_test(incomplete_runs_are_left_out_with_their_pair),
        cmocka_unit_test(conditions_are_parsed),
        cmocka_unit_test(conditions_are_judged),
        cmocka_unit_test(a_single_run_decides_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
