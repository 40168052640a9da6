/* One file a command; one row in commands[] (main.c). Help, man page and completions are made from
 * these rows and their option rows. */
#ifndef SONDE_CLI_COMMAND_H
#define SONDE_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"
#include "base/opt.h"

#define COMMAND_SETS_MAX 20

struct command {
    const char *name;      /* "call" */
    const char *arguments; /* "[TARGET] [options]" */
    const char *summary;   /* one line */
    const char *details;   /* a paragraph or two for --help and the man page; may be NULL */
    const char *examples;  /* lines "  sonde call …   what it shows"; may be NULL */
    /* Fills the command's option sets (targets pointing at storage of its own) and returns their
     * number: for help, man page and completions. NULL: no options. */
    size_t (*sets)(struct opt_set *sets);
    /* Runs it, argv[0] being the command's name; --help has been handled. Returns the exit status,
     * or fails with *error. */
    int (*run)(int argc, char **argv, struct err *error);
    bool measures; /* one run of it is one result: what sweep varies and compare repeats */
};

/* All commands, NULL-terminated. */
extern const struct command *const commands[];

/* The command of this name; NULL with *error, which offers the nearest. */
const struct command *command_find(const char *name, struct err *error);

/* Each prints what its name says, made from commands[]; returns 0 or -1 with *error. */
int help_overview(FILE *out);                               /* `sonde --help`: one screen */
int help_command(const struct command *command, FILE *out); /* `sonde CMD --help` */
int man_write(FILE *out);                                   /* scdoc source of sonde(1) */
int completion_write(const char *shell, FILE *out, struct err *error); /* bash, zsh, fish */

#endif
