/* On which CPUs the threads of a run are: those that the user names, or else an end each of its own
 * where that is fair, or wherever the scheduler puts them. */
#ifndef SONDE_RUN_PLACEMENT_H
#define SONDE_RUN_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "run/machine.h"

/* Threads are pinned to them in turn; empty: they are not pinned. */
struct cpu_list {
    int of[MACHINE_CPUS_MAX];
    size_t count;
};

struct placement {
    struct cpu_list clients, servers;
    size_t allowed; /* CPUs that this process may use */
};

/* What decides. The texts are lists like "1", "2-5,8", or NULL: none was named. */
struct placement_ask {
    const char *clients, *servers;
    bool own_server; /* else the server is not for us to place */
    bool apart;      /* what is not named may be pinned so that the ends share no CPU */
};

/* Reads a list of CPUs, each of which the calling thread may use; `option` is the subject of
 * errors. NULL is an empty list. 0 or -1 with *error (usage). */
int placement_parse(const char *text, const char *option, struct cpu_list *list, struct err *error);

/* Chooses; to be called before any pinning. 0 or -1 with *error. */
int placement_choose(const struct placement_ask *ask, struct placement *placement,
                     struct err *error);

/* The CPU of the thread with this index; -1: it is not to be pinned. */
int placement_cpu(const struct cpu_list *list, size_t index);

/* How many CPUs threads on this list can be on at once. */
size_t placement_usable(const struct placement *placement, const struct cpu_list *list);

/* "CPU 0", "CPUs 0, 2" (the first eight). */
void placement_text(const struct cpu_list *list, char *text, size_t size);

#endif
