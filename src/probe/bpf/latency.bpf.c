/* Measures how long system calls take, from their entry to their exit, by process and call. */
#include "calls.bpf.h"
#include "classes.bpf.h"

#include "latency_shared.h"

char license_name[] SEC("license") = "Dual MIT/GPL";

/* Set by the loader. */
const volatile __u32 slot_limit = 1;
const volatile __u32 number_sigreturn = 0;

/* Read by the loader. */
__u32 cells_taken = 0; /* may grow beyond their number */
__u64 crowded = 0;     /* {CPU, process, call} that found no cell, with each of their events */
__u64 lost = 0;        /* beginnings that another thread's took the place of */

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, LATENCY_CELLS);
    __type(key, __u32);
    __type(value, struct latency_cell);
} cells SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1); /* CPUs x slots: set by the loader */
    __type(key, __u32);
    __type(value, struct latency_index);
} indexes SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, LATENCY_BEGUN);
    __type(key, __u32);
    __type(value, struct latency_begun);
} begun SEC(".maps");

/* Where a call of this thread begins; NULL where the thread is not observed (now). *thread: its
 * place. */
static __always_inline struct latency_begun *find_begun(struct targets_state *state,
                                                        struct task_struct *task, __u32 *thread)
{
    if (!targets_counted(state, task) || !targets_find_thread(state, task, thread)) {
        return 0;
    }
    __u32 place = *thread;
    if (place == THREADS_MOST - 1) {
        place = THREADS_MOST + ((__u32)task->pid & (LATENCY_BEGUN_SHARED - 1));
    }
    return bpf_map_lookup_elem(&begun, &place);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(on_begin)
{
    struct targets_state *state = targets_get();
    struct task_struct *task = bpf_get_current_task_btf();
    __u32 thread;
    struct latency_begun *to = state ? find_begun(state, task, &thread) : 0;
    if (!to) {
        return 0;
    }
    __u32 tid = (__u32)task->pid, turn = state->gate.turns;
    if (to->time_ns != 0 && to->tid != tid && to->turn == turn) {
        __sync_fetch_and_add(&lost, 1);
    }
    to->tid = tid;
    to->turn = turn;
    to->time_ns = bpf_ktime_get_ns(); /* last, so that it measures little of this program */
    return 0;
}

static __always_inline __u32 class_of(__u64 duration_ns)
{
    if (duration_ns < LATENCY_EXACT) {
        return (__u32)duration_ns;
    }
    if (duration_ns >> LATENCY_OCTAVES) {
        return LATENCY_CLASSES - 1;
    }
    __u32 shift = highest_bit(duration_ns, 1) - LATENCY_SUB_BITS;
    return (shift - 1) * LATENCY_SUB + LATENCY_SUB + (__u32)(duration_ns >> shift);
}

/* The cell of a process and call on this CPU; below NUMBERS: one that others share. */
static __always_inline __u32 find_cell(__u32 slot, __u32 number)
{
    __u32 place = bpf_get_smp_processor_id() * slot_limit + slot;
    struct latency_index *index = bpf_map_lookup_elem(&indexes, &place);
    if (!index || number >= NUMBERS) {
        return number & (NUMBERS - 1);
    }
    __u32 cell = index->cells[number];
    if (cell != 0) {
        return cell;
    }
    if (*(volatile __u32 *)&cells_taken < LATENCY_CELLS_OWN) {
        __u32 own = __sync_fetch_and_add(&cells_taken, 1);
        if (own < LATENCY_CELLS_OWN) {
            index->cells[number] = (unsigned short)(NUMBERS + own);
            return NUMBERS + own;
        }
    }
    __sync_fetch_and_add(&crowded, 1);
    return number;
}

static __always_inline void count_shared(struct latency_cell *cell, __u32 class, __u64 duration_ns)
{
    __sync_fetch_and_add(&cell->sum, duration_ns);
    __sync_fetch_and_add(&cell->classes[class], 1);
    /* As many CPUs as that may raise it at the same time and be right. */
    for (int i = 0; i < 16; i++) {
        __u64 most = *(volatile __u64 *)&cell->most;
        if (most >= duration_ns ||
            __sync_val_compare_and_swap(&cell->most, most, duration_ns) == most) {
            break;
        }
    }
}

static __always_inline void count(__u32 slot, __u32 number, __u64 duration_ns)
{
    __u32 index = find_cell(slot, number);
    __u32 class = class_of(duration_ns);
    struct latency_cell *cell = bpf_map_lookup_elem(&cells, &index);
    if (!cell || class >= LATENCY_CLASSES) {
        return; /* for the verifier */
    }
    if (index < NUMBERS) {
        count_shared(cell, class, duration_ns);
        return;
    }
    cell->sum += duration_ns;
    cell->classes[class]++;
    if (cell->most < duration_ns) {
        cell->most = duration_ns;
    }
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_end, struct pt_regs *regs, long result)
{
    struct targets_state *state = targets_get();
    struct task_struct *task = bpf_get_current_task_btf();
    __u32 thread, slot;
    struct latency_begun *from = state ? find_begun(state, task, &thread) : 0;
    if (!from || from->tid != (__u32)task->pid || from->time_ns == 0) {
        return 0;
    }
    __u64 duration_ns = bpf_ktime_get_ns() - from->time_ns;
    from->time_ns = 0;
    if (from->turn != state->gate.turns) {
        return 0; /* the gate was closed meanwhile */
    }
    if (thread != THREADS_MOST - 1) {
        slot = state->threads[thread & (THREADS_MOST - 1)].slot;
    } else if (!targets_find(state, (__u32)task->tgid, &slot)) {
        return 0;
    }
    count(slot, call_number(task, regs, result, number_sigreturn), duration_ns);
    return 0;
}
