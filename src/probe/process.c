#include "probe/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "probe/proc_file.h"

ssize_t proc_file_read(const char *path, char *text, size_t size, struct err *error)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return err_system(error, errno, path, "cannot be opened");
    }
    size_t used = 0;
    while (used < size - 1) {
        ssize_t got = read(file, text + used, size - 1 - used);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            int number = errno;
            close(file);
            return err_system(error, number, path, "cannot be read");
        }
        if (got == 0) {
            break;
        }
        used += (size_t)got;
    }
    close(file);
    text[used] = '\0';
    return (ssize_t)used;
}

static uint64_t tick_ns(void)
{
    long ticks = sysconf(_SC_CLK_TCK);
    return NS_PER_SECOND / (uint64_t)(ticks > 0 ? ticks : 100);
}

/* ---- one process ---- */

/* Fields of /proc/PID/stat after the name (which may hold spaces and parentheses). */
struct stat_line {
    char name[20];
    char state;
    pid_t parent;
    uint64_t user_ticks, system_ticks, start_ticks, virtual_bytes, resident_pages;
    uint32_t threads;
};

static int parse_stat(char *text, struct stat_line *line)
{
    char *open = strchr(text, '('), *close = strrchr(text, ')');
    if (open == NULL || close == NULL || close < open) {
        return -1;
    }
    *close = '\0';
    snprintf(line->name, sizeof line->name, "%s", open + 1);
    unsigned long long user, system, started, virtual;
    long long resident;
    long threads;
    int parent;
    int fields =
        sscanf(close + 1,
               " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d "
               "%ld %*d %llu %llu %lld",
               &line->state, &parent, &user, &system, &threads, &started, &virtual, &resident);
    if (fields != 8) {
        return -1;
    }
    line->parent = parent;
    line->user_ticks = user;
    line->system_ticks = system;
    line->threads = (uint32_t)threads;
    line->start_ticks = started;
    line->virtual_bytes = virtual;
    line->resident_pages = resident > 0 ? (uint64_t)resident : 0;
    return 0;
}

static int read_stat(pid_t pid, struct stat_line *line, struct err *error)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (proc_file_read(path, text, sizeof text, error) < 0) {
        return -1;
    }
    return parse_stat(text, line) == 0 ? 0
                                       : err_set(error, ERR_SYSTEM, path, "cannot be understood");
}

/* Calls `visit` for each numeric name in a folder of /proc until it returns non-zero. */
static int each_number(const char *folder, int (*visit)(pid_t number, void *context), void *context,
                       struct err *error)
{
    DIR *entries = opendir(folder);
    if (entries == NULL) {
        return err_system(error, errno, folder, "cannot be listed");
    }
    const struct dirent *entry;
    int status = 0;
    while (status == 0 && (entry = readdir(entries)) != NULL) {
        if (isdigit((unsigned char)entry->d_name[0])) {
            status = visit((pid_t)strtol(entry->d_name, NULL, 10), context);
        }
    }
    closedir(entries);
    return status == 0 ? 0 : err_set(error, ERR_LIMIT, folder, "no memory to list it");
}

struct switches {
    pid_t pid;
    struct process_sample *sample;
};

static uint64_t line_value(const char *text, const char *key)
{
    const char *found = strstr(text, key);
    return found != NULL ? strtoull(found + strlen(key), NULL, 10) : 0;
}

static int add_switches(pid_t tid, void *context)
{
    struct switches *to = context;
    char path[64], text[4096];
    struct err gone = {0};
    snprintf(path, sizeof path, "/proc/%d/task/%d/status", (int)to->pid, (int)tid);
    if (proc_file_read(path, text, sizeof text, &gone) > 0) {
        to->sample->switches_voluntary += line_value(text, "\nvoluntary_ctxt_switches:");
        to->sample->switches_involuntary += line_value(text, "\nnonvoluntary_ctxt_switches:");
    }
    return 0;
}

/* Reads one of the clocks of a process: the low bits of its id choose which (the kernel's
 * CPUCLOCK_PROF: user and system, VIRT: user, SCHED: what the scheduler charged). */
enum cpu_clock { CPU_CLOCK_PROF, CPU_CLOCK_VIRT, CPU_CLOCK_SCHED };

static bool read_clock(clockid_t clock, enum cpu_clock which, uint64_t *ns)
{
    struct timespec used;
    if (clock_gettime((clock & ~3) | (clockid_t)which, &used) != 0) {
        return false;
    }
    *ns = (uint64_t)used.tv_sec * NS_PER_SECOND + (uint64_t)used.tv_nsec;
    return true;
}

/* CPU time: its sum as the scheduler charged it, split as the kernel's tick samples saw it (at the
 * kernel's own tick, which is finer than that of /proc). */
static void read_cpu(pid_t pid, const struct stat_line *line, struct process_sample *sample)
{
    clockid_t clock;
    uint64_t total_ns = (line->user_ticks + line->system_ticks) * tick_ns();
    uint64_t both = line->user_ticks + line->system_ticks, user = line->user_ticks;
    uint64_t both_ns, user_ns;
    if (clock_getcpuclockid(pid, &clock) == 0) {
        read_clock(clock, CPU_CLOCK_SCHED, &total_ns);
        if (read_clock(clock, CPU_CLOCK_VIRT, &user_ns) &&
            read_clock(clock, CPU_CLOCK_PROF, &both_ns) && both_ns > 0) {
            both = both_ns;
            user = user_ns < both_ns ? user_ns : both_ns;
        }
    }
    double share = both > 0 ? (double)(both - user) / (double)both : 0.0;
    sample->cpu_system_ns = (uint64_t)((double)total_ns * share);
    sample->cpu_user_ns = total_ns - sample->cpu_system_ns;
}

int process_sample(pid_t pid, struct process_sample *sample, struct err *error)
{
    struct stat_line line;
    struct timespec used;
    char folder[64];
    *sample = (struct process_sample){0};
    if (pid <= 0) {
        return err_set(error, ERR_SYSTEM, "process", "%d is not a process id", (int)pid);
    }
    if (read_stat(pid, &line, error) != 0) {
        return -1;
    }
    sample->at_ns = clock_now_ns();
    clock_gettime(CLOCK_BOOTTIME, &used);
    sample->started_ns = line.start_ticks * tick_ns();
    sample->age_ns =
        (uint64_t)used.tv_sec * NS_PER_SECOND + (uint64_t)used.tv_nsec - sample->started_ns;
    read_cpu(pid, &line, sample);
    snprintf(sample->name, sizeof sample->name, "%s", line.name);
    /* A process that has ended and waits for its parent has no thread. */
    bool ended = (line.state == 'Z' || line.state == 'X') && line.threads <= 1;
    sample->threads = ended ? 0 : line.threads;
    sample->virtual_bytes = line.virtual_bytes;
    sample->rss_bytes = line.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE);
    snprintf(folder, sizeof folder, "/proc/%d/task", (int)pid);
    struct switches switches = {pid, sample};
    struct err gone = {0}; /* it may end while it is read: what was read stands */
    (void)each_number(folder, add_switches, &switches, &gone);
    return 0;
}

/* ---- its threads ---- */

struct thread_list {
    pid_t pid;
    struct thread_sample *items;
    size_t count, capacity;
};

/* CPU time of a thread: schedstat's first number (ns), else stat's ticks. */
static int thread_cpu(pid_t pid, pid_t tid, uint64_t *cpu_ns)
{
    char path[64], text[1024];
    struct err gone = {0};
    struct stat_line line;
    snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", (int)pid, (int)tid);
    if (proc_file_read(path, text, sizeof text, &gone) > 0) {
        *cpu_ns = strtoull(text, NULL, 10);
        return 0;
    }
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)pid, (int)tid);
    if (proc_file_read(path, text, sizeof text, &gone) < 0 || parse_stat(text, &line) != 0) {
        return -1;
    }
    *cpu_ns = (line.user_ticks + line.system_ticks) * tick_ns();
    return 0;
}

static int add_thread(pid_t tid, void *context)
{
    struct thread_list *list = context;
    uint64_t cpu_ns;
    if (thread_cpu(list->pid, tid, &cpu_ns) != 0) {
        return 0;
    }
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 16;
        struct thread_sample *items = realloc(list->items, capacity * sizeof *items);
        if (items == NULL) {
            return -1;
        }
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = (struct thread_sample){.tid = tid, .cpu_ns = cpu_ns};
    return 0;
}

static int by_tid(const void *left, const void *right)
{
    pid_t a = ((const struct thread_sample *)left)->tid;
    pid_t b = ((const struct thread_sample *)right)->tid;
    return (a > b) - (a < b);
}

int process_threads(pid_t pid, struct thread_sample **threads, size_t *count, struct err *error)
{
    struct thread_list list = {.pid = pid};
    char folder[64];
    *threads = NULL;
    *count = 0;
    snprintf(folder, sizeof folder, "/proc/%d/task", (int)pid);
    if (each_number(folder, add_thread, &list, error) != 0) {
        free(list.items);
        return -1;
    }
    if (list.count > 1) {
        qsort(list.items, list.count, sizeof *list.items, by_tid);
    }
    *threads = list.items;
    *count = list.count;
    return 0;
}

double process_busiest(const struct thread_sample *before, size_t before_count,
                       const struct thread_sample *after, size_t after_count, uint64_t wall_ns)
{
    double busiest = -1;
    size_t i = 0;
    for (size_t j = 0; j < after_count && wall_ns > 0; j++) {
        while (i < before_count && before[i].tid < after[j].tid) {
            i++;
        }
        if (i == before_count || before[i].tid != after[j].tid ||
            after[j].cpu_ns < before[i].cpu_ns) {
            continue; /* not in both, or another thread of the same id */
        }
        double share = (double)(after[j].cpu_ns - before[i].cpu_ns) / (double)wall_ns;
        busiest = share > busiest ? share : busiest;
    }
    return busiest;
}

/* ---- finding processes ---- */

struct search {
    const char *name; /* NULL: by parent */
    pid_t parent;
    pid_t *pids;
    size_t count, capacity;
};

static int try_process(pid_t pid, void *context)
{
    struct search *search = context;
    struct stat_line line;
    struct err gone = {0};
    if (read_stat(pid, &line, &gone) != 0 || line.state == 'Z' ||
        (search->name != NULL ? strncmp(line.name, search->name, 15) != 0
                              : line.parent != search->parent)) {
        return 0;
    }
    if (search->count == search->capacity) {
        size_t capacity = search->capacity ? search->capacity * 2 : 16;
        pid_t *pids = realloc(search->pids, capacity * sizeof *pids);
        if (pids == NULL) {
            return -1;
        }
        search->pids = pids;
        search->capacity = capacity;
    }
    search->pids[search->count++] = pid;
    return 0;
}

static int find(struct search *search, pid_t **pids, size_t *count, struct err *error)
{
    *pids = NULL;
    *count = 0;
    if (each_number("/proc", try_process, search, error) != 0) {
        free(search->pids);
        return -1;
    }
    *pids = search->pids;
    *count = search->count;
    return 0;
}

int process_find(const char *name, pid_t **pids, size_t *count, struct err *error)
{
    struct search search = {.name = name};
    return find(&search, pids, count, error);
}

int process_children(pid_t parent, pid_t **pids, size_t *count, struct err *error)
{
    struct search search = {.parent = parent};
    return find(&search, pids, count, error);
}
