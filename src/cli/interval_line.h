/* The line that a run prints for each interval. */
#ifndef SONDE_CLI_INTERVAL_LINE_H
#define SONDE_CLI_INTERVAL_LINE_H

#include <stdio.h>

#include "run/run.h"

/* Prints it, as the interval ends. */
void interval_line_print(FILE *out, const struct run_progress *progress);

#endif
