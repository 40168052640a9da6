/* Are two samples different? n is runs. */
#ifndef SONDE_STATS_COMPARE_H
#define SONDE_STATS_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stats/summary.h"

struct comparison {
    size_t a_count, b_count;
    double a_median, b_median;
    struct interval difference; /* of medians, b - a, with its 95 % bootstrap interval */
    struct interval ratio;      /* of medians, b / a, likewise; NaN where a's is 0 */
    double p;                   /* Mann-Whitney, two-sided; exact for small samples without ties */
    bool different;             /* the decision: see compare_samples */
};

/* Compares two samples (interleaved runs of two commands, or of one with itself). The decision is
 * made so that a command against itself is called different in at most 5 % of cases, for every
 * n >= 4, and never for fewer. Neither array is changed. -1 without memory. */
int compare_samples(const double *a, size_t a_count, const double *b, size_t b_count, uint64_t seed,
                    struct comparison *result);

/* Two-sided p of the Mann-Whitney U test: exact where there are no ties and both samples have at
 * most 20 values, else the normal approximation with tie correction and continuity correction. */
double compare_mann_whitney(const double *a, size_t a_count, const double *b, size_t b_count);

#endif
