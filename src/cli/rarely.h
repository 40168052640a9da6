/* Lines about strangers: at most one a second, whatever they do, and the next one says how many
 * were left out. */
#ifndef SONDE_CLI_RARELY_H
#define SONDE_CLI_RARELY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Zeroed to begin with; any thread may call. */
struct rarely {
    _Atomic uint64_t said_ns, left_out;
};

enum { RARELY_TEXT = 40 };

/* Whether a line may be written; with " (and N more)" in *more, or "". */
bool rarely(struct rarely *lines, uint64_t now_ns, char more[RARELY_TEXT]);

#endif
