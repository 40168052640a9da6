#include "report/record.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "report/record_grow.h"

/* Copies what fits; always terminated. */
static void copy_text(char *to, size_t size, const char *from)
{
    size_t length = strnlen(from ? from : "", size - 1);
    if (length) {
        memcpy(to, from, length);
    }
    to[length] = '\0';
}

static void now_rfc3339(char *to, size_t size)
{
    struct timespec now;
    struct tm date;
    char seconds[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &date);
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &date);
    snprintf(to, size, "%s.%03uZ", seconds, (unsigned)(now.tv_nsec / 1000000) % 1000);
}

int record_init(struct record *record, int argc, char **argv, struct err *error)
{
    *record = (struct record){0};
    now_rfc3339(record->started, sizeof record->started);
    size_t count = argc > 0 ? (size_t)argc : 0;
    record->command = calloc(count + 1, sizeof *record->command);
    if (!record->command) {
        return err_system(error, ENOMEM, "record", "cannot be created");
    }
    for (size_t i = 0; i < count; i++) {
        record->command[i] = strdup(argv[i]);
        if (!record->command[i]) {
            record_release(record);
            return err_system(error, ENOMEM, "record", "cannot be created");
        }
    }
    return 0;
}

static void release_calls(struct record_calls *calls)
{
    for (size_t i = 0; i < calls->syscall_count; i++) {
        free(calls->syscalls[i].errors);
    }
    free(calls->syscalls);
    free(calls->uring);
}

static void release_run(struct record_run *run)
{
    for (size_t i = 0; i < run->histogram_count; i++) {
        histogram_free(run->histograms[i].histogram);
    }
    for (size_t i = 0; i < run->interval_count; i++) {
        free(run->intervals[i].values);
        free(run->intervals[i].kernel);
        record_release_flows(&run->intervals[i].flows);
    }
    for (size_t i = 0; i < run->process_count; i++) {
        release_calls(&run->processes[i].engine_calls);
        release_calls(&run->processes[i].kernel_calls);
    }
    for (size_t i = 0; i < run->probe_count; i++) {
        record_release_probe(&run->probes[i]);
    }
    record_release_flows(&run->flows);
    for (size_t i = 0; i < run->kept_count; i++) {
        free(run->kept[i]);
    }
    free(run->kept);
    free(run->probes);
    free(run->values);
    free(run->histograms);
    free(run->intervals);
    free(run->processes);
    free(run->errors);
}

void record_release(struct record *record)
{
    for (size_t i = 0; record->command && record->command[i]; i++) {
        free(record->command[i]);
    }
    for (size_t i = 0; i < record->option_count; i++) {
        free(record->options[i].name);
        free(record->options[i].value);
    }
    for (size_t i = 0; i < record->machine_count; i++) {
        free(record->machine[i].key);
        free(record->machine[i].text);
    }
    for (size_t i = 0; i < record->warning_count; i++) {
        free(record->warnings[i]);
    }
    for (size_t i = 0; i < record->run_count; i++) {
        release_run(&record->runs[i]);
    }
    for (size_t i = 0; i < record->summary_count; i++) {
        record_release_summary(&record->summaries[i]);
    }
    for (size_t i = 0; i < record->find_max.found_count; i++) {
        free(record->find_max.found[i].probes);
    }
    free(record->find_max.found);
    free(record->summaries);
    free(record->command);
    free(record->options);
    free(record->machine);
    free(record->warnings);
    free(record->runs);
    *record = (struct record){0};
}

struct record_run *record_add_run(struct record *record, const char *label)
{
    struct record_run *run;
    APPEND(record, runs, run_count, run);
    if (run) {
        copy_text(run->label, sizeof run->label, label);
    }
    return run;
}

struct record_value *record_add_value(struct record_run *run, const struct metric *metric)
{
    struct record_value *value;
    APPEND(run, values, value_count, value);
    if (value) {
        value->metric = metric;
    }
    return value;
}

int record_add_counts(struct record_run *run, const struct metric *metrics, const uint64_t *values,
                      size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct record_value *value = record_add_value(run, &metrics[i]);
        if (!value) {
            return -1;
        }
        value->available = true;
        value->value = (double)values[i];
    }
    return 0;
}

struct record_histogram *record_add_histogram(struct record_run *run,
                                              const struct histogram_metric *metric,
                                              const char *role)
{
    struct histogram *histogram = histogram_new();
    if (!histogram) {
        return NULL;
    }
    struct record_histogram *element;
    APPEND(run, histograms, histogram_count, element);
    if (!element) {
        histogram_free(histogram);
        return NULL;
    }
    *element = (struct record_histogram){.metric = metric, .role = role, .histogram = histogram};
    return element;
}

struct record_interval *record_add_interval(struct record_run *run)
{
    struct record_interval *interval;
    APPEND(run, intervals, interval_count, interval);
    return interval;
}

struct record_value *record_interval_add_value(struct record_interval *interval,
                                               const struct metric *metric)
{
    struct record_value *value;
    APPEND(interval, values, value_count, value);
    if (value) {
        value->metric = metric;
    }
    return value;
}

struct record_process *record_add_process(struct record_run *run, const char *role, pid_t pid,
                                          const char *name)
{
    struct record_process *process;
    APPEND(run, processes, process_count, process);
    if (process) {
        copy_text(process->role, sizeof process->role, role);
        copy_text(process->name, sizeof process->name, name);
        process->pid = pid;
        process->processes = 1;
        process->busiest_thread = -1;
    }
    return process;
}

struct record_error_count *record_add_error(struct record_run *run, const char *phase, int number,
                                            const char *name)
{
    struct record_error_count *error;
    char storage[16];
    APPEND(run, errors, error_count, error);
    if (!error) {
        return NULL;
    }
    error->number = number;
    copy_text(error->phase, sizeof error->phase, phase);
    copy_text(error->name, sizeof error->name,
              name && *name ? name : record_errno_name(number, storage, sizeof storage));
    for (struct record_error_count *one = run->errors; one < error; one++) {
        if (one->number == number && strcmp(one->phase, error->phase) == 0 &&
            strcmp(one->name, error->name) == 0) {
            run->error_count--;
            return one;
        }
    }
    return error;
}

struct record_syscall *record_add_syscall(struct record_calls *calls, const char *name)
{
    struct record_syscall *element;
    APPEND(calls, syscalls, syscall_count, element);
    if (element) {
        copy_text(element->name, sizeof element->name, name);
    }
    return element;
}

struct record_error_count *record_syscall_add_error(struct record_syscall *syscall, int number)
{
    struct record_error_count *error;
    char storage[16];
    APPEND(syscall, errors, error_count, error);
    if (error) {
        error->number = number;
        copy_text(error->name, sizeof error->name,
                  record_errno_name(number, storage, sizeof storage));
    }
    return error;
}

struct record_uring *record_add_uring(struct record_calls *calls, const char *name)
{
    struct record_uring *element;
    APPEND(calls, uring, uring_count, element);
    if (element) {
        copy_text(element->name, sizeof element->name, name);
    }
    return element;
}

static int add_syscall(struct record_calls *to, const struct record_syscall *from)
{
    struct record_syscall *row = NULL;
    for (size_t i = 0; i < to->syscall_count && !row; i++) {
        row = strcmp(to->syscalls[i].name, from->name) == 0 ? &to->syscalls[i] : NULL;
    }
    row = row ? row : record_add_syscall(to, from->name);
    if (!row) {
        return -1;
    }
    row->calls += from->calls;
    row->bytes += from->bytes;
    for (size_t i = 0; i < from->error_count; i++) {
        struct record_error_count *error = NULL;
        for (size_t j = 0; j < row->error_count && !error; j++) {
            bool same = strcmp(row->errors[j].name, from->errors[i].name) == 0;
            error = same ? &row->errors[j] : NULL;
        }
        error = error ? error : record_syscall_add_error(row, from->errors[i].number);
        if (!error) {
            return -1;
        }
        copy_text(error->name, sizeof error->name, from->errors[i].name);
        error->count += from->errors[i].count;
    }
    return 0;
}

static int add_uring(struct record_calls *to, const struct record_uring *from)
{
    struct record_uring *row = NULL;
    for (size_t i = 0; i < to->uring_count && !row; i++) {
        row = strcmp(to->uring[i].name, from->name) == 0 ? &to->uring[i] : NULL;
    }
    row = row ? row : record_add_uring(to, from->name);
    if (!row) {
        return -1;
    }
    row->submitted += from->submitted;
    row->completed += from->completed;
    row->bytes += from->bytes;
    return 0;
}

static int add_calls(struct record_calls *to, const struct record_calls *from)
{
    int result = 0;
    if (!from->available) {
        return 0;
    }
    if (!to->available) {
        to->available = true;
        to->window_ns = from->window_ns;
        to->operations = from->operations;
        copy_text(to->source, sizeof to->source, from->source);
        copy_text(to->reason, sizeof to->reason, from->reason);
    }
    for (size_t i = 0; i < from->syscall_count && result == 0; i++) {
        result = add_syscall(to, &from->syscalls[i]);
    }
    for (size_t i = 0; i < from->uring_count && result == 0; i++) {
        result = add_uring(to, &from->uring[i]);
    }
    to->lost += from->lost;
    record_sort_calls(to);
    return result;
}

static void remove_process(struct record_run *run, size_t index)
{
    release_calls(&run->processes[index].engine_calls);
    release_calls(&run->processes[index].kernel_calls);
    run->process_count--;
    memmove(&run->processes[index], &run->processes[index + 1],
            (run->process_count - index) * sizeof *run->processes);
}

static bool is_one_of(const struct record_process *process, const char *role, const pid_t *pids,
                      size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (pids[i] == process->pid) {
            return strcmp(process->role, role) == 0;
        }
    }
    return false;
}

int record_join_processes(struct record_run *run, const char *role, const pid_t *pids, size_t count)
{
    struct record_process *whole = NULL;
    for (size_t i = 0; i < run->process_count && count > 1;) {
        struct record_process *process = &run->processes[i];
        if (!is_one_of(process, role, pids, count)) {
            i++;
        } else if (!whole) {
            whole = process;
            i++;
        } else if (add_calls(&whole->kernel_calls, &process->kernel_calls) < 0) {
            return -1;
        } else {
            remove_process(run, i);
        }
    }
    return 0;
}

int record_add_option(struct record *record, const char *name, const char *value, bool given)
{
    struct record_option *option;
    APPEND(record, options, option_count, option);
    if (!option) {
        return -1;
    }
    option->given = given;
    option->name = strdup(name);
    option->value = strdup(value ? value : "");
    if (!option->name || !option->value) {
        free(option->name);
        free(option->value);
        record->option_count--;
        return -1;
    }
    return 0;
}

int record_add_machine(struct record *record, const char *key, bool numeric, const char *format,
                       ...)
{
    struct record_pair *pair;
    va_list list;
    APPEND(record, machine, machine_count, pair);
    if (!pair) {
        return -1;
    }
    va_start(list, format);
    int length = vasprintf(&pair->text, format, list);
    va_end(list);
    if (length < 0) {
        pair->text = NULL; /* vasprintf leaves it undefined */
    }
    pair->numeric = numeric;
    pair->key = strdup(key);
    if (!pair->key || !pair->text) {
        free(pair->key);
        free(pair->text);
        record->machine_count--;
        return -1;
    }
    return 0;
}

int record_add_warning(struct record *record, const char *format, ...)
{
    char *text = NULL;
    char **element;
    va_list list;
    va_start(list, format);
    int length = vasprintf(&text, format, list);
    va_end(list);
    if (length < 0) {
        return -1;
    }
    APPEND(record, warnings, warning_count, element);
    if (!element) {
        free(text);
        return -1;
    }
    *element = text;
    return 0;
}

int record_warn_of_calls(struct record *record, const struct record_run *run)
{
    int status = 0;
    for (size_t i = 0; i < run->process_count && status == 0; i++) {
        const struct record_calls *calls = &run->processes[i].kernel_calls;
        bool new = calls->available && calls->reason[0];
        for (size_t j = 0; j < record->warning_count && new; j++) {
            new = strcmp(record->warnings[j], calls->reason) != 0;
        }
        status = new ? record_add_warning(record, "%s", calls->reason) : 0;
    }
    return status;
}

static int compare_calls(const void *left, const void *right)
{
    const struct record_syscall *a = left, *b = right;
    if (a->calls != b->calls) {
        return a->calls > b->calls ? -1 : 1;
    }
    return strcmp(a->name, b->name);
}

void record_sort_calls(struct record_calls *calls)
{
    if (calls->syscall_count) {
        qsort(calls->syscalls, calls->syscall_count, sizeof *calls->syscalls, compare_calls);
    }
}

const struct record_value *record_find_value(const struct record_run *run, const char *key)
{
    for (size_t i = 0; i < run->value_count; i++) {
        if (!strcmp(run->values[i].metric->key, key)) {
            return &run->values[i];
        }
    }
    return NULL;
}

const char *record_errno_name(int number, char *storage, size_t size)
{
    const char *name = number > 0 ? strerrorname_np(number) : NULL;
    if (name) {
        return name;
    }
    snprintf(storage, size, "E%d", number);
    return storage;
}
