/* What /proc and the process clocks say of a process, and of the machine. No privilege needed for
 * one's own processes. */
#ifndef SONDE_PROBE_PROCESS_H
#define SONDE_PROBE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* Totals since the process started. CPU time in all is exact to the nanosecond (its CPU clock,
 * exited threads included); its split into user and system comes from the kernel's tick samples,
 * scaled to that total: a process that has met no tick yet has used it all as user. */
struct process_sample {
    uint64_t at_ns;      /* CLOCK_MONOTONIC */
    uint64_t started_ns; /* CLOCK_BOOTTIME, rounded down to a clock tick: tells a reused id */
    uint64_t age_ns;     /* since then; up to a tick too much */
    uint64_t cpu_user_ns, cpu_system_ns;
    uint64_t switches_voluntary, switches_involuntary; /* over the living threads */
    uint64_t rss_bytes, virtual_bytes;
    uint32_t threads; /* 0: it has ended and waits for its parent */
    char name[20];
};

/* 0, or -1 with *error where the process is gone or may not be read. */
int process_sample(pid_t pid, struct process_sample *sample, struct err *error);

/* CPU time of each living thread of a process: *threads is malloc'ed, sorted by tid. */
struct thread_sample {
    pid_t tid;
    uint64_t cpu_ns; /* /proc/PID/task/TID/schedstat, else stat's ticks */
};
int process_threads(pid_t pid, struct thread_sample **threads, size_t *count, struct err *error);

/* The largest share of a CPU that one thread took between two samples of process_threads `wall_ns`
 * apart; -1 where none is in both. */
double process_busiest(const struct thread_sample *before, size_t before_count,
                       const struct thread_sample *after, size_t after_count, uint64_t wall_ns);

/* Processes whose comm is `name`: *pids is malloc'ed; 0 found is not an error. */
int process_find(const char *name, pid_t **pids, size_t *count, struct err *error);

/* Its living children, likewise. */
int process_children(pid_t parent, pid_t **pids, size_t *count, struct err *error);

/* The machine's noise: CPU time stolen by the hypervisor and used by others. */
struct system_sample {
    uint64_t at_ns;
    uint64_t user_ns, system_ns, idle_ns, irq_ns, softirq_ns, steal_ns; /* summed over CPUs */
    double load_1m;
    /* Of this network namespace; what a container hides is not known, and 0. */
    bool netstat_known, snmp_known, sockstat_known;
    uint64_t listen_overflows, listen_drops; /* TcpExt of /proc/net/netstat */
    uint64_t time_waits_begun;               /* TW of the same: that came into it, ever */
    uint64_t time_waits;                     /* sockets in it now: TCP tw of /proc/net/sockstat */
    uint64_t loss_probes;                    /* TcpExt TCPLossProbes */
    uint64_t retransmits;                    /* Tcp RetransSegs of /proc/net/snmp */
};
int system_sample(struct system_sample *sample, struct err *error);

#endif
