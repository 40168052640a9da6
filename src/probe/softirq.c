/* The interrupt probe: time in softirqs and device interrupts on each CPU, and stolen time. */
#include "probe/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/types.h>

#include "base/clock.h"
#include "probe/bpf/softirq_shared.h"
#include "probe/proc_file.h"
#include "probe/targets_state.h"

struct softirq_bpf;
struct bpf_link;

enum { LINK_AFTER_IRQ, LINK_IRQ, LINK_AFTER_SOFTIRQ, LINK_SOFTIRQ, LINK_COUNT };

struct probe {
    struct targets *targets;
    struct softirq_bpf *programs;
    struct bpf_link *links[LINK_COUNT]; /* NULL: not attached */
    struct cpu_served *served;          /* mapped: [cpu] */
    uint32_t cpus;
    uint64_t *steal_ns, *steal_before_ns; /* cpus each: in windows; as the present one began */
    bool steal_known;
};

/* ---- stolen time: /proc/stat, in ticks ---- */

/* cpuN user nice system idle iowait irq softirq steal. False where a CPU has none. */
static bool read_steal(const struct probe *probe, uint64_t *steal_ns)
{
    size_t size = 16384 + 256 * (size_t)probe->cpus;
    char *text = malloc(size);
    struct err ignored = {0};
    long ticks = sysconf(_SC_CLK_TCK);
    bool known =
        text != NULL && ticks > 0 && proc_file_read("/proc/stat", text, size, &ignored) > 0;
    for (char *line = text; known && line != NULL; line = strchr(line, '\n')) {
        unsigned cpu;
        unsigned long long steal;
        line += *line == '\n';
        if (sscanf(line, "cpu%u %*u %*u %*u %*u %*u %*u %*u %llu", &cpu, &steal) == 2 &&
            cpu < probe->cpus) {
            steal_ns[cpu] = steal * (NS_PER_SECOND / (uint64_t)ticks);
        }
    }
    free(text);
    return known;
}

static int begin(struct probe *probe, struct err *error)
{
    (void)error;
    probe->steal_known = read_steal(probe, probe->steal_before_ns);
    return 0;
}

static int end(struct probe *probe, struct err *error)
{
    (void)error;
    uint64_t *now_ns = calloc(probe->cpus, sizeof *now_ns);
    if (now_ns != NULL && probe->steal_known && read_steal(probe, now_ns)) {
        for (uint32_t cpu = 0; cpu < probe->cpus; cpu++) {
            uint64_t before_ns = probe->steal_before_ns[cpu];
            probe->steal_ns[cpu] += now_ns[cpu] > before_ns ? now_ns[cpu] - before_ns : 0;
        }
    } else {
        probe->steal_known = false;
    }
    free(now_ns);
    return 0;
}

/* ---- to the record ---- */

enum {
    SOFTIRQ_TIME,
    SOFTIRQS,
    NET_RX,
    NET_TX,
    TIMER,
    SCHED,
    RCU,
    OTHER,
    IRQ_TIME,
    IRQS,
    STEAL,
    COLUMNS
};

#define ROW(key, unit, title, help)                                                                \
    {                                                                                              \
        key, unit, title, help, METRIC_VALUE, 0, 0, false                                          \
    }

static const struct metric metrics[COLUMNS] = {
    [SOFTIRQ_TIME] = ROW("softirq_ns", "ns", "softirq", "time in softirqs"),
    [SOFTIRQS] = ROW("softirqs", "1", "softirqs", "softirqs served"),
    [NET_RX] = ROW("net_rx_ns", "ns", "NET_RX", "time in the softirq that receives packets"),
    [NET_TX] = ROW("net_tx_ns", "ns", "NET_TX", "time in the softirq that ends their sending"),
    [TIMER] = ROW("timer_ns", "ns", "TIMER", "time in the softirqs of timers"),
    [SCHED] = ROW("sched_ns", "ns", "SCHED", "time in the softirq that balances run queues"),
    [RCU] = ROW("rcu_ns", "ns", "RCU", "time in the softirq that frees what nobody reads any more"),
    [OTHER] = ROW("other_softirq_ns", "ns", "other", "time in all other softirqs"),
    [IRQ_TIME] = ROW("interrupt_ns", "ns", "irq", "time in the handlers of device interrupts"),
    [IRQS] = ROW("interrupts", "1", "irqs", "handlers of device interrupts called"),
    [STEAL] = ROW("steal_ns", "ns", "steal", "time that the hypervisor gave to others, in ticks"),
};

/* linux/interrupt.h: HI TIMER NET_TX NET_RX BLOCK IRQ_POLL TASKLET SCHED HRTIMER RCU. */
static const uint8_t columns[VECTORS] = {OTHER, TIMER, NET_TX, NET_RX, OTHER, OTHER, OTHER, SCHED,
                                         TIMER, RCU,   OTHER,  OTHER,  OTHER, OTHER, OTHER, OTHER};

static int add_cpu(const struct probe *probe, uint32_t cpu, struct record_probe *to)
{
    double values[COLUMNS] = {[STEAL] = (double)probe->steal_ns[cpu]};
    struct record_scope scope = {0};
    uint64_t count = 0;
    for (uint32_t kind = 0; kind < SERVED; kind++) {
        const struct served *served = &probe->served[cpu].served[kind];
        double time_ns = (double)__atomic_load_n(&served->time_ns, __ATOMIC_RELAXED);
        double times = (double)__atomic_load_n(&served->count, __ATOMIC_RELAXED);
        if (kind == SERVING_IRQ) {
            values[IRQ_TIME] = time_ns;
            values[IRQS] = times;
        } else {
            values[SOFTIRQ_TIME] += time_ns;
            values[SOFTIRQS] += times;
            values[columns[kind]] += time_ns;
        }
        count += (uint64_t)times;
    }
    if (count == 0 && probe->steal_ns[cpu] == 0) {
        return 0; /* not there, or nothing happened */
    }
    snprintf(scope.what, sizeof scope.what, "cpu %u", cpu);
    struct record_probe_row *row = record_add_probe_row(to, &scope);
    for (size_t i = 0; row != NULL && i < COLUMNS; i++) {
        struct record_value *value = record_row_add_value(row, &metrics[i]);
        if (value == NULL) {
            return -1;
        }
        value->available = i != STEAL || probe->steal_known;
        value->value = value->available ? values[i] : 0;
    }
    return row != NULL ? 0 : -1;
}

static uint64_t missed(const struct probe *probe);

static int read_probe(struct probe *probe, const struct probe_scope *scope, struct record_run *run,
                      struct err *error)
{
    struct record_probe *to = record_add_probe(run, "softirq");
    if (to == NULL) {
        return err_set(error, ERR_LIMIT, "softirq", "no memory for the counts");
    }
    to->available = true;
    to->window_ns = scope->window_ns;
    to->operations = scope->operations;
    to->bytes = scope->bytes;
    to->lost = missed(probe);
    snprintf(to->reason, sizeof to->reason,
             "of the whole machine; interrupts of devices only, not those of the CPUs' own timers");
    for (uint32_t cpu = 0; cpu < probe->cpus; cpu++) {
        if (add_cpu(probe, cpu, to) != 0) {
            return err_set(error, ERR_LIMIT, "softirq", "no memory for the counts");
        }
    }
    return 0;
}

#if !SONDE_HAVE_BPF

#include "probe/without_bpf.h"

static uint64_t missed(const struct probe *probe)
{
    (void)probe;
    return 0;
}

#else

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "probe/bpf_load.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include "softirq.skel.h"
#pragma GCC diagnostic pop

static int load_programs(struct probe *probe, struct err *error)
{
    struct softirq_bpf *programs = softirq_bpf__open();
    if (programs == NULL) {
        return bpf_load_failed(error, errno, "cannot read its BPF programs");
    }
    probe->programs = programs;
    if (targets_bpf_share(probe->targets, programs->maps.targets, error) != 0) {
        return -1;
    }
    int status = bpf_map__set_max_entries(programs->maps.cpus, probe->cpus);
    if (status == 0) {
        status = bpf_load_skeleton(programs->skeleton);
    }
    if (status != 0) {
        return bpf_load_failed(error, status, "cannot load its BPF programs");
    }
    probe->served =
        bpf_load_map_writable(programs->maps.cpus, sizeof *probe->served * probe->cpus, error);
    return probe->served != NULL ? 0 : -1;
}

static int stop(struct probe *probe, struct err *error)
{
    (void)error;
    for (int i = LINK_COUNT; i-- > 0;) {
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
    stop(probe, &ignored);
    bpf_load_unmap(probe->served, sizeof *probe->served * probe->cpus);
    softirq_bpf__destroy(probe->programs);
    free(probe->steal_ns);
    free(probe->steal_before_ns);
    free(probe);
}

static int open_probe(struct probe **probe, const struct probe_config *config, struct err *error)
{
    *probe = NULL;
    int cpus = libbpf_num_possible_cpus();
    struct probe *opened = calloc(1, sizeof *opened);
    if (opened == NULL || cpus <= 0) {
        free(opened);
        return err_set(error, ERR_LIMIT, "softirq", "no memory, or no CPUs to count on");
    }
    opened->targets = config->targets;
    opened->cpus = (uint32_t)cpus;
    opened->steal_ns = calloc((size_t)cpus, sizeof *opened->steal_ns);
    opened->steal_before_ns = calloc((size_t)cpus, sizeof *opened->steal_before_ns);
    if (opened->steal_ns == NULL || opened->steal_before_ns == NULL) {
        close_probe(opened);
        return err_set(error, ERR_LIMIT, "softirq", "no memory");
    }
    if (load_programs(opened, error) != 0) {
        close_probe(opened);
        return -1;
    }
    *probe = opened;
    return 0;
}

static int start(struct probe *probe, struct err *error)
{
    struct softirq_bpf *programs = probe->programs;
    struct bpf_link **links = probe->links;
    /* What was being served as the programs were detached has long ended. */
    for (uint32_t cpu = 0; cpu < probe->cpus && links[LINK_SOFTIRQ] == NULL; cpu++) {
        for (size_t kind = 0; kind < SERVED; kind++) {
            probe->served[cpu].served[kind].began = 0;
        }
    }
    if (bpf_load_attach(&links[LINK_AFTER_IRQ], programs->progs.after_irq, error) != 0 ||
        bpf_load_attach(&links[LINK_IRQ], programs->progs.on_irq, error) != 0 ||
        bpf_load_attach(&links[LINK_AFTER_SOFTIRQ], programs->progs.after_softirq, error) != 0 ||
        bpf_load_attach(&links[LINK_SOFTIRQ], programs->progs.on_softirq, error) != 0) {
        struct err ignored = {0};
        stop(probe, &ignored);
        return -1;
    }
    return 0;
}

static uint64_t missed(const struct probe *probe)
{
    const struct softirq_bpf *programs = probe->programs;
    return bpf_load_misses(programs->progs.on_softirq) +
           bpf_load_misses(programs->progs.after_softirq) +
           bpf_load_misses(programs->progs.on_irq) + bpf_load_misses(programs->progs.after_irq);
}

#endif

const struct probe_ops probe_softirq = {
    .name = "softirq",
    .help = "time in softirqs and device interrupts on each CPU, and stolen time",
    .flags = PROBE_BPF,
    .metrics = metrics,
    .metric_count = COLUMNS,
    .why_not = targets_why_not,
    .open = open_probe,
    .start = start,
    .begin = begin,
    .end = end,
    .stop = stop,
    .read = read_probe,
    .close = close_probe,
};
