/* Spends its CPU time in functions that a profile has to name. Built by test_profile.py.
 *   profiled two MS        so much CPU time: 2/3 of it in takes_two_thirds, 1/3 in takes_one_third
 *   profiled calls MS      in small reads of /dev/zero
 *   profiled threads MS    likewise, in another thread
 *   profiled children MS   in a child that is only forked, and in one that calls execve */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUND 200000

static uint64_t cpu_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

__attribute__((noinline)) static void takes_two_thirds(void)
{
    for (volatile int i = 0; i < 2 * ROUND; i++) {
    }
}

__attribute__((noinline)) static void takes_one_third(void)
{
    for (volatile int i = 0; i < ROUND; i++) {
    }
}

__attribute__((noinline)) static void only_in_the_child(void)
{
    for (volatile int i = 0; i < ROUND; i++) {
    }
}

__attribute__((noinline)) static void reads_zeroes(int file)
{
    char byte[16];
    for (int i = 0; i < 1000; i++) {
        if (read(file, byte, sizeof byte) != (ssize_t)sizeof byte) {
            perror("profiled: read");
            exit(1);
        }
    }
}

struct reader {
    int file;
    uint64_t until_ms;
};

static void *in_a_thread(void *data)
{
    const struct reader *reader = data;
    while (cpu_ms() < reader->until_ms) {
        reads_zeroes(reader->file);
    }
    return NULL;
}

static int children(const char *self, const char *ms)
{
    uint64_t until_ms = strtoull(ms, NULL, 10);
    pid_t forked = fork();
    if (forked == 0) {
        for (until_ms += cpu_ms(); cpu_ms() < until_ms;) {
            only_in_the_child();
        }
        _exit(0);
    }
    pid_t executed = fork();
    if (executed == 0) {
        execl(self, self, "two", ms, (char *)NULL);
        _exit(1);
    }
    int status = 0, other = 0;
    waitpid(forked, &status, 0);
    waitpid(executed, &other, 0);
    return status != 0 || other != 0;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    uint64_t until_ms = strtoull(argv[2], NULL, 10);
    if (strcmp(argv[1], "children") == 0) {
        return children(argv[0], argv[2]);
    }
    int file = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    if (strcmp(argv[1], "threads") == 0) {
        struct reader reader = {file, until_ms};
        pthread_t thread;
        return pthread_create(&thread, NULL, in_a_thread, &reader) || pthread_join(thread, NULL);
    }
    while (cpu_ms() < until_ms) {
        if (strcmp(argv[1], "calls") == 0) {
            reads_zeroes(file);
        } else {
            takes_two_thirds();
            takes_one_third();
        }
    }
    close(file);
    return 0;
}
