#include "cli/observe_print.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "report/text.h"

#define TOP_CALLS 3

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

/* The calls that were made most in the interval, most first. */
static void find_top(const struct record_process *before, const struct record_process *now,
                     struct top *top)
{
    for (size_t i = 0; i < now->kernel_calls.syscall_count; i++) {
        const struct record_syscall *call = &now->kernel_calls.syscalls[i];
        struct top entry = {call->name, call->calls - calls_before(before, call->name)};
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
        /* Totals of one probe in one order: the same process has the same place. */
        const struct record_process *before =
            i < interval->before->process_count ? &interval->before->processes[i] : NULL;
        uint64_t calls = observe_calls(now) - observe_calls(before);
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
    text_paragraph(text, 0, 2, "%d %s: %s calls, %s/s; %s", (int)process->pid, process->name,
                   units_count(count, (double)total),
                   units_count(rate, per_second(total, calls->window_ns)), cpu);
    if (calls->syscall_count > 0) {
        print_calls(text, calls, total);
    }
    print_operations(text, calls);
    if (calls->reason[0]) {
        text_paragraph(text, 2, 2, "%s", calls->reason);
    }
    if (calls->lost > 0) {
        text_paragraph(text, 2, 2, "lost: %s events could not be counted",
                       units_count(count, (double)calls->lost));
    }
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
        text_paragraph(&text, 0, 2, "%s: observed for %s, %s system calls, %s/s", run->detail,
                       units_duration(window, (double)run->window_ns),
                       units_count(calls, value_of(run, "system_calls")),
                       units_count(rate, value_of(run, "system_calls_per_second")));
        if (!isnan(value_of(run, "command_cpu_user_ns"))) {
            text_paragraph(&text, 0, 2,
                           "CPU of the command and the children it waited for: user %s, system %s",
                           units_duration(calls, value_of(run, "command_cpu_user_ns")),
                           units_duration(rate, value_of(run, "command_cpu_system_ns")));
        }
        for (size_t j = 0; j < run->process_count; j++) {
            print_process(&text, &run->processes[j]);
        }
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
