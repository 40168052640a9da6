/* What the BPF programs of every probe have in common: the targets, and finding whom an event
 * belongs to. */
#ifndef SONDE_PROBE_BPF_TARGETS_BPF_H
#define SONDE_PROBE_BPF_TARGETS_BPF_H

#include "kernel_types.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "targets_shared.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct targets_state);
} targets SEC(".maps");

/* Never NULL in fact; the check is for the verifier. The look-up is inlined: no call. */
static __always_inline struct targets_state *targets_get(void)
{
    __u32 zero = 0;
    return bpf_map_lookup_elem(&targets, &zero);
}

static __always_inline bool targets_gate_open(const struct targets_state *state)
{
    return *(volatile __u32 *)&state->gate.open;
}

/* True where calls of this thread count now. */
static __always_inline bool targets_counted(const struct targets_state *state,
                                            const struct task_struct *task)
{
    return targets_gate_open(state) && *(volatile __u32 *)&state->gate.muted != (__u32)task->pid;
}

/* The gate's clock, and its value at a time that was read before it (see gate_clock_at). */
#define GATE_CLOCK_RUNS (1ull << 63)

static __always_inline __u64 targets_clock(const struct targets_state *state)
{
    return *(volatile __u64 *)&state->gate.clock;
}

static __always_inline __u64 targets_clock_at(__u64 clock, __u64 now_ns)
{
    return clock & GATE_CLOCK_RUNS ? now_ns - (clock & ~GATE_CLOCK_RUNS) : clock;
}

/* True where the process is observed; *slot is its slot then. */
static __always_inline bool targets_find(const struct targets_state *state, __u32 tgid, __u32 *slot)
{
    __u64 entry = table_find(state->table, tgid);
    *slot = (__u32)entry & ~ENTRY_ACTIVE;
    return entry & ENTRY_ACTIVE;
}

/* True where the thread belongs to an observed process; *thread is its place in state->threads
 * then, always below THREADS_MOST. A thread that is seen for the first time is given one. */
static __always_inline bool targets_find_thread(struct targets_state *state,
                                                struct task_struct *task, __u32 *thread)
{
    __u32 tid = (__u32)task->pid, slot;
    __u64 entry = table_find(state->thread_table, tid);
    if (entry != ENTRY_NONE) {
        *thread = (__u32)entry & (THREADS_MOST - 1);
        return 1;
    }
    if (!targets_find(state, (__u32)task->tgid, &slot)) {
        return 0;
    }
    /* Without room in the table every further event of the thread would take another place. */
    if (!table_has_room(state->thread_table, tid)) {
        *thread = THREADS_MOST - 1;
        __sync_fetch_and_add(&state->crowded_threads, 1);
        return 1;
    }
    *thread = thread_take(state) & (THREADS_MOST - 1);
    if (*thread != THREADS_MOST - 1) {
        struct thread_slot *to = &state->threads[*thread];
        to->tid = tid;
        to->tgid = (__u32)task->tgid;
        to->slot = slot;
        bpf_core_read(to->name, sizeof to->name, &task->comm);
        to->state = SLOT_ACTIVE;
    }
    if (!table_insert(state->thread_table, tid, ENTRY_ACTIVE | *thread)) {
        __sync_fetch_and_add(&state->lost_threads, 1);
    }
    return 1;
}

#endif
