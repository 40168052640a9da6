#include "cli/sweep_course.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/units.h"
#include "run/child.h"

/* Between two lines of progress where there is no terminal. */
#define PROGRESS_EVERY_NS (10 * NS_PER_SECOND)

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t length)
{
    const unsigned char *at = bytes; /* FNV-1a */
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
    return hash_bytes(hash, text, strlen(text) + 1);
}

static const uint64_t HASH_START = UINT64_C(0xcbf29ce484222325);

static uint64_t hash_program(void)
{
    struct stat program;
    uint64_t hash = hash_text(HASH_START, SONDE_VERSION);
    if (stat("/proc/self/exe", &program) == 0) {
        hash = hash_bytes(hash, &program.st_size, sizeof program.st_size);
        hash = hash_bytes(hash, &program.st_mtim.tv_sec, sizeof program.st_mtim.tv_sec);
    }
    return hash;
}

static uint64_t hash_machine(const struct record *record)
{
    static const char *const fixed[] = {"kernel", "cpu", "cores", "cores_allowed"};
    uint64_t hash = HASH_START;
    for (size_t i = 0; i < record->machine_count; i++) {
        for (size_t f = 0; f < sizeof fixed / sizeof *fixed; f++) {
            if (strcmp(record->machine[i].key, fixed[f]) == 0) {
                hash = hash_text(hash, record->machine[i].text);
            }
        }
    }
    return hash;
}

void sweep_course_fingerprint(const struct sweep_course *course, const struct record *record,
                              char *to, size_t size)
{
    const struct sweep_options *options = course->options;
    const struct sweep_plan *plan = course->plan;
    uint64_t command = HASH_START, values = HASH_START;
    for (size_t w = 0; w < plan->base_count; w++) {
        command = hash_text(command, plan->base[w]);
    }
    for (size_t d = 0; d < plan->dimension_count; d++) {
        values = hash_text(values, plan->dimensions[d].name);
        for (size_t v = 0; v < plan->dimensions[d].value_count; v++) {
            values = hash_text(values, plan->dimensions[d].values[v].text);
        }
    }
    snprintf(to, size,
             "program:%" PRIx64 " machine:%" PRIx64 " command:%" PRIx64 " --vary:%" PRIx64
             " --repeat:%" PRIu64 " --warmup-runs:%" PRIu64 " --seed:%" PRIu64 " --order:%u",
             hash_program(), hash_machine(record), command, values, options->repeat,
             options->warmup_runs, options->seed, (unsigned)options->order);
}

static bool wants_to_stop(int stop_fd)
{
    struct pollfd row = {.fd = stop_fd, .events = POLLIN};
    return poll(&row, 1, 0) == 1;
}

/* "size=1 write=each" */
static void print_point(const struct sweep_plan *plan, size_t point, char *to, size_t size)
{
    size_t length = 0;
    to[0] = '\0';
    for (size_t d = 0; d < plan->dimension_count && length < size; d++) {
        length +=
            (size_t)snprintf(to + length, size - length, "%s%s=%s", d ? " " : "",
                             plan->dimensions[d].name, sweep_plan_value(plan, point, d)->text);
    }
}

/* Between two runs, never during one. */
static void tell_progress(struct sweep_course *course, size_t point)
{
    const struct sweep_state *state = &course->state;
    uint64_t now = clock_now_ns();
    size_t made = state->done - state->resumed, left = state->turns - state->done;
    size_t step = state->turns / 20 + 1;
    bool due = left == 0 || made % step == 0 || now - course->told_ns >= PROGRESS_EVERY_NS;
    char where[60], failed[32] = "", duration[UNITS_TEXT_MAX];
    if (!course->terminal && (!course->lines || !due)) {
        return;
    }
    course->told_ns = now;
    double each_ns = made ? (double)(now - course->started_ns) / (double)made : 0;
    double left_ns = each_ns * (double)left;
    /* Whole seconds: more would be a pretence. */
    uint64_t left_s = (uint64_t)(left_ns / 1e9 + 0.5);
    snprintf(duration, sizeof duration, left_s < 120 ? "%" PRIu64 " s" : "%" PRIu64 " min",
             left_s < 120 ? left_s : (left_s + 30) / 60);
    if (course->failed) {
        snprintf(failed, sizeof failed, ", %zu failed", course->failed);
    }
    print_point(course->plan, point, where, sizeof where);
    if (course->terminal) {
        fprintf(stderr, "\r\033[K%zu of %zu runs%s, %s left  %s", state->done, state->turns, failed,
                duration, where);
        fflush(stderr);
    } else {
        printf("%zu of %zu runs%s, %s left\n", state->done, state->turns, failed, duration);
        fflush(stdout);
    }
}

static void end_progress(const struct sweep_course *course)
{
    if (course->terminal) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
}

/* What its record says about why it failed. */
static void note_failure(struct sweep_course *course, size_t turn, const json_t *outcome)
{
    if (course->failed++ == 0) {
        child_failure(outcome, &course->first_failure);
        course->first_failed_turn = turn;
    }
}

/* Makes one run and keeps its outcome. -1 where the sweep itself cannot go on. */
static int take_turn(struct sweep_course *course, size_t turn, struct err *error)
{
    char **arguments = sweep_plan_arguments(course->plan, course->turns[turn].point);
    struct err failure = {0};
    json_t *record = NULL, *outcome = NULL;
    int status;
    if (!arguments) {
        return err_system(error, ENOMEM, "sweep", "cannot keep the arguments");
    }
    int measured = child_measure(arguments, course->stop_fd, &record, &status, &failure);
    free(arguments);
    bool whole = json_is_true(json_object_get(record, "complete"));
    if (!whole && wants_to_stop(course->stop_fd)) {
        course->interrupted = true; /* this run will be made again */
        json_decref(record);
        return 0;
    }
    if (measured < 0 && failure.number != 0) {
        *error = failure; /* of this process: no run says anything about the point */
        return -1;
    }
    outcome = measured < 0 ? sweep_outcome_failed(&failure) : sweep_outcome(record);
    json_decref(record);
    if (json_is_true(json_object_get(outcome, "failed"))) {
        note_failure(course, turn, outcome);
    }
    if (sweep_state_add(&course->state, turn, outcome, error) < 0) {
        return -1;
    }
    tell_progress(course, course->turns[turn].point);
    return 0;
}

/* A key that no run has is said after the first run, not after hours. */
static int check_metric(const struct sweep_course *course, size_t turn, struct err *error)
{
    const char *metric = course->options->metric;
    const json_t *outcome = course->state.outcomes[turn];
    struct result result;
    struct err ignored;
    if (!metric || !outcome || json_is_true(json_object_get(outcome, "failed"))) {
        return 0;
    }
    json_t *json = json_pack("{s:s, s:O, s:O?}", "schema", RECORD_SCHEMA, "runs",
                             json_object_get(outcome, "runs"), "operation",
                             json_object_get(outcome, "operation"));
    if (!json || result_from_json(json, "sweep", &result, &ignored) < 0) {
        json_decref(json);
        return 0; /* the whole result will say what is wrong */
    }
    const struct result_run *run = &result.runs[0];
    int status = 0;
    if (!result_find(run, metric)) {
        const char **names = calloc(run->figure_count + 1, sizeof *names);
        for (size_t i = 0; names && i < run->figure_count; i++) {
            names[i] = run->figures[i].key;
        }
        const char *nearest = names ? opt_nearest(metric, names, run->figure_count) : NULL;
        err_set(error, ERR_USAGE, "--metric", "a run has no figure \"%.80s\"", metric);
        status = nearest ? err_hint(error, "did you mean %s?", nearest)
                         : err_hint(error, "the columns of --csv are its figures");
        free(names);
    }
    result_release(&result);
    json_decref(json);
    return status;
}

int sweep_course_run(struct sweep_course *course, struct err *error)
{
    bool checked = false;
    for (size_t turn = 0; turn < course->turn_count; turn++) {
        const json_t *known = course->state.outcomes[turn];
        if (known && json_is_true(json_object_get(known, "failed"))) {
            note_failure(course, turn, known);
        }
    }
    course->started_ns = course->told_ns = clock_now_ns();
    for (size_t turn = 0; turn < course->turn_count && !course->interrupted; turn++) {
        if (course->state.outcomes[turn]) {
            continue;
        }
        if (wants_to_stop(course->stop_fd)) {
            course->interrupted = true;
        } else if (take_turn(course, turn, error) < 0 ||
                   (!checked && check_metric(course, turn, error) < 0)) {
            end_progress(course);
            if (error->code == ERR_USAGE || course->state.done == 0) {
                return -1;
            }
            course->broken = *error; /* what there is, is kept */
            *error = (struct err){0};
            return 0;
        } else if (ferror(stdout) && !course->options->output.json &&
                   !course->options->output.csv) {
            course->interrupted = true; /* nobody is there to be told */
        }
        const json_t *outcome = course->state.outcomes[turn];
        checked = checked || (outcome && !json_is_true(json_object_get(outcome, "failed")));
    }
    end_progress(course);
    return 0;
}

void sweep_course_conclude(const struct sweep_course *course, struct record *record)
{
    const struct sweep_state *state = &course->state;
    struct err *failure = &record->failure;
    if (state->resumed) {
        record_add_warning(record, "%zu of the runs were made before an interrupt", state->resumed);
    }
    if (course->broken.code != ERR_NONE) {
        *failure = course->broken;
    } else if (course->interrupted) {
        err_set(failure, ERR_INTERRUPTED, "sweep", "interrupted after %zu of %zu runs", state->done,
                state->turns);
        if (state->path) {
            err_hint(failure, "the same command line goes on from %.180s", state->path);
        } else {
            err_hint(failure, "with --json=FILE or --state=FILE it can go on where it was");
        }
    } else if (course->failed) {
        char where[100];
        print_point(course->plan, course->turns[course->first_failed_turn].point, where,
                    sizeof where);
        err_set(failure, ERR_SYSTEM, "sweep", "%zu of %zu runs failed", course->failed,
                state->turns);
        err_hint(failure, "the first, %s: %.40s: %.100s", where, course->first_failure.subject,
                 course->first_failure.what);
    }
    record->complete = failure->code == ERR_NONE;
}
