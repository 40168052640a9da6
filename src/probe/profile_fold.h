/* From sampled stacks to what a profile says: samples by process, object and function, and equal
 * stacks folded into one line. */
#ifndef SONDE_PROBE_PROFILE_FOLD_H
#define SONDE_PROBE_PROFILE_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Where a stack was at one level. Texts live as long as the call. */
struct fold_frame {
    const char *object, *symbol;
    bool kernel;
};

struct fold_row {
    uint32_t group;
    char *object, *symbol; /* owned */
    uint64_t self;         /* samples that were in it */
    uint64_t total;        /* that were in it or in what it called; each stack once */
    uint64_t seen;         /* number of the stack that was counted last */
};

struct fold_stack {
    uint32_t group;
    char *text; /* owned: outermost frame first, separated by ';' */
    uint64_t samples;
};

struct fold_index; /* finds rows and stacks by their texts */

/* Zeroed: empty. */
struct profile_fold {
    struct fold_row *rows; /* owned */
    size_t row_count, row_capacity;
    struct fold_stack *stacks; /* owned */
    size_t stack_count, stack_capacity;
    struct fold_index *row_index, *stack_index; /* owned */
    uint64_t samples, stacks_added;
    char *text; /* owned: of the present stack */
    size_t text_capacity;
};

/* Adds `samples` of one stack: frames from the innermost one on. `root`: what the folded line
 * begins with, such as the thread's name. A stack without frames counts as one of the root alone,
 * in no row. Frames of the kernel are marked as flame graphs know them (_[k]). */
int profile_fold_add(struct profile_fold *fold, uint32_t group, const char *root,
                     const struct fold_frame *frames, size_t frame_count, uint64_t samples,
                     struct err *error);

/* Most samples first; equal ones by their texts, so that the order is always the same. */
void profile_fold_sort(struct profile_fold *fold);

void profile_fold_release(struct profile_fold *fold); /* safe to call twice */

#endif
