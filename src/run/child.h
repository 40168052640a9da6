/* Running sonde itself as a child, and reading its record: how `sonde sweep` and `sonde compare`
 * make runs that share nothing. */
#ifndef SONDE_RUN_CHILD_H
#define SONDE_RUN_CHILD_H

#include <jansson.h>

#include "base/err.h"

/* Runs `sonde ARGUMENTS… --json=…` (arguments: NULL-terminated, without "sonde") and parses the
 * record that it wrote, also where it failed with one (*status is its exit status). stop_fd: when
 * readable (the user wants to end), the child is sent SIGINT and waited for. The child's standard
 * error is caught: its line is the error's text. -1 with *error where there is no record. The
 * caller owns *record. No child outlives this call. */
int child_measure(char *const *arguments, int stop_fd, json_t **record, int *status,
                  struct err *error);

/* Why a record is not complete: its first run's error, or its own. Returns -1 with *error. */
int child_failure(const json_t *record, struct err *error);

#endif
