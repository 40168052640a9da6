#include "run/processes.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* One that has been told to leave and is still there after this is stuck. Workers look every 20 ms,
 * but on a machine with many others at work a process may have to wait for seconds. */
#define STOP_NS (10 * NS_PER_SECOND)
/* Beyond connections and threads: what is looked up now and then. */
#define FILES_BESIDE 4
#define DEVIATIONS 6

uint64_t processes_share(const struct process_need *need, uint32_t count)
{
    if (count <= 1) {
        return need->connections;
    }
    uint64_t share = (need->connections - 1) / count + 1;
    if (need->spread) {
        double deviation = sqrt((double)share * (1 - 1.0 / count));
        share += (uint64_t)ceil(DEVIATIONS * deviation);
    } else if (need->threads) { /* connections are dealt out to threads */
        share = need->threads * ((need->connections - 1) / ((uint64_t)count * need->threads) + 1);
    }
    return share < need->connections ? share : need->connections;
}

uint64_t processes_files(const struct process_need *need, uint32_t count)
{
    uint64_t share = processes_share(need, count);
    uint64_t threads = need->threads ? need->threads : share;
    return share * need->files_each + threads * need->files_thread + FILES_BESIDE;
}

uint32_t processes_needed(const struct process_need *need, uint32_t least, uint64_t allowed)
{
    uint32_t count = least;
    while (count <= PROCESSES_MOST && processes_files(need, count) > allowed) {
        count++;
    }
    return count <= PROCESSES_MOST ? count : least;
}

pid_t process_fork(const char *name, const char *subject, struct err *error)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        return err_system(error, errno, subject, "cannot start a process");
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, name);
        signal(SIGINT, SIG_IGN);
        if (getppid() != parent) {
            _exit(1);
        }
    }
    return pid;
}

static int judge_end(int status, const char *subject, struct err *error)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return 0;
    }
    return err_set(error, ERR_SYSTEM, subject, "ended with %s %d",
                   WIFSIGNALED(status) ? "signal" : "status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

int process_await(pid_t pid, const char *subject, struct err *error)
{
    uint64_t until_ns = clock_now_ns() + STOP_NS;
    while (pid > 0) {
        int status;
        pid_t left = waitpid(pid, &status, WNOHANG);
        if (left == pid) {
            return judge_end(status, subject, error);
        }
        if (left < 0) {
            return err_system(error, errno, subject, "cannot wait for it");
        }
        if (clock_now_ns() > until_ns) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return err_set(error, ERR_SYSTEM, subject, "did not stop in time and was killed");
        }
        struct timespec pause = clock_timespec(NS_PER_MS);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    return 0;
}

int processes_broken(const struct processes *processes)
{
    for (uint32_t i = 0; i < processes->count; i++) {
        siginfo_t ended = {.si_pid = 0};
        if (processes->pids[i] > 0 && processes->pids[i] != getpid() &&
            waitid(P_PID, (id_t)processes->pids[i], &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            ended.si_pid && !(ended.si_code == CLD_EXITED && ended.si_status == 0)) {
            return (int)i;
        }
    }
    return -1;
}
