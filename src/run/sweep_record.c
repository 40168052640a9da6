/* The record of a sweep: everything that its runs' records say, put together. */
#include "run/sweep_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A record as the JSON printer gives it: one definition of every member. */
static json_t *record_json(const struct record *record)
{
    char *text = NULL;
    size_t length = 0;
    struct err ignored;
    FILE *memory = open_memstream(&text, &length);
    if (!memory) {
        return NULL;
    }
    int printed = printer_json.print(record, memory, &ignored);
    json_t *json = fclose(memory) == 0 && printed == 0 ? json_loadb(text, length, 0, NULL) : NULL;
    free(text);
    return json;
}

/* A run that measured nothing, with every member that a run has. */
static json_t *empty_run(const struct err *failure)
{
    struct record record;
    struct err ignored;
    char *none[] = {NULL};
    json_t *run = NULL;
    if (record_init(&record, 0, none, &ignored) < 0) {
        return NULL;
    }
    struct record_run *empty = record_add_run(&record, "failed");
    if (empty) {
        empty->failure = *failure;
        json_t *json = record_json(&record);
        run = json_incref(json_array_get(json_object_get(json, "runs"), 0));
        json_decref(json);
    }
    record_release(&record);
    return run;
}

json_t *sweep_outcome_failed(const struct err *failure)
{
    return json_pack("{s:[o], s:[], s:b}", "runs", empty_run(failure), "warnings", "failed", 1);
}

json_t *sweep_outcome(json_t *record)
{
    struct err nothing = {.code = ERR_SYSTEM, .subject = "run", .what = "it measured nothing"};
    json_t *runs = json_object_get(record, "runs");
    json_t *why = json_object_get(record, "error");
    if (json_array_size(runs) == 0) {
        json_t *run = empty_run(&nothing);
        if (run && json_is_object(why) && json_object_set(run, "error", why) < 0) {
            json_decref(run);
            run = NULL;
        }
        runs = json_pack("[o]", run);
    } else {
        json_incref(runs);
    }
    return json_pack("{s:o, s:O?, s:O?, s:b}", "runs", runs, "warnings",
                     json_object_get(record, "warnings"), "operation",
                     json_object_get(record, "operation"), "failed",
                     !json_is_true(json_object_get(record, "complete")));
}

/* ---- the record ---- */

json_t *sweep_point_json(const struct sweep_plan *plan, size_t point)
{
    json_t *object = json_object();
    for (size_t d = 0; object && d < plan->dimension_count; d++) {
        const char *text = sweep_plan_value(plan, point, d)->text;
        if (json_object_set_new(object, plan->dimensions[d].name, json_string(text)) < 0) {
            json_decref(object);
            object = NULL;
        }
    }
    return object;
}

/* The same but for its digits: "load 2.31" and "load 1.07" are one warning. */
static bool same_warning(const char *a, const char *b)
{
    static const char digits[] = "0123456789.,";
    while (*a && *b) {
        size_t in_a = strspn(a, digits), in_b = strspn(b, digits);
        if ((in_a > 0) != (in_b > 0) || (in_a == 0 && *a != *b)) {
            return false;
        }
        a += in_a ? in_a : 1;
        b += in_b ? in_b : 1;
    }
    return *a == *b;
}

struct warning {
    const char *text; /* borrowed: the first of its kind */
    size_t runs;
};

struct warnings {
    struct warning *rows; /* owned */
    size_t count;
};

static int add_warnings(struct warnings *warnings, const json_t *outcome)
{
    size_t index;
    json_t *value;
    json_array_foreach(json_object_get(outcome, "warnings"), index, value)
    {
        const char *text = json_string_value(value);
        size_t i = 0;
        while (text && i < warnings->count && !same_warning(warnings->rows[i].text, text)) {
            i++;
        }
        if (text && i == warnings->count) {
            struct warning *rows = reallocarray(warnings->rows, i + 1, sizeof *rows);
            if (!rows) {
                return -1;
            }
            warnings->rows = rows;
            rows[warnings->count++] = (struct warning){text, 0};
        }
        if (text) {
            warnings->rows[i].runs++;
        }
    }
    return 0;
}

/* Appends them to the record's own, with how many runs had each. */
static int set_warnings(json_t *json, const struct sweep_state *state)
{
    struct warnings warnings = {0};
    json_t *list = json_object_get(json, "warnings");
    int result = 0;
    for (size_t turn = 0; result == 0 && turn < state->turns; turn++) {
        result = state->outcomes[turn] ? add_warnings(&warnings, state->outcomes[turn]) : 0;
    }
    for (size_t i = 0; result == 0 && i < warnings.count; i++) {
        const struct warning *row = &warnings.rows[i];
        result = json_array_append_new(
            list, json_sprintf("%zu of %zu runs: %s", row->runs, state->done, row->text));
    }
    free(warnings.rows);
    return result;
}

static bool same_error(json_t *a, json_t *b)
{
    return json_equal(json_object_get(a, "phase"), json_object_get(b, "phase")) &&
           json_equal(json_object_get(a, "errno"), json_object_get(b, "errno")) &&
           json_equal(json_object_get(a, "name"), json_object_get(b, "name"));
}

/* Equal ones added up. */
static int add_errors(json_t *sums, json_t *run)
{
    size_t index, at;
    json_t *row, *sum;
    json_array_foreach(json_object_get(run, "errors"), index, row)
    {
        json_t *found = NULL;
        json_array_foreach(sums, at, sum)
        {
            found = found || !same_error(sum, row) ? found : sum;
        }
        json_int_t count = json_integer_value(json_object_get(row, "count"));
        count += json_integer_value(json_object_get(found, "count"));
        if (!found) {
            found = json_copy(row);
            if (json_array_append_new(sums, found) < 0) {
                return -1;
            }
        }
        if (json_object_set_new(found, "count", json_integer(count)) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Marks the runs of a turn and appends them, with their point in result->points. */
static int add_turn(struct sweep_result *result, const struct sweep_plan *plan,
                    const struct sweep_turn *turn, json_t *outcome, size_t *room)
{
    json_t *all = json_object_get(result->json, "runs"), *run;
    json_t *errors = json_object_get(result->json, "errors");
    size_t index;
    if (json_is_true(json_object_get(outcome, "failed"))) {
        result->failed_runs++;
    }
    json_array_foreach(json_object_get(outcome, "runs"), index, run)
    {
        size_t count = json_array_size(all);
        if (count == *room) {
            *room = *room ? *room * 2 : 64;
            size_t *points = reallocarray(result->points, *room, sizeof *points);
            if (!points) {
                return -1;
            }
            result->points = points;
        }
        result->points[count] = turn->point;
        if (json_object_set_new(run, "point", sweep_point_json(plan, turn->point)) < 0 ||
            json_object_set_new(run, "repetition", json_integer(turn->repetition)) < 0 ||
            json_object_set_new(run, "discarded", json_boolean(turn->discarded)) < 0 ||
            json_object_set_new(run, "outlier", json_false()) < 0 || add_errors(errors, run) < 0 ||
            json_array_append(all, run) < 0) {
            return -1;
        }
    }
    return 0;
}

int sweep_record_make(struct sweep_result *result, const struct sweep_plan *plan,
                      const struct sweep_turn *turns, const struct sweep_state *state,
                      const struct record *record)
{
    size_t room = 0;
    result->json = record_json(record);
    for (size_t turn = 0; result->json && turn < state->turns; turn++) {
        json_t *outcome = state->outcomes[turn];
        json_t *operation = json_object_get(outcome, "operation");
        if (!outcome) {
            continue;
        }
        if (add_turn(result, plan, &turns[turn], outcome, &room) < 0 ||
            (json_is_string(operation) &&
             json_object_set(result->json, "operation", operation) < 0)) {
            return -1;
        }
    }
    return result->json ? set_warnings(result->json, state) : -1;
}
