/* The probes of a run read back. */
#include <math.h>
#include <string.h>

#include "report/record_reader.h"

static void read_scope(struct run_reader *reader, const json_t *json, struct record_scope *scope)
{
    uint64_t pid = read_count(reader, json, "pid"), tid = read_count(reader, json, "tid");
    if (pid > INT32_MAX || tid > INT32_MAX) {
        result_wrong(&reader->checks, "an id is too large");
        return;
    }
    scope->pid = (pid_t)pid;
    scope->tid = (pid_t)tid;
    read_text(reader, json, "role", scope->role, sizeof scope->role);
    read_text(reader, json, "name", scope->name, sizeof scope->name);
    read_text(reader, json, "what", scope->what, sizeof scope->what);
}

static struct record_value *add_value(void *row, const struct metric *metric)
{
    return record_row_add_value(row, metric);
}

/* A text of its own, "" where there is none; NULL after a failure. */
static const char *long_text(struct run_reader *reader, const json_t *json, const char *key)
{
    json_t *text = result_member(&reader->checks, json, key, RESULT_TEXT, false);
    return reader->checks.failed ? NULL : text ? json_string_value(text) : "";
}

/* Of which code a row is, where it is of some. */
static void read_code(struct run_reader *reader, const json_t *json, struct record_probe_row *row)
{
    const char *object = long_text(reader, json, "object");
    const char *symbol = long_text(reader, json, "symbol");
    if (object && symbol && symbol[0] && record_row_set_code(row, object, symbol) < 0) {
        result_no_memory(&reader->checks);
    }
}

static void read_stacks(struct run_reader *reader, const json_t *json, struct record_probe *probe)
{
    json_t *all = read_objects(reader, json, "stacks", READ_ROWS_MOST), *one;
    size_t i;
    json_array_foreach(all, i, one)
    {
        struct record_scope scope = {0};
        read_scope(reader, one, &scope);
        const char *frames = long_text(reader, one, "frames");
        uint64_t samples = read_count(reader, one, "samples");
        if (!reader->checks.failed &&
            !record_add_stack(probe, &scope, frames[0] ? frames : "(other stacks)", samples)) {
            result_no_memory(&reader->checks);
        }
    }
}

static void read_rows(struct run_reader *reader, const json_t *json, struct record_probe *probe)
{
    json_t *all = read_objects(reader, json, "rows", READ_ROWS_MOST), *one;
    size_t i;
    json_array_foreach(all, i, one)
    {
        struct record_scope scope = {0};
        read_scope(reader, one, &scope);
        struct record_probe_row *row =
            reader->checks.failed ? NULL : record_add_probe_row(probe, &scope);
        if (!row) {
            result_no_memory(&reader->checks);
            return;
        }
        read_code(reader, one, row);
        read_values(reader, one, "metrics", add_value, row);
    }
}

/* A class by its lowest value, as the printer writes it: null for the values below 0. */
static void read_class(struct run_reader *reader, const json_t *json,
                       struct record_distribution *distribution)
{
    json_t *low = json_object_get(json, "low");
    uint64_t value = read_count(reader, json, "low");
    /* The two highest classes begin beyond what a JSON integer holds: they come as fractions. */
    if (low && !json_is_null(low) && value > INT64_MAX) {
        result_wrong(&reader->checks, "a class begins nowhere");
        return;
    }
    uint32_t class = !low || json_is_null(low) ? 0 : distribution_class((int64_t)value);
    if (class >= DISTRIBUTION_CLASSES) {
        result_wrong(&reader->checks, "a class begins nowhere");
        return;
    }
    distribution->classes[class] += read_count(reader, json, "count");
}

static void read_distributions(struct run_reader *reader, const json_t *json,
                               struct record_probe *probe)
{
    json_t *all = read_objects(reader, json, "distributions", READ_ROWS_MOST), *one, *class;
    size_t i, k;
    json_array_foreach(all, i, one)
    {
        struct record_scope scope = {0};
        char key[64] = "", unit[16] = "";
        read_scope(reader, one, &scope);
        read_text(reader, one, "key", key, sizeof key);
        read_text(reader, one, "unit", unit, sizeof unit);
        const struct record_kept *kept = read_metric(reader, key, unit);
        struct record_distribution *distribution =
            kept ? record_add_distribution(probe, &kept->histogram, &scope) : NULL;
        if (!distribution) {
            result_no_memory(&reader->checks);
            return;
        }
        json_t *sum = result_member(&reader->checks, one, "sum", RESULT_NUMBER, false);
        distribution->sum = sum ? json_number_value(sum) : NAN;
        json_t *classes = read_objects(reader, one, "classes", DISTRIBUTION_CLASSES);
        json_array_foreach(classes, k, class)
        {
            read_class(reader, class, distribution);
        }
    }
}

static struct record_probe *find_or_add(struct run_reader *reader, const char *name)
{
    struct record_run *run = reader->run;
    for (size_t i = 0; i < run->probe_count; i++) {
        if (strcmp(run->probes[i].name, name) == 0) {
            return &run->probes[i];
        }
    }
    return reader->checks.failed ? NULL : record_add_probe(run, name);
}

/* Both ends take turns together: where both saw something, it was in the same parts. */
static void read_head(struct run_reader *reader, const json_t *json, struct record_probe *probe)
{
    struct record_probe head = {.available = read_flag(reader, json, "available")};
    read_text(reader, json, "reason", head.reason, sizeof head.reason);
    head.window_ns = read_count(reader, json, "window_ns");
    head.operations = read_count(reader, json, "operations");
    head.bytes = read_count(reader, json, "bytes");
    head.lost = probe->lost + read_count(reader, json, "lost");
    read_effect(reader, json, "effect", &head.effect);
    probe->lost = head.lost;
    if (probe->available) {
        if (head.reason[0] && !probe->reason[0]) {
            snprintf(probe->reason, sizeof probe->reason, "server: %.180s", head.reason);
        }
        return;
    }
    if (head.available || !probe->reason[0]) {
        probe->available = head.available;
        memcpy(probe->reason, head.reason, sizeof probe->reason);
        probe->window_ns = head.window_ns;
        probe->operations = head.operations;
        probe->bytes = head.bytes;
        probe->effect = head.effect;
    }
}

void read_probes(struct run_reader *reader, const json_t *run)
{
    json_t *all = read_objects(reader, run, "probes", READ_PROCESSES_MOST), *json;
    size_t i;
    json_array_foreach(all, i, json)
    {
        char name[16] = "";
        read_text(reader, json, "name", name, sizeof name);
        struct record_probe *probe = find_or_add(reader, name);
        if (!probe) {
            result_no_memory(&reader->checks);
            return;
        }
        snprintf(reader->checks.where, sizeof reader->checks.where, "probes[%zu]", i);
        read_head(reader, json, probe);
        read_rows(reader, json, probe);
        read_distributions(reader, json, probe);
        read_stacks(reader, json, probe);
    }
    reader->checks.where[0] = '\0';
}
