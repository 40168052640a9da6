/* The counters probe: events of perf_event_open(2) for each thread of the observed processes. They
 * are opened anew for each stretch, right before it, and closed after it. So a thread that begins
 * in a stretch is counted by inheritance, with the thread that began it, and from the next stretch
 * on by itself, and never twice. */
#include "probe/counters.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "probe/counters_state.h"
#include "probe/proc_file.h"
#include "probe/process.h"
#include "probe/targets_state.h"

#define SETTLE_TRIES 4

/* ---- whom to count ---- */

static int no_memory(struct err *error)
{
    return err_set(error, ERR_LIMIT, "counters", "no memory");
}

static void thread_name(pid_t pid, pid_t tid, char *to, size_t size)
{
    char path[64], text[32];
    struct err gone = {0};
    snprintf(path, sizeof path, "/proc/%d/task/%d/comm", (int)pid, (int)tid);
    if (proc_file_read(path, text, sizeof text, &gone) > 0) {
        text[strcspn(text, "\n")] = '\0';
        snprintf(to, size, "%.19s", text);
    }
}

/* Finds the thread among those counted before, or adds it. */
static struct counted_thread *take_thread(struct probe *probe, const struct target_process *process,
                                          pid_t tid)
{
    for (size_t i = 0; i < probe->thread_count; i++) {
        if (probe->threads[i].tid == tid && probe->threads[i].pid == process->pid) {
            return &probe->threads[i];
        }
    }
    if (probe->thread_count == probe->thread_capacity) {
        size_t capacity = probe->thread_capacity ? probe->thread_capacity * 2 : 16;
        struct counted_thread *larger = reallocarray(probe->threads, capacity, sizeof *larger);
        if (larger == NULL) {
            return NULL;
        }
        probe->threads = larger;
        probe->thread_capacity = capacity;
    }
    struct counted_thread *thread = &probe->threads[probe->thread_count];
    *thread = (struct counted_thread){.pid = process->pid, .tid = tid, .role = process->role};
    thread->totals = calloc(probe->plan.event_count + 1, sizeof *thread->totals);
    if (thread->totals == NULL) {
        return NULL;
    }
    probe->thread_count++;
    return thread;
}

static void name_thread(struct counted_thread *thread, const char *process)
{
    snprintf(thread->process, sizeof thread->process, "%s", process);
    if (thread->tid == thread->pid) {
        snprintf(thread->name, sizeof thread->name, "%s", process); /* also once it has ended */
    }
    thread_name(thread->pid, thread->tid, thread->name, sizeof thread->name);
}

/* ---- opening ---- */

static void close_files(struct probe *probe)
{
    for (size_t i = 0; i < probe->thread_count; i++) {
        struct counted_thread *thread = &probe->threads[i];
        /* Members before their leader: else they become leaders of their own for a moment. */
        for (size_t j = probe->plan.event_count; thread->files != NULL && j-- > 0;) {
            if (thread->files[j] >= 0) {
                close(thread->files[j]);
            }
        }
        free(thread->files);
        thread->files = NULL;
    }
}

/* The first event of the same group that is open, -1 where there is none. */
static int leader_of(const struct probe *probe, const struct counted_thread *thread, size_t event)
{
    for (size_t i = 0; i < event; i++) {
        if (probe->plan.events[i].group == probe->plan.events[event].group &&
            thread->files[i] >= 0) {
            return thread->files[i];
        }
    }
    return -1;
}

/* Only leaders are off at first, and switched: their members count exactly while they do. Switched
 * one by one, members would be "enabled" for a moment before they run. */
static int open_event(const struct probe *probe, const struct counted_thread *thread,
                      struct perf_event_attr attr, int leader)
{
    attr.disabled = leader < 0;
    attr.inherit = probe->inherits;
    attr.inherit_thread = probe->inherits && !probe->follow;
    attr.enable_on_exec = leader < 0 && thread->waiting;
    attr.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
    return counter_open(&attr, thread->tid, leader);
}

/* Opens all events of a thread, off. What cannot be opened keeps its errno: its value is n/a. A
 * thread that has just ended is left out. */
static int open_thread(struct probe *probe, struct counted_thread *thread, struct err *error)
{
    size_t count = probe->plan.event_count;
    thread->files = malloc((count + 1) * sizeof *thread->files);
    if (thread->files == NULL) {
        return no_memory(error);
    }
    memset(thread->files, -1, count * sizeof *thread->files);
    for (size_t i = 0; i < count; i++) {
        const struct perf_event_attr *attr = &probe->plan.events[i].attr;
        if (probe->plan.events[i].reason[0] != '\0') {
            continue;
        }
        int leader = leader_of(probe, thread, i);
        int file = open_event(probe, thread, *attr, leader);
        if (file < 0 && leader >= 0 && (errno == EINVAL || errno == ENOSPC)) {
            leader = -1; /* the group has no room for it */
            file = open_event(probe, thread, *attr, leader);
        }
        thread->leads[i] = leader < 0;
        if (file < 0 && errno != ESRCH && thread->totals[i].number == 0) {
            thread->totals[i].number = errno;
        }
        thread->files[i] = file;
    }
    return 0;
}

static int open_process(struct probe *probe, const struct target_process *process, bool waiting,
                        size_t *opened, struct err *error)
{
    struct thread_sample *list = NULL;
    size_t count = 0;
    struct err gone = {0};
    if (process->ended || process_threads(process->pid, &list, &count, &gone) != 0) {
        return 0;
    }
    int status = 0;
    for (size_t i = 0; i < count && status == 0; i++) {
        struct counted_thread *thread = take_thread(probe, process, list[i].tid);
        if (thread == NULL) {
            status = no_memory(error);
        } else if (thread->files == NULL) {
            thread->waiting = waiting;
            name_thread(thread, process->name);
            status = open_thread(probe, thread, error);
            *opened += 1;
        }
    }
    free(list);
    return status;
}

/* Opens what is not open yet; *opened counts the threads. */
static int open_all(struct probe *probe, size_t *opened, struct err *error)
{
    int status = 0;
    *opened = 0;
    for (int waiting = 0; waiting < 2 && status == 0; waiting++) {
        struct target_process *list = NULL;
        size_t count = 0;
        status =
            (waiting ? targets_list_waiting : targets_list)(probe->targets, &list, &count, error);
        for (size_t i = 0; i < count && status == 0; i++) {
            status = open_process(probe, &list[i], waiting, opened, error);
        }
        free(list);
    }
    return status;
}

/* ---- stretches ---- */

/* `request` for every group of every thread. */
static void control(struct probe *probe, unsigned long request)
{
    for (size_t i = 0; i < probe->thread_count; i++) {
        const struct counted_thread *thread = &probe->threads[i];
        for (size_t j = 0; thread->files != NULL && j < probe->plan.event_count; j++) {
            if (thread->files[j] >= 0 && thread->leads[j] &&
                !(thread->waiting && request == PERF_EVENT_IOC_ENABLE)) {
                (void)ioctl(thread->files[j], request, 0);
            }
        }
    }
}

static int begin(struct probe *probe, struct err *error)
{
    size_t opened = 0, more = 1;
    /* A thread that came while its siblings were opened may have inherited its parent's events or
     * not: nobody can tell, so all is opened again. */
    for (int tries = 0; tries < SETTLE_TRIES && more > 0; tries++) {
        close_files(probe);
        if (open_all(probe, &opened, error) != 0 || open_all(probe, &more, error) != 0) {
            close_files(probe);
            return -1;
        }
    }
    probe->unsettled += more > 0;
    probe->running = true;
    control(probe, PERF_EVENT_IOC_ENABLE);
    return 0;
}

static void read_file(int file, struct counter_total *total)
{
    uint64_t fields[3];
    ssize_t length = read(file, fields, sizeof fields);
    if (length < 0) {
        total->number = total->number ? total->number : errno;
        return;
    }
    counter_total_add(total, fields, (long)length);
}

struct counter_total counters_now(const struct probe *probe, const struct counted_thread *thread,
                                  size_t event)
{
    struct counter_total total = thread->totals[event];
    if (probe->running && thread->files != NULL && thread->files[event] >= 0) {
        read_file(thread->files[event], &total);
    }
    return total;
}

static int end(struct probe *probe, struct err *error)
{
    (void)error;
    struct target_process *list = NULL;
    size_t count = 0;
    struct err ignored = {0};
    if (!probe->running) {
        return 0;
    }
    control(probe, PERF_EVENT_IOC_DISABLE);
    /* Their names as of now: an execve may have changed them. */
    if (targets_list(probe->targets, &list, &count, &ignored) == 0) {
        for (size_t i = 0; i < probe->thread_count; i++) {
            struct counted_thread *thread = &probe->threads[i];
            for (size_t j = 0; j < count; j++) {
                if (list[j].pid == thread->pid) {
                    name_thread(thread, list[j].name);
                }
            }
        }
    }
    free(list);
    for (size_t i = 0; i < probe->thread_count; i++) {
        struct counted_thread *thread = &probe->threads[i];
        for (size_t j = 0; j < probe->plan.event_count; j++) {
            thread->totals[j] = counters_now(probe, thread, j);
        }
    }
    probe->running = false;
    close_files(probe);
    return 0;
}

/* ---- the operations ---- */

static int why_not(char *reason, size_t reason_size, char *fix, size_t fix_size)
{
    /* The least that can be asked for: a clock of our own thread, without the kernel's part. */
    const struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
                                         .size = sizeof attr,
                                         .config = PERF_COUNT_SW_TASK_CLOCK,
                                         .exclude_kernel = 1,
                                         .disabled = 1};
    int number = counter_try_here(&attr, NULL);
    if (number == 0) {
        return 0;
    }
    counter_reason(number, &attr, reason, reason_size);
    bool denied = number == EACCES || number == EPERM;
    snprintf(fix, fix_size, "%s",
             denied ? "run as root, give sonde CAP_PERFMON, or sysctl kernel.perf_event_paranoid=1"
                    : "");
    return -1;
}

static void close_probe(struct probe *probe)
{
    if (probe == NULL) {
        return;
    }
    close_files(probe);
    for (size_t i = 0; i < probe->thread_count; i++) {
        free(probe->threads[i].totals);
    }
    free(probe->threads);
    free(probe);
}

/* Inheritance by threads only is new in Linux 5.13. */
static bool can_inherit(bool follow)
{
    const struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
                                         .size = sizeof attr,
                                         .config = PERF_COUNT_SW_TASK_CLOCK,
                                         .exclude_kernel = 1,
                                         .disabled = 1,
                                         .inherit = 1,
                                         .inherit_thread = !follow};
    return counter_try_here(&attr, NULL) == 0;
}

static int open_probe(struct probe **probe, const struct probe_config *config, struct err *error)
{
    *probe = NULL;
    struct probe *opened = calloc(1, sizeof *opened);
    if (opened == NULL) {
        return no_memory(error);
    }
    opened->targets = config->targets;
    opened->follow = config->targets->follow;
    opened->inherits = can_inherit(opened->follow);
    if (counter_plan_make(&opened->plan, config->options->counters.items,
                          config->options->counters.count, counter_cpu_here(), counter_try_here,
                          NULL, error) != 0) {
        close_probe(opened);
        return -1;
    }
    *probe = opened;
    return 0;
}

/* There is nothing to attach: events exist only within stretches. */
static int start(struct probe *probe, struct err *error)
{
    (void)probe;
    (void)error;
    return 0;
}

const struct probe_ops probe_counters = {
    .name = "counters",
    .help = "hardware and software counters by thread: cycles, instructions, faults, switches",
    .flags = PROBE_STRETCH,
    .why_not = why_not,
    .open = open_probe,
    .start = start,
    .begin = begin,
    .end = end,
    .stop = end,
    .read = counters_read,
    .close = close_probe,
};
