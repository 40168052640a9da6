/* Inside of a sweep's plan: the VALUES of one dimension. */
#ifndef SONDE_RUN_SWEEP_VALUES_H
#define SONDE_RUN_SWEEP_VALUES_H

#include "run/sweep_plan.h"

/* Parses NAME=VALUES (length bytes) into the dimension; what was made so far is in it also on
 * failure. The row of an option is looked up in the sets; whether it takes the values is not
 * looked at. */
int sweep_values_parse(struct sweep_dimension *dimension, const struct opt_set *sets,
                       size_t set_count, const char *text, size_t length, struct err *error);
void sweep_values_release(struct sweep_dimension *dimension);

/* The row with this name (or --no-NAME of such a row, or this letter); NULL where there is none. */
const struct opt *sweep_find_row(const struct opt_set *sets, size_t set_count, const char *name);

#endif
