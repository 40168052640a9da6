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
#define WHOLE ((struct arrival_share){0, 1, 1})

static void fixed_starts_at_the_origin(void **state)
{
    (void)state;
    struct arrival arrival;
    arrival_init(&arrival, ARRIVAL_FIXED, 1000, WHOLE, START, 1);
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
        arrival_init(&arrival, ARRIVAL_FIXED, rates[i], WHOLE, 0, 1);
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
        arrival_init(&arrival, ARRIVAL_FIXED, rates[i], WHOLE, START, 1);
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
        arrival_init(&arrival, ARRIVAL_FIXED, 90000, (struct arrival_share){part, 1, PARTS}, START,
                     part);
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

/* Connections of one worker after the other; 0: no more. */
static const uint32_t uneven_shares[][6] = {{1, 1, 1, 2}, {2, 1}, {4, 1, 3, 1}, {5}, {1, 999, 7}};

static uint32_t connections_of(const uint32_t *shares)
{
    uint32_t sum = 0;
    for (size_t i = 0; shares[i]; i++) {
        sum += shares[i];
    }
    return sum;
}

static void fixed_shares_are_the_whole_schedule(void **state)
{
    (void)state;
    static const double rates[] = {500, 3, 1234567, 7e8};
    for (size_t at = 0; at < 4 * sizeof uneven_shares / sizeof *uneven_shares; at++) {
        const uint32_t *shares = uneven_shares[at / 4];
        uint32_t of = connections_of(shares), first = 0;
        for (size_t i = 0; shares[i]; i++) {
            struct arrival whole, arrival;
            arrival_init(&whole, ARRIVAL_FIXED, rates[at % 4], WHOLE, START, 1);
            arrival_init(&arrival, ARRIVAL_FIXED, rates[at % 4],
                         (struct arrival_share){first, shares[i], of}, START, 1);
            for (uint64_t k = 0; k < 20u * of; k++) {
                if (k % of >= first && k % of < first + shares[i]) {
                    assert_true(arrival.next == whole.next);
                    assert_int_equal(arrival_peek(&arrival), arrival_peek(&whole));
                    arrival_take(&arrival);
                }
                arrival_take(&whole);
            }
            assert_int_equal(arrival.index, 20 * shares[i]);
            first += shares[i];
        }
    }
}

/* After days of a rate whose gap has no finite form a share is where the whole is. */
static void fixed_shares_do_not_drift(void **state)
{
    (void)state;
    enum { OF = 7, TURNS = 1000000 };
    struct arrival whole, arrival;
    arrival_init(&whole, ARRIVAL_FIXED, 30000, WHOLE, START, 1);
    arrival_init(&arrival, ARRIVAL_FIXED, 30000, (struct arrival_share){2, 3, OF}, START, 1);
    for (uint64_t i = 0; i < TURNS; i++) {
        arrival_take(&arrival);
        arrival_take(&arrival);
        arrival_take(&arrival);
    }
    advance(&whole, (uint64_t)OF * TURNS + 2);
    assert_true(arrival.next == whole.next);
    arrival.next += arrival.round * (UINT64_C(1200) * TURNS); /* 78 hours */
    advance(&whole, (uint64_t)OF * 1200 * TURNS);
    assert_true(arrival.next == whole.next);
    assert_int_equal(arrival_backlog(&arrival, arrival_peek(&arrival) + UINT64_C(7000000000)),
                     UINT64_C(90000) + 1);
}

static void poisson_gaps_are_exponential(void **state)
{
    (void)state;
    enum { ARRIVALS = 1000000 };
    struct arrival arrival;
    uint64_t last = START;
    double sum = 0, squares = 0, product = 0, previous = 0;
    int beyond_one = 0, beyond_three = 0;
    arrival_init(&arrival, ARRIVAL_POISSON, 40000, (struct arrival_share){1, 1, 4}, START, 99);
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
    arrival_init(&one, ARRIVAL_POISSON, 1000, (struct arrival_share){0, 1, 2}, START, 5);
    arrival_init(&same, ARRIVAL_POISSON, 1000, (struct arrival_share){0, 1, 2}, START, 5);
    arrival_init(&part, ARRIVAL_POISSON, 1000, (struct arrival_share){1, 1, 2}, START, 5);
    arrival_init(&seed, ARRIVAL_POISSON, 1000, (struct arrival_share){0, 1, 2}, START, 6);
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
        arrival_init(&arrival, ARRIVAL_FIXED, rates[i / 2],
                     i % 2 ? (struct arrival_share){1, 1, 3} : WHOLE, START, 1);
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
    arrival_init(&arrival, ARRIVAL_FIXED, 1000, WHOLE, START, 1);
    assert_int_equal(arrival_backlog(&arrival, START), 1);
    assert_int_equal(arrival_backlog(&arrival, START + 999999), 1);
    assert_int_equal(arrival_backlog(&arrival, START + 1000000), 2);
    assert_int_equal(arrival_backlog(&arrival, START + UINT64_C(10000000000)), 10001);
}

/* Whatever the shares, and wherever in its turn a worker is, together all that is due is due. */
static void backlogs_of_shares_add_up(void **state)
{
    (void)state;
    for (size_t at = 0; at < sizeof uneven_shares / sizeof *uneven_shares; at++) {
        const uint32_t *shares = uneven_shares[at];
        uint32_t of = connections_of(shares);
        for (uint64_t now = START; now < START + 2000; now += 1 + now % 7) {
            struct arrival whole;
            uint64_t sum = 0;
            uint32_t first = 0;
            arrival_init(&whole, ARRIVAL_FIXED, 7e8, WHOLE, START, 1);
            for (size_t i = 0; shares[i]; i++) {
                struct arrival arrival;
                arrival_init(&arrival, ARRIVAL_FIXED, 7e8,
                             (struct arrival_share){first, shares[i], of}, START, 1);
                for (uint64_t taken = 0; taken < now % 5 && arrival_peek(&arrival) <= now;
                     taken++, sum++) {
                    arrival_take(&arrival);
                }
                assert_int_equal(arrival_backlog(&arrival, now), count_due(arrival, now));
                sum += arrival_backlog(&arrival, now);
                first += shares[i];
            }
            assert_int_equal(sum, arrival_backlog(&whole, now));
        }
    }
}

static void poisson_backlog_is_the_expectation(void **state)
{
    (void)state;
    struct arrival arrival;
    arrival_init(&arrival, ARRIVAL_POISSON, 1000, WHOLE, START, 8);
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
            arrival_init(&arrival, kind ? ARRIVAL_POISSON : ARRIVAL_FIXED, rates[i],
                         (struct arrival_share){1, 1, 2}, START, 1);
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
        cmocka_unit_test(fixed_shares_are_the_whole_schedule),
        cmocka_unit_test(fixed_shares_do_not_drift),
        cmocka_unit_test(poisson_gaps_are_exponential),
        cmocka_unit_test(poisson_is_seeded),
        cmocka_unit_test(backlog_counts_what_is_due),
        cmocka_unit_test(backlogs_of_shares_add_up),
        cmocka_unit_test(poisson_backlog_is_the_expectation),
        cmocka_unit_test(absurd_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
