/* Names of functions in mapped files, from their ELF symbols and separate debug files (elfutils).
 * Built without it, no function has a name. */
#ifndef SONDE_PROBE_SYMBOLS_H
#define SONDE_PROBE_SYMBOLS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "probe/code_maps.h"

struct symbols;

int symbols_open(struct symbols **symbols, struct err *error);
void symbols_close(struct symbols *symbols); /* NULL is allowed */

/* Name of the function that lies at `offset` of an object, which some process maps: NULL where it
 * has none, the file cannot be read, or is another one by now (the inode says so). Objects are told
 * apart by `index`. What is returned lives as long as the symbols. */
const char *symbols_find(struct symbols *symbols, const struct code_object *object, size_t index,
                         pid_t pid, uint64_t offset);

/* Why no function has a name; empty where they have. */
extern const char symbols_missing[];

#endif
