#include "run/collect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"

/* A worker that does not cut within this time gets no CPU or is stuck in the kernel; its numbers
 * stay in its bank. */
#define CUT_TIMEOUT_NS (2 * NS_PER_SECOND)

void *shared_memory(size_t bytes, struct err *error)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        err_system(error, errno, "memory", "cannot reserve %zu MiB", bytes >> 20);
        return NULL;
    }
    return memory;
}

void shared_release(void *memory, size_t bytes)
{
    if (memory) {
        munmap(memory, bytes);
    }
}

int tally_init(struct tally *tally, uint32_t slot_count, uint32_t flow_count, struct err *error)
{
    flow_count = flow_count < TALLY_FLOWS ? flow_count : TALLY_FLOWS;
    *tally = (struct tally){.slot_count = slot_count, .flow_count = flow_count};
    tally->bank = calloc(1, sizeof *tally->bank);
    tally->worker_cpu_ns = calloc(slot_count + 1, sizeof *tally->worker_cpu_ns);
    tally->worker_window_ns = calloc(slot_count + 1, sizeof *tally->worker_window_ns);
    tally->flows = calloc(flow_count + 1, sizeof *tally->flows);
    if (!tally->bank || !tally->flows || !tally->worker_cpu_ns || !tally->worker_window_ns) {
        tally_release(tally);
        return err_system(error, ENOMEM, "memory", "cannot keep the results");
    }
    bank_clear(tally->bank);
    return 0;
}

void tally_release(struct tally *tally)
{
    free(tally->bank);
    free(tally->worker_cpu_ns);
    free(tally->worker_window_ns);
    free(tally->flows);
    *tally = (struct tally){0};
}

void tally_clear(struct tally *tally)
{
    bank_clear(tally->bank);
    tally->window_ns = tally->first_ns = tally->last_ns = tally->skew_ns = 0;
    memset(tally->worker_cpu_ns, 0, tally->slot_count * sizeof *tally->worker_cpu_ns);
    memset(tally->worker_window_ns, 0, tally->slot_count * sizeof *tally->worker_window_ns);
    memset(tally->flows, 0, tally->flow_count * sizeof *tally->flows);
}

void tally_flow_add(struct tally_flow *to, const struct tally_flow *from)
{
    to->seen = to->seen || from->seen;
    for (size_t i = 0; i < FLOW_COUNTERS; i++) {
        to->counters[i] += from->counters[i];
    }
    tcp_figures_add(&to->tcp, &from->tcp);
}

void tally_add(struct tally *to, const struct tally *from)
{
    bank_add(to->bank, from->bank);
    to->window_ns += from->window_ns;
    to->skew_ns = from->skew_ns > to->skew_ns ? from->skew_ns : to->skew_ns;
    for (uint32_t i = 0; i < to->slot_count && i < from->slot_count; i++) {
        to->worker_cpu_ns[i] += from->worker_cpu_ns[i];
        to->worker_window_ns[i] += from->worker_window_ns[i];
    }
    for (uint32_t i = 0; i < to->flow_count && i < from->flow_count; i++) {
        if (from->flows[i].seen) {
            tally_flow_add(&to->flows[i], &from->flows[i]);
        }
    }
}

static void add_flows(struct tally *tally, const struct bank *bank)
{
    uint32_t used = bank->flow_count < BANK_FLOWS ? bank->flow_count : BANK_FLOWS;
    for (uint32_t i = 0; i < used; i++) {
        const struct bank_flow *flow = &bank->flows[i];
        if (flow->number_plus_1 == 0 || flow->number_plus_1 > tally->flow_count) {
            continue;
        }
        struct tally_flow part = {.seen = true, .tcp = flow->tcp};
        memcpy(part.counters, flow->counters, sizeof part.counters);
        tcp_figures_since(&part.tcp, &flow->tcp_before);
        tally_flow_add(&tally->flows[flow->number_plus_1 - 1], &part);
    }
}

static bool has_left(uint32_t state)
{
    return state == SLOT_FREE || state == SLOT_ENDED;
}

static void add_bank(struct tally *tally, uint32_t index, struct bank *bank, uint64_t finished_ns)
{
    if (bank->start_ns && bank->end_ns > bank->start_ns) {
        uint64_t end_ns = bank->end_ns;
        if (finished_ns && finished_ns < end_ns) {
            end_ns = finished_ns;
        }
        tally->worker_window_ns[index] += end_ns > bank->start_ns ? end_ns - bank->start_ns : 0;
    }
    tally->worker_cpu_ns[index] += bank->cpu_user_ns + bank->cpu_system_ns;
    bank_add(tally->bank, bank);
    add_flows(tally, bank);
    bank_clear(bank);
}

/* Reads a slot whose thread has left without the cut that it was asked for: nobody writes it,
 * unless a new thread takes it, which the state COLLECTED holds off. False where one has: that one
 * cuts. */
static bool collect_left(struct worker_slot *slot, uint32_t index, struct tally *tally)
{
    uint32_t state = atomic_load(&slot->state);
    if (!has_left(state) || !atomic_compare_exchange_strong(&slot->state, &state, SLOT_COLLECTED)) {
        return false;
    }
    uint32_t done = atomic_load(&slot->cut_done);
    atomic_store(&slot->cut_wanted, done);
    for (int i = 0; i < 2; i++) {
        if (slot->banks[i].end_ns) {
            add_bank(tally, index, &slot->banks[i], 0);
        }
    }
    atomic_store(&slot->state, state);
    return true;
}

static bool is_cut(struct worker_slot *slot)
{
    return atomic_load_explicit(&slot->cut_done, memory_order_acquire) ==
           atomic_load(&slot->cut_wanted);
}

static bool owes_cut(struct worker_slot *slot)
{
    return !is_cut(slot) && !has_left(atomic_load(&slot->state));
}

/* Waits for the cut that a worker owes; false where it does not come in time. */
static bool await_cut(struct worker_slot *slot, uint64_t until_ns)
{
    struct timespec pause = clock_timespec(20 * NS_PER_US);
    while (owes_cut(slot)) {
        if (clock_now_ns() >= until_ns) {
            return false;
        }
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        pause.tv_nsec = pause.tv_nsec < 500000 ? pause.tv_nsec * 2 : pause.tv_nsec;
    }
    return true;
}

/* The cuts of a part. */
struct cuts {
    uint64_t first_ns, last_ns; /* the first start, the last end */
    bool finished;              /* a worker was done before its cut */
    /* Of the workers that counted something: so many. */
    uint32_t workers;
    uint64_t earliest_ns; /* the first of their ends; last_ns is the last one */
    double work, speed;   /* all that they counted, and that over each one's own time */
};

/* The measured time of a part: workers that have something to do are cut at almost the same time.
 * Where one was not (it got no CPU for a while), the time in which what all counted would have been
 * counted at the sum of each one's own rate: their mean, weighted by what each counted in a second.
 * Those without work (a thread that only accepts) look for a cut but every 20 ms, and counted
 * nothing in whatever time that made. Where workers are done at different times, from the first
 * start to the last end: the others' waiting for the last one is part of it. */
static uint64_t part_window(const struct tally *tally, const struct cuts *cuts)
{
    uint64_t sum_ns = 0, measured = 0;
    for (uint32_t i = 0; i < tally->slot_count; i++) {
        sum_ns += tally->worker_window_ns[i];
        measured += tally->worker_window_ns[i] != 0;
    }
    if (cuts->finished && cuts->last_ns > cuts->first_ns && measured) {
        return cuts->last_ns - cuts->first_ns;
    }
    if (cuts->workers && cuts->speed > 0) {
        return (uint64_t)(cuts->work / cuts->speed + 0.5);
    }
    return measured ? sum_ns / measured : 0;
}

/* All that a bank counted, of whatever kind: 0 where it did nothing. */
static double counted(const struct bank *bank)
{
    double sum = 0;
    for (size_t i = 0; i < BANK_COUNTERS; i++) {
        sum += (double)bank->counters[i];
    }
    return sum;
}

/* Takes over what a worker closed. */
static void take_closed(struct tally *tally, uint32_t index, struct bank *closed,
                        uint64_t finished_ns, struct cuts *cuts)
{
    uint64_t end_ns = finished_ns && finished_ns < closed->end_ns ? finished_ns : closed->end_ns;
    double work = counted(closed);
    cuts->finished = cuts->finished || (finished_ns && finished_ns <= closed->end_ns);
    if (closed->start_ns && end_ns > closed->start_ns && work > 0) {
        cuts->first_ns = closed->start_ns < cuts->first_ns ? closed->start_ns : cuts->first_ns;
        cuts->last_ns = end_ns > cuts->last_ns ? end_ns : cuts->last_ns;
        cuts->earliest_ns = end_ns < cuts->earliest_ns ? end_ns : cuts->earliest_ns;
        cuts->work += work;
        cuts->speed += work / (double)(end_ns - closed->start_ns);
        cuts->workers++;
        tally->first_ns = cuts->workers == 1 || closed->start_ns < tally->first_ns
                              ? closed->start_ns
                              : tally->first_ns;
        tally->last_ns = end_ns > tally->last_ns ? end_ns : tally->last_ns;
    }
    add_bank(tally, index, closed, finished_ns);
}

void collect_ask(struct worker_slot *slots, uint32_t slot_count)
{
    for (uint32_t i = 0; i < slot_count; i++) {
        /* Never two cuts at once: the second would go on in a bank that is not read yet. And no
         * patience with one that has been late already. A slot without a thread is asked, too: one
         * that takes it now cuts first, so that what earlier threads counted in it stays on this
         * side of the cut. */
        slots[i].late = owes_cut(&slots[i]);
        if (is_cut(&slots[i])) {
            atomic_fetch_add(&slots[i].cut_wanted, 1);
        }
    }
}

/* One slot's part; false where its cut does not come in time. What a thread counted between its cut
 * and its leaving is of the next part. */
static bool take_slot(struct worker_slot *slot, uint32_t index, uint64_t until_ns,
                      struct tally *tally, struct cuts *cuts)
{
    do {
        if (!await_cut(slot, until_ns)) {
            return false;
        }
    } while (!is_cut(slot) && !collect_left(slot, index, tally));
    uint32_t done = atomic_load_explicit(&slot->cut_done, memory_order_acquire);
    struct bank *closed = &slot->banks[(done + 1) & 1];
    if (closed->end_ns) {
        take_closed(tally, index, closed, atomic_load(&slot->finished_ns), cuts);
    }
    return true;
}

uint32_t collect_take(struct worker_slot *slots, uint32_t slot_count, struct tally *tally)
{
    uint32_t late = 0;
    struct cuts cuts = {.first_ns = UINT64_MAX, .earliest_ns = UINT64_MAX};
    uint64_t until_ns = clock_now_ns() + CUT_TIMEOUT_NS;
    tally_clear(tally);
    for (uint32_t i = 0; i < slot_count; i++) {
        late += !take_slot(&slots[i], i, slots[i].late ? 0 : until_ns, tally, &cuts);
    }
    tally->window_ns = part_window(tally, &cuts);
    tally->skew_ns = cuts.finished || !cuts.workers ? 0 : cuts.last_ns - cuts.earliest_ns;
    return late;
}

uint32_t collect(struct worker_slot *slots, uint32_t slot_count, struct tally *tally)
{
    collect_ask(slots, slot_count);
    return collect_take(slots, slot_count, tally);
}

double tally_busiest(const struct tally *tally, uint32_t *worker)
{
    double busiest = -1;
    for (uint32_t i = 0; i < tally->slot_count; i++) {
        if (tally->worker_window_ns[i] == 0) {
            continue;
        }
        double share = (double)tally->worker_cpu_ns[i] / (double)tally->worker_window_ns[i];
        if (share > busiest) {
            busiest = share;
            *worker = i;
        }
    }
    return busiest;
}
