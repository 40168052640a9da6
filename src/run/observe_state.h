/* The state of `sonde observe`. Private to observe.c and observe_fill.c. */
#ifndef SONDE_RUN_OBSERVE_STATE_H
#define SONDE_RUN_OBSERVE_STATE_H

#include <poll.h>
#include <signal.h>

#include "probe/process.h"
#include "run/held.h"
#include "run/observe.h"
#include "run/probe_set.h"
#include "stats/series.h"

/* Counters of the series of intervals. */
enum { TOTAL_CALLS, TOTAL_ERRORS, TOTAL_BYTES, TOTAL_COUNT };

/* CPU time that an observed process had used when the window began. */
struct baseline {
    pid_t pid;
    struct process_sample sample;
};

struct observation {
    const struct observe_plan *plan;
    struct observe_end *end;
    struct probe_target *targets; /* the plan's, and the command */
    size_t target_count;
    struct probe_set probes;
    struct chosen_probe *calls; /* of them the system call probe; NULL: not chosen, or not there */
    struct held_command command;
    int signals;   /* signalfd */
    sigset_t mask; /* before */
    bool masked;
    struct pollfd *watched; /* [0] signals, [1] command or -1, then a pidfd for each pid target */
    size_t watched_count;
    struct baseline *baselines;
    size_t baseline_count;
    struct record last; /* its run 0: totals at the end of the last interval */
    struct series series;
    uint64_t start_ns, interval_start_ns;
};

/* Calls, errors and bytes of all processes of a run. */
void observe_totals(const struct record_run *run, uint64_t *totals);

/* Everything observed into *run; probes have been stopped. */
int observe_fill(struct observation *self, struct record_run *run, uint64_t end_ns,
                 struct err *error);

#endif
