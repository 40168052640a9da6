#include "stats/summary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/resample.h"

int resample_order(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

double *resample_sorted(const double *values, size_t n)
{
    double *copy = calloc(n, sizeof *copy);
    if (copy) {
        memcpy(copy, values, n * sizeof *copy);
        qsort(copy, n, sizeof *copy, resample_order);
    }
    return copy;
}

static double sorted_median(const double *sorted, size_t n)
{
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

double summary_median(const double *values, size_t n)
{
    double *sorted = n ? resample_sorted(values, n) : NULL;
    if (!sorted) {
        return NAN;
    }
    double median = sorted_median(sorted, n);
    free(sorted);
    return median;
}

double summary_mean(const double *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += values[i];
    }
    return sum / (double)n;
}

double summary_deviation(const double *values, size_t n)
{
    double sum = 0;
    if (n < 2) {
        return 0;
    }
    double mean = summary_mean(values, n);
    for (size_t i = 0; i < n; i++) {
        sum += (values[i] - mean) * (values[i] - mean);
    }
    return sqrt(sum / (double)(n - 1));
}

/* Median of n draws with replacement. Draws are counted by rank, so that no draw is sorted. */
double resample_median(const double *sorted, uint32_t *times, size_t n, struct rng *rng)
{
    size_t lower = (n - 1) / 2; /* ranks of the two middle draws; the same where n is odd */
    size_t upper = n / 2;
    size_t passed = 0, rank = 0;

    memset(times, 0, n * sizeof *times);
    for (size_t i = 0; i < n; i++) {
        times[rng_below(rng, n)]++;
    }
    while (passed + times[rank] <= lower) {
        passed += times[rank++];
    }
    double low = sorted[rank];
    while (passed + times[rank] <= upper) {
        passed += times[rank++];
    }
    return (low + sorted[rank]) / 2;
}

void resample_bounds(double *values, double *low, double *high)
{
    qsort(values, RESAMPLES, sizeof *values, resample_order);
    *low = values[RESAMPLES * 25 / 1000 - 1];
    *high = values[RESAMPLES - RESAMPLES * 25 / 1000]; /* as far from the end as the low one */
}

struct interval summary_median_interval(const double *values, size_t n, uint64_t seed)
{
    struct interval interval = {NAN, NAN, NAN};
    double *sorted = n ? resample_sorted(values, n) : NULL;
    double *medians = calloc(RESAMPLES, sizeof *medians);
    uint32_t *times = calloc(n ? n : 1, sizeof *times);
    struct rng rng;

    if (sorted && medians && times) {
        interval.value = sorted_median(sorted, n);
        if (n >= 2) {
            rng_seed(&rng, seed);
            for (size_t i = 0; i < RESAMPLES; i++) {
                medians[i] = resample_median(sorted, times, n, &rng);
            }
            resample_bounds(medians, &interval.low, &interval.high);
        }
    }
    free(sorted);
    free(medians);
    free(times);
    return interval;
}

/* Student's t: 97.5 % quantile. Exact values for few degrees of freedom; from 10 the expansion in
 * 1/freedom of Abramowitz and Stegun 26.7.5, wrong by less than 0.000005. */
static double student_quantile(size_t freedom)
{
    static const double few[] = {12.7062047, 4.3026527, 3.1824463, 2.7764451, 2.5705818,
                                 2.4469119,  2.3646243, 2.3060041, 2.2621572};
    double n = (double)freedom;
    double x = 1.959963984540054; /* the normal distribution's */
    double x2 = x * x;

    if (freedom <= sizeof few / sizeof *few) {
        return few[freedom - 1];
    }
    double first = x * (x2 + 1) / 4;
    double second = x * ((5 * x2 + 16) * x2 + 3) / 96;
    double third = x * (((3 * x2 + 19) * x2 + 17) * x2 - 15) / 384;
    double fourth = x * ((((79 * x2 + 776) * x2 + 1482) * x2 - 1920) * x2 - 945) / 92160;
    return x + (first + (second + (third + fourth / n) / n) / n) / n;
}

struct interval summary_paired_ratio(const double *plain, const double *treated, size_t n)
{
    struct interval interval = {NAN, NAN, NAN};
    double *logs = calloc(n ? n : 1, sizeof *logs);
    size_t used = 0;

    if (!logs) {
        return interval;
    }
    for (size_t i = 0; i < n; i++) {
        if (plain[i] > 0 && treated[i] > 0) {
            logs[used++] = log(treated[i]) - log(plain[i]);
        }
    }
    if (used) {
        double mean = summary_mean(logs, used);
        interval.value = exp(mean);
        if (used >= 2) {
            double half =
                student_quantile(used - 1) * summary_deviation(logs, used) / sqrt((double)used);
            interval.low = exp(mean - half);
            interval.high = exp(mean + half);
        }
    }
    free(logs);
    return interval;
}
