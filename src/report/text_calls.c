/* Calls to the kernel as text: system calls in rows, whose calls they are in columns. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "report/figures.h"
#include "report/text.h"

#define ROWS_MAX 40 /* the record in JSON has them all */
#define GROUP_COLUMNS 4

/* The calls of one process from one source: a group of columns. */
struct group {
    const struct record_calls *calls;
    char title[96];
};

/* A system call that at least one of the groups has. */
struct row {
    const char *name;
    double rate; /* the highest of the groups, calls per second: for the order */
};

static bool alone_in_role(const struct record_run *run, const struct record_process *process)
{
    size_t same = 0;
    for (size_t i = 0; i < run->process_count; i++) {
        same += strcmp(run->processes[i].role, process->role) == 0;
    }
    return same == 1;
}

static void set_title(struct group *group, const struct record_run *run,
                      const struct record_process *process, bool own)
{
    char who[64], id[32];
    figures_id(id, sizeof id, process->pid, process->tid);
    if (strcmp(process->role, "observed") == 0) {
        snprintf(who, sizeof who, "%s %s", process->name, id);
    } else if (alone_in_role(run, process)) {
        snprintf(who, sizeof who, "%s", process->role);
    } else {
        snprintf(who, sizeof who, "%s %s", process->role, id);
    }
    if (own) {
        snprintf(group->title, sizeof group->title, "%s (own count)", who);
    } else {
        snprintf(group->title, sizeof group->title, "%s (seen by %s)", who, group->calls->source);
    }
}

static double rate_of(const struct record_calls *calls, uint64_t count)
{
    return figures_ratio((double)count * 1e9, (double)calls->window_ns);
}

static const struct record_syscall *find_call(const struct record_calls *calls, const char *name)
{
    for (size_t i = 0; i < calls->syscall_count; i++) {
        if (strcmp(calls->syscalls[i].name, name) == 0) {
            return &calls->syscalls[i];
        }
    }
    return NULL;
}

static int compare_rows(const void *left, const void *right)
{
    const struct row *a = left, *b = right;
    return a->rate > b->rate ? -1 : a->rate < b->rate ? 1 : strcmp(a->name, b->name);
}

/* The system calls of all groups, most frequent first; *rows is malloc'ed. */
static size_t collect_rows(const struct group *groups, size_t group_count, struct row **rows)
{
    size_t most = 0, count = 0;
    for (size_t g = 0; g < group_count; g++) {
        most += groups[g].calls->syscall_count;
    }
    *rows = calloc(most ? most : 1, sizeof **rows);
    for (size_t g = 0; *rows && g < group_count; g++) {
        const struct record_calls *calls = groups[g].calls;
        for (size_t i = 0; i < calls->syscall_count; i++) {
            double rate = rate_of(calls, calls->syscalls[i].calls);
            size_t at = 0;
            while (at < count && strcmp((*rows)[at].name, calls->syscalls[i].name) != 0) {
                at++;
            }
            if (at == count) {
                (*rows)[count++] = (struct row){.name = calls->syscalls[i].name};
            }
            (*rows)[at].rate = rate > (*rows)[at].rate ? rate : (*rows)[at].rate;
        }
    }
    if (*rows) {
        qsort(*rows, count, sizeof **rows, compare_rows);
    }
    return count;
}

static void rate_cell(struct table *table, double rate)
{
    char number[UNITS_TEXT_MAX] = "-";
    if (isfinite(rate)) {
        units_si(number, rate, "");
    }
    size_t length = strlen(number);
    while (length && number[length - 1] == ' ') { /* of the unit that is not there */
        number[--length] = '\0';
    }
    table_cell(table, "%s", number);
}

static void number_cell(struct table *table, double value)
{
    char number[UNITS_TEXT_MAX];
    if (isfinite(value) && value >= 1e6) {
        rate_cell(table, value);
    } else if (value > 0 && value < 1e-4) { /* else the column grows with every zero */
        table_cell(table, "%.2g", value);
    } else {
        table_cell(table, "%s", isfinite(value) ? units_count(number, value) : "-");
    }
}

/* Calls for each operation; where nothing is known to divide by, the calls themselves. */
static void count_cell(struct table *table, const struct record_calls *calls, uint64_t count)
{
    char number[UNITS_TEXT_MAX];
    if (calls->operations) {
        number_cell(table, (double)count / (double)calls->operations);
    } else {
        table_cell(table, "%s", units_count(number, (double)count));
    }
}

static void call_cells(struct table *table, const struct record_calls *calls, const char *name)
{
    const struct record_syscall *found = find_call(calls, name);
    char share[16];
    if (!found || !found->calls) {
        for (int i = 0; i < GROUP_COLUMNS; i++) {
            table_cell(table, "-");
        }
        return;
    }
    double count = (double)found->calls;
    rate_cell(table, rate_of(calls, found->calls));
    count_cell(table, calls, found->calls);
    if (found->bytes) {
        number_cell(table, (double)found->bytes / count);
    } else {
        table_cell(table, "-");
    }
    table_cell(table, "%s",
               text_share(share, sizeof share, (double)figures_errors(found, EAGAIN) / count));
}

static void total_cells(struct table *table, const struct record_calls *calls)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < calls->syscall_count; i++) {
        sum += calls->syscalls[i].calls;
    }
    rate_cell(table, rate_of(calls, sum));
    count_cell(table, calls, sum);
    table_cell(table, "%s", "");
    table_cell(table, "%s", "");
}

static void fill_table(struct table *table, const struct text *text, const struct group *groups,
                       size_t group_count, const struct row *rows, size_t row_count)
{
    table_cell(table, "system call");
    for (size_t g = 0; g < group_count; g++) {
        table_span(table, 1 + GROUP_COLUMNS * g, GROUP_COLUMNS, groups[g].title);
        table_cell(table, "syscalls/s");
        if (groups[g].calls->operations) {
            table_cell(table, "per %s", text->operation);
        } else {
            table_cell(table, "syscalls");
        }
        table_cell(table, "B/syscall");
        table_cell(table, "EAGAIN");
    }
    for (size_t r = 0; r < row_count && r < ROWS_MAX; r++) {
        table_cell(table, "%s", rows[r].name);
        for (size_t g = 0; g < group_count; g++) {
            call_cells(table, groups[g].calls, rows[r].name);
        }
    }
    if (row_count > 1) {
        table_cell(table, "all");
        for (size_t g = 0; g < group_count; g++) {
            total_cells(table, groups[g].calls);
        }
    }
}

/* Prints as many of the groups side by side as the width allows; returns how many. */
static size_t print_groups(struct text *text, const struct group *groups, size_t group_count)
{
    static const char alignment[] = "lrrrrrrrrrrrrrrrr"; /* four groups */
    size_t fit = group_count > 4 ? 4 : group_count;
    for (;; fit--) {
        struct table table;
        struct row *rows;
        size_t row_count = collect_rows(groups, fit, &rows);
        if (!rows) {
            text->failed = true;
            return fit;
        }
        table_init(&table, alignment);
        table.columns = 1 + fit * GROUP_COLUMNS;
        fill_table(&table, text, groups, fit, rows, row_count);
        free(rows);
        if (fit > 1 && table_width(&table) + 2 > TEXT_COLUMNS) {
            table_release(&table);
            continue;
        }
        fputc('\n', text->out);
        table_print(&table, text);
        if (row_count == 0) {
            text_paragraph(text, 2, 4, "(none)");
        }
        if (row_count > ROWS_MAX) {
            text_paragraph(text, 2, 4, "(and %zu rarer system calls, counted in `all`)",
                           row_count - ROWS_MAX);
        }
        return fit;
    }
}

/* What the columns leave out: errors other than EAGAIN, and what the probe missed. */
static void print_notes(struct text *text, const struct group *group)
{
    char number[UNITS_TEXT_MAX], storage[16];
    for (size_t i = 0; i < group->calls->syscall_count; i++) {
        const struct record_syscall *syscall = &group->calls->syscalls[i];
        for (size_t k = 0; k < syscall->error_count; k++) {
            const struct record_error_count *error = &syscall->errors[k];
            if (error->number != EAGAIN && error->count) {
                text_paragraph(text, 2, 4, "%s: %s failed with %s %s times", group->title,
                               syscall->name, figures_error_name(error, storage, sizeof storage),
                               units_count(number, (double)error->count));
            }
        }
    }
    if (group->calls->lost) {
        text_paragraph(text, 2, 4, "%s: %s events were lost: its counts above are too low by that",
                       group->title, units_count(number, (double)group->calls->lost));
    }
}

static void print_uring(struct text *text, const struct group *groups, size_t group_count)
{
    struct table table;
    bool any = false;
    table_init(&table, "llrrrrr");
    table_cell(&table, "io_uring");
    table_cell(&table, "of");
    table_cell(&table, "submitted/s");
    table_cell(&table, "per %s", text->operation);
    table_cell(&table, "completed/s");
    table_cell(&table, "per %s", text->operation);
    table_cell(&table, "B/completion");
    for (size_t g = 0; g < group_count; g++) {
        const struct record_calls *calls = groups[g].calls;
        for (size_t i = 0; i < calls->uring_count; i++) {
            const struct record_uring *uring = &calls->uring[i];
            any = true;
            table_cell(&table, "%s", uring->name);
            table_cell(&table, "%s", groups[g].title);
            rate_cell(&table, rate_of(calls, uring->submitted));
            number_cell(&table, figures_ratio((double)uring->submitted, (double)calls->operations));
            rate_cell(&table, rate_of(calls, uring->completed));
            number_cell(&table, figures_ratio((double)uring->completed, (double)calls->operations));
            number_cell(&table, uring->bytes
                                    ? figures_ratio((double)uring->bytes, (double)uring->completed)
                                    : NAN);
        }
    }
    if (!any) {
        table_release(&table);
        return;
    }
    fputc('\n', text->out);
    table_print(&table, text);
}

static void print_unavailable(struct text *text, const struct record_process *process,
                              const struct record_calls *calls, const char *whose)
{
    char id[32];
    if (!calls->available && calls->reason[0]) {
        text_paragraph(text, 2, 4, "calls of %s %s (%s): n/a (%s)", process->role,
                       figures_id(id, sizeof id, process->pid, process->tid), whose, calls->reason);
    }
}

/* Whether the calls as the kernel sees them were asked for. */
static bool asked_kernel(const struct record_run *run)
{
    bool asked = run->probe_count == 0;
    for (size_t i = 0; i < run->probe_count; i++) {
        asked |= run->probes[i].with_processes;
    }
    return asked;
}

void text_calls(struct text *text, const struct record_run *run)
{
    struct group *groups = calloc(2 * run->process_count + 1, sizeof *groups);
    size_t count = 0;
    if (!groups) {
        text->failed = true;
        return;
    }
    for (int own = 1; own >= 0; own--) {
        for (size_t i = 0; i < run->process_count; i++) {
            const struct record_process *process = &run->processes[i];
            const struct record_calls *calls =
                own ? &process->engine_calls : &process->kernel_calls;
            if (calls->available) {
                groups[count].calls = calls;
                set_title(&groups[count++], run, process, own);
            }
        }
    }
    for (size_t done = 0; done < count;) {
        done += print_groups(text, groups + done, count - done);
    }
    print_uring(text, groups, count);
    for (size_t i = 0; i < count; i++) {
        print_notes(text, &groups[i]);
    }
    for (size_t i = 0; i < run->process_count && run->observing; i++) {
        print_unavailable(text, &run->processes[i], &run->processes[i].engine_calls, "own count");
        if (asked_kernel(run)) {
            print_unavailable(text, &run->processes[i], &run->processes[i].kernel_calls,
                              "seen by the kernel");
        }
    }
    free(groups);
}
