/* A plot of characters: values against what was varied, one line a series. */
#ifndef SONDE_REPORT_PLOT_H
#define SONDE_REPORT_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* So many have a mark of their own. */
#define PLOT_SERIES_MAX 8

struct plot_series {
    const char *name;
    const double *y; /* one for each x; NaN: none, and the line is broken there */
};

struct plot {
    const char *x_title, *y_title; /* "buffer", "bytes_per_second" */
    const char *y_unit;            /* of the values: "1/s", "bytes/s", "ns" … */
    const char *const *x_texts;    /* what stands below each x: "4k" */
    const double *x;               /* rising; where any is NaN, all are placed side by side */
    size_t count;                  /* of x */
    const struct plot_series *series;
    size_t series_count; /* at most PLOT_SERIES_MAX */
    size_t columns;      /* width of everything; at least 40 are used */
    size_t rows;         /* height of the area inside of the axes; at least 5 are used */
    bool ascii;          /* else lines are drawn with braille patterns, in UTF-8 */
};

/* Draws it. An axis is logarithmic where its values are above 0 and span a factor of 10 or more,
 * and says so; a linear one of values that are not negative begins at 0. Nothing is drawn where no
 * value is known. Returns -1 without memory. */
int plot_print(const struct plot *plot, FILE *out);

#endif
