/* The probe seam: what the kernel did for a set of processes (probe/targets.h). No probe knows an
 * engine or a workload: run/ hands it processes and stretches of time. */
#ifndef SONDE_PROBE_PROBE_H
#define SONDE_PROBE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/opt.h"
#include "probe/targets.h"
#include "report/record.h"

/* Options of all probes. */
struct probe_options {
    struct opt_list counters;  /* sets (l1d l1i l2 mem tlb axi) and events by name */
    uint64_t memory_period_ns; /* how often memory is sampled */
    uint64_t profile_rate;     /* samples a second on each CPU */
    uint32_t profile_event;    /* enum profile_event */
};

/* What the profile probe samples by. */
enum profile_event { PROFILE_AUTO, PROFILE_CYCLES, PROFILE_CPU_CLOCK };

enum { PROBE_OPTIONS = 4 };
extern const struct opt probe_option_rows[PROBE_OPTIONS];

struct probe_config {
    struct targets *targets; /* outlives the probe */
    const struct probe_options *options;
};

/* What counts cover, for the quotients. */
struct probe_scope {
    uint64_t window_ns;  /* time in which the gate was open */
    uint64_t operations; /* of the workload in it; 0: unknown */
    uint64_t bytes;      /* payload in it; 0: unknown */
    uint64_t stretch_ns; /* from begin to end, with what lay between the gate's openings */
};

enum {
    PROBE_BPF = 1,     /* needs targets with their BPF side (targets_config.bpf) */
    PROBE_STRETCH = 2, /* does not look at the gate: counts from begin to end */
    PROBE_CALLS = 4, /* counts system calls: they stand with the processes, `total` has their sum */
};

struct probe; /* each probe's own state */

/* A stretch of measuring is: start; begin, gate opened … gate closed, end; stop. Between start and
 * stop there may be several stretches. */
struct probe_ops {
    const char *name;
    const char *help;             /* one line: what it shows */
    uint32_t flags;               /* PROBE_* */
    const struct metric *metrics; /* of its rows, for the manual */
    size_t metric_count;
    /* 0 where it can serve here; else -1, in words why not, and what would fix it. */
    int (*why_not)(char *reason, size_t reason_size, char *fix, size_t fix_size);
    /* Loads it, not yet attached to what costs. */
    int (*open)(struct probe **probe, const struct probe_config *config, struct err *error);
    /* Attaches; when it returns, counting is on wherever the gate is open. */
    int (*start)(struct probe *probe, struct err *error);
    /* A stretch is about to begin: called with the gate closed. NULL: nothing to do. */
    int (*begin)(struct probe *probe, struct err *error);
    /* A stretch has just ended: called once the gate is closed. NULL: nothing to do. */
    int (*end)(struct probe *probe, struct err *error);
    /* Detaches; when it returns, the observed processes run unobserved. Counts stay. */
    int (*stop)(struct probe *probe, struct err *error);
    /* Adds what has been counted since open: to run->processes (syscalls) or as a record_probe of
     * its name (all others), with the quotients that `scope` allows. Totals: may be called at any
     * time, also while counting. */
    int (*read)(struct probe *probe, const struct probe_scope *scope, struct record_run *run,
                struct err *error);
    /* A cheap running total for interval lines, over all processes with that role (NULL: all).
     * NULL: it has none. */
    uint64_t (*total)(struct probe *probe, const char *role);
    void (*close)(struct probe *probe); /* NULL is allowed */
};

/* All probes: one line each. */
#define PROBES(X)                                                                                  \
    X(syscalls)                                                                                    \
    X(sizes)                                                                                       \
    X(latency)                                                                                     \
    X(sched)                                                                                       \
    X(counters)                                                                                    \
    X(memory)                                                                                      \
    X(softirq)                                                                                     \
    X(profile)

#define X(name) extern const struct probe_ops probe_##name;
PROBES(X)
#undef X

/* The same, NULL-terminated. */
extern const struct probe_ops *const probes[];

/* By name, NULL where unknown. */
const struct probe_ops *probe_find(const char *name);

#endif
