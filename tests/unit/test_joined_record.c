/* One record of many children's: their runs in order, their errors added up, each warning once. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "run/joined_record.h"

/* The record of a child with one run, as it prints it. */
static json_t *part(const char *label, double load, int refused, int resets)
{
    char *none[] = {NULL};
    struct record record;
    struct err error;
    assert_int_equal(record_init(&record, 0, none, &error), 0);
    record.complete = true;
    record.operation = label;
    struct record_run *run = record_add_run(&record, label);
    assert_non_null(run);
    run->complete = true;
    const struct {
        int number, count;
    } errors[] = {{ECONNREFUSED, refused}, {ECONNRESET, resets}};
    for (size_t i = 0; i < 2; i++) {
        struct record_error_count *row = record_add_error(run, "connect", errors[i].number, NULL);
        assert_non_null(row);
        row->count += (uint64_t)errors[i].count;
    }
    assert_int_equal(record_add_warning(&record, "load is %.2f on 2 CPUs", load), 0);
    json_t *json = joined_record_json(&record);
    assert_non_null(json);
    record_release(&record);
    return json;
}

static void begin(struct joined_record *joined)
{
    char *none[] = {NULL};
    struct record record;
    struct err error;
    assert_int_equal(record_init(&record, 0, none, &error), 0);
    record.complete = true;
    assert_int_equal(record_add_warning(&record, "of the whole"), 0);
    assert_int_equal(joined_record_init(joined, &record), 0);
    record_release(&record);
}

static json_int_t count_of(const struct joined_record *joined, const char *name)
{
    json_t *row;
    size_t index;
    json_int_t count = -1;
    json_array_foreach(json_object_get(joined->json, "errors"), index, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0) {
            assert_int_equal(count, -1); /* it stands there once */
            count = json_integer_value(json_object_get(row, "count"));
        }
    }
    return count;
}

static const char *warning(const struct joined_record *joined, size_t index)
{
    return json_string_value(json_array_get(json_object_get(joined->json, "warnings"), index));
}

static void test_runs_errors_and_warnings(void **state)
{
    (void)state;
    struct joined_record joined;
    begin(&joined);
    json_t *one = part("call", 2.31, 3, 1), *two = part("ping", 1.07, 4, 0);
    assert_int_equal(json_array_append_new(json_object_get(two, "warnings"), json_string("other")),
                     0);
    assert_int_equal(joined_record_add(&joined, one), 0);
    assert_int_equal(joined_record_add(&joined, two), 0);
    json_decref(one);
    json_decref(two);
    assert_int_equal(joined_record_finish(&joined), 0);
    const json_t *runs = json_object_get(joined.json, "runs");
    assert_int_equal(json_array_size(runs), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(runs, 0), "label")),
                        "call");
    assert_string_equal(json_string_value(json_object_get(json_array_get(runs, 1), "label")),
                        "ping");
    assert_string_equal(json_string_value(json_object_get(joined.json, "operation")), "ping");
    assert_int_equal(count_of(&joined, "ECONNREFUSED"), 7);
    assert_int_equal(count_of(&joined, "ECONNRESET"), 1);
    assert_int_equal(json_array_size(json_object_get(joined.json, "warnings")), 3);
    assert_string_equal(warning(&joined, 0), "of the whole");
    assert_string_equal(warning(&joined, 1), "2 of 2 runs: load is 2.31 on 2 CPUs");
    assert_string_equal(warning(&joined, 2), "1 of 2 runs: other");
    joined_record_release(&joined);
    joined_record_release(&joined);
}

/* A child that could not even begin has less. */
static void test_part_without_members(void **state)
{
    (void)state;
    struct joined_record joined;
    begin(&joined);
    json_t *empty = json_object();
    assert_int_equal(joined_record_add(&joined, empty), 0);
    json_decref(empty);
    assert_int_equal(joined_record_finish(&joined), 0);
    assert_int_equal(json_array_size(json_object_get(joined.json, "runs")), 0);
    assert_int_equal(json_array_size(json_object_get(joined.json, "warnings")), 1);
    joined_record_release(&joined);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_errors_and_warnings),
        cmocka_unit_test(test_part_without_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
