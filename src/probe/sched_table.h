/* The scheduling probe's own state, shared by its loader and its reader. */
#ifndef SONDE_PROBE_SCHED_TABLE_H
#define SONDE_PROBE_SCHED_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/types.h>

#include "probe/probe.h"
#include "probe/targets_state.h"

#include "probe/bpf/sched_shared.h"

struct bpf_link;
struct sched_bpf;

enum { LINK_EXEC, LINK_WAKING, LINK_SWITCH, LINK_COUNT };

/* Times of one thread as they were last read. */
struct sched_seen {
    uint64_t times_ns[DOING_COUNT];
};

struct probe {
    struct targets *targets;
    struct sched_bpf *programs;
    struct bpf_link *links[LINK_COUNT]; /* NULL: not attached */
    struct bpf_link *look;              /* at all tasks */
    struct sched_memory *memory;        /* mapped */
    struct sched_seen *seen;            /* THREADS_MOST */
    bool attached;
    bool interrupts;   /* told apart from the tasks that they interrupt */
    uint64_t unsteady; /* threads whose times could not be read whole */
};

/* Reads the times of all threads up to now. Only while the programs are attached: the gate's clock
 * goes on for other probes when this one is not. */
void sched_refresh(struct probe *probe);
/* Forgets what threads do, and keeps their times: before programs are attached (again). */
void sched_forget(struct probe *probe);

/* Of the rows. */
enum { SCHED_METRICS = 11 };
extern const struct metric sched_metrics[SCHED_METRICS];

/* Events that were not counted. */
uint64_t sched_missed(struct probe *probe);

int sched_read(struct probe *probe, const struct probe_scope *scope, struct record_run *run,
               struct err *error);

#endif
