/* Are two samples different? n is runs. */
#ifndef SONDE_STATS_COMPARE_H
#define SONDE_STATS_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stats/summary.h"

#define COMPARE_RUNS_LEAST 4 /* on each side: fewer can say nothing */
#define COMPARE_PAIRS_LEAST 6
#define COMPARE_LEVEL 0.05

struct comparison {
    size_t a_count, b_count;
    double a_median, b_median;
    struct interval difference; /* b - a, with its 95 % bootstrap interval */
    struct interval ratio;      /* b / a, likewise; NaN where a value is not above 0 */
    double p;                   /* two-sided; NaN where there are too few values */
    bool paired;
    bool different; /* the decision */
};

/* Compares two samples that were drawn independently: difference and ratio of the medians, and the
 * Mann-Whitney test. They differ where p < 5 % and the interval of the difference excludes 0; the
 * test alone keeps the rate of false alarms at 5 % for every n >= 4 (it is exact for few values),
 * and the second condition keeps what is printed free of contradiction. With fewer than
 * COMPARE_RUNS_LEAST values on a side, or a value that is not finite, never. Neither array is
 * changed. -1 without memory. */
int compare_samples(const double *a, size_t a_count, const double *b, size_t b_count, uint64_t seed,
                    struct comparison *result);

/* The same for runs that were made in turn, a[i] next to b[i]: median of the pairs' differences and
 * ratios, and Wilcoxon's signed-rank test. What both members of a pair met alike (a slow drift, a
 * neighbour) cancels. Below COMPARE_PAIRS_LEAST pairs, where this test cannot reach 5 %,
 * compare_samples is used. */
int compare_pairs(const double *a, const double *b, size_t count, uint64_t seed,
                  struct comparison *result);

/* Two-sided p of the Mann-Whitney U test: exact (conditional on ties) where both samples have at
 * most 20 values, else the normal approximation with tie correction and continuity correction. */
double compare_mann_whitney(const double *a, size_t a_count, const double *b, size_t b_count);

/* Two-sided p of Wilcoxon's signed-rank test that `differences` lie around 0; those that are 0 are
 * left out. Exact (conditional on ties) for at most 100, else the normal approximation. */
double compare_signed_rank(const double *differences, size_t count);

/* Holm's correction for many tests (Holm 1979): sets holds[i] where p[i] is small enough that the
 * chance of any false one among all is at most COMPARE_LEVEL. NaN counts as no test. Returns the
 * number of tests. */
size_t compare_holm(const double *p, size_t count, bool *holds);

#endif
