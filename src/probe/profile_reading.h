/* What the parts of the profile probe that make its record share. */
#ifndef SONDE_PROBE_PROFILE_READING_H
#define SONDE_PROBE_PROFILE_READING_H

#include "probe/profile_fold.h"
#include "probe/profile_state.h"
#include "probe/symbol_table.h"
#include "probe/symbols.h"

#define PROFILE_NAME_MOST 64 /* of what is made up for an address */

/* A process that was sampled. */
struct profile_process {
    pid_t pid, parent; /* parent 0: not known */
    struct record_scope scope;
    size_t group;
};

/* Whom the record tells apart: each process; where they are many, those of one name are one. */
struct profile_group {
    struct record_scope scope;
    uint64_t samples, kernel, unnamed, user_stacks, early;
};

struct profile_reading {
    struct probe *probe;
    struct symbols *symbols;
    struct symbol_table kernel;
    bool kernel_read, kernel_hidden;
    struct profile_process *processes; /* owned */
    size_t process_count;
    struct profile_group *groups; /* owned */
    size_t group_count;
    struct profile_fold fold;
    /* The present stack, innermost frame first. */
    struct fold_frame frames[2 * PROFILE_FRAMES + 2];
    bool named[2 * PROFILE_FRAMES + 2];
    /* Of addresses without a name. */
    char texts[2 * PROFILE_FRAMES + 2][PROFILE_NAME_MOST];
    size_t frame_count;
};

/* The last slot that a process had; NULL: it shares one. */
const struct slot *profile_slot_of(const struct targets *targets, pid_t pid);
/* Whom a process was forked from, where that is observed; 0: not known. */
pid_t profile_parent_of(const struct targets *targets, const struct slot *slot);

/* Each appends to the present stack. Its texts live as long as the reading; `named`: the function
 * has a name. */
void profile_add_frame(struct profile_reading *reading, const char *object, const char *symbol,
                       bool kernel, bool named);
int profile_add_kernel_frames(struct profile_reading *reading, const struct profile_stack *stack,
                              struct err *error);
void profile_add_user_frames(struct profile_reading *reading, const struct profile_process *process,
                             const struct profile_stack *stack);

/* True where the last of these frames is one that a thread begins with. */
bool profile_reaches_start(const struct fold_frame *frames, size_t count);

#endif
