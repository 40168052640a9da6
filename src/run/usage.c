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

/* A call that took so long has not only read a clock. */
#define LOST_CPU_NS (50 * NS_PER_US)

static uint64_t cpu_now_ns(void)
{
    struct timespec cpu = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    return (uint64_t)cpu.tv_sec * NS_PER_SECOND + (uint64_t)cpu.tv_nsec;
}

static void read_kernel(struct thread_usage *usage)
{
    struct rusage kernel = {0};
    getrusage(RUSAGE_THREAD, &kernel);
    usage->user_ns = timeval_ns(kernel.ru_utime);
    usage->system_ns = timeval_ns(kernel.ru_stime);
    usage->switches_voluntary = (uint64_t)kernel.ru_nvcsw;
    usage->switches_involuntary = (uint64_t)kernel.ru_nivcsw;
    usage->runnable_ns = runnable_now_ns();
}

void thread_usage_begin(struct thread_usage *usage)
{
    (void)cpu_now_ns();
    read_kernel(usage);
    usage->cpu_ns = cpu_now_ns();
}

void thread_usage_end(const struct thread_usage *begin, struct thread_usage *usage)
{
    uint64_t before_ns = clock_now_ns();
    usage->cpu_ns = cpu_now_ns();
    uint64_t took_ns = clock_now_ns() - before_ns;
    read_kernel(usage);
    /* The time may also have been the hypervisor's, which is no switch and no waiting. */
    if (took_ns > LOST_CPU_NS && usage->switches_involuntary > begin->switches_involuntary &&
        usage->runnable_ns >= begin->runnable_ns + took_ns) {
        usage->runnable_ns -= took_ns;
        usage->switches_involuntary--;
    }
}
