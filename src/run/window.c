/* The measured window: parts, cuts, intervals, and the alternation of unobserved and observed
 * parts (off, on, on, off: a linear drift cancels within each block of four). */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "run/conductor.h"

/* At least so many blocks in a window, so that the probe effect gets an interval. */
#define BLOCKS_WANTED 5
/* Parts are not made shorter than this: attaching and detaching take milliseconds. */
#define PART_LEAST_NS (50 * NS_PER_MS)
#define PARTS_IN_BLOCK 4

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

bool window_wait(struct conductor *conductor, uint64_t until_ns)
{
    /* How often to look whether the workers are done: often where they are to stop by count. */
    uint64_t look_ns = conductor->plan->options->count ? NS_PER_MS : 50 * NS_PER_MS;
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= until_ns) {
            return true;
        }
        uint64_t wait_ns = until_ns - now_ns < look_ns ? until_ns - now_ns : look_ns;
        struct timespec wait = clock_timespec(wait_ns);
        struct pollfd stop = {.fd = conductor->plan->stop_fd, .events = POLLIN};
        if (ppoll(&stop, 1, &wait, NULL) > 0) {
            conductor->interrupted = true;
            return false;
        }
        if (window_finished(conductor)) {
            return false;
        }
    }
}

static void collect_ends(struct conductor *conductor, struct tally *client, struct tally *server)
{
    conductor->late += collect(conductor->slots, conductor->worker_count, client);
    if (conductor->own_server) {
        collect(conductor->server_slots, conductor->server_slot_count, server);
    }
}

void window_discard(struct conductor *conductor)
{
    collect_ends(conductor, &conductor->discarded, &conductor->server.part);
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
    point.counters[SERIES_KERNEL_CALLS] = conductor->interval_kernel_calls;
    point.counters[SERIES_KERNEL_NS] = conductor->interval_kernel_ns;
    series_append(&conductor->series, &point);
    if (plan->progress) {
        struct run_progress progress = {
            .start_ns = point.start_ns,
            .end_ns = now_ns - conductor->window_start_ns,
            .window_ns = point.duration_ns,
            .bank = conductor->interval.bank,
            .workload = plan->workload,
            .observed = conductor->interval_kernel_ns > 0,
            .kernel_role =
                conductor->watch.target_count == 1 ? conductor->watch.targets[0].role : "observed",
        };
        if (progress.observed) {
            progress.kernel_calls_per_second = (double)conductor->interval_kernel_calls * 1e9 /
                                               (double)conductor->interval_kernel_ns;
        }
        plan->progress(plan->owner, &progress);
    }
    tally_clear(&conductor->interval);
    conductor->interval_kernel_calls = conductor->interval_kernel_ns = 0;
    conductor->interval_start_ns = now_ns;
}

static void take_part(struct conductor *conductor, bool seen)
{
    collect_ends(conductor, &conductor->client.part, &conductor->server.part);
    watch_part_ends(conductor, seen);
    if (seen) {
        tally_add(&conductor->client.seen, &conductor->client.part);
        tally_add(&conductor->server.seen, &conductor->server.part);
        tally_add(&conductor->block_seen, &conductor->client.part);
        conductor->interval_kernel_ns += conductor->client.part.window_ns;
    } else {
        tally_add(&conductor->client.plain, &conductor->client.part);
        tally_add(&conductor->server.plain, &conductor->server.part);
        tally_add(&conductor->block_plain, &conductor->client.part);
        tally_add(&conductor->interval, &conductor->client.part);
    }
}

/* Closes a block of four parts. */
static void close_block(struct conductor *conductor)
{
    uint32_t operations = conductor->plan->workload->operations;
    struct series_point block = {
        .counters = {
            [BLOCK_PLAIN] = conductor->block_plain.bank->counters[operations],
            [BLOCK_PLAIN_NS] = conductor->block_plain.window_ns,
            [BLOCK_SEEN] = conductor->block_seen.bank->counters[operations],
            [BLOCK_SEEN_NS] = conductor->block_seen.window_ns,
        }};
    series_append(&conductor->watch.blocks, &block);
    tally_clear(&conductor->block_plain);
    tally_clear(&conductor->block_seen);
}

/* How many parts an interval has, and how long they are. */
static uint64_t part_length(const struct conductor *conductor, uint64_t *parts_in_interval)
{
    const struct run_options *options = conductor->plan->options;
    *parts_in_interval = 1;
    if (!conductor->watch.probe) {
        return options->interval_ns;
    }
    /* How long a counted run takes is not known: its parts are as short as they may be. */
    uint64_t most = options->interval_ns / (PARTS_IN_BLOCK * PART_LEAST_NS);
    uint64_t blocks = most;
    if (options->count == 0) {
        uint64_t wanted_ns = options->duration_ns / BLOCKS_WANTED;
        blocks = wanted_ns ? (options->interval_ns + wanted_ns - 1) / wanted_ns : 1;
        blocks = blocks < most ? blocks : most;
    }
    blocks = blocks ? blocks : 1;
    *parts_in_interval = blocks * PARTS_IN_BLOCK;
    return options->interval_ns / *parts_in_interval;
}

static int run_parts(struct conductor *conductor, struct err *error)
{
    const struct run_options *options = conductor->plan->options;
    uint64_t parts_in_interval;
    uint64_t part_ns = part_length(conductor, &parts_in_interval);
    uint64_t start_ns = conductor->window_start_ns;
    uint64_t end_ns = options->count ? UINT64_MAX : start_ns + options->duration_ns;
    bool more = true;
    for (uint64_t i = 0; more; i++) {
        bool seen = conductor->watch.probe && (i % 4 == 1 || i % 4 == 2);
        uint64_t part_end_ns = start_ns + (i + 1) * part_ns;
        if (part_end_ns + part_ns / 2 >= end_ns) {
            part_end_ns = end_ns; /* no sliver of a part at the end */
        }
        if (seen != conductor->watch.on) {
            if (watch_switch(conductor, seen, error) < 0) {
                return -1;
            }
            window_discard(conductor);
            if (seen) {
                watch_count(conductor, true);
            }
        }
        watch_part_begins(conductor);
        more = window_wait(conductor, part_end_ns) && part_end_ns < end_ns;
        take_part(conductor, seen);
        if (seen && (!more || i % PARTS_IN_BLOCK == 2)) {
            watch_count(conductor, false);
        }
        if (conductor->watch.probe && i % PARTS_IN_BLOCK == PARTS_IN_BLOCK - 1) {
            close_block(conductor);
        }
        if (!more && conductor->watch.on && watch_switch(conductor, false, error) < 0) {
            return -1;
        }
        if (!more || (i + 1) % parts_in_interval == 0) {
            close_interval(conductor, clock_now_ns());
        }
    }
    return 0;
}

int window_run(struct conductor *conductor, struct err *error)
{
    struct err ignored;
    system_sample(&conductor->system_before, &ignored);
    conductor->window_start_ns = conductor->interval_start_ns = clock_now_ns();
    int result = run_parts(conductor, error);
    if (conductor->watch.on) {
        watch_switch(conductor, false, &ignored);
    }
    conductor->window_end_ns = clock_now_ns();
    system_sample(&conductor->system_after, &ignored);
    return result;
}
