/* Observes running processes, or a command that it starts, until they end or it is told to. */
#ifndef SONDE_RUN_OBSERVE_H
#define SONDE_RUN_OBSERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "probe/probe.h"
#include "report/record.h"

/* One interval: totals of the run at its beginning and at its end. */
struct observe_interval {
    uint64_t start_ns, duration_ns; /* from the start of the window */
    const struct record_run *before, *now;
};

struct observe_plan {
    const struct probe_target *targets;
    size_t target_count;
    char **command; /* NULL-terminated; NULL: none. Observed from its execve on */
    bool follow;
    const struct opt_list *probes; /* names; all of them are on from start to end */
    const struct probe_options *options;
    const struct probe_ops *const *known; /* whose names are these; NULL: sonde's own */
    uint64_t duration_ns; /* 0: until all targets by pid have ended, the command has, or a signal */
    uint64_t interval_ns; /* 0: no intervals; there are none without the probe `syscalls` */
    void (*on_interval)(void *context, const struct observe_interval *interval); /* may be NULL */
    void *context;
};

struct observe_end {
    pid_t command_pid;   /* 0: none */
    bool command_ended;  /* by itself: not because the duration was over */
    int command_status;  /* as waitpid gives it */
    int signal;          /* that ended it; 0: none */
    bool command_killed; /* it did not heed a signal */
};

/* Fills *run. A probe that does not serve here has its reason in the record, the others go on.
 * SIGINT, SIGTERM and SIGHUP are blocked meanwhile and taken as "end and report".
 * Returns -1 with *error where no probe serves, one is unknown, a target does not exist or the
 * command cannot be run; else 0. The command never outlives it. */
int observe_run(const struct observe_plan *plan, struct record_run *run, struct observe_end *end,
                struct err *error);

/* Calls of a process, all together; NULL: 0. */
uint64_t observe_calls(const struct record_process *process);

#endif
