/* Small files of /proc, /sys and the cgroup file systems. */
#ifndef SONDE_RUN_SYSFILE_H
#define SONDE_RUN_SYSFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SYSFILE_PATH_BYTES = 512 };

/* The first line, without its end. 0, or -1 where the file cannot be read. */
int sysfile_line(const char *path, char *to, size_t size);

/* The file's first number. 0, or -1 where there is none ("max" is none). */
int sysfile_number(const char *path, uint64_t *value);

/* The number after the word `key` at the start of a line ("MemAvailable:", "throttled_usec").
 * 0, or -1. */
int sysfile_field(const char *path, const char *key, uint64_t *value);

/* Where this process stands in the cgroup tree of a controller. */
struct sysfile_cgroup {
    bool version_2;
    char folder[SYSFILE_PATH_BYTES]; /* its own group */
    size_t root_length;              /* of the mount point: the parents end there */
};
int sysfile_cgroup(const char *controller, struct sysfile_cgroup *group);

/* The path of a file in its own group. 0, or -1 where that does not fit. */
int sysfile_cgroup_file(const struct sysfile_cgroup *group, const char *name, char *path,
                        size_t size);

/* Goes one group up; false at the top. Limits of every group above hold too. */
bool sysfile_cgroup_up(struct sysfile_cgroup *group);

#endif
