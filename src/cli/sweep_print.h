/* What a sweep shows of its result: tables, CSV. */
#ifndef SONDE_CLI_SWEEP_PRINT_H
#define SONDE_CLI_SWEEP_PRINT_H

#include <stdio.h>

#include "run/sweep_result.h"

/* One figure over the points: what tables and plot are about. */
struct sweep_view {
    const struct sweep_plan *plan;
    const struct sweep_result *result;
    const char *key;     /* of the figure; NULL: no run has any */
    const char *unit;    /* of it */
    size_t rows, series; /* values of the first dimension; combinations of the others and labels */
    uint64_t repeat;
};

/* key NULL: the headline. */
void sweep_view_init(struct sweep_view *view, const struct sweep_plan *plan,
                     const struct sweep_result *result, const char *key, uint64_t repeat);
/* The figure of a cell; NULL where there is none. */
const struct sweep_figure *sweep_view_cell(const struct sweep_view *view, size_t row,
                                           size_t series);
/* Name of a series: "local", "pipe gather"; malloc'ed, NULL without memory. */
char *sweep_view_series(const struct sweep_view *view, size_t series);

/* What a plot is drawn on. */
struct sweep_screen {
    size_t columns;
    bool ascii;
};

/* Tables of median and spread, failures and warnings; a plot unless screen is NULL. */
int sweep_print_text(const struct sweep_view *view, const struct sweep_screen *screen, FILE *out,
                     struct err *error);

/* One row a run, in the order of the runs: its point, then every figure that any run has. *text is
 * malloc'ed. */
int sweep_print_csv(const struct sweep_view *view, char **text, size_t *length, struct err *error);

#endif
