#include "stats/repeat.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define EXACT_MOST 60
#define DRIFT_CHANGE_LEAST 0.01
#define OUTLIERS_LEAST 5
#define OUTLIER_DEVIATIONS 3.5
#define OUTLIER_SHARE 0.05

struct repeat_summary repeat_summarise(const double *values, size_t n)
{
    struct repeat_summary summary = {{NAN, NAN, NAN}, NAN, NAN, NAN};
    if (n == 0) {
        return summary;
    }
    summary.least = summary.most = values[0];
    for (size_t i = 1; i < n; i++) {
        summary.least = fmin(summary.least, values[i]);
        summary.most = fmax(summary.most, values[i]);
    }
    summary.deviation = summary_deviation(values, n);
    if (n < REPEAT_INTERVAL_LEAST) {
        summary.median = (struct interval){summary_median(values, n), summary.least, summary.most};
    } else {
        summary.median = summary_median_interval(values, n, n);
    }
    return summary;
}

/* P(at least `discordant` of the pairs of n values stand in the order that is rarer), one-sided:
 * the share of permutations with at most so many inversions. Their number is a sum of independent
 * uniform numbers, 0..k for each k < n. */
static double few_inversions(size_t n, size_t discordant)
{
    enum { PAIRS_MOST = EXACT_MOST * (EXACT_MOST - 1) / 2 };
    double share[PAIRS_MOST + 1] = {1}, next[PAIRS_MOST + 1];
    size_t most = 0; /* inversions that so many values can have */
    for (size_t k = 1; k < n; k++) {
        double sum = 0;
        for (size_t i = 0; i <= most + k; i++) {
            sum += i <= most ? share[i] : 0;
            sum -= i > k ? share[i - k - 1] : 0;
            next[i] = sum / (double)(k + 1);
        }
        most += k;
        for (size_t i = 0; i <= most; i++) {
            share[i] = next[i];
        }
    }
    double p = 0;
    for (size_t i = 0; i <= discordant && i <= most; i++) {
        p += share[i];
    }
    return p;
}

/* Two-sided p of Kendall's S, the rising pairs less the falling ones. */
static double trend_p(size_t n, int64_t score)
{
    double size = (double)n, magnitude = fabs((double)score);
    double p;
    if (score == 0) {
        return 1;
    }
    if (n <= EXACT_MOST) {
        /* Pairs of equal values count for half, rounded against a trend. */
        size_t pairs = n * (n - 1) / 2;
        p = 2 * few_inversions(n, (pairs - (size_t)magnitude + 1) / 2);
    } else {
        double variance = size * (size - 1) * (2 * size + 5) / 18;
        p = erfc((magnitude - 1) / sqrt(2 * variance));
    }
    return p < 1 ? p : 1;
}

/* The trend from the first value to the last: the median of the slopes of pairs that lie half the
 * length apart. */
static double trend_of(const double *values, size_t n)
{
    size_t apart = (n + 1) / 2, count = n - apart;
    double *slopes = calloc(count ? count : 1, sizeof *slopes);
    if (!slopes || count == 0) {
        free(slopes);
        return NAN;
    }
    for (size_t i = 0; i < count; i++) {
        slopes[i] = (values[i + apart] - values[i]) / (double)apart;
    }
    double slope = summary_median(slopes, count);
    free(slopes);
    return slope * (double)(n - 1);
}

struct repeat_drift repeat_drift(const double *values, size_t n)
{
    struct repeat_drift drift = {.p = 1, .trend = NAN, .change = NAN};
    int64_t score = 0;
    if (n < 2) {
        return drift;
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t k = i + 1; k < n; k++) {
            score += (values[k] > values[i]) - (values[k] < values[i]);
        }
    }
    drift.p = trend_p(n, score);
    drift.trend = trend_of(values, n);
    drift.change = drift.trend / fabs(summary_median(values, n));
    drift.seen = drift.p < REPEAT_DRIFT_P && fabs(drift.change) >= DRIFT_CHANGE_LEAST &&
                 (drift.change > 0) == (score > 0);
    return drift;
}

/* Makes the median absolute deviation of n normal values, on average, their standard deviation:
 * Croux and Rousseeuw, Computational Statistics 1, 1992. Without the second factor a few values
 * would look further out than they are. */
static double deviation_scale(size_t n)
{
    static const double few[] = {1.206, 1.200, 1.140, 1.129, 1.107}; /* 5..9 */
    double size = (double)n;
    return 1.4826 * (n <= 9 ? few[n - OUTLIERS_LEAST] : size / (size - 0.8));
}

size_t repeat_outliers(const double *values, size_t n, bool *far)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        far[i] = false;
    }
    double *distances = n < OUTLIERS_LEAST ? NULL : calloc(n, sizeof *distances);
    if (!distances) {
        return 0;
    }
    double median = summary_median(values, n);
    for (size_t i = 0; i < n; i++) {
        distances[i] = fabs(values[i] - median);
    }
    /* 0 where more than half are equal: then the share alone decides. */
    double limit = OUTLIER_DEVIATIONS * deviation_scale(n) * summary_median(distances, n);
    for (size_t i = 0; i < n; i++) {
        far[i] = distances[i] > limit && distances[i] > OUTLIER_SHARE * fabs(median);
        count += far[i];
    }
    free(distances);
    return count;
}
