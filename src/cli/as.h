/* Other programs by their own command lines and output: `sonde as PROGRAM ARGS…`, or a symbolic
 * link of that name to sonde. One file a program; one row in as_programs[] (cmd_as.c). */
#ifndef SONDE_CLI_AS_H
#define SONDE_CLI_AS_H

#include "base/err.h"

struct as_program {
    const char *name;
    const char *summary; /* one line */
    /* argv[0] is the program's name. Prints as the program does, also its own complaints about its
     * command line; returns its exit status, or -1 with *error for what only sonde can fail in. */
    int (*run)(int argc, char **argv, struct err *error);
};

extern const struct as_program as_bench_overhead, as_ipc_static, as_iperf3, as_sockperf, as_wsperf,
    as_wsperf_py;

/* All of them, NULL-terminated; and one by name, NULL where unknown. */
extern const struct as_program *const as_programs[];
const struct as_program *as_find(const char *name);

#endif
