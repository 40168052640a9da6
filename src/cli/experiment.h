/* What all commands that measure have in common: runs of one or several variants (engines,
 * methods), each of them --repeat times, in turn so that drift of the machine meets all alike; the
 * noise of the machine; one record; its output. */
#ifndef SONDE_CLI_EXPERIMENT_H
#define SONDE_CLI_EXPERIMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/opt.h"
#include "cli/exports.h"
#include "cli/live.h"
#include "cli/output.h"
#include "report/record.h"

struct repeat_options {
    uint64_t repeat;      /* runs that count; 1: not repeated */
    uint64_t warmup_runs; /* before them, kept in the record, in no summary */
};

enum { REPEAT_OPTIONS = 2 };
extern const struct opt repeat_rows[REPEAT_OPTIONS]; /* --repeat N, --warmup-runs N */

/* One run of one variant. */
struct experiment_turn {
    struct record *record;   /* the run is appended here */
    int stop_fd;             /* readable when the user wants to end */
    FILE *progress;          /* where interval lines go; NULL: nowhere */
    struct live *live;       /* where it is shown as it goes on; NULL: nowhere */
    struct exports *exports; /* who else is told of it; NULL: nobody */
    uint32_t repetition;     /* 0: it is not repeated */
    bool discarded;
};

struct experiment_course; /* an experiment that is going on */

struct experiment {
    const char *operation;      /* "call": what quotients are for each of */
    const struct opt_set *sets; /* for the record */
    size_t set_count;
    /* What stood without an option's name, for the record too: "target", "mode". */
    const char *argument_name;
    const struct opt_arguments *arguments;
    const struct output_options *output;
    const struct repeat_options *repeat;
    size_t variants; /* at least 1 */
    bool live;       /* its runs can be looked at while they go on */
    /* Runs one variant once and appends one run to turn->record (labelled by the variant). -1 with
     * *error; a code of ERR_INTERRUPTED or ERR_USAGE ends the experiment, others this run only. */
    int (*execute)(void *owner, size_t variant, const struct experiment_turn *turn,
                   struct err *error);
    /* Takes the turns that it wants (experiment_take) in place of --repeat rounds of all variants.
     * NULL: those. */
    void (*drive)(void *owner, struct experiment_course *course);
    /* Adds warnings to the fresh record before the first run; NULL: none. */
    void (*warn)(void *owner, struct record *record);
    void *owner;
};

/* One turn of a variant, for `drive`: the index of its run in the record, or -1 where it made none.
 * *ends is set where the experiment is to end. */
long experiment_take(struct experiment_course *course, size_t variant, bool *ends);
struct record *experiment_record(const struct experiment_course *course);
/* Where a line for each turn goes; NULL: nowhere. */
FILE *experiment_lines(const struct experiment_course *course);

/* Runs it all and writes every output. Returns the exit status (0 or 1), or -1 with *error. */
int experiment_run(const struct experiment *experiment, int argc, char **argv, struct err *error);

#endif
