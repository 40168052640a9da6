/* A comparison for people: one line that says it, then what changed, then what it may depend on. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/comparison.h"
#include "report/figures.h"
#include "report/text.h"

#define CELL 64

static const char *p_text(char *to, size_t size, double p)
{
    if (isnan(p)) {
        snprintf(to, size, "-");
    } else if (p < 0.001) {
        snprintf(to, size, "< 0.001");
    } else {
        snprintf(to, size, p < 0.1 ? "%.3f" : "%.2f", p);
    }
    return to;
}

/* "calls/s" for calls_per_second: a key as people say it. */
static void spoken(char *to, size_t size, const char *key)
{
    static const char per_second[] = "_per_second", per[] = "_per_";
    size_t length = strlen(key), tail = sizeof per_second - 1;
    if (length > tail && strcmp(key + length - tail, per_second) == 0) {
        snprintf(to, size, "%.*s/s", (int)(length - tail), key);
    } else {
        const char *at = strstr(key, per);
        snprintf(to, size, "%.*s%s%s", at ? (int)(at - key) : (int)length, key, at ? " per " : "",
                 at ? at + sizeof per - 1 : "");
    }
    for (char *c = to; *c; c++) {
        *c = *c == '_' ? ' ' : *c;
    }
}

static const char *runs_text(char *to, size_t size, const struct comparison *numbers)
{
    if (numbers->paired) {
        snprintf(to, size, "n = %zu pairs", numbers->a_count);
    } else {
        snprintf(to, size, "n = %zu + %zu", numbers->a_count, numbers->b_count);
    }
    return to;
}

/* Decimals such that two digits of the interval's width show; always two near 1. */
static int digits_for(struct interval interval)
{
    double width = interval.high - interval.low;
    int least = interval.value < 10 ? 2 : 0;
    int digits = width > 0 ? (int)ceil(1 - log10(width)) : least;
    return digits < least ? least : digits > 6 ? 6 : digits;
}

/* ---- the headline ---- */

static void print_different(struct text *text, const char *lead, const struct compared *figure,
                            const char *name, const char *rest)
{
    const struct comparison *numbers = &figure->numbers;
    struct interval ratio = numbers->ratio;
    char a[CELL], b[CELL], low[CELL], high[CELL];
    if (isfinite(ratio.value)) {
        int digits = digits_for(ratio);
        text_paragraph(text, 0, 2, "%sB is %.*fx A in %s (%.*f .. %.*f, 95 %%, %s)", lead, digits,
                       ratio.value, name, digits, ratio.low, digits, ratio.high, rest);
    } else {
        text_paragraph(text, 0, 2, "%sB differs from A in %s: %s, not %s (by %s .. %s, 95 %%, %s)",
                       lead, name, text_value(b, sizeof b, numbers->b_median, figure->unit),
                       text_value(a, sizeof a, numbers->a_median, figure->unit),
                       text_value(low, sizeof low, numbers->difference.low, figure->unit),
                       text_value(high, sizeof high, numbers->difference.high, figure->unit), rest);
    }
}

static void print_headline(struct text *text, const struct comparison_report *report,
                           const struct compared_group *group)
{
    const struct compared *figure = &group->figures[0];
    const struct comparison *numbers = &figure->numbers;
    char name[CELL], lead[220] = "", runs[CELL], p[CELL], rest[3 * CELL];
    spoken(name, sizeof name, figure->key);
    p_text(p, sizeof p, numbers->p);
    snprintf(rest, sizeof rest, "%s, p %s%s", runs_text(runs, sizeof runs, numbers),
             p[0] == '<' ? "" : "= ", p);
    if (strcmp(group->a_label, group->b_label) != 0) {
        snprintf(lead, sizeof lead, "%.100s (A), %.100s (B): ", group->a_label, group->b_label);
    } else if (report->group_count > 1) {
        snprintf(lead, sizeof lead, "%.200s: ", group->a_label);
    }
    if (isnan(numbers->p)) {
        size_t least = group->a_runs < group->b_runs ? group->a_runs : group->b_runs;
        text_paragraph(text, 0, 2,
                       "%sno statement is possible from %zu run%s: at least %d of each are needed "
                       "(--repeat; here %zu and %zu); the values alone:",
                       lead, least, least == 1 ? "" : "s", COMPARE_RUNS_LEAST, group->a_runs,
                       group->b_runs);
    } else if (numbers->different) {
        print_different(text, lead, figure, name, rest);
    } else if (isfinite(numbers->ratio.value)) {
        int digits = digits_for(numbers->ratio);
        text_paragraph(text, 0, 2, "%sno difference seen in %s (ratio %.*f, %.*f .. %.*f, %s)",
                       lead, name, digits, numbers->ratio.value, digits, numbers->ratio.low, digits,
                       numbers->ratio.high, rest);
    } else {
        text_paragraph(text, 0, 2, "%sno difference seen in %s (%s)", lead, name, rest);
    }
}

/* ---- tables ---- */

/* A ratio as a change in percent; where `factors`, as a factor. */
static void change_text(char *to, size_t size, double ratio, bool factors)
{
    double factor = ratio < 1 ? 1 / ratio : ratio, percent = (ratio - 1) * 100;
    if (!isfinite(factor)) {
        snprintf(to, size, "-");
    } else if (factors) {
        snprintf(to, size, ratio < 1 ? "1/%.*f" : "%.*fx", factor < 100 ? 1 : 0, factor);
    } else {
        snprintf(to, size, "%+.*f %%", fabs(percent) < 10 ? 1 : 0, percent);
    }
}

static const char *mark_of(const struct compared *figure)
{
    if (!figure->numbers.different) {
        return "";
    }
    if (!figure->holds) {
        return "maybe";
    }
    bool more = figure->numbers.difference.value > 0;
    return figure->better == FIGURE_NEUTRAL            ? "changed"
           : (figure->better == FIGURE_HIGHER) == more ? "better"
                                                       : "worse";
}

static void add_row(struct table *table, const struct compared *figure, bool decided)
{
    const struct comparison *numbers = &figure->numbers;
    char a[CELL], b[CELL], change[CELL] = "", low[CELL], high[CELL], p[CELL];
    table_cell(table, "%s", figure->key);
    table_cell(table, "%s", text_value(a, sizeof a, numbers->a_median, figure->unit));
    table_cell(table, "%s", text_value(b, sizeof b, numbers->b_median, figure->unit));
    if (!decided) {
        return;
    }
    bool ratio = isfinite(numbers->ratio.value);
    if (ratio) {
        bool factors = fabs(log(numbers->ratio.value)) >= log(10);
        change_text(change, sizeof change, numbers->ratio.value, factors);
        change_text(low, sizeof low, numbers->ratio.low, factors);
        change_text(high, sizeof high, numbers->ratio.high, factors);
    } else {
        text_value(change, sizeof change, numbers->difference.value, figure->unit);
        text_value(low, sizeof low, numbers->difference.low, figure->unit);
        text_value(high, sizeof high, numbers->difference.high, figure->unit);
    }
    table_cell(table, "%s", change);
    table_cell(table, "%s", isfinite(numbers->difference.low) ? low : "-");
    table_cell(table, "%s", isfinite(numbers->difference.low) ? high : "-");
    table_cell(table, "%s", p_text(p, sizeof p, numbers->p));
    table_cell(table, "%s", mark_of(figure));
}

/* How much a figure changed: distance of the logarithms; from nothing is the most. */
static double size_of_change(const struct compared *figure)
{
    const struct comparison *numbers = &figure->numbers;
    if (!numbers->different) {
        return -1;
    }
    return isfinite(numbers->ratio.value) ? fabs(log(numbers->ratio.value)) : INFINITY;
}

static int by_change(const void *left, const void *right)
{
    const struct compared *a = *(const struct compared *const *)left;
    const struct compared *b = *(const struct compared *const *)right;
    double of_a = a->holds ? size_of_change(a) + 1000 : size_of_change(a);
    double of_b = b->holds ? size_of_change(b) + 1000 : size_of_change(b);
    return of_a != of_b ? (of_a < of_b) - (of_a > of_b) : (a > b) - (a < b);
}

/* One table: the costs, or the metrics and times. Returns the rows printed. */
static size_t print_table(struct text *text, const struct comparison_report *report,
                          const struct compared_group *group, bool costs)
{
    const struct compared **rows = calloc(group->figure_count, sizeof *rows);
    bool decided = !isnan(group->figures[0].numbers.p);
    size_t count = 0;
    if (!rows) {
        text->failed = true;
        return 0;
    }
    for (size_t i = 0; i < group->figure_count; i++) {
        const struct compared *figure = &group->figures[i];
        bool wanted = report->show_all || !decided || i == 0 || figure->numbers.different;
        if (figure->cost == costs && wanted) {
            rows[count++] = figure;
        }
    }
    if (decided && count > 1) {
        size_t first = rows[0] == &group->figures[0]; /* the headline stays on top */
        qsort(rows + first, count - first, sizeof *rows, by_change);
    }
    if (count) {
        struct table table;
        table_init(&table, decided ? "lrrrrrrl" : "lrr");
        static const char *const heads[] = {"A", "B", "change", "from", "to", "p", ""};
        table_cell(&table, "%s", costs ? "kernel costs" : "metrics");
        for (size_t i = 0; i < (decided ? 7 : 2); i++) {
            table_cell(&table, "%s", heads[i]);
        }
        for (size_t i = 0; i < count; i++) {
            add_row(&table, rows[i], decided);
        }
        fputc('\n', text->out);
        table_print(&table, text);
    }
    free(rows);
    return count;
}

/* The least number of runs with which the strictest of `tests` tests could be passed at all: the
 * exact tests' smallest p is 2^(1-n) for n pairs, and 2 / C(2n, n) for n and n runs. */
static size_t least_runs(size_t tests, bool paired)
{
    double limit = 0.05 / (double)(tests ? tests : 1), smallest = 2;
    size_t runs = 0;
    while (smallest > limit && runs < 1000) {
        runs++;
        smallest *= paired ? 0.5 : (double)runs / (double)(2 * (2 * runs - 1));
    }
    return runs;
}

static void print_tests(struct text *text, const struct comparison_report *report,
                        const struct compared_group *group)
{
    size_t same = 0, maybe = 0, copies = 0;
    for (size_t i = 1; i < group->figure_count; i++) {
        const struct compared *figure = &group->figures[i];
        copies += figure->copy;
        same += !figure->numbers.different;
        maybe += figure->numbers.different && !figure->holds;
    }
    if (isnan(group->figures[0].numbers.p)) {
        return;
    }
    fputc('\n', text->out);
    if (!report->show_all && same) {
        text_paragraph(text, 2, 4, "no difference seen in %zu other figure%s (--all shows them)",
                       same, same == 1 ? "" : "s");
    }
    text_paragraph(text, 2, 4,
                   "%zu figure%s tested beside the headline%s; better, worse, changed: also after "
                   "Holm's correction for so many (5 %% for all together)%s",
                   group->tests, group->tests == 1 ? "" : "s",
                   copies ? ", those that hold the same numbers once" : "",
                   maybe ? "; maybe: only when looked at alone" : "");
    size_t runs = group->a_runs < group->b_runs ? group->a_runs : group->b_runs;
    size_t least = least_runs(group->tests, report->paired);
    if (maybe && runs < least) {
        text_paragraph(text, 2, 4,
                       "with %zu %s none of so many figures could pass it: at least %zu are needed",
                       runs, report->paired ? "pairs" : "runs of each", least);
    }
    if (report->paired) {
        text_paragraph(text, 2, 4,
                       "changes are medians over the pairs; those of A and B stand by themselves");
    }
}

static void print_differences(struct text *text, const struct comparison_report *report)
{
    for (size_t i = 0; i < report->difference_count; i++) {
        const struct comparison_difference *difference = &report->differences[i];
        text_paragraph(text, 2, 4, "option that differs: --%s is '%s' (A), '%s' (B)",
                       difference->name, difference->a, difference->b);
    }
}

static void print_outcomes(struct text *text, const struct comparison_report *report)
{
    for (size_t i = 0; i < report->outcome_count; i++) {
        const struct comparison_outcome *outcome = &report->outcomes[i];
        text_paragraph(text, 2, 4, "condition %s%s%s: %s (%s)", outcome->condition->text,
                       report->group_count > 1 ? ", " : "",
                       report->group_count > 1 ? report->groups[outcome->group].a_label : "",
                       outcome->holds ? "met: this fails" : "not met", outcome->figure->key);
    }
}

int comparison_print_text(const struct comparison_report *report, FILE *out, struct err *error)
{
    struct text text = {.out = out, .operation = report->operation};
    text_paragraph(&text, 0, 2, "A: %s", report->a_name);
    text_paragraph(&text, 0, 2, "B: %s", report->b_name);
    for (size_t i = 0; i < report->group_count; i++) {
        const struct compared_group *group = &report->groups[i];
        fputs(i ? "\n" : "", out);
        print_headline(&text, report, group);
        print_table(&text, report, group, true);
        print_table(&text, report, group, false);
        print_tests(&text, report, group);
    }
    fputs(report->difference_count + report->outcome_count + report->warning_count ? "\n" : "",
          out);
    print_differences(&text, report);
    print_outcomes(&text, report);
    if (!report->complete) {
        text_paragraph(&text, 2, 4, "partial: not all that was asked for was measured");
    }
    for (size_t i = 0; i < report->warning_count; i++) {
        text_paragraph(&text, 2, 4, "warning: %s", report->warnings[i]);
    }
    if (text.failed) {
        return err_system(error, ENOMEM, "comparison", "cannot be printed");
    }
    return figures_finish(out, "comparison", error);
}
