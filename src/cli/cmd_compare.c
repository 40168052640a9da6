/* sonde compare */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/compare_runs.h"
#include "cli/output.h"
#include "report/comparison.h"
#include "report/text.h"

#define TEXTS_MOST 32

/* An option that may stand several times, and whose values may hold commas. */
struct texts {
    const char *items[TEXTS_MOST]; /* point into argv */
    size_t count;
};

struct compare_options {
    struct texts runs, conditions;
    uint64_t count, warmup_runs, seed;
    bool all;
    struct output_options output;
};

static int add_text(const char *text, void *member, struct err *error)
{
    struct texts *texts = member;
    if (texts->count == TEXTS_MOST) {
        return err_set(error, ERR_USAGE, text, "stands too often: at most %d times", TEXTS_MOST);
    }
    texts->items[texts->count++] = text;
    return 0;
}

static void print_texts(const void *member, FILE *out)
{
    const struct texts *texts = member;
    for (size_t i = 0; i < texts->count; i++) {
        fprintf(out, "%s%s", i ? "; " : "", texts->items[i]);
    }
}

#define COMPARE struct compare_options

static const struct opt run_rows[] = {
    OPT_CUSTOM(COMPARE, runs, struct texts, .name = "run", .argument = "'ARGS'", .parse = add_text,
               .print = print_texts,
               .help = "a command line of sonde to run and compare; stands twice"),
    OPT_COUNT(COMPARE, count, .name = "runs", .letter = 'n', .initial = "15",
              .least = COMPARE_RUNS_LEAST, .most = 100000, .help = "runs of each"),
    OPT_COUNT(COMPARE, warmup_runs, .name = "warmup-runs", .initial = "1", .most = 1000,
              .help = "runs of each before them, discarded"),
    OPT_COUNT(COMPARE, seed, .name = "seed", .initial = "1",
              .help = "of the random order within each pair of runs"),
};

static const struct opt report_rows[] = {
    OPT_BOOL(COMPARE, all, .name = "all", .letter = 'a',
             .help = "show the figures that did not change too"),
    OPT_CUSTOM(COMPARE, conditions, struct texts, .name = "fail-if", .argument = "'FIGURE > VALUE'",
               .parse = add_text, .print = print_texts,
               .help = "exit with 1 where it is so, e.g. 'p99 > +5%' (repeatable)"),
};

static const struct opt file_rows[] = {
    OPT_TEXT(struct output_options, json, .name = "json", .optional = "-", .argument = "FILE",
             .help = "the comparison as JSON to a file, or instead of the text to standard output"),
    OPT_TEXT(struct output_options, csv, .name = "csv", .optional = "-", .argument = "FILE",
             .help = "one row a figure as CSV, likewise"),
    OPT_BOOL(struct output_options, quiet, .name = "quiet", .letter = 'q',
             .help = "no line for each pair of runs"),
};

#define ROWS(array) .rows = (array), .count = sizeof(array) / sizeof *(array)

enum { SET_COUNT = 3 };

static size_t fill_sets(struct opt_set *sets, struct compare_options *options)
{
    sets[0] = (struct opt_set){.title = "Runs", ROWS(run_rows), .target = options};
    sets[1] = (struct opt_set){.title = "Report", ROWS(report_rows), .target = options};
    sets[2] = (struct opt_set){.title = "Output", ROWS(file_rows), .target = &options->output};
    return SET_COUNT;
}

static size_t compare_sets(struct opt_set *sets)
{
    /* For help and completions, which read rows and write defaults. */
    static struct compare_options storage;
    return fill_sets(sets, &storage);
}

/* ---- output ---- */

typedef int printing(const struct comparison_report *, FILE *, struct err *);

static int write_one(const struct comparison_report *report, printing *print, const char *path,
                     struct err *error)
{
    char *text = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&text, &length);
    if (!memory) {
        return err_system(error, errno, path, "cannot be printed");
    }
    int result = print(report, memory, error);
    if (fclose(memory) != 0 && result == 0) {
        result = err_system(error, errno, path, "cannot be printed");
    }
    if (result == 0) {
        result = record_write_text(text, length, path, error);
    }
    free(text);
    return result;
}

static int write_all(const struct comparison_report *report, const struct output_options *output,
                     struct err *error)
{
    const struct {
        printing *print;
        const char *path;
    } outputs[] = {{comparison_print_text, output_text(output) ? "-" : NULL},
                   {comparison_print_json, output->json},
                   {comparison_print_csv, output->csv}};
    int result = 0;
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
        struct err failure = {0};
        if (outputs[i].path &&
            write_one(report, outputs[i].print, outputs[i].path, &failure) != 0 && result == 0) {
            *error = failure;
            result = -1;
        }
    }
    return result;
}

/* The exit status that the conditions ask for; the line that says why is an error. */
static int verdict(const struct comparison_report *report, struct err *error)
{
    const struct comparison_outcome *first = NULL;
    size_t met = 0;
    for (size_t i = 0; i < report->outcome_count; i++) {
        if (report->outcomes[i].holds) {
            first = first ? first : &report->outcomes[i];
            met++;
        }
    }
    if (!first) {
        return report->complete ? 0 : 1;
    }
    const struct comparison *numbers = &first->figure->numbers;
    char change[48] = "", a[64], b[64];
    if (numbers->ratio.value > 0) {
        snprintf(change, sizeof change, " (%+.1f %%)", (numbers->ratio.value - 1) * 100);
    }
    err_set(error, ERR_LIMIT, "--fail-if", "'%s' is so: %s is %s in A, %s in B%s",
            first->condition->text, first->figure->key,
            text_value(a, sizeof a, numbers->a_median, first->figure->unit),
            text_value(b, sizeof b, numbers->b_median, first->figure->unit), change);
    if (met > 1) {
        err_hint(error, "and %zu more", met - 1);
    }
    return -1;
}

/* Everything is shown before a condition that cannot be judged is an error. */
static int report_all(struct comparison_report *report,
                      const struct comparison_condition *conditions,
                      const struct compare_options *options, struct err *error)
{
    struct err undecided = {0};
    report->show_all = options->all;
    int judged = comparison_judge(report, conditions, options->conditions.count, &undecided);
    if (write_all(report, &options->output, error) != 0) {
        return -1;
    }
    if (judged != 0) {
        *error = undecided;
        return -1;
    }
    return verdict(report, error);
}

/* ---- the two ways ---- */

/* What the test takes for a difference of the two commands is one of the two invocations. */
static int warn_of_files(struct comparison_report *report, const struct result *results,
                         struct err *error)
{
    bool swept = results[0].run_count && results[0].runs[0].point && results[1].run_count &&
                 results[1].runs[0].point;
    int status = comparison_warn(report,
                                 "the files were made at different times%s: whatever changed in "
                                 "between (load, neighbours%s) "
                                 "counts as a difference here; --run makes both in turn",
                                 swept ? "" : ", each in one process",
                                 swept ? "" : ", where its memory came to lie");
    return status == 0 ? 0 : err_system(error, ENOMEM, "comparison", "cannot be made");
}

static int compare_files(char **files, const struct comparison_condition *conditions,
                         const struct compare_options *options, struct err *error)
{
    struct result results[2] = {{0}, {0}};
    struct comparison_report report = {0};
    struct comparison_side sides[2];
    int status = 0;
    for (int i = 0; i < 2 && status == 0; i++) {
        status = result_load(files[i], &results[i], error);
        sides[i] = (struct comparison_side){files[i], &results[i], 1};
    }
    if (status == 0) {
        status = comparison_build(&sides[0], &sides[1], false, &report, error);
    }
    if (status == 0) {
        status = warn_of_files(&report, results, error);
    }
    if (status == 0) {
        status = report_all(&report, conditions, options, error);
    }
    comparison_release(&report);
    result_release(&results[0]);
    result_release(&results[1]);
    return status;
}

struct wanted {
    const struct comparison_condition *conditions;
    size_t count;
};

/* Names that no run will have are refused after the first pair, not after all of them. */
static int check_conditions(void *owner, const struct result *pair, struct err *error)
{
    const struct wanted *wanted = owner;
    struct comparison_report report = {0};
    const struct comparison_side a = {"A", &pair[0], 1}, b = {"B", &pair[1], 1};
    struct err ignored;
    int status = 0;
    if (comparison_build(&a, &b, true, &report, &ignored) == 0) {
        status = comparison_check(&report, wanted->conditions, wanted->count, error);
    }
    comparison_release(&report);
    return status;
}

static int compare_commands(const struct comparison_condition *conditions,
                            const struct compare_options *options, struct err *error)
{
    struct wanted wanted = {conditions, options->conditions.count};
    struct compare_runs runs = {.texts = {options->runs.items[0], options->runs.items[1]},
                                .runs = options->count,
                                .warmup_runs = options->warmup_runs,
                                .seed = options->seed,
                                .progress = !options->output.quiet && isatty(STDERR_FILENO),
                                .check = check_conditions,
                                .owner = &wanted};
    struct comparison_report report = {0};
    int status = compare_runs_make(&runs, error);
    if (status == 0) {
        const struct comparison_side a = {runs.texts[0], runs.results[0], runs.count};
        const struct comparison_side b = {runs.texts[1], runs.results[1], runs.count};
        status = comparison_build(&a, &b, true, &report, error);
    }
    if (status == 0 && runs.interrupted) {
        report.complete = false;
        if (comparison_warn(&report, "interrupted after %zu of %llu pairs of runs", runs.count,
                            (unsigned long long)runs.runs) != 0) {
            status = err_system(error, ENOMEM, "comparison", "cannot be made");
        }
    }
    if (status == 0 && runs.failure.code != ERR_NONE) {
        report.complete = false;
        if (comparison_warn(&report, "ended after %zu of %llu pairs of runs: %s: %s", runs.count,
                            (unsigned long long)runs.runs, runs.failure.subject,
                            runs.failure.what) != 0) {
            status = err_system(error, ENOMEM, "comparison", "cannot be made");
        }
    }
    if (status == 0) {
        status = report_all(&report, conditions, options, error);
    }
    if (status >= 0 && runs.failure.code != ERR_NONE) {
        *error = runs.failure;
        status = -1;
    }
    comparison_release(&report);
    compare_runs_release(&runs);
    return status;
}

static int check(const struct compare_options *options, const struct opt_arguments *arguments,
                 struct err *error)
{
    size_t files = arguments->count, runs = options->runs.count;
    if (arguments->rest || (files && runs) || (runs && runs != 2) || (!runs && files != 2)) {
        err_set(error, ERR_USAGE, "compare",
                files && runs     ? "takes two files or --run twice, not both"
                : arguments->rest ? "takes no command after --"
                                  : "takes two files, or --run twice: here are %zu",
                runs ? runs : files);
        return err_hint(error, "sonde compare A.json B.json, or sonde compare --run 'call --write "
                               "each' --run 'call --write gather'");
    }
    return output_check(&options->output, error);
}

static int compare_run(int argc, char **argv, struct err *error)
{
    struct opt_set sets[COMMAND_SETS_MAX];
    struct opt_arguments arguments = {0};
    struct compare_options options = {0};
    struct comparison_condition conditions[TEXTS_MOST];
    size_t count = fill_sets(sets, &options);
    int status = opt_defaults(sets, count, error) == 0 &&
                         opt_parse(sets, count, argc, argv, &arguments, error) == 0 &&
                         check(&options, &arguments, error) == 0
                     ? 0
                     : -1;
    for (size_t i = 0; i < options.conditions.count && status == 0; i++) {
        status = comparison_parse_condition(options.conditions.items[i], &conditions[i], error);
    }
    if (status == 0) {
        status = options.runs.count ? compare_commands(conditions, &options, error)
                                    : compare_files(arguments.items, conditions, &options, error);
    }
    opt_release(sets, count, &arguments);
    return status;
}

const struct command command_compare = {
    .name = "compare",
    .arguments = "A.json B.json | --run 'ARGS' --run 'ARGS' [options]",
    .summary = "are two results different, by how much, and which kernel costs changed",
    .details =
        "Compares the runs of two result files (--json of any command; --repeat gives them the "
        "runs that a statement needs, at least 4 of each), label by label. Or makes the runs "
        "itself: those of both command lines in pairs, in random order within each pair, so that "
        "what drifts meets both alike. Shown are medians, their change with a 95 % bootstrap "
        "interval, and p of the Mann-Whitney test, of pairs Wilcoxon's signed-rank test. A "
        "difference is one where p is below 5 % and the interval leaves no room for none.\n\n"
        "--fail-if takes FIGURE > VALUE or FIGURE < VALUE. FIGURE is a key of the table or p50, "
        "p90, p99, p99.9, rate, cpu; VALUE a change in percent, which must also be seen as a "
        "difference (of this figure alone, without the correction for many), or a value that the "
        "median of B is held against.",
    .examples = "  sonde compare before.json after.json --fail-if 'p99 > +5%'\n"
                "  sonde compare --run 'call --write each' --run 'call --write gather' -n 15\n",
    .sets = compare_sets,
    .run = compare_run,
};
