/* Reads what the scheduling probe has counted: plain memory, no call to the kernel. */
#include "probe/sched_table.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* A change of a thread takes some nanoseconds; longer only where the CPU that makes it is taken
 * away from this machine meanwhile. */
#define TRIES 10000

static uint64_t load(const __u64 *cell)
{
    return (uint64_t)__atomic_load_n(cell, __ATOMIC_ACQUIRE);
}

/* ---- times ---- */

/* The times of one thread, and what it does since when: false where no moment without a change was
 * met (see struct sched_thread). */
static bool read_whole(const struct sched_thread *thread, uint64_t times_ns[DOING_COUNT],
                       uint64_t *now)
{
    for (int i = 0; i < TRIES; i++) {
        uint64_t sum = 0;
        *now = load(&thread->now);
        for (size_t d = 0; d < DOING_COUNT; d++) {
            times_ns[d] = load(&thread->times[d]);
            sum += times_ns[d];
        }
        if (sum == *now >> NOW_BITS && load(&thread->now) == *now) {
            return true;
        }
        sched_yield();
    }
    return false;
}

void sched_refresh(struct probe *probe)
{
    const struct gate *gate = targets_gate(probe->targets);
    uint64_t at = gate_clock_at(gate, clock_now_ns());
    for (size_t i = 0; i < THREADS_MOST - 1; i++) {
        const struct sched_thread *thread = &probe->memory->threads[i];
        uint64_t times_ns[DOING_COUNT], now;
        if (load(&thread->now) == 0) {
            continue;
        }
        if (!read_whole(thread, times_ns, &now)) {
            probe->unsteady++;
            continue;
        }
        /* What it is doing still has not been counted yet. */
        if (at > now >> NOW_BITS) {
            times_ns[now & NOW_DOING] += at - (now >> NOW_BITS);
        }
        memcpy(probe->seen[i].times_ns, times_ns, sizeof times_ns);
    }
}

void sched_forget(struct probe *probe)
{
    struct sched_memory *memory = probe->memory;
    memset(memory->table, 0, sizeof memory->table);
    for (size_t i = 0; i < THREADS_MOST; i++) {
        struct sched_thread *thread = &memory->threads[i];
        const struct sched_seen *seen = &probe->seen[i];
        uint64_t sum = 0;
        thread->now = 0;
        thread->cpu = 0;
        thread->woken_early = 0;
        for (size_t d = DOING_UNKNOWN + 1; d < DOING_COUNT; d++) {
            thread->times[d] = seen->times_ns[d];
            sum += seen->times_ns[d];
        }
        thread->times[DOING_UNKNOWN] = -sum; /* so that all of them are `now` again */
    }
}

/* ---- to the record ---- */

enum counter {
    ON_CPU,
    SHARE,
    SLEEPING,
    BLOCKED,
    WAITING,
    PREEMPTED,
    WAKEUPS,
    VOLUNTARY,
    INVOLUNTARY,
    MIGRATIONS,
    PER_OPERATION,
    COUNTERS
};
_Static_assert((int)COUNTERS == (int)SCHED_METRICS, "each has a row");

#define ROW(key, unit, title, help)                                                                \
    {                                                                                              \
        key, unit, title, help, METRIC_VALUE, 0, 0, false                                          \
    }

const struct metric sched_metrics[SCHED_METRICS] = {
    [ON_CPU] = ROW("on_cpu_ns", "ns", "on CPU",
                   "time on a CPU, interrupts that came meanwhile "
                   "included"),
    [SHARE] = ROW("on_cpu_share", "1", "share", "time on a CPU as a share of the window"),
    [SLEEPING] = ROW("sleeping_ns", "ns", "asleep",
                     "time in which it slept until something happened, or was stopped"),
    [BLOCKED] = ROW("blocked_ns", "ns", "blocked",
                    "time in which it slept uninterruptibly: disk, page faults, some locks"),
    [WAITING] = ROW("waiting_ns", "ns", "to run", "time from a wake-up until it got a CPU"),
    [PREEMPTED] =
        ROW("preempted_ns", "ns", "preempted", "time off the CPU although it could have gone on"),
    [WAKEUPS] = ROW("wakeups", "1", "wakes", "wake-ups that it got from others"),
    [VOLUNTARY] = ROW("switches_voluntary", "1", "vol.", "times that it went to sleep"),
    [INVOLUNTARY] = ROW("switches_involuntary", "1", "invol.", "times that its CPU was taken away"),
    [MIGRATIONS] = ROW("migrations", "1", "moves", "times that it went on on another CPU"),
    [PER_OPERATION] = ROW("on_cpu_ns_per_operation", "ns", "CPU/op",
                          "time on a CPU for each operation of the workload"),
};

static const struct histogram_metric run_queue_delay = {
    "run_queue_delay", "ns", "run-queue delay",
    "how long it waited for a CPU, each time that it got one"};

/* A row whose metrics are all there, the values of which `given` names. */
static int add_row(struct record_probe *to, const struct record_scope *scope,
                   const double values[COUNTERS], uint32_t given)
{
    struct record_probe_row *row = record_add_probe_row(to, scope);
    if (row == NULL) {
        return -1;
    }
    for (uint32_t i = 0; i < COUNTERS; i++) {
        if (!(given >> i & 1) || (i == PER_OPERATION && to->operations == 0)) {
            continue;
        }
        struct record_value *value = record_row_add_value(row, &sched_metrics[i]);
        if (value == NULL) {
            return -1;
        }
        value->available = true;
        value->value = values[i];
    }
    return 0;
}

static int add_thread(struct record_probe *to, const struct sched_thread *thread,
                      const struct sched_seen *seen, const struct record_scope *scope)
{
    const uint64_t *times_ns = seen->times_ns;
    double on_cpu_ns = (double)times_ns[DOING_RUN];
    double window_ns = (double)to->window_ns, operations = (double)to->operations;
    const double values[COUNTERS] = {
        [ON_CPU] = on_cpu_ns,
        [SHARE] = window_ns > 0 ? on_cpu_ns / window_ns : 0,
        [SLEEPING] = (double)times_ns[DOING_SLEEP],
        [BLOCKED] = (double)times_ns[DOING_BLOCK],
        [WAITING] = (double)times_ns[DOING_WAIT],
        [PREEMPTED] = (double)times_ns[DOING_PREEMPTED],
        [WAKEUPS] = (double)load(&thread->wakeups),
        [VOLUNTARY] = (double)load(&thread->switches_voluntary),
        [INVOLUNTARY] = (double)load(&thread->switches_involuntary),
        [MIGRATIONS] = (double)load(&thread->migrations),
        [PER_OPERATION] = operations > 0 ? on_cpu_ns / operations : 0,
    };
    return add_row(to, scope, values, ~(window_ns > 0 ? 0u : 1u << SHARE));
}

/* ---- who woke it ---- */

struct waker {
    char what[48]; /* as in record_scope */
    uint64_t count;
};

static int by_count(const void *a, const void *b)
{
    const struct waker *left = a, *right = b;
    return left->count < right->count ? 1 : left->count > right->count ? -1 : 0;
}

static void name_waker(const struct sched_thread *thread, size_t index, struct waker *waker)
{
    uint64_t key = load(&thread->waker_keys[index]);
    uint64_t kind = key >> 32;
    if (kind == WAKER_INTERRUPT) {
        snprintf(waker->what, sizeof waker->what, "woken by interrupt");
        return;
    }
    snprintf(waker->what, sizeof waker->what, "woken by %.*s %u%s", NAME_BYTES,
             thread->waker_names[index], (uint32_t)key, kind == WAKER_SOFTIRQ ? " (softirq)" : "");
}

static int add_wakers(struct record_probe *to, const struct sched_thread *thread,
                      const struct record_scope *scope)
{
    struct waker wakers[WAKERS + 1];
    size_t count = 0;
    for (size_t i = 0; i < WAKERS && load(&thread->waker_counts[i]) > 0; i++) {
        wakers[count].count = load(&thread->waker_counts[i]);
        name_waker(thread, i, &wakers[count++]);
    }
    qsort(wakers, count, sizeof wakers[0], by_count);
    uint64_t others = load(&thread->wakeups_by_others);
    if (others > 0) {
        snprintf(wakers[count].what, sizeof wakers[count].what, "woken by others");
        wakers[count++].count = others;
    }
    for (size_t i = 0; i < count; i++) {
        struct record_scope woken = *scope;
        const double values[COUNTERS] = {[WAKEUPS] = (double)wakers[i].count};
        memcpy(woken.what, wakers[i].what, sizeof woken.what);
        if (add_row(to, &woken, values, 1u << WAKEUPS) != 0) {
            return -1;
        }
    }
    return 0;
}

static int add_delays(struct record_probe *to, const struct sched_thread *thread,
                      const struct record_scope *scope)
{
    static const char *const after[DELAY_KINDS] = {
        [DELAY_WOKEN] = "after wake-up", [DELAY_PREEMPTED] = "after preemption"};
    for (size_t kind = 0; kind < DELAY_KINDS; kind++) {
        struct record_scope delayed = *scope;
        struct record_distribution *distribution = NULL;
        snprintf(delayed.what, sizeof delayed.what, "%s", after[kind]);
        for (size_t i = 0; i < DELAY_CLASSES; i++) {
            uint64_t count = load(&thread->delays[kind][i]);
            if (count > 0 && distribution == NULL) {
                distribution = record_add_distribution(to, &run_queue_delay, &delayed);
                if (distribution == NULL) {
                    return -1;
                }
                distribution->sum = (double)load(&thread->delay_sums_ns[kind]);
            }
            if (count > 0) {
                distribution->classes[i] = count;
            }
        }
    }
    return 0;
}

/* True where the thread was there in some window. */
static bool was_there(const struct sched_thread *thread, const struct sched_seen *seen)
{
    uint64_t sum = thread->wakeups + thread->switches_voluntary + thread->switches_involuntary;
    for (size_t d = DOING_RUN; d < DOING_GONE; d++) {
        sum += seen->times_ns[d];
    }
    return sum > 0;
}

static int read_thread(struct probe *probe, uint32_t index, struct record_probe *to)
{
    const struct targets *targets = probe->targets;
    const struct thread_slot *slot = &targets->state->threads[index];
    const struct sched_thread *thread = &probe->memory->threads[index];
    to->lost += load(&thread->lost);
    if (!was_there(thread, &probe->seen[index])) {
        return 0;
    }
    struct record_scope scope = {.pid = (pid_t)slot->tgid, .tid = (pid_t)slot->tid};
    uint32_t process = slot->slot < targets->slots ? slot->slot : targets->slots - 1;
    snprintf(scope.role, sizeof scope.role, "%s",
             targets_role(targets, &targets->state->slots[process]));
    targets_thread_name(slot, scope.name, sizeof scope.name);
    if (add_thread(to, thread, &probe->seen[index], &scope) != 0 ||
        add_wakers(to, thread, &scope) != 0 || add_delays(to, thread, &scope) != 0) {
        return -1;
    }
    return 0;
}

int sched_read(struct probe *probe, const struct probe_scope *scope, struct record_run *run,
               struct err *error)
{
    bool shared;
    uint32_t used = targets_threads_used(probe->targets, &shared);
    struct record_probe *to = record_add_probe(run, "sched");
    if (to == NULL) {
        return err_set(error, ERR_LIMIT, "sched", "no memory for the counts");
    }
    if (probe->attached) {
        sched_refresh(probe);
    }
    to->available = true;
    to->window_ns = scope->window_ns;
    to->operations = scope->operations;
    to->bytes = scope->bytes;
    to->lost = sched_missed(probe) + probe->unsteady;
    char crowded[96] = "";
    if (shared) {
        snprintf(crowded, sizeof crowded,
                 "more threads than the probe has places (%d): the last ones are not counted",
                 THREADS_MOST - 1);
    }
    snprintf(to->reason, sizeof to->reason, "%s%s%s", crowded,
             shared && !probe->interrupts ? "; " : "",
             probe->interrupts ? "" : "wake-ups by interrupts count for the task that they met");
    for (uint32_t i = 0; i < used; i++) {
        if (read_thread(probe, i, to) != 0) {
            return err_set(error, ERR_LIMIT, "sched", "no memory for the counts");
        }
    }
    return 0;
}
