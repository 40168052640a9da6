/* The record as CSV: a header line, one row a run (kind "run"), and behind it one row for each row
 * of its probes' tables (kind "probe"), which fills the columns that say whose and what it is, and
 * its figures (where some are of functions, object and symbol too); then one for each of its flows
 * (kind "flow"), of the window and, with start_s, of each interval. The columns of probes are there
 * only where a run has such rows. Quoting as RFC 4180, lines end in LF, as tools on Linux expect.
 * What is not known is an empty field. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/csv.h"
#include "report/figures.h"
#include "report/record.h"

/* Columns that only some runs have: the header is their union, in the order of first appearance. */
struct columns {
    const struct metric **metrics;
    size_t metric_count;
    const struct histogram_metric **histograms; /* of the client */
    size_t histogram_count;
    struct probe_column { /* of the rows of probes */
        const char *probe;
        const struct metric *metric;
    } * probes;
    size_t probe_count;
    bool intervals; /* some have rows of flows */
    bool code;      /* some rows are of functions */
    struct figures_ends ends;
};

static bool of_client(const struct record_histogram *entry)
{
    return strcmp(entry->role, "client") == 0;
}

static void add_metric(struct columns *columns, const struct metric *metric)
{
    for (size_t i = 0; i < columns->metric_count; i++) {
        if (strcmp(columns->metrics[i]->key, metric->key) == 0) {
            return;
        }
    }
    columns->metrics[columns->metric_count++] = metric;
}

static void add_histogram(struct columns *columns, const struct histogram_metric *metric)
{
    for (size_t i = 0; i < columns->histogram_count; i++) {
        if (strcmp(columns->histograms[i]->key, metric->key) == 0) {
            return;
        }
    }
    columns->histograms[columns->histogram_count++] = metric;
}

static bool same_column(const struct probe_column *column, const char *probe,
                        const struct metric *metric)
{
    return strcmp(column->probe, probe) == 0 && strcmp(column->metric->key, metric->key) == 0;
}

/* `name` has to last. */
static void add_probe(struct columns *columns, const char *name, const struct record_probe *probe)
{
    for (size_t i = 0; i < probe->row_count; i++) {
        columns->code |= probe->rows[i].symbol != NULL;
        for (size_t k = 0; k < probe->rows[i].value_count; k++) {
            const struct metric *metric = probe->rows[i].values[k].metric;
            size_t at = 0;
            while (at < columns->probe_count && !same_column(&columns->probes[at], name, metric)) {
                at++;
            }
            if (at == columns->probe_count) {
                columns->probes[columns->probe_count++] = (struct probe_column){name, metric};
            }
        }
    }
}

/* Values of the rows of a run's probes: as many columns there may be at most. */
static size_t probe_values(const struct record_run *run)
{
    size_t count = 0;
    for (size_t i = 0; i < run->probe_count; i++) {
        for (size_t k = 0; k < run->probes[i].row_count; k++) {
            count += run->probes[i].rows[k].value_count;
        }
    }
    return count + (run->flows.row_count ? run->flows.rows[0].value_count : 0);
}

static void release_columns(struct columns *columns)
{
    free(columns->metrics);
    free(columns->histograms);
    free(columns->probes);
}

static int collect_columns(struct columns *columns, const struct record *record)
{
    size_t metrics = 0, histograms = 0, probes = 0;
    for (size_t i = 0; i < record->run_count; i++) {
        metrics += record->runs[i].value_count;
        histograms += record->runs[i].histogram_count;
        probes += probe_values(&record->runs[i]);
    }
    *columns = (struct columns){
        .metrics = calloc(metrics + 1, sizeof *columns->metrics),
        .histograms = calloc(histograms + 1, sizeof *columns->histograms),
        .probes = calloc(probes + 1, sizeof *columns->probes),
        .ends = figures_ends(record),
    };
    if (!columns->metrics || !columns->histograms || !columns->probes) {
        release_columns(columns);
        return -1;
    }
    for (size_t i = 0; i < record->run_count; i++) {
        const struct record_run *run = &record->runs[i];
        for (size_t k = 0; k < run->value_count; k++) {
            add_metric(columns, run->values[k].metric);
        }
        for (size_t k = 0; k < run->histogram_count; k++) {
            if (of_client(&run->histograms[k])) {
                add_histogram(columns, run->histograms[k].metric);
            }
        }
        for (size_t k = 0; k < run->probe_count; k++) {
            add_probe(columns, run->probes[k].name, &run->probes[k]);
        }
        const struct record_probe flows = figures_flows(&run->flows);
        add_probe(columns, "flow", &flows); /* those of intervals have the same metrics */
        for (size_t k = 0; k < run->interval_count; k++) {
            columns->intervals |= run->intervals[k].flows.row_count > 0;
        }
    }
    return 0;
}

int csv_put_text(FILE *out, const char *text)
{
    char *valid = figures_valid_text(text);
    if (!valid) {
        return -1;
    }
    if (valid[strcspn(valid, ",\"\r\n")] == '\0') {
        fputs(valid, out);
    } else {
        fputc('"', out);
        for (const char *at = valid; *at; at++) {
            if (*at == '"') {
                fputc('"', out);
            }
            fputc(*at, out);
        }
        fputc('"', out);
    }
    free(valid);
    return 0;
}

static int put_field(FILE *out, const char *text)
{
    fputc(',', out);
    return csv_put_text(out, text);
}

static void put_empty(FILE *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fputc(',', out);
    }
}

void csv_put_number(FILE *out, double value)
{
    fputc(',', out);
    if (isfinite(value)) {
        fprintf(out, "%.15g", value);
    }
}

static void print_header(FILE *out, const struct columns *columns)
{
    fputs("label,repetition,discarded,outlier,mode,window_s,complete", out);
    for (size_t i = 0; i < columns->metric_count; i++) {
        fprintf(out, ",%s", columns->metrics[i]->key);
    }
    for (size_t i = 0; i < columns->histogram_count; i++) {
        const struct histogram_metric *metric = columns->histograms[i];
        const char *unit = strcmp(metric->unit, "1") == 0 ? "" : metric->unit;
        const char *line = unit[0] ? "_" : "";
        fprintf(out, ",%s_count", metric->key);
        for (size_t k = 0; k < figures_percentile_count; k++) {
            fprintf(out, ",%s_p%s%s%s", metric->key, figures_percentiles[k].text, line, unit);
        }
        fprintf(out, ",%s_max%s%s,%s_mean%s%s", metric->key, line, unit, metric->key, line, unit);
    }
    const char *first = columns->ends.roles[0], *second = columns->ends.roles[1];
    fprintf(out, ",%s_cpu_user_ns_per_operation,%s_cpu_system_ns_per_operation", first, first);
    fprintf(out, ",%s_cpu_user_ns_per_operation,%s_cpu_system_ns_per_operation", second, second);
    fprintf(out, ",%s_calls_per_operation,%s_calls_per_operation,limited_by,detail", first, second);
    fputs(columns->probe_count ? ",kind,probe,role,pid,tid,name,what" : "", out);
    fputs(columns->code ? ",object,symbol" : "", out);
    fputs(columns->intervals ? ",start_s" : "", out);
    for (size_t i = 0; i < columns->probe_count; i++) {
        fprintf(out, ",%s_%s", columns->probes[i].probe, columns->probes[i].metric->key);
    }
    fputc('\n', out);
}

static void print_histogram(FILE *out, const struct histogram *histogram)
{
    uint64_t value;
    if (!histogram) {
        put_empty(out, figures_percentile_count + 3);
        return;
    }
    bool any = histogram_count(histogram) > 0;
    csv_put_number(out, (double)histogram_count(histogram));
    for (size_t i = 0; i < figures_percentile_count; i++) {
        bool enough = histogram_percentile(histogram, figures_percentiles[i].percentile, &value);
        csv_put_number(out, enough ? (double)value : NAN);
    }
    csv_put_number(out, any ? (double)histogram->maximum : NAN);
    csv_put_number(out, any ? histogram_mean(histogram) : NAN);
}

static const struct histogram *find_histogram(const struct record_run *run, const char *key)
{
    for (size_t i = 0; i < run->histogram_count; i++) {
        if (of_client(&run->histograms[i]) && strcmp(run->histograms[i].metric->key, key) == 0) {
            return run->histograms[i].histogram;
        }
    }
    return NULL;
}

/* The columns that every row of a run begins with. */
static int print_identity(FILE *out, const struct record_run *run)
{
    int result = csv_put_text(out, run->label);
    csv_put_number(out, run->repetition ? (double)run->repetition : (double)NAN);
    fprintf(out, ",%s,%s", run->discarded ? "true" : "false", run->outlier ? "true" : "false");
    return result | put_field(out, run->mode);
}

static int print_row(FILE *out, const struct columns *columns, const struct record_run *run)
{
    struct figures_cost client = figures_cost(run, columns->ends.roles[0]);
    struct figures_cost server = figures_cost(run, columns->ends.roles[1]);
    int result = print_identity(out, run);
    csv_put_number(out, (double)run->window_ns / 1e9);
    fprintf(out, ",%s", figures_run_complete(run) ? "true" : "false");
    for (size_t i = 0; i < columns->metric_count; i++) {
        const struct record_value *value = record_find_value(run, columns->metrics[i]->key);
        csv_put_number(out, value && figures_shown(value) ? value->value : NAN);
    }
    for (size_t i = 0; i < columns->histogram_count; i++) {
        print_histogram(out, find_histogram(run, columns->histograms[i]->key));
    }
    csv_put_number(out, client.cpu_user_ns);
    csv_put_number(out, client.cpu_system_ns);
    csv_put_number(out, server.cpu_user_ns);
    csv_put_number(out, server.cpu_system_ns);
    csv_put_number(out, client.engine_calls);
    csv_put_number(out, server.engine_calls);
    result |= put_field(out, run->limited_by);
    result |= put_field(out, run->detail);
    if (columns->probe_count) {
        fputs(",run", out);
        put_empty(out, 6 + 2u * columns->code + columns->intervals + columns->probe_count);
    }
    fputc('\n', out);
    return result;
}

/* Columns of print_row between "complete" and "kind". */
static size_t run_columns(const struct columns *columns)
{
    return columns->metric_count + columns->histogram_count * (figures_percentile_count + 3) + 8;
}

/* A row of kind `kind`. start_ns: of the interval that it is of; NaN: the window's. */
static int print_probe_row(FILE *out, const struct columns *columns, const struct record_run *run,
                           const char *kind, double start_ns, const struct record_probe *probe,
                           const struct record_probe_row *row)
{
    const struct record_scope *scope = &row->scope;
    int result = print_identity(out, run);
    csv_put_number(out, (double)probe->window_ns / 1e9);
    fprintf(out, ",%s", figures_run_complete(run) ? "true" : "false");
    put_empty(out, run_columns(columns));
    fprintf(out, ",%s", kind);
    result |= put_field(out, probe->name) | put_field(out, scope->role);
    csv_put_number(out, scope->pid ? (double)scope->pid : NAN);
    csv_put_number(out, scope->tid ? (double)scope->tid : NAN);
    result |= put_field(out, scope->name) | put_field(out, scope->what);
    if (columns->code) {
        result |= put_field(out, row->object ? row->object : "");
        result |= put_field(out, row->symbol ? row->symbol : "");
    }
    if (columns->intervals) {
        csv_put_number(out, start_ns / 1e9);
    }
    for (size_t i = 0; i < columns->probe_count; i++) {
        double shown = NAN;
        for (size_t k = 0; k < row->value_count; k++) {
            const struct record_value *value = &row->values[k];
            if (same_column(&columns->probes[i], probe->name, value->metric) &&
                figures_shown(value)) {
                shown = value->value;
            }
        }
        csv_put_number(out, shown);
    }
    fputc('\n', out);
    return result;
}

static int print_probes(FILE *out, const struct columns *columns, const struct record_run *run)
{
    int result = 0;
    for (size_t i = 0; i < run->probe_count; i++) {
        for (size_t k = 0; k < run->probes[i].row_count; k++) {
            result |= print_probe_row(out, columns, run, "probe", NAN, &run->probes[i],
                                      &run->probes[i].rows[k]);
        }
    }
    return result;
}

/* Flows over `window_ns`: of the window, and of each interval. */
static int print_flows(FILE *out, const struct columns *columns, const struct record_run *run,
                       const struct record_flows *flows, uint64_t window_ns, double start_ns)
{
    struct record_probe view = figures_flows(flows);
    int result = 0;
    view.window_ns = window_ns;
    for (size_t i = 0; i < view.row_count; i++) {
        result |= print_probe_row(out, columns, run, "flow", start_ns, &view, &view.rows[i]);
    }
    return result;
}

static int print_all_flows(FILE *out, const struct columns *columns, const struct record_run *run)
{
    int result = print_flows(out, columns, run, &run->flows, run->window_ns, NAN);
    for (size_t i = 0; i < run->interval_count; i++) {
        const struct record_interval *interval = &run->intervals[i];
        result |= print_flows(out, columns, run, &interval->flows, interval->duration_ns,
                              (double)interval->start_ns);
    }
    return result;
}

static int print_csv(const struct record *record, FILE *out, struct err *error)
{
    struct columns columns;
    int result = collect_columns(&columns, record);
    if (result == 0) {
        print_header(out, &columns);
        for (size_t i = 0; i < record->run_count; i++) {
            result |= print_row(out, &columns, &record->runs[i]);
            result |= print_probes(out, &columns, &record->runs[i]);
            result |= print_all_flows(out, &columns, &record->runs[i]);
        }
        release_columns(&columns);
    }
    if (result != 0) {
        return err_system(error, ENOMEM, "CSV", "cannot be made");
    }
    return figures_finish(out, "CSV", error);
}

const struct printer printer_csv = {"csv", print_csv};
