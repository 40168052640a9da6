/* What the bare loops share. They contain nothing of sonde: they do the same work by hand and so
 * show what the machine allows. Static functions only, one program a file. */
#ifndef SONDE_BENCH_BARE_H
#define SONDE_BENCH_BARE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BARE_SECOND UINT64_C(1000000000)
#define BARE_WARMUP_NS (BARE_SECOND / 4)

static inline uint64_t bare_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * BARE_SECOND + (uint64_t)now.tv_nsec;
}

static inline struct timespec bare_left(uint64_t until, uint64_t now)
{
    uint64_t left = until > now ? until - now : 0;
    return (struct timespec){.tv_sec = (time_t)(left / BARE_SECOND),
                             .tv_nsec = (long)(left % BARE_SECOND)};
}

static inline _Noreturn void bare_die(const char *what)
{
    perror(what);
    exit(1);
}

/* Log-linear histogram with three significant digits: 1024 steps for each power of two. */
#define BARE_STEPS 1024
#define BARE_BUCKETS (BARE_STEPS * 34)

static uint64_t bare_histogram[BARE_BUCKETS];

static inline void bare_record(uint64_t value)
{
    unsigned shift = 53u - (unsigned)__builtin_clzll(value | (2 * BARE_STEPS - 1));
    size_t index = (size_t)shift * BARE_STEPS + (value >> shift);
    bare_histogram[index < BARE_BUCKETS ? index : BARE_BUCKETS - 1]++;
}

static inline uint64_t bare_percentile(double share)
{
    uint64_t count = 0, seen = 0;
    for (size_t i = 0; i < BARE_BUCKETS; i++) {
        count += bare_histogram[i];
    }
    for (size_t i = 0; i < BARE_BUCKETS; i++) {
        seen += bare_histogram[i];
        if (seen && (double)seen >= share * (double)count) {
            size_t shift = i < 2 * BARE_STEPS ? 0 : i / BARE_STEPS - 1;
            return (uint64_t)(i - shift * BARE_STEPS) << shift;
        }
    }
    return 0;
}

struct bare_options {
    struct sockaddr_in address;
    unsigned connections; /* -c */
    double seconds;       /* -d */
    int cpu;              /* -p, -1: not pinned */
    unsigned high;        /* -H, outstanding calls (gather) */
    bool each;            /* -e, one send a call, the loop after each (gather) */
    bool multishot;       /* -m, multishot receive (io_uring) */
    bool quiet;           /* -q, sends complete silently (io_uring) */
    bool poll_first;      /* -f, do not try before waiting (io_uring, single-shot) */
};

static inline struct bare_options bare_parse(int argc, char **argv)
{
    struct bare_options options = {.connections = 1, .seconds = 2, .cpu = -1, .high = 20000};
    int letter;
    while ((letter = getopt(argc, argv, "c:d:p:H:emfq")) != -1) {
        switch (letter) {
        case 'c':
            options.connections = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'd':
            options.seconds = strtod(optarg, NULL);
            break;
        case 'p':
            options.cpu = atoi(optarg);
            break;
        case 'H':
            options.high = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'e':
            options.each = true;
            break;
        case 'm':
            options.multishot = true;
            break;
        case 'q':
            options.quiet = true;
            break;
        case 'f':
            options.poll_first = true;
            break;
        default:
            exit(2);
        }
    }
    options.address.sin_family = AF_INET;
    if (argc - optind != 2 || options.connections == 0 || options.high == 0 ||
        inet_pton(AF_INET, argv[optind], &options.address.sin_addr) != 1) {
        fprintf(stderr,
                "usage: %s [-c connections] [-d seconds] [-p cpu] [-H high] [-e] [-m] [-f] [-q] "
                "ADDRESS PORT\n",
                argv[0]);
        exit(2);
    }
    options.address.sin_port = htons((uint16_t)atoi(argv[optind + 1]));
    if (options.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((unsigned)options.cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set) < 0) {
            bare_die("sched_setaffinity");
        }
    }
    return options;
}

static inline int bare_connect(const struct bare_options *options)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    if (fd < 0 ||
        connect(fd, (const struct sockaddr *)&options->address, sizeof options->address) < 0) {
        bare_die("connect");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        bare_die("fcntl");
    }
    return fd;
}

/* What is counted between two instants. */
struct bare_count {
    uint64_t calls, kernel_calls, bytes;
    uint64_t start_ns;
    struct rusage usage;
};

static inline struct bare_count bare_start(void)
{
    struct bare_count count = {.start_ns = bare_now()};
    getrusage(RUSAGE_SELF, &count.usage);
    memset(bare_histogram, 0, sizeof bare_histogram);
    return count;
}

static inline double bare_spent(struct timeval from, struct timeval to)
{
    return (double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_usec - from.tv_usec) * 1e3;
}

/* One line of JSON. */
static inline void bare_print(const char *name, const struct bare_count *count)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double seconds = (double)(bare_now() - count->start_ns) / 1e9;
    double calls = count->calls ? (double)count->calls : 1;
    double user = bare_spent(count->usage.ru_utime, usage.ru_utime);
    double system = bare_spent(count->usage.ru_stime, usage.ru_stime);
    printf("{\"name\": \"%s\", \"calls\": %llu, \"seconds\": %.6f, \"calls_per_second\": %.0f, "
           "\"cpu_ns_per_call\": %.2f, \"cpu_user_ns_per_call\": %.2f, "
           "\"cpu_system_ns_per_call\": %.2f, \"kernel_calls_per_call\": %.5f, "
           "\"p50_ns\": %llu, \"p99_ns\": %llu, \"bytes\": %llu}\n",
           name, (unsigned long long)count->calls, seconds, calls / seconds,
           (user + system) / calls, user / calls, system / calls,
           (double)count->kernel_calls / calls, (unsigned long long)bare_percentile(0.5),
           (unsigned long long)bare_percentile(0.99), (unsigned long long)count->bytes);
}

#endif
