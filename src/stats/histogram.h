/* Log-linear histogram with the buckets of HdrHistogram (lowest 1, highest 1 h in ns,
 * 3 significant digits): constant memory, one increment a record. One writer; readers take a
 * histogram that its writer has given up (see workload/bank.h). */
#ifndef SONDE_STATS_HISTOGRAM_H
#define SONDE_STATS_HISTOGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_HIGHEST UINT64_C(3600000000000) /* one hour in nanoseconds */
#define HISTOGRAM_DIGITS 3
#define HISTOGRAM_SUB_BUCKET_BITS 11 /* 2048 sub-buckets hold 3 digits */
#define HISTOGRAM_HALF_BITS 10
#define HISTOGRAM_BUCKETS 32 /* 2048 << 31 > HISTOGRAM_HIGHEST */
#define HISTOGRAM_COUNTS ((HISTOGRAM_BUCKETS + 1) << HISTOGRAM_HALF_BITS)

struct histogram {
    uint64_t minimum;      /* smallest value recorded; UINT64_MAX where empty */
    uint64_t maximum;      /* largest value recorded; 0 where empty */
    uint64_t out_of_range; /* values above HISTOGRAM_HIGHEST: counted here and nowhere else */
    uint64_t counts[HISTOGRAM_COUNTS];
};

/* Bucket of a value (HdrHistogram's countsArrayIndex for this configuration). */
static inline uint32_t histogram_index(uint64_t value)
{
    uint32_t bucket = 53 - (uint32_t)__builtin_clzll(value | 2047);
    return (bucket << HISTOGRAM_HALF_BITS) + (uint32_t)(value >> bucket);
}

/* Lowest value of a bucket: the inverse of histogram_index. */
static inline uint64_t histogram_value(uint32_t index)
{
    uint32_t bucket = index >> HISTOGRAM_SUB_BUCKET_BITS ? (index >> HISTOGRAM_HALF_BITS) - 1 : 0;
    return (uint64_t)(index - (bucket << HISTOGRAM_HALF_BITS)) << bucket;
}

/* Adds `times` occurrences of a value. */
static inline void histogram_record(struct histogram *histogram, uint64_t value, uint64_t times)
{
    if (__builtin_expect(value > HISTOGRAM_HIGHEST, 0)) {
        histogram->out_of_range += times;
        return;
    }
    if (times == 0) {
        return; /* or it would move minimum and maximum; free where `times` is a constant */
    }
    if (value < histogram->minimum) {
        histogram->minimum = value;
    }
    if (value > histogram->maximum) {
        histogram->maximum = value;
    }
    histogram->counts[histogram_index(value)] += times;
}

/* A new empty histogram (zeroed pages: only what is touched costs memory); NULL without memory. A
 * child process shares it. */
struct histogram *histogram_new(void);
void histogram_free(struct histogram *histogram);
/* Takes one from histogram_new out of this process's resident memory until it is touched again. */
void histogram_park(struct histogram *histogram);

/* Empties it; touches only the buckets between minimum and maximum. Also initialises zeroed
 * memory that did not come from histogram_new. */
void histogram_clear(struct histogram *histogram);

/* Adds all of `from` to `to`. */
void histogram_add(struct histogram *to, const struct histogram *from);

/* Values recorded (in range). */
uint64_t histogram_count(const struct histogram *histogram);

/* Smallest and largest value that share value's bucket. */
uint64_t histogram_lowest_equivalent(uint64_t value);
uint64_t histogram_highest_equivalent(uint64_t value);

/* Value at a percentile, 0..100, as HdrHistogram gives it (highest equivalent value, never above
 * the recorded maximum; 0 is the minimum). False where the tail holds fewer than 10 values
 * (from 25 to 75: 5): n(1-p) < 10 for p > 50, n·p < 10 for p <= 50; percentile 100 is the maximum
 * and needs one value.
 */
bool histogram_percentile(const struct histogram *histogram, double percentile, uint64_t *value);

/* As above, with no demand on the tail; 0 where empty. */
uint64_t histogram_percentile_any(const struct histogram *histogram, double percentile);

/* Mean and standard deviation over the buckets' middle values, as HdrHistogram; 0 where empty. */
double histogram_mean(const struct histogram *histogram);
double histogram_deviation(const struct histogram *histogram);

/* Iterates over the buckets that hold something: *index starts at 0 and is advanced; false at the
 * end. low and high are the bucket's lowest and highest equivalent value. */
bool histogram_next(const struct histogram *histogram, uint32_t *index, uint64_t *low,
                    uint64_t *high, uint64_t *count);

#endif
