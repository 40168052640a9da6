/* Observation of a run: who is observed, switching it on and off, and what it costs. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "run/conductor.h"

/* Beyond so many, neighbouring blocks are merged. */
#define BLOCKS_KEPT 2048

static int add_target(struct watch *watch, pid_t pid, const char *name, const char *role,
                      struct err *error)
{
    if (watch->target_count == WATCH_TARGETS) {
        return err_set(error, ERR_USAGE, "--observe", "more than %d targets", WATCH_TARGETS);
    }
    struct probe_target *target = &watch->targets[watch->target_count++];
    *target = (struct probe_target){.pid = pid};
    snprintf(target->name, sizeof target->name, "%s", name);
    snprintf(target->role, sizeof target->role, "%s", role);
    return 0;
}

static int parse_target(struct conductor *conductor, const char *text, struct err *error)
{
    struct watch *watch = &conductor->watch;
    uint64_t pid;
    if (strcmp(text, "self") == 0) {
        return add_target(watch, getpid(), "", "client", error);
    }
    if (strcmp(text, "server") == 0) {
        if (!conductor->own_server) {
            err_set(error, ERR_USAGE, "--observe server", "the server was not started by sonde");
            return err_hint(error, "name it: --observe pid=N or --observe comm=NAME");
        }
        return add_target(watch, conductor->server_pid, "", "server", error);
    }
    if (strncmp(text, "pid=", 4) == 0 && units_parse_count(text + 4, &pid) == 0 && pid > 0 &&
        pid < INT32_MAX) {
        struct process_sample sample;
        if (process_sample((pid_t)pid, &sample, error) < 0) {
            return -1;
        }
        return add_target(watch, (pid_t)pid, "", "observed", error);
    }
    if (strncmp(text, "comm=", 5) == 0 && text[5] && strlen(text + 5) < 16) {
        return add_target(watch, 0, text + 5, "observed", error);
    }
    err_set(error, ERR_USAGE, "--observe", "\"%s\" names nobody", text);
    return err_hint(error, "accepts self, server, pid=N, comm=NAME (at most 15 characters)");
}

/* Observation that cannot be had ends the run only where it is required. */
static int without(struct conductor *conductor, const char *reason, const char *fix,
                   struct err *error)
{
    struct watch *watch = &conductor->watch;
    if (conductor->plan->options->watch.require) {
        err_set(error, ERR_UNSUPPORTED, "--require-observe", "cannot observe: %s", reason);
        return err_hint(error, "%s", fix);
    }
    snprintf(watch->state, sizeof watch->state, "none (%s%s%s)", reason, fix[0] ? "; " : "", fix);
    return 0;
}

int watch_open(struct conductor *conductor, struct err *error)
{
    const struct run_options *options = conductor->plan->options;
    struct watch *watch = &conductor->watch;
    char reason[160] = "", fix[160] = "";
    for (size_t i = 0; i < options->watch.observe.count; i++) {
        if (parse_target(conductor, options->watch.observe.items[i], error) < 0) {
            return -1;
        }
    }
    if (watch->target_count == 0) {
        if (options->watch.require) {
            err_set(error, ERR_USAGE, "--require-observe", "nothing is observed");
            return err_hint(error, "say whom: --observe server");
        }
        snprintf(watch->state, sizeof watch->state, "none (not asked for: --observe)");
        return 0;
    }
    if (probe_syscalls.why_not(reason, sizeof reason, fix, sizeof fix) < 0) {
        return without(conductor, reason, fix, error);
    }
    struct targets_config whom = {.targets = watch->targets,
                                  .target_count = watch->target_count,
                                  .follow = options->watch.follow,
                                  .bpf = true};
    struct probe_config config = {.options = &options->watch.probe};
    struct err failure = {0};
    if (targets_open(&watch->followed, &whom, &failure) < 0) {
        return without(conductor, failure.what, failure.hint, error);
    }
    config.targets = watch->followed;
    if (probe_syscalls.open(&watch->probe, &config, &failure) < 0) {
        watch->probe = NULL;
        return without(conductor, failure.what, failure.hint, error);
    }
    if (series_init(&watch->blocks, BLOCKS_KEPT, BLOCK_COUNTERS, error) < 0) {
        return -1;
    }
    size_t used = 0;
    for (size_t i = 0; i < watch->target_count && used < sizeof watch->state; i++) {
        const struct probe_target *target = &watch->targets[i];
        used += (size_t)snprintf(watch->state + used, sizeof watch->state - used, "%s%s",
                                 i ? ", " : "", options->watch.observe.items[i]);
        if (target->pid && strcmp(target->role, "observed") != 0 && used < sizeof watch->state) {
            used += (size_t)snprintf(watch->state + used, sizeof watch->state - used, " (pid %d)",
                                     target->pid);
        }
    }
    if (used < sizeof watch->state) {
        snprintf(watch->state + used, sizeof watch->state - used,
                 ", in half of the window's parts (off, on, on, off)");
    }
    return 0;
}

int watch_switch(struct conductor *conductor, bool on, struct err *error)
{
    struct watch *watch = &conductor->watch;
    gate_close(targets_gate(watch->followed), clock_now_ns());
    if ((on ? probe_syscalls.start : probe_syscalls.stop)(watch->probe, error) < 0) {
        return -1;
    }
    watch->on = on;
    return 0;
}

void watch_count(struct conductor *conductor, bool counting)
{
    struct watch *watch = &conductor->watch;
    struct gate *gate = targets_gate(watch->followed);
    (counting ? gate_open : gate_close)(gate, clock_now_ns());
    if (counting) {
        watch->on_total = probe_syscalls.total(watch->probe, NULL);
    } else {
        conductor->interval_kernel_calls +=
            probe_syscalls.total(watch->probe, NULL) - watch->on_total;
    }
}

static void watch_pid(struct watch *watch, pid_t pid)
{
    struct err ignored;
    if (watch->watched_count < WATCH_TARGETS) {
        struct watched *watched = &watch->watched[watch->watched_count++];
        watched->pid = pid;
        process_threads(pid, &watched->threads, &watched->thread_count, &ignored);
    }
}

/* Whose CPU time to sample: every target that is there as the window begins. */
static void watch_pids(struct watch *watch)
{
    for (size_t i = 0; i < watch->target_count; i++) {
        const struct probe_target *target = &watch->targets[i];
        pid_t *pids = NULL;
        size_t count = 0;
        struct err ignored;
        if (target->pid) {
            watch_pid(watch, target->pid);
        } else if (process_find(target->name, &pids, &count, &ignored) == 0) {
            for (size_t j = 0; j < count; j++) {
                watch_pid(watch, pids[j]);
            }
        }
        free(pids);
    }
}

void watch_part_begins(struct conductor *conductor)
{
    struct watch *watch = &conductor->watch;
    if (watch->watched_count == 0) {
        watch_pids(watch);
    }
    for (size_t i = 0; i < watch->watched_count; i++) {
        struct watched *watched = &watch->watched[i];
        struct err ignored;
        watched->known = process_sample(watched->pid, &watched->last, &ignored) == 0;
    }
}

void watch_part_ends(struct conductor *conductor, bool seen)
{
    struct watch *watch = &conductor->watch;
    for (size_t i = 0; i < watch->watched_count; i++) {
        struct watched *watched = &watch->watched[i];
        struct process_sample now;
        struct err ignored;
        if (!watched->known || process_sample(watched->pid, &now, &ignored) < 0) {
            continue;
        }
        if (!seen) {
            struct process_sample *sum = &watched->sum;
            const struct process_sample *last = &watched->last;
            watched->window_ns += now.at_ns - last->at_ns;
            sum->cpu_user_ns += now.cpu_user_ns - last->cpu_user_ns;
            sum->cpu_system_ns += now.cpu_system_ns - last->cpu_system_ns;
            sum->switches_voluntary += now.switches_voluntary - last->switches_voluntary;
            sum->switches_involuntary += now.switches_involuntary - last->switches_involuntary;
        }
        watched->sum.rss_bytes = now.rss_bytes;
        memcpy(watched->sum.name, now.name, sizeof now.name);
        watched->last = now;
    }
}

struct interval watch_effect(const struct watch *watch, size_t *blocks)
{
    size_t count = watch->blocks.count;
    double *plain = calloc(count + 1, sizeof *plain), *seen = calloc(count + 1, sizeof *seen);
    struct interval effect = {.value = NAN, .low = NAN, .high = NAN};
    *blocks = 0;
    for (size_t i = 0; plain && seen && i < count; i++) {
        const uint64_t *block = watch->blocks.points[i].counters;
        if (block[BLOCK_PLAIN_NS] && block[BLOCK_SEEN_NS]) {
            plain[*blocks] = (double)block[BLOCK_PLAIN] / (double)block[BLOCK_PLAIN_NS];
            seen[(*blocks)++] = (double)block[BLOCK_SEEN] / (double)block[BLOCK_SEEN_NS];
        }
    }
    if (*blocks) {
        effect = summary_paired_ratio(plain, seen, *blocks);
    }
    free(plain);
    free(seen);
    return effect;
}

void watch_close(struct conductor *conductor)
{
    struct watch *watch = &conductor->watch;
    probe_syscalls.close(watch->probe);
    watch->probe = NULL;
    targets_close(watch->followed);
    watch->followed = NULL;
    series_release(&watch->blocks);
    for (size_t i = 0; i < watch->watched_count; i++) {
        free(watch->watched[i].threads);
        watch->watched[i].threads = NULL;
    }
}
