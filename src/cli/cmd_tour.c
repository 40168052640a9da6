/* sonde tour: short runs of every workload against sonde's own servers, as tables: the quickest way
 * to see what can be measured, and what it teaches. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/tour.h"
#include "cli/words.h"
#include "report/text.h"
#include "run/child.h"
#include "run/joined_record.h"
#include "run/machine.h"

enum { CHAPTERS_MOST = 32 };

struct tour {
    struct output_options output;
    bool wanted[CHAPTERS_MOST];     /* of tour_chapters */
    struct tour_outcome **outcomes; /* owned: of each part, in their order */
    size_t part_count;
    size_t stop_count, reached, failed;
    struct err first_failure;
    const char *first_failed; /* its label */
    bool interrupted;
    int stop_fd;
};

static bool wants_to_stop(int stop_fd)
{
    struct pollfd row = {.fd = stop_fd, .events = POLLIN};
    return poll(&row, 1, 0) == 1;
}

/* ---- what is measured ---- */

/* Names the run by what is particular about its command line. */
static int label_run(const struct tour_outcome *outcome)
{
    json_t *run = json_array_get(json_object_get(outcome->record, "runs"), 0);
    return run ? json_object_set_new(run, "label", json_string(outcome->label)) : 0;
}

static void note_failure(struct tour *tour, const struct tour_outcome *outcome)
{
    if (tour->failed++ == 0) {
        tour->first_failure = outcome->failure;
        tour->first_failed = outcome->label;
    }
}

/* Runs the command line and keeps its record. -1 with *error where the tour cannot go on. */
static int run_line(struct tour *tour, const struct tour_part *part, struct tour_outcome *outcome,
                    struct err *error)
{
    char *line = NULL, **words = NULL;
    int status;
    if (asprintf(&line, "%s %s", outcome->label, part->common) < 0) {
        return err_system(error, ENOMEM, "tour", "cannot go on");
    }
    int result = words_split(line, "tour", &words, error);
    free(line);
    if (result < 0) {
        return -1;
    }
    result = child_measure(words, tour->stop_fd, &outcome->record, &status, &outcome->failure);
    words_release(&words);
    if (result == 0 && (label_run(outcome) < 0 || result_from_json(outcome->record, outcome->label,
                                                                   &outcome->result, error) < 0)) {
        return error->code == ERR_NONE ? err_system(error, ENOMEM, "tour", "cannot go on") : -1;
    }
    if (result == 0 && !json_is_true(json_object_get(outcome->record, "complete"))) {
        child_failure(outcome->record, &outcome->failure);
    }
    return 0;
}

static int take_stop(struct tour *tour, const struct tour_part *part, size_t index,
                     struct tour_outcome *outcome, struct err *error)
{
    const struct tour_stop *stop = &part->stops[index];
    char reason[160] = "";
    if (asprintf(&outcome->label, "%s %s", part->command, stop->words) < 0) {
        outcome->label = NULL;
        return err_system(error, ENOMEM, "tour", "cannot go on");
    }
    outcome->stop = stop;
    tour->reached++;
    if (output_text(&tour->output) && !tour->output.quiet) {
        printf("  %zu/%zu  sonde %s: %s ...\n", tour->reached, tour->stop_count, outcome->label,
               stop->title);
        fflush(stdout);
    }
    if (stop->why_not && stop->why_not(reason, sizeof reason) < 0) {
        outcome->unavailable = true;
        err_set(&outcome->failure, ERR_UNSUPPORTED, outcome->label, "%s", reason);
        return 0;
    }
    if (run_line(tour, part, outcome, error) < 0) {
        return -1;
    }
    if (wants_to_stop(tour->stop_fd)) {
        tour->interrupted = true;
    } else if (outcome->failure.code != ERR_NONE) {
        note_failure(tour, outcome);
    }
    return 0;
}

/* All stops of a part, and its table. */
static int take_part(struct tour *tour, const struct tour_part *part, struct tour_outcome *outcomes,
                     struct text *text, struct err *error)
{
    int result = 0;
    for (size_t i = 0; i < part->stop_count && result == 0 && !tour->interrupted; i++) {
        result = take_stop(tour, part, i, &outcomes[i], error);
    }
    if (text && outcomes[0].stop) {
        tour_print_part(part, outcomes, text);
        fflush(stdout);
    }
    return result;
}

static int take_chapters(struct tour *tour, struct text *text, struct err *error)
{
    int result = 0;
    for (size_t c = 0, p = 0; c < tour_chapter_count; c++) {
        const struct tour_chapter *chapter = &tour_chapters[c];
        bool wanted = tour->wanted[c];
        if (wanted && text && result == 0 && !tour->interrupted) {
            printf("\n%s (sonde tour %s)\n", chapter->title, chapter->name);
        }
        for (size_t i = 0; i < chapter->part_count; i++, p++) {
            if (wanted && result == 0 && !tour->interrupted) {
                result = take_part(tour, &chapter->parts[i], tour->outcomes[p], text, error);
            }
        }
    }
    return result;
}

/* ---- what is written ---- */

/* What cannot be measured here is no run, but the record says so. */
static void conclude(const struct tour *tour, struct record *record)
{
    struct err *failure = &record->failure;
    if (failure->code == ERR_NONE && tour->interrupted) {
        err_set(failure, ERR_INTERRUPTED, "tour", "interrupted at stop %zu of %zu", tour->reached,
                tour->stop_count);
    } else if (failure->code == ERR_NONE && tour->failed) {
        err_set(failure, ERR_SYSTEM, "tour", "%zu of %zu stops failed", tour->failed,
                tour->stop_count);
        err_hint(failure, "the first, %.60s: %.40s: %.100s", tour->first_failed,
                 tour->first_failure.subject, tour->first_failure.what);
    }
    record->complete = failure->code == ERR_NONE;
}

/* Every stop's record in one. Stops of several kinds have no operation in common. */
static int join(const struct tour *tour, const struct record *record, struct joined_record *joined)
{
    const char *operation = NULL;
    bool several = false;
    int result = joined_record_init(joined, record);
    for (size_t c = 0, p = 0; c < tour_chapter_count; c++) {
        for (size_t i = 0; i < tour_chapters[c].part_count; i++, p++) {
            for (size_t s = 0; s < tour_chapters[c].parts[i].stop_count && result == 0; s++) {
                json_t *part = tour->outcomes[p][s].record;
                const char *own = json_string_value(json_object_get(part, "operation"));
                several = several || (operation && own && strcmp(operation, own) != 0);
                operation = own ? own : operation;
                result = part ? joined_record_add(joined, part) : 0;
            }
        }
    }
    if (result == 0 && several) {
        result = json_object_set_new(joined->json, "operation", json_string("operation"));
    }
    return result < 0 ? -1 : joined_record_finish(joined);
}

static int write_csv(json_t *json, const char *path, struct err *error)
{
    static const struct result_lead none = {.count = 0};
    struct result result;
    char *text = NULL;
    size_t length = 0;
    if (result_from_json(json, "tour", &result, error) < 0) {
        return -1;
    }
    int status = result_csv(&result, &none, &text, &length, error);
    if (status == 0) {
        status = record_write_text(text, length, path, error);
    }
    free(text);
    result_release(&result);
    return status;
}

/* All outputs are tried; the first failure is returned. */
static int write_outputs(const struct tour *tour, const struct record *record, struct err *error)
{
    struct joined_record joined;
    struct err failures[2] = {{0}};
    const char *json = tour->output.json, *csv = tour->output.csv;
    if (!json && !csv) {
        return 0;
    }
    int result = join(tour, record, &joined);
    if (result < 0) {
        err_system(error, ENOMEM, "tour", "cannot be recorded");
    } else {
        if (json) {
            joined_record_write(joined.json, json, &failures[0]);
        }
        if (csv) {
            write_csv(joined.json, csv, &failures[1]);
        }
        for (int i = 0; i < 2 && result == 0; i++) {
            if (failures[i].code != ERR_NONE) {
                *error = failures[i];
                result = -1;
            }
        }
    }
    joined_record_release(&joined);
    return result;
}

/* ---- the command ---- */

static int make_outcomes(struct tour *tour, unsigned *milliseconds, struct err *error)
{
    for (size_t c = 0; c < tour_chapter_count; c++) {
        tour->part_count += tour_chapters[c].part_count;
    }
    tour->outcomes = calloc(tour->part_count, sizeof *tour->outcomes);
    bool failed = !tour->outcomes;
    for (size_t c = 0, p = 0; c < tour_chapter_count && !failed; c++) {
        const struct tour_chapter *chapter = &tour_chapters[c];
        for (size_t i = 0; i < chapter->part_count && !failed; i++, p++) {
            const struct tour_part *part = &chapter->parts[i];
            tour->outcomes[p] = calloc(part->stop_count, sizeof **tour->outcomes);
            failed = !tour->outcomes[p];
            tour->stop_count += tour->wanted[c] ? part->stop_count : 0;
            *milliseconds += tour->wanted[c] ? part->milliseconds * (unsigned)part->stop_count : 0;
        }
    }
    return failed ? err_system(error, ENOMEM, "memory", "cannot start") : 0;
}

static void release_outcomes(struct tour *tour)
{
    for (size_t c = 0, p = 0; tour->outcomes && c < tour_chapter_count; c++) {
        for (size_t i = 0; i < tour_chapters[c].part_count; i++, p++) {
            struct tour_outcome *outcomes = tour->outcomes[p];
            for (size_t s = 0; outcomes && s < tour_chapters[c].parts[i].stop_count; s++) {
                result_release(&outcomes[s].result);
                json_decref(outcomes[s].record);
                free(outcomes[s].label);
            }
            free(outcomes);
        }
    }
    free(tour->outcomes);
    tour->outcomes = NULL;
}

static int hint_chapters(struct err *error)
{
    char names[160] = "";
    size_t length = 0;
    for (size_t c = 0; c < tour_chapter_count && length < sizeof names; c++) {
        length += (size_t)snprintf(names + length, sizeof names - length, "%s%s", c ? ", " : "",
                                   tour_chapters[c].name);
    }
    return err_hint(error, "its chapters are %s", names);
}

/* Without names: all of them. */
static int choose_chapters(struct tour *tour, const struct opt_arguments *arguments,
                           struct err *error)
{
    const char *names[CHAPTERS_MOST + 1] = {NULL};
    for (size_t c = 0; c < tour_chapter_count; c++) {
        names[c] = tour_chapters[c].name;
        tour->wanted[c] = arguments->count == 0;
    }
    for (size_t i = 0; i < arguments->count; i++) {
        size_t c = 0;
        while (c < tour_chapter_count && strcmp(arguments->items[i], names[c]) != 0) {
            c++;
        }
        if (c == tour_chapter_count) {
            const char *nearest = opt_nearest(arguments->items[i], names, tour_chapter_count);
            err_set(error, ERR_USAGE, arguments->items[i], "no chapter of the tour");
            return nearest ? err_hint(error, "did you mean %s?", nearest) : hint_chapters(error);
        }
        tour->wanted[c] = true;
    }
    return 0;
}

static int run_tour(struct tour *tour, int argc, char **argv, struct err *error)
{
    struct text text = {.out = stdout};
    struct record record = {0};
    struct err failure = {0};
    unsigned milliseconds = 0;
    if (output_check(&tour->output, error) < 0 || make_outcomes(tour, &milliseconds, error) < 0 ||
        record_init(&record, argc, argv, error) < 0) {
        return -1;
    }
    bool shown = output_text(&tour->output);
    int result = machine_describe(&record, &record.failure);
    tour->stop_fd = result < 0 ? -1 : output_stop_file(&record.failure);
    if (tour->stop_fd >= 0) {
        if (shown) {
            printf("sonde, shown by short runs against its own servers (about %u s)\n",
                   (milliseconds + 500) / 1000);
        }
        take_chapters(tour, shown ? &text : NULL, &record.failure);
    }
    output_stop_end(&tour->stop_fd);
    conclude(tour, &record);
    result = write_outputs(tour, &record, &failure);
    if (record.failure.code != ERR_NONE) {
        *error = record.failure;
        result = -1;
    } else if (result < 0) {
        *error = failure;
    } else if (text.failed) {
        result = err_system(error, ENOMEM, "tour", "cannot print the result");
    }
    record_release(&record);
    return result;
}

static size_t fill_sets(struct opt_set *to, struct output_options *output)
{
    to[0] = (struct opt_set){
        .title = "Output", .rows = output_rows, .count = OUTPUT_OPTIONS, .target = output};
    return 1;
}

static size_t sets(struct opt_set *to)
{
    return fill_sets(to, NULL);
}

static int run(int argc, char **argv, struct err *error)
{
    struct tour tour = {.stop_fd = -1};
    struct opt_set set;
    struct opt_arguments arguments = {0};
    int result = -1;
    fill_sets(&set, &tour.output);
    if (opt_defaults(&set, 1, error) == 0 &&
        opt_parse(&set, 1, argc, argv, &arguments, error) == 0) {
        if (arguments.rest) {
            err_set(error, ERR_USAGE, "--", "the tour runs no other program");
        } else if (choose_chapters(&tour, &arguments, error) == 0) {
            result = run_tour(&tour, argc, argv, error);
        }
        if (result < 0 && error->code == ERR_USAGE) {
            opt_hint_loose(&arguments, error);
        }
    }
    release_outcomes(&tour);
    opt_release(&set, 1, &arguments);
    return result;
}

const struct command command_tour = {
    .name = "tour",
    .arguments = "[call|ws|http|stream|ipc]... [options]",
    .summary = "see it work: every workload in short, as tables that explain themselves",
    .details =
        "Runs short workloads against sonde's own servers, observed where that is possible, and "
        "shows them as tables: with what they teach, and the command that made each row. Each run "
        "is a process of its own. What cannot be measured on this machine says why, and the rest "
        "goes on. With names only those chapters: call (three ways to write), ws (opening and "
        "closing WebSockets), http (downloads through every kernel interface), stream (bytes a "
        "second, and round trips), ipc (pipes and socket pairs).",
    .examples = "  sonde tour   # start here\n"
                "  sonde tour http ipc   # two chapters of it\n",
    .sets = sets,
    .run = run,
};
