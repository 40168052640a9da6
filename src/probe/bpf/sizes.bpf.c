/* Counts what calls and io_uring's operations that move bytes returned, in classes of powers of
 * two: by thread and call, by process and operation. */
#include "calls.bpf.h"
#include "classes.bpf.h"

#include "sizes_shared.h"

char license_name[] SEC("license") = "Dual MIT/GPL";

/* Set by the loader: index of a number's cell; SIZES_NONE: it moves no bytes. */
const volatile __u8 call_cells[NUMBERS] = {0};
const volatile __u8 operation_cells[OPERATIONS] = {0};

__u64 foreign_calls; /* of 32-bit programs, whose numbers are others: not counted by call */

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, THREADS_MOST);
    __type(key, __u32);
    __type(value, struct sizes_thread);
} threads SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1); /* slots of processes: set by the loader */
    __type(key, __u32);
    __type(value, struct sizes_process);
} processes SEC(".maps");

/* Class of a result; *sum: what it adds to the sum. */
static __always_inline __u32 class_of(long result, __u64 *sum)
{
    if (result <= 0) {
        *sum = 0;
        return result == 0;
    }
    *sum = (__u64)result;
    if ((__u64)result > 0xffffffffull) {
        return SIZES_CLASSES - 1;
    }
    return highest_bit((__u64)result, 0) + 2;
}

static __always_inline void count_shared(struct sizes_cell *cell, long result)
{
    __u64 sum;
    __u32 class = class_of(result, &sum);
    if (class < SIZES_CLASSES) { /* for the verifier */
        __sync_fetch_and_add(&cell->classes[class], 1);
        __sync_fetch_and_add(&cell->sum, sum);
    }
}

static __always_inline void count_own(struct sizes_cell *cell, long result)
{
    __u64 sum;
    __u32 class = class_of(result, &sum);
    if (class < SIZES_CLASSES) {
        cell->classes[class]++;
        cell->sum += sum;
    }
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_call, struct pt_regs *regs, long result)
{
    __u64 number = call_raw_number(regs);
    __u32 place = call_cells[number & (NUMBERS - 1)];
    if (place >= SIZES_CALLS || number >= NUMBERS) {
        return 0; /* most calls of a machine, before anything is looked up */
    }
    struct targets_state *state = targets_get();
    struct task_struct *task = bpf_get_current_task_btf();
    __u32 thread;
    if (!state || !targets_gate_open(state) || !targets_find_thread(state, task, &thread)) {
        return 0;
    }
    if (call_is_foreign(task)) {
        __sync_fetch_and_add(&foreign_calls, 1);
        return 0;
    }
    struct sizes_thread *to = bpf_map_lookup_elem(&threads, &thread);
    if (!to) {
        return 0; /* for the verifier: every thread has one */
    }
    if (thread == THREADS_MOST - 1) {
        count_shared(&to->calls[place], result);
    } else {
        count_own(&to->calls[place], result);
    }
    return 0;
}

static __always_inline void count_completion(void *request, int result, __u32 flags)
{
    struct targets_state *state = targets_get();
    __u32 slot;
    if (!state || !targets_gate_open(state) || !targets_find(state, operation_process(), &slot)) {
        return;
    }
    __u32 operation = operation_completed(request, flags);
    __u32 place = operation_cells[operation];
    if (place >= SIZES_OPERATIONS ||
        (operation == OPERATION_MULTISHOT && !operation_in_buffer(flags))) {
        return;
    }
    struct sizes_process *to = bpf_map_lookup_elem(&processes, &slot);
    if (to) {
        count_shared(&to->operations[place], result);
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
