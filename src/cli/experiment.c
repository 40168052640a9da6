#include "cli/experiment.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/text.h"
#include "run/machine.h"

const struct opt repeat_rows[REPEAT_OPTIONS] = {
    OPT_COUNT(struct repeat_options, repeat, .name = "repeat", .initial = "1", .least = 1,
              .most = 10000, .argument = "N",
              .help = "runs of each that count; several give medians with intervals and a warning "
                      "where runs drift or one is far out"),
    OPT_COUNT(struct repeat_options, warmup_runs, .name = "warmup-runs", .initial = "1",
              .most = 1000, .argument = "N",
              .help = "with --repeat above 1: runs of each before those, kept in the record and in "
                      "no summary"),
};

/* An experiment that is going on. */
struct experiment_course {
    const struct experiment *experiment;
    struct experiment_turn turn;
    bool *given_up; /* variants that cannot be measured here; owned */
    bool repeated;
    size_t turns, done;
    FILE *lines;        /* where a line for each run goes; NULL: nowhere */
    struct err failure; /* the first */
};

static bool wants_to_stop(int stop_fd)
{
    struct pollfd poll_row = {.fd = stop_fd, .events = POLLIN};
    return poll(&poll_row, 1, 0) == 1;
}

/* "run 3/12 epoll: 112,345 calls/s" */
static void print_finished(const struct experiment_course *course, const struct record_run *run)
{
    const struct record_value *value = run->value_count ? &run->values[0] : NULL;
    char number[64];
    fprintf(course->lines, "run %zu/%zu %s: ", course->done, course->turns, run->label);
    if (value && value->available) {
        bool plain = strcmp(value->metric->unit, "1/s") == 0;
        fprintf(course->lines, "%s%s%s",
                text_value(number, sizeof number, value->value, value->metric->unit),
                plain ? " " : "", plain ? value->metric->title : "");
    } else {
        fputs("nothing measured", course->lines);
    }
    fprintf(course->lines, "%s%s\n", run->discarded ? ", discarded" : "",
            run->complete ? "" : ", not complete");
    fflush(course->lines);
}

/* What is kept of earlier runs must not count as memory of later ones, nor of servers that are
 * forked for them. */
static void park(const struct record_run *run)
{
    for (size_t i = 0; i < run->histogram_count; i++) {
        histogram_park(run->histograms[i].histogram);
    }
}

/* What a run warned of belongs to that run. */
static void name_warnings(struct record *record, size_t first, uint32_t repetition)
{
    for (size_t i = first; i < record->warning_count; i++) {
        char *named = NULL;
        if (asprintf(&named, "run %u: %s", repetition, record->warnings[i]) >= 0) {
            free(record->warnings[i]);
            record->warnings[i] = named;
        }
    }
}

/* One run of one variant. False where the experiment is to end. */
static bool take_turn(struct experiment_course *course, size_t variant, uint32_t repetition,
                      bool discarded)
{
    const struct experiment *experiment = course->experiment;
    struct record *record = course->turn.record;
    struct err failure = {0};
    size_t first = record->run_count, first_warning = record->warning_count;
    bool measured = false;
    if (course->done && wants_to_stop(course->turn.stop_fd)) {
        if (experiment->drive) {
            err_set(&failure, ERR_INTERRUPTED, "run", "interrupted after %zu runs", course->done);
        } else {
            err_set(&failure, ERR_INTERRUPTED, "run", "interrupted: %zu of %zu runs were made",
                    course->done, course->turns);
        }
    } else {
        course->turn.repetition = course->repeated ? repetition : 0;
        course->turn.discarded = discarded;
        experiment->execute(experiment->owner, variant, &course->turn, &failure);
        course->done++;
    }
    for (size_t i = first; i < record->run_count; i++) {
        struct record_run *run = &record->runs[i];
        run->repetition = course->repeated ? repetition : 0;
        run->discarded = discarded;
        measured = measured || run->window_ns;
        if (course->lines && !experiment->drive) {
            print_finished(course, run);
        }
        exports_end(course->turn.exports, run);
        park(run);
    }
    if (course->repeated) {
        name_warnings(record, first_warning, repetition);
    }
    if (failure.code != ERR_NONE) {
        /* What never began would fail again in the same way. */
        course->given_up[variant] = !measured;
        if (course->failure.code == ERR_NONE) {
            course->failure = failure;
        }
    }
    return failure.code != ERR_INTERRUPTED && failure.code != ERR_USAGE;
}

long experiment_take(struct experiment_course *course, size_t variant, bool *ends)
{
    size_t before = course->turn.record->run_count;
    if (course->given_up[variant]) {
        return -1;
    }
    *ends = !take_turn(course, variant, 0, false);
    return course->turn.record->run_count > before ? (long)before : -1;
}

struct record *experiment_record(const struct experiment_course *course)
{
    return course->turn.record;
}

FILE *experiment_lines(const struct experiment_course *course)
{
    return course->lines;
}

/* The course is its owner's, which tells of each turn itself. */
static void drive(struct experiment_course *course)
{
    const struct experiment *experiment = course->experiment;
    course->lines = course->turn.progress;
    course->turn.progress = NULL;
    experiment->drive(experiment->owner, course);
}

/* All variants once in each round, every second round backwards: A B, B A, A B. A machine that
 * drifts evenly then meets all alike. */
static void run_rounds(struct experiment_course *course)
{
    const struct experiment *experiment = course->experiment;
    uint64_t repeat = experiment->repeat->repeat;
    uint64_t discarded = repeat > 1 ? experiment->repeat->warmup_runs : 0;
    course->repeated = repeat > 1;
    if (course->repeated) {
        course->lines = course->turn.progress;
    }
    if (course->repeated || live_takes_output(course->turn.live)) {
        course->turn.progress = NULL;
    }
    course->turns = experiment->variants * (size_t)(repeat + discarded);
    for (uint64_t round = 0; round < repeat + discarded; round++) {
        for (size_t i = 0; i < experiment->variants; i++) {
            size_t variant = round % 2 ? experiment->variants - 1 - i : i;
            if (course->given_up[variant]) {
                course->turns--;
            } else if (!take_turn(course, variant, (uint32_t)round + 1, round < discarded)) {
                return;
            }
        }
    }
}

static void add_noise_warnings(struct record *record, const struct machine_sample *before)
{
    struct machine_sample after;
    struct machine_noise noise;
    struct machine_warnings warnings = {.count = 0};
    struct err ignored;
    if (machine_sample(&after, &ignored) == 0) {
        machine_noise(before, &after, &noise);
        machine_noise_warnings(&noise, &warnings);
    }
    for (size_t i = 0; i < warnings.count; i++) {
        record_add_warning(record, "%s", warnings.text[i]);
    }
}

static void add_idle_options(const struct experiment *experiment, struct record *record)
{
    for (size_t i = 0; i < experiment->set_count; i++) {
        const struct opt_set *set = &experiment->sets[i];
        if (set->rows == repeat_rows && experiment->repeat->repeat == 1 &&
            opt_given(set, offsetof(struct repeat_options, warmup_runs))) {
            record_add_warning(record, "--warmup-runs has no effect without --repeat");
        }
    }
}

/* From a described record to all runs in it. */
static void measure(struct experiment_course *course)
{
    const struct experiment *experiment = course->experiment;
    struct record *record = course->turn.record;
    struct machine_sample before = {0};
    struct err ignored;
    course->given_up = calloc(experiment->variants, sizeof *course->given_up);
    if (!course->given_up) {
        err_system(&course->failure, ENOMEM, "memory", "cannot start");
        return;
    }
    if (output_options_to_record(experiment->sets, experiment->set_count, record,
                                 &course->failure) < 0 ||
        output_words_to_record(experiment->argument_name, experiment->arguments->items,
                               experiment->arguments->count, record, &course->failure) < 0 ||
        machine_describe(record, &course->failure) < 0) {
        return;
    }
    course->turn.stop_fd = output_stop_file(&course->failure);
    if (course->turn.stop_fd < 0) {
        return;
    }
    bool sampled = machine_sample(&before, &ignored) == 0;
    if (exports_open(&course->turn.exports, experiment->output, record,
                     experiment->variants > 1 || experiment->drive, &course->failure) == 0) {
        if (experiment->drive) {
            drive(course);
        } else {
            run_rounds(course);
        }
    }
    if (record_summarise(record) < 0 && course->failure.code == ERR_NONE) {
        err_system(&course->failure, ENOMEM, "memory", "cannot summarise the runs");
    }
    if (sampled) {
        add_noise_warnings(record, &before);
    }
}

int experiment_run(const struct experiment *experiment, int argc, char **argv, struct err *error)
{
    struct record record;
    struct err output_failure = {0}, export_failure = {0};
    struct experiment_course course = {.experiment = experiment,
                                       .turn = {.record = &record, .stop_fd = -1}};
    const struct output_options *output = experiment->output;
    if (output_check(output, error) < 0 || record_init(&record, argc, argv, error) < 0) {
        return -1;
    }
    if (experiment->live && live_open(&course.turn.live, (enum live_choice)output->live,
                                      output_text(output), output->quiet, error) < 0) {
        record_release(&record);
        return -1;
    }
    record.complete = true;
    record.operation = experiment->operation;
    add_idle_options(experiment, &record);
    if (experiment->warn) {
        experiment->warn(experiment->owner, &record);
    }
    if (output_text(output) && !output->quiet) {
        course.turn.progress = stdout;
    }
    measure(&course);
    live_close(course.turn.live);
    if (course.failure.code != ERR_NONE) {
        record.failure = course.failure;
        record.complete = false;
    }
    output_stop_end(&course.turn.stop_fd);
    int exported = exports_close(course.turn.exports, &export_failure);
    if (course.failure.code != ERR_USAGE) {
        int written = output_write(output, &record, &output_failure);
        course.failure.told = written == 0 && output_text(output);
        if (written < 0 && course.failure.code == ERR_NONE) {
            course.failure = output_failure;
        }
        if (exported < 0 && course.failure.code == ERR_NONE) {
            course.failure = export_failure;
        }
    }
    free(course.given_up);
    record_release(&record);
    *error = course.failure;
    return error->code == ERR_NONE ? 0 : -1;
}
