/* The probes sizes and latency on this very process: what the gate lets count. Figures of whole
 * programs are compared with strace's and bpftrace's in tests/integration/test_sizes.py. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "probe/probe.h"

struct world {
    struct targets *targets;
    struct probe *sizes, *latency;
    struct record record;
    struct record_run *run;
    int zero;
    struct err error;
};

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    *state = world;
    world->zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    assert_true(world->zero >= 0);
    assert_int_equal(record_init(&world->record, 0, NULL, &world->error), 0);
    world->run = record_add_run(&world->record, "test");
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    probe_sizes.close(world->sizes);
    probe_latency.close(world->latency);
    targets_close(world->targets);
    record_release(&world->record);
    close(world->zero);
    free(world);
    return 0;
}

static void open_probes(struct world *world)
{
    char reason[160], fix[128];
    if (probe_sizes.why_not(reason, sizeof reason, fix, sizeof fix) != 0) {
        print_message("not on this machine: %s\n", reason);
        skip();
    }
    struct probe_target target = {.pid = getpid(), .role = "observed"};
    struct targets_config config = {.targets = &target, .target_count = 1, .bpf = true};
    assert_int_equal(targets_open(&world->targets, &config, &world->error), 0);
    struct probe_config probe = {.targets = world->targets};
    assert_int_equal(probe_sizes.open(&world->sizes, &probe, &world->error), 0);
    assert_int_equal(probe_latency.open(&world->latency, &probe, &world->error), 0);
}

static void start(struct world *world)
{
    assert_int_equal(probe_sizes.start(world->sizes, &world->error), 0);
    assert_int_equal(probe_latency.start(world->latency, &world->error), 0);
}

static void stop(struct world *world)
{
    assert_int_equal(probe_latency.stop(world->latency, &world->error), 0);
    assert_int_equal(probe_sizes.stop(world->sizes, &world->error), 0);
}

/* pread64: nothing else in this process makes it. */
static void move(const struct world *world, int calls)
{
    char data[3];
    for (int i = 0; i < calls; i++) {
        assert_int_equal(pread(world->zero, data, sizeof data, 0), 3);
    }
}

static const struct record_probe *read_probe(struct world *world, const struct probe_ops *ops,
                                             struct probe *probe)
{
    struct probe_scope scope = {.window_ns = 1000, .operations = 10, .bytes = 20};
    assert_int_equal(ops->read(probe, &scope, world->run, &world->error), 0);
    const struct record_probe *read = &world->run->probes[world->run->probe_count - 1];
    assert_string_equal(read->name, ops->name);
    assert_true(read->available);
    assert_int_equal(read->lost, 0);
    assert_int_equal(read->window_ns, 1000);
    assert_int_equal(read->operations, 10);
    assert_int_equal(read->bytes, 20);
    return read;
}

/* Over all threads. */
static uint64_t counted(const struct record_probe *probe, const char *what, uint32_t class)
{
    uint64_t count = 0;
    for (size_t i = 0; i < probe->distribution_count; i++) {
        const struct record_distribution *one = &probe->distributions[i];
        assert_int_equal(one->scope.pid, getpid());
        assert_string_equal(one->scope.role, "observed");
        for (uint32_t c = 0; strcmp(one->scope.what, what) == 0 && c < DISTRIBUTION_CLASSES; c++) {
            count += class == UINT32_MAX || c == class ? one->classes[c] : 0;
        }
    }
    return count;
}

static void test_only_while_attached_and_open(void **state)
{
    struct world *world = *state;
    open_probes(world);
    struct gate *gate = targets_gate(world->targets);
    for (int turn = 0; turn < 2; turn++) {
        move(world, 100); /* not attached */
        start(world);
        move(world, 10); /* attached, closed */
        gate_open(gate, clock_now_ns());
        move(world, 7);
        gate_close(gate, clock_now_ns());
        move(world, 10);
        stop(world);
        gate_open(gate, clock_now_ns());
        move(world, 100); /* open, not attached */
        gate_close(gate, clock_now_ns());
        const struct record_probe *sizes = read_probe(world, &probe_sizes, world->sizes);
        assert_int_equal(counted(sizes, "pread64", distribution_class(3)), 7 * (turn + 1));
        assert_int_equal(counted(sizes, "pread64", UINT32_MAX), 7 * (turn + 1));
        assert_int_equal(sizes->distributions[0].sum, 3 * 7 * (turn + 1));
        const struct record_probe *latency = read_probe(world, &probe_latency, world->latency);
        assert_int_equal(counted(latency, "pread64", UINT32_MAX), 7 * (turn + 1));
    }
}

static void *read_once(void *end)
{
    char byte;
    return read(*(int *)end, &byte, 1) == 1 ? NULL : end;
}

/* A call that the gate was closed in: its size counts, at its end; its duration does not. */
static void test_call_across_a_closed_gate(void **state)
{
    struct world *world = *state;
    open_probes(world);
    struct gate *gate = targets_gate(world->targets);
    int ends[2];
    pthread_t thread;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    start(world);
    gate_open(gate, clock_now_ns());
    assert_int_equal(pthread_create(&thread, NULL, read_once, &ends[0]), 0);
    usleep(100000); /* it waits in its read; a slow machine may make the test pass in vain */
    gate_close(gate, clock_now_ns());
    gate_open(gate, clock_now_ns());
    assert_int_equal(write(ends[1], "x", 1), 1);
    void *failed;
    pthread_join(thread, &failed);
    gate_close(gate, clock_now_ns());
    stop(world);
    assert_null(failed);
    assert_int_equal(
        counted(read_probe(world, &probe_sizes, world->sizes), "read", distribution_class(1)), 1);
    const struct record_probe *latency = read_probe(world, &probe_latency, world->latency);
    assert_int_equal(counted(latency, "read", UINT32_MAX), 0);
    assert_int_equal(counted(latency, "write", UINT32_MAX), 1);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_only_while_attached_and_open),
        TEST(test_call_across_a_closed_gate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
