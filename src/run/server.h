/* A server: workers around a server role, in this process. `sonde serve` runs it in the foreground,
 * a workload without a TARGET in a child process (server_spawn). */
#ifndef SONDE_RUN_SERVER_H
#define SONDE_RUN_SERVER_H

#include <sys/types.h>

#include "run/placement.h"
#include "run/processes.h"
#include "run/worker.h"

/* Connections that may wait to be accepted, as far as the kernel allows it. */
enum { SERVER_BACKLOG = 4096 };

struct server_config {
    const struct engine_ops *engine;
    const struct role *role;
    const void *options;
    struct run_control *control;     /* shared */
    struct worker_slot *slots;       /* shared, zeroed: see server_slots */
    uint32_t slot_count, first_slot; /* of all of the server's: the index of slots[0] */
    uint32_t threads;
    const int *listeners; /* `threads` of them for each address, address by address */
    uint32_t listener_count;
    struct address *addresses; /* server_spawn_all: what its processes listen to */
    uint32_t address_count;
    struct tls_context *tls;    /* of the addresses that are secure; NULL: none is */
    uint64_t secure_addresses;  /* bit i: connections to the i-th address speak TLS */
    const struct net_end *ends; /* connected pairs */
    uint32_t end_count;
    const struct net_end *foreign; /* the other ends: a child closes them */
    uint32_t foreign_count;
    bool close_others;        /* a child closes every file but these and the standard ones */
    uint32_t connections_max; /* in all */
    struct net_tuning tuning;
    uint32_t receive_bytes, receive_mode;
    bool greeted, await_go;      /* struct worker_config's */
    bool busy_poll;              /* never wait for a completion */
    uint8_t channel_options;     /* of every connection's channel */
    const struct cpu_list *cpus; /* of the threads, in turn; NULL: not pinned */
};

/* How many slots a server needs. A bound socket of datagrams is a listener, its peers are no
 * connections. */
uint32_t server_slots(const struct engine_ops *engine, uint32_t threads, uint32_t listeners,
                      uint32_t connections_max);

/* Serves until control->phase is RUN_STOP (RUN_DRAIN first finishes what is being answered).
 * Blocks. 0, or -1 with *error where a worker could not start or failed. Takes the files over. */
int server_run(const struct server_config *config, struct err *error);

/* Runs it in a child process. Returns its pid, or -1 with *error. The child ends with its parent;
 * the parent ends it with server_stop. */
pid_t server_spawn(const struct server_config *config, struct err *error);

/* Runs it in processes->count child processes: `all` is the whole server, each of them gets its
 * share of threads and slots, listeners of its own at all->addresses (which are updated), and
 * closes every other file. Connected pairs have one process. This process has the listeners of one
 * of them at a time, and none on return: as many as it may open need not be enough for all. 0, or
 * -1 with *error; processes->pids are those that were started. */
int server_spawn_all(const struct server_config *all, struct processes *processes,
                     struct err *error);

/* Asks the child to stop (control), waits for it up to ten seconds, then kills it. 0 where it left
 * in order. Nothing happens where pid <= 0. */
int server_stop(pid_t pid, struct run_control *control, struct err *error);

/* One listening socket a thread for each address (SO_REUSEPORT, or the same socket again where the
 * transport has no such thing), tuned: what is set here, accepted sockets inherit. *listeners is
 * malloc'ed; addresses are updated (port 0, an abstract name of the kernel's). reuse: others of
 * this server's listen there as well. */
int server_listen(struct address *addresses, uint32_t address_count, uint32_t threads, bool reuse,
                  int backlog, const struct net_tuning *tuning, int **listeners, struct err *error);

#endif
