/* Looks at a run while it goes on, without a cut: what the workers are writing is read as it
 * stands. That costs a worker a few cache lines that have to come back to it, some tens of
 * microseconds of this thread's time, and none of what a cut costs (two system calls at least of
 * each worker's, and banks that are cold). What is read may be an operation short, and its parts
 * may be of slightly different moments: it is for people, and is in no record. */
#ifndef SONDE_RUN_LOOK_H
#define SONDE_RUN_LOOK_H

#include <stdint.h>

#include "base/err.h"

struct conductor;

/* How often. */
#define LOOK_EVERY_NS (NS_PER_SECOND / 4)

struct looking; /* what looks remember */

/* To be called once the workers have been placed: begins to look where the plan wants it, with this
 * thread on CPUs that no worker is pinned to, where there are any. 0, or -1 without memory. */
int look_open(struct conductor *conductor, struct err *error);
/* Nothing more is to be looked at: this thread may be on all its CPUs again. */
void look_rest(struct conductor *conductor);
void look_close(struct conductor *conductor); /* safe to call twice */

/* When the next look is due; UINT64_MAX: never. */
uint64_t look_next_ns(const struct conductor *conductor);
/* Looks, where it is due. until_ns: when the present stretch ends, if that is known. */
void look_take(struct conductor *conductor, uint64_t now_ns, uint64_t until_ns);

/* Around the window: what this thread took in it. */
void look_window_begins(struct conductor *conductor);
void look_window_ends(struct conductor *conductor);
/* Says in the record what that was, and how much of it looking was. 0, or -1 without memory. */
int look_fill(const struct conductor *conductor);

#endif
