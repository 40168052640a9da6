/* The measured window: parts, cuts, intervals, and the alternation of unobserved and observed
 * parts (off, on, on, off: a linear drift cancels within each block of four). */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/arrived.h"
#include "run/asked.h"
#include "run/conductor.h"
#include "run/look.h"
#include "run/peer.h"

/* At least so many blocks in a window, so that the probe effect gets an interval. */
#define BLOCKS_WANTED 5
/* Parts are not made shorter than this: attaching and detaching take milliseconds. */
#define PART_LEAST_NS (50 * NS_PER_MS)

bool window_finished(const struct conductor *conductor)
{
    for (uint32_t i = 0; i < conductor->worker_count; i++) {
        uint32_t state = atomic_load(&conductor->slots[i].state);
        if (state != SLOT_FINISHED && state != SLOT_ENDED) {
            return false;
        }
    }
    return true;
}

/* How often to look whether the workers are done: where they are to stop by count, soon enough for
 * little to be added to the run, and seldom enough to cost nothing beside it. When they were done
 * they have noted themselves. */
static uint64_t look_every(const struct conductor *conductor, uint64_t now_ns)
{
    const uint64_t most_ns = 50 * NS_PER_MS;
    if (!conductor->plan->options->count) {
        return most_ns;
    }
    uint64_t passed_ns = now_ns - conductor->window_start_ns;
    uint64_t look_ns = passed_ns / 64;
    look_ns = look_ns > NS_PER_MS ? look_ns : NS_PER_MS;
    return look_ns < most_ns ? look_ns : most_ns;
}

bool window_wait(struct conductor *conductor, uint64_t until_ns)
{
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        uint64_t look_ns = look_every(conductor, now_ns);
        /* Looked at even where no time is left: cuts that come late, one after the other, must not
         * keep the user's wish from being heard. */
        uint64_t left_ns = now_ns < until_ns ? until_ns - now_ns : 0;
        look_take(conductor, now_ns, until_ns);
        footprint_take(conductor, now_ns);
        uint64_t next_ns = look_next_ns(conductor);
        uint64_t wait_ns = left_ns < look_ns ? left_ns : look_ns;
        wait_ns = next_ns < now_ns + wait_ns ? next_ns - now_ns : wait_ns;
        struct timespec wait = clock_timespec(wait_ns);
        struct pollfd stop = {.fd = conductor->plan->stop_fd, .events = POLLIN};
        if (ppoll(&stop, 1, &wait, NULL) > 0) {
            conductor->interrupted = true;
            return false;
        }
        const struct run_plan *plan = conductor->plan;
        if (run_broken(conductor, false) || window_finished(conductor) || peer_ended(conductor) ||
            (plan->beside_ended && plan->beside_ended(plan->beside))) {
            return false;
        }
        if (left_ns == 0) {
            return true;
        }
    }
}

static void add_whole(uint64_t *whole, const struct tally *part)
{
    for (size_t i = 0; i < BANK_COUNTERS; i++) {
        whole[i] += part->bank->counters[i];
    }
}

/* Counters that count in every part are among those of the unobserved ones, whatever the part
 * was. */
static void keep_whole(struct conductor *conductor, const struct tally *part)
{
    uint64_t whole = conductor->plan->workload->whole;
    for (size_t i = 0; i < BANK_COUNTERS && whole; i++) {
        if (whole >> i & 1) {
            conductor->client.plain.bank->counters[i] += part->bank->counters[i];
            conductor->interval.bank->counters[i] += part->bank->counters[i];
        }
    }
}

/* What concerns both ends of a part together. */
static void join_ends(struct conductor *conductor, struct tally *client, struct tally *server)
{
    const struct run_plan *plan = conductor->plan;
    double scale = 1;
    arrived_take(conductor, client);
    add_whole(conductor->client_whole, client);
    bank_silence_add(&conductor->silence, &client->bank->silence);
    if (client->bank->opened_ns > conductor->opened_ns) {
        conductor->opened_ns = client->bank->opened_ns;
    }
    if (server) {
        add_whole(conductor->server_whole, server);
        if (conductor->server_error.count == 0) {
            conductor->server_error = server->bank->errors[0];
        }
        /* The server of a counted run is cut some time after everything has ended. */
        if (plan->options->count == 0 && client->window_ns && server->window_ns) {
            scale = (double)client->window_ns / (double)server->window_ns;
        }
    }
    if (plan->workload->join) {
        plan->workload->join(plan->workload_options, client->bank->counters,
                             server ? server->bank->counters : NULL, scale);
    }
}

static void collect_ends(struct conductor *conductor, struct tally *client, struct tally *server)
{
    run_broken(conductor, true); /* nobody is waited for who is not there */
    collect_ask(conductor->slots, conductor->worker_count);
    if (conductor->own_server) {
        collect_ask(conductor->server_slots, conductor->server_slot_count);
    }
    conductor->asked_ns = clock_now_ns();
    if (conductor->counting_begins) { /* not once an idle worker has been waited for */
        gate_open(watch_gate(conductor->watch), clock_now_ns());
    }
    if (conductor->window_ends) { /* nothing is begun behind the cut that ends the window */
        atomic_store(&conductor->shared->client.phase, RUN_DRAIN);
    }
    conductor->late += collect_take(conductor->slots, conductor->worker_count, client);
    if (conductor->own_server) {
        collect_take(conductor->server_slots, conductor->server_slot_count, server);
    }
    peer_count(conductor, client);
    join_ends(conductor, client, conductor->own_server ? server : NULL);
}

void window_collect(struct conductor *conductor)
{
    collect_ends(conductor, &conductor->client.part, &conductor->server.part);
}

/* As window_discard, with the gate of the peer's probes. */
static void discard(struct conductor *conductor, enum session_gate gate)
{
    peer_cut(conductor, SESSION_NONE, gate);
    collect_ends(conductor, &conductor->discarded, &conductor->server.part);
    keep_whole(conductor, &conductor->discarded);
    if (conductor->plan->workload->whole) {
        bank_add_errors(conductor->client.plain.bank, conductor->discarded.bank);
    }
}

void window_discard(struct conductor *conductor)
{
    discard(conductor, SESSION_GATE_KEEP);
}

/* The turn of this side's own watch; WATCH_OFF where only the peer observes. */
static int own_turn(const struct conductor *conductor, int turn)
{
    return watch_probes(conductor->watch) ? turn : WATCH_OFF;
}

/* When the interval's first part began at the workers, from the start of the window. */
static uint64_t interval_start(const struct conductor *conductor)
{
    uint64_t start_ns = conductor->interval.bank->start_ns;
    start_ns = start_ns ? start_ns : conductor->interval_start_ns;
    return start_ns > conductor->window_start_ns ? start_ns - conductor->window_start_ns : 0;
}

static void close_interval(struct conductor *conductor, uint64_t now_ns)
{
    const struct run_plan *plan = conductor->plan;
    struct series_point point = {
        .start_ns = interval_start(conductor),
        .duration_ns = conductor->interval.window_ns,
    };
    memcpy(point.counters, conductor->interval.bank->counters, sizeof point.counters);
    point.counters[SERIES_ERRORS] = bank_errors(conductor->interval.bank);
    point.counters[SERIES_KERNEL_CALLS] = conductor->interval_kernel_calls;
    point.counters[SERIES_KERNEL_NS] = conductor->interval_kernel_ns;
    series_append(&conductor->series, &point);
    if (plan->progress) {
        struct run_progress progress = {
            .window_start_ns = conductor->window_start_ns,
            .start_ns = point.start_ns,
            .end_ns = now_ns - conductor->window_start_ns,
            .window_ns = point.duration_ns,
            .bank = conductor->interval.bank,
            .server = conductor->own_server ? conductor->server_interval.bank : NULL,
            .so_far = conductor->client.plain.bank,
            .workload = plan->workload,
            .asked = asked_between(conductor, point.start_ns, now_ns - conductor->window_start_ns),
            .observed = conductor->interval_kernel_ns > 0,
            .kernel_role = watch_role(conductor->watch),
        };
        if (progress.observed) {
            progress.kernel_calls_per_second = (double)conductor->interval_kernel_calls * 1e9 /
                                               (double)conductor->interval_kernel_ns;
        }
        plan->progress(plan->owner, &progress);
    }
    flows_keep(&conductor->interval_flows, point.start_ns, FLOW_CLIENT, &conductor->interval);
    flows_keep(&conductor->interval_flows, point.start_ns, FLOW_SERVER,
               &conductor->server_interval);
    tally_clear(&conductor->interval);
    tally_clear(&conductor->server_interval);
    conductor->interval_kernel_calls = conductor->interval_kernel_ns = 0;
    conductor->interval_start_ns = now_ns;
}

/* `probe`: the one that was on; `last`: no further part is observed with it for now. */
static void take_part(struct conductor *conductor, int probe, bool last)
{
    const struct workload *workload = conductor->plan->workload;
    const struct tally *part = &conductor->client.part;
    bool seen = probe != WATCH_OFF;
    peer_cut(conductor, seen ? SESSION_SEEN : SESSION_PLAIN,
             seen && last ? SESSION_GATE_CLOSE : SESSION_GATE_KEEP);
    if (seen && last && watch_probes(conductor->watch)) { /* before an idle worker is waited for */
        gate_close(watch_gate(conductor->watch), clock_now_ns());
    }
    window_collect(conductor);
    watch_part_ends(conductor->watch, seen, part->bank->counters[workload->operations]);
    if (seen) {
        struct probe_scope scope = {.window_ns = part->window_ns,
                                    .operations = part->bank->counters[workload->operations],
                                    .bytes = part->bank->counters[workload->bytes]};
        const struct gated_part gated = {part->first_ns, part->last_ns, conductor->asked_ns};
        watch_gated(conductor->watch, &gated, &scope);
        watch_seen(conductor->watch, &scope);
        peer_seen(conductor);
        keep_whole(conductor, part);
        tally_add(&conductor->client.seen, part);
        tally_add(&conductor->server.seen, &conductor->server.part);
        tally_add(&conductor->block_seen, part);
        if (watch_counts_calls(conductor->watch, own_turn(conductor, probe))) {
            conductor->interval_kernel_ns += scope.window_ns;
        }
    } else {
        tally_add(&conductor->client.plain, part);
        asked_take(conductor, part);
        conductor->plain_operations += part->bank->counters[workload->operations];
        tally_add(&conductor->server.plain, &conductor->server.part);
        tally_add(&conductor->block_plain, part);
        tally_add(&conductor->interval, part);
        if (conductor->own_server) {
            tally_add(&conductor->server_interval, &conductor->server.part);
        }
    }
}

/* Closes a block of four parts. */
static void close_block(struct conductor *conductor, int probe)
{
    uint32_t operations = conductor->plan->workload->operations;
    peer_block(conductor, probe);
    watch_block(conductor->watch, own_turn(conductor, probe),
                conductor->block_plain.bank->counters[operations], conductor->block_plain.window_ns,
                conductor->block_seen.bank->counters[operations], conductor->block_seen.window_ns);
    tally_clear(&conductor->block_plain);
    tally_clear(&conductor->block_seen);
}

/* How many parts an interval has, and how long they are. A window of `duration` is to hold
 * BLOCKS_WANTED blocks for each of the P probes that take turns, so an interval
 * has its share of that, interval / duration, rounded up to whole blocks; an interval holds whole
 * blocks, as many as make them that short, and no more than leave PART_LEAST_NS to each of their
 * four parts. So 5 s in intervals of 1 s are 1 block an interval for one probe (parts of 250 ms), 3
 * for three (83 ms), 5 for five and more (50 ms): seven probes then have 3 or 4 blocks each. */
static uint64_t part_length(const struct conductor *conductor, uint64_t *parts_in_interval)
{
    const struct run_options *options = conductor->plan->options;
    uint64_t probe_count = peer_turns(conductor);
    *parts_in_interval = 1;
    if (probe_count == 0) {
        return options->interval_ns;
    }
    /* How long a counted run takes is not known: its parts are as short as they may be. */
    uint64_t most = options->interval_ns / (WATCH_PARTS_IN_BLOCK * PART_LEAST_NS);
    uint64_t blocks = most;
    if (options->count == 0) {
        uint64_t wanted = BLOCKS_WANTED * probe_count * options->interval_ns;
        blocks = (wanted + options->duration_ns - 1) / options->duration_ns;
        blocks = blocks < most ? blocks : most;
    }
    blocks = blocks ? blocks : 1;
    *parts_in_interval = blocks * WATCH_PARTS_IN_BLOCK;
    return options->interval_ns / *parts_in_interval;
}

/* Counting begins with the next cut, which begins the observed part. */
static int begin_counting(struct conductor *conductor, struct err *error)
{
    if (watch_probes(conductor->watch) == 0) {
        return 0; /* the peer's do */
    }
    if (watch_begin(conductor->watch, error) < 0) {
        return -1;
    }
    conductor->calls_before = watch_calls(conductor->watch);
    /* It looks after the run beside what is measured. */
    watch_gate(conductor->watch)->muted = (uint32_t)gettid();
    conductor->counting_begins = true;
    return 0;
}

static int end_counting(struct conductor *conductor, struct err *error)
{
    if (watch_probes(conductor->watch) == 0) {
        return 0;
    }
    conductor->interval_kernel_calls += watch_calls(conductor->watch) - conductor->calls_before;
    return watch_end(conductor->watch, error);
}

/* Whether the end of the window ends the work too. */
static bool drains_at_once(const struct conductor *conductor)
{
    return !conductor->plan->workload->bulk && conductor->plan->options->cooldown_ns == 0;
}

/* One part. *on: the probe that is attached, before and after. */
static int run_part(struct conductor *conductor, uint64_t part, uint64_t until_ns, uint64_t end_ns,
                    int *on, bool *more, struct err *error)
{
    size_t turns = peer_turns(conductor);
    int probe = watch_plan_of(turns, part);
    uint64_t place = part % WATCH_PARTS_IN_BLOCK;
    if (probe != *on) {
        if (watch_attach(conductor->watch, own_turn(conductor, probe), error) < 0 ||
            peer_attach(conductor, probe, error) < 0) {
            return -1;
        }
        *on = probe;
        if (probe != WATCH_OFF && begin_counting(conductor, error) < 0) {
            return -1;
        }
        discard(conductor, probe == WATCH_OFF ? SESSION_GATE_KEEP : SESSION_GATE_OPEN);
        conductor->counting_begins = false;
    }
    watch_part_begins(conductor->watch);
    conductor->observed_now = probe != WATCH_OFF;
    *more = window_wait(conductor, until_ns) && until_ns < end_ns;
    if (!*more) {
        held_memory(conductor, &conductor->memory_held);
        footprint_end(conductor);
        atomic_store(&conductor->shared->client.stage, RUN_AFTER);
    }
    conductor->window_ends = !*more && drains_at_once(conductor);
    bool last = !*more || watch_plan_of(turns, part + 1) != probe;
    take_part(conductor, probe, last);
    if (probe != WATCH_OFF && last && end_counting(conductor, error) < 0) {
        return -1;
    }
    if (place == WATCH_PARTS_IN_BLOCK - 1) {
        /* The block's own probe: that of its inner parts. */
        close_block(conductor, watch_plan_of(turns, part - 1));
    }
    return 0;
}

static int run_parts(struct conductor *conductor, struct err *error)
{
    const struct run_options *options = conductor->plan->options;
    uint64_t parts_in_interval;
    uint64_t part_ns = part_length(conductor, &parts_in_interval);
    uint64_t start_ns = conductor->window_start_ns;
    uint64_t end_ns = options->count ? UINT64_MAX : start_ns + options->duration_ns;
    int on = WATCH_OFF;
    bool more = true;
    for (uint64_t i = 0; more; i++) {
        uint64_t part_end_ns = start_ns + (i + 1) * part_ns;
        if (part_end_ns + part_ns / 2 >= end_ns) {
            part_end_ns = end_ns; /* no sliver of a part at the end */
        }
        if (run_part(conductor, i, part_end_ns, end_ns, &on, &more, error) < 0 ||
            (!more && watch_attach(conductor->watch, WATCH_OFF, error) < 0)) {
            return -1;
        }
        if (!more || (i + 1) % parts_in_interval == 0) {
            close_interval(conductor, clock_now_ns());
        }
        bool under_load = !more && options->count == 0 && !conductor->interrupted;
        if (under_load && conductor->plan->workload->bulk && peer_sync(conductor, error) < 0) {
            return -1;
        }
    }
    return 0;
}

/* CPU time of a web server that was started, whose processes count none of it themselves. */
static uint64_t web_cpu_ns(const struct conductor *conductor)
{
    uint64_t sum_ns = 0;
    for (uint32_t i = 0; i < conductor->web.processes.count; i++) {
        struct process_sample sample;
        struct err ignored;
        if (process_sample(conductor->web.processes.pids[i], &sample, &ignored) == 0) {
            sum_ns += sample.cpu_user_ns + sample.cpu_system_ns;
        }
    }
    return sum_ns;
}

int window_run(struct conductor *conductor, struct err *error)
{
    struct err ignored;
    system_sample(&conductor->system_before, &ignored);
    conductor->web_cpu_ns = web_cpu_ns(conductor);
    conductor->window_start_ns = conductor->interval_start_ns = clock_now_ns();
    footprint_begin(conductor);
    look_window_begins(conductor);
    int result = run_parts(conductor, error);
    watch_attach(conductor->watch, WATCH_OFF, &ignored); /* where it failed in between */
    conductor->window_end_ns = clock_now_ns();
    look_window_ends(conductor);
    system_sample(&conductor->system_after, &ignored);
    conductor->web_cpu_ns = web_cpu_ns(conductor) - conductor->web_cpu_ns;
    return result;
}
