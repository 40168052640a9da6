/* The profile probe: loads the program of bpf/profile.bpf.c, and has it run at each overflow of an
 * event on each CPU between start and stop. */
#include "probe/probe.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe/profile_state.h"

int profile_take_maps(struct probe *probe, struct err *error)
{
    struct target_process *list = NULL;
    size_t count = 0;
    if (code_events_take(probe->events, &probe->maps, error) != 0 ||
        targets_list(probe->targets, &list, &count, error) != 0) {
        return -1;
    }
    int status = 0;
    for (size_t i = 0; i < count && status == 0; i++) {
        char path[64];
        if (list[i].ended || code_maps_is_whole(&probe->maps, list[i].pid)) {
            continue;
        }
        snprintf(path, sizeof path, "/proc/%d/maps", (int)list[i].pid);
        FILE *file = fopen(path, "re");
        if (file != NULL) { /* else it has just ended */
            status = code_maps_read(&probe->maps, list[i].pid, file, error);
            fclose(file);
        }
    }
    free(list);
    return status;
}

#if !SONDE_HAVE_BPF

#include "probe/without_bpf.h"

static int why_not(char *reason, size_t reason_size, char *fix, size_t fix_size)
{
    return targets_why_not(reason, reason_size, fix, fix_size);
}

static int begin(struct probe *probe, struct err *error)
{
    return start(probe, error);
}

static int end(struct probe *probe, struct err *error)
{
    return stop(probe, error);
}

bool profile_next(struct probe *probe, const struct profile_key *after, struct profile_key *key,
                  uint64_t *samples)
{
    (void)probe;
    (void)after;
    (void)key;
    (void)samples;
    return false;
}

bool profile_stack(struct probe *probe, uint64_t hash, struct profile_stack *stack)
{
    (void)probe;
    (void)hash;
    (void)stack;
    return false;
}

#else

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probe/bpf_load.h"
#include "probe/counter_events.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include "profile.skel.h"
#pragma GCC diagnostic pop

/* ---- the event ---- */

static struct perf_event_attr event_attr(enum profile_event event, uint64_t rate)
{
    struct perf_event_attr attr = {.size = sizeof attr, .freq = 1, .sample_freq = rate};
    attr.type = event == PROFILE_CYCLES ? PERF_TYPE_HARDWARE : PERF_TYPE_SOFTWARE;
    attr.config = event == PROFILE_CYCLES ? PERF_COUNT_HW_CPU_CYCLES : PERF_COUNT_SW_CPU_CLOCK;
    return attr;
}

/* A descriptor, or -1 with errno: the event of one CPU, whoever runs on it. */
static int open_event(enum profile_event event, uint64_t rate, size_t cpu)
{
    struct perf_event_attr attr = event_attr(event, rate);
    return (int)syscall(SYS_perf_event_open, &attr, -1, (int)cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

/* 0, or an errno. On the first CPU that is on: they are alike. */
static int try_event(enum profile_event event, uint64_t rate, size_t cpus)
{
    int number = ENODEV;
    for (size_t cpu = 0; cpu < cpus && number == ENODEV; cpu++) {
        int file = open_event(event, rate, cpu);
        number = file < 0 ? errno : 0;
        if (file >= 0) {
            close(file);
        }
    }
    return number;
}

static size_t cpus_configured(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_CONF);
    return cpus > 0 ? (size_t)cpus : 1;
}

static int event_refused(int number, enum profile_event event, uint64_t rate, struct err *error)
{
    struct perf_event_attr attr = event_attr(event, rate);
    char reason[128];
    /* The kernel lowers this limit by itself where samples take it too long. */
    if (number == EINVAL && event == PROFILE_CPU_CLOCK) {
        err_set(error, ERR_UNSUPPORTED, "profile", "the kernel refuses %lu samples a second",
                (unsigned long)rate);
        err_hint(error, "a lower --profile-rate, or a higher kernel.perf_event_max_sample_rate");
    } else {
        err_set(error, ERR_UNSUPPORTED, "profile", "%s",
                counter_reason(number, &attr, reason, sizeof reason));
    }
    error->number = number;
    return -1;
}

static int choose_event(struct probe *probe, enum profile_event wanted, struct err *error)
{
    int number = ENOENT;
    if (wanted != PROFILE_CPU_CLOCK) {
        probe->event = PROFILE_CYCLES;
        number = try_event(probe->event, probe->rate, probe->cpus);
        if (number != 0 && wanted == PROFILE_CYCLES) {
            event_refused(number, probe->event, probe->rate, error);
            return err_hint(error, "--profile-event cpu-clock works everywhere");
        }
    }
    if (number != 0) {
        probe->event = PROFILE_CPU_CLOCK;
        number = try_event(probe->event, probe->rate, probe->cpus);
    }
    return number == 0 ? 0 : event_refused(number, probe->event, probe->rate, error);
}

static int why_not(char *reason, size_t reason_size, char *fix, size_t fix_size)
{
    if (targets_why_not(reason, reason_size, fix, fix_size) != 0) {
        return -1;
    }
    struct err error = {0};
    int number = try_event(PROFILE_CPU_CLOCK, 1, cpus_configured());
    if (number == 0) {
        return 0;
    }
    event_refused(number, PROFILE_CPU_CLOCK, 1, &error);
    snprintf(reason, reason_size, "%s", error.what);
    snprintf(fix, fix_size, "%s", error.hint);
    return -1;
}

/* ---- the operations ---- */

static int load_programs(struct probe *probe, struct err *error)
{
    struct profile_bpf *programs = profile_bpf__open();
    if (programs == NULL) {
        return bpf_load_failed(error, errno, "cannot read its BPF programs");
    }
    probe->programs = programs;
    if (targets_bpf_share(probe->targets, programs->maps.targets, error) != 0) {
        return -1;
    }
    int status = bpf_load_skeleton(programs->skeleton);
    if (status != 0) {
        return bpf_load_failed(error, status, "cannot load its BPF programs");
    }
    probe->memory = bpf_load_map_writable(programs->maps.memory, sizeof *probe->memory, error);
    return probe->memory != NULL ? 0 : -1;
}

static int stop(struct probe *probe, struct err *error)
{
    (void)error;
    probe->attached = false;
    for (size_t i = 0; i < probe->cpus; i++) {
        bpf_load_detach(&probe->links[i]);
    }
    return 0;
}

static void close_probe(struct probe *probe)
{
    struct err ignored;
    if (probe == NULL) {
        return;
    }
    if (probe->links != NULL) {
        stop(probe, &ignored);
    }
    bpf_load_unmap(probe->memory, sizeof *probe->memory);
    profile_bpf__destroy(probe->programs);
    code_events_close(probe->events);
    code_maps_release(&probe->maps);
    free(probe->links);
    free(probe);
}

static int open_probe(struct probe **probe, const struct probe_config *config, struct err *error)
{
    *probe = NULL;
    struct probe *opened = calloc(1, sizeof *opened);
    if (opened == NULL) {
        return err_set(error, ERR_LIMIT, "profile", "no memory");
    }
    opened->targets = config->targets;
    opened->rate = config->options->profile_rate;
    opened->cpus = cpus_configured();
    opened->links = calloc(opened->cpus, sizeof *opened->links);
    if (opened->links == NULL) {
        close_probe(opened);
        return err_set(error, ERR_LIMIT, "profile", "no memory");
    }
    if (choose_event(opened, config->options->profile_event, error) != 0 ||
        load_programs(opened, error) != 0 || code_events_open(&opened->events, error) != 0) {
        close_probe(opened);
        return -1;
    }
    *probe = opened;
    return 0;
}

/* Attaches to the event of one CPU, which begins to count with that. A CPU that is off has none. */
static int attach(struct probe *probe, size_t cpu, struct err *error)
{
    int file = open_event(probe->event, probe->rate, cpu);
    if (file < 0) {
        return errno == ENODEV ? 0 : event_refused(errno, probe->event, probe->rate, error);
    }
    probe->links[cpu] = bpf_program__attach_perf_event(probe->programs->progs.on_sample, file);
    if (probe->links[cpu] == NULL) {
        int number = errno;
        close(file);
        return bpf_load_failed(error, number, "cannot attach a BPF program");
    }
    probe->cpus_on++;
    return 0;
}

static int start(struct probe *probe, struct err *error)
{
    if (probe->attached) {
        return 0;
    }
    probe->attached = true;
    probe->cpus_on = 0;
    for (size_t cpu = 0; cpu < probe->cpus; cpu++) {
        if (attach(probe, cpu, error) != 0) {
            struct err ignored = {0};
            stop(probe, &ignored);
            return -1;
        }
    }
    return 0;
}

static int begin(struct probe *probe, struct err *error)
{
    return profile_take_maps(probe, error);
}

static int end(struct probe *probe, struct err *error)
{
    return profile_take_maps(probe, error);
}

bool profile_next(struct probe *probe, const struct profile_key *after, struct profile_key *key,
                  uint64_t *samples)
{
    int map = bpf_map__fd(probe->programs->maps.counts);
    __u64 count = 0;
    if (bpf_map_get_next_key(map, after, key) != 0) {
        return false;
    }
    *samples = bpf_map_lookup_elem(map, key, &count) == 0 ? count : 0;
    return true;
}

bool profile_stack(struct probe *probe, uint64_t hash, struct profile_stack *stack)
{
    __u64 key = hash;
    return bpf_map_lookup_elem(bpf_map__fd(probe->programs->maps.stacks), &key, stack) == 0;
}

#endif

const struct probe_ops probe_profile = {
    .name = "profile",
    .help = "where the CPU time goes: sampled stacks by process, object and function",
    .flags = PROBE_BPF,
    .metrics = profile_metrics,
    .metric_count = PROFILE_METRICS,
    .why_not = why_not,
    .open = open_probe,
    .start = start,
    .begin = begin,
    .end = end,
    .stop = stop,
    .read = profile_read,
    .close = close_probe,
};
