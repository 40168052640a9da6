/* sonde sweep: any option of a command over a list or range. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/sweep_print.h"
#include "run/child.h"
#include "run/machine.h"

/* Room for the values of another command's options, which are parsed only to see whether they are
 * accepted: behind the offset of its last member. A custom member is of unknown size. */
#define SCRATCH_BYTES 4096
/* Between two lines of progress where there is no terminal. */
#define PROGRESS_EVERY_NS (10 * NS_PER_SECOND)

struct sweep_options {
    struct sweep_vary vary;
    uint64_t repeat, warmup_runs, seed;
    uint32_t order; /* enum sweep_order */
    const char *metric, *state;
    bool restart, plot;
    struct output_options output;
};

static const char *const orders[] = {"interleaved", "shuffled", "sequential", NULL};

/* "NAME=VALUES", several separated by semicolons; each --vary adds to them. */
static int parse_vary(const char *text, void *member, struct err *error)
{
    struct sweep_vary *vary = member;
    for (;;) {
        size_t length = strcspn(text, ";");
        if (vary->count >= SWEEP_DIMENSIONS_MAX) {
            return err_set(error, ERR_USAGE, "", "more than %d of them", SWEEP_DIMENSIONS_MAX);
        }
        vary->text[vary->count] = text;
        vary->length[vary->count++] = length;
        if (!text[length]) {
            return 0;
        }
        text += length + 1;
    }
}

static void print_vary(const void *member, FILE *out)
{
    const struct sweep_vary *vary = member;
    for (size_t i = 0; i < vary->count; i++) {
        fprintf(out, "%s%.*s", i ? ";" : "", (int)vary->length[i], vary->text[i]);
    }
}

static const struct opt plan_rows[] = {
    OPT_CUSTOM(struct sweep_options, vary, struct sweep_vary, .name = "vary", .letter = 'v',
               .argument = "NAME=VALUES", .parse = parse_vary, .print = print_vary,
               .help = "option of the command and its values; several span all combinations"),
    OPT_COUNT(struct sweep_options, repeat, .name = "repeat", .letter = 'n', .initial = "5",
              .least = 1, .most = 100000, .argument = "N", .help = "runs of each point that count"),
    OPT_COUNT(struct sweep_options, warmup_runs, .name = "warmup-runs", .initial = "1",
              .most = 1000, .argument = "N",
              .help = "runs of each point before those, kept in the record and in no summary"),
    OPT_CHOICE(struct sweep_options, order, .name = "order", .choices = orders,
               .initial = "interleaved", .argument = "ORDER",
               .help = "rounds over all points, each in a new random order; all runs shuffled; or "
                       "point by point"),
    OPT_COUNT(struct sweep_options, seed, .name = "seed", .initial = "1", .argument = "N",
              .help = "of the random order"),
    OPT_TEXT(struct sweep_options, metric, .name = "metric", .argument = "KEY",
             .help = "figure for table and plot, as CSV names it; else the command's headline"),
    OPT_BOOL(struct sweep_options, plot, .name = "plot", .initial = "yes",
             .help = "draw the figure against the first varied option"),
    OPT_TEXT(struct sweep_options, state, .name = "state", .argument = "FILE",
             .help = "where finished runs are kept, to go on from after an interrupt; with "
                     "--json=FILE it is FILE.partial"),
    OPT_BOOL(struct sweep_options, restart, .name = "restart",
             .help = "throw away what is kept there, and begin anew"),
};

static size_t fill_sets(struct opt_set *sets, struct sweep_options *options)
{
    sets[0] = (struct opt_set){.title = "Sweep",
                               .rows = plan_rows,
                               .count = sizeof plan_rows / sizeof *plan_rows,
                               .target = options};
    sets[1] = (struct opt_set){.title = "Output",
                               .rows = output_rows,
                               .count = OUTPUT_OPTIONS,
                               .target = options ? &options->output : NULL};
    return 2;
}

static size_t sets_for_help(struct opt_set *sets)
{
    return fill_sets(sets, NULL);
}

/* ---- the command that is swept ---- */

struct swept {
    struct opt_set sets[COMMAND_SETS_MAX];
    void *targets[COMMAND_SETS_MAX]; /* owned */
    size_t count;
};

static void swept_release(struct swept *swept)
{
    for (size_t i = 0; i < swept->count; i++) {
        free(swept->targets[i]);
        swept->targets[i] = NULL;
    }
}

/* Not those that wait for others, or make many runs themselves. */
static bool can_be_swept(const struct swept *swept, const char *name)
{
    static const char *const others[] = {"serve", "tour", "sweep", "compare"};
    bool writes_records = false;
    for (size_t s = 0; s < swept->count; s++) {
        writes_records = writes_records || swept->sets[s].rows == output_rows;
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        writes_records = writes_records && strcmp(name, others[i]) != 0;
    }
    return writes_records;
}

static int swept_init(struct swept *swept, const char *name, struct err *error)
{
    const struct command *command = command_find(name, error);
    *swept = (struct swept){0};
    if (!command) {
        return -1;
    }
    swept->count = command->sets ? command->sets(swept->sets) : 0;
    if (!can_be_swept(swept, name)) {
        err_set(error, ERR_USAGE, name, "makes no single run that could be swept");
        return err_hint(error, "sonde sweep --vary size=1..64*8 -- call sweeps calls");
    }
    for (size_t s = 0; s < swept->count; s++) {
        size_t bytes = 0;
        for (size_t r = 0; r < swept->sets[s].count; r++) {
            size_t offset = swept->sets[s].rows[r].offset;
            bytes = offset > bytes ? offset : bytes;
        }
        swept->targets[s] = swept->sets[s].target = calloc(1, bytes + SCRATCH_BYTES);
        if (!swept->targets[s]) {
            swept_release(swept);
            return err_system(error, ENOMEM, "memory", "cannot start");
        }
    }
    return 0;
}

/* ---- a sweep that is going on ---- */

struct course {
    const struct sweep_options *options;
    const struct sweep_plan *plan;
    struct sweep_turn *turns; /* owned */
    size_t turn_count;
    struct sweep_state state;
    int stop_fd;
    bool interrupted;
    uint64_t started_ns, told_ns;
    bool terminal; /* one line on standard error, drawn again and again */
    bool lines;    /* else now and then a line on standard output */
    size_t failed;
    struct err first_failure;
    size_t first_failed_turn;
};

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

/* Everything that makes runs comparable: the arguments, the order, the very program, the machine.
 * Runs of different ones do not belong into one table. */
static void plan_fingerprint(const struct course *course, const struct record *record, char *to,
                             size_t size)
{
    const struct sweep_options *options = course->options;
    const struct sweep_plan *plan = course->plan;
    uint64_t hash = hash_text(UINT64_C(0xcbf29ce484222325), SONDE_VERSION);
    uint64_t numbers[] = {options->repeat, options->warmup_runs, options->seed, options->order};
    struct stat program;
    hash = hash_bytes(hash, numbers, sizeof numbers);
    if (stat("/proc/self/exe", &program) == 0) {
        hash = hash_bytes(hash, &program.st_size, sizeof program.st_size);
        hash = hash_bytes(hash, &program.st_mtim.tv_sec, sizeof program.st_mtim.tv_sec);
    }
    for (size_t i = 0; i < record->machine_count; i++) {
        static const char *const fixed[] = {"kernel", "cpu", "cores", "cores_allowed"};
        for (size_t f = 0; f < sizeof fixed / sizeof *fixed; f++) {
            if (strcmp(record->machine[i].key, fixed[f]) == 0) {
                hash = hash_text(hash, record->machine[i].text);
            }
        }
    }
    for (size_t w = 0; w < plan->base_count; w++) {
        hash = hash_text(hash, plan->base[w]);
    }
    for (size_t d = 0; d < plan->dimension_count; d++) {
        hash = hash_text(hash, plan->dimensions[d].name);
        for (size_t v = 0; v < plan->dimensions[d].value_count; v++) {
            hash = hash_text(hash, plan->dimensions[d].values[v].text);
        }
    }
    snprintf(to, size, "%016" PRIx64, hash);
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
static void tell_progress(struct course *course, size_t point)
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

static void end_progress(const struct course *course)
{
    if (course->terminal) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
}

/* What its record says about why it failed. */
static void note_failure(struct course *course, size_t turn, const json_t *outcome)
{
    const json_t *run = json_array_get(json_object_get(outcome, "runs"), 0);
    const char *what = NULL, *subject = NULL;
    size_t index;
    json_array_foreach(json_object_get(outcome, "runs"), index, run)
    {
        const json_t *error = json_object_get(run, "error");
        if (!what) {
            what = json_string_value(json_object_get(error, "what"));
            subject = json_string_value(json_object_get(error, "subject"));
        }
    }
    if (course->failed++ == 0) {
        err_set(&course->first_failure, ERR_SYSTEM, subject ? subject : "run", "%s",
                what ? what : "it was not completed");
        course->first_failed_turn = turn;
    }
}

/* Makes one run and keeps its outcome. -1 where the sweep itself cannot go on. */
static int take_turn(struct course *course, size_t turn, struct err *error)
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
static int check_metric(const struct course *course, size_t turn, struct err *error)
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

static int make_runs(struct course *course, struct err *error)
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
            return -1;
        }
        const json_t *outcome = course->state.outcomes[turn];
        checked = checked || (outcome && !json_is_true(json_object_get(outcome, "failed")));
    }
    end_progress(course);
    return 0;
}

/* What the record says as a whole, and what is printed last. */
static void conclude(const struct course *course, struct record *record)
{
    const struct sweep_state *state = &course->state;
    struct err *failure = &record->failure;
    if (state->resumed) {
        record_add_warning(record, "%zu of the runs were made before an interrupt", state->resumed);
    }
    if (course->interrupted) {
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

static int write_json(const struct sweep_result *result, const char *path, struct err *error)
{
    char *text = json_dumps(result->json, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    if (!text) {
        return err_system(error, ENOMEM, "JSON", "cannot be made");
    }
    size_t length = strlen(text);
    text[length++] = '\n'; /* in place of the terminator */
    int status = record_write_text(text, length, path, error);
    free(text);
    return status;
}

/* All outputs are tried; the first failure is returned. */
static int write_outputs(const struct course *course, const struct sweep_result *result,
                         struct err *error)
{
    const struct output_options *output = &course->options->output;
    struct sweep_view view;
    struct err failures[3] = {{0}};
    char *csv = NULL;
    size_t length = 0;
    sweep_view_init(&view, course->plan, result, course->options->metric, course->options->repeat);
    if (output_text(output)) {
        sweep_print_text(&view, course->options->plot, stdout, &failures[0]);
        fflush(stdout);
    }
    if (output->json) {
        write_json(result, output->json, &failures[1]);
    }
    if (output->csv && sweep_print_csv(&view, &csv, &length, &failures[2]) == 0) {
        record_write_text(csv, length, output->csv, &failures[2]);
    }
    free(csv);
    for (int i = 0; i < 3; i++) {
        if (failures[i].code != ERR_NONE) {
            *error = failures[i];
            return -1;
        }
    }
    return 0;
}

/* From the first run to the last output. */
static int run_course(struct course *course, struct record *record, const char *state_path,
                      struct err *error)
{
    const struct sweep_options *options = course->options;
    struct sweep_result result = {0};
    struct err failure = {0};
    char plan[32];
    plan_fingerprint(course, record, plan, sizeof plan);
    if (sweep_state_open(&course->state, state_path, plan, course->turn_count, options->restart,
                         error) < 0) {
        return -1;
    }
    bool text = output_text(&options->output);
    const char *terminal = getenv("TERM");
    course->terminal = !options->output.quiet && isatty(STDERR_FILENO) && terminal &&
                       strcmp(terminal, "dumb") != 0;
    course->lines = !options->output.quiet && text;
    if (text) {
        printf("%zu points, %zu runs of `sonde", course->plan->points, course->turn_count);
        for (size_t w = 0; w < course->plan->base_count; w++) {
            printf(" %s", course->plan->base[w]);
        }
        printf("`, %s\n", orders[options->order]);
        if (course->state.resumed) {
            printf("going on from %s: %zu runs are done\n", state_path, course->state.resumed);
        }
        fflush(stdout);
    }
    if (make_runs(course, error) < 0) {
        return -1;
    }
    conclude(course, record);
    int status =
        sweep_result_make(&result, course->plan, course->turns, &course->state, record, error);
    if (status == 0) {
        status = write_outputs(course, &result, error);
    }
    sweep_result_release(&result);
    /* The state has served its purpose once the result is safe. */
    bool finished = status == 0 && !course->interrupted;
    if (sweep_state_close(&course->state, finished, &failure) < 0 && status == 0) {
        *error = failure;
        status = -1;
    }
    if (status == 0 && record->failure.code != ERR_NONE) {
        *error = record->failure;
        status = -1;
    }
    return status;
}

static int sweep(struct course *course, const struct opt_set *sets, size_t set_count, int argc,
                 char **argv, struct err *error)
{
    const struct sweep_options *options = course->options;
    struct record record = {0};
    struct err ignored;
    char partial[PATH_MAX];
    const char *state = options->state;
    if (!state && options->output.json && strcmp(options->output.json, "-") != 0) {
        if (snprintf(partial, sizeof partial, "%s.partial", options->output.json) >=
            (int)sizeof partial) {
            return err_system(error, ENAMETOOLONG, options->output.json, "cannot be written");
        }
        state = partial;
    }
    if (options->restart && !state) {
        err_set(error, ERR_USAGE, "--restart", "there is no state");
        return err_hint(error, "it goes with --json=FILE or --state=FILE");
    }
    if (output_check(&options->output, error) < 0 || record_init(&record, argc, argv, error) < 0) {
        return -1;
    }
    int result = output_options_to_record(sets, set_count, &record, error);
    if (result == 0) {
        result = machine_describe(&record, error);
    }
    if (result == 0) {
        course->stop_fd = output_stop_file(error);
        result = course->stop_fd < 0 ? -1 : run_course(course, &record, state, error);
    }
    sweep_state_close(&course->state, false, &ignored);
    if (course->stop_fd >= 0) {
        close(course->stop_fd);
    }
    record_release(&record);
    return result;
}

/* Plans and runs, once the sweep's own options are parsed. words: the command and its arguments. */
static int plan_and_run(const struct sweep_options *options, const struct opt_set *sets,
                        size_t set_count, int argc, char **argv, char **words, struct err *error)
{
    struct course course = {.options = options, .stop_fd = -1, .state = {.file = -1}};
    struct swept swept;
    struct sweep_plan plan;
    if (swept_init(&swept, words[0], error) < 0) {
        return -1;
    }
    int result = sweep_plan_init(&plan, swept.sets, swept.count, words, &options->vary, error);
    if (result == 0) {
        course.plan = &plan;
        result =
            sweep_plan_order(plan.points, options->repeat, options->warmup_runs, options->order,
                             options->seed, &course.turns, &course.turn_count, error);
        if (result == 0) {
            result = sweep(&course, sets, set_count, argc, argv, error);
        }
        free(course.turns);
        sweep_plan_release(&plan);
    }
    swept_release(&swept);
    return result;
}

static int sweep_run(int argc, char **argv, struct err *error)
{
    struct opt_set sets[COMMAND_SETS_MAX];
    struct opt_arguments arguments = {0};
    struct sweep_options options = {0};
    size_t count = fill_sets(sets, &options);
    int result = -1;
    if (opt_defaults(sets, count, error) == 0 &&
        opt_parse(sets, count, argc, argv, &arguments, error) == 0) {
        if (arguments.count || !arguments.rest || !arguments.rest[0]) {
            err_set(error, ERR_USAGE, arguments.count ? arguments.items[0] : "sweep",
                    arguments.count ? "stands before the --" : "no command");
            err_hint(error, "usage: sonde sweep --vary NAME=VALUES -- COMMAND [ARGUMENTS]");
        } else {
            result = plan_and_run(&options, sets, count, argc, argv, arguments.rest, error);
        }
    }
    opt_release(sets, count, &arguments);
    return result;
}

const struct command command_sweep = {
    .name = "sweep",
    .arguments = "--vary NAME=VALUES [options] -- COMMAND [ARGUMENTS]",
    .summary = "any option of a command over a list or range: table, plot, CSV, one record",
    .details =
        "Runs the command for every combination of the values, each run in a process of its own, "
        "and shows the median of its headline figure. The default order goes through all points "
        "in rounds, each in a new random order, so that a drift of the machine falls on all of "
        "them alike.\n\n"
        "NAME is an option of the command, or @1 for its first argument that is no option (@2 for "
        "the second). VALUES are separated by commas:\n"
        "  4k                    a value, as the option takes it\n"
        "  1k..16m               1k doubled up to 16m\n"
        "  1..1000*10            1, 10, 100, 1000\n"
        "  1k..4k+1k             1k, 2k, 3k, 4k\n"
        "  local+socket-buffers  a value, and another option (+OPTION=VALUE) that goes with it\n"
        "A backslash before a comma or plus takes its meaning away.\n\n"
        "With --json=FILE finished runs are kept in FILE.partial: after an interrupt the same "
        "command line goes on where it was. A run that fails is recorded with its error and the "
        "others go on; the exit status is then 1.",
    .examples =
        "  sonde sweep --vary size=1..64k*8 --vary write=gather,each --repeat 11 -- call -d 2\n"
        "  sonde sweep --vary engine=epoll,uring --vary connections=1..256 --json=s.json -- call\n",
    .sets = sets_for_help,
    .run = sweep_run,
};
