#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "run/placement.h"

/* The first CPU that this process may use. */
static int first(void)
{
    cpu_set_t allowed;
    assert_int_equal(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &allowed)) {
        cpu++;
    }
    return cpu;
}

static int parse(const char *text, struct cpu_list *list)
{
    struct err error = {0};
    int result = placement_parse(text, "--cpu", list, &error);
    assert_int_equal(error.code, result < 0 ? ERR_USAGE : ERR_NONE);
    return result;
}

static void lists(void **state)
{
    (void)state;
    struct cpu_list list;
    char text[64];
    int cpu = first();
    assert_int_equal(parse(NULL, &list), 0);
    assert_int_equal(list.count, 0);
    assert_int_equal(placement_cpu(&list, 3), -1);
    snprintf(text, sizeof text, "%d,%d-%d", cpu, cpu, cpu);
    assert_int_equal(parse(text, &list), 0);
    assert_int_equal(list.count, 2);
    assert_int_equal(placement_cpu(&list, 0), cpu);
    assert_int_equal(placement_cpu(&list, 5), cpu);
    const struct placement two = {.clients = list, .allowed = 7};
    assert_int_equal(placement_usable(&two, &two.clients), 1);
    assert_int_equal(placement_usable(&two, &two.servers), 7);
}

static void wrong_lists(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",    ",",           "0,",   "-1",    "0-",
                                        "1-0", "a",           "0 ",   "0--0",  "0-0x",
                                        "0;0", "99999999999", "8191", "0-8191"};
    struct cpu_list list;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (parse(wrong[i], &list) != -1) {
            fail_msg("\"%s\" was taken", wrong[i]);
        }
    }
}

static struct placement chosen(struct placement_ask ask)
{
    struct placement placement;
    struct err error = {0};
    assert_int_equal(placement_choose(&ask, &placement, &error), 0);
    return placement;
}

static void ends(void **state)
{
    (void)state;
    char name[16];
    snprintf(name, sizeof name, "%d", first());
    struct placement placement = chosen((struct placement_ask){.own_server = true});
    assert_int_equal(placement.clients.count, 0);
    assert_int_equal(placement.servers.count, 0);
    assert_int_equal(placement.allowed, machine_allowed_cpus());

    placement = chosen((struct placement_ask){.apart = true}); /* a server of others */
    assert_int_equal(placement.clients.count, 0);

    placement = chosen((struct placement_ask){.clients = name});
    assert_int_equal(placement.clients.count, 1);
    assert_int_equal(placement.servers.count, 0);
    if (machine_allowed_cpus() < 2) {
        return;
    }
    placement = chosen((struct placement_ask){.own_server = true, .apart = true});
    assert_int_equal(placement.servers.count, 1);
    assert_int_equal(placement.servers.of[0], first());
    assert_int_equal(placement.clients.count, machine_allowed_cpus() - 1);

    /* What is named is taken as it is, the other end keeps away from it. */
    placement = chosen((struct placement_ask){.clients = name, .own_server = true, .apart = true});
    assert_int_equal(placement.clients.of[0], first());
    assert_int_equal(placement.servers.count, 1);
    assert_int_not_equal(placement.servers.of[0], first());
    placement = chosen((struct placement_ask){.servers = name, .own_server = true, .apart = true});
    assert_int_equal(placement.servers.of[0], first());
    assert_int_equal(placement.clients.count, machine_allowed_cpus() - 1);
    for (size_t i = 0; i < placement.clients.count; i++) {
        assert_int_not_equal(placement.clients.of[i], first());
    }
}

static void server_of_others(void **state)
{
    (void)state;
    struct placement placement;
    struct err error = {0};
    const struct placement_ask ask = {.servers = "0"};
    assert_int_equal(placement_choose(&ask, &placement, &error), -1);
    assert_int_equal(error.code, ERR_USAGE);
}

static void words(void **state)
{
    (void)state;
    struct cpu_list list = {.of = {3}, .count = 1};
    char text[96];
    placement_text(&list, text, sizeof text);
    assert_string_equal(text, "CPU 3");
    for (int i = 0; i < 12; i++) {
        list.of[list.count++] = i;
    }
    placement_text(&list, text, sizeof text);
    assert_string_equal(text, "CPUs 3, 0, 1, 2, 3, 4, 5, 6, ...");
    placement_text(&list, text, 9);
    assert_string_equal(text, "CPUs 3, ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists), cmocka_unit_test(wrong_lists),      cmocka_unit_test(ends),
        cmocka_unit_test(words), cmocka_unit_test(server_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
