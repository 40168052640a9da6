#include "run/probe_set.h"

#include <stdio.h>
#include <string.h>

static const struct probe_ops *find(const struct probe_ops *const *known, const char *name)
{
    for (size_t i = 0; known[i] != NULL; i++) {
        if (strcmp(known[i]->name, name) == 0) {
            return known[i];
        }
    }
    return NULL;
}

static int refuse_name(const char *name, const struct probe_ops *const *known, struct err *error)
{
    const char *names[PROBES_MOST];
    char list[200] = "";
    size_t count = 0, used = 0;
    for (; known[count] != NULL && count < PROBES_MOST; count++) {
        names[count] = known[count]->name;
        used += (size_t)snprintf(list + used, used < sizeof list ? sizeof list - used : 0, "%s%s",
                                 count ? ", " : "", names[count]);
        used = used < sizeof list ? used : sizeof list;
    }
    const char *nearest = opt_nearest(name, names, count);
    err_set(error, ERR_USAGE, "--probe", "there is no probe \"%.40s\"", name);
    return nearest ? err_hint(error, "did you mean %s?", nearest)
                   : err_hint(error, "there are %s", list);
}

int probe_set_choose(struct probe_set *set, const struct opt_list *names,
                     const struct probe_ops *const *known, struct err *error)
{
    set->count = 0;
    for (size_t i = 0; i < names->count; i++) {
        const struct probe_ops *ops = find(known, names->items[i]);
        if (ops == NULL) {
            return refuse_name(names->items[i], known, error);
        }
        for (size_t j = 0; j < set->count; j++) {
            if (set->chosen[j].ops == ops) {
                return err_set(error, ERR_USAGE, "--probe", "%s stands twice", ops->name);
            }
        }
        if (set->count == PROBES_MOST) {
            return err_set(error, ERR_USAGE, "--probe", "more than %d probes", PROBES_MOST);
        }
        set->chosen[set->count++] = (struct chosen_probe){.ops = ops};
    }
    return 0;
}

static bool needs_bpf(const struct probe_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        if ((set->chosen[i].ops->flags & PROBE_BPF) && set->chosen[i].reason[0] == '\0') {
            return true;
        }
    }
    return false;
}

/* Notes why a probe does not serve, and keeps the first such error. */
static void refuse(struct chosen_probe *chosen, const struct err *failure, struct err *first)
{
    snprintf(chosen->reason, sizeof chosen->reason, "%.100s%s%.80s",
             failure->what[0] ? failure->what : "it cannot serve here",
             failure->hint[0] ? "; " : "", failure->hint);
    if (first->code == ERR_NONE) {
        *first = *failure;
    }
}

/* Targets with their BPF side; where BPF is refused, without it, for the probes that do without. */
static int open_targets(struct probe_set *set, const struct targets_config *whom,
                        struct err *refused, struct err *error)
{
    struct targets_config config = *whom;
    struct err failure = {0};
    config.bpf = needs_bpf(set);
    int status = targets_open(&set->targets, &config, &failure);
    if (status != 0 && config.bpf && failure.code == ERR_UNSUPPORTED) {
        bool others = false;
        for (size_t i = 0; i < set->count; i++) {
            if (set->chosen[i].ops->flags & PROBE_BPF) {
                refuse(&set->chosen[i], &failure, refused);
            } else {
                others = others || set->chosen[i].reason[0] == '\0';
            }
        }
        config.bpf = false;
        if (!others) {
            return 0;
        }
        failure = (struct err){0};
        status = targets_open(&set->targets, &config, &failure);
    }
    if (status != 0) {
        *error = failure;
    }
    return status;
}

/* What needs no BPF is asked first, so that BPF is not loaded for nobody. The others are not asked:
 * that is no cheaper than opening them. */
static void ask(struct probe_set *set, struct err *refused)
{
    for (size_t i = 0; i < set->count; i++) {
        struct chosen_probe *chosen = &set->chosen[i];
        char reason[160] = "", fix[160] = "";
        if (!(chosen->ops->flags & PROBE_BPF) && chosen->ops->why_not != NULL &&
            chosen->ops->why_not(reason, sizeof reason, fix, sizeof fix) != 0) {
            struct err failure = {0};
            err_set(&failure, ERR_UNSUPPORTED, "observe", "%s", reason);
            if (fix[0]) {
                err_hint(&failure, "%s", fix);
            }
            refuse(chosen, &failure, refused);
        }
    }
}

int probe_set_open(struct probe_set *set, const struct targets_config *whom,
                   const struct probe_options *options, bool all, struct err *error)
{
    struct err refused = {0};
    size_t serving = 0;
    ask(set, &refused);
    if (open_targets(set, whom, &refused, error) != 0) {
        return -1;
    }
    struct probe_config config = {.targets = set->targets, .options = options};
    for (size_t i = 0; i < set->count; i++) {
        struct chosen_probe *chosen = &set->chosen[i];
        struct err failure = {0};
        if (chosen->reason[0] == '\0' && set->targets != NULL) {
            if (chosen->ops->open(&chosen->probe, &config, &failure) == 0) {
                serving++;
            } else if (failure.code == ERR_USAGE) {
                chosen->probe = NULL;
                *error = failure; /* a wrong command line is wrong for all */
                return -1;
            } else {
                chosen->probe = NULL;
                refuse(chosen, &failure, &refused);
            }
        }
    }
    if (serving == 0 || (all && serving < set->count)) {
        *error = refused;
        return -1;
    }
    return 0;
}

struct chosen_probe *probe_set_find_calls(struct probe_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->chosen[i].probe != NULL && set->chosen[i].ops->flags & PROBE_CALLS) {
            return &set->chosen[i];
        }
    }
    return NULL;
}

/* The entry of a probe that left none: it did not serve, or what it saw stands elsewhere (the
 * system calls', with the processes). */
static struct record_probe *add_entry(const struct chosen_probe *chosen, struct record_run *run)
{
    struct record_probe *entry = record_add_probe(run, chosen->ops->name);
    if (entry == NULL) {
        return NULL;
    }
    entry->available = chosen->probe != NULL;
    entry->with_processes = chosen->ops->flags & PROBE_CALLS;
    snprintf(entry->reason, sizeof entry->reason, "%s", chosen->reason);
    for (size_t i = 0; i < run->process_count && entry->available; i++) {
        entry->lost += run->processes[i].kernel_calls.lost;
    }
    return entry;
}

struct record_probe *probe_set_read(struct chosen_probe *chosen, const struct probe_scope *scope,
                                    struct record_run *run, struct err *error)
{
    struct record_probe *entry = NULL;
    if (chosen->probe != NULL && chosen->ops->read(chosen->probe, scope, run, error) != 0) {
        return NULL;
    }
    for (size_t i = 0; i < run->probe_count; i++) {
        entry = strcmp(run->probes[i].name, chosen->ops->name) == 0 ? &run->probes[i] : entry;
    }
    if (entry == NULL) {
        entry = add_entry(chosen, run);
    }
    if (entry == NULL) {
        err_set(error, ERR_LIMIT, "observe", "no memory");
        return NULL;
    }
    entry->window_ns = scope->window_ns;
    entry->operations = scope->operations;
    entry->bytes = scope->bytes;
    return entry;
}

void probe_set_close(struct probe_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        set->chosen[i].ops->close(set->chosen[i].probe);
        set->chosen[i].probe = NULL;
    }
    targets_close(set->targets);
    set->targets = NULL;
}
