/* Names of functions in mapped files, from their ELF symbols and separate debug files (elfutils).
 * Built without it, no function has a name. */
#ifndef SONDE_PROBE_SYMBOLS_H
#define SONDE_PROBE_SYMBOLS_H

#include <stdbool.h>
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

/* Where a function that keeps no frame pointer has left what is its caller's, at some place in it.
 */
struct symbols_frame {
    uint32_t caller; /* the word, from the stack pointer on, with the address that it returns to */
    bool pushed;     /* the caller's frame pointer is on the stack: */
    uint32_t saved;  /* in this word; else it is still in its register */
};

/* What the unwind information of an object says of this place: false where there is none, or where
 * the frame is not found from the stack pointer. */
bool symbols_find_frame(struct symbols *symbols, const struct code_object *object, size_t index,
                        pid_t pid, uint64_t offset, struct symbols_frame *frame);

/* Why no function has a name; empty where they have. */
extern const char symbols_missing[];

#endif
