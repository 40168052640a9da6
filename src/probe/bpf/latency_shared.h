/* The layout of the memory that the programs of the latency probe count in. The includer has __u32
 * and __u64 (linux/types.h or kernel_types.h). */
#ifndef SONDE_PROBE_BPF_LATENCY_SHARED_H
#define SONDE_PROBE_BPF_LATENCY_SHARED_H

#include "calls_shared.h"

/* Classes of durations in ns: each of 0 to 15 its own, then LATENCY_SUB to an octave. The last
 * octave ends at 2^48 ns, 78 hours; what lies beyond is counted in the last class. */
#define LATENCY_SUB_BITS 3
#define LATENCY_SUB (1 << LATENCY_SUB_BITS)
#define LATENCY_EXACT (2 * LATENCY_SUB)
#define LATENCY_OCTAVES 48
#define LATENCY_CLASSES                                                                            \
    (LATENCY_EXACT + (LATENCY_OCTAVES - LATENCY_SUB_BITS - 1) * LATENCY_SUB) /* 368 */

struct latency_cell {
    __u64 sum, most;
    __u64 classes[LATENCY_CLASSES];
};

/* Cells of 2.9 KiB. The first NUMBERS, one a call, are shared by all that find no cell of their
 * own, and so need atomic increments. The others are given out, each to one {CPU, process, call}
 * with its first event, so plain increments with preemption off are enough. 13 MiB in all. */
#define LATENCY_CELLS_OWN 4096
#define LATENCY_CELLS (NUMBERS + LATENCY_CELLS_OWN)

/* Where the cells of a process are on one CPU: [cpu * slot_limit + slot]. 0: no cell yet. A cell's
 * index fits, and never is 0, which is a shared one. */
struct latency_index {
    unsigned short cells[NUMBERS];
};

/* A call that has begun and not ended. */
struct latency_begun {
    __u64 time_ns; /* 0: none */
    __u32 tid;
    __u32 turn; /* of the gate, in which it began */
};

/* Places of calls that have begun: one for each thread that has a place of its own, then some for
 * all others, by their id. */
#define LATENCY_BEGUN_SHARED 4096 /* a power of two */
#define LATENCY_BEGUN (THREADS_MOST + LATENCY_BEGUN_SHARED)

#endif
