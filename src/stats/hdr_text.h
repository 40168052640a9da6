/* The two texts of HdrHistogram's tools: the interval log (.hlog, version 1.3) and the percentile
 * distribution (.hgrm). Both give values as HdrHistogram does, by the highest value of a bucket. */
#ifndef SONDE_STATS_HDR_TEXT_H
#define SONDE_STATS_HDR_TEXT_H

#include <stdint.h>
#include <stdio.h>

#include "stats/histogram.h"

/* Head of a log. start_ns: CLOCK_REALTIME of what its lines count their time from; `by`: who writes
 * it, for people. Failures are the stream's. */
void hdr_log_begin(FILE *out, uint64_t start_ns, const char *by);

/* One line of a log: what was recorded from start_ns (since the log's start) for length_ns. Bytes
 * of the tag that the format has no place for (blanks, commas) become '_'; an empty tag or NULL:
 * none. -1 without memory. */
int hdr_log_line(FILE *out, const char *tag, uint64_t start_ns, uint64_t length_ns,
                 const struct histogram *histogram);

/* The distribution, five steps in each halving of the distance to 100 %, values divided by
 * `unit`. */
void hdr_distribution(FILE *out, const struct histogram *histogram, double unit);

#endif
