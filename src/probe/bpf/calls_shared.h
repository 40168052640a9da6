/* Numbers of system calls and of io_uring's operations, as the BPF programs and their loaders count
 * by them. The includer has __u32 and __u64 (linux/types.h or kernel_types.h). */
#ifndef SONDE_PROBE_BPF_CALLS_SHARED_H
#define SONDE_PROBE_BPF_CALLS_SHARED_H

#define NUMBERS 512             /* system call numbers, a power of two; the two last are special */
#define NUMBER_FOREIGN 511      /* calls of 32-bit programs: their numbers mean other calls */
#define NUMBER_UNKNOWN 510      /* numbers that do not fit */
#define OPERATIONS 128          /* io_uring operations; the two last are special */
#define OPERATION_NOTICE 126    /* "buffers are free" notices of zero-copy sends */
#define OPERATION_MULTISHOT 127 /* completions that do not name their request */

#endif
