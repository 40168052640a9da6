/* Tests as iperf3 knows them, and the client's end of its protocol: everything but moving bytes. */
#ifndef SONDE_RUN_IPERF3_H
#define SONDE_RUN_IPERF3_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/iperf3_json.h"
#include "net/net.h"
#include "run/session.h"

#define IPERF3_DEADLINE_NS (UINT64_C(10) * 1000000000)

/* What both ends agree on. 0 / empty / false: the default. */
struct iperf3_test {
    bool udp;
    uint32_t streams; /* each way; at least 1 */
    bool reverse;     /* the server sends */
    bool bidirectional;
    uint64_t duration_ns;   /* without the omitted time; 0: ended by bytes or blocks, or by will */
    uint64_t bytes, blocks; /* of all streams together */
    uint64_t omit_ns;       /* whole seconds at the beginning that count for nothing */
    uint32_t length_bytes;  /* of a block or datagram; 0: 128 KiB, 1460 */
    uint64_t rate_bits_per_second;   /* of each stream; 0: as fast as it goes */
    uint64_t pacing_bits_per_second; /* SO_MAX_PACING_RATE */
    uint32_t burst;                  /* blocks sent at once where there is a rate; 0: one */
    uint32_t window_bytes;           /* SO_SNDBUF and SO_RCVBUF */
    uint32_t mss;                    /* TCP_MAXSEG, of the connecting end */
    uint32_t tos;                    /* the whole byte: DSCP << 2 */
    bool nodelay, zerocopy;          /* zerocopy: sendfile, not for datagrams */
    bool counters_64bit;             /* in datagrams */
    bool dont_fragment;              /* datagrams over IPv4 */
    bool server_output;              /* the client wants to read what the server prints */
    char congestion[16];
    char title[64], extra_data[128];
    char client_version[32]; /* of the client, where it said so */
};

/* One connection as one side saw it. */
struct iperf3_flow {
    struct session_flow window; /* after the omitted time; for a receiver of datagrams `messages`
                                   are those that arrived */
    uint64_t omitted_messages, omitted_lost;
    uint64_t duration_ns; /* that `window` covers; 0: not known */
    bool omitted_within;  /* a peer before 3.14: the omitted datagrams are in `window` too (bytes
                             are not) */
};

/* What one side measured. */
struct iperf3_side {
    double cpu_user, cpu_system; /* percent of one CPU */
    char congestion[16];         /* in use; empty: not known */
    uint32_t flow_count;
    struct iperf3_flow flows[IPERF3_FLOWS_MOST]; /* in the order of connecting */
};

/* Data connections of the test: `streams`, or twice as many where both ends send. */
uint32_t iperf3_flow_count(const struct iperf3_test *test);

/* iperf3's number of a connection: 1, 3, 4 … (2 is never given). */
int32_t iperf3_flow_id(uint32_t index);

/* Whether this end sends on the connection. Where both send, the client does on the first half. */
bool iperf3_flow_sends(const struct iperf3_test *test, uint32_t index, bool server);

/* Bytes of a block or datagram, the default resolved. */
uint32_t iperf3_length(const struct iperf3_test *test);

/* Checks what the protocol can say: ERR_USAGE with what is wrong. */
int iperf3_test_check(const struct iperf3_test *test, struct err *error);

/* A test as parameters (durations are rounded up to the protocol's whole seconds), and back; back,
 * 0 or the iperf3 number of the reason why this end cannot do it. */
void iperf3_test_to_parameters(const struct iperf3_test *test,
                               struct iperf3_parameters *parameters);
int32_t iperf3_test_from_parameters(const struct iperf3_parameters *parameters,
                                    struct iperf3_test *test);

/* What `side` measured, as the results that it sends. */
void iperf3_side_to_results(const struct iperf3_test *test, const struct iperf3_side *side,
                            bool server, struct iperf3_results *results);

/* The peer's results as its side (`server`: it is the server). ERR_PROTOCOL where a stream is
 * missing or unknown. */
int iperf3_side_from_results(const struct iperf3_test *test, const struct iperf3_results *results,
                             bool server, const char *subject, struct iperf3_side *side,
                             struct err *error);

/* Sets what the test asks for on a data socket: before connect, or on an accepted one. On failure
 * *reason is iperf3's number for it (may be NULL). */
int iperf3_tune(int fd, const struct iperf3_test *test, bool connecting, int32_t *reason,
                struct err *error);

/* The client's end of one test. */
struct iperf3_client;

struct iperf3_client_config {
    const struct iperf3_test *test; /* copied */
    const char *host;               /* name or address */
    uint16_t port;                  /* 0: 5201 */
    int family;                     /* AF_INET or AF_INET6 only; 0: whichever is found */
    const char *source;             /* address that all connections come from; NULL: the kernel's */
    uint16_t data_port; /* that the first data connection comes from, the next ones from those above
                           it; 0: the kernel's choice */
    bool length_of_path;  /* datagrams without a length: the control connection's MSS */
    int stop_fd;          /* readable: give up (ERR_INTERRUPTED); -1: none */
    uint64_t deadline_ns; /* of every wait; 0: IPERF3_DEADLINE_NS */
    /* So long may `open` try again where the server is busy, refuses or resets the connection:
     * after each test the real one is gone for a moment. 0: not at all. */
    uint64_t patience_ns;
};

/* Reaches the server and agrees on the test. ERR_SYSTEM where it is not there, busy (EBUSY),
 * refuses or goes away; ERR_PROTOCOL where it does not speak the protocol. The same for all below.
 */
int iperf3_client_open(struct iperf3_client **client, const struct iperf3_client_config *config,
                       struct err *error);

/* Makes the data connections (iperf3_flow_count of them), non-blocking; the caller closes them.
 * They stay open at the peer until iperf3_client_close, whenever the caller closes his: the peer
 * takes an early end for an error. */
int iperf3_client_connect(struct iperf3_client *client, struct net_end *ends, uint32_t count,
                          struct err *error);

/* Waits for the server's sign to begin; from here on it sends where it is to. */
int iperf3_client_start(struct iperf3_client *client, struct err *error);

/* True where the server has ended the test, or gone; `finish` then says why. */
bool iperf3_client_peer_ended(struct iperf3_client *client);

/* Says that the test is over, so that the server counts no more; what fails here fails in finish.
 */
void iperf3_client_end(struct iperf3_client *client);

/* Ends the test and exchanges results. Nothing may be sent any more. */
int iperf3_client_finish(struct iperf3_client *client, const struct iperf3_side *own,
                         struct err *error);

/* What the server measured; after finish. */
const struct iperf3_side *iperf3_client_peer(const struct iperf3_client *client);

/* What the server printed, where it was asked for and said: text, or JSON where *json; else NULL.
 * After finish. */
const char *iperf3_client_output(const struct iperf3_client *client, bool *json);

/* The test as it is run, with its length resolved; the cookie; the control connection's segment
 * size in bytes. */
const struct iperf3_test *iperf3_client_test(const struct iperf3_client *client);
const char *iperf3_client_cookie(const struct iperf3_client *client);
uint32_t iperf3_client_mss(const struct iperf3_client *client);

/* The server's address, for people. */
const char *iperf3_client_address(const struct iperf3_client *client);

/* Closes everything; a test that is not finished is called off. NULL is allowed. */
void iperf3_client_close(struct iperf3_client *client);

/* What moves the bytes of one test at one end. */
struct iperf3_data_ops {
    /* Prepares a run over these connections, which the caller closes after `end`. */
    int (*begin)(void *owner, const struct iperf3_test *test, bool server,
                 const struct net_end *ends, uint32_t count, void **run, struct err *error);
    /* From here on bytes move. */
    int (*start)(void *run, struct err *error);
    /* Payload bytes that moved since the start, the omitted ones among them; at any time, from the
     * thread that called start. */
    uint64_t (*moved)(void *run);
    /* True once what was to be moved in bytes or blocks has been. */
    bool (*reached)(void *run);
    /* What one connection has moved since the start, the omitted time's among it; at any time
     * until `end`, from the thread that called start. Retransmits are left out. */
    void (*read)(void *run, uint32_t index, struct session_flow *totals);
    /* Nothing moves any more once it has returned; side->flow_count and flows are filled, and what
     * it knows of the CPU. Returns soon. */
    void (*stop)(void *run, struct iperf3_side *side);
    /* Releases the run, stopped or not. */
    void (*end)(void *run);
};

#endif
