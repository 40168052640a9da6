/* What the scheduling programs and their loader share. The includer has __u32 and __u64, and
 * targets_shared.h. */
#ifndef SONDE_PROBE_BPF_SCHED_SHARED_H
#define SONDE_PROBE_BPF_SCHED_SHARED_H

/* What a thread is doing, as far as the scheduler knows. */
enum thread_doing {
    DOING_UNKNOWN = 0, /* not seen yet: its time before it was is kept here, and not shown */
    DOING_RUN,
    DOING_SLEEP,     /* interruptible, idle, stopped, traced */
    DOING_BLOCK,     /* uninterruptible */
    DOING_WAIT,      /* runnable after a wake-up */
    DOING_PREEMPTED, /* runnable when it was switched out */
    DOING_GONE,      /* has been on a CPU for the last time */
    DOING_COUNT = 8,
};

/* sched_thread.now: what it does, and since when on the gate's clock. */
#define NOW_BITS 3
#define NOW_DOING 7

#define WAKERS 16
/* waker_keys: kind << 32 | tid. */
enum waker_kind { WAKER_FREE = 0, WAKER_TASK, WAKER_SOFTIRQ, WAKER_INTERRUPT };

#define DELAY_CLASSES 50 /* as in record_distribution; the last holds all above 2^47 ns (39 h) */
enum delay_kind { DELAY_WOKEN, DELAY_PREEMPTED, DELAY_KINDS };

/* One thread.
 *
 * Times are on the gate's clock, which stands still while the gate is closed: so a stretch counts
 * as much of it as lies in windows, however many began and ended meanwhile, and programs keep track
 * in the same way all the time. A change adds what has passed since the last one to times[what it
 * did] and then writes `now`: the sum of all times is what `now` says, except in the middle of a
 * change. A reader that finds them different has met a change, and reads again. Nobody else writes
 * here, so nothing can be counted twice.
 *
 * Changes of one thread never overlap, so they need no lock: it is switched out and in under locks
 * of its run queue; and a wake-up changes only a thread that has been switched out, before it is
 * put on a run queue again. */
struct sched_thread {
    __u64 now; /* 0: not seen yet */
    __u64 times[DOING_COUNT];
    __u64 queued_ns; /* when it last was switched out or woken; CLOCK_MONOTONIC */
    __u64 switches_voluntary, switches_involuntary, migrations;
    __u32 cpu;         /* it last ran on, +1 */
    __u32 woken_early; /* a wake-up came while it was still on its CPU */
    __u64 lost;        /* wake-ups that were not seen, clocks that went backwards */
    /* Written by wakers, who hold a lock of the thread. */
    __u64 wakeups;
    __u64 wakeups_by_others; /* that found no place below */
    __u64 waker_keys[WAKERS];
    __u64 waker_counts[WAKERS];
    char waker_names[WAKERS][NAME_BYTES];
    __u64 delays[DELAY_KINDS][DELAY_CLASSES]; /* that ended while the gate was open */
    __u64 delay_sums_ns[DELAY_KINDS];
};

struct sched_memory {
    /* Which thread an id means: like targets_state.thread_table, but to the very end: a thread goes
     * on running for a while after it has been reported as exited. */
    __u64 table[TABLE_SETS * TABLE_WAYS];
    struct sched_thread threads[THREADS_MOST];
    __u64 looked_ns; /* when all tasks were looked at last: threads born later are new */
};

#endif
