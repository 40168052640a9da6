/* The record: everything that was measured, with how it was measured. Filled once, then printed
 * by any printer (text, JSON, CSV). It owns all of its memory; record_release frees it. */
#ifndef SONDE_REPORT_RECORD_H
#define SONDE_REPORT_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/err.h"
#include "stats/goal.h"
#include "stats/histogram.h"
#include "stats/metric.h"
#include "stats/summary.h"

#define RECORD_SCHEMA "sonde.record/1"

/* A value of a metric, or why there is none. */
struct record_value {
    const struct metric *metric;
    bool available;
    double value;
    char reason[96]; /* where not available; may be empty: division by zero */
};

struct record_histogram {
    const struct histogram_metric *metric;
    const char *role;            /* "client" or "server" (static) */
    struct histogram *histogram; /* owned */
};

struct record_error_count {
    int number; /* errno; 0 where `name` is a protocol error's own name */
    char phase[24];
    char name[80]; /* "ECONNRESET", or the protocol error */
    uint64_t count;
};

/* One system call of one process. */
struct record_syscall {
    char name[32];
    uint64_t calls, bytes;
    struct record_error_count *errors; /* owned; phase empty */
    size_t error_count;
};

/* One io_uring operation of one process. */
struct record_uring {
    char name[32]; /* "RECV"; "multishot" where the completion does not name its operation */
    uint64_t submitted, completed, bytes;
};

/* Calls to the kernel over a stretch of time, with what to divide them by. */
struct record_calls {
    bool available;
    char source[16];     /* "engine": counted by sonde itself, exact; "bpf": seen by the kernel */
    char reason[160];    /* why not available */
    uint64_t window_ns;  /* measured time that the counts cover */
    uint64_t operations; /* the workload's operations that finished in it; 0: unknown */
    struct record_syscall *syscalls; /* owned, most calls first */
    size_t syscall_count;
    struct record_uring *uring; /* owned */
    size_t uring_count;
    uint64_t lost; /* events that the probe could not count */
};

struct record_process {
    char role[12]; /* "client", "server", "sender", "receiver", "observed" … */
    pid_t pid;
    pid_t tid;          /* of the one thread that this end is; 0: the whole process */
    uint32_t processes; /* that this row is the sum of, of which `pid` is the first */
    char name[20];
    bool cpu_available;
    uint64_t cpu_window_ns;  /* measured time that the CPU times cover */
    uint64_t cpu_operations; /* operations in it; 0: unknown */
    uint64_t cpu_user_ns, cpu_system_ns;
    double busiest_thread; /* share of a CPU that its busiest thread took, 0..1; <0: unknown */
    uint64_t switches_voluntary, switches_involuntary;
    uint64_t rss_bytes;               /* at the end */
    struct record_calls engine_calls; /* counted by sonde's own engine at that end */
    struct record_calls kernel_calls; /* seen by the observer */
};

/* What looking cost: the headline metric observed / unobserved. */
struct record_effect {
    bool available;
    char metric[32];
    struct interval ratio;
    uint32_t blocks;
    char reason[96];
};

/* Whose a row of a probe is. */
struct record_scope {
    char role[12];  /* "sender"; empty: the machine's */
    pid_t pid, tid; /* 0: not of one process; not of one thread */
    char name[20];  /* of the process or thread */
    char what[48];  /* "read", "cpu 0", "woken by sonde 12": what distinguishes it further */
};

/* One row of a probe's table. */
struct record_probe_row {
    struct record_scope scope;
    char *object, *symbol;       /* owned: the code that it is of; NULL: it is of none */
    struct record_value *values; /* owned; in the order of the probe's metrics */
    size_t value_count;
};

/* Rows for each connection at each end, and their sums. */
struct record_flows {
    struct record_probe_row *rows; /* owned; all with the same metrics */
    size_t row_count;
};

struct record_interval {
    uint64_t start_ns, duration_ns; /* from the start of the window; time measured unobserved */
    struct record_value *values;    /* owned: the metrics with per_interval */
    size_t value_count;
    struct record_value *kernel; /* reserved for observed processes: calls per second */
    size_t kernel_count;
    struct record_flows flows; /* in it */
};

#define DISTRIBUTION_CLASSES 66

/* A power-of-two histogram (DTrace's quantize, bpftrace's hist). Class 0 counts values below 0
 * (calls that failed), class 1 the value 0, class i >= 2 those in [2^(i-2), 2^(i-1)). */
struct record_distribution {
    struct record_scope scope;
    const struct histogram_metric *metric; /* static */
    uint64_t classes[DISTRIBUTION_CLASSES];
    double sum; /* of the values from 0 on; NaN: not known */
};

/* Samples of one call stack. */
struct record_stack {
    struct record_scope scope;
    char *frames; /* owned: folded, "sonde;main;read_all;vfs_read_[k]", outermost first */
    uint64_t samples;
};

/* What one probe saw (all but the counts of system calls, which stand with the processes). */
struct record_probe {
    char name[16]; /* "sched" */
    bool available;
    bool with_processes;           /* what it saw stands with the processes: system calls */
    char reason[192];              /* why not; where available: what is missing or worth knowing */
    uint64_t window_ns;            /* measured time that it covers */
    uint64_t operations;           /* the workload's in it; 0: unknown */
    uint64_t bytes;                /* payload in it; 0: unknown */
    uint64_t lost;                 /* events that it could not count */
    struct record_effect effect;   /* what this probe cost */
    struct record_probe_row *rows; /* owned */
    size_t row_count;
    struct record_distribution *distributions; /* owned */
    size_t distribution_count;
    struct record_stack *stacks; /* owned; most samples first */
    size_t stack_count;
};

/* A metric that came with a record from elsewhere. */
struct record_kept {
    struct metric metric;
    struct histogram_metric histogram;
    char key[64], unit[16], title[64];
};

/* What TLS did on one end's connections. */
struct record_tls {
    uint64_t handshakes;          /* 0: none, and nothing else is known */
    uint64_t resumed;             /* of them */
    char version[16], cipher[48]; /* of the latest */
    bool verified;                /* the server's certificate was */
    char name[256];               /* for which name; empty: at a server */
};

struct record_run {
    char label[48];      /* "epoll" */
    uint32_t repetition; /* 1..; 0: the run was not repeated */
    bool discarded;      /* a warm-up run of --repeat: in no summary */
    bool outlier;        /* its headline lies far from that of the other repetitions */
    bool complete;
    uint64_t window_ns;       /* measured, unobserved time that the headline covers */
    uint64_t wall_ns;         /* from the start of the window to its end */
    uint64_t window_start_ns; /* CLOCK_MONOTONIC: to join runs of one moment; not printed */
    char mode[32];            /* "closed loop", "open loop" */
    char detail[512];         /* one line for people: target, engine, connections … */
    struct record_value *values;
    size_t value_count;
    struct record_histogram *histograms;
    size_t histogram_count;
    struct record_interval *intervals;
    size_t interval_count;
    struct record_process *processes;
    size_t process_count;
    struct record_error_count *errors;
    size_t error_count;
    struct record_probe *probes;
    size_t probe_count;
    struct record_flows flows; /* of the window */
    struct record_tls tls;     /* of the client; of `sonde serve`, its own */
    struct record_kept **kept; /* owned, each: metrics that no module here declares */
    size_t kept_count;
    struct record_effect effect;
    bool observing;        /* somebody was observed: what is missing of that is worth a line */
    char observation[224]; /* "server (pid 12), alternating"; "none (reason; what would fix it)" */
    char limited_by[256];  /* with the evidence */
    double null_ceiling;   /* operations of the same workload on the null engine, per second of
                              CPU time; 0: not known */
    struct err failure;    /* why it is not complete; code ERR_NONE otherwise */
};

/* What the repetitions of one label say of one metric. */
struct record_summary_value {
    const struct metric *metric;
    size_t count;           /* runs that have it */
    struct interval median; /* bootstrap, 95 %; bounds are the range where count < 6; NaN for 0 */
    double least, most;
    double deviation; /* standard, of the sample */
};

/* A metric that no module declares: derived from histograms and costs. */
struct record_own_metric {
    struct metric metric;
    char key[96], title[96]; /* "response_time.p99", "client.cpu_ns_per_call" */
};

/* The repetitions of one label (--repeat): the complete ones that were not discarded. */
struct record_summary {
    char label[48];
    size_t runs;
    struct record_summary_value *values; /* owned; the first is the headline */
    size_t value_count;
    struct record_own_metric **own; /* owned, each */
    size_t own_count;
};

/* One probe of a search for the highest rate. */
struct record_search_probe {
    size_t run;                    /* its index in the record's runs */
    uint32_t search;               /* 1.. */
    double asked;                  /* starts per second */
    double reached;                /* share of it; NaN: not known */
    double values[GOAL_TERMS_MAX]; /* of the goal's terms; NaN: not known */
    bool passed;
    char why[64]; /* it did not: "p99", "rate", "backlog", "failed" with more; empty: it did */
};

/* What the searches with one engine found. */
struct record_found {
    char label[48];
    double closed;        /* starts per second of the closed loop that gave the scale; NaN: none */
    struct interval rate; /* starts per second: median of what passed; how far it may reach */
    uint32_t searches;    /* that came to an end; of them: */
    uint32_t never;       /* in which even `lowest` failed; they count as 0 */
    uint32_t always;      /* in which even `highest` passed; they count as it */
    uint32_t given_up;    /* that took too many probes; they count as far as they came */
    double lowest, highest;             /* rates that are probed at all */
    char verdict[512];                  /* in words */
    struct record_search_probe *probes; /* owned */
    size_t probe_count;
};

/* The highest rate under a limit (--find-max); the record's runs are the probes. */
struct record_find_max {
    struct goal goal;
    uint32_t searches;          /* that were wanted, with each engine */
    struct record_found *found; /* owned */
    size_t found_count;         /* 0: nothing was searched for */
};

struct record_option {
    char *name, *value; /* owned */
    bool given;         /* on the command line (else a default) */
};

struct record_pair {
    char *key, *text; /* owned */
    bool numeric;     /* text is a JSON number */
};

struct record {
    bool complete;
    char **command;   /* owned, NULL-terminated */
    char started[40]; /* RFC 3339, UTC */
    struct record_option *options;
    size_t option_count;
    struct record_pair *machine; /* kernel, cpu, cores, governor, … */
    size_t machine_count;
    char **warnings;
    size_t warning_count;
    struct record_run *runs;
    size_t run_count;
    struct record_summary *summaries; /* empty where nothing was repeated */
    size_t summary_count;
    struct record_find_max find_max;
    struct err failure;    /* of the whole, e.g. before the first run */
    const char *operation; /* "call" (static) */
};

/* An empty record of this command line, started now. */
int record_init(struct record *record, int argc, char **argv, struct err *error);
void record_release(struct record *record); /* safe to call twice */

/* Each appends an empty element and returns it; NULL without memory. Pointers to earlier elements
 * of the same array become invalid. */
struct record_run *record_add_run(struct record *record, const char *label);
struct record_value *record_add_value(struct record_run *run, const struct metric *metric);
/* Appends `count` rows, of metrics[i] with values[i]. 0, or -1 without memory. */
int record_add_counts(struct record_run *run, const struct metric *metrics, const uint64_t *values,
                      size_t count);
struct record_histogram *record_add_histogram(struct record_run *run,
                                              const struct histogram_metric *metric,
                                              const char *role); /* with a new histogram */
struct record_interval *record_add_interval(struct record_run *run);
struct record_value *record_interval_add_value(struct record_interval *interval,
                                               const struct metric *metric);
struct record_process *record_add_process(struct record_run *run, const char *role, pid_t pid,
                                          const char *name);
/* The row of this phase and error: a new one, or the one that is there. Counts are added to it. */
struct record_error_count *record_add_error(struct record_run *run, const char *phase, int number,
                                            const char *name);
struct record_syscall *record_add_syscall(struct record_calls *calls, const char *name);
struct record_error_count *record_syscall_add_error(struct record_syscall *syscall, int number);
struct record_uring *record_add_uring(struct record_calls *calls, const char *name);
/* One row for the processes of one role with these ids: the first has what the kernel saw of all of
 * them. What each of several counted itself is to be in that one already. 0, or -1 without memory.
 */
int record_join_processes(struct record_run *run, const char *role, const pid_t *pids,
                          size_t count);

struct record_probe *record_add_probe(struct record_run *run, const char *name);
struct record_probe_row *record_add_probe_row(struct record_probe *probe,
                                              const struct record_scope *scope);
struct record_probe_row *record_add_flow(struct record_flows *flows,
                                         const struct record_scope *scope);
struct record_value *record_row_add_value(struct record_probe_row *row,
                                          const struct metric *metric);
struct record_distribution *record_add_distribution(struct record_probe *probe,
                                                    const struct histogram_metric *metric,
                                                    const struct record_scope *scope);
/* Says of which code a row is; -1 without memory. */
int record_row_set_code(struct record_probe_row *row, const char *object, const char *symbol);
struct record_stack *record_add_stack(struct record_probe *probe, const struct record_scope *scope,
                                      const char *frames, uint64_t samples);
struct record_summary *record_add_summary(struct record *record, const char *label);
struct record_summary_value *record_summary_add_value(struct record_summary *summary,
                                                      const struct metric *metric);

struct record_found *record_add_found(struct record *record, const char *label);
struct record_search_probe *record_add_search_probe(struct record_found *found);

/* With a metric of the summary's own (unit static). */
struct record_summary_value *record_summary_add_own(struct record_summary *summary, const char *key,
                                                    const char *unit, const char *title);

/* Once all repetitions are in the record: fills its summaries, marks outliers, and warns where runs
 * drift or one lies far out, with what differed. 0 or -1 without memory. */
int record_summarise(struct record *record);

/* Class of a value in a record_distribution. */
static inline uint32_t distribution_class(int64_t value)
{
    return value < 0 ? 0 : value == 0 ? 1 : 65u - (uint32_t)__builtin_clzll((uint64_t)value);
}

/* 0 or -1 without memory. */
int record_add_option(struct record *record, const char *name, const char *value, bool given);
int record_add_machine(struct record *record, const char *key, bool numeric, const char *format,
                       ...) __attribute__((format(printf, 4, 5)));
int record_add_warning(struct record *record, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Warns of what the kernel's counts of a run's processes lack, once each. */
int record_warn_of_calls(struct record *record, const struct record_run *run);

/* Sorts system calls by count, most first, then by name. */
void record_sort_calls(struct record_calls *calls);

/* Value of a metric of a run by key; NULL where it has none. */
const struct record_value *record_find_value(const struct record_run *run, const char *key);

/* Symbolic name of an errno ("ECONNRESET"), "E<number>" where unknown. Static. */
const char *record_errno_name(int number, char *storage, size_t size);

/* A printer: text, json, csv, folded stacks. Returns 0, or -1 with *error where writing failed. */
struct printer {
    const char *name;
    int (*print)(const struct record *record, FILE *out, struct err *error);
};
extern const struct printer printer_text, printer_json, printer_csv, printer_folded,
    printer_openmetrics;

/* Prints to a file whole or not at all: temporary file in the same folder, fsync, rename. "-" is
 * standard output. */
int record_write(const struct record *record, const struct printer *printer, const char *path,
                 struct err *error);
/* The same for what is soon to be replaced: it does not wait for the disk. */
int record_write_passing(const struct record *record, const struct printer *printer,
                         const char *path, struct err *error);
/* As record_write, of what has been printed already. */
int record_write_text(const char *text, size_t length, const char *path, struct err *error);

#endif
