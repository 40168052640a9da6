/* A time series of counters in constant memory: when it is full, neighbours are merged in pairs
 * and the series goes on at half its resolution. */
#ifndef SONDE_STATS_SERIES_H
#define SONDE_STATS_SERIES_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SERIES_COUNTERS_MAX 32

/* One interval. Times are from the start of the window. */
struct series_point {
    uint64_t start_ns;
    uint64_t duration_ns; /* measured time inside it (parts may leave gaps) */
    uint64_t counters[SERIES_COUNTERS_MAX];
};

struct series {
    struct series_point *points; /* capacity entries, allocated once */
    size_t count, capacity;
    size_t counter_count;
    uint32_t merged; /* source intervals in a full point: 1, 2, 4 … */
    uint32_t open;   /* source intervals already in the last point */
};

/* capacity: an even number >= 2. 0, or -1 without memory. */
int series_init(struct series *series, size_t capacity, size_t counter_count, struct err *error);
void series_release(struct series *series); /* safe to call twice */
/* Appends one source interval (counters are added to the open point while it is not full). */
void series_append(struct series *series, const struct series_point *point);

#endif
