#include "run/iperf3_data.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/iperf3_data_state.h"

#define STACK_BYTES (256 << 10)
#define CALL_MOST_US 20000 /* so long does a call wait at most, for a stop to be seen */

/* The block in a file in memory, for sendfile. */
static int open_file(struct data_stream *stream, uint32_t length, struct err *error)
{
    void *mapped = MAP_FAILED;
    stream->file = memfd_create("iperf3", MFD_CLOEXEC);
    if (stream->file >= 0 && ftruncate(stream->file, length) == 0) {
        mapped = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, stream->file, 0);
    }
    if (mapped == MAP_FAILED) {
        return err_system(error, errno, "iperf3", "cannot make a file of %u bytes", length);
    }
    stream->buffer = mapped;
    return 0;
}

static int open_stream(struct data_stream *stream, int fd, struct err *error)
{
    const struct timeval most = {.tv_usec = CALL_MOST_US};
    uint32_t length = iperf3_length(&stream->run->test);
    int flags = fcntl(fd, F_GETFL);

    stream->fd = fd;
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most)) {
        return err_system(error, errno, "iperf3", "cannot prepare a stream");
    }
    if (stream->sends && stream->run->test.zerocopy && !stream->run->test.udp) {
        return open_file(stream, length, error);
    }
    stream->buffer = malloc(length); /* its thread fills it: here a server's others would wait */
    if (stream->buffer == NULL) {
        return err_system(error, errno, "iperf3", "cannot make a buffer of %u bytes", length);
    }
    return 0;
}

static void close_stream(struct data_stream *stream)
{
    if (stream->file >= 0) {
        if (stream->buffer) {
            munmap(stream->buffer, iperf3_length(&stream->run->test));
        }
        close(stream->file);
    } else {
        free(stream->buffer);
    }
}

static void data_end(void *data)
{
    struct data_run *run = data;
    atomic_store(&run->stop, true);
    for (uint32_t i = 0; i < run->count; i++) {
        struct data_stream *stream = &run->streams[i];
        if (stream->created) {
            pthread_join(stream->thread, NULL);
        }
        close_stream(stream);
    }
    free(run);
}

static int data_begin(void *owner, const struct iperf3_test *test, bool server,
                      const struct net_end *ends, uint32_t count, void **result, struct err *error)
{
    (void)owner;
    struct data_run *run = calloc(1, sizeof *run + count * sizeof run->streams[0]);
    if (run == NULL) {
        return err_system(error, ENOMEM, "iperf3", "cannot make %u streams", count);
    }
    run->test = *test;
    run->server = server;
    run->count = count;
    /* A server stops early only where the client is sure to get what it waits for. */
    run->limited = (test->bytes || test->blocks) && (!server || (!test->udp && !test->omit_ns));
    for (uint32_t i = 0; i < count; i++) {
        run->streams[i].run = run;
        run->streams[i].file = -1;
    }
    for (uint32_t i = 0; i < count; i++) {
        run->streams[i].sends = iperf3_flow_sends(test, i, server);
        if (open_stream(&run->streams[i], ends[i].read_fd, error)) {
            data_end(run);
            return -1;
        }
    }
    *result = run;
    return 0;
}

static int data_start(void *data, struct err *error)
{
    struct data_run *run = data;
    pthread_attr_t attributes;
    sigset_t all, before;
    int number = pthread_attr_init(&attributes);

    if (number) {
        return err_system(error, number, "iperf3", "cannot start threads");
    }
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    run->start_ns = clock_now_ns();
    run->window_ns = run->start_ns + run->test.omit_ns;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (uint32_t i = 0; i < run->count && number == 0; i++) {
        struct data_stream *stream = &run->streams[i];
        number = pthread_create(&stream->thread, &attributes, iperf3_data_stream_run, stream);
        stream->created = number == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return number ? err_system(error, number, "iperf3", "cannot start %u threads", run->count) : 0;
}

static uint64_t data_moved(void *data)
{
    struct data_run *run = data;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < run->count; i++) {
        bytes += atomic_load_explicit(&run->streams[i].bytes, memory_order_relaxed);
    }
    return bytes;
}

static void data_read(void *data, uint32_t index, struct session_flow *totals)
{
    const struct data_run *run = data;
    const struct data_stream *stream = &run->streams[index];
    uint64_t highest = atomic_load_explicit(&stream->highest_seen, memory_order_relaxed);
    uint64_t lost = atomic_load_explicit(&stream->lost_seen, memory_order_relaxed);
    *totals = (struct session_flow){
        .bytes = atomic_load_explicit(&stream->bytes, memory_order_relaxed),
        .messages = highest > lost ? highest - lost : 0,
        .lost = lost,
        .out_of_order = atomic_load_explicit(&stream->out_of_order_seen, memory_order_relaxed),
        .jitter_ns = (double)atomic_load_explicit(&stream->jitter_seen_ns, memory_order_relaxed),
        .retransmits = UINT64_MAX,
    };
}

static bool data_reached(void *data)
{
    struct data_run *run = data;
    uint64_t bytes[2] = {0}, blocks[2] = {0};

    for (uint32_t i = 0; i < run->count; i++) {
        struct data_stream *stream = &run->streams[i];
        bytes[stream->sends] += atomic_load_explicit(&stream->window_bytes, memory_order_relaxed);
        blocks[stream->sends] += atomic_load_explicit(&stream->window_blocks, memory_order_relaxed);
    }
    const struct iperf3_test *test = &run->test;
    return (test->bytes && (bytes[0] >= test->bytes || bytes[1] >= test->bytes)) ||
           (test->blocks && (blocks[0] >= test->blocks || blocks[1] >= test->blocks));
}

/* A number of bytes or blocks has been sent when the last sender has no more to send, and not when
 * somebody looks. */
static uint64_t sent_until(const struct data_run *run, uint64_t stop_ns)
{
    uint32_t senders = 0;
    for (uint32_t i = 0; i < run->count; i++) {
        senders += run->streams[i].sends;
    }
    return senders && atomic_load(&run->satisfied) == senders ? atomic_load(&run->satisfied_ns)
                                                              : stop_ns;
}

static double seconds(struct timeval value)
{
    return (double)value.tv_sec + (double)value.tv_usec / 1e6;
}

static void data_stop(void *data, struct iperf3_side *side)
{
    struct data_run *run = data;
    double user = 0, system = 0;

    memset(side, 0, sizeof *side);
    uint64_t stop_ns = clock_now_ns(), sent_ns = sent_until(run, stop_ns);
    atomic_store(&run->stop, true);
    side->flow_count = run->count;
    for (uint32_t i = 0; i < run->count; i++) {
        struct data_stream *stream = &run->streams[i];
        if (stream->created) {
            pthread_join(stream->thread, NULL);
            stream->created = false;
        }
        iperf3_data_stream_flow(stream, stream->sends ? sent_ns : stop_ns, &side->flows[i]);
        user += seconds(stream->usage.ru_utime);
        system += seconds(stream->usage.ru_stime);
    }
    double all = run->start_ns ? (double)(stop_ns - run->start_ns) / 1e9 : 0;
    side->cpu_user = all > 0 ? 100 * user / all : 0;
    side->cpu_system = all > 0 ? 100 * system / all : 0;
    socklen_t length = sizeof side->congestion;
    if (run->test.udp ||
        getsockopt(run->streams[0].fd, IPPROTO_TCP, TCP_CONGESTION, side->congestion, &length)) {
        side->congestion[0] = '\0';
    }
    side->congestion[sizeof side->congestion - 1] = '\0';
}

const struct iperf3_data_ops iperf3_data_threads = {
    .begin = data_begin,
    .start = data_start,
    .moved = data_moved,
    .read = data_read,
    .reached = data_reached,
    .stop = data_stop,
    .end = data_end,
};
