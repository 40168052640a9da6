/* Plans of sweeps: values, ranges, products, command lines, orders. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/sweep_plan.h"

struct target {
    uint64_t size, count, wait;
    double rate;
    const char *path;
    bool verify, fast;
    struct opt_list engines;
    const char *json;
};

static const struct opt rows[] = {
    OPT_SIZE(struct target, size, .name = "size", .letter = 'm', .initial = "64", .least = 1,
             .most = 1 << 30),
    OPT_COUNT(struct target, count, .name = "count"),
    OPT_DURATION(struct target, wait, .name = "wait"),
    OPT_RATE(struct target, rate, .name = "rate"),
    OPT_TEXT(struct target, path, .name = "path"),
    OPT_BOOL(struct target, verify, .name = "verify"),
    OPT_BOOL(struct target, fast, .name = "fast", .initial = "yes"),
    OPT_LIST(struct target, engines, .name = "engines"),
    OPT_TEXT(struct target, json, .name = "json", .optional = "-"),
};

struct world {
    struct target target;
    struct opt_set set;
    char *base[8];
    struct sweep_plan plan;
    struct err error;
};

/* varies: NULL-terminated texts. */
static int make(struct world *world, const char *const *varies, const char *const *base)
{
    struct sweep_vary vary = {0};
    *world = (struct world){0};
    world->set = (struct opt_set){
        .title = "T", .rows = rows, .count = sizeof rows / sizeof *rows, .target = &world->target};
    for (size_t i = 0; base[i]; i++) {
        world->base[i] = (char *)base[i];
    }
    for (; varies[vary.count]; vary.count++) {
        vary.text[vary.count] = varies[vary.count];
        vary.length[vary.count] = strlen(varies[vary.count]);
    }
    return sweep_plan_init(&world->plan, &world->set, 1, world->base, &vary, &world->error);
}

/* The values of a single dimension, joined by blanks. */
static void check_values(const char *vary, const char *expected)
{
    struct world world;
    const char *const varies[] = {vary, NULL}, *const base[] = {"call", NULL};
    char text[512] = "";
    if (make(&world, varies, base) != 0) {
        fail_msg("%s: %s: %s", vary, world.error.subject, world.error.what);
    }
    for (size_t i = 0; i < world.plan.dimensions[0].value_count; i++) {
        size_t length = strlen(text);
        snprintf(text + length, sizeof text - length, "%s%s", i ? " " : "",
                 world.plan.dimensions[0].values[i].text);
    }
    assert_string_equal(text, expected);
    assert_int_equal(world.plan.points, world.plan.dimensions[0].value_count);
    sweep_plan_release(&world.plan);
    sweep_plan_release(&world.plan);
}

static void ranges(void **state)
{
    (void)state;
    check_values("size=1k..16k", "1k 2k 4k 8k 16k");
    check_values("size=1k..5k", "1k 2k 4k"); /* up to the last that is not above */
    check_values("m=1..64*8", "1 8 64");
    check_values("--size=1k..4k+1k", "1k 2k 3k 4k");
    check_values("size=7..7", "7");
    check_values("size=1..10*1.5", "1 2 3 5 8");
    check_values("count=0..30+10", "0 10 20 30");
    check_values("count=1..1000*10", "1 10 100 1k");
    check_values("count=18446744073709551614..18446744073709551615+1",
                 "18446744073709551614 18446744073709551615");
    check_values("wait=1ms..1s*10", "1ms 10ms 100ms 1s");
    check_values("rate=1..2+0.1", "1 1.1 1.2 1.3 1.4 1.5 1.6 1.7 1.8 1.9 2");
    check_values("rate=10k..40k", "10000 20000 40000");
}

static void lists(void **state)
{
    (void)state;
    check_values("size=4096,1,64..256", "1 64 128 256 4k"); /* numbers rise */
    check_values("path=b,a", "b a");                        /* words stay */
    check_values("path=../x,a\\,b,c\\+d", "../x a,b c+d");
    check_values("verify=yes,no", "yes no");
    check_values("size=1,2+verify,2", "1 2 2+verify");
    check_values("size=1..4+verify+count=5", "1+verify+count=5 2+verify+count=5 4+verify+count=5");
    check_values("size=1..4+1+no-fast", "1+no-fast 2+no-fast 3+no-fast 4+no-fast");
    check_values("@1=tcp://[::1]:7,pipe:", "tcp://[::1]:7 pipe:");
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *vary, *other, *what, *hint;
    } table[] = {
        {"sizee=1", NULL, "no option \"sizee\"", "size"},
        {"zzz=1", NULL, "no option \"zzz\"", "@1"},
        {"size", NULL, "no values", "NAME=VALUES"},
        {"=1", NULL, "no name", NULL},
        {"size=", NULL, "an empty value", NULL},
        {"size=1,", NULL, "an empty value", NULL},
        {"size=+verify", NULL, "an empty value", NULL},
        {"size=8..1", NULL, "an empty range", NULL},
        {"size=1..x", NULL, "not an end of a range: \"x\"", NULL},
        {"size=0..8", NULL, "0 multiplied", "STEP"},
        {"size=1..8*1", NULL, "not a factor", NULL},
        {"size=1..8+0", NULL, "not a step", NULL},
        {"size=1..1m+1", NULL, "more than 100,000 values", NULL},
        {"count=1..2*1.00000000001", NULL, "far too many values", NULL},
        {"size=1..999+1", "count=1..999+1", "more than 100000 points", NULL},
        {"size=1,0x1", NULL, "not a size", NULL},
        {"size=1g,2g", NULL, "too large", NULL},
        {"size=4k,4096", NULL, "the same value twice", NULL},
        {"size=1", "m=2", "size stands in two", NULL},
        {"size=1+count=3", "count=1", "count is set by two", NULL},
        {"size=1+size=2", NULL, "sets an option twice", NULL},
        {"size=1+verfy", NULL, "no option \"verfy\"", "verify"},
        {"size=1+count", NULL, "a value is missing", "+OPTION=VALUE"},
        {"size=1+no-verify", NULL, "no option \"no-verify\"", NULL},
        {"wait=1", NULL, "wait also stands after the --", NULL},
        {"size=1+wait=2", NULL, "wait also stands after the --", NULL},
        {"json=x", NULL, "json cannot be varied", NULL},
        {"size=1+json", NULL, "json cannot be varied", NULL},
        {"@1=a,--json=x", NULL, "not an argument but an option", NULL},
        {"path=a,b ", NULL, "visible ASCII", NULL},
        {"path=\xc3\xa4", NULL, "visible ASCII", NULL},
        {"@0=a", NULL, "no such argument", NULL},
        {"@x=a", NULL, "no such argument", NULL},
        {"@3=a", NULL, "the command has 1 arguments", "@2"},
    };
    static const char *const base[] = {"call", "--wait", "1s", "target", NULL};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *const varies[] = {table[i].vary, table[i].other, NULL};
        struct world world;
        assert_int_equal(make(&world, varies, base), -1);
        if (world.error.code != ERR_USAGE || !strstr(world.error.what, table[i].what) ||
            (table[i].hint && !strstr(world.error.hint, table[i].hint))) {
            fail_msg("%s: %s: %s", table[i].vary, world.error.what, world.error.hint);
        }
    }
}

static void refusals_of_the_command(void **state)
{
    (void)state;
    static const char *const varies[] = {"size=1", NULL};
    static const char *const bad[][4] = {
        {"call", "--json=x", NULL}, {"call", "--nothing", NULL}, {"call", "--count", NULL}};
    struct world world;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(make(&world, varies, bad[i]), -1);
        assert_int_equal(world.error.code, ERR_USAGE);
    }
    assert_int_equal(make(&world, varies + 1, bad[0] + 2), -1); /* nothing to vary, no command */
}

static void check_line(const struct sweep_plan *plan, size_t point, const char *expected)
{
    char **words = sweep_plan_arguments(plan, point);
    char text[256] = "";
    assert_non_null(words);
    for (size_t i = 0; words[i]; i++) {
        size_t length = strlen(text);
        snprintf(text + length, sizeof text - length, "%s%s", i ? " " : "", words[i]);
    }
    assert_string_equal(text, expected);
    free(words);
}

static void command_lines(void **state)
{
    (void)state;
    static const char *const varies[] = {"size=1k,2k", "path=a,b+verify+no-fast", NULL};
    static const char *const base[] = {"call", "x", "--count=2", NULL};
    static const char *const places[] = {"@1=p,q+verify", "@2=r", NULL};
    static const char *const rest[] = {"call", "--count", "2", "x", "--", "y", NULL};
    struct world world;
    assert_int_equal(make(&world, varies, base), 0);
    assert_int_equal(world.plan.points, 4);
    check_line(&world.plan, 0, "call --size=1k --path=a x --count=2");
    check_line(&world.plan, 1, "call --size=1k --path=b --verify --no-fast x --count=2");
    check_line(&world.plan, 3, "call --size=2k --path=b --verify --no-fast x --count=2");
    assert_string_equal(sweep_plan_value(&world.plan, 2, 0)->text, "2k");
    assert_true(sweep_plan_value(&world.plan, 2, 0)->number == 2048);
    assert_string_equal(sweep_plan_value(&world.plan, 2, 1)->text, "a");
    assert_true(isnan(sweep_plan_value(&world.plan, 2, 1)->number));
    sweep_plan_release(&world.plan);

    assert_int_equal(make(&world, places, rest), 0);
    check_line(&world.plan, 0, "call --count 2 p r -- y");
    check_line(&world.plan, 1, "call --verify --count 2 q r -- y");
    sweep_plan_release(&world.plan);
    assert_int_equal(make(&world, places + 1, base), 0);
    check_line(&world.plan, 0, "call x --count=2 r");
    sweep_plan_release(&world.plan);
}

/* Each point has its repetitions in order, the discarded ones first, and all are there. */
static void check_turns(const struct sweep_turn *turns, size_t count, size_t points,
                        uint32_t rounds, uint32_t discarded)
{
    uint32_t seen[64] = {0};
    assert_int_equal(count, points * rounds);
    for (size_t i = 0; i < count; i++) {
        assert_true(turns[i].point < points);
        assert_int_equal(turns[i].repetition, ++seen[turns[i].point]);
        assert_int_equal(turns[i].discarded, turns[i].repetition <= discarded);
    }
    for (size_t p = 0; p < points; p++) {
        assert_int_equal(seen[p], rounds);
    }
}

static void orders(void **state)
{
    (void)state;
    enum { POINTS = 20, ROUNDS = 7 };
    struct sweep_turn *turns[5];
    size_t count;
    struct err error;
    for (uint32_t order = SWEEP_INTERLEAVED; order <= SWEEP_SEQUENTIAL; order++) {
        assert_int_equal(
            sweep_plan_order(POINTS, ROUNDS - 2, 2, order, 1, &turns[order], &count, &error), 0);
        check_turns(turns[order], count, POINTS, ROUNDS, 2);
    }
    /* Interleaved: every round has every point, and no round is like the one before. */
    size_t same = 0, same_in_shuffled = 0;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(turns[SWEEP_INTERLEAVED][i].repetition, i / POINTS + 1);
        assert_int_equal(turns[SWEEP_SEQUENTIAL][i].point, i / ROUNDS);
        same += i >= POINTS &&
                turns[SWEEP_INTERLEAVED][i].point == turns[SWEEP_INTERLEAVED][i - POINTS].point;
        same_in_shuffled += turns[SWEEP_SHUFFLED][i].repetition == i / POINTS + 1;
    }
    assert_true(same < count / 4);
    assert_true(same_in_shuffled < count * 3 / 4);
    /* The same seed gives the same order, another one another. */
    assert_int_equal(sweep_plan_order(POINTS, 5, 2, 0, 1, &turns[3], &count, &error), 0);
    assert_int_equal(sweep_plan_order(POINTS, 5, 2, 0, 2, &turns[4], &count, &error), 0);
    same = 0;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(turns[3][i].point, turns[0][i].point);
        same += turns[4][i].point == turns[0][i].point;
    }
    assert_true(same < count / 4);
    for (size_t i = 0; i < 5; i++) {
        free(turns[i]);
    }
    assert_int_equal(sweep_plan_order(100000, 11, 0, 0, 1, &turns[0], &count, &error), -1);
    assert_int_equal(error.code, ERR_USAGE);
    assert_int_equal(sweep_plan_order(2, UINT64_MAX, 2, 0, 1, &turns[0], &count, &error), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges),        cmocka_unit_test(lists),
        cmocka_unit_test(refusals),      cmocka_unit_test(refusals_of_the_command),
        cmocka_unit_test(command_lines), cmocka_unit_test(orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
