/* The state of a run of `sonde ipc`: what its files share, and nobody else. */
#ifndef SONDE_RUN_IPC_STATE_H
#define SONDE_RUN_IPC_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "probe/targets.h"
#include "run/ipc.h"
#include "run/watch.h"
#include "stats/histogram.h"

/* What moved in a number of transfers, at one end. */
struct ipc_sum {
    struct transfer_counts counts;
    uint64_t cpu_ns;             /* the thread's CPU clock: exact */
    uint64_t user_ns, system_ns; /* as the kernel samples them */
    uint64_t switches_voluntary, switches_involuntary;
    uint64_t runnable_ns; /* it waited for a CPU */
};

/* One end and the conductor: the end writes while its turn lasts, the conductor reads after it. */
struct ipc_side {
    _Alignas(64) _Atomic uint32_t ready; /* the turn that it is about to begin */
    uint64_t clock_ns;                   /* sender: before its first write; receiver: after its last
                                            read; both in one thread: duration */
    struct ipc_sum sum;                  /* of this transfer */
    pid_t tid;
    struct err failure;
};

enum { SIDE_SENDER, SIDE_RECEIVER, SIDES };

/* Lies in memory that the sender's process shares. */
struct ipc_shared {
    _Alignas(64) _Atomic uint32_t turn; /* futex: the ends wait for the next */
    _Alignas(64) _Atomic uint32_t done; /* futex: the last turn that all ends have finished, +1 */
    _Atomic uint32_t finished;          /* ends that have finished this turn */
    _Atomic uint32_t stop;              /* leave the transfer at the next chunk */
    _Atomic uint32_t leave;             /* end the thread */
    uint32_t observed;                  /* in this turn the ends handle the gate */
    struct ipc_side sides[SIDES];
};

/* Both files of the channel, blocking but for 1thread; -1 where closed. */
struct ipc_channel {
    int fds[SIDES];
    uint64_t send_buffer_bytes, receive_buffer_bytes; /* as the kernel holds them */
    char text[96];                                    /* "tcp://127.0.0.1:4711, cubic" */
};

/* What was measured in the transfers of one kind. */
struct ipc_tally {
    struct ipc_sum sides[SIDES];
    uint64_t transfers, bytes, blocks, time_ns;
};

struct ipc_conductor {
    const struct ipc_plan *plan;
    struct record *record;
    struct record_run *run;
    struct ipc_shared *shared;
    struct ipc_channel channel;
    struct watch *watch;
    /* ends */
    struct ipc_end_config {
        struct ipc_conductor *conductor;
        int side;
    } ends[SIDES];
    pthread_t threads[SIDES];
    bool started[SIDES];
    pid_t child; /* the sender of 2proc; 0: none */
    bool child_ended;
    int child_status;
    uint32_t end_count; /* 1 or 2 */
    struct gate *gate;  /* NULL: not observed */
    bool interrupted;
    /* measured */
    struct ipc_tally last, plain; /* the last transfer; the unobserved ones */
    struct ipc_tally part;        /* of the present part of an observed run */
    struct ipc_tally block_plain, block_seen;
    struct histogram *times;
    uint64_t window_start_ns, window_end_ns;
    uint64_t reported_ns; /* when progress was last said; 0: the window has not begun */
    struct ipc_progress progress;
};

extern const struct transport_ops *const ipc_transports[]; /* by enum ipc_transport */

/* The CPU of an end, -1: not pinned. The options have been checked. */
int ipc_cpu(const struct ipc_options *options, bool sender);

/* ipc_channel.c */
int ipc_channel_open(struct ipc_channel *channel, const struct ipc_plan *plan,
                     struct record *record, struct err *error);
void ipc_channel_close(struct ipc_channel *channel, int side); /* safe to call twice */

/* ipc_ends.c: starts the ends (threads, or a child) and waits until they are ready to move. */
int ipc_ends_start(struct ipc_conductor *conductor, struct err *error);
/* One transfer, into conductor->last. -1 with *error where it was not finished. */
int ipc_ends_transfer(struct ipc_conductor *conductor, bool observed, struct err *error);
/* What the transfer that was left in the middle had moved, into conductor->last; false where none
 * was begun. */
bool ipc_ends_unfinished(struct ipc_conductor *conductor);
/* Looks whether progress is to be said (ipc.c). */
void ipc_report(struct ipc_conductor *conductor);
void ipc_ends_stop(struct ipc_conductor *conductor);

/* ipc_fill.c */
int ipc_fill(struct ipc_conductor *conductor, struct err *error);
void ipc_tally_add(struct ipc_tally *to, const struct ipc_tally *from);

#endif
