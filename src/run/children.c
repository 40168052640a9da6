#include "run/children.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/child.h"

/* From an interrupt to the end: what is in flight is finished first. */
#define GRACE_NS (30 * NS_PER_SECOND)

struct waiting {
    struct children_one *all;
    size_t count, left;
    struct pollfd *files; /* count of them, and stop_fd */
    bool interrupted, killed;
    uint64_t interrupted_ns;
};

static void signal_all(const struct waiting *waiting, int number)
{
    for (size_t i = 0; i < waiting->count; i++) {
        if (waiting->all[i].pid > 0) {
            kill(waiting->all[i].pid, number);
        }
    }
}

static void reap(struct waiting *waiting, size_t i)
{
    struct children_one *one = &waiting->all[i];
    while (waitpid(one->pid, &one->status, 0) < 0 && errno == EINTR) {
    }
    close(one->exit_file);
    one->pid = 0;
    one->exit_file = waiting->files[i].fd = -1;
    waiting->left--;
}

static int start_one(const char *path, struct children_one *one, int nowhere, struct err *error)
{
    int refused, number = 0;
    pid_t pid = child_spawn(path, one->arguments, nowhere, STDERR_FILENO, &refused);
    if (pid < 0) {
        return err_system(error, -pid, one->name, "cannot be started");
    }
    one->pid = pid;
    one->exit_file = (int)syscall(SYS_pidfd_open, pid, 0);
    if (one->exit_file < 0) {
        number = errno;
    } else if (read(refused, &number, sizeof number) != (ssize_t)sizeof number) {
        number = 0; /* it is that program now */
    }
    close(refused);
    return number ? err_system(error, number, one->name, "%s cannot be started", path) : 0;
}

static int start_all(const char *path, struct waiting *waiting, struct err *error)
{
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int result = nowhere < 0 ? err_system(error, errno, "/dev/null", "cannot be opened") : 0;
    for (size_t i = 0; i < waiting->count && result == 0; i++) {
        struct children_one *one = &waiting->all[i];
        result = start_one(path, one, nowhere, error);
        waiting->files[i] = (struct pollfd){.fd = one->exit_file, .events = POLLIN};
        waiting->left += one->pid > 0;
    }
    if (nowhere >= 0) {
        close(nowhere);
    }
    return result;
}

static void take_signal(struct waiting *waiting, int stop_fd)
{
    struct signalfd_siginfo taken;
    bool again = waiting->interrupted;
    (void)!read(stop_fd, &taken, sizeof taken); /* so that the next one shows */
    waiting->interrupted = true;
    waiting->interrupted_ns = clock_now_ns();
    waiting->killed = waiting->killed || again;
    signal_all(waiting, again ? SIGKILL : SIGINT);
}

static int until_grace_ends_ms(const struct waiting *waiting)
{
    uint64_t elapsed_ns = clock_now_ns() - waiting->interrupted_ns;
    if (!waiting->interrupted || waiting->killed) {
        return -1;
    }
    return elapsed_ns >= GRACE_NS ? 0 : (int)((GRACE_NS - elapsed_ns) / NS_PER_MS) + 1;
}

static int wait_for_all(struct waiting *waiting, int stop_fd, struct err *error)
{
    waiting->files[waiting->count] = (struct pollfd){.fd = stop_fd, .events = POLLIN};
    while (waiting->left) {
        int ready = poll(waiting->files, waiting->count + 1, until_grace_ends_ms(waiting));
        if (ready < 0 && errno != EINTR) {
            return err_system(error, errno, "workers", "cannot be waited for");
        }
        if (ready == 0) {
            waiting->killed = true;
            signal_all(waiting, SIGKILL);
        }
        for (size_t i = 0; ready > 0 && i < waiting->count; i++) {
            if (waiting->files[i].revents) {
                reap(waiting, i);
            }
        }
        if (ready > 0 && waiting->files[waiting->count].revents) {
            take_signal(waiting, stop_fd);
        }
    }
    return 0;
}

static int judge(const struct waiting *waiting, struct err *error)
{
    if (waiting->interrupted) {
        return err_set(error, ERR_INTERRUPTED, "workers",
                       waiting->killed ? "interrupted, and killed" : "interrupted");
    }
    for (size_t i = 0; i < waiting->count; i++) {
        const struct children_one *one = &waiting->all[i];
        if (WIFSIGNALED(one->status)) {
            int number = WTERMSIG(one->status);
            return err_set(error, ERR_SYSTEM, one->name, "died of signal %d (%s)", number,
                           strsignal(number));
        }
        if (WEXITSTATUS(one->status) != 0) {
            return err_set(error, ERR_SYSTEM, one->name, "failed (exit status %d)",
                           WEXITSTATUS(one->status));
        }
    }
    return 0;
}

int children_run(const char *path, struct children_one *all, size_t count, int stop_fd,
                 struct err *error)
{
    struct waiting waiting = {.all = all, .count = count};
    waiting.files = calloc(count + 1, sizeof *waiting.files);
    if (!waiting.files) {
        return err_system(error, ENOMEM, "workers", "cannot be started");
    }
    for (size_t i = 0; i < count; i++) {
        all[i].pid = 0;
        all[i].exit_file = waiting.files[i].fd = -1;
    }
    int result = start_all(path, &waiting, error);
    if (result == 0) {
        result = wait_for_all(&waiting, stop_fd, error);
    }
    if (waiting.left) {
        signal_all(&waiting, SIGKILL);
        for (size_t i = 0; i < count; i++) {
            if (all[i].pid > 0) {
                reap(&waiting, i);
            }
        }
    }
    free(waiting.files);
    return result == 0 ? judge(&waiting, error) : result;
}
