/* The size probe: what each call that moves bytes returned, by thread and call, and io_uring's
 * completions by process and operation, in classes of powers of two. */
#include "probe/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/types.h>

#include "probe/bpf/sizes_shared.h"
#include "probe/syscall_names.h"
#include "probe/targets_state.h"

#if !SONDE_HAVE_BPF

#include "probe/without_bpf.h"

#define read_probe read_nothing

#else

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "probe/bpf_load.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include "sizes.skel.h"
#pragma GCC diagnostic pop

enum { LINK_CALL, LINK_COMPLETE, LINK_COUNT };

struct probe {
    struct targets *targets;
    struct sizes_bpf *programs;
    struct bpf_link *links[LINK_COUNT]; /* NULL: not attached */
    int chained;                        /* targets->call_chain that it is in; -1: none */
    struct sizes_thread *threads;       /* mapped: THREADS_MOST */
    struct sizes_process *processes;    /* mapped: targets->slots; NULL without io_uring */
    bool uring;                         /* this kernel's io_uring tracepoints are served */
    uint16_t calls[SIZES_CALLS];        /* number of the call that a cell is of */
    uint8_t operations[SIZES_OPERATIONS];
    uint32_t call_count, operation_count;
};

static const struct histogram_metric returned = {
    .key = "returned",
    .unit = "bytes",
    .title = "returned",
    .help = "What each call or operation that moves bytes returned: below 0 where it failed."};

/* ---- loading ---- */

static int fill_cells(struct probe *probe, struct err *error)
{
    struct sizes_bpf__rodata *constants = probe->programs->rodata;
    probe->call_count = probe->operation_count = 0;
    for (uint32_t number = 0; number < NUMBERS; number++) {
        constants->call_cells[number] = SIZES_NONE;
        if (!syscall_moves_bytes(number)) {
            continue;
        }
        if (probe->call_count == SIZES_CALLS) {
            return err_set(error, ERR_LIMIT, "sizes", "more than %d calls move bytes", SIZES_CALLS);
        }
        constants->call_cells[number] = (__u8)probe->call_count;
        probe->calls[probe->call_count++] = (uint16_t)number;
    }
    for (uint32_t operation = 0; operation < OPERATIONS; operation++) {
        constants->operation_cells[operation] = SIZES_NONE;
        if (!uring_moves_bytes(operation) && operation != OPERATION_MULTISHOT) {
            continue;
        }
        if (probe->operation_count == SIZES_OPERATIONS) {
            return err_set(error, ERR_LIMIT, "sizes", "more than %d operations move bytes",
                           SIZES_OPERATIONS);
        }
        constants->operation_cells[operation] = (__u8)probe->operation_count;
        probe->operations[probe->operation_count++] = (uint8_t)operation;
    }
    return 0;
}

static int load_shape(struct probe *probe, enum uring_shape shape, struct err *error)
{
    sizes_bpf__destroy(probe->programs); /* of the shape that was tried before */
    struct sizes_bpf *programs = probe->programs = sizes_bpf__open();
    if (programs == NULL) {
        return bpf_load_failed(error, errno, "cannot read its BPF programs");
    }
    if (fill_cells(probe, error) != 0 ||
        targets_bpf_share(probe->targets, programs->maps.targets, error) != 0) {
        return -1;
    }
    bpf_program__set_autoload(programs->progs.on_complete, shape == URING_CURRENT);
    bpf_program__set_autoload(programs->progs.on_complete_old, shape == URING_OLD);
    int status = bpf_map__set_max_entries(programs->maps.processes, probe->targets->slots);
    if (status == 0) {
        status = bpf_load_skeleton(programs->skeleton);
    }
    return status == 0 ? 0 : bpf_load_failed(error, status, "cannot load its BPF programs");
}

#define THREADS_BYTES (THREADS_MOST * sizeof(struct sizes_thread))

static size_t process_bytes(const struct probe *probe)
{
    return probe->targets->slots * sizeof *probe->processes;
}

static int open_probe(struct probe **probe, const struct probe_config *config, struct err *error)
{
    *probe = NULL;
    struct probe *opened = calloc(1, sizeof *opened);
    if (opened == NULL) {
        return err_set(error, ERR_LIMIT, "sizes", "no memory");
    }
    opened->targets = config->targets;
    opened->chained = -1;
    enum uring_shape shape;
    if (bpf_load_uring(opened, load_shape, &shape, error) == 0 &&
        (opened->threads = bpf_load_map(opened->programs->maps.threads, THREADS_BYTES, error)) !=
            NULL &&
        (opened->processes = bpf_load_map(opened->programs->maps.processes, process_bytes(opened),
                                          error)) != NULL) {
        opened->uring = shape != URING_NONE;
        *probe = opened;
        return 0;
    }
    probe_sizes.close(opened);
    return -1;
}

/* Goes on where the system call probe's program ends, if that is attached: for less than half of
 * what a tracepoint's second program costs. False where it is not, or the kernel does not allow it.
 */
static bool chain(struct probe *probe)
{
    const __u32 place = 0;
    int program = bpf_program__fd(probe->programs->progs.on_call);
    probe->chained = probe->targets->call_chain;
    if (probe->chained >= 0 &&
        bpf_map_update_elem(probe->chained, &place, &program, BPF_ANY) != 0) {
        probe->chained = -1;
    }
    return probe->chained >= 0;
}

static void unchain(struct probe *probe)
{
    const __u32 place = 0;
    if (probe->chained >= 0 && probe->chained == probe->targets->call_chain) {
        bpf_map_delete_elem(probe->chained, &place); /* else it went with that probe */
    }
    probe->chained = -1;
}

static int stop(struct probe *probe, struct err *error)
{
    (void)error;
    unchain(probe);
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
    bpf_load_unmap(probe->threads, THREADS_BYTES);
    bpf_load_unmap(probe->processes, process_bytes(probe));
    sizes_bpf__destroy(probe->programs);
    free(probe);
}

static int start(struct probe *probe, struct err *error)
{
    struct sizes_bpf *programs = probe->programs;
    struct bpf_program *complete = bpf_program__autoload(programs->progs.on_complete)
                                       ? programs->progs.on_complete
                                       : programs->progs.on_complete_old;
    if ((probe->uring && bpf_load_attach(&probe->links[LINK_COMPLETE], complete, error) != 0) ||
        (!chain(probe) &&
         bpf_load_attach(&probe->links[LINK_CALL], programs->progs.on_call, error) != 0)) {
        struct err ignored = {0};
        stop(probe, &ignored);
        return -1;
    }
    return 0;
}

/* ---- reading ---- */

/* 0, also where nothing was counted; -1 without memory. */
static int read_cell(const struct sizes_cell *cell, const struct record_scope *scope,
                     struct record_probe *to)
{
    uint64_t classes[SIZES_CLASSES], any = 0;
    for (uint32_t i = 0; i < SIZES_CLASSES; i++) {
        classes[i] = __atomic_load_n(&cell->classes[i], __ATOMIC_RELAXED);
        any |= classes[i];
    }
    if (any == 0) {
        return 0;
    }
    struct record_distribution *distribution = record_add_distribution(to, &returned, scope);
    if (distribution == NULL) {
        return -1;
    }
    memcpy(distribution->classes, classes, sizeof classes);
    distribution->sum = (double)__atomic_load_n(&cell->sum, __ATOMIC_RELAXED);
    return 0;
}

static int read_thread(const struct probe *probe, uint32_t index, struct record_probe *to)
{
    char storage[32];
    struct record_scope scope;
    targets_thread_scope(probe->targets, index, &scope);
    for (uint32_t i = 0; i < probe->call_count; i++) {
        snprintf(scope.what, sizeof scope.what, "%s",
                 syscall_label(probe->calls[i], storage, sizeof storage));
        if (read_cell(&probe->threads[index].calls[i], &scope, to) != 0) {
            return -1;
        }
    }
    return 0;
}

static int read_process(const struct probe *probe, uint32_t index, struct record_probe *to)
{
    char storage[32];
    struct record_scope scope;
    targets_process_scope(probe->targets, index, &scope);
    for (uint32_t i = 0; i < probe->operation_count; i++) {
        snprintf(scope.what, sizeof scope.what, "io_uring %s",
                 uring_label(probe->operations[i], storage, sizeof storage));
        if (read_cell(&probe->processes[index].operations[i], &scope, to) != 0) {
            return -1;
        }
    }
    return 0;
}

static void say_what_lacks(const struct probe *probe, bool threads_shared, bool processes_shared,
                           struct record_probe *to)
{
    char foreign[80] = "";
    uint64_t calls = probe->programs->bss->foreign_calls;
    if (calls) {
        snprintf(foreign, sizeof foreign, "%lu calls of 32-bit programs are not in it",
                 (unsigned long)calls);
    }
    const char *const parts[] = {
        threads_shared
            ? "more threads than the probe has places: the last ones are counted together"
            : "",
        processes_shared ? "more processes than it has places" : "",
        probe->uring ? "" : bpf_load_no_uring, foreign};
    size_t used = 0;
    to->reason[0] = '\0';
    for (size_t i = 0; i < sizeof parts / sizeof *parts && used < sizeof to->reason; i++) {
        if (parts[i][0]) {
            used += (size_t)snprintf(to->reason + used, sizeof to->reason - used, "%s%s",
                                     used ? "; " : "", parts[i]);
        }
    }
}

static int read_probe(struct probe *probe, const struct probe_scope *scope, struct record_run *run,
                      struct err *error)
{
    bool threads_shared, processes_shared;
    uint32_t threads = targets_threads_used(probe->targets, &threads_shared);
    uint32_t processes = targets_slots_used(probe->targets, &processes_shared);
    struct record_probe *to = record_add_probe(run, "sizes");
    int status = to != NULL ? 0 : -1;
    for (uint32_t i = 0; status == 0 && i < THREADS_MOST; i++) {
        if (i == THREADS_MOST - 1 ? threads_shared : i < threads) {
            status = read_thread(probe, i, to);
        }
    }
    for (uint32_t i = 0; status == 0 && i < probe->targets->slots; i++) {
        if (i == probe->targets->slots - 1 ? processes_shared : i < processes) {
            status = read_process(probe, i, to);
        }
    }
    if (status != 0) {
        return err_set(error, ERR_LIMIT, "sizes", "no memory for the counts");
    }
    to->available = true;
    to->window_ns = scope->window_ns;
    to->operations = scope->operations;
    to->bytes = scope->bytes;
    to->lost = targets_lost(probe->targets) + bpf_load_misses(probe->programs->progs.on_call) +
               bpf_load_misses(probe->programs->progs.on_complete) +
               bpf_load_misses(probe->programs->progs.on_complete_old);
    say_what_lacks(probe, threads_shared, processes_shared, to);
    return 0;
}

#endif

const struct probe_ops probe_sizes = {
    .name = "sizes",
    .help = "what each call that moves bytes returned, by thread and call, in powers of two",
    .flags = PROBE_BPF,
    .why_not = targets_why_not,
    .open = open_probe,
    .start = start,
    .stop = stop,
    .read = read_probe,
    .close = close_probe,
};
