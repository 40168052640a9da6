/* From tallies to a record: for a run's server side, and for a server on its own. */
#ifndef SONDE_RUN_FILL_H
#define SONDE_RUN_FILL_H

#include "report/record.h"
#include "run/collect.h"
#include "run/processes.h"
#include "workload/workload.h"

/* Figures that every run has besides its workload's. */
enum run_extra {
    RUN_EXTRA_BEHIND,
    RUN_EXTRA_UNFINISHED,
    RUN_EXTRA_AFTER,
    RUN_EXTRA_REACHED,
    RUN_EXTRA_ASKED,
    RUN_EXTRA_BUSY,
    RUN_EXTRA_KERNEL,
    RUN_EXTRA_RETRANSMITS,
    RUN_EXTRA_LOSS_PROBES,
    RUN_EXTRA_OVERFLOWS,
    RUN_EXTRA_DROPS,
    RUN_EXTRA_TIME_WAITS_BEGUN,
    RUN_EXTRA_TIME_WAITS,
    RUN_EXTRA_STEAL,
    RUN_EXTRA_OTHERS,
    RUN_EXTRA_FREQUENCY,
    RUN_EXTRA_LOAD,
    RUN_EXTRA_ZEROCOPY,
    RUN_EXTRA_ZEROCOPY_REPORTED,
    RUN_EXTRA_ZEROCOPY_COPIED,
    RUN_EXTRA_METRICS
};
extern const struct metric run_extra_metrics[RUN_EXTRA_METRICS];

/* Adds a figure; NULL without memory, else the row. */
struct record_value *fill_value(struct record_run *run, const struct metric *metric, double value);

/* Fills an end's calls to the kernel, as sonde's own code counted them. 0, or -1 without memory. */
int fill_calls(struct record_calls *calls, const struct call_table *table, uint64_t window_ns,
               uint64_t operations);

/* Adds what a server measured about itself: metrics, histograms, errors, the process with its CPU
 * time and calls, or the sum of several. 0 or -1 with *error. */
int fill_server(struct record_run *run, const struct role *role, const struct metric *metrics,
                size_t metric_count, const struct tally *tally, const struct processes *processes,
                struct err *error);

/* Takes out of the run what one with these options of the workload does not have. */
void fill_leave_out(struct record_run *run, const struct workload *workload, const void *options);

#endif
