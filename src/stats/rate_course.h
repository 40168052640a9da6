/* A rate that changes over time: steps and ramps. Pure over time. */
#ifndef SONDE_STATS_RATE_COURSE_H
#define SONDE_STATS_RATE_COURSE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum { RATE_PIECES_MAX = 64 };

/* From one rate to another in a straight line; equal ones are a step, 0 a pause. */
struct rate_piece {
    double from, to;    /* per second */
    uint64_t length_ns; /* 0: not given (of a single ramp: it takes the whole window) */
    uint64_t start_ns;  /* from the beginning of the course */
    long double before; /* arrivals until then */
};

/* Before its beginning the rate is its first, behind its end its last. */
struct rate_course {
    uint32_t count;  /* pieces; 0: there is no course */
    double highest;  /* per second */
    uint64_t all_ns; /* 0: not given */
    struct rate_piece pieces[RATE_PIECES_MAX];
};

/* The two of an option's row over a struct rate_course: "1k..50k", "1k:5s,10k:5s,1k..20k:10s"; ""
 * is none. An error is about the part of the text that is wrong. */
int rate_course_parse(const char *text, void *course, struct err *error);
void rate_course_print(const void *course, FILE *out);

/* Fits a course and a window of *duration_ns to each other: what was given (`given`) must not
 * contradict, what was not follows. *interval_ns, unless given, becomes one that divides all pieces
 * where there is such a one of at least least_ns. 0 or -1 with *error, about --rate-course. */
int rate_course_fit(struct rate_course *course, uint64_t *duration_ns, bool given_duration,
                    uint64_t *interval_ns, bool given_interval, uint64_t least_ns,
                    struct err *error);

/* The exact integral: arrivals from the beginning of the course to `ns` behind it; negative before
 * it. */
long double rate_course_count(const struct rate_course *course, long double ns);

/* Its inverse: the last instant until which no more than `count` arrive; infinite where there never
 * are more. *piece: where to look first, 0 at the beginning, for counts that grow. */
long double rate_course_time(const struct rate_course *course, long double count, uint32_t *piece);

#endif
