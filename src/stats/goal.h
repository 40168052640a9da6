/* A limit that a load has to keep to: "p99 < 5ms, errors < 0.1%". Pure. */
#ifndef SONDE_STATS_GOAL_H
#define SONDE_STATS_GOAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "stats/histogram.h"

enum goal_kind { GOAL_PERCENTILE, GOAL_MEAN, GOAL_MAX, GOAL_ERRORS };
enum { GOAL_TERMS_MAX = 8, GOAL_NAME_MAX = 24, GOAL_TEXT_MAX = 256 };

struct goal_term {
    enum goal_kind kind;
    double percentile;
    bool or_equal; /* <= */
    double limit;  /* ns; of errors a share of one */
};

/* All of them at once. */
struct goal {
    uint32_t count; /* 0: there is none */
    struct goal_term terms[GOAL_TERMS_MAX];
};

/* The two of an option's row over a struct goal. An error is about the part of the text that is
 * wrong. */
int goal_parse(const char *text, void *goal, struct err *error);
void goal_print(const void *goal, FILE *out);

/* "p99.9"; returns `to`. */
const char *goal_term_name(const struct goal_term *term, char to[GOAL_NAME_MAX]);

struct goal_measured {
    const struct histogram *latencies; /* ns; NULL: none */
    uint64_t operations, errors;       /* that went well, that did not */
};

struct goal_value {
    bool known; /* false: too few values for it */
    bool met;   /* never where it is not known */
    double value;
};

struct goal_value goal_judge(const struct goal_term *term, const struct goal_measured *measured);

/* Operations below which some part of it could not be known. */
double goal_operations_least(const struct goal *goal);

#endif
