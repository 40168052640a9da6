/* What one worker measured in one part of the window. Each worker has two banks: it writes one
 * while the conductor reads the other (run/worker.h), so nothing on the hot path is shared. Banks
 * lie in memory that the server's process shares with the client's. */
#ifndef SONDE_WORKLOAD_BANK_H
#define SONDE_WORKLOAD_BANK_H

#include <stdint.h>

#include "engine/engine.h"
#include "net/tcp_figures.h"
#include "stats/histogram.h"
#include "stats/series.h"

#define BANK_COUNTERS SERIES_COUNTERS_MAX
#define BANK_HISTOGRAMS 10
#define BANK_ERRORS 64
#define BANK_FLOWS 64
#define FLOW_COUNTERS 12

/* Where an operation failed. */
#define BANK_PHASES(X)                                                                             \
    X(SOCKET, "socket")                                                                            \
    X(CONNECT, "connect")                                                                          \
    X(TLS, "tls")                                                                                  \
    X(UPGRADE, "upgrade")                                                                          \
    X(ACCEPT, "accept")                                                                            \
    X(SEND, "send")                                                                                \
    X(RECEIVE, "receive")                                                                          \
    X(PROTOCOL, "protocol")                                                                        \
    X(ANSWER, "answer")                                                                            \
    X(CLOSE, "close")                                                                              \
    X(DRAIN, "drain")

enum bank_phase {
#define X(name, text) PHASE_##name,
    BANK_PHASES(X)
#undef X
        PHASE_KINDS
};

struct bank_error {
    uint32_t phase; /* enum bank_phase */
    int32_t number; /* errno; 0: `name` says it */
    uint64_t count;
    char name[80]; /* a protocol error's own name */
};

/* What one connection counted, for workloads that tell connections apart (struct role's
 * flow_counters). It stands at its number among those of its worker. */
struct bank_flow {
    uint64_t counters[FLOW_COUNTERS];
    uint32_t number_plus_1; /* among all of the run, as its role says; 0: nothing was counted */
    struct tcp_figures tcp_before, tcp; /* at the start (zero: it began later) and at the end of the
                                           part; zero where it is no TCP connection */
};

/* Messages without a connection to say that the other end is gone. */
struct bank_silence {
    uint64_t answered_ns;   /* when the latest answer came; 0: none did */
    uint64_t lost, refused; /* since then: messages lost or not sent; refusals (ECONNREFUSED) */
    uint64_t all_lost, all_answered;
};

struct bank {
    uint64_t start_ns, end_ns;
    uint64_t cpu_user_ns, cpu_system_ns; /* of the worker's thread (RUSAGE_THREAD) */
    uint64_t runnable_ns;                /* it was ready to run, but another ran (schedstat) */
    uint64_t switches_voluntary, switches_involuntary;
    uint64_t counters[BANK_COUNTERS];
    struct call_table calls;
    struct bank_error errors[BANK_ERRORS];
    uint64_t errors_beyond; /* that found no row */
    struct bank_silence silence;
    uint64_t opened_ns; /* held connections: when the latest was open; 0: none has been opened */
    struct histogram histograms[BANK_HISTOGRAMS];
    uint32_t flow_count; /* flows in use; connections beyond BANK_FLOWS are in the sums only */
    struct bank_flow flows[BANK_FLOWS];
};

/* Counts an error. `name` may be NULL where number != 0; it is cut to fit. A number that is no
 * errno is counted by its name (engine_failure_name). */
void bank_error(struct bank *bank, enum bank_phase phase, int number, const char *name);

/* Adds what happened later, or elsewhere at the same time. */
void bank_silence_add(struct bank_silence *to, const struct bank_silence *from);

/* Adds the errors of `from` to `to`. */
void bank_add_errors(struct bank *to, const struct bank *from);

/* All errors together. */
uint64_t bank_errors(const struct bank *bank);

/* Adds `from` to `to` (times: earliest start, latest end). Flows are not added: their numbers are
 * each worker's own. */
void bank_add(struct bank *to, const struct bank *from);

/* Empties a bank (or initialises zeroed memory). */
void bank_clear(struct bank *bank);

const char *bank_phase_name(enum bank_phase phase);

#endif
