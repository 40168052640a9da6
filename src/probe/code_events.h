/* Tells which code is mapped where as it happens: what perf_event_open(2) says of every execve and
 * every mapping of code. So processes that end before anybody can look at them are known too. */
#ifndef SONDE_PROBE_CODE_EVENTS_H
#define SONDE_PROBE_CODE_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "probe/code_maps.h"

struct code_events;

/* From now on, of all processes; -1 with *error where the kernel refuses. */
int code_events_open(struct code_events **events, struct err *error);
void code_events_close(struct code_events *events); /* NULL is allowed */

/* Adds what has been told since the last time. */
int code_events_take(struct code_events *events, struct code_maps *maps, struct err *error);

/* Mappings that were not told, for want of room. */
uint64_t code_events_lost(const struct code_events *events);

/* Adds what one record says (struct perf_event_header and what follows it, `bytes` in all); one
 * that does not hold what its kind needs is passed over. *lost grows by what it says was lost. */
int code_events_parse(const void *record, size_t bytes, struct code_maps *maps, uint64_t *lost,
                      struct err *error);

#endif
