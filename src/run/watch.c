/* Observation of a run: who is observed, which probe's turn it is, switching it on and off. */
#include "run/watch_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"

/* Beyond so many of one probe, neighbouring blocks are merged. */
#define BLOCKS_KEPT 2048

/* ---- whom ---- */

static int add_target(struct watch *watch, const struct probe_target *target, struct err *error)
{
    if (watch->target_count == WATCH_TARGETS) {
        return err_set(error, ERR_USAGE, "--observe", "more than %d targets", WATCH_TARGETS);
    }
    watch->targets[watch->target_count++] = *target;
    return 0;
}

/* One of sonde's own, with all of its processes. */
static int add_own(struct watch *watch, const struct watch_name *name, struct err *error)
{
    struct probe_target target = name->target;
    int result = add_target(watch, &target, error);
    for (size_t i = 0; i < name->more_count && result == 0; i++) {
        target.pid = name->more[i];
        result = add_target(watch, &target, error);
    }
    return result;
}

/* The process of this name comes with watch_add. */
static int expect(struct watch *watch, const struct watch_name *name, struct err *error)
{
    if (watch->later_count == sizeof watch->later / sizeof *watch->later) {
        return err_set(error, ERR_USAGE, "--observe", "more than %zu of sonde's own",
                       watch->later_count);
    }
    watch->later[watch->later_count++] = name->target;
    return 0;
}

static int add_foreign(struct watch *watch, pid_t pid, const char *name, struct err *error)
{
    struct probe_target target = {.pid = pid, .role = "observed"};
    snprintf(target.name, sizeof target.name, "%s", name);
    return add_target(watch, &target, error);
}

/* The words that serve in this run, for the hint. */
static int refuse_target(const struct watch_config *config, const char *text, struct err *error)
{
    char words[80] = "";
    for (size_t i = 0; i < config->name_count; i++) {
        size_t used = strlen(words);
        snprintf(words + used, sizeof words - used, "%s, ", config->names[i].word);
    }
    err_set(error, ERR_USAGE, "--observe", "\"%s\" names nobody", text);
    return err_hint(error, "accepts %spid=N, comm=NAME (at most 15 characters)", words);
}

static int parse_target(struct watch *watch, const struct watch_config *config, const char *text,
                        struct err *error)
{
    uint64_t pid;
    for (size_t i = 0; i < config->name_count; i++) {
        const struct watch_name *name = &config->names[i];
        if (strcmp(text, name->word) != 0) {
            continue;
        }
        if (name->elsewhere) {
            watch->elsewhere = true;
            return 0;
        }
        if (name->later) {
            return expect(watch, name, error);
        }
        if (name->target.pid == 0) {
            char subject[40];
            snprintf(subject, sizeof subject, "--observe %s", name->word);
            err_set(error, ERR_USAGE, subject, "%s", name->missing);
            return err_hint(error, "name it: --observe pid=N or --observe comm=NAME");
        }
        return add_own(watch, name, error);
    }
    if (strncmp(text, "pid=", 4) == 0 && units_parse_count(text + 4, &pid) == 0 && pid > 0 &&
        pid < INT32_MAX) {
        struct process_sample sample;
        if (process_sample((pid_t)pid, &sample, error) < 0) {
            return -1;
        }
        return add_foreign(watch, (pid_t)pid, "", error);
    }
    if (strncmp(text, "comm=", 5) == 0 && text[5] && strlen(text + 5) < 16) {
        return add_foreign(watch, 0, text + 5, error);
    }
    return refuse_target(config, text, error);
}

/* Adds to the text of the state what fits. */
static void describe(struct watch *watch, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void describe(struct watch *watch, const char *format, ...)
{
    size_t used = strlen(watch->state);
    va_list list;
    va_start(list, format);
    vsnprintf(watch->state + used, sizeof watch->state - used, format, list);
    va_end(list);
}

/* A word, and the process that it stands for where it has just been added; one of sonde's own that
 * comes later has none yet. */
static void describe_word(struct watch *watch, const char *word, size_t targets_before)
{
    describe(watch, "%s%s", watch->state[0] ? ", " : "", word);
    const struct probe_target *target =
        watch->target_count > targets_before ? &watch->targets[targets_before] : NULL;
    if (target && target->pid && strcmp(target->role, "observed") != 0) {
        size_t more = watch->target_count - targets_before - 1;
        describe(watch, " (pid %d", (int)target->pid);
        if (more) {
            describe(watch, " and %zu more", more);
        }
        describe(watch, ")");
    }
}

static bool already(const struct watch *watch, pid_t pid)
{
    for (size_t i = 0; i < watch->target_count; i++) {
        if (watch->targets[i].pid == pid) {
            return true;
        }
    }
    return false;
}

static bool names_elsewhere(const struct watch_config *config, const char *word)
{
    bool found = false;
    for (size_t i = 0; i < config->name_count; i++) {
        found |= config->names[i].elsewhere && strcmp(config->names[i].word, word) == 0;
    }
    return found;
}

/* Probes without --observe look at all that sonde has of its own in this run. */
static int parse_targets(struct watch *watch, const struct watch_config *config, struct err *error)
{
    const struct watch_options *options = config->options;
    for (size_t i = 0; i < options->observe.count; i++) {
        size_t before = watch->target_count;
        if (parse_target(watch, config, options->observe.items[i], error) < 0) {
            return -1;
        }
        if (!names_elsewhere(config, options->observe.items[i])) {
            describe_word(watch, options->observe.items[i], before);
        }
    }
    for (size_t i = 0; i < config->name_count && options->observe.count == 0; i++) {
        const struct watch_name *name = &config->names[i];
        bool there = name->later || (name->target.pid && !already(watch, name->target.pid));
        if (options->probes.count && there) {
            size_t before = watch->target_count;
            if ((name->later ? expect(watch, name, error) : add_own(watch, name, error)) < 0) {
                return -1;
            }
            describe_word(watch, name->word, before);
        }
    }
    /* Whose child is a target of its own, such as sonde's own server, comes after it: who is found
     * as somebody's child first would have the role of that one. */
    for (size_t i = 0; i + 1 < watch->target_count; i++) {
        if (watch->targets[i].pid == getpid()) {
            struct probe_target self = watch->targets[i];
            watch->targets[i] = watch->targets[i + 1];
            watch->targets[i + 1] = self;
        }
    }
    return 0;
}

/* ---- with what ---- */

static int choose(struct watch *watch, const struct watch_config *config, struct err *error)
{
    const struct probe_ops *const *known = config->known ? config->known : probes;
    char *names[] = {(char *)known[0]->name}; /* the default: the first, which is syscalls */
    const struct opt_list initial = {.items = names, .count = 1};
    const struct opt_list *wanted =
        config->options->probes.count ? &config->options->probes : &initial;
    return probe_set_choose(&watch->set, wanted, known, error);
}

static void describe_probes(struct watch *watch)
{
    describe(watch, ", probe%s", watch->probe_count > 1 ? "s" : "");
    for (size_t i = 0; i < watch->probe_count; i++) {
        describe(watch, "%s %s", i ? "," : "", watch->turns[i].chosen->ops->name);
    }
    describe(watch, watch->probe_count > 1
                        ? " in turn, each in half of its blocks' parts (off, on, on, off)"
                        : ", in half of the window's parts (off, on, on, off)");
}

/* Observation that cannot be had ends the run only where it is required. */
static int without(struct watch *watch, const struct err *failure, struct err *error)
{
    if (watch->options->require) {
        err_set(error, ERR_UNSUPPORTED, "--require-observe", "cannot observe: %.220s",
                failure->what);
        return failure->hint[0] ? err_hint(error, "%s", failure->hint) : -1;
    }
    snprintf(watch->state, sizeof watch->state, "none (%.120s%s%.90s)", failure->what,
             failure->hint[0] ? "; " : "", failure->hint);
    return 0;
}

static int open_probes(struct watch *watch, struct err *error)
{
    struct targets_config whom = {.targets = watch->targets,
                                  .target_count = watch->target_count,
                                  .follow = watch->options->follow};
    struct err failure = {0};
    if (probe_set_open(&watch->set, &whom, &watch->options->probe, watch->options->require,
                       &failure) < 0) {
        if (failure.code == ERR_USAGE) { /* a counter that nobody knows */
            *error = failure;
            return -1;
        }
        return without(watch, &failure, error);
    }
    for (size_t i = 0; i < watch->set.count; i++) {
        struct turns *turns = &watch->turns[watch->probe_count];
        if (watch->set.chosen[i].probe == NULL) {
            continue;
        }
        turns->chosen = &watch->set.chosen[i];
        if (series_init(&turns->blocks, BLOCKS_KEPT, BLOCK_COUNTERS, error) < 0) {
            return -1;
        }
        watch->probe_count++;
    }
    describe_probes(watch);
    return 0;
}

int watch_open(struct watch **opened, const struct watch_config *config, struct err *error)
{
    struct watch *watch = *opened = calloc(1, sizeof *watch);
    if (!watch) {
        return err_set(error, ERR_LIMIT, "--observe", "no memory");
    }
    watch->options = config->options;
    watch->on = WATCH_OFF;
    for (size_t i = 0; i < config->name_count; i++) {
        watch_sample(watch, &config->names[i]);
    }
    if (choose(watch, config, error) < 0 || parse_targets(watch, config, error) < 0) {
        return -1;
    }
    if (watch->target_count + watch->later_count == 0) {
        if (config->options->require && !watch->elsewhere) {
            err_set(error, ERR_USAGE, "--require-observe", "nothing is observed");
            return err_hint(error, "say whom: --observe %s",
                            config->name_count ? config->names[config->name_count - 1].word
                                               : "pid=N");
        }
        describe(watch, "none (not asked for: --observe)");
        return 0;
    }
    return open_probes(watch, error);
}

int watch_add(struct watch *watch, const struct probe_target *target, struct err *error)
{
    if (watch->probe_count == 0) {
        return 0;
    }
    for (size_t i = 0; i < watch->later_count; i++) {
        if (strcmp(watch->later[i].role, target->role) == 0) {
            return targets_add(watch->set.targets, target, error);
        }
    }
    targets_drop(watch->set.targets, target->pid); /* it was followed as somebody's child */
    return 0;
}

void watch_close(struct watch *watch)
{
    if (!watch) {
        return;
    }
    probe_set_close(&watch->set);
    for (size_t i = 0; i < PROBES_MOST; i++) {
        series_release(&watch->turns[i].blocks);
    }
    watch_release_foreign(watch);
    free(watch);
}

/* ---- while it runs ---- */

size_t watch_probes(const struct watch *watch)
{
    return watch->probe_count;
}

const char *watch_state(const struct watch *watch)
{
    return watch->state;
}

const char *watch_role(const struct watch *watch)
{
    for (size_t i = 1; i < watch->target_count; i++) {
        if (strcmp(watch->targets[i].role, watch->targets[0].role) != 0) {
            return "observed";
        }
    }
    return watch->target_count ? watch->targets[0].role : "observed";
}

const char *watch_probe_name(const struct watch *watch, int probe)
{
    return watch->turns[probe].chosen->ops->name;
}

int watch_attached(const struct watch *watch)
{
    return watch->on;
}

struct targets *watch_targets(const struct watch *watch)
{
    return watch->probe_count ? watch->set.targets : NULL;
}

struct gate *watch_gate(const struct watch *watch)
{
    return watch->probe_count ? targets_gate(watch->set.targets) : NULL;
}

int watch_plan_of(size_t probe_count, uint64_t part)
{
    uint64_t place = part % WATCH_PARTS_IN_BLOCK;
    if (probe_count == 0 || (place != 1 && place != 2)) {
        return WATCH_OFF;
    }
    return (int)(part / WATCH_PARTS_IN_BLOCK % probe_count);
}

int watch_plan(const struct watch *watch, uint64_t part)
{
    return watch_plan_of(watch->probe_count, part);
}

bool watch_counts_calls(const struct watch *watch, int probe)
{
    return probe != WATCH_OFF && watch->turns[probe].chosen->ops->flags & PROBE_CALLS;
}

int watch_attach(struct watch *watch, int probe, struct err *error)
{
    if (watch->on == probe) {
        return 0;
    }
    if (watch_gate(watch)->open) { /* the part has failed */
        gate_close(watch_gate(watch), clock_now_ns());
    }
    if (watch->on != WATCH_OFF) {
        const struct chosen_probe *before = watch->turns[watch->on].chosen;
        watch->on = WATCH_OFF;
        if (before->ops->stop(before->probe, error) < 0) {
            return -1;
        }
    }
    if (probe != WATCH_OFF) {
        const struct chosen_probe *next = watch->turns[probe].chosen;
        if (next->ops->start(next->probe, error) < 0) {
            return -1;
        }
        watch->on = probe;
    }
    return 0;
}

static const struct chosen_probe *present(const struct watch *watch)
{
    return watch->on == WATCH_OFF ? NULL : watch->turns[watch->on].chosen;
}

int watch_begin(struct watch *watch, struct err *error)
{
    const struct chosen_probe *on = present(watch);
    return on && on->ops->begin ? on->ops->begin(on->probe, error) : 0;
}

int watch_end(struct watch *watch, struct err *error)
{
    const struct chosen_probe *on = present(watch);
    return on && on->ops->end ? on->ops->end(on->probe, error) : 0;
}

void watch_gated(const struct watch *watch, const struct gated_part *part,
                 struct probe_scope *scope)
{
    const struct gate *gate = watch_gate(watch);
    if (!gate || part->last_ns <= part->first_ns) {
        return;
    }
    double whole_ns = (double)(part->last_ns - part->first_ns), missed_ns = 0;
    if (gate->start_ns > part->first_ns) {
        missed_ns += (double)(gate->start_ns - part->first_ns);
    }
    if (!gate->open && part->asked_ns > gate->end_ns) {
        missed_ns += (double)(part->asked_ns - gate->end_ns);
    }
    double share = missed_ns < whole_ns ? 1 - missed_ns / whole_ns : 0;
    scope->window_ns = (uint64_t)((double)scope->window_ns * share + 0.5);
    scope->operations = (uint64_t)((double)scope->operations * share + 0.5);
    scope->bytes = (uint64_t)((double)scope->bytes * share + 0.5);
}

void watch_seen(struct watch *watch, const struct probe_scope *scope)
{
    if (watch->on != WATCH_OFF) {
        struct probe_scope *seen = &watch->turns[watch->on].seen;
        seen->window_ns += scope->window_ns;
        seen->operations += scope->operations;
        seen->bytes += scope->bytes;
        seen->stretch_ns += scope->stretch_ns;
    }
}

void watch_block(struct watch *watch, int probe, uint64_t plain_operations, uint64_t plain_ns,
                 uint64_t seen_operations, uint64_t seen_ns)
{
    if (probe != WATCH_OFF) {
        struct series_point block = {.counters = {[BLOCK_PLAIN] = plain_operations,
                                                  [BLOCK_PLAIN_NS] = plain_ns,
                                                  [BLOCK_SEEN] = seen_operations,
                                                  [BLOCK_SEEN_NS] = seen_ns}};
        series_append(&watch->turns[probe].blocks, &block);
    }
}

uint64_t watch_calls(const struct watch *watch)
{
    for (size_t i = 0; i < watch->probe_count; i++) {
        const struct chosen_probe *chosen = watch->turns[i].chosen;
        if (watch_counts_calls(watch, (int)i)) {
            return chosen->ops->total(chosen->probe, NULL);
        }
    }
    return 0;
}
