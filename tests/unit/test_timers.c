/* Timers against a naive model: a table of owners and instants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/timers.h"

struct owner {
    uint32_t place;
    bool set;
    uint64_t at_ns;
};

static void empty_has_nothing_due(void **state)
{
    struct timers timers = {0};
    uint32_t place = 0;
    (void)state;
    assert_true(timers_next_ns(&timers) == UINT64_MAX);
    assert_null(timers_expire(&timers, UINT64_MAX - 1));
    timers_cancel(&timers, &place);
    assert_int_equal(place, 0);
    timers_release(&timers);
    timers_release(&timers);
}

static void expires_at_its_instant_and_once(void **state)
{
    struct timers timers = {0};
    struct owner owner = {0};
    (void)state;
    assert_int_equal(timers_set(&timers, &owner, &owner.place, 100), 0);
    assert_int_not_equal(owner.place, 0);
    assert_int_equal(timers_next_ns(&timers), 100);
    assert_null(timers_expire(&timers, 99));
    assert_ptr_equal(timers_expire(&timers, 100), &owner);
    assert_int_equal(owner.place, 0);
    assert_null(timers_expire(&timers, 1000));
    timers_release(&timers);
}

static void moving_replaces(void **state)
{
    struct timers timers = {0};
    struct owner a = {0}, b = {0};
    (void)state;
    timers_set(&timers, &a, &a.place, 100);
    timers_set(&timers, &b, &b.place, 200);
    timers_set(&timers, &a, &a.place, 300);
    assert_int_equal(timers.count, 2);
    assert_ptr_equal(timers_expire(&timers, 1000), &b);
    assert_ptr_equal(timers_expire(&timers, 1000), &a);
    assert_null(timers_expire(&timers, 1000));
    timers_release(&timers);
}

enum { OWNERS = 60, STEPS = 40000 };

static uint64_t earliest(const struct owner *owners)
{
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < OWNERS; i++) {
        if (owners[i].set && owners[i].at_ns < least) {
            least = owners[i].at_ns;
        }
    }
    return least;
}

static void check_against_model(const struct timers *timers, const struct owner *owners)
{
    size_t count = 0;
    for (int i = 0; i < OWNERS; i++) {
        count += owners[i].set;
        assert_int_equal(owners[i].place != 0, owners[i].set);
        if (owners[i].set) {
            const struct timer *timer = &timers->heap[owners[i].place - 1];
            assert_ptr_equal(timer->owner, &owners[i]);
            assert_int_equal(timer->at_ns, owners[i].at_ns);
        }
    }
    assert_int_equal(timers->count, count);
    assert_true(timers_next_ns(timers) == earliest(owners));
}

static void random_steps_as_the_model(void **state)
{
    struct timers timers = {0};
    struct owner owners[OWNERS] = {{0}};
    struct rng rng;
    uint64_t now_ns = 1, expired = 0;
    (void)state;
    rng_seed(&rng, 20240229);
    for (int i = 0; i < STEPS; i++) {
        struct owner *owner = &owners[rng_below(&rng, OWNERS)];
        uint64_t kind = rng_below(&rng, 10);
        if (kind < 5) { /* few different instants: many are equal */
            owner->at_ns = now_ns + rng_below(&rng, 50);
            owner->set = true;
            assert_int_equal(timers_set(&timers, owner, &owner->place, owner->at_ns), 0);
        } else if (kind < 7) {
            owner->set = false;
            timers_cancel(&timers, &owner->place);
        } else {
            now_ns += rng_below(&rng, 12);
            uint64_t due_ns = earliest(owners);
            struct owner *first = timers_expire(&timers, now_ns);
            assert_int_equal(first != NULL, due_ns <= now_ns);
            if (first) {
                assert_true(first->set);
                assert_int_equal(first->at_ns, due_ns);
                first->set = false;
                expired++;
            }
        }
        check_against_model(&timers, owners);
    }
    assert_true(expired > 1000);
    timers_release(&timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_has_nothing_due),
        cmocka_unit_test(expires_at_its_instant_and_once),
        cmocka_unit_test(moving_replaces),
        cmocka_unit_test(random_steps_as_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
