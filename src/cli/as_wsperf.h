/* Inside of `sonde as wsperf`: the command lines, result files and table of wsperf. */
#ifndef SONDE_CLI_AS_WSPERF_H
#define SONDE_CLI_AS_WSPERF_H

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "codec/wsperf.h"
#include "stats/histogram.h"

/* ---- the prober: URI THREADS CONNECTIONS LOW HIGH [RESULTFILE] ------------------------------- */

enum {
    AS_WSPERF_THREADS_MOST = 1024,
    AS_WSPERF_MARK_MOST = 1000000,
    AS_WSPERF_CONNECTIONS_MOST = 1000000000,
};

struct as_wsperf_options {
    const char *uri;
    uint64_t threads; /* 0: the program runs on its main thread; here that is one thread too */
    uint64_t connections, low, high;
    const char *file; /* NULL: standard output */
};

/* A whole decimal number from `least` to `most`. */
bool as_wsperf_number(const char *text, uint64_t least, uint64_t most, uint64_t *value);

/* Opens the connections and writes the result; the exit status, or -1 with *error. */
int as_wsperf_client(const struct as_wsperf_options *options, struct err *error);

/* ---- the driver: --wsuri … ------------------------------------------------------------------- */

/* The exit status, or -1 with *error. */
int as_wsperf_driver(int argc, char **argv, struct err *error);

/* The name of a worker's result file, of a pattern in Python's manner: %d (also %3d, %03d) stands
 * for its number, %% for a percent sign. False where it has another % or does not fit; *numbers:
 * how many %d there are. */
bool as_wsperf_file_name(const char *pattern, unsigned worker, char *to, size_t size,
                         unsigned *numbers);

/* ---- the table ------------------------------------------------------------------------------- */

/* Times below this are counted exactly, in whole microseconds; longer ones in HdrHistogram's
 * buckets of 3 significant digits. */
#define AS_WSPERF_EXACT_US (1u << 22)

__extension__ typedef unsigned __int128 as_wsperf_wide;

/* What any number of result files come to, in memory that does not grow with them. */
struct as_wsperf_totals {
    uint64_t success, fail;
    int64_t started_ns, ended_ns; /* the first start and the last end of all files */
    bool any;                     /* there was one */
    /* Over `open` of the connections that did not fail: */
    uint64_t minimum_us, maximum_us;
    as_wsperf_wide sum_us, sum_of_squares;
    uint64_t *exact; /* AS_WSPERF_EXACT_US of them */
    struct histogram *longer;
};

int as_wsperf_totals_open(struct as_wsperf_totals *totals, struct err *error);
void as_wsperf_totals_close(struct as_wsperf_totals *totals); /* safe to call twice */

void as_wsperf_add_connection(struct as_wsperf_totals *totals,
                              const struct wsperf_connection *connection);
void as_wsperf_add_head(struct as_wsperf_totals *totals, const struct wsperf_head *head);

/* Adds a result file, read as a stream. Names the file and the place where it is none. */
int as_wsperf_load(struct as_wsperf_totals *totals, const char *path, struct err *error);

/* The value (µs) with `place` smaller or equal ones before it; there have to be more than that. */
uint64_t as_wsperf_at(const struct as_wsperf_totals *totals, uint64_t place);

/* Of the successful ones; NaN where there are too few. */
double as_wsperf_mean_us(const struct as_wsperf_totals *totals);
double as_wsperf_deviation_us(const struct as_wsperf_totals *totals);

/* "Aggregate results (WebSocket Opening+Closing Handshake)" and so on. */
void as_wsperf_print(const struct as_wsperf_totals *totals, FILE *out);

/* Loads files one after the other, saying so on standard output, and prints their table. */
int as_wsperf_analyze(char *const *files, size_t count, struct err *error);

#endif
