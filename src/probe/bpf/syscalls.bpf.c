/* Counts system calls at their exit, by process and number, and io_uring's submissions and
 * completions; keeps track of the processes that are observed. */
#include "kernel_types.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "syscalls_shared.h"

char license_name[] SEC("license") = "Dual MIT/GPL";

/* Set by the loader. */
const volatile __u32 slot_limit = 2; /* slots of each CPU */
const volatile __u32 follow = 0;
const volatile __u32 name_count = 0;
const volatile __u64 names[TARGET_NAMES_MOST][2] = {0};     /* padded with zero bytes */
const volatile __u32 name_targets[TARGET_NAMES_MOST] = {0}; /* index of the target of a name */
const volatile __u8 number_flags[NUMBERS] = {0};
const volatile __u8 operation_moves_bytes[OPERATIONS] = {0};
const volatile __u32 number_sigreturn = 0;

struct shared_state state = {0};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 2); /* CPUs x slots: set by the loader */
    __type(key, __u32);
    __type(value, struct slot_counts);
} counts SEC(".maps");

/* The counts of an active process on this CPU; NULL where it is not observed (now). */
static __always_inline struct slot_counts *counts_of(__u32 tgid)
{
    __u64 entry = table_find(&state, tgid);
    if (!(entry & ENTRY_ACTIVE) || *(volatile __u32 *)&state.paused) {
        return 0;
    }
    __u32 slot = (__u32)entry & ~ENTRY_ACTIVE;
    __u32 index = bpf_get_smp_processor_id() * slot_limit + slot;
    struct slot_counts *found = bpf_map_lookup_elem(&counts, &index);
    if (!found) {
        __sync_fetch_and_add(&state.lost_calls, 1);
    }
    return found;
}

/* ---- system calls ---- */

static __always_inline __u32 call_number(struct task_struct *task, struct pt_regs *regs,
                                         long result)
{
#if defined(__TARGET_ARCH_x86)
    __u64 number = regs->orig_ax;
    bool foreign = task->thread_info.status & 2; /* TS_COMPAT */
#elif defined(__TARGET_ARCH_arm64)
    __u64 number = (__u64)(long)regs->syscallno;
    bool foreign = task->thread_info.flags & (1ul << 22); /* TIF_32BIT */
#endif
    if (foreign) {
        return NUMBER_FOREIGN;
    }
    if (number < NUMBER_UNKNOWN) {
        return (__u32)number;
    }
    /* rt_sigreturn restores the registers of the interrupted code and marks them as "no system
     * call" (-1). A true call of number -1 fails with ENOSYS (38). */
    if (number == ~0ull && result != -38) {
        return number_sigreturn;
    }
    return NUMBER_UNKNOWN;
}

static __always_inline void count_error(struct slot_counts *to, __u32 number, __u32 error)
{
    __u32 key = number << 16 | error;
    __u32 place = number * 33 + error;
    for (int i = 0; i < ERROR_PROBES; i++) {
        struct error_cell *cell = &to->errors[(place + i) & (ERROR_CELLS - 1)];
        if (cell->key == 0) {
            cell->key = key;
        }
        if (cell->key == key) {
            cell->count++;
            return;
        }
    }
    to->lost++;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_call, struct pt_regs *regs, long result)
{
    struct task_struct *task = bpf_get_current_task_btf();
    struct slot_counts *to = counts_of(task->tgid);
    if (!to) {
        return 0;
    }
    __u32 number = call_number(task, regs, result) & (NUMBERS - 1);
    __u32 flags = number_flags[number];
    if (result == 0 && (flags & NUMBER_NEW_TASK)) {
        return 0;
    }
    struct call_cell *cell = &to->calls[number];
    cell->calls++;
    if ((__u64)result >= (__u64)-ERROR_MOST) {
        count_error(to, number, (__u32)-result);
    } else if (flags & NUMBER_MOVES_BYTES) {
        cell->bytes += (__u64)result;
    }
    return 0;
}

/* ---- io_uring ---- */

/* The kernel's own threads of a ring (workers, submission poller) are threads of the process that
 * owns it, so the current process is the right one in their context too. */
static __always_inline struct slot_counts *counts_of_current(void)
{
    return counts_of((__u32)(bpf_get_current_pid_tgid() >> 32));
}

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(on_submit, struct io_kiocb *request)
{
    struct slot_counts *to = counts_of_current();
    if (to) {
        to->operations[request->opcode & (OPERATIONS - 1)].submitted++;
    }
    return 0;
}

static __always_inline void count_completion(void *request, int result, __u32 flags)
{
    struct slot_counts *to = counts_of_current();
    if (!to) {
        return;
    }
    __u32 operation = OPERATION_MULTISHOT;
    bool moves = flags & 1; /* IORING_CQE_F_BUFFER: data in a provided buffer */
    if (flags & 8) {        /* IORING_CQE_F_NOTIF */
        operation = OPERATION_NOTICE;
        moves = 0;
    } else if (request) {
        operation = BPF_CORE_READ((struct io_kiocb *)request, opcode) & (OPERATIONS - 1);
        moves = operation_moves_bytes[operation];
    }
    struct operation_cell *cell = &to->operations[operation];
    cell->completed++;
    if (moves && result > 0) {
        cell->bytes += (__u64)result;
    }
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(on_complete, struct io_ring_ctx *ring, void *request, struct io_uring_cqe *completion)
{
    count_completion(request, completion->res, completion->flags);
    return 0;
}

/* Kernels before the tracepoint was given the completion itself. */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(on_complete_old, void *ring, void *request, __u64 user_data, int result, __u32 flags)
{
    count_completion(request, result, flags);
    return 0;
}

/* ---- the life of processes: rare events, always attached ---- */

static __always_inline void observe(__u32 tgid, __u32 target, __u32 parent,
                                    const char name[NAME_BYTES])
{
    __u32 slot = slot_take(&state, slot_limit);
    if (slot >= SLOTS_MOST) {
        return; /* for the verifier: slot_limit is at most SLOTS_MOST */
    }
    if (slot != slot_limit - 1) {
        struct slot *to = &state.slots[slot];
        to->tgid = tgid;
        to->target = target;
        to->parent = parent;
        __builtin_memcpy(to->name, name, NAME_BYTES);
        to->state = SLOT_ACTIVE;
    }
    if (!table_insert(&state, tgid, ENTRY_ACTIVE | slot)) {
        __sync_fetch_and_add(&state.lost_processes, 1);
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

static __always_inline void observe_wanted(__u32 tgid, const char name[NAME_BYTES])
{
    __u32 wanted = wanted_name(name);
    if (wanted != 0 && wanted <= TARGET_NAMES_MOST) {
        observe(tgid, name_targets[wanted - 1], 0, name);
    }
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
    __u32 tgid = child->tgid;
    if (child->pid != tgid) {
        return 0; /* a thread */
    }
    char name[NAME_BYTES] = {0};
    bpf_core_read(name, sizeof name, &child->comm);
    __u64 entry = table_find(&state, parent->tgid);
    __u32 slot = (__u32)entry & ~ENTRY_ACTIVE;
    if (follow && (entry & ENTRY_ACTIVE) && slot < SLOTS_MOST) {
        observe(tgid, state.slots[slot].target, slot + 1, name);
    } else {
        observe_wanted(tgid, name);
    }
    return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task)
{
    __u32 tgid = task->tgid;
    char name[NAME_BYTES] = {0};
    bpf_core_read(name, sizeof name, &task->comm);
    __u64 entry = table_find(&state, tgid);
    if (entry == ENTRY_NONE) {
        observe_wanted(tgid, name);
        return 0;
    }
    __u32 slot = (__u32)entry & ~ENTRY_ACTIVE;
    if (slot >= SLOTS_MOST) {
        return 0;
    }
    if (slot != slot_limit - 1) {
        struct slot *to = &state.slots[slot];
        __builtin_memcpy(to->name, name, NAME_BYTES);
        to->state = SLOT_ACTIVE;
    }
    if (!(entry & ENTRY_ACTIVE)) {
        table_remove(&state, tgid);
        table_insert(&state, tgid, ENTRY_ACTIVE | slot);
    }
    return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
    if (task->signal->live.counter != 0) {
        return 0; /* other threads go on */
    }
    __u32 tgid = task->tgid;
    __u64 entry = table_find(&state, tgid);
    if (entry == ENTRY_NONE) {
        return 0;
    }
    __u32 slot = (__u32)entry & ~ENTRY_ACTIVE;
    if (slot < SLOTS_MOST && slot != slot_limit - 1) {
        state.slots[slot].state = SLOT_EXITED;
    }
    table_remove(&state, tgid);
    return 0;
}
