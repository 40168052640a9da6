/* What others may ask of the counters probe beyond its rows. */
#ifndef SONDE_PROBE_COUNTERS_H
#define SONDE_PROBE_COUNTERS_H

#include "probe/counter_events.h"
#include "report/record.h"

/* The value of a counter by its name ("l1d refills") or of a ratio ("instructions per cycle"), of
 * the processes with that role (NULL: any) as a whole: the first such row. NULL where there is
 * none; with `source`, where the counter became another event, that event's name. */
const struct record_value *counters_find(const struct record_probe *probe, const char *role,
                                         const char *name, const char **source);

#endif
