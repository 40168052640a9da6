/* Several processes at a time, which are waited for together. */
#ifndef SONDE_RUN_CHILDREN_H
#define SONDE_RUN_CHILDREN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct children_one {
    char **arguments; /* NULL-terminated, with the program's name */
    const char *name; /* for errors: "worker 2" */
    /* Set by children_run: */
    pid_t pid;
    int exit_file;
    int status; /* as waitpid gives it */
};

/* Starts `path` once for each, throws away what they print (their errors go where ours go), and
 * waits for all. stop_fd: when readable, all are sent SIGINT, so that each ends in its own way; a
 * second time, or where one takes longer than half a minute for it, all are killed. None outlives
 * this call. 0 where all have ended with 0; else -1 with *error, about the first that did not, or
 * that it was interrupted (all in order otherwise). */
int children_run(const char *path, struct children_one *all, size_t count, int stop_fd,
                 struct err *error);

#endif
