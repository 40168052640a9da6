/* What a load did in the window of the run beside it; a load that cannot be started. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "run/load.h"
#include "workload/stream.h"

static const struct metric rate = {.key = "bytes_per_second", .kind = METRIC_VALUE};

/* Intervals of 100 ns from 1000 on, at rates 1, 2, 3 …; `without`: one that measured nothing. */
static void make_run(struct record_run *run, struct record_interval *intervals,
                     struct record_value *values, size_t count, size_t without)
{
    *run = (struct record_run){
        .window_start_ns = 1000, .intervals = intervals, .interval_count = count};
    for (size_t i = 0; i < count; i++) {
        values[i] = (struct record_value){
            .metric = &rate, .available = i != without, .value = (double)(i + 1)};
        intervals[i] = (struct record_interval){
            .start_ns = 100 * i, .duration_ns = 100, .values = &values[i], .value_count = 1};
    }
}

static void assert_near(double found, double expected)
{
    assert_true(fabs(found - expected) < 1e-9);
}

static void overlaps(void **state)
{
    (void)state;
    static const struct {
        uint64_t from_ns, until_ns;
        double rate, covered;
    } rows[] = {
        {1000, 1400, 2.5, 1}, {1100, 1200, 2, 1},
        {1150, 1250, 2.5, 1}, {1190, 1300, 3 - 1 / 11.0, 1},
        {900, 1100, 1, 0.5},  {1300, 1500, 4, 0.5},
        {0, 1000, 0, 0},      {1400, 2000, 0, 0},
        {1200, 1200, 0, 0},   {800, 1600, 2.5, 0.5},
    };
    struct record_interval intervals[4];
    struct record_value values[4];
    struct record_run run;
    make_run(&run, intervals, values, 4, 4);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double covered;
        double found = load_overlap(&run, rows[i].from_ns, rows[i].until_ns, &covered);
        assert_near(found, rows[i].rate);
        assert_near(covered, rows[i].covered);
    }
}

static void what_was_not_measured_is_not_covered(void **state)
{
    (void)state;
    struct record_interval intervals[4];
    struct record_value values[4];
    struct record_run run;
    double covered;
    make_run(&run, intervals, values, 4, 1);
    assert_near(load_overlap(&run, 1000, 1400, &covered), 8 / 3.0);
    assert_near(covered, 0.75);
}

/* A load through sonde's own server, as `sonde stream` would have it. */
struct plan {
    struct stream_options stream;
    struct run_options options;
    struct address address;
    struct run_plan run;
};

static void make_plan(struct plan *plan, const char *target)
{
    struct err error;
    *plan = (struct plan){
        .stream = {.streams = 1, .length_bytes = 65536},
        .options = {.connections = 1,
                    .threads = 1,
                    .server_threads = 1,
                    .drain_ns = 2 * NS_PER_SECOND,
                    .connect_timeout_ns = 5 * NS_PER_SECOND,
                    .wire = {.receive_bytes = 65536}},
    };
    assert_int_equal(address_parse(target, false, &plan->address, &error), 0);
    plan->run = (struct run_plan){.workload = &workload_stream,
                                  .workload_options = &plan->stream,
                                  .options = &plan->options,
                                  .engine = engine_find("epoll"),
                                  .server_engine = engine_find("epoll"),
                                  .target = &plan->address,
                                  .label = "load",
                                  .stop_fd = -1};
}

static void assert_no_child(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void a_load_that_lasts(void **state)
{
    (void)state;
    struct plan plan;
    struct load *load;
    struct load_figures figures;
    struct err error = {0};
    make_plan(&plan, "tcp:");
    assert_int_equal(load_start(&load, &plan.run, -1, &error), 0);
    assert_false(load_ended(load));
    uint64_t from_ns = clock_now_ns();
    const struct timespec pause = clock_timespec(250 * NS_PER_MS);
    nanosleep(&pause, NULL);
    assert_int_equal(load_stop(&load, from_ns, clock_now_ns(), &figures, &error), 0);
    assert_null(load);
    assert_true(figures.rate > 0);
    assert_true(figures.covered > 0 && figures.covered <= 1);
    assert_int_equal(figures.process_count, 2);
    assert_true(figures.processes[0].cpu_available);
    assert_int_equal(load_stop(&load, 0, 0, &figures, &error), 0); /* nothing is left to stop */
    assert_no_child();
}

static void a_load_that_cannot_start(void **state)
{
    (void)state;
    struct plan plan;
    struct load *load;
    struct err error = {0};
    make_plan(&plan, "tcp://127.0.0.1:1");
    assert_int_equal(load_start(&load, &plan.run, -1, &error), -1);
    assert_null(load);
    assert_non_null(strstr(error.what, "cannot connect"));
    assert_no_child();
}

/* stop_fd is readable from the start. */
static void an_impatient_user(void **state)
{
    (void)state;
    struct plan plan;
    struct load *load;
    struct err error = {0};
    int files[2];
    assert_int_equal(pipe(files), 0);
    close(files[1]);
    make_plan(&plan, "tcp:");
    assert_int_equal(load_start(&load, &plan.run, files[0], &error), -1);
    assert_int_equal(error.code, ERR_INTERRUPTED);
    assert_null(load);
    assert_no_child();
    close(files[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlaps),          cmocka_unit_test(what_was_not_measured_is_not_covered),
        cmocka_unit_test(a_load_that_lasts), cmocka_unit_test(a_load_that_cannot_start),
        cmocka_unit_test(an_impatient_user),
    };
    return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
