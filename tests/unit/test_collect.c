/* Cuts of slots whose threads come and go: what was counted before a cut is of the part before it.
 * The threads are played by the test, at the instants that matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "run/collect.h"

enum { COUNTER = 3 };

struct world {
    struct worker_slot *slot;
    struct tally tally;
};

static struct bank *present_bank(struct worker_slot *slot)
{
    return &slot->banks[atomic_load(&slot->cut_done) & 1];
}

static void begin_thread(struct worker_slot *slot, uint64_t now_ns)
{
    struct bank *bank = present_bank(slot);
    atomic_store(&slot->state, SLOT_READY);
    bank->start_ns = bank->start_ns ? bank->start_ns : now_ns;
}

static void end_thread(struct worker_slot *slot, uint64_t now_ns)
{
    present_bank(slot)->end_ns = now_ns;
    atomic_store(&slot->state, SLOT_FREE);
}

/* The cut that is asked for, if any. */
static void follow_cut(struct worker_slot *slot, uint64_t now_ns)
{
    if (atomic_load(&slot->cut_done) != atomic_load(&slot->cut_wanted)) {
        present_bank(slot)->end_ns = now_ns;
        atomic_fetch_add(&slot->cut_done, 1);
        present_bank(slot)->start_ns = now_ns;
    }
}

static void count(struct worker_slot *slot, uint64_t events)
{
    present_bank(slot)->counters[COUNTER] += events;
}

static int set_up(void **state)
{
    static struct world world;
    struct err error = {0};
    world.slot = shared_memory(sizeof *world.slot, &error);
    assert_non_null(world.slot);
    bank_clear(&world.slot->banks[0]);
    bank_clear(&world.slot->banks[1]);
    assert_int_equal(tally_init(&world.tally, 1, 0, &error), 0);
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    tally_release(&world->tally);
    shared_release(world->slot, sizeof *world->slot);
    return 0;
}

static uint64_t take(struct world *world)
{
    assert_int_equal(collect_take(world->slot, 1, &world->tally), 0);
    return world->tally.bank->counters[COUNTER];
}

static void thread_that_left_is_of_this_part(void **state)
{
    struct world *world = *state;
    begin_thread(world->slot, 10);
    count(world->slot, 5);
    end_thread(world->slot, 20);
    collect_ask(world->slot, 1);
    assert_int_equal(take(world), 5);
    collect_ask(world->slot, 1);
    assert_int_equal(take(world), 0);
}

/* A new thread has taken the slot between the asking and the taking. */
static void slot_taken_again_is_cut_first(void **state)
{
    struct world *world = *state;
    begin_thread(world->slot, 10);
    count(world->slot, 5);
    end_thread(world->slot, 20);
    collect_ask(world->slot, 1);
    begin_thread(world->slot, 30);
    follow_cut(world->slot, 31);
    count(world->slot, 2);
    assert_int_equal(take(world), 5);
    end_thread(world->slot, 40);
    collect_ask(world->slot, 1);
    assert_int_equal(take(world), 2);
}

/* It cut, counted on and left before its part was taken. */
static void rest_behind_a_cut_is_of_the_next_part(void **state)
{
    struct world *world = *state;
    begin_thread(world->slot, 10);
    count(world->slot, 5);
    collect_ask(world->slot, 1);
    follow_cut(world->slot, 20);
    count(world->slot, 3);
    end_thread(world->slot, 30);
    assert_int_equal(take(world), 5);
    begin_thread(world->slot, 40);
    count(world->slot, 1);
    collect_ask(world->slot, 1);
    follow_cut(world->slot, 50);
    assert_int_equal(take(world), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(thread_that_left_is_of_this_part, set_up, tear_down),
        cmocka_unit_test_setup_teardown(slot_taken_again_is_cut_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rest_behind_a_cut_is_of_the_next_part, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
