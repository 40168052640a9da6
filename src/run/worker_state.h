/* The worker's own state, shared by its files and nobody else. */
#ifndef SONDE_RUN_WORKER_STATE_H
#define SONDE_RUN_WORKER_STATE_H

#include "base/timers.h"
#include "run/usage.h"
#include "run/worker.h"

enum {
    CONNECTION_IN_FLUSH = 1,
    CONNECTION_IN_RESUME = 2,
    CONNECTION_DEAD = 4,
    CONNECTION_STARTED = 8,
    CONNECTION_LISTENER = 16,
    CONNECTION_ADMITTED = 32,
    CONNECTION_SECURE = 64,    /* a listener: its connections speak TLS */
    CONNECTION_SECURING = 128, /* the handshake is under way: its role does not know of it yet */
    CONNECTION_DIALING = 256,  /* renewed, and not established yet */
};

struct worker {
    const struct worker_config *config;
    const struct role *role;
    struct engine *engine;
    struct role_context context;
    struct connection *first;          /* open connections */
    struct connection *flush, *resume; /* lists of those that asked */
    struct connection *dead;           /* closed: freed at the end of the round */
    struct connection *spare;          /* for reuse */
    struct connection *turn;           /* open loop: whose turn it is */
    struct connection *sweep;          /* the next one to be started, or drained; NULL: none */
    enum op_kind sweep_kind;           /* OP_START or OP_DRAIN */
    struct connection *listeners;      /* one a listener, never stepped */
    struct op *busy;                   /* operations that the engine had no room for */
    size_t busy_count, busy_capacity;
    struct timers timers;
    struct arrival arrival;
    bool finished;                /* nothing left to do: SLOT_FINISHED */
    bool started, blocked, given; /* given: served connections were handed to it */
    bool session_awaited;         /* the first connection's TLS session, for the others */
    uint32_t phase;
    uint32_t connecting, open;
    uint32_t opened;           /* connections so far: the next one's flow */
    uint32_t renew_below;      /* renewed connections: 0: all were opened before the start */
    uint32_t next_dial;        /* whose turn it is */
    uint32_t *order;           /* of dials that are each dialed once; NULL: they take turns */
    uint64_t dial_after_ns;    /* after one that failed: not before */
    bool throttled;            /* as many are open as may be, and have not fallen below since */
    uint64_t thread_start_ns;  /* for its next connection's thread_ns */
    bool reached;              /* one was established */
    uint32_t unreached;        /* until then: how many were not */
    uint64_t gone_ns;          /* since when none has been established; 0: the latest was */
    struct thread_usage usage; /* of its thread, at the last cut */
    int reserve_fd;            /* given up to refuse a connection when files run out */
    struct err failure;
};

/* Closes the present bank's account of CPU time at now_ns. */
void worker_account(struct worker *worker, struct bank *bank, uint64_t now_ns);

/* Closes the present bank and goes on with the other, as the conductor asked. */
void worker_cut(struct worker *worker, uint64_t now_ns);

/* Feeds a completed operation to its connection and submits what that asks for. */
void worker_feed(struct worker *worker, struct connection *connection, struct op *op);

/* Gives a connection up whose handshake is still under way. number: the errno to be counted; 0:
 * none. */
void worker_give_up_securing(struct worker *worker, struct connection *connection, int number);

/* Engine's deliver. */
void worker_deliver(void *owner, struct op *op);

/* An empty connection around files; takes the files over: on failure they are closed, and *failed
 * is -errno. */
struct connection *worker_new_connection(struct worker *worker, struct net_end end,
                                         enum channel_kind kind, bool secure, int *failed);

/* Of files that somebody else has connected. */
enum channel_kind worker_kind_of(struct net_end end);

/* An OP_CONNECT has completed. */
void worker_connected(struct worker *worker, struct connection *connection, struct op *op);

/* Dials all connections, before the start. 0 or -1 with worker->failure. */
int worker_dial_all(struct worker *worker);

/* Opens what the configuration names: dials, ends, listeners. 0 or -1 with worker->failure. */
int worker_open_all(struct worker *worker);

/* Waits until no more than `most` are being connected: for the connect timeout at most. 0 or -1
 * with worker->failure. */
int worker_await_connects(struct worker *worker, uint32_t most);

/* Renewed connections: whether one may be dialed now, whether as few are in flight that dialing
 * goes on, and dialing all that are missing. */
bool worker_may_dial(const struct worker *worker, uint64_t now_ns);
void worker_look_at_marks(struct worker *worker);
void worker_renew(struct worker *worker, uint64_t now_ns);

/* Opens a socket to dial with, its calls counted like the engine's. The fd, or -1 with the worker's
 * failure. */
int worker_open_socket(struct worker *worker, const struct dial *dial);

/* Each dial is dialed once: begins with all of them. 0 or -1 with worker->failure. */
int worker_order_dials(struct worker *worker);

/* Dials one, which should have been dialed at intended_ns (0: now). False where there was no socket
 * to dial with: it is dialed later, and has not failed. */
bool worker_dial(struct worker *worker, uint64_t intended_ns);

/* A renewed connection was not established in time. */
void worker_give_up(struct worker *worker, struct connection *connection);

/* Whether dialing is held back until another connection has brought a TLS session. */
bool worker_awaits_session(const struct worker *worker, uint64_t now_ns);

/* Its role begins with it. security: of the handshake that it comes from; NULL: there was none. */
void worker_start(struct worker *worker, struct connection *connection,
                  const struct op_security *security, uint64_t now_ns);

/* Hands an operation to the engine; true where it is done. */
bool worker_submit(struct worker *worker, struct op *op);

/* Asks the engine to close it. */
void worker_close_connection(struct worker *worker, struct connection *connection);

/* A connection of a server's: its role begins with it at once or, where it is to be secure, after
 * the handshake. */
void worker_begin(struct worker *worker, struct connection *connection, bool secure);

/* A client's handshake is through: it is served from now on, or never. */
void worker_secured(struct worker *worker, struct connection *connection, const struct op *op);

/* Adds one handshake to what the slot's connections have come to. */
void worker_count_security(struct worker *worker, const struct op_security *done);

/* Why connecting failed, in words, into worker->failure. */
void worker_explain(struct worker *worker, const struct op *op);

/* Frees connections that have been closed and stand on no list. */
void worker_bury(struct worker *worker);

/* Reads what the kernel knows of a TCP connection into its flow, where the role tells connections
 * apart. */
void worker_read_flow(struct worker *worker, const struct connection *connection);

/* Closes everything that is open, as far as the engine completes it within a second. */
void worker_close_all(struct worker *worker);

#endif
