/* Histograms as text: times as percentiles, sizes by powers of two. */
#include <math.h>
#include <string.h>

#include "base/units.h"
#include "report/figures.h"
#include "report/text.h"

#define SIZE_CLASSES 65 /* 0, 1, 2-3, 4-7, ... */
#define BAR_WIDTH 20
/* Two ends that counted parts of the same messages: so little may one have more than the other. */
#define SAME_MOST 0.01

static bool of_sizes(const struct record_histogram *entry)
{
    return strcmp(entry->metric->unit, "bytes") == 0;
}

static bool of_times(const struct record_histogram *entry)
{
    return strcmp(entry->metric->unit, "ns") == 0;
}

static bool of_client(const struct record_histogram *entry)
{
    return strcmp(entry->role, "client") == 0;
}

static bool is_part(const struct record_histogram *entry)
{
    return entry->metric->part != PART_NONE;
}

static void name_cell(struct table *table, const struct record_histogram *entry)
{
    table_cell(table, "%s%s", entry->metric->title, of_client(entry) ? "" : " (server)");
}

static void percentile_row(struct table *table, const struct record_histogram *entry)
{
    const char *unit = entry->metric->unit;
    const struct histogram *histogram = entry->histogram;
    bool any = histogram_count(histogram) > 0;
    char number[64];
    name_cell(table, entry);
    for (size_t i = 0; i < figures_percentile_count; i++) {
        uint64_t value;
        if (!figures_percentiles[i].in_text) {
            continue;
        }
        bool enough = histogram_percentile(histogram, figures_percentiles[i].percentile, &value);
        table_cell(table, "%s",
                   text_value(number, sizeof number, enough ? (double)value : NAN, unit));
    }
    table_cell(table, "%s",
               text_value(number, sizeof number, any ? (double)histogram->maximum : NAN, unit));
    table_cell(table, "%s",
               text_value(number, sizeof number, any ? histogram_mean(histogram) : NAN, unit));
}

static void percentile_table(struct text *text, const struct record_run *run, const char *title,
                             bool times)
{
    struct table table;
    bool any = false;
    table_init(&table, "lrrrrrrrrr");
    table_cell(&table, "%s", title);
    for (size_t i = 0; i < figures_percentile_count; i++) {
        if (figures_percentiles[i].in_text) {
            table_cell(&table, "p%s", figures_percentiles[i].text);
        }
    }
    table_cell(&table, "max");
    table_cell(&table, "mean");
    for (size_t i = 0; i < run->histogram_count; i++) {
        const struct record_histogram *entry = &run->histograms[i];
        if (!of_sizes(entry) && !is_part(entry) && of_times(entry) == times) {
            percentile_row(&table, entry);
            any = true;
        }
    }
    if (!any) {
        table_release(&table);
        return;
    }
    fputc('\n', text->out);
    table_print(&table, text);
}

/* What is in no table of percentiles: how many values there are, and how they spread. */
static void spread_table(struct text *text, const struct record_run *run)
{
    struct table table;
    char number[64];
    bool any = false;
    table_init(&table, "lrrrrr");
    table_cell(&table, "spread");
    table_cell(&table, "values");
    table_cell(&table, "min");
    for (size_t i = 0; i < figures_percentile_count; i++) {
        if (!figures_percentiles[i].in_text) {
            table_cell(&table, "p%s", figures_percentiles[i].text);
        }
    }
    table_cell(&table, "deviation");
    for (size_t i = 0; i < run->histogram_count; i++) {
        const struct record_histogram *entry = &run->histograms[i];
        uint64_t count = histogram_count(entry->histogram), value;
        if (!of_times(entry) || is_part(entry) || count == 0) {
            continue;
        }
        name_cell(&table, entry);
        table_cell(&table, "%s", units_count(number, (double)count));
        table_cell(&table, "%s",
                   text_value(number, sizeof number, (double)entry->histogram->minimum, "ns"));
        for (size_t k = 0; k < figures_percentile_count; k++) {
            const struct figures_percentile *row = &figures_percentiles[k];
            if (!row->in_text) {
                bool enough = histogram_percentile(entry->histogram, row->percentile, &value);
                table_cell(&table, "%s",
                           text_value(number, sizeof number, enough ? (double)value : NAN, "ns"));
            }
        }
        table_cell(&table, "%s",
                   text_value(number, sizeof number, histogram_deviation(entry->histogram), "ns"));
        any = true;
    }
    if (!any) {
        table_release(&table);
        return;
    }
    fputc('\n', text->out);
    table_print(&table, text);
}

/* ---- times that are parts of one whole ------------------------------------------------------- */

/* A row of means; `histogram` NULL: only the mean is known. */
static void part_row(struct table *table, const char *indent, const char *title, double mean_ns,
                     double whole_ns, const struct histogram *histogram)
{
    static const double percentiles[] = {50, 99};
    char number[64];
    table_cell(table, "%s%s", indent, title);
    table_cell(table, "%s", text_value(number, sizeof number, mean_ns, "ns"));
    table_cell(table, "%s", text_share(number, sizeof number, figures_ratio(mean_ns, whole_ns)));
    for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++) {
        uint64_t value;
        bool enough = histogram && histogram_percentile(histogram, percentiles[i], &value);
        table_cell(table, "%s",
                   histogram ? text_value(number, sizeof number, enough ? (double)value : NAN, "ns")
                             : "");
    }
}

/* Sum of the means of one end's parts, and of how many wholes. */
static double parts_of(const struct record_run *run, bool client, uint64_t *count)
{
    double sum_ns = 0;
    for (size_t i = 0; i < run->histogram_count; i++) {
        const struct record_histogram *entry = &run->histograms[i];
        if (is_part(entry) && of_client(entry) == client) {
            sum_ns += histogram_mean(entry->histogram);
            *count = histogram_count(entry->histogram);
        }
    }
    return sum_ns;
}

/* Whether both ends' parts are of the same round trips: with several in flight the client knows the
 * stamps of some alone, and what the server did with the others says nothing of these. */
static bool same_messages(const struct record_run *run)
{
    uint64_t own = 0, peer = 0;
    parts_of(run, true, &own);
    parts_of(run, false, &peer);
    return (double)peer <= (1 + SAME_MOST) * (double)own;
}

/* The peer's parts, and what lies neither there nor here. */
static void peer_rows(struct table *table, const struct record_run *run, double holder_ns,
                      double whole_ns)
{
    uint64_t count = 0;
    double sum_ns = parts_of(run, false, &count);
    bool same = same_messages(run);
    whole_ns = same ? whole_ns : NAN;
    for (size_t i = 0; i < run->histogram_count; i++) {
        const struct record_histogram *entry = &run->histograms[i];
        if (is_part(entry) && !of_client(entry)) {
            char title[96];
            snprintf(title, sizeof title, "%s (server)", entry->metric->title);
            part_row(table, "  ", title, histogram_mean(entry->histogram), whole_ns,
                     entry->histogram);
        }
    }
    if (count && same) {
        part_row(table, "  ", "network, both ways", holder_ns - sum_ns, whole_ns, NULL);
    }
}

/* One end's parts in the order in which they follow each other; their means add up to the last
 * line. */
static void part_table(struct text *text, const struct record_run *run)
{
    struct table table;
    uint64_t count = 0;
    double whole_ns = parts_of(run, true, &count);
    if (count == 0) {
        return;
    }
    table_init(&table, "lrrrr");
    table_cell(&table, "by the kernel's time stamps");
    table_cell(&table, "mean");
    table_cell(&table, "share");
    table_cell(&table, "p50");
    table_cell(&table, "p99");
    for (size_t i = 0; i < run->histogram_count; i++) {
        const struct record_histogram *entry = &run->histograms[i];
        if (!is_part(entry) || !of_client(entry)) {
            continue;
        }
        double mean_ns = histogram_mean(entry->histogram);
        part_row(&table, "", entry->metric->title, mean_ns, whole_ns, entry->histogram);
        if (entry->metric->part == PART_HOLDS_PEER) {
            peer_rows(&table, run, mean_ns, whole_ns);
        }
    }
    part_row(&table, "", "sum", whole_ns, whole_ns, NULL);
    fputc('\n', text->out);
    table_print(&table, text);
    if (!same_messages(run)) {
        text_paragraph(
            text, 2, 4,
            "the split is of %lu round trips, behind whose message no other had been sent "
            "yet; the server's rows are of all messages, and no part of the sum",
            count);
    }
}

void text_histograms(struct text *text, const struct record_run *run)
{
    char number[UNITS_TEXT_MAX], highest[64];
    percentile_table(text, run, "latency", true);
    percentile_table(text, run, "distribution", false);
    if (!text->compact) {
        spread_table(text, run);
    }
    part_table(text, run);
    for (size_t i = 0; i < run->histogram_count; i++) {
        const struct record_histogram *entry = &run->histograms[i];
        if (entry->histogram->out_of_range) {
            text_paragraph(text, 2, 4,
                           "%s (%s): %s values above %s are counted apart and stand in no "
                           "percentile",
                           entry->metric->title, entry->role,
                           units_count(number, (double)entry->histogram->out_of_range),
                           text_value(highest, sizeof highest, (double)HISTOGRAM_HIGHEST,
                                      entry->metric->unit));
        }
    }
}

struct size_classes {
    double of[SIZE_CLASSES];
    double all;
};

/* Class 0 holds 0; class k > 0 holds 2^(k-1) .. 2^k - 1. A histogram's bucket never spans two. */
static void classify(const struct histogram *histogram, struct size_classes *classes)
{
    uint32_t index = 0;
    uint64_t low, high, count;
    *classes = (struct size_classes){0};
    while (histogram_next(histogram, &index, &low, &high, &count)) {
        classes->of[low ? 64 - __builtin_clzll(low) : 0] += (double)count;
        classes->all += (double)count;
    }
}

static void class_name(char *to, size_t size, int class)
{
    char low[UNITS_TEXT_MAX], high[UNITS_TEXT_MAX];
    if (class < 2) {
        snprintf(to, size, "%d", class);
    } else {
        snprintf(to, size, "%s .. <%s", units_exact_size(low, UINT64_C(1) << (class - 1)),
                 units_exact_size(high, class < 64 ? UINT64_C(1) << class : UINT64_MAX));
    }
}

static void size_cells(struct table *table, const struct size_classes *classes, int class)
{
    static const char bar[] = "####################";
    char number[UNITS_TEXT_MAX], share[16];
    double part = figures_ratio(classes->of[class], classes->all);
    if (classes->of[class] == 0) {
        table_cell(table, "-");
        table_cell(table, "-");
        table_cell(table, "%*s", BAR_WIDTH, "");
        return;
    }
    table_cell(table, "%s", units_count(number, classes->of[class]));
    table_cell(table, "%s", text_share(share, sizeof share, part));
    table_cell(table, "%-*.*s", BAR_WIDTH, (int)lround(part * BAR_WIDTH), bar);
}

/* The histogram of the same metric at the other end, after `from`; NULL where there is none. */
static const struct record_histogram *other_end(const struct record_run *run, size_t from)
{
    for (size_t i = from + 1; i < run->histogram_count; i++) {
        if (strcmp(run->histograms[i].metric->key, run->histograms[from].metric->key) == 0) {
            return &run->histograms[i];
        }
    }
    return NULL;
}

static bool printed_before(const struct record_run *run, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (strcmp(run->histograms[i].metric->key, run->histograms[at].metric->key) == 0) {
            return true;
        }
    }
    return false;
}

static void size_table(struct text *text, const struct record_histogram *first,
                       const struct record_histogram *second)
{
    struct size_classes classes[2];
    const struct record_histogram *entries[2] = {first, second};
    size_t ends = second ? 2 : 1;
    struct table table;
    char name[2 * UNITS_TEXT_MAX];
    table_init(&table, second ? "lrrlrrl" : "lrrl");
    table_cell(&table, "%s", first->metric->title);
    for (size_t i = 0; i < ends; i++) {
        classify(entries[i]->histogram, &classes[i]);
        table_span(&table, 1 + 3 * i, 3, entries[i]->role);
        table_cell(&table, "count");
        table_cell(&table, "share");
        table_cell(&table, "%s", "");
    }
    for (int class = 0; class < SIZE_CLASSES; class ++) {
        if (classes[0].of[class] == 0 && (ends == 1 || classes[1].of[class] == 0)) {
            continue;
        }
        class_name(name, sizeof name, class);
        table_cell(&table, "%s", name);
        for (size_t i = 0; i < ends; i++) {
            size_cells(&table, &classes[i], class);
        }
    }
    fputc('\n', text->out);
    table_print(&table, text);
}

void text_sizes(struct text *text, const struct record_run *run)
{
    for (size_t i = 0; i < run->histogram_count; i++) {
        const struct record_histogram *entry = &run->histograms[i];
        const struct record_histogram *other = other_end(run, i);
        bool any =
            histogram_count(entry->histogram) || (other && histogram_count(other->histogram));
        if (of_sizes(entry) && any && !printed_before(run, i)) {
            size_table(text, entry, other);
        }
    }
}
