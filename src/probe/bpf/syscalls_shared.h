/* What the system call programs and their loader share: the layout of the memory that both map. The
 * includer has __u32 and __u64 (linux/types.h or kernel_types.h).
 */
#ifndef SONDE_PROBE_BPF_SYSCALLS_SHARED_H
#define SONDE_PROBE_BPF_SYSCALLS_SHARED_H

#include "calls_shared.h"

#define ERROR_CELLS 256 /* {number, errno} pairs of one process on one CPU, a power of two */
#define ERROR_PROBES 16 /* places looked at before an error is given up as lost */

/* Bits of number_flags. */
#define NUMBER_MOVES_BYTES 1 /* a positive result is a number of bytes */
#define NUMBER_NEW_TASK 2    /* returns 0 in the new task, which did not call it */

/* Errors of the kernel end at 4095. */
#define ERROR_MOST 4095

struct call_cell {
    __u64 calls, bytes;
};

struct error_cell {
    __u32 key; /* number << 16 | errno; 0: free */
    __u32 unused;
    __u64 count;
};

struct operation_cell {
    __u64 submitted, completed, bytes;
};

/* Counts of one process on one CPU. Written only by that CPU with preemption off, so plain
 * increments are enough; read by anyone. */
struct slot_counts {
    struct call_cell calls[NUMBERS];
    struct error_cell errors[ERROR_CELLS];
    struct operation_cell operations[OPERATIONS];
    __u64 lost; /* errors whose errno found no place; their calls are counted */
};

#endif
