/* The serving end of `sonde serve`, for commands that print otherwise. */
#ifndef SONDE_CLI_SERVE_H
#define SONDE_CLI_SERVE_H

#include "base/err.h"
#include "report/record.h"

/* What is told instead of being printed. */
struct serve_hooks {
    void (*listening)(void *owner);
    /* It has ended, by a signal or the duration; what it did. */
    void (*ended)(void *owner, const struct record_run *run);
    void *owner;
};

/* As `sonde serve` with these arguments; hooks may be NULL. */
int serve_run(int argc, char **argv, const struct serve_hooks *hooks, struct err *error);

#endif
