/* What a sweep has measured so far, in memory and in a file from which it can go on. */
#ifndef SONDE_RUN_SWEEP_STATE_H
#define SONDE_RUN_SWEEP_STATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sweep_state {
    json_t **outcomes; /* owned; one a turn, NULL where it has not been run */
    size_t turns, done;
    size_t resumed;   /* of those done: found in the file */
    const char *path; /* borrowed; NULL: in memory only */
    int file;         /* locked; -1: none */
    uint64_t synced_ns;
};

/* Opens or creates the file (path NULL: none) and takes over what it holds of the same plan. The
 * file is JSON lines: a header with the plan, then one outcome a line. A last line that was cut
 * off is dropped. Another plan, damage, and a file in use are refused. restart: what is there is
 * thrown away. sweep_state_close is safe afterwards in any case. */
int sweep_state_open(struct sweep_state *state, const char *path, const char *plan, size_t turns,
                     bool restart, struct err *error);

/* Keeps the outcome of a turn (an object; the reference is consumed, also on failure). It is on
 * the disk within a second or with the next one. */
int sweep_state_add(struct sweep_state *state, size_t turn, json_t *outcome, struct err *error);

/* Writes what is pending. finished: the file has served its purpose and is removed. Frees all but
 * the file; safe to call twice. */
int sweep_state_close(struct sweep_state *state, bool finished, struct err *error);

#endif
