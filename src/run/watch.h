/* Observation of a run with any number of probes: who is observed, which probe is on in which
 * part, what each of them cost and saw. The probes take turns, block by block, so that none
 * disturbs what another one sees and each has a probe effect of its own:
 * off A A off | off B B off | off A A off …
 * Both kinds of conductor (windows of time, transfers) use it in the same way:
 *
 *   watch_open; for each part: probe = watch_plan(part);
 *     if it changed: watch_attach(probe)
 *     if probe >= 0: watch_begin; gate opened … part … gate closed; watch_end; watch_seen
 *   after each block: watch_block; at the end: watch_attach(WATCH_OFF), watch_fill, watch_close.
 */
#ifndef SONDE_RUN_WATCH_H
#define SONDE_RUN_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "probe/probe.h"
#include "report/record.h"
#include "run/options.h"

#define WATCH_OFF (-1)
#define WATCH_PARTS_IN_BLOCK 4

struct watch;

/* What a word of --observe means in this run: "self" and "server", or "sender". */
struct watch_name {
    const char *word;
    struct probe_target target; /* pid 0: not there in this run, `missing` says why */
    const char *missing;
    const pid_t *more; /* further processes of the same role */
    size_t more_count;
    bool sampled;   /* it has no workers of sonde's that would count their CPU time */
    bool later;     /* its process comes with watch_add */
    bool elsewhere; /* it is on the peer, whose matter it is (run/session.h) */
};

struct watch_config {
    const struct watch_options *options; /* --observe, --probe … (run/options.h) */
    const struct watch_name *names;      /* of sonde's own processes */
    size_t name_count;
    const struct probe_ops *const *known; /* whose names --probe takes; NULL: sonde's own */
};

/* Opens targets and probes. Probes without --observe look at every one of `names` that is there.
 * Where nothing is to be observed, or it cannot be had and is not
 * required, *watch is there all the same and watch_probes is 0: watch_state says why. Where it
 * fails, *watch is to be closed too. */
int watch_open(struct watch **watch, const struct watch_config *config, struct err *error);
/* A process that the run started after watch_open (whose gate it shares): observed where a word of
 * --observe meant its role, that is, where a name with this role and `later` was asked for. */
int watch_add(struct watch *watch, const struct probe_target *target, struct err *error);
void watch_close(struct watch *watch); /* NULL is allowed */

size_t watch_probes(const struct watch *watch); /* how many take turns */
/* For record_run.observation: "server (pid 12), probe syscalls, …", "none (reason; what helps)". */
const char *watch_state(const struct watch *watch);
/* The role of all targets; "observed" where they have several. */
const char *watch_role(const struct watch *watch);
/* The name of one of them; the one that is attached now, WATCH_OFF for none. */
const char *watch_probe_name(const struct watch *watch, int probe);
int watch_attached(const struct watch *watch);
struct targets *watch_targets(const struct watch *watch); /* NULL where nothing is observed */
struct gate *watch_gate(const struct watch *watch);       /* likewise */

/* Which probe is on in this part (0, 1, 2 …), WATCH_OFF for none; and where so many take turns. */
int watch_plan(const struct watch *watch, uint64_t part);
int watch_plan_of(size_t probe_count, uint64_t part);
/* Attaches one probe (not counting yet) and detaches the one that was on. */
int watch_attach(struct watch *watch, int probe, struct err *error);
int watch_begin(struct watch *watch, struct err *error);
int watch_end(struct watch *watch, struct err *error);

/* A part of the window as its workers were cut. */
struct gated_part {
    uint64_t first_ns, last_ns; /* the first start, the last end */
    uint64_t asked_ns;          /* when the cut that ended it was asked for */
};

/* Takes off what a part counted (*scope) the share of the time in which the gate was closed: it
 * opens just after the cut before a stretch's first part has been asked for and closes just before
 * the one behind its last is, unless this thread does not run in between. A worker that is cut
 * later than asked has done nothing in that time: it looks before each round of its loop. */
void watch_gated(const struct watch *watch, const struct gated_part *part,
                 struct probe_scope *scope);

/* What the part of the probe that is on covered. */
void watch_seen(struct watch *watch, const struct probe_scope *scope);
/* A whole block of four parts: operations and time of its unobserved and its observed parts. */
void watch_block(struct watch *watch, int probe, uint64_t plain_operations, uint64_t plain_ns,
                 uint64_t seen_operations, uint64_t seen_ns);
/* System calls counted so far, for interval lines; 0 without the syscalls probe. */
uint64_t watch_calls(const struct watch *watch);
/* True where this probe is the one that watch_calls counts with. */
bool watch_counts_calls(const struct watch *watch, int probe);

/* Around every part, observed or not: CPU time of the observed processes that are not sonde's own
 * (they are sampled, over the unobserved parts). `operations`: the workload's in this part. */
void watch_part_begins(struct watch *watch);
void watch_part_ends(struct watch *watch, bool seen, uint64_t operations);

/* The observed processes that are not sonde's own, at most `most` of them; how many. */
size_t watch_foreign(struct watch *watch, pid_t *pids, size_t most);

/* Everything observed into run->processes (kernel_calls), run->probes, run->effect (that of the
 * system calls, else of the first), run->observing and run->observation. effect_metric: what
 * effects are measured by.
 */
int watch_fill(struct watch *watch, const char *effect_metric, struct record *record,
               struct record_run *run, struct err *error);

#endif
