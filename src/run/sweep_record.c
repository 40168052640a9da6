/* The record of a sweep: everything that its runs' records say, put together. */
#include "run/sweep_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/joined_record.h"

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
        json_t *json = joined_record_json(&record);
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

/* Marks the runs of a turn, with their point in result->points. */
static int mark_turn(struct sweep_result *result, const struct sweep_plan *plan,
                     const struct sweep_turn *turn, size_t before, json_t *outcome, size_t *room)
{
    json_t *run;
    size_t index;
    if (json_is_true(json_object_get(outcome, "failed"))) {
        result->failed_runs++;
    }
    json_array_foreach(json_object_get(outcome, "runs"), index, run)
    {
        size_t count = before + index;
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
            json_object_set_new(run, "outlier", json_false()) < 0) {
            return -1;
        }
    }
    return 0;
}

int sweep_record_make(struct sweep_result *result, const struct sweep_plan *plan,
                      const struct sweep_turn *turns, const struct sweep_state *state,
                      const struct record *record)
{
    struct joined_record joined;
    size_t room = 0;
    int status = joined_record_init(&joined, record);
    for (size_t turn = 0; status == 0 && turn < state->turns; turn++) {
        json_t *outcome = state->outcomes[turn];
        size_t before = json_array_size(json_object_get(joined.json, "runs"));
        if (outcome) {
            status = mark_turn(result, plan, &turns[turn], before, outcome, &room);
            status = status ? status : joined_record_add(&joined, outcome);
        }
    }
    status = status ? status : joined_record_finish(&joined);
    result->json = json_incref(joined.json);
    joined_record_release(&joined);
    return status;
}
