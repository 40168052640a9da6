#include "cli/compare_runs.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/opt.h"
#include "base/rng.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/words.h"
#include "report/text.h"
#include "run/child.h"

/* Where the results go, and how often, is the comparison's own business. */
static const char *const options_refused[] = {
    "--json", "--csv", "--repeat", "--warmup-runs", "--openmetrics", "--hlog", "--hgrm"};
static size_t count_words(char *const *words)
{
    size_t count = 0;
    while (words[count]) {
        count++;
    }
    return count;
}

static int check_words(char **words, struct err *error)
{
    if (strcmp(words[0], "sonde") == 0) {
        err_set(error, ERR_USAGE, "--run", "holds the arguments of sonde only");
        return err_hint(error, "without the word sonde itself");
    }
    const struct command *command = command_find(words[0], error);
    if (!command) {
        return -1;
    }
    if (!command->measures) {
        err_set(error, ERR_USAGE, "--run", "sonde %s has no runs to compare", words[0]);
        return err_hint(error, "a command that measures, e.g. --run 'call --write each'");
    }
    if (opt_wants_help((int)count_words(words), words)) {
        return err_set(error, ERR_USAGE, "--run", "--help measures nothing");
    }
    for (size_t i = 0; words[i] && strcmp(words[i], "--") != 0; i++) {
        for (size_t k = 0; k < sizeof options_refused / sizeof *options_refused; k++) {
            size_t length = strlen(options_refused[k]);
            if (strncmp(words[i], options_refused[k], length) == 0 &&
                (words[i][length] == '\0' || words[i][length] == '=')) {
                err_set(error, ERR_USAGE, "--run", "%s cannot stand in it", options_refused[k]);
                return err_hint(error, k < 2 ? "it is an option of compare itself"
                                             : "how many runs there are says -n of compare");
            }
        }
    }
    return 0;
}

static bool stopped(int stop_fd)
{
    struct pollfd file = {.fd = stop_fd, .events = POLLIN};
    return poll(&file, 1, 0) > 0;
}

/* One child; its result with the side's name. */
static int measure(const struct compare_runs *runs, char **words, int side, int stop_fd,
                   struct result *result, struct err *error)
{
    json_t *record = NULL;
    int status;
    if (child_measure(words, stop_fd, &record, &status, error) != 0) {
        return -1;
    }
    int outcome = 0;
    if (runs->count == 0 && !json_is_true(json_object_get(record, "complete")) &&
        !stopped(stop_fd)) {
        /* What fails the first time would fail every time. */
        outcome = child_failure(record, error);
    }
    outcome = outcome ? outcome : result_from_json(record, runs->texts[side], result, error);
    json_decref(record);
    return outcome;
}

static void show_progress(const struct compare_runs *runs, const struct result *pair)
{
    if (!runs->progress) {
        return;
    }
    fprintf(stderr, "pair %zu of %llu:", runs->count, (unsigned long long)runs->runs);
    for (int side = 0; side < 2; side++) {
        const struct result_run *run = pair[side].run_count ? &pair[side].runs[0] : NULL;
        char value[64] = "-";
        if (run && run->figure_count) {
            text_value(value, sizeof value, run->figures[0].value, run->figures[0].unit);
        }
        fprintf(stderr, "  %c %s%s", 'A' + side, value,
                run && run->figure_count && strcmp(run->figures[0].unit, "1/s") == 0 ? "/s" : "");
    }
    fputc('\n', stderr);
}

/* Both members of a pair. 1: the user has interrupted, and nothing is kept. */
static int make_pair(struct compare_runs *runs, char ***words, bool b_first, int stop_fd,
                     struct result *pair, struct err *error)
{
    int result = 0;
    for (int turn = 0; turn < 2 && result == 0; turn++) {
        int side = (turn == 1) != b_first;
        result = measure(runs, words[side], side, stop_fd, &pair[side], error);
        if (stopped(stop_fd)) {
            result = 1;
        }
    }
    if (result != 0) {
        result_release(&pair[0]);
        result_release(&pair[1]);
    }
    return result;
}

static int make_all(struct compare_runs *runs, char ***words, int stop_fd, struct err *error)
{
    struct rng rng;
    int outcome = 0;
    rng_seed(&rng, runs->seed);
    for (uint64_t i = 0; i < runs->warmup_runs && outcome == 0; i++) {
        struct result pair[2] = {{0}, {0}};
        outcome = make_pair(runs, words, false, stop_fd, pair, error);
        result_release(&pair[0]);
        result_release(&pair[1]);
    }
    while (runs->count < runs->runs && outcome == 0) {
        struct result pair[2] = {{0}, {0}};
        outcome = make_pair(runs, words, rng_next(&rng) >> 63, stop_fd, pair, error);
        if (outcome == 0) {
            runs->results[0][runs->count] = pair[0];
            runs->results[1][runs->count++] = pair[1];
            show_progress(runs, pair);
            outcome = runs->count == 1 && runs->check ? runs->check(runs->owner, pair, error) : 0;
        }
    }
    if (outcome < 0 && runs->count > 0 && error->code != ERR_USAGE) {
        runs->failure = *error; /* what there is, is kept */
        *error = (struct err){0};
        return 0;
    }
    runs->interrupted = outcome == 1;
    if (runs->interrupted && runs->count == 0) {
        return err_set(error, ERR_INTERRUPTED, "compare", "interrupted before both had a run");
    }
    if (runs->interrupted) {
        *error = (struct err){0}; /* of the run that was cut short */
    }
    return outcome < 0 ? -1 : 0;
}

int compare_runs_make(struct compare_runs *runs, struct err *error)
{
    char **words[2] = {NULL, NULL};
    int result = 0, stop_fd = -1;
    for (int side = 0; side < 2 && result == 0; side++) {
        result = words_split(runs->texts[side], "--run", &words[side], error) != 0 ||
                         check_words(words[side], error) != 0
                     ? -1
                     : 0;
        runs->results[side] = calloc(runs->runs, sizeof **runs->results);
        if (!runs->results[side] && result == 0) {
            result = err_system(error, ENOMEM, "compare", "cannot keep the runs");
        }
    }
    if (result == 0) {
        stop_fd = output_stop_file(error);
        result = stop_fd < 0 ? -1 : make_all(runs, words, stop_fd, error);
    }
    output_stop_end(&stop_fd);
    words_release(&words[0]);
    words_release(&words[1]);
    return result;
}

void compare_runs_release(struct compare_runs *runs)
{
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < runs->count; i++) {
            result_release(&runs->results[side][i]);
        }
        free(runs->results[side]);
        runs->results[side] = NULL;
    }
    runs->count = 0;
}
