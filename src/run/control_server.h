/* The serving end of the control channel: clients ask for a workload's server, each gets one in a
 * process of its own, and afterwards what that one measured.
 *
 * One thread looks after everybody who has not yet said what he wants, and never waits for anyone;
 * who has gets a thread (control_run.c). */
#ifndef SONDE_RUN_CONTROL_SERVER_H
#define SONDE_RUN_CONTROL_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "net/net.h"
#include "net/tls.h"

struct control_server;

enum { CONTROL_CLIENTS_MOST = 256, CONTROL_LISTENERS_MOST = 32 };

/* Files that it makes use of beside its clients' data connections: with fewer it serves fewer at a
 * time, and with less than the least it is not worth starting. */
enum { CONTROL_SERVER_FILES = 2048, CONTROL_SERVER_FILES_LEAST = 64 };

/* One client's session, once it is over. */
struct control_session {
    const char *peer;                          /* "client 127.0.0.1:4711" */
    const char *workload, *transport, *engine; /* as it asked for them */
    uint32_t connections;
    uint64_t duration_ns; /* from its start; 0: it came to none */
    /* Of one that finished, from its first connection to the end: payload of streams, or what the
     * workload's server counts. */
    uint64_t received_bytes, sent_bytes;
    uint64_t count;
    const char *counted;       /* what `count` counts, as a metric's title; NULL: nothing */
    const char *operation;     /* of what: "ping" */
    const struct err *failure; /* NULL: it finished */
};

struct control_server_config {
    const struct tls_secret *secret; /* NULL: none, and loopback only; outlives the server */
    uint32_t connections_most;       /* of all clients together */
    uint32_t files_most;             /* that it may take beside them */
    _Atomic bool *failed;            /* becomes true where it cannot go on; close says why */
    /* Called from any thread; NULL: nobody is told. Somebody was not served, and why; a session is
     * over. */
    void (*refused)(void *owner, const struct err *why);
    void (*ended)(void *owner, const struct control_session *session);
    void *owner;
};

/* "HOST:PORT" behind sonde:// as a place to listen on. A place that other hosts can reach is
 * refused where there is no secret. address->text becomes sonde://HOST:PORT. */
int control_address_parse(const char *rest, const struct tls_secret *secret, bool to_listen,
                          struct address *address, struct err *error);

/* Listens on the addresses (updated: port 0) and starts the thread. */
int control_server_open(struct control_server **server, const struct control_server_config *config,
                        struct address *addresses, uint32_t address_count, struct err *error);
/* Ends every run that is going on and frees everything; NULL is allowed. -1 with *error where it
 * had ended by itself. */
int control_server_close(struct control_server *server, struct err *error);

#endif
