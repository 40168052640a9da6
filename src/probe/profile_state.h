/* The profile probe's own state, shared by its loader and its reader. */
#ifndef SONDE_PROBE_PROFILE_STATE_H
#define SONDE_PROBE_PROFILE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/types.h>

#include "probe/code_events.h"
#include "probe/code_maps.h"
#include "probe/probe.h"
#include "probe/targets_state.h"

#include "probe/bpf/profile_shared.h"

struct bpf_link;
struct profile_bpf;

struct probe {
    struct targets *targets;
    struct profile_bpf *programs;
    struct bpf_link **links; /* one a CPU; NULL: not attached, or the CPU is off */
    size_t cpus, cpus_on;
    struct profile_memory *memory; /* mapped */
    enum profile_event event;
    uint64_t rate; /* samples a second of each CPU */
    bool attached;
    struct code_events *events;
    struct code_maps maps;
};

/* Of the rows. */
enum { PROFILE_METRICS = 9 };
extern const struct metric profile_metrics[PROFILE_METRICS];

/* The next key of the map of counts after *key (NULL: the first), with its count. False behind the
 * last. */
bool profile_next(struct probe *probe, const struct profile_key *after, struct profile_key *key,
                  uint64_t *samples);
/* A stack by its hash; false where it is not there. */
bool profile_stack(struct probe *probe, uint64_t hash, struct profile_stack *stack);

/* Learns what the observed processes have mapped by now. */
int profile_take_maps(struct probe *probe, struct err *error);

int profile_read(struct probe *probe, const struct probe_scope *scope, struct record_run *run,
                 struct err *error);

#endif
