#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/rng.h"
#include "net/tcp_figures.h"
#include "run/iperf3_data_state.h"

#define NAP_MOST_NS (20 * NS_PER_MS) /* so long may a stop go unseen */
#define DRAIN_MOST_NS (200 * NS_PER_MS)

static bool stopped(const struct data_stream *stream)
{
    return atomic_load_explicit(&stream->run->stop, memory_order_relaxed);
}

/* UINT64_MAX: not known. */
static uint64_t retransmits(const struct data_stream *stream)
{
    struct tcp_figures figures;
    if (stream->run->test.udp || !stream->sends || tcp_figures_read(stream->fd, &figures)) {
        return UINT64_MAX;
    }
    return figures.retransmits;
}

/* Sees whether the omitted time is over. */
static void look_at_clock(struct data_stream *stream, uint64_t now_ns)
{
    if (now_ns >= stream->run->window_ns) {
        stream->counting = true;
        stream->transit_known = false;
        stream->jitter_ns = 0;
        stream->counts.retransmits = retransmits(stream);
        stream->omitted = stream->counts;
    }
}

/* Shows what is known of datagrams to other threads. */
static void show_datagrams(struct data_stream *stream)
{
    const struct stream_counts *counts = &stream->counts;
    atomic_store_explicit(&stream->highest_seen, counts->highest, memory_order_relaxed);
    atomic_store_explicit(&stream->lost_seen, counts->lost, memory_order_relaxed);
    atomic_store_explicit(&stream->out_of_order_seen, counts->out_of_order, memory_order_relaxed);
    atomic_store_explicit(&stream->jitter_seen_ns, (uint64_t)stream->jitter_ns,
                          memory_order_relaxed);
}

/* Counts a call that moved bytes. */
static void count(struct data_stream *stream, size_t bytes, bool block)
{
    struct stream_counts *counts = &stream->counts;
    if (stream->run->test.udp) {
        show_datagrams(stream);
    }
    counts->bytes += bytes;
    counts->blocks += block;
    atomic_store_explicit(&stream->bytes, counts->bytes, memory_order_relaxed);
    atomic_store_explicit(&stream->blocks, counts->blocks, memory_order_relaxed);
    if (stream->counting) {
        atomic_store_explicit(&stream->window_bytes, counts->bytes - stream->omitted.bytes,
                              memory_order_relaxed);
        atomic_store_explicit(&stream->window_blocks, counts->blocks - stream->omitted.blocks,
                              memory_order_relaxed);
    } else {
        look_at_clock(stream, clock_now_ns());
    }
}

/* Takes on one more block; false where the test has enough of them. */
static bool claim(struct data_stream *stream)
{
    struct data_run *run = stream->run;
    const struct iperf3_test *test = &run->test;

    if (!run->limited || !stream->counting) {
        return true;
    }
    uint64_t step = test->bytes ? iperf3_length(test) : 1;
    uint64_t most = test->bytes ? test->bytes : test->blocks;
    return atomic_fetch_add_explicit(&run->claimed, step, memory_order_relaxed) < most;
}

/* There is nothing left to send: when the last sender says so, all has been. */
static void satisfy(struct data_run *run)
{
    uint64_t now_ns = clock_now_ns(), last_ns = atomic_load(&run->satisfied_ns);
    while (last_ns < now_ns &&
           !atomic_compare_exchange_weak(&run->satisfied_ns, &last_ns, now_ns)) {
    }
    atomic_fetch_add(&run->satisfied, 1);
}

/* Waits until what has been sent is not ahead of the rate. */
static void pace(const struct data_stream *stream)
{
    const struct data_run *run = stream->run;
    uint64_t rate = run->test.rate_bits_per_second;
    uint32_t burst = run->test.burst ? run->test.burst : 1;

    if (rate == 0 || stream->counts.blocks % burst) {
        return;
    }
    unsigned __int128 bits = (unsigned __int128)stream->counts.bytes * 8;
    unsigned __int128 due = run->start_ns + bits * NS_PER_SECOND / rate;
    for (uint64_t now = clock_now_ns(); due > now && !stopped(stream); now = clock_now_ns()) {
        uint64_t until = due > now + NAP_MOST_NS ? now + NAP_MOST_NS : (uint64_t)due;
        struct timespec instant = clock_timespec(until);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &instant, NULL);
    }
}

static void send_stream(struct data_stream *stream)
{
    size_t length = iperf3_length(&stream->run->test), sent = 0;

    while (!stopped(stream)) {
        if (sent == 0) {
            pace(stream);
            if (stopped(stream)) {
                return;
            }
            if (!claim(stream)) {
                satisfy(stream->run);
                return;
            }
        }
        off_t offset = (off_t)sent;
        ssize_t put =
            stream->file < 0
                ? send(stream->fd, stream->buffer + sent, length - sent, MSG_NOSIGNAL)
                : sendfile(stream->fd, stream->file, &offset, length - sent); /* SIGPIPE: blocked */
        if (put < 0 && errno != EAGAIN && errno != EINTR) {
            return; /* the control connection will say why */
        }
        if (put > 0) {
            sent += (size_t)put;
            sent = sent < length ? sent : 0;
            count(stream, (size_t)put, sent == 0);
        }
    }
}

static void send_datagrams(struct data_stream *stream)
{
    const struct iperf3_test *test = &stream->run->test;
    const struct timespec rest = {.tv_nsec = 100 * (long)NS_PER_US};
    size_t length = iperf3_length(test);
    bool claimed = false;

    while (!stopped(stream)) {
        pace(stream);
        claimed = claimed || claim(stream);
        if (stopped(stream)) {
            return;
        }
        if (!claimed) {
            satisfy(stream->run);
            return;
        }
        const struct iperf3_datagram datagram = {.sent_ns = clock_now_ns(),
                                                 .sequence = stream->counts.highest + 1};
        iperf3_datagram_encode(stream->buffer, test->counters_64bit, &datagram);
        ssize_t put = send(stream->fd, stream->buffer, length, MSG_NOSIGNAL);
        if (put > 0) {
            claimed = false;
            stream->counts.highest++;
            count(stream, (size_t)put, true);
        } else if (errno == EMSGSIZE) {
            return;
        } else if (errno != EAGAIN && errno != EINTR) { /* no room in a queue; nobody there yet */
            nanosleep(&rest, NULL);
        }
    }
}

/* What has arrived before the end and was not read yet, where a number of bytes was agreed upon. */
static void drain(struct data_stream *stream)
{
    const struct iperf3_test *test = &stream->run->test;
    uint64_t until = clock_now_ns() + DRAIN_MOST_NS, now;

    while ((test->bytes || test->blocks) && (now = clock_now_ns()) < until) {
        ssize_t got = recv(stream->fd, stream->buffer, iperf3_length(test), MSG_DONTWAIT);
        if (got <= 0) {
            return;
        }
        count(stream, (size_t)got, true);
        if (test->udp) {
            iperf3_data_stream_datagram(stream, stream->buffer, (size_t)got, now);
        }
    }
}

static void receive_stream(struct data_stream *stream)
{
    size_t length = iperf3_length(&stream->run->test);

    while (!stopped(stream)) {
        ssize_t got = recv(stream->fd, stream->buffer, length, 0);
        if (got > 0) {
            count(stream, (size_t)got, true);
        } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            return;
        }
    }
    drain(stream);
}

void iperf3_data_stream_datagram(struct data_stream *stream, const uint8_t *data, size_t length,
                                 uint64_t now_ns)
{
    struct stream_counts *counts = &stream->counts;
    bool wide = stream->run->test.counters_64bit;
    struct iperf3_datagram datagram;

    if (iperf3_datagram_decode(data, length, wide, &datagram) < 0) {
        return;
    }
    uint64_t sequence = datagram.sequence;
    if (!wide) { /* it wraps: the nearest number to the highest is meant */
        sequence = counts->highest +
                   (uint64_t)(int64_t)(int32_t)((uint32_t)sequence - (uint32_t)counts->highest);
    }
    if (sequence > counts->highest && sequence <= INT64_MAX) {
        counts->lost += sequence - counts->highest - 1;
        counts->highest = sequence;
    } else {
        /* It had been counted as lost when it was overtaken. */
        counts->out_of_order++;
        counts->lost -= counts->lost > stream->omitted.lost;
    }
    int64_t transit = (int64_t)now_ns - (int64_t)datagram.sent_ns;
    if (stream->transit_known) { /* RFC 3550, section 6.4.1 */
        double difference = fabs((double)(transit - stream->transit_ns));
        stream->jitter_ns += (difference - stream->jitter_ns) / 16;
    }
    stream->transit_known = true;
    stream->transit_ns = transit;
}

static void receive_datagrams(struct data_stream *stream)
{
    size_t length = iperf3_length(&stream->run->test);

    while (!stopped(stream)) {
        ssize_t got = recv(stream->fd, stream->buffer, length, 0);
        if (got > 0) {
            iperf3_data_stream_datagram(stream, stream->buffer, (size_t)got, clock_now_ns());
            count(stream, (size_t)got, true);
        } else if (got < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED) {
            return;
        }
    }
    drain(stream);
}

/* With what cannot be compressed on the way. */
static void fill_block(struct data_stream *stream)
{
    size_t length = iperf3_length(&stream->run->test);
    struct rng rng;
    rng_seed(&rng, (uint64_t)stream->fd);
    for (size_t i = 0; i < length; i += sizeof(uint64_t)) {
        uint64_t bits = rng_next(&rng);
        memcpy(stream->buffer + i, &bits, length - i < sizeof bits ? length - i : sizeof bits);
    }
}

void *iperf3_data_stream_run(void *data)
{
    struct data_stream *stream = data;
    bool udp = stream->run->test.udp;

    prctl(PR_SET_TIMERSLACK, 1000UL); /* ns: naps of a paced sender are short */
    look_at_clock(stream, clock_now_ns());
    if (stream->sends) {
        fill_block(stream);
        (udp ? send_datagrams : send_stream)(stream);
    } else {
        (udp ? receive_datagrams : receive_stream)(stream);
    }
    stream->counts.retransmits = retransmits(stream);
    getrusage(RUSAGE_THREAD, &stream->usage);
    return NULL;
}

void iperf3_data_stream_flow(const struct data_stream *stream, uint64_t stop_ns,
                             struct iperf3_flow *flow)
{
    const struct stream_counts *counts = &stream->counts;
    const struct stream_counts *omitted = stream->counting ? &stream->omitted : &stream->counts;
    bool knows = counts->retransmits != UINT64_MAX && omitted->retransmits != UINT64_MAX;

    *flow = (struct iperf3_flow){
        .omitted_messages = omitted->highest - omitted->lost,
        .omitted_lost = omitted->lost,
        .duration_ns = stop_ns > stream->run->window_ns ? stop_ns - stream->run->window_ns : 0,
    };
    flow->window = (struct session_flow){
        .bytes = counts->bytes - omitted->bytes,
        .lost = counts->lost - omitted->lost,
        .out_of_order = counts->out_of_order - omitted->out_of_order,
        .jitter_ns = stream->jitter_ns,
        .retransmits = knows ? counts->retransmits - omitted->retransmits : UINT64_MAX,
    };
    flow->window.messages = counts->highest - omitted->highest - flow->window.lost;
}
