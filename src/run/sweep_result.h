/* What a sweep found: one record of all runs, and what the runs of each point say together. */
#ifndef SONDE_RUN_SWEEP_RESULT_H
#define SONDE_RUN_SWEEP_RESULT_H

#include "report/record.h"
#include "report/result.h"
#include "run/sweep_plan.h"
#include "run/sweep_state.h"
#include "stats/repeat.h"

/* One figure over the runs of a point. */
struct sweep_figure {
    const char *key; /* borrowed from the result */
    const char *unit;
    size_t count; /* runs that have it */
    struct repeat_summary summary;
};

/* The runs of one point; where a run of the command gives several (engines), those of one label. */
struct sweep_summary {
    size_t point;
    const char *label;            /* borrowed; empty where labels tell nothing apart */
    const char *only_label;       /* borrowed: the one that all the runs bear */
    size_t runs, failed;          /* that count and are whole; that are not */
    struct sweep_figure *figures; /* owned */
    size_t figure_count;
};

struct sweep_result {
    json_t *json; /* owned: the record */
    struct result result;
    size_t *points; /* owned; of each run of the result */
    char **labels;  /* owned array of borrowed texts: what tells runs of one point apart */
    size_t label_count;
    struct sweep_summary *summaries; /* owned: point by point, in it label by label */
    size_t summary_count;
    size_t point_count;
    size_t failed_runs; /* with the discarded ones */
    size_t outliers;    /* runs that lie far from the median of their summary */
};

/* The outcome of a run that has no record: one run that says why. NULL without memory. */
json_t *sweep_outcome_failed(const struct err *failure);

/* What is kept of a child's record. The outcome of a record without runs says its error in one. */
json_t *sweep_outcome(json_t *record);

/* Puts the record together: `record` gives everything but the runs, in the order in which they were
 * made. sweep_result_release is safe afterwards in any case. */
int sweep_result_make(struct sweep_result *result, const struct sweep_plan *plan,
                      const struct sweep_turn *turns, const struct sweep_state *state,
                      const struct record *record, struct err *error);
void sweep_result_release(struct sweep_result *result);

/* The summary of a point and label; NULL where there is none. */
const struct sweep_summary *sweep_result_find(const struct sweep_result *result, size_t point,
                                              const char *label);
/* A figure of it by key; NULL where it has none. */
const struct sweep_figure *sweep_summary_find(const struct sweep_summary *summary, const char *key);

#endif
