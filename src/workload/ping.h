/* Small messages, each answered by one of the same length. Every message carries a sequence number
 * at its head, so that lost, duplicated and reordered ones are told apart; on a stream messages
 * follow each other without anything between them. */
#ifndef SONDE_WORKLOAD_PING_H
#define SONDE_WORKLOAD_PING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workload/workload.h"

#define PING_SIZE_MAX (1 << 20)
/* Where --high is not given: so many messages may always go out behind the oldest one in flight;
 * further ones where that was not overtaken, up to PING_SPAN_MAX, which bounds the memory. */
#define PING_SPAN (1 << 14)
#define PING_SPAN_MAX (1 << 20)

/* What each answered message took, in the order of the answers, for one connection. */
struct ping_log {
    struct ping_log_entry {
        uint64_t sent_ns, received_ns;
    } * entries;
    uint64_t room, count;
    uint64_t missed; /* answers that found no room */
};

#define PING_ANSWER_NONE UINT64_MAX

enum ping_format {
    PING_OWN,      /* a bit that is 0 in a message and 1 in its answer, then the sequence number: in
                      as many bytes as the size allows, up to 8 */
    PING_SOCKPERF, /* codec/sockperf.h */
};

struct ping_options {
    uint64_t size_bytes; /* servers of the own format on a stream: 0 answers whatever was read */
    uint64_t burst;      /* messages that start together */
    uint64_t high;       /* most messages from the oldest one in flight to the newest */
    uint64_t timeout_ns; /* datagrams: when a message counts as lost */
    uint32_t format;     /* enum ping_format */
    bool high_is_bound;  /* by check: `high` was not asked for, it only bounds memory */
    bool stamps;
    /* No rows; of sockperf's format: */
    uint64_t answer_every; /* only each so many-th message asks for an answer; 0: each one;
                              PING_ANSWER_NONE: none does, and nothing is received */
    struct ping_log *log;  /* NULL: none */
    char target[160];      /* by take_target: with the port that it left out */
};

/* Counters of the client role. */
enum ping_counter {
    PING_COUNT_COMPLETED, /* round trips */
    PING_COUNT_SENT,      /* messages */
    PING_COUNT_BYTES,     /* both ways */
    PING_COUNT_LOST,
    PING_COUNT_UNSENT,
    PING_COUNT_DUPLICATED,
    PING_COUNT_OUT_OF_ORDER,
    PING_COUNT_LATE,
    PING_COUNT_INVALID,
    PING_COUNT_REGRESSIONS,
    PING_COUNT_TO_SPLIT, /* --stamps: round trips of which the kernel's stamps are asked for */
    PING_COUNT_UNSTAMPED,
};

enum ping_histogram {
    PING_RESPONSE_TIME,
    PING_SERVICE_TIME,
    PING_SEND_LAG,
    PING_SEND_CALL,
    PING_NETWORK,
    PING_WAKE_UP,
};

/* Counters of the server role. */
enum ping_server_counter {
    PING_SERVER_RECEIVED, /* messages */
    PING_SERVER_ANSWERED,
    PING_SERVER_SILENT, /* received, and by the format not to be answered */
    PING_SERVER_DROPPED,
    PING_SERVER_INVALID,
    PING_SERVER_RECEIVED_BYTES,
    PING_SERVER_SENT_BYTES,
    PING_SERVER_ACCEPTED,
    PING_SERVER_REFUSED,
};

enum ping_server_histogram { PING_SERVER_WAKE_UP, PING_SERVER_APPLICATION, PING_SERVER_SEND_CALL };

extern const struct role ping_client, ping_server;

enum { PING_SERVER_METRICS = 7, PING_SERVER_METRICS_OF_RUN = 5 };
extern const struct metric ping_server_metrics[PING_SERVER_METRICS];

/* Options of `sonde serve`, over struct ping_options. */
enum { PING_SERVER_OPTIONS = 1 };
extern const struct opt ping_server_rows[PING_SERVER_OPTIONS];

/* Bytes at the head of a message that say which one it is. */
uint32_t ping_head_bytes(const struct ping_options *options);

/* Writes the head of a request. */
void ping_put_head(const struct ping_options *options, uint8_t *message, uint64_t sequence);

/* Whether a message is to be answered. */
static inline bool ping_wants_answer(const struct ping_options *options, uint64_t sequence)
{
    return options->answer_every <= 1 ||
           (options->answer_every != PING_ANSWER_NONE && sequence % options->answer_every == 0);
}

/* Reads the head of an answer; NULL, or what is wrong with it. */
const char *ping_take_head(const struct ping_options *options, const uint8_t *message,
                           uint64_t *sequence);

/* Own format: true for a datagram that may be answered; what is an answer itself never is, so that
 * no two servers can be made to answer each other. */
bool ping_is_request(const uint8_t *message, size_t length);

/* Own format: makes an answer of a request, in place. */
void ping_make_answer(uint8_t *message);

/* How many different sequence numbers fit into a head, less one; all ones. */
uint64_t ping_sequence_mask(const struct ping_options *options);

/* The sequence number whose low bits are `wire`, the latest one that is not above `last`; false
 * where there has been none yet. Numbers begin with 1. */
bool ping_whole_sequence(const struct ping_options *options, uint64_t wire, uint64_t last,
                         uint64_t *sequence);

/* Takes a format's name off a URL ("sockperf+udp://…", "ping+tcp://…") and says which it is; the
 * URL itself and false where it names none. */
bool ping_take_format(const char **url, uint32_t *format);

/* A URL behind "sockperf+" with sockperf's own port where it names none: in `to`, or as it is. */
const char *ping_sockperf_port(const char *url, char *to, size_t size);

/* True for channels that keep messages apart. */
static inline bool ping_is_datagram(const struct channel *channel)
{
    return channel->kind == CHANNEL_DATAGRAM || channel->kind == CHANNEL_MANY;
}

#endif
