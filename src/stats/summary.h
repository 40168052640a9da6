/* Summaries of small samples: median, mean, bootstrap intervals. n is runs or blocks, never
 * requests. Where memory is short, or n is 0, medians, means and
 * intervals are NaN. */
#ifndef SONDE_STATS_SUMMARY_H
#define SONDE_STATS_SUMMARY_H

#include <stddef.h>
#include <stdint.h>

struct interval {
    double value, low, high; /* point estimate and its 95 % interval; NaN bounds where n < 2 */
};

/* Median of n values (n > 0); `values` is not changed. */
double summary_median(const double *values, size_t n);
double summary_mean(const double *values, size_t n);
/* Sample standard deviation (n-1); 0 where n < 2. */
double summary_deviation(const double *values, size_t n);

/* Median with a percentile-bootstrap interval (2,000 resamples, seeded: same input, same answer).
 * Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13. No resample leaves the range
 * of the values, which itself covers the true median with 1 - 2^(1-n): below n = 6 the interval
 * falls short of 95 %. */
struct interval summary_median_interval(const double *values, size_t n, uint64_t seed);

/* Effect of a treatment from paired blocks: the geometric mean of treated[i]/plain[i], with a
 * Student-t interval over the logarithms (n blocks). Pairs with a value <= 0 are left out;
 * NaN where none remains. */
struct interval summary_paired_ratio(const double *plain, const double *treated, size_t n);

#endif
