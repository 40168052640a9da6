#include "run/held.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void close_end(int *file)
{
    if (*file >= 0) {
        close(*file);
    }
    *file = -1;
}

/* In the child: waits to be let go; tells the parent an errno where execve fails. */
static void child(char **argv, const sigset_t *mask, int go, int trouble)
{
    char byte;
    ssize_t got;
    do {
        got = read(go, &byte, 1);
    } while (got < 0 && errno == EINTR);
    if (got != 1) {
        _exit(127); /* the parent is gone or gave up */
    }
    sigprocmask(SIG_SETMASK, mask, NULL);
    signal(SIGPIPE, SIG_DFL); /* ignored by sonde: that would go through the execve */
    execvp(argv[0], argv);
    int number = errno;
    ssize_t put = write(trouble, &number, sizeof number);
    _exit(put == sizeof number ? 127 : 126);
}

int held_start(struct held_command *command, const sigset_t *mask, char **argv, struct err *error)
{
    int go[2], trouble[2];
    *command = (struct held_command){.pid_file = -1, .go = -1, .trouble = -1};
    if (pipe2(go, O_CLOEXEC) != 0) {
        return err_system(error, errno, argv[0], "cannot be started");
    }
    if (pipe2(trouble, O_CLOEXEC) != 0) {
        int number = errno;
        close(go[0]);
        close(go[1]);
        return err_system(error, number, argv[0], "cannot be started");
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(go[1]); /* else its own end would keep the pipe open without a parent */
        close(trouble[0]);
        child(argv, mask, go[0], trouble[1]);
    }
    int number = errno;
    close(go[0]);
    close(trouble[1]);
    command->go = go[1];
    command->trouble = trouble[0];
    if (pid < 0) {
        close_end(&command->go);
        close_end(&command->trouble);
        return err_system(error, number, argv[0], "cannot be started");
    }
    command->pid = pid;
    command->pid_file = (int)syscall(SYS_pidfd_open, pid, 0);
    if (command->pid_file < 0) {
        number = errno;
        int status;
        held_end(command, SIGKILL, 0, &status, NULL);
        return err_system(error, number, argv[0], "cannot be watched");
    }
    return 0;
}

int held_release(struct held_command *command, const char *name, struct err *error)
{
    int number = 0, status;
    ssize_t got = write(command->go, "g", 1);
    if (got != 1) {
        number = errno;
        held_end(command, SIGKILL, 0, &status, NULL);
        return err_system(error, number, name, "cannot be started");
    }
    close_end(&command->go);
    do {
        got = read(command->trouble, &number, sizeof number);
    } while (got < 0 && errno == EINTR);
    close_end(&command->trouble);
    if (got == 0) {
        return 0; /* closed by the execve */
    }
    held_end(command, SIGKILL, 1000, &status, NULL);
    return err_system(error, number, name, "cannot be run");
}

int held_reap(struct held_command *command, int *status, struct rusage *usage, struct err *error)
{
    struct rusage unused;
    pid_t got;
    do {
        got = wait4(command->pid, status, 0, usage != NULL ? usage : &unused);
    } while (got < 0 && errno == EINTR);
    int number = errno;
    command->pid = 0;
    close_end(&command->pid_file);
    return got >= 0 ? 0 : err_system(error, number, "command", "cannot be waited for");
}

bool held_end(struct held_command *command, int signal, int grace_ms, int *status,
              struct rusage *usage)
{
    bool forced = false;
    struct err ignored = {0};
    close_end(&command->go);
    close_end(&command->trouble);
    if (command->pid > 0) {
        struct pollfd ended = {.fd = command->pid_file, .events = POLLIN};
        kill(command->pid, signal);
        if (command->pid_file < 0 || poll(&ended, 1, grace_ms) <= 0) {
            forced = signal != SIGKILL;
            kill(command->pid, SIGKILL);
        }
        held_reap(command, status, usage, &ignored);
    }
    close_end(&command->pid_file);
    return forced;
}
