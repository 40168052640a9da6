/* Round trips of one message with nothing but blocking send and recv at both ends, pinned to two
 * CPUs as sonde pins its own: what `sonde ping` and sockperf could reach here. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "bare.h"

#define MESSAGE_MOST 65507

struct ping_options {
    bool udp;
    size_t size;
    double seconds;
    int client_cpu, server_cpu;
};

static uint8_t message[MESSAGE_MOST];

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0) {
        bare_die("sched_setaffinity");
    }
}

static void send_all(int fd, size_t size)
{
    if (send(fd, message, size, MSG_NOSIGNAL) != (ssize_t)size) {
        bare_die("send");
    }
}

/* True where a whole message came; false at the end of a stream. */
static bool receive_all(int fd, size_t size)
{
    size_t have = 0;
    while (have < size) {
        ssize_t piece = recv(fd, message + have, sizeof message - have, 0);
        if (piece < 0) {
            bare_die("recv");
        }
        if (piece == 0) {
            return false;
        }
        have += (size_t)piece;
    }
    return true;
}

static _Noreturn void serve(const struct ping_options *options, int fd)
{
    int one = 1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(options->server_cpu);
    if (options->udp) {
        for (;;) {
            struct sockaddr_in peer;
            socklen_t length = sizeof peer;
            ssize_t size =
                recvfrom(fd, message, sizeof message, 0, (struct sockaddr *)&peer, &length);
            if (size < 0 || sendto(fd, message, (size_t)size, MSG_NOSIGNAL,
                                   (struct sockaddr *)&peer, length) != size) {
                bare_die("serve");
            }
        }
    }
    int client = accept(fd, NULL, NULL);
    if (client < 0) {
        bare_die("accept");
    }
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    while (receive_all(client, options->size)) {
        send_all(client, options->size);
    }
    exit(0);
}

static struct ping_options parse(int argc, char **argv)
{
    struct ping_options options = {.size = 64, .seconds = 2, .client_cpu = 1};
    int letter;
    while ((letter = getopt(argc, argv, "um:d:p:s:")) != -1) {
        switch (letter) {
        case 'u':
            options.udp = true;
            break;
        case 'm':
            options.size = strtoul(optarg, NULL, 10);
            break;
        case 'd':
            options.seconds = strtod(optarg, NULL);
            break;
        case 'p':
            options.client_cpu = atoi(optarg);
            break;
        case 's':
            options.server_cpu = atoi(optarg);
            break;
        default:
            exit(2);
        }
    }
    if (optind != argc || options.size == 0 || options.size > MESSAGE_MOST) {
        fprintf(stderr, "usage: %s [-u] [-m bytes] [-d seconds] [-p client cpu] [-s server cpu]\n",
                argv[0]);
        exit(2);
    }
    return options;
}

/* The client's socket, with a server behind it. */
static int connect_server(const struct ping_options *options, pid_t *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int kind = (options->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, one = 1;
    int listener = socket(AF_INET, kind, 0), fd = socket(AF_INET, kind, 0);
    if (listener < 0 || fd < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0 ||
        (!options->udp && listen(listener, 1) < 0)) {
        bare_die("listen");
    }
    *server = fork();
    if (*server < 0) {
        bare_die("fork");
    }
    if (*server == 0) {
        close(fd);
        serve(options, listener);
    }
    close(listener);
    if (connect(fd, (struct sockaddr *)&address, length) < 0) {
        bare_die("connect");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

int main(int argc, char **argv)
{
    struct ping_options options = parse(argc, argv);
    pid_t server;
    int fd = connect_server(&options, &server);
    uint64_t sum_ns = 0, rounds = 0;
    pin(options.client_cpu);
    uint64_t start_ns = bare_now(), count_ns = start_ns + 2 * BARE_WARMUP_NS;
    uint64_t end_ns = count_ns + (uint64_t)(options.seconds * (double)BARE_SECOND);
    for (uint64_t now_ns = start_ns; now_ns < end_ns;) {
        uint64_t sent_ns = bare_now();
        send_all(fd, options.size);
        if (!receive_all(fd, options.size)) {
            bare_die("the server ended");
        }
        now_ns = bare_now();
        if (sent_ns >= count_ns) {
            bare_record(now_ns - sent_ns);
            sum_ns += now_ns - sent_ns;
            rounds++;
        }
    }
    close(fd);
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
    printf("{\"round_trips\": %llu, \"mean_ns\": %.1f, \"p50_ns\": %llu, \"p99_ns\": %llu}\n",
           (unsigned long long)rounds, rounds ? (double)sum_ns / (double)rounds : 0,
           (unsigned long long)bare_percentile(0.5), (unsigned long long)bare_percentile(0.99));
    return 0;
}
