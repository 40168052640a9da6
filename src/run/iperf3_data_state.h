/* Inside of iperf3_data. */
#ifndef SONDE_RUN_IPERF3_DATA_STATE_H
#define SONDE_RUN_IPERF3_DATA_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "run/iperf3_data.h"

/* What a stream has counted since it began. */
struct stream_counts {
    uint64_t bytes, blocks;
    uint64_t highest; /* of the sequence numbers sent or seen */
    uint64_t lost, out_of_order;
    uint64_t retransmits;
};

struct data_run;

struct data_stream {
    struct data_run *run;
    int fd;
    bool sends, created;
    pthread_t thread;
    uint8_t *buffer; /* one block */
    int file;        /* that holds it, for sendfile; -1: none */
    struct stream_counts counts, omitted;
    bool counting; /* the omitted time is over */
    bool transit_known;
    int64_t transit_ns; /* of the last datagram, by two clocks that differ */
    double jitter_ns;
    struct rusage usage;                          /* of the thread, at its end */
    _Atomic uint64_t bytes, blocks;               /* as in `counts`, for other threads */
    _Atomic uint64_t window_bytes, window_blocks; /* the same since the omitted time */
    /* Of datagrams, as in `counts`: */
    _Atomic uint64_t highest_seen, lost_seen, out_of_order_seen, jitter_seen_ns;
};

struct data_run {
    struct iperf3_test test;
    bool server;
    bool limited; /* senders stop by themselves after the test's bytes or blocks */
    _Atomic bool stop;
    _Atomic uint64_t claimed;      /* bytes or blocks that senders have taken on */
    _Atomic uint32_t satisfied;    /* senders that have done their part of those */
    _Atomic uint64_t satisfied_ns; /* when the last of them had */
    uint64_t start_ns, window_ns;
    uint32_t count;
    struct data_stream streams[];
};

/* A stream's thread; `data` is the struct data_stream. */
void *iperf3_data_stream_run(void *data);

/* What the stream counted in the window, once its thread has ended. */
void iperf3_data_stream_flow(const struct data_stream *stream, uint64_t stop_ns,
                             struct iperf3_flow *flow);

/* Takes one datagram of `length` bytes that arrived at now_ns into account. */
void iperf3_data_stream_datagram(struct data_stream *stream, const uint8_t *data, size_t length,
                                 uint64_t now_ns);

#endif
