/* HdrHistogram's V2 encoding: cookie 0x1c849303, ZigZag LEB128 counts with runs of zeroes; its
 * compressed wrapper (cookie 0x1c849304, zlib) and base64. Any HdrHistogram tool reads it. */
#ifndef SONDE_STATS_HDR_CODEC_H
#define SONDE_STATS_HDR_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "stats/histogram.h"

/* The histogram as compressed V2 in base64, a malloc'ed text; NULL without memory. The format has
 * no place for out_of_range, nor for the exact minimum and maximum: a reader has their buckets. */
char *hdr_encode(const struct histogram *histogram);

/* Reads such a text (compressed V2 of this configuration) and ADDS its counts to *histogram.
 * Truncated, oversized, foreign or inconsistent input: -1 with *error (ERR_PROTOCOL), and
 * *histogram unchanged. Counts in buckets above HISTOGRAM_HIGHEST, which HdrHistogram's last
 * buckets can hold, go to out_of_range. Memory used is bounded by the configuration, whatever the
 * input says. */
int hdr_decode(const char *text, size_t length, struct histogram *histogram, struct err *error);

#endif
