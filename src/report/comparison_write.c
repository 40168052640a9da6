/* A comparison as JSON (sonde.comparison/1: docs/comparison.schema.json) and CSV. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/comparison.h"
#include "report/figures.h"
#include "report/json_build.h"

static json_t *build_interval(struct builder *builder, struct interval interval)
{
    json_t *object = build_object(builder);
    build_set(builder, object, "value", build_number(builder, interval.value));
    build_set(builder, object, "low", build_number(builder, interval.low));
    build_set(builder, object, "high", build_number(builder, interval.high));
    return object;
}

static const char *better_name(enum figure_better better)
{
    static const char *const names[] = {"neutral", "higher", "lower"};
    return names[better];
}

static json_t *build_figure(struct builder *builder, const struct compared *figure)
{
    const struct comparison *numbers = &figure->numbers;
    json_t *object = build_object(builder);
    build_set(builder, object, "key", build_text(builder, figure->key));
    build_set(builder, object, "unit", build_text(builder, figure->unit));
    build_set(builder, object, "better", build_text(builder, better_name(figure->better)));
    build_set(builder, object, "a_runs", build_count(builder, numbers->a_count));
    build_set(builder, object, "b_runs", build_count(builder, numbers->b_count));
    build_set(builder, object, "a_median", build_number(builder, numbers->a_median));
    build_set(builder, object, "b_median", build_number(builder, numbers->b_median));
    build_set(builder, object, "difference", build_interval(builder, numbers->difference));
    build_set(builder, object, "ratio", build_interval(builder, numbers->ratio));
    build_set(builder, object, "p", build_number(builder, numbers->p));
    build_set(builder, object, "different", json_boolean(numbers->different));
    build_set(builder, object, "different_corrected", json_boolean(figure->holds));
    build_set(builder, object, "tested", json_boolean(figure->tested));
    return object;
}

static json_t *build_group(struct builder *builder, const struct compared_group *group)
{
    json_t *object = build_object(builder), *figures = build_array(builder);
    for (size_t i = 0; i < group->figure_count; i++) {
        build_append(builder, figures, build_figure(builder, &group->figures[i]));
    }
    build_set(builder, object, "a_label", build_text(builder, group->a_label));
    build_set(builder, object, "b_label", build_text(builder, group->b_label));
    build_set(builder, object, "a_runs", build_count(builder, group->a_runs));
    build_set(builder, object, "b_runs", build_count(builder, group->b_runs));
    build_set(builder, object, "tests", build_count(builder, group->tests));
    build_set(builder, object, "figures", figures);
    return object;
}

static json_t *build_differences(struct builder *builder, const struct comparison_report *report)
{
    json_t *object = build_object(builder);
    for (size_t i = 0; i < report->difference_count; i++) {
        const struct comparison_difference *difference = &report->differences[i];
        json_t *values = build_object(builder);
        build_set(builder, values, "a", build_text(builder, difference->a));
        build_set(builder, values, "b", build_text(builder, difference->b));
        build_set(builder, object, difference->name, values);
    }
    return object;
}

static json_t *build_outcomes(struct builder *builder, const struct comparison_report *report)
{
    json_t *array = build_array(builder);
    for (size_t i = 0; i < report->outcome_count; i++) {
        const struct comparison_outcome *outcome = &report->outcomes[i];
        json_t *object = build_object(builder);
        build_set(builder, object, "condition", build_text(builder, outcome->condition->text));
        build_set(builder, object, "comparison", build_count(builder, outcome->group));
        build_set(builder, object, "figure", build_text(builder, outcome->figure->key));
        build_set(builder, object, "met", json_boolean(outcome->holds));
        build_append(builder, array, object);
    }
    return array;
}

static json_t *build_report(struct builder *builder, const struct comparison_report *report)
{
    json_t *object = build_object(builder), *warnings = build_array(builder);
    json_t *groups = build_array(builder);
    for (size_t i = 0; i < report->warning_count; i++) {
        build_append(builder, warnings, build_text(builder, report->warnings[i]));
    }
    for (size_t i = 0; i < report->group_count; i++) {
        build_append(builder, groups, build_group(builder, &report->groups[i]));
    }
    build_set(builder, object, "schema", build_text(builder, COMPARISON_SCHEMA));
    build_set(builder, object, "complete", json_boolean(report->complete));
    build_set(builder, object, "a", build_text(builder, report->a_name));
    build_set(builder, object, "b", build_text(builder, report->b_name));
    build_set(builder, object, "operation", build_text(builder, report->operation));
    build_set(builder, object, "interleaved", json_boolean(report->paired));
    build_set(builder, object, "warnings", warnings);
    build_set(builder, object, "options_that_differ", build_differences(builder, report));
    build_set(builder, object, "comparisons", groups);
    build_set(builder, object, "conditions", build_outcomes(builder, report));
    return object;
}

int comparison_print_json(const struct comparison_report *report, FILE *out, struct err *error)
{
    struct builder builder = {0};
    json_t *root = build_report(&builder, report);
    bool whole = !builder.failed && !builder.duplicate &&
                 json_dumpf(root, out, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) == 0;
    json_decref(root);
    if (!whole) {
        return err_system(error, ENOMEM, "JSON", "cannot be made");
    }
    fputc('\n', out);
    return figures_finish(out, "JSON", error);
}

/* ---- CSV ---- */

static void put_text(const char *text, FILE *out)
{
    if (!text[strcspn(text, ",\"\r\n")]) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text++) {
        fprintf(out, *text == '"' ? "\"%c" : "%c", *text);
    }
    fputc('"', out);
}

static void put_number(double value, FILE *out)
{
    fputc(',', out);
    if (isfinite(value)) {
        fprintf(out, "%.15g", value);
    }
}

int comparison_print_csv(const struct comparison_report *report, FILE *out, struct err *error)
{
    fputs("a_label,b_label,figure,unit,better,a_runs,b_runs,a_median,b_median,difference,"
          "difference_low,difference_high,ratio,ratio_low,ratio_high,p,different,"
          "different_corrected\n",
          out);
    for (size_t g = 0; g < report->group_count; g++) {
        const struct compared_group *group = &report->groups[g];
        for (size_t i = 0; i < group->figure_count; i++) {
            const struct compared *figure = &group->figures[i];
            const struct comparison *numbers = &figure->numbers;
            const double cells[] = {
                numbers->a_median,       numbers->b_median,        numbers->difference.value,
                numbers->difference.low, numbers->difference.high, numbers->ratio.value,
                numbers->ratio.low,      numbers->ratio.high,      numbers->p};
            put_text(group->a_label, out);
            fputc(',', out);
            put_text(group->b_label, out);
            fputc(',', out);
            put_text(figure->key, out);
            fprintf(out, ",%s,%s,%zu,%zu", figure->unit, better_name(figure->better),
                    numbers->a_count, numbers->b_count);
            for (size_t k = 0; k < sizeof cells / sizeof *cells; k++) {
                put_number(cells[k], out);
            }
            fprintf(out, ",%d,%d\n", numbers->different, figure->holds);
        }
    }
    return figures_finish(out, "CSV", error);
}
