/* Latency under load: the same run once without and once with a load beside it, in turn; what the
 * load moved, and what it added to the latency. */
#ifndef SONDE_CLI_DURING_H
#define SONDE_CLI_DURING_H

#include <stdbool.h>

#include "base/opt.h"
#include "cli/experiment.h"
#include "run/run.h"

enum during_what { DURING_NONE, DURING_STREAM };

struct during_options {
    uint32_t what; /* enum during_what */
    uint64_t streams;
    uint64_t rate_bytes; /* of each stream, per second; 0: as fast as it goes */
    bool reverse;
    const char *target; /* NULL: the measured run's own way, with a session or without */
};

enum { DURING_OPTIONS = 5 };
extern const struct opt during_rows[DURING_OPTIONS];

struct during; /* a load that is ready to be started, and what was measured without it */

/* What it is to be beside. */
struct during_beside {
    const struct run_options *options;
    const struct address *target;      /* NULL or a bare one: sonde's own server */
    const struct session_ops *session; /* in place of a target; NULL: none */
    const char *session_target;
    size_t runs; /* how many different ones it is to be compared for (engines) */
};

/* Plans the load of these options. */
int during_open(struct during **during, const struct during_options *options,
                const struct during_beside *beside, struct err *error);
void during_close(struct during *during); /* NULL is allowed */

/* Executes the plan as run number `which`, with or without the load, and adds what the load did
 * and, once both have been made in this round, what it added. As run_execute. */
int during_execute(struct during *during, size_t which, bool loaded, const struct run_plan *plan,
                   const struct experiment_turn *turn, struct err *error);

/* Refuses options of a load that there is none of. */
int during_check(const struct opt_set *set, struct err *error);

#endif
