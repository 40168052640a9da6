/* Options that every workload shares. */
#ifndef SONDE_RUN_OPTIONS_H
#define SONDE_RUN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/opt.h"
#include "net/net.h"
#include "probe/probe.h"
#include "stats/rate_course.h"

/* What the sockets of clients and servers have in common. */
struct wire_options {
    uint64_t receive_bytes;
    uint32_t uring_receive; /* enum uring_receive */
    bool nodelay;
    const char *congestion; /* NULL: the kernel's default */
    bool busy_poll;         /* spin instead of waiting */
    /* Of bulk workloads, at both ends: */
    uint64_t window_bytes; /* SO_SNDBUF and SO_RCVBUF; 0: the kernel's default */
    uint64_t mss;          /* TCP_MAXSEG; 0: the kernel's */
    uint32_t dscp_plus_1;  /* 0: none */
};

/* TLS, of targets and addresses that speak it. */
struct tls_options {
    uint32_t versions;   /* index in the row's choices: tls_versions */
    const char *ciphers; /* NULL: OpenSSL's own */
    bool resume;
    /* Client: */
    bool insecure;
    const char *authorities; /* a file; NULL: the system's */
    const char *server_name; /* NULL: the target's host */
    /* sonde serve: */
    const char *certificate, *key; /* files; NULL: a self-signed one */
};

/* What is looked at, and how. */
struct watch_options {
    struct opt_list observe; /* whom */
    struct opt_list probes;  /* with what: names of probes; several take turns */
    bool require, follow;
    struct probe_options probe;
};

struct run_options {
    uint64_t connections, threads;
    uint64_t workers; /* processes, with `threads` in each; 0: one */
    uint64_t duration_ns, warmup_ns, interval_ns, drain_ns;
    uint64_t cooldown_ns;      /* after the window, goes on so long and discards that; no row */
    uint64_t count;            /* operations (bulk: bytes) in all; 0: by duration */
    double rate;               /* open loop; 0: closed, or by course */
    struct rate_course course; /* open loop whose rate changes; count 0: it does not */
    uint32_t arrival;
    uint64_t seed;
    struct opt_list engines;
    struct wire_options wire;
    struct tls_options tls;
    uint64_t socket_buffer_bytes;
    const char *sources;
    const char *secret; /* a file; NULL: none */
    uint64_t connect_timeout_ns;
    bool dials_on; /* renewed connections: one that cannot be established, be it the first, is one
                      that failed like any other, and dialing goes on at once; no row */
    bool pin;
    const char *cpus, *server_cpus; /* lists of CPUs; NULL: by `pin` */
    struct watch_options watch;
    /* sonde's own server */
    const char *server_engine; /* NULL: the client's */
    uint64_t server_threads;
};

enum {
    RUN_OPTIONS_LOAD = 5,
    RUN_OPTIONS_COURSE = 6,
    RUN_OPTIONS_WIRE = 10,
    RUN_OPTIONS_WIRE_ALONE =
        9, /* of workloads that speak no sonde://: all but --secret, the last */
    BULK_OPTIONS_WIRE = 9,
    WIRE_OPTIONS = 5,
    BULK_OPTIONS = 8,
    TLS_CLIENT_OPTIONS = 6,
    TLS_SERVER_OPTIONS = 5,
    WATCH_OPTIONS = 4
};
extern const struct opt run_load_rows[RUN_OPTIONS_LOAD];     /* how much */
extern const struct opt run_course_rows[RUN_OPTIONS_COURSE]; /* how long */
extern const struct opt run_wire_rows[RUN_OPTIONS_WIRE];     /* through what */
extern const struct opt
    run_blocking_rows[RUN_OPTIONS_WIRE];         /* the same, by default --engine threads */
extern const struct opt wire_rows[WIRE_OPTIONS]; /* over struct wire_options */
/* The same with other defaults, for workloads that move bulk: */
extern const struct opt bulk_run_rows[BULK_OPTIONS_WIRE];
extern const struct opt bulk_wire_rows[BULK_OPTIONS];        /* over struct wire_options */
extern const struct opt tls_client_rows[TLS_CLIENT_OPTIONS]; /* over struct tls_options */
extern const struct opt tls_server_rows[TLS_SERVER_OPTIONS]; /* over struct tls_options */
extern const struct opt watch_rows[WATCH_OPTIONS];           /* over struct watch_options */

struct workload;

/* What these options, and the workload by its own, ask of every socket at both ends, and which
 * CHANNEL_* options of every channel. What only the network's sockets have (`network`) is asked of
 * no other: a workload's options hold for whatever transport it is run over. */
void wire_tuning(const struct wire_options *options, const struct workload *workload,
                 const void *workload_options, bool network, struct net_tuning *tuning,
                 uint8_t *channel_options);

/* enum TLS_* of net/tls.h: which versions the options allow. */
uint32_t tls_versions(const struct tls_options *options);

/* Operations or, where each arrival begins several, arrivals a second of an open loop: the rate, or
 * the highest of its course; 0: a closed loop. */
static inline double run_rate_most(const struct run_options *options)
{
    return options->course.count ? options->course.highest : options->rate;
}

/* What stood on the command line. */
struct run_given {
    bool warmup, duration, interval;
};

/* Checks options against each other, and fits those that follow from others. `counted`: the option
 * that sets count, for errors. */
int run_options_check(struct run_options *options, struct run_given given, const char *counted,
                      struct err *error);

#endif
