#include "stats/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/resample.h"

#define EXACT_VALUES 20 /* of each sample */
#define EXACT_PAIRS 100

/* ---- ranks ---- */

struct ranked {
    double value;
    bool chosen;    /* of the second sample; above 0 */
    unsigned twice; /* its rank, doubled: ties have the mean of their ranks */
};

static int by_value(const void *left, const void *right)
{
    return resample_order(&((const struct ranked *)left)->value,
                          &((const struct ranked *)right)->value);
}

/* Sorts and ranks; returns the sum of t^3 - t over groups of t equal values. */
static double rank(struct ranked *items, size_t count)
{
    double ties = 0;
    qsort(items, count, sizeof *items, by_value);
    for (size_t first = 0, next; first < count; first = next) {
        for (next = first; next < count && items[next].value == items[first].value; next++) {
        }
        double group = (double)(next - first);
        ties += group * group * group - group;
        for (size_t i = first; i < next; i++) {
            items[i].twice = (unsigned)(first + 1 + next);
        }
    }
    return ties;
}

static unsigned chosen_sum(const struct ranked *items, size_t count)
{
    unsigned sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += items[i].chosen ? items[i].twice : 0;
    }
    return sum;
}

/* Share of the ways that lie at least as far from the mean as what was seen. Sums are of doubled
 * ranks; their mean is all * numerator / denominator. Whole numbers throughout: nothing is rounded,
 * so that what is as far on the other side counts. */
static double tail_share(const double *ways, size_t sums, unsigned seen, double all,
                         size_t numerator, size_t denominator)
{
    double mean = all * (double)numerator, scale = (double)denominator;
    double distance = fabs((double)seen * scale - mean);
    double total = 0, far = 0;
    for (size_t sum = 0; sum < sums; sum++) {
        total += ways[sum];
        far += fabs((double)sum * scale - mean) >= distance ? ways[sum] : 0;
    }
    return far / total;
}

/* Two-sided p of a normal deviate with continuity correction: the statistic goes in steps of half
 * ranks, `half` of them. */
static double normal_p(double distance, double half, double variance)
{
    double z = fmax(fabs(distance) - half, 0) / sqrt(variance);
    return variance > 0 ? erfc(z / sqrt(2)) : 1;
}

/* ---- two samples ---- */

/* Ways to choose `chosen` of the ranks so that they have a given sum. ways[k * sums + s]: k ranks
 * with sum s. Counts stay below 2^53 for EXACT_VALUES of each. */
static double exact_mann_whitney(const struct ranked *items, size_t count, size_t chosen)
{
    size_t most = 0;
    double all = 0;
    for (size_t i = 0; i < count; i++) {
        all += items[i].twice;
        most += i + chosen >= count ? items[i].twice : 0;
    }
    size_t sums = most + 1;
    double *ways = calloc((chosen + 1) * sums, sizeof *ways);
    if (!ways) {
        return NAN;
    }
    ways[0] = 1;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = i < chosen ? i + 1 : chosen; k > 0; k--) {
            const double *fewer = ways + (k - 1) * sums;
            double *row = ways + k * sums;
            for (size_t sum = items[i].twice; sum < sums; sum++) {
                row[sum] += fewer[sum - items[i].twice];
            }
        }
    }
    double p = tail_share(ways + chosen * sums, sums, chosen_sum(items, count), all, chosen, count);
    free(ways);
    return p;
}

double compare_mann_whitney(const double *a, size_t a_count, const double *b, size_t b_count)
{
    size_t count = a_count + b_count;
    struct ranked *items = a_count && b_count ? calloc(count, sizeof *items) : NULL;
    if (!items) {
        return NAN;
    }
    for (size_t i = 0; i < count; i++) {
        items[i].value = i < a_count ? a[i] : b[i - a_count];
        items[i].chosen = i >= a_count;
    }
    double ties = rank(items, count), p;
    if (a_count <= EXACT_VALUES && b_count <= EXACT_VALUES) {
        p = exact_mann_whitney(items, count, b_count);
    } else {
        double n = (double)count, product = (double)a_count * (double)b_count;
        double distance = chosen_sum(items, count) / 2.0 - (double)b_count * (n + 1) / 2;
        p = normal_p(distance, 0.5, product / 12 * (n + 1 - ties / (n * (n - 1))));
    }
    free(items);
    return p;
}

/* ---- pairs ---- */

/* Each rank counts for or against, either as likely. */
static double exact_signed_rank(const struct ranked *items, size_t count)
{
    size_t all = 0;
    for (size_t i = 0; i < count; i++) {
        all += items[i].twice;
    }
    size_t sums = all + 1;
    double *ways = calloc(sums, sizeof *ways);
    if (!ways) {
        return NAN;
    }
    ways[0] = 1;
    for (size_t i = 0; i < count; i++) {
        for (size_t sum = sums - 1; sum >= items[i].twice; sum--) {
            ways[sum] += ways[sum - items[i].twice];
        }
    }
    double p = tail_share(ways, sums, chosen_sum(items, count), (double)all, 1, 2);
    free(ways);
    return p;
}

double compare_signed_rank(const double *differences, size_t count)
{
    struct ranked *items = calloc(count ? count : 1, sizeof *items);
    size_t used = 0;
    if (!items) {
        return NAN;
    }
    for (size_t i = 0; i < count; i++) {
        if (differences[i] != 0) {
            items[used].value = fabs(differences[i]);
            items[used++].chosen = differences[i] > 0;
        }
    }
    double ties = rank(items, used), n = (double)used, p = 1;
    if (used > EXACT_PAIRS) {
        double distance = chosen_sum(items, used) / 2.0 - n * (n + 1) / 4;
        p = normal_p(distance, 0.5, n * (n + 1) * (2 * n + 1) / 24 - ties / 48);
    } else if (used) {
        p = exact_signed_rank(items, used);
    }
    free(items);
    return p;
}

/* ---- the decision ---- */

static bool all_finite(const double *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            return false;
        }
    }
    return true;
}

static bool all_positive(const double *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!(values[i] > 0)) {
            return false;
        }
    }
    return true;
}

static bool excludes(struct interval interval, double value)
{
    return interval.low > value || interval.high < value;
}

static const struct interval unknown = {NAN, NAN, NAN};

/* A number that stands for a sample. */
static uint64_t digest(const double *values, size_t count)
{
    uint64_t sum = count, bits;
    for (size_t i = 0; i < count; i++) {
        memcpy(&bits, &values[i], sizeof bits);
        sum = (sum ^ bits) * UINT64_C(0x100000001b3);
        sum ^= sum >> 29;
    }
    return sum;
}

/* Difference and ratio of the medians, resampling each sample on its own. */
static int bootstrap(const double *a, size_t a_count, const double *b, size_t b_count,
                     uint64_t seed, struct comparison *result)
{
    double *sorted_a = resample_sorted(a, a_count), *sorted_b = resample_sorted(b, b_count);
    double *differences = calloc(RESAMPLES, sizeof *differences);
    double *ratios = calloc(RESAMPLES, sizeof *ratios);
    uint32_t *times = calloc(a_count > b_count ? a_count : b_count, sizeof *times);
    bool whole = sorted_a && sorted_b && differences && ratios && times;
    struct rng rng_a, rng_b;

    if (whole) {
        /* Each by what the sample holds, so that the two sides may change places. */
        rng_seed(&rng_a, seed ^ digest(sorted_a, a_count));
        rng_seed(&rng_b, seed ^ digest(sorted_b, b_count));
        for (size_t i = 0; i < RESAMPLES; i++) {
            double of_a = resample_median(sorted_a, times, a_count, &rng_a);
            double of_b = resample_median(sorted_b, times, b_count, &rng_b);
            differences[i] = of_b - of_a;
            ratios[i] = of_b / of_a;
        }
        resample_bounds(differences, &result->difference.low, &result->difference.high);
        if (isfinite(result->ratio.value)) {
            resample_bounds(ratios, &result->ratio.low, &result->ratio.high);
        }
    }
    free(sorted_a);
    free(sorted_b);
    free(differences);
    free(ratios);
    free(times);
    return whole ? 0 : -1;
}

int compare_samples(const double *a, size_t a_count, const double *b, size_t b_count, uint64_t seed,
                    struct comparison *result)
{
    *result = (struct comparison){.a_count = a_count,
                                  .b_count = b_count,
                                  .a_median = summary_median(a, a_count),
                                  .b_median = summary_median(b, b_count),
                                  .difference = unknown,
                                  .ratio = unknown,
                                  .p = NAN};
    if (!a_count || !b_count || !all_finite(a, a_count) || !all_finite(b, b_count)) {
        return 0;
    }
    result->difference.value = result->b_median - result->a_median;
    if (all_positive(a, a_count) && all_positive(b, b_count)) {
        result->ratio.value = result->b_median / result->a_median;
    }
    if (a_count < COMPARE_RUNS_LEAST || b_count < COMPARE_RUNS_LEAST) {
        return 0;
    }
    result->p = compare_mann_whitney(a, a_count, b, b_count);
    if (isnan(result->p) || bootstrap(a, a_count, b, b_count, seed, result) != 0) {
        return -1;
    }
    result->different = result->p < COMPARE_LEVEL && excludes(result->difference, 0);
    return 0;
}

int compare_pairs(const double *a, const double *b, size_t count, uint64_t seed,
                  struct comparison *result)
{
    if (compare_samples(a, count, b, count, seed, result) != 0) {
        return -1;
    }
    if (isnan(result->p) || count < COMPARE_PAIRS_LEAST) {
        return 0;
    }
    double *differences = calloc(count, sizeof *differences);
    double *ratios = calloc(count, sizeof *ratios);
    bool whole = differences && ratios, positive = isfinite(result->ratio.value);
    for (size_t i = 0; whole && i < count; i++) {
        differences[i] = b[i] - a[i];
        ratios[i] = b[i] / a[i];
    }
    if (whole) {
        result->paired = true;
        result->difference = summary_median_interval(differences, count, seed);
        result->ratio = positive ? summary_median_interval(ratios, count, seed) : unknown;
        /* Noise of a machine is a share of what is measured: logarithms weigh all pairs alike. */
        for (size_t i = 0; positive && i < count; i++) {
            ratios[i] = log(b[i]) - log(a[i]);
        }
        result->p = compare_signed_rank(positive ? ratios : differences, count);
        whole = !isnan(result->p) && !isnan(result->difference.low);
        result->different =
            result->p < COMPARE_LEVEL &&
            (positive ? excludes(result->ratio, 1) : excludes(result->difference, 0));
    }
    free(differences);
    free(ratios);
    return whole ? 0 : -1;
}

/* ---- many tests ---- */

struct test {
    double p;
    size_t index;
};

static int by_p(const void *left, const void *right)
{
    return resample_order(&((const struct test *)left)->p, &((const struct test *)right)->p);
}

size_t compare_holm(const double *p, size_t count, bool *holds)
{
    struct test *tests = calloc(count ? count : 1, sizeof *tests);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        holds[i] = false;
        if (!isnan(p[i]) && tests) {
            tests[used++] = (struct test){p[i], i};
        }
    }
    if (tests) {
        qsort(tests, used, sizeof *tests, by_p);
        for (size_t i = 0; i < used && tests[i].p * (double)(used - i) < COMPARE_LEVEL; i++) {
            holds[tests[i].index] = true;
        }
    }
    free(tests);
    return used;
}
