/* Arrival schedules of an open loop: when each operation is meant to start. Pure over time. */
#ifndef SONDE_STATS_ARRIVAL_H
#define SONDE_STATS_ARRIVAL_H

#include <stdint.h>

#include "base/rng.h"

enum arrival_kind { ARRIVAL_FIXED, ARRIVAL_POISSON };

/* A time in units of 2^-64 ns. Sums of it are exact, so that a fixed schedule's instant is its
 * index times the gap, however far the schedule has come. */
typedef unsigned __int128 arrival_time;

struct arrival {
    enum arrival_kind kind;
    double gap_ns;     /* mean time between arrivals */
    uint64_t start_ns; /* instant of the schedule's origin */
    uint64_t index;    /* arrivals given out so far */
    arrival_time gap;  /* gap_ns, exactly enough for 10^10 arrivals */
    arrival_time next; /* next arrival after start_ns */
    struct rng rng;
};

/* rate per second > 0. Worker `part` of `parts` gets rate/parts; fixed schedules are shifted by
 * part/parts of the worker's gap, so that together they are evenly spaced, the first at start_ns.
 * Workers may share a seed: `part` goes into it. */
void arrival_init(struct arrival *arrival, enum arrival_kind kind, double rate, uint32_t part,
                  uint32_t parts, uint64_t start_ns, uint64_t seed);

/* Intended start of the next operation, which is not taken yet: to the nearest nanosecond. */
uint64_t arrival_peek(const struct arrival *arrival);

/* Takes it. */
void arrival_take(struct arrival *arrival);

/* How many arrivals are due at or before now_ns and not taken; for Poisson an expectation (exact
 * in whether there is one at all). */
uint64_t arrival_backlog(const struct arrival *arrival, uint64_t now_ns);

#endif
