/* The cheapest system call there is, so that what observing adds to it stands out: for each line on
 * standard input makes CALLS getppid calls and prints what one took, in ns.
 * usage: observe_cost CALLS */
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
    char line[16];
    long calls = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    if (calls <= 0) {
        fprintf(stderr, "usage: observe_cost CALLS\n");
        return 2;
    }
    while (fgets(line, sizeof line, stdin)) {
        uint64_t start = now_ns();
        for (long i = 0; i < calls; i++) {
            syscall(SYS_getppid);
        }
        printf("%.2f\n", (double)(now_ns() - start) / (double)calls);
        fflush(stdout);
    }
    return 0;
}
