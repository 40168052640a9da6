/* What the commands of all workloads have in common: options, runs, output. */
#ifndef SONDE_CLI_WORKLOAD_COMMAND_H
#define SONDE_CLI_WORKLOAD_COMMAND_H

#include "cli/command.h"
#include "cli/experiment.h"
#include "cli/output.h"
#include "run/options.h"
#include "workload/workload.h"

struct workload_command {
    struct run_options run;
    struct repeat_options repeat;
    struct output_options output;
    void *options; /* the workload's own, options_bytes of it */
};

/* Fills the option sets of a workload's command. `storage` may be NULL where only the rows are
 * wanted (help). extra: a further set of the workload's, over storage->options + extra_offset. */
size_t workload_command_sets(const struct workload *workload, const struct opt *extra,
                             size_t extra_count, size_t extra_offset,
                             struct workload_command *storage, struct opt_set *sets);

/* Runs the command: parses, measures with each engine, prints. */
int workload_command_run(const struct workload *workload, const struct opt *extra,
                         size_t extra_count, size_t extra_offset, int argc, char **argv,
                         struct err *error);

#endif
