/* The figures of one run. What stands for several processes of one role is the sum of their
 * quotients, as in every printer (figures_cost). */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/result_read.h"

/* What a record can hold in earnest is a few thousand; a file that holds more is not one. */
#define FIGURES_MOST 100000

/* ---- which way is better ---- */

struct rule {
    const char *part; /* of the key, at its end where `ending` */
    bool ending;      /* "" as part: any key */
    const char *unit; /* NULL: any */
    enum figure_better better;
};

/* The first that fits. Counts whose size has no merit of its own (calls in flight, bytes a call,
 * time asleep) are neutral. */
static const struct rule rules[] = {
    {"errors", true, NULL, FIGURE_LOWER},
    {"_lost", true, NULL, FIGURE_LOWER},
    {"retransmits", true, NULL, FIGURE_LOWER},
    {"overflows", true, NULL, FIGURE_LOWER},
    {"regressions", true, NULL, FIGURE_LOWER},
    {"unfinished", true, NULL, FIGURE_LOWER},
    {"steal_share", true, NULL, FIGURE_LOWER},
    {"failed_share", true, NULL, FIGURE_LOWER},
    {"rss_bytes", true, NULL, FIGURE_LOWER},
    {"_memory_average", true, NULL, FIGURE_LOWER},
    {"_memory_peak", true, NULL, FIGURE_LOWER},
    {"_virtual_peak", true, NULL, FIGURE_LOWER},
    {"_calls_per_mib", true, NULL, FIGURE_LOWER},
    {"_switches_per_gib", true, NULL, FIGURE_LOWER},
    {".uring.", false, NULL, FIGURE_NEUTRAL},
    {"off_cpu", false, NULL, FIGURE_NEUTRAL},
    {"sleep", false, NULL, FIGURE_NEUTRAL},
    {"window", false, NULL, FIGURE_NEUTRAL},
    {".", false, "bytes/s", FIGURE_NEUTRAL}, /* of a program that is observed */
    {"", false, "1/s", FIGURE_HIGHER},
    {"", false, "bytes/s", FIGURE_HIGHER},
    {"", false, "bits/s", FIGURE_HIGHER},
    {"", false, "ns", FIGURE_LOWER},
};

static enum figure_better better_of(const char *key, const char *unit)
{
    size_t length = strlen(key);
    const char *dot = strchr(key, '.');
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *rule = &rules[i];
        size_t part = strlen(rule->part);
        bool fits = rule->ending ? length >= part && !strcmp(key + length - part, rule->part)
                                 : strstr(key, rule->part) != NULL;
        if (fits && (!rule->unit || strcmp(unit, rule->unit) == 0)) {
            return rule->better;
        }
    }
    /* System calls and switches of an end for each operation. */
    return dot && strstr(dot, "_per_") && strcmp(unit, "1") == 0 ? FIGURE_LOWER : FIGURE_NEUTRAL;
}

/* ---- collecting ---- */

static struct figure *find(struct result_reader *reader, const char *key)
{
    json_t *index = json_object_get(reader->indexes, key);
    return index ? &reader->run->figures[json_integer_value(index)] : NULL;
}

static struct figure *append(struct result_reader *reader, const char *key, const char *unit)
{
    struct result_run *run = reader->run;
    if (run->figure_count == FIGURES_MOST) {
        result_wrong(reader, "holds more than %d figures", FIGURES_MOST);
        return NULL;
    }
    if (run->figure_count == reader->room) {
        size_t room = reader->room ? 2 * reader->room : 64;
        struct figure *figures = reallocarray(run->figures, room, sizeof *figures);
        if (!figures) {
            result_no_memory(reader);
            return NULL;
        }
        run->figures = figures;
        reader->room = room;
    }
    struct figure *figure = &run->figures[run->figure_count];
    *figure = (struct figure){.key = strdup(key), .better = better_of(key, unit)};
    if (!figure->key ||
        json_object_set_new(reader->indexes, key, json_integer((json_int_t)run->figure_count))) {
        free(figure->key);
        result_no_memory(reader);
        return NULL;
    }
    snprintf(figure->unit, sizeof figure->unit, "%s", unit);
    run->figure_count++;
    return figure;
}

/* Adds the value to the figure of this key, which begins at 0. NaN stays: a sum of which a part is
 * not known is not known. */
__attribute__((format(printf, 4, 5))) static struct figure *
add(struct result_reader *reader, double value, const char *unit, const char *format, ...)
{
    char key[512];
    va_list list;
    if (reader->failed) {
        return NULL;
    }
    va_start(list, format);
    vsnprintf(key, sizeof key, format, list);
    va_end(list);
    struct figure *figure = find(reader, key);
    if (!figure) {
        figure = append(reader, key, unit);
    }
    if (figure) {
        figure->value += value;
    }
    return figure;
}

static double value_of(struct result_reader *reader, const char *role, const char *name,
                       const char *per)
{
    char key[512];
    snprintf(key, sizeof key, "%s.%s%s", role, name, per);
    const struct figure *figure = find(reader, key);
    return figure ? figure->value : NAN;
}

/* ---- metrics and histograms ---- */

/* The value of a quantity, NaN where it is null; its unit to `unit` (of struct figure's size). */
static double read_quantity(struct result_reader *reader, json_t *quantity, const char *key,
                            char *unit, size_t size)
{
    if (!result_element(reader, quantity, key, RESULT_OBJECT)) {
        return NAN;
    }
    const char *text = result_name(reader, quantity, "unit");
    snprintf(unit, size, "%s", text ? text : "1");
    return result_number(reader, quantity, "value");
}

static bool plain_key(struct result_reader *reader, const char *key)
{
    size_t length = strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (key[length] || length == 0 || length > 100) {
        result_wrong(reader, "a key among its figures is no name such as calls_per_second");
        return false;
    }
    return true;
}

static void read_metrics(struct result_reader *reader, const json_t *run)
{
    json_t *metrics = result_member(reader, run, "metrics", RESULT_OBJECT, true);
    json_t *quantity;
    const char *key;
    json_object_foreach(metrics, key, quantity)
    {
        char unit[sizeof reader->run->figures->unit];
        if (!plain_key(reader, key)) {
            return;
        }
        double value = read_quantity(reader, quantity, key, unit, sizeof unit);
        add(reader, value, unit, "%s", key);
    }
}

static void read_histograms(struct result_reader *reader, const json_t *run)
{
    static const char *const percentiles[] = {"50", "90", "99", "99.9"};
    json_t *histograms = result_member(reader, run, "histograms", RESULT_OBJECT, false);
    json_t *histogram;
    const char *key;
    json_object_foreach(histograms, key, histogram)
    {
        if (!plain_key(reader, key) || !result_element(reader, histogram, key, RESULT_OBJECT)) {
            return;
        }
        const char *unit = result_name(reader, histogram, "unit");
        json_t *at = result_member(reader, histogram, "percentiles", RESULT_OBJECT, false);
        unit = unit ? unit : "1";
        add(reader, result_number(reader, histogram, "mean"), unit, "%s.mean", key);
        for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++) {
            add(reader, result_number(reader, at, percentiles[i]), unit, "%s.p%s", key,
                percentiles[i]);
        }
        add(reader, result_number(reader, histogram, "max"), unit, "%s.max", key);
    }
}

/* ---- processes ---- */

/* What the costs of a process are for each of: an operation, or a second where there are none. */
struct basis {
    char per[128]; /* "_per_call" */
    double divisor;
    const char *count, *time, *bytes; /* units of a quotient */
};

static struct basis basis_of(const struct result_reader *reader, double operations,
                             double window_ns)
{
    bool counted = operations > 0;
    struct basis basis = {.count = counted ? "1" : "/s",
                          .time = counted ? "ns" : "ns/s",
                          .bytes = counted ? "bytes" : "bytes/s"};
    snprintf(basis.per, sizeof basis.per, "_per_%s", counted ? reader->operation : "second");
    basis.divisor = counted ? operations : window_ns > 0 ? window_ns / 1e9 : NAN;
    return basis;
}

static void read_cpu(struct result_reader *reader, const json_t *process, const char *role)
{
    double window = result_count(reader, process, "cpu_window_ns");
    double user = result_count(reader, process, "cpu_user_ns");
    double system = result_count(reader, process, "cpu_system_ns");
    struct basis basis = basis_of(reader, result_count(reader, process, "cpu_operations"), window);
    json_t *switches = result_member(reader, process, "context_switches", RESULT_OBJECT, false);
    double all =
        result_count(reader, switches, "voluntary") + result_count(reader, switches, "involuntary");

    add(reader, (user + system) / basis.divisor, basis.time, "%s.cpu_ns%s", role, basis.per);
    /* Of all ends together: not known where one is not. */
    bool counted = strcmp(basis.time, "ns") == 0;
    add(reader, counted ? (user + system) / basis.divisor : NAN, "ns", "cpu_ns_per_%s",
        reader->operation);
    add(reader, user / basis.divisor, basis.time, "%s.cpu_user_ns%s", role, basis.per);
    add(reader, system / basis.divisor, basis.time, "%s.cpu_system_ns%s", role, basis.per);
    add(reader, window > 0 ? (user + system) / window : NAN, "1", "%s.cpu_busy", role);
    add(reader, all / basis.divisor, basis.count, "%s.switches%s", role, basis.per);
    add(reader, result_count(reader, process, "rss_bytes"), "bytes", "%s.rss_bytes", role);
}

static double sum_errors(struct result_reader *reader, const json_t *syscall)
{
    json_t *errors = result_member(reader, syscall, "errors", RESULT_OBJECT, false);
    json_t *count;
    const char *key;
    double sum = 0;
    json_object_foreach(errors, key, count)
    {
        if (result_element(reader, count, "a count of errors", RESULT_NUMBER)) {
            sum += json_number_value(count);
        }
    }
    return sum;
}

/* One system call of a process. Bytes and failures are kept for each operation here; finish_call
 * divides them by the calls once all processes of the role have been added. */
static void read_syscall(struct result_reader *reader, const json_t *syscall, const char *end,
                         const struct basis *basis)
{
    const char *name = result_name(reader, syscall, "name");
    double calls = result_count(reader, syscall, "calls");
    double bytes = result_count(reader, syscall, "bytes");
    double failed = sum_errors(reader, syscall);
    if (!name) {
        result_wrong(reader, "a system call has no name");
        return;
    }
    add(reader, calls / basis->divisor, basis->count, "%s.%s%s", end, name, basis->per);
    add(reader, calls / basis->divisor, basis->count, "%s.syscalls%s", end, basis->per);
    if (bytes > 0) {
        add(reader, bytes / basis->divisor, "bytes", "%s.%s_bytes", end, name);
        add(reader, bytes / basis->divisor, basis->bytes, "%s.bytes%s", end, basis->per);
    }
    if (failed > 0) {
        add(reader, failed / basis->divisor, "1", "%s.%s_failed_share", end, name);
    }
}

static void read_uring(struct result_reader *reader, const json_t *calls, const char *end,
                       const struct basis *basis)
{
    json_t *rows = result_member(reader, calls, "io_uring", RESULT_ARRAY, false);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = result_element(reader, json_array_get(rows, i), "an operation of io_uring",
                                     RESULT_OBJECT);
        const char *name = result_name(reader, row, "name");
        double completed = result_count(reader, row, "completed");
        double bytes = result_count(reader, row, "bytes");
        if (!name) {
            result_wrong(reader, "an operation of io_uring has no name");
            return;
        }
        add(reader, completed / basis->divisor, basis->count, "%s.uring.%s%s", end, name,
            basis->per);
        if (bytes > 0) {
            add(reader, bytes / basis->divisor, basis->bytes, "%s.bytes%s", end, basis->per);
        }
    }
}

/* Calls of one process; `end` is "client" or "client.kernel". False where they were not counted. */
static bool read_calls(struct result_reader *reader, const json_t *process, const char *key,
                       const char *end)
{
    json_t *calls = result_member(reader, process, key, RESULT_OBJECT, false);
    if (!json_is_true(result_member(reader, calls, "available", RESULT_BOOL, false))) {
        return false;
    }
    struct basis basis = basis_of(reader, result_count(reader, calls, "operations"),
                                  result_count(reader, calls, "window_ns"));
    json_t *rows = result_member(reader, calls, "syscalls", RESULT_ARRAY, true);
    add(reader, 0, basis.count, "%s.syscalls%s", end, basis.per); /* also where it made none */
    for (size_t i = 0; i < json_array_size(rows) && !reader->failed; i++) {
        json_t *row =
            result_element(reader, json_array_get(rows, i), "a system call", RESULT_OBJECT);
        if (row) {
            read_syscall(reader, row, end, &basis);
        }
    }
    read_uring(reader, calls, end, &basis);
    return true;
}

/* "client.sendto_bytes" was summed up for each operation, as "client.sendto_per_call" was: their
 * quotient is the mean over the calls, which the key says. False where `kind` does not end it. */
static bool finish_call(struct result_reader *reader, struct figure *figure, const char *kind)
{
    size_t length = strlen(figure->key), part = strlen(kind);
    char calls[600];
    if (length <= part || strcmp(figure->key + length - part, kind) != 0) {
        return false;
    }
    int stem = (int)(length - part);
    snprintf(calls, sizeof calls, "%.*s_per_%s", stem, figure->key, reader->operation);
    const struct figure *divisor = find(reader, calls);
    if (!divisor) {
        snprintf(calls, sizeof calls, "%.*s_per_second", stem, figure->key);
        divisor = find(reader, calls);
    }
    if (divisor) {
        figure->value /= divisor->value;
    }
    return true;
}

static void finish_calls(struct result_reader *reader, size_t first)
{
    for (size_t i = first; i < reader->run->figure_count && !reader->failed; i++) {
        struct figure *figure = &reader->run->figures[i];
        if (!finish_call(reader, figure, "_bytes")) {
            finish_call(reader, figure, "_failed_share");
        }
    }
}

/* Costs for each KiB that an end's calls moved: comparable where operations differ in size. */
static void add_per_kib(struct result_reader *reader, const char *role, const char *counted)
{
    char per[128];
    snprintf(per, sizeof per, "_per_%s", reader->operation);
    double bytes = value_of(reader, counted, "bytes", per);
    if (!(bytes > 0)) {
        snprintf(per, sizeof per, "_per_second");
        bytes = value_of(reader, counted, "bytes", per);
    }
    if (bytes > 0) {
        double kib = bytes / 1024;
        add(reader, value_of(reader, role, "cpu_ns", per) / kib, "ns", "%s.cpu_ns_per_kib", role);
        add(reader, value_of(reader, counted, "syscalls", per) / kib, "1", "%s.syscalls_per_kib",
            role);
        add(reader, value_of(reader, role, "switches", per) / kib, "1", "%s.switches_per_kib",
            role);
    }
}

static void read_process(struct result_reader *reader, const json_t *process)
{
    const char *role = result_name(reader, process, "role");
    char kernel[128];
    if (!role) {
        result_wrong(reader, "has no \"role\"");
        return;
    }
    snprintf(kernel, sizeof kernel, "%s.kernel", role);
    read_cpu(reader, process, role);
    read_calls(reader, process, "engine_calls", role);
    read_calls(reader, process, "kernel_calls", kernel);
}

static void read_processes(struct result_reader *reader, const json_t *run)
{
    json_t *processes = result_member(reader, run, "processes", RESULT_ARRAY, false);
    size_t before = strlen(reader->where), count = json_array_size(processes);
    size_t first = reader->run->figure_count;
    for (size_t i = 0; i < count && !reader->failed; i++) {
        snprintf(reader->where + before, sizeof reader->where - before, ".processes[%zu]", i);
        json_t *process = result_element(reader, json_array_get(processes, i), "it", RESULT_OBJECT);
        if (process) {
            read_process(reader, process);
        }
    }
    if (reader->failed) {
        return;
    }
    reader->where[before] = '\0';
    finish_calls(reader, first);
    for (size_t i = 0; i < count && !reader->failed; i++) {
        const char *role = result_name(reader, json_array_get(processes, i), "role");
        char kernel[128], done[256];
        snprintf(kernel, sizeof kernel, "%s.kernel", role);
        snprintf(done, sizeof done, "%s.cpu_ns_per_kib", role);
        if (!find(reader, done)) {
            bool counted = isfinite(value_of(reader, role, "syscalls_per_", reader->operation)) ||
                           isfinite(value_of(reader, role, "syscalls_per_", "second"));
            add_per_kib(reader, role, counted ? role : kernel);
        }
    }
}

/* ---- errors and probes ---- */

static void read_errors(struct result_reader *reader, const json_t *run)
{
    json_t *errors = result_member(reader, run, "errors", RESULT_ARRAY, false);
    if (!errors) {
        return;
    }
    add(reader, 0, "1", "errors");
    for (size_t i = 0; i < json_array_size(errors) && !reader->failed; i++) {
        json_t *row =
            result_element(reader, json_array_get(errors, i), "an error count", RESULT_OBJECT);
        double count = result_count(reader, row, "count");
        add(reader, isfinite(count) ? count : 0, "1", "errors");
    }
}

/* "woken by sonde 12" without the process id, which no other run has; "cpu 0" as it is. */
static void without_pid(char *what)
{
    char *space = strrchr(what, ' ');
    if (space && space[1] && space[1 + strspn(space + 1, "0123456789")] == '\0' &&
        strncmp(what, "cpu ", 4) != 0) {
        *space = '\0';
    }
}

/* "sched.sender.woken by sonde"; rows that would have the same name are told apart by their order:
 * "#2". */
static void name_row(struct result_reader *reader, const json_t *row, const char *probe, char *to,
                     size_t size)
{
    const char *role = result_name(reader, row, "role");
    const char *text = result_name(reader, row, "what");
    char what[128], name[400], counter[420];
    json_int_t times = 1;
    snprintf(what, sizeof what, "%s", text ? text : "");
    without_pid(what);
    snprintf(name, sizeof name, "%s%s%s%s%s", probe, role ? "." : "", role ? role : "",
             what[0] ? "." : "", what);
    snprintf(counter, sizeof counter, "\n%s", name); /* no figure's key has a line feed */
    json_t *seen = json_object_get(reader->indexes, counter);
    if (seen) {
        times = json_integer_value(seen) + 1;
        json_integer_set(seen, times);
    } else if (json_object_set_new(reader->indexes, counter, json_integer(1))) {
        result_no_memory(reader);
    }
    if (times > 1) {
        snprintf(to, size, "%s#%lld", name, (long long)times);
    } else {
        snprintf(to, size, "%s", name);
    }
}

static void read_row(struct result_reader *reader, const json_t *row, const char *probe)
{
    char name[440];
    json_t *quantity;
    const char *key;
    name_row(reader, row, probe, name, sizeof name);
    json_t *metrics = result_member(reader, row, "metrics", RESULT_OBJECT, false);
    json_object_foreach(metrics, key, quantity)
    {
        char unit[sizeof reader->run->figures->unit];
        if (!plain_key(reader, key)) {
            return;
        }
        double value = read_quantity(reader, quantity, key, unit, sizeof unit);
        add(reader, value, unit, "%s.%s", name, key);
    }
}

static void read_probes(struct result_reader *reader, const json_t *run)
{
    json_t *probes = result_member(reader, run, "probes", RESULT_ARRAY, false);
    for (size_t i = 0; i < json_array_size(probes) && !reader->failed; i++) {
        json_t *probe = result_element(reader, json_array_get(probes, i), "a probe", RESULT_OBJECT);
        const char *name = result_name(reader, probe, "name");
        json_t *rows = result_member(reader, probe, "rows", RESULT_ARRAY, false);
        if (!reader->failed && !name) {
            result_wrong(reader, "a probe has no name");
        }
        for (size_t k = 0; k < json_array_size(rows) && !reader->failed; k++) {
            json_t *row =
                result_element(reader, json_array_get(rows, k), "a probe's row", RESULT_OBJECT);
            /* Functions come and go from run to run: their samples are no figures of it. */
            if (row && !json_object_get(row, "symbol")) {
                read_row(reader, row, name);
            }
        }
    }
}

/* Drops the figures that turned out not to be known; the headline stays, as NaN. */
static void drop_unknown(struct result_run *run)
{
    size_t kept = 0;
    for (size_t i = 0; i < run->figure_count; i++) {
        if (i == 0 || isfinite(run->figures[i].value)) {
            run->figures[kept++] = run->figures[i];
        } else {
            free(run->figures[i].key);
        }
    }
    run->figure_count = kept;
}

void result_read_figures(struct result_reader *reader, const json_t *run)
{
    read_metrics(reader, run);
    read_histograms(reader, run);
    read_processes(reader, run);
    read_errors(reader, run);
    read_probes(reader, run);
    if (!reader->failed) {
        drop_unknown(reader->run);
    }
}
