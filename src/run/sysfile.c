#include "run/sysfile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sysfile_line(const char *path, char *to, size_t size)
{
    to[0] = '\0';
    FILE *file = fopen(path, "re");
    if (!file) {
        return -1;
    }
    char *line = fgets(to, (int)size, file);
    fclose(file);
    if (!line) {
        to[0] = '\0';
        return -1;
    }
    to[strcspn(to, "\n")] = '\0';
    return 0;
}

static int parse_number(const char *text, uint64_t *value)
{
    char *end;
    text += strspn(text, " \t");
    if (*text < '0' || *text > '9') {
        return -1;
    }
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno ? -1 : 0;
}

int sysfile_number(const char *path, uint64_t *value)
{
    char line[64];
    return sysfile_line(path, line, sizeof line) ? -1 : parse_number(line, value);
}

int sysfile_field(const char *path, const char *key, uint64_t *value)
{
    char line[256];
    size_t length = strlen(key);
    int result = -1;
    FILE *file = fopen(path, "re");

    if (!file) {
        return -1;
    }
    while (result && fgets(line, sizeof line, file)) {
        if (!strncmp(line, key, length) && (line[length] == ' ' || line[length] == '\t')) {
            result = parse_number(line + length, value);
            break;
        }
    }
    fclose(file);
    return result;
}

/* True where the comma-separated list names the word. */
static bool names(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; *at; at += strspn(at, ",")) {
        size_t item = strcspn(at, ",\n");
        if (item == length && !strncmp(at, word, length)) {
            return true;
        }
        at += item;
        if (*at == '\n') {
            break;
        }
    }
    return false;
}

/* The process's path in the tree of the controller: version 1 where that names it, else 2. */
static int own_group(const char *controller, char *to, size_t size, bool *version_2)
{
    char line[SYSFILE_PATH_BYTES + 64];
    int result = -1;
    FILE *file = fopen("/proc/self/cgroup", "re");

    if (!file) {
        return -1;
    }
    while (fgets(line, sizeof line, file)) {
        /* ID:CONTROLLERS:PATH */
        char *list = strchr(line, ':');
        char *path = list ? strchr(list + 1, ':') : NULL;
        if (!path) {
            continue;
        }
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        bool unified = !strncmp(line, "0:", 2);
        if (unified ? result == 0 : !names(list + 1, controller)) {
            continue;
        }
        snprintf(to, size, "%s", path);
        *version_2 = unified;
        result = 0;
        if (!unified) {
            break;
        }
    }
    fclose(file);
    return result;
}

/* Where the tree is mounted and which of its groups is the mount's root. */
static int find_mount(const char *controller, bool version_2, char *point, char *root, size_t size)
{
    char line[1024];
    int result = -1;
    FILE *file = fopen("/proc/self/mountinfo", "re");

    if (!file) {
        return -1;
    }
    while (result && fgets(line, sizeof line, file)) {
        /* ID PARENT MAJOR:MINOR ROOT POINT OPTIONS ... - TYPE SOURCE SUPER_OPTIONS */
        char mount_root[256], mount_point[256], type[32], options[256];
        const char *rest = strstr(line, " - ");
        if (!rest || sscanf(line, "%*s %*s %*s %255s %255s", mount_root, mount_point) != 2 ||
            sscanf(rest + 3, "%31s %*s %255s", type, options) != 2) {
            continue;
        }
        if (version_2 ? !strcmp(type, "cgroup2")
                      : !strcmp(type, "cgroup") && names(options, controller)) {
            snprintf(point, size, "%s", mount_point);
            snprintf(root, size, "%s", mount_root);
            result = 0;
        }
    }
    fclose(file);
    return result;
}

int sysfile_cgroup(const char *controller, struct sysfile_cgroup *group)
{
    char own[SYSFILE_PATH_BYTES / 2], point[SYSFILE_PATH_BYTES / 2], root[SYSFILE_PATH_BYTES / 2];

    if (own_group(controller, own, sizeof own, &group->version_2) ||
        find_mount(controller, group->version_2, point, root, sizeof point)) {
        return -1;
    }
    /* The mount may show only a part of the tree, from `root` on. */
    const char *below = own;
    size_t length = strlen(root);
    if (strcmp(root, "/") && !strncmp(own, root, length)) {
        below += length;
    }
    snprintf(group->folder, sizeof group->folder, "%s%s", point, strcmp(below, "/") ? below : "");
    group->root_length = strlen(point);
    return 0;
}

int sysfile_cgroup_file(const struct sysfile_cgroup *group, const char *name, char *path,
                        size_t size)
{
    int length = snprintf(path, size, "%s/%s", group->folder, name);
    return length < 0 || (size_t)length >= size ? -1 : 0;
}

bool sysfile_cgroup_up(struct sysfile_cgroup *group)
{
    char *slash = strrchr(group->folder, '/');
    if (!slash || (size_t)(slash - group->folder) < group->root_length) {
        return false;
    }
    *slash = '\0';
    return true;
}
