/* A command that waits at its execve until it is let go. */
#ifndef SONDE_RUN_HELD_H
#define SONDE_RUN_HELD_H

#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/err.h"

struct held_command {
    pid_t pid;       /* 0: none, or reaped */
    int pid_file;    /* pidfd: readable when it has ended; -1 */
    int go, trouble; /* pipe ends of the parent; -1 where closed */
};

/* Forks; the child restores `mask` and waits. */
int held_start(struct held_command *command, const sigset_t *mask, char **argv, struct err *error);

/* Lets it call execve; fails with the reason where that fails (the child is reaped then). */
int held_release(struct held_command *command, const char *name, struct err *error);

/* Waits for its end and reaps it: status as waitpid gives it, usage with the children that it
 * waited for. */
int held_reap(struct held_command *command, int *status, struct rusage *usage, struct err *error);

/* Ends it where it still runs (`signal`, then SIGKILL after grace_ms) and reaps it. Returns true
 * where SIGKILL was needed. Safe to call twice. */
bool held_end(struct held_command *command, int signal, int grace_ms, int *status,
              struct rusage *usage);

#endif
