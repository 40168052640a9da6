/* The session seam: what the two programs of a run say to each other beside the measured
 * connections. A session agrees with the peer on what is to be done, makes the connections that the
 * client's workers then use, keeps both ends' starts and ends together, and brings the peer's side
 * of the result. A plan without a session connects by itself and knows nothing of a foreign peer.
 *
 * One file (or group of files) in run/ and a line in SESSIONS. */
#ifndef SONDE_RUN_SESSION_H
#define SONDE_RUN_SESSION_H

#include "base/err.h"
#include "net/net.h"
#include "report/record.h"
#include "run/collect.h"
#include "run/run.h"

struct session; /* each kind's own state */

enum { SESSION_NOTE = 200 };

struct session_config {
    const struct run_plan *plan; /* workload, its options, run options; outlives the session */
    struct record *record;       /* for warnings, and what the peer's machine is */
    const char *target;          /* what stands behind "SCHEME://": HOST:PORT, or HOST */
    int stop_fd; /* readable when the user wants to end; -1: none. Whatever waits for
                    the peer watches it too (ERR_INTERRUPTED) */
};

/* What this side measured in the window, for a peer that wants to know. */
struct session_own {
    uint64_t window_ns;       /* unobserved time of the window */
    const uint64_t *counters; /* the client's, in it (BANK_COUNTERS) */
    uint64_t operations;      /* of the workload in it */
    uint64_t flow_count;
    const struct session_flow *flows; /* of the client's connections, in the order of connect; all
                                         since the warm-up, observed or not */
    uint64_t flows_ns;                /* that they cover: until nothing moved any more */
};

/* One connection's share, as either side counted it. */
struct session_flow {
    uint64_t bytes;
    uint64_t messages, lost, out_of_order; /* datagrams; 0 for streams */
    double jitter_ns;     /* of a receiver of datagrams (RFC 3550, section 6.4.1) */
    uint64_t retransmits; /* of a TCP sender; UINT64_MAX: not known */
};

/* What the peer's server counted: its side of figures that belong to both ends. */
struct session_totals {
    struct tally *plain, *seen; /* unobserved and observed parts of the window */
    uint64_t *whole;            /* BANK_COUNTERS, since its first connection */
    pid_t pid;                  /* there */
    bool same_host;             /* its CPU time is this machine's too */
};

/* To which sum a part of the window belongs. */
enum session_part { SESSION_NONE, SESSION_PLAIN, SESSION_SEEN };
/* What becomes of the gate of the peer's probes with a cut. */
enum session_gate { SESSION_GATE_KEEP, SESSION_GATE_OPEN, SESSION_GATE_CLOSE };

/* Every function waits at most for a bounded time and gives -1 with *error: ERR_PROTOCOL (subject:
 * the peer's address) where the peer does not keep to the protocol, ERR_SYSTEM where it is not to
 * be reached or went away. */
struct session_ops {
    const char *scheme; /* "iperf3" */
    const char *form;   /* "iperf3://HOST[:PORT]" */
    const char *help;
    bool datagrams;  /* the data connections carry datagrams */
    bool own_server; /* the peer's end is sonde's own: options of its server have an effect */
    /* The peer knows nothing of sonde's own on the data connections: nothing is said there but
     * payload, and none of them is ended: `finish` tells the peer of the end. */
    bool foreign;
    /* Checks and adapts options before anything else looks at them: ERR_USAGE, by name, with what
     * cannot be said to the peer; *note: what the user should know of it ("" : nothing). May be
     * NULL. */
    int (*settle)(const struct workload *workload, void *workload_options,
                  struct run_options *options, bool given_warmup, char note[SESSION_NOTE],
                  struct err *error);
    /* Reaches the peer and agrees on the test. */
    int (*open)(struct session **session, const struct session_config *config, struct err *error);
    /* Makes the data connections: `count` of them, connected, non-blocking, tuned, ready to be
     * used. Those made before a failure are closed. */
    int (*connect)(struct session *session, struct net_end *ends, uint32_t count,
                   struct err *error);
    /* Both sides begin. `reverse` of a plan: the peer sends from here on. */
    int (*start)(struct session *session, struct err *error);
    /* True where the peer has ended the test or gone; looked at now and then. May be NULL. */
    bool (*peer_ended)(struct session *session);
    /* A part of the window has just ended (or, SESSION_NONE, what is to count begins): the peer
     * closes its sums too. Does not wait. NULL: the peer keeps no sums of parts. */
    void (*cut)(struct session *session, enum session_part part, enum session_gate gate);
    /* The probes that take turns at the peer: how many, and their names. NULL: never any. */
    size_t (*probe_count)(const struct session *session);
    const char *(*probe_name)(const struct session *session, size_t index);
    /* Attaches a probe at the peer (NULL: none), in place of what was. */
    int (*attach)(struct session *session, const char *probe, struct err *error);
    /* What this side counted in the observed part that was just cut, and how long that was; what it
     * finished in a block's parts. */
    void (*seen)(struct session *session, const uint64_t *counters, uint64_t window_ns);
    void (*block)(struct session *session, const char *probe, uint64_t plain_operations,
                  uint64_t plain_ns, uint64_t seen_operations, uint64_t seen_ns);
    /* Returns once the peer has done what it was told so far: the client's connections go on
     * meanwhile, so that its last part ends under load too. NULL: there is nothing to wait for. */
    int (*sync)(struct session *session, struct err *error);
    /* Nothing moves any more at this end: what the peer counts may end. May be NULL. */
    void (*stop)(struct session *session);
    /* The drain is over: ends the test and exchanges results, before anything else is done: a peer
     * may count its time until then. */
    int (*finish)(struct session *session, const struct session_own *own, struct err *error);
    /* After a finish that went well: payload that the peer received and over what time, and what
     * this end sent of it; false where it does not say. For peers without totals. May be NULL. */
    bool (*arrived)(const struct session *session, uint64_t *bytes, uint64_t *sent,
                    uint64_t *duration_ns);
    /* What the peer's server counted, after a finish that went well and before the run's own side
     * is filled, into empty tallies. NULL: the peer does not say. */
    int (*totals)(struct session *session, struct session_totals *totals, struct err *error);
    /* Adds the peer's side to the run: processes, metrics, tables; the run's own side is
     * filled. Called after a finish that went well. */
    int (*fill)(struct session *session, struct record_run *run, struct err *error);
    void (*close)(struct session *session); /* NULL is allowed */
};

/* All sessions: one line each. */
#define SESSIONS(X)                                                                                \
    X(sonde)                                                                                       \
    X(sonde_udp)                                                                                   \
    X(iperf3)                                                                                      \
    X(iperf3_udp)

#define X(name) extern const struct session_ops session_##name;
SESSIONS(X)
#undef X

/* The same, NULL-terminated. */
extern const struct session_ops *const sessions[];

/* The session that a target's scheme names, with *rest set behind "://"; NULL where it names none.
 */
const struct session_ops *session_find(const char *url, const char **rest);

#endif
