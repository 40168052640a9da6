/* From tallies to a record: for a run's server side, and for a server on its own. */
#ifndef SONDE_RUN_FILL_H
#define SONDE_RUN_FILL_H

#include "report/record.h"
#include "run/collect.h"
#include "workload/workload.h"

/* Figures that every run has besides its workload's. */
enum { RUN_EXTRA_METRICS = 16 };
extern const struct metric run_extra_metrics[RUN_EXTRA_METRICS];

/* Fills an end's calls to the kernel, as sonde's own code counted them. 0, or -1 without memory. */
int fill_calls(struct record_calls *calls, const struct call_table *table, uint64_t window_ns,
               uint64_t operations);

/* Adds what a server measured about itself: metrics, histograms, errors, the process with its CPU
 * time and calls. 0 or -1 with *error. */
int fill_server(struct record_run *run, const struct role *role, const struct metric *metrics,
                size_t metric_count, const struct tally *tally, pid_t pid, struct err *error);

/* Takes out of the run what one with these options of the workload does not have. */
void fill_leave_out(struct record_run *run, const struct workload *workload, const void *options);

#endif
