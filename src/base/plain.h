/* Texts that come from somewhere else and are shown: what a terminal might obey is not among it. */
#ifndef SONDE_BASE_PLAIN_H
#define SONDE_BASE_PLAIN_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the valid UTF-8 sequence at `text` (1..4), 0 where there is none: not even U+0000,
 * surrogates, overlong forms or values above U+10FFFF. */
size_t plain_utf8(const char *text);

/* Bytes of the control character that a text begins with: C0, DEL, C1, and those that turn the
 * direction of what follows (U+202A to U+202E, U+2066 to U+2069). 0: it begins with none. */
size_t plain_control(const char *text);

/* Valid UTF-8 without such a character. */
bool plain_text(const char *text);

#endif
