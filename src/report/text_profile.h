/* Rows of a probe that are of code. Private to report/. */
#ifndef SONDE_REPORT_TEXT_PROFILE_H
#define SONDE_REPORT_TEXT_PROFILE_H

#include <stdbool.h>

#include "report/record.h"
#include "report/text.h"

/* True for a row that says of which function it is. */
bool text_is_function(const struct record_probe_row *row);

/* Prints the table of functions; nothing where there are none. */
void text_functions(struct text *text, const struct record_probe *probe);

#endif
