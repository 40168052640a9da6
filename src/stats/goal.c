#include "stats/goal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

/* Values that must lie beyond a percentile for it to be one (histogram_percentile). */
#define VALUES_BEYOND 10
/* Without percentiles: so few say nothing of a load. */
#define OPERATIONS_LEAST 100
#define PERCENTILE_MOST 99.9999

static int refuse(struct err *error, const char *part, const char *problem)
{
    err_set(error, ERR_USAGE, part, "%s", problem);
    return err_hint(error, "write p99 < 5ms, with p50 to p99.99, mean, max or errors < 0.1%%; "
                           "several with commas");
}

static int parse_name(const char *name, struct goal_term *term, struct err *error)
{
    char *end = NULL;
    if (strcmp(name, "mean") == 0) {
        term->kind = GOAL_MEAN;
    } else if (strcmp(name, "max") == 0) {
        term->kind = GOAL_MAX;
    } else if (strcmp(name, "errors") == 0) {
        term->kind = GOAL_ERRORS;
    } else if (name[0] == 'p' && name[1] >= '0' && name[1] <= '9' &&
               strspn(name + 1, "0123456789.") == strlen(name + 1)) {
        term->kind = GOAL_PERCENTILE;
        term->percentile = strtod(name + 1, &end);
        if (*end || !(term->percentile > 0)) {
            return refuse(error, name, "is no percentile");
        }
        if (term->percentile > PERCENTILE_MOST) {
            return refuse(error, name, "is too far out: the largest value is max");
        }
    } else {
        return refuse(error, name, *name ? "cannot be limited" : "what is to be limited?");
    }
    return 0;
}

/* A share as "0.1%", a time with its unit. */
static int parse_limit(char *text, struct goal_term *term, struct err *error)
{
    size_t length = strlen(text);
    uint64_t ns;
    if (term->kind == GOAL_ERRORS) {
        double percent = 0;
        bool whole =
            length > 1 && text[length - 1] == '%' && strspn(text, "0123456789.") == length - 1;
        if (whole) {
            text[length - 1] = '\0';
        }
        if (!whole || units_parse_rate(text, &percent) < 0 || percent > 100) {
            return refuse(error, text, "is no share of errors: write 0.1%");
        }
        term->limit = percent / 100;
        return 0;
    }
    if (length && strspn(text, "0123456789.") == length) {
        return refuse(error, text, "has no unit: write 5ms");
    }
    if (units_parse_duration(text, &ns) < 0 || ns == 0) {
        return refuse(error, text, "is no time that could be kept to");
    }
    if (ns > HISTOGRAM_HIGHEST) {
        return refuse(error, text, "is more than 1h");
    }
    term->limit = (double)ns;
    return 0;
}

static char *trim(char *text)
{
    text += strspn(text, " ");
    size_t length = strlen(text);
    while (length && text[length - 1] == ' ') {
        text[--length] = '\0';
    }
    return text;
}

/* NAME OP LIMIT, which is cut into its parts. */
static int parse_term(char *text, struct goal_term *term, struct err *error)
{
    char whole[GOAL_TEXT_MAX];
    *term = (struct goal_term){0};
    text = trim(text);
    snprintf(whole, sizeof whole, "%s", text);
    char *operator= strpbrk(text, "<>=");
    if (!*text || !operator|| * operator!= '<') {
        return refuse(error, whole, *text ? "has no < or <=" : "a limit is missing");
    }
    char *limit = operator+ 1;
    *operator= '\0';
    if (*limit == '=') {
        term->or_equal = true;
        limit++;
    }
    return parse_name(trim(text), term, error) < 0 || parse_limit(trim(limit), term, error) < 0 ? -1
                                                                                                : 0;
}

int goal_parse(const char *text, void *member, struct err *error)
{
    struct goal *goal = member;
    *goal = (struct goal){0};
    if (!*text) {
        return 0;
    }
    for (const char *at = text;; at++) {
        char part[GOAL_TEXT_MAX];
        size_t length = strcspn(at, ",");
        if (length >= sizeof part || goal->count == GOAL_TERMS_MAX) {
            return refuse(error, "", "is far too long");
        }
        snprintf(part, sizeof part, "%.*s", (int)length, at);
        if (parse_term(part, &goal->terms[goal->count], error) < 0) {
            return -1;
        }
        char name[GOAL_NAME_MAX], other[GOAL_NAME_MAX];
        goal_term_name(&goal->terms[goal->count], name);
        for (uint32_t i = 0; i < goal->count; i++) {
            if (strcmp(goal_term_name(&goal->terms[i], other), name) == 0) {
                return refuse(error, name, "stands twice");
            }
        }
        goal->count++;
        at += length;
        if (!*at) {
            return 0;
        }
    }
}

const char *goal_term_name(const struct goal_term *term, char to[GOAL_NAME_MAX])
{
    static const char *const names[] = {
        [GOAL_MEAN] = "mean", [GOAL_MAX] = "max", [GOAL_ERRORS] = "errors"};
    if (term->kind == GOAL_PERCENTILE) {
        snprintf(to, GOAL_NAME_MAX, "p%.10g", term->percentile);
    } else {
        snprintf(to, GOAL_NAME_MAX, "%s", names[term->kind]);
    }
    return to;
}

void goal_print(const void *member, FILE *out)
{
    const struct goal *goal = member;
    char name[GOAL_NAME_MAX], limit[UNITS_TEXT_MAX];
    for (uint32_t i = 0; i < goal->count; i++) {
        const struct goal_term *term = &goal->terms[i];
        if (term->kind == GOAL_ERRORS) {
            snprintf(limit, sizeof limit, "%.10g%%", term->limit * 100);
        } else {
            units_exact_duration(limit, (uint64_t)term->limit);
        }
        fprintf(out, "%s%s <%s %s", i ? ", " : "", goal_term_name(term, name),
                term->or_equal ? "=" : "", limit);
    }
}

struct goal_value goal_judge(const struct goal_term *term, const struct goal_measured *measured)
{
    struct goal_value value = {.value = NAN};
    const struct histogram *latencies = measured->latencies;
    uint64_t all = measured->operations + measured->errors, percentile;
    bool any = latencies && histogram_count(latencies);
    switch (term->kind) {
    case GOAL_PERCENTILE:
        value.known = any && histogram_percentile(latencies, term->percentile, &percentile);
        value.value = value.known ? (double)percentile : (double)NAN;
        break;
    case GOAL_MEAN:
        value.known = any;
        value.value = any ? histogram_mean(latencies) : NAN;
        break;
    case GOAL_MAX:
        value.known = any;
        value.value = any ? (double)latencies->maximum : NAN;
        break;
    case GOAL_ERRORS:
        value.known = all > 0;
        value.value = all ? (double)measured->errors / (double)all : NAN;
        break;
    }
    if (value.known && any && latencies->out_of_range && term->kind != GOAL_ERRORS) {
        value.value = INFINITY; /* some took longer than can be told */
    }
    value.met =
        value.known && (term->or_equal ? value.value <= term->limit : value.value < term->limit);
    return value;
}

double goal_operations_least(const struct goal *goal)
{
    double most = OPERATIONS_LEAST;
    for (uint32_t i = 0; i < goal->count; i++) {
        const struct goal_term *term = &goal->terms[i];
        double needed = 0;
        if (term->kind == GOAL_PERCENTILE) {
            needed = VALUES_BEYOND / (1 - term->percentile / 100);
        } else if (term->kind == GOAL_ERRORS && term->limit > 0) {
            needed = 1 / term->limit;
        }
        most = fmax(most, needed);
    }
    return most;
}
