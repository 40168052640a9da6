/* What the commands of all workloads have in common: options, runs, output. */
#ifndef SONDE_CLI_WORKLOAD_COMMAND_H
#define SONDE_CLI_WORKLOAD_COMMAND_H

#include "cli/command.h"
#include "cli/during.h"
#include "cli/experiment.h"
#include "cli/find_max.h"
#include "cli/output.h"
#include "run/options.h"
#include "run/web_server.h"
#include "workload/workload.h"

struct workload_command {
    struct run_options run;
    struct repeat_options repeat;
    struct find_max_options find_max;
    struct during_options during;
    struct output_options output;
    struct web_server_options web_server;
    void *options; /* the workload's own, options_bytes of it */
};

/* A set of rows. */
struct row_set {
    const struct opt *rows;
    size_t count;
};

/* How a workload's command is made. */
struct workload_form {
    const struct workload *workload;
    const struct workload *datagrams; /* instead of it where the target is of datagrams; or NULL */
    struct row_set load;              /* over struct run_options: how much; may be empty */
    struct row_set run;               /* over struct run_options: through what */
    struct row_set sockets;           /* over struct wire_options */
    struct row_set server; /* of sonde's own server, over the workload's options; may be empty */
    size_t server_offset;  /* where in these options */
    /* Which workload the options ask for, among those with the same rows as `workload`. NULL: it.
     */
    const struct workload *(*choose)(const void *options);
    /* Carries over what the workload's own options mean for a run. May be NULL. */
    void (*adapt)(const void *options, struct run_options *run);
    /* Refuses options of the workload that do not fit the run's. May be NULL. */
    int (*check_run)(const void *options, const struct run_options *run, struct err *error);
    const char *const *further; /* forms of a target beside the transports', NULL-terminated */
    /* Bytes that a web server in the place of sonde's own has at WEB_SERVER_PATH. NULL: there can
     * be none. */
    uint64_t (*payload_bytes)(const void *options);
    bool during; /* it can be measured beside a load (cli/during.h) */
};

/* What `sonde stream` measures, and others have beside them. */
extern const struct workload_form stream_form;

/* Fills the option sets of a workload's command. `storage` may be NULL where only the rows are
 * wanted (help). */
size_t workload_command_sets(const struct workload_form *form, struct workload_command *storage,
                             struct opt_set *sets);

/* Runs the command: parses, measures with each engine, prints. */
int workload_command_run(const struct workload_form *form, int argc, char **argv,
                         struct err *error);

#endif
