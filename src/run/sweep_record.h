/* The record of a sweep, put together from the outcomes of its runs. Private to the sweep's files
 * (run/sweep_result.h). */
#ifndef SONDE_RUN_SWEEP_RECORD_H
#define SONDE_RUN_SWEEP_RECORD_H

#include "run/sweep_result.h"

/* Sets result->json, the points of its runs and the number of failed ones. -1 without memory. */
int sweep_record_make(struct sweep_result *result, const struct sweep_plan *plan,
                      const struct sweep_turn *turns, const struct sweep_state *state,
                      const struct record *record);

/* The values of a point by option; NULL without memory. */
json_t *sweep_point_json(const struct sweep_plan *plan, size_t point);

#endif
