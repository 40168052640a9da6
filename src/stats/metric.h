/* A metric is declared once, in one row; text, JSON, CSV and the documentation come from it. */
#ifndef SONDE_STATS_METRIC_H
#define SONDE_STATS_METRIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a metric comes out of a module's array of counters. */
enum metric_kind {
    METRIC_COUNT,      /* counters[numerator] */
    METRIC_COUNT_OF,   /* the same; not there where counters[denominator], its whole, is 0 */
    METRIC_PER_SECOND, /* counters[numerator] / window in seconds */
    METRIC_RATIO,      /* counters[numerator] / counters[denominator]; n/a where that is 0 */
    METRIC_MISSING,    /* counters[denominator] - counters[numerator], at least 0 */
    METRIC_LEVEL,      /* the same; in an interval, what it has come to by the interval's end: over
                          the counters since the beginning of the window */
    METRIC_MISSING_SHARE, /* that, of counters[denominator]; n/a where that is 0 */
    METRIC_VALUE,         /* set directly by who measures it */
};

struct metric {
    const char *key;   /* stable name in JSON and CSV: "calls_per_second" */
    const char *unit;  /* "1/s", "ns", "bytes", "1" */
    const char *title; /* in text: "calls/s" */
    const char *help;  /* one sentence */
    enum metric_kind kind;
    uint8_t numerator, denominator; /* indexes into the module's counters */
    bool per_interval;              /* also given for each interval */
    bool rare;                      /* in text only where it is not 0 */
};

/* Computes a metric from counters over a window. False: not available (division by 0, VALUE). */
static inline bool metric_compute(const struct metric *metric, const uint64_t *counters,
                                  uint64_t window_ns, double *value)
{
    double numerator = (double)counters[metric->numerator];
    double all = (double)counters[metric->denominator];
    double missing = all > numerator ? all - numerator : 0;
    switch (metric->kind) {
    case METRIC_COUNT:
        *value = numerator;
        return true;
    case METRIC_COUNT_OF:
        *value = numerator;
        return counters[metric->denominator] != 0;
    case METRIC_PER_SECOND:
        *value = window_ns ? numerator * 1e9 / (double)window_ns : 0;
        return window_ns != 0;
    case METRIC_RATIO:
        *value =
            counters[metric->denominator] ? numerator / (double)counters[metric->denominator] : 0;
        return counters[metric->denominator] != 0;
    case METRIC_MISSING:
    case METRIC_LEVEL:
        *value = missing;
        return true;
    case METRIC_MISSING_SHARE:
        *value = all > 0 ? missing / all : 0;
        return all > 0;
    case METRIC_VALUE:
        break;
    }
    return false;
}

/* Times that make up one whole: its parts follow each other without a gap, at one end, and their
 * means add up. */
enum histogram_part {
    PART_NONE,
    PART_OF_WHOLE,
    PART_HOLDS_PEER, /* the peer's parts lie within this one */
};

/* A histogram that a module fills, declared once like a metric. */
struct histogram_metric {
    const char *key;   /* "response_time" */
    const char *unit;  /* "ns", "bytes" */
    const char *title; /* "response time" */
    const char *help;
    enum histogram_part part;
};

#endif
