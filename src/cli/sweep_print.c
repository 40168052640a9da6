#include "cli/sweep_print.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/csv.h"
#include "report/plot.h"
#include "report/text.h"

#define FAILURES_SHOWN 8
#define PLOT_ROWS 16

void sweep_view_init(struct sweep_view *view, const struct sweep_plan *plan,
                     const struct sweep_result *result, const char *key, uint64_t repeat)
{
    *view = (struct sweep_view){.plan = plan, .result = result, .key = key, .repeat = repeat};
    view->rows = plan->dimensions[0].value_count;
    view->series = plan->points / view->rows * result->label_count;
    for (size_t i = 0; i < result->result.run_count; i++) {
        const struct result_run *run = &result->result.runs[i];
        if (!view->key && run->complete && run->figure_count) {
            view->key = run->figures[0].key;
        }
        const struct figure *figure = view->key ? result_find(run, view->key) : NULL;
        if (figure) {
            view->unit = figure->unit;
            return;
        }
    }
}

static size_t point_of(const struct sweep_view *view, size_t row, size_t series)
{
    return row * (view->plan->points / view->rows) + series / view->result->label_count;
}

static const char *label_of(const struct sweep_view *view, size_t series)
{
    return view->result->labels[series % view->result->label_count];
}

static const struct sweep_summary *summary_of(const struct sweep_view *view, size_t row,
                                              size_t series)
{
    return sweep_result_find(view->result, point_of(view, row, series), label_of(view, series));
}

const struct sweep_figure *sweep_view_cell(const struct sweep_view *view, size_t row, size_t series)
{
    const struct sweep_figure *figure =
        view->key ? sweep_summary_find(summary_of(view, row, series), view->key) : NULL;
    return figure && figure->count ? figure : NULL;
}

/* Appends "gather" or " gather". */
static void join(FILE *out, bool *any, const char *text)
{
    fprintf(out, "%s%s", *any ? " " : "", text);
    *any = true;
}

char *sweep_view_series(const struct sweep_view *view, size_t series)
{
    char *text = NULL;
    size_t length = 0;
    bool any = false;
    FILE *out = open_memstream(&text, &length);
    if (!out) {
        return NULL;
    }
    size_t point = point_of(view, 0, series);
    for (size_t d = 1; d < view->plan->dimension_count; d++) {
        join(out, &any, sweep_plan_value(view->plan, point, d)->text);
    }
    if (*label_of(view, series)) {
        join(out, &any, label_of(view, series));
    }
    if (!any) {
        fputs(view->key ? view->key : "", out);
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* The further bound of the interval, as a share of the median. */
static double spread(const struct sweep_figure *figure)
{
    const struct interval *median = &figure->summary.median;
    double above = median->high - median->value, below = median->value - median->low;
    return fmax(above, below) / fabs(median->value);
}

static void print_cell(struct table *table, const struct sweep_view *view, size_t row,
                       size_t series)
{
    const struct sweep_figure *figure = sweep_view_cell(view, row, series);
    const struct sweep_summary *summary = summary_of(view, row, series);
    char value[64], share[32];
    if (!figure) {
        table_cell(table, summary && summary->failed ? "failed" : "-");
        return;
    }
    text_value(value, sizeof value, figure->summary.median.value, figure->unit);
    bool fewer = figure->count < view->repeat;
    if (figure->count < 2 || !isfinite(spread(figure))) {
        table_cell(table, "%s%s", value, fewer ? "*" : "");
    } else {
        table_cell(table, "%s ±%s%s", value, text_share(share, sizeof share, spread(figure)),
                   fewer ? "*" : "");
    }
}

/* A table of some of the series. */
static void fill_table(struct table *table, const struct sweep_view *view, size_t first,
                       size_t count, char *alignment)
{
    const struct sweep_dimension *dimension = &view->plan->dimensions[0];
    memset(alignment, 'r', count + 1);
    alignment[count + 1] = '\0';
    if (isnan(dimension->values[0].number)) {
        alignment[0] = 'l';
    }
    table_init(table, alignment);
    table_cell(table, "%s", dimension->name);
    for (size_t s = first; s < first + count; s++) {
        char *name = sweep_view_series(view, s);
        table_cell(table, "%s", name ? name : "");
        table->failed |= !name;
        free(name);
    }
    for (size_t row = 0; row < view->rows; row++) {
        table_cell(table, "%s", dimension->values[row].text);
        for (size_t s = first; s < first + count; s++) {
            print_cell(table, view, row, s);
        }
    }
}

/* As many series side by side as the width allows, the others below. */
static void print_tables(struct text *text, const struct sweep_view *view)
{
    char alignment[TABLE_COLUMNS + 1];
    for (size_t first = 0; first < view->series;) {
        size_t count = view->series - first;
        struct table table;
        count = count < 8 ? count : 8;
        for (;;) {
            fill_table(&table, view, first, count, alignment);
            if (count == 1 || table_width(&table) <= TEXT_COLUMNS - 4) {
                break;
            }
            table_release(&table);
            count--;
        }
        fputc('\n', text->out);
        table_print(&table, text);
        first += count;
    }
}

static void print_title(struct text *text, const struct sweep_view *view)
{
    char names[256] = "";
    size_t length = 0;
    const struct sweep_plan *plan = view->plan;
    for (size_t d = 0; d < plan->dimension_count && length < sizeof names; d++) {
        length += (size_t)snprintf(names + length, sizeof names - length, "%s%s",
                                   d == 0                          ? ""
                                   : d + 1 < plan->dimension_count ? ", "
                                                                   : " and ",
                                   plan->dimensions[d].name);
    }
    text_paragraph(text, 0, 2, "%s by %s: median of %lu run%s of each point%s", view->key, names,
                   (unsigned long)view->repeat, view->repeat == 1 ? "" : "s",
                   view->repeat < 2 ? ""
                   : view->repeat < REPEAT_INTERVAL_LEAST
                       ? ", ± to the further end of their range"
                       : ", ± to the further bound of its 95 % interval");
}

/* Why a run is not whole, "" where that is not said. */
static const char *why_failed(const json_t *run, const char **subject)
{
    const json_t *error = json_object_get(run, "error");
    const char *what = json_string_value(json_object_get(error, "what"));
    *subject = json_string_value(json_object_get(error, "subject"));
    *subject = *subject ? *subject : "run";
    return what ? what : "it was not completed";
}

static void print_failures(struct text *text, const struct sweep_view *view)
{
    const json_t *runs = json_object_get(view->result->json, "runs");
    size_t shown = 0, failed = 0;
    for (size_t i = 0; i < view->result->result.run_count; i++) {
        const struct result_run *run = &view->result->result.runs[i];
        const char *subject, *what;
        if (run->complete) {
            continue;
        }
        if (failed++ < FAILURES_SHOWN) {
            what = why_failed(json_array_get(runs, i), &subject);
            text_paragraph(text, 2, 4, "failed: %s run %u: %s: %s", run->point ? run->point : "",
                           run->repetition, subject, what);
            shown++;
        }
    }
    if (failed > shown) {
        text_paragraph(text, 2, 4, "and %zu more that failed", failed - shown);
    }
}

static void print_remarks(struct text *text, const struct sweep_view *view)
{
    size_t index;
    json_t *warning;
    bool fewer = false;
    for (size_t row = 0; row < view->rows && !fewer; row++) {
        for (size_t s = 0; s < view->series && !fewer; s++) {
            const struct sweep_figure *figure = sweep_view_cell(view, row, s);
            fewer = figure && figure->count < view->repeat;
        }
    }
    fputc('\n', text->out);
    if (fewer) {
        text_paragraph(text, 2, 4, "* of fewer runs than %lu", (unsigned long)view->repeat);
    }
    print_failures(text, view);
    json_array_foreach(json_object_get(view->result->json, "warnings"), index, warning)
    {
        text_paragraph(text, 2, 4, "warning: %s", json_string_value(warning));
    }
}

/* Lines that cross need fewer than the table has room for: the first ones are drawn. */
static int draw(const struct sweep_view *view, const struct sweep_screen *screen, FILE *out)
{
    const struct sweep_dimension *dimension = &view->plan->dimensions[0];
    size_t series = view->series < PLOT_SERIES_MAX ? view->series : PLOT_SERIES_MAX;
    double *x = calloc(view->rows, sizeof *x), *y = calloc(view->rows * series, sizeof *y);
    const char **texts = calloc(view->rows, sizeof *texts);
    char *names[PLOT_SERIES_MAX] = {NULL};
    struct plot_series lines[PLOT_SERIES_MAX];
    int result = x && y && texts ? 0 : -1;
    for (size_t s = 0; result == 0 && s < series; s++) {
        names[s] = sweep_view_series(view, s);
        lines[s] = (struct plot_series){names[s], y + s * view->rows};
        result = names[s] ? 0 : -1;
        for (size_t row = 0; row < view->rows; row++) {
            const struct sweep_figure *figure = sweep_view_cell(view, row, s);
            x[row] = dimension->values[row].number;
            texts[row] = dimension->values[row].text;
            y[s * view->rows + row] = figure ? figure->summary.median.value : NAN;
        }
    }
    if (result == 0) {
        const struct plot plot = {
            dimension->name, view->key,       view->unit, texts,        x, view->rows, lines,
            series,          screen->columns, PLOT_ROWS,  screen->ascii};
        fputc('\n', out);
        result = plot_print(&plot, out);
    }
    if (result == 0 && series < view->series) {
        fprintf(out, "  (the first %zu of %zu series)\n", series, view->series);
    }
    for (size_t s = 0; s < series; s++) {
        free(names[s]);
    }
    free(x);
    free(y);
    free(texts);
    return result;
}

int sweep_print_text(const struct sweep_view *view, const struct sweep_screen *screen, FILE *out,
                     struct err *error)
{
    struct text text = {.out = out};
    if (view->key) {
        print_title(&text, view);
        print_tables(&text, view);
        if (screen && view->rows > 1) {
            text.failed |= draw(view, screen, out) < 0;
        }
    }
    print_remarks(&text, view);
    if (text.failed) {
        return err_system(error, ENOMEM, "sweep", "cannot print the result");
    }
    return 0;
}

/* ---- CSV ---- */

/* The values of a run's point, in front of its figures. */
static int put_point(void *owner, size_t run, size_t dimension, FILE *out)
{
    const struct sweep_view *view = owner;
    return csv_put_text(out,
                        sweep_plan_value(view->plan, view->result->points[run], dimension)->text);
}

int sweep_print_csv(const struct sweep_view *view, char **text, size_t *length, struct err *error)
{
    const char *names[SWEEP_DIMENSIONS_MAX];
    for (size_t d = 0; d < view->plan->dimension_count; d++) {
        names[d] = view->plan->dimensions[d].name;
    }
    const struct result_lead lead = {names, view->plan->dimension_count, put_point,
                                     (void *)(uintptr_t)view};
    return result_csv(&view->result->result, &lead, text, length, error);
}
