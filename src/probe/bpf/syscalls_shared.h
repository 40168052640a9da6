/* What the system call programs and their loader share: the layout of the memory that both map. The
 * includer has __u32 and __u64 (linux/types.h or kernel_types.h).
 */
#ifndef SONDE_PROBE_BPF_SYSCALLS_SHARED_H
#define SONDE_PROBE_BPF_SYSCALLS_SHARED_H

#define NUMBERS 512          /* system call numbers, a power of two; the two last are special */
#define NUMBER_FOREIGN 511   /* calls of 32-bit programs: their numbers mean other calls */
#define NUMBER_UNKNOWN 510   /* numbers that do not fit */
#define ERROR_CELLS 256      /* {number, errno} pairs of one process on one CPU, a power of two */
#define ERROR_PROBES 16      /* places looked at before an error is given up as lost */
#define OPERATIONS 128       /* io_uring operations; the two last are special */
#define OPERATION_NOTICE 126 /* "buffers are free" notices of zero-copy sends */
#define OPERATION_MULTISHOT 127 /* completions that do not name their request */

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
