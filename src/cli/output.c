#include "cli/output.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

const struct opt output_rows[OUTPUT_OPTIONS] = {
    OPT_TEXT(struct output_options, json, .name = "json", .optional = "-", .argument = "FILE",
             .help = "the whole record as JSON to a file, or instead of the text to standard "
                     "output"),
    OPT_TEXT(struct output_options, csv, .name = "csv", .optional = "-", .argument = "FILE",
             .help = "one row a run as CSV, likewise"),
    OPT_BOOL(struct output_options, quiet, .name = "quiet", .letter = 'q',
             .help = "no line for each interval"),
};

const struct opt output_measure_rows[OUTPUT_MEASURE_OPTIONS] = {
    OPT_TEXT(struct output_options, openmetrics, .name = "openmetrics", .argument = "FILE",
             .help = "the figures for Prometheus, as OpenMetrics text, replaced whole at each "
                     "interval and at the end"),
    OPT_TEXT(struct output_options, hlog, .name = "hlog", .argument = "FILE",
             .help = "HdrHistogram's log: a line for each interval and histogram, as it ends"),
    OPT_TEXT(struct output_options, hgrm, .name = "hgrm", .argument = "FILE",
             .help = "HdrHistogram's percentile distribution of the first histogram (latencies in "
                     "microseconds); with several engines a file for each, FILE with its name in "
                     "it"),
};

/* In the order of enum live_choice. */
static const char *const live_choices[] = {"auto", "on", "off", NULL};

const struct opt output_live_rows[OUTPUT_LIVE_OPTIONS] = {
    OPT_CHOICE(struct output_options, live, .name = "live", .choices = live_choices,
               .initial = "auto", .argument = "WHEN",
               .help = "one block that is redrawn in place of a line for each interval; auto: on a "
                       "terminal, without --quiet and NO_COLOR"),
};

const struct opt output_folded_rows[OUTPUT_FOLDED_OPTIONS] = {
    OPT_TEXT(struct output_options, folded, .name = "profile-folded", .argument = "FILE",
             .help = "the stacks of the probe profile to a file, folded, for flame graphs"),
};

static bool is_stdout(const char *path)
{
    return path && strcmp(path, "-") == 0;
}

bool output_text(const struct output_options *options)
{
    return !is_stdout(options->json) && !is_stdout(options->csv) && !is_stdout(options->folded);
}

bool output_is_file(const char *path)
{
    struct stat there;
    return !is_stdout(path) && (stat(path, &there) != 0 || S_ISREG(there.st_mode));
}

bool output_same_file(const char *one, const char *other)
{
    struct stat first, second;
    return strcmp(one, other) == 0 ||
           (stat(one, &first) == 0 && stat(other, &second) == 0 && S_ISREG(first.st_mode) &&
            first.st_dev == second.st_dev && first.st_ino == second.st_ino);
}

/* A file is replaced, so its folder must be writable; a device or a pipe is written in place. */
static int check_path(const char *path, struct err *error)
{
    struct stat there;
    if (!path || is_stdout(path)) {
        return 0;
    }
    if (stat(path, &there) == 0 && S_ISDIR(there.st_mode)) {
        return err_system(error, EISDIR, path, "cannot be written");
    }
    if (!output_is_file(path)) {
        return access(path, W_OK) == 0 ? 0 : err_system(error, errno, path, "cannot be written");
    }
    char *target = realpath(path, NULL); /* through symbolic links */
    const char *name = target ? target : path, *slash = strrchr(name, '/');
    char *folder = slash ? strndup(name, (size_t)(slash - name) + 1) : strdup(".");
    int result = folder && access(folder, W_OK) == 0 ? 0 : -1;
    if (result < 0) {
        err_system(error, folder ? errno : ENOMEM, path, "cannot be written");
    }
    free(folder);
    free(target);
    return result;
}

/* Two results do not go to one place. */
static int check_taken(const char *option, const char *path, const char *by, const char *taken,
                       struct err *error)
{
    if (!path || !taken || !output_same_file(path, taken)) {
        return 0;
    }
    err_set(error, ERR_USAGE, option, "%s is taken by %s",
            is_stdout(path) ? "standard output" : path, by);
    return err_hint(error, "give one of them another file: %s=FILE", option);
}

int output_check(const struct output_options *options, struct err *error)
{
    const struct {
        const char *option, *path;
        bool file; /* not for standard output */
    } results[] = {{"--json", options->json, false},
                   {"--csv", options->csv, false},
                   {"--profile-folded", options->folded, false},
                   {"--openmetrics", options->openmetrics, true},
                   {"--hlog", options->hlog, true},
                   {"--hgrm", options->hgrm, true}};
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        if (results[i].file && is_stdout(results[i].path)) {
            return err_set(error, ERR_USAGE, results[i].option,
                           "is written beside the report: give it a file");
        }
        for (size_t k = 0; k < i; k++) {
            if (check_taken(results[i].option, results[i].path, results[k].option, results[k].path,
                            error) < 0) {
                return -1;
            }
        }
    }
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        if (check_path(results[i].path, error) < 0) {
            return -1;
        }
    }
    return 0;
}

int output_check_folded(const struct output_options *options, const struct opt_list *probes,
                        struct err *error)
{
    for (size_t i = 0; i < probes->count; i++) {
        if (strcmp(probes->items[i], "profile") == 0) {
            return 0;
        }
    }
    if (!options->folded) {
        return 0;
    }
    err_set(error, ERR_USAGE, "--profile-folded", "no stacks are sampled");
    return err_hint(error, "say --probe profile");
}

struct output {
    const struct printer *printer;
    const char *path; /* NULL: not wanted */
};

static int write_outputs(const struct output *outputs, size_t count, const struct record *record,
                         struct err *error)
{
    int result = 0;
    for (size_t i = 0; i < count; i++) {
        struct err failure = {0};
        if (outputs[i].path &&
            record_write(record, outputs[i].printer, outputs[i].path, &failure) < 0 &&
            result == 0) {
            *error = failure;
            result = -1;
        }
    }
    return result;
}

int output_write_files(const struct output_options *options, const struct record *record,
                       struct err *error)
{
    const struct output outputs[] = {{&printer_json, options->json},
                                     {&printer_csv, options->csv},
                                     {&printer_folded, options->folded},
                                     {&printer_openmetrics, options->openmetrics}};
    return write_outputs(outputs, sizeof outputs / sizeof outputs[0], record, error);
}

int output_write(const struct output_options *options, const struct record *record,
                 struct err *error)
{
    struct err failure = {0}, other = {0};
    const struct output text = {&printer_text, output_text(options) ? "-" : NULL};
    int result = write_outputs(&text, 1, record, &failure);
    if (output_write_files(options, record, &other) < 0 && result == 0) {
        failure = other;
        result = -1;
    }
    if (result < 0) {
        *error = failure;
    }
    return result;
}

int output_options_to_record(const struct opt_set *sets, size_t set_count, struct record *record,
                             struct err *error)
{
    for (size_t i = 0; i < set_count; i++) {
        for (size_t j = 0; j < sets[i].count; j++) {
            char *text = NULL;
            size_t length = 0;
            FILE *out = open_memstream(&text, &length);
            if (!out) {
                return err_system(error, errno, "record", "cannot keep the options");
            }
            opt_print_value(&sets[i].rows[j], sets[i].target, out);
            int failed =
                fclose(out) != 0 || !text ||
                record_add_option(record, sets[i].rows[j].name, text, sets[i].given >> j & 1) < 0;
            free(text);
            if (failed) {
                return err_system(error, ENOMEM, "record", "cannot keep the options");
            }
        }
    }
    return 0;
}

int output_words_to_record(const char *name, char *const *words, size_t count,
                           struct record *record, struct err *error)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out) {
        return err_system(error, errno, "record", "cannot keep the options");
    }
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "%s%s", i ? " " : "", words[i]);
    }
    int failed = fclose(out) != 0 || !text || record_add_option(record, name, text, count > 0) < 0;
    free(text);
    return failed ? err_system(error, ENOMEM, "record", "cannot keep the options") : 0;
}

static void stop_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

int output_stop_file(struct err *error)
{
    sigset_t set;
    stop_signals(&set);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) {
        return err_system(error, errno, "signals", "cannot block them");
    }
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? err_system(error, errno, "signals", "cannot wait for them") : fd;
}

void output_stop_end(int *file)
{
    sigset_t set;
    struct signalfd_siginfo taken;
    if (*file < 0) {
        return;
    }
    while (read(*file, &taken, sizeof taken) == sizeof taken) {
    }
    close(*file);
    *file = -1;
    stop_signals(&set);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}
