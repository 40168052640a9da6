/* The layout of the memory that the programs of the size probe count in. The includer has __u32 and
 * __u64 (linux/types.h or kernel_types.h). */
#ifndef SONDE_PROBE_BPF_SIZES_SHARED_H
#define SONDE_PROBE_BPF_SIZES_SHARED_H

#include "calls_shared.h"

/* Places for the calls and operations that move bytes. */
#define SIZES_CALLS 24
#define SIZES_OPERATIONS 24
#define SIZES_NONE 255

/* Class 0: below 0; 1: 0; i: [2^(i-2), 2^(i-1)), as in struct record_distribution. The kernel moves
 * less than 2^31 bytes in one call (MAX_RW_COUNT), which is class 32; the last would hold whatever
 * is larger. With the sum a cell is five cache lines. */
#define SIZES_CLASSES 39

struct sizes_cell {
    __u64 sum; /* of what is not below 0 */
    __u64 classes[SIZES_CLASSES];
};

/* One thread: 7.5 KiB, for all THREADS_MOST together 7.5 MiB. A thread runs on one CPU at a time,
 * and the program with preemption off, so plain increments are enough; only the thread that is
 * shared needs atomic ones. */
struct sizes_thread {
    struct sizes_cell calls[SIZES_CALLS];
};

/* io_uring's operations of one process: 7.5 KiB for each of targets->slots. Whoever completes them
 * counts them, from any CPU: atomic. */
struct sizes_process {
    struct sizes_cell operations[SIZES_OPERATIONS];
};

#endif
