/* The highest rate that keeps to a limit, by probes whose answers are noisy: steps up or down,
 * each larger than the one before, until one passes and one fails, then bisection of the ratio.
 * Pure: whoever searches makes the probes. */
#ifndef SONDE_STATS_RATE_SEARCH_H
#define SONDE_STATS_RATE_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

/* A search ends where what passed and what failed are no further apart. */
#define RATE_SEARCH_TOLERANCE 1.05

enum {
    RATE_SEARCH_VOTES = 3,   /* at most, of one rate; two that agree decide */
    RATE_SEARCH_PROBES = 30, /* at most, of a search */
};

/* What a probe said. One that is clear decides by itself; others are asked again, since noise may
 * have been in it, in either direction. */
enum rate_verdict { RATE_PASSES_CLEARLY, RATE_PASSES, RATE_FAILS, RATE_FAILS_CLEARLY };

enum rate_search_end {
    RATE_SEARCH_GOES_ON,
    RATE_SEARCH_FOUND,   /* low passed and high failed */
    RATE_SEARCH_NEVER,   /* even the lowest failed */
    RATE_SEARCH_ALWAYS,  /* even the highest passed */
    RATE_SEARCH_GIVEN_UP /* there were too many probes: low and high as far as they are known */
};

struct rate_search {
    enum rate_search_end end;
    double rate;      /* to be probed next */
    double step;      /* from it to the next one, until some passed and some failed */
    double low, high; /* the highest that passed (0: none), the lowest that failed (infinite) */
    double lowest, highest; /* that are probed at all */
    uint32_t passes, fails; /* of the present rate */
    uint32_t probes;
};

/* 0 < lowest <= highest; the first probe is at `start`, or the nearest of them, the second a factor
 * of `step` away. */
void rate_search_init(struct rate_search *search, double start, double step, double lowest,
                      double highest);

/* Takes what a probe at search->rate said. */
void rate_search_tell(struct rate_search *search, enum rate_verdict verdict);

#endif
