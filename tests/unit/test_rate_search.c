/* The search for the highest rate, over oracles instead of runs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "stats/rate_search.h"

/* Rates up to `bound` pass; `noise`: the standard deviation of the logarithm of the bound that a
 * probe sees; `lies`: the share of probes that fail for no reason. */
struct oracle {
    double bound, noise, lies;
    bool clearly; /* far away from the bound it is sure */
    struct rng rng;
};

static enum rate_verdict ask(struct oracle *oracle, double rate)
{
    double sum = 0;
    for (int i = 0; i < 12; i++) { /* near enough to normal */
        sum += rng_unit(&oracle->rng);
    }
    double bound = oracle->bound * exp(oracle->noise * (sum - 6));
    if (rng_unit(&oracle->rng) < oracle->lies) {
        return RATE_FAILS;
    }
    if (oracle->clearly && (rate > 2 * bound || rate < bound / 2)) {
        return rate > bound ? RATE_FAILS_CLEARLY : RATE_PASSES_CLEARLY;
    }
    return rate > bound ? RATE_FAILS : RATE_PASSES;
}

static struct rate_search search_of(struct oracle *oracle, double start, double lowest,
                                    double highest)
{
    struct rate_search search;
    rate_search_init(&search, start, 2, lowest, highest);
    while (search.end == RATE_SEARCH_GOES_ON) {
        assert_true(search.rate >= lowest && search.rate <= highest);
        assert_true(search.rate > search.low && search.rate < search.high);
        rate_search_tell(&search, ask(oracle, search.rate));
        assert_true(search.low < search.high);
        assert_in_range(search.probes, 1, RATE_SEARCH_PROBES);
    }
    return search;
}

static void a_sure_bound_is_enclosed(void **state)
{
    (void)state;
    static const double bounds[] = {101, 999, 12345, 50000, 777777, 9.9e6};
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        for (double start = 50; start < 4e7; start *= 3) {
            struct oracle oracle = {.bound = bounds[i], .clearly = i % 2};
            rng_seed(&oracle.rng, i);
            struct rate_search search = search_of(&oracle, start, 100, 1e7);
            assert_int_equal(search.end, RATE_SEARCH_FOUND);
            assert_true(search.low <= bounds[i] && search.high > bounds[i]);
            assert_true(search.high <= search.low * RATE_SEARCH_TOLERANCE);
        }
    }
}

static void never_and_always_are_told(void **state)
{
    (void)state;
    struct oracle oracle = {.bound = 99};
    struct rate_search search = search_of(&oracle, 1e6, 100, 1e7);
    assert_int_equal(search.end, RATE_SEARCH_NEVER);
    assert_true(search.low <= 0 && search.high <= 100);
    oracle.bound = 1e8;
    search = search_of(&oracle, 1e3, 100, 1e7);
    assert_int_equal(search.end, RATE_SEARCH_ALWAYS);
    assert_true(search.low >= 1e7 && isinf(search.high));
    /* nothing between them */
    search = search_of(&oracle, 1e3, 100, 100);
    assert_int_equal(search.end, RATE_SEARCH_ALWAYS);
}

static void one_doubtful_answer_decides_nothing(void **state)
{
    (void)state;
    struct rate_search search;
    rate_search_init(&search, 1000, 2, 1, 1e9);
    rate_search_tell(&search, RATE_FAILS);
    assert_true(fabs(search.rate - 1000) < 1e-9);
    rate_search_tell(&search, RATE_PASSES);
    assert_true(fabs(search.rate - 1000) < 1e-9);
    rate_search_tell(&search, RATE_PASSES);
    assert_true(fabs(search.rate - 2000) < 1e-9 && fabs(search.low - 1000) < 1e-9);
    rate_search_tell(&search, RATE_FAILS_CLEARLY);
    assert_true(fabs(search.high - 2000) < 1e-9);
}

static void steps_grow(void **state)
{
    (void)state;
    struct rate_search search;
    static const double rates[] = {1e6, 5e5, 1.25e5, 1.25e5 / 16, 1.25e5 / 256};
    rate_search_init(&search, 1e6, 2, 1, 1e9);
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        assert_true(fabs(search.rate - rates[i]) < 1e-6);
        rate_search_tell(&search, RATE_FAILS_CLEARLY);
    }
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* The median of many searches is at the bound, whatever the noise, and a search that was lied to is
 * not far off. */
static void noise_is_outvoted(void **state)
{
    (void)state;
    enum { SEARCHES = 501 };
    static const struct oracle oracles[] = {{.bound = 50000, .noise = 0.05},
                                            {.bound = 50000, .noise = 0.2, .clearly = true},
                                            {.bound = 50000, .noise = 0.02, .lies = 0.1}};
    for (size_t i = 0; i < sizeof oracles / sizeof *oracles; i++) {
        struct oracle oracle = oracles[i];
        double found[SEARCHES];
        rng_seed(&oracle.rng, 7);
        for (size_t k = 0; k < SEARCHES; k++) {
            found[k] = search_of(&oracle, 400000, 100, 1e9).low;
        }
        qsort(found, SEARCHES, sizeof *found, compare);
        double median = found[SEARCHES / 2];
        assert_true(median > 50000 / (1.05 + oracle.noise / 2 + oracle.lies));
        assert_true(median < 50000 * (1 + oracle.noise / 2));
        assert_true(found[SEARCHES / 4] > 50000 / (1.1 + oracle.noise + 3 * oracle.lies));
    }
}

static void what_never_agrees_ends(void **state)
{
    (void)state;
    struct rate_search search;
    struct rng rng;
    rng_seed(&rng, 3);
    for (int k = 0; k < 1000; k++) {
        rate_search_init(&search, 1000, 1.25, 1, 1e9);
        for (int i = 0; search.end == RATE_SEARCH_GOES_ON; i++) {
            assert_in_range(i, 0, RATE_SEARCH_PROBES - 1);
            rate_search_tell(&search, rng_unit(&rng) < 0.5 ? RATE_FAILS : RATE_PASSES);
        }
        struct rate_search before = search;
        rate_search_tell(&search, RATE_FAILS);
        assert_memory_equal(&before, &search, sizeof search);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sure_bound_is_enclosed),
        cmocka_unit_test(never_and_always_are_told),
        cmocka_unit_test(one_doubtful_answer_decides_nothing),
        cmocka_unit_test(steps_grow),
        cmocka_unit_test(noise_is_outvoted),
        cmocka_unit_test(what_never_agrees_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
