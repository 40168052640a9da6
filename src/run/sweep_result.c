#include "run/sweep_result.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/sweep_record.h"

static int refuse_memory(struct err *error)
{
    return err_system(error, ENOMEM, "sweep", "cannot put the result together");
}

/* ---- summaries ---- */

/* A command that measures several engines gives several runs at a time, told apart by labels. */
static int find_labels(struct sweep_result *result, const struct sweep_state *state)
{
    size_t most = 0;
    for (size_t turn = 0; turn < state->turns; turn++) {
        size_t count = json_array_size(json_object_get(state->outcomes[turn], "runs"));
        most = count > most ? count : most;
    }
    result->labels = calloc(result->result.run_count + 1, sizeof *result->labels);
    if (!result->labels) {
        return -1;
    }
    result->labels[0] = "";
    result->label_count = 1;
    for (size_t i = 0; most > 1 && i < result->result.run_count; i++) {
        char *label = result->result.runs[i].label;
        size_t l = 0;
        if (!result->result.runs[i].complete) {
            continue; /* what has no record is labelled for that */
        }
        while (l < result->label_count && strcmp(result->labels[l], label) != 0) {
            l++;
        }
        if (l == result->label_count) {
            result->labels[result->label_count++] = label;
        }
    }
    if (result->label_count > 1) { /* without the empty one, which stands for any */
        result->label_count--;
        memmove(result->labels, result->labels + 1, result->label_count * sizeof *result->labels);
    }
    return 0;
}

/* The runs of one summary, in the order in which they were made. */
struct group {
    const struct result_run **runs;
    size_t count;
};

static int summarise_figure(struct sweep_summary *summary, const struct group *group,
                            const struct figure *figure, double *values)
{
    size_t count = 0;
    for (size_t i = 0; i < group->count; i++) {
        double value = result_value(group->runs[i], figure->key);
        if (isfinite(value)) {
            values[count++] = value;
        }
    }
    size_t have = summary->figure_count;
    if ((have & (have - 1)) == 0) {
        struct sweep_figure *figures =
            reallocarray(summary->figures, have ? have * 2 : 1, sizeof *figures);
        if (!figures) {
            return -1;
        }
        summary->figures = figures;
    }
    struct repeat_summary none = {{NAN, NAN, NAN}, NAN, NAN, NAN};
    summary->figures[summary->figure_count++] =
        (struct sweep_figure){.key = figure->key,
                              .unit = figure->unit,
                              .count = count,
                              .summary = count ? repeat_summarise(values, count) : none};
    return 0;
}

/* Every figure that any of the runs has. */
static int summarise_group(struct sweep_summary *summary, const struct group *group)
{
    double *values = calloc(group->count + 1, sizeof *values);
    json_t *seen = json_object();
    int result = values && seen ? 0 : -1;
    for (size_t i = 0; result == 0 && i < group->count; i++) {
        for (size_t f = 0; result == 0 && f < group->runs[i]->figure_count; f++) {
            const struct figure *figure = &group->runs[i]->figures[f];
            if (!json_object_get(seen, figure->key)) {
                result = json_object_set_new(seen, figure->key, json_true());
                result = result ? result : summarise_figure(summary, group, figure, values);
            }
        }
    }
    json_decref(seen);
    free(values);
    return result;
}

static bool belongs(const struct sweep_result *result, size_t run, size_t point, const char *label)
{
    return result->points[run] == point &&
           (!*label || strcmp(result->result.runs[run].label, label) == 0);
}

/* Indexes of the runs, those of a point together and in order: a counting sort. */
static size_t *sort_by_point(const struct sweep_result *result, size_t points, size_t *starts)
{
    size_t count = result->result.run_count, *order = calloc(count + 1, sizeof *order);
    for (size_t i = 0; order && i < count; i++) {
        starts[result->points[i] + 1]++;
    }
    for (size_t p = 0; p < points; p++) {
        starts[p + 1] += starts[p];
    }
    for (size_t i = count; order && i-- > 0;) {
        order[--starts[result->points[i] + 1]] = i;
    }
    return order;
}

static int summarise_point(struct sweep_result *result, size_t point, const size_t *runs,
                           size_t count)
{
    struct group group = {.runs = calloc(count + 1, sizeof(struct result_run *))};
    int status = group.runs ? 0 : -1;
    for (size_t l = 0; status == 0 && l < result->label_count; l++) {
        struct sweep_summary *summary = &result->summaries[result->summary_count];
        *summary = (struct sweep_summary){.point = point, .label = result->labels[l]};
        group.count = 0;
        for (size_t i = 0; i < count; i++) {
            const struct result_run *run = &result->result.runs[runs[i]];
            if (!belongs(result, runs[i], point, summary->label) || run->discarded) {
                continue;
            }
            if (run->complete) {
                summary->only_label = run->label;
                group.runs[group.count++] = run;
            } else {
                summary->failed++;
            }
        }
        summary->runs = group.count;
        if (group.count || summary->failed) {
            result->summary_count++;
            status = summarise_group(summary, &group);
        }
    }
    free(group.runs);
    return status;
}

static int make_summaries(struct sweep_result *result, size_t points)
{
    size_t *starts = calloc(points + 2, sizeof *starts);
    size_t *order = starts ? sort_by_point(result, points, starts) : NULL;
    int status = order ? 0 : -1;
    result->summaries = calloc(points * result->label_count + 1, sizeof *result->summaries);
    if (!result->summaries) {
        status = -1;
    }
    for (size_t p = 0; status == 0 && p < points; p++) {
        /* The sort has moved each start to the place of the point before it. */
        size_t end = p + 1 < points ? starts[p + 2] : result->result.run_count;
        status = summarise_point(result, p, order + starts[p + 1], end - starts[p + 1]);
    }
    free(order);
    free(starts);
    return status;
}

static json_t *number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *figure_json(const struct sweep_figure *figure)
{
    const struct repeat_summary *summary = &figure->summary;
    return json_pack("{s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "unit", figure->unit, "count",
                     (json_int_t)figure->count, "median", number_or_null(summary->median.value),
                     "low", number_or_null(summary->median.low), "high",
                     number_or_null(summary->median.high), "least", number_or_null(summary->least),
                     "most", number_or_null(summary->most), "deviation",
                     number_or_null(summary->deviation));
}

static int set_summaries(struct sweep_result *result, const struct sweep_plan *plan)
{
    json_t *all = json_array();
    int status = all ? 0 : -1;
    for (size_t i = 0; status == 0 && i < result->summary_count; i++) {
        const struct sweep_summary *summary = &result->summaries[i];
        json_t *metrics = summary->runs ? json_object() : NULL;
        if (!summary->runs) {
            continue;
        }
        for (size_t f = 0; metrics && f < summary->figure_count; f++) {
            status |= json_object_set_new(metrics, summary->figures[f].key,
                                          figure_json(&summary->figures[f]));
        }
        const char *label = *summary->label ? summary->label : summary->only_label;
        status |=
            json_array_append_new(all, json_pack("{s:s, s:o, s:I, s:o}", "label", label, "point",
                                                 sweep_point_json(plan, summary->point), "runs",
                                                 (json_int_t)summary->runs, "metrics", metrics));
    }
    if (status == 0 && json_array_size(all)) {
        status = json_object_set(result->json, "summaries", all);
    }
    json_decref(all);
    return status;
}

/* ---- what the order of the runs tells ---- */

/* Each headline as a share of the median of its point, so that all points can be looked at
 * together; NaN where it does not count. */
static double share_of_median(const struct sweep_result *result, size_t run)
{
    const struct result_run *own = &result->result.runs[run];
    if (own->discarded || !own->complete || !own->figure_count) {
        return NAN;
    }
    for (size_t l = 0; l < result->label_count; l++) {
        const char *label = result->labels[l];
        if (belongs(result, run, result->points[run], label)) {
            const struct sweep_figure *figure = sweep_summary_find(
                sweep_result_find(result, result->points[run], label), own->figures[0].key);
            return figure ? own->figures[0].value / figure->summary.median.value : NAN;
        }
    }
    return NAN;
}

/* Marks the runs of one summary that lie far out. */
static int mark_outliers(struct sweep_result *result, const size_t *runs, size_t count,
                         const double *shares)
{
    double *values = calloc(count + 1, sizeof *values);
    bool *far = calloc(count + 1, sizeof *far);
    int status = values && far ? 0 : -1;
    for (size_t i = 0; status == 0 && i < count; i++) {
        values[i] = shares[runs[i]];
    }
    if (status == 0) {
        result->outliers += repeat_outliers(values, count, far);
    }
    for (size_t i = 0; status == 0 && i < count; i++) {
        json_t *run = json_array_get(json_object_get(result->json, "runs"), runs[i]);
        status = json_object_set_new(run, "outlier", json_boolean(far[i]));
    }
    free(values);
    free(far);
    return status;
}

/* All of a summary's runs that count, with mark_outliers for them. */
static int look_at_points(struct sweep_result *result, const double *shares)
{
    size_t count = result->result.run_count,
           *starts = calloc(result->point_count + 2, sizeof *starts);
    size_t *order = starts ? sort_by_point(result, result->point_count, starts) : NULL;
    size_t *runs = calloc(count + 1, sizeof *runs);
    int status = order && runs ? 0 : -1;
    for (size_t first = 0; status == 0 && first < count;) {
        size_t point = result->points[order[first]], end = first;
        while (end < count && result->points[order[end]] == point) {
            end++;
        }
        for (size_t l = 0; status == 0 && l < result->label_count; l++) {
            size_t kept = 0;
            for (size_t i = first; i < end; i++) {
                if (belongs(result, order[i], point, result->labels[l]) &&
                    isfinite(shares[order[i]])) {
                    runs[kept++] = order[i];
                }
            }
            status = mark_outliers(result, runs, kept, shares);
        }
        first = end;
    }
    free(runs);
    free(order);
    free(starts);
    return status;
}

/* Comparing all pairs takes the square of their number. */
#define DRIFT_RUNS_MAX 10000

/* Warns of runs far out and of a drift that went through the whole sweep. */
static int look_at_order(struct sweep_result *result)
{
    size_t count = result->result.run_count, kept = 0;
    double *shares = calloc(count + 1, sizeof *shares);
    json_t *warnings = json_object_get(result->json, "warnings");
    int status = shares ? 0 : -1;
    for (size_t i = 0; shares && i < count; i++) {
        shares[i] = share_of_median(result, i);
    }
    status = status ? status : look_at_points(result, shares);
    for (size_t i = 0; shares && i < count; i++) {
        if (isfinite(shares[i])) {
            shares[kept++] = shares[i];
        }
    }
    if (status == 0 && result->outliers) {
        status = json_array_append_new(
            warnings, json_sprintf("%zu of %zu runs lie far from the median of their point",
                                   result->outliers, kept));
    }
    if (status == 0 && kept > 1 && kept <= DRIFT_RUNS_MAX) {
        size_t third = kept / 3;
        if (repeat_drift(shares, kept).seen) {
            double change =
                summary_median(shares + kept - third, third) / summary_median(shares, third) - 1;
            status = json_array_append_new(
                warnings, json_sprintf("the machine drifted: over all points, the last third of "
                                       "the runs has a headline %.1f %% %s than the first third",
                                       fabs(change) * 100, change < 0 ? "lower" : "higher"));
        }
    }
    free(shares);
    return status;
}

int sweep_result_make(struct sweep_result *result, const struct sweep_plan *plan,
                      const struct sweep_turn *turns, const struct sweep_state *state,
                      const struct record *record, struct err *error)
{
    *result = (struct sweep_result){.point_count = plan->points};
    if (sweep_record_make(result, plan, turns, state, record) < 0) {
        return refuse_memory(error);
    }
    if (result_from_json(result->json, "sweep", &result->result, error) < 0) {
        return -1;
    }
    if (find_labels(result, state) < 0 || make_summaries(result, plan->points) < 0 ||
        set_summaries(result, plan) < 0 || look_at_order(result) < 0) {
        return refuse_memory(error);
    }
    return 0;
}

void sweep_result_release(struct sweep_result *result)
{
    for (size_t i = 0; i < result->summary_count; i++) {
        free(result->summaries[i].figures);
    }
    free(result->summaries);
    free(result->labels);
    free(result->points);
    result_release(&result->result);
    json_decref(result->json);
    *result = (struct sweep_result){0};
}

const struct sweep_summary *sweep_result_find(const struct sweep_result *result, size_t point,
                                              const char *label)
{
    size_t low = 0, high = result->summary_count;
    while (low < high) { /* they are in the order of their points */
        size_t middle = low + (high - low) / 2;
        if (result->summaries[middle].point < point) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < result->summary_count && result->summaries[low].point == point; low++) {
        if (strcmp(result->summaries[low].label, label) == 0) {
            return &result->summaries[low];
        }
    }
    return NULL;
}

const struct sweep_figure *sweep_summary_find(const struct sweep_summary *summary, const char *key)
{
    for (size_t i = 0; summary && i < summary->figure_count; i++) {
        if (strcmp(summary->figures[i].key, key) == 0) {
            return &summary->figures[i];
        }
    }
    return NULL;
}
