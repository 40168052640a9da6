#include "cli/observe_print.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "report/text.h"

#define TOP_CALLS 3
#define PROCESSES_MOST 24 /* shown one by one */

static double per_second(uint64_t count, uint64_t window_ns)
{
    return window_ns ? (double)count * 1e9 / (double)window_ns : NAN;
}

/* ---- intervals ---- */

struct top {
    const char *name;
    uint64_t calls;
};

static uint64_t calls_before(const struct record_process *before, const char *name)
{
    for (size_t i = 0; before != NULL && i < before->kernel_calls.syscall_count; i++) {
        if (strcmp(before->kernel_calls.syscalls[i].name, name) == 0) {
            return before->kernel_calls.syscalls[i].calls;
        }
    }
    return 0;
}

static uint64_t difference(uint64_t now, uint64_t before)
{
    return now > before ? now - before : 0;
}

/* Totals of one probe come in one order, so the same process mostly has the same place. */
static const struct record_process *same_process(const struct record_run *before,
                                                 const struct record_process *now, size_t place)
{
    if (place < before->process_count && before->processes[place].pid == now->pid) {
        return &before->processes[place];
    }
    for (size_t i = 0; i < before->process_count; i++) {
        if (before->processes[i].pid == now->pid) {
            return &before->processes[i];
        }
    }
    return NULL;
}

/* The calls that were made most in the interval, most first. */
static void find_top(const struct record_process *before, const struct record_process *now,
                     struct top *top)
{
    for (size_t i = 0; i < now->kernel_calls.syscall_count; i++) {
        const struct record_syscall *call = &now->kernel_calls.syscalls[i];
        struct top entry = {call->name, difference(call->calls, calls_before(before, call->name))};
        for (size_t j = 0; j < TOP_CALLS; j++) {
            if (entry.calls > top[j].calls) {
                struct top moved = top[j];
                top[j] = entry;
                entry = moved;
            }
        }
    }
}

void observe_print_interval(FILE *out, const struct observe_interval *interval)
{
    struct text text = {.out = out};
    char rate[UNITS_TEXT_MAX];
    double at_s = (double)(interval->start_ns + interval->duration_ns) / 1e9;
    bool any = false;
    for (size_t i = 0; i < interval->now->process_count; i++) {
        const struct record_process *now = &interval->now->processes[i];
        const struct record_process *before = same_process(interval->before, now, i);
        uint64_t calls = difference(observe_calls(now), observe_calls(before));
        struct top top[TOP_CALLS] = {0};
        char most[160] = "";
        if (calls == 0) {
            continue;
        }
        any = true;
        find_top(before, now, top);
        for (size_t j = 0; j < TOP_CALLS && top[j].calls > 0; j++) {
            size_t used = strlen(most);
            snprintf(most + used, sizeof most - used, "%s%s %s/s", j > 0 ? ", " : ": ", top[j].name,
                     units_count(rate, per_second(top[j].calls, interval->duration_ns)));
        }
        text_paragraph(&text, 0, 4, "%6.1f s  %d %s  %s calls/s%s", at_s, (int)now->pid, now->name,
                       units_count(rate, per_second(calls, interval->duration_ns)), most);
    }
    if (!any) {
        text_paragraph(&text, 0, 4, "%6.1f s  no calls", at_s);
    }
    fflush(out);
}

/* ---- the report ---- */

static void errors_cell(struct table *table, const struct record_syscall *call)
{
    char cell[200] = "";
    char storage[32], count[UNITS_TEXT_MAX];
    for (size_t i = 0; i < call->error_count; i++) {
        const struct record_error_count *error = &call->errors[i];
        const char *name = error->name[0]
                               ? error->name
                               : record_errno_name(error->number, storage, sizeof storage);
        size_t used = strlen(cell);
        snprintf(cell + used, sizeof cell - used, "%s%s %s", i > 0 ? ", " : "", name,
                 units_count(count, (double)error->count));
    }
    table_cell(table, "%s", cell);
}

static void print_calls(struct text *text, const struct record_calls *calls, uint64_t total)
{
    struct table table;
    char number[UNITS_TEXT_MAX];
    table_init(&table, "lrrrrrl");
    static const char *const titles[] = {"system call", "calls",      "calls/s", "share",
                                         "bytes",       "bytes/call", "errors"};
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        table_cell(&table, "%s", titles[i]);
    }
    for (size_t i = 0; i < calls->syscall_count; i++) {
        const struct record_syscall *call = &calls->syscalls[i];
        double count = (double)call->calls;
        table_cell(&table, "%s", call->name);
        table_cell(&table, "%s", units_count(number, count));
        table_cell(&table, "%s", units_count(number, per_second(call->calls, calls->window_ns)));
        table_cell(&table, "%.1f %%", total ? 100 * count / (double)total : 0);
        table_cell(&table, "%s", call->bytes ? units_bytes(number, (double)call->bytes) : "");
        table_cell(&table, "%s",
                   call->bytes ? units_count(number, (double)call->bytes / count) : "");
        errors_cell(&table, call);
    }
    table_print(&table, text);
}

static void print_operations(struct text *text, const struct record_calls *calls)
{
    struct table table;
    char number[UNITS_TEXT_MAX];
    if (calls->uring_count == 0) {
        return;
    }
    table_init(&table, "lrrrr");
    static const char *const titles[] = {"io_uring operation", "submitted", "completed",
                                         "completed/s", "bytes"};
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        table_cell(&table, "%s", titles[i]);
    }
    for (size_t i = 0; i < calls->uring_count; i++) {
        const struct record_uring *operation = &calls->uring[i];
        table_cell(&table, "%s", operation->name);
        table_cell(&table, "%s", units_count(number, (double)operation->submitted));
        table_cell(&table, "%s", units_count(number, (double)operation->completed));
        table_cell(&table, "%s",
                   units_count(number, per_second(operation->completed, calls->window_ns)));
        table_cell(&table, "%s",
                   operation->bytes ? units_bytes(number, (double)operation->bytes) : "");
    }
    fputc('\n', text->out);
    table_print(&table, text);
}

static void print_process(struct text *text, const struct record_process *process)
{
    const struct record_calls *calls = &process->kernel_calls;
    char count[UNITS_TEXT_MAX], rate[UNITS_TEXT_MAX], user[UNITS_TEXT_MAX], system[UNITS_TEXT_MAX];
    uint64_t total = observe_calls(process);
    char cpu[128] = "CPU time n/a (it has ended, and only its parent knows)";
    if (process->cpu_available) {
        snprintf(cpu, sizeof cpu, "CPU user %s, system %s",
                 units_duration(user, (double)process->cpu_user_ns),
                 units_duration(system, (double)process->cpu_system_ns));
    }
    fputc('\n', text->out);
    if (!calls->available) { /* without the probe of system calls */
        text_paragraph(text, 0, 2, "%d %s: %s", (int)process->pid, process->name, cpu);
        return;
    }
    text_paragraph(text, 0, 2, "%d %s: %s calls, %s/s; %s", (int)process->pid, process->name,
                   units_count(count, (double)total),
                   units_count(rate, per_second(total, calls->window_ns)), cpu);
    if (calls->syscall_count > 0) {
        print_calls(text, calls, total);
    }
    print_operations(text, calls);
    if (calls->lost > 0) {
        text_paragraph(text, 2, 2, "lost: %s events could not be counted",
                       units_count(count, (double)calls->lost));
    }
}

static int by_calls(const void *left, const void *right)
{
    const struct record_process *const *a = left, *const *b = right;
    uint64_t x = observe_calls(*a), y = observe_calls(*b);
    return x != y ? (x < y) - (x > y) : ((*a)->pid > (*b)->pid) - ((*a)->pid < (*b)->pid);
}

/* Those with the most calls, one by one; the others in one line. */
static void print_processes(struct text *text, const struct record_run *run)
{
    char count[UNITS_TEXT_MAX];
    const struct record_process **order = calloc(run->process_count + 1, sizeof(*order));
    if (order == NULL) {
        text->failed = true;
        return;
    }
    for (size_t i = 0; i < run->process_count; i++) {
        order[i] = &run->processes[i];
    }
    qsort(order, run->process_count, sizeof(*order), by_calls);
    uint64_t rest = 0;
    for (size_t i = 0; i < run->process_count; i++) {
        if (i < PROCESSES_MOST) {
            print_process(text, order[i]);
        } else {
            rest += observe_calls(order[i]);
        }
    }
    if (run->process_count > PROCESSES_MOST) {
        fputc('\n', text->out);
        text_paragraph(text, 0, 2, "and %zu more processes: %s calls (--json lists them)",
                       run->process_count - PROCESSES_MOST, units_count(count, (double)rest));
    }
    free(order);
}

static double value_of(const struct record_run *run, const char *key)
{
    const struct record_value *value = record_find_value(run, key);
    return value != NULL && value->available ? value->value : NAN;
}

void observe_print_report(FILE *out, const struct record *record, bool *failed)
{
    struct text text = {.out = out, .operation = "observe"};
    char calls[UNITS_TEXT_MAX], rate[UNITS_TEXT_MAX], window[UNITS_TEXT_MAX];
    for (size_t i = 0; i < record->run_count; i++) {
        const struct record_run *run = &record->runs[i];
        char counted[2 * UNITS_TEXT_MAX + 32] = "";
        if (!isnan(value_of(run, "system_calls"))) {
            snprintf(counted, sizeof counted, ", %s system calls, %s/s",
                     units_count(calls, value_of(run, "system_calls")),
                     units_count(rate, value_of(run, "system_calls_per_second")));
        }
        text_paragraph(&text, 0, 2, "%s: observed for %s%s", run->detail,
                       units_duration(window, (double)run->window_ns), counted);
        if (!isnan(value_of(run, "command_cpu_user_ns"))) {
            text_paragraph(&text, 0, 2,
                           "CPU of the command and the children it waited for: user %s, system %s",
                           units_duration(calls, value_of(run, "command_cpu_user_ns")),
                           units_duration(rate, value_of(run, "command_cpu_system_ns")));
        }
        print_processes(&text, run);
        text_probes(&text, run);
        text_paragraph(&text, 0, 2, "%s; what looking cost was not measured", run->observation);
        if (run->process_count == 0) {
            text_paragraph(&text, 0, 2, "no such process was seen");
        }
        if (run->failure.code != ERR_NONE) {
            text_paragraph(&text, 0, 2, "partial: %s", run->failure.what);
        }
    }
    for (size_t i = 0; i < record->warning_count; i++) {
        text_paragraph(&text, 0, 2, "warning: %s", record->warnings[i]);
    }
    *failed = text.failed;
}
