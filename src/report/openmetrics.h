/* OpenMetrics: names, labels and families. Private to report/. */
#ifndef SONDE_REPORT_OPENMETRICS_H
#define SONDE_REPORT_OPENMETRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "report/record.h"

struct exposition {
    FILE *out;
    const struct record *record;
    bool failed; /* without memory: the text is not whole */
};

/* A unit of ours in theirs: base units, which are the end of a name. */
struct exposition_unit {
    const char *name; /* "seconds"; empty: a number without a unit */
    double factor;    /* of our values */
};
struct exposition_unit exposition_unit_of(const char *unit);

/* "sonde_response_time_seconds", without what the type adds. `middle` may be empty. */
const char *exposition_name(char *to, size_t size, const char *key, const char *middle,
                            const char *unit);

/* The lines that a family begins with. Its samples of all runs follow, and nothing else. */
void exposition_begin(struct exposition *exposition, const char *name, const char *type,
                      const char *unit, const char *help);

/* One further label. */
struct exposition_label {
    const char *name, *value;
};

/* A sample of a run with labels for the run's settings and `count` further ones. */
void exposition_sample(struct exposition *exposition, const char *name, const char *suffix,
                       const struct record_run *run, const struct exposition_label *labels,
                       size_t count, double value);

/* The next run that is shown, from *index on; NULL at the end. Those that were thrown away are not
 * shown, nor one that a later run of the same labels stands for. */
const struct record_run *exposition_run(const struct exposition *exposition, size_t *index);

/* All families of one kind. */
void exposition_of_runs(struct exposition *exposition);
void exposition_of_metrics(struct exposition *exposition);
void exposition_of_histograms(struct exposition *exposition);
void exposition_of_errors(struct exposition *exposition);
void exposition_of_processes(struct exposition *exposition);

#endif
