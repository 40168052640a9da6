/* From what was observed of a run to its record. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/watch_state.h"

/* A probe effect from fewer blocks says nothing. */
#define BLOCKS_LEAST 3

/* A stretch that is longer than its measured part by no more than this is as good as it: between
 * transfers the ends mostly sleep, so that of a tenth of the time come some 3 % of the counts. */
#define BETWEEN_MOST 1.1

static const char ended_before[] = "the run ended before its first observed part";

static int no_memory(struct err *error)
{
    return err_set(error, ERR_LIMIT, "--observe", "no memory");
}

/* ---- what it cost ---- */

/* Operations per second observed / unobserved, over the blocks. */
static struct interval effect_of(const struct series *blocks, size_t *count)
{
    double *plain = calloc(blocks->count + 1, sizeof *plain);
    double *seen = calloc(blocks->count + 1, sizeof *seen);
    struct interval effect = {.value = NAN, .low = NAN, .high = NAN};
    *count = 0;
    for (size_t i = 0; plain && seen && i < blocks->count; i++) {
        const uint64_t *block = blocks->points[i].counters;
        if (block[BLOCK_PLAIN_NS] && block[BLOCK_SEEN_NS]) {
            plain[*count] = (double)block[BLOCK_PLAIN] / (double)block[BLOCK_PLAIN_NS];
            seen[(*count)++] = (double)block[BLOCK_SEEN] / (double)block[BLOCK_SEEN_NS];
        }
    }
    if (*count) {
        effect = summary_paired_ratio(plain, seen, *count);
    }
    free(plain);
    free(seen);
    return effect;
}

static void fill_effect(const struct turns *turns, const char *metric, struct record_effect *effect)
{
    size_t blocks = 0;
    snprintf(effect->metric, sizeof effect->metric, "%s", metric);
    if (turns == NULL) {
        snprintf(effect->reason, sizeof effect->reason, "nothing was observed");
        return;
    }
    effect->ratio = effect_of(&turns->blocks, &blocks);
    effect->blocks = (uint32_t)blocks;
    effect->available = blocks >= BLOCKS_LEAST;
    if (!effect->available) {
        snprintf(effect->reason, sizeof effect->reason,
                 "the window holds %zu whole blocks of four parts: at least %d are needed", blocks,
                 BLOCKS_LEAST);
    }
}

/* ---- what it saw ---- */

static const struct turns *turns_of(const struct watch *watch, const struct chosen_probe *chosen)
{
    for (size_t i = 0; i < watch->probe_count; i++) {
        if (watch->turns[i].chosen == chosen) {
            return &watch->turns[i];
        }
    }
    return NULL;
}

/* What a probe's counts cover. One that counts whole stretches has counted what lay between the
 * measured parts of them too: where that is more than a trifle, there is nothing to divide by. */
static struct probe_scope scope_of(const struct turns *turns, bool *between)
{
    struct probe_scope scope = turns->seen;
    *between = (turns->chosen->ops->flags & PROBE_STRETCH) &&
               (double)scope.stretch_ns > BETWEEN_MOST * (double)scope.window_ns;
    if (*between) {
        scope.window_ns = scope.stretch_ns;
        scope.operations = scope.bytes = 0;
    }
    return scope;
}

static void say_between(const struct turns *turns, struct record_probe *probe)
{
    size_t used = strlen(probe->reason);
    double share = 1 - (double)turns->seen.window_ns / (double)turns->seen.stretch_ns;
    snprintf(
        probe->reason + used, sizeof probe->reason - used,
        "%s%.0f %% of the time that it covers lay between the transfers, so nothing is given for "
        "each operation: longer transfers (--total)",
        used ? "; " : "", share * 100);
}

static int fill_probe(struct watch *watch, struct chosen_probe *chosen, const char *metric,
                      struct record_run *run, struct err *error)
{
    const struct turns *turns = turns_of(watch, chosen);
    bool between = false;
    const struct probe_scope none = {0};
    const struct probe_scope scope = turns ? scope_of(turns, &between) : none;
    struct record_probe *probe = probe_set_read(chosen, &scope, run, error);
    if (!probe) {
        return -1;
    }
    if (between) {
        say_between(turns, probe);
    }
    fill_effect(turns, metric, &probe->effect);
    if (turns && turns->seen.window_ns == 0) {
        probe->available = false;
        snprintf(probe->reason, sizeof probe->reason, "%s", ended_before);
    }
    return 0;
}

static bool is_target(const struct watch *watch, pid_t pid)
{
    for (size_t i = 0; i < watch->target_count; i++) {
        if (watch->targets[i].pid == pid) {
            return true;
        }
    }
    return false;
}

/* Processes that were only found by a name or as children, and made no call: no use to anybody. */
static int drop_idle_strangers(const struct watch *watch, struct record *record,
                               struct record_run *run)
{
    size_t kept = 0, dropped = 0;
    for (size_t i = 0; i < run->process_count; i++) {
        struct record_process *process = &run->processes[i];
        bool idle = strcmp(process->role, "observed") == 0 && process->kernel_calls.available &&
                    process->kernel_calls.syscall_count == 0 &&
                    process->kernel_calls.uring_count == 0;
        if (idle && !is_target(watch, process->pid)) {
            dropped++;
        } else {
            run->processes[kept++] = *process;
        }
    }
    run->process_count = kept;
    return dropped ? record_add_warning(record, "%zu observed process%s made no system call",
                                        dropped, dropped == 1 ? "" : "es")
                   : 0;
}

/* The system call probe's counts stand with the processes. */
static int fill_calls(struct watch *watch, struct record *record, struct record_run *run)
{
    const struct chosen_probe *calls = NULL;
    for (size_t i = 0; i < watch->set.count; i++) {
        calls = watch->set.chosen[i].ops->flags & PROBE_CALLS ? &watch->set.chosen[i] : calls;
    }
    const struct turns *turns = calls ? turns_of(watch, calls) : NULL;
    for (size_t i = 0; i < run->process_count; i++) {
        struct record_calls *seen = &run->processes[i].kernel_calls;
        if (!turns) {
            snprintf(seen->reason, sizeof seen->reason, "%.159s",
                     calls ? calls->reason : "the probe syscalls was not on");
        } else if (seen->available && turns->seen.window_ns == 0) {
            seen->available = false;
            snprintf(seen->reason, sizeof seen->reason, "%s", ended_before);
        }
    }
    return record_warn_of_calls(record, run) | drop_idle_strangers(watch, record, run);
}

/* What the turns of several probes did not suffice for. */
static int check_turns(const struct watch *watch, struct record *record, struct err *error)
{
    size_t unseen = 0, few = 0;
    for (size_t i = 0; i < watch->probe_count; i++) {
        unseen += watch->turns[i].seen.window_ns == 0;
        few += watch->turns[i].blocks.count < BLOCKS_LEAST;
    }
    int status = 0;
    if (unseen == watch->probe_count) {
        status = record_add_warning(record, "nothing was observed: %s", ended_before);
    } else if (few && watch->probe_count > 1) {
        status = record_add_warning(
            record, "the window is too short for %d blocks of each of %zu probes: %zu of them %s",
            BLOCKS_LEAST, watch->probe_count, unseen ? unseen : few,
            unseen ? "saw nothing" : "have no probe effect");
    }
    if (status < 0) {
        return no_memory(error);
    }
    if (unseen && watch->options->require) {
        err_set(error, ERR_LIMIT, "--require-observe", "%s", ended_before);
        return err_hint(error, "a longer run: more --count or --duration");
    }
    return 0;
}

int watch_fill(struct watch *watch, const char *effect_metric, struct record *record,
               struct record_run *run, struct err *error)
{
    snprintf(run->observation, sizeof run->observation, "%s", watch->state);
    run->observing = watch->probe_count > 0;
    if (watch_fill_foreign(watch, run) < 0) {
        return no_memory(error);
    }
    if (watch->target_count + watch->later_count == 0) {
        fill_effect(NULL, effect_metric, &run->effect);
        return 0;
    }
    const struct turns *headline = watch->probe_count ? &watch->turns[0] : NULL;
    for (size_t i = 0; i < watch->probe_count; i++) {
        headline = watch_counts_calls(watch, (int)i) ? &watch->turns[i] : headline;
    }
    fill_effect(headline, effect_metric, &run->effect);
    for (size_t i = 0; i < watch->set.count; i++) {
        if (fill_probe(watch, &watch->set.chosen[i], effect_metric, run, error) < 0) {
            return -1;
        }
    }
    if (!run->observing) {
        return 0;
    }
    return fill_calls(watch, record, run) < 0 ? no_memory(error)
                                              : check_turns(watch, record, error);
}
