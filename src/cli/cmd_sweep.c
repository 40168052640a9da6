/* sonde sweep: any option of a command over a list or range. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/sweep_course.h"
#include "cli/sweep_print.h"
#include "report/text.h"
#include "run/joined_record.h"
#include "run/machine.h"

/* Room for the values of another command's options, which are parsed only to see whether they are
 * accepted: behind the offset of its last member. A custom member is of unknown size. */
#define SCRATCH_BYTES 4096
/* Where the width of the terminal is not known. */
#define SCREEN_COLUMNS 80

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
    OPT_CUSTOM(struct sweep_options, vary, struct sweep_vary, .name = "vary",
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

static int swept_init(struct swept *swept, const char *name, struct err *error)
{
    const struct command *command = command_find(name, error);
    *swept = (struct swept){0};
    if (!command) {
        return -1;
    }
    swept->count = command->sets ? command->sets(swept->sets) : 0;
    if (!command->measures) {
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

/* As the environment says of the terminal: a locale of UTF-8 (the first of the three variables that
 * is set decides, as in setlocale(3)), no NO_COLOR, no dumb terminal. */
static struct sweep_screen find_screen(void)
{
    static const char *const variables[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    struct sweep_screen screen = {.columns = SCREEN_COLUMNS, .ascii = true};
    const char *locale = NULL, *terminal = getenv("TERM"), *plain = getenv("NO_COLOR");
    struct winsize size;
    for (size_t i = 0; i < 3 && (!locale || !*locale); i++) {
        locale = getenv(variables[i]);
    }
    if (locale && (strcasestr(locale, "utf-8") || strcasestr(locale, "utf8"))) {
        screen.ascii = (plain && *plain) || (terminal && strcmp(terminal, "dumb") == 0);
    }
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        screen.columns = size.ws_col < TEXT_COLUMNS ? size.ws_col : TEXT_COLUMNS;
    }
    return screen;
}

/* All outputs are tried; the first failure is returned. */
static int write_outputs(const struct sweep_course *course, const struct sweep_result *result,
                         struct err *error)
{
    const struct output_options *output = &course->options->output;
    struct sweep_view view;
    struct err failures[3] = {{0}};
    char *csv = NULL;
    size_t length = 0;
    sweep_view_init(&view, course->plan, result, course->options->metric, course->options->repeat);
    if (output_text(output)) {
        struct sweep_screen screen = find_screen();
        sweep_print_text(&view, course->options->plot ? &screen : NULL, stdout, &failures[0]);
        fflush(stdout);
    }
    if (output->json) {
        joined_record_write(result->json, output->json, &failures[1]);
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
static int run_course(struct sweep_course *course, struct record *record, const char *state_path,
                      struct err *error)
{
    const struct sweep_options *options = course->options;
    struct sweep_result result = {0};
    struct err failure = {0};
    char plan[320];
    sweep_course_fingerprint(course, record, plan, sizeof plan);
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
    if (sweep_course_run(course, error) < 0) {
        return -1;
    }
    output_stop_end(&course->stop_fd);
    sweep_course_conclude(course, record);
    int status =
        sweep_result_make(&result, course->plan, course->turns, &course->state, record, error);
    if (status == 0) {
        status = write_outputs(course, &result, error);
    }
    sweep_result_release(&result);
    /* The state has served its purpose once the result is safe. */
    bool finished = status == 0 && !course->interrupted && course->broken.code == ERR_NONE;
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

static int sweep(struct sweep_course *course, const struct opt_set *sets, size_t set_count,
                 int argc, char **argv, struct err *error)
{
    const struct sweep_options *options = course->options;
    struct record record = {0};
    struct err ignored;
    char partial[PATH_MAX];
    const char *state = options->state;
    if (!state && options->output.json && output_is_file(options->output.json)) {
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
    if (state && ((options->output.json && output_same_file(state, options->output.json)) ||
                  (options->output.csv && output_same_file(state, options->output.csv)))) {
        return err_set(error, ERR_USAGE, "--state", "%s is where a result goes", state);
    }
    if (output_check(&options->output, error) < 0 || record_init(&record, argc, argv, error) < 0) {
        return -1;
    }
    int result = output_options_to_record(sets, set_count, &record, error);
    if (result == 0) {
        result = output_words_to_record("command", course->plan->base, course->plan->base_count,
                                        &record, error);
    }
    if (result == 0) {
        result = machine_describe(&record, error);
    }
    if (result == 0) {
        course->stop_fd = output_stop_file(error);
        result = course->stop_fd < 0 ? -1 : run_course(course, &record, state, error);
    }
    sweep_state_close(&course->state, false, &ignored);
    output_stop_end(&course->stop_fd);
    record_release(&record);
    return result;
}

/* Plans and runs, once the sweep's own options are parsed. words: the command and its arguments. */
static int plan_and_run(const struct sweep_options *options, const struct opt_set *sets,
                        size_t set_count, int argc, char **argv, char **words, struct err *error)
{
    struct sweep_course course = {.options = options, .stop_fd = -1, .state = {.file = -1}};
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
