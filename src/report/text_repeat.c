/* A record with repetitions: their summaries, a line for each run, and one run of each label in
 * full. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/figures.h"
#include "report/text.h"
#include "stats/repeat.h"

#define ENDS_SHOWN 2

bool text_is_repeated(const struct record *record)
{
    for (size_t i = 0; i < record->run_count; i++) {
        if (record->runs[i].repetition) {
            return true;
        }
    }
    return false;
}

static const struct record_summary *find_summary(const struct record *record, const char *label)
{
    for (size_t i = 0; i < record->summary_count; i++) {
        if (strcmp(record->summaries[i].label, label) == 0) {
            return &record->summaries[i];
        }
    }
    return NULL;
}

static bool ends_in(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* The summary's first value whose key ends so; NULL where there is none. */
static const struct record_summary_value *find_ending(const struct record_summary *summary,
                                                      const char *end)
{
    for (size_t i = 0; i < summary->value_count; i++) {
        if (ends_in(summary->values[i].metric->key, end)) {
            return &summary->values[i];
        }
    }
    return NULL;
}

#define COST_KEY ".cpu_ns_per_"

/* The first ends whose CPU time is known for each operation: keys of their values. */
struct ends {
    const char *keys[ENDS_SHOWN];
    size_t count;
};

static void find_ends(struct ends *ends, const struct record *record)
{
    ends->count = 0;
    for (size_t i = 0; i < record->summary_count; i++) {
        for (size_t k = 0; k < record->summaries[i].own_count; k++) {
            const struct record_own_metric *own = record->summaries[i].own[k];
            bool known = !strstr(own->key, COST_KEY);
            for (size_t e = 0; e < ends->count; e++) {
                known = known || strcmp(ends->keys[e], own->key) == 0;
            }
            if (!known && ends->count < ENDS_SHOWN) {
                ends->keys[ends->count++] = own->key;
            }
        }
    }
}

static void median_cell(struct table *table, const struct record_summary_value *value)
{
    char number[64];
    table_cell(table, "%s",
               text_value(number, sizeof number, value ? value->median.value : NAN,
                          value ? value->metric->unit : "1"));
}

static void summary_row(struct table *table, const struct record_summary *summary,
                        const struct ends *ends, bool latencies)
{
    const struct record_summary_value *headline = &summary->values[0];
    const char *unit = headline->metric->unit;
    char low[64], high[64], share[32];
    table_cell(table, "%s", summary->label);
    table_cell(table, "%zu", summary->runs);
    median_cell(table, headline);
    table_cell(table, "%s .. %s", text_value(low, sizeof low, headline->median.low, unit),
               text_value(high, sizeof high, headline->median.high, unit));
    table_cell(table, "%s",
               text_share(share, sizeof share,
                          figures_ratio(headline->deviation, fabs(headline->median.value))));
    if (latencies) {
        median_cell(table, find_ending(summary, ".p50"));
        median_cell(table, find_ending(summary, ".p99"));
    }
    for (size_t i = 0; i < ends->count; i++) {
        median_cell(table, find_ending(summary, ends->keys[i]));
    }
}

static void print_summaries(struct text *text, const struct record *record)
{
    static const char *const alignments[] = {"lrrrr", "lrrrrr", "lrrrrrr", "lrrrrrrr", "lrrrrrrrr"};
    const struct record_summary *first = &record->summaries[0];
    const struct record_summary_value *latency = NULL; /* of streams there is none */
    for (size_t i = 0; i < record->summary_count && !latency; i++) {
        latency = find_ending(&record->summaries[i], ".p50");
    }
    struct table table;
    struct ends ends;
    bool few = false;
    find_ends(&ends, record);
    size_t costs = latency ? 7 : 5;
    table_init(&table, alignments[ends.count + (latency ? 2 : 0)]);
    table_span(&table, 2, 3, first->values[0].metric->title);
    if (latency) {
        const char *title = latency->metric->title;
        char base[96]; /* without the percentile */
        snprintf(base, sizeof base, "%.*s", (int)(strlen(title) - strlen(" p50")), title);
        table_span(&table, 5, 2, base);
    }
    if (ends.count) {
        char title[64];
        snprintf(title, sizeof title, "CPU / %s", text->operation);
        table_span(&table, costs, ends.count, title);
    }
    for (size_t i = 0; i < record->summary_count; i++) {
        few = few || record->summaries[i].runs < REPEAT_INTERVAL_LEAST;
    }
    table_cell(&table, "%s", "");
    table_cell(&table, "runs");
    table_cell(&table, "median");
    table_cell(&table, few ? "interval *" : "95 %% interval");
    table_cell(&table, "spread");
    if (latency) {
        table_cell(&table, "p50");
        table_cell(&table, "p99");
    }
    for (size_t i = 0; i < ends.count; i++) {
        table_cell(&table, "%.*s", (int)(strstr(ends.keys[i], COST_KEY) - ends.keys[i]),
                   ends.keys[i]);
    }
    for (size_t i = 0; i < record->summary_count; i++) {
        summary_row(&table, &record->summaries[i], &ends, latency);
    }
    table_print(&table, text);
    if (few) {
        text_paragraph(
            text, 2, 4,
            "* 95 %%; with fewer than %d runs, which allow no such interval, their range",
            REPEAT_INTERVAL_LEAST);
    }
    text_paragraph(text, 2, 4, "spread: standard deviation of the runs / median");
    fputc('\n', text->out);
}

static const char *remark_of(const struct record_run *run)
{
    if (!figures_run_complete(run)) {
        return run->window_ns ? "PARTIAL: in no median" : "nothing measured";
    }
    return run->discarded ? "discarded (warm-up)" : run->outlier ? "outlier" : "";
}

static void print_runs(struct text *text, const struct record *record)
{
    const char *title = "";
    struct table table;
    for (size_t i = record->run_count; i-- > 0;) {
        title = record->runs[i].value_count ? record->runs[i].values[0].metric->title : title;
    }
    table_init(&table, "rlrrl");
    table_cell(&table, "run");
    table_cell(&table, "%s", "");
    table_cell(&table, "%s", title);
    table_cell(&table, "%s", record->summary_count ? "of the median" : "");
    table_cell(&table, "%s", "");
    for (size_t i = 0; i < record->run_count; i++) {
        const struct record_run *run = &record->runs[i];
        const struct record_summary *summary = find_summary(record, run->label);
        const struct record_value *value = run->value_count ? &run->values[0] : NULL;
        double rate = value && figures_shown(value) ? value->value : NAN;
        double median = summary ? summary->values[0].median.value : NAN;
        char number[64];
        table_cell(&table, "%u", run->repetition);
        table_cell(&table, "%s", run->label);
        table_cell(&table, "%s",
                   text_value(number, sizeof number, rate, value ? value->metric->unit : "1"));
        table_cell(&table, "%s", text_share(number, sizeof number, figures_ratio(rate, median)));
        table_cell(&table, "%s", remark_of(run));
    }
    table_print(&table, text);
}

/* The run of this label that counts and is nearest to the median; where none counts, the last. */
static const struct record_run *typical_run(const struct record *record, const char *label,
                                            bool *nearest)
{
    const struct record_summary *summary = find_summary(record, label);
    double median = summary ? summary->values[0].median.value : NAN, least = INFINITY;
    const struct record_run *found = NULL, *last = NULL;
    for (size_t i = 0; i < record->run_count; i++) {
        const struct record_run *run = &record->runs[i];
        if (strcmp(run->label, label) != 0) {
            continue;
        }
        last = run;
        double distance = figures_kept(run) && run->value_count && figures_shown(&run->values[0])
                              ? fabs(run->values[0].value - median)
                              : NAN;
        if (distance < least) {
            least = distance;
            found = run;
        }
    }
    *nearest = found != NULL;
    return found ? found : last;
}

static bool is_first_of_label(const struct record *record, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (strcmp(record->runs[i].label, record->runs[index].label) == 0) {
            return false;
        }
    }
    return true;
}

void text_repetitions(struct text *text, const struct record *record)
{
    if (record->summary_count) {
        print_summaries(text, record);
        text_ends_summaries(text, record);
        text_load_summaries(text, record);
    }
    print_runs(text, record);
    for (size_t i = 0; i < record->run_count; i++) {
        if (!is_first_of_label(record, i)) {
            continue;
        }
        bool nearest;
        const struct record_run *run = typical_run(record, record->runs[i].label, &nearest);
        fputc('\n', text->out);
        text_paragraph(text, 0, 2,
                       nearest ? "Run %u in full, the nearest to the median of %s:"
                               : "Run %u in full, the last of %s, of which none counts:",
                       run->repetition, run->label);
        text_run(text, run);
    }
}
