/* Load beside a measurement: another run in a process of its own (and its server in one more),
 * which moves bytes before the measured window begins and until after it has ended. The measured
 * run knows nothing of it. */
#ifndef SONDE_RUN_LOAD_H
#define SONDE_RUN_LOAD_H

#include <sys/types.h>

#include "run/run.h"

struct load;

enum { LOAD_PROCESSES = 2 };

/* What the load did while the measured window was open. */
struct load_figures {
    double rate;    /* its headline metric, a rate, over the intervals that overlap the window */
    double covered; /* share of the window that these cover, 0..1 */
    double lost;    /* share of its datagrams that were lost, over its own window, which is longer;
                       NaN: of streams, or not known */
    /* Its ends' CPU time, over its own window, which is longer. Without counts of calls. */
    struct record_process processes[LOAD_PROCESSES];
    size_t process_count;
};

/* Starts the run of a plan, without an end (its duration, interval, stop_fd and progress are set
 * here), and returns once it has moved something in the time after its warm-up; one that moves
 * nothing for two seconds of it has failed. stop_fd: readable when the user wants to end. 0, or -1
 * with *error and nothing left behind. */
int load_start(struct load **load, const struct run_plan *plan, int stop_fd, struct err *error);

/* True where it has ended by itself: run_plan.beside_ended of the run beside it. */
bool load_ended(const void *load);

/* Ends it and fills *figures for the stretch from_ns to until_ns (CLOCK_MONOTONIC). -1 with *error
 * where it had ended before, or something went wrong with it; *figures then hold what is known
 * (process_count and covered 0 where that is nothing). Frees *load; NULL is allowed. No process of
 * it outlives this call. */
int load_stop(struct load **load, uint64_t from_ns, uint64_t until_ns, struct load_figures *figures,
              struct err *error);

/* The rate of a run's first interval metric from from_ns to until_ns (CLOCK_MONOTONIC), by its
 * intervals: those that reach over a bound in proportion. *covered: the share of that stretch in
 * which something was measured. 0 where that is nothing. */
double load_overlap(const struct record_run *run, uint64_t from_ns, uint64_t until_ns,
                    double *covered);

#endif
