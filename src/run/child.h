/* Running sonde itself as a child, and reading its record: how `sonde sweep` and `sonde compare`
 * make runs that share nothing. */
#ifndef SONDE_RUN_CHILD_H
#define SONDE_RUN_CHILD_H

#include <jansson.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Runs `sonde ARGUMENTS… --json=…` (arguments: NULL-terminated, without "sonde") and parses the
 * record that it wrote, also where it failed with one (*status is its exit status). stop_fd: when
 * readable (the user wants to end), the child is sent SIGINT and waited for. The child's standard
 * error is caught: its line is the error's text. -1 with *error where there is no record. The
 * caller owns *record. No child outlives this call. */
int child_measure(char *const *arguments, int stop_fd, json_t **record, int *status,
                  struct err *error);

/* The path of this very program where it still stands there, so that processes bear its name; else
 * (replaced by a newer build, say) the file that is running, since all runs are to be of one
 * program. `to` may be used for it. */
const char *child_own_path(char *to, size_t size);

/* Starts a program in a group of its own, with these files as its output and errors, nothing to
 * read, default signals, and our end as its own; its pid, or -errno. *refused (to be closed) brings
 * the errno of a failed execve, and an end of file after a successful one. */
pid_t child_spawn(const char *path, char **arguments, int output, int errors, int *refused);

/* The same for a program that begins in another directory, or with something to read. */
struct child_program {
    const char *path;
    char **arguments;
    const char *directory; /* NULL: ours */
    int input;             /* -1: nothing to read */
    int output, errors;
};
pid_t child_spawn_program(const struct child_program *program, int *refused);

/* Why a record is not complete: its first run's error, or its own. Returns -1 with *error. */
int child_failure(const json_t *record, struct err *error);

#endif
