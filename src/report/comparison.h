/* Two sets of runs side by side: figures, what changed, and conditions on it. */
#ifndef SONDE_REPORT_COMPARISON_H
#define SONDE_REPORT_COMPARISON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"
#include "report/result.h"
#include "stats/compare.h"

#define COMPARISON_SCHEMA "sonde.comparison/1"

/* One side: the runs of one file, or of all children of one command line. */
struct comparison_side {
    const char *name;             /* file or command line (borrowed) */
    const struct result *results; /* borrowed */
    size_t result_count;
};

/* One figure of both sides. */
struct compared {
    const char *key, *unit; /* borrowed from the results */
    enum figure_better better;
    bool cost;       /* of an end: CPU, calls, switches, memory; else a metric or a latency */
    bool tested;     /* counts among the tests: it varies, and is no copy of another figure */
    bool copy;       /* holds the same numbers as an earlier one (service time in a closed loop) */
    size_t original; /* which, where it is a copy */
    bool holds;      /* different also after Holm's correction over all that were tested */
    struct comparison numbers;
};

/* Runs of one label against those of one label. */
struct compared_group {
    char *a_label, *b_label; /* owned: label and, of a sweep, its point */
    size_t a_runs, b_runs;
    struct compared *figures; /* owned; [0] is the headline */
    size_t figure_count;
    size_t tests;
};

struct comparison_condition {
    const char *text; /* "p99 > +5%" (borrowed) */
    char figure[64];
    bool above, percent;
    double limit;      /* a share where percent */
    char absolute[32]; /* the limit as typed, where not percent */
};

/* What a condition says of one group. */
struct comparison_outcome {
    const struct comparison_condition *condition;
    size_t group;
    const struct compared *figure;
    bool holds; /* the condition is met: a failure */
};

struct comparison_difference {
    char *name, *a, *b; /* owned */
};

struct comparison_report {
    const char *a_name, *b_name, *operation; /* borrowed */
    bool paired, complete, show_all;
    struct compared_group *groups; /* owned */
    size_t group_count;
    char **warnings; /* owned */
    size_t warning_count;
    struct comparison_difference *differences; /* owned: options that differ */
    size_t difference_count;
    struct comparison_outcome *outcomes; /* owned */
    size_t outcome_count;
};

/* Compares all labels that both sides have (the only ones of each whatever they are called).
 * `paired`: run i of a label in a was made next to run i of it in b. Runs that were discarded or
 * are not complete are left out (with the other of its pair), and said. ERR_USAGE where the
 * operations differ or nothing can be compared. */
int comparison_build(const struct comparison_side *a, const struct comparison_side *b, bool paired,
                     struct comparison_report *report, struct err *error);
void comparison_release(struct comparison_report *report); /* safe to call twice */
int comparison_warn(struct comparison_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* FIGURE > VALUE, FIGURE < VALUE; VALUE is a change in percent (+5%, -3%) or a value of b (100k,
 * 2ms). */
int comparison_parse_condition(const char *text, struct comparison_condition *condition,
                               struct err *error);
/* Fills report->outcomes. Fails where a figure is unknown or cannot be decided (too few runs). */
int comparison_judge(struct comparison_report *report,
                     const struct comparison_condition *conditions, size_t count,
                     struct err *error);
/* Fails where a condition names a figure that the runs do not have and never will. */
int comparison_check(const struct comparison_report *report,
                     const struct comparison_condition *conditions, size_t count,
                     struct err *error);
/* The figure that a condition names: a key, or p50 p90 p99 p99.9 rate cpu. NULL: none. */
const struct compared *comparison_figure(const struct comparison_report *report,
                                         const struct compared_group *group, const char *name);

/* Each writes the whole report. 0, or -1 with *error. */
int comparison_print_text(const struct comparison_report *report, FILE *out, struct err *error);
int comparison_print_json(const struct comparison_report *report, FILE *out, struct err *error);
int comparison_print_csv(const struct comparison_report *report, FILE *out, struct err *error);

#endif
