/* Fields of CSV, quoted as RFC 4180 has it. */
#ifndef SONDE_REPORT_CSV_H
#define SONDE_REPORT_CSV_H

#include <stdio.h>

/* A field, quoted where it must be, made valid UTF-8. -1 without memory. */
int csv_put_text(FILE *out, const char *text);
/* A comma and a number; nothing behind the comma where it is not finite. */
void csv_put_number(FILE *out, double value);

#endif
