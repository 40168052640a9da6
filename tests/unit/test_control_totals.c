/* What a server counted, on its way to the client. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "run/control_totals.h"

#define FLOWS 3

struct sums {
    struct tally plain, seen;
    uint64_t whole[BANK_COUNTERS];
    struct session_totals totals;
};

static void make(struct sums *sums)
{
    struct err error = {0};
    *sums = (struct sums){.whole = {0}};
    assert_int_equal(tally_init(&sums->plain, 0, FLOWS, &error), 0);
    assert_int_equal(tally_init(&sums->seen, 0, FLOWS, &error), 0);
    sums->totals =
        (struct session_totals){.plain = &sums->plain, .seen = &sums->seen, .whole = sums->whole};
}

static void forget(struct sums *sums)
{
    tally_release(&sums->plain);
    tally_release(&sums->seen);
}

static json_t *example(void)
{
    struct sums sums;
    struct err error = {0};
    make(&sums);
    sums.totals.pid = 17;
    sums.plain.window_ns = 1000;
    sums.plain.bank->cpu_user_ns = 7;
    sums.plain.bank->cpu_system_ns = 8;
    sums.plain.bank->counters[BANK_COUNTERS - 1] = (uint64_t)1 << 60;
    sums.seen.window_ns = 2000;
    sums.seen.bank->counters[0] = 5;
    sums.whole[3] = 99;
    sums.plain.flows[2] = (struct tally_flow){.seen = true};
    sums.plain.flows[2].counters[FLOW_COUNTERS - 1] = 11;
    sums.plain.flows[2].tcp.at_ns = 1;
    sums.plain.flows[2].tcp.retransmits = 12;
    sums.plain.flows[2].tcp.covered_ns = 14;
    sums.plain.flows[2].tcp.bytes_acked = 15;
    sums.plain.flows[2].tcp.delivery_bytes_per_second = 13;
    json_t *json = control_totals_json(&sums.totals, &error);
    forget(&sums);
    assert_non_null(json);
    return json;
}

static void test_there_and_back(void **state)
{
    (void)state;
    struct sums back;
    struct err error = {0};
    json_t *json = example();
    make(&back);
    assert_int_equal(control_totals_read(json, "peer", &back.totals, &error), 0);
    assert_int_equal(back.totals.pid, 17);
    assert_true(back.totals.same_host);
    assert_int_equal(back.plain.window_ns, 1000);
    assert_int_equal(back.plain.bank->cpu_user_ns, 7);
    assert_int_equal(back.plain.bank->cpu_system_ns, 8);
    assert_true(back.plain.bank->counters[BANK_COUNTERS - 1] == (uint64_t)1 << 60);
    assert_int_equal(back.seen.window_ns, 2000);
    assert_int_equal(back.seen.bank->counters[0], 5);
    assert_int_equal(back.whole[3], 99);
    assert_false(back.plain.flows[0].seen || back.plain.flows[1].seen);
    assert_true(back.plain.flows[2].seen);
    assert_int_equal(back.plain.flows[2].counters[FLOW_COUNTERS - 1], 11);
    assert_int_equal(back.plain.flows[2].tcp.retransmits, 12);
    assert_int_equal(back.plain.flows[2].tcp.covered_ns, 14);
    assert_int_equal(back.plain.flows[2].tcp.bytes_acked, 15);
    assert_int_equal(back.plain.flows[2].tcp.delivery_bytes_per_second, 13);
    forget(&back);
    json_decref(json);
}

static void test_another_host(void **state)
{
    (void)state;
    struct sums back;
    struct err error = {0};
    json_t *json = example();
    make(&back);
    json_object_set_new(json, "boot_id", json_string("another"));
    assert_int_equal(control_totals_read(json, "peer", &back.totals, &error), 0);
    assert_false(back.totals.same_host);
    forget(&back);
    json_decref(json);
}

/* A flow that the client has no room for is in the sums only. */
static void test_a_flow_too_many(void **state)
{
    (void)state;
    struct sums back;
    struct err error = {0};
    json_t *json = example(), *flow;
    flow = json_array_get(json_object_get(json_object_get(json, "plain"), "flows"), 0);
    make(&back);
    json_object_set_new(flow, "number", json_integer(FLOWS));
    assert_int_equal(control_totals_read(json, "peer", &back.totals, &error), 0);
    for (uint32_t i = 0; i < FLOWS; i++) {
        assert_false(back.plain.flows[i].seen);
    }
    forget(&back);
    json_decref(json);
}

static void refuses(const char *where, const char *key, const char *value)
{
    struct sums back;
    struct err error = {0};
    json_t *json = example(), *at = json;
    if (where && strcmp(where, "flow") == 0) {
        at = json_array_get(json_object_get(json_object_get(json, "plain"), "flows"), 0);
    } else if (where) {
        at = json_object_get(json, where);
    }
    make(&back);
    assert_non_null(json_object_get(at, key));
    if (value) {
        json_object_set_new(at, key, json_loads(value, JSON_DECODE_ANY, NULL));
    } else {
        json_object_del(at, key);
    }
    if (control_totals_read(json, "peer", &back.totals, &error) != -1) {
        fail_msg("%s of %s may be %s", key, where ? where : "all", value ? value : "missing");
    }
    assert_int_equal(error.code, ERR_PROTOCOL);
    assert_string_equal(error.subject, "peer");
    forget(&back);
    json_decref(json);
}

static void test_what_is_not_acceptable(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        NULL, "-1", "1.5", "\"1\"", "[[]]", "[-1]", "{}", "null", "1152921504606846977"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        refuses(NULL, "pid", wrong[i]);
        refuses(NULL, "whole", wrong[i]);
        refuses(NULL, "plain", wrong[i]);
        refuses("plain", "window_ns", wrong[i]);
        refuses("plain", "counters", wrong[i]);
        refuses("seen", "cpu_user_ns", wrong[i]);
        refuses("seen", "flows", wrong[i]);
        refuses("flow", "number", wrong[i]);
        refuses("flow", "counters", wrong[i]);
    }
    refuses("flow", "tcp", "[]");
    refuses("flow", "tcp", "{\"rtt_ns\":-1}");
    refuses("flow", "counters", "[1,2,3,4,5,6,7,8,9,10,11,12,13]");
}

/* Of a message: what is no list of counts leaves zeros. */
static void test_counters(void **state)
{
    (void)state;
    uint64_t counters[BANK_COUNTERS] = {0}, back[BANK_COUNTERS];
    counters[0] = 3;
    counters[BANK_COUNTERS - 1] = 4;
    json_t *list = control_counters_json(counters);
    memset(back, 0xff, sizeof back);
    control_counters_read(list, back);
    assert_memory_equal(back, counters, sizeof back);
    json_decref(list);
    list = json_loads("[7]", 0, NULL);
    control_counters_read(list, back);
    assert_int_equal(back[0], 7);
    assert_int_equal(back[BANK_COUNTERS - 1], 0);
    json_decref(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),  cmocka_unit_test(test_another_host),
        cmocka_unit_test(test_a_flow_too_many), cmocka_unit_test(test_what_is_not_acceptable),
        cmocka_unit_test(test_counters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
