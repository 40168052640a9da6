#include "run/run.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "run/conductor.h"
#include "run/look.h"
#include "run/peer.h"

/* Workers start together, this long after they are told: more than how often they look. */
#define START_DELAY_NS (2 * NS_PER_MS)
/* Without a refusal, so many messages in a row must have been lost, until so long before the end,
 * and loss must be so unlikely to do that by itself. */
#define SILENCE_MESSAGES 3
#define SILENCE_NS (NS_PER_SECOND / 2)
#define SILENCE_CHANCE 1e-6

static uint64_t finished_operations(const struct conductor *conductor)
{
    uint32_t index = conductor->plan->workload->operations;
    return conductor->client.plain.bank->counters[index] +
           conductor->client.seen.bank->counters[index];
}

/* Adds counters of a part after the window to those of the window. */
static void keep(struct conductor *conductor, const struct bank *late, uint64_t which)
{
    for (size_t i = 0; i < BANK_COUNTERS && i < 64; i++) {
        if (which >> i & 1) {
            conductor->client.plain.bank->counters[i] += late->counters[i];
        }
    }
}

/* Whoever keeps the latencies of intervals has those of the drain too. */
static void tell_drained(const struct conductor *conductor, const struct bank *late)
{
    const struct run_plan *plan = conductor->plan;
    uint64_t now_ns = clock_now_ns(), window_ns = conductor->window_end_ns;
    const struct run_progress progress = {
        .window_start_ns = conductor->window_start_ns,
        .start_ns = window_ns - conductor->window_start_ns,
        .end_ns = now_ns - conductor->window_start_ns,
        .window_ns = now_ns - window_ns,
        .bank = late,
        .drain = true,
        .workload = plan->workload,
    };
    if (plan->progress && window_ns) {
        plan->progress(plan->owner, &progress);
    }
}

/* Connections that are held are all in flight at the end, however many: each has this time more. */
#define DRAIN_HELD_NS (100 * NS_PER_US)

static uint64_t drain_most_ns(const struct run_plan *plan)
{
    uint64_t held = plan->workload->ramp_ns ? plan->options->connections : 0;
    return plan->options->drain_ns + held * DRAIN_HELD_NS;
}

/* Finishes what is in flight; what never ends is counted. */
static void drain(struct conductor *conductor)
{
    atomic_store(&conductor->shared->client.phase, RUN_DRAIN);
    uint64_t until_ns = clock_now_ns() + drain_most_ns(conductor->plan);
    struct pollfd stop = {.fd = conductor->plan->stop_fd, .events = POLLIN};
    if (conductor->interrupted) {
        struct signalfd_siginfo seen; /* taken, so that only another one ends the waiting here */
        (void)!read(stop.fd, &seen, sizeof seen);
    }
    while (clock_now_ns() < until_ns && !window_finished(conductor) &&
           !run_broken(conductor, false)) {
        struct timespec pause = clock_timespec(NS_PER_MS);
        if (ppoll(&stop, 1, &pause, NULL) > 0) {
            conductor->interrupted = true;
            break;
        }
    }
    peer_stop(conductor);
    window_collect(conductor);
    /* Late answers belong into the latencies, not into the rate; where there was no window, or
     * something else after it, they belong nowhere. */
    bool wanted = finished_operations(conductor) && conductor->plan->options->cooldown_ns == 0;
    const struct bank *late = conductor->client.part.bank;
    for (size_t i = 0; i < BANK_HISTOGRAMS && wanted; i++) {
        histogram_add(&conductor->client.plain.bank->histograms[i], &late->histograms[i]);
    }
    if (wanted) {
        tell_drained(conductor, late);
    }
    keep(conductor, late, conductor->plan->workload->kept);
    conductor->moved_late = late->counters[conductor->plan->workload->bytes] > 0;
    if (wanted && !conductor->plan->workload->bulk) {
        conductor->finished_after = late->counters[conductor->plan->workload->operations];
    }
    bank_add_errors(conductor->client.plain.bank, late);
    if (conductor->own_server) {
        bank_add_errors(conductor->server.plain.bank, conductor->server.part.bank);
    }
    for (uint32_t i = 0; i < conductor->worker_count; i++) {
        conductor->unfinished += atomic_load(&conductor->slots[i].outstanding);
        conductor->behind += atomic_load(&conductor->slots[i].behind);
    }
}

/* What the own server counts of the whole run. */
static void keep_server(struct conductor *conductor)
{
    uint64_t which = conductor->plan->workload->server_whole;
    for (size_t i = 0; i < BANK_COUNTERS && i < 64 && conductor->own_server; i++) {
        if (which >> i & 1) {
            conductor->server.plain.bank->counters[i] = conductor->server_whole[i];
        }
    }
}

static uint64_t open_connections(const struct conductor *conductor)
{
    uint64_t open = 0;
    for (uint32_t i = 0; i < conductor->worker_count; i++) {
        open += atomic_load(&conductor->slots[i].open);
    }
    return open;
}

/* The first error that the workers counted, as the reason of a failed run; false where they counted
 * none. */
static bool first_error(const struct conductor *conductor, struct err *error, const char *what)
{
    const struct bank_error *row = &conductor->client.plain.bank->errors[0];
    if (conductor->server_error.count && conductor->server_error.number == 0) {
        row = &conductor->server_error; /* why it closed them says more than that it did */
    }
    if (row->count == 0) {
        row = &conductor->client.seen.bank->errors[0];
    }
    if (row->count == 0) {
        row = &conductor->discarded.bank->errors[0];
    }
    if (row->count == 0) {
        row = &conductor->before.bank->errors[0];
    }
    if (row->count && row->number) {
        err_system(error, row->number, conductor->address.text, "%s: %s failed", what,
                   bank_phase_name(row->phase));
    } else {
        err_set(error, ERR_PROTOCOL, conductor->address.text, "%s%s%s", what,
                row->count ? ": " : "", row->count ? row->name : "");
    }
    return row->count > 0;
}

static void judge_lost(const struct conductor *conductor, struct err *error)
{
    int64_t lost = conductor->plan->workload->lossy ? 0 : flows_lost(conductor);
    if (lost) {
        err_set(error, ERR_PROTOCOL, conductor->address.text,
                "%ld bytes of payload were sent and never received", lost);
    }
}

/* A server of datagrams that ended has nobody to say so: no answer came until the end of the run,
 * and that is not what loss, as it was before, can explain. */
static bool fell_silent(const struct conductor *conductor)
{
    const struct bank_silence *silence = &conductor->silence;
    if (silence->answered_ns == 0 || silence->lost == 0 ||
        silence->answered_ns >= conductor->window_end_ns) {
        return false;
    }
    double lost_before = (double)(silence->all_lost - silence->lost);
    double chance = (lost_before + 1) / (lost_before + (double)silence->all_answered + 2);
    bool long_enough = conductor->window_end_ns - silence->answered_ns >= SILENCE_NS;
    return silence->refused || (long_enough && silence->lost >= SILENCE_MESSAGES &&
                                pow(chance, (double)silence->lost) < SILENCE_CHANCE);
}

static void judge_silence(const struct conductor *conductor, struct err *error)
{
    const struct bank_silence *silence = &conductor->silence;
    char since[UNITS_TEXT_MAX];
    if (fell_silent(conductor)) {
        uint64_t start_ns = conductor->window_start_ns;
        units_duration(
            since, silence->answered_ns > start_ns ? (double)(silence->answered_ns - start_ns) : 0);
        err_set(error, ERR_PROTOCOL, conductor->address.text,
                "nothing was answered after %s of the window: %lu %ss in a row were lost%s", since,
                silence->lost, conductor->plan->workload->operation,
                silence->refused ? " or refused" : "");
        err_hint(error, "did the server end?");
    }
}

/* Fewer connections were there at the end than were to be. */
static void judge_connections(const struct conductor *conductor, uint64_t lost, struct err *error)
{
    char what[320], missing[128], number[UNITS_TEXT_MAX], all[UNITS_TEXT_MAX];
    units_count(number, (double)lost);
    units_count(all, (double)conductor->plan->options->connections);
    if (!conductor->plan->workload->ramp_ns) {
        snprintf(what, sizeof what, "%s of %s connections were lost", number, all);
        first_error(conductor, error, what);
        return;
    }
    held_missing(conductor, missing, sizeof missing);
    snprintf(what, sizeof what, "%s of %s connections were not held to the end: %s", number, all,
             missing);
    if (!first_error(conductor, error, what)) {
        err_hint(error, "dialing was behind, or its answers: a longer --ramp; --source ADDRESS,... "
                        "where the local ports of one address fill up");
    }
}

/* Whether operations that did not end within the drain are a figure and no failure. */
static bool may_be_unfinished(const struct conductor *conductor)
{
    const struct run_plan *plan = conductor->plan;
    bool is_long = plan->workload->may_be_long && conductor->moved_late;
    bool unasked = plan->options->drain_ns == 0; /* nobody is waited for */
    return finished_operations(conductor) && (plan->may_be_overloaded || is_long || unasked);
}

/* Whether what was measured may stand as a result; else why not. */
static void judge(struct conductor *conductor, uint64_t open_at_end, struct err *error)
{
    const struct run_options *options = conductor->plan->options;
    const char *operation = conductor->plan->workload->operation;
    if (error->code != ERR_NONE) {
        return;
    }
    bool null = conductor->plan->engine->flags & ENGINE_NO_KERNEL;
    const struct role *client = conductor->plan->workload->client;
    bool renewed = client->renew_below || client->redials;
    uint64_t there = conductor->plan->workload->ramp_ns ? held_count(conductor)
                     : renewed                          ? options->connections
                                                        : open_at_end;
    uint64_t lost = options->connections > there ? options->connections - there : 0;
    conductor->lost = lost;
    bool opening = conductor->plan->workload->ramp_ns && conductor->interrupted;
    if (lost && !null && !opening) {
        judge_connections(conductor, lost, error);
        if (conductor->plan->workload->bulk && conductor->plan->target && !conductor->own_server &&
            error->code == ERR_PROTOCOL) {
            err_hint(error, "stream needs a server that reads everything and sends nothing, such "
                            "as sonde serve sonde://HOST:PORT");
        }
    } else if (conductor->interrupted) {
        err_set(error, ERR_INTERRUPTED, "run", "interrupted: the window ended early");
    } else if (conductor->late) {
        err_set(error, ERR_LIMIT, "client",
                "a thread did not run for seconds: parts of the window "
                "are not what they seem");
        err_hint(error, "the machine is overloaded, or sonde was stopped");
    } else if (conductor->unfinished && !may_be_unfinished(conductor)) {
        err_set(error, ERR_PROTOCOL, conductor->address.text,
                conductor->plan->workload->bulk ? "%lu streams did not end within the drain"
                                                : "%lu %ss were not answered within the drain",
                conductor->unfinished, operation);
        err_hint(error, "is the server stuck? a slow one may need a longer --drain");
    } else if (finished_operations(conductor) == 0) {
        char what[96];
        snprintf(what, sizeof what, "no %s finished in the window", operation);
        if (!first_error(conductor, error, what)) {
            err_hint(error, "a longer --duration, or look at the server");
        }
    } else {
        judge_silence(conductor, error);
        if (error->code == ERR_NONE) {
            judge_lost(conductor, error);
        }
    }
}

/* What happened until now lies before the window: of it the errors are told, as such. Those of a
 * workload that has no time before its window stand among the others already. */
static void discard_before(struct conductor *conductor)
{
    window_discard(conductor);
    if (!conductor->plan->workload->whole) {
        bank_add_errors(conductor->before.bank, conductor->discarded.bank);
    }
}

/* Warm-up, window, drain, with all workers ready. */
static void measure(struct conductor *conductor, struct err *error)
{
    struct run_shared *shared = conductor->shared;
    const struct run_options *options = conductor->plan->options;
    conductor->going = true;
    discard_before(conductor);
    if (peer_start(conductor, error) < 0) {
        return;
    }
    uint64_t start_ns = clock_now_ns() + START_DELAY_NS;
    atomic_store(&shared->server.phase, RUN_GO);
    atomic_store(&shared->client.start_ns, start_ns);
    atomic_store(&shared->client.phase, RUN_GO);
    bool more = true;
    if (options->warmup_ns) {
        more = window_wait(conductor, start_ns + options->warmup_ns);
        atomic_store(&shared->client.stage, RUN_WINDOW);
        /* Where everybody was gone before the window began, this keeps what they said. */
        discard_before(conductor);
    }
    peer_count_begins(conductor);
    if (more) {
        window_run(conductor, error);
        if (options->cooldown_ns && error->code == ERR_NONE &&
            window_wait(conductor, clock_now_ns() + options->cooldown_ns)) {
            window_discard(conductor);
            keep(conductor, conductor->discarded.bank, conductor->plan->workload->kept_by_issue);
        }
        conductor->cpu_frequency = machine_frequency(); /* while the workers are at it */
    }
    drain(conductor);
    keep_server(conductor);
    uint64_t open_at_end = open_connections(conductor); /* lost in the drain is lost too */
    judge(conductor, open_at_end, error);
}

/* Before anything else: a peer may count its time until then, and what its server counted belongs
 * to the run. Why it broke down says more than that its connections were lost. */
static void finish_peer(struct conductor *conductor, struct err *failure)
{
    struct err error = {0};
    if (peer_finish(conductor, &error) < 0 && failure->code != ERR_INTERRUPTED) {
        *failure = error;
    }
    if (conductor->peer_counted && failure->code == ERR_NONE) {
        judge_lost(conductor, failure);
    }
}

static void finish(struct conductor *conductor, struct err *failure)
{
    struct record_run *run = conductor->run;
    struct err fill_error = {0}, peer_error = {0}, end_error;
    const struct run_options *options = conductor->plan->options;
    finish_peer(conductor, failure);
    /* The ceiling is of a loop without TLS, or a protocol of the workload's own: it says nothing of
     * one with it. */
    bool ceiling = !conductor->plan->skip_ceiling && !conductor->plan->workload->bulk &&
                   !conductor->plan->workload->own_protocol && !conductor->client_tls;
    if (ceiling && run_rate_most(options) == 0 && failure->code == ERR_NONE) {
        uint64_t workers = conductor->worker_count;
        uint64_t cpus = conductor->placement.allowed - 1;
        cpus = conductor->placement.clients.count
                   ? placement_usable(&conductor->placement, &conductor->placement.clients)
               : cpus ? cpus
                      : 1;
        run->null_ceiling = run_null_ceiling(conductor->plan);
        conductor->ceiling_cpus = workers < cpus ? workers : cpus;
    }
    if (fill_run(conductor, &fill_error) < 0 && failure->code == ERR_NONE) {
        *failure = fill_error;
    }
    if (peer_fill(conductor, &peer_error) < 0 && failure->code != ERR_INTERRUPTED) {
        *failure = peer_error;
    }
    fill_verdict(conductor);
    teardown_run(conductor, &end_error);
    /* Why an end broke down says more than that its connections were lost. */
    if (end_error.code != ERR_NONE && failure->code != ERR_INTERRUPTED) {
        *failure = end_error;
    }
    run->failure = *failure;
    run->complete = failure->code == ERR_NONE;
    conductor->record->complete = conductor->record->complete && run->complete;
}

int run_execute(const struct run_plan *plan, struct record *record, struct err *error)
{
    struct conductor *conductor = calloc(1, sizeof *conductor);
    struct record_run *run = conductor ? record_add_run(record, plan->label) : NULL;
    if (!run) {
        free(conductor);
        return err_system(error, ENOMEM, "memory", "cannot start a run");
    }
    conductor->plan = plan;
    conductor->record = record;
    conductor->run = run;
    *error = (struct err){0};
    if (setup_run(conductor, error) < 0) {
        struct err ignored;
        run->failure = *error;
        run->complete = record->complete = false;
        snprintf(run->observation, sizeof run->observation, "%s",
                 conductor->watch ? watch_state(conductor->watch) : "");
        teardown_run(conductor, &ignored);
        free(conductor);
        return -1;
    }
    if (look_open(conductor, error) == 0) {
        measure(conductor, error);
    }
    look_rest(conductor);
    if (plan->whole) {
        memcpy(plan->whole, conductor->client_whole, sizeof conductor->client_whole);
    }
    finish(conductor, error);
    look_close(conductor);
    free(conductor);
    return error->code == ERR_NONE ? 0 : -1;
}

static void *ceiling_thread(void *argument)
{
    worker_run(argument);
    return NULL;
}

/* The best of a few short stretches: the first touch of its memory and an interrupt are not what a
 * ceiling is about. Over CPU time, since others may have had the CPU meanwhile. */
static double best_rate(struct worker_slot *slot, struct tally *tally, uint32_t counter)
{
    const struct timespec pause = clock_timespec(20 * NS_PER_MS);
    double best = 0;
    for (int stretch = 0; stretch < 4; stretch++) {
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        collect(slot, 1, tally);
        uint64_t cpu_ns = tally->bank->cpu_user_ns + tally->bank->cpu_system_ns;
        double rate = cpu_ns ? (double)tally->bank->counters[counter] * 1e9 / (double)cpu_ns : 0;
        best = stretch > 0 && rate > best ? rate : best;
    }
    return best;
}

double run_null_ceiling(const struct run_plan *plan)
{
    struct err ignored = {0};
    struct run_shared *shared = shared_memory(sizeof *shared, &ignored);
    struct worker_slot *slot = shared ? shared_memory(sizeof *slot, &ignored) : NULL;
    struct tally tally = {0};
    uint32_t connections = (uint32_t)plan->options->connections;
    uint64_t processes = plan->options->workers ? plan->options->workers : 1;
    uint32_t workers = (uint32_t)(processes * plan->options->threads);
    uint32_t share = plan->engine->flags & ENGINE_ONE_CHANNEL ? 1 : connections / workers;
    share = share ? share : 1;
    struct dial *dials = slot ? calloc(share, sizeof *dials) : NULL;
    pthread_t thread;
    double rate = 0;
    if (dials && tally_init(&tally, 1, 0, &ignored) == 0) {
        struct worker_config config;
        setup_worker(plan, &config);
        config.engine = &engine_null;
        config.control = &shared->client;
        config.slot = slot;
        config.dials = dials;
        config.dial_count = config.dials_in_all = share;
        for (uint32_t i = 0; i < share; i++) {
            dials[i].end = (struct net_end){-1, -1};
        }
        atomic_store(&shared->client.phase, RUN_GO);
        if (pthread_create(&thread, NULL, ceiling_thread, &config) == 0) {
            rate = best_rate(slot, &tally, plan->workload->operations);
            atomic_store(&shared->client.phase, RUN_STOP);
            pthread_join(thread, NULL);
        }
    }
    tally_release(&tally);
    free(dials);
    shared_release(slot, sizeof *slot);
    shared_release(shared, sizeof *shared);
    return rate;
}
