#include "run/look.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "run/conductor.h"

/* With more workers than these, percentiles are those of the last cut: going through that many
 * banks four times a second would cost what it is about. */
#define BANKS_LOOKED_AT 64

struct looking {
    uint64_t next_ns, last_ns;
    uint64_t client[BANK_COUNTERS], server[BANK_COUNTERS]; /* at the last look, since the start */
    uint64_t since[BANK_COUNTERS];                         /* of the client, since then */
    uint64_t client_cpu_ns, server_cpu_ns;
    uint64_t looks_cpu_ns, looks_before_ns; /* of all looks; of those before the window */
    uint64_t thread_cpu_ns, window_cpu_ns;  /* of this thread, at the window's start; in it */
    struct histogram *latencies;            /* owned */
    cpu_set_t before[MACHINE_CPU_SETS];     /* where this thread may be */
    bool moved;
};

/* ---- where this thread is -------------------------------------------------------------------- */

/* CPUs of a list that its first `count` threads are pinned to. */
static void take_out(cpu_set_t *free_cpus, size_t size, const struct cpu_list *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        CPU_CLR_S((size_t)placement_cpu(list, i), size, free_cpus);
    }
}

/* Threads that are not pinned may be anywhere, and are the scheduler's to keep apart from. */
static void keep_apart(const struct conductor *conductor, struct looking *looking)
{
    const struct placement *placement = &conductor->placement;
    cpu_set_t free_cpus[MACHINE_CPU_SETS];
    size_t size = sizeof looking->before;
    bool unknown = placement->clients.count == 0 ||
                   (started_server(conductor) && placement->servers.count == 0);
    if (unknown || sched_getaffinity(0, size, looking->before) < 0) {
        return;
    }
    memcpy(free_cpus, looking->before, size);
    take_out(free_cpus, size, &placement->clients, conductor->worker_count);
    if (started_server(conductor)) {
        uint32_t threads =
            conductor->plan->web_program ? conductor->servers.count : conductor->server_threads;
        take_out(free_cpus, size, &placement->servers, threads);
    }
    looking->moved = CPU_COUNT_S(size, free_cpus) > 0 && sched_setaffinity(0, size, free_cpus) == 0;
}

int look_open(struct conductor *conductor, struct err *error)
{
    if (!conductor->plan->look) {
        return 0;
    }
    struct looking *looking = calloc(1, sizeof *looking);
    if (looking) {
        looking->latencies = histogram_new();
    }
    conductor->looking = looking;
    if (!looking || !looking->latencies) {
        look_close(conductor);
        return err_system(error, ENOMEM, "memory", "cannot look at the run");
    }
    looking->last_ns = clock_now_ns();
    looking->next_ns = looking->last_ns + LOOK_EVERY_NS;
    keep_apart(conductor, looking);
    return 0;
}

void look_rest(struct conductor *conductor)
{
    struct looking *looking = conductor->looking;
    if (looking && looking->moved) {
        looking->moved = sched_setaffinity(0, sizeof looking->before, looking->before) < 0;
    }
}

void look_close(struct conductor *conductor)
{
    struct looking *looking = conductor->looking;
    if (looking) {
        look_rest(conductor);
        histogram_free(looking->latencies);
        free(looking);
        conductor->looking = NULL;
    }
}

/* ---- reading what others write --------------------------------------------------------------- */

/* The worker's plain store of an aligned word is seen whole. */
static uint64_t word(const uint64_t *of)
{
    return __atomic_load_n(of, __ATOMIC_RELAXED);
}

/* The bank that a slot's worker writes. */
static const struct bank *present_bank(const struct worker_slot *slot)
{
    return &slot->banks[atomic_load_explicit(&slot->cut_done, memory_order_acquire) & 1];
}

static void add_counters(const struct worker_slot *slots, uint32_t count, uint64_t *sums)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct bank *bank = present_bank(&slots[i]);
        for (size_t k = 0; k < BANK_COUNTERS; k++) {
            sums[k] += word(&bank->counters[k]);
        }
    }
}

static void add_latencies(const struct worker_slot *slot, struct histogram *to)
{
    const struct histogram *from = &present_bank(slot)->histograms[0];
    uint64_t least = word(&from->minimum), most = word(&from->maximum);
    if (least > most || most > HISTOGRAM_HIGHEST) {
        return; /* empty, or not yet begun */
    }
    for (uint32_t i = histogram_index(least); i <= histogram_index(most); i++) {
        to->counts[i] += word(&from->counts[i]);
    }
    to->minimum = least < to->minimum ? least : to->minimum;
    to->maximum = most > to->maximum ? most : to->maximum;
}

static uint64_t count_errors(const struct bank *bank)
{
    uint64_t sum = word(&bank->errors_beyond);
    for (size_t i = 0; i < BANK_ERRORS; i++) {
        sum += word(&bank->errors[i].count);
    }
    return sum;
}

/* ---- a look ---------------------------------------------------------------------------------- */

static uint64_t clock_of(clockid_t clock)
{
    struct timespec time = {0};
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_nsec;
}

/* What was counted since the last look. */
static void since_last(const uint64_t *now, uint64_t *last, uint64_t *since)
{
    for (size_t i = 0; i < BANK_COUNTERS; i++) {
        since[i] = now[i] > last[i] ? now[i] - last[i] : 0;
        last[i] = now[i];
    }
}

static void look_at_counters(const struct conductor *conductor, struct run_look *look)
{
    const struct run_plan *plan = conductor->plan;
    const struct workload *workload = plan->workload;
    struct looking *looking = conductor->looking;
    uint64_t client[BANK_COUNTERS], server[BANK_COUNTERS], at_server[BANK_COUNTERS];
    memcpy(client, conductor->client_whole, sizeof client);
    memcpy(server, conductor->server_whole, sizeof server);
    add_counters(conductor->slots, conductor->worker_count, client);
    look->done = client[workload->bulk ? workload->bytes : workload->operations];
    since_last(client, looking->client, looking->since);
    look->counters = looking->since;
    look->so_far = looking->client;
    if (conductor->own_server) {
        add_counters(conductor->server_slots, conductor->server_slot_count, server);
        since_last(server, looking->server, at_server);
    }
    if (workload->bulk && !conductor->own_server) { /* nobody says now what has arrived */
        looking->since[workload->arrived_bytes] = looking->since[workload->sent_bytes];
    }
    if (workload->join) {
        workload->join(plan->workload_options, looking->since,
                       conductor->own_server ? at_server : NULL, 1);
    }
}

/* Of the window so far, as the record will have it: without what is being observed. */
static void look_at_latencies(const struct conductor *conductor, struct run_look *look)
{
    struct histogram *latencies = conductor->looking->latencies;
    histogram_clear(latencies);
    if (look->stage != RUN_BEFORE) {
        histogram_add(latencies, &conductor->client.plain.bank->histograms[0]);
        look->errors =
            count_errors(conductor->client.plain.bank) + count_errors(conductor->client.seen.bank);
    }
    for (uint32_t i = 0; i < conductor->worker_count; i++) {
        look->errors += count_errors(present_bank(&conductor->slots[i]));
        if (!look->observed && conductor->worker_count <= BANKS_LOOKED_AT) {
            add_latencies(&conductor->slots[i], latencies);
        }
    }
    look->latencies = latencies;
}

/* CPUs that were busy. Reading a process's CPU clock makes the scheduler look at the time slices of
 * its running threads, as each of its ticks does. */
static double busy(uint64_t now_ns, uint64_t *last_ns, uint64_t since_ns)
{
    uint64_t used_ns = now_ns > *last_ns ? now_ns - *last_ns : 0;
    bool known = *last_ns != 0 && since_ns != 0;
    *last_ns = now_ns;
    return known ? (double)used_ns / (double)since_ns : -1;
}

/* CPU time of the processes of an end that are there. */
static uint64_t cpu_of(const struct processes *processes)
{
    uint64_t sum_ns = 0;
    for (uint32_t i = 0; i < processes->count; i++) {
        clockid_t clock;
        if (processes->pids[i] > 0 && clock_getcpuclockid(processes->pids[i], &clock) == 0) {
            sum_ns += clock_of(clock);
        }
    }
    return sum_ns;
}

static void look_at_cpu(const struct conductor *conductor, struct run_look *look)
{
    struct looking *looking = conductor->looking;
    look->client_busy = busy(cpu_of(&conductor->clients), &looking->client_cpu_ns, look->since_ns);
    look->server_busy = started_server(conductor) ? busy(cpu_of(&conductor->servers),
                                                         &looking->server_cpu_ns, look->since_ns)
                                                  : -1;
}

uint64_t look_next_ns(const struct conductor *conductor)
{
    return conductor->looking ? conductor->looking->next_ns : UINT64_MAX;
}

void look_take(struct conductor *conductor, uint64_t now_ns, uint64_t until_ns)
{
    struct looking *looking = conductor->looking;
    const struct run_plan *plan = conductor->plan;
    if (!looking || now_ns < looking->next_ns) {
        return;
    }
    uint64_t cpu_ns = clock_of(CLOCK_THREAD_CPUTIME_ID), start_ns = conductor->window_start_ns;
    struct run_look look = {
        .workload = plan->workload,
        .label = plan->label,
        .stage = start_ns == 0              ? RUN_BEFORE
                 : conductor->window_end_ns ? RUN_AFTER
                                            : RUN_WINDOW,
        .since_ns = now_ns - looking->last_ns,
        .elapsed_ns = start_ns ? now_ns - start_ns : 0,
        .observed = conductor->observed_now,
        .count = plan->options->count,
    };
    uint64_t end_ns = look.stage != RUN_WINDOW ? until_ns
                      : look.count             ? 0
                                               : start_ns + plan->options->duration_ns;
    look.left_ns = end_ns > now_ns ? end_ns - now_ns : 0;
    look_at_counters(conductor, &look);
    look_at_latencies(conductor, &look);
    look_at_cpu(conductor, &look);
    plan->look(plan->owner, &look);
    looking->last_ns = now_ns;
    looking->next_ns += LOOK_EVERY_NS;
    if (looking->next_ns <= now_ns) { /* it was late: the missed ones are not made up for */
        looking->next_ns = now_ns + LOOK_EVERY_NS;
    }
    looking->looks_cpu_ns += clock_of(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
}

void look_window_begins(struct conductor *conductor)
{
    struct looking *looking = conductor->looking;
    if (looking) {
        looking->looks_before_ns = looking->looks_cpu_ns;
        looking->thread_cpu_ns = clock_of(CLOCK_THREAD_CPUTIME_ID);
    }
}

void look_window_ends(struct conductor *conductor)
{
    struct looking *looking = conductor->looking;
    if (looking) {
        looking->window_cpu_ns = clock_of(CLOCK_THREAD_CPUTIME_ID) - looking->thread_cpu_ns;
    }
}

static const struct metric metrics[] = {
    {"conductor_busy", "1", "conductor's thread",
     "with a live view: share of a CPU that the thread which cuts, observes and reports took in "
     "the "
     "window",
     METRIC_VALUE, 0, 0, false},
    {"live_view_busy", "1", "of it live view",
     "share of a CPU that looking at the run and drawing it took, on the conductor's thread",
     METRIC_VALUE, 0, 0, false},
};

int look_fill(const struct conductor *conductor)
{
    const struct looking *looking = conductor->looking;
    uint64_t wall_ns = conductor->window_end_ns - conductor->window_start_ns;
    if (!looking || wall_ns == 0) {
        return 0;
    }
    const uint64_t times_ns[] = {looking->window_cpu_ns,
                                 looking->looks_cpu_ns - looking->looks_before_ns};
    for (size_t i = 0; i < 2; i++) {
        struct record_value *value = record_add_value(conductor->run, &metrics[i]);
        if (!value) {
            return -1;
        }
        value->available = true;
        value->value = (double)times_ns[i] / (double)wall_ns;
    }
    return 0;
}
