/* A worker: one thread, one engine, its connections, its banks. Client and server ends run the same
 * loop; only the role differs. */
#ifndef SONDE_RUN_WORKER_H
#define SONDE_RUN_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/engine.h"
#include "net/net.h"
#include "net/tls.h"
#include "stats/arrival.h"
#include "workload/workload.h"

/* What the conductor tells all workers of an end, in whatever process. Lies in shared memory. */
enum run_stage { RUN_BEFORE, RUN_WINDOW, RUN_AFTER };

enum run_phase {
    RUN_CONNECT, /* open connections, be ready */
    RUN_GO,      /* work, from start_ns on */
    RUN_DRAIN,   /* issue nothing new */
    RUN_STOP,    /* leave */
};

struct run_control {
    _Alignas(64) _Atomic uint32_t phase; /* enum run_phase */
    _Atomic uint32_t stage; /* enum run_stage; of the cuts that are wanted from now on */
    _Atomic uint64_t start_ns;
    _Atomic uint32_t connections; /* servers: accepted and open, in all workers together */
    _Atomic uint64_t refused;     /* servers: closed at once because of the limit, likewise */
};

enum slot_state {
    SLOT_FREE,     /* no thread */
    SLOT_STARTING, /* its thread opens connections */
    SLOT_READY,
    SLOT_FINISHED,  /* nothing left to do (count reached and answered, or no connection left) */
    SLOT_ENDED,     /* its thread has left; banks[cut_done & 1] holds the rest */
    SLOT_COLLECTED, /* the conductor reads a free slot */
};

/* What a worker and the conductor share: cuts and banks. The worker writes bank cut_done & 1; when
 * cut_wanted is ahead it closes that bank and goes on with the other, so the conductor may read
 * (and must clear) the closed one before it asks for the next cut. Lies in zeroed shared memory. */
/* What TLS did on a slot's connections, since the beginning. Written by the slot's worker alone and
 * read by the conductor when that has nothing more to secure. */
struct slot_security {
    bool begun;                             /* the histograms have been cleared */
    uint64_t handshakes, resumed, verified; /* finished ones; of them */
    char version[16], cipher[48];           /* of the latest */
    struct histogram connect_time, handshake_time;
};

struct worker_slot {
    _Alignas(64) _Atomic uint32_t cut_wanted;
    _Alignas(64) _Atomic uint32_t cut_done;
    _Atomic uint32_t state;        /* enum slot_state */
    _Atomic uint32_t served;       /* threads that have become ready in it, one after the other */
    _Atomic uint32_t open;         /* connections open now */
    _Atomic uint64_t outstanding;  /* after the drain: operations never answered */
    _Atomic uint64_t finished_ns;  /* when SLOT_FINISHED was reached */
    _Atomic uint64_t behind;       /* open loop: arrivals due and not issued at the drain */
    bool late;                     /* the conductor's: it did not cut in time before */
    struct err failure;            /* valid once state is SLOT_FINISHED or SLOT_ENDED */
    struct slot_security security; /* its head lies in the page that is touched anyway */
    struct bank banks[2];
};

/* Where a client's connection comes from: an address to connect to, or a ready end. */
struct dial {
    const struct address *address;         /* NULL: `end` is connected already */
    const struct sockaddr_storage *source; /* bind here first; NULL: no */
    struct net_end end;
};

struct worker_config {
    const struct engine_ops *engine;
    const struct role *role;
    const void *options; /* the workload's */
    struct run_control *control;
    struct worker_slot *slot;
    struct net_tuning tuning;
    uint32_t receive_bytes;
    uint32_t receive_mode;   /* enum uring_receive */
    bool busy_poll;          /* never wait for a completion */
    uint8_t channel_options; /* CHANNEL_SEGMENTS and others, of every connection's channel */
    /* TLS: of dials to a TRANSPORT_SECURE, and of the connections of listeners or ends that are
     * named so below; NULL: there are none. */
    struct tls_context *client_tls, *server_tls;
    int cpu; /* to pin to; -1: not pinned */
    /* Client: */
    const struct dial *dials;
    uint32_t dial_count;
    uint32_t first_number; /* of the first dial, among all of the run */
    uint32_t dials_in_all; /* of all workers; scheduled arrivals are dealt out by dials */
    bool foreign_peer;     /* the server is not sonde's */
    bool greeted;          /* struct role_context's; server: first_number is that of ends[0] */
    bool ends_apart;       /* it is told of the end of a stream by other means */
    uint64_t quota;        /* operations to issue (bulk: bytes to move); UINT64_MAX: no end */
    double rate;           /* open loop: operations/s of all workers; 0: closed loop */
    const struct rate_course *course; /* of which that is the highest; NULL: it does not change */
    uint64_t course_after_ns;         /* when it begins, from the start on */
    enum arrival_kind arrival;
    uint32_t send_lag;       /* histogram of how late arrivals were issued */
    uint32_t index, workers; /* this worker among all */
    uint64_t seed;
    uint64_t connect_timeout_ns;
    bool dials_on;            /* struct run_options' */
    uint64_t thread_start_ns; /* how long the call took that started its thread; known once it is
                                 told to go */
    bool follows;             /* an earlier worker of its process makes the first connection */
    /* Server: */
    const int *listeners; /* non-blocking, taken over: listening sockets, and bound ones of
                             datagrams, each of which is one connection to all its peers */
    uint32_t listener_count;
    uint64_t secure_listeners;  /* bit i: the connections of listeners[i] speak TLS */
    bool secure_ends;           /* the given ends do, and are the server's */
    const struct net_end *ends; /* connected pairs, taken over */
    uint32_t end_count;
    bool await_go; /* the given ends start with RUN_GO, like a client's */
    uint32_t connections_max;
    _Atomic uint32_t *connections; /* open in all workers together; counted against the limit */
    _Atomic uint64_t *refused;     /* those beyond it; there where `connections` is */
    /* Servers whose engine takes one channel hand each accepted file over. NULL: serve it here.
     * Datagrams are always served here. */
    void (*accepted)(void *owner, int fd, bool secure);
    void *owner;
};

/* Runs a worker on the calling thread until RUN_STOP (server: or, with one given connection, until
 * that is closed). Everything it has to say is in the slot. `config` must outlive it. */
void worker_run(const struct worker_config *config);

#endif
