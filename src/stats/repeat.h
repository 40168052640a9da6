/* What the same measurement, made n times, says: its summary, whether it drifts, and which of its
 * values lie far out. */
#ifndef SONDE_STATS_REPEAT_H
#define SONDE_STATS_REPEAT_H

#include <stdbool.h>
#include <stddef.h>

#include "stats/summary.h"

/* From so many values on a 95 % interval of their median exists (1 - 2^(1-n) >= 0.95); below, the
 * bounds of repeat_summary are the range of the values. */
#define REPEAT_INTERVAL_LEAST 6

struct repeat_summary {
    struct interval median;
    double least, most;
    double deviation; /* standard, of the sample */
};

/* n > 0 finite values. NaN where memory is short. */
struct repeat_summary repeat_summarise(const double *values, size_t n);

/* A trend is seen where its p is below this: so many false alarms. */
#define REPEAT_DRIFT_P 0.01

struct repeat_drift {
    bool seen;     /* p is low (never below 6 values) and at least 1 % of the median */
    double p;      /* of a trend as clear as this where there is none, two-sided */
    double trend;  /* from first to last value, in their unit */
    double change; /* the same as a share of the median */
};

/* A monotone trend over values in the order of their measurement: the test of Mann (Econometrica
 * 13, 1945) and Kendall, exact up to 60 values, with a slope from pairs half the length apart
 * (Theil's incomplete method, 1950). Equal values make the test more careful, never less. */
struct repeat_drift repeat_drift(const double *values, size_t n);

/* Marks in far[0..n) each value further from the median than 3.5 scaled median absolute deviations
 * (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993) and than 5 % of the median;
 * returns how many. Below 5 values, and without memory, none is. */
size_t repeat_outliers(const double *values, size_t n, bool *far);

#endif
