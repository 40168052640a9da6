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
    uint32_t timer;  /* index in the worker's timer heap, 0: none */
    uint8_t flagged; /* CONNECTION_* */
    uint16_t flow;   /* its number among the worker's, from 0; beyond BANK_FLOWS: it has no flow */
    struct connection *next_flush, *next_resume;
    struct connection *next, *previous; /* all open connections of the worker */
};

#define OUT_OPS 4

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
    struct bank *bank;      /* where to count now; may change between two steps */
    const void *options;    /* the workload's options, resolved */
    void *shared;           /* what `open_worker` returned: shared by the worker's connections */
    bool open_loop;         /* operations come as OP_ARRIVAL */
    bool draining;          /* nothing new may be issued */
    bool sends_at_once;     /* the engine honours OP_TRY */
    uint64_t quota;         /* operations that may still be issued; UINT64_MAX: no end */
    uint32_t receive_bytes; /* size of lent buffers */
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
    /* Most that one connection may come to need: for the plan's check of memory. */
    size_t (*connection_memory)(const void *options);
    /* Makes what the worker's connections share (send patterns, buffer pools), for at most
     * `connections` connections. NULL with *error on failure. */
    void *(*open_worker)(const void *options, uint32_t connections, struct err *error);
    void (*close_worker)(void *shared);
    /* Prepares a zeroed connection; 0 or -errno. */
    int (*open)(struct role_context *context, struct connection *connection);
    /* Handles one completed operation at op->now_ns; asks for the next in context->out. */
    void (*step)(struct role_context *context, struct connection *connection, const struct op *op);
    /* Operations issued and not answered: the drain waits for 0. NULL: never any. */
    uint64_t (*outstanding)(const struct connection *connection);
    /* True where the connection can take an OP_ARRIVAL now. NULL for servers. */
    bool (*can_take)(const struct role_context *context, const struct connection *connection);
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
    const struct metric *metrics; /* over the client role's counters; [0] is the headline */
    size_t metric_count;
    uint32_t operations;   /* counter of finished operations: the divisor of "per operation" */
    uint32_t bytes;        /* counter of payload bytes both ways: the divisor of "per byte" */
    uint32_t send_lag;     /* histogram of how late operations of an open loop were issued */
    uint32_t needs;        /* WORKLOAD_*; 0: it runs over any transport */
    const char *operation; /* "call" */
    const struct metric *server_metrics; /* over the server role's counters */
    size_t server_metric_count;
    const struct role *client, *server;
};

extern const struct workload workload_call;

/* All workloads, NULL-terminated. */
extern const struct workload *const workloads[];

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

#endif
