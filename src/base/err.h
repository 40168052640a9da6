/* Errors with context: set where they are detected, printed once, at the edge (cli). */
#ifndef SONDE_BASE_ERR_H
#define SONDE_BASE_ERR_H

#include <stdbool.h>

enum err_code {
    ERR_NONE = 0,
    ERR_USAGE,       /* wrong command line or input: exit status 2 */
    ERR_SYSTEM,      /* a system call failed */
    ERR_PROTOCOL,    /* the peer broke the protocol */
    ERR_LIMIT,       /* a limit of the machine or of the plan is too low */
    ERR_UNSUPPORTED, /* this kernel, machine or build cannot do it */
    ERR_INTERRUPTED, /* stopped by the user */
};

/* One error on its way up. Zero-initialise it; texts are always terminated. */
struct err {
    enum err_code code;
    int number; /* errno, 0 where none applies */
    bool told;  /* it stands in a report on standard output */
    char subject[128];
    char what[256];
    char hint[384];
};

/* Sets *error and returns -1, so that a caller can write `return err_set(...)`.
 * `subject` is what it is about (an option, an address, a file); `what` says what failed. */
int err_set(struct err *error, enum err_code code, const char *subject, const char *what, ...)
    __attribute__((format(printf, 4, 5)));

/* As err_set, for a failed system call: appends the text of errno `number`, code ERR_SYSTEM. */
int err_system(struct err *error, int number, const char *subject, const char *what, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds what the user can do about it. Returns -1. */
int err_hint(struct err *error, const char *hint, ...) __attribute__((format(printf, 2, 3)));

/* Exit status that belongs to the error: 0, 1 (failed) or 2 (usage). */
int err_exit_status(const struct err *error);

#endif
