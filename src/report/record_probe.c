/* The parts of a record that probes and repetitions fill. */
#include "report/record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/record_grow.h"

void record_release_probe(struct record_probe *probe)
{
    for (size_t i = 0; i < probe->row_count; i++) {
        free(probe->rows[i].values);
        free(probe->rows[i].object);
        free(probe->rows[i].symbol);
    }
    for (size_t i = 0; i < probe->stack_count; i++) {
        free(probe->stacks[i].frames);
    }
    free(probe->rows);
    free(probe->distributions);
    free(probe->stacks);
    probe->rows = NULL;
    probe->distributions = NULL;
    probe->stacks = NULL;
    probe->row_count = probe->distribution_count = probe->stack_count = 0;
}

void record_release_flows(struct record_flows *flows)
{
    for (size_t i = 0; i < flows->row_count; i++) {
        free(flows->rows[i].values);
    }
    free(flows->rows);
    *flows = (struct record_flows){0};
}

void record_release_summary(struct record_summary *summary)
{
    for (size_t i = 0; i < summary->own_count; i++) {
        free(summary->own[i]);
    }
    free(summary->own);
    free(summary->values);
    summary->own = NULL;
    summary->values = NULL;
    summary->value_count = summary->own_count = 0;
}

struct record_probe *record_add_probe(struct record_run *run, const char *name)
{
    struct record_probe *probe;
    APPEND(run, probes, probe_count, probe);
    if (probe) {
        snprintf(probe->name, sizeof probe->name, "%s", name);
    }
    return probe;
}

struct record_probe_row *record_add_probe_row(struct record_probe *probe,
                                              const struct record_scope *scope)
{
    struct record_probe_row *row;
    APPEND(probe, rows, row_count, row);
    if (row) {
        row->scope = *scope;
    }
    return row;
}

int record_row_set_code(struct record_probe_row *row, const char *object, const char *symbol)
{
    free(row->object);
    free(row->symbol);
    row->object = strdup(object);
    row->symbol = strdup(symbol);
    return row->object && row->symbol ? 0 : -1;
}

struct record_stack *record_add_stack(struct record_probe *probe, const struct record_scope *scope,
                                      const char *frames, uint64_t samples)
{
    struct record_stack *stack;
    char *copy = strdup(frames);
    if (!copy) {
        return NULL;
    }
    APPEND(probe, stacks, stack_count, stack);
    if (!stack) {
        free(copy);
        return NULL;
    }
    *stack = (struct record_stack){.scope = *scope, .frames = copy, .samples = samples};
    return stack;
}

struct record_probe_row *record_add_flow(struct record_flows *flows,
                                         const struct record_scope *scope)
{
    struct record_probe_row *row;
    APPEND(flows, rows, row_count, row);
    if (row) {
        row->scope = *scope;
    }
    return row;
}

struct record_value *record_row_add_value(struct record_probe_row *row, const struct metric *metric)
{
    struct record_value *value;
    APPEND(row, values, value_count, value);
    if (value) {
        value->metric = metric;
    }
    return value;
}

struct record_distribution *record_add_distribution(struct record_probe *probe,
                                                    const struct histogram_metric *metric,
                                                    const struct record_scope *scope)
{
    struct record_distribution *distribution;
    APPEND(probe, distributions, distribution_count, distribution);
    if (distribution) {
        distribution->metric = metric;
        distribution->scope = *scope;
        distribution->sum = NAN;
    }
    return distribution;
}

struct record_found *record_add_found(struct record *record, const char *label)
{
    struct record_found *found;
    APPEND(&record->find_max, found, found_count, found);
    if (found) {
        snprintf(found->label, sizeof found->label, "%s", label);
        found->closed = found->rate.value = found->rate.low = found->rate.high = NAN;
    }
    return found;
}

struct record_search_probe *record_add_search_probe(struct record_found *found)
{
    struct record_search_probe *probe;
    APPEND(found, probes, probe_count, probe);
    return probe;
}

struct record_summary *record_add_summary(struct record *record, const char *label)
{
    struct record_summary *summary;
    APPEND(record, summaries, summary_count, summary);
    if (summary) {
        snprintf(summary->label, sizeof summary->label, "%s", label);
    }
    return summary;
}

struct record_summary_value *record_summary_add_value(struct record_summary *summary,
                                                      const struct metric *metric)
{
    struct record_summary_value *value;
    APPEND(summary, values, value_count, value);
    if (value) {
        value->metric = metric;
    }
    return value;
}

struct record_summary_value *record_summary_add_own(struct record_summary *summary, const char *key,
                                                    const char *unit, const char *title)
{
    struct record_own_metric *own = calloc(1, sizeof *own), **slot;
    if (!own) {
        return NULL;
    }
    snprintf(own->key, sizeof own->key, "%s", key);
    snprintf(own->title, sizeof own->title, "%s", title);
    own->metric = (struct metric){
        .key = own->key, .unit = unit, .title = own->title, .help = "", .kind = METRIC_VALUE};
    APPEND(summary, own, own_count, slot);
    if (!slot) {
        free(own);
        return NULL;
    }
    *slot = own;
    return record_summary_add_value(summary, &own->metric);
}
