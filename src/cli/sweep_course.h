/* A sweep that is going on: its runs, one after the other, and its progress. */
#ifndef SONDE_CLI_SWEEP_COURSE_H
#define SONDE_CLI_SWEEP_COURSE_H

#include "cli/output.h"
#include "run/sweep_result.h"

struct sweep_options {
    struct sweep_vary vary;
    uint64_t repeat, warmup_runs, seed;
    uint32_t order; /* enum sweep_order */
    const char *metric, *state;
    bool restart, plot;
    struct output_options output;
};

struct sweep_course {
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
    struct err broken; /* why the sweep itself could not go on; code ERR_NONE otherwise */
    size_t first_failed_turn;
};

/* Everything that makes runs comparable: the arguments, the order, the very program, the machine.
 * Runs of different ones do not belong into one table. */
void sweep_course_fingerprint(const struct sweep_course *course, const struct record *record,
                              char *to, size_t size);

/* Makes the runs that the state does not hold yet, until all are made or the user wants to end
 * (course->interrupted). A run that fails is an outcome; -1 with *error where the sweep itself
 * cannot go on. */
int sweep_course_run(struct sweep_course *course, struct err *error);

/* What the record says as a whole, and what is printed last. */
void sweep_course_conclude(const struct sweep_course *course, struct record *record);

#endif
