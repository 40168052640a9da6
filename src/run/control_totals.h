/* What the server of a session counted, as it crosses to the client: the sums that the client's own
 * figures are completed with. */
#ifndef SONDE_RUN_CONTROL_TOTALS_H
#define SONDE_RUN_CONTROL_TOTALS_H

#include <jansson.h>
#include <sys/types.h>

#include "base/err.h"
#include "run/session.h"

/* A new reference; NULL with *error. */
json_t *control_totals_json(const struct session_totals *totals, struct err *error);

/* Reads them into tallies that are initialised and empty: flows that these have no room for are
 * left out. totals->same_host: the server runs on this very machine. -1 with *error (ERR_PROTOCOL,
 * `name` as its subject) where they are not acceptable. */
int control_totals_read(const json_t *json, const char *name, struct session_totals *totals,
                        struct err *error);

/* A list of a workload's counters, as messages hold it: a new reference, or NULL; and read back
 * into BANK_COUNTERS, those that are not there 0. */
json_t *control_counters_json(const uint64_t *counters);
void control_counters_read(const json_t *list, uint64_t *counters);

#endif
