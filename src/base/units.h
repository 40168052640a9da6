/* Numbers with units, both ways. Sizes are IEC (64k = 65,536), counts and rates SI. */
#ifndef SONDE_BASE_UNITS_H
#define SONDE_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

#define UNITS_TEXT_MAX 48

/* Each parses the whole of `text` and returns 0, or -1 where it is not such a number or does not
 * fit (negative, overflow, trailing characters). errno is then ERANGE where it is a number that
 * does not fit, else EINVAL. A part that is no whole byte, nanosecond or count is refused. */
int units_parse_count(const char *text, uint64_t *value);   /* 20k = 20,000 */
int units_parse_size(const char *text, uint64_t *bytes);    /* 64k = 65,536; 1.5m */
int units_parse_duration(const char *text, uint64_t *ns);   /* 5, 5s, 10ms, 2us, 7ns, 3m, 1h */
int units_parse_rate(const char *text, double *per_second); /* 10k, 2.5M */
/* As units_bytes writes them, and sizes as above, also no whole bytes: "4.6 GiB", "4.6g"; a final
 * "/s" is allowed. */
int units_parse_bytes(const char *text, double *bytes);

/* Each writes a text for people into `to` (UNITS_TEXT_MAX bytes) and returns it. Whole values below
 * 100 in their base unit have no decimals ("7", "512 B"); NaN is "-". */
const char *units_count(char *to, double value); /* 1,620,521 ; 3 significant digits under 100 */
const char *units_si(char *to, double value, const char *unit); /* "28.1 M" + unit */
const char *units_bytes(char *to, double bytes);                /* "64.0 KiB" */
const char *units_duration(char *to, double ns);                /* "5.31 µs", "12.0 ms" */

/* Each writes the shortest text that parses back to the same value, in a unit that the value
 * reaches ("100ms", not "0.1s"). A duration always carries its unit. */
const char *units_exact_count(char *to, uint64_t value);
const char *units_exact_size(char *to, uint64_t bytes);
const char *units_exact_duration(char *to, uint64_t ns);
const char *units_exact_rate(char *to, double per_second);

#endif
