/* The tour: chapters, each of which measures some command lines and shows them as tables. A stop is
 * a command line of sonde's, run by a process of its own as anybody would run it: nothing that an
 * earlier stop left behind is in its figures. */
#ifndef SONDE_CLI_TOUR_H
#define SONDE_CLI_TOUR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "report/result.h"

struct text;

/* One row of a table. */
struct tour_stop {
    const char *words; /* what distinguishes its command line: "--write gather" */
    const char *title; /* what it shows, in a few words */
    /* Why it cannot be measured on this machine, as an engine's. NULL: it can. */
    int (*why_not)(char *reason, size_t size);
};

/* What was measured at a stop. */
struct tour_outcome {
    const struct tour_stop *stop; /* NULL: it has not been reached */
    char *label;                  /* owned: the command line without what all have in common */
    json_t *record;               /* owned; NULL: there is none */
    struct result result;         /* of the record; no runs where there is none */
    struct err failure;           /* why it was not measured, or not to its end */
    bool unavailable;             /* it cannot be measured here, which is no failure */
};

struct tour_column {
    const char *group; /* what it and its neighbours of the same group are about; NULL: none */
    const char *title;
    /* Writes the cell, "-" where it is not known. */
    void (*write)(const struct tour_outcome *outcome, const struct tour_column *column, char *to,
                  size_t size);
    const char *role; /* whose calls */
    const char *key;  /* a figure's (report/result.h), or a system call's name; NULL: all calls */
    const char *unit; /* of the figure */
    double scale;     /* what the value is times; 1: as it is */
};

/* A table. */
struct tour_part {
    const char *command;     /* what all of its command lines begin with: "call" */
    const char *common;      /* and end with: how long, and who is observed */
    unsigned milliseconds;   /* that one takes, about */
    const char *observation; /* what the observed counts are of: "the server's system calls"; NULL:
                                nobody is observed */
    const struct tour_stop *stops;
    size_t stop_count;
    const struct tour_column *columns;
    size_t column_count;
    const char *lesson; /* behind the table: what it teaches, on any machine */
};

struct tour_chapter {
    const char *name; /* "call" */
    const char *title;
    const struct tour_part *parts;
    size_t part_count;
};

extern const struct tour_chapter tour_chapters[];
extern const size_t tour_chapter_count;

/* Ways to write a cell. A figure of the run: */
void tour_figure(const struct tour_outcome *outcome, const struct tour_column *column, char *to,
                 size_t size);
/* The rest is of the calls of a role, as the kernel saw them where it was asked, else as sonde
 * itself counted them: for each second, operation, MiB that they moved; and the names of the most
 * frequent ones with how many there were in a second. */
void tour_calls_per_second(const struct tour_outcome *outcome, const struct tour_column *column,
                           char *to, size_t size);
void tour_calls_per_operation(const struct tour_outcome *outcome, const struct tour_column *column,
                              char *to, size_t size);
void tour_calls_per_mib(const struct tour_outcome *outcome, const struct tour_column *column,
                        char *to, size_t size);
void tour_calls_by_name(const struct tour_outcome *outcome, const struct tour_column *column,
                        char *to, size_t size);

/* Prints a table, what it teaches, and the command lines of its rows. */
void tour_print_part(const struct tour_part *part, const struct tour_outcome *outcomes,
                     struct text *text);

#endif
