/* Repeated measurements: summaries, drift and outliers, against known values and by simulation. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/rng.h"
#include "stats/repeat.h"

static void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance)) {
        fail_msg("%.17g is not %.17g", value, expected);
    }
}

/* Standard normal (Box and Muller). */
static double normal(struct rng *rng)
{
    double radius = sqrt(-2 * log(1 - rng_unit(rng)));
    return radius * cos(6.283185307179586 * rng_unit(rng));
}

static void summaries(void **state)
{
    (void)state;
    static const double values[] = {3, 1, 2, 10, 4, 5, 7};
    struct repeat_summary few = repeat_summarise(values, 5);
    assert_near(few.median.value, 3, 0);
    assert_near(few.median.low, 1, 0); /* the range: five cannot have a 95 % interval */
    assert_near(few.median.high, 10, 0);
    assert_near(few.least, 1, 0);
    assert_near(few.most, 10, 0);
    assert_near(few.deviation, sqrt(50.0 / 4), 1e-12);
    struct repeat_summary enough = repeat_summarise(values, 7);
    struct repeat_summary again = repeat_summarise(values, 7);
    assert_near(enough.median.value, 4, 0);
    assert_true(enough.median.low > 1 && enough.median.low <= 4);
    assert_true(enough.median.high >= 4 && enough.median.high <= 10);
    assert_memory_equal(&enough, &again, sizeof enough);
    struct repeat_summary one = repeat_summarise(values, 1);
    assert_true(one.median.low == 3 && one.median.high == 3 && one.deviation == 0);
    assert_true(isnan(repeat_summarise(values, 0).median.value));
}

/* Two-sided p of Kendall's S for small n: 2/n! for a perfect order; the others from the numbers of
 * permutations by inversions (OEIS A008302: 1, 5, 14, 29, 49 … for n = 6). */
static void drift_is_exact(void **state)
{
    (void)state;
    static const double rising[] = {10, 11, 12, 13, 14, 15};
    static const double swapped[] = {11, 10, 12, 13, 14, 15};
    static const double falling[] = {8, 7, 6, 5, 4, 3, 2, 1};
    static const double flat[] = {5, 5, 5, 5, 5, 5, 5};
    struct repeat_drift drift = repeat_drift(rising, 6);
    assert_near(drift.p, 2.0 / 720, 1e-12);
    assert_near(drift.change, 5 / 12.5, 1e-12);
    assert_true(drift.seen);
    drift = repeat_drift(swapped, 6);
    assert_near(drift.p, 2 * 6.0 / 720, 1e-12);
    assert_false(drift.seen);
    drift = repeat_drift(rising, 5);
    assert_near(drift.p, 2.0 / 120, 1e-12);
    assert_false(drift.seen); /* five values are too few for 1 % */
    drift = repeat_drift(falling, 8);
    assert_near(drift.p, 2.0 / 40320, 1e-12);
    assert_near(drift.change, -7 / 4.5, 1e-12);
    assert_true(drift.seen);
    drift = repeat_drift(flat, 7);
    assert_near(drift.p, 1, 0);
    assert_false(drift.seen);
    assert_false(repeat_drift(flat, 1).seen);
    assert_false(repeat_drift(flat, 0).seen);
}

static void a_drift_below_a_percent_is_none(void **state)
{
    (void)state;
    double values[11];
    for (int i = 0; i < 11; i++) {
        values[i] = 1000 + 0.9 * i;
    }
    struct repeat_drift drift = repeat_drift(values, 11);
    assert_true(drift.p < 1e-6);
    assert_false(drift.seen);
    for (int i = 0; i < 11; i++) {
        values[i] = 1000 + 1.1 * i;
    }
    assert_true(repeat_drift(values, 11).seen);
}

/* False alarms: at most 1 %, and for larger n close to that; also at both sides of where the exact
 * distribution ends. */
static void drift_false_alarms(void **state)
{
    (void)state;
    enum { TRIALS = 20000 };
    static const size_t sizes[] = {6, 11, 20, 60, 61};
    static const double least[] = {0.001, 0.006, 0.008, 0.008, 0.008};
    struct rng rng;
    rng_seed(&rng, 3);
    for (size_t s = 0; s < 5; s++) {
        size_t trials = sizes[s] > 50 ? TRIALS / 2 : TRIALS, alarms = 0;
        for (size_t t = 0; t < trials; t++) {
            double values[64];
            for (size_t i = 0; i < sizes[s]; i++) {
                values[i] = 100 + 10 * normal(&rng);
            }
            alarms += repeat_drift(values, sizes[s]).p < 0.01;
        }
        double share = (double)alarms / (double)trials;
        if (share > 0.0125 || share < least[s]) {
            fail_msg("n %zu: %.4f false alarms", sizes[s], share);
        }
    }
}

static void drift_is_found(void **state)
{
    (void)state;
    size_t found = 0;
    struct rng rng;
    rng_seed(&rng, 4);
    for (int t = 0; t < 1000; t++) {
        double values[11];
        for (int i = 0; i < 11; i++) {
            values[i] = 100 - 1.2 * i + 2 * normal(&rng); /* falls by 12 %, noise of 2 % */
        }
        struct repeat_drift drift = repeat_drift(values, 11);
        found += drift.seen && drift.change < -0.03 && drift.change > -0.22;
    }
    assert_in_range(found, 900, 1000);
}

static void outliers(void **state)
{
    (void)state;
    static const double values[] = {100, 101, 65, 99, 100.5, 99.5, 104};
    static const double equal[] = {100, 100, 100, 100, 104, 106};
    static const double four[] = {100, 100, 100, 10};
    static const double zero[] = {0, 0, 0, 0, 0, 1};
    bool far[7];
    assert_int_equal(repeat_outliers(values, 7, far), 1);
    for (int i = 0; i < 7; i++) {
        assert_true(far[i] == (i == 2)); /* 104 is 4 deviations away, but less than 5 % */
    }
    assert_int_equal(repeat_outliers(equal, 6, far), 1);
    assert_true(far[5] && !far[4]);
    assert_int_equal(repeat_outliers(four, 4, far), 0);
    assert_false(far[3]);
    assert_int_equal(repeat_outliers(zero, 6, far), 1);
    assert_int_equal(repeat_outliers(values, 0, far), 0);
    /* Wide noise: 20 % away is nothing where that is usual. */
    static const double wide[] = {80, 120, 90, 110, 100, 70, 130};
    assert_int_equal(repeat_outliers(wide, 7, far), 0);
}

/* Share of samples of n runs with normal noise of `deviation` percent in which any run is marked.
 */
static double alarms_of(size_t n, double deviation)
{
    enum { TRIALS = 20000 };
    size_t alarms = 0;
    struct rng rng;
    rng_seed(&rng, 5);
    for (size_t t = 0; t < TRIALS; t++) {
        double values[20];
        bool far[20];
        for (size_t i = 0; i < n; i++) {
            values[i] = 100 + deviation * normal(&rng);
        }
        alarms += repeat_outliers(values, n, far) > 0;
    }
    return (double)alarms / TRIALS;
}

/* Noise of 4 % leaves about one run in a hundred, as 3.5 deviations of a small sample do; of 1.5 %
 * next to none, since that is not 5 % away. */
static void outlier_false_alarms(void **state)
{
    (void)state;
    static const size_t sizes[] = {5, 7, 11, 20};
    static const double most[] = {0.13, 0.125, 0.115, 0.095};
    for (size_t s = 0; s < 4; s++) {
        double wide = alarms_of(sizes[s], 4), narrow = alarms_of(sizes[s], 1.5);
        if (wide > most[s] || wide < most[s] / 2 || narrow > 0.015) {
            fail_msg("n %zu: %.4f and %.4f false alarms", sizes[s], wide, narrow);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(summaries),
        cmocka_unit_test(drift_is_exact),
        cmocka_unit_test(a_drift_below_a_percent_is_none),
        cmocka_unit_test(drift_false_alarms),
        cmocka_unit_test(drift_is_found),
        cmocka_unit_test(outliers),
        cmocka_unit_test(outlier_false_alarms),
    };
    return cmocka_run_group_tests_name("repeat", tests, NULL, NULL);
}
