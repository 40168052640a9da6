#include "probe/code_maps.h"

#include <stdlib.h>
#include <string.h>

#define MAPPINGS_MOST (1u << 18) /* 12 MiB: some 40,000 processes */

static int no_memory(struct err *error)
{
    return err_set(error, ERR_LIMIT, "profile", "no memory for the mappings");
}

/* The array with room for one more element; NULL without memory. */
static void *with_room(void *array, size_t count, size_t *capacity, size_t bytes)
{
    if (count < *capacity) {
        return array;
    }
    size_t wanted = 2 * *capacity + 64;
    void *larger = reallocarray(array, wanted, bytes);
    if (larger != NULL) {
        *capacity = wanted;
    }
    return larger;
}

/* The path without what the kernel says of a file that has no name any more. That its name now
 * means another file is seen by the inode. */
static size_t path_length(const char *path, uint64_t inode)
{
    static const char deleted[] = " (deleted)";
    size_t length = strlen(path), suffix = sizeof deleted - 1;
    bool is = inode != 0 && length > suffix && strcmp(path + length - suffix, deleted) == 0;
    return is ? length - suffix : length;
}

/* The object's index in *index. There are few: a look at all of them costs little. */
static int find_object(struct code_maps *maps, const char *path, uint64_t inode, size_t *index,
                       struct err *error)
{
    size_t length = path_length(path, inode);
    for (size_t i = maps->object_count; i-- > 0;) {
        const struct code_object *object = &maps->objects[i];
        if (object->inode == inode && strncmp(object->path, path, length) == 0 &&
            object->path[length] == '\0') {
            *index = i;
            return 0;
        }
    }
    struct code_object *objects =
        with_room(maps->objects, maps->object_count, &maps->object_capacity, sizeof *objects);
    struct code_object added = {.inode = inode};
    if (objects == NULL) {
        return no_memory(error);
    }
    maps->objects = objects;
    added.path = strndup(path, length);
    if (added.path == NULL) {
        return no_memory(error);
    }
    *index = maps->object_count;
    maps->objects[maps->object_count++] = added;
    return 0;
}

int code_maps_add(struct code_maps *maps, const struct code_mapping *mapping, const char *path,
                  uint64_t inode, struct err *error)
{
    struct code_mapping added = *mapping;
    if (added.end <= added.start) {
        return 0;
    }
    if (maps->mapping_count == MAPPINGS_MOST) {
        maps->dropped++;
        return 0;
    }
    if (find_object(maps, path, inode, &added.object, error) != 0) {
        return -1;
    }
    struct code_mapping *mappings =
        with_room(maps->mappings, maps->mapping_count, &maps->mapping_capacity, sizeof *mappings);
    if (mappings == NULL) {
        return no_memory(error);
    }
    maps->mappings = mappings;
    maps->mappings[maps->mapping_count++] = added;
    maps->sorted = false;
    return 0;
}

/* "start-end perms offset device inode   path": false where it is no such line, or not of code. */
static bool parse_line(char *line, struct code_mapping *mapping, uint64_t *inode, const char **path)
{
    char permissions[5];
    unsigned long long start, end, offset, number;
    int used = 0;
    if (sscanf(line, "%llx-%llx %4s %llx %*x:%*x %llu%n", &start, &end, permissions, &offset,
               &number, &used) != 5 ||
        used == 0 || strchr(permissions, 'x') == NULL) {
        return false;
    }
    mapping->start = start;
    mapping->end = end;
    mapping->offset = offset;
    *inode = number;
    char *text = line + used + strspn(line + used, " ");
    text[strcspn(text, "\n")] = '\0';
    *path = text[0] != '\0' ? text : "//anon"; /* as perf's events call it */
    return true;
}

int code_maps_read(struct code_maps *maps, pid_t pid, FILE *from, struct err *error)
{
    char *line = NULL;
    size_t size = 0;
    int status = 0;
    bool any = false;
    while (status == 0 && getline(&line, &size, from) >= 0) {
        struct code_mapping mapping = {.pid = pid};
        uint64_t inode;
        const char *path;
        if (parse_line(line, &mapping, &inode, &path)) {
            any = true;
            status = code_maps_add(maps, &mapping, path, inode, error);
        }
    }
    free(line);
    return status == 0 && any ? code_maps_set_whole(maps, pid, error) : status;
}

bool code_maps_is_whole(const struct code_maps *maps, pid_t pid)
{
    for (size_t i = maps->whole_count; i-- > 0;) {
        if (maps->whole[i] == pid) {
            return true;
        }
    }
    return false;
}

int code_maps_set_whole(struct code_maps *maps, pid_t pid, struct err *error)
{
    if (code_maps_is_whole(maps, pid)) {
        return 0;
    }
    pid_t *whole = with_room(maps->whole, maps->whole_count, &maps->whole_capacity, sizeof *whole);
    if (whole == NULL) {
        return no_memory(error);
    }
    maps->whole = whole;
    maps->whole[maps->whole_count++] = pid;
    return 0;
}

static int by_place(const void *left, const void *right)
{
    const struct code_mapping *a = left, *b = right;
    if (a->pid != b->pid) {
        return a->pid < b->pid ? -1 : 1;
    }
    return a->start < b->start ? -1 : a->start > b->start;
}

enum code_found code_maps_find(struct code_maps *maps, pid_t pid, uint64_t address, size_t *object,
                               uint64_t *offset)
{
    enum code_found found = CODE_NONE;
    if (!maps->sorted && maps->mapping_count > 0) {
        qsort(maps->mappings, maps->mapping_count, sizeof *maps->mappings, by_place);
    }
    maps->sorted = true;
    size_t low = 0, high = maps->mapping_count; /* the first of this process */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (maps->mappings[middle].pid < pid) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < maps->mapping_count && maps->mappings[low].pid == pid; low++) {
        const struct code_mapping *mapping = &maps->mappings[low];
        if (address < mapping->start || address >= mapping->end) {
            continue;
        }
        uint64_t place = address - mapping->start + mapping->offset;
        if (found == CODE_FOUND && (mapping->object != *object || place != *offset)) {
            return CODE_SEVERAL;
        }
        *object = mapping->object;
        *offset = place;
        found = CODE_FOUND;
    }
    return found;
}

void code_maps_release(struct code_maps *maps)
{
    for (size_t i = 0; i < maps->object_count; i++) {
        free(maps->objects[i].path);
    }
    free(maps->objects);
    free(maps->mappings);
    free(maps->whole);
    *maps = (struct code_maps){0};
}
