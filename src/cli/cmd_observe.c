#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/observe_print.h"
#include "cli/output.h"
#include "run/machine.h"
#include "run/observe.h"

struct observe_options {
    uint64_t duration_ns, interval_ns;
    bool follow;
    const char *text_file; /* NULL: standard output */
    struct opt_list probes;
    struct probe_options probe;
    struct output_options output;
};

#define OBSERVE struct observe_options

static const struct opt look_rows[] = {
    OPT_DURATION(OBSERVE, duration_ns, .name = "duration", .letter = 'd',
                 .most = 366 * 24 * 3600 * NS_PER_SECOND, .argument = "TIME",
                 .help = "end after so long (0: when the processes end, or on Ctrl-C)"),
    OPT_DURATION(OBSERVE, interval_ns, .name = "interval", .letter = 'i', .initial = "1s",
                 .most = 24 * 3600 * NS_PER_SECOND, .argument = "TIME",
                 .help = "a line for each such stretch (0: none)"),
    OPT_BOOL(OBSERVE, follow, .name = "follow", .initial = "yes",
             .help = "observe the children too, those that exist and those to come"),
    OPT_LIST(OBSERVE, probes, .name = "probe", .initial = "syscalls", .argument = "LIST",
             .help = "look with these probes, all at the same time (sonde doctor lists them)"),
    OPT_TEXT(OBSERVE, text_file, .name = "output", .argument = "FILE",
             .help = "write the text to a file instead of standard output"),
};

enum { SET_COUNT = 4 };

static size_t fill_sets(struct opt_set *sets, struct observe_options *options)
{
    sets[0] = (struct opt_set){.title = "Observation",
                               .rows = look_rows,
                               .count = sizeof look_rows / sizeof look_rows[0],
                               .target = options};
    sets[1] = (struct opt_set){.title = "Probes",
                               .rows = probe_option_rows,
                               .count = PROBE_OPTIONS,
                               .target = &options->probe};
    sets[2] = (struct opt_set){.title = "Output",
                               .rows = output_rows,
                               .count = OUTPUT_OPTIONS,
                               .target = &options->output};
    sets[3] = (struct opt_set){.title = "Flame graphs",
                               .rows = output_folded_rows,
                               .count = OUTPUT_FOLDED_OPTIONS,
                               .target = &options->output};
    return SET_COUNT;
}

static size_t observe_sets(struct opt_set *sets)
{
    /* For help and completions, which read rows and write defaults. */
    static struct observe_options storage;
    return fill_sets(sets, &storage);
}

/* ---- targets ---- */

static int parse_pid(const char *text, const char *whole, pid_t *pid, struct err *error)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number <= 0 ||
        number > INT_MAX) {
        return err_set(error, ERR_USAGE, whole, "is no process id: a whole number above 0");
    }
    *pid = (pid_t)number;
    return 0;
}

static int parse_target(const char *text, struct probe_target *target, struct err *error)
{
    *target = (struct probe_target){.role = "observed"};
    if (text[0] >= '0' && text[0] <= '9') {
        return parse_pid(text, text, &target->pid, error);
    }
    if (strncmp(text, "pid=", 4) == 0) {
        return parse_pid(text + 4, text, &target->pid, error);
    }
    if (strncmp(text, "comm=", 5) == 0 && text[5] != '\0') {
        /* The kernel keeps 15 characters of a name: more cannot be told apart. */
        snprintf(target->name, sizeof target->name, "%s", text + 5);
        return 0;
    }
    err_set(error, ERR_USAGE, text, "is no target: pid=N, comm=NAME or a process id");
    return err_hint(error, "a command stands after --: sonde observe -- %.100s", text);
}

static int parse_targets(const struct opt_arguments *arguments, struct probe_target **targets,
                         struct err *error)
{
    *targets = NULL;
    if (arguments->count == 0 && (arguments->rest == NULL || arguments->rest[0] == NULL)) {
        err_set(error, ERR_USAGE, "observe", "nothing to observe");
        return err_hint(error, "name targets (pid=N, comm=NAME) or a command after --");
    }
    if (arguments->count > 0 && arguments->rest != NULL) {
        return err_set(error, ERR_USAGE, "observe", "takes targets or a command, not both");
    }
    *targets = calloc(arguments->count + 1, sizeof **targets);
    if (*targets == NULL) {
        return err_set(error, ERR_LIMIT, "observe", "no memory");
    }
    for (size_t i = 0; i < arguments->count; i++) {
        if (parse_target(arguments->items[i], &(*targets)[i], error) != 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- the record ---- */

static void print_interval(void *context, const struct observe_interval *interval)
{
    observe_print_interval(context, interval);
}

static bool on_stdout(const char *path)
{
    return path != NULL && strcmp(path, "-") == 0;
}

/* `text`: where the text goes; NULL: nowhere. The files are written even where the text cannot be.
 */
static int write_report(const struct record *record, const struct observe_options *options,
                        FILE *text, struct err *error)
{
    struct err failure = {0};
    int status = 0;
    if (text != NULL) {
        bool failed = false;
        errno = 0;
        observe_print_report(text, record, &failed);
        if (failed || fflush(text) != 0 || ferror(text)) {
            status = err_system(error, errno ? errno : EIO,
                                options->text_file ? options->text_file : "standard output",
                                "cannot be written");
        }
    }
    if (output_write_files(&options->output, record, &failure) != 0 && status == 0) {
        *error = failure;
        status = -1;
    }
    return status;
}

static int exit_status(const struct observe_end *end)
{
    if (end->command_pid == 0 || (!end->command_ended && end->signal == 0)) {
        return 0; /* the duration was over: as asked for */
    }
    if (!end->command_ended) {
        return 128 + end->signal;
    }
    return WIFSIGNALED(end->command_status) ? 128 + WTERMSIG(end->command_status)
                                            : WEXITSTATUS(end->command_status);
}

/* What could not be counted in full, once each: with the counts it would be read over. */
static int add_warnings(struct record *record, const struct record_run *run,
                        const struct observe_end *end, struct err *error)
{
    int status = 0;
    if (end->command_killed) {
        status = record_add_warning(record, "the command had to be ended with SIGKILL");
    }
    if (end->command_pid && !end->command_ended && end->signal == 0) {
        status = record_add_warning(record, "the command still ran after --duration and was ended");
    }
    status = status == 0 ? record_warn_of_calls(record, run) : status;
    return status == 0 ? 0 : err_set(error, ERR_LIMIT, "observe", "no memory");
}

static int observe_into(struct record *record, const struct observe_options *options,
                        const struct observe_plan *plan, FILE *text, struct err *error)
{
    struct observe_end end;
    if (machine_describe(record, error) != 0) {
        return -1;
    }
    struct record_run *run = record_add_run(record, "observe");
    if (run == NULL) {
        return err_set(error, ERR_LIMIT, "observe", "no memory");
    }
    if (observe_run(plan, run, &end, error) != 0) {
        return -1;
    }
    record->complete = run->complete;
    record->operation = "observe";
    if (add_warnings(record, run, &end, error) != 0) {
        return -1;
    }
    if (write_report(record, options, text, error) != 0) {
        return -1;
    }
    return exit_status(&end);
}

/* Where the text goes: NULL in *text for nowhere. */
static int open_text(const struct observe_options *options, FILE **text, struct err *error)
{
    *text = output_text(&options->output) ? stdout : NULL;
    if (options->text_file != NULL && !on_stdout(options->text_file)) {
        *text = fopen(options->text_file, "we");
        if (*text == NULL) {
            return err_system(error, errno, options->text_file, "cannot be written");
        }
    }
    return 0;
}

static int observe_targets(const struct observe_options *options, const struct opt_set *sets,
                           size_t set_count, int argc, char **argv,
                           const struct opt_arguments *arguments, struct err *error)
{
    struct record record = {0};
    struct observe_plan plan = {.command = arguments->rest,
                                .follow = options->follow,
                                .probes = &options->probes,
                                .options = &options->probe,
                                .duration_ns = options->duration_ns,
                                .interval_ns = options->interval_ns,
                                .target_count = arguments->count};
    struct probe_target *targets = NULL;
    FILE *text = NULL;
    int status = parse_targets(arguments, &targets, error);
    if (status == 0) {
        status = output_check(&options->output, error) < 0
                     ? -1
                     : output_check_folded(&options->output, &options->probes, error);
    }
    if (status == 0) {
        status = open_text(options, &text, error);
    }
    if (status == 0) {
        status = record_init(&record, argc, argv, error);
    }
    if (status == 0) {
        status = output_options_to_record(sets, set_count, &record, error);
    }
    if (status == 0 && arguments->rest == NULL) {
        status =
            output_words_to_record("targets", arguments->items, arguments->count, &record, error);
    } else if (status == 0) {
        size_t words = 0;
        while (arguments->rest[words] != NULL) {
            words++;
        }
        status = output_words_to_record("command", arguments->rest, words, &record, error);
    }
    if (status == 0) {
        plan.targets = targets;
        plan.on_interval = text != NULL && !options->output.quiet ? print_interval : NULL;
        plan.context = text;
        status = observe_into(&record, options, &plan, text, error);
    }
    if (text != NULL && text != stdout && fclose(text) != 0 && status >= 0) {
        status = err_system(error, errno, options->text_file, "cannot be written");
    }
    record_release(&record);
    free(targets);
    return status;
}

static int observe_run_command(int argc, char **argv, struct err *error)
{
    struct opt_set sets[COMMAND_SETS_MAX];
    struct opt_arguments arguments = {0};
    struct observe_options options = {0};
    size_t count = fill_sets(sets, &options);
    int result = -1;
    if (opt_defaults(sets, count, error) == 0 &&
        opt_parse(sets, count, argc, argv, &arguments, error) == 0) {
        result = observe_targets(&options, sets, count, argc, argv, &arguments, error);
    }
    opt_release(sets, count, &arguments);
    return result;
}

const struct command command_observe = {
    .name = "observe",
    .arguments = "TARGET... | -- COMMAND [ARGUMENTS]",
    .summary = "what the kernel does for any program: system calls, errors, bytes, io_uring",
    .details =
        "Counts every system call of the targets when it returns, by process, call and errno, "
        "with the bytes that it moved; and io_uring's submissions and completions beside them. A "
        "TARGET is a process (pid=N, or just N) or a name (comm=NAME: every process of that name, "
        "now and later). A COMMAND is counted from its execve on, as `strace -f -c` does; its "
        "exit status becomes sonde's. Calls that never return (exit_group) are not counted.\n\n"
        "Needs CAP_BPF and CAP_PERFMON. Ends with the command, the last target by pid, "
        "--duration or Ctrl-C, always with the whole report. A command that still runs then is "
        "ended.",
    .examples = "  sonde observe pid=$(pidof -s nginx) -d 5   # a server for five seconds\n"
                "  sonde observe -- dd if=/dev/zero of=/dev/null bs=1k count=100000\n"
                "  sonde observe --probe profile -- make      # where its CPU time goes\n",
    .sets = observe_sets,
    .run = observe_run_command,
    .measures = true,
};
