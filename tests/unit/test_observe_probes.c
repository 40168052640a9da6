/* sonde observe's way with probes: all of them on from start to end, begun and ended around one
 * gate. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "fake_probe.h"
#include "run/observe.h"

struct world {
    struct record record;
    struct record_run *run;
    struct observe_end end;
    struct err error;
};

static int observe(struct world *world, char **names, size_t count)
{
    static char *command[] = {"true", NULL};
    static const struct probe_options options;
    const struct opt_list list = {names, count};
    struct observe_plan plan = {.command = command,
                                .follow = true,
                                .probes = &list,
                                .options = &options,
                                .known = fakes,
                                .interval_ns = 1000000};
    fake_reset();
    world->error = (struct err){0};
    return observe_run(&plan, world->run, &world->end, &world->error);
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    *state = world;
    assert_int_equal(record_init(&world->record, 0, NULL, &world->error), 0);
    world->run = record_add_run(&world->record, "observe");
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    record_release(&world->record);
    free(world);
    return 0;
}

static void test_all_are_on_together(void **state)
{
    struct world *world = *state;
    struct record_run *run = world->run;
    char *names[] = {"second", "first"};
    assert_int_equal(observe(world, names, 2), 0);
    assert_true(world->end.command_ended);
    /* "!" would stand where the gate was open. */
    fake_targets = NULL;
    assert_string_equal(fake_log, "second:open first:open second:start first:start "
                                  "second:begin first:begin second:end first:end "
                                  "second:stop first:stop second:close first:close");
    assert_int_equal(run->probe_count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(run->probes[i].name, names[i]);
        assert_true(run->probes[i].available);
        assert_int_equal(run->probes[i].window_ns, run->window_ns);
        assert_float_equal(run->probes[i].rows[0].values[0].value, 1, 0);
        assert_false(run->probes[i].effect.available);
        assert_non_null(strstr(run->probes[i].effect.reason, "from start to end"));
    }
    assert_string_equal(run->observation,
                        "probes second, first at the same time, children followed");
    /* Without the system calls there is nothing to count them in. */
    assert_int_equal(run->interval_count, 0);
    assert_null(record_find_value(run, "system_calls"));
    assert_int_equal(run->process_count, 1);
    assert_int_equal(run->processes[0].pid, world->end.command_pid);
}

static void test_one_that_does_not_serve_is_in_the_record(void **state)
{
    struct world *world = *state;
    char *names[] = {"absent", "third", "broken"};
    assert_int_equal(observe(world, names, 3), 0);
    assert_int_equal(world->run->probe_count, 3);
    assert_false(world->run->probes[0].available);
    assert_string_equal(world->run->probes[0].reason, "no such hardware; buy it");
    assert_string_equal(world->run->probes[0].effect.reason, "it was not on");
    assert_true(world->run->probes[1].available);
    assert_string_equal(world->run->probes[2].reason, "it is broken");
}

static void test_none_that_serves_is_an_error(void **state)
{
    struct world *world = *state;
    char *names[] = {"absent", "broken"};
    assert_int_equal(observe(world, names, 2), -1);
    assert_string_equal(world->error.what, "no such hardware");
    assert_string_equal(world->error.hint, "buy it");
}

static void test_one_that_does_not_start_is_an_error_and_all_are_closed(void **state)
{
    struct world *world = *state;
    char *names[] = {"first", "second"};
    static char *command[] = {"true", NULL};
    const struct opt_list list = {names, 2};
    struct observe_plan plan = {.command = command, .probes = &list, .known = fakes};
    fake_reset();
    fake_start_fails = true;
    assert_int_equal(observe_run(&plan, world->run, &world->end, &world->error), -1);
    assert_string_equal(world->error.what, "does not start");
    assert_non_null(strstr(fake_log, "first:close second:close"));
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_all_are_on_together),
        TEST(test_one_that_does_not_serve_is_in_the_record),
        TEST(test_none_that_serves_is_an_error),
        TEST(test_one_that_does_not_start_is_an_error_and_all_are_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
