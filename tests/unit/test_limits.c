#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run/limits.h"

/* The checks change limits of the process for good: each runs in a child, which exits with the
 * number of the line that did not hold, counted from FIRST_LINE as an exit status ends at 255. */
enum { FIRST_LINE = __LINE__ };
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            _exit(__LINE__ - FIRST_LINE);                                                          \
        }                                                                                          \
    } while (0)

static void in_child(void (*check)(void))
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        check();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status)) {
        fail_msg("line %d", WEXITSTATUS(status) + FIRST_LINE);
    }
}

static void files_raised(void)
{
    struct rlimit limit;
    struct err error = {0};
    MUST(!getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = 16;
    limit.rlim_max = 200;
    MUST(!setrlimit(RLIMIT_NOFILE, &limit));
    /* What fits stays as it is. */
    MUST(!limits_check(&(struct limits_need){.files = 4}, NULL, &error));
    MUST(!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur == 16);
    MUST(!limits_check(&(struct limits_need){.files = 100}, NULL, &error));
    MUST(!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur == 200);
}

static void files_refused(void)
{
    struct err error = {0};
    const struct rlimit limit = {.rlim_cur = 100, .rlim_max = 200};
    uint64_t needed = 0, opened = 0, allowed = 0;
    /* An inherited file above the limit would not count against it. */
    MUST(!close_range(3, UINT32_MAX, 0));
    MUST(!setrlimit(RLIMIT_NOFILE, &limit));
    MUST(limits_check(&(struct limits_need){.files = 1000}, NULL, &error) == -1);
    MUST(error.code == ERR_LIMIT && !strcmp(error.subject, "open files"));
    MUST(sscanf(error.what, "%" SCNu64 " needed (%" SCNu64 " open now), %" SCNu64 " allowed",
                &needed, &opened, &allowed) == 3);
    MUST(opened >= 3 && needed == 1000 + opened && allowed == 200);
    MUST(strstr(error.hint, "--nofile="));
    MUST(limits_check(&(struct limits_need){.files = UINT64_MAX}, NULL, &error) == -1);
    /* To the last one: those open now count. */
    MUST(!limits_check(&(struct limits_need){.files = 200 - opened}, NULL, &error));
    MUST(limits_check(&(struct limits_need){.files = 201 - opened}, NULL, &error) == -1);
    for (uint64_t i = opened; i < 200; i++) {
        MUST(dup(0) >= 0);
    }
    MUST(dup(0) == -1);
}

static void threads_refused(void)
{
    struct err error = {0};
    const struct rlimit limit = {.rlim_cur = 1, .rlim_max = 5};
    struct rlimit now;
    MUST(limits_check(&(struct limits_need){.threads = 100000000}, NULL, &error) == -1);
    MUST(error.code == ERR_LIMIT && !strcmp(error.subject, "threads"));
    MUST(strstr(error.what, "100000000 needed") && strstr(error.hint, "engine"));
    /* RLIMIT_NPROC holds for ordinary users only. */
    MUST(geteuid() != 0 || (!setgid(65534) && !setuid(65534)));
    MUST(!setrlimit(RLIMIT_NPROC, &limit));
    MUST(limits_check(&(struct limits_need){.threads = 50}, NULL, &error) == -1);
    MUST(error.code == ERR_LIMIT && strstr(error.what, "5 allowed (RLIMIT_NPROC"));
    MUST(!getrlimit(RLIMIT_NPROC, &now) && now.rlim_cur == 5);
}

static void test_files(void **state)
{
    (void)state;
    in_child(files_raised);
    in_child(files_refused);
}

static void test_threads(void **state)
{
    struct err error = {0};
    (void)state;
    assert_int_equal(limits_check(&(struct limits_need){.threads = 2}, NULL, &error), 0);
    in_child(threads_refused);
}

static void test_ports(void **state)
{
    struct err error = {0};
    struct limits_warnings warnings;
    char part[64];
    uint64_t ports = limits_local_ports();
    (void)state;
    if (ports < 100 || ports > 65536) {
        skip(); /* no such file, or a machine with a range of its own kind */
    }
    struct limits_need need = {.connections = ports, .ports = true};
    assert_int_equal(limits_check(&need, &warnings, &error), 0);
    assert_int_equal(warnings.count, 1);
    assert_non_null(strstr(warnings.text[0], "more than half"));
    need.connections = ports / 2;
    assert_int_equal(limits_check(&need, &warnings, &error), 0);
    assert_int_equal(warnings.count, 0);
    need.connections = ports + 1;
    assert_int_equal(limits_check(&need, &warnings, &error), -1);
    assert_int_equal(error.code, ERR_LIMIT);
    assert_string_equal(error.subject, "local ports");
    snprintf(part, sizeof part, "%" PRIu64 " connections", ports + 1);
    assert_non_null(strstr(error.what, part));
    assert_non_null(strstr(error.hint, "--source=127.0.0.2-127.0.0.3"));
    need.sources = 2;
    assert_int_equal(limits_check(&need, &warnings, &error), 0);
    need.connections = 2 * ports;
    assert_int_equal(limits_check(&need, &warnings, &error), 0);
    need.connections = 2 * ports + 1;
    assert_int_equal(limits_check(&need, &warnings, &error), -1);
    need.connections = 1000 * ports;
    assert_int_equal(limits_check(&need, &warnings, &error), -1);
    assert_non_null(strstr(error.hint, "1000 source addresses"));
    /* A unix socket takes none. */
    need.ports = false;
    assert_int_equal(limits_check(&need, &warnings, &error), 0);
}

static void test_memory(void **state)
{
    struct err error = {0};
    struct limits_warnings warnings;
    (void)state;
    assert_int_equal(limits_check(&(struct limits_need){.memory_bytes = 4096}, &warnings, &error),
                     0);
    assert_int_equal(warnings.count, 0);
    assert_int_equal(
        limits_check(&(struct limits_need){.memory_bytes = UINT64_C(1) << 60}, &warnings, &error),
        -1);
    assert_int_equal(error.code, ERR_LIMIT);
    assert_string_equal(error.subject, "memory");
    assert_non_null(strstr(error.what, "available"));
}

static void test_backlog(void **state)
{
    struct err error = {0};
    struct limits_warnings warnings;
    (void)state;
    assert_int_equal(limits_check(&(struct limits_need){.backlog = 1}, &warnings, &error), 0);
    assert_int_equal(warnings.count, 0);
    assert_int_equal(limits_check(&(struct limits_need){.backlog = INT32_MAX}, &warnings, &error),
                     0);
    assert_int_equal(warnings.count, 1);
    assert_non_null(strstr(warnings.text[0], "net.core.somaxconn"));
    assert_int_equal(limits_check(&(struct limits_need){.backlog = INT32_MAX}, NULL, &error), 0);
}

static void test_nothing(void **state)
{
    struct err error = {0};
    struct limits_warnings warnings = {.count = 5};
    (void)state;
    assert_int_equal(limits_check(&(struct limits_need){0}, &warnings, &error), 0);
    assert_int_equal(warnings.count, 0);
    assert_int_equal(error.code, ERR_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing), cmocka_unit_test(test_files),
        cmocka_unit_test(test_ports),   cmocka_unit_test(test_memory),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_backlog),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
