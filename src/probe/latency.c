/* The latency probe: how long system calls took, by process and call. A call counts where its entry
 * and its exit both lie in one opening of the gate: what was under way when the gate opened, or
 * still is when it closes, or never returns (exit, a thread that is killed), is not in it. Nor is
 * the first return of a new task from the call that made it: that task did not enter it. */
#include "probe/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/types.h>

#include "probe/bpf/latency_shared.h"
#include "probe/syscall_names.h"
#include "probe/targets_state.h"
#include "stats/histogram.h"

enum { CALLS, TOTAL, MEAN, P50, P99, MOST, METRICS };

static const struct metric metrics[METRICS] = {
    [CALLS] = {.key = "calls",
               .unit = "1",
               .title = "calls",
               .help = "System calls that began and ended in the window.",
               .kind = METRIC_VALUE},
    [TOTAL] = {.key = "time",
               .unit = "ns",
               .title = "time",
               .help = "Time that they took together, waiting included.",
               .kind = METRIC_VALUE},
    [MEAN] = {.key = "mean",
              .unit = "ns",
              .title = "mean",
              .help = "Mean duration.",
              .kind = METRIC_VALUE},
    [P50] = {.key = "p50",
             .unit = "ns",
             .title = "p50",
             .help = "Median duration: the middle of one of eight classes to an octave, so within "
                     "6.3 % of the truth.",
             .kind = METRIC_VALUE},
    [P99] = {.key = "p99",
             .unit = "ns",
             .title = "p99",
             .help = "99th percentile of the duration: the middle of one of eight classes to an "
                     "octave, so within 6.3 % of the truth.",
             .kind = METRIC_VALUE},
    [MOST] = {.key = "max",
              .unit = "ns",
              .title = "max",
              .help = "Longest duration.",
              .kind = METRIC_VALUE},
};

#if !SONDE_HAVE_BPF

#include "probe/without_bpf.h"

#define read_probe read_nothing

#else

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>

#include "probe/bpf_load.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include "latency.skel.h"
#pragma GCC diagnostic pop

enum { LINK_END, LINK_BEGIN, LINK_COUNT };

struct probe {
    struct targets *targets;
    struct latency_bpf *programs;
    struct bpf_link *links[LINK_COUNT]; /* NULL: not attached */
    struct latency_cell *cells;         /* mapped: LATENCY_CELLS */
    struct latency_index *indexes;      /* mapped: [cpu * targets->slots + slot] */
    uint32_t cpus;
};

static const struct histogram_metric duration = {
    .key = "duration",
    .unit = "ns",
    .title = "duration",
    .help = "How long each system call took, from its entry to its exit."};

/* ---- loading ---- */

static int load_programs(struct probe *probe, struct err *error)
{
    int cpus = libbpf_num_possible_cpus();
    if (cpus <= 0) {
        return bpf_load_failed(error, cpus, "cannot count the CPUs");
    }
    probe->cpus = (uint32_t)cpus;
    struct latency_bpf *programs = probe->programs = latency_bpf__open();
    if (programs == NULL) {
        return bpf_load_failed(error, errno, "cannot read its BPF programs");
    }
    programs->rodata->slot_limit = probe->targets->slots;
    programs->rodata->number_sigreturn = (__u32)syscall_number("rt_sigreturn");
    if (targets_bpf_share(probe->targets, programs->maps.targets, error) != 0) {
        return -1;
    }
    int status =
        bpf_map__set_max_entries(programs->maps.indexes, probe->cpus * probe->targets->slots);
    if (status == 0) {
        status = bpf_load_skeleton(programs->skeleton);
    }
    return status == 0 ? 0 : bpf_load_failed(error, status, "cannot load its BPF programs");
}

static size_t index_bytes(const struct probe *probe)
{
    return sizeof *probe->indexes * probe->cpus * probe->targets->slots;
}

static int open_probe(struct probe **probe, const struct probe_config *config, struct err *error)
{
    *probe = NULL;
    struct probe *opened = calloc(1, sizeof *opened);
    if (opened == NULL) {
        return err_set(error, ERR_LIMIT, "latency", "no memory");
    }
    opened->targets = config->targets;
    if (load_programs(opened, error) == 0 &&
        (opened->cells = bpf_load_map(opened->programs->maps.cells,
                                      LATENCY_CELLS * sizeof *opened->cells, error)) != NULL &&
        (opened->indexes =
             bpf_load_map(opened->programs->maps.indexes, index_bytes(opened), error)) != NULL) {
        *probe = opened;
        return 0;
    }
    probe_latency.close(opened);
    return -1;
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
    bpf_load_unmap(probe->cells, LATENCY_CELLS * sizeof *probe->cells);
    bpf_load_unmap(probe->indexes, index_bytes(probe));
    latency_bpf__destroy(probe->programs);
    free(probe);
}

static int start(struct probe *probe, struct err *error)
{
    struct latency_bpf *programs = probe->programs;
    if (bpf_load_attach(&probe->links[LINK_END], programs->progs.on_end, error) != 0 ||
        bpf_load_attach(&probe->links[LINK_BEGIN], programs->progs.on_begin, error) != 0) {
        struct err ignored = {0};
        stop(probe, &ignored);
        return -1;
    }
    return 0;
}

/* ---- reading ---- */

static void add_cell(struct latency_cell *to, const struct latency_cell *from)
{
    uint64_t most = __atomic_load_n(&from->most, __ATOMIC_RELAXED);
    to->sum += __atomic_load_n(&from->sum, __ATOMIC_RELAXED);
    to->most = to->most > most ? to->most : most;
    for (uint32_t i = 0; i < LATENCY_CLASSES; i++) {
        to->classes[i] += __atomic_load_n(&from->classes[i], __ATOMIC_RELAXED);
    }
}

/* Lowest value of a class, also of the one after the last. */
static uint64_t class_low(uint32_t class)
{
    if (class < LATENCY_EXACT) {
        return class;
    }
    uint32_t shift = class / LATENCY_SUB - 1;
    return (uint64_t)(LATENCY_SUB + class % LATENCY_SUB) << shift;
}

static int add_row(const struct latency_cell *cell, uint64_t calls,
                   const struct histogram *histogram, const struct record_scope *scope,
                   struct record_probe *to)
{
    struct record_probe_row *row = record_add_probe_row(to, scope);
    double values[METRICS] = {[CALLS] = (double)calls,
                              [TOTAL] = (double)cell->sum,
                              [MEAN] = (double)cell->sum / (double)calls,
                              [MOST] = (double)cell->most};
    for (int i = 0; row != NULL && i < METRICS; i++) {
        struct record_value *value = record_row_add_value(row, &metrics[i]);
        if (value == NULL) {
            return -1;
        }
        value->available = true;
        value->value = values[i];
        if (i == P50 || i == P99) {
            uint64_t found;
            value->available = histogram_percentile(histogram, i == P50 ? 50 : 99, &found);
            value->value = value->available ? (double)found : 0;
            snprintf(value->reason, sizeof value->reason, "%s",
                     value->available ? "" : "fewer than ten calls beyond it");
        }
    }
    return row != NULL ? 0 : -1;
}

/* 0, also where nothing was counted; -1 without memory. */
static int add_call(const struct latency_cell *cell, struct histogram *histogram,
                    const struct record_scope *scope, struct record_probe *to)
{
    uint64_t calls = 0, classes[DISTRIBUTION_CLASSES] = {0};
    histogram_clear(histogram);
    for (uint32_t i = 0; i < LATENCY_CLASSES; i++) {
        uint64_t low = class_low(i);
        uint64_t middle = low + (class_low(i + 1) - 1 - low) / 2;
        calls += cell->classes[i];
        classes[distribution_class((int64_t)low)] += cell->classes[i];
        histogram_record(histogram, middle < cell->most ? middle : cell->most, cell->classes[i]);
    }
    if (calls == 0) {
        return 0;
    }
    struct record_distribution *distribution = record_add_distribution(to, &duration, scope);
    if (distribution == NULL || add_row(cell, calls, histogram, scope, to) != 0) {
        return -1;
    }
    memcpy(distribution->classes, classes, sizeof classes);
    distribution->sum = (double)cell->sum;
    return 0;
}

static int read_process(const struct probe *probe, uint32_t slot, struct histogram *histogram,
                        struct record_probe *to)
{
    char storage[32];
    struct record_scope scope;
    targets_process_scope(probe->targets, slot, &scope);
    for (uint32_t number = 0; number < NUMBERS; number++) {
        struct latency_cell sum = {0};
        if (slot == probe->targets->slots - 1) {
            add_cell(&sum, &probe->cells[number]); /* of all that found no cell */
        }
        for (uint32_t cpu = 0; cpu < probe->cpus; cpu++) {
            size_t place = (size_t)cpu * probe->targets->slots + slot;
            uint32_t cell = __atomic_load_n(&probe->indexes[place].cells[number], __ATOMIC_RELAXED);
            if (cell >= NUMBERS && cell < LATENCY_CELLS) {
                add_cell(&sum, &probe->cells[cell]);
            }
        }
        snprintf(scope.what, sizeof scope.what, "%s",
                 syscall_label(number, storage, sizeof storage));
        if (add_call(&sum, histogram, &scope, to) != 0) {
            return -1;
        }
    }
    return 0;
}

static int read_all(const struct probe *probe, struct histogram *histogram, struct record_probe *to)
{
    bool shared;
    uint32_t last = probe->targets->slots - 1;
    uint32_t used = targets_slots_used(probe->targets, &shared);
    shared |= __atomic_load_n(&probe->programs->bss->crowded, __ATOMIC_RELAXED) != 0;
    for (uint32_t slot = 0; slot <= last; slot++) {
        if ((slot == last ? shared : slot < used) &&
            read_process(probe, slot, histogram, to) != 0) {
            return -1;
        }
    }
    snprintf(to->reason, sizeof to->reason, "%s",
             shared ? "more processes or calls than the probe has places: the last ones are "
                      "counted together"
                    : "");
    return 0;
}

static int read_probe(struct probe *probe, const struct probe_scope *scope, struct record_run *run,
                      struct err *error)
{
    const struct latency_bpf *programs = probe->programs;
    struct histogram *histogram = histogram_new();
    struct record_probe *to = histogram != NULL ? record_add_probe(run, "latency") : NULL;
    int status = to != NULL ? read_all(probe, histogram, to) : -1;
    histogram_free(histogram);
    if (status != 0) {
        return err_set(error, ERR_LIMIT, "latency", "no memory for the durations");
    }
    to->available = true;
    to->window_ns = scope->window_ns;
    to->operations = scope->operations;
    to->bytes = scope->bytes;
    to->lost = targets_lost(probe->targets) +
               __atomic_load_n(&programs->bss->lost, __ATOMIC_RELAXED) +
               bpf_load_misses(programs->progs.on_begin) + bpf_load_misses(programs->progs.on_end);
    return 0;
}

#endif

const struct probe_ops probe_latency = {
    .name = "latency",
    .help = "how long system calls took, by process and call",
    .flags = PROBE_BPF,
    .metrics = metrics,
    .metric_count = METRICS,
    .why_not = targets_why_not,
    .open = open_probe,
    .start = start,
    .stop = stop,
    .read = read_probe,
    .close = close_probe,
};
