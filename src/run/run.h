/* One run: plan -> workers -> window -> drain -> record. */
#ifndef SONDE_RUN_RUN_H
#define SONDE_RUN_RUN_H

#include "report/record.h"
#include "run/options.h"
#include "run/worker.h"
#include "workload/workload.h"

struct session_ops;

/* What has been measured in one interval, while the run goes on; or by the drain behind the last
 * one, whose histograms alone count. */
struct run_progress {
    uint64_t window_start_ns;  /* CLOCK_MONOTONIC */
    uint64_t start_ns, end_ns; /* from the start of the window */
    uint64_t window_ns;        /* measured, unobserved time in it */
    const struct bank *bank;   /* of the client's workers in that time */
    const struct bank *server; /* of those of sonde's own server; NULL: it has none, or drain */
    bool drain;
    const struct bank *so_far; /* and since the beginning of the window */
    const struct workload *workload;
    double asked;  /* operations a second that were due, of a rate that changes; else NaN */
    bool observed; /* kernel_calls_per_second is known */
    double kernel_calls_per_second;
    const char *kernel_role; /* of whom */
};

/* What a run that goes on has measured until now, without a cut (run/look.h): for people. */
struct run_look {
    const struct workload *workload;
    const char *label;
    enum run_stage stage;         /* before, in or after the window */
    uint64_t elapsed_ns, left_ns; /* of the window; of the present stage, 0: not known */
    uint64_t count, done;         /* operations (bulk: bytes): a counted run's, else 0; finished */
    uint64_t since_ns;            /* since the last look, in which: */
    const uint64_t *counters;     /* what the client counted, completed as for an interval */
    const uint64_t *so_far;       /* and since the beginning, for levels */
    double client_busy, server_busy; /* CPUs that were busy; below 0: not known */
    bool observed;                   /* somebody looks on at the moment */
    /* Of the window so far (before it: of the warm-up): */
    const struct histogram *latencies; /* the client's first histogram, of unobserved time */
    uint64_t errors;
};

struct run_plan {
    const struct workload *workload;
    const void *workload_options;
    const struct run_options *options;
    const struct engine_ops *engine, *server_engine;
    /* NULL: sonde's own server on loopback, through TCP or, for a workload of datagrams, UDP. One
     * with `own` set means its own server too. */
    const struct address *target;
    /* What brings the connections instead of a target; NULL: none (run/session.h). */
    const struct session_ops *session;
    const char *session_target;
    /* enum web_program (run/web_server.h): what is started in the place of sonde's own server, and
     * how much it has at WEB_SERVER_PATH. */
    uint32_t web_program;
    uint64_t payload_bytes;
    const char *label;
    const char *note; /* the workload's settings, for people; may be NULL */
    int stop_fd;      /* readable (a signalfd) when the user wants to end; -1: none */
    void (*progress)(void *owner, const struct run_progress *progress);
    void (*look)(void *owner, const struct run_look *look); /* some times a second; NULL: never */
    void *owner;
    /* True where something that runs beside it has ended, so that measuring on is of no use; looked
     * at now and then. The window ends early; whoever set it says what that means. May be NULL. */
    bool (*beside_ended)(const void *beside);
    const void *beside;
    /* BANK_COUNTERS of them: what the client counted from the first operation to the end of the
     * drain, in whatever is discarded too; NULL: not wanted. */
    uint64_t *whole;
    /* It finds out what can be borne: operations that were not answered within the drain are a
     * figure, and no failure, as long as some were. */
    bool may_be_overloaded;
    bool fresh; /* the client is a process of its own, which has nothing of earlier runs; not where
                   this one makes its connections */
    bool skip_ceiling; /* do not measure the null engine's ceiling afterwards */
};

/* The settings of the client's sockets, and CHANNEL_* options of their channels. */
void run_tuning(const struct run_plan *plan, struct net_tuning *tuning, uint8_t *channel_options);

/* Runs it and appends one run to the record, also where it fails in the middle (run->failure, and
 * what was measured is kept). -1 with *error where nothing could be measured at all. */
int run_execute(const struct run_plan *plan, struct record *record, struct err *error);

/* Operations per second of one worker of this plan on the null engine, measured for about 80 ms;
 * 0 where that is not possible. */
double run_null_ceiling(const struct run_plan *plan);

#endif
