/* Repetitions in a record: what is summarised, what is warned of, how it is printed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/record.h"

static const struct metric rate = {
    .key = "calls_per_second", .unit = "1/s", .title = "calls/s", .kind = METRIC_VALUE};
static const struct metric some = {
    .key = "some", .unit = "1", .title = "some", .kind = METRIC_VALUE};
static const struct metric steal = {
    .key = "steal_share", .unit = "1", .title = "stolen CPU time", .kind = METRIC_VALUE};
static const struct metric frequency = {
    .key = "cpu_frequency", .unit = "Hz", .title = "CPU clock rate", .kind = METRIC_VALUE};
static const struct histogram_metric response = {"response_time", "ns", "response time", ""};

static void add_value(struct record_run *run, const struct metric *metric, double value)
{
    struct record_value *element = record_add_value(run, metric);
    element->available = true;
    element->value = value;
}

static int set_up(void **state)
{
    static char *arguments[] = {"call", NULL};
    struct record *record = calloc(1, sizeof *record);
    struct err error = {0};
    assert_non_null(record);
    assert_int_equal(record_init(record, 1, arguments, &error), 0);
    record->complete = true;
    record->operation = "call";
    *state = record;
    return 0;
}

static int tear_down(void **state)
{
    record_release(*state);
    free(*state);
    return 0;
}

static struct record_run *add_run(struct record *record, const char *label, uint32_t repetition,
                                  double value)
{
    struct record_run *run = record_add_run(record, label);
    run->repetition = repetition;
    run->complete = true;
    run->window_ns = run->wall_ns = 1000000000;
    snprintf(run->detail, sizeof run->detail, "detail of %u", repetition);
    add_value(run, &rate, value);
    return run;
}

static void add_runs(struct record *record, const double *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        add_value(add_run(record, "epoll", (uint32_t)i + 1, values[i]), &steal, 0.001);
    }
}

static const struct record_summary_value *find(const struct record_summary *summary,
                                               const char *key)
{
    for (size_t i = 0; i < summary->value_count; i++) {
        if (strcmp(summary->values[i].metric->key, key) == 0) {
            return &summary->values[i];
        }
    }
    fail_msg("no %s", key);
    return NULL;
}

static char *print(const struct record *record, const struct printer *printer)
{
    char *text = NULL;
    size_t length;
    struct err error = {0};
    FILE *memory = open_memstream(&text, &length);
    assert_non_null(memory);
    assert_int_equal(printer->print(record, memory, &error), 0);
    assert_int_equal(fclose(memory), 0);
    return text;
}

/* Warm-up runs, runs that failed and those of another label do not count. */
static void fill_mixed(struct record *record)
{
    static const double values[] = {9000, 100, 300, 200};
    for (uint32_t i = 0; i < 4; i++) {
        struct record_run *run = add_run(record, "poll", i + 1, values[i]);
        run->discarded = i == 0;
        if (i == 2) {
            add_value(run, &some, 7);
        }
        struct record_histogram *histogram = record_add_histogram(run, &response, "client");
        histogram_record(histogram->histogram, 1000 * (i + 1), 2000);
        struct record_process *process = record_add_process(run, "client", 1, "sonde");
        process->cpu_available = true;
        process->cpu_operations = 10;
        process->cpu_user_ns = 100;
        process->cpu_system_ns = 50 * (i + 1);
        add_run(record, "epoll", i + 1, 50)->complete = i != 2;
    }
}

static void test_what_counts(void **state)
{
    struct record *record = *state;
    fill_mixed(record);
    assert_int_equal(record_summarise(record), 0);
    assert_int_equal(record->summary_count, 2);
    const struct record_summary *poll = &record->summaries[0], *epoll = &record->summaries[1];
    assert_string_equal(poll->label, "poll");
    assert_int_equal(poll->runs, 3);
    assert_int_equal(epoll->runs, 3);
    const struct record_summary_value *headline = &poll->values[0];
    assert_string_equal(headline->metric->key, "calls_per_second");
    assert_true(headline->count == 3 && headline->median.value == 200);
    assert_true(headline->median.low == 100 && headline->median.high == 300);
    assert_true(headline->least == 100 && headline->most == 300 && headline->deviation == 100);
    const struct record_summary_value *rare = find(poll, "some");
    assert_true(rare->count == 1 && rare->median.value == 7);
    double p99 = find(poll, "response_time.p99")->median.value;
    assert_true(p99 >= 3000 && p99 < 3005);
    assert_true(find(poll, "response_time.p50")->median.value == p99);
    assert_true(find(poll, "client.cpu_ns_per_call")->median.value == 25);
    assert_int_equal(record->warning_count, 0);
}

static void test_nothing_repeated(void **state)
{
    struct record *record = *state;
    add_run(record, "epoll", 0, 50);
    assert_int_equal(record_summarise(record), 0);
    assert_int_equal(record->summary_count, 0);
    char *json = print(record, &printer_json), *text = print(record, &printer_text);
    assert_null(strstr(json, "repetition"));
    assert_null(strstr(json, "summaries"));
    assert_null(strstr(text, "median"));
    free(json);
    free(text);
}

static void test_drift(void **state)
{
    struct record *record = *state;
    double values[11];
    for (int i = 0; i < 11; i++) {
        values[i] = 1060 - 12 * i; /* median 1000 */
    }
    add_runs(record, values, 11);
    for (int i = 0; i < 11; i++) {
        add_value(&record->runs[i], &frequency, 3e9 - 0.001e9 * i); /* too little to matter */
    }
    assert_int_equal(record_summarise(record), 0);
    assert_int_equal(record->warning_count, 1);
    assert_string_equal(
        record->warnings[0],
        "epoll: calls/s falls from run to run (by 12.0 % over 11 runs): the machine drifts");
}

static void test_drift_in_company(void **state)
{
    struct record *record = *state;
    double values[11];
    for (int i = 0; i < 11; i++) {
        values[i] = 940 + 12 * i;
    }
    add_runs(record, values, 11);
    for (int i = 0; i < 11; i++) {
        add_value(&record->runs[i], &frequency, 2e9 + 0.02e9 * i);
        record->runs[i].values[1].value = 0.3 - 0.02 * i;
    }
    assert_int_equal(record_summarise(record), 0);
    assert_int_equal(record->warning_count, 1);
    assert_string_equal(record->warnings[0],
                        "epoll: calls/s rises from run to run (by 12.0 % over 11 runs): the "
                        "machine drifts (stolen CPU time falls, CPU clock rate rises)");
}

static void test_outlier_with_a_reason(void **state)
{
    struct record *record = *state;
    static const double values[] = {1000, 1001, 999, 650, 1002, 998, 1000};
    add_runs(record, values, 7);
    record->runs[3].values[1].value = 0.12;
    assert_int_equal(record_summarise(record), 0);
    assert_int_equal(record->warning_count, 1);
    assert_string_equal(record->warnings[0],
                        "epoll: run 4 is 35.0 % below the median; in it 12.0 % of CPU time was "
                        "stolen (median of the others 0.1 %)");
    for (size_t i = 0; i < 7; i++) {
        assert_true(record->runs[i].outlier == (i == 3));
    }
}

static void test_outlier_with_several_reasons(void **state)
{
    struct record *record = *state;
    static const double values[] = {1000, 1000, 999, 1500, 1001, 999};
    add_runs(record, values, 6);
    for (size_t i = 0; i < 6; i++) {
        record->runs[i].values[1].value = i == 3 ? 0 : 0.2;
        add_value(&record->runs[i], &frequency, i == 3 ? 3e9 : 2e9);
    }
    assert_int_equal(record_summarise(record), 0);
    assert_int_equal(record->warning_count, 1);
    assert_string_equal(record->warnings[0],
                        "epoll: run 4 is 50.0 % above the median; in it 0 % of CPU time was stolen "
                        "(median of the others 20.0 %), the CPU ran at 3.00 GHz (median of the "
                        "others 2.00 GHz)");
}

static void test_outliers_without_a_reason(void **state)
{
    struct record *record = *state;
    double values[15];
    for (int i = 0; i < 15; i++) {
        values[i] = i % 3 == 1 ? 500 : 1000 + i % 2;
    }
    add_runs(record, values, 15);
    assert_int_equal(record_summarise(record), 0);
    assert_int_equal(record->warning_count, 4);
    assert_string_equal(record->warnings[0],
                        "epoll: run 2 is 50.0 % below the median; nothing that sonde can see "
                        "differed");
    assert_string_equal(record->warnings[3], "epoll: 2 more runs are far from the median");
}

static void test_printed(void **state)
{
    struct record *record = *state;
    fill_mixed(record);
    assert_int_equal(record_summarise(record), 0);
    record->runs[2].outlier = true;
    char *text = print(record, &printer_text);
    assert_non_null(strstr(text, "100 .. 300"));
    assert_non_null(strstr(text, "fewer than 6 runs"));
    assert_non_null(strstr(text, "discarded (warm-up)"));
    assert_non_null(strstr(text, "outlier"));
    assert_non_null(strstr(text, "PARTIAL: in no median"));
    assert_non_null(strstr(text, "Run 4 in full, the nearest to the median of poll:"));
    assert_non_null(strstr(text, "\npoll: detail of 4\n"));
    assert_null(strstr(text, "\npoll: detail of 1"));
    assert_null(strstr(text, "\npoll: detail of 3"));
    free(text);

    char *printed = print(record, &printer_json);
    json_t *json = json_loads(printed, 0, NULL);
    json_t *metric = json_object_get(
        json_object_get(json_array_get(json_object_get(json, "summaries"), 0), "metrics"),
        "calls_per_second");
    assert_int_equal(json_integer_value(json_object_get(metric, "median")), 200);
    assert_int_equal(json_integer_value(json_object_get(metric, "count")), 3);
    assert_string_equal(json_string_value(json_object_get(metric, "unit")), "1/s");
    json_t *run = json_array_get(json_object_get(json, "runs"), 0);
    assert_true(json_is_true(json_object_get(run, "discarded")));
    assert_int_equal(json_integer_value(json_object_get(run, "repetition")), 1);
    json_decref(json);
    free(printed);

    char *csv = print(record, &printer_csv);
    assert_non_null(strstr(csv, "label,repetition,discarded,outlier,"));
    assert_non_null(strstr(csv, "\npoll,1,true,false,"));
    assert_non_null(strstr(csv, "\npoll,2,false,true,"));
    free(csv);
}

/* Where an interruption left nothing that counts, what there is stands all the same. */
static void test_nothing_counts(void **state)
{
    struct record *record = *state;
    add_run(record, "epoll", 1, 1234)->discarded = true;
    add_run(record, "epoll", 2, 1200)->complete = false;
    assert_int_equal(record_summarise(record), 0);
    assert_int_equal(record->summary_count, 0);
    char *text = print(record, &printer_text);
    assert_non_null(strstr(text, "1,234"));
    assert_non_null(strstr(text, "Run 2 in full, the last of epoll, of which none counts:"));
    free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_what_counts),
        TEST(test_nothing_repeated),
        TEST(test_drift),
        TEST(test_drift_in_company),
        TEST(test_outlier_with_a_reason),
        TEST(test_outlier_with_several_reasons),
        TEST(test_outliers_without_a_reason),
        TEST(test_printed),
        TEST(test_nothing_counts),
    };
    return cmocka_run_group_tests_name("record_repeat", tests, NULL, NULL);
}
