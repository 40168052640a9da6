/* What limited a run, with the evidence: the judgement alone, without a run. */
#ifndef SONDE_RUN_VERDICT_H
#define SONDE_RUN_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An end that took at least this share of the CPU that it can have had no time left to speak of. */
#define VERDICT_SATURATED 0.93

/* How busy one end was. */
struct verdict_load {
    bool known;
    double busy;     /* the busiest thread's share of a CPU, or that of all threads of the CPUs that
                        they may use, where that is more */
    double waited;   /* for this share of the time its threads waited for a CPU */
    double runnable; /* the same where it can only be for other programs, else 0 */
    double cpus;     /* CPUs that it kept busy, as the table of processes has it */
};

/* What is known of a run of streams. */
struct verdict_stream {
    struct verdict_load client, server;
    double host_busy, others; /* shares of all of the host's CPU time; below 0: not known */
    double asked, reached;    /* bytes/s of --rate (0: none) and what was sent */
    bool tcp;                 /* TCP says of what sends: shares of the time */
    double tcp_busy, receive_window, send_buffer;
    /* Datagrams at the end that lost most of them: those that should have arrived, that did, and
     * packets that its socket had no room for, of so many datagrams each at most. */
    const char *receiver;
    uint64_t expected, arrived, drops, joined;
};

/* One line into `text`. */
void verdict_stream(const struct verdict_stream *facts, char *text, size_t size);

/* True where a paced stream sent what it was to. */
bool verdict_rate_reached(const struct verdict_stream *facts);

#endif
