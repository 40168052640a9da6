/* Result files read back: a record as JSON becomes a flat list of named figures for each run, which
 * `sonde compare` and `sonde sweep` calculate with. */
#ifndef SONDE_REPORT_RESULT_H
#define SONDE_REPORT_RESULT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

enum figure_better { FIGURE_NEUTRAL, FIGURE_HIGHER, FIGURE_LOWER };

/* One number of one run. Keys: a metric's ("calls_per_second"), a histogram's percentile
 * ("response_time.p99", "response_time.mean"), a quotient of an end ("client.cpu_ns_per_call",
 * "server.recvfrom_per_call", "sender.switches_per_block"), a probe's row
 * ("sched.sender.on_cpu_ns"). */
struct figure {
    char *key; /* owned */
    char unit[16];
    enum figure_better better;
    double value;
};

struct result_run {
    char *label; /* owned */
    char *point; /* owned; of a sweep: "buffer=4k transport=pipe"; NULL elsewhere */
    unsigned repetition;
    bool discarded, complete;
    struct figure *figures; /* owned; [0] is the headline, NaN where it is not known; no other is */
    size_t figure_count;
};

struct result {
    char *name;   /* owned: the file, or the command line */
    json_t *json; /* owned: the whole record, for what else is needed of it */
    char *operation;
    struct result_run *runs;
    size_t run_count;
};

/* Reads a whole file (at most 1 GiB). One error in words, and nothing kept, where it is missing,
 * truncated (with line and column), not sonde's, or of a newer schema than RECORD_SCHEMA. */
int result_load(const char *path, struct result *result, struct err *error);
/* From a record that is parsed already; takes a reference. */
int result_from_json(json_t *json, const char *name, struct result *result, struct err *error);
void result_release(struct result *result); /* safe to call twice */

/* A figure of a run by key; NULL where it has none. */
const struct figure *result_find(const struct result_run *run, const char *key);
/* Its value; 0 for a system call that the run did not make where its calls were counted (it has
 * "client.syscalls_per_call", and so no "client.poll_per_call" means none); else NaN. */
double result_value(const struct result_run *run, const char *key);

/* Columns in front of a run's label and figures. */
struct result_lead {
    const char *const *names;
    size_t count;
    int (*put)(void *owner, size_t run, size_t column, FILE *out); /* a field; -1 without memory */
    void *owner;
};

/* Results as CSV: a header, then one row a run, in their order, with every figure that any run has.
 * *text is malloc'ed. */
int result_csv(const struct result *result, const struct result_lead *lead, char **text,
               size_t *length, struct err *error);

#endif
