/* What the repetitions in a record say together. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/figures.h"
#include "report/record.h"
#include "report/text.h"
#include "stats/repeat.h"

/* More of these for one label are counted, not described. */
#define OUTLIERS_DESCRIBED 3

#define MEAN (-1.0)

/* Names one number of a run. */
struct figure_name {
    const char *metric;                       /* a metric's key, or NULL */
    const struct histogram_metric *histogram; /* of the client, or NULL */
    double percentile;                        /* of it; or MEAN */
    const char *role;                         /* CPU time for each operation at this end */
};

/* NaN where the run does not have it. */
static double figure_of(const struct record_run *run, const struct figure_name *name)
{
    if (name->metric) {
        const struct record_value *value = record_find_value(run, name->metric);
        return value && figures_shown(value) ? value->value : NAN;
    }
    if (name->role) {
        struct figures_cost cost = figures_cost(run, name->role);
        return cost.cpu_user_ns + cost.cpu_system_ns;
    }
    for (size_t i = 0; i < run->histogram_count; i++) {
        const struct record_histogram *entry = &run->histograms[i];
        uint64_t value;
        if (strcmp(entry->role, "client") == 0 &&
            strcmp(entry->metric->key, name->histogram->key) == 0) {
            if (name->percentile < 0) {
                return histogram_count(entry->histogram) ? histogram_mean(entry->histogram) : NAN;
            }
            bool shown = histogram_percentile(entry->histogram, name->percentile, &value);
            return shown ? (double)value : NAN;
        }
    }
    return NAN;
}

/* The runs of one label that count, in the order of their measurement. */
struct repetitions {
    struct record *record;
    struct record_run **runs; /* owned */
    size_t count;
    double *values; /* owned */
    size_t value_count;
};

static void collect_values(struct repetitions *of, const struct figure_name *name)
{
    of->value_count = 0;
    for (size_t i = 0; i < of->count; i++) {
        double value = figure_of(of->runs[i], name);
        if (isfinite(value)) {
            of->values[of->value_count++] = value;
        }
    }
}

static int fill_value(struct repetitions *of, const struct figure_name *name,
                      struct record_summary_value *value)
{
    if (!value) {
        return -1;
    }
    collect_values(of, name);
    struct repeat_summary summary = repeat_summarise(of->values, of->value_count);
    value->count = of->value_count;
    value->median = summary.median;
    value->least = summary.least;
    value->most = summary.most;
    value->deviation = summary.deviation;
    return 0;
}

static bool has_key(const struct record_summary *summary, const char *key)
{
    for (size_t i = 0; i < summary->value_count; i++) {
        if (strcmp(summary->values[i].metric->key, key) == 0) {
            return true;
        }
    }
    return false;
}

static int add_metrics(struct repetitions *of, struct record_summary *summary,
                       const struct record_run *run)
{
    for (size_t i = 0; i < run->value_count; i++) {
        const struct metric *metric = run->values[i].metric;
        const struct figure_name name = {.metric = metric->key};
        if (!has_key(summary, metric->key) &&
            fill_value(of, &name, record_summary_add_value(summary, metric)) < 0) {
            return -1;
        }
    }
    return 0;
}

static int add_latencies(struct repetitions *of, struct record_summary *summary,
                         const struct record_run *run)
{
    static const struct {
        double percentile;
        const char *text;
    } rows[] = {{50, "p50"}, {99, "p99"}, {MEAN, "mean"}};
    for (size_t i = 0; i < run->histogram_count; i++) {
        const struct histogram_metric *metric = run->histograms[i].metric;
        if (strcmp(run->histograms[i].role, "client") != 0 || strcmp(metric->unit, "ns") != 0) {
            continue;
        }
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
            const struct figure_name name = {.histogram = metric, .percentile = rows[k].percentile};
            char key[96], title[96];
            snprintf(key, sizeof key, "%s.%s", metric->key, rows[k].text);
            snprintf(title, sizeof title, "%s %s", metric->title, rows[k].text);
            if (!has_key(summary, key) &&
                fill_value(of, &name, record_summary_add_own(summary, key, "ns", title)) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

static int add_costs(struct repetitions *of, struct record_summary *summary,
                     const struct record_run *run)
{
    const char *operation = of->record->operation ? of->record->operation : "operation";
    for (size_t i = 0; i < run->process_count; i++) {
        const char *role = run->processes[i].role;
        const struct figure_name name = {.role = role};
        char key[96], title[96];
        snprintf(key, sizeof key, "%s.cpu_ns_per_%s", role, operation);
        snprintf(title, sizeof title, "%s CPU / %s", role, operation);
        if (!has_key(summary, key) &&
            fill_value(of, &name, record_summary_add_own(summary, key, "ns", title)) < 0) {
            return -1;
        }
    }
    return 0;
}

/* What could disturb a run, as far as every run says. */
static const struct disturbance {
    const char *key;
    double differs;   /* from the others' median by more than this */
    bool relative;    /* as a share of that median */
    bool share;       /* printed in percent */
    const char *unit; /* otherwise */
    const char *what; /* after "in it": the value goes for %s */
} disturbances[] = {
    {"steal_share", 0.01, false, true, "", "%s of CPU time was stolen"},
    {"other_cpu_share", 0.05, false, true, "", "%s of CPU time was used by others"},
    {"cpu_frequency", 0.03, true, false, "Hz", "the CPU ran at %s"},
    {"load_1m", 1, false, false, "1", "the load was %s"},
    {"tcp_retransmits", 10, false, false, "1", "%s TCP segments were sent again on this host"},
};
enum { DISTURBANCES = sizeof disturbances / sizeof *disturbances };

static const char *disturbance_text(char *to, size_t size, const struct disturbance *row,
                                    double value)
{
    return row->share ? text_share(to, size, value) : text_value(to, size, value, row->unit);
}

static double limit_of(const struct disturbance *row, double median)
{
    return row->relative ? row->differs * fabs(median) : row->differs;
}

/* What was not as in the other runs, into `to`. */
static void describe_difference(struct repetitions *of, const struct record_run *run, char *to,
                                size_t size)
{
    size_t used = 0;
    to[0] = '\0';
    for (size_t i = 0; i < DISTURBANCES; i++) {
        const struct disturbance *row = &disturbances[i];
        const struct figure_name name = {.metric = row->key};
        double here = figure_of(run, &name);
        of->value_count = 0;
        for (size_t k = 0; k < of->count; k++) {
            double value = of->runs[k] == run ? NAN : figure_of(of->runs[k], &name);
            if (isfinite(value)) {
                of->values[of->value_count++] = value;
            }
        }
        double others = summary_median(of->values, of->value_count);
        if (!(fabs(here - others) > limit_of(row, others)) ||
            used >= size) { /* or one is not known */
            continue;
        }
        char value[64], what[128], median[64];
        disturbance_text(value, sizeof value, row, here);
        const char *at = strstr(row->what, "%s");
        snprintf(what, sizeof what, "%.*s%s%s", (int)(at - row->what), row->what, value, at + 2);
        used += (size_t)snprintf(to + used, size - used, "%s%s (median of the others %s)",
                                 used ? ", " : "; in it ", what,
                                 disturbance_text(median, sizeof median, row, others));
    }
    if (!used) {
        snprintf(to, size, "; nothing that sonde can see differed");
    }
}

/* What drifts with the headline, into `to`: " (load rises, CPU clock rate falls)". */
static void describe_company(struct repetitions *of, char *to, size_t size)
{
    size_t used = 0;
    to[0] = '\0';
    for (size_t i = 0; i < DISTURBANCES; i++) {
        const struct disturbance *row = &disturbances[i];
        const struct figure_name name = {.metric = row->key};
        const struct record_value *value = record_find_value(of->runs[0], row->key);
        collect_values(of, &name);
        struct repeat_drift drift = repeat_drift(of->values, of->value_count);
        double limit = limit_of(row, summary_median(of->values, of->value_count));
        if (value && drift.p < REPEAT_DRIFT_P && fabs(drift.trend) > limit && used < size) {
            used += (size_t)snprintf(to + used, size - used, "%s%s %s", used ? ", " : " (",
                                     value->metric->title, drift.trend < 0 ? "falls" : "rises");
        }
    }
    if (used && used < size) {
        snprintf(to + used, size - used, ")");
    }
}

static int warn_drift(struct repetitions *of, const char *label, const char *title)
{
    char share[32], company[256];
    struct repeat_drift drift = repeat_drift(of->values, of->value_count);
    size_t count = of->value_count;
    if (!drift.seen) {
        return 0;
    }
    describe_company(of, company, sizeof company);
    return record_add_warning(
        of->record, "%s: %s %s from run to run (by %s over %zu runs): the machine drifts%s", label,
        title, drift.change < 0 ? "falls" : "rises",
        text_share(share, sizeof share, fabs(drift.change)), count, company);
}

static int warn_outlier(struct repetitions *of, const struct record_run *run, double value,
                        double median)
{
    char difference[512], share[32];
    describe_difference(of, run, difference, sizeof difference);
    return record_add_warning(of->record, "%s: run %u is %s %s the median%s", run->label,
                              run->repetition,
                              text_share(share, sizeof share, fabs(value - median) / fabs(median)),
                              value < median ? "below" : "above", difference);
}

/* Drift and outliers of the headline, where every run has it. */
static int judge(struct repetitions *of, const struct record_summary *summary)
{
    const struct metric *headline = summary->values[0].metric;
    const struct figure_name name = {.metric = headline->key};
    double median = summary->values[0].median.value;
    bool *far = calloc(of->count, sizeof *far);
    double *values = calloc(of->count, sizeof *values);
    int result = far && values ? 0 : -1;
    collect_values(of, &name);
    if (result == 0 && of->value_count == of->count) {
        memcpy(values, of->values, of->count * sizeof *values);
        result = warn_drift(of, summary->label, headline->title);
        size_t outliers = repeat_outliers(values, of->count, far), described = 0;
        for (size_t i = 0; i < of->count && result == 0; i++) {
            of->runs[i]->outlier = far[i];
            if (far[i] && described < OUTLIERS_DESCRIBED) {
                result = warn_outlier(of, of->runs[i], values[i], median);
                described++;
            }
        }
        if (outliers > described && result == 0) {
            result = record_add_warning(of->record, "%s: %zu more runs are far from the median",
                                        summary->label, outliers - described);
        }
    }
    free(far);
    free(values);
    return result;
}

static int summarise_label(struct repetitions *of, const char *label)
{
    of->count = 0;
    for (size_t i = 0; i < of->record->run_count; i++) {
        struct record_run *run = &of->record->runs[i];
        if (figures_kept(run) && strcmp(run->label, label) == 0) {
            of->runs[of->count++] = run;
        }
    }
    if (of->count == 0) {
        return 0;
    }
    struct record_summary *summary = record_add_summary(of->record, label);
    if (!summary) {
        return -1;
    }
    summary->runs = of->count;
    for (size_t i = 0; i < of->count; i++) {
        if (add_metrics(of, summary, of->runs[i]) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < of->count; i++) {
        if (add_latencies(of, summary, of->runs[i]) < 0 ||
            add_costs(of, summary, of->runs[i]) < 0) {
            return -1;
        }
    }
    return summary->value_count ? judge(of, summary) : 0;
}

static bool is_summarised(const struct record *record, const char *label)
{
    for (size_t i = 0; i < record->summary_count; i++) {
        if (strcmp(record->summaries[i].label, label) == 0) {
            return true;
        }
    }
    return false;
}

int record_summarise(struct record *record)
{
    size_t room = record->run_count + 1;
    struct repetitions of = {.record = record,
                             .runs = calloc(room, sizeof *of.runs),
                             .values = calloc(room, sizeof *of.values)};
    int result = of.runs && of.values ? 0 : -1;
    for (size_t i = 0; i < record->run_count && result == 0; i++) {
        if (!is_summarised(record, record->runs[i].label)) {
            result = summarise_label(&of, record->runs[i].label);
        }
    }
    free(of.runs);
    free(of.values);
    return result;
}
