/* The histogram: buckets and statistics as HdrHistogram has them. Numbers marked "HdrHistogram"
 * were printed by HdrHistogram 2.1.11 (Java) for the same values. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "stats/histogram.h"

static struct histogram *make(void)
{
    struct histogram *histogram = histogram_new();
    assert_non_null(histogram);
    return histogram;
}

static void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance)) {
        fail_msg("%.17g is not %.17g", value, expected);
    }
}

static void layout_is_that_of_hdrhistogram(void **state)
{
    (void)state;
    /* HdrHistogram: countsArrayLength 33792 for 1 to 3,600,000,000,000 with 3 digits. */
    assert_int_equal(HISTOGRAM_COUNTS, 33792);
    /* Every bucket begins where the one before ends, and its ends lead back to it. */
    uint64_t next = 0;
    for (uint32_t i = 0; i < HISTOGRAM_COUNTS; i++) {
        uint64_t low = histogram_value(i);
        uint64_t high = histogram_highest_equivalent(low);
        assert_int_equal(low, next);
        assert_int_equal(histogram_index(low), i);
        assert_int_equal(histogram_index(high), i);
        assert_int_equal(histogram_lowest_equivalent(high), low);
        assert_int_equal(histogram_lowest_equivalent(low), low);
        assert_true((high - low) * 1000 <= low);
        next = high + 1;
    }
    assert_true(next > HISTOGRAM_HIGHEST);
}

static void equivalents(void **state)
{
    (void)state;
    static const struct {
        uint64_t value, low, high;
    } rows[] = {
        {0, 0, 0},
        {2047, 2047, 2047},
        {2048, 2048, 2049},
        {2049, 2048, 2049},
        {4095, 4094, 4095},
        {4096, 4096, 4099},
        {10007, 10000, 10007},
        {UINT64_C(3600000000000), UINT64_C(3599182594048), UINT64_C(3601330077695)},
        {UINT64_MAX, UINT64_MAX << 53, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(histogram_lowest_equivalent(rows[i].value), rows[i].low);
        assert_int_equal(histogram_highest_equivalent(rows[i].value), rows[i].high);
    }
}

static void empty(void **state)
{
    (void)state;
    struct histogram *histogram = make();
    uint64_t value = 7, low, high, count;
    uint32_t index = 0;
    assert_int_equal(histogram_count(histogram), 0);
    assert_int_equal(histogram->minimum, UINT64_MAX);
    assert_int_equal(histogram->maximum, 0);
    assert_false(histogram_percentile(histogram, 50, &value));
    assert_false(histogram_percentile(histogram, 100, &value));
    assert_int_equal(value, 7);
    assert_int_equal(histogram_percentile_any(histogram, 100), 0);
    assert_near(histogram_mean(histogram), 0, 0);
    assert_near(histogram_deviation(histogram), 0, 0);
    assert_false(histogram_next(histogram, &index, &low, &high, &count));
    histogram_free(histogram);
    histogram_free(NULL);
}

static void out_of_range_is_counted_apart(void **state)
{
    (void)state;
    struct histogram *histogram = make();
    histogram_record(histogram, HISTOGRAM_HIGHEST, 1);
    histogram_record(histogram, HISTOGRAM_HIGHEST + 1, 2);
    histogram_record(histogram, UINT64_MAX, 3);
    assert_int_equal(histogram_count(histogram), 1);
    assert_int_equal(histogram->out_of_range, 5);
    assert_int_equal(histogram->maximum, HISTOGRAM_HIGHEST);
    assert_int_equal(histogram->minimum, HISTOGRAM_HIGHEST);
    histogram_clear(histogram);
    assert_int_equal(histogram->out_of_range, 0);
    histogram_free(histogram);
}

static void nothing_recorded_moves_nothing(void **state)
{
    (void)state;
    struct histogram *fresh = make();
    struct histogram *histogram = make();
    histogram_record(histogram, 5, 0);
    assert_memory_equal(histogram, fresh, sizeof *fresh);
    histogram_free(histogram);
    histogram_free(fresh);
}

static void statistics_of_squares(void **state)
{
    (void)state;
    /* HdrHistogram, over i * i for i = 0 .. 999. */
    static const struct {
        double percentile;
        uint64_t value;
    } rows[] = {{1, 81},      {25, 62015},  {50, 249087},  {75, 561151},
                {90, 808447}, {99, 978431}, {99.9, 996351}};
    struct histogram *histogram = make();
    for (uint64_t i = 0; i < 1000; i++) {
        histogram_record(histogram, i * i, 1);
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(histogram_percentile_any(histogram, rows[i].percentile), rows[i].value);
    }
    assert_near(histogram_mean(histogram), 332850.431, 1e-6);
    assert_near(histogram_deviation(histogram), 297869.63270100433, 1e-6);
    assert_int_equal(histogram_percentile_any(histogram, 0), 0);
    /* HdrHistogram's 998399 is the end of the bucket; what was recorded bounds it here. */
    assert_int_equal(histogram_percentile_any(histogram, 99.99), 998001);
    assert_int_equal(histogram_percentile_any(histogram, 100), 998001);
    histogram_free(histogram);
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Percentiles in thousandths of a percent, against the rank in the sorted values. */
static void percentiles_are_those_of_sorted_values(void **state)
{
    (void)state;
    enum { VALUES = 20000 };
    static uint64_t values[VALUES];
    struct histogram *histogram = make();
    struct rng rng;
    rng_seed(&rng, 1);
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = rng_next(&rng) >> (22 + rng_below(&rng, 42));
        values[i] %= HISTOGRAM_HIGHEST + 1;
        histogram_record(histogram, values[i], 1);
    }
    qsort(values, VALUES, sizeof *values, compare);
    assert_int_equal(histogram->minimum, values[0]);
    assert_int_equal(histogram->maximum, values[VALUES - 1]);
    for (uint64_t thousandths = 1; thousandths <= 100000; thousandths += 3) {
        uint64_t rank = (thousandths * VALUES + 99999) / 100000;
        uint64_t expected = histogram_highest_equivalent(values[rank - 1]);
        if (expected > values[VALUES - 1]) {
            expected = values[VALUES - 1];
        }
        assert_int_equal(histogram_percentile_any(histogram, (double)thousandths / 1000), expected);
    }
    histogram_free(histogram);
}

static void odd_percentiles(void **state)
{
    (void)state;
    struct histogram *histogram = make();
    uint64_t value = 0;
    histogram_record(histogram, 2049, 20);
    histogram_record(histogram, 5001, 20);
    assert_int_equal(histogram_percentile_any(histogram, 0), 2049);
    assert_int_equal(histogram_percentile_any(histogram, -1), 2049);
    assert_int_equal(histogram_percentile_any(histogram, 1e-300), 2049);
    assert_int_equal(histogram_percentile_any(histogram, 50), 2049);
    assert_int_equal(histogram_percentile_any(histogram, 50.001), 5001);
    assert_int_equal(histogram_percentile_any(histogram, 1000), 5001);
    assert_int_equal(histogram_percentile_any(histogram, (double)NAN), 2049);
    assert_false(histogram_percentile(histogram, (double)NAN, &value));
    assert_false(histogram_percentile(histogram, 0, &value));
    assert_false(histogram_percentile(histogram, -1, &value));
    histogram_free(histogram);
}

static void tail_needs_some_values(void **state)
{
    (void)state;
    static const struct {
        double percentile;
        uint64_t enough;
    } rows[] = {{50, 10},
                {50.1, 11},
                {75, 20},
                {76, 42},
                {90, 100},
                {99, 1000},
                {99.9, 10000},
                {99.99, 100000},
                {99.999, 1000000},
                {99.9999, 10000000},
                {99.99999, UINT64_C(100000000)},
                {25, 20},
                {24, 42},
                {10, 100},
                {1, 1000},
                {0.1, 10000},
                {0.001, 1000000},
                {100, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct histogram *histogram = make();
        uint64_t value = 0;
        if (rows[i].enough > 1) {
            histogram_record(histogram, 5, rows[i].enough - 1);
            assert_false(histogram_percentile(histogram, rows[i].percentile, &value));
        }
        histogram_record(histogram, 5, 1);
        assert_true(histogram_percentile(histogram, rows[i].percentile, &value));
        assert_int_equal(value, 5);
        histogram_free(histogram);
    }
}

static void clear_empties_and_initialises(void **state)
{
    (void)state;
    struct histogram *fresh = make();
    struct histogram *histogram = make();
    histogram_record(histogram, 0, 1);
    histogram_record(histogram, 123456, 9);
    histogram_record(histogram, HISTOGRAM_HIGHEST, 1);
    histogram_clear(histogram);
    assert_memory_equal(histogram, fresh, sizeof *fresh);
    memset(histogram, 0, sizeof *histogram);
    histogram_clear(histogram);
    assert_memory_equal(histogram, fresh, sizeof *fresh);
    histogram_clear(histogram);
    assert_memory_equal(histogram, fresh, sizeof *fresh);
    histogram_free(histogram);
    histogram_free(fresh);
}

static void add_is_the_same_as_recording_in_one(void **state)
{
    (void)state;
    struct histogram *one = make();
    struct histogram *parts[2] = {make(), make()};
    struct histogram *sum = make();
    struct rng rng;
    rng_seed(&rng, 2);
    for (int i = 0; i < 5000; i++) {
        uint64_t value = rng_next(&rng) >> (20 + rng_below(&rng, 40));
        uint64_t times = rng_below(&rng, 5) + 1;
        histogram_record(one, value, times);
        histogram_record(parts[i % 2], value, times);
    }
    assert_true(one->out_of_range > 0);
    histogram_add(sum, parts[0]);
    histogram_add(sum, parts[1]);
    assert_memory_equal(sum, one, sizeof *one);
    /* Nothing to add: an empty one, and zeroed memory that nobody has cleared. */
    histogram_clear(parts[0]);
    histogram_add(sum, parts[0]);
    memset(parts[1], 0, sizeof *parts[1]);
    histogram_clear(sum);
    histogram_record(sum, 7, 1);
    *one = *sum;
    histogram_add(sum, parts[1]);
    assert_memory_equal(sum, one, sizeof *one);
    histogram_free(one);
    histogram_free(sum);
    histogram_free(parts[0]);
    histogram_free(parts[1]);
}

static void next_gives_each_bucket_once(void **state)
{
    (void)state;
    static const uint64_t rows[][3] = {{3, 3, 1}, {2048, 2049, 5}, {10000, 10007, 2}};
    struct histogram *histogram = make();
    uint64_t low, high, count;
    uint32_t index = 0;
    histogram_record(histogram, 10003, 2);
    histogram_record(histogram, 2048, 1);
    histogram_record(histogram, 2049, 4);
    histogram_record(histogram, 3, 1);
    for (size_t i = 0; i < 3; i++) {
        assert_true(histogram_next(histogram, &index, &low, &high, &count));
        assert_int_equal(low, rows[i][0]);
        assert_int_equal(high, rows[i][1]);
        assert_int_equal(count, rows[i][2]);
    }
    assert_false(histogram_next(histogram, &index, &low, &high, &count));
    assert_false(histogram_next(histogram, &index, &low, &high, &count));
    histogram_free(histogram);
}

/* Resident pages of shared memory, as the kernel counts them. */
static long shared_pages(void)
{
    long size, resident, shared = -1;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld %ld", &size, &resident, &shared), 3);
    fclose(file);
    return shared;
}

static void parked_is_out_of_memory_and_whole(void **state)
{
    (void)state;
    struct histogram *histogram = make();
    for (uint32_t i = 0; i < HISTOGRAM_COUNTS; i += 64) {
        if (histogram_value(i) <= HISTOGRAM_HIGHEST) {
            histogram_record(histogram, histogram_value(i), i + 1);
        }
    }
    uint64_t count = histogram_count(histogram), maximum = histogram->maximum;
    long before = shared_pages();
    histogram_park(histogram);
    long pages = (long)sizeof *histogram / sysconf(_SC_PAGESIZE);
    assert_true(shared_pages() <= before - pages / 2);
    assert_int_equal(histogram->maximum, maximum);
    assert_int_equal(histogram_count(histogram), count);
    histogram_free(histogram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_is_that_of_hdrhistogram),
        cmocka_unit_test(equivalents),
        cmocka_unit_test(empty),
        cmocka_unit_test(parked_is_out_of_memory_and_whole),
        cmocka_unit_test(out_of_range_is_counted_apart),
        cmocka_unit_test(nothing_recorded_moves_nothing),
        cmocka_unit_test(statistics_of_squares),
        cmocka_unit_test(percentiles_are_those_of_sorted_values),
        cmocka_unit_test(odd_percentiles),
        cmocka_unit_test(tail_needs_some_values),
        cmocka_unit_test(clear_empties_and_initialises),
        cmocka_unit_test(add_is_the_same_as_recording_in_one),
        cmocka_unit_test(next_gives_each_bucket_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
