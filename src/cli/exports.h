/* Results for other tools while runs go on, and after them: HdrHistogram's log and percentile
 * distribution, and the figures as OpenMetrics text. */
#ifndef SONDE_CLI_EXPORTS_H
#define SONDE_CLI_EXPORTS_H

#include <stdbool.h>

#include "cli/output.h"
#include "report/record.h"
#include "run/run.h"

struct exports;

/* Begins what the options ask for; *exports is NULL where they ask for nothing, which all of these
 * allow. `several`: there are runs of several labels, so that the label is part of names. */
int exports_open(struct exports **exports, const struct output_options *options,
                 const struct record *record, bool several, struct err *error);

/* A run of this label begins, which will be the last one in the record. repetition 0: it is not
 * repeated; `discarded`: it is kept out of everything. */
void exports_begin(struct exports *exports, const char *label, uint32_t repetition, bool discarded);
/* As struct run_plan's progress. */
void exports_progress(struct exports *exports, const struct run_progress *progress);
/* It has ended, and this is what the record has of it. */
void exports_end(struct exports *exports, const struct record_run *run);

/* Writes the rest and frees it. -1 with the first failure of all: a file that cannot be written
 * ends no run. OpenMetrics text of the whole record is output_write's. */
int exports_close(struct exports *exports, struct err *error);

#endif
