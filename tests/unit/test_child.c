/* Running sonde as a child. The child is /proc/self/exe, which is this test: started with the name
 * of one of the parts below it plays that part. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "run/child.h"

#define RECORD "{\"schema\": \"sonde.record/1\", \"complete\": true}"

/* ---- the parts ---- */

static int part_environment(int argc, char **argv)
{
    sigset_t blocked;
    int death_signal = 0, files = 0;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    prctl(PR_GET_PDEATHSIG, &death_signal);
    for (int file = 0; file < 1024; file++) {
        files += fcntl(file, F_GETFD) >= 0;
    }
    struct sigaction interrupt;
    sigaction(SIGINT, NULL, &interrupt);
    printf("{\"schema\": \"sonde.record/1\", \"files\": %d, \"blocked\": %d, \"ignored\": %d, "
           "\"death_signal\": %d, \"input\": %d, \"own_group\": %d, \"arguments\": [",
           files, sigismember(&blocked, SIGINT), interrupt.sa_handler == SIG_IGN, death_signal,
           (int)getchar(), getpgrp() == getpid());
    for (int i = 0; i < argc; i++) {
        printf("%s\"%s\"", i ? ", " : "", argv[i]);
    }
    printf("]}");
    return 0;
}

static int part_fails(bool with_record)
{
    fputs("a line before\nsonde: --size: 0 is too small: accepts more\n", stderr);
    if (with_record) {
        puts(RECORD);
    }
    return with_record ? 1 : 2;
}

static int part_flood(bool errors)
{
    static char block[1 << 16];
    memset(block, 'x', sizeof block);
    for (size_t i = 0; i < (errors ? 100u : 1100u); i++) {
        fwrite(block, 1, sizeof block, errors ? stderr : stdout);
    }
    fputs("\nsonde: pipe: broke\n", stderr);
    return 1;
}

/* Waits for an interrupt; counts those that come within a while. */
static int part_waits(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (sigtimedwait(&set, NULL, &(struct timespec){.tv_sec = 60}) != SIGINT) {
        return 3;
    }
    bool again = sigtimedwait(&set, NULL, &(struct timespec){.tv_nsec = 200000000}) == SIGINT;
    printf("{\"schema\": \"sonde.record/1\", \"again\": %d}", again);
    return 1;
}

/* Leaves somebody behind that holds standard output open. */
static int part_orphan(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        sleep(30);
        _exit(0);
    }
    printf("{\"schema\": \"sonde.record/1\", \"orphan\": %d}", (int)pid);
    return 0;
}

static int play(int argc, char **argv)
{
    const char *part = argv[1];
    if (strcmp(part, "environment") == 0) {
        return part_environment(argc, argv);
    } else if (strcmp(part, "fails") == 0 || strcmp(part, "fails-with-record") == 0) {
        return part_fails(part[5] != '\0');
    } else if (strcmp(part, "flood") == 0 || strcmp(part, "flood-errors") == 0) {
        return part_flood(part[5] != '\0');
    } else if (strcmp(part, "waits") == 0) {
        return part_waits();
    } else if (strcmp(part, "stopped") == 0) {
        raise(SIGSTOP);
        return 1;
    } else if (strcmp(part, "orphan") == 0) {
        return part_orphan();
    } else if (strcmp(part, "dies") == 0) {
        puts(RECORD);
        fflush(stdout);
        raise(SIGKILL);
    } else if (strcmp(part, "interrupted-at-once") == 0) {
        pause();
    } else if (strcmp(part, "no-json") == 0) {
        fputs("calls/s 12\n", stdout);
    } else if (strcmp(part, "foreign") == 0) {
        fputs("{\"schema\": \"other/1\"}", stdout);
    } else if (strcmp(part, "truncated") == 0) {
        fputs("{\"schema\": \"sonde.record/1\", ", stdout);
    }
    return 0;
}

/* ---- the tests ---- */

static int measure(const char *part, int stop_fd, json_t **record, int *status, struct err *error)
{
    char *arguments[] = {(char *)part, "--size", "4", "--", "-x", NULL};
    *error = (struct err){0};
    int result = child_measure(arguments, stop_fd, record, status, error);
    /* Nobody is left, not even to be waited for. */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(result == 0, error->code == ERR_NONE);
    assert_int_equal(result == 0, *record != NULL);
    return result;
}

static int open_files(void)
{
    int count = 0;
    for (int file = 0; file < 1024; file++) {
        count += fcntl(file, F_GETFD) >= 0;
    }
    return count;
}

static json_int_t number(json_t *record, const char *key)
{
    return json_integer_value(json_object_get(record, key));
}

static void runs_apart_from_us(void **state)
{
    (void)state;
    static const char *const expected[] = {"sonde",    "environment", "--size", "4",
                                           "--json=-", "--",          "-x"};
    json_t *record;
    int status;
    struct err error;
    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, &before);
    signal(SIGINT, SIG_IGN);
    int inherited = dup(STDOUT_FILENO); /* without close-on-exec */
    int files = open_files();
    assert_int_equal(measure("environment", -1, &record, &status, &error), 0);
    assert_int_equal(open_files(), files);
    close(inherited);
    signal(SIGINT, SIG_DFL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    assert_int_equal(status, 0);
    assert_int_equal(number(record, "files"), 3);
    assert_int_equal(number(record, "blocked"), 0);
    assert_int_equal(number(record, "ignored"), 0);
    assert_int_equal(number(record, "death_signal"), SIGKILL);
    assert_int_equal(number(record, "input"), EOF);
    assert_int_equal(number(record, "own_group"), 1);
    json_t *arguments = json_object_get(record, "arguments");
    assert_int_equal(json_array_size(arguments), sizeof expected / sizeof *expected);
    for (size_t i = 0; i < json_array_size(arguments); i++) {
        assert_string_equal(json_string_value(json_array_get(arguments, i)), expected[i]);
    }
    json_decref(record);
}

static void failures_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *part;
        enum err_code code;
        const char *subject, *what;
    } rows[] = {
        {"fails", ERR_USAGE, "--size", "0 is too small: accepts more"},
        {"dies", ERR_SYSTEM, "measuring child", "died of signal 9"},
        {"no-json", ERR_SYSTEM, "measuring child", "printed no JSON: line 1"},
        {"foreign", ERR_SYSTEM, "measuring child", "printed JSON that is no sonde.record/1"},
        {"truncated", ERR_SYSTEM, "measuring child", "printed no JSON: line 1"},
        {"nothing", ERR_SYSTEM, "measuring child", "printed no record (exit status 0)"},
        {"flood", ERR_LIMIT, "measuring child", "printed more than 64 MiB"},
        {"flood-errors", ERR_SYSTEM, "pipe", "broke"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *record;
        int status;
        struct err error;
        assert_int_equal(measure(rows[i].part, -1, &record, &status, &error), -1);
        assert_int_equal(error.code, rows[i].code);
        assert_string_equal(error.subject, rows[i].subject);
        if (strncmp(error.what, rows[i].what, strlen(rows[i].what)) != 0) {
            fail_msg("%s: %s", rows[i].part, error.what);
        }
    }
}

static void a_record_of_a_failed_run_is_kept(void **state)
{
    (void)state;
    json_t *record;
    int status;
    struct err error;
    assert_int_equal(measure("fails-with-record", -1, &record, &status, &error), 0);
    assert_int_equal(status, 1);
    json_decref(record);
}

/* As output_stop_file makes it, for a signal that means nothing else here. */
static int stop_file(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    assert_int_equal(sigprocmask(SIG_BLOCK, &set, NULL), 0);
    int file = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    assert_true(file >= 0);
    return file;
}

/* Takes what is left; true where there was something. */
static bool stop_taken(int file)
{
    struct signalfd_siginfo taken;
    return read(file, &taken, sizeof taken) == sizeof taken;
}

/* Another process signals this one, that many times. */
static pid_t signal_later(int times)
{
    pid_t us = getpid(), later = fork();
    for (int i = 0; later == 0 && i < times; i++) {
        usleep(500000);
        kill(us, SIGUSR1);
    }
    if (later == 0) {
        _exit(0);
    }
    assert_true(later > 0);
    return later;
}

static void an_interrupt_is_forwarded_once(void **state)
{
    (void)state;
    json_t *record;
    int status;
    struct err error;
    int stop = stop_file();
    raise(SIGUSR1);
    /* It may come before the child is ready for it: then there is no record, and that is said. */
    if (measure("waits", stop, &record, &status, &error) == 0) {
        assert_int_equal(status, 1);
        assert_int_equal(number(record, "again"), 0);
        json_decref(record);
    } else {
        assert_int_equal(error.code, ERR_INTERRUPTED);
    }
    /* Whoever looks next sees it too: so does the next run. */
    assert_int_equal(measure("interrupted-at-once", stop, &record, &status, &error), -1);
    assert_int_equal(error.code, ERR_INTERRUPTED);
    assert_true(stop_taken(stop));
    close(stop);
}

static void an_interrupt_gets_its_record(void **state)
{
    (void)state;
    json_t *record;
    int status;
    struct err error;
    int stop = stop_file();
    pid_t later = signal_later(1);
    char *arguments[] = {"waits", NULL};
    assert_int_equal(child_measure(arguments, stop, &record, &status, &error), 0);
    assert_int_equal(status, 1);
    assert_int_equal(number(record, "again"), 0);
    json_decref(record);
    waitpid(later, NULL, 0);
    assert_true(stop_taken(stop));
    close(stop);
}

static void a_second_interrupt_kills(void **state)
{
    (void)state;
    json_t *record;
    int status;
    struct err error;
    int stop = stop_file();
    pid_t later = signal_later(2);
    char *arguments[] = {"stopped", NULL};
    assert_int_equal(child_measure(arguments, stop, &record, &status, &error), -1);
    assert_int_equal(error.code, ERR_INTERRUPTED);
    assert_string_equal(error.what, "killed by the second interrupt");
    waitpid(later, NULL, 0);
    stop_taken(stop);
    close(stop);
}

static void who_holds_its_output_is_not_waited_for(void **state)
{
    (void)state;
    json_t *record;
    int status;
    struct err error;
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_int_equal(measure("orphan", -1, &record, &status, &error), 0);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(after.tv_sec - before.tv_sec < 25);
    pid_t orphan = (pid_t)number(record, "orphan");
    assert_true(orphan > 1);
    kill(orphan, SIGKILL);
    json_decref(record);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_apart_from_us),
        cmocka_unit_test(failures_are_told_apart),
        cmocka_unit_test(a_record_of_a_failed_run_is_kept),
        cmocka_unit_test(an_interrupt_is_forwarded_once),
        cmocka_unit_test(an_interrupt_gets_its_record),
        cmocka_unit_test(a_second_interrupt_kills),
        cmocka_unit_test(who_holds_its_output_is_not_waited_for),
    };
    return argc > 1 ? play(argc, argv) : cmocka_run_group_tests(tests, NULL, NULL);
}
