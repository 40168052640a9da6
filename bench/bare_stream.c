/* Bulk streams with nothing but blocking send and recv, a thread for each stream at both ends, in
 * two processes: what `sonde stream` and iperf3 could reach here. */
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "bare.h"

#define STREAMS_MOST 64
#define PAGE 4096

struct stream_options {
    unsigned streams;
    size_t length;
    double seconds;
};

struct stream {
    int fd;
    size_t length;
    uint64_t end_ns;   /* of sending */
    uint64_t received; /* bytes */
};

static void *buffer_of(const struct stream *stream)
{
    void *buffer = NULL;
    if (posix_memalign(&buffer, PAGE, stream->length)) {
        bare_die("posix_memalign");
    }
    memset(buffer, 's', stream->length);
    return buffer;
}

static void *send_all(void *argument)
{
    struct stream *stream = argument;
    void *buffer = buffer_of(stream);
    while (bare_now() < stream->end_ns) {
        if (send(stream->fd, buffer, stream->length, MSG_NOSIGNAL) != (ssize_t)stream->length) {
            bare_die("send");
        }
    }
    shutdown(stream->fd, SHUT_WR);
    free(buffer);
    return NULL;
}

static void *receive_all(void *argument)
{
    struct stream *stream = argument;
    void *buffer = buffer_of(stream);
    ssize_t piece;
    while ((piece = recv(stream->fd, buffer, stream->length, 0)) > 0) {
        stream->received += (uint64_t)piece;
    }
    if (piece < 0) {
        bare_die("recv");
    }
    free(buffer);
    return NULL;
}

/* One thread for each stream, to their ends: the bytes received. */
static uint64_t run(struct stream *streams, unsigned count, void *(*work)(void *))
{
    pthread_t threads[STREAMS_MOST];
    uint64_t received = 0;
    for (unsigned i = 0; i < count; i++) {
        if (pthread_create(&threads[i], NULL, work, &streams[i])) {
            bare_die("pthread_create");
        }
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        received += streams[i].received;
    }
    return received;
}

static struct stream_options parse(int argc, char **argv)
{
    struct stream_options options = {.streams = 1, .length = 128 << 10, .seconds = 2};
    int letter;
    while ((letter = getopt(argc, argv, "P:l:d:")) != -1) {
        switch (letter) {
        case 'P':
            options.streams = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'l':
            options.length = strtoul(optarg, NULL, 10);
            break;
        case 'd':
            options.seconds = strtod(optarg, NULL);
            break;
        default:
            exit(2);
        }
    }
    if (optind != argc || options.streams == 0 || options.streams > STREAMS_MOST ||
        options.length == 0) {
        fprintf(stderr, "usage: %s [-P streams] [-l bytes] [-d seconds]\n", argv[0]);
        exit(2);
    }
    return options;
}

static void cubic(int fd)
{
    if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5) < 0) {
        bare_die("TCP_CONGESTION");
    }
}

int main(int argc, char **argv)
{
    struct stream_options options = parse(argc, argv);
    struct stream ends[2][STREAMS_MOST];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), told[2];
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0 ||
        listen(listener, STREAMS_MOST) < 0 || pipe(told) < 0) {
        bare_die("listen");
    }
    cubic(listener);
    for (unsigned i = 0; i < options.streams; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cubic(fd);
        if (connect(fd, (struct sockaddr *)&address, length) < 0) {
            bare_die("connect");
        }
        ends[0][i] = (struct stream){.fd = fd, .length = options.length};
        ends[1][i] = (struct stream){.fd = accept(listener, NULL, NULL), .length = options.length};
    }
    pid_t server = fork();
    if (server < 0) {
        bare_die("fork");
    }
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (unsigned i = 0; i < options.streams; i++) {
            close(ends[0][i].fd);
        }
        uint64_t received = run(ends[1], options.streams, receive_all);
        if (write(told[1], &received, sizeof received) != sizeof received) {
            bare_die("write");
        }
        exit(0);
    }
    uint64_t start_ns = bare_now(), received = 0;
    for (unsigned i = 0; i < options.streams; i++) {
        close(ends[1][i].fd);
        ends[0][i].end_ns = start_ns + (uint64_t)(options.seconds * (double)BARE_SECOND);
    }
    run(ends[0], options.streams, send_all);
    if (read(told[0], &received, sizeof received) != sizeof received) {
        bare_die("read");
    }
    double seconds = (double)(bare_now() - start_ns) / (double)BARE_SECOND;
    waitpid(server, NULL, 0);
    printf("{\"bytes\": %llu, \"seconds\": %.6f, \"bytes_per_second\": %.0f}\n",
           (unsigned long long)received, seconds, (double)received / seconds);
    return 0;
}
