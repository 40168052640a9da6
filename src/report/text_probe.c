/* What the probes of a run saw, as text: tables, and distributions as DTrace and bpftrace print
 * them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "report/figures.h"
#include "report/text.h"
#include "report/text_profile.h"

#define ROWS_MAX 40         /* of one table; the record in JSON has them all */
#define DISTRIBUTIONS_MAX 6 /* of one probe; likewise */
#define SCOPE_COLUMNS 3
#define BAR_COLUMNS 40 /* DTrace's */
#define VALUE_COLUMNS 16

/* ---- rows ---- */

/* Rows that have the same metrics stand in one table. Those of functions have their own. */
static bool same_metrics(const struct record_probe_row *a, const struct record_probe_row *b)
{
    bool same = a->value_count == b->value_count;
    for (size_t i = 0; same && i < a->value_count; i++) {
        same = a->values[i].metric == b->values[i].metric ||
               strcmp(a->values[i].metric->key, b->values[i].metric->key) == 0;
    }
    return same;
}

/* One table: the rows from `first` on that are like it. */
struct group {
    const struct record_probe *probe;
    size_t first, count;
    bool threads, what; /* some row has that */
};

static struct group group_of(const struct record_probe *probe, size_t first)
{
    struct group group = {.probe = probe, .first = first};
    for (size_t i = first; i < probe->row_count; i++) {
        const struct record_scope *scope = &probe->rows[i].scope;
        if (same_metrics(&probe->rows[first], &probe->rows[i])) {
            group.count++;
            group.threads |= scope->tid != 0;
            group.what |= scope->what[0] != '\0';
        }
    }
    return group;
}

static void scope_cells(struct table *table, const struct group *group,
                        const struct record_scope *scope)
{
    const char *name = scope->tid ? "" : scope->name;
    if (scope->pid) {
        table_cell(table, "%s%s%s %d", scope->role, name[0] ? " " : "", name, (int)scope->pid);
    } else {
        table_cell(table, "%s%s%s", scope->role[0] ? scope->role : "machine", name[0] ? " " : "",
                   name);
    }
    if (group->threads && scope->tid) {
        table_cell(table, "%d %s", (int)scope->tid, scope->name);
    } else if (group->threads) {
        table_cell(table, "-");
    }
    if (group->what) {
        table_cell(table, "%s", scope->what);
    }
}

/* Columns of the metrics [from, from + count) beside those of the scope. */
static void fill_table(struct table *table, const struct group *group, size_t from, size_t count)
{
    const struct record_probe *probe = group->probe;
    const struct record_probe_row *first = &probe->rows[group->first];
    size_t printed = 0;
    table_cell(table, "%s", probe->name);
    if (group->threads) {
        table_cell(table, "thread");
    }
    if (group->what) {
        table_cell(table, "%s", "");
    }
    for (size_t m = from; m < from + count; m++) {
        table_cell(table, "%s", text_title(first->values[m].metric));
    }
    for (size_t i = group->first; i < probe->row_count && printed < ROWS_MAX; i++) {
        const struct record_probe_row *row = &probe->rows[i];
        if (!same_metrics(first, row)) {
            continue;
        }
        printed++;
        scope_cells(table, group, &row->scope);
        for (size_t m = from; m < from + count; m++) {
            const struct record_value *value = &row->values[m];
            char to[64];
            table_cell(table, "%s",
                       figures_shown(value)
                           ? text_value(to, sizeof to, value->value, value->metric->unit)
                           : "n/a");
        }
    }
}

/* Prints as many of the metrics from `from` on as the width allows; returns how many. */
static size_t print_columns(struct text *text, const struct group *group, size_t from)
{
    char alignment[TABLE_COLUMNS + 1];
    size_t scope = 1u + group->threads + group->what;
    size_t left = group->probe->rows[group->first].value_count - from;
    size_t count = left < TABLE_COLUMNS - SCOPE_COLUMNS ? left : TABLE_COLUMNS - SCOPE_COLUMNS;
    for (;; count--) {
        struct table table;
        memset(alignment, 'l', scope);
        memset(alignment + scope, 'r', count);
        alignment[scope + count] = '\0';
        table_init(&table, alignment);
        fill_table(&table, group, from, count);
        if (count > 1 && table_width(&table) + 2 > TEXT_COLUMNS) {
            table_release(&table);
            continue;
        }
        fputc('\n', text->out);
        table_print(&table, text);
        return count;
    }
}

/* True where an earlier value of the group had the same reason. */
static bool reason_said(const struct group *group, size_t row, size_t metric)
{
    const struct record_probe *probe = group->probe;
    const char *reason = figures_reason(&probe->rows[row].values[metric]);
    for (size_t i = group->first; i <= row; i++) {
        const struct record_probe_row *earlier = &probe->rows[i];
        size_t count = i < row ? earlier->value_count : metric;
        for (size_t m = 0; m < count; m++) {
            if (same_metrics(&probe->rows[group->first], earlier) &&
                !figures_shown(&earlier->values[m]) &&
                strcmp(figures_reason(&earlier->values[m]), reason) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* Why there are values missing, once for each reason. */
static void print_reasons(struct text *text, const struct group *group)
{
    const struct record_probe *probe = group->probe;
    const struct record_probe_row *first = &probe->rows[group->first];
    for (size_t i = group->first; i < probe->row_count; i++) {
        const struct record_probe_row *row = &probe->rows[i];
        for (size_t m = 0; m < row->value_count && same_metrics(first, row); m++) {
            if (!figures_shown(&row->values[m]) && !reason_said(group, i, m)) {
                const char *what =
                    row->scope.what[0] ? row->scope.what : text_title(row->values[m].metric);
                text_paragraph(text, 2, 4, "%s: n/a (%s, for one): %s", probe->name, what,
                               figures_reason(&row->values[m]));
            }
        }
    }
}

static void print_rows(struct text *text, const struct record_probe *probe)
{
    for (size_t i = 0; i < probe->row_count; i++) {
        const struct record_probe_row *row = &probe->rows[i];
        bool printed = row->value_count == 0 || text_is_function(row);
        for (size_t k = 0; k < i && !printed; k++) {
            printed = same_metrics(&probe->rows[k], row);
        }
        if (printed) {
            continue;
        }
        struct group group = group_of(probe, i);
        for (size_t from = 0; from < row->value_count;) {
            from += print_columns(text, &group, from);
        }
        if (group.count > ROWS_MAX) {
            text_paragraph(text, 2, 4, "(and %zu more rows in --json)", group.count - ROWS_MAX);
        }
        print_reasons(text, &group);
    }
}

/* ---- distributions ---- */

static uint64_t count_of(const struct record_distribution *distribution)
{
    uint64_t count = 0;
    for (size_t i = 0; i < DISTRIBUTION_CLASSES; i++) {
        count += distribution->classes[i];
    }
    return count;
}

static void print_class(FILE *out, size_t class, uint64_t count, uint64_t all)
{
    static const char bar[] = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@";
    _Static_assert(sizeof bar == BAR_COLUMNS + 1, "as wide as its columns");
    char value[32] = "< 0";
    if (class > 0) {
        snprintf(value, sizeof value, "%lu", figures_class_low(class));
    }
    int length = (int)((double)count / (double)all * BAR_COLUMNS + 0.5);
    fprintf(out, "%*s |%-*.*s %lu\n", VALUE_COLUMNS, value, BAR_COLUMNS, length, bar, count);
}

/* An empty class before the first and one after the last, as DTrace has it: the distribution is
 * seen to end there. */
static void print_distribution(struct text *text, const char *probe,
                               const struct record_distribution *distribution)
{
    const struct record_scope *scope = &distribution->scope;
    uint64_t all = count_of(distribution);
    size_t first = 0, last = DISTRIBUTION_CLASSES - 1;
    char id[32];
    while (first < last && !distribution->classes[first]) {
        first++;
    }
    while (last > first && !distribution->classes[last]) {
        last--;
    }
    first -= first > 0;
    last += last < DISTRIBUTION_CLASSES - 1;
    const char *who = scope->role[0] || scope->pid ? scope->role : "machine";
    fputc('\n', text->out);
    text_paragraph(text, 2, 4, "%s: %s%s%s%s%s%s%s (%s)", probe, who, scope->pid ? " " : "",
                   scope->pid ? figures_id(id, sizeof id, scope->pid, scope->tid) : "",
                   scope->name[0] ? " " : "", scope->name, scope->what[0] ? ", " : "", scope->what,
                   distribution->metric->title);
    fprintf(text->out, "%*s  ------------- Distribution ------------- count\n", VALUE_COLUMNS,
            "value");
    for (size_t class = first; class <= last; class ++) {
        print_class(text->out, class, distribution->classes[class], all);
    }
}

static int by_count(const void *left, const void *right)
{
    const struct record_distribution *const *a = left, *const *b = right;
    uint64_t x = count_of(*a), y = count_of(*b);
    /* Equal ones in the order of the record. */
    return x != y ? (x < y) - (x > y) : (*a > *b) - (*a < *b);
}

static void print_distributions(struct text *text, const struct record_probe *probe)
{
    const struct record_distribution **order =
        calloc(probe->distribution_count + 1, sizeof(*order));
    size_t count = 0;
    if (!order) {
        text->failed = true;
        return;
    }
    for (size_t i = 0; i < probe->distribution_count; i++) {
        if (count_of(&probe->distributions[i])) {
            order[count++] = &probe->distributions[i];
        }
    }
    qsort(order, count, sizeof(*order), by_count);
    size_t shown = text->compact ? 0 : count < DISTRIBUTIONS_MAX ? count : DISTRIBUTIONS_MAX;
    for (size_t i = 0; i < shown; i++) {
        print_distribution(text, probe->name, order[i]);
    }
    if (count > shown) {
        text_paragraph(text, 2, 4, "(%s: %zu %sdistribution%s in --json)", probe->name,
                       count - shown, shown ? "more " : "", count - shown == 1 ? "" : "s");
    }
    free(order);
}

/* ---- a probe ---- */

static void print_probe(struct text *text, const struct record_probe *probe)
{
    char number[UNITS_TEXT_MAX];
    if (!probe->available) {
        text_paragraph(text, 2, 4, "probe %s: n/a (%s)", probe->name,
                       probe->reason[0] ? probe->reason : "not measured");
        return;
    }
    print_rows(text, probe);
    text_functions(text, probe);
    print_distributions(text, probe);
    if (probe->row_count == 0 && probe->distribution_count == 0 && !probe->with_processes) {
        text_paragraph(text, 2, 4, "%s: nothing to count was seen", probe->name);
    }
    if (probe->reason[0]) {
        text_paragraph(text, 2, 4, "%s: %s", probe->name, probe->reason);
    }
    /* What the calls' table says of its own. */
    bool elsewhere = probe->row_count == 0 && probe->distribution_count == 0;
    if (probe->lost && !elsewhere) {
        text_paragraph(text, 2, 4, "%s: %s event%s lost: its counts are too low by that",
                       probe->name, units_count(number, (double)probe->lost),
                       probe->lost == 1 ? " was" : "s were");
    }
}

/* Columns of the intervals' table: rates, and what TCP says; the counts follow from the rates. */
#define INTERVAL_COLUMNS 5

static void fill_interval_flows(struct table *table, const struct record_run *run, size_t columns)
{
    size_t rows = 0;
    for (size_t i = 0; i < run->interval_count; i++) {
        const struct record_interval *interval = &run->intervals[i];
        for (size_t k = 0; k < interval->flows.row_count && rows < ROWS_MAX; k++, rows++) {
            const struct record_probe_row *row = &interval->flows.rows[k];
            size_t cells = 0;
            if (rows == 0) {
                table_cell(table, "from");
                table_cell(table, "flow");
                table_cell(table, "%s", "");
            }
            for (size_t m = 0; m < row->value_count && cells < columns && rows == 0; m++) {
                if (row->values[m].metric->kind != METRIC_COUNT) {
                    table_cell(table, "%s", text_title(row->values[m].metric));
                    cells++;
                }
            }
            table_cell(table, "%.1f s", (double)interval->start_ns / 1e9);
            table_cell(table, "%s", row->scope.role);
            table_cell(table, "%s", row->scope.what);
            cells = 0;
            for (size_t m = 0; m < row->value_count && cells < columns; m++) {
                const struct record_value *value = &row->values[m];
                char to[64];
                if (value->metric->kind != METRIC_COUNT) {
                    table_cell(table, "%s",
                               text_value(to, sizeof to, figures_shown(value) ? value->value : NAN,
                                          value->metric->unit));
                    cells++;
                }
            }
        }
    }
}

static void print_interval_flows(struct text *text, const struct record_run *run)
{
    char alignment[4 + INTERVAL_COLUMNS] = "rll";
    struct table table;
    size_t rows = 0, columns = 0;
    for (size_t i = 0; i < run->interval_count; i++) {
        rows += run->intervals[i].flows.row_count;
    }
    if (rows == 0 || run->interval_count < 2) {
        return;
    }
    for (size_t m = 0; m < run->flows.rows[0].value_count && columns < INTERVAL_COLUMNS; m++) {
        columns += run->flows.rows[0].values[m].metric->kind != METRIC_COUNT;
    }
    memset(alignment + 3, 'r', columns);
    alignment[3 + columns] = '\0';
    table_init(&table, alignment);
    fill_interval_flows(&table, run, columns);
    fputc('\n', text->out);
    table_print(&table, text);
    if (rows > ROWS_MAX) {
        text_paragraph(text, 2, 4, "(and %zu more rows in --json)", rows - ROWS_MAX);
    }
}

void text_flows(struct text *text, const struct record_run *run)
{
    const struct record_probe view = figures_flows(&run->flows);
    print_rows(text, &view);
    if (!text->compact && run->flows.row_count) {
        print_interval_flows(text, run);
    }
}

void text_probes(struct text *text, const struct record_run *run)
{
    for (size_t i = 0; i < run->probe_count && run->observing; i++) {
        print_probe(text, &run->probes[i]);
    }
}

/* ---- what they cost ---- */

static void print_effect(struct text *text, const char *probe, const struct record_effect *effect)
{
    const struct interval *ratio = &effect->ratio;
    const char *plural = effect->blocks == 1 ? "" : "s";
    char of[32] = "";
    if (probe) {
        snprintf(of, sizeof of, " of %s", probe);
    }
    if (!effect->available || !isfinite(ratio->value)) {
        if (effect->metric[0] || effect->reason[0]) {
            text_paragraph(text, 2, 4, "probe effect%s: n/a (%s)", of,
                           effect->reason[0] ? effect->reason : "not measured");
        }
    } else if (isfinite(ratio->low) && isfinite(ratio->high)) {
        text_paragraph(text, 2, 4, "probe effect%s: %s x%.3f (%.3f .. %.3f, 95 %%, %u block%s)%s",
                       of, effect->metric, ratio->value, ratio->low, ratio->high, effect->blocks,
                       plural,
                       ratio->low > 1 ? ": looking makes nothing faster; the machine changed, or "
                                        "wake-ups fell differently"
                                      : "");
    } else {
        text_paragraph(text, 2, 4, "probe effect%s: %s x%.3f (no interval from %u block%s)", of,
                       effect->metric, ratio->value, effect->blocks, plural);
    }
}

void text_effects(struct text *text, const struct record_run *run)
{
    if (run->probe_count < 2) {
        print_effect(text, NULL, &run->effect);
        return;
    }
    for (size_t i = 0; i < run->probe_count; i++) {
        const struct record_probe *probe = &run->probes[i];
        if (probe->available) { /* else it is said why */
            print_effect(text, probe->name, &probe->effect);
        }
    }
}
