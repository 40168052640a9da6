/* What probes saw, in every printer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "printed.h"

static const struct metric rate = {
    .key = "transfers_per_second", .unit = "1/s", .title = "transfers/s", .kind = METRIC_VALUE};
static const struct metric on_cpu = {
    .key = "on_cpu_ns", .unit = "ns", .title = "on CPU", .kind = METRIC_VALUE};
static const struct metric switches = {
    .key = "switches", .unit = "1", .title = "switches", .kind = METRIC_VALUE};
static const struct metric wide[] = {
    {.key = "first_of_the_wide", .unit = "1", .title = "a title of thirty-odd columns, one"},
    {.key = "second_of_the_wide", .unit = "1", .title = "a title of thirty-odd columns, two"},
    {.key = "third_of_the_wide", .unit = "1", .title = "a title of thirty-odd columns, three"},
};
static const struct histogram_metric sizes = {"returned", "bytes", "bytes returned", ""};

static void put(struct record_probe_row *row, const struct metric *metric, double value)
{
    struct record_value *entry = record_row_add_value(row, metric);
    assert_non_null(entry);
    entry->available = true;
    entry->value = value;
}

static void fill_sched(struct record_run *run)
{
    struct record_probe *probe = record_add_probe(run, "sched");
    probe->available = true;
    probe->window_ns = 1000000000;
    probe->operations = 500;
    probe->bytes = 8192000;
    probe->lost = 3;
    probe->effect = (struct record_effect){.available = true,
                                           .metric = "transfers_per_second",
                                           .ratio = {0.99, 0.98, 1.0},
                                           .blocks = 4};
    struct record_scope sender = {"sender", 1234, 1235, "sonde", ""};
    struct record_probe_row *row = record_add_probe_row(probe, &sender);
    put(row, &on_cpu, 1500);
    put(row, &switches, 12);
    struct record_scope receiver = {"receiver", 1234, 1236, "so\033nde", ""};
    row = record_add_probe_row(probe, &receiver);
    put(row, &on_cpu, 2500000);
    struct record_value *lacking = record_row_add_value(row, &switches);
    snprintf(lacking->reason, sizeof lacking->reason, "too many threads");
    struct record_scope cpu = {"", 0, 0, "", "cpu 0"};
    put(record_add_probe_row(probe, &cpu), &switches, 7);
}

static void fill_sizes(struct record_run *run)
{
    struct record_probe *probe = record_add_probe(run, "sizes");
    probe->available = true;
    probe->window_ns = 500000000;
    snprintf(probe->effect.reason, sizeof probe->effect.reason, "too few blocks");
    struct record_scope scope = {"sender", 1234, 1235, "sonde", "write"};
    record_add_distribution(probe, &sizes, &scope)->classes[distribution_class(8192)] = 128;
    struct record_scope process = {"observed", 77, 0, "cat", "read"};
    struct record_distribution *reads = record_add_distribution(probe, &sizes, &process);
    reads->classes[distribution_class(-11)] = 100;
    reads->classes[distribution_class(0)] = 50;
    reads->classes[distribution_class(1)] = 50;
    reads->sum = 50;
    record_add_distribution(probe, &sizes, &process); /* empty: in no text */
}

static void fill(struct record *record)
{
    struct err error = {0};
    assert_int_equal(record_init(record, 0, NULL, &error), 0);
    record->operation = "transfer";
    record->complete = true;
    struct record_run *run = record_add_run(record, "pipe");
    run->complete = run->observing = true;
    run->window_ns = run->wall_ns = 2000000000;
    struct record_value *headline = record_add_value(run, &rate);
    headline->available = true;
    headline->value = 250;
    struct record_process *sender = record_add_process(run, "sender", 1234, "sonde");
    sender->tid = 1235;
    sender->engine_calls.available = true;
    sender->engine_calls.operations = 500;
    record_add_syscall(&sender->engine_calls, "write")->calls = 1000;
    fill_sched(run);
    fill_sizes(run);
    struct record_probe *refused = record_add_probe(run, "counters");
    snprintf(refused->reason, sizeof refused->reason, "no PMU");
}

static int set_up(void **state)
{
    static struct record record;
    fill(&record);
    *state = &record;
    return 0;
}

static int tear_down(void **state)
{
    record_release(*state);
    return 0;
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("\"%s\" is not in\n%s", part, text);
    }
}

static void assert_lacks(const char *text, const char *part)
{
    if (strstr(text, part)) {
        fail_msg("\"%s\" is in\n%s", part, text);
    }
}

/* ---- JSON ---- */

static void assert_json(const struct record *record, const char *path, const char *expected)
{
    char *text = print(record, &printer_json), copy[128], *rest = copy;
    json_t *whole = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    json_t *value = json_object_get(json_array_get(json_object_get(whole, "runs"), 0), "probes");
    snprintf(copy, sizeof copy, "%s", path);
    for (char *part; value && (part = strsep(&rest, "/"));) {
        value = json_is_array(value) ? json_array_get(value, strtoul(part, NULL, 10))
                                     : json_object_get(value, part);
    }
    char *found = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    if (!found || strcmp(found, expected) != 0) {
        fail_msg("%s is %s, not %s", path, found ? found : "missing", expected);
    }
    free(found);
    json_decref(whole);
    free(text);
}

static void test_json(void **state)
{
    assert_json(*state, "0/name", "\"sched\"");
    assert_json(*state, "0/available", "true");
    assert_json(*state, "0/reason", "null");
    assert_json(*state, "0/window_ns", "1000000000");
    assert_json(*state, "0/operations", "500");
    assert_json(*state, "0/bytes", "8192000");
    assert_json(*state, "0/lost", "3");
    assert_json(*state, "0/effect/blocks", "4");
    assert_json(*state, "0/rows/0/tid", "1235");
    assert_json(*state, "0/rows/0/what", "null");
    assert_json(*state, "0/rows/0/metrics/on_cpu_ns", "{\"value\":1500,\"unit\":\"ns\"}");
    assert_json(*state, "0/rows/1/metrics/switches",
                "{\"value\":null,\"unit\":\"1\",\"reason\":\"too many threads\"}");
    assert_json(*state, "0/rows/2/role", "null");
    assert_json(*state, "0/rows/2/pid", "null");
    assert_json(*state, "1/operations", "null");
    assert_json(*state, "1/effect/reason", "\"too few blocks\"");
    assert_json(*state, "2/available", "false");
    assert_json(*state, "2/reason", "\"no PMU\"");
}

static void test_json_distributions_have_the_classes_that_are_not_empty(void **state)
{
    assert_json(*state, "1/distributions/0/classes",
                "[{\"low\":8192,\"high\":16383,\"count\":128}]");
    assert_json(*state, "1/distributions/0/sum", "null");
    assert_json(*state, "1/distributions/0/key", "\"returned\"");
    assert_json(*state, "1/distributions/1/classes",
                "[{\"low\":null,\"high\":-1,\"count\":100},{\"low\":0,\"high\":0,\"count\":50},"
                "{\"low\":1,\"high\":1,\"count\":50}]");
    assert_json(*state, "1/distributions/1/sum", "50");
    assert_json(*state, "1/distributions/2/classes", "[]");
}

static void test_json_of_the_largest_class_is_exact(void **state)
{
    struct record *record = *state;
    record->runs[0].probes[1].distributions[2].classes[distribution_class(INT64_MAX)] = 1;
    assert_json(record, "1/distributions/2/classes",
                "[{\"low\":4611686018427387904,\"high\":9223372036854775807,\"count\":1}]");
}

/* ---- text ---- */

/* DTrace's layout to the column: 16 of the value, 40 of the bar. */
static void test_text_of_distributions(void **state)
{
    char *text = print(*state, &printer_text);
    assert_has(text, "\n  sizes: sender 1234/1235 sonde, write (bytes returned)\n"
                     "           value  ------------- Distribution ------------- count\n"
                     "            4096 |                                         0\n"
                     "            8192 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@ 128\n"
                     "           16384 |                                         0\n");
    assert_has(text, "\n  sizes: observed 77 cat, read (bytes returned)\n"
                     "           value  ------------- Distribution ------------- count\n"
                     "             < 0 |@@@@@@@@@@@@@@@@@@@@                     100\n"
                     "               0 |@@@@@@@@@@                               50\n"
                     "               1 |@@@@@@@@@@                               50\n"
                     "               2 |                                         0\n");
    assert_true(strstr(text, "77 cat, read") < strstr(text, "1235 sonde, write")); /* by count */
    assert_lacks(text, "in --json");
    free(text);
}

static void test_text_of_rows(void **state)
{
    char *text = print(*state, &printer_text);
    assert_has(text, "\n  sched          thread           on CPU  switches\n"
                     "  sender 1234    1235 sonde      1.50 µs        12\n"
                     "  receiver 1234  1236 so\\x1bnde  2.50 ms       n/a\n");
    assert_has(text, "\n  sched           switches\n"
                     "  machine  cpu 0         7\n");
    assert_has(text, "  sched: n/a (switches, for one): too many threads\n");
    assert_has(text, "  sched: 3 events were lost: its counts are too low by that\n");
    assert_has(text, "  probe counters: n/a (no PMU)\n");
    assert_has(text, "sender sonde  1234/1235 "); /* in the table of costs */
    free(text);
}

static void test_text_has_the_effect_of_each_probe(void **state)
{
    char *text = print(*state, &printer_text);
    assert_has(text,
               "  probe effect of sched: transfers_per_second x0.990 (0.980 .. 1.000, 95 %, 4 "
               "blocks)\n"
               "  probe effect of sizes: n/a (too few blocks)\n");
    assert_lacks(text, "effect of counters");
    free(text);
}

static void test_text_splits_what_is_too_wide(void **state)
{
    struct record *record = *state;
    struct record_probe *probe = &record->runs[0].probes[2];
    struct record_scope scope = {"sender", 1234, 0, "sonde", ""};
    probe->available = true;
    struct record_probe_row *row = record_add_probe_row(probe, &scope);
    for (int i = 0; i < 3; i++) {
        put(row, &wide[i], 10 + i);
    }
    char *text = print(record, &printer_text);
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
        assert_true(strcspn(line, "\n") <= 100);
    }
    const char *first = strstr(text, "columns, one"), *second = strstr(text, "columns, two"),
               *third = strstr(text, "columns, three");
    assert_true(first && second && third);
    assert_null(memchr(first, '\n', (size_t)(second - first))); /* side by side */
    assert_non_null(memchr(second, '\n', (size_t)(third - second)));
    free(text);
}

static void test_text_shows_the_largest_distributions(void **state)
{
    struct record *record = *state;
    struct record_probe *probe = &record->runs[0].probes[1];
    for (unsigned i = 0; i < 9; i++) {
        struct record_scope scope = {.role = "observed", .pid = 500 + (int)i, .name = "x"};
        record_add_distribution(probe, &sizes, &scope)->classes[5] = 1000 + i;
    }
    char *text = print(record, &printer_text);
    assert_has(text, "sizes: observed 508 x (bytes returned)");
    assert_has(text, "sizes: observed 503 x (bytes returned)");
    assert_lacks(text, "sizes: observed 502 x (bytes returned)");
    assert_has(text, "  (sizes: 5 more distributions in --json)\n");
    free(text);
}

static void test_comparison_names_the_ends_that_there_are(void **state)
{
    struct record *record = *state;
    record_add_run(record, "local")->complete = true;
    char *text = print(record, &printer_text);
    assert_has(text, "sender / transfer");
    assert_lacks(text, "server / transfer");
    assert_has(text, "(sizes: 2 distributions in --json)"); /* compact */
    free(text);
}

/* ---- CSV ---- */

static void test_csv_has_a_row_for_each_row_of_a_probe(void **state)
{
    char *text = print(*state, &printer_csv);
    assert_has(text, "limited_by,detail,kind,probe,role,pid,tid,name,what,sched_on_cpu_ns,"
                     "sched_switches\n");
    assert_has(text, ",sender_calls_per_operation,");
    assert_has(text, ",run,,,,,,,,\n");
    assert_has(text, ",probe,sched,sender,1234,1235,sonde,,1500,12\n");
    assert_has(text, ",probe,sched,,,,,cpu 0,,7\n");
    assert_has(text, "pipe,,false,false,,1,true,"); /* the probe's own window */
    size_t commas = 0, lines = 0;
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1, lines++) {
        size_t here = 0;
        for (const char *at = line; *at != '\n'; at++) {
            here += *at == ',';
        }
        commas = lines ? commas : here;
        assert_int_equal(here, commas);
    }
    assert_int_equal(lines, 5);
    free(text);
}

/* ---- functions and stacks ---- */

static const struct metric self_share = {
    .key = "self_share", .unit = "1", .title = "overhead", .kind = METRIC_VALUE};
static const struct metric total_share = {
    .key = "total_share", .unit = "1", .title = "with callees", .kind = METRIC_VALUE};

static void add_function(struct record_probe *probe, const struct record_scope *scope,
                         const char *object, const char *symbol, double self, double total)
{
    struct record_probe_row *row = record_add_probe_row(probe, scope);
    assert_int_equal(record_row_set_code(row, object, symbol), 0);
    put(row, &self_share, self);
    put(row, &total_share, total);
}

static void profile(struct record *record, const char *label)
{
    static const struct record_scope scope = {"server", 1234, 0, "sonde", ""}, nobody = {0};
    struct record_run *run = record_add_run(record, label);
    struct record_probe *probe = record_add_probe(run, "profile");
    char name[200];
    run->observing = true;
    probe->available = true;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    add_function(probe, &scope, "/usr/bin/sonde", "worker_run", 0.5, 1);
    add_function(probe, &scope, "/usr/lib/libc.so.6", name, 0.25, 0.25);
    for (int i = 0; i < 40; i++) {
        add_function(probe, &scope, "[kernel]", "read\033", 0, 0.001);
    }
    add_function(probe, &nobody, "(others)", "(7 more functions)", 0.25, NAN);
    assert_non_null(record_add_stack(probe, &scope, "sonde (server);worker_run", 20));
    assert_non_null(record_add_stack(probe, &scope, "sonde (server);worker_run;read_[k]", 2));
}

static void test_text_of_functions(void **state)
{
    (void)state;
    struct record record = {.operation = "call", .complete = true};
    profile(&record, "epoll");
    char *text = print(&record, &printer_text);
    assert_has(text, "  overhead   total  process            object     symbol\n"
                     "    50.0 %   100 %  server sonde 1234  sonde      worker_run\n"
                     "    25.0 %  25.0 %  server sonde 1234  libc.so.6  xxxx");
    assert_has(text, "(and 18 more functions in --json)");
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
        assert_true(strcspn(line, "\n") <= 100);
    }
    free(text);
    record_release(&record);
}

static void test_folded_stacks(void **state)
{
    (void)state;
    struct record record = {0};
    profile(&record, "epoll");
    char *text = print(&record, &printer_folded);
    assert_string_equal(text, "sonde (server);worker_run 20\n"
                              "sonde (server);worker_run;read_[k] 2\n");
    free(text);
    profile(&record, "poll");
    profile(&record, "poll");
    record.runs[2].discarded = true;
    text = print(&record, &printer_folded);
    assert_string_equal(text, "epoll;sonde (server);worker_run 20\n"
                              "epoll;sonde (server);worker_run;read_[k] 2\n"
                              "poll;sonde (server);worker_run 20\n"
                              "poll;sonde (server);worker_run;read_[k] 2\n");
    free(text);
    record_release(&record);
}

/* However many there are: a record goes to another sonde in one message. */
static void test_json_bounds_stacks_and_loses_no_sample(void **state)
{
    (void)state;
    enum { STACKS = 3000 };
    struct record record = {0};
    struct record_scope nobody = {0};
    struct record_probe *probe = record_add_probe(record_add_run(&record, "epoll"), "profile");
    json_int_t samples = 0;
    for (int i = 0; i < STACKS; i++) {
        char frames[128];
        snprintf(frames, sizeof frames, "main;%0100d", i);
        assert_non_null(record_add_stack(probe, &nobody, frames, 3));
    }
    char *text = print(&record, &printer_json);
    json_t *json = json_loads(text, 0, NULL), *stack;
    json_t *run = json_array_get(json_object_get(json, "runs"), 0);
    json_t *stacks = json_object_get(json_array_get(json_object_get(run, "probes"), 0), "stacks");
    size_t i, count = json_array_size(stacks);
    assert_true(count > 100 && count < STACKS / 2);
    json_array_foreach(stacks, i, stack)
    {
        samples += json_integer_value(json_object_get(stack, "samples"));
        assert_int_equal(json_is_null(json_object_get(stack, "frames")), i + 1 == count);
    }
    assert_int_equal(samples, 3 * STACKS);
    json_decref(json);
    free(text);
    record_release(&record);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_json),
        TEST(test_json_distributions_have_the_classes_that_are_not_empty),
        TEST(test_json_of_the_largest_class_is_exact),
        TEST(test_text_of_distributions),
        TEST(test_text_of_rows),
        TEST(test_text_has_the_effect_of_each_probe),
        TEST(test_text_splits_what_is_too_wide),
        TEST(test_text_shows_the_largest_distributions),
        TEST(test_comparison_names_the_ends_that_there_are),
        TEST(test_csv_has_a_row_for_each_row_of_a_probe),
        cmocka_unit_test(test_text_of_functions),
        cmocka_unit_test(test_folded_stacks),
        cmocka_unit_test(test_json_bounds_stacks_and_loses_no_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
