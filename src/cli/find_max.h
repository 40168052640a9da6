/* --find-max: the highest rate under a limit. Several searches, each of open-loop probes whose
 * rates follow from the answers before (stats/rate_search.h); the record's runs are the probes. */
#ifndef SONDE_CLI_FIND_MAX_H
#define SONDE_CLI_FIND_MAX_H

#include "cli/experiment.h"
#include "run/options.h"
#include "stats/goal.h"
#include "workload/workload.h"

struct find_max_options {
    struct goal goal; /* count 0: nothing is searched for */
};

enum { FIND_MAX_OPTIONS = 1 };
extern const struct opt find_max_rows[FIND_MAX_OPTIONS];

/* A search of a workload's command. */
struct find_max {
    const struct find_max_options *options;
    const struct workload *workload;
    const void *workload_options;
    struct run_options *run; /* its rate is set before each turn */
    const struct repeat_options *repeat;
    double upper;   /* --rate: no rate above it is probed; 0: none was given */
    char label[48]; /* of the turn that is next: variants are engines of `run` */
    bool closed;    /* it is the closed loop that gives the scale */
};

/* Which options stood on the command line. */
struct find_max_given {
    struct run_given run;
    bool repeat, warmup_runs, during, hgrm;
};

/* Refuses what cannot be combined with it, and settles what has other defaults in this mode: the
 * length of a probe, and how many searches. Nothing where nothing is searched for. */
int find_max_settle(const struct find_max_options *options, struct run_options *run,
                    struct repeat_options *repeat, const struct workload *workload,
                    const struct find_max_given *given, struct err *error);

/* What find_max_settle leaves to be checked once all options are: that a probe is long enough for
 * its answers to be judged. */
int find_max_check(const struct find_max *find_max, struct err *error);

/* As struct experiment's drive. */
void find_max_drive(struct find_max *find_max, struct experiment_course *course);

#endif
