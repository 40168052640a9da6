#include <errno.h>
#include <stdio.h>

#include "cli/command.h"
#include "cli/doctor.h"

struct doctor_options {
    bool json;
};

static const struct opt rows[] = {
    OPT_BOOL(struct doctor_options, json, .name = "json",
             .help = "print the same as one JSON object"),
};

static size_t fill_sets(struct opt_set *sets, struct doctor_options *options)
{
    sets[0] = (struct opt_set){
        .title = "Output", .rows = rows, .count = sizeof rows / sizeof rows[0], .target = options};
    return 1;
}

static size_t doctor_sets(struct opt_set *sets)
{
    /* For help and completions, which read rows and write defaults. */
    static struct doctor_options storage;
    return fill_sets(sets, &storage);
}

static int print_report(bool as_json, struct err *error)
{
    json_t *report = doctor_gather(error);
    int failed = 0;

    if (!report) {
        return -1;
    }
    errno = 0;
    if (as_json) {
        failed = json_dumpf(report, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
    } else {
        doctor_print(report, stdout);
    }
    json_decref(report);
    if (fflush(stdout) || ferror(stdout) || failed) {
        return err_system(error, errno ? errno : EIO, "standard output", "cannot be written");
    }
    return 0;
}

static int doctor_run(int argc, char **argv, struct err *error)
{
    struct opt_set sets[COMMAND_SETS_MAX];
    struct opt_arguments arguments = {0};
    struct doctor_options options = {0};
    size_t count = fill_sets(sets, &options);
    int result = -1;

    if (!opt_defaults(sets, count, error) &&
        !opt_parse(sets, count, argc, argv, &arguments, error)) {
        if (arguments.count || arguments.rest) {
            err_set(error, ERR_USAGE, "doctor", "takes no argument");
        } else {
            result = print_report(options.json, error);
        }
    }
    opt_release(sets, count, &arguments);
    return result;
}

const struct command command_doctor = {
    .name = "doctor",
    .arguments = "[--json]",
    .summary = "what serves on this machine, its limits and noise, and what to change",
    .details = "Lists every engine, transport and probe with why it can or cannot serve here, then "
               "the limits, the machine and what disturbs measurements on it. Looks for about a "
               "fifth of a second; changes nothing. Needs no privilege, but sees what the user "
               "who runs it could use.",
    .examples = "  sonde doctor   # as text\n"
                "  sonde doctor --json | jq .advice   # what to change\n",
    .sets = doctor_sets,
    .run = doctor_run,
};
