/* The processes of an end of a run: how many it takes, and how one of them begins and ends. */
#ifndef SONDE_RUN_PROCESSES_H
#define SONDE_RUN_PROCESSES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum { PROCESSES_MOST = 256 };

/* Of one end. A pid of 0 is not there (yet). */
struct processes {
    pid_t pids[PROCESSES_MOST];
    uint32_t count;
};

/* What an end's processes open files for. */
struct process_need {
    uint64_t connections; /* of all of them */
    uint32_t files_each;  /* that a connection takes */
    uint32_t threads;     /* of one process; 0: one for each connection */
    uint32_t files_thread;
    bool spread; /* the kernel spreads connections by a hash: one process has more than another */
};

/* The most connections that one of `count` processes has. By a hash it is the mean and six standard
 * deviations: of a billion processes one has more. */
uint64_t processes_share(const struct process_need *need, uint32_t count);

/* Files that one of `count` processes opens. */
uint64_t processes_files(const struct process_need *need, uint32_t count);

/* How many it takes, `least` or more, so that none opens more than `allowed` files; where
 * PROCESSES_MOST do not suffice, `least`. */
uint32_t processes_needed(const struct process_need *need, uint32_t least, uint64_t allowed);

/* Forks a process of this name that ends with its parent and leaves Ctrl-C, which goes to the whole
 * group, to it. 0: in the child; -1 with *error. */
pid_t process_fork(const char *name, const char *subject, struct err *error);

/* Waits for a process that has been told to end, up to ten seconds, and then kills it. 0 where it
 * left in order, or pid <= 0; -1 with *error of `subject`. */
int process_await(pid_t pid, const char *subject, struct err *error);

/* One that has ended, though nobody has told it to, and not in order; it is left to process_await.
 * Its index, or -1: there is none. */
int processes_broken(const struct processes *processes);

#endif
