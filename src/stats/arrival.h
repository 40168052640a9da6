/* Arrival schedules of an open loop: when each operation is meant to start. Pure over time. */
#ifndef SONDE_STATS_ARRIVAL_H
#define SONDE_STATS_ARRIVAL_H

#include <stdint.h>

#include "base/rng.h"
#include "stats/rate_course.h"

enum arrival_kind { ARRIVAL_FIXED, ARRIVAL_POISSON };

/* A time in units of 2^-64 ns. Sums of it are exact, so that a fixed schedule's instant is its
 * index times the gap, however far the schedule has come. */
typedef unsigned __int128 arrival_time;

/* A worker's part of a schedule: the connections [first, first + count) of `of` in all. */
struct arrival_share {
    uint32_t first, count, of;
};

struct arrival {
    enum arrival_kind kind;
    double gap_ns;     /* mean time between the worker's arrivals */
    uint64_t start_ns; /* instant of the schedule's origin */
    uint64_t index;    /* arrivals given out so far */
    uint32_t count;    /* arrivals of the worker in a turn of all connections */
    uint32_t place;    /* of the next one among them */
    arrival_time gap; /* to the worker's next in the same turn, exactly enough for 10^10 arrivals */
    arrival_time leap;  /* from its last in a turn to its first in the next */
    arrival_time round; /* a whole turn */
    arrival_time next;  /* next arrival after start_ns */
    struct rng rng;
    /* Of a rate that changes: */
    const struct rate_course *course; /* NULL: it does not */
    uint64_t course_after_ns;         /* it begins so long after start_ns */
    uint32_t piece;                   /* of it, in which the next arrival is or will be */
    uint32_t first, of;               /* of the share */
    uint64_t number;                  /* fixed: of the next arrival, in the whole schedule */
    long double course_at;            /* arrivals of all workers until it, since the course began */
};

/* rate per second > 0, of all workers together; share.count > 0. Of a fixed schedule, the first
 * arrival of which is at start_ns, the connections take turns: the worker gets arrival k where
 * k mod share.of is one of its connections, so that all workers' arrivals are the whole schedule.
 * Of Poisson it gets a process of its own, with its connections' part of the rate; workers may
 * share a seed: share.first goes into it. */
void arrival_init(struct arrival *arrival, enum arrival_kind kind, double rate,
                  struct arrival_share share, uint64_t start_ns, uint64_t seed);

/* The same of a rate that changes, and whose course begins after_ns after start_ns; until then it
 * is the course's first rate, behind its end the last. Fixed: arrival k of all is where the
 * integral of the rate reaches k. Poisson: a unit-rate process of each worker's own, in that
 * integral's time. `course` is fitted (rate_course_fit) and outlives the schedule. */
void arrival_init_course(struct arrival *arrival, enum arrival_kind kind,
                         const struct rate_course *course, uint64_t after_ns,
                         struct arrival_share share, uint64_t start_ns, uint64_t seed);

/* Intended start of the next operation, which is not taken yet: to the nearest nanosecond. */
uint64_t arrival_peek(const struct arrival *arrival);

/* Takes it. */
void arrival_take(struct arrival *arrival);

/* How many arrivals are due at or before now_ns and not taken; for Poisson an expectation (exact
 * in whether there is one at all). */
uint64_t arrival_backlog(const struct arrival *arrival, uint64_t now_ns);

#endif
