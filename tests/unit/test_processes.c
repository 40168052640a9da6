#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "report/record.h"
#include "run/processes.h"

static void test_even_shares(void **state)
{
    (void)state;
    struct process_need need = {
        .connections = 100000, .files_each = 1, .threads = 1, .files_thread = 2};
    assert_int_equal(processes_share(&need, 1), 100000);
    assert_int_equal(processes_share(&need, 6), 16667);
    assert_int_equal(processes_files(&need, 6), 16667 + 2 + 4);
    /* As they are dealt out: nobody has more than the share, whatever the numbers. */
    for (need.threads = 1; need.threads <= 5; need.threads++) {
        for (need.connections = 1; need.connections <= 60; need.connections++) {
            for (uint32_t count = 1; count <= 7 && count <= need.connections; count++) {
                uint64_t workers = (uint64_t)count * need.threads, left = need.connections;
                uint64_t most = 0;
                workers = workers < left ? workers : left;
                for (uint32_t i = 0; i < count; i++) {
                    uint64_t first = workers * i / count, end = workers * (i + 1) / count, has = 0;
                    for (uint64_t j = first; j < end; j++) {
                        uint64_t share = left / (workers - j);
                        left -= share;
                        has += share;
                    }
                    most = has > most ? has : most;
                }
                assert_int_equal(left, 0);
                assert_true(most <= processes_share(&need, count));
            }
        }
    }
}

static void test_spread_shares_have_headroom(void **state)
{
    (void)state;
    struct process_need need = {
        .connections = 100000, .files_each = 1, .threads = 1, .files_thread = 4, .spread = true};
    assert_int_equal(processes_share(&need, 1), 100000);
    uint64_t six = processes_share(&need, 6);
    assert_true(six > 17000 && six < 18000); /* 16667 and six times 118 */
    need.connections = 200;
    uint64_t ten = processes_share(&need, 10);
    assert_true(ten > 40 && ten < 50); /* 20 and six times 4.2 */
    /* Never more than there are. */
    need.connections = 4;
    assert_int_equal(processes_share(&need, 2), 4);
}

static void test_how_many(void **state)
{
    (void)state;
    struct process_need need = {
        .connections = 100000, .files_each = 1, .threads = 1, .files_thread = 2};
    assert_int_equal(processes_needed(&need, 1, UINT64_MAX), 1);
    assert_int_equal(processes_needed(&need, 3, UINT64_MAX), 3);
    assert_int_equal(processes_needed(&need, 1, 100006), 1);
    assert_int_equal(processes_needed(&need, 1, 100005), 2);
    assert_int_equal(processes_needed(&need, 1, 19990), 6);
    assert_int_equal(processes_needed(&need, 8, 19990), 8);
    /* Where no number suffices, the asked one, so that the check of limits says the numbers. */
    assert_int_equal(processes_needed(&need, 1, 100), 1);
    assert_int_equal(processes_needed(&need, 5, 3), 5);
    /* A thread, and its files, for each connection. */
    need.threads = 0;
    assert_int_equal(processes_files(&need, 1), 300004);
    assert_int_equal(processes_needed(&need, 1, 150004), 2);
    /* What it comes to fits, and one less would not. */
    need.spread = true;
    for (uint64_t allowed = 2000; allowed <= 20000; allowed += 777) {
        uint32_t count = processes_needed(&need, 1, allowed);
        assert_true(count > 1 && processes_files(&need, count) <= allowed);
        assert_true(processes_files(&need, count - 1) > allowed);
    }
}

static void until_broken(const struct processes *processes, int expected)
{
    for (int i = 0; i < 10000 && processes_broken(processes) != expected; i++) {
        struct timespec pause = clock_timespec(NS_PER_MS);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    assert_int_equal(processes_broken(processes), expected);
}

static void test_life(void **state)
{
    (void)state;
    struct err error = {0};
    struct processes processes = {.count = 3};
    int ends[2];
    char byte;
    assert_int_equal(pipe(ends), 0);
    for (uint32_t i = 0; i < processes.count; i++) {
        processes.pids[i] = process_fork("sonde-test", "test", &error);
        if (processes.pids[i] == 0) {
            close(ends[1]);
            ssize_t got = read(ends[0], &byte, 1); /* until the parent lets go, or kills it */
            _exit(got == 0 ? 0 : 1);
        }
        assert_true(processes.pids[i] > 0);
    }
    close(ends[0]);
    assert_int_equal(processes_broken(&processes), -1);
    assert_int_equal(kill(processes.pids[1], SIGINT), 0); /* Ctrl-C is not theirs */
    assert_int_equal(kill(processes.pids[2], SIGKILL), 0);
    until_broken(&processes, 2);
    close(ends[1]);
    assert_int_equal(process_await(processes.pids[0], "client", &error), 0);
    assert_int_equal(process_await(processes.pids[1], "client", &error), 0);
    assert_int_equal(process_await(processes.pids[2], "client", &error), -1);
    assert_string_equal(error.subject, "client");
    assert_string_equal(error.what, "ended with signal 9");
    assert_int_equal(process_await(0, "client", &error), 0);
    /* This process, and one that is not there, are not broken. */
    processes = (struct processes){.pids = {getpid(), 0}, .count = 2};
    assert_int_equal(processes_broken(&processes), -1);
}

static void add_call(struct record_process *process, const char *name, uint64_t calls,
                     uint64_t again)
{
    process->kernel_calls.available = true;
    process->kernel_calls.window_ns = 5;
    process->kernel_calls.lost += 1;
    struct record_syscall *row = record_add_syscall(&process->kernel_calls, name);
    row->calls = calls;
    row->bytes = 10 * calls;
    if (again) {
        record_syscall_add_error(row, 11)->count = again;
    }
}

static void test_rows_are_joined(void **state)
{
    (void)state;
    struct err error = {0};
    struct record record;
    const pid_t pids[] = {7, 9, 11};
    assert_int_equal(record_init(&record, 0, NULL, &error), 0);
    struct record_run *run = record_add_run(&record, "epoll");
    record_add_process(run, "client", 7, "sonde-client")->processes = 3;
    add_call(record_add_process(run, "server", 8, "sonde-server"), "read", 1000, 0);
    add_call(record_add_process(run, "client", 9, "sonde-client"), "read", 5, 2);
    add_call(record_add_process(run, "client", 11, "sonde-client"), "read", 6, 3);
    add_call(&run->processes[3], "write", 50, 0);
    record_add_uring(&run->processes[3].kernel_calls, "RECV")->completed = 4;
    add_call(record_add_process(run, "client", 13, "other"), "read", 1, 0);
    assert_int_equal(record_join_processes(run, "client", pids, 3), 0);
    assert_int_equal(run->process_count, 3);
    const struct record_process *whole = &run->processes[0];
    assert_int_equal(whole->pid, 7);
    assert_int_equal(whole->processes, 3);
    assert_true(whole->kernel_calls.available);
    assert_int_equal(whole->kernel_calls.window_ns, 5);
    assert_int_equal(whole->kernel_calls.syscall_count, 2);
    assert_string_equal(whole->kernel_calls.syscalls[0].name, "write");
    assert_int_equal(whole->kernel_calls.syscalls[0].calls, 50);
    assert_int_equal(whole->kernel_calls.syscalls[1].calls, 11);
    assert_int_equal(whole->kernel_calls.syscalls[1].bytes, 110);
    assert_int_equal(whole->kernel_calls.syscalls[1].error_count, 1);
    assert_int_equal(whole->kernel_calls.syscalls[1].errors[0].count, 5);
    assert_int_equal(whole->kernel_calls.lost, 3);
    assert_int_equal(whole->kernel_calls.uring[0].completed, 4);
    assert_int_equal(run->processes[1].pid, 8);
    assert_int_equal(run->processes[2].pid, 13);
    /* One process is left as it is. */
    assert_int_equal(record_join_processes(run, "client", pids, 1), 0);
    assert_int_equal(run->process_count, 3);
    record_release(&record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even_shares),     cmocka_unit_test(test_spread_shares_have_headroom),
        cmocka_unit_test(test_how_many),        cmocka_unit_test(test_life),
        cmocka_unit_test(test_rows_are_joined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
