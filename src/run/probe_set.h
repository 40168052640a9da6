/* The probes of a run that were chosen by name: which of them serve here, and why not the others.
 */
#ifndef SONDE_RUN_PROBE_SET_H
#define SONDE_RUN_PROBE_SET_H

#include <stdbool.h>
#include <stddef.h>

#include "probe/probe.h"
#include "report/record.h"

#define PROBES_MOST 16

struct chosen_probe {
    const struct probe_ops *ops;
    struct probe *probe; /* NULL: it does not serve, or is not open */
    char reason[192];    /* why not, and what would mend that */
};

struct probe_set {
    struct chosen_probe chosen[PROBES_MOST];
    size_t count;
    struct targets *targets; /* NULL: nothing is observed */
};

/* By name; `known` ends with NULL. ERR_USAGE with the nearest name for one that is not known, and
 * for one that stands twice. */
int probe_set_choose(struct probe_set *set, const struct opt_list *names,
                     const struct probe_ops *const *known, struct err *error);

/* Opens the targets (whom->bpf is set here: where a probe that serves needs it) and the probes.
 * A probe that cannot serve has its reason; -1 where none can (error: that of the first), where one
 * cannot and `all` are required, and where the targets cannot be opened. Safe to close then. */
int probe_set_open(struct probe_set *set, const struct targets_config *whom,
                   const struct probe_options *options, bool all, struct err *error);

/* The open probe that counts system calls (PROBE_CALLS); NULL where it is not there. */
struct chosen_probe *probe_set_find_calls(struct probe_set *set);

/* Reads one probe into *run: always a record_probe of its name, with the scope, which is returned;
 * NULL with *error. */
struct record_probe *probe_set_read(struct chosen_probe *chosen, const struct probe_scope *scope,
                                    struct record_run *run, struct err *error);

void probe_set_close(struct probe_set *set); /* safe to call twice */

#endif
