/* The state of the counters probe. Private to probe/. */
#ifndef SONDE_PROBE_COUNTERS_STATE_H
#define SONDE_PROBE_COUNTERS_STATE_H

#include <sys/types.h>

#include "probe/counters.h"
#include "probe/probe.h"

/* A thread that was counted in some stretch. */
struct counted_thread {
    pid_t pid, tid;
    bool waiting;     /* counts from its next execve on */
    const char *role; /* the targets' */
    char process[20]; /* names */
    char name[20];
    int *files;                   /* one an event; -1: not open. NULL: not in this stretch */
    bool leads[COUNTERS_MOST];    /* of the open ones: it leads a group */
    struct counter_total *totals; /* one an event */
};

struct probe {
    struct targets *targets;
    struct counter_plan plan;
    bool follow;        /* children count with the thread that forked them */
    bool inherits;      /* new threads (and children) are counted at all */
    bool running;       /* in a stretch */
    uint64_t unsettled; /* stretches that began while threads came and went */
    struct counted_thread *threads;
    size_t thread_count, thread_capacity;
};

/* The total of one event on one thread as it is now, also in the middle of a stretch. */
struct counter_total counters_now(const struct probe *probe, const struct counted_thread *thread,
                                  size_t event);

int counters_read(struct probe *probe, const struct probe_scope *scope, struct record_run *run,
                  struct err *error);

#endif
