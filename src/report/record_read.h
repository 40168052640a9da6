/* A run of a record as JSON that another sonde takes up into its own record: the same as the
 * printer's "runs" hold, and the titles of what it measured. */
#ifndef SONDE_REPORT_RECORD_READ_H
#define SONDE_REPORT_RECORD_READ_H

#include <jansson.h>

#include "base/err.h"
#include "report/record.h"

/* A new reference; NULL with *error. */
json_t *record_run_json(const struct record_run *run, struct err *error);

/* Adds to *run what such a JSON holds: processes, metrics, histograms (as the role that they say),
 * errors and probes (to those of the same name, where there are); run->observation, observing and
 * effect are replaced. Everything is checked before it is used; -1 with *error (ERR_PROTOCOL,
 * `name` as its subject) where something is not acceptable, and *run is then as it was. */
int record_run_read(struct record_run *run, const json_t *json, const char *name,
                    struct err *error);

#endif
