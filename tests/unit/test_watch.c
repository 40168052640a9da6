/* Observation of a run: turns of the probes, what each of them covered and cost. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "fake_probe.h"
#include "run/watch.h"

#define ITEMS 4

/* A watch over this process (and as "server" process 1, which is always there). */
struct world {
    char *observe[ITEMS], *probes[ITEMS];
    struct watch_options options;
    struct watch *watch;
    struct record record;
    struct record_run *run;
    struct err error;
};

static struct opt_list list_of(char **items, const char *const *texts)
{
    struct opt_list list = {.items = items};
    for (; texts[list.count]; list.count++) {
        items[list.count] = (char *)texts[list.count];
    }
    return list;
}

static int open_watch(struct world *world, const char *const *observe, const char *const *with,
                      pid_t server)
{
    const struct watch_name names[] = {
        {.word = "self", .target = {.pid = getpid(), .role = "client"}},
        {.word = "server", .target = {.pid = server, .role = "server"}, .missing = "there is none"},
    };
    struct watch_config config = {
        .options = &world->options, .names = names, .name_count = 2, .known = fakes};
    fake_reset();
    world->error = (struct err){0};
    world->options.observe = list_of(world->observe, observe);
    world->options.probes = list_of(world->probes, with);
    return watch_open(&world->watch, &config, &world->error);
}

#define WORDS(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }
#define NOTHING ((const char *const[]){NULL})

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    *state = world;
    assert_int_equal(record_init(&world->record, 0, NULL, &world->error), 0);
    world->run = record_add_run(&world->record, "run");
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    watch_close(world->watch);
    record_release(&world->record);
    free(world);
    return 0;
}

static void fill(struct world *world, int expected)
{
    int status =
        watch_fill(world->watch, "calls_per_second", &world->record, world->run, &world->error);
    assert_int_equal(status, expected);
}

/* ---- turns ---- */

static void test_probes_take_turns_block_by_block(void **state)
{
    static const int turns[] = {-1, 0, 0, -1, -1, 1, 1, -1, -1, 2, 2, -1, -1, 0, 0, -1};
    struct world *world = *state;
    assert_int_equal(open_watch(world, WORDS("self"), WORDS("first", "second", "third"), 0), 0);
    assert_int_equal(watch_probes(world->watch), 3);
    for (size_t i = 0; i < sizeof turns / sizeof turns[0]; i++) {
        assert_int_equal(watch_plan(world->watch, i), turns[i]);
    }
}

static void test_without_probes_all_parts_are_off(void **state)
{
    struct world *world = *state;
    assert_int_equal(open_watch(world, NOTHING, NOTHING, 0), 0);
    assert_int_equal(watch_probes(world->watch), 0);
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(watch_plan(world->watch, i), WATCH_OFF);
    }
    assert_int_equal(watch_attach(world->watch, WATCH_OFF, &world->error), 0);
    assert_null(watch_gate(world->watch));
    fill(world, 0);
    assert_false(world->run->observing);
    assert_string_equal(world->run->observation, "none (not asked for: --observe)");
    assert_string_equal(world->run->effect.reason, "nothing was observed");
    assert_int_equal(world->run->probe_count, 0);
}

/* One part as a conductor does it; operations and time are made up. */
static void part(struct world *world, uint64_t number, uint64_t operations, uint64_t ns)
{
    struct watch *watch = world->watch;
    int probe = watch_plan(watch, number);
    assert_int_equal(watch_attach(watch, probe, &world->error), 0);
    if (probe != WATCH_OFF) {
        assert_int_equal(watch_begin(watch, &world->error), 0);
        gate_open(watch_gate(watch), clock_now_ns());
        gate_close(watch_gate(watch), clock_now_ns());
        assert_int_equal(watch_end(watch, &world->error), 0);
        struct probe_scope scope = {ns, operations, 10 * operations};
        watch_seen(watch, &scope);
    }
}

/* A block whose two observed parts together had `seen` operations, the others `plain`. */
static void block(struct world *world, uint64_t number, uint64_t plain, uint64_t seen)
{
    uint64_t first = number * WATCH_PARTS_IN_BLOCK;
    part(world, first, plain / 2, 1000);
    part(world, first + 1, seen / 2, 1000);
    part(world, first + 2, seen / 2, 1000);
    part(world, first + 3, plain / 2, 1000);
    watch_block(world->watch, watch_plan(world->watch, first + 1), plain, 2000, seen, 2000);
}

static void test_scopes_and_effects_are_each_probes_own(void **state)
{
    struct world *world = *state;
    struct record_run *run = world->run;
    assert_int_equal(open_watch(world, WORDS("self"), WORDS("first", "second"), 0), 0);
    block(world, 0, 1000, 900); /* first */
    block(world, 1, 2000, 2000);
    block(world, 2, 1000, 900);
    block(world, 3, 2000, 2000);
    block(world, 4, 1000, 900);
    block(world, 5, 2000, 2000);
    assert_int_equal(watch_attach(world->watch, WATCH_OFF, &world->error), 0);
    fill(world, 0);
    assert_int_equal(run->probe_count, 2);
    assert_string_equal(run->probes[0].name, "first");
    assert_int_equal(run->probes[0].window_ns, 6000);
    assert_int_equal(run->probes[0].operations, 2700);
    assert_int_equal(run->probes[0].bytes, 27000);
    assert_int_equal(run->probes[0].effect.blocks, 3);
    assert_true(fabs(run->probes[0].effect.ratio.value - 0.9) < 1e-9);
    assert_float_equal(run->probes[0].rows[0].values[0].value, 6, 0);
    assert_int_equal(run->probes[1].window_ns, 6000);
    assert_int_equal(run->probes[1].operations, 6000);
    assert_int_equal(run->probes[1].effect.blocks, 3);
    assert_true(fabs(run->probes[1].effect.ratio.value - 1) < 1e-9);
    assert_true(run->probes[1].effect.available);
    /* Without the system calls the run's is the first's. */
    assert_true(fabs(run->effect.ratio.value - 0.9) < 1e-9);
    assert_string_equal(run->effect.metric, "calls_per_second");
    assert_int_equal(world->record.warning_count, 0);
    assert_true(run->observing);
}

static void test_each_probe_is_attached_only_in_its_parts(void **state)
{
    struct world *world = *state;
    assert_int_equal(open_watch(world, WORDS("self"), WORDS("first", "second"), 0), 0);
    block(world, 0, 2, 2);
    block(world, 1, 2, 2);
    assert_string_equal(fake_log,
                        "first:open second:open "
                        "first:start first:begin first:end first:begin first:end first:stop "
                        "second:start second:begin second:end second:begin second:end second:stop");
}

static void test_the_gate_is_closed_while_probes_change(void **state)
{
    struct world *world = *state;
    assert_int_equal(open_watch(world, WORDS("self"), WORDS("first", "second"), 0), 0);
    assert_int_equal(watch_attach(world->watch, 0, &world->error), 0);
    gate_open(watch_gate(world->watch), clock_now_ns()); /* and the part fails */
    assert_int_equal(watch_attach(world->watch, 1, &world->error), 0);
    assert_null(strchr(fake_log, '!'));
    assert_non_null(strstr(fake_log, "first:stop second:start"));
}

static void test_a_probe_that_does_not_start_is_an_error(void **state)
{
    struct world *world = *state;
    assert_int_equal(open_watch(world, WORDS("self"), WORDS("first"), 0), 0);
    fake_start_fails = true;
    assert_int_equal(watch_attach(world->watch, 0, &world->error), -1);
    assert_string_equal(world->error.what, "does not start");
    assert_int_equal(watch_attach(world->watch, WATCH_OFF, &world->error), 0);
    assert_null(strstr(fake_log, "stop")); /* it was not on */
}

/* ---- what is missing ---- */

static void test_one_that_cannot_serve_says_why_and_the_others_go_on(void **state)
{
    struct world *world = *state;
    struct record_run *run = world->run;
    assert_int_equal(open_watch(world, WORDS("self"), WORDS("absent", "broken", "second"), 0), 0);
    assert_int_equal(watch_probes(world->watch), 1);
    block(world, 0, 100, 50);
    block(world, 1, 100, 50);
    fill(world, 0);
    assert_int_equal(run->probe_count, 3);
    assert_false(run->probes[0].available);
    assert_string_equal(run->probes[0].reason, "no such hardware; buy it");
    assert_false(run->probes[0].effect.available);
    assert_false(run->probes[1].available);
    assert_string_equal(run->probes[1].reason, "it is broken");
    assert_true(run->probes[2].available);
    assert_int_equal(run->probes[2].effect.blocks, 2);
    assert_true(fabs(run->effect.ratio.value - 0.5) < 1e-9);
    assert_non_null(strstr(run->observation, "probe second, in half"));
}

static void test_none_that_serves_is_a_state_or_an_error_where_required(void **state)
{
    struct world *world = *state;
    assert_int_equal(open_watch(world, WORDS("self"), WORDS("absent"), 0), 0);
    assert_int_equal(watch_probes(world->watch), 0);
    assert_string_equal(watch_state(world->watch), "none (no such hardware; buy it)");
    fill(world, 0);
    assert_false(world->run->observing);
    assert_false(world->run->probes[0].available);
    watch_close(world->watch);
    world->options.require = true;
    assert_int_equal(open_watch(world, WORDS("self"), WORDS("first", "absent"), 0), -1);
    assert_int_equal(world->error.code, ERR_UNSUPPORTED);
    assert_string_equal(world->error.subject, "--require-observe");
    assert_non_null(strstr(world->error.what, "no such hardware"));
}

static void test_too_few_blocks_are_no_effect(void **state)
{
    struct world *world = *state;
    struct record_run *run = world->run;
    assert_int_equal(open_watch(world, WORDS("self"), WORDS("first", "second"), 0), 0);
    for (uint64_t number = 0; number < 5; number++) {
        block(world, number, 100, 50);
    }
    fill(world, 0);
    assert_true(run->probes[0].effect.available);
    assert_false(run->probes[1].effect.available);
    assert_non_null(strstr(run->probes[1].effect.reason, "holds 2 whole blocks"));
    assert_int_equal(world->record.warning_count, 1);
    assert_non_null(strstr(world->record.warnings[0], "1 of them have no probe effect"));
}

static void test_one_that_was_never_on_has_seen_nothing(void **state)
{
    struct world *world = *state;
    struct record_run *run = world->run;
    world->options.require = true;
    assert_int_equal(open_watch(world, WORDS("self"), WORDS("first", "second"), 0), 0);
    block(world, 0, 100, 50);
    fill(world, -1);
    assert_string_equal(world->error.what, "the run ended before its first observed part");
    assert_true(run->probes[0].available);
    assert_false(run->probes[1].available);
    assert_string_equal(run->probes[1].reason, "the run ended before its first observed part");
}

/* ---- whom ---- */

static void test_probes_alone_look_at_both_ends(void **state)
{
    struct world *world = *state;
    assert_int_equal(open_watch(world, NOTHING, WORDS("first"), getppid()), 0);
    assert_int_equal(watch_probes(world->watch), 1);
    assert_string_equal(watch_role(world->watch), "observed");
    assert_memory_equal(watch_state(world->watch), "self (pid ", 10);
    assert_non_null(strstr(watch_state(world->watch), ", server (pid "));
    watch_close(world->watch);
    assert_int_equal(open_watch(world, NOTHING, WORDS("first"), 0), 0);
    assert_string_equal(watch_role(world->watch), "client");
}

/* This process is followed too, so that a child of its own would be its before it is a server. */
static void test_a_child_that_is_a_target_keeps_its_role(void **state)
{
    struct world *world = *state;
    struct target_process *list = NULL;
    size_t count = 0;
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    world->options.follow = true;
    assert_int_equal(open_watch(world, WORDS("self", "server"), WORDS("first"), child), 0);
    assert_int_equal(targets_list(watch_targets(world->watch), &list, &count, &world->error), 0);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(list[i].role, list[i].pid == child ? "server" : "client");
    }
    assert_int_equal(count, 2);
    free(list);
    kill(child, SIGKILL);
}

static void refused(struct world *world, const char *const *observe, const char *const *with,
                    const char *what, const char *hint)
{
    assert_int_equal(open_watch(world, observe, with, 0), -1);
    assert_int_equal(world->error.code, ERR_USAGE);
    assert_string_equal(world->error.what, what);
    assert_string_equal(world->error.hint, hint);
    watch_close(world->watch);
    world->watch = NULL;
}

static void test_wrong_names_are_refused(void **state)
{
    struct world *world = *state;
    refused(world, WORDS("self"), WORDS("frist"), "there is no probe \"frist\"",
            "did you mean first?");
    refused(world, WORDS("self"), WORDS("xyz"), "there is no probe \"xyz\"",
            "there are first, second, third, absent, broken");
    refused(world, WORDS("self"), WORDS("first", "first"), "first stands twice", "");
    refused(world, WORDS("server"), WORDS("first"), "there is none",
            "name it: --observe pid=N or --observe comm=NAME");
    refused(world, WORDS("sever"), WORDS("first"), "\"sever\" names nobody",
            "accepts self, server, pid=N, comm=NAME (at most 15 characters)");
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_probes_take_turns_block_by_block),
        TEST(test_without_probes_all_parts_are_off),
        TEST(test_scopes_and_effects_are_each_probes_own),
        TEST(test_each_probe_is_attached_only_in_its_parts),
        TEST(test_the_gate_is_closed_while_probes_change),
        TEST(test_a_probe_that_does_not_start_is_an_error),
        TEST(test_one_that_cannot_serve_says_why_and_the_others_go_on),
        TEST(test_none_that_serves_is_a_state_or_an_error_where_required),
        TEST(test_too_few_blocks_are_no_effect),
        TEST(test_one_that_was_never_on_has_seen_nothing),
        TEST(test_probes_alone_look_at_both_ends),
        TEST(test_a_child_that_is_a_target_keeps_its_role),
        TEST(test_wrong_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
