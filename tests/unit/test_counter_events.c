#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "probe/counter_events.h"

/* ---- names ---- */

/* Machines that exist only here: which types they have, and whether the kernel's part is allowed.
 */
struct machine {
    bool hardware, cache, raw, kernel_allowed;
    uint64_t without; /* a configuration that is missing all the same; 0: none */
};

static int try_machine(const struct perf_event_attr *attr, void *context)
{
    const struct machine *machine = context;
    if (!machine->kernel_allowed && !attr->exclude_kernel) {
        return EACCES;
    }
    bool there = attr->type == PERF_TYPE_SOFTWARE ||
                 (attr->type == PERF_TYPE_HARDWARE && machine->hardware) ||
                 (attr->type == PERF_TYPE_HW_CACHE && machine->cache) ||
                 (attr->type == PERF_TYPE_RAW && machine->raw);
    return !there || (machine->without != 0 && machine->without == attr->config) ? ENOENT : 0;
}

static const struct machine whole = {true, true, true, true, 0};

static void make(struct counter_plan *plan, const char *name, enum counter_cpu cpu,
                 const struct machine *machine)
{
    struct err error = {0};
    char *names[] = {(char *)name};
    if (counter_plan_make(plan, names, name != NULL, cpu, try_machine, (void *)machine, &error) !=
        0) {
        fail_msg("%s: %s (%s)", name, error.what, error.hint);
    }
}

static void expect_event(const struct counter_plan *plan, size_t place, const char *name,
                         const char *source, uint32_t type, uint64_t config)
{
    assert_true(place < plan->event_count);
    const struct counter_event *event = &plan->events[place];
    assert_string_equal(event->name, name);
    assert_string_equal(event->source, source);
    assert_string_equal(event->reason, "");
    assert_int_equal(event->attr.type, type);
    assert_int_equal(event->attr.config, config);
    assert_int_equal(event->attr.size, sizeof event->attr);
}

static void default_names(void **state)
{
    (void)state;
    struct counter_plan plan;
    make(&plan, NULL, COUNTER_CPU_OTHER, &whole);
    assert_int_equal(plan.event_count, 6);
    expect_event(&plan, 0, "task-clock", "", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK);
    expect_event(&plan, 1, "context-switches", "", PERF_TYPE_SOFTWARE, 3);
    expect_event(&plan, 2, "cpu-migrations", "", PERF_TYPE_SOFTWARE, 4);
    expect_event(&plan, 3, "page-faults", "", PERF_TYPE_SOFTWARE, 2);
    expect_event(&plan, 4, "cycles", "", PERF_TYPE_HARDWARE, 0);
    expect_event(&plan, 5, "instructions", "", PERF_TYPE_HARDWARE, 1);
    assert_int_equal(plan.events[0].group, plan.events[3].group);
    assert_int_equal(plan.events[4].group, plan.events[5].group);
    assert_int_not_equal(plan.events[0].group, plan.events[4].group);
    assert_int_equal(plan.ratio_count, 1);
    assert_string_equal(plan.ratios[0].name, "instructions per cycle");
    assert_int_equal(plan.ratios[0].numerator, 5);
    assert_int_equal(plan.ratios[0].denominator, 4);
}

/* L1D 0, L1I 1, LL 2, DTLB 3, ITLB 4; read 0, write 1; access 0, miss 1 (perf_event_open(2)). */
static void sets_by_cpu(void **state)
{
    (void)state;
    struct counter_plan plan;
    make(&plan, "l1d", COUNTER_CPU_OTHER, &whole);
    assert_int_equal(plan.event_count, 4);
    expect_event(&plan, 0, "l1d accesses", "L1-dcache-loads", PERF_TYPE_HW_CACHE, 0);
    expect_event(&plan, 1, "l1d refills", "L1-dcache-load-misses", PERF_TYPE_HW_CACHE, 0x10000);
    expect_event(&plan, 2, "instructions", "", PERF_TYPE_HARDWARE, 1);
    expect_event(&plan, 3, "cycles", "", PERF_TYPE_HARDWARE, 0);
    assert_string_equal(plan.ratios[0].name, "l1d refills per access");
    assert_int_equal(plan.ratios[0].numerator, 1);
    assert_int_equal(plan.ratios[0].denominator, 0);
    for (size_t i = 1; i < plan.event_count; i++) {
        assert_int_equal(plan.events[i].group, plan.events[0].group);
    }
    make(&plan, "l1i", COUNTER_CPU_ZEN, &whole);
    expect_event(&plan, 0, "l1i accesses", "L1-icache-loads", PERF_TYPE_HW_CACHE, 0x1);
    expect_event(&plan, 1, "l1i refills", "L1-icache-load-misses", PERF_TYPE_HW_CACHE, 0x10001);
    make(&plan, "tlb", COUNTER_CPU_INTEL, &whole);
    expect_event(&plan, 0, "itlb refills", "iTLB-load-misses", PERF_TYPE_HW_CACHE, 0x10004);
    expect_event(&plan, 1, "dtlb refills", "dTLB-load-misses", PERF_TYPE_HW_CACHE, 0x10003);
    make(&plan, "l2", COUNTER_CPU_ZEN, &whole);
    expect_event(&plan, 0, "l2 accesses", "l2_cache_req_stat, all", PERF_TYPE_RAW, 0xff64);
    expect_event(&plan, 1, "l2 refills", "l2_cache_req_stat, misses", PERF_TYPE_RAW, 0x0964);
    make(&plan, "l2", COUNTER_CPU_ARM, &whole);
    expect_event(&plan, 0, "l2 accesses", "L2D_CACHE", PERF_TYPE_RAW, 0x16);
    expect_event(&plan, 1, "l2 refills", "L2D_CACHE_REFILL", PERF_TYPE_RAW, 0x17);
    make(&plan, "mem", COUNTER_CPU_ARM, &whole);
    expect_event(&plan, 0, "memory reads", "MEM_ACCESS_RD", PERF_TYPE_RAW, 0x66);
    expect_event(&plan, 1, "memory writes", "MEM_ACCESS_WR", PERF_TYPE_RAW, 0x67);
    make(&plan, "axi", COUNTER_CPU_ARM, &whole);
    expect_event(&plan, 0, "bus reads", "BUS_ACCESS_RD", PERF_TYPE_RAW, 0x60);
    expect_event(&plan, 1, "bus writes", "BUS_ACCESS_WR", PERF_TYPE_RAW, 0x61);
    make(&plan, "axi", COUNTER_CPU_INTEL, &whole);
    expect_event(&plan, 0, "bus reads", "LLC-load-misses", PERF_TYPE_HW_CACHE, 0x10002);
    expect_event(&plan, 1, "bus writes", "LLC-store-misses", PERF_TYPE_HW_CACHE, 0x10102);
}

/* What a CPU lacks is said, and the second choice is taken where there is one. */
static void missing_events(void **state)
{
    (void)state;
    struct counter_plan plan;
    struct machine machine = {.kernel_allowed = true};
    make(&plan, "l1d", COUNTER_CPU_INTEL, &machine); /* a virtual machine */
    for (size_t i = 0; i < 4; i++) {
        assert_non_null(strstr(plan.events[i].reason, "no such hardware counter"));
    }
    assert_string_equal(plan.events[0].source, "L1-dcache-loads");
    machine = (struct machine){true, false, true, true, 0};
    make(&plan, "l1d", COUNTER_CPU_ARM, &machine);
    expect_event(&plan, 0, "l1d accesses", "L1D_CACHE", PERF_TYPE_RAW, 0x04);
    machine = whole;
    machine.without = 0x10000;
    make(&plan, "l1d", COUNTER_CPU_OTHER, &machine);
    expect_event(&plan, 0, "l1d accesses", "L1-dcache-loads", PERF_TYPE_HW_CACHE, 0);
    assert_non_null(strstr(plan.events[1].reason, "no such hardware counter"));
    make(&plan, "axi", COUNTER_CPU_ZEN, &whole);
    expect_event(&plan, 0, "bus reads", "ls_dmnd_fills_from_sys, dram", PERF_TYPE_RAW, 0x4843);
    assert_non_null(strstr(plan.events[1].reason, "AXI bus is ARM's"));
    make(&plan, "l2", COUNTER_CPU_OTHER, &whole);
    assert_non_null(strstr(plan.events[0].reason, "no event known"));
}

/* Where the kernel's part is not allowed: what is left is said to be that, and a count that would
 * be 0 without the kernel's part is none. */
static void user_part(void **state)
{
    (void)state;
    struct counter_plan plan;
    struct machine machine = whole;
    machine.kernel_allowed = false;
    make(&plan, NULL, COUNTER_CPU_OTHER, &machine);
    assert_false(plan.events[0].user_only); /* task-clock counts all the same */
    assert_string_equal(plan.events[0].reason, "");
    assert_non_null(strstr(plan.events[1].reason, "CAP_PERFMON")); /* context-switches */
    assert_non_null(strstr(plan.events[2].reason, "perf_event_paranoid"));
    for (size_t i = 3; i < 6; i++) {
        assert_true(plan.events[i].user_only);
        assert_true(plan.events[i].attr.exclude_kernel);
        assert_string_equal(plan.events[i].reason, "");
    }
}

static void same_event_once(void **state)
{
    (void)state;
    struct counter_plan plan;
    struct err error = {0};
    char *names[] = {"l1d", "tlb", "cycles", "cpu-cycles", "default"};
    assert_int_equal(
        counter_plan_make(&plan, names, 5, COUNTER_CPU_OTHER, try_machine, (void *)&whole, &error),
        0);
    assert_int_equal(plan.event_count, 4 + 2 + 4); /* the sets' own, two of both, four software */
    for (size_t i = 0; i < plan.ratio_count; i++) {
        assert_true(plan.ratios[i].numerator < plan.event_count);
        assert_true(plan.ratios[i].denominator < plan.event_count);
    }
}

static void refuse(const char *name, const char *hint)
{
    struct counter_plan plan;
    struct err error = {0};
    char *names[] = {"cycles", (char *)name};
    assert_int_equal(
        counter_plan_make(&plan, names, 2, COUNTER_CPU_ARM, try_machine, (void *)&whole, &error),
        -1);
    assert_int_equal(error.code, ERR_USAGE);
    assert_string_equal(error.subject, "--counters");
    assert_non_null(strstr(error.what, name));
    if (strstr(error.hint, hint) == NULL) {
        fail_msg("%s: %s", name, error.hint);
    }
}

static void unknown_names(void **state)
{
    (void)state;
    refuse("cycels", "did you mean cycles?");
    refuse("l1x", "did you mean l1d?");
    refuse("pagefaults", "did you mean page-faults?");
    refuse("nothing like it", "sets are l1d");
}

#if SONDE_HAVE_PFM
/* libpfm4 names software events too, so that this works on every machine. */
static void names_of_libpfm(void **state)
{
    (void)state;
    struct counter_plan plan;
    make(&plan, "PERF_COUNT_SW_PAGE_FAULTS_MIN", COUNTER_CPU_OTHER, &whole);
    expect_event(&plan, 0, "PERF_COUNT_SW_PAGE_FAULTS_MIN", "", PERF_TYPE_SOFTWARE, 5);
    make(&plan, "instructions:u", COUNTER_CPU_OTHER, &whole);
    expect_event(&plan, 0, "instructions:u", "", PERF_TYPE_HARDWARE, 1);
    assert_true(plan.events[0].attr.exclude_kernel);
    assert_false(plan.events[0].attr.exclude_user);
}
#endif

/* ---- arithmetic ---- */

static void never_scaled(void **state)
{
    (void)state;
    const struct perf_event_attr attr = {.type = PERF_TYPE_HARDWARE};
    const uint64_t whole_time[] = {100, 5000, 5000}, part[] = {100, 5000, 4999};
    struct counter_total total = {0};
    uint64_t value;
    char reason[96] = "";
    counter_total_add(&total, whole_time, sizeof whole_time);
    counter_total_add(&total, whole_time, sizeof whole_time);
    assert_true(counter_total_value(&total, &attr, &value, reason, sizeof reason));
    assert_int_equal(value, 200);
    counter_total_add(&total, part, sizeof part);
    assert_false(counter_total_value(&total, &attr, &value, reason, sizeof reason));
    assert_non_null(strstr(reason, "99.99 %"));
    total = (struct counter_total){0}; /* a thread that never ran: truly 0 */
    assert_true(counter_total_value(&total, &attr, &value, reason, sizeof reason));
    assert_int_equal(value, 0);
}

static void broken_reads(void **state)
{
    (void)state;
    const struct perf_event_attr attr = {.type = PERF_TYPE_HARDWARE};
    const uint64_t fields[] = {100, 5000, 5000};
    uint64_t value;
    char reason[96] = "";
    struct counter_total total = {0};
    counter_total_add(&total, fields, sizeof fields);
    counter_total_add(&total, fields, 0);
    assert_false(counter_total_value(&total, &attr, &value, reason, sizeof reason));
    assert_non_null(strstr(reason, "taken by others"));
    total = (struct counter_total){0};
    counter_total_add(&total, fields, 16);
    assert_false(counter_total_value(&total, &attr, &value, reason, sizeof reason));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_names),
        cmocka_unit_test(sets_by_cpu),
        cmocka_unit_test(missing_events),
        cmocka_unit_test(user_part),
        cmocka_unit_test(same_event_once),
        cmocka_unit_test(unknown_names),
#if SONDE_HAVE_PFM
        cmocka_unit_test(names_of_libpfm),
#endif
        cmocka_unit_test(never_scaled),
        cmocka_unit_test(broken_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
