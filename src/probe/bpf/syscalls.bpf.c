/* Counts system calls at their exit, by process and number, and io_uring's submissions and
 * completions. */
#include "calls.bpf.h"

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

/* Another probe's program at the exit of calls goes on from here, while both are attached: a second
 * one at the tracepoint would cost as much again to get to as it costs to run. */
struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 1);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, sizeof(__u32));
} call_chain SEC(".maps");

SEC("tp_btf/sys_exit")
int BPF_PROG(on_call, struct pt_regs *regs, long result)
{
    struct task_struct *task = bpf_get_current_task_btf();
    struct targets_state *state = targets_get();
    struct slot_counts *to = state && targets_counted(state, task) ? counts_of(task->tgid) : 0;
    if (!to) {
        return 0;
    }
    __u32 number = call_number(task, regs, result, number_sigreturn);
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
    bpf_tail_call(ctx, &call_chain, 0);
    return 0;
}

/* ---- io_uring ---- */

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(on_submit, struct io_kiocb *request)
{
    struct slot_counts *to = counts_of(operation_process());
    if (to) {
        to->operations[request->opcode & (OPERATIONS - 1)].submitted++;
    }
    return 0;
}

static __always_inline void count_completion(void *request, int result, __u32 flags)
{
    struct slot_counts *to = counts_of(operation_process());
    if (!to) {
        return;
    }
    __u32 operation = operation_completed(request, flags);
    bool moves = operation == OPERATION_MULTISHOT ? operation_in_buffer(flags)
                                                  : operation_moves_bytes[operation];
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
