/* Two processes that pass a byte through pipes, on one CPU: two switches an exchange. For each
 * line on standard input it makes so many exchanges and prints how long a switch took, in ns. */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

int main(int argc, char **argv)
{
    long exchanges = argc > 1 ? strtol(argv[1], NULL, 10) : 100000;
    int there[2], back[2];
    char byte = 0, line[16];
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    if (exchanges <= 0 || sched_setaffinity(0, sizeof one, &one) || pipe(there) || pipe(back)) {
        return 1;
    }
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1) {
        }
        _exit(0);
    }
    while (fgets(line, sizeof line, stdin)) {
        double start_ns = now_ns();
        for (long i = 0; i < exchanges; i++) {
            if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) {
                return 1;
            }
        }
        printf("%f\n", (now_ns() - start_ns) / (double)(2 * exchanges));
        fflush(stdout);
    }
    return 0;
}
