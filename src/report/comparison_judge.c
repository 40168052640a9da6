/* Conditions that a comparison must not meet: --fail-if. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/opt.h"
#include "base/units.h"
#include "report/comparison.h"

static const char accepted[] =
    "FIGURE > VALUE or FIGURE < VALUE, e.g. 'p99 > +5%', 'rate < -3%', 'calls_per_second < 100k'";

static int refuse(const char *text, struct err *error)
{
    err_set(error, ERR_USAGE, "--fail-if", "'%.100s' is no condition", text);
    return err_hint(error, "%s", accepted);
}

static bool parse_percent(const char *text, double *share)
{
    char *end;
    bool begins =
        isdigit((unsigned char)text[0]) || text[0] == '+' || text[0] == '-' || text[0] == '.';
    errno = 0;
    double value = begins ? strtod(text, &end) : 0;
    if (!begins || end == text || errno || !isfinite(value) ||
        strcmp(end + strspn(end, " "), "%") != 0) {
        return false;
    }
    *share = value / 100;
    return true;
}

/* A value of the figure's unit: "2ms" where it is a time, "64k" bytes, "100k" a rate or count. */
static bool parse_value(const char *text, const char *unit, double *value)
{
    uint64_t whole;
    char *end;
    if (strcmp(unit, "ns") == 0) {
        bool parsed = units_parse_duration(text, &whole) == 0;
        *value = parsed ? (double)whole : 0;
        return parsed && !isdigit((unsigned char)text[strlen(text) - 1]); /* 5 of what? */
    }
    if (strcmp(unit, "bytes") == 0 || strcmp(unit, "bytes/s") == 0) {
        return units_parse_bytes(text, value) == 0;
    }
    if (units_parse_rate(text, value) == 0) {
        return true;
    }
    errno = 0;
    *value = strtod(text, &end);
    return isdigit((unsigned char)text[0]) && end != text && *end == '\0' && !errno &&
           isfinite(*value);
}

static void trim(char *text)
{
    size_t length = strlen(text), first = strspn(text, " \t");
    while (length > first && isspace((unsigned char)text[length - 1])) {
        length--;
    }
    memmove(text, text + first, length - first);
    text[length - first] = '\0';
}

int comparison_parse_condition(const char *text, struct comparison_condition *condition,
                               struct err *error)
{
    static const char *const units[] = {"ns", "bytes", "1"};
    size_t name = strcspn(text, "<>"), most = sizeof condition->absolute;
    if (name > 0 && (text[name - 1] == '=' || (text[name] && text[name + 1] == '='))) {
        return refuse(text, error); /* at a limit to the last digit: nobody can mean that */
    }
    *condition = (struct comparison_condition){.text = text, .above = text[name] == '>'};
    if (!text[name] || name >= sizeof condition->figure || strlen(text + name + 1) >= most) {
        return refuse(text, error);
    }
    snprintf(condition->figure, sizeof condition->figure, "%.*s", (int)name, text);
    snprintf(condition->absolute, most, "%s", text + name + 1);
    trim(condition->figure);
    trim(condition->absolute);
    if (!condition->figure[0]) {
        return refuse(text, error);
    }
    condition->percent = parse_percent(condition->absolute, &condition->limit);
    bool valid = condition->percent;
    for (size_t i = 0; i < sizeof units / sizeof *units && !valid; i++) {
        valid = parse_value(condition->absolute, units[i], &condition->limit);
    }
    return valid ? 0 : refuse(text, error);
}

/* ---- figures by name ---- */

static const struct compared *by_key(const struct compared_group *group, const char *key)
{
    for (size_t i = 0; i < group->figure_count; i++) {
        if (strcmp(group->figures[i].key, key) == 0) {
            return &group->figures[i];
        }
    }
    return NULL;
}

/* The first time with this percentile: of the histogram that stands first. */
static const struct compared *by_percentile(const struct compared_group *group, const char *name)
{
    for (size_t i = 0; i < group->figure_count; i++) {
        const struct compared *figure = &group->figures[i];
        const char *dot = strchr(figure->key, '.');
        if (dot && strcmp(dot + 1, name) == 0 && strcmp(figure->unit, "ns") == 0) {
            return figure;
        }
    }
    return NULL;
}

const struct compared *comparison_figure(const struct comparison_report *report,
                                         const struct compared_group *group, const char *name)
{
    static const char *const percentiles[] = {"p50", "p90", "p99", "p99.9"};
    char key[128];
    const struct compared *figure = by_key(group, name);
    for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles && !figure; i++) {
        figure = strcmp(name, percentiles[i]) == 0 ? by_percentile(group, name) : NULL;
    }
    if (!figure && strcmp(name, "rate") == 0) {
        figure = &group->figures[0];
    }
    if (!figure && strcmp(name, "cpu") == 0) {
        snprintf(key, sizeof key, "cpu_ns_per_%.100s", report->operation);
        figure = by_key(group, key);
    }
    return figure;
}

static const char *const short_names[] = {"p50", "p90", "p99", "p99.9", "rate", "cpu"};
enum { SHORT_NAMES = sizeof short_names / sizeof *short_names };

static bool is_short(const char *name)
{
    for (size_t i = 0; i < SHORT_NAMES; i++) {
        if (strcmp(name, short_names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int unknown_figure(const struct compared_group *group, const char *name, struct err *error)
{
    if (is_short(name)) {
        err_set(error, ERR_USAGE, "--fail-if", "%s was not measured in these runs", name);
        return name[0] == 'p' ? err_hint(error, "a percentile is known where ten values lie beyond "
                                                "it: longer runs, or a lower one")
                              : -1;
    }
    const char **names = calloc(group->figure_count + SHORT_NAMES, sizeof *names);
    size_t count = 0;
    err_set(error, ERR_USAGE, "--fail-if", "there is no figure '%s'", name);
    for (size_t i = 0; names && i < group->figure_count; i++) {
        names[count++] = group->figures[i].key;
    }
    if (names) {
        memcpy(names + count, short_names, sizeof short_names);
        const char *nearest = opt_nearest(name, names, count + SHORT_NAMES);
        char similar[200] = "";
        for (size_t i = 0, used = 0; i < count && used + 60 < sizeof similar; i++) {
            if (strstr(names[i], name) && strlen(names[i]) < 50) {
                used += (size_t)snprintf(similar + used, sizeof similar - used, "%s%s",
                                         used ? ", " : "", names[i]);
            }
        }
        if (nearest || similar[0]) {
            err_hint(error, "did you mean %s?", similar[0] ? similar : nearest);
        } else {
            err_hint(error, "p50 p90 p99 p99.9 rate cpu, or a key that --all --csv lists");
        }
    }
    free(names);
    return -1;
}

int comparison_check(const struct comparison_report *report,
                     const struct comparison_condition *conditions, size_t count, struct err *error)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t g = 0; g < report->group_count; g++) {
            const char *name = conditions[i].figure;
            if (!is_short(name) && !comparison_figure(report, &report->groups[g], name)) {
                return unknown_figure(&report->groups[g], name, error);
            }
        }
    }
    return 0;
}

/* ---- judging ---- */

static int judge(const struct comparison_condition *condition, const struct compared *figure,
                 bool *holds, struct err *error)
{
    const struct comparison *numbers = &figure->numbers;
    if (!condition->percent) {
        double limit;
        if (numbers->b_count == 0) {
            return err_set(error, ERR_USAGE, "--fail-if", "'%s' cannot be decided: B has no %s",
                           condition->text, figure->key);
        }
        if (!parse_value(condition->absolute, figure->unit, &limit)) {
            err_set(error, ERR_USAGE, "--fail-if", "'%s' is no value of %s", condition->absolute,
                    figure->key);
            return err_hint(error,
                            strcmp(figure->unit, "ns") == 0 ? "a time such as 500us or 2ms"
                            : strncmp(figure->unit, "bytes", 5) == 0
                                ? "its unit is %s: such as 64k or 4.6 GiB"
                                : "its unit is %s",
                            figure->unit);
        }
        *holds = condition->above ? numbers->b_median > limit : numbers->b_median < limit;
        return 0;
    }
    if (isnan(numbers->p)) {
        err_set(error, ERR_USAGE, "--fail-if", "'%s' cannot be decided from %zu and %zu run%s",
                condition->text, numbers->a_count, numbers->b_count,
                numbers->a_count + numbers->b_count == 2 ? "" : "s");
        return err_hint(error, "at least %d of each are needed (--repeat, -n)", COMPARE_RUNS_LEAST);
    }
    /* From 0 there is no percentage; any growth is more than any. */
    double change =
        isfinite(numbers->ratio.value) ? numbers->ratio.value - 1
        : numbers->a_median != 0
            ? numbers->difference.value / fabs(numbers->a_median)
            : copysign(numbers->difference.value != 0 ? INFINITY : 0, numbers->difference.value);
    /* A change of just so much is not more, whatever its last digit rounds to. */
    double beyond = condition->above ? change - condition->limit : condition->limit - change;
    *holds = numbers->different && beyond > 1e-9;
    return 0;
}

int comparison_judge(struct comparison_report *report,
                     const struct comparison_condition *conditions, size_t count, struct err *error)
{
    free(report->outcomes);
    report->outcome_count = 0;
    report->outcomes = calloc(count * report->group_count + 1, sizeof *report->outcomes);
    if (!report->outcomes) {
        return err_system(error, ENOMEM, "comparison", "cannot be judged");
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t g = 0; g < report->group_count; g++) {
            const struct compared_group *group = &report->groups[g];
            const struct compared *figure = comparison_figure(report, group, conditions[i].figure);
            bool holds = false;
            if (!figure) {
                return unknown_figure(group, conditions[i].figure, error);
            }
            if (judge(&conditions[i], figure, &holds, error) != 0) {
                return -1;
            }
            report->outcomes[report->outcome_count++] =
                (struct comparison_outcome){&conditions[i], g, figure, holds};
        }
    }
    return 0;
}
