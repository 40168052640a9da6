#include "report/comparison.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* One run of a side, under the label that it is grouped by. */
struct member {
    char *label; /* owned */
    const struct result_run *run;
};

struct members {
    struct member *items;
    size_t count;
    size_t discarded, incomplete;
};

static int no_memory(struct err *error)
{
    return err_system(error, ENOMEM, "comparison", "cannot be made");
}

static void release_members(struct members *members)
{
    for (size_t i = 0; i < members->count; i++) {
        free(members->items[i].label);
    }
    free(members->items);
    *members = (struct members){0};
}

/* All runs but the discarded ones; those that are not complete keep their place, so that pairs
 * stay pairs. */
static int collect(const struct comparison_side *side, struct members *members)
{
    size_t room = 0;
    for (size_t i = 0; i < side->result_count; i++) {
        room += side->results[i].run_count;
    }
    members->items = calloc(room ? room : 1, sizeof *members->items);
    if (!members->items) {
        return -1;
    }
    for (size_t i = 0; i < side->result_count; i++) {
        for (size_t k = 0; k < side->results[i].run_count; k++) {
            const struct result_run *run = &side->results[i].runs[k];
            struct member *member = &members->items[members->count];
            if (run->discarded) {
                members->discarded++;
                continue;
            }
            if (asprintf(&member->label, "%s%s%s", run->label, run->point ? " " : "",
                         run->point ? run->point : "") < 0) {
                member->label = NULL;
                return -1;
            }
            member->run = run;
            members->incomplete += !run->complete;
            members->count++;
        }
    }
    return 0;
}

static bool usable(const struct result_run *run)
{
    return run->complete && run->figure_count > 0;
}

/* The runs of one label, in order. */
struct row {
    const struct result_run **runs; /* owned */
    size_t count;
};

static int row_of(const struct members *members, const char *label, struct row *row)
{
    row->runs = calloc(members->count ? members->count : 1, sizeof(struct result_run *));
    row->count = 0;
    if (!row->runs) {
        return -1;
    }
    for (size_t i = 0; i < members->count; i++) {
        if (strcmp(members->items[i].label, label) == 0) {
            row->runs[row->count++] = members->items[i].run;
        }
    }
    return 0;
}

/* Leaves out what is not usable: of pairs both. */
static void keep_usable(struct row *a, struct row *b, bool paired)
{
    size_t kept = 0, other = 0;
    if (paired) {
        for (size_t i = 0; i < a->count && i < b->count; i++) {
            if (usable(a->runs[i]) && usable(b->runs[i])) {
                a->runs[kept] = a->runs[i];
                b->runs[kept++] = b->runs[i];
            }
        }
        a->count = b->count = kept;
        return;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (usable(a->runs[i])) {
            a->runs[kept++] = a->runs[i];
        }
    }
    for (size_t i = 0; i < b->count; i++) {
        if (usable(b->runs[i])) {
            b->runs[other++] = b->runs[i];
        }
    }
    a->count = kept;
    b->count = other;
}

/* ---- figures ---- */

/* "client.cpu_ns_per_call" is a cost, "response_time.p99" is none. */
static bool is_cost(const char *key)
{
    static const char *const summaries[] = {"mean", "p50", "p90", "p99", "p99.9", "max"};
    const char *dot = strchr(key, '.');
    for (size_t i = 0; dot && i < sizeof summaries / sizeof *summaries; i++) {
        if (strcmp(dot + 1, summaries[i]) == 0) {
            return false;
        }
    }
    return dot != NULL || strncmp(key, "cpu_ns_per_", 11) == 0;
}

/* Keys of all runs of both sides, each once, in the order of first appearance. */
static size_t gather_keys(const struct row *rows, const struct figure ***keys)
{
    size_t count = 0, room = 0;
    json_t *seen = json_object();
    for (size_t s = 0; s < 2; s++) {
        for (size_t i = 0; i < rows[s].count; i++) {
            room += rows[s].runs[i]->figure_count;
        }
    }
    *keys = calloc(room ? room : 1, sizeof **keys);
    for (size_t s = 0; s < 2 && *keys && seen; s++) {
        for (size_t i = 0; i < rows[s].count; i++) {
            const struct result_run *run = rows[s].runs[i];
            for (size_t k = 0; k < run->figure_count; k++) {
                if (!json_object_get(seen, run->figures[k].key)) {
                    json_object_set_new(seen, run->figures[k].key, json_true());
                    (*keys)[count++] = &run->figures[k];
                }
            }
        }
    }
    if (!seen) {
        free(*keys);
        *keys = NULL;
    }
    json_decref(seen);
    return count;
}

/* Values of one figure on both sides; runs that do not have it are left out, of pairs both. */
struct values {
    double *a, *b;
    size_t a_count, b_count;
};

static void read_values(const struct row *rows, const char *key, bool paired, struct values *values)
{
    values->a_count = values->b_count = 0;
    if (paired) {
        for (size_t i = 0; i < rows[0].count; i++) {
            double a = result_value(rows[0].runs[i], key), b = result_value(rows[1].runs[i], key);
            if (isfinite(a) && isfinite(b)) {
                values->a[values->a_count++] = a;
                values->b[values->b_count++] = b;
            }
        }
        return;
    }
    for (size_t i = 0; i < rows[0].count; i++) {
        double a = result_value(rows[0].runs[i], key);
        if (isfinite(a)) {
            values->a[values->a_count++] = a;
        }
    }
    for (size_t i = 0; i < rows[1].count; i++) {
        double b = result_value(rows[1].runs[i], key);
        if (isfinite(b)) {
            values->b[values->b_count++] = b;
        }
    }
}

/* All values the same: there is nothing to test. It depends on both samples taken together only,
 * and so may decide what is tested. */
static bool constant(const struct values *values)
{
    for (size_t i = 0; i < values->a_count; i++) {
        if (values->a[i] != values->a[0]) {
            return false;
        }
    }
    for (size_t i = 0; i < values->b_count; i++) {
        if (values->b[i] != values->a[0]) {
            return false;
        }
    }
    return true;
}

/* A number that stands for all values, to find copies. */
static uint64_t digest(const struct values *values)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325), bits;
    for (size_t i = 0; i < values->a_count + values->b_count; i++) {
        double value = i < values->a_count ? values->a[i] : values->b[i - values->a_count];
        memcpy(&bits, &value, sizeof bits);
        sum = (sum ^ bits) * UINT64_C(0x100000001b3);
        sum ^= sum >> 29;
    }
    return sum;
}

/* The same all the life of a process, or of those that it forks: of runs that one process made, it
 * says nothing of chance. */
static bool of_the_process(const char *key)
{
    static const char *const tails[] = {"rss_bytes",    "memory_before", "virtual_before",
                                        "memory_least", "memory_peak",   "memory_average",
                                        "virtual_peak", "memory_samples"};
    size_t length = strlen(key);
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        size_t own = strlen(tails[i]);
        if (length >= own && strcmp(key + length - own, tails[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int compare_figure(const struct figure *figure, const struct values *values, bool paired,
                          struct compared *to)
{
    /* Any seed would do, as long as it is the same each time. */
    const uint64_t seed = 1;
    *to = (struct compared){.key = figure->key,
                            .unit = figure->unit,
                            .better = figure->better,
                            .cost = is_cost(figure->key),
                            .tested = !constant(values)};
    return paired ? compare_pairs(values->a, values->b, values->a_count, seed, &to->numbers)
                  : compare_samples(values->a, values->a_count, values->b, values->b_count, seed,
                                    &to->numbers);
}

/* Costs for each KiB repeat those for each operation where operations move the same bytes. */
static bool repeats(const struct row *rows, const char *key, const char *operation)
{
    size_t length = strlen(key), tail = strlen("_per_kib");
    const char *dot = strchr(key, '.');
    char bytes[256];
    if (!dot || length < tail || strcmp(key + length - tail, "_per_kib") != 0) {
        return false;
    }
    snprintf(bytes, sizeof bytes, "%.*s.bytes_per_%s", (int)(dot - key), key, operation);
    double a = result_value(rows[0].runs[0], bytes), b = result_value(rows[1].runs[0], bytes);
    return a > 0 && fabs(b / a - 1) < 0.1;
}

static void correct(struct compared_group *group, double *p, bool *holds)
{
    for (size_t i = 0; i < group->figure_count; i++) {
        const struct compared *figure = &group->figures[i];
        p[i] = i > 0 && figure->tested ? figure->numbers.p : NAN; /* the headline stands alone */
    }
    group->tests = compare_holm(p, group->figure_count, holds);
    for (size_t i = 0; i < group->figure_count; i++) {
        struct compared *figure = &group->figures[i];
        figure->holds = figure->copy ? group->figures[figure->original].holds
                                     : figure->numbers.different && (i == 0 || holds[i]);
    }
}

static int fill_figures(const struct row *rows, const struct figure **keys, size_t count,
                        const char *operation, bool paired, struct compared_group *group)
{
    /* Only sweeps start a process for each run. */
    bool one_process = !paired && (!rows[0].runs[0]->point || !rows[1].runs[0]->point);
    size_t most = rows[0].count > rows[1].count ? rows[0].count : rows[1].count;
    struct values values = {calloc(most, sizeof(double)), calloc(most, sizeof(double)), 0, 0};
    uint64_t *digests = calloc(count, sizeof *digests);
    double *p = calloc(count, sizeof *p);
    bool *holds = calloc(count, sizeof *holds);
    group->figures = calloc(count, sizeof *group->figures);
    int result = values.a && values.b && digests && p && holds && group->figures ? 0 : -1;
    for (size_t i = 0; i < count && result == 0; i++) {
        read_values(rows, keys[i]->key, paired, &values);
        if (i > 0 &&
            (!values.a_count || !values.b_count || repeats(rows, keys[i]->key, operation))) {
            continue;
        }
        struct compared *figure = &group->figures[group->figure_count];
        result = compare_figure(keys[i], &values, paired, figure);
        uint64_t own = digest(&values);
        for (size_t k = 0; k < group->figure_count && figure->tested && !figure->copy; k++) {
            figure->copy = digests[k] == own;
            figure->original = k;
        }
        if (one_process && of_the_process(figure->key)) {
            figure->numbers.different = figure->tested = false;
        }
        figure->tested = figure->tested && !figure->copy && !isnan(figure->numbers.p);
        digests[group->figure_count++] = own;
    }
    if (result == 0) {
        correct(group, p, holds);
    }
    free(values.a);
    free(values.b);
    free(digests);
    free(p);
    free(holds);
    return result;
}

/* ---- groups ---- */

static int add_group(struct comparison_report *report, const struct members *members,
                     const char *a_label, const char *b_label)
{
    struct row rows[2] = {{NULL, 0}, {NULL, 0}};
    const struct figure **keys = NULL;
    struct compared_group *group = &report->groups[report->group_count];
    int result =
        row_of(&members[0], a_label, &rows[0]) || row_of(&members[1], b_label, &rows[1]) ? -1 : 0;
    if (result == 0) {
        bool pairs = report->paired && rows[0].count == rows[1].count;
        keep_usable(&rows[0], &rows[1], pairs);
        if (rows[0].count && rows[1].count) {
            *group = (struct compared_group){.a_label = strdup(a_label),
                                             .b_label = strdup(b_label),
                                             .a_runs = rows[0].count,
                                             .b_runs = rows[1].count};
            report->group_count++;
            size_t count = gather_keys(rows, &keys);
            result = group->a_label && group->b_label && keys
                         ? fill_figures(rows, keys, count, report->operation, pairs, group)
                         : -1;
        }
    }
    free(rows[0].runs);
    free(rows[1].runs);
    free(keys);
    return result;
}

/* Among the first `count` of them. */
static bool has_label(const struct members *members, size_t count, const char *label)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(members->items[i].label, label) == 0) {
            return true;
        }
    }
    return false;
}

/* The label at `index` stands there for the first time. */
static bool is_first(const struct members *members, size_t index)
{
    return !has_label(members, index, members->items[index].label);
}

static size_t count_labels(const struct members *members)
{
    size_t count = 0;
    for (size_t i = 0; i < members->count; i++) {
        count += is_first(members, i);
    }
    return count;
}

static int warn_left_out(struct comparison_report *report, const struct members *members,
                         const struct members *other, const char *side)
{
    int result = 0;
    for (size_t i = 0; i < members->count && result == 0; i++) {
        if (is_first(members, i) && !has_label(other, other->count, members->items[i].label)) {
            result = comparison_warn(report, "'%s' of %s has no counterpart: left out",
                                     members->items[i].label, side);
        }
    }
    return result;
}

static int build_groups(struct comparison_report *report, const struct members *members)
{
    report->groups = calloc(members[0].count + 1, sizeof *report->groups);
    if (!report->groups) {
        return -1;
    }
    if (count_labels(&members[0]) == 1 && count_labels(&members[1]) == 1) {
        return add_group(report, members, members[0].items[0].label, members[1].items[0].label);
    }
    for (size_t i = 0; i < members[0].count; i++) {
        const char *label = members[0].items[i].label;
        if (is_first(&members[0], i) && has_label(&members[1], members[1].count, label) &&
            add_group(report, members, label, label) != 0) {
            return -1;
        }
    }
    return warn_left_out(report, &members[0], &members[1], "A") ||
                   warn_left_out(report, &members[1], &members[0], "B")
               ? -1
               : 0;
}

int comparison_warn(struct comparison_report *report, const char *format, ...)
{
    char *text = NULL;
    va_list list;
    char **warnings = reallocarray(report->warnings, report->warning_count + 1, sizeof *warnings);
    if (!warnings) {
        return -1;
    }
    report->warnings = warnings;
    va_start(list, format);
    int length = vasprintf(&text, format, list);
    va_end(list);
    if (length < 0) {
        return -1;
    }
    report->warnings[report->warning_count++] = text;
    return 0;
}

/* ---- what else differs ---- */

static const char *shown(const json_t *value, char *to, size_t size)
{
    if (json_is_string(value)) {
        return json_string_value(value);
    }
    snprintf(to, size, "%.15g", json_number_value(value));
    return json_is_number(value) ? to : "unknown";
}

static int warn_machines(struct comparison_report *report, const json_t *a, const json_t *b)
{
    static const char *const keys[] = {"kernel",      "architecture",  "cpu",
                                       "cores",       "cores_allowed", "governor",
                                       "mitigations", "hypervisor",    "cgroup_cpu_quota"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char first[32], second[32];
        const char *of_a =
            shown(json_object_get(json_object_get(a, "machine"), keys[i]), first, sizeof first);
        const char *of_b =
            shown(json_object_get(json_object_get(b, "machine"), keys[i]), second, sizeof second);
        if (strcmp(of_a, of_b) != 0 &&
            comparison_warn(report, "the machines differ: %s is '%s' (A), '%s' (B)", keys[i], of_a,
                            of_b) != 0) {
            return -1;
        }
    }
    return 0;
}

/* Options that only say where results go, or how many. */
static bool of_no_matter(const char *name)
{
    static const char *const names[] = {"json",        "csv",  "quiet", "repeat", "warmup-runs",
                                        "openmetrics", "hlog", "hgrm",  "live"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int add_difference(struct comparison_report *report, const char *name, const json_t *a,
                          const json_t *b)
{
    char first[32], second[32];
    struct comparison_difference *all =
        reallocarray(report->differences, report->difference_count + 1, sizeof *all);
    if (!all) {
        return -1;
    }
    report->differences = all;
    struct comparison_difference *one = &all[report->difference_count++];
    *one = (struct comparison_difference){strdup(name),
                                          strdup(a ? shown(a, first, sizeof first) : "(none)"),
                                          strdup(b ? shown(b, second, sizeof second) : "(none)")};
    return one->name && one->a && one->b ? 0 : -1;
}

static int list_differences(struct comparison_report *report, const json_t *a, const json_t *b)
{
    json_t *of_a = json_object_get(a, "options"), *of_b = json_object_get(b, "options"), *value;
    const char *name;
    json_object_foreach(of_a, name, value)
    {
        json_t *other = json_object_get(of_b, name);
        if (!of_no_matter(name) && !json_equal(value, other) &&
            add_difference(report, name, value, other) != 0) {
            return -1;
        }
    }
    json_object_foreach(of_b, name, value)
    {
        if (!of_no_matter(name) && !json_object_get(of_a, name) &&
            add_difference(report, name, NULL, value) != 0) {
            return -1;
        }
    }
    return 0;
}

static int warn_incomplete(struct comparison_report *report, const struct members *members)
{
    for (size_t s = 0; s < 2; s++) {
        size_t count = members[s].incomplete;
        if (count &&
            comparison_warn(report, "%zu run%s of %s %s not complete: left out", count,
                            count == 1 ? "" : "s", s ? "B" : "A", count == 1 ? "is" : "are") != 0) {
            return -1;
        }
        report->complete = report->complete && count == 0;
    }
    return 0;
}

/* ---- all of it ---- */

static int build(const struct comparison_side *a, const struct comparison_side *b,
                 struct members *members, struct comparison_report *report, struct err *error)
{
    const json_t *first = a->results[0].json, *second = b->results[0].json;
    if (collect(a, &members[0]) != 0 || collect(b, &members[1]) != 0 ||
        warn_machines(report, first, second) != 0 || list_differences(report, first, second) != 0 ||
        warn_incomplete(report, members) != 0 || build_groups(report, members) != 0) {
        return no_memory(error);
    }
    for (size_t s = 0; s < 2; s++) {
        if (members[s].count == members[s].incomplete) {
            return err_set(error, ERR_USAGE, s ? b->name : a->name,
                           "holds no complete run to compare");
        }
    }
    if (report->group_count == 0) {
        err_set(error, ERR_USAGE, "compare", "no label stands in both");
        return err_hint(error, "A has '%s', B has '%s'", members[0].items[0].label,
                        members[1].items[0].label);
    }
    return 0;
}

int comparison_build(const struct comparison_side *a, const struct comparison_side *b, bool paired,
                     struct comparison_report *report, struct err *error)
{
    struct members members[2] = {{0}, {0}};
    *report = (struct comparison_report){
        .a_name = a->name, .b_name = b->name, .paired = paired, .complete = true};
    if (!a->result_count || !b->result_count) {
        return err_set(error, ERR_USAGE, "compare", "has no runs to compare");
    }
    report->operation = a->results[0].operation;
    if (strcmp(report->operation, b->results[0].operation) != 0) {
        err_set(error, ERR_USAGE, "compare", "cannot compare different workloads");
        return err_hint(error, "the operation is '%s' in A, '%s' in B", report->operation,
                        b->results[0].operation);
    }
    int result = build(a, b, members, report, error);
    release_members(&members[0]);
    release_members(&members[1]);
    if (result != 0) {
        comparison_release(report);
    }
    return result;
}

void comparison_release(struct comparison_report *report)
{
    for (size_t i = 0; i < report->group_count; i++) {
        free(report->groups[i].a_label);
        free(report->groups[i].b_label);
        free(report->groups[i].figures);
    }
    for (size_t i = 0; i < report->warning_count; i++) {
        free(report->warnings[i]);
    }
    for (size_t i = 0; i < report->difference_count; i++) {
        free(report->differences[i].name);
        free(report->differences[i].a);
        free(report->differences[i].b);
    }
    free(report->groups);
    free(report->warnings);
    free(report->differences);
    free(report->outcomes);
    *report = (struct comparison_report){0};
}
