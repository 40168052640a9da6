/* The conductor's state: what the files of a run share, and nobody else. */
#ifndef SONDE_RUN_CONDUCTOR_H
#define SONDE_RUN_CONDUCTOR_H

#include <pthread.h>

#include "probe/process.h"
#include "run/collect.h"
#include "run/flows.h"
#include "run/footprint.h"
#include "run/machine.h"
#include "run/run.h"
#include "run/server.h"
#include "run/watch.h"
#include "run/web_server.h"
#include "stats/series.h"
#include "stats/summary.h"

/* Heaps and stacks of the ends' processes, as the kernel counts them exactly (Anonymous of
 * smaps_rollup); 0: not known. */
struct held_memory {
    uint64_t client_bytes, server_bytes;
};

/* One end's tallies. */
struct tallies {
    struct tally part;  /* of the part just cut */
    struct tally plain; /* unobserved: the headline */
    struct tally seen;  /* observed, by whichever probe */
};

struct run_shared {
    struct run_control client, server;
};

struct conductor {
    const struct run_plan *plan;
    struct record *record;
    struct record_run *run;
    struct run_shared *shared;
    struct placement placement;
    /* client */
    struct worker_slot *slots;
    struct worker_config *configs;
    pthread_t *threads; /* of the workers of this process */
    uint32_t worker_count, started;
    struct processes clients; /* this one, or of their own: */
    bool apart;
    bool broken;        /* a process of the run's has ended before its time */
    uint64_t looked_ns; /* when that was last looked at */
    struct dial *dials;
    struct sockaddr_storage *sources;
    size_t source_count;
    /* sonde's own server */
    struct address address; /* of the target, own or not */
    bool own_server;
    uint64_t asked_ns;    /* when the last cut was asked for */
    bool counting_begins; /* the gate is to be opened with the next cut */
    bool window_ends;     /* its last cut is being asked for, and the drain begins with it */
    struct tls_context *client_tls, *server_tls; /* of a secure target; else NULL */
    struct worker_slot *server_slots;
    uint32_t server_slot_count, server_threads; /* of all of its processes */
    struct processes servers;                   /* count 0: none */
    struct web_server web;                      /* whose processes they are, where there is one */
    uint64_t web_cpu_ns; /* of those: before the window their CPU time, then that in it */
    struct net_end *client_ends, *server_ends; /* pairs */
    uint32_t pair_count;
    /* measured */
    struct tallies client, server;
    struct tally discarded, interval;
    struct tally before; /* of what lies before the window: its errors alone */
    bool going;          /* the connections were there, and the workers told to go */
    struct tally block_plain, block_seen;
    struct tally server_interval;
    uint64_t client_whole[BANK_COUNTERS], server_whole[BANK_COUNTERS]; /* since the beginning */
    struct {
        uint64_t sent, bytes;       /* by the client, and of that arrived, since the beginning */
        bool unknown, by_peer;      /* what arrived is not known; the peer has said it */
    } arrived;                      /* run/arrived.h */
    struct bank_error server_error; /* its first, if any */
    struct interval_flows interval_flows;
    struct series series;
    struct session *session;          /* NULL: none, or not open */
    struct tally_flow *session_flows; /* what it is told of the client's connections */
    uint32_t session_flow_count;
    uint64_t session_flows_ns, session_end_ns; /* since when (0: not yet), until when */
    struct err peer_failure;                   /* why it is spoken with no more; none: it is */
    bool peer_finished;                        /* it has given its results */
    bool peer_counted;   /* and what its server counted: `server` and server_whole hold it */
    bool peer_same_host; /* where that runs */
    pid_t peer_pid;
    struct watch *watch;     /* NULL until setup has come to it */
    struct looking *looking; /* NULL: nobody looks at the run without a cut (run/look.h) */
    bool observed_now;       /* in the present part */
    uint64_t window_start_ns, window_end_ns;
    /* Of connections that are held (workload->ramp_ns): */
    uint64_t opened_ns; /* when the latest was open; 0: none has been */
    struct held_memory memory_before, memory_held;
    struct footprint footprint;
    struct system_sample system_before, system_after; /* at_ns 0: not known */
    double cpu_frequency; /* Hz at the end of the window; 0: not known */
    uint64_t interval_start_ns;
    uint64_t interval_kernel_calls, interval_kernel_ns;
    uint64_t calls_before; /* watch_calls when counting began */
    bool moved_late;       /* bytes came in the drain */
    uint64_t unfinished, behind;
    double asked;              /* of a rate that changes: operations due in the unobserved parts */
    uint64_t plain_operations; /* of the unobserved parts, where counters are of all parts */
    uint64_t finished_after;   /* operations that the drain brought: in the latencies alone */
    struct bank_silence silence; /* since the beginning */
    uint64_t ceiling_cpus;       /* that the client's threads can have at once */
    uint64_t lost;               /* connections that were gone at the end */
    uint32_t late;               /* cuts that a client's thread did not make in time */
    bool interrupted;
};

/* Whether the server was started by this run, sonde's own or not. */
static inline bool started_server(const struct conductor *conductor)
{
    return conductor->own_server || conductor->plan->web_program;
}

/* Whether it is known what the server counted: sonde's own, or a session's that has said so. */
static inline bool server_counted(const struct conductor *conductor)
{
    return conductor->own_server || conductor->peer_counted;
}

/* Counters of the series beside the workload's own. */
enum {
    SERIES_ERRORS = BANK_COUNTERS - 3,
    SERIES_KERNEL_CALLS = BANK_COUNTERS - 2,
    SERIES_KERNEL_NS = BANK_COUNTERS - 1
};

/* client.c: starts the client's workers, in this process or in several; 0 or -1 with *error. */
int client_start(struct conductor *conductor, struct err *error);
/* Waits until all workers are connected; the first failure ends it. */
int client_await(struct conductor *conductor, struct err *error);
/* Waits until its workers have left, as they have been told to. The first failure to *error. */
void client_stop(struct conductor *conductor, struct err *error);
/* Looks now and then (`now`: at once) whether a process of the run has ended before its time: true
 * where one has. Its workers are SLOT_ENDED then, with the failure. */
bool run_broken(struct conductor *conductor, bool now);

/* provision.c: how many workers, slots, processes and source addresses the run has, within the
 * limits of the machine; 0 or -1 with *error. */
int provision_run(struct conductor *conductor, struct err *error);
/* What is asked of a web server that this run starts. */
void setup_web_server(const struct conductor *conductor, struct web_server_plan *web);

/* Whether the client's workers are in processes of their own. */
static inline bool client_apart(const struct conductor *conductor)
{
    return conductor->apart;
}

/* setup.c: limits, server, dials, threads; everything is ready to go, or -1 with *error. */
int setup_run(struct conductor *conductor, struct err *error);
/* Ends threads and server and frees what setup made. The first failure goes to *error (code
 * ERR_NONE where all went well). Safe on a half-made conductor. */
void teardown_run(struct conductor *conductor, struct err *error);
/* Fills the configuration of one worker of the plan (also for the null ceiling). */
void setup_worker(const struct run_plan *plan, struct worker_config *config);

/* window.c: measures from now on until the end; what was measured stays in *conductor even where it
 * fails. */
int window_run(struct conductor *conductor, struct err *error);
/* Cuts both ends into their parts: what both measured since the last cut. */
void window_collect(struct conductor *conductor);
/* What happened at both ends since the last cut belongs to no part. */
void window_discard(struct conductor *conductor);
/* Waits until an instant; false where the run is to end before (user, or nothing left to do). */
bool window_wait(struct conductor *conductor, uint64_t until_ns);
/* True where every client worker has nothing left to do. */
bool window_finished(const struct conductor *conductor);

/* fill.c: everything measured into conductor->run. */
int fill_run(struct conductor *conductor, struct err *error);
/* Why a run did not begin: the errors of its workers, which have left. Nothing where it did. */
void fill_connecting(struct conductor *conductor);
/* fill_checks.c: warnings of what was measured; of an open loop that reached this part of its rate.
 */
void fill_check(struct conductor *conductor);
void fill_check_rate(struct conductor *conductor, double reached);
/* fill_host.c: of which what the host went through. */
void fill_host(struct conductor *conductor);
/* held_connections.c, of a workload whose connections are held: the memory of both ends now; how
 * many are open; what opening and holding them came to. */
void held_memory(const struct conductor *conductor, struct held_memory *memory);
uint64_t held_count(const struct conductor *conductor);
/* In words, why fewer are held than were to be; "" where all are. */
void held_missing(const struct conductor *conductor, char *to, size_t size);
void held_fill(struct conductor *conductor);
/* verdict.c and verdict_stream.c: run->limited_by with its evidence. */
void fill_verdict(struct conductor *conductor);

#endif
