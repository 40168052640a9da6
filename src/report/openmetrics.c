/* The record as OpenMetrics text. Samples of one family stand together, so families are the outer
 * loop and runs the inner one. What is not known has no sample. Only types are used that the older
 * text format of Prometheus has too, whose readers take the same file. */
#include "report/openmetrics.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/figures.h"

struct exposition_unit exposition_unit_of(const char *unit)
{
    static const struct {
        const char *ours;
        struct exposition_unit theirs;
    } units[] = {
        {"ns", {"seconds", 1e-9}},
        {"bytes", {"bytes", 1}},
        {"bytes/s", {"bytes_per_second", 1}},
        {"bit/s", {"bits_per_second", 1}},
        {"Hz", {"hertz", 1}},
    };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(unit, units[i].ours) == 0) {
            return units[i].theirs;
        }
    }
    return (struct exposition_unit){"", 1};
}

/* Takes a word off the end of a name. */
static void strip(char *name, const char *word)
{
    size_t length = strlen(name), tail = strlen(word);
    if (tail && length > tail + 1 && name[length - tail - 1] == '_' &&
        strcmp(name + length - tail, word) == 0) {
        name[length - tail - 1] = '\0';
    }
}

const char *exposition_name(char *to, size_t size, const char *key, const char *middle,
                            const char *unit)
{
    char stem[96];
    const char *theirs = exposition_unit_of(unit).name;
    snprintf(stem, sizeof stem, "%s", key);
    for (char *at = stem; *at; at++) {
        *at = isalnum((unsigned char)*at) ? *at : '_';
    }
    /* The unit is said once, and in their words; what a type adds is not ours to say. */
    strip(stem, "total");
    strip(stem, unit);
    strip(stem, theirs);
    bool more = *theirs && strcmp(stem, theirs) != 0;
    snprintf(to, size, "sonde_%s%s%s%s%s", stem, *middle ? "_" : "", middle, more ? "_" : "",
             more ? theirs : "");
    return to;
}

/* A text between quotation marks, or behind HELP, where the older text format of Prometheus knows
 * no escaped ones: `quote` is how one is written. */
static void put_text(struct exposition *exposition, const char *text, const char *quote)
{
    char *valid = figures_valid_text(text);
    if (!valid) {
        exposition->failed = true;
        return;
    }
    for (const char *at = valid; *at; at++) {
        switch (*at) {
        case '\n':
            fputs("\\n", exposition->out);
            break;
        case '"':
            fputs(quote, exposition->out);
            break;
        case '\\':
            fputs("\\\\", exposition->out);
            break;
        default:
            fputc(*at, exposition->out);
        }
    }
    free(valid);
}

void exposition_begin(struct exposition *exposition, const char *name, const char *type,
                      const char *unit, const char *help)
{
    fprintf(exposition->out, "# TYPE %s %s\n", name, type);
    if (*unit) {
        fprintf(exposition->out, "# UNIT %s %s\n", name, unit);
    }
    fprintf(exposition->out, "# HELP %s ", name);
    put_text(exposition, help, "'");
    fputc('\n', exposition->out);
}

static const char *option_of(const struct record *record, const char *name)
{
    for (size_t i = 0; i < record->option_count; i++) {
        if (strcmp(record->options[i].name, name) == 0) {
            return record->options[i].value;
        }
    }
    return NULL;
}

static void put_label(struct exposition *exposition, bool first, const char *name,
                      const char *value)
{
    fprintf(exposition->out, "%s%s=\"", first ? "" : ",", name);
    put_text(exposition, value, "\\\"");
    fputc('"', exposition->out);
}

/* workload, engine and target; what tells runs of the same ones apart. */
static void put_settings(struct exposition *exposition, const struct record_run *run)
{
    const struct record *record = exposition->record;
    const char *target = option_of(record, "target"), *engines = option_of(record, "engine");
    char engine[sizeof run->label], number[16];
    bool named = record->command && record->command[0];
    put_label(exposition, true, "workload", named ? record->command[0] : record->operation);
    if (engines) {
        bool several = strchr(engines, ',');
        size_t length = several ? strcspn(run->label, " ") : strlen(engines);
        snprintf(engine, sizeof engine, "%.*s", (int)length, several ? run->label : engines);
        put_label(exposition, false, "engine", engine);
    }
    if (!engines || strcmp(engine, run->label) != 0) {
        put_label(exposition, false, "variant", run->label);
    }
    if (target) {
        put_label(exposition, false, "target", *target ? target : "own server");
    }
    if (run->repetition) {
        snprintf(number, sizeof number, "%u", run->repetition);
        put_label(exposition, false, "repetition", number);
    }
}

void exposition_sample(struct exposition *exposition, const char *name, const char *suffix,
                       const struct record_run *run, const struct exposition_label *labels,
                       size_t count, double value)
{
    fprintf(exposition->out, "%s%s{", name, suffix);
    put_settings(exposition, run);
    for (size_t i = 0; i < count; i++) {
        put_label(exposition, false, labels[i].name, labels[i].value);
    }
    bool whole = value == floor(value) && fabs(value) < 1e15;
    fprintf(exposition->out, whole ? "} %.0f\n" : "} %.15g\n", value);
}

const struct record_run *exposition_run(const struct exposition *exposition, size_t *index)
{
    const struct record *record = exposition->record;
    while (*index < record->run_count) {
        const struct record_run *run = &record->runs[(*index)++];
        bool shown = !run->discarded;
        for (size_t i = *index; i < record->run_count && shown; i++) {
            shown = strcmp(record->runs[i].label, run->label) != 0 ||
                    record->runs[i].repetition != run->repetition;
        }
        if (shown) {
            return run;
        }
    }
    return NULL;
}

static int print_openmetrics(const struct record *record, FILE *out, struct err *error)
{
    struct exposition exposition = {.out = out, .record = record};
    exposition_of_runs(&exposition);
    exposition_of_metrics(&exposition);
    exposition_of_histograms(&exposition);
    exposition_of_errors(&exposition);
    exposition_of_processes(&exposition);
    fputs("# EOF\n", out);
    if (exposition.failed) {
        return err_system(error, ENOMEM, "OpenMetrics", "cannot be made");
    }
    return figures_finish(out, "OpenMetrics", error);
}

const struct printer printer_openmetrics = {"OpenMetrics", print_openmetrics};
