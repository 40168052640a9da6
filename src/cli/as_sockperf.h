/* Inside of `sonde as sockperf`: the command line and text of sockperf 3.7. */
#ifndef SONDE_CLI_AS_SOCKPERF_H
#define SONDE_CLI_AS_SOCKPERF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "stats/histogram.h"
#include "workload/ping.h"

#define AS_SOCKPERF_WARMUP_MS 400
#define AS_SOCKPERF_COOLDOWN_MS 50

enum as_sockperf_mode {
    AS_SOCKPERF_PING_PONG,
    AS_SOCKPERF_UNDER_LOAD,
    AS_SOCKPERF_THROUGHPUT,
    AS_SOCKPERF_SERVER,
};

struct as_sockperf_options {
    enum as_sockperf_mode mode;
    const char *ip;
    uint64_t port, size_bytes, time_s, burst, reply_every, buffer_bytes, pre_warmup_wait_s;
    uint64_t per_second; /* messages; 0: as many as go */
    bool tcp, full_rtt, nagle, giga, precise;
    bool spins; /* --nonblocked */
    const char *full_log, *client_ip;
};

/* Reads a command line: -1 where it is to be run, else what the program exits with; it has said
 * why. */
int as_sockperf_parse(int argc, char **argv, struct as_sockperf_options *options);

/* What a client found. */
struct as_sockperf_result {
    double total_s, valid_s;
    uint64_t all_sent, all_received; /* from the beginning to the end */
    uint64_t sent;                   /* within the valid duration */
    uint64_t dropped, duplicated, out_of_order;
    const struct histogram *round_trip_ns; /* within the valid duration */
};

/* "sockperf: ====> avg-latency=…" and so on, to `out`. */
void as_sockperf_print_latency(const struct as_sockperf_options *options,
                               const struct as_sockperf_result *result, FILE *out);
void as_sockperf_print_throughput(const struct as_sockperf_options *options,
                                  const struct as_sockperf_result *result, FILE *out);

/* The head: version, address. */
void as_sockperf_print_head(const struct as_sockperf_options *options, FILE *out);

/* The full log in CSV: the settings, the result and a line for each message of the valid duration.
 */
int as_sockperf_write_log(const struct as_sockperf_options *options,
                          const struct as_sockperf_result *result, const struct ping_log *log,
                          struct err *error);

/* Either end; the exit status, or -1 with *error. */
int as_sockperf_client(const struct as_sockperf_options *options, struct err *error);
int as_sockperf_server(const struct as_sockperf_options *options, struct err *error);

#endif
