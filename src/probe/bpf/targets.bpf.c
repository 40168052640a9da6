/* Keeps track of the processes that are observed: their children, their names, their ends. Rare
 * events, attached as long as the targets live. */
#include "targets.bpf.h"

char license_name[] SEC("license") = "Dual MIT/GPL";

/* Set by the loader. */
const volatile __u32 name_count = 0;
const volatile __u64 names[TARGET_NAMES_MOST][2] = {0};     /* padded with zero bytes */
const volatile __u32 name_targets[TARGET_NAMES_MOST] = {0}; /* index of the target of a name */

static __always_inline void observe(struct targets_state *state, __u32 tgid, __u32 target,
                                    __u32 parent, const char name[NAME_BYTES])
{
    __u32 slot = slot_take(state, state->slot_limit);
    if (slot >= SLOTS_MOST) {
        return; /* for the verifier: it is at most SLOTS_MOST */
    }
    if (slot != state->slot_limit - 1) {
        struct slot *to = &state->slots[slot];
        to->tgid = tgid;
        to->target = target;
        to->parent = parent;
        __builtin_memcpy(to->name, name, NAME_BYTES);
        to->state = SLOT_ACTIVE;
    }
    if (!table_insert(state->table, tgid, ENTRY_ACTIVE | slot)) {
        __sync_fetch_and_add(&state->lost_processes, 1);
    }
}

/* Index of the wanted name that this is, +1; 0: none. */
static __always_inline __u32 wanted_name(const char name[NAME_BYTES])
{
    __u64 halves[2];
    __builtin_memcpy(halves, name, sizeof halves);
    for (__u32 i = 0; i < TARGET_NAMES_MOST; i++) {
        if (i >= name_count) {
            break;
        }
        if (names[i][0] == halves[0] && names[i][1] == halves[1]) {
            return i + 1;
        }
    }
    return 0;
}

static __always_inline void observe_wanted(struct targets_state *state, __u32 tgid,
                                           const char name[NAME_BYTES])
{
    __u32 wanted = wanted_name(name);
    if (wanted != 0 && wanted <= TARGET_NAMES_MOST) {
        observe(state, tgid, name_targets[wanted - 1], 0, name);
    }
}

/* The thread's last name is kept: it was first seen before it could be given one. */
static __always_inline void thread_gone(struct targets_state *state, struct task_struct *task,
                                        __u32 tid)
{
    __u64 entry = table_find(state->thread_table, tid);
    if (entry == ENTRY_NONE) {
        return;
    }
    struct thread_slot *gone = &state->threads[(__u32)entry & (THREADS_MOST - 1)];
    if (gone->tid == tid) {
        bpf_core_read(gone->name, sizeof gone->name, &task->comm);
        gone->state = SLOT_EXITED;
    }
    table_remove(state->thread_table, tid);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
    struct targets_state *state = targets_get();
    __u32 tgid = child->tgid;
    if (!state || child->pid != tgid) {
        return 0; /* a thread: taken up with its first event */
    }
    char name[NAME_BYTES] = {0};
    bpf_core_read(name, sizeof name, &child->comm);
    __u64 entry = table_find(state->table, parent->tgid);
    __u32 slot = (__u32)entry & ~ENTRY_ACTIVE;
    if (state->follow && (entry & ENTRY_ACTIVE) && slot < SLOTS_MOST) {
        observe(state, tgid, state->slots[slot].target, slot + 1, name);
    } else {
        observe_wanted(state, tgid, name);
    }
    return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, __s32 old_pid)
{
    struct targets_state *state = targets_get();
    __u32 tgid = task->tgid;
    if (!state) {
        return 0;
    }
    if ((__u32)old_pid != tgid) {
        thread_gone(state, task, (__u32)old_pid); /* it goes on as the process's first thread */
    }
    char name[NAME_BYTES] = {0};
    bpf_core_read(name, sizeof name, &task->comm);
    __u64 entry = table_find(state->table, tgid);
    if (entry == ENTRY_NONE) {
        observe_wanted(state, tgid, name);
        return 0;
    }
    __u32 slot = (__u32)entry & ~ENTRY_ACTIVE;
    if (slot >= SLOTS_MOST) {
        return 0;
    }
    if (slot != state->slot_limit - 1) {
        struct slot *to = &state->slots[slot];
        __builtin_memcpy(to->name, name, NAME_BYTES);
        to->state = SLOT_ACTIVE;
    }
    if (!(entry & ENTRY_ACTIVE)) {
        table_remove(state->table, tgid);
        table_insert(state->table, tgid, ENTRY_ACTIVE | slot);
    }
    return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
    struct targets_state *state = targets_get();
    if (!state) {
        return 0;
    }
    thread_gone(state, task, (__u32)task->pid);
    if (task->signal->live.counter != 0) {
        return 0; /* other threads go on */
    }
    __u32 tgid = task->tgid;
    __u64 entry = table_find(state->table, tgid);
    if (entry == ENTRY_NONE) {
        return 0;
    }
    __u32 slot = (__u32)entry & ~ENTRY_ACTIVE;
    if (slot < SLOTS_MOST && slot != state->slot_limit - 1) {
        state->slots[slot].state = SLOT_EXITED;
    }
    table_remove(state->table, tgid);
    return 0;
}
