/* Which files' code is mapped where in the observed processes, living or gone: what is needed to
 * name an address of theirs. */
#ifndef SONDE_PROBE_CODE_MAPS_H
#define SONDE_PROBE_CODE_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/err.h"

/* A file, or what the kernel calls memory without one: "[vdso]", "//anon". */
struct code_object {
    char *path; /* owned */
    uint64_t inode;
};

struct code_mapping {
    pid_t pid;
    uint64_t start, end; /* addresses */
    uint64_t offset;     /* in the object, of the start */
    size_t object;       /* index */
};

/* Zeroed: empty. */
struct code_maps {
    struct code_mapping *mappings; /* owned */
    size_t mapping_count, mapping_capacity;
    bool sorted;
    struct code_object *objects; /* owned */
    size_t object_count, object_capacity;
    pid_t
        *whole; /* owned: those whose own mappings are all that they have: read, or since execve */
    size_t whole_count, whole_capacity;
    uint64_t dropped; /* mappings beyond the bound */
};

int code_maps_add(struct code_maps *maps, const struct code_mapping *mapping, const char *path,
                  uint64_t inode, struct err *error);

/* Adds the code of a process from the text of its /proc/PID/maps. Lines of another form are passed
 * over. A text without any mapping (a process that has ended) changes nothing. */
int code_maps_read(struct code_maps *maps, pid_t pid, FILE *from, struct err *error);

/* Its mappings have nothing to do with those of its parent (any more). */
int code_maps_set_whole(struct code_maps *maps, pid_t pid, struct err *error);
bool code_maps_is_whole(const struct code_maps *maps, pid_t pid);

enum code_found { CODE_NONE, CODE_FOUND, CODE_SEVERAL };

/* What the address is in: *object and *offset. CODE_SEVERAL where the process had different things
 * there at different times, so that nobody can tell. */
enum code_found code_maps_find(struct code_maps *maps, pid_t pid, uint64_t address, size_t *object,
                               uint64_t *offset);

void code_maps_release(struct code_maps *maps); /* safe to call twice */

#endif
