/* One run of `sonde ipc`: transfers of a fixed number of bytes from a sender to a receiver, which
 * are one thread, two threads or two processes. */
#ifndef SONDE_RUN_IPC_H
#define SONDE_RUN_IPC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/opt.h"
#include "report/record.h"
#include "run/options.h"
#include "transfer/transfer.h"

enum ipc_mode { IPC_1THREAD, IPC_2THREAD, IPC_2PROC };
enum ipc_transport { IPC_PIPE, IPC_LOCAL, IPC_TCP, IPC_UNIX };

struct ipc_options {
    uint32_t transport; /* enum ipc_transport */
    uint64_t buffer_bytes, total_bytes;
    bool socket_buffers;      /* SO_SNDBUF and SO_RCVBUF = buffer_bytes */
    uint64_t pipe_size_bytes; /* F_SETPIPE_SZ; 0: the kernel's default */
    struct opt_list methods;
    struct opt_list cpus; /* sender's, receiver's; empty: the scheduler's choice */
    bool prepare;         /* sync the file systems and settle first */
    bool verify;
    uint64_t port;          /* of tcp; 0: any */
    const char *congestion; /* of tcp; NULL: the kernel's default */
    uint64_t transfers;     /* measured; 0: by duration */
    uint64_t duration_ns;
    uint64_t warmup_ns; /* at least one transfer is discarded, unless it is 0 */
};

enum { IPC_OPTIONS = 14 };
extern const struct opt ipc_option_rows[IPC_OPTIONS];
extern const char *const ipc_mode_names[]; /* "1thread" … NULL-terminated */

/* What the text of ipc-static needs of the measured transfers. */
struct ipc_outcome {
    uint64_t transfers;
    uint64_t bytes;   /* moved in them */
    uint64_t time_ns; /* from the clock read just before the first write to the one just after the
                         last read, summed over the unobserved transfers */
};

/* What has been measured since the last time, while the run goes on. */
struct ipc_progress {
    uint64_t at_ns;     /* from the start of the window */
    uint64_t transfers; /* that ended, unobserved */
    uint64_t bytes, time_ns;
    uint64_t moved_bytes; /* of the one that goes on */
};

/* Figures for the manual, group by group; NULL behind the last. */
const struct metric *ipc_figures(size_t group, size_t *count);
extern const struct histogram_metric ipc_transfer_time;

struct ipc_plan {
    enum ipc_mode mode;
    const struct ipc_options *options;
    const struct watch_options *watch;
    const struct method_ops *method;
    const char *label;
    int stop_fd; /* as in run_plan */
    void (*progress)(void *owner,
                     const struct ipc_progress *progress); /* each second; may be NULL */
    void *owner;
};

/* Checks options against each other and against the machine, as far as that is possible before a
 * run. */
int ipc_check(const struct ipc_options *options, enum ipc_mode mode, struct err *error);

/* A mode by name; -1 with *error (ERR_USAGE). */
int ipc_mode_parse(const char *text, enum ipc_mode *mode, struct err *error);

/* Runs it and appends one run to the record, also where it fails in the middle. */
int ipc_execute(const struct ipc_plan *plan, struct record *record, struct ipc_outcome *outcome,
                struct err *error);

#endif
