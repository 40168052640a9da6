/* Counts system calls at their exit, by process and number, and io_uring's submissions and
 * completions. */
#include "targets.bpf.h"

#include "syscalls_shared.h"

char license_name[] SEC("license") = "Dual MIT/GPL";

/* Set by the loader. */
const volatile __u32 slot_limit = 2; /* slots of each CPU */
const volatile __u8 number_flags[NUMBERS] = {0};
const volatile __u8 operation_moves_bytes[OPERATIONS] = {0};
const volatile __u32 number_sigreturn = 0;

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 2); /* CPUs x slots: set by the loader */
    __type(key, __u32);
    __type(value, struct slot_counts);
} counts SEC(".maps");

/* The counts of an observed process on this CPU; NULL where it is not observed (now). */
static __always_inline struct slot_counts *counts_of(__u32 tgid)
{
    struct targets_state *state = targets_get();
    __u32 slot;
    if (!state || !targets_find(state, tgid, &slot) || !targets_gate_open(state)) {
        return 0;
    }
    __u32 index = bpf_get_smp_processor_id() * slot_limit + slot;
    struct slot_counts *found = bpf_map_lookup_elem(&counts, &index);
    if (!found) {
        __sync_fetch_and_add(&state->lost_events, 1);
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
