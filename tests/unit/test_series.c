/* The series: constant memory, nothing lost when it loses resolution. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "stats/series.h"

enum { STEP_NS = 100, MEASURED_NS = 90 };

/* Interval i of a window: it starts at i * STEP_NS, was measured for MEASURED_NS, and counted i
 * and 1. */
static void append(struct series *series, uint64_t i)
{
    struct series_point point = {.start_ns = i * STEP_NS, .duration_ns = MEASURED_NS};
    point.counters[0] = i;
    point.counters[1] = 1;
    point.counters[2] = 77; /* not one of the series' counters */
    series_append(series, &point);
}

static void start(struct series *series, size_t capacity)
{
    struct err error = {0};
    assert_int_equal(series_init(series, capacity, 2, &error), 0);
    assert_int_equal(series->count, 0);
}

static void keeps_every_interval_until_full(void **state)
{
    (void)state;
    struct series series;
    start(&series, 4);
    for (uint64_t i = 0; i < 4; i++) {
        append(&series, i);
    }
    assert_int_equal(series.count, 4);
    assert_int_equal(series.merged, 1);
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(series.points[i].start_ns, i * STEP_NS);
        assert_int_equal(series.points[i].duration_ns, MEASURED_NS);
        assert_int_equal(series.points[i].counters[0], i);
        assert_int_equal(series.points[i].counters[2], 0);
    }
    series_release(&series);
}

static void merges_pairs_when_full(void **state)
{
    (void)state;
    struct series series;
    start(&series, 4);
    for (uint64_t i = 0; i < 5; i++) {
        append(&series, i);
    }
    /* 0+1, 2+3, 4 and room for 5 */
    assert_int_equal(series.count, 3);
    assert_int_equal(series.merged, 2);
    assert_int_equal(series.open, 1);
    assert_int_equal(series.points[1].start_ns, 2 * STEP_NS);
    assert_int_equal(series.points[1].duration_ns, 2 * MEASURED_NS);
    assert_int_equal(series.points[1].counters[0], 2 + 3);
    assert_int_equal(series.points[2].start_ns, 4 * STEP_NS);
    assert_int_equal(series.points[2].counters[0], 4);
    append(&series, 5);
    assert_int_equal(series.count, 3);
    assert_int_equal(series.open, 2);
    assert_int_equal(series.points[2].duration_ns, 2 * MEASURED_NS);
    assert_int_equal(series.points[2].counters[0], 4 + 5);
    series_release(&series);
}

/* After any number of intervals each point but the last holds exactly `merged` of them in order,
 * and none is lost. */
static void holds_all_intervals_in_order(void **state)
{
    (void)state;
    static const size_t capacities[] = {2, 4, 6, 10, 64};
    for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++) {
        struct series series;
        start(&series, capacities[c]);
        for (uint64_t n = 1; n <= 1000; n++) {
            append(&series, n - 1);
            assert_true(series.count <= capacities[c]);
            uint64_t first = 0;
            for (size_t i = 0; i < series.count; i++) {
                const struct series_point *point = &series.points[i];
                uint64_t held = i + 1 < series.count ? series.merged : n - first;
                assert_int_equal(point->counters[1], held);
                assert_int_equal(point->start_ns, first * STEP_NS);
                assert_int_equal(point->duration_ns, held * MEASURED_NS);
                assert_int_equal(point->counters[0], held * (2 * first + held - 1) / 2);
                first += held;
            }
            assert_int_equal(first, n);
            assert_true(series.open >= 1 && series.open <= series.merged);
        }
        /* At most one halving too many: the resolution is within a factor of two of the best. */
        assert_true(series.count * 2 > capacities[c]);
        series_release(&series);
    }
}

static void refuses_what_it_cannot_hold(void **state)
{
    (void)state;
    static const size_t bad[] = {0, 1, 3, SIZE_MAX};
    struct series series;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err error = {0};
        assert_int_equal(series_init(&series, bad[i], 1, &error), -1);
        assert_int_equal(error.code, ERR_LIMIT);
        append(&series, 0); /* harmless */
        assert_int_equal(series.count, 0);
        series_release(&series);
    }
    struct err error = {0};
    assert_int_equal(series_init(&series, 4, SERIES_COUNTERS_MAX + 1, &error), -1);
    series_release(&series);
}

static void releases_twice(void **state)
{
    (void)state;
    struct series series;
    start(&series, 2);
    series_release(&series);
    series_release(&series);
    assert_null(series.points);
    append(&series, 0);
    assert_int_equal(series.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_every_interval_until_full),
        cmocka_unit_test(merges_pairs_when_full),
        cmocka_unit_test(holds_all_intervals_in_order),
        cmocka_unit_test(refuses_what_it_cannot_hold),
        cmocka_unit_test(releases_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
