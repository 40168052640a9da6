/* Inside of `sonde as iperf3`: the command line, text and JSON of iperf3 3.12. */
#ifndef SONDE_CLI_AS_IPERF3_H
#define SONDE_CLI_AS_IPERF3_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "net/net.h"
#include "net/tcp_figures.h"
#include "run/iperf3.h"

#define AS_IPERF3_VERSION "iperf 3.12"

struct as_iperf3_options {
    bool server, one_off;
    const char *host; /* client */
    uint64_t port;
    struct iperf3_test test; /* client */
    double interval_s;       /* 0: none but the whole */
    char format;             /* of rates: one of kmgtKMGT, or a for whichever fits */
    bool json, verbose;
    const char *title, *log_file, *source, *affinity;
    int family;
    uint64_t connect_timeout_ns; /* 0: the default */
    uint64_t client_port;        /* 0: the kernel's choice */
    const char *timestamps;      /* format of strftime, before each line; NULL: none */
    const char *pid_file;
    bool daemon;
};

/* Reads a command line: -1 where it is to be run, else what the program exits with; it has said
 * why. */
int as_iperf3_parse(int argc, char **argv, struct as_iperf3_options *options);

/* What one connection did in an interval or in all. */
struct as_iperf3_counts {
    uint64_t bytes, retransmits;
    int64_t packets, lost, out_of_order;
    double jitter_ms;
};

/* One row: a connection's or a sum's. */
struct as_iperf3_row {
    double start_s, end_s;
    struct as_iperf3_counts counts;
    int socket;       /* 0: a sum */
    const char *role; /* "[TX-C]"; "" */
    const char *note; /* "sender", "(omitted)", "" */
    uint64_t congestion_window_bytes;
};

enum as_iperf3_shape {
    AS_IPERF3_PLAIN, /* of a TCP receiver */
    AS_IPERF3_RETRANSMITS,
    AS_IPERF3_RETRANSMITS_WINDOW,
    AS_IPERF3_DATAGRAMS_SENT,
    AS_IPERF3_DATAGRAMS_SENT_BIDIR,
    AS_IPERF3_DATAGRAMS,
};

/* A number of bytes (a rate: per second) with its unit, as "1.69 GByte" or, by a lower-case format,
 * "14.5 Gbit". */
void as_iperf3_unit(char *to, size_t size, double bytes, char format);

/* The line of a row, without its line's end. */
void as_iperf3_line(char *to, size_t size, const struct as_iperf3_row *row,
                    enum as_iperf3_shape shape, char format);

/* One connection of a test that is reported. */
struct as_iperf3_stream {
    int fd, socket;
    bool sends;
    char local_host[64], remote_host[64];
    int local_port, remote_port;
    struct as_iperf3_counts before, now; /* totals at the last two cuts */
    struct tcp_figures figures;          /* at the last cut */
    uint64_t most_window, most_peer_window, most_rtt_us, least_rtt_us, sum_rtt_us, samples;
};

/* A test while it is reported. */
struct as_iperf3_report {
    const struct as_iperf3_options *options;
    const struct iperf3_test *test;
    bool server, head_printed, cut_once;
    uint32_t count;
    struct as_iperf3_stream *streams; /* owned */
    double cut_s;                     /* end of the last interval */
    bool cut_omitted;
    json_t *json; /* owned: the whole; NULL for text */
    FILE *also;   /* what is printed goes there too; NULL: nowhere */
};

/* Prints a line of text, with the title before it, where text is asked for. */
void as_iperf3_say(struct as_iperf3_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Begins a report (with JSON: of its version and system). */
int as_iperf3_report_begin(struct as_iperf3_report *report, const struct as_iperf3_options *options,
                           bool server, struct err *error);

/* What is known of the test before it begins: "Time", "Cookie" … `host` and `port` are of the
 * server at a client, of the client at a server; mss: of the control connection. */
void as_iperf3_report_peer(struct as_iperf3_report *report, const char *host, int port,
                           const char *cookie, uint32_t mss);

/* The connections are there. */
int as_iperf3_report_streams(struct as_iperf3_report *report, const struct iperf3_test *test,
                             const struct net_end *ends, uint32_t count, struct err *error);

/* An interval is over, `end_s` after the beginning of the test or of the omitted time. */
void as_iperf3_report_cut(struct as_iperf3_report *report, const struct iperf3_data_ops *data,
                          void *run, double end_s, bool omitted);

/* The last, shorter interval, unless nothing was in it. */
void as_iperf3_report_last(struct as_iperf3_report *report, const struct iperf3_data_ops *data,
                           void *run, const struct iperf3_side *own);

/* The figures of the whole test; peer is NULL where it has said nothing. */
void as_iperf3_report_end(struct as_iperf3_report *report, const struct iperf3_side *own,
                          const struct iperf3_side *peer);

/* Why it failed, on standard error or in the JSON, and prints the JSON. */
void as_iperf3_report_fail(struct as_iperf3_report *report, const char *what);
void as_iperf3_report_finish(struct as_iperf3_report *report);
void as_iperf3_report_release(struct as_iperf3_report *report); /* safe to call twice */

/* Whose counts a stream's row has: [0] the sender's, [1] the receiver's; false where not known. */
bool as_iperf3_side_row(const struct as_iperf3_report *report, uint32_t index, bool receiver,
                        const struct iperf3_side *own, const struct iperf3_side *peer,
                        struct as_iperf3_row *row);

/* "[TX-C]" of a connection where both ends send, else "". */
const char *as_iperf3_role(const struct as_iperf3_report *report, bool sends);

/* Adds a connection's counts to a sum's; the jitter is the mean in the end (of `count`). */
void as_iperf3_add(struct as_iperf3_row *sum, const struct as_iperf3_row *row, uint32_t count);

/* as_iperf3_json.c: the same as JSON. */
json_t *as_iperf3_json_begin(void);
void as_iperf3_json_peer(json_t *json, bool server, const char *host, int port, const char *cookie,
                         bool datagrams, uint32_t mss);
void as_iperf3_json_streams(const struct as_iperf3_report *report);
void as_iperf3_json_interval(const struct as_iperf3_report *report,
                             const struct as_iperf3_row *rows, bool omitted);
void as_iperf3_json_end(const struct as_iperf3_report *report, const struct iperf3_side *own,
                        const struct iperf3_side *peer);

/* Prints it as iperf3 does: tabs, arrays on their lines. */
void as_iperf3_json_print(const json_t *json, FILE *out);

/* Either end; the exit status, or -1 with *error. */
int as_iperf3_client(const struct as_iperf3_options *options, struct err *error);
int as_iperf3_server(const struct as_iperf3_options *options, struct err *error);

#endif
