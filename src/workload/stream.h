/* Bulk throughput: streams of payload in one direction each, from one end or from the other. A side
 * sends or receives; which of them is the client makes no difference but at the beginning (it says
 * hello, codec/hello.h) and at the end (it says when that is).
 *
 * The end of a stream: who sends stops and shuts its direction down, who receives reads to the end
 * and then ends its own, which tells the sender that everything has arrived. A receiving client
 * ends its direction to ask the sender to stop. */
#ifndef SONDE_WORKLOAD_STREAM_H
#define SONDE_WORKLOAD_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "workload/datagram_format.h"
#include "workload/workload.h"

enum stream_pacing { PACING_KERNEL, PACING_TIMER };
enum stream_zerocopy { ZEROCOPY_NONE, ZEROCOPY_MSG, ZEROCOPY_SENDFILE };

struct stream_options {
    uint64_t length_bytes;
    uint64_t streams; /* in each direction that there is */
    bool reverse, bidir;
    uint64_t total_bytes; /* of all streams together; 0: by duration */
    uint64_t rate_bytes;  /* of each stream, per second; 0: as fast as it goes */
    uint32_t pacing;      /* enum stream_pacing */
    uint64_t batch;       /* datagrams: of one send */
    bool segments;
    uint32_t zerocopy; /* enum stream_zerocopy */
    bool verify;
    bool datagrams;  /* no row: of the transport */
    uint32_t format; /* enum datagram_format; no row: of the session */
};

enum {
    STREAM_OPTIONS = 11,
    STREAM_LENGTH = 128 << 10,
    STREAM_DATAGRAM_LENGTH = 1400,
    STREAM_DATAGRAM_LEAST = 64
};
extern const struct opt stream_option_rows[STREAM_OPTIONS];

/* A rate as an option's value: "1G" are bits per second, as the field has it; "125MB" are bytes.
 * The member is a uint64_t of bytes per second. */
int stream_parse_rate(const char *text, void *member, struct err *error);
void stream_print_rate(const void *member, FILE *out);

/* For struct workload: settle what depends on the transport, and refuse what contradicts itself. */
int stream_check(void *options, uint64_t receive_bytes, struct err *error);
int stream_datagrams_check(void *options, uint64_t receive_bytes, struct err *error);
/* For both. */
void stream_tune(const void *options, struct net_tuning *tuning, uint8_t *channel_options);
void stream_join(const void *options, uint64_t *client, const uint64_t *server, double scale);
double stream_asked(const void *options);
int stream_fits(const void *options, const struct engine_ops *client,
                const struct engine_ops *server, const struct transport_ops *transport,
                struct err *error);
int stream_datagrams_fit(const void *options, const struct engine_ops *client,
                         const struct engine_ops *server, const struct transport_ops *transport,
                         struct err *error);
bool stream_has(const void *options, const struct metric *metric, bool server);

/* Counters of both roles. */
enum stream_counter {
    STREAM_COUNT_DELIVERED, /* the client's only, see workload->join */
    STREAM_COUNT_DELIVERED_BITS,
    STREAM_COUNT_BLOCKS,
    STREAM_COUNT_SENT_BYTES,
    STREAM_COUNT_SENDS,
    STREAM_COUNT_RECEIVED_BYTES,
    STREAM_COUNT_RECEIVES,
    STREAM_COUNT_PAUSES,        /* paced: waits for the next block's time */
    STREAM_COUNT_ARRIVED_BYTES, /* the client's only, see workload->arrived_bytes */
    STREAM_COUNT_ACCEPTED,
    STREAM_COUNT_REFUSED,
    /* Datagrams: */
    STREAM_COUNT_SENT,     /* those sent */
    STREAM_COUNT_ARRIVED,  /* those received, duplicates left out */
    STREAM_COUNT_EXPECTED, /* those that should have been received */
    STREAM_COUNT_LATE,
    STREAM_COUNT_DUPLICATES,
    STREAM_COUNT_JITTER_NS, /* summed over those that arrived */
    STREAM_COUNT_DROPS,
};

/* Counters of one stream. */
enum stream_flow_counter {
    STREAM_FLOW_SENT_BYTES,
    STREAM_FLOW_SENDS,
    STREAM_FLOW_RECEIVED_BYTES,
    STREAM_FLOW_RECEIVES,
    STREAM_FLOW_COUNTERS,
    /* Datagrams: */
    STREAM_FLOW_SENT = STREAM_FLOW_COUNTERS,
    STREAM_FLOW_ARRIVED,
    STREAM_FLOW_EXPECTED,
    STREAM_FLOW_LATE,
    STREAM_FLOW_DUPLICATES,
    STREAM_FLOW_JITTER_NS,
    STREAM_FLOW_DATAGRAM_COUNTERS
};

enum stream_histogram { STREAM_RECEIVED_SIZE };

extern const struct role stream_client, stream_server;
extern const struct role stream_datagram_client, stream_datagram_server;

/* True where the client sends on this connection, of the connections of a run. */
static inline bool stream_client_sends(const struct stream_options *options, uint32_t number)
{
    return options->bidir ? number % 2 == 0 : !options->reverse;
}

/* Connections of a run. */
static inline uint64_t stream_connections(const struct stream_options *options)
{
    return options->streams * (options->bidir ? 2 : 1);
}

/* Which bytes connection `number` has of total_bytes: up to here, from where the one before it
 * ends. */
static inline uint64_t stream_share_end(const struct stream_options *options, uint32_t number)
{
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)((wide)options->total_bytes * (number + 1u) / stream_connections(options));
}

/* How many bytes those are. */
static inline uint64_t stream_share(const struct stream_options *options, uint32_t number)
{
    return stream_share_end(options, number) - (number ? stream_share_end(options, number - 1) : 0);
}

#endif
