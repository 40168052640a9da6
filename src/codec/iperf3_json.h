/* What iperf3 exchanges as JSON: a test's parameters and both sides' results. The only file of
 * codec/ that allocates: JSON is parsed and made by jansson, and what is made is the caller's to
 * free.
 *
 * Every member that is known is checked for its type and range, a key that stands twice is refused,
 * unknown members are skipped, and missing ones get the value that iperf3 itself takes. */
#ifndef SONDE_CODEC_IPERF3_JSON_H
#define SONDE_CODEC_IPERF3_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/iperf3.h"

/* iperf3's own limits. */
#define IPERF3_STREAMS_MOST 128 /* each way */
#define IPERF3_FLOWS_MOST (2 * IPERF3_STREAMS_MOST)
#define IPERF3_BLOCK_MOST (1U << 20)
#define IPERF3_UDP_BLOCK_LEAST 16
#define IPERF3_UDP_BLOCK_MOST 65507
#define IPERF3_WINDOW_MOST (512U << 20)
#define IPERF3_TIME_MOST_S 86400
#define IPERF3_OMIT_MOST_S 600
#define IPERF3_MSS_MOST 32767
#define IPERF3_BURST_MOST 1000

enum iperf3_protocol { IPERF3_TCP, IPERF3_UDP, IPERF3_SCTP };

struct iperf3_parameters {
    enum iperf3_protocol protocol;
    uint32_t omit_s, time_s;  /* time 0: ends by bytes or blocks, or by the client's will */
    uint64_t bytes, blocks;   /* 0: not ended by them */
    uint32_t mss;             /* 0 here and below: the system's default */
    uint32_t parallel;        /* streams, each way */
    uint32_t window_bytes;    /* both socket buffers */
    uint32_t length_bytes;    /* of a block or datagram */
    uint64_t bandwidth;       /* bits per second of each stream; 0: as fast as possible */
    uint64_t fqrate;          /* the same, paced by the kernel */
    uint32_t pacing_timer_us; /* of the sender */
    uint32_t burst;           /* blocks sent at once; 0: not said */
    uint32_t tos, flowlabel;
    bool nodelay, reverse, bidirectional;
    bool get_server_output, udp_counters_64bit, repeating_payload, zerocopy, dont_fragment;
    bool skip_rx_copy;
    bool token;                      /* it brought a login (its content is not kept) */
    char congestion[16];             /* empty: the system's default */
    char title[64], extra_data[128]; /* cut to fit */
    char client_version[32];
};

/* As the real peer has them where nothing is said. */
void iperf3_parameters_default(struct iperf3_parameters *parameters);

/* The JSON of a client's parameters, zero-terminated, to be freed; NULL without memory. */
char *iperf3_parameters_encode(const struct iperf3_parameters *parameters);

/* Reads a client's parameters: 0 or an enum iperf3_error; then *member names what is wrong (static;
 * "" where it is the whole). */
int iperf3_parameters_decode(const char *text, size_t length, struct iperf3_parameters *parameters,
                             const char **member);

/* One stream as one side saw it. */
struct iperf3_stream_result {
    int32_t id;
    uint64_t bytes;      /* after the omitted time */
    int64_t retransmits; /* -1: not known, or not a sender */
    double jitter_s;
    int64_t errors, omitted_errors;   /* datagrams lost, the omitted among them; -1: not known */
    int64_t packets, omitted_packets; /* datagrams sent, the omitted among them */
    double start_s, end_s;            /* from the start of the stream; both 0: not said */
    bool omitted_unsaid; /* before 3.14 nothing is said of what was omitted; it is in the totals */
};

struct iperf3_results {
    double cpu_total, cpu_user, cpu_system; /* percent of one CPU */
    int32_t sender_has_retransmits;         /* -1: this side only received */
    char congestion_used[16];               /* empty: not said */
    const char *output; /* encode only: what the server printed, for a client that asked; or NULL */
    uint32_t stream_count;
    struct iperf3_stream_result streams[IPERF3_FLOWS_MOST];
};

/* As for parameters. */
char *iperf3_results_encode(const struct iperf3_results *results);
/* What a server printed, out of its results: text, or JSON as text where *json, zero-terminated and
 * to be freed; NULL where it says nothing. */
char *iperf3_results_output(const char *text, size_t length, bool *json);

int iperf3_results_decode(const char *text, size_t length, struct iperf3_results *results,
                          const char **member);

#endif
