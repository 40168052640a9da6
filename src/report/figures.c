#include "report/figures.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/plain.h"
const struct figures_percentile figures_percentiles[] = {
    {25, "25", false},    {50, "50", true},       {75, "75", true},
    {90, "90", true},     {95, "95", true},       {99, "99", true},
    {99.9, "99.9", true}, {99.99, "99.99", true}, {99.999, "99.999", false},
};
const size_t figures_percentile_count = sizeof figures_percentiles / sizeof *figures_percentiles;

bool figures_run_complete(const struct record_run *run)
{
    return run->complete && run->failure.code == ERR_NONE;
}

bool figures_kept(const struct record_run *run)
{
    return run->repetition && !run->discarded && figures_run_complete(run);
}

bool figures_complete(const struct record *record)
{
    for (size_t i = 0; i < record->run_count; i++) {
        if (!figures_run_complete(&record->runs[i])) {
            return false;
        }
    }
    return record->complete && record->failure.code == ERR_NONE;
}

struct record_probe figures_flows(const struct record_flows *flows)
{
    return (struct record_probe){
        .name = "flow", .available = true, .rows = flows->rows, .row_count = flows->row_count};
}

double figures_ratio(double numerator, double denominator)
{
    return denominator == 0 ? NAN : numerator / denominator;
}

double figures_calls(const struct record_calls *calls)
{
    double sum = 0;
    for (size_t i = 0; i < calls->syscall_count; i++) {
        sum += (double)calls->syscalls[i].calls;
    }
    return sum;
}

struct figures_cost figures_cost(const struct record_run *run, const char *role)
{
    struct figures_cost cost = {0, 0, 0};
    bool any = false;
    for (size_t i = 0; i < run->process_count; i++) {
        const struct record_process *process = &run->processes[i];
        const struct record_calls *calls = &process->engine_calls;
        if (strcmp(process->role, role) != 0) {
            continue;
        }
        any = true;
        double operations = process->cpu_available ? (double)process->cpu_operations : 0;
        cost.cpu_user_ns += figures_ratio((double)process->cpu_user_ns, operations);
        cost.cpu_system_ns += figures_ratio((double)process->cpu_system_ns, operations);
        cost.engine_calls +=
            figures_ratio(figures_calls(calls), calls->available ? (double)calls->operations : 0);
    }
    return any ? cost : (struct figures_cost){NAN, NAN, NAN};
}

struct figures_ends figures_ends(const struct record *record)
{
    static const char *const usual[] = {"client", "server"};
    struct figures_ends ends = {{NULL, NULL}};
    size_t found = 0;
    for (size_t i = 0; i < record->run_count; i++) {
        for (size_t k = 0; k < record->runs[i].process_count && found < 2; k++) {
            const struct record_process *process = &record->runs[i].processes[k];
            if (process->engine_calls.available &&
                (found == 0 || strcmp(ends.roles[0], process->role) != 0)) {
                ends.roles[found++] = process->role;
            }
        }
    }
    for (size_t i = 0; i < 2 && found < 2; i++) {
        if (found == 0 || strcmp(ends.roles[0], usual[i]) != 0) {
            ends.roles[found++] = usual[i];
        }
    }
    return ends;
}

const char *figures_id(char *to, size_t size, pid_t pid, pid_t tid)
{
    if (tid) {
        snprintf(to, size, "%d/%d", (int)pid, (int)tid);
    } else {
        snprintf(to, size, "%d", (int)pid);
    }
    return to;
}

bool figures_shown(const struct record_value *value)
{
    return value->available && isfinite(value->value);
}

const char *figures_reason(const struct record_value *value)
{
    if (value->reason[0]) {
        return value->reason;
    }
    if (value->available) {
        return "not a finite number";
    }
    return value->metric && value->metric->kind == METRIC_RATIO ? "divided by 0" : "not measured";
}

uint64_t figures_errors(const struct record_syscall *syscall, int number)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < syscall->error_count; i++) {
        if (syscall->errors[i].number == number) {
            sum += syscall->errors[i].count;
        }
    }
    return sum;
}

const char *figures_error_name(const struct record_error_count *error, char *storage, size_t size)
{
    return error->name[0] ? error->name : record_errno_name(error->number, storage, size);
}

uint64_t figures_class_low(size_t class)
{
    return class < 2 ? 0 : UINT64_C(1) << (class - 2);
}

int figures_finish(FILE *out, const char *what, struct err *error)
{
    errno = 0;
    if (fflush(out) != 0 || ferror(out)) {
        /* A write that failed earlier has left its mark on the stream, but no errno. */
        return err_system(error, errno ? errno : EIO, what, "cannot be written");
    }
    return 0;
}

char *figures_valid_text(const char *text)
{
    size_t room = strlen(text) * 3 + 1; /* U+FFFD takes three bytes */
    char *valid = malloc(room);
    char *to = valid;
    if (!valid) {
        return NULL;
    }
    while (*text) {
        size_t length = plain_utf8(text);
        if (length) {
            memcpy(to, text, length);
            to += length;
            text += length;
        } else {
            memcpy(to, "\xef\xbf\xbd", 3);
            to += 3;
            text++;
        }
    }
    *to = '\0';
    return valid;
}
