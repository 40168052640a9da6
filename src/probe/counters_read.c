/* Rows of the counters probe: for each process its sum, and where it has several threads each of
 * them; one row an event, and the ratios of the sums. */
#include "probe/counters_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct metric value_metric = {
    "value",      "1", "value", "Events counted, or the ratio that the row names",
    METRIC_VALUE, 0,   0,       false};
static const struct metric value_ns_metric = {"value",      "ns", "value", "Time counted",
                                              METRIC_VALUE, 0,    0,       false};
static const struct metric operation_metric = {"per_operation",
                                               "1",
                                               "/operation",
                                               "Events for each operation of the workload",
                                               METRIC_VALUE,
                                               0,
                                               0,
                                               false};
static const struct metric operation_ns_metric = {"per_operation",
                                                  "ns",
                                                  "/operation",
                                                  "Time for each operation of the workload",
                                                  METRIC_VALUE,
                                                  0,
                                                  0,
                                                  false};
static const struct metric byte_metric = {
    "per_byte", "1", "/byte", "Events for each byte of payload", METRIC_VALUE, 0, 0, false};
static const struct metric byte_ns_metric = {
    "per_byte", "ns", "/byte", "Time for each byte of payload", METRIC_VALUE, 0, 0, false};

/* A figure on its way into a row. */
struct figure {
    bool available;
    double value;
    char reason[96];
};

static int add_value(struct record_probe_row *row, const struct metric *metric,
                     const struct figure *figure)
{
    struct record_value *value = record_row_add_value(row, metric);
    if (value == NULL) {
        return -1;
    }
    value->available = figure->available;
    value->value = figure->available ? figure->value : 0;
    snprintf(value->reason, sizeof value->reason, "%s", figure->available ? "" : figure->reason);
    return 0;
}

/* A figure for each of `count` things. */
static struct figure divided(const struct figure *figure, uint64_t count)
{
    struct figure result = *figure;
    result.value = figure->value / (double)count;
    return result;
}

/* Columns for which there is nothing to divide by are left out of every row. */
static int add_event_row(struct record_probe *probe, const struct record_scope *scope, bool time,
                         const struct figure *figure, const struct probe_scope *window)
{
    struct record_probe_row *row = record_add_probe_row(probe, scope);
    if (row == NULL || add_value(row, time ? &value_ns_metric : &value_metric, figure) != 0) {
        return -1;
    }
    if (window->operations != 0) {
        struct figure operation = divided(figure, window->operations);
        if (add_value(row, time ? &operation_ns_metric : &operation_metric, &operation) != 0) {
            return -1;
        }
    }
    if (window->bytes != 0) {
        struct figure byte = divided(figure, window->bytes);
        if (add_value(row, time ? &byte_ns_metric : &byte_metric, &byte) != 0) {
            return -1;
        }
    }
    return 0;
}

static int add_ratio_row(struct record_probe *probe, const struct record_scope *scope,
                         const struct figure *numerator, const struct figure *denominator)
{
    struct figure figure = *numerator;
    struct record_probe_row *row = record_add_probe_row(probe, scope);
    if (numerator->available && !denominator->available) {
        figure = *denominator;
    } else if (numerator->available && denominator->value == 0) {
        figure = (struct figure){.reason = "division by 0"};
    } else if (numerator->available) {
        figure.value /= denominator->value;
    }
    return row != NULL ? add_value(row, &value_metric, &figure) : -1;
}

/* ---- figures ---- */

static struct figure figure_of(const struct counter_event *event, const struct counter_total *total)
{
    struct figure figure = {0};
    uint64_t value;
    if (event->reason[0] != '\0') {
        snprintf(figure.reason, sizeof figure.reason, "%s", event->reason);
        return figure;
    }
    figure.available =
        counter_total_value(total, &event->attr, &value, figure.reason, sizeof figure.reason);
    figure.value = (double)value;
    return figure;
}

static void name_what(const struct counter_event *event, struct record_scope *scope)
{
    char what[sizeof event->name + sizeof event->source + sizeof " = (user)"];
    snprintf(what, sizeof what, "%s%s%s%s", event->name, event->source[0] ? " = " : "",
             event->source, event->user_only ? " (user)" : "");
    snprintf(scope->what, sizeof scope->what, "%.47s", what);
}

/* One process: all its threads are those with its id. */
static int add_process(const struct probe *self, struct record_probe *probe,
                       const struct counted_thread *of, const struct probe_scope *window)
{
    struct figure figures[COUNTERS_MOST];
    size_t threads = 0;
    struct record_scope scope = {.pid = of->pid};
    snprintf(scope.role, sizeof scope.role, "%s", of->role);
    snprintf(scope.name, sizeof scope.name, "%s", of->process);
    for (size_t j = 0; j < self->plan.event_count; j++) {
        const struct counter_event *event = &self->plan.events[j];
        figures[j] = (struct figure){.available = true};
        threads = 0;
        for (size_t i = 0; i < self->thread_count; i++) {
            if (self->threads[i].pid != of->pid) {
                continue;
            }
            struct counter_total total = counters_now(self, &self->threads[i], j);
            struct figure figure = figure_of(event, &total);
            threads++;
            if (!figure.available) {
                figures[j] = figure;
            } else if (figures[j].available) {
                figures[j].value += figure.value;
            }
        }
        name_what(event, &scope);
        if (add_event_row(probe, &scope, counter_unit(&event->attr)[0] == 'n', &figures[j],
                          window) != 0) {
            return -1;
        }
    }
    for (size_t j = 0; j < self->plan.ratio_count; j++) {
        const struct counter_ratio *ratio = &self->plan.ratios[j];
        snprintf(scope.what, sizeof scope.what, "%s", ratio->name);
        if (add_ratio_row(probe, &scope, &figures[ratio->numerator],
                          &figures[ratio->denominator]) != 0) {
            return -1;
        }
    }
    return threads > 1 ? 1 : 0;
}

static int add_thread(const struct probe *self, struct record_probe *probe,
                      const struct counted_thread *thread, const struct probe_scope *window)
{
    struct record_scope scope = {.pid = thread->pid, .tid = thread->tid};
    snprintf(scope.role, sizeof scope.role, "%s", thread->role);
    snprintf(scope.name, sizeof scope.name, "%s", thread->name);
    for (size_t j = 0; j < self->plan.event_count; j++) {
        const struct counter_event *event = &self->plan.events[j];
        struct counter_total total = counters_now(self, thread, j);
        struct figure figure = figure_of(event, &total);
        name_what(event, &scope);
        if (add_event_row(probe, &scope, counter_unit(&event->attr)[0] == 'n', &figure, window) !=
            0) {
            return -1;
        }
    }
    return 0;
}

/* ---- the probe ---- */

static void describe(const struct probe *self, struct record_probe *probe)
{
    const char *missing = NULL;
    for (size_t i = 0; i < probe->row_count; i++) {
        const struct record_value *value = &probe->rows[i].values[0];
        probe->available = probe->available || value->available;
        missing = missing == NULL && !value->available ? value->reason : missing;
    }
    if (!probe->available) {
        snprintf(probe->reason, sizeof probe->reason, "%s",
                 missing != NULL ? missing : "no process was there to be counted");
        return;
    }
    snprintf(probe->reason, sizeof probe->reason, "%s%s",
             !self->inherits ? "threads that begin during a stretch are not counted in it"
             : self->follow  ? "threads and children that begin during a stretch count with their "
                               "parent"
                             : "threads that begin during a stretch count with their parent",
             self->unsettled ? "; some came while counting was set up and may be missing" : "");
}

static int add_rows(const struct probe *self, struct record_probe *probe,
                    const struct probe_scope *window)
{
    for (size_t i = 0; i < self->thread_count; i++) {
        const struct counted_thread *thread = &self->threads[i];
        bool first = true;
        for (size_t j = 0; j < i && first; j++) {
            first = self->threads[j].pid != thread->pid;
        }
        int several = first ? add_process(self, probe, thread, window) : 0;
        for (size_t j = i; j < self->thread_count && several == 1; j++) {
            if (self->threads[j].pid == thread->pid &&
                add_thread(self, probe, &self->threads[j], window) != 0) {
                return -1;
            }
        }
        if (several < 0) {
            return -1;
        }
    }
    return 0;
}

int counters_read(struct probe *self, const struct probe_scope *scope, struct record_run *run,
                  struct err *error)
{
    struct record_probe *probe = record_add_probe(run, "counters");
    if (probe == NULL || add_rows(self, probe, scope) != 0) {
        return err_set(error, ERR_LIMIT, "counters", "no memory");
    }
    probe->window_ns = scope->window_ns;
    probe->operations = scope->operations;
    probe->bytes = scope->bytes;
    probe->lost = targets_lost(self->targets);
    describe(self, probe);
    return 0;
}

const struct record_value *counters_find(const struct record_probe *probe, const char *role,
                                         const char *name, const char **source)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < probe->row_count; i++) {
        const struct record_probe_row *row = &probe->rows[i];
        const char *what = row->scope.what;
        if (row->scope.tid != 0 || row->value_count == 0 ||
            (role != NULL && strcmp(row->scope.role, role) != 0) ||
            strncmp(what, name, length) != 0) {
            continue;
        }
        const char *rest = what + length;
        if (rest[0] == '\0' || strncmp(rest, " = ", 3) == 0 || strcmp(rest, " (user)") == 0) {
            if (source != NULL) {
                *source = strncmp(rest, " = ", 3) == 0 ? rest + 3 : NULL;
            }
            return &row->values[0];
        }
    }
    return NULL;
}
