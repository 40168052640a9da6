/* What printers derive from a record: one definition for all of them. Private to report/. */
#ifndef SONDE_REPORT_FIGURES_H
#define SONDE_REPORT_FIGURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "report/record.h"

/* The percentiles that every printer gives, in the order of its columns. */
struct figures_percentile {
    double percentile;
    const char *text; /* "99.9" */
    bool in_text;     /* text shows fewer than JSON and CSV */
};
extern const struct figures_percentile figures_percentiles[];
extern const size_t figures_percentile_count;

/* A run is complete where who measured it says so and nothing failed; a record where all is. */
bool figures_run_complete(const struct record_run *run);
bool figures_complete(const struct record *record);

/* True for a repetition that counts: in the summaries, in drift and among the outliers. */
bool figures_kept(const struct record_run *run);

/* System calls of every kind. */
double figures_calls(const struct record_calls *calls);

/* CPU time and calls of all processes of a role in one run, for each operation. An entry is NaN
 * where it is not known for every one of these processes, or where there is none. */
struct figures_cost {
    double cpu_user_ns, cpu_system_ns; /* for each operation */
    double engine_calls;               /* for each operation, counted by sonde itself */
};
struct figures_cost figures_cost(const struct record_run *run, const char *role);

/* The roles of the two ends that printers set beside each other: the first two whose calls sonde
 * itself has counted, else "client" and "server". */
struct figures_ends {
    const char *roles[2];
};
struct figures_ends figures_ends(const struct record *record);

/* "1234", or "1234/1235" for one thread of it, into `to`. */
const char *figures_id(char *to, size_t size, pid_t pid, pid_t tid);

/* Flows as printers see them: the table of something that was looked at, called "flow". It points
 * at the rows, which stay where they are. */
struct record_probe figures_flows(const struct record_flows *flows);

/* A quotient; NaN where the divisor is 0. */
double figures_ratio(double numerator, double denominator);

/* True where the value can be shown as a number: available and finite. */
bool figures_shown(const struct record_value *value);
/* Why it cannot; never empty. */
const char *figures_reason(const struct record_value *value);

/* Calls of a system call that failed with this errno; and with any other. */
uint64_t figures_errors(const struct record_syscall *syscall, int number);

/* Name of an error: its own, else the name of its errno (into `storage`). */
const char *figures_error_name(const struct record_error_count *error, char *storage, size_t size);

/* The least value of a class of a distribution; not of class 0, that of the values below 0. */
uint64_t figures_class_low(size_t class);

/* Turns the state of `out` after printing into a result: 0, or -1 with *error. */
int figures_finish(FILE *out, const char *what, struct err *error);

/* A malloc'ed copy in which each byte that is not part of valid UTF-8 has become U+FFFD; NULL
 * without memory. */
char *figures_valid_text(const char *text);

#endif
