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

/* Of the calling thread: at the beginning of a stretch, and at its end. Some six system calls.
 *
 * cpu_ns is read last at the beginning and first at the end, so that the stretch holds nothing but
 * that one call of each. Reading it makes the scheduler look at the thread's time slice
 * (update_curr): where others wait and it is used up, the thread loses its CPU as the call returns.
 * That switch and that wait are the reading's own and are left out: at the beginning it is read
 * once more before everything else, at the end the time that the call took tells. */
void thread_usage_begin(struct thread_usage *usage);
void thread_usage_end(const struct thread_usage *begin, struct thread_usage *usage);

#endif
