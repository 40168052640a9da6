/* What a thread has used since it began. */
#ifndef SONDE_RUN_USAGE_H
#define SONDE_RUN_USAGE_H

#include <stdint.h>

struct thread_usage {
    uint64_t cpu_ns;             /* CLOCK_THREAD_CPUTIME_ID: exact */
    uint64_t user_ns, system_ns; /* RUSAGE_THREAD: as the kernel samples them */
    uint64_t switches_voluntary, switches_involuntary;
    uint64_t runnable_ns; /* ready to run while another ran; 0 where the kernel does not say */
};

/* Of the calling thread: at the beginning of a stretch, and at its end. Five system calls.
 *
 * They differ in their order. Reading a thread's CPU clock makes the scheduler look at its time
 * slice (update_curr), and where others wait and it is used up, the thread loses its CPU as the
 * call returns. That wait is the reading's own: runnable_ns is read after it at the beginning, and
 * before it at the end. */
void thread_usage_begin(struct thread_usage *usage);
void thread_usage_end(struct thread_usage *usage);

#endif
