#include "probe/code_events.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* For the records of all CPUs; of one at least and at most. Powers of two. A record has some 140
 * bytes, an execve some five records. */
#define ROOM_ALL (16u << 20)
#define ROOM_MOST (4u << 20)
#define ROOM_LEAST (128u << 10)

struct told { /* by one CPU */
    int file;
    void *memory; /* a page that says where the records are, then their ring; NULL: no such CPU */
};

struct code_events {
    struct told *cpus;
    size_t cpu_count, page_bytes, ring_bytes;
    uint64_t lost;
    char *record; /* a copy: in the ring it may lie in two pieces. 64 KiB */
};

/* ---- what a record says ---- */

struct mmap2_record {
    uint32_t pid, tid;
    uint64_t start, bytes, offset;
    uint32_t major, minor;
    uint64_t inode, generation;
    uint32_t protection, flags;
    /* the path, with its 0 */
};

static int take_mapping(const char *body, size_t bytes, struct code_maps *maps, struct err *error)
{
    struct mmap2_record record;
    if (bytes <= sizeof record) {
        return 0;
    }
    memcpy(&record, body, sizeof record);
    const char *path = body + sizeof record;
    if (memchr(path, '\0', bytes - sizeof record) == NULL || !(record.protection & PROT_EXEC) ||
        record.pid > INT32_MAX || record.start + record.bytes < record.start) {
        return 0;
    }
    const struct code_mapping mapping = {.pid = (pid_t)record.pid,
                                         .start = record.start,
                                         .end = record.start + record.bytes,
                                         .offset = record.offset};
    return code_maps_add(maps, &mapping, path, record.inode, error);
}

int code_events_parse(const void *record, size_t bytes, struct code_maps *maps, uint64_t *lost,
                      struct err *error)
{
    struct perf_event_header header;
    if (bytes < sizeof header) {
        return 0;
    }
    memcpy(&header, record, sizeof header);
    const char *body = (const char *)record + sizeof header;
    size_t left = bytes - sizeof header;
    if (header.type == PERF_RECORD_MMAP2 && !(header.misc & PERF_RECORD_MISC_MMAP_BUILD_ID)) {
        return take_mapping(body, left, maps, error);
    }
    if (header.type == PERF_RECORD_COMM && header.misc & PERF_RECORD_MISC_COMM_EXEC &&
        left >= sizeof(uint32_t)) {
        uint32_t pid;
        memcpy(&pid, body, sizeof pid);
        return pid <= INT32_MAX ? code_maps_set_whole(maps, (pid_t)pid, error) : 0;
    }
    if (header.type == PERF_RECORD_LOST && left >= 2 * sizeof(uint64_t)) {
        uint64_t count;
        memcpy(&count, body + sizeof(uint64_t), sizeof count);
        *lost += count;
    }
    return 0;
}

/* ---- the rings ---- */

static void copy_from_ring(const struct code_events *events, const struct told *told, uint64_t from,
                           char *to, size_t bytes)
{
    const char *ring = (const char *)told->memory + events->page_bytes;
    size_t at = (size_t)(from & (events->ring_bytes - 1));
    size_t first = events->ring_bytes - at < bytes ? events->ring_bytes - at : bytes;
    memcpy(to, ring + at, first);
    memcpy(to + first, ring, bytes - first);
}

static int take_cpu(struct code_events *events, const struct told *told, struct code_maps *maps,
                    struct err *error)
{
    struct perf_event_mmap_page *page = told->memory;
    uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
    uint64_t tail = page->data_tail;
    int status = 0;
    while (status == 0 && head - tail >= sizeof(struct perf_event_header)) {
        struct perf_event_header header;
        copy_from_ring(events, told, tail, (char *)&header, sizeof header);
        if (header.size < sizeof header || header.size > head - tail) {
            tail = head; /* cannot be; what follows cannot be read */
            events->lost++;
            break;
        }
        copy_from_ring(events, told, tail, events->record, header.size);
        status = code_events_parse(events->record, header.size, maps, &events->lost, error);
        tail += header.size;
    }
    __atomic_store_n(&page->data_tail, tail, __ATOMIC_RELEASE);
    return status;
}

int code_events_take(struct code_events *events, struct code_maps *maps, struct err *error)
{
    for (size_t i = 0; i < events->cpu_count; i++) {
        if (events->cpus[i].memory != NULL &&
            take_cpu(events, &events->cpus[i], maps, error) != 0) {
            return -1;
        }
    }
    return 0;
}

uint64_t code_events_lost(const struct code_events *events)
{
    return events->lost;
}

/* 0, or an errno. */
static int open_cpu(struct code_events *events, size_t cpu)
{
    struct told *told = &events->cpus[cpu];
    struct perf_event_attr attr = {
        .type = PERF_TYPE_SOFTWARE,
        .size = sizeof attr,
        .config = PERF_COUNT_SW_DUMMY, /* counts nothing: there for what it tells */
        .mmap = 1,
        .mmap2 = 1,
        .comm = 1,
        .comm_exec = 1,
    };
    told->file = (int)syscall(SYS_perf_event_open, &attr, -1, (int)cpu, -1, PERF_FLAG_FD_CLOEXEC);
    if (told->file < 0) {
        return errno == ENODEV ? 0 : errno; /* the CPU is off */
    }
    void *memory = mmap(NULL, events->page_bytes + events->ring_bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED, told->file, 0);
    if (memory == MAP_FAILED) {
        return errno;
    }
    told->memory = memory;
    return 0;
}

static void close_cpus(struct code_events *events)
{
    for (size_t i = 0; i < events->cpu_count; i++) {
        struct told *told = &events->cpus[i];
        if (told->memory != NULL) {
            munmap(told->memory, events->page_bytes + events->ring_bytes);
        }
        if (told->file >= 0) {
            close(told->file);
        }
        *told = (struct told){.file = -1};
    }
}

static int open_cpus(struct code_events *events)
{
    int number = 0;
    for (size_t i = 0; i < events->cpu_count && number == 0; i++) {
        number = open_cpu(events, i);
    }
    return number;
}

void code_events_close(struct code_events *events)
{
    if (events == NULL) {
        return;
    }
    if (events->cpus != NULL) {
        close_cpus(events);
    }
    free(events->cpus);
    free(events->record);
    free(events);
}

int code_events_open(struct code_events **events, struct err *error)
{
    long cpus = sysconf(_SC_NPROCESSORS_CONF), page = sysconf(_SC_PAGESIZE);
    struct code_events *opened = *events = calloc(1, sizeof *opened);
    if (opened == NULL) {
        return err_set(error, ERR_LIMIT, "profile", "no memory");
    }
    opened->cpu_count = cpus > 0 ? (size_t)cpus : 1;
    opened->page_bytes = page > 0 ? (size_t)page : 4096;
    opened->cpus = calloc(opened->cpu_count, sizeof *opened->cpus);
    opened->record = malloc(UINT16_MAX + 1u);
    if (opened->cpus == NULL || opened->record == NULL) {
        free(opened->cpus);
        opened->cpus = NULL;
        code_events_close(opened);
        *events = NULL;
        return err_set(error, ERR_LIMIT, "profile", "no memory");
    }
    for (size_t i = 0; i < opened->cpu_count; i++) {
        opened->cpus[i].file = -1;
    }
    opened->ring_bytes = ROOM_MOST;
    while (opened->ring_bytes > ROOM_LEAST && opened->ring_bytes * opened->cpu_count > ROOM_ALL) {
        opened->ring_bytes /= 2;
    }
    int number = open_cpus(opened);
    /* Without CAP_IPC_LOCK there is a limit (kernel.perf_event_mlock_kb). */
    while (number == EPERM && opened->ring_bytes > ROOM_LEAST) {
        close_cpus(opened);
        opened->ring_bytes /= 2;
        number = open_cpus(opened);
    }
    if (number != 0) {
        code_events_close(opened);
        *events = NULL;
        err_system(error, number, "profile", "cannot be told what processes map");
        return -1;
    }
    return 0;
}
