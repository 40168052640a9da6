/* The text of `sonde observe`. */
#ifndef SONDE_CLI_OBSERVE_PRINT_H
#define SONDE_CLI_OBSERVE_PRINT_H

#include <stdio.h>

#include "base/err.h"
#include "report/record.h"
#include "run/observe.h"

/* One line for each process that called in this interval. */
void observe_print_interval(FILE *out, const struct observe_interval *interval);

/* The whole report of a record with one run. Sets *failed where it ran out of memory. */
void observe_print_report(FILE *out, const struct record *record, bool *failed);

#endif
