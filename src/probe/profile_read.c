/* From what the profile probe has sampled to the record. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "probe/profile_reading.h"

/* Of a record. What is beyond stands in one row. */
#define ROWS_MOST 500
#define PROCESSES_MOST 24 /* told apart */
#define GROUP_ROWS_MOST 100

/* Fewer of the expected ticks than this is worth a word. */
#define TICKS_LEAST 0.9

#define SYMBOL_MOST 256 /* of a row: longer ones (of C++) are cut */

enum {
    SELF_SHARE,
    TOTAL_SHARE,
    SELF,
    TOTAL,
    SAMPLES,
    RATE,
    KERNEL_SHARE,
    UNNAMED_SHARE,
    EARLY_SHARE,
    COLUMNS
};
_Static_assert((int)COLUMNS == (int)PROFILE_METRICS, "each has a row");

#define ROW(key, unit, title, help)                                                                \
    {                                                                                              \
        key, unit, title, help, METRIC_VALUE, 0, 0, false                                          \
    }

const struct metric profile_metrics[PROFILE_METRICS] = {
    [SELF_SHARE] = ROW("self_share", "1", "overhead",
                       "share of all samples of this probe that were in this function itself"),
    [TOTAL_SHARE] = ROW("total_share", "1", "with callees",
                        "share of the samples in it or in what it called, as far as frame pointers "
                        "show that"),
    [SELF] = ROW("self_samples", "1", "samples", "samples that were in this function itself"),
    [TOTAL] = ROW("total_samples", "1", "with callees", "samples in it or in what it called"),
    [SAMPLES] = ROW("samples", "1", "samples", "samples of this process"),
    [RATE] = ROW("sample_rate", "1/s", "rate", "samples a second that were asked for, of each CPU"),
    [KERNEL_SHARE] =
        ROW("kernel_share", "1", "in kernel", "share of its samples that were in the kernel"),
    [UNNAMED_SHARE] = ROW("unnamed_share", "1", "unnamed",
                          "share of its samples that were at an address without a name"),
    [EARLY_SHARE] = ROW("ended_early_share", "1", "cut stacks",
                        "share of its user stacks that do not reach back to where a thread begins: "
                        "code without frame pointers"),
};

static int no_memory(struct err *error)
{
    return err_set(error, ERR_LIMIT, "profile", "no memory for the samples");
}

/* ---- whose ---- */

static void describe(const struct targets *targets, struct profile_process *process,
                     const char *thread)
{
    const struct slot *slot = profile_slot_of(targets, process->pid);
    if (slot == NULL) { /* it shares the last one */
        process->scope = (struct record_scope){.pid = process->pid, .role = "observed"};
        snprintf(process->scope.name, sizeof process->scope.name, "%.*s", NAME_BYTES, thread);
        return;
    }
    targets_process_scope(targets, (uint32_t)(slot - targets->state->slots), &process->scope);
    process->parent = profile_parent_of(targets, slot);
}

static struct profile_process *find_process(const struct profile_reading *reading, pid_t pid)
{
    for (size_t i = reading->process_count; i-- > 0;) {
        if (reading->processes[i].pid == pid) {
            return &reading->processes[i];
        }
    }
    return NULL;
}

static int take_process(struct profile_reading *reading, const struct profile_key *key,
                        struct err *error)
{
    if (find_process(reading, (pid_t)key->tgid) != NULL) {
        return 0;
    }
    struct profile_process *larger =
        reallocarray(reading->processes, reading->process_count + 1, sizeof *larger);
    if (larger == NULL) {
        return no_memory(error);
    }
    reading->processes = larger;
    struct profile_process *process = &larger[reading->process_count++];
    *process = (struct profile_process){.pid = (pid_t)key->tgid};
    describe(reading->probe->targets, process, key->name);
    return 0;
}

static int make_groups(struct profile_reading *reading, struct err *error)
{
    bool by_name = reading->process_count > PROCESSES_MOST;
    reading->groups = calloc(reading->process_count + 1, sizeof *reading->groups);
    if (reading->groups == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0; i < reading->process_count; i++) {
        struct profile_process *process = &reading->processes[i];
        const struct record_scope *scope = &process->scope;
        size_t at = by_name ? 0 : reading->group_count;
        while (at < reading->group_count &&
               (strcmp(reading->groups[at].scope.role, scope->role) != 0 ||
                strcmp(reading->groups[at].scope.name, scope->name) != 0)) {
            at++;
        }
        process->group = at;
        if (at == reading->group_count) {
            struct profile_group *group = &reading->groups[reading->group_count++];
            group->scope = *scope;
            group->scope.pid = by_name ? 0 : scope->pid;
        }
    }
    return 0;
}

/* What a folded line begins with: the thread's name, and which end it is. */
static void name_root(const struct profile_process *process, const char *thread, char *to,
                      size_t size)
{
    const char *role = process->scope.role;
    bool end = role[0] != '\0' && strcmp(role, "observed") != 0;
    snprintf(to, size, "%.*s%s%s%s", NAME_BYTES, thread, end ? " (" : "", end ? role : "",
             end ? ")" : "");
}

/* ---- stacks ---- */

static int add_side(struct profile_reading *reading, const struct profile_process *process,
                    uint64_t hash, bool kernel, struct err *error)
{
    struct profile_stack stack;
    if (hash == PROFILE_NO_STACK) {
        return 0;
    }
    if (hash == PROFILE_LOST_STACK || !profile_stack(reading->probe, hash, &stack)) {
        profile_add_frame(reading, kernel ? "[kernel]" : "[unknown]", "[lost]", kernel, false);
        return 0;
    }
    if (kernel) {
        return profile_add_kernel_frames(reading, &stack, error);
    }
    profile_add_user_frames(reading, process, &stack);
    return 0;
}

static int add_samples(struct profile_reading *reading, const struct profile_key *key,
                       uint64_t samples, struct err *error)
{
    const struct profile_process *process = find_process(reading, (pid_t)key->tgid);
    char root[48];
    reading->frame_count = 0;
    if (process == NULL) {
        return 0; /* it has only come now, while this is read */
    }
    if (add_side(reading, process, key->kernel, true, error) != 0) {
        return -1;
    }
    size_t kernel_frames = reading->frame_count;
    if (add_side(reading, process, key->user, false, error) != 0) {
        return -1;
    }
    size_t user_frames = reading->frame_count - kernel_frames;
    if (reading->frame_count == 0) {
        profile_add_frame(reading, "[unknown]", "[unknown]", false, false);
    }
    struct profile_group *group = &reading->groups[process->group];
    group->samples += samples;
    group->kernel += kernel_frames > 0 ? samples : 0;
    group->unnamed += reading->named[0] ? 0 : samples;
    if (user_frames > 0) {
        group->user_stacks += samples;
        group->early +=
            profile_reaches_start(&reading->frames[kernel_frames], user_frames) ? 0 : samples;
    }
    name_root(process, key->name, root, sizeof root);
    return profile_fold_add(&reading->fold, (uint32_t)process->group, root, reading->frames,
                            reading->frame_count, samples, error);
}

/* All counts: once to know the processes, once to name what they did. Those that come while this
 * goes on do not make it endless. */
static int go_through(struct profile_reading *reading, bool name, struct err *error)
{
    struct profile_key key, last;
    uint64_t samples;
    int status = 0;
    bool any = profile_next(reading->probe, NULL, &key, &samples);
    for (size_t i = 0; any && status == 0 && i < 2 * PROFILE_COUNTS; i++) {
        if (!name) {
            status = take_process(reading, &key, error);
        } else if (samples > 0) {
            status = add_samples(reading, &key, samples, error);
        }
        last = key;
        any = profile_next(reading->probe, &last, &key, &samples);
    }
    return status;
}

static int add_all(struct profile_reading *reading, struct err *error)
{
    if (go_through(reading, false, error) != 0 || make_groups(reading, error) != 0 ||
        go_through(reading, true, error) != 0) {
        return -1;
    }
    profile_fold_sort(&reading->fold);
    return 0;
}

/* ---- to the record ---- */

static struct record_value *add_value(struct record_probe_row *row, size_t metric, double value)
{
    struct record_value *added = record_row_add_value(row, &profile_metrics[metric]);
    if (added != NULL) {
        added->available = true;
        added->value = value;
    }
    return added;
}

static double share(uint64_t part, uint64_t all)
{
    return all > 0 ? (double)part / (double)all : 0;
}

static const char *event_name(const struct probe *probe)
{
    return probe->event == PROFILE_CYCLES ? "cycles" : "cpu-clock";
}

static int by_samples(const void *left, const void *right)
{
    const struct profile_group *const *a = left, *const *b = right;
    if ((*a)->samples != (*b)->samples) {
        return (*a)->samples > (*b)->samples ? -1 : 1;
    }
    return (*a > *b) - (*a < *b); /* in the order in which they came */
}

static int add_group_row(const struct probe *probe, const struct profile_group *group,
                         struct record_probe *to)
{
    struct record_scope scope = group->scope;
    const double values[COLUMNS] = {
        [SAMPLES] = (double)group->samples,
        [RATE] = (double)probe->rate,
        [KERNEL_SHARE] = share(group->kernel, group->samples),
        [UNNAMED_SHARE] = share(group->unnamed, group->samples),
        [EARLY_SHARE] = share(group->early, group->user_stacks),
    };
    snprintf(scope.what, sizeof scope.what, "%s", event_name(probe));
    struct record_probe_row *row = record_add_probe_row(to, &scope);
    for (size_t i = SAMPLES; row != NULL && i < COLUMNS; i++) {
        if (add_value(row, i, values[i]) == NULL) {
            return -1;
        }
    }
    return row != NULL ? 0 : -1;
}

static int add_group_rows(const struct profile_reading *reading, struct record_probe *to)
{
    const struct profile_group **order = calloc(reading->group_count + 1, sizeof *order);
    int status = order != NULL ? 0 : -1;
    for (size_t i = 0; order != NULL && i < reading->group_count; i++) {
        order[i] = &reading->groups[i];
    }
    if (order != NULL) {
        qsort(order, reading->group_count, sizeof *order, by_samples);
    }
    for (size_t i = 0; i < reading->group_count && i < GROUP_ROWS_MOST && status == 0; i++) {
        status = add_group_row(reading->probe, order[i], to);
    }
    free(order);
    return status;
}

/* What is beyond the bound, of all processes together. */
static int add_rest(const struct profile_fold *fold, size_t first, struct record_probe *to)
{
    const struct record_scope nobody = {0};
    char name[64];
    uint64_t self = 0;
    for (size_t i = first; i < fold->row_count; i++) {
        self += fold->rows[i].self;
    }
    snprintf(name, sizeof name, "(%zu more functions)", fold->row_count - first);
    struct record_probe_row *row = record_add_probe_row(to, &nobody);
    return row != NULL && record_row_set_code(row, "(others)", name) == 0 &&
                   add_value(row, SELF_SHARE, share(self, fold->samples)) != NULL &&
                   add_value(row, SELF, (double)self) != NULL
               ? 0
               : -1;
}

static int add_rows(const struct profile_reading *reading, struct record_probe *to)
{
    const struct profile_fold *fold = &reading->fold;
    for (size_t i = 0; i < fold->row_count && i < ROWS_MOST; i++) {
        const struct fold_row *from = &fold->rows[i];
        struct record_probe_row *row =
            record_add_probe_row(to, &reading->groups[from->group].scope);
        char symbol[SYMBOL_MOST];
        snprintf(symbol, sizeof symbol, "%s", from->symbol);
        if (row == NULL || record_row_set_code(row, from->object, symbol) != 0 ||
            add_value(row, SELF_SHARE, share(from->self, fold->samples)) == NULL ||
            add_value(row, TOTAL_SHARE, share(from->total, fold->samples)) == NULL ||
            add_value(row, SELF, (double)from->self) == NULL ||
            add_value(row, TOTAL, (double)from->total) == NULL) {
            return -1;
        }
    }
    return fold->row_count > ROWS_MOST ? add_rest(fold, ROWS_MOST, to) : 0;
}

static int add_stacks(const struct profile_reading *reading, struct record_probe *to)
{
    for (size_t i = 0; i < reading->fold.stack_count; i++) {
        const struct fold_stack *stack = &reading->fold.stacks[i];
        if (record_add_stack(to, &reading->groups[stack->group].scope, stack->text,
                             stack->samples) == NULL) {
            return -1;
        }
    }
    return 0;
}

/* Appends a remark, as long as there is room. */
static void remark(struct record_probe *to, const char *text)
{
    size_t used = strlen(to->reason);
    snprintf(to->reason + used, sizeof to->reason - used, "%s%s", used > 0 ? "; " : "", text);
}

static void remark_on(const struct profile_reading *reading, struct record_probe *to)
{
    const struct probe *probe = reading->probe;
    const struct profile_memory *memory = probe->memory;
    char text[128];
    double expected =
        (double)to->window_ns / NS_PER_SECOND * (double)probe->rate * (double)probe->cpus_on;
    uint64_t lost_maps = code_events_lost(probe->events) + probe->maps.dropped;
    snprintf(text, sizeof text, "%lu samples of %s", (unsigned long)reading->fold.samples,
             event_name(probe));
    remark(to, text);
    if (memory->lost_stacks > 0) {
        snprintf(text, sizeof text, "%lu stacks found no place",
                 (unsigned long)memory->lost_stacks);
        remark(to, text);
    }
    if (probe->event == PROFILE_CPU_CLOCK && expected > 0 &&
        (double)memory->ticks < TICKS_LEAST * expected) {
        snprintf(text, sizeof text, "of the clock's ticks only %.0f %% came",
                 100 * (double)memory->ticks / expected);
        remark(to, text);
    }
    if (lost_maps > 0) {
        snprintf(text, sizeof text, "%lu mappings were not seen", (unsigned long)lost_maps);
        remark(to, text);
    }
    if (reading->kernel_read && reading->kernel_hidden) {
        remark(to, "the kernel's addresses are hidden (kernel.kptr_restrict, or no CAP_SYSLOG)");
    }
    if (symbols_missing[0] != '\0') {
        remark(to, symbols_missing);
    }
}

static int fill(struct profile_reading *reading, struct record_probe *to, struct err *error)
{
    if (profile_take_maps(reading->probe, error) != 0 ||
        symbols_open(&reading->symbols, error) != 0 || add_all(reading, error) != 0) {
        return -1;
    }
    to->lost = reading->probe->memory->lost + targets_lost(reading->probe->targets);
    remark_on(reading, to);
    return add_group_rows(reading, to) == 0 && add_rows(reading, to) == 0 &&
                   add_stacks(reading, to) == 0
               ? 0
               : no_memory(error);
}

int profile_read(struct probe *probe, const struct probe_scope *scope, struct record_run *run,
                 struct err *error)
{
    struct record_probe *to = record_add_probe(run, "profile");
    struct profile_reading *reading = calloc(1, sizeof *reading);
    if (to == NULL || reading == NULL) {
        free(reading);
        return no_memory(error);
    }
    to->available = true;
    to->window_ns = scope->window_ns;
    to->operations = scope->operations;
    to->bytes = scope->bytes;
    reading->probe = probe;
    int status = fill(reading, to, error);
    symbols_close(reading->symbols);
    symbol_table_release(&reading->kernel);
    profile_fold_release(&reading->fold);
    free(reading->processes);
    free(reading->groups);
    free(reading);
    return status;
}
