/* The system call probe's own state, shared by its loader and its reader. */
#ifndef SONDE_PROBE_SYSCALLS_TABLE_H
#define SONDE_PROBE_SYSCALLS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/types.h>

#include "probe/probe.h"
#include "probe/bpf/syscalls_shared.h"
#include "probe/targets_state.h"

struct bpf_link;
struct syscalls_bpf;

enum { LINK_CALL, LINK_SUBMIT, LINK_COMPLETE, LINK_COUNT };

struct probe {
    struct targets *targets;
    struct syscalls_bpf *programs;
    struct bpf_link *links[LINK_COUNT]; /* NULL: not attached */
    struct slot_counts *counts;         /* mapped: [cpu * targets->slots + slot] */
    size_t counts_bytes;
    uint32_t cpus;
    bool uring; /* this kernel's io_uring tracepoints are served */
    char uring_reason[64];
};

/* Events that were not counted, whatever the process. */
uint64_t syscalls_lost(struct probe *probe);

int syscalls_read(struct probe *probe, const struct probe_scope *scope, struct record_run *run,
                  struct err *error);
uint64_t syscalls_total(struct probe *probe, const char *role);

#endif
