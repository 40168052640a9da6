/* The record as JSON, sonde.record/1: docs/record.schema.json says what each key means. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/figures.h"
#include "report/json_build.h"
#include "report/record.h"
#include "stats/hdr_codec.h"

/* Significant digits of a fraction: all that a double can be trusted for. */
#define DIGITS 15

static json_t *build_failure(struct builder *builder, const struct err *failure)
{
    static const char *const codes[] = {
        [ERR_USAGE] = "usage", [ERR_SYSTEM] = "system",           [ERR_PROTOCOL] = "protocol",
        [ERR_LIMIT] = "limit", [ERR_UNSUPPORTED] = "unsupported", [ERR_INTERRUPTED] = "interrupted",
    };
    size_t code = failure->code;
    char storage[16];
    if (failure->code == ERR_NONE) {
        return json_null();
    }
    const char *name = code < sizeof codes / sizeof *codes ? codes[code] : NULL;
    json_t *object = build_object(builder);
    build_set(builder, object, "code", build_text(builder, name ? name : "other"));
    build_set(builder, object, "subject", build_text(builder, failure->subject));
    build_set(builder, object, "what", build_text(builder, failure->what));
    build_set(builder, object, "hint", build_text_or_null(builder, failure->hint));
    build_set(builder, object, "errno",
              failure->number
                  ? build_text(builder, record_errno_name(failure->number, storage, sizeof storage))
                  : json_null());
    return object;
}

static json_t *build_percentiles(struct builder *builder, const struct histogram *histogram)
{
    json_t *object = build_object(builder);
    for (size_t i = 0; i < figures_percentile_count; i++) {
        uint64_t value;
        bool enough = histogram_percentile(histogram, figures_percentiles[i].percentile, &value);
        build_set(builder, object, figures_percentiles[i].text,
                  enough ? build_count(builder, value) : json_null());
    }
    return object;
}

static json_t *build_histogram(struct builder *builder, const struct record_histogram *entry)
{
    const struct histogram *histogram = entry->histogram;
    uint64_t count = histogram_count(histogram);
    double unknown = count ? 0 : NAN;
    char *encoded = hdr_encode(histogram);
    json_t *object = build_object(builder);
    build_set(builder, object, "role", build_text(builder, entry->role));
    build_set(builder, object, "unit", build_text(builder, entry->metric->unit));
    build_set(builder, object, "count", build_count(builder, count));
    build_set(builder, object, "out_of_range", build_count(builder, histogram->out_of_range));
    build_set(builder, object, "min",
              count ? build_count(builder, histogram->minimum) : json_null());
    build_set(builder, object, "mean", build_number(builder, histogram_mean(histogram) + unknown));
    build_set(builder, object, "deviation",
              build_number(builder, histogram_deviation(histogram) + unknown));
    build_set(builder, object, "max",
              count ? build_count(builder, histogram->maximum) : json_null());
    build_set(builder, object, "percentiles", build_percentiles(builder, histogram));
    build_set(builder, object, "encoded", encoded ? build_text(builder, encoded) : NULL);
    free(encoded);
    return object;
}

/* The server's histograms stand beside the client's in one object: "server_" goes before their
 * key. */
static json_t *build_histograms(struct builder *builder, const struct record_run *run)
{
    json_t *object = build_object(builder);
    for (size_t i = 0; i < run->histogram_count; i++) {
        const struct record_histogram *entry = &run->histograms[i];
        char key[96];
        snprintf(key, sizeof key, "%s%s", strcmp(entry->role, "server") == 0 ? "server_" : "",
                 entry->metric->key);
        build_set(builder, object, key, build_histogram(builder, entry));
    }
    return object;
}

static json_t *build_interval(struct builder *builder, const struct record_interval *interval)
{
    json_t *object = build_object(builder);
    build_set(builder, object, "start_ns", build_count(builder, interval->start_ns));
    build_set(builder, object, "duration_ns", build_count(builder, interval->duration_ns));
    build_set(builder, object, "observed", json_false()); /* its metrics are of unobserved time */
    build_set(builder, object, "metrics",
              build_values(builder, interval->values, interval->value_count));
    if (interval->flows.row_count) {
        build_set(builder, object, "flows",
                  build_rows(builder, interval->flows.rows, interval->flows.row_count));
    }
    if (interval->kernel_count) {
        build_set(builder, object, "kernel",
                  build_values(builder, interval->kernel, interval->kernel_count));
    }
    return object;
}

static json_t *build_error(struct builder *builder, const struct record_error_count *error,
                           uint64_t count)
{
    char storage[16];
    json_t *object = build_object(builder);
    build_set(builder, object, "phase", build_text(builder, error->phase));
    build_set(builder, object, "errno", error->number ? json_integer(error->number) : json_null());
    build_set(builder, object, "name",
              build_text(builder, figures_error_name(error, storage, sizeof storage)));
    build_set(builder, object, "count", build_count(builder, count));
    return object;
}

static json_t *build_tls(struct builder *builder, const struct record_tls *tls)
{
    json_t *object = build_object(builder);
    build_set(builder, object, "version", build_text(builder, tls->version));
    build_set(builder, object, "cipher", build_text(builder, tls->cipher));
    build_set(builder, object, "handshakes", build_count(builder, tls->handshakes));
    build_set(builder, object, "resumed", build_count(builder, tls->resumed));
    build_set(builder, object, "verified", json_boolean(tls->verified));
    build_set(builder, object, "name", build_text_or_null(builder, tls->name));
    return object;
}

json_t *build_run(struct builder *builder, const struct record_run *run)
{
    json_t *object = build_object(builder);
    json_t *intervals = build_array(builder);
    json_t *processes = build_array(builder);
    json_t *errors = build_array(builder);
    json_t *probes = build_array(builder);
    for (size_t i = 0; i < run->probe_count; i++) {
        build_append(builder, probes, build_probe(builder, &run->probes[i]));
    }
    for (size_t i = 0; i < run->interval_count; i++) {
        build_append(builder, intervals, build_interval(builder, &run->intervals[i]));
    }
    for (size_t i = 0; i < run->process_count; i++) {
        build_append(builder, processes, build_process(builder, &run->processes[i]));
    }
    for (size_t i = 0; i < run->error_count; i++) {
        build_append(builder, errors, build_error(builder, &run->errors[i], run->errors[i].count));
    }
    build_set(builder, object, "label", build_text(builder, run->label));
    if (run->repetition) {
        build_set(builder, object, "repetition", build_count(builder, run->repetition));
        build_set(builder, object, "discarded", json_boolean(run->discarded));
        build_set(builder, object, "outlier", json_boolean(run->outlier));
    }
    build_set(builder, object, "complete", json_boolean(figures_run_complete(run)));
    build_set(builder, object, "error", build_failure(builder, &run->failure));
    build_set(builder, object, "window_ns", build_count(builder, run->window_ns));
    build_set(builder, object, "wall_ns", build_count(builder, run->wall_ns));
    build_set(builder, object, "mode", build_text(builder, run->mode));
    build_set(builder, object, "detail", build_text(builder, run->detail));
    build_set(builder, object, "metrics", build_values(builder, run->values, run->value_count));
    build_set(builder, object, "histograms", build_histograms(builder, run));
    if (run->flows.row_count) {
        build_set(builder, object, "flows",
                  build_rows(builder, run->flows.rows, run->flows.row_count));
    }
    if (run->tls.handshakes) {
        build_set(builder, object, "tls", build_tls(builder, &run->tls));
    }
    build_set(builder, object, "intervals", intervals);
    build_set(builder, object, "processes", processes);
    build_set(builder, object, "errors", errors);
    build_set(builder, object, "probes", probes);
    build_set(builder, object, "probe_effect", build_effect(builder, &run->effect));
    build_set(builder, object, "observation", build_text_or_null(builder, run->observation));
    build_set(builder, object, "limited_by", build_text_or_null(builder, run->limited_by));
    build_set(builder, object, "null_engine_ceiling",
              build_quantity(builder, run->null_ceiling > 0 ? run->null_ceiling : NAN, "1/s",
                             "not measured"));
    return object;
}

static bool same_error(const struct record_error_count *a, const struct record_error_count *b)
{
    return a->number == b->number && strcmp(a->phase, b->phase) == 0 &&
           strcmp(a->name, b->name) == 0;
}

/* The errors of all runs, those that are the same added up. Quadratic in the number of different
 * errors, which is small (a run has at most one row for each phase and name). */
static json_t *build_all_errors(struct builder *builder, const struct record *record)
{
    json_t *array = build_array(builder);
    for (size_t i = 0; i < record->run_count; i++) {
        for (size_t k = 0; k < record->runs[i].error_count; k++) {
            const struct record_error_count *error = &record->runs[i].errors[k];
            uint64_t count = 0;
            bool first = true;
            for (size_t r = 0; r < record->run_count; r++) {
                for (size_t e = 0; e < record->runs[r].error_count; e++) {
                    const struct record_error_count *other = &record->runs[r].errors[e];
                    bool same = same_error(error, other);
                    first = first && !(same && (r < i || (r == i && e < k)));
                    count += same ? other->count : 0;
                }
            }
            if (first) {
                build_append(builder, array, build_error(builder, error, count));
            }
        }
    }
    return array;
}

static json_t *build_machine(struct builder *builder, const struct record *record)
{
    json_t *object = build_object(builder);
    for (size_t i = 0; i < record->machine_count; i++) {
        const struct record_pair *pair = &record->machine[i];
        json_t *number = pair->numeric ? json_loads(pair->text, JSON_DECODE_ANY, NULL) : NULL;
        if (!json_is_number(number)) { /* "n/a" in place of a number stays readable */
            json_decref(number);
            number = build_text(builder, pair->text);
        }
        build_set(builder, object, pair->key, number);
    }
    return object;
}

static void set_command_line(struct builder *builder, json_t *object, const struct record *record)
{
    json_t *command = build_array(builder);
    json_t *options = build_object(builder);
    json_t *given = build_array(builder);
    for (size_t i = 0; record->command && record->command[i]; i++) {
        build_append(builder, command, build_text(builder, record->command[i]));
    }
    for (size_t i = 0; i < record->option_count; i++) {
        const struct record_option *option = &record->options[i];
        build_set(builder, options, option->name, build_text(builder, option->value));
        if (option->given) {
            build_append(builder, given, build_text(builder, option->name));
        }
    }
    build_set(builder, object, "command", command);
    build_set(builder, object, "operation", build_text_or_null(builder, record->operation));
    build_set(builder, object, "options", options);
    build_set(builder, object, "options_given", given);
}

static json_t *build_record(struct builder *builder, const struct record *record)
{
    json_t *object = build_object(builder);
    json_t *warnings = build_array(builder);
    json_t *runs = build_array(builder);
    for (size_t i = 0; i < record->warning_count; i++) {
        build_append(builder, warnings, build_text(builder, record->warnings[i]));
    }
    for (size_t i = 0; i < record->run_count; i++) {
        build_append(builder, runs, build_run(builder, &record->runs[i]));
    }
    build_set(builder, object, "schema", build_text(builder, RECORD_SCHEMA));
    build_set(builder, object, "complete", json_boolean(figures_complete(record)));
    build_set(builder, object, "error", build_failure(builder, &record->failure));
    build_set(builder, object, "started", build_text(builder, record->started));
    set_command_line(builder, object, record);
    build_set(builder, object, "machine", build_machine(builder, record));
    build_set(builder, object, "warnings", warnings);
    build_set(builder, object, "errors", build_all_errors(builder, record));
    build_set(builder, object, "runs", runs);
    if (record->summary_count) {
        build_set(builder, object, "summaries", build_summaries(builder, record));
    }
    if (record->find_max.found_count) {
        build_set(builder, object, "find_max", build_find_max(builder, record));
    }
    return object;
}

static int print_json(const struct record *record, FILE *out, struct err *error)
{
    struct builder builder = {0};
    json_t *root = build_record(&builder, record);
    if (builder.failed || builder.duplicate) {
        json_decref(root);
        return builder.duplicate
                   ? err_set(error, ERR_SYSTEM, "JSON", "the key '%s' stands twice in one object",
                             builder.duplicate)
                   : err_system(error, ENOMEM, "JSON", "cannot be made");
    }
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(DIGITS));
    json_decref(root);
    if (!text) {
        return err_system(error, ENOMEM, "JSON", "cannot be made");
    }
    fputs(text, out);
    fputc('\n', out);
    free(text);
    return figures_finish(out, "JSON", error);
}

const struct printer printer_json = {"json", print_json};
