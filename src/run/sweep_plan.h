/* What `sonde sweep` runs: the points that its --vary options span, the command line of each, and
 * the order of all runs. */
#ifndef SONDE_RUN_SWEEP_PLAN_H
#define SONDE_RUN_SWEEP_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/opt.h"

enum { SWEEP_DIMENSIONS_MAX = 8, SWEEP_POINTS_MAX = 100000, SWEEP_RUNS_MAX = 1000000 };

/* One value of what is varied. */
struct sweep_value {
    char *text;   /* owned: "4k"; with what it adds: "local+socket-buffers" */
    char **words; /* owned: "--buffer=4k"; of a positional argument the argument, then options */
    size_t word_count;
    double number; /* in base units; NaN where it is none */
};

struct sweep_dimension {
    char *name;            /* owned: "buffer"; "@1": the first positional argument */
    const struct opt *row; /* NULL: positional */
    size_t position;       /* 1..; 0: an option */
    struct sweep_value *values;
    size_t value_count;
};

struct sweep_plan {
    struct opt_set *sets; /* borrowed: the command's */
    size_t set_count;
    char **base; /* borrowed: the command's words, [0] its name; NULL-terminated */
    size_t base_count, before_rest; /* words in all; before a bare `--` */
    size_t *positionals;            /* owned: indexes of the positional ones */
    size_t positional_count;
    struct sweep_dimension dimensions[SWEEP_DIMENSIONS_MAX];
    size_t dimension_count;
    size_t points; /* product of all value_counts; the first dimension varies slowest */
};

/* Several texts NAME=VALUES, as the option --vary collects them. */
struct sweep_vary {
    const char *text[SWEEP_DIMENSIONS_MAX]; /* borrowed, not terminated */
    size_t length[SWEEP_DIMENSIONS_MAX];
    size_t count;
};

/* Spans the plan and has the command's own parser accept each value beforehand. `sets` are the
 * command's, with targets that may be overwritten. VALUES is a list of VALUE or A..B (doubled),
 * A..B*FACTOR, A..B+STEP (as `seq`: the last is not above B), each with +OPTION or +OPTION=VALUE
 * behind it; a backslash takes the meaning from the next character. Nothing is kept on failure. */
int sweep_plan_init(struct sweep_plan *plan, struct opt_set *sets, size_t set_count, char **base,
                    const struct sweep_vary *vary, struct err *error);
void sweep_plan_release(struct sweep_plan *plan); /* safe to call twice */

/* The value of a dimension at a point. */
const struct sweep_value *sweep_plan_value(const struct sweep_plan *plan, size_t point,
                                           size_t dimension);

/* The command line of a point, NULL-terminated; the array is the caller's, the words are the
 * plan's. NULL without memory. */
char **sweep_plan_arguments(const struct sweep_plan *plan, size_t point);

enum sweep_order {
    SWEEP_INTERLEAVED, /* rounds over all points, each in a new random order */
    SWEEP_SHUFFLED,    /* all runs in one random order, those to be discarded before all others */
    SWEEP_SEQUENTIAL,  /* all runs of a point, then the next point's */
};

struct sweep_turn {
    uint32_t point;
    uint32_t repetition; /* 1..; the discarded ones of a point come first */
    bool discarded;
};

/* The order of all runs: each point `discarded` + `repeat` times. *turns is malloc'ed. Interleaved
 * rounds are randomised complete blocks (Box, Hunter and Hunter, Statistics for Experimenters,
 * chapter 4): a drift of the machine falls on all points alike, and no point always follows the
 * same one. */
int sweep_plan_order(size_t points, uint64_t repeat, uint64_t discarded, enum sweep_order order,
                     uint64_t seed, struct sweep_turn **turns, size_t *count, struct err *error);

#endif
