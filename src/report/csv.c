/* The record as CSV: a header line and one row a run. Quoting as RFC 4180, lines end in LF, as
 * tools on Linux expect. What is not known is an empty field. */
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

static void release_columns(struct columns *columns)
{
    free(columns->metrics);
    free(columns->histograms);
}

static int collect_columns(struct columns *columns, const struct record *record)
{
    size_t metrics = 0, histograms = 0;
    for (size_t i = 0; i < record->run_count; i++) {
        metrics += record->runs[i].value_count;
        histograms += record->runs[i].histogram_count;
    }
    *columns = (struct columns){
        .metrics = calloc(metrics + 1, sizeof *columns->metrics),
        .histograms = calloc(histograms + 1, sizeof *columns->histograms),
    };
    if (!columns->metrics || !columns->histograms) {
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

void csv_put_number(FILE *out, double value)
{
    fputc(',', out);
    if (isfinite(value)) {
        fprintf(out, "%.15g", value);
    }
}

static void print_header(FILE *out, const struct columns *columns)
{
    fputs("label,mode,window_s,complete", out);
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
    fputs(",client_cpu_user_ns_per_operation,client_cpu_system_ns_per_operation"
          ",server_cpu_user_ns_per_operation,server_cpu_system_ns_per_operation"
          ",client_calls_per_operation,server_calls_per_operation,limited_by,detail\n",
          out);
}

static void print_histogram(FILE *out, const struct histogram *histogram)
{
    uint64_t value;
    if (!histogram) {
        for (size_t i = 0; i < figures_percentile_count + 3; i++) {
            fputc(',', out);
        }
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

static int print_row(FILE *out, const struct columns *columns, const struct record_run *run)
{
    struct figures_cost client = figures_cost(run, "client");
    struct figures_cost server = figures_cost(run, "server");
    int result = csv_put_text(out, run->label);
    fputc(',', out);
    result |= csv_put_text(out, run->mode);
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
    fputc(',', out);
    result |= csv_put_text(out, run->limited_by);
    fputc(',', out);
    result |= csv_put_text(out, run->detail);
    fputc('\n', out);
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
        }
        release_columns(&columns);
    }
    if (result != 0) {
        return err_system(error, ENOMEM, "CSV", "cannot be made");
    }
    return figures_finish(out, "CSV", error);
}

const struct printer printer_csv = {"csv", print_csv};
