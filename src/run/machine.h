/* The machine that measures: what it is, how quiet it is, and which CPUs to run on. */
#ifndef SONDE_RUN_MACHINE_H
#define SONDE_RUN_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "probe/process.h"
#include "report/record.h"

/* Adds to record->machine what this machine is: kernel, CPUs, clock, memory, limits. What cannot be
 * read is "n/a (reason)". Takes a few milliseconds (it measures the clock). Fails only without
 * memory. */
int machine_describe(struct record *record, struct err *error);

/* One look at what disturbs: two of them make a stretch of time. */
struct machine_sample {
    struct system_sample system;
    bool throttle_known;   /* the cgroup (version 2) tells */
    uint64_t throttled_ns; /* that the cgroup's CPU quota held this process back */
    uint64_t throttled_times;
};

/* What disturbed between two samples. Shares are of all CPU time, 0..1; below 0: unknown. */
struct machine_noise {
    double load_1m;     /* at the first sample, before a run adds to it */
    double cpus;        /* online */
    double busy_share;  /* CPU time in use, by anybody, without steal */
    double steal_share; /* CPU time that the hypervisor gave to others */
    uint64_t all_ns;    /* that the shares are of: over all CPUs */
    uint64_t throttled_ns, throttled_times;
    char governor[64]; /* of the CPUs; "n/a (no cpufreq)" */
};

enum { MACHINE_WARNINGS_MAX = 6, MACHINE_WARNING_BYTES = 200 };

struct machine_warnings {
    char text[MACHINE_WARNINGS_MAX][MACHINE_WARNING_BYTES];
    size_t count;
};

int machine_sample(struct machine_sample *sample, struct err *error);
void machine_noise(const struct machine_sample *before, const struct machine_sample *after,
                   struct machine_noise *noise);

/* What a reader of the results must know: load above the CPUs, more than 1 % stolen, a governor
 * other than performance, a throttled cgroup. */
void machine_noise_warnings(const struct machine_noise *noise, struct machine_warnings *warnings);

/* Clock rate in Hz that the fastest CPU has now, as cpufreq or else /proc/cpuinfo says (a virtual
 * machine's may never change); 0: not known. */
double machine_frequency(void);

/* CPUs that the calling thread may use; 0: not known. */
unsigned machine_allowed_cpus(void);

/* CPUs that are told apart, 8,192: the most Linux builds for; and sets of CPU_SETSIZE that hold
 * them. */
enum { MACHINE_CPU_SETS = 8, MACHINE_CPUS_KNOWN = MACHINE_CPU_SETS * 1024 };

enum { MACHINE_CPUS_MAX = 1024 };

/* Where to run: the server on the first CPU that this process may use, client workers on the
 * others, round robin; those that share a core with the server's come last. */
struct machine_cpus {
    bool pinned; /* false: fewer than two CPUs, `reason` says so; nobody is to be pinned */
    int server;
    int clients[MACHINE_CPUS_MAX];
    size_t client_count;
    char reason[96];
};

/* Chooses from the CPUs that the calling thread may use now: call it before pinning anything. */
int machine_pick_cpus(struct machine_cpus *cpus, struct err *error);

/* Pins the calling thread to one CPU. */
int machine_pin(int cpu, struct err *error);

#endif
