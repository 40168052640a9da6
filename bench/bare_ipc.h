/* Around a transfer of blocks between two threads or processes, as ipc-static does it: files, the
 * two ends, and time from just before the first write to just after the last read. The program
 * that includes this defines what an end does. Nothing of sonde. */
#ifndef SONDE_BENCH_BARE_IPC_H
#define SONDE_BENCH_BARE_IPC_H

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "bare.h"

struct ipc_options {
    const char *transport;        /* -i pipe, local or tcp */
    const char *method;           /* -M, for programs that have several */
    bool processes;               /* -m 2proc, not 2thread */
    bool verify;                  /* -V */
    uint64_t buffer_bytes;        /* -b */
    uint64_t total_bytes;         /* -t */
    uint64_t pipe_bytes;          /* -S, capacity of the pipe; 0: the kernel's default */
    unsigned repeats;             /* -n */
    int receiver_cpu, sender_cpu; /* -p RECEIVER,SENDER; -1: not pinned */
};

/* To be defined by the program, failing with bare_die. */
static void *end_open(const struct ipc_options *options, int fd, bool sender);
static void end_run(void *end, uint64_t bytes);
static void end_close(void *end);

/* What both ends see, processes too. */
struct ipc_shared {
    pthread_barrier_t both_are_open;
    uint64_t start_ns;
};

struct ipc_sender {
    const struct ipc_options *options;
    struct ipc_shared *shared;
    int fd;
};

static inline _Noreturn void ipc_usage(const char *program)
{
    fprintf(stderr,
            "usage: %s [-m 2thread|2proc] [-i pipe|local|tcp] [-M method] [-V] [-b bytes] "
            "[-t bytes] [-S pipe bytes] [-n repeats] [-p receiver cpu,sender cpu]\n",
            program);
    exit(2);
}

static inline struct ipc_options ipc_parse(int argc, char **argv)
{
    struct ipc_options options = {.transport = "pipe",
                                  .method = "copy",
                                  .buffer_bytes = 131072,
                                  .total_bytes = 16777216,
                                  .repeats = 1,
                                  .receiver_cpu = -1,
                                  .sender_cpu = -1};
    int letter;
    while ((letter = getopt(argc, argv, "m:i:M:Vb:t:S:n:p:")) != -1) {
        switch (letter) {
        case 'm':
            options.processes = strcmp(optarg, "2proc") == 0;
            break;
        case 'i':
            options.transport = optarg;
            break;
        case 'M':
            options.method = optarg;
            break;
        case 'V':
            options.verify = true;
            break;
        case 'b':
            options.buffer_bytes = strtoull(optarg, NULL, 10);
            break;
        case 't':
            options.total_bytes = strtoull(optarg, NULL, 10);
            break;
        case 'S':
            options.pipe_bytes = strtoull(optarg, NULL, 10);
            break;
        case 'n':
            options.repeats = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'p':
            if (sscanf(optarg, "%d,%d", &options.receiver_cpu, &options.sender_cpu) == 2) {
                break;
            }
            ipc_usage(argv[0]);
        default:
            ipc_usage(argv[0]);
        }
    }
    if (optind != argc || options.buffer_bytes == 0 || options.total_bytes == 0) {
        ipc_usage(argv[0]);
    }
    return options;
}

static inline void ipc_pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu >= 0) {
        CPU_SET((unsigned)cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set) < 0) {
            bare_die("sched_setaffinity");
        }
    }
}

/* The accepted socket is the writing end: the handshake is over before data moves. */
static inline void ipc_tcp(int files[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 ||
        listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0) {
        bare_die("listen");
    }
    files[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (files[0] < 0 || connect(files[0], (struct sockaddr *)&address, length) < 0) {
        bare_die("connect");
    }
    files[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (files[1] < 0) {
        bare_die("accept");
    }
    close(listener);
}

/* files[0] receives, files[1] sends. */
static inline void ipc_files(const struct ipc_options *options, int files[2])
{
    if (strcmp(options->transport, "pipe") == 0) {
        if (pipe2(files, O_CLOEXEC) < 0) {
            bare_die("pipe");
        }
        if (options->pipe_bytes && fcntl(files[1], F_SETPIPE_SZ, (int)options->pipe_bytes) < 0) {
            bare_die("F_SETPIPE_SZ");
        }
    } else if (strcmp(options->transport, "local") == 0) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, files) < 0) {
            bare_die("socketpair");
        }
    } else {
        ipc_tcp(files);
    }
}

static inline void *ipc_send(void *argument)
{
    const struct ipc_sender *sender = argument;
    ipc_pin(sender->options->sender_cpu);
    void *end = end_open(sender->options, sender->fd, true);
    pthread_barrier_wait(&sender->shared->both_are_open);
    sender->shared->start_ns = bare_now();
    end_run(end, sender->options->total_bytes);
    end_close(end);
    return NULL;
}

/* One transfer, with files, ends and a sender of its own; its nanoseconds. */
static inline uint64_t ipc_transfer(const struct ipc_options *options, struct ipc_shared *shared)
{
    int files[2], status;
    pthread_t thread;
    pid_t child = 0;
    ipc_files(options, files);
    struct ipc_sender sender = {.options = options, .shared = shared, .fd = files[1]};
    if (options->processes) {
        child = fork();
        if (child < 0) {
            bare_die("fork");
        }
        if (child == 0) {
            close(files[0]);
            ipc_send(&sender);
            _exit(0);
        }
        close(files[1]);
    } else if (pthread_create(&thread, NULL, ipc_send, &sender) != 0) {
        bare_die("pthread_create");
    }
    ipc_pin(options->receiver_cpu);
    void *end = end_open(options, files[0], false);
    pthread_barrier_wait(&shared->both_are_open);
    end_run(end, options->total_bytes);
    uint64_t end_ns = bare_now();
    end_close(end);
    if (!options->processes) {
        pthread_join(thread, NULL);
        close(files[1]);
    } else if (waitpid(child, &status, 0) != child || status != 0) {
        bare_die("the sender");
    }
    close(files[0]);
    return end_ns - shared->start_ns;
}

/* The whole program: a line of JSON for each transfer. */
static inline int ipc_main(int argc, char **argv)
{
    struct ipc_options options = ipc_parse(argc, argv);
    struct ipc_shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_barrierattr_t attributes;
    if (shared == MAP_FAILED || pthread_barrierattr_init(&attributes) != 0 ||
        pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) != 0 ||
        pthread_barrier_init(&shared->both_are_open, &attributes, 2) != 0) {
        bare_die("shared memory");
    }
    signal(SIGPIPE, SIG_IGN);
    for (unsigned i = 0; i < options.repeats; i++) {
        printf("{\"ns\": %llu, \"bytes\": %llu}\n",
               (unsigned long long)ipc_transfer(&options, shared),
               (unsigned long long)options.total_bytes);
        fflush(stdout);
    }
    return 0;
}

#endif
