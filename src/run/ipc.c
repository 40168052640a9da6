/* One run of `sonde ipc`: warm-up, measured transfers, observation in parts of them, record. */
#include "run/ipc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/collect.h"
#include "run/ipc_state.h"

/* Parts of an observed run last at least so long, or one transfer: attaching takes milliseconds. */
#define PART_LEAST_NS (50 * NS_PER_MS)
/* So many blocks of parts for each probe, so that its effect gets an interval. */
#define BLOCKS_WANTED 5

/* As ipc-static prepares: what waits to be written is written, and the machine settles. */
static void prepare(void)
{
    const struct timespec settle = clock_timespec(NS_PER_SECOND);
    for (int i = 0; i < 3; i++) {
        sync();
    }
    clock_nanosleep(CLOCK_MONOTONIC, 0, &settle, NULL);
}

static struct probe_target target_of(pid_t pid, const char *role)
{
    struct probe_target target = {.pid = pid};
    snprintf(target.role, sizeof target.role, "%s", role);
    return target;
}

/* Who the words of --observe mean: in one process both ends are the same one. */
static int open_watch(struct ipc_conductor *conductor, struct err *error)
{
    bool apart = conductor->plan->mode == IPC_2PROC;
    struct probe_target own = target_of(getpid(), apart ? "receiver" : "both");
    struct watch_name names[] = {
        {.word = "self", .target = own},
        {.word = "receiver", .target = own},
        {.word = "sender",
         .target = apart ? target_of(0, "sender") : own,
         .missing = "",
         .later = apart},
    };
    struct watch_config config = {.options = conductor->plan->watch,
                                  .names = names,
                                  .name_count = sizeof names / sizeof *names};
    if (watch_open(&conductor->watch, &config, error) != 0) {
        return -1;
    }
    if (watch_probes(conductor->watch) > 0) {
        conductor->gate = watch_gate(conductor->watch);
        conductor->gate->muted = (uint32_t)gettid();
    }
    return 0;
}

static int start(struct ipc_conductor *conductor, struct err *error)
{
    const struct ipc_plan *plan = conductor->plan;
    if (plan->options->prepare) {
        prepare();
    }
    conductor->shared = shared_memory(sizeof *conductor->shared, error);
    conductor->times = histogram_new();
    if (!conductor->shared || !conductor->times) {
        return err_system(error, ENOMEM, "memory", "cannot start a run");
    }
    if (ipc_channel_open(&conductor->channel, plan, conductor->record, error) != 0 ||
        open_watch(conductor, error) != 0 || ipc_ends_start(conductor, error) != 0) {
        return -1;
    }
    if (conductor->child > 0 && conductor->gate) {
        struct probe_target sender = target_of(conductor->child, "sender");
        return watch_add(conductor->watch, &sender, error);
    }
    return 0;
}

static int warm_up(struct ipc_conductor *conductor, struct err *error)
{
    uint64_t end_ns = clock_now_ns() + conductor->plan->options->warmup_ns;
    bool wanted = conductor->plan->options->warmup_ns > 0;
    while (wanted && !conductor->interrupted) {
        if (ipc_ends_transfer(conductor, false, error) != 0) {
            return -1;
        }
        wanted = clock_now_ns() < end_ns;
    }
    return 0;
}

/* True where another transfer is to be measured. */
static bool more(const struct ipc_conductor *conductor, uint64_t transfers, uint64_t end_ns)
{
    const struct ipc_options *options = conductor->plan->options;
    if (conductor->interrupted) {
        return false;
    }
    return options->transfers ? transfers < options->transfers
                              : transfers == 0 || clock_now_ns() < end_ns;
}

void ipc_report(struct ipc_conductor *conductor)
{
    const struct ipc_plan *plan = conductor->plan;
    struct ipc_progress *progress = &conductor->progress;
    if (!plan->progress || !conductor->reported_ns) {
        return;
    }
    uint64_t now_ns = clock_now_ns();
    if (now_ns - conductor->reported_ns < NS_PER_SECOND) {
        return;
    }
    progress->at_ns = now_ns - conductor->window_start_ns;
    /* Read while the end counts on: a moment ago is near enough for a line of progress. */
    progress->moved_bytes =
        *(volatile uint64_t *)&conductor->shared->sides[SIDE_RECEIVER].sum.counts.bytes;
    plan->progress(plan->owner, progress);
    *progress = (struct ipc_progress){0};
    conductor->reported_ns = now_ns;
}

/* An unobserved transfer has ended. */
static void take_plain(struct ipc_conductor *conductor)
{
    const struct ipc_tally *last = &conductor->last;
    histogram_record(conductor->times, last->time_ns, 1);
    conductor->progress.transfers++;
    conductor->progress.bytes += last->bytes;
    conductor->progress.time_ns += last->time_ns;
}

static int measure_plain(struct ipc_conductor *conductor, uint64_t end_ns, struct err *error)
{
    while (more(conductor, conductor->plain.transfers, end_ns)) {
        if (ipc_ends_transfer(conductor, false, error) != 0) {
            /* Left in the middle of the first: what it had moved is all there is, and is kept. */
            if (conductor->interrupted && conductor->plain.transfers == 0 &&
                ipc_ends_unfinished(conductor)) {
                ipc_tally_add(&conductor->plain, &conductor->last);
            }
            return -1;
        }
        ipc_tally_add(&conductor->plain, &conductor->last);
        take_plain(conductor);
        ipc_report(conductor);
    }
    return 0;
}

/* The transfers of one part. */
static int run_part(struct ipc_conductor *conductor, bool seen, uint64_t part_ns, uint64_t end_ns,
                    uint64_t *transfers, struct err *error)
{
    uint64_t part_end_ns = clock_now_ns() + part_ns;
    memset(&conductor->part, 0, sizeof conductor->part);
    do {
        if (ipc_ends_transfer(conductor, seen, error) != 0) {
            return -1;
        }
        ipc_tally_add(&conductor->part, &conductor->last);
        if (!seen) {
            take_plain(conductor);
        }
        ipc_report(conductor);
        ++*transfers;
    } while (more(conductor, *transfers, end_ns) && clock_now_ns() < part_end_ns);
    return 0;
}

static int observe_part(struct ipc_conductor *conductor, int probe, uint64_t part_ns,
                        uint64_t end_ns, uint64_t *transfers, struct err *error)
{
    const struct ipc_tally *part = &conductor->part;
    if (probe != WATCH_OFF && watch_begin(conductor->watch, error) != 0) {
        return -1;
    }
    uint64_t begin_ns = clock_now_ns();
    int result = run_part(conductor, probe != WATCH_OFF, part_ns, end_ns, transfers, error);
    if (probe == WATCH_OFF) {
        ipc_tally_add(&conductor->plain, part);
        ipc_tally_add(&conductor->block_plain, part);
        return result;
    }
    struct err ignored;
    struct probe_scope scope = {.window_ns = part->time_ns,
                                .operations = part->blocks,
                                .bytes = part->bytes,
                                .stretch_ns = clock_now_ns() - begin_ns};
    if (watch_end(conductor->watch, result ? &ignored : error) != 0) {
        return -1;
    }
    watch_seen(conductor->watch, &scope);
    ipc_tally_add(&conductor->block_seen, part);
    return result;
}

/* Parts in turn, observed and not: a part is a number of transfers. */
static int measure_observed(struct ipc_conductor *conductor, uint64_t end_ns, struct err *error)
{
    struct watch *watch = conductor->watch;
    uint64_t parts = watch_probes(watch) * BLOCKS_WANTED * WATCH_PARTS_IN_BLOCK;
    uint64_t part_ns = conductor->plan->options->duration_ns / parts;
    part_ns = part_ns > PART_LEAST_NS ? part_ns : PART_LEAST_NS;
    part_ns = conductor->plan->options->transfers ? 0 : part_ns;
    int on = WATCH_OFF, block_probe = WATCH_OFF, result = 0;
    uint64_t transfers = 0;
    for (uint64_t part = 0; result == 0 && more(conductor, transfers, end_ns); part++) {
        int probe = watch_plan(watch, part);
        if (probe != on && watch_attach(watch, probe, error) != 0) {
            return -1;
        }
        on = probe;
        block_probe = probe != WATCH_OFF ? probe : block_probe;
        result = observe_part(conductor, probe, part_ns, end_ns, &transfers, error);
        if (part % WATCH_PARTS_IN_BLOCK == WATCH_PARTS_IN_BLOCK - 1 && result == 0) {
            watch_block(watch, block_probe, conductor->block_plain.blocks,
                        conductor->block_plain.time_ns, conductor->block_seen.blocks,
                        conductor->block_seen.time_ns);
            memset(&conductor->block_plain, 0, sizeof conductor->block_plain);
            memset(&conductor->block_seen, 0, sizeof conductor->block_seen);
        }
    }
    struct err ignored;
    if (on != WATCH_OFF && watch_attach(watch, WATCH_OFF, result ? &ignored : error) != 0) {
        return -1;
    }
    return result;
}

static int measure(struct ipc_conductor *conductor, struct err *error)
{
    if (warm_up(conductor, error) != 0) {
        return -1;
    }
    uint64_t end_ns = clock_now_ns() + conductor->plan->options->duration_ns;
    conductor->window_start_ns = conductor->reported_ns = clock_now_ns();
    int result = (conductor->gate ? measure_observed : measure_plain)(conductor, end_ns, error);
    conductor->window_end_ns = clock_now_ns();
    if (result == 0 && conductor->interrupted) {
        return err_set(error, ERR_INTERRUPTED, "run", "interrupted: it ended early");
    }
    return result;
}

static void release(struct ipc_conductor *conductor)
{
    ipc_ends_stop(conductor);
    watch_close(conductor->watch);
    ipc_channel_close(&conductor->channel, SIDE_SENDER);
    ipc_channel_close(&conductor->channel, SIDE_RECEIVER);
    histogram_free(conductor->times);
    shared_release(conductor->shared, sizeof *conductor->shared);
    free(conductor);
}

int ipc_execute(const struct ipc_plan *plan, struct record *record, struct ipc_outcome *outcome,
                struct err *error)
{
    struct ipc_conductor *conductor = calloc(1, sizeof *conductor);
    struct record_run *run = conductor ? record_add_run(record, plan->label) : NULL;
    if (!run) {
        free(conductor);
        return err_system(error, ENOMEM, "memory", "cannot start a run");
    }
    *error = (struct err){0};
    conductor->plan = plan;
    conductor->record = record;
    conductor->run = run;
    conductor->channel.fds[SIDE_SENDER] = conductor->channel.fds[SIDE_RECEIVER] = -1;
    if (start(conductor, error) == 0) {
        measure(conductor, error);
        struct err fill_error = {0};
        if (ipc_fill(conductor, &fill_error) != 0 && error->code == ERR_NONE) {
            *error = fill_error;
        }
    }
    if (outcome) {
        *outcome = (struct ipc_outcome){.transfers = conductor->plain.transfers,
                                        .bytes = conductor->plain.bytes,
                                        .time_ns = conductor->plain.time_ns};
    }
    run->failure = *error;
    run->complete = error->code == ERR_NONE;
    record->complete = record->complete && run->complete;
    release(conductor);
    return error->code == ERR_NONE ? 0 : -1;
}
