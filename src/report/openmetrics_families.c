/* The families of OpenMetrics that a record has: what it is of, the rows of its metrics, its
 * histograms and errors. */
#include <stdlib.h>
#include <string.h>

#include "report/figures.h"
#include "report/openmetrics.h"

#define NAME_MOST 160

/* ---- what it is of --------------------------------------------------------------------------- */

/* What was set on the command line. The names of options have dashes, those of labels must not. */
static void put_info(struct exposition *exposition, const struct record_run *run)
{
    const struct record *record = exposition->record;
    struct exposition_label *labels = calloc(record->option_count + 2, sizeof *labels);
    char(*names)[64] = calloc(record->option_count + 1, sizeof *names);
    size_t count = 0;
    if (labels && names) {
        labels[count++] = (struct exposition_label){"started", record->started};
        labels[count++] = (struct exposition_label){"mode", run->mode};
        for (size_t i = 0; i < record->option_count; i++) {
            if (record->options[i].given) {
                char *name = names[i];
                snprintf(name, sizeof names[i], "option_%s", record->options[i].name);
                for (char *at = name; *at; at++) {
                    *at = *at == '-' ? '_' : *at;
                }
                labels[count++] = (struct exposition_label){name, record->options[i].value};
            }
        }
        exposition_sample(exposition, "sonde_run_info", "", run, labels, count, 1);
    } else {
        exposition->failed = true;
    }
    free(labels);
    free(names);
}

void exposition_of_runs(struct exposition *exposition)
{
    static const char *const states[] = {"running", "complete", "failed"};
    const struct record_run *run;
    exposition_begin(exposition, "sonde_run_info", "gauge", "",
                     "A run and the options that were given for it.");
    for (size_t i = 0; (run = exposition_run(exposition, &i));) {
        put_info(exposition, run);
    }
    exposition_begin(exposition, "sonde_run_state", "gauge", "", "How far a run has come.");
    for (size_t i = 0; (run = exposition_run(exposition, &i));) {
        size_t state = run->failure.code != ERR_NONE ? 2 : run->complete ? 1 : 0;
        for (size_t k = 0; k < sizeof states / sizeof *states; k++) {
            const struct exposition_label label = {"state", states[k]};
            exposition_sample(exposition, "sonde_run_state", "", run, &label, 1, k == state);
        }
    }
    exposition_begin(exposition, "sonde_window_seconds", "gauge", "seconds",
                     "Measured, unobserved time that counts and latencies of a run cover.");
    for (size_t i = 0; (run = exposition_run(exposition, &i));) {
        exposition_sample(exposition, "sonde_window_seconds", "", run, NULL, 0,
                          (double)run->window_ns / 1e9);
    }
}

/* ---- metrics --------------------------------------------------------------------------------- */

static const struct record_value *value_of(const struct record_run *run, const char *key)
{
    const struct record_value *value = record_find_value(run, key);
    return value && figures_shown(value) ? value : NULL;
}

/* Counts grow while a run goes on; a difference of two may shrink again. */
static bool counts_up(const struct metric *metric)
{
    return metric->kind == METRIC_COUNT || metric->kind == METRIC_COUNT_OF;
}

static void put_metric(struct exposition *exposition, const struct metric *metric)
{
    char name[NAME_MOST];
    struct exposition_unit unit = exposition_unit_of(metric->unit);
    const struct record_run *run;
    exposition_name(name, sizeof name, metric->key, "", metric->unit);
    exposition_begin(exposition, name, counts_up(metric) ? "counter" : "gauge", unit.name,
                     metric->help ? metric->help : metric->key);
    for (size_t i = 0; (run = exposition_run(exposition, &i));) {
        const struct record_value *value = value_of(run, metric->key);
        if (value) {
            exposition_sample(exposition, name, counts_up(metric) ? "_total" : "", run, NULL, 0,
                              value->value * unit.factor);
        }
    }
}

/* Whether an earlier run, or an earlier value of this one, has it already. */
static bool metric_was_put(const struct exposition *exposition, size_t before,
                           const struct record_run *run, size_t index)
{
    const char *key = run->values[index].metric->key;
    for (size_t i = 0; i < index; i++) {
        if (strcmp(run->values[i].metric->key, key) == 0 && figures_shown(&run->values[i])) {
            return true;
        }
    }
    const struct record_run *other;
    for (size_t i = 0; (other = exposition_run(exposition, &i)) && i < before;) {
        if (value_of(other, key)) {
            return true;
        }
    }
    return false;
}

void exposition_of_metrics(struct exposition *exposition)
{
    const struct record_run *run;
    for (size_t i = 0; (run = exposition_run(exposition, &i));) {
        for (size_t k = 0; k < run->value_count; k++) {
            if (figures_shown(&run->values[k]) && !metric_was_put(exposition, i, run, k)) {
                put_metric(exposition, run->values[k].metric);
            }
        }
    }
}

/* ---- histograms ------------------------------------------------------------------------------ */

/* Bounds of buckets: 1, 2 and 5 in each of so many powers of ten, the same in every run, so that
 * buckets of several machines and moments add up. */
#define BOUNDS_DECADES 9
#define BOUNDS (3 * BOUNDS_DECADES)

/* From 1 us on for times, from 1 for what else there is. */
static uint64_t bound_of(size_t index, bool time)
{
    static const uint64_t steps[] = {1, 2, 5};
    uint64_t bound = steps[index % 3] * (time ? 1000 : 1);
    for (size_t i = 0; i < index / 3; i++) {
        bound *= 10;
    }
    return bound;
}

/* The sum of what was recorded, by the buckets' middle values; what was beyond all buckets is taken
 * for the highest value. */
static double sum_of(const struct histogram *histogram)
{
    return histogram_mean(histogram) * (double)histogram_count(histogram) +
           (double)HISTOGRAM_HIGHEST * (double)histogram->out_of_range;
}

static void put_buckets(struct exposition *exposition, const char *name,
                        const struct record_run *run, const struct record_histogram *entry)
{
    const struct histogram *histogram = entry->histogram;
    bool time = strcmp(entry->metric->unit, "ns") == 0;
    double factor = exposition_unit_of(entry->metric->unit).factor;
    uint64_t below = 0, low, high, count = 0;
    uint32_t index = 0;
    char text[32];
    struct exposition_label labels[] = {{"role", entry->role}, {"le", text}};
    bool more = histogram_next(histogram, &index, &low, &high, &count);
    for (size_t i = 0; i < BOUNDS; i++) {
        uint64_t bound = bound_of(i, time);
        /* A bucket of ours that a bound cuts is above it: what is counted was no more than that. */
        while (more && high <= bound) {
            below += count;
            more = histogram_next(histogram, &index, &low, &high, &count);
        }
        snprintf(text, sizeof text, "%.15g", (double)bound * factor);
        if (!strpbrk(text, ".e")) { /* a float, in the one way to write it */
            snprintf(text, sizeof text, "%.1f", (double)bound * factor);
        }
        exposition_sample(exposition, name, "_bucket", run, labels, 2, (double)below);
    }
    double all = (double)(histogram_count(histogram) + histogram->out_of_range);
    labels[1].value = "+Inf";
    exposition_sample(exposition, name, "_bucket", run, labels, 2, all);
    exposition_sample(exposition, name, "_count", run, labels, 1, all);
    exposition_sample(exposition, name, "_sum", run, labels, 1, sum_of(histogram) * factor);
}

static void put_percentiles(struct exposition *exposition, const char *name,
                            const struct record_run *run, const struct record_histogram *entry)
{
    const struct histogram *histogram = entry->histogram;
    double factor = exposition_unit_of(entry->metric->unit).factor;
    char text[32];
    const struct exposition_label labels[] = {{"role", entry->role}, {"quantile", text}};
    for (size_t i = 0; i < figures_percentile_count; i++) {
        uint64_t value;
        double percentile = figures_percentiles[i].percentile;
        if (histogram_percentile(histogram, percentile, &value)) {
            snprintf(text, sizeof text, "%.15g", percentile / 100);
            exposition_sample(exposition, name, "", run, labels, 2, (double)value * factor);
        }
    }
    exposition_sample(exposition, name, "_count", run, labels, 1,
                      (double)(histogram_count(histogram) + histogram->out_of_range));
    exposition_sample(exposition, name, "_sum", run, labels, 1, sum_of(histogram) * factor);
}

static void put_histogram_family(struct exposition *exposition,
                                 const struct histogram_metric *metric, bool buckets)
{
    char name[NAME_MOST], help[512];
    const struct record_run *run;
    exposition_name(name, sizeof name, metric->key, buckets ? "" : "percentiles", metric->unit);
    snprintf(help, sizeof help, "%s%s", metric->help,
             buckets ? "" : " (percentiles that at least ten values lie beyond)");
    exposition_begin(exposition, name, buckets ? "histogram" : "summary",
                     exposition_unit_of(metric->unit).name, help);
    for (size_t i = 0; (run = exposition_run(exposition, &i));) {
        for (size_t k = 0; k < run->histogram_count; k++) {
            if (strcmp(run->histograms[k].metric->key, metric->key) == 0) {
                (buckets ? put_buckets : put_percentiles)(exposition, name, run,
                                                          &run->histograms[k]);
            }
        }
    }
}

static bool histogram_was_put(const struct exposition *exposition, size_t before,
                              const struct record_run *run, size_t index)
{
    const char *key = run->histograms[index].metric->key;
    for (size_t i = 0; i < index; i++) {
        if (strcmp(run->histograms[i].metric->key, key) == 0) {
            return true;
        }
    }
    const struct record_run *other;
    for (size_t i = 0; (other = exposition_run(exposition, &i)) && i < before;) {
        for (size_t k = 0; k < other->histogram_count; k++) {
            if (strcmp(other->histograms[k].metric->key, key) == 0) {
                return true;
            }
        }
    }
    return false;
}

void exposition_of_histograms(struct exposition *exposition)
{
    const struct record_run *run;
    for (size_t i = 0; (run = exposition_run(exposition, &i));) {
        for (size_t k = 0; k < run->histogram_count; k++) {
            if (!histogram_was_put(exposition, i, run, k)) {
                put_histogram_family(exposition, run->histograms[k].metric, true);
                put_histogram_family(exposition, run->histograms[k].metric, false);
            }
        }
    }
}

/* ---- errors ---------------------------------------------------------------------------------- */

void exposition_of_errors(struct exposition *exposition)
{
    const struct record_run *run;
    char storage[16];
    exposition_begin(
        exposition, "sonde_errors", "counter", "",
        "Operations that failed in the whole window, its observed parts too, and in the drain, "
        "by where and with what.");
    for (size_t i = 0; (run = exposition_run(exposition, &i));) {
        for (size_t k = 0; k < run->error_count; k++) {
            const struct record_error_count *error = &run->errors[k];
            const struct exposition_label labels[] = {
                {"phase", error->phase},
                {"error", figures_error_name(error, storage, sizeof storage)}};
            exposition_sample(exposition, "sonde_errors", "_total", run, labels, 2,
                              (double)error->count);
        }
    }
}
