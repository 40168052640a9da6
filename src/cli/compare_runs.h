/* The runs of `sonde compare --run A --run B`. */
#ifndef SONDE_CLI_COMPARE_RUNS_H
#define SONDE_CLI_COMPARE_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "report/result.h"

struct compare_runs {
    const char *texts[2];       /* the command lines as typed */
    uint64_t runs, warmup_runs; /* of each */
    uint64_t seed;
    bool progress; /* a line on standard error while it runs */
    /* Looks at the first pair (may be NULL): -1 with *error ends it there. */
    int (*check)(void *owner, const struct result *pair, struct err *error);
    void *owner;

    struct result *results[2]; /* owned: what came out, pair by pair */
    size_t count;              /* pairs that are whole */
    bool interrupted;
    struct err failure; /* why there are no more; code ERR_NONE: there are all */
};

/* Makes the runs in pairs, both members next to each other and in random order: so no drift and no
 * rhythm of the machine can favour one side, and the test over pairs is exact. Ends early where the
 * user interrupts: what is there stays. */
int compare_runs_make(struct compare_runs *runs, struct err *error);
void compare_runs_release(struct compare_runs *runs); /* safe to call twice */

#endif
