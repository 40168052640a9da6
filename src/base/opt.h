/* Options. One row declares an option; the row reaches the parser, --help, the JSON record, the
 * man page and the shell completions. Each module owns its array of rows over its own struct. */
#ifndef SONDE_BASE_OPT_H
#define SONDE_BASE_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum opt_type {
    OPT_TYPE_BOOL,     /* bool: --name, and --no-name where the default is "yes" */
    OPT_TYPE_COUNT,    /* uint64_t: whole number, with k/M/G decimal suffixes (20k = 20,000) */
    OPT_TYPE_SIZE,     /* uint64_t bytes: IEC suffixes (64k = 65,536) */
    OPT_TYPE_DURATION, /* uint64_t ns: 5, 5s, 10ms, 200us, 3m, 1h; a bare number is seconds */
    OPT_TYPE_RATE,     /* double per second: SI suffixes (10k = 10,000) */
    OPT_TYPE_TEXT,     /* const char *: points into argv or at the default */
    OPT_TYPE_CHOICE,   /* uint32_t: index into choices */
    OPT_TYPE_LIST,     /* struct opt_list: repeatable and comma-separated texts */
    OPT_TYPE_CUSTOM,   /* any member: the row's own parse and print */
};

/* Texts that an OPT_LIST option collected. All is owned by the list: opt_release frees it. */
struct opt_list {
    char **items;
    size_t count;
};

struct opt {
    const char *name; /* long name, without dashes */
    char letter;      /* short name or 0 */
    enum opt_type type;
    size_t offset;        /* of the member in the target struct */
    const char *initial;  /* the default, as the user would type it; NULL: zero / none (CUSTOM: the
                             target as it was) */
    uint64_t least, most; /* bounds for COUNT, SIZE, DURATION (ns) and RATE; most 0: no bound */
    const char *const *choices; /* NULL-terminated, for CHOICE; for LIST: only these are valid */
    bool whole;                 /* LIST: only line ends separate items, commas are theirs */
    const char *argument;       /* name of the argument in help: "N", "SIZE", "NAME" */
    const char *optional;       /* value when given without `=VALUE` (then the value is only taken
                                   with `=`); NULL: a value is required */
    const char *help;           /* one line, no full stop */
    int (*parse)(const char *text, void *member, struct err *error); /* CUSTOM */
    void (*print)(const void *member, FILE *out);                    /* CUSTOM: parsable text */
};

/* 0, or does not compile: the member must have exactly this type. */
#define OPT_CHECK(structure, member, expected)                                                     \
    (0 * sizeof(char[_Generic(((structure *)0)->member, expected : 1, default : -1)]))
#define OPT_ROW(structure, member, kind, expected, ...)                                            \
    {                                                                                              \
        .type = (kind),                                                                            \
        .offset = offsetof(structure, member) + OPT_CHECK(structure, member, expected),            \
        __VA_ARGS__                                                                                \
    }
#define OPT_BOOL(s, m, ...) OPT_ROW(s, m, OPT_TYPE_BOOL, bool, __VA_ARGS__)
#define OPT_COUNT(s, m, ...) OPT_ROW(s, m, OPT_TYPE_COUNT, uint64_t, __VA_ARGS__)
#define OPT_SIZE(s, m, ...) OPT_ROW(s, m, OPT_TYPE_SIZE, uint64_t, __VA_ARGS__)
#define OPT_DURATION(s, m, ...) OPT_ROW(s, m, OPT_TYPE_DURATION, uint64_t, __VA_ARGS__)
#define OPT_RATE(s, m, ...) OPT_ROW(s, m, OPT_TYPE_RATE, double, __VA_ARGS__)
#define OPT_TEXT(s, m, ...) OPT_ROW(s, m, OPT_TYPE_TEXT, const char *, __VA_ARGS__)
#define OPT_CHOICE(s, m, ...) OPT_ROW(s, m, OPT_TYPE_CHOICE, uint32_t, __VA_ARGS__)
#define OPT_LIST(s, m, ...) OPT_ROW(s, m, OPT_TYPE_LIST, struct opt_list, __VA_ARGS__)
#define OPT_CUSTOM(s, m, t, ...) OPT_ROW(s, m, OPT_TYPE_CUSTOM, t, __VA_ARGS__)

#define OPT_SET_ROWS_MAX 64

/* A titled group of rows and the struct that they fill. */
struct opt_set {
    const char *title;
    const struct opt *rows;
    size_t count;
    void *target;
    uint64_t given; /* bit i: row i stood on the command line */
};

/* Positional arguments, in order; items point into argv. */
struct opt_arguments {
    char **items;
    size_t count;
    char **rest;             /* after a bare `--`, NULL-terminated; NULL where there was none */
    const struct opt *loose; /* an option that stood without its optional value right before a
                                positional, which may have been meant to be that value; or NULL */
    const char *loose_value;
};

/* Sets every member to its row's default, without reading what it held. A default that its own row
 * refuses, and a name or letter that stands twice in the sets, are programming errors, reported as
 * such (ERR_UNSUPPORTED). Whether it fails or not, opt_release is safe afterwards. */
int opt_defaults(struct opt_set *sets, size_t set_count, struct err *error);

/* Parses argv (argv[0] is skipped) into the sets' targets. Accepts --name VALUE, --name=VALUE,
 * -x VALUE, -xVALUE, -x=VALUE, grouped boolean letters, `--`; options and positionals may mix. The
 * last of several wins; lists grow. A value that begins with a dash (other than a number's) needs
 * the form with `=`.
 * arguments->items is malloc'ed (free with opt_release). An error names the option, the value and
 * what is accepted, and offers the nearest name for a typo; code ERR_USAGE.
 * `--help`/-h is not handled here: the caller looks for it first (opt_wants_help). */
int opt_parse(struct opt_set *sets, size_t set_count, int argc, char **argv,
              struct opt_arguments *arguments, struct err *error);

/* Sets one option by its long name, as --NAME=VALUE on a command line would: for options that come
 * by other ways. Its text must live as long as the target. */
int opt_set_text(struct opt_set *sets, size_t set_count, const char *name, const char *value,
                 struct err *error);

/* True where --help or -h stands before a bare `--` as an option of its own. */
bool opt_wants_help(int argc, char **argv);

/* True where the row that fills `offset` of set->target was given on the command line. */
bool opt_given(const struct opt_set *set, size_t offset);

/* To an error about a positional: that it may have been meant as an option's value. Returns -1. */
int opt_hint_loose(const struct opt_arguments *arguments, struct err *error);

/* Frees what parsing allocated in lists and arguments. Safe to call twice. */
void opt_release(struct opt_set *sets, size_t set_count, struct opt_arguments *arguments);

/* Writes the value of a row in the target as text that the row would parse to the same value. */
void opt_print_value(const struct opt *row, const void *target, FILE *out);

/* Writes "Group:\n  -x, --name=ARG   help [default]" for each set, aligned, within 100 columns.
 * Choices and bounds that matter are named. */
void opt_print_help(const struct opt_set *sets, size_t set_count, FILE *out);

/* Name of the row's argument in help ("N", "SIZE"); NULL for a boolean. */
const char *opt_argument_name(const struct opt *row);

/* True for a boolean whose default is yes: it has --no-NAME. */
bool opt_has_negation(const struct opt *row);

/* Writes what the row accepts, for errors ("a size such as 64k, 1 to 1g") and, with its choices,
 * bounds and default, for help ("bytes of a call (1 to 1g) [64]"). Return `to`. */
const char *opt_accepts(const struct opt *row, char *to, size_t size);
const char *opt_describe(const struct opt *row, char *to, size_t size);

/* The name among `names` that is nearest to `typed` (Damerau-Levenshtein, at most a third of its
 * length away, at least 1), or NULL. */
const char *opt_nearest(const char *typed, const char *const *names, size_t count);

#endif
