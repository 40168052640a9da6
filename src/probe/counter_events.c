#include "probe/counter_events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/opt.h"
#include "probe/counter_names.h"
#include "probe/proc_file.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* ---- the machine ---- */

enum counter_cpu counter_cpu_here(void)
{
#if defined(__x86_64__)
    unsigned eax, ebx, ecx, edx;
    char vendor[13] = "";
    if (!__get_cpuid(0, &eax, &ebx, &ecx, &edx)) {
        return COUNTER_CPU_OTHER;
    }
    memcpy(vendor, &ebx, 4);
    memcpy(vendor + 4, &edx, 4);
    memcpy(vendor + 8, &ecx, 4);
    if (strcmp(vendor, "GenuineIntel") == 0) {
        return COUNTER_CPU_INTEL;
    }
    bool amd = strcmp(vendor, "AuthenticAMD") == 0 || strcmp(vendor, "HygonGenuine") == 0;
    if (amd && __get_cpuid(1, &eax, &ebx, &ecx, &edx)) {
        unsigned family = ((eax >> 8) & 0xf) + ((eax >> 20) & 0xff);
        return family >= 0x17 ? COUNTER_CPU_ZEN : COUNTER_CPU_OTHER;
    }
    return COUNTER_CPU_OTHER;
#elif defined(__aarch64__)
    return COUNTER_CPU_ARM;
#else
    return COUNTER_CPU_OTHER;
#endif
}

int counter_open(const struct perf_event_attr *attr, int tid, int leader)
{
    return (int)syscall(SYS_perf_event_open, attr, tid, -1, leader, PERF_FLAG_FD_CLOEXEC);
}

int counter_try_here(const struct perf_event_attr *attr, void *context)
{
    (void)context;
    int file = counter_open(attr, 0, -1);
    if (file < 0) {
        return errno;
    }
    close(file);
    return 0;
}

/* ---- an event's nature ---- */

static bool is_clock(const struct perf_event_attr *attr)
{
    return attr->type == PERF_TYPE_SOFTWARE &&
           (attr->config == PERF_COUNT_SW_TASK_CLOCK || attr->config == PERF_COUNT_SW_CPU_CLOCK);
}

/* Of software events the kernel looks at exclude_kernel where the event happens (perf_exclude_event
 * in kernel/events/core.c): a clock does not ask, a fault has the registers of whoever caused it,
 * and a switch or a migration always happens inside the kernel. */
enum counter_user counter_user_part(const struct perf_event_attr *attr)
{
    if (attr->type != PERF_TYPE_SOFTWARE) {
        return COUNTER_USER_PART;
    }
    switch (attr->config) {
    case PERF_COUNT_SW_TASK_CLOCK:
    case PERF_COUNT_SW_CPU_CLOCK:
        return COUNTER_USER_ALL;
    case PERF_COUNT_SW_PAGE_FAULTS:
    case PERF_COUNT_SW_PAGE_FAULTS_MIN:
    case PERF_COUNT_SW_PAGE_FAULTS_MAJ:
    case PERF_COUNT_SW_ALIGNMENT_FAULTS:
    case PERF_COUNT_SW_EMULATION_FAULTS:
        return COUNTER_USER_PART;
    default:
        return COUNTER_USER_NOTHING;
    }
}

const char *counter_unit(const struct perf_event_attr *attr)
{
    return is_clock(attr) ? "ns" : "1";
}

const char *counter_reason(int number, const struct perf_event_attr *attr, char *to, size_t size)
{
    char level[16] = "?";
    struct err ignored = {0};
    switch (number) {
    case ENOENT:
    case EOPNOTSUPP:
    case ENODEV:
    case ENXIO:
        snprintf(
            to, size, "%s",
            attr->type == PERF_TYPE_SOFTWARE
                ? "this kernel has no such event"
                : "this machine has no such hardware counter (virtual machine without a PMU?)");
        break;
    case EACCES:
    case EPERM:
        (void)proc_file_read("/proc/sys/kernel/perf_event_paranoid", level, sizeof level, &ignored);
        level[strcspn(level, "\n")] = '\0';
        snprintf(to, size, "not allowed: needs CAP_PERFMON (kernel.perf_event_paranoid is %s)",
                 level);
        break;
    case EMFILE:
    case ENFILE:
        snprintf(to, size, "too many open files: one for each thread and counter");
        break;
    case EBUSY:
    case ENOSPC:
        snprintf(to, size, "the CPU's counters are taken by others");
        break;
    case ENOSYS:
        snprintf(to, size, "this kernel has no perf_event_open");
        break;
    case EINVAL:
        snprintf(to, size, "the kernel refuses this event on this machine");
        break;
    default:
        snprintf(to, size, "perf_event_open: %s", strerror(number));
    }
    return to;
}

/* ---- planning ---- */

static bool same_event(const struct perf_event_attr *a, const struct perf_event_attr *b)
{
    return a->type == b->type && a->config == b->config && a->config1 == b->config1 &&
           a->config2 == b->config2 && a->exclude_user == b->exclude_user &&
           a->exclude_kernel == b->exclude_kernel && a->exclude_hv == b->exclude_hv &&
           a->exclude_guest == b->exclude_guest && a->exclude_host == b->exclude_host;
}

struct planner {
    struct counter_plan *plan;
    enum counter_cpu cpu;
    counter_try *try;
    void *context;
    uint32_t groups;
};

/* Tries an event; where the kernel's part is not allowed, without that. 0 or the errno. */
static int try_event(const struct planner *planner, struct counter_event *event)
{
    event->attr.size = sizeof event->attr;
    event->attr.disabled = 1;
    int number = planner->try(&event->attr, planner->context);
    if ((number == EACCES || number == EPERM) && !event->attr.exclude_kernel) {
        struct perf_event_attr user = event->attr;
        user.exclude_kernel = 1;
        enum counter_user part = counter_user_part(&user);
        if (part != COUNTER_USER_NOTHING && planner->try(&user, planner->context) == 0) {
            event->attr = user;
            event->user_only = part == COUNTER_USER_PART;
            return 0;
        }
    }
    return number;
}

/* Adds an event unless the same is there; *place says where it is. */
static int plan_event(struct planner *planner, const struct counter_event *event, size_t *place,
                      struct err *error)
{
    struct counter_plan *plan = planner->plan;
    for (*place = 0; *place < plan->event_count; (*place)++) {
        const struct counter_event *other = &plan->events[*place];
        /* Two that are missing may be different events of the same empty attributes. */
        if (strcmp(other->name, event->name) == 0 ||
            (!event->reason[0] && !other->reason[0] && !event->source[0] && !other->source[0] &&
             same_event(&other->attr, &event->attr))) {
            return 0;
        }
    }
    if (plan->event_count == COUNTERS_MOST) {
        return err_set(error, ERR_USAGE, "--counters", "more than %d counters", COUNTERS_MOST);
    }
    plan->events[plan->event_count++] = *event;
    return 0;
}

static int plan_named(struct planner *planner, const char *name, uint32_t group, size_t *place,
                      struct err *error)
{
    struct counter_event event = {.group = group};
    if (counter_name_find(name, &event.attr) != 0 &&
        counter_name_pfm(name, &event.attr, error) != 0) {
        return -1;
    }
    snprintf(event.name, sizeof event.name, "%s", name);
    int number = try_event(planner, &event);
    if (number != 0) {
        counter_reason(number, &event.attr, event.reason, sizeof event.reason);
    }
    return plan_event(planner, &event, place, error);
}

/* The first of a set's candidates that the machine has. */
static void choose(const struct planner *planner, const struct counter_choice *choice,
                   struct counter_event *event)
{
    snprintf(event->name, sizeof event->name, "%s", choice->name);
    for (size_t i = 0; i < COUNTER_CANDIDATES && choice->candidates[i].name != NULL; i++) {
        const struct counter_candidate *candidate = &choice->candidates[i];
        struct counter_event tried = *event;
        if (candidate->cpu != COUNTER_CPU_OTHER && candidate->cpu != planner->cpu) {
            continue;
        }
        if (counter_candidate_attr(candidate, &tried.attr) != 0) {
            continue;
        }
        int number = try_event(planner, &tried);
        snprintf(tried.source, sizeof tried.source, "%s", candidate->name);
        if (number == 0) {
            tried.reason[0] = '\0';
            *event = tried;
            return;
        }
        if (event->reason[0] == '\0') {
            counter_reason(number, &tried.attr, event->reason, sizeof event->reason);
            snprintf(event->source, sizeof event->source, "%s", candidate->name);
            event->attr = tried.attr;
        }
    }
    if (event->reason[0] == '\0') {
        snprintf(event->reason, sizeof event->reason, "%s", choice->nothing);
        event->attr.type = PERF_TYPE_HARDWARE;
    }
}

static void plan_ratio(struct counter_plan *plan, const char *name, size_t numerator,
                       size_t denominator)
{
    for (size_t i = 0; i < plan->ratio_count; i++) {
        if (strcmp(plan->ratios[i].name, name) == 0) {
            return;
        }
    }
    if (plan->ratio_count < COUNTERS_MOST) {
        plan->ratios[plan->ratio_count++] = (struct counter_ratio){name, numerator, denominator};
    }
}

static int plan_set(struct planner *planner, const struct counter_set_row *set, struct err *error)
{
    size_t places[COUNTER_SET_EVENTS] = {0};
    uint32_t group = ++planner->groups;
    for (size_t i = 0; i < 2; i++) {
        struct counter_event event = {.group = group};
        choose(planner, &set->choices[i], &event);
        if (plan_event(planner, &event, &places[i], error) != 0) {
            return -1;
        }
    }
    for (size_t i = 2; i < COUNTER_SET_EVENTS; i++) {
        if (plan_named(planner, set->set.counters[i], group, &places[i], error) != 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < 2 && set->ratios[i].name != NULL; i++) {
        plan_ratio(planner->plan, set->ratios[i].name, places[set->ratios[i].numerator],
                   places[set->ratios[i].denominator]);
    }
    return 0;
}

static int plan_default(struct planner *planner, struct err *error)
{
    size_t place;
    uint32_t hardware = ++planner->groups;
    for (size_t i = 0; counter_default_names[i] != NULL; i++) {
        struct perf_event_attr attr = {0};
        (void)counter_name_find(counter_default_names[i], &attr);
        uint32_t group = attr.type == PERF_TYPE_SOFTWARE ? 0 : hardware;
        if (plan_named(planner, counter_default_names[i], group, &place, error) != 0) {
            return -1;
        }
    }
    return 0;
}

static int plan_one(struct planner *planner, const char *name, struct err *error)
{
    const struct counter_set_row *set = counter_set_row(name);
    struct perf_event_attr attr = {0};
    size_t place;
    if (set != NULL) {
        return plan_set(planner, set, error);
    }
    if (strcmp(name, "default") == 0) {
        return plan_default(planner, error);
    }
    /* Software events share a group: they are counted always. Each other one is apart, so that one
     * too many does not take the others with it. */
    bool software = counter_name_find(name, &attr) == 0 && attr.type == PERF_TYPE_SOFTWARE;
    return plan_named(planner, name, software ? 0 : ++planner->groups, &place, error);
}

int counter_plan_make(struct counter_plan *plan, char *const *names, size_t count,
                      enum counter_cpu cpu, counter_try *try, void *context, struct err *error)
{
    struct planner planner = {.plan = plan, .cpu = cpu, .try = try, .context = context};
    *plan = (struct counter_plan){0};
    if (count == 0 && plan_default(&planner, error) != 0) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (plan_one(&planner, names[i], error) != 0) {
            return -1;
        }
    }
    size_t instructions = COUNTERS_MOST, cycles = COUNTERS_MOST;
    for (size_t i = 0; i < plan->event_count; i++) {
        instructions = strcmp(plan->events[i].name, "instructions") == 0 ? i : instructions;
        cycles = strcmp(plan->events[i].name, "cycles") == 0 ? i : cycles;
    }
    if (instructions != COUNTERS_MOST && cycles != COUNTERS_MOST) {
        plan_ratio(plan, "instructions per cycle", instructions, cycles);
    }
    return 0;
}

/* ---- values ---- */

void counter_total_add(struct counter_total *total, const void *bytes, long length)
{
    /* PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING, no group. */
    uint64_t fields[3];
    if (length != (long)sizeof fields) {
        /* End of file: the kernel has given the event up, for want of a counter. */
        total->number = total->number ? total->number : length == 0 ? EBUSY : EIO;
        return;
    }
    memcpy(fields, bytes, sizeof fields);
    total->value += fields[0];
    total->enabled_ns += fields[1];
    total->running_ns += fields[2];
}

bool counter_total_value(const struct counter_total *total, const struct perf_event_attr *attr,
                         uint64_t *value, char *reason, size_t reason_size)
{
    *value = 0;
    if (total->number != 0) {
        counter_reason(total->number, attr, reason, reason_size);
        return false;
    }
    if (total->running_ns != total->enabled_ns) {
        double share =
            total->enabled_ns ? 100.0 * (double)total->running_ns / (double)total->enabled_ns : 0.0;
        snprintf(reason, reason_size,
                 "counted only %.2f %% of the time: ask for fewer counters at once", share);
        return false;
    }
    *value = total->value;
    return true;
}
