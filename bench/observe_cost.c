/* The cheapest system calls there are, so that what observing adds to them stands out: getppid, and
 * for what counts bytes a read of one byte from /dev/zero. For each line on standard input makes
 * CALLS of them and prints in ns what one took: the mean, and in the fastest of many short
 * stretches, which others who want this CPU disturb least.
 * usage: observe_cost CALLS getppid|read */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#define STRETCH 250

static void call(int zero, long count)
{
    char byte;
    for (long i = 0; i < count; i++) {
        if (zero < 0) {
            syscall(SYS_getppid);
        } else {
            syscall(SYS_read, zero, &byte, 1);
        }
    }
}

int main(int argc, char **argv)
{
    char line[16];
    long calls = argc > 2 ? strtol(argv[1], NULL, 10) : 0;
    int zero = argc > 2 && strcmp(argv[2], "read") == 0 ? open("/dev/zero", O_RDONLY) : -1;
    if (calls < STRETCH || calls % STRETCH != 0) {
        fprintf(stderr, "usage: observe_cost CALLS getppid|read (CALLS: a multiple of %d)\n",
                STRETCH);
        return 2;
    }
    while (fgets(line, sizeof line, stdin)) {
        uint64_t start = now_ns(), before = start, least = UINT64_MAX;
        for (long i = 0; i < calls; i += STRETCH) {
            call(zero, STRETCH);
            uint64_t after = now_ns();
            least = after - before < least ? after - before : least;
            before = after;
        }
        printf("%.2f %.2f\n", (double)(before - start) / (double)calls, (double)least / STRETCH);
        fflush(stdout);
    }
    return 0;
}
