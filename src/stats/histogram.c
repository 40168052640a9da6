#include "stats/histogram.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>

_Static_assert((UINT64_C(1) << (HISTOGRAM_SUB_BUCKET_BITS + HISTOGRAM_BUCKETS - 1)) >
                       HISTOGRAM_HIGHEST &&
                   (UINT64_C(1) << (HISTOGRAM_SUB_BUCKET_BITS + HISTOGRAM_BUCKETS - 2)) <=
                       HISTOGRAM_HIGHEST,
               "HdrHistogram allocates the fewest buckets that cover the highest value");

/* Values a percentile's tail must hold before the percentile is worth printing. */
#define TAIL_LEAST 10.0
/* The same for the quartiles and what lies between them, which a single value moves less. */
#define MIDDLE_LEAST 5.0

/* log2 of the width of value's bucket. */
static unsigned width_bits(uint64_t value)
{
    return 53 - (unsigned)__builtin_clzll(value | 2047);
}

/* The middle as HdrHistogram defines it: the upper of the two where the width is even. */
static double middle_of(uint32_t index)
{
    uint64_t low = histogram_value(index);
    return (double)(low + ((UINT64_C(1) << width_bits(low)) >> 1));
}

/* First bucket behind the last one that can hold something. */
static uint32_t index_end(const struct histogram *histogram)
{
    return histogram->minimum > histogram->maximum ? 0 : histogram_index(histogram->maximum) + 1;
}

/* First bucket that can hold something; index_end where empty. */
static uint32_t index_begin(const struct histogram *histogram)
{
    return histogram->minimum > histogram->maximum ? 0 : histogram_index(histogram->minimum);
}

struct histogram *histogram_new(void)
{
    void *memory = mmap(NULL, sizeof(struct histogram), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct histogram *histogram = memory == MAP_FAILED ? NULL : memory;
    if (histogram) {
        histogram->minimum = UINT64_MAX;
    }
    return histogram;
}

void histogram_free(struct histogram *histogram)
{
    if (histogram) {
        munmap(histogram, sizeof *histogram);
    }
}

void histogram_park(struct histogram *histogram)
{
    /* Shared memory keeps what it holds (madvise(2)); a failure costs nothing but memory. */
    (void)madvise(histogram, sizeof *histogram, MADV_DONTNEED);
}

void histogram_clear(struct histogram *histogram)
{
    uint32_t begin = index_begin(histogram);
    uint32_t end = index_end(histogram);

    memset(histogram->counts + begin, 0, (end - begin) * sizeof *histogram->counts);
    histogram->minimum = UINT64_MAX;
    histogram->maximum = 0;
    histogram->out_of_range = 0;
}

void histogram_add(struct histogram *to, const struct histogram *from)
{
    uint32_t end = index_end(from);
    uint64_t added = 0;

    for (uint32_t i = index_begin(from); i < end; i++) {
        to->counts[i] += from->counts[i];
        added |= from->counts[i];
    }
    to->out_of_range += from->out_of_range;
    if (!added) {
        return; /* also zeroed memory, whose minimum says nothing yet */
    }
    if (from->minimum < to->minimum) {
        to->minimum = from->minimum;
    }
    if (from->maximum > to->maximum) {
        to->maximum = from->maximum;
    }
}

uint64_t histogram_count(const struct histogram *histogram)
{
    uint32_t end = index_end(histogram);
    uint64_t count = 0;

    for (uint32_t i = index_begin(histogram); i < end; i++) {
        count += histogram->counts[i];
    }
    return count;
}

uint64_t histogram_lowest_equivalent(uint64_t value)
{
    unsigned bits = width_bits(value);
    return value >> bits << bits;
}

uint64_t histogram_highest_equivalent(uint64_t value)
{
    return value | ((UINT64_C(1) << width_bits(value)) - 1);
}

/* As histogram_percentile_any, where the histogram holds `count` > 0 values. */
static uint64_t value_at(const struct histogram *histogram, double percentile, uint64_t count)
{
    uint32_t end = index_end(histogram);
    uint64_t rank, sum = 0;

    if (!(percentile > 0)) { /* also NaN */
        return histogram->minimum;
    }
    if (percentile >= 100) {
        return histogram->maximum;
    }
    /* One step down, so that the product's rounding does not lift an exact rank to the next:
     * 99.9 % of 1000 is rank 999. HdrHistogram does the same. */
    rank = (uint64_t)ceil(nextafter(percentile, 0) * (double)count / 100);
    for (uint32_t i = index_begin(histogram); i < end; i++) {
        sum += histogram->counts[i];
        if (sum >= rank) {
            uint64_t high = histogram_highest_equivalent(histogram_value(i));
            return high < histogram->maximum ? high : histogram->maximum;
        }
    }
    return histogram->maximum;
}

bool histogram_percentile(const struct histogram *histogram, double percentile, uint64_t *value)
{
    uint64_t count = histogram_count(histogram);
    double share = (percentile > 50 ? 100 - percentile : percentile) / 100;
    /* The most that a percentile's own rounding can lose: 99.9 % of 10,000 leaves 10. */
    double rounding = (double)count * 0x1p-53;

    if (count == 0 || isnan(percentile)) {
        return false;
    }
    double least = share >= 0.25 ? MIDDLE_LEAST : TAIL_LEAST;
    if (percentile < 100 && (double)count * share + rounding < least) {
        return false;
    }
    *value = value_at(histogram, percentile, count);
    return true;
}

uint64_t histogram_percentile_any(const struct histogram *histogram, double percentile)
{
    uint64_t count = histogram_count(histogram);
    return count ? value_at(histogram, percentile, count) : 0;
}

double histogram_mean(const struct histogram *histogram)
{
    uint32_t end = index_end(histogram);
    uint64_t count = 0;
    double sum = 0;

    for (uint32_t i = index_begin(histogram); i < end; i++) {
        if (histogram->counts[i]) {
            count += histogram->counts[i];
            sum += middle_of(i) * (double)histogram->counts[i];
        }
    }
    return count ? sum / (double)count : 0;
}

double histogram_deviation(const struct histogram *histogram)
{
    uint32_t end = index_end(histogram);
    double mean = histogram_mean(histogram);
    uint64_t count = 0;
    double sum = 0;

    for (uint32_t i = index_begin(histogram); i < end; i++) {
        if (histogram->counts[i]) {
            double distance = middle_of(i) - mean;
            count += histogram->counts[i];
            sum += distance * distance * (double)histogram->counts[i];
        }
    }
    return count ? sqrt(sum / (double)count) : 0;
}

bool histogram_next(const struct histogram *histogram, uint32_t *index, uint64_t *low,
                    uint64_t *high, uint64_t *count)
{
    uint32_t begin = index_begin(histogram);
    uint32_t end = index_end(histogram);

    for (uint32_t i = *index > begin ? *index : begin; i < end; i++) {
        if (histogram->counts[i]) {
            *low = histogram_value(i);
            *high = histogram_highest_equivalent(*low);
            *count = histogram->counts[i];
            *index = i + 1;
            return true;
        }
    }
    return false;
}
