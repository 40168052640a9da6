/* The system call probe: loads the BPF programs of bpf/syscalls.bpf.c, and attaches them only while
 * counting. */
#include "probe/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe/syscall_names.h"
#include "probe/syscalls_table.h"

#if !SONDE_HAVE_BPF

#include "probe/without_bpf.h"

uint64_t syscalls_lost(struct probe *probe)
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
#include "syscalls.skel.h"
#pragma GCC diagnostic pop

static void fill_flags(struct syscalls_bpf__rodata *constants)
{
    static const char *const creators[] = {"clone", "clone3", "fork", "vfork"};
    for (uint32_t number = 0; number < NUMBERS; number++) {
        constants->number_flags[number] = syscall_moves_bytes(number) ? NUMBER_MOVES_BYTES : 0;
    }
    for (size_t i = 0; i < sizeof creators / sizeof creators[0]; i++) {
        int number = syscall_number(creators[i]);
        if (number >= 0) {
            constants->number_flags[number] |= NUMBER_NEW_TASK;
        }
    }
    for (uint32_t operation = 0; operation < OPERATIONS; operation++) {
        constants->operation_moves_bytes[operation] = uring_moves_bytes(operation);
    }
    constants->number_sigreturn = (__u32)syscall_number("rt_sigreturn");
}

static int load_shape(struct probe *probe, enum uring_shape shape, struct err *error)
{
    syscalls_bpf__destroy(probe->programs); /* of the shape that was tried before */
    probe->programs = NULL;
    struct syscalls_bpf *programs = syscalls_bpf__open();
    if (programs == NULL) {
        return bpf_load_failed(error, errno, "cannot read its BPF programs");
    }
    probe->programs = programs;
    programs->rodata->slot_limit = probe->targets->slots;
    fill_flags(programs->rodata);
    if (targets_bpf_share(probe->targets, programs->maps.targets, error) != 0) {
        return -1;
    }
    bpf_program__set_autoload(programs->progs.on_submit, shape != URING_NONE);
    bpf_program__set_autoload(programs->progs.on_complete, shape == URING_CURRENT);
    bpf_program__set_autoload(programs->progs.on_complete_old, shape == URING_OLD);
    int status =
        bpf_map__set_max_entries(programs->maps.counts, probe->cpus * probe->targets->slots);
    if (status == 0) {
        status = bpf_load_skeleton(programs->skeleton);
    }
    return status == 0 ? 0 : bpf_load_failed(error, status, "cannot load its BPF programs");
}

static int load_programs(struct probe *probe, struct err *error)
{
    int cpus = libbpf_num_possible_cpus();
    if (cpus <= 0) {
        return bpf_load_failed(error, cpus, "cannot count the CPUs");
    }
    probe->cpus = (uint32_t)cpus;
    enum uring_shape shape;
    if (bpf_load_uring(probe, load_shape, &shape, error) != 0) {
        return -1;
    }
    probe->uring = shape != URING_NONE;
    if (!probe->uring) {
        snprintf(probe->uring_reason, sizeof probe->uring_reason, "%s", bpf_load_no_uring);
    }
    return 0;
}

static int map_counts(struct probe *probe, struct err *error)
{
    probe->counts_bytes = sizeof(struct slot_counts) * probe->cpus * probe->targets->slots;
    probe->counts = bpf_load_map(probe->programs->maps.counts, probe->counts_bytes, error);
    return probe->counts != NULL ? 0 : -1;
}

/* ---- the operations ---- */

static int stop(struct probe *probe, struct err *error)
{
    (void)error;
    probe->targets->call_chain = -1;
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
    bpf_load_unmap(probe->counts, probe->counts_bytes);
    syscalls_bpf__destroy(probe->programs);
    free(probe);
}

static int open_probe(struct probe **probe, const struct probe_config *config, struct err *error)
{
    *probe = NULL;
    struct probe *opened = calloc(1, sizeof *opened);
    if (opened == NULL) {
        return err_set(error, ERR_LIMIT, "observe", "no memory");
    }
    opened->targets = config->targets;
    if (load_programs(opened, error) != 0 || map_counts(opened, error) != 0) {
        close_probe(opened);
        return -1;
    }
    *probe = opened;
    return 0;
}

static int start(struct probe *probe, struct err *error)
{
    struct syscalls_bpf *programs = probe->programs;
    struct bpf_program *complete = bpf_program__autoload(programs->progs.on_complete)
                                       ? programs->progs.on_complete
                                       : programs->progs.on_complete_old;
    struct bpf_link **links = probe->links;
    if ((probe->uring &&
         (bpf_load_attach(&links[LINK_SUBMIT], programs->progs.on_submit, error) != 0 ||
          bpf_load_attach(&links[LINK_COMPLETE], complete, error) != 0)) ||
        bpf_load_attach(&links[LINK_CALL], programs->progs.on_call, error) != 0) {
        struct err ignored = {0};
        stop(probe, &ignored);
        return -1;
    }
    probe->targets->call_chain = bpf_map__fd(programs->maps.call_chain);
    return 0;
}

uint64_t syscalls_lost(struct probe *probe)
{
    struct syscalls_bpf *programs = probe->programs;
    return targets_lost(probe->targets) + bpf_load_misses(programs->progs.on_call) +
           bpf_load_misses(programs->progs.on_submit) +
           bpf_load_misses(programs->progs.on_complete) +
           bpf_load_misses(programs->progs.on_complete_old);
}

#endif

const struct probe_ops probe_syscalls = {
    .name = "syscalls",
    .help = "system calls, errors and bytes by process, and io_uring's operations",
    .flags = PROBE_BPF | PROBE_CALLS,
    .why_not = targets_why_not,
    .open = open_probe,
    .start = start,
    .stop = stop,
    .read = syscalls_read,
    .total = syscalls_total,
    .close = close_probe,
};
