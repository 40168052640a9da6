/* Arrival schedules: exact where fixed, exponential where Poisson. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "stats/arrival.h"

#define START UINT64_C(123456789012345)

static void fixed_starts_at_the_origin(void **state)
{
    (void)state;
    struct arrival arrival;
    arrival_init(&arrival, ARRIVAL_FIXED, 1000, 0, 1, START, 1);
    assert_true(arrival.gap_ns == 1e6);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(arrival.index, i);
        assert_int_equal(arrival_peek(&arrival), START + i * 1000000);
        assert_int_equal(arrival_peek(&arrival), START + i * 1000000);
        arrival_take(&arrival);
    }
}

/* i arrivals later, without the 10^10 calls: sums of the schedule are exact, so one step of i gaps
 * is i steps. */
static void advance(struct arrival *arrival, uint64_t i)
{
    arrival->next += arrival->gap * i;
    arrival->index += i;
}

static void fixed_does_not_drift(void **state)
{
    (void)state;
    /* rates whose gap has no finite form, and one arrival in 3 s */
    static const double rates[] = {3, 7, 999999, 1234567, 3e6, 1.0 / 3};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        struct arrival arrival, skipped;
        arrival_init(&arrival, ARRIVAL_FIXED, rates[i], 0, 1, 0, 1);
        skipped = arrival;
        for (int j = 0; j < 1000000; j++) {
            arrival_take(&arrival);
        }
        advance(&skipped, 1000000);
        assert_true(arrival.next == skipped.next);
        if (rates[i] < 1) {
            continue;
        }
        /* rate * s arrivals take s seconds: exactly, up to 10^10 arrivals */
        uint64_t rate = (uint64_t)rates[i];
        uint64_t seconds = UINT64_C(10000000000) / rate;
        arrival_init(&arrival, ARRIVAL_FIXED, rates[i], 0, 1, START, 1);
        advance(&arrival, rate * seconds);
        assert_int_equal(arrival_peek(&arrival), START + seconds * UINT64_C(1000000000));
    }
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void fixed_parts_are_evenly_spaced_together(void **state)
{
    (void)state;
    enum { PARTS = 7, EACH = 1000 };
    static uint64_t instants[PARTS * EACH];
    for (uint32_t part = 0; part < PARTS; part++) {
        struct arrival arrival;
        arrival_init(&arrival, ARRIVAL_FIXED, 90000, part, PARTS, START, part);
        for (size_t i = 0; i < EACH; i++) {
            instants[part * EACH + i] = arrival_peek(&arrival);
            arrival_take(&arrival);
        }
    }
    qsort(instants, PARTS * EACH, sizeof *instants, compare);
    for (uint64_t i = 0; i < PARTS * EACH; i++) {
        uint64_t nearest = (2 * i * 1000000000 / 90000 + 1) / 2;
        assert_int_equal(instants[i], START + nearest);
    }
}

static void poisson_gaps_are_exponential(void **state)
{
    (void)state;
    enum { ARRIVALS = 1000000 };
    struct arrival arrival;
    uint64_t last = START;
    double sum = 0, squares = 0, product = 0, previous = 0;
    int beyond_one = 0, beyond_three = 0;
    arrival_init(&arrival, ARRIVAL_POISSON, 40000, 1, 4, START, 99);
    assert_true(arrival.gap_ns == 1e5);
    for (int i = 0; i < ARRIVALS; i++) {
        uint64_t now = arrival_peek(&arrival);
        assert_true(now >= last);
        double gap = (double)(now - last) / arrival.gap_ns;
        last = now;
        sum += gap;
        squares += gap * gap;
        product += (gap - 1) * (previous - 1);
        previous = gap;
        beyond_one += gap > 1;
        beyond_three += gap > 3;
        arrival_take(&arrival);
    }
    assert_int_equal(arrival.index, ARRIVALS);
    double mean = sum / ARRIVALS;
    assert_true(fabs(mean - 1) < 0.01);
    assert_true(fabs(squares / ARRIVALS - mean * mean - 1) < 0.02);
    assert_true(fabs(beyond_one / (double)ARRIVALS - exp(-1)) < 0.003);
    assert_true(fabs(beyond_three / (double)ARRIVALS - exp(-3)) < 0.002);
    assert_true(fabs(product / ARRIVALS) < 0.01); /* neighbours are independent */
}

static void poisson_is_seeded(void **state)
{
    (void)state;
    struct arrival one, same, part, seed;
    int equal_part = 0, equal_seed = 0;
    arrival_init(&one, ARRIVAL_POISSON, 1000, 0, 2, START, 5);
    arrival_init(&same, ARRIVAL_POISSON, 1000, 0, 2, START, 5);
    arrival_init(&part, ARRIVAL_POISSON, 1000, 1, 2, START, 5);
    arrival_init(&seed, ARRIVAL_POISSON, 1000, 0, 2, START, 6);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(arrival_peek(&one), arrival_peek(&same));
        equal_part += arrival_peek(&one) == arrival_peek(&part);
        equal_seed += arrival_peek(&one) == arrival_peek(&seed);
        arrival_take(&one);
        arrival_take(&same);
        arrival_take(&part);
        arrival_take(&seed);
    }
    assert_true(equal_part < 10);
    assert_true(equal_seed < 10);
}

/* Takes until nothing is due. */
static uint64_t count_due(struct arrival arrival, uint64_t now_ns)
{
    uint64_t due = 0;
    while (arrival_peek(&arrival) <= now_ns) {
        arrival_take(&arrival);
        due++;
    }
    return due;
}

static void backlog_counts_what_is_due(void **state)
{
    (void)state;
    /* 2e9: instants half way between two nanoseconds */
    static const double rates[] = {1e9, 2e9, 3e8, 7e8, 3e9, 1234567, 1};
    for (size_t i = 0; i < 2 * sizeof rates / sizeof *rates; i++) {
        struct arrival arrival;
        arrival_init(&arrival, ARRIVAL_FIXED, rates[i / 2], i % 2, i % 2 ? 3 : 1, START, 1);
        assert_int_equal(arrival_backlog(&arrival, 0), 0);
        assert_int_equal(arrival_backlog(&arrival, START - 1), 0);
        for (uint64_t now = START; now < START + 300; now++) {
            assert_int_equal(arrival_backlog(&arrival, now), count_due(arrival, now));
            if (now % 3 == 0) {
                arrival_take(&arrival);
            }
        }
        uint64_t next = arrival_peek(&arrival);
        assert_int_equal(arrival_backlog(&arrival, next - 1), 0);
        assert_true(arrival_backlog(&arrival, next) >= 1);
    }
    struct arrival arrival;
    arrival_init(&arrival, ARRIVAL_FIXED, 1000, 0, 1, START, 1);
    assert_int_equal(arrival_backlog(&arrival, START), 1);
    assert_int_equal(arrival_backlog(&arrival, START + 999999), 1);
    assert_int_equal(arrival_backlog(&arrival, START + 1000000), 2);
    assert_int_equal(arrival_backlog(&arrival, START + UINT64_C(10000000000)), 10001);
}

static void poisson_backlog_is_the_expectation(void **state)
{
    (void)state;
    struct arrival arrival;
    arrival_init(&arrival, ARRIVAL_POISSON, 1000, 0, 1, START, 8);
    for (int i = 0; i < 1000; i++) {
        uint64_t next = arrival_peek(&arrival);
        assert_int_equal(arrival_backlog(&arrival, next - 1), 0);
        assert_int_equal(arrival_backlog(&arrival, next), 1);
        assert_int_equal(arrival_backlog(&arrival, next + 500500000), 501);
        arrival_take(&arrival);
    }
}

/* Rates that no run reaches must not hang, overflow or go back in time. */
static void absurd_rates(void **state)
{
    (void)state;
    static const double rates[] = {1e-300, 1e-12, 1e18, 1e30, 1e300};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        for (int kind = 0; kind < 2; kind++) {
            struct arrival arrival;
            arrival_init(&arrival, kind ? ARRIVAL_POISSON : ARRIVAL_FIXED, rates[i], 1, 2, START,
                         1);
            uint64_t last = START;
            for (int j = 0; j < 100; j++) {
                assert_true(arrival_peek(&arrival) >= last);
                last = arrival_peek(&arrival);
                arrival_take(&arrival);
            }
            uint64_t due = arrival_backlog(&arrival, START + 1000000000);
            assert_true(rates[i] < 1 ? due == 0 : due >= UINT64_C(499999999999999000));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_starts_at_the_origin),
        cmocka_unit_test(fixed_does_not_drift),
        cmocka_unit_test(fixed_parts_are_evenly_spaced_together),
        cmocka_unit_test(poisson_gaps_are_exponential),
        cmocka_unit_test(poisson_is_seeded),
        cmocka_unit_test(backlog_counts_what_is_due),
        cmocka_unit_test(poisson_backlog_is_the_expectation),
        cmocka_unit_test(absurd_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
