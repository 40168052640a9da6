/* One client's run at the serving end: a thread that follows the client's messages and conducts
 * the workload's server. Private to control_server.c, control_run.c and control_run_start.c. */
#ifndef SONDE_RUN_CONTROL_RUN_H
#define SONDE_RUN_CONTROL_RUN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "codec/hello.h"
#include "net/net.h"
#include "run/control_link.h"
#include "run/control_server.h"

struct control_run_config {
    uint16_t port;                    /* where data connections are taken */
    int stop_fd;                      /* readable: the server is closing */
    pthread_mutex_t *lock;            /* of who accepts data connections */
    _Atomic uint64_t *reserved_bytes; /* control_plan_read's */
    /* struct control_server_config's */
    void (*ended)(void *owner, const struct control_session *session);
    void *owner;
};

struct control_run {
    struct control_run_config config;
    struct control_link link;
    struct control_message prepare; /* owned */
    int wake_fd;                    /* eventfd: all data connections have come */
    pthread_t thread;
    _Atomic bool over; /* the thread may be joined */

    /* Data connections. All under the lock. */
    bool token_valid;
    uint8_t token[HELLO_TOKEN_BYTES];
    struct net_end *ends; /* `wanted` of them */
    uint32_t wanted, come;
};

/* Starts the thread: takes link and prepare over and makes a token. NULL with *error; then both
 * stay the caller's. */
struct control_run *control_run_start(struct control_link *link, struct control_message *prepare,
                                      const struct control_run_config *config, struct err *error);
/* Waits for the thread, which ends by itself once it is over or stop_fd is readable. */
void control_run_free(struct control_run *run);

/* Called with the lock held: takes a data connection that names this run. 0, or -1 where its token
 * is another one's, or is used up. */
int control_run_take(struct control_run *run, const struct hello *hello, int fd);

/* For the thread: it takes no further data connection, and closes those that came (the server's
 * process has its own). */
void control_run_refuse_more(struct control_run *run);
void control_run_close_ends(struct control_run *run);
/* The thread; `argument` is the struct control_run. */
void *control_run_thread(void *argument);

#endif
