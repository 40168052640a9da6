/* The state of the observation of a run. Private to watch.c, watch_foreign.c and watch_fill.c. */
#ifndef SONDE_RUN_WATCH_STATE_H
#define SONDE_RUN_WATCH_STATE_H

#include "probe/process.h"
#include "run/probe_set.h"
#include "run/processes.h"
#include "run/watch.h"
#include "stats/series.h"

#define WATCH_TARGETS (32 + 2 * PROCESSES_MOST)

/* Counters of the series of blocks. */
enum { BLOCK_PLAIN, BLOCK_PLAIN_NS, BLOCK_SEEN, BLOCK_SEEN_NS, BLOCK_COUNTERS };

/* CPU time of an observed process that is not one of sonde's own ends, over unobserved parts. */
struct foreign {
    pid_t pid;
    char role[12];
    struct process_sample last, sum; /* sum: differences of the parts */
    struct thread_sample *threads;   /* when it was first looked at; owned */
    size_t thread_count;
    uint64_t threads_at_ns;
    uint64_t window_ns, operations;
    bool known;
};

/* One probe's turns. */
struct turns {
    struct chosen_probe *chosen;
    struct probe_scope seen; /* its observed parts */
    struct series blocks;    /* of each block: BLOCK_* counters; constant memory */
};

struct watch {
    const struct watch_options *options;
    struct probe_target targets[WATCH_TARGETS];
    size_t target_count;
    struct probe_target later[4]; /* whose processes come with watch_add */
    size_t later_count;
    bool elsewhere;                        /* somebody on the peer was asked for */
    struct foreign foreign[WATCH_TARGETS]; /* targets with a pid, and what comm= found at first */
    size_t foreign_count;
    bool foreign_found; /* the targets have been looked for */
    struct probe_set set;
    struct turns turns[PROBES_MOST]; /* of the probes that serve */
    size_t probe_count;
    int on;          /* index in turns; WATCH_OFF */
    char state[224]; /* for record_run.observation */
};

/* Samples these processes from the start, observed or not. */
void watch_sample(struct watch *watch, const struct watch_name *name);
/* CPU time of the foreign processes into run->processes; of those of one role that are sampled the
 * sum. 0 or -1 without memory. */
int watch_fill_foreign(const struct watch *watch, struct record_run *run);
void watch_release_foreign(struct watch *watch);

#endif
