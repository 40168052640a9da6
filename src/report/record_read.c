#include "report/record_read.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/plain.h"
#include "report/json_build.h"
#include "report/record_grow.h"
#include "report/record_reader.h"
#include "stats/hdr_codec.h"

/* Numbers of errors end below this one (include/linux/err.h). */
#define ERRNO_MOST 4095

/* ---- to JSON ---- */

static void set_title(struct builder *builder, json_t *titles, const char *key, const char *title)
{
    if (!json_object_get(titles, key)) {
        build_set(builder, titles, key, build_text(builder, title));
    }
}

static json_t *build_titles(struct builder *builder, const struct record_run *run)
{
    json_t *titles = build_object(builder);
    for (size_t i = 0; i < run->value_count; i++) {
        set_title(builder, titles, run->values[i].metric->key, run->values[i].metric->title);
    }
    for (size_t i = 0; i < run->histogram_count; i++) {
        set_title(builder, titles, run->histograms[i].metric->key,
                  run->histograms[i].metric->title);
    }
    for (size_t i = 0; i < run->probe_count; i++) {
        const struct record_probe *probe = &run->probes[i];
        for (size_t k = 0; k < probe->row_count; k++) {
            for (size_t v = 0; v < probe->rows[k].value_count; v++) {
                const struct metric *metric = probe->rows[k].values[v].metric;
                set_title(builder, titles, metric->key, metric->title);
            }
        }
        for (size_t k = 0; k < probe->distribution_count; k++) {
            const struct histogram_metric *metric = probe->distributions[k].metric;
            set_title(builder, titles, metric->key, metric->title);
        }
    }
    return titles;
}

json_t *record_run_json(const struct record_run *run, struct err *error)
{
    struct builder builder = {0};
    json_t *object = build_run(&builder, run);
    build_set(&builder, object, "titles", build_titles(&builder, run));
    build_set(&builder, object, "observing", json_boolean(run->observing));
    if (builder.failed || builder.duplicate) {
        json_decref(object);
        err_system(error, ENOMEM, "record", "cannot be made");
        return NULL;
    }
    return object;
}

/* ---- members ---- */

uint64_t read_count(struct run_reader *reader, const json_t *object, const char *key)
{
    json_t *value = result_member(&reader->checks, object, key, RESULT_NUMBER, false);
    if (!value) {
        return 0;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        result_wrong(&reader->checks, "\"%s\" is no count", key);
        return 0;
    }
    return (uint64_t)json_integer_value(value);
}

bool read_flag(struct run_reader *reader, const json_t *object, const char *key)
{
    return json_is_true(result_member(&reader->checks, object, key, RESULT_BOOL, false));
}

void read_text(struct run_reader *reader, const json_t *object, const char *key, char *to,
               size_t size)
{
    json_t *value = result_member(&reader->checks, object, key, RESULT_TEXT, false);
    const char *text = value ? json_string_value(value) : "";
    if (!plain_text(text)) {
        result_wrong(&reader->checks, "\"%s\" is no plain text", key);
        return;
    }
    snprintf(to, size, "%s", text);
}

json_t *read_objects(struct run_reader *reader, const json_t *object, const char *key, size_t most)
{
    json_t *array = result_member(&reader->checks, object, key, RESULT_ARRAY, false);
    if (array && json_array_size(array) > most) {
        result_wrong(&reader->checks, "\"%s\" has more than %zu elements", key, most);
        return NULL;
    }
    for (size_t i = 0; array && i < json_array_size(array); i++) {
        if (!result_element(&reader->checks, json_array_get(array, i), key, RESULT_OBJECT)) {
            return NULL;
        }
    }
    return array;
}

static double read_number(struct run_reader *reader, const json_t *object, const char *key)
{
    json_t *value = result_member(&reader->checks, object, key, RESULT_NUMBER, false);
    return value ? json_number_value(value) : NAN;
}

const struct record_kept *read_metric(struct run_reader *reader, const char *key, const char *unit)
{
    struct record_run *run = reader->run;
    struct record_kept *kept, **slot;
    if (reader->checks.failed) {
        return NULL;
    }
    for (size_t i = 0; i < run->kept_count; i++) {
        if (strcmp(run->kept[i]->key, key) == 0 && strcmp(run->kept[i]->unit, unit) == 0) {
            return run->kept[i];
        }
    }
    if (!*key || strlen(key) >= sizeof kept->key || strlen(unit) >= sizeof kept->unit ||
        key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")]) {
        result_wrong(&reader->checks, "a metric has no plain name and unit");
        return NULL;
    }
    kept = calloc(1, sizeof *kept);
    if (!kept) {
        result_no_memory(&reader->checks);
        return NULL;
    }
    snprintf(kept->key, sizeof kept->key, "%s", key);
    snprintf(kept->unit, sizeof kept->unit, "%s", unit);
    read_text(reader, reader->titles, key, kept->title, sizeof kept->title);
    if (!kept->title[0]) {
        snprintf(kept->title, sizeof kept->title, "%s", key);
    }
    kept->metric = (struct metric){.key = kept->key,
                                   .unit = kept->unit,
                                   .title = kept->title,
                                   .help = "",
                                   .kind = METRIC_VALUE};
    kept->histogram = (struct histogram_metric){
        .key = kept->key, .unit = kept->unit, .title = kept->title, .help = ""};
    APPEND(run, kept, kept_count, slot);
    if (!slot) {
        free(kept);
        result_no_memory(&reader->checks);
        return NULL;
    }
    *slot = kept;
    return kept;
}

void read_values(struct run_reader *reader, const json_t *object, const char *key,
                 read_add_value add, void *to)
{
    json_t *values = result_member(&reader->checks, object, key, RESULT_OBJECT, false);
    const char *name;
    json_t *quantity;
    json_object_foreach(values, name, quantity)
    {
        char unit[16] = "";
        if (!result_element(&reader->checks, quantity, "a metric", RESULT_OBJECT)) {
            return;
        }
        read_text(reader, quantity, "unit", unit, sizeof unit);
        const struct record_kept *kept = read_metric(reader, name, unit);
        struct record_value *value = kept ? add(to, &kept->metric) : NULL;
        if (!value) {
            result_no_memory(&reader->checks); /* or it has failed already */
            return;
        }
        value->value = read_number(reader, quantity, "value");
        value->available = isfinite(value->value);
        read_text(reader, quantity, "reason", value->reason, sizeof value->reason);
    }
}

static struct record_value *add_value(void *run, const struct metric *metric)
{
    return record_add_value(run, metric);
}

void read_effect(struct run_reader *reader, const json_t *object, const char *key,
                 struct record_effect *effect)
{
    json_t *json = result_member(&reader->checks, object, key, RESULT_OBJECT, false);
    read_text(reader, json, "metric", effect->metric, sizeof effect->metric);
    effect->ratio.value = read_number(reader, json, "ratio");
    effect->ratio.low = read_number(reader, json, "low");
    effect->ratio.high = read_number(reader, json, "high");
    effect->blocks = (uint32_t)read_count(reader, json, "blocks");
    effect->available = isfinite(effect->ratio.value);
    read_text(reader, json, "reason", effect->reason, sizeof effect->reason);
}

/* ---- histograms and errors ---- */

static void read_histogram(struct run_reader *reader, const char *name, const json_t *json)
{
    static const char prefix[] = "server_";
    char unit[16] = "", role[16] = "";
    struct err error = {0};
    read_text(reader, json, "unit", unit, sizeof unit);
    read_text(reader, json, "role", role, sizeof role);
    json_t *encoded = result_member(&reader->checks, json, "encoded", RESULT_TEXT, true);
    if (strcmp(role, "server") != 0) {
        result_wrong(&reader->checks, "a histogram is not the server's");
    }
    if (strncmp(name, prefix, sizeof prefix - 1) == 0) {
        name += sizeof prefix - 1;
    }
    const struct record_kept *kept = read_metric(reader, name, unit);
    struct record_histogram *row =
        kept ? record_add_histogram(reader->run, &kept->histogram, "server") : NULL;
    if (!row || !encoded) {
        result_no_memory(&reader->checks);
        return;
    }
    if (hdr_decode(json_string_value(encoded), json_string_length(encoded), row->histogram,
                   &error) < 0) {
        result_wrong(&reader->checks, "a histogram: %s", error.what);
        return;
    }
    row->histogram->out_of_range = read_count(reader, json, "out_of_range");
    /* The encoding has their buckets; exactly, they stand beside it. */
    uint64_t least = read_count(reader, json, "min"), most = read_count(reader, json, "max");
    if (histogram_count(row->histogram)) {
        if (least > most || most > HISTOGRAM_HIGHEST ||
            histogram_index(least) != histogram_index(row->histogram->minimum) ||
            histogram_index(most) != histogram_index(row->histogram->maximum)) {
            result_wrong(&reader->checks, "a histogram does not hold its own bounds");
            return;
        }
        row->histogram->minimum = least;
        row->histogram->maximum = most;
    }
}

static void read_histograms(struct run_reader *reader, const json_t *run)
{
    json_t *all = result_member(&reader->checks, run, "histograms", RESULT_OBJECT, false);
    const char *name;
    json_t *json;
    json_object_foreach(all, name, json)
    {
        if (!result_element(&reader->checks, json, "a histogram", RESULT_OBJECT)) {
            return;
        }
        read_histogram(reader, name, json);
        if (reader->checks.failed) {
            return;
        }
    }
}

static void read_errors(struct run_reader *reader, const json_t *run)
{
    json_t *all = read_objects(reader, run, "errors", READ_PROCESSES_MOST), *json;
    size_t i;
    json_array_foreach(all, i, json)
    {
        char phase[24] = "", name[80] = "";
        uint64_t number = read_count(reader, json, "errno");
        read_text(reader, json, "phase", phase, sizeof phase);
        read_text(reader, json, "name", name, sizeof name);
        if (number > ERRNO_MOST) {
            result_wrong(&reader->checks, "\"errno\" is none");
        }
        struct record_error_count *error =
            reader->checks.failed ? NULL : record_add_error(reader->run, phase, (int)number, name);
        if (!error) {
            result_no_memory(&reader->checks);
            return;
        }
        error->count += read_count(reader, json, "count");
    }
}

/* ---- processes ---- */

/* "EAGAIN" back to its number; 0: a name of its own. */
static int errno_of(const char *name)
{
    for (int number = 1; number <= 133; number++) { /* EHWPOISON, the last one */
        const char *known = strerrorname_np(number);
        if (known && strcmp(known, name) == 0) {
            return number;
        }
    }
    return 0;
}

static void read_call_errors(struct run_reader *reader, const json_t *json,
                             struct record_syscall *syscall)
{
    json_t *all = result_member(&reader->checks, json, "errors", RESULT_OBJECT, false), *count;
    const char *name;
    json_object_foreach(all, name, count)
    {
        struct record_error_count *error =
            reader->checks.failed ? NULL : record_syscall_add_error(syscall, errno_of(name));
        if (!error) {
            result_no_memory(&reader->checks);
            return;
        }
        snprintf(error->name, sizeof error->name, "%.47s", name);
        error->count = read_count(reader, all, name);
        for (const char *c = name; *c; c++) {
            if (*c < '!' || *c > '~') {
                result_wrong(&reader->checks, "an error of a call has no plain name");
            }
        }
    }
}

static void read_syscalls(struct run_reader *reader, const json_t *json, struct record_calls *calls)
{
    json_t *all = read_objects(reader, json, "syscalls", READ_PROCESSES_MOST), *one;
    size_t i;
    json_array_foreach(all, i, one)
    {
        char name[32] = "";
        read_text(reader, one, "name", name, sizeof name);
        struct record_syscall *syscall =
            reader->checks.failed ? NULL : record_add_syscall(calls, name);
        if (!syscall) {
            result_no_memory(&reader->checks);
            return;
        }
        syscall->calls = read_count(reader, one, "calls");
        syscall->bytes = read_count(reader, one, "bytes");
        read_call_errors(reader, one, syscall);
    }
    all = read_objects(reader, json, "io_uring", READ_PROCESSES_MOST);
    json_array_foreach(all, i, one)
    {
        char name[32] = "";
        read_text(reader, one, "name", name, sizeof name);
        struct record_uring *uring = reader->checks.failed ? NULL : record_add_uring(calls, name);
        if (!uring) {
            result_no_memory(&reader->checks);
            return;
        }
        uring->submitted = read_count(reader, one, "submitted");
        uring->completed = read_count(reader, one, "completed");
        uring->bytes = read_count(reader, one, "bytes");
    }
}

static void read_calls(struct run_reader *reader, const json_t *process, const char *key,
                       struct record_calls *calls)
{
    json_t *json = result_member(&reader->checks, process, key, RESULT_OBJECT, true);
    calls->available = read_flag(reader, json, "available");
    read_text(reader, json, "reason", calls->reason, sizeof calls->reason);
    read_text(reader, json, "source", calls->source, sizeof calls->source);
    calls->window_ns = read_count(reader, json, "window_ns");
    calls->operations = read_count(reader, json, "operations");
    calls->lost = read_count(reader, json, "lost");
    read_syscalls(reader, json, calls);
}

static pid_t read_id(struct run_reader *reader, const json_t *object, const char *key)
{
    uint64_t id = read_count(reader, object, key);
    if (id > INT32_MAX) {
        result_wrong(&reader->checks, "\"%s\" is too large", key);
        return 0;
    }
    return (pid_t)id;
}

static void read_process(struct run_reader *reader, const json_t *json)
{
    char role[12] = "", name[20] = "";
    read_text(reader, json, "role", role, sizeof role);
    read_text(reader, json, "name", name, sizeof name);
    pid_t pid = read_id(reader, json, "pid");
    struct record_process *process =
        reader->checks.failed ? NULL : record_add_process(reader->run, role, pid, name);
    if (!process) {
        result_no_memory(&reader->checks);
        return;
    }
    json_t *switches =
        result_member(&reader->checks, json, "context_switches", RESULT_OBJECT, false);
    json_t *busiest = result_member(&reader->checks, json, "busiest_thread", RESULT_OBJECT, false);
    json_t *window = result_member(&reader->checks, json, "cpu_window_ns", RESULT_NUMBER, false);
    process->tid = read_id(reader, json, "tid");
    if (json_object_get(json, "processes")) { /* records of before do not have it */
        process->processes = (uint32_t)read_count(reader, json, "processes");
    }
    process->cpu_available = window != NULL;
    process->cpu_window_ns = read_count(reader, json, "cpu_window_ns");
    process->cpu_operations = read_count(reader, json, "cpu_operations");
    process->cpu_user_ns = read_count(reader, json, "cpu_user_ns");
    process->cpu_system_ns = read_count(reader, json, "cpu_system_ns");
    process->switches_voluntary = read_count(reader, switches, "voluntary");
    process->switches_involuntary = read_count(reader, switches, "involuntary");
    process->rss_bytes = read_count(reader, json, "rss_bytes");
    double share = read_number(reader, busiest, "value");
    process->busiest_thread = isfinite(share) ? share : -1;
    read_calls(reader, json, "engine_calls", &process->engine_calls);
    read_calls(reader, json, "kernel_calls", &process->kernel_calls);
}

static void read_processes(struct run_reader *reader, const json_t *run)
{
    json_t *all = read_objects(reader, run, "processes", READ_PROCESSES_MOST), *json;
    size_t i;
    json_array_foreach(all, i, json)
    {
        snprintf(reader->checks.where, sizeof reader->checks.where, "processes[%zu]", i);
        read_process(reader, json);
        if (reader->checks.failed) {
            return;
        }
    }
    reader->checks.where[0] = '\0';
}

/* ---- the run ---- */

static int read_all(struct record_run *run, const json_t *json, const char *name, struct err *error)
{
    struct run_reader reader = {.checks = {.name = name, .error = error}, .run = run};
    if (!json_is_object(json)) {
        return result_wrong(&reader.checks, "holds no run");
    }
    reader.titles = result_member(&reader.checks, json, "titles", RESULT_OBJECT, false);
    read_processes(&reader, json);
    read_values(&reader, json, "metrics", add_value, run);
    read_histograms(&reader, json);
    read_errors(&reader, json);
    read_probes(&reader, json);
    read_effect(&reader, json, "probe_effect", &run->effect);
    read_text(&reader, json, "observation", run->observation, sizeof run->observation);
    run->observing = read_flag(&reader, json, "observing");
    return reader.checks.failed ? -1 : 0;
}

int record_run_read(struct record_run *run, const json_t *json, const char *name, struct err *error)
{
    struct record scratch = {0};
    struct record_run *trial = record_add_run(&scratch, "trial");
    if (!trial) {
        return err_system(error, ENOMEM, name, "its record cannot be kept");
    }
    int result = read_all(trial, json, name, error);
    record_release(&scratch);
    if (result == 0) {
        result = read_all(run, json, name, error); /* fails only for want of memory */
    }
    if (result < 0 && error->code == ERR_USAGE) {
        error->code = ERR_PROTOCOL; /* it is no file of the user's */
    }
    return result;
}
