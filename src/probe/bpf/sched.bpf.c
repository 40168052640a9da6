/* Keeps track of what the threads of observed processes do: run, sleep, wait for a CPU. */
#include "targets.bpf.h"

#include "sched_shared.h"

char license_name[] SEC("license") = "Dual MIT/GPL";

/* linux/sched.h */
#define TASK_UNINTERRUPTIBLE 0x2
#define TASK_DEAD 0x80
#define TASK_WAKING 0x200
#define TASK_NOLOAD 0x400
#define PF_EXITING 0x4

/* linux/preempt.h: hard interrupts and NMIs; a softirq being served. */
#define COUNT_HARD 0x00ff0000
#define COUNT_SOFTIRQ 0x100

/* The clocks of two CPUs may differ by some microseconds (ktime_get_mono_fast_ns), and a change
 * that began before the gate closed may end after: only more than this is worth a word. */
#define BACKWARDS_NS 100000

#define unlikely(condition) __builtin_expect(!!(condition), 0)

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct sched_memory);
} memory SEC(".maps");

/* Set by the loader: how far from a CPU's run queue its count of interrupts lies (x86); 0: not
 * known. */
const volatile __s64 preempt_count_from_queue = 0;

static __always_inline struct sched_memory *memory_get(void)
{
    __u32 zero = 0;
    return bpf_map_lookup_elem(&memory, &zero);
}

/* ---- threads ---- */

/* A thread of an observed process that is seen for the first time. NULL: not observed, or no place
 * for it, or it is about to end: what had no place while it lived needs none now. */
static __noinline __u64 thread_enter(struct targets_state *state, struct sched_memory *to,
                                     struct task_struct *task)
{
    __u32 place;
    if ((task->flags & PF_EXITING) || !targets_find_thread(state, task, &place)) {
        return ENTRY_NONE;
    }
    __u64 entry = table_claim(to->table, (__u32)task->pid, ENTRY_ACTIVE | place);
    if (entry == ENTRY_NONE) {
        __sync_fetch_and_add(&state->lost_threads, 1);
    }
    return entry;
}

static __always_inline struct sched_thread *thread_at(struct sched_memory *in, __u64 entry)
{
    __u32 place = (__u32)entry & (THREADS_MOST - 1);
    /* The last place is many threads': what one does says nothing of the others. */
    return entry == ENTRY_NONE || place == THREADS_MOST - 1 ? 0 : &in->threads[place];
}

static __always_inline struct sched_thread *
thread_of(struct targets_state *state, struct sched_memory *in, struct task_struct *task)
{
    __u32 slot;
    __u64 entry = table_find(in->table, (__u32)task->pid);
    if (entry == ENTRY_NONE && targets_find(state, (__u32)task->tgid, &slot)) {
        entry = thread_enter(state, in, task);
    }
    return thread_at(in, entry);
}

/* From now on it does `next`; what it did before is counted as `was`. */
static __always_inline void change(struct sched_thread *thread, __u64 at, __u32 was, __u32 next)
{
    __u64 now = *(volatile __u64 *)&thread->now;
    if (unlikely(now == 0)) {
        /* The only change that may meet another: the look at all tasks (on_task). */
        now = __sync_val_compare_and_swap(&thread->now, 0, at << NOW_BITS | next);
        if (now == 0) {
            __sync_fetch_and_add(&thread->times[DOING_UNKNOWN], at);
            return;
        }
        was = now & NOW_DOING;
    }
    __u64 since = now >> NOW_BITS;
    if (unlikely(at < since)) {
        thread->lost += since - at > BACKWARDS_NS;
        at = since;
    }
    *(volatile __u64 *)&thread->times[was & NOW_DOING] += at - since;
    *(volatile __u64 *)&thread->now = at << NOW_BITS | next;
}

static __always_inline __u32 doing(const struct sched_thread *thread)
{
    return *(volatile __u64 *)&thread->now & NOW_DOING;
}

static __always_inline __u32 task_state(struct task_struct *task)
{
    if (bpf_core_field_exists(task->__state)) {
        return task->__state;
    }
    return (__u32)BPF_CORE_READ((struct task_struct___before_5_14 *)task, state);
}

static __always_inline __u32 doing_off_cpu(__u32 state)
{
    if (state == 0) {
        return DOING_PREEMPTED;
    }
    return (state & TASK_UNINTERRUPTIBLE) && !(state & TASK_NOLOAD) ? DOING_BLOCK : DOING_SLEEP;
}

/* ---- switches ---- */

/* Class of a delay, as distribution_class has it. */
static __always_inline __u32 delay_class(__u64 delay_ns)
{
    __u32 power = 0;
    if (delay_ns == 0) {
        return 1;
    }
    if (delay_ns >> 32) {
        delay_ns >>= 32;
        power = 32;
    }
    if (delay_ns >> 16) {
        delay_ns >>= 16;
        power += 16;
    }
    if (delay_ns >> 8) {
        delay_ns >>= 8;
        power += 8;
    }
    if (delay_ns >> 4) {
        delay_ns >>= 4;
        power += 4;
    }
    if (delay_ns >> 2) {
        delay_ns >>= 2;
        power += 2;
    }
    power += delay_ns >> 1;
    return power + 2 < DELAY_CLASSES ? power + 2 : DELAY_CLASSES - 1;
}

static __always_inline void count_delay(struct sched_thread *thread, __u32 kind, __u64 now_ns)
{
    __u64 delay_ns = now_ns > thread->queued_ns ? now_ns - thread->queued_ns : 0;
    __u32 class = delay_class(delay_ns);
    if (class < DELAY_CLASSES) { /* for the verifier */
        thread->delays[kind][class]++;
        thread->delay_sums_ns[kind] += delay_ns;
    }
}

/* A thread leaves its CPU whose arrival was not seen: kernels have been met that now and then do
 * not report a switch. The scheduler's own notes say when that was. */
static __noinline int arrival_missed(const struct targets_state *state, struct sched_thread *thread,
                                     struct task_struct *task, __u64 now_ns)
{
    __u64 clock = targets_clock(state);
    __u64 start_ns = *(volatile __u64 *)&state->gate.start_ns;
    __u64 arrival_ns = 0;
    __u32 was = doing(thread);
    thread->lost++;
    thread->woken_early = 0;
    thread->cpu = bpf_get_smp_processor_id() + 1;
    if (bpf_core_field_exists(task->sched_info) && task->se.cfs_rq) {
        __u64 since = task->sched_info.last_arrival;
        __u64 until = BPF_CORE_READ(task, se.cfs_rq, rq, clock);
        arrival_ns = since != 0 && until >= since ? now_ns - (until - since) : 0;
    }
    if (arrival_ns == 0 || !(clock & GATE_CLOCK_RUNS)) {
        return 0; /* not known; or of no window, which is known well enough */
    }
    __u64 at = targets_clock_at(clock, arrival_ns < start_ns ? start_ns : arrival_ns);
    __u64 since = *(volatile __u64 *)&thread->now >> NOW_BITS;
    change(thread, at < since ? since : at, was, DOING_RUN);
    return 0;
}

static __always_inline void leave(const struct targets_state *targets, struct sched_memory *in,
                                  struct sched_thread *thread, struct task_struct *task,
                                  bool preempt, __u64 clock, __u64 now_ns)
{
    /* The tracepoint hands over the state too, but in kernels before 5.18 not, and in some others
     * not that a signal has kept the task from sleeping. A waker may have made it TASK_WAKING by
     * now, but not yet running: that comes after the task has left its CPU. */
    __u32 state = task_state(task);
    __u32 next = preempt ? DOING_PREEMPTED : doing_off_cpu(state);
    if (unlikely(state == TASK_DEAD)) {
        next = DOING_GONE;
        table_remove(in->table, (__u32)task->pid);
    } else if (clock & GATE_CLOCK_RUNS) {
        if (next == DOING_PREEMPTED) {
            thread->switches_involuntary++;
        } else {
            thread->switches_voluntary++;
        }
    }
    thread->queued_ns = now_ns;
    __u32 was = doing(thread);
    if (unlikely(was != DOING_RUN && was != DOING_UNKNOWN)) {
        arrival_missed(targets, thread, task, now_ns);
        was = doing(thread);
    }
    change(thread, targets_clock_at(clock, now_ns), was, next);
}

/* A new thread has been waiting for a CPU since it was created. What an old one did before it was
 * observed is not known. */
static __always_inline void begin_life(const struct targets_state *state,
                                       const struct sched_memory *in, struct sched_thread *thread,
                                       struct task_struct *task, __u64 clock, __u64 now_ns)
{
    __u64 born_ns = task->start_time;
    __u64 start_ns = *(volatile __u64 *)&state->gate.start_ns;
    if (born_ns < in->looked_ns) {
        return;
    }
    if (clock & GATE_CLOCK_RUNS) {
        born_ns = born_ns < start_ns ? start_ns : born_ns > now_ns ? now_ns : born_ns;
    }
    change(thread, targets_clock_at(clock, born_ns), DOING_UNKNOWN, DOING_WAIT);
    thread->queued_ns = task->start_time;
}

static __always_inline void arrive(struct sched_thread *thread, __u64 clock, __u64 now_ns)
{
    __u32 was = doing(thread);
    if (was == DOING_SLEEP || was == DOING_BLOCK) {
        /* It runs, so it was woken; no wake-up was seen while it slept. Where one came just before
         * it left its CPU, it never slept. */
        if (thread->woken_early) {
            was = DOING_WAIT;
        } else {
            thread->lost++;
        }
    }
    thread->lost += was == DOING_RUN; /* it left its CPU unseen */
    thread->woken_early = 0;
    __u32 cpu = bpf_get_smp_processor_id() + 1;
    bool moved = thread->cpu != 0 && thread->cpu != cpu;
    thread->cpu = cpu;
    if (clock & GATE_CLOCK_RUNS) {
        thread->migrations += moved;
        if (was == DOING_WAIT) {
            count_delay(thread, DELAY_WOKEN, now_ns);
        } else if (was == DOING_PREEMPTED) {
            count_delay(thread, DELAY_PREEMPTED, now_ns);
        }
    }
    change(thread, targets_clock_at(clock, now_ns), was, DOING_RUN);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *from, struct task_struct *to)
{
    struct targets_state *state = targets_get();
    struct sched_memory *in = memory_get();
    if (!state || !in) {
        return 0;
    }
    struct sched_thread *left = from->pid ? thread_of(state, in, from) : 0;
    struct sched_thread *next = to->pid ? thread_of(state, in, to) : 0;
    if (!left) {
        barrier_var(next); /* both tests in one would be arithmetic on pointers */
        if (!next) {
            return 0;
        }
    }
    __u64 now_ns = bpf_ktime_get_ns();
    __u64 clock = targets_clock(state);
    if (left) {
        leave(state, in, left, from, preempt, clock, now_ns);
    }
    if (next) {
        if (unlikely(doing(next) == DOING_UNKNOWN)) {
            begin_life(state, in, next, to, clock, now_ns);
        }
        arrive(next, clock, now_ns);
    }
    return 0;
}

/* ---- wake-ups ---- */

/* What this CPU is serving: linux/preempt.h. */
static __always_inline __u32 preempt_count(struct task_struct *current)
{
#if defined(__TARGET_ARCH_arm64)
    return (__u32)current->thread_info.preempt_count;
#else
    /* A variable of the CPU, whose address only kernels with CONFIG_KALLSYMS_ALL tell; but it keeps
     * its distance to another one, to which the current task leads. */
    __u64 queue = 0;
    __u32 count = 0;
    struct cfs_rq *of = current->se.cfs_rq;
    if (preempt_count_from_queue == 0 || !of || bpf_core_read(&queue, sizeof queue, &of->rq) != 0) {
        return 0;
    }
    bpf_probe_read_kernel(&count, sizeof count, (void *)(queue + preempt_count_from_queue));
    return count;
#endif
}

static __always_inline __u64 waker_key(struct task_struct *waker)
{
    __u32 count = waker->pid == 0 ? 0 : preempt_count(waker);
    if (waker->pid == 0 || (count & COUNT_HARD)) {
        return (__u64)WAKER_INTERRUPT << 32; /* whom it has interrupted is chance */
    }
    return (__u64)(count & COUNT_SOFTIRQ ? WAKER_SOFTIRQ : WAKER_TASK) << 32 | (__u32)waker->pid;
}

static __always_inline void count_waker(struct sched_thread *thread, struct task_struct *waker)
{
    __u64 key = waker_key(waker);
    for (int i = 0; i < WAKERS; i++) {
        if (thread->waker_keys[i] == WAKER_FREE) {
            thread->waker_keys[i] = key;
            bpf_core_read(thread->waker_names[i], NAME_BYTES, &waker->comm);
        }
        if (thread->waker_keys[i] == key) {
            thread->waker_counts[i]++;
            return;
        }
    }
    thread->wakeups_by_others++;
}

/* The waker runs here, and holds the lock of the task that it wakes (pi_lock). */
SEC("tp_btf/sched_waking")
int BPF_PROG(on_waking, struct task_struct *task)
{
    struct sched_memory *in = memory_get();
    struct targets_state *state = targets_get();
    if (!in || !state) {
        return 0;
    }
    struct sched_thread *thread = thread_at(in, table_find(in->table, (__u32)task->pid));
    if (!thread) {
        return 0;
    }
    struct task_struct *waker = bpf_get_current_task_btf();
    if (waker->pid == task->pid) {
        return 0; /* it has not slept yet, and here nobody holds its lock */
    }
    __u32 was = doing(thread);
    __u64 clock;
    if (was == DOING_SLEEP || was == DOING_BLOCK) {
        __u64 now_ns = bpf_ktime_get_ns();
        clock = targets_clock(state);
        thread->queued_ns = now_ns;
        change(thread, targets_clock_at(clock, now_ns), was, DOING_WAIT);
    } else {
        clock = targets_clock(state);
        if (was == DOING_RUN) {
            thread->woken_early = 1;
        }
    }
    if (clock & GATE_CLOCK_RUNS) {
        thread->wakeups++;
        count_waker(thread, waker);
    }
    return 0;
}

/* ---- beginnings ---- */

/* A process that is observed from now on; or one whose thread takes over the id of its first one
 * (`old`: its id before). */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, __s32 old)
{
    struct targets_state *state = targets_get();
    struct sched_memory *in = memory_get();
    if (!state || !in) {
        return 0;
    }
    __u64 at = targets_clock_at(targets_clock(state), bpf_ktime_get_ns());
    if (old != task->pid) {
        struct sched_thread *before = thread_at(in, table_find(in->table, (__u32)old));
        if (before) {
            change(before, at, doing(before), DOING_GONE);
            table_remove(in->table, (__u32)old);
        }
    }
    struct sched_thread *thread = thread_of(state, in, task);
    if (thread && doing(thread) == DOING_UNKNOWN) {
        change(thread, at, DOING_UNKNOWN, DOING_RUN);
    }
    return 0;
}

/* Called for every task there is, as a window is about to begin: threads that have had no event
 * since the programs were attached. Whatever happens to one meanwhile is seen by the programs
 * above, and then stands instead of this. */
SEC("iter/task")
int on_task(struct bpf_iter__task *context)
{
    struct task_struct *task = context->task;
    struct targets_state *state = targets_get();
    struct sched_memory *in = memory_get();
    if (!task || !state || !in) {
        return 0;
    }
    struct sched_thread *thread = thread_of(state, in, task);
    if (!thread || doing(thread) != DOING_UNKNOWN) {
        return 0;
    }
    __u32 now = task_state(task);
    __u32 next = task->on_cpu                     ? DOING_RUN
                 : now == 0 || now == TASK_WAKING ? DOING_WAIT
                                                  : doing_off_cpu(now);
    __u64 now_ns = bpf_ktime_get_ns();
    __u64 at = targets_clock_at(targets_clock(state), now_ns);
    if (__sync_val_compare_and_swap(&thread->now, 0, at << NOW_BITS | next) == 0) {
        __sync_fetch_and_add(&thread->times[DOING_UNKNOWN], at);
    }
    return 0;
}
