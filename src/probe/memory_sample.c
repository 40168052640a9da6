#include "probe/memory_sample.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "probe/proc_file.h"

static int read_file(pid_t pid, const char *name, char *text, size_t size)
{
    char path[64];
    struct err error = {0};
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    ssize_t length = proc_file_read(path, text, size, &error);
    return length < 0 ? error.number : length == 0 ? ENODATA : 0;
}

int memory_resident(pid_t pid, uint64_t *resident_bytes, uint64_t *virtual_bytes)
{
    char text[128], *end;
    int number = read_file(pid, "statm", text, sizeof text);
    if (number != 0) {
        return number;
    }
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    *virtual_bytes = strtoull(text, &end, 10) * page;
    *resident_bytes = strtoull(end, NULL, 10) * page;
    return *virtual_bytes == 0 ? ENODATA : 0;
}

/* The value of "KEY:   123 kB" in bytes. */
static int kib_line(pid_t pid, const char *file, const char *key, uint64_t *bytes)
{
    char text[4096];
    int number = read_file(pid, file, text, sizeof text);
    if (number != 0) {
        return number;
    }
    const char *line = strstr(text, key);
    if (line == NULL) {
        return ENODATA;
    }
    *bytes = strtoull(line + strlen(key), NULL, 10) * 1024;
    return 0;
}

int memory_proportional(pid_t pid, uint64_t *bytes)
{
    return kib_line(pid, "smaps_rollup", "\nPss:", bytes);
}

int memory_page_tables(pid_t pid, uint64_t *bytes)
{
    return kib_line(pid, "status", "\nVmPTE:", bytes);
}

int memory_tcp_machine(uint64_t *bytes)
{
    char text[1024];
    struct err error = {0};
    if (proc_file_read("/proc/net/sockstat", text, sizeof text, &error) < 0) {
        return error.number;
    }
    const char *line = strstr(text, "\nTCP:");
    const char *memory = line != NULL ? strstr(line, " mem ") : NULL;
    if (memory == NULL || memory > line + strcspn(line + 1, "\n") + 1) {
        return ENODATA;
    }
    *bytes = strtoull(memory + 5, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
    return 0;
}

/* ---- sockets of a process ---- */

int socket_memory_by_inode(const void *left, const void *right)
{
    uint64_t a = ((const struct socket_memory *)left)->inode;
    uint64_t b = ((const struct socket_memory *)right)->inode;
    return (a > b) - (a < b);
}

/* Two descriptors of one socket are one socket: found ones are remembered. */
static int sum_descriptors(DIR *entries, const struct socket_table *table, uint64_t *bytes)
{
    unsigned char *seen = calloc(table->count + 1, 1);
    const struct dirent *entry;
    if (seen == NULL) {
        return ENOMEM;
    }
    while ((entry = readdir(entries)) != NULL) {
        char link[64];
        ssize_t length = readlinkat(dirfd(entries), entry->d_name, link, sizeof link - 1);
        if (length <= 0) {
            continue;
        }
        link[length] = '\0';
        if (strncmp(link, "socket:[", 8) != 0 || table->count == 0) {
            continue;
        }
        struct socket_memory key = {.inode = strtoull(link + 8, NULL, 10)};
        const struct socket_memory *found =
            bsearch(&key, table->sockets, table->count, sizeof key, socket_memory_by_inode);
        if (found != NULL && !seen[found - table->sockets]) {
            seen[found - table->sockets] = 1;
            *bytes += found->bytes;
        }
    }
    free(seen);
    return 0;
}

int memory_sockets(pid_t pid, const struct socket_table *table, uint64_t *bytes)
{
    char path[64];
    struct stat own, other;
    *bytes = 0;
    snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
    if (stat("/proc/self/ns/net", &own) != 0 || stat(path, &other) != 0) {
        return errno;
    }
    if (own.st_ino != other.st_ino || own.st_dev != other.st_dev) {
        return EXDEV;
    }
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *entries = opendir(path);
    if (entries == NULL) {
        return errno;
    }
    int number = sum_descriptors(entries, table, bytes);
    closedir(entries);
    return number;
}

void socket_table_release(struct socket_table *table)
{
    free(table->sockets);
    *table = (struct socket_table){0};
}
