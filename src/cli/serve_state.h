/* What the files of `sonde serve` share. */
#ifndef SONDE_CLI_SERVE_STATE_H
#define SONDE_CLI_SERVE_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/output.h"
#include "cli/serve.h"
#include "cli/serve_control.h"
#include "cli/serve_iperf3.h"
#include "run/options.h"
#include "run/processes.h"
#include "run/security.h"
#include "run/server.h"
#include "workload/call.h"
#include "workload/http.h"
#include "workload/ping.h"
#include "workload/ws.h"

enum { LISTEN_MAX = 32 };

struct serve_options {
    uint32_t engine; /* index in engines[] */
    uint64_t threads, connections_max;
    uint64_t workers; /* processes, with `threads` in each; 0: one */
    struct wire_options wire;
    struct tls_options tls;
    uint64_t duration_ns;
    const char *secret; /* a file; NULL: none */
    bool quiet;         /* no line for each session */
};

/* What a server does with what it receives. One process serves one kind: its figures are then of
 * one thing. */
struct service {
    const char *prefix; /* of its addresses */
    const char *does;   /* to what it receives */
    const struct role *role;
    const struct metric *metrics;
    size_t metric_count;
    size_t options_offset; /* of its role's options, in struct serving */
    /* A protocol that has schemes of its own beside the prefix: */
    const char *plain, *secure; /* "ws" over TCP, "wss" over TLS; NULL: it has none */
    const char *name;           /* "WebSocket" */
    int (*why_not)(char *reason, size_t size); /* NULL: it is always there */
};

/* Everything that a serving process holds. */
struct serving {
    struct serve_options options;
    struct call_options echo;
    struct ping_options ping;
    struct ws_options ws;
    struct http_options http;
    const struct service *service; /* NULL: no address has said it yet */
    struct output_options output;
    const struct serve_hooks *hooks; /* NULL: none */
    struct address addresses[LISTEN_MAX];
    uint32_t address_count;
    struct address controls[LISTEN_MAX]; /* sonde:// */
    uint32_t control_count, control_files;
    struct serve_control *control_server;
    struct address iperf3[LISTEN_MAX]; /* iperf3:// */
    uint32_t iperf3_count;
    struct serve_iperf3 *iperf3_server;
    struct tls_secret secret;
    struct tls_context *tls; /* of tls:// addresses; NULL: there are none */
    uint64_t secure;         /* bit i: addresses[i] is one */
    uint64_t pathless;  /* bit i: addresses[i] was given with a path, which makes no difference */
    uint32_t listening; /* addresses whose socket was made: only these are unlinked */
    struct run_control *control;
    struct worker_slot *slots;
    uint32_t slot_count;
    struct server_config config;
    struct processes processes; /* this one, or several that serve the addresses */
    uint32_t share;             /* most connections that one of them has */
    uint64_t rss_bytes;         /* theirs, as they were told to stop */
    bool stopped;               /* they have been waited for */
    struct err failure;
    _Atomic bool ended;
};

/* Takes what is to be served, and where: addresses, sonde:// and iperf3:// among them. 0 or -1 with
 * *error. */
int serve_take_addresses(struct serving *serving, const struct opt_arguments *arguments,
                         struct err *error);

/* The prefix of the service for whoever is given the address: a client that writes it speaks what
 * is served there. */
const char *serve_prefix_of(const struct serving *serving, const struct address *address);

/* Its text behind that prefix. */
const char *serve_text_of(const struct serving *serving, const struct address *address);

/* How many processes serve the addresses, and how many files each of several opens (*files; 0:
 * there is one). 0 or -1 with *error. */
int serve_plan_processes(struct serving *serving, uint64_t *files, struct err *error);

/* Starts them where they are several; before there are threads. 0 or -1 with *error. */
int serve_start_processes(struct serving *serving, struct err *error);

/* Waits until they have left; what went wrong is serving->failure. Safe to call twice. */
void serve_stop_processes(struct serving *serving);

/* Resident memory of all that serve, now. */
uint64_t serve_resident(const struct serving *serving);

/* The options of its service's role. */
const void *serve_options_of(const struct serving *serving);

#endif
