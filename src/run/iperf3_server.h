/* The server's end of iperf3's protocol: real clients, several tests at a time. One thread speaks
 * the protocol and never waits for a single client; moving bytes is the data operations' part. */
#ifndef SONDE_RUN_IPERF3_SERVER_H
#define SONDE_RUN_IPERF3_SERVER_H

#include "run/iperf3.h"

/* One test, for whoever reports it. */
struct iperf3_server_test {
    uint64_t number;  /* from 1 on */
    const char *peer; /* "192.0.2.7:40124" */
    const struct iperf3_test *test;
    const char *cookie;
    /* From `started` to `stopped`: its connections, in their order; what moves their bytes. */
    const struct net_end *ends;
    uint32_t end_count;
    void *run;
};

/* What happened; each may be NULL. Called from iperf3_serve's thread. */
struct iperf3_server_events {
    void (*listening)(void *owner, const struct address *address);
    void (*accepted)(void *owner, const struct iperf3_server_test *test);
    /* Its connections are there, and bytes move; then, before they are closed, no more. */
    void (*started)(void *owner, const struct iperf3_server_test *test);
    void (*stopped)(void *owner, const struct iperf3_server_test *test,
                    const struct iperf3_side *own);
    /* Payload bytes of all streams since the last one, the omitted ones among them. */
    void (*interval)(void *owner, const struct iperf3_server_test *test, uint64_t start_ns,
                     uint64_t duration_ns, uint64_t bytes);
    /* `own` is NULL where the test never began, `peer` where its results never came; `why` is NULL
     * where all went well. */
    void (*finished)(void *owner, const struct iperf3_server_test *test,
                     const struct iperf3_side *own, const struct iperf3_side *peer,
                     const struct err *why);
    /* Somebody who was turned away before there was a test. */
    void (*refused)(void *owner, const char *peer, const char *why);
    /* What is to be sent to a client that wants to read what the server prints, asked before its
     * results go; NULL: nothing. Stays valid until the next event. */
    const char *(*output)(void *owner, const struct iperf3_server_test *test);
};

struct iperf3_server_config {
    struct address *address; /* tcp; a port of 0 becomes the real one. Datagrams come to the same */
    int stop_fd;             /* readable: end; -1: none */
    const struct iperf3_data_ops *data;
    void *data_owner;
    const struct iperf3_server_events *events; /* NULL: none */
    void *owner;                               /* of events */
    /* 0: the default in brackets. */
    uint32_t pending_most;      /* [256] connections that have not asked for a test yet */
    uint32_t tests_most;        /* [64]; of this and the next two, one host gets three quarters */
    uint32_t streams_most;      /* [1024] of all tests */
    uint64_t buffer_bytes_most; /* [512 MiB] blocks of all streams */
    uint64_t duration_most_ns;  /* [24 h] of a test */
    uint64_t interval_ns;       /* [1 s] from one `interval` to the next */
    uint64_t deadline_ns;       /* [10 s] of every step that a client has to take */
};

/* Serves until stop_fd is readable. -1 with *error where it cannot listen or go on. */
int iperf3_serve(const struct iperf3_server_config *config, struct err *error);

#endif
