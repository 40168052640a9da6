/* The workload seam: both ends of a workload as connection state machines without I/O. The worker
 * (run/) feeds completed operations into `step`, which answers with operations to submit. */
#ifndef SONDE_WORKLOAD_WORKLOAD_H
#define SONDE_WORKLOAD_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/opt.h"
#include "engine/engine.h"
#include "net/net.h"
#include "stats/metric.h"
#include "workload/bank.h"

/* A connection. A role embeds it at the head of its own state. Everything here is the worker's,
 * except `channel`, which is the engine's. */
struct connection {
    struct channel channel;
    uint32_t timer;   /* index in the worker's timer heap, 0: none */
    uint16_t flagged; /* CONNECTION_* */
    uint16_t flow;    /* its number among the worker's, from 0; beyond BANK_FLOWS: it has no flow */
    uint32_t drops;   /* datagrams that its socket had no room for, when it was last looked at */
    uint64_t dialed_ns; /* client: when its socket was about to be made; of a role that redials 0
                           where that was before the start */
    uint32_t socket_ns, set_up_ns; /* client: how long making the socket took, and from there until
                                      connecting was begun; at most 4.29 s */
    uint32_t thread_ns;   /* of a connection that has a thread alone: how long the call took that
                             started it; 0 once another has had it */
    uint64_t intended_ns; /* when it should have been: earlier in an open loop that is behind */
    uint64_t tcp_connected_ns; /* CHANNEL_SECURE, once it is being closed; 0: it never was */
    struct connection *next_flush, *next_resume;
    struct connection *next, *previous; /* all open connections of the worker */
};

#define OUT_OPS 4

/* A role with renew_below has no connections at first. The worker dials them while it runs, each to
 * one of its dials in turn, as long as there is a quota; a connection is its role's from OP_START
 * (at the instant when it was established) to the OP_CLOSE that the role asks for. One that cannot
 * be established is counted by phase and errno, and in a closed loop the worker pauses for a
 * millisecond. One that got no socket is an error and no connection yet. In an open loop an arrival
 * dials, and none goes to `can_take`. Where the role says `once`, there is one connection of each
 * dial, and what has become of it is final. */

/* What a step asks for. The worker clears it before each step. */
struct step_out {
    struct op ops[OUT_OPS];
    uint32_t count;
    bool flush;     /* step me with OP_FLUSH just before the loop waits */
    bool resume;    /* step me with OP_RESUME after the loop has been entered once */
    bool set_timer; /* step me with OP_TIMER at timer_ns (replaces an earlier one; 0: none) */
    uint64_t timer_ns;
};

/* What a role's functions see of their worker. */
struct role_context {
    struct bank *bank;     /* where to count now; may change between two steps */
    const void *options;   /* the workload's options, resolved */
    void *shared;          /* what `open_worker` returned: shared by the worker's connections */
    bool open_loop;        /* operations come as OP_ARRIVAL */
    bool draining;         /* nothing new may be issued */
    bool foreign_peer;     /* the other end is not sonde's: it speaks nothing of sonde's own */
    bool greeted;          /* a session's hello has been said on each connection: no other is, and
                              a server's connections have their numbers from first_number on */
    bool ends_apart;       /* who is told of the end by other means: a connection is not ended */
    uint32_t first_number; /* client, or greeted: of its first connection, among all of the run */
    bool sends_at_once;    /* the engine honours OP_TRY */
    bool sends_files;      /* it honours op->file, of channels that are not CHANNEL_SECURE */
    uint64_t measured_from_ns;  /* the window, once it has begun; before: 0 */
    uint64_t measured_until_ns; /* once it has ended; before: 0 */
    uint64_t quota;             /* operations that may still be issued; UINT64_MAX: no end */
    uint32_t receive_bytes;     /* size of lent buffers */
    uint32_t settled; /* renewed connections that are open and count no more against the worker's
                         most and renew_below: the role's own account of them */
    struct step_out out;
};

/* One end of a workload. */
struct role {
    size_t connection_bytes;                   /* of the struct that embeds struct connection */
    const struct histogram_metric *histograms; /* BANK_HISTOGRAMS at most */
    size_t histogram_count;
    uint32_t refused_counter; /* servers: counts connections refused because it is full */
    uint32_t
        flow_counters; /* of each connection, FLOW_COUNTERS at most; 0: they are not told apart */
    uint32_t drops_counter; /* datagrams: counts what its sockets had no room for; 0: not counted */
    /* Most that one connection may come to need: for the plan's check of memory. */
    size_t (*connection_memory)(const void *options);
    /* What open_worker makes. NULL: next to nothing. */
    size_t (*worker_memory)(const void *options);
    /* Makes what the worker's connections share (send patterns, buffer pools), for at most
     * `connections` connections. NULL with *error on failure. */
    void *(*open_worker)(const void *options, uint32_t connections, struct err *error);
    void (*close_worker)(void *shared);
    /* Prepares a zeroed connection; 0 or -errno. Where connections are renewed, each is an
     * operation, which `open` takes off the quota. */
    int (*open)(struct role_context *context, struct connection *connection);
    /* Handles one completed operation at op->now_ns; asks for the next in context->out. */
    void (*step)(struct role_context *context, struct connection *connection, const struct op *op);
    /* Operations issued and not answered: the drain waits for 0. NULL: never any. */
    uint64_t (*outstanding)(const struct connection *connection);
    /* True where the connection can take an OP_ARRIVAL now. NULL for servers. */
    bool (*can_take)(const struct role_context *context, const struct connection *connection);
    /* Clients whose connections come and go (below); NULL: all are opened before the start. Of a
     * worker with so many at most: it dials until they are open, and then again once fewer than
     * what is returned are. */
    uint32_t (*renew_below)(const void *options, uint32_t most);
    /* It records how long the TLS handshakes of its connections took by itself, as OP_START says it
     * (op->security), so that those are of the window like everything else. */
    bool times_security;
    bool once;    /* renewed ones: never again; the run ends once all are gone */
    bool redials; /* all are opened before the start and take arrivals, as without renew_below, but
                     from then on one that has ended is dialed again, as with it */
    uint32_t throttled_counter, resumed_counter; /* it reached the most; it fell below */
    uint32_t undialed_counter; /* connections that were dialed and never established */
    /* Releases what open allocated; called once nothing more comes for the connection. */
    void (*close)(struct role_context *context, struct connection *connection);
};

/* What a workload needs of its transport. */
enum {
    WORKLOAD_STREAM = 1,    /* bytes in order, none lost */
    WORKLOAD_DATAGRAMS = 2, /* messages that stay apart (TRANSPORT_DATAGRAMS) */
};

struct workload {
    const char *name;
    const char *summary; /* one line, for the list of commands */
    const struct opt *options;
    size_t option_count, options_bytes;
    /* Options of sonde's own server alone, over a part of the same struct; may be none. */
    const struct opt *server_options;
    size_t server_option_count, server_options_offset;
    /* Checks options against each other once they are parsed. */
    int (*check)(void *options, uint64_t receive_bytes, struct err *error);
    /* Takes its own part off the head of a target ("sockperf+") into the options, before they are
     * checked, and returns the rest. NULL: there is no such part. */
    const char *(*take_target)(void *options, const char *target);
    /* Asks for socket settings and CHANNEL_* options by its own options, for both ends. Settings
     * that a transport does not have are taken back by the run. NULL: it asks for none. */
    void (*tune)(const void *options, struct net_tuning *tuning, uint8_t *channel_options);
    /* Refuses engines or a transport that cannot do what the options ask for, before anything
     * starts. client: NULL at a server, which knows nothing of it; server: NULL where it is not
     * sonde's own. NULL: all can. */
    int (*fits)(const void *options, const struct engine_ops *client,
                const struct engine_ops *server, const struct transport_ops *transport,
                struct err *error);
    /* False for a metric of something that a run with these options does not do, such as a
     * direction that is not used: it is left out. NULL: there is none. */
    bool (*has)(const void *options, const struct metric *metric, bool server);
    /* Operations that one arrival of an open loop begins. NULL: one. */
    uint64_t (*operations_per_start)(const void *options);
    const struct metric *metrics; /* over the client role's counters; [0] is the headline */
    size_t metric_count;
    uint32_t operations;   /* counter of finished operations: the divisor of "per operation" */
    uint32_t bytes;        /* counter of payload bytes both ways: the divisor of "per byte" */
    uint32_t whole_bytes;  /* counter of payload bytes of finished operations alone; 0: none */
    uint64_t kept;         /* bit i: counter i also counts what the drain after the window brings */
    uint64_t whole;        /* bit i: counter i counts in all parts of the window, also in those
                              that are observed or discarded between them */
    uint64_t server_whole; /* likewise of sonde's own server's, from the beginning of the run to the
                              end of its drain: what its connections did, as the client keeps it */
    uint64_t kept_by_issue; /* bit i: counter i counts what was issued in the window, however late
                               it is known: also in a stretch after it that is not measured */
    uint32_t send_lag;      /* histogram of how late operations of an open loop were issued */
    uint32_t needs;         /* WORKLOAD_*; 0: it runs over any transport */
    const char *operation;  /* "call" */
    /* Its connections are dialed in this time, evenly spaced, from the beginning of the window on
     * (a role that says `once`), and held until its end: there is no warm-up, no --rate and no
     * --count. A run in which fewer are held at the end has failed. The first metric is their
     * METRIC_LEVEL. NULL: nothing of this. */
    uint64_t (*ramp_ns)(const void *options, uint64_t connections);
    const struct metric *server_metrics; /* over the server role's counters */
    size_t server_metric_count;
    const struct role *client, *server;
    /* Completes the client's counters of a part by what sonde's own server counted in it (NULL:
     * the server is not sonde's, or it is not known yet). scale: the client's measured time over
     * the server's. Sets what it completes, so that it can be called again. May be NULL. */
    void (*join)(const void *options, uint64_t *client, const uint64_t *server, double scale);
    /* Its headline is a rate of bytes: no operations to be compared with a ceiling, quotas are in
     * bytes, CPU time is given for each GiB, and what is sent has to arrive. */
    bool bulk;
    bool may_be_long;  /* an operation may take longer than any drain: where bytes still came in it,
                          what is unfinished is a figure and no failure */
    bool lossy;        /* bulk: what is lost is a figure and no error */
    bool own_protocol; /* a peer has to speak it from the first byte on: neither a session nor the
                          null engine serves it */
    double (*asked)(
        const void *options);            /* bulk: bytes per second asked for; NULL or 0: no limit */
    uint32_t sent_bytes, received_bytes; /* bulk: counters of both roles */
    uint32_t arrived_bytes; /* bulk: client's counter of what arrived of sent_bytes, as far as this
                               end can tell; set by the run before `join` without a server */
    const char *flow;       /* what a connection is called in tables: "stream" */
    const struct metric *flow_metrics; /* over a connection's own counters (flow_counters); the
                                          first is of what this end sent */
    size_t flow_metric_count;
};

extern const struct workload workload_call, workload_ping, workload_stream,
    workload_stream_datagrams, workload_ws, workload_ws_hold, workload_ws_messages, workload_http,
    workload_http_single;

/* All workloads, NULL-terminated. */
extern const struct workload *const workloads[];

/* Operations that one arrival of an open loop begins: one, where the workload does not say. */
uint64_t workload_operations_per_start(const struct workload *workload, const void *options);

/* Refuses an address whose transport is not what the workload needs (ERR_USAGE, with the forms of
 * those that are). */
int workload_check_transport(const struct workload *workload, const struct address *address,
                             struct err *error);

/* Appends an operation to what a step asks for and returns it for its fields to be set. */
static inline struct op *step_submit(struct role_context *context, struct connection *connection,
                                     enum op_kind kind)
{
    struct op *op = &context->out.ops[context->out.count++];
    *op = (struct op){.kind = kind, .channel = &connection->channel};
    return op;
}

/* Where a step counts for one connection alone; NULL where it has no flow. number: the
 * connection's, among all of the run, at either end. A role whose one connection stands for all its
 * peers gives each a place of its own. */
static inline struct bank_flow *step_flow_at(struct role_context *context, uint32_t place,
                                             uint32_t number)
{
    if (place >= BANK_FLOWS) {
        return NULL;
    }
    struct bank *bank = context->bank;
    struct bank_flow *flow = &bank->flows[place];
    flow->number_plus_1 = number + 1;
    bank->flow_count = bank->flow_count > place ? bank->flow_count : place + 1;
    return flow;
}

static inline struct bank_flow *step_flow(struct role_context *context,
                                          const struct connection *connection, uint32_t number)
{
    return step_flow_at(context, connection->flow, number);
}

#endif
