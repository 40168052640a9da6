/* Where io_uring is forbidden or absent, the engine says so and starts nothing. A seccomp filter in
 * a child makes io_uring_setup fail as it would on such a machine. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/engine.h"

static int forbid(long call, unsigned number)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | number),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return -1;
    }
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void ignore(void *owner, struct op *op)
{
    (void)owner;
    (void)op;
}

/* Exit status of the child: 0 where both why_not and init refuse, and the reason has `words`. */
static int refused(const char *words)
{
    char reason[512] = "";
    struct engine *engine = NULL;
    struct engine_config config = {.deliver = ignore, .receive_bytes = 4096, .channels = 1};
    struct call_table calls = {0};
    struct err error = {0};
    if (engine_uring.why_not(reason, sizeof reason) != -1 || !strstr(reason, words)) {
        fprintf(stderr, "reason: %s\n", reason);
        return 1;
    }
    if (engine_uring.init(&engine, &config, &calls, &error) != -1 || engine) {
        return 2;
    }
    return error.code != ERR_NONE && error.what[0] ? 0 : 3;
}

static void expect_refused(unsigned number, const char *words)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        if (number == EMFILE) {
            _exit(setrlimit(RLIMIT_NOFILE, &none) < 0 ? 9 : refused(words));
        }
        _exit(forbid(SYS_io_uring_setup, number) < 0 ? 9 : refused(words));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_refused(void **state)
{
    (void)state;
    char reason[512];
    if (engine_uring.why_not(reason, sizeof reason) < 0) {
        assert_true(strlen(reason) > 10);
        skip();
    }
    expect_refused(ENOSYS, "no io_uring");
    expect_refused(EPERM, "forbids");
    expect_refused(ENOMEM, "memory");
    expect_refused(EINVAL, "Linux 6.1");
    expect_refused(EMFILE, "open files");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
