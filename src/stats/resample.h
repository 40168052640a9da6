/* Resampling with replacement. Private to stats/. */
#ifndef SONDE_STATS_RESAMPLE_H
#define SONDE_STATS_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"

#define RESAMPLES 10000

int resample_order(const void *left, const void *right); /* of doubles, for qsort */
/* A sorted copy, malloc'ed; NULL without memory. */
double *resample_sorted(const double *values, size_t n);
/* Median of n draws with replacement; `times` has room for n. */
double resample_median(const double *sorted, uint32_t *times, size_t n, struct rng *rng);
/* Sorts the RESAMPLES values and gives the bounds of their middle 95 %. */
void resample_bounds(double *values, double *low, double *high);

#endif
