#include "run/usage.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static uint64_t timeval_ns(struct timeval time)
{
    return (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_usec * NS_PER_US;
}

/* The second field of schedstat (Documentation/scheduler/sched-stats.rst). */
static uint64_t runnable_now_ns(void)
{
    char text[96];
    int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    char *second;
    strtoull(text, &second, 10);
    return strtoull(second, NULL, 10);
}

static void read_clocks(struct thread_usage *usage)
{
    struct rusage kernel = {0};
    struct timespec cpu = {0};
    getrusage(RUSAGE_THREAD, &kernel);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    usage->cpu_ns = (uint64_t)cpu.tv_sec * NS_PER_SECOND + (uint64_t)cpu.tv_nsec;
    usage->user_ns = timeval_ns(kernel.ru_utime);
    usage->system_ns = timeval_ns(kernel.ru_stime);
    usage->switches_voluntary = (uint64_t)kernel.ru_nvcsw;
    usage->switches_involuntary = (uint64_t)kernel.ru_nivcsw;
}

void thread_usage_begin(struct thread_usage *usage)
{
    read_clocks(usage);
    usage->runnable_ns = runnable_now_ns();
}

void thread_usage_end(struct thread_usage *usage)
{
    usage->runnable_ns = runnable_now_ns();
    read_clocks(usage);
}
