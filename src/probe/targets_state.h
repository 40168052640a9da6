/* The state of a set of targets, as the probes see it. Private to probe/. */
#ifndef SONDE_PROBE_TARGETS_STATE_H
#define SONDE_PROBE_TARGETS_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/types.h>

#include "probe/bpf/targets_shared.h"
#include "probe/targets.h"
#include "report/record.h"

struct bpf_map;
struct targets_programs; /* targets_bpf.c */

struct targets {
    struct targets_state *state; /* memory that children share, and BPF where it serves */
    size_t state_bytes;
    uint32_t slots; /* of processes; the last is shared by all that find no other */
    struct probe_target *targets;
    size_t target_count;
    bool follow;
    pthread_mutex_t looking;           /* held while /proc is searched: samplers list targets too */
    struct targets_programs *programs; /* NULL without BPF */
    int call_chain; /* program array with which the attached system call probe goes on at the exit
                       of each observed call; -1: it is not attached */
};

/* The role that a process's slot has from its target. */
const char *targets_role(const struct targets *targets, const struct slot *slot);

/* Slots that processes have taken, in order from 0; *shared: the last slot is in use too. */
uint32_t targets_slots_used(const struct targets *targets, bool *shared);
/* Threads likewise; the shared one is THREADS_MOST - 1. */
uint32_t targets_threads_used(const struct targets *targets, bool *shared);

/* As targets_list, those that wait for their execve (probe_target.at_exec) and nobody else. */
int targets_list_waiting(struct targets *targets, struct target_process **list, size_t *count,
                         struct err *error);

/* The name of a thread as it is now where it lives, else as it was first seen. `to`: 20 bytes. */
const char *targets_thread_name(const struct thread_slot *thread, char *to, size_t size);

/* Whose a thread's or a process's figures are; `what` is left empty. */
void targets_thread_scope(const struct targets *targets, uint32_t thread,
                          struct record_scope *scope);
void targets_process_scope(const struct targets *targets, uint32_t slot,
                           struct record_scope *scope);

/* targets_bpf.c: loads the programs that follow processes, and with them the memory of the state.
 * All do nothing, or say why not, where sonde is built without BPF. */
int targets_bpf_open(struct targets *targets, struct err *error);
int targets_bpf_attach(struct targets *targets, struct err *error);
uint64_t targets_bpf_lost(const struct targets *targets);
void targets_bpf_close(struct targets *targets);
/* Makes another object's map `targets` this one: between its open and its load. 0, or -1. */
int targets_bpf_share(const struct targets *targets, struct bpf_map *map, struct err *error);

#endif
