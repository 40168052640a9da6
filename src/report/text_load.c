/* What a load beside the runs moved, and what it added to their latency. */
#include <math.h>
#include <string.h>

#include "report/figures.h"
#include "report/text.h"
#include "stats/repeat.h"

/* Its values, as whoever measures beside a load names them (cli/during.c). */
static const char rate_key[] = "load_bytes_per_second", lost_key[] = "load_lost_share";
static const char *const added_keys[] = {"load_added_p50_ns", "load_added_p99_ns"};
enum { ADDED = sizeof added_keys / sizeof *added_keys };

static const struct record_value *value_of(const struct record_run *run, const char *key)
{
    for (size_t i = 0; i < run->value_count; i++) {
        if (strcmp(run->values[i].metric->key, key) == 0) {
            return &run->values[i];
        }
    }
    return NULL;
}

static const struct record_summary_value *summary_of(const struct record_summary *summary,
                                                     const char *key)
{
    for (size_t i = 0; i < summary->value_count; i++) {
        if (strcmp(summary->values[i].metric->key, key) == 0) {
            return &summary->values[i];
        }
    }
    return NULL;
}

static void value_cell(struct table *table, const struct record_run *run, const char *key)
{
    const struct record_value *value = value_of(run, key);
    char number[64];
    bool shown = value && figures_shown(value);
    table_cell(table, "%s",
               text_value(number, sizeof number, shown ? value->value : NAN,
                          shown ? value->metric->unit : "1"));
}

static void share_cell(struct table *table, double share)
{
    char text[16];
    table_cell(table, "%s", text_share(text, sizeof text, share));
}

static void titles(struct table *table, bool intervals)
{
    table_cell(table, "load");
    table_cell(table, "throughput");
    table_cell(table, "lost");
    for (size_t i = 0; i < ADDED; i++) {
        table_cell(table, i ? "added at p99" : "added at p50");
        if (intervals) {
            table_cell(table, "interval");
        }
    }
}

void text_loads(struct text *text, const struct record *record)
{
    struct table table;
    table_init(&table, "lrrrr");
    titles(&table, false);
    size_t heads = table.cell_count;
    for (size_t i = 0; i < record->run_count; i++) {
        const struct record_run *run = &record->runs[i];
        if (value_of(run, rate_key)) {
            const struct record_value *lost = value_of(run, lost_key);
            table_cell(&table, "%s", run->label);
            value_cell(&table, run, rate_key);
            share_cell(&table, lost && figures_shown(lost) ? lost->value : NAN);
            for (size_t k = 0; k < ADDED; k++) {
                value_cell(&table, run, added_keys[k]);
            }
        }
    }
    if (table.cell_count == heads) {
        table_release(&table);
        return;
    }
    table_print(&table, text);
    text_paragraph(text, 2, 4,
                   "added: the difference of one pair of runs, of which nothing says how far it is "
                   "chance; --repeat N gives an interval");
    fputc('\n', text->out);
}

static void summary_cells(struct table *table, const struct record_summary *summary,
                          const char *key, bool interval)
{
    const struct record_summary_value *value = summary_of(summary, key);
    const char *unit = value ? value->metric->unit : "1";
    char low[64], high[64];
    table_cell(table, "%s", text_value(low, sizeof low, value ? value->median.value : NAN, unit));
    if (interval && value && isfinite(value->median.low)) {
        table_cell(table, "%s .. %s", text_value(low, sizeof low, value->median.low, unit),
                   text_value(high, sizeof high, value->median.high, unit));
    } else if (interval) {
        table_cell(table, "-");
    }
}

void text_load_summaries(struct text *text, const struct record *record)
{
    struct table table;
    table_init(&table, "lrrrrrr");
    titles(&table, true);
    size_t heads = table.cell_count;
    for (size_t i = 0; i < record->summary_count; i++) {
        const struct record_summary *summary = &record->summaries[i];
        const struct record_summary_value *lost = summary_of(summary, lost_key);
        if (summary_of(summary, rate_key)) {
            table_cell(&table, "%s", summary->label);
            summary_cells(&table, summary, rate_key, false);
            share_cell(&table, lost ? lost->median.value : NAN);
            for (size_t k = 0; k < ADDED; k++) {
                summary_cells(&table, summary, added_keys[k], true);
            }
        }
    }
    if (table.cell_count == heads) {
        table_release(&table);
        return;
    }
    table_print(&table, text);
    text_paragraph(
        text, 2, 4,
        "medians over the rounds, and their intervals as above; added: within each round, "
        "less the run without the load");
    fputc('\n', text->out);
}
