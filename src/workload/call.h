/* Pipelined calls: a call of --size bytes is answered by as many. Every call is issued, timed and
 * matched one by one: answers come in the order of the calls (a byte stream keeps it). */
#ifndef SONDE_WORKLOAD_CALL_H
#define SONDE_WORKLOAD_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "workload/workload.h"

enum write_strategy {
    WRITE_GATHER, /* written when the loop is next about to wait */
    WRITE_EACH,   /* one send a call; the loop is entered after each */
    WRITE_QUEUE,  /* flushed by a timer */
    WRITE_BATCH,  /* written when N calls are gathered, or the loop is about to wait */
};

struct call_write {
    enum write_strategy strategy;
    uint64_t parameter; /* WRITE_QUEUE: period in ns; WRITE_BATCH: calls */
};

enum echo_answer { ECHO_AS_READ, ECHO_BYTE };

/* Options of the echo end; also those of `sonde serve`. The echo role's `options` is a struct
 * call_options in either case. */
struct echo_options {
    uint32_t answer;          /* enum echo_answer */
    uint64_t memory_bytes;    /* most that all unsent answers of a worker may hold */
    uint64_t idle_timeout_ns; /* close a connection that says nothing for so long; 0: never */
    bool discard;             /* answer nothing; no option, but what an address asks for */
};

struct call_options {
    uint64_t size_bytes;
    struct call_write write;
    uint64_t high, low;
    bool cork;
    bool verify;
    struct echo_options echo; /* of sonde's own server */
};

enum { CALL_TIME_SHIFT = 10 };

/* Counters of the client role. */
enum call_counter {
    CALL_COUNT_COMPLETED,
    CALL_COUNT_ISSUED,
    CALL_COUNT_SENDS,
    CALL_COUNT_SENT_BYTES,
    CALL_COUNT_RECEIVES,
    CALL_COUNT_RECEIVED_BYTES,
    CALL_COUNT_BYTES, /* both ways */
    CALL_COUNT_THROTTLED,
    CALL_COUNT_RESUMED,
    CALL_COUNT_IN_FLIGHT, /* integral of calls in flight over time, in 2^CALL_TIME_SHIFT ns: a day
                             of 10,000 connections with 20,000 calls each fits */
    CALL_COUNT_TIME,      /* the time that it covers, summed over connections, likewise */
    CALL_COUNT_LOST,
    CALL_COUNT_REGRESSIONS,
};

enum call_histogram { CALL_RESPONSE_TIME, CALL_SERVICE_TIME, CALL_SEND_LAG, CALL_RECEIVED_SIZE };

/* Counters of the echo role. */
enum echo_counter {
    ECHO_COUNT_RECEIVES,
    ECHO_COUNT_RECEIVED_BYTES,
    ECHO_COUNT_SENDS,
    ECHO_COUNT_SENT_BYTES,
    ECHO_COUNT_ACCEPTED,
    ECHO_COUNT_CLOSED,
    ECHO_COUNT_REFUSED,
    ECHO_COUNT_IDLE_CLOSED,
};

enum echo_histogram { ECHO_RECEIVED_SIZE };

extern const struct role call_client, echo_server;

/* Metrics of the echo role, for `sonde serve` too. */
enum { ECHO_METRICS = 7, DISCARD_METRICS = 6, ECHO_METRICS_OF_RUN = 3, ECHO_OPTIONS = 3 };
extern const struct metric echo_metrics[ECHO_METRICS];
extern const struct metric discard_metrics[DISCARD_METRICS]; /* where nothing is answered */

/* Refuses options that contradict each other; receive_bytes: the most that one receive takes. */
int echo_check(const struct echo_options *options, uint64_t receive_bytes, struct err *error);

/* Option rows over struct echo_options. */
extern const struct opt echo_option_rows[ECHO_OPTIONS];

#endif
