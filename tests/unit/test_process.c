#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "probe/probe.h"
#include "probe/process.h"
#include "probe/syscall_names.h"

static uint64_t own_cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * NS_PER_SECOND + (uint64_t)used.tv_nsec;
}

/* CPU time lies between what this process itself reads before and after. */
static void cpu_time_is_exact(void **state)
{
    (void)state;
    struct process_sample sample;
    struct err error = {0};
    for (uint64_t start = own_cpu_ns(); own_cpu_ns() - start < 30 * NS_PER_MS;) {
    }
    uint64_t before = own_cpu_ns();
    assert_int_equal(process_sample(getpid(), &sample, &error), 0);
    uint64_t after = own_cpu_ns();
    uint64_t total = sample.cpu_user_ns + sample.cpu_system_ns;
    assert_true(total >= before && total <= after);
    assert_true(sample.rss_bytes > 0);
    assert_true(sample.virtual_bytes >= sample.rss_bytes);
    assert_int_equal(sample.threads, 1);
    assert_true(sample.switches_voluntary + sample.switches_involuntary > 0);
}

/* A child with an awkward name, stopped so that it cannot change. */
static pid_t named_child(const char *name)
{
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, name);
        raise(SIGSTOP);
        _exit(0);
    }
    assert_true(child > 0);
    int status;
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    return child;
}

static void end_child(pid_t child)
{
    int status;
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
}

/* Names may hold what separates the fields of /proc/PID/stat. */
static void awkward_names(void **state)
{
    (void)state;
    static const char *const names[] = {"a) R 1 2 (b", "(", ")", " ", "fifteen-letters"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct process_sample sample;
        struct err error = {0};
        pid_t child = named_child(names[i]);
        assert_int_equal(process_sample(child, &sample, &error), 0);
        assert_string_equal(sample.name, names[i]);
        assert_int_equal(sample.threads, 1);
        end_child(child);
    }
}

static void ended_and_missing(void **state)
{
    (void)state;
    struct process_sample sample;
    struct err error = {0};
    pid_t child = fork();
    if (child == 0) {
        _exit(0);
    }
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(process_sample(child, &sample, &error), 0);
    assert_int_equal(sample.threads, 0); /* it waits for its parent */
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(process_sample(child, &sample, &error), -1);
    assert_int_equal(error.number, ENOENT);
    assert_int_equal(process_sample(0, &sample, &error), -1);
    assert_int_equal(process_sample(-1, &sample, &error), -1);
}

static bool contains(const pid_t *pids, size_t count, pid_t pid)
{
    for (size_t i = 0; i < count; i++) {
        if (pids[i] == pid) {
            return true;
        }
    }
    return false;
}

static void finding(void **state)
{
    (void)state;
    struct err error = {0};
    pid_t *pids;
    size_t count;
    pid_t first = named_child("sonde-find-me"), second = named_child("sonde-find-me");
    pid_t other = named_child("sonde-find-me2");
    assert_int_equal(process_find("sonde-find-me", &pids, &count, &error), 0);
    assert_int_equal(count, 2);
    assert_true(contains(pids, count, first) && contains(pids, count, second));
    free(pids);
    assert_int_equal(process_children(getpid(), &pids, &count, &error), 0);
    assert_int_equal(count, 3);
    assert_true(contains(pids, count, other));
    free(pids);
    end_child(first);
    end_child(second);
    end_child(other);
    assert_int_equal(process_find("sonde-find-me", &pids, &count, &error), 0);
    assert_int_equal(count, 0);
    free(pids);
}

static void *wait_for_end(void *end)
{
    pthread_mutex_lock(end);
    pthread_mutex_unlock(end);
    return NULL;
}

static void threads_in_order(void **state)
{
    (void)state;
    enum { COUNT = 20 };
    pthread_mutex_t end = PTHREAD_MUTEX_INITIALIZER;
    pthread_t threads[COUNT];
    struct thread_sample *samples;
    struct process_sample sample;
    size_t count;
    struct err error = {0};
    pthread_mutex_lock(&end);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for_end, &end), 0);
    }
    assert_int_equal(process_threads(getpid(), &samples, &count, &error), 0);
    assert_int_equal(process_sample(getpid(), &sample, &error), 0);
    pthread_mutex_unlock(&end);
    for (int i = 0; i < COUNT; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(count, COUNT + 1);
    assert_int_equal(sample.threads, COUNT + 1);
    bool own = false;
    for (size_t i = 0; i < count; i++) {
        assert_true(i == 0 || samples[i].tid > samples[i - 1].tid);
        own = own || (samples[i].tid == getpid() && samples[i].cpu_ns > 0);
    }
    assert_true(own);
    free(samples);
    assert_int_equal(process_threads(0x7fffffff, &samples, &count, &error), -1);
    assert_null(samples);
}

static void busiest(void **state)
{
    (void)state;
    const struct thread_sample before[] = {{1, 100}, {3, 1000}, {5, 50}, {9, 900}};
    const struct thread_sample after[] = {{2, 5000}, {3, 1250}, {5, 550}, {9, 10}};
    /* 2 is new; 9 went back, so another thread has its id now. */
    double share = process_busiest(before, 4, after, 4, 1000);
    assert_true(share > 0.4999 && share < 0.5001);
    assert_true(process_busiest(before, 1, after, 1, 1000) < 0);
    assert_true(process_busiest(before, 4, after, 4, 0) < 0);
    assert_true(process_busiest(NULL, 0, NULL, 0, 1000) < 0);
}

static void the_machine(void **state)
{
    (void)state;
    struct system_sample first, second;
    struct err error = {0};
    assert_int_equal(system_sample(&first, &error), 0);
    assert_true(first.user_ns > 0 && first.system_ns > 0 && first.idle_ns > 0);
    assert_true(first.load_1m >= 0);
    for (uint64_t start = own_cpu_ns(); own_cpu_ns() - start < 60 * NS_PER_MS;) {
    }
    assert_int_equal(system_sample(&second, &error), 0);
    assert_true(second.at_ns > first.at_ns);
    assert_true(second.user_ns + second.system_ns > first.user_ns + first.system_ns);
    assert_true(second.listen_overflows >= first.listen_overflows);
    assert_true(second.listen_drops >= first.listen_drops);
    assert_true(second.retransmits >= first.retransmits);
    assert_true(first.netstat_known && first.snmp_known && first.sockstat_known);
}

/* A listener without a backlog drops; who ends a connection first has its TIME_WAIT. */
static void tcp_of_the_host(void **state)
{
    (void)state;
    enum { COUNT = 4 };
    struct system_sample first, second;
    struct err error = {0};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof to;
    int clients[COUNT], listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&to, &length), 0);
    assert_int_equal(system_sample(&first, &error), 0);
    for (int i = 0; i < COUNT; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        assert_true(clients[i] >= 0);
        connect(clients[i], (struct sockaddr *)&to, sizeof to);
    }
    int accepted = accept(listener, NULL, NULL);
    assert_true(accepted >= 0);
    assert_int_equal(system_sample(&second, &error), 0);
    /* One has room in it. */
    assert_true(second.listen_overflows - first.listen_overflows >= COUNT - 1);
    assert_true(second.listen_drops - first.listen_drops >= COUNT - 1);
    for (int i = 0; i < COUNT; i++) {
        close(clients[i]);
    }
    close(accepted);
    close(listener);
    assert_int_equal(system_sample(&second, &error), 0);
    assert_true(second.time_waits_begun > first.time_waits_begun);
    assert_true(second.time_waits > 0);
}

static void names_of_calls(void **state)
{
    (void)state;
    assert_string_equal(syscall_name(SYS_read), "read");
    assert_string_equal(syscall_name(SYS_openat), "openat");
    assert_string_equal(syscall_name(SYS_clone3), "clone3");
    assert_string_equal(syscall_name(SYS_io_uring_enter), "io_uring_enter");
    assert_string_equal(syscall_name(SYS_futex_waitv), "futex_waitv");
    assert_string_equal(syscall_name(451), "cachestat");
    assert_null(syscall_name(100000));
    assert_int_equal(syscall_number("getppid"), SYS_getppid);
    assert_int_equal(syscall_number("rt_sigreturn"), SYS_rt_sigreturn);
    assert_int_equal(syscall_number("no_such_call"), -1);
    assert_string_equal(uring_name(0), "NOP");
    assert_string_equal(uring_name(27), "RECV");
    assert_string_equal(uring_name(47), "SEND_ZC");
    assert_null(uring_name(1000));
    assert_true(uring_moves_bytes(27));
    assert_false(uring_moves_bytes(0));
    assert_false(uring_moves_bytes(13)); /* ACCEPT returns a file */
}

/* Either it serves, or it says why not and how to mend it; opening agrees. */
static void the_probe_serves_or_says_why_not(void **state)
{
    (void)state;
    char reason[160] = "", fix[160] = "";
    struct err error = {0};
    struct probe *probe = NULL;
    struct probe_target target = {.pid = getpid(), .role = "observed"};
    struct targets *targets = NULL;
    struct targets_config whom = {&target, 1, false, true};
    const struct probe_scope scope = {0};
    assert_ptr_equal(probes[0], &probe_syscalls);
    if (probe_syscalls.why_not(reason, sizeof reason, fix, sizeof fix) != 0) {
        assert_true(strlen(reason) > 0);
        assert_int_equal(targets_open(&targets, &whom, &error), -1);
        assert_null(targets);
        assert_true(strlen(error.what) > 0);
        return;
    }
    assert_int_equal(targets_open(&targets, &whom, &error), 0);
    struct probe_config config = {.targets = targets};
    struct gate *gate = targets_gate(targets);
    assert_int_equal(probe_syscalls.open(&probe, &config, &error), 0);
    assert_int_equal(probe_syscalls.total(probe, NULL), 0);
    assert_true(targets_observes(targets, getpid()));
    assert_false(targets_observes(targets, 1));
    for (uint64_t i = 1; i <= 3; i++) {
        struct record_run run = {0};
        uint64_t own = 0;
        assert_int_equal(probe_syscalls.start(probe, &error), 0);
        assert_int_equal(probe_syscalls.start(probe, &error), 0); /* on already */
        syscall(SYS_getppid); /* not counted: the gate is closed */
        gate_open(gate, clock_now_ns());
        for (int j = 0; j < 100; j++) {
            syscall(SYS_getppid);
        }
        gate_close(gate, clock_now_ns());
        syscall(SYS_getppid); /* not counted */
        assert_int_equal(probe_syscalls.stop(probe, &error), 0);
        for (int j = 0; j < 100; j++) {
            syscall(SYS_getppid); /* not counted */
        }
        /* Totals since open; a second read into the same run replaces the first. */
        for (int twice = 0; twice < 2; twice++) {
            assert_int_equal(probe_syscalls.read(probe, &scope, &run, &error), 0);
            assert_int_equal(run.process_count, 1);
        }
        for (size_t j = 0; j < run.processes[0].kernel_calls.syscall_count; j++) {
            const struct record_syscall *call = &run.processes[0].kernel_calls.syscalls[j];
            own += strcmp(call->name, "getppid") == 0 ? call->calls : 0;
        }
        assert_int_equal(own, 100 * i);
        assert_int_equal(run.processes[0].kernel_calls.lost, 0);
        assert_true(probe_syscalls.total(probe, "observed") >= own);
        assert_int_equal(probe_syscalls.total(probe, "client"), 0);
        struct record record = {.runs = malloc(sizeof run), .run_count = 1};
        assert_non_null(record.runs);
        record.runs[0] = run;
        record_release(&record);
    }
    probe_syscalls.close(probe);
    probe_syscalls.close(NULL);
    targets_close(targets);
    targets_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_time_is_exact), cmocka_unit_test(awkward_names),
        cmocka_unit_test(ended_and_missing), cmocka_unit_test(finding),
        cmocka_unit_test(threads_in_order),  cmocka_unit_test(busiest),
        cmocka_unit_test(the_machine),       cmocka_unit_test(tcp_of_the_host),
        cmocka_unit_test(names_of_calls),    cmocka_unit_test(the_probe_serves_or_says_why_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
