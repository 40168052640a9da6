/* The probe seam: what the kernel did for a set of processes. No probe knows an engine or a
 * workload: run/ and cli/ hand it processes. */
#ifndef SONDE_PROBE_PROBE_H
#define SONDE_PROBE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "report/record.h"

/* What to look at. */
struct probe_target {
    pid_t pid;     /* a process; 0: every process whose name is `name`, now and later */
    char name[16]; /* comm, as the kernel cuts it (15 characters) */
    char role[12]; /* "client", "server", "observed": goes to the record */
    bool at_exec;  /* count only from its next successful execve on (that call included) */
};

struct probe_config {
    const struct probe_target *targets;
    size_t target_count;
    bool follow; /* children too */
};

struct probe; /* each probe's own state */

struct probe_ops {
    const char *name;
    const char *help;
    /* 0 where it can serve here; else -1, in words why not, and what would fix it. */
    int (*why_not)(char *reason, size_t reason_size, char *fix, size_t fix_size);
    /* Loads it, not yet attached to what costs (system call exits). */
    int (*open)(struct probe **probe, const struct probe_config *config, struct err *error);
    /* Attaches; when it returns, counting is on (where it is not paused). */
    int (*start)(struct probe *probe, struct err *error);
    /* Pauses counting or goes on, at once, while it stays attached: so that counts begin and end
     * with a measured stretch, and not with attaching. */
    void (*pause)(struct probe *probe, bool paused);
    /* Detaches; when it returns, the observed processes run unobserved. Counts stay. */
    int (*stop)(struct probe *probe, struct err *error);
    /* Adds to run->processes what has been counted since open: finds the process entry by pid (or
     * adds one with the target's role) and fills kernel_calls (syscalls, uring, lost, source).
     * window_ns and operations are the caller's to set. May be called at any time, also while
     * counting: counts are totals since open. */
    int (*read)(struct probe *probe, struct record_run *run, struct err *error);
    /* Total calls counted so far, over all processes with that role (NULL: all): cheap, for each
     * interval. */
    uint64_t (*total)(struct probe *probe, const char *role);
    /* True while any target is still alive (for `sonde observe`). */
    bool (*alive)(struct probe *probe);
    /* True while this process is observed and has not ended. */
    bool (*observes)(struct probe *probe, pid_t pid);
    void (*close)(struct probe *probe); /* NULL is allowed */
};

extern const struct probe_ops probe_syscalls;

/* All probes, NULL-terminated. */
extern const struct probe_ops *const probes[];

#endif
