/* A loop of getppid() that times itself: the cheapest system call there is, so that what observing
 * adds to it stands out. Usage: observe_cost ROUNDS CALLS; prints one line a round: ns per call. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv)
{
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 1;
    long calls = argc > 2 ? strtol(argv[2], NULL, 10) : 1000000;
    if (rounds <= 0 || calls <= 0) {
        fprintf(stderr, "usage: observe_cost ROUNDS CALLS\n");
        return 2;
    }
    for (long round = 0; round < rounds; round++) {
        uint64_t start = now_ns();
        for (long i = 0; i < calls; i++) {
            syscall(SYS_getppid);
        }
        printf("%.2f\n", (double)(now_ns() - start) / (double)calls);
        fflush(stdout);
    }
    return 0;
}
