/* Whom the probes of a run look at: processes by id or name, and their children; and the gate that
 * says when they count. One set of targets serves all probes of a run. */
#ifndef SONDE_PROBE_TARGETS_H
#define SONDE_PROBE_TARGETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* What to look at. */
struct probe_target {
    pid_t pid;     /* a process; 0: every process whose name is `name`, now and later */
    char name[16]; /* comm, as the kernel cuts it (15 characters) */
    char role[12]; /* "client", "server", "observed": goes to the record */
    bool at_exec;  /* count only from its next successful execve on (that call included) */
};

/* The gate: probes count while it is open. It lies in memory that children share and that BPF
 * programs read, so that the very thread that measures can open it right before its first clock
 * reading counts, and close it right after its last. Times are CLOCK_MONOTONIC. */
struct gate {
    uint32_t open;
    uint32_t turns;            /* how often it was opened */
    uint64_t start_ns, end_ns; /* of the present or last stretch */
    uint64_t clock;            /* see gate_clock_at */
    uint32_t muted;            /* a thread whose calls are not counted: the conductor's, which looks
                                  after the run beside what is measured; 0: none */
};

/* The gate's clock: how long the gate has been open in all. One word, so that whoever reads it
 * while it changes sees it before or after, never between: open, the flag and what to subtract from
 * the time of day; closed, what the clock has come to. */
#define GATE_CLOCK_RUNS (UINT64_C(1) << 63)

static inline uint64_t gate_clock_at(const struct gate *gate, uint64_t now_ns)
{
    uint64_t clock = __atomic_load_n(&gate->clock, __ATOMIC_ACQUIRE);
    return clock & GATE_CLOCK_RUNS ? now_ns - (clock & ~GATE_CLOCK_RUNS) : clock;
}

static inline void gate_open(struct gate *gate, uint64_t now_ns)
{
    gate->start_ns = now_ns;
    gate->turns++;
    if (!(gate->clock & GATE_CLOCK_RUNS)) {
        __atomic_store_n(&gate->clock, GATE_CLOCK_RUNS | (now_ns - gate->clock), __ATOMIC_RELEASE);
    }
    __atomic_store_n(&gate->open, 1u, __ATOMIC_RELEASE);
}

static inline void gate_close(struct gate *gate, uint64_t now_ns)
{
    __atomic_store_n(&gate->clock, gate_clock_at(gate, now_ns), __ATOMIC_RELEASE);
    __atomic_store_n(&gate->open, 0u, __ATOMIC_SEQ_CST);
    gate->end_ns = now_ns;
}

struct targets_config {
    const struct probe_target *targets; /* names must all be here; processes may be added later */
    size_t target_count;
    bool follow; /* children too */
    bool bpf;    /* some probe of the run is a PROBE_BPF */
};

struct targets;

/* 0 where BPF tracing can serve here; else -1, in words why not, and what would fix it. Every
 * PROBE_BPF probe answers with this first. */
int targets_why_not(char *reason, size_t reason_size, char *fix, size_t fix_size);

/* Begins to follow the targets. With `bpf`, existing descendants and those to come are found by the
 * kernel; without, descendants are looked up in /proc whenever targets_list is called. */
int targets_open(struct targets **targets, const struct targets_config *config, struct err *error);
int targets_add(struct targets *targets, const struct probe_target *target, struct err *error);
/* No longer observes a process that was found as somebody's child: nothing of it is reported. */
void targets_drop(struct targets *targets, pid_t pid);
void targets_close(struct targets *targets); /* NULL is allowed */

/* Closed at first. Lives as long as the targets; shared with children forked after targets_open. */
struct gate *targets_gate(struct targets *targets);

/* A process that is or was observed. */
struct target_process {
    pid_t pid;
    uint32_t slot; /* its index in the BPF side's memory; 0 without it */
    bool ended;
    char name[20];
    const char *role; /* the targets' */
};

/* All of them, in the order in which they were found; *list is malloc'ed. */
int targets_list(struct targets *targets, struct target_process **list, size_t *count,
                 struct err *error);

/* True while any target is still alive (for `sonde observe`). */
bool targets_alive(struct targets *targets);
/* True while this process is observed and has not ended. */
bool targets_observes(struct targets *targets, pid_t pid);

/* Processes that found no place, and so are in no count. */
uint64_t targets_lost(struct targets *targets);

#endif
