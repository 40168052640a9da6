/* The system call probe's own state, shared by its loader and its reader. */
#ifndef SONDE_PROBE_SYSCALLS_TABLE_H
#define SONDE_PROBE_SYSCALLS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/types.h>

#include "probe/probe.h"
#include "probe/bpf/syscalls_shared.h"

struct bpf_link;
struct syscalls_bpf;

enum { LINK_FORK, LINK_EXEC, LINK_EXIT, LINK_CALL, LINK_SUBMIT, LINK_COMPLETE, LINK_COUNT };

struct probe {
    struct syscalls_bpf *programs;
    struct bpf_link *links[LINK_COUNT]; /* NULL: not attached */
    struct shared_state *state;         /* mapped; belongs to programs */
    struct slot_counts *counts;         /* mapped: [cpu * slots + slot] */
    size_t counts_bytes;
    uint32_t cpus, slots;
    struct probe_target *targets; /* owned copy */
    size_t target_count;
    bool follow;
    bool uring; /* this kernel's io_uring tracepoints are served */
    char uring_reason[64];
};

/* Slots that processes have taken; the shared last slot counts as one where it is in use. */
uint32_t syscalls_slots_used(const struct probe *probe, bool *shared);

/* Events that were not counted, whatever the process. */
uint64_t syscalls_lost(struct probe *probe);

int syscalls_read(struct probe *probe, struct record_run *run, struct err *error);
uint64_t syscalls_total(struct probe *probe, const char *role);
bool syscalls_alive(struct probe *probe);
bool syscalls_observes(struct probe *probe, pid_t pid);

#endif
