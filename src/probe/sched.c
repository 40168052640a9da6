/* The scheduling probe: loads the BPF programs of bpf/sched.bpf.c, and attaches them between start
 * and stop. */
#include "probe/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe/sched_table.h"

#if !SONDE_HAVE_BPF

#include "probe/without_bpf.h"

static int begin(struct probe *probe, struct err *error)
{
    return start(probe, error);
}

static int end(struct probe *probe, struct err *error)
{
    return stop(probe, error);
}

uint64_t sched_missed(struct probe *probe)
{
    (void)probe;
    return 0;
}

#else

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include "base/clock.h"
#include "probe/bpf_load.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include "sched.skel.h"
#pragma GCC diagnostic pop

/* Where a variable lies in the memory of each CPU; -1 where it is not known. */
static int64_t cpu_variable(const struct btf *types, const struct btf_type *section,
                            const char *name)
{
    const struct btf_var_secinfo *variable = btf_var_secinfos(section);
    for (uint32_t i = 0; i < btf_vlen(section); i++, variable++) {
        const struct btf_type *type = btf__type_by_id(types, variable->type);
        if (strcmp(btf__name_by_offset(types, type->name_off), name) == 0) {
            return variable->offset;
        }
    }
    return -1;
}

/* Sets programs->rodata->preempt_count_from_queue (see bpf/sched.bpf.c). Not fatal where it cannot
 * be had. */
static void find_preempt_count(struct probe *probe)
{
#if defined(__x86_64__)
    struct btf *types = btf__load_vmlinux_btf();
    int32_t id =
        types != NULL ? btf__find_by_name_kind(types, ".data..percpu", BTF_KIND_DATASEC) : -1;
    if (id > 0) {
        const struct btf_type *section = btf__type_by_id(types, (uint32_t)id);
        int64_t queue = cpu_variable(types, section, "runqueues");
        int64_t count = cpu_variable(types, section, "__preempt_count");
        if (count < 0) { /* Linux 6.1 to 6.14: in pcpu_hot, after a pointer */
            count = cpu_variable(types, section, "pcpu_hot");
            count += count >= 0 ? (int64_t)sizeof(void *) : 0;
        }
        if (queue >= 0 && count >= 0) {
            probe->programs->rodata->preempt_count_from_queue = count - queue;
            probe->interrupts = true;
        }
    }
    btf__free(types);
#else
    probe->interrupts = true;
#endif
}

static int load_programs(struct probe *probe, struct err *error)
{
    struct sched_bpf *programs = sched_bpf__open();
    if (programs == NULL) {
        return bpf_load_failed(error, errno, "cannot read its BPF programs");
    }
    probe->programs = programs;
    if (targets_bpf_share(probe->targets, programs->maps.targets, error) != 0) {
        return -1;
    }
    find_preempt_count(probe);
    int status = bpf_load_skeleton(programs->skeleton);
    if (status != 0) {
        return bpf_load_failed(error, status, "cannot load its BPF programs");
    }
    probe->memory = bpf_load_map_writable(programs->maps.memory, sizeof *probe->memory, error);
    return probe->memory != NULL ? 0 : -1;
}

/* ---- the operations ---- */

static int stop(struct probe *probe, struct err *error)
{
    (void)error;
    if (probe->attached) {
        sched_refresh(probe);
        probe->attached = false;
    }
    for (int i = LINK_COUNT; i-- > 0;) {
        bpf_load_detach(&probe->links[i]);
    }
    bpf_load_detach(&probe->look);
    return 0;
}

static void close_probe(struct probe *probe)
{
    struct err ignored;
    if (probe == NULL) {
        return;
    }
    stop(probe, &ignored);
    bpf_load_unmap(probe->memory, sizeof *probe->memory);
    sched_bpf__destroy(probe->programs);
    free(probe->seen);
    free(probe);
}

static int open_probe(struct probe **probe, const struct probe_config *config, struct err *error)
{
    *probe = NULL;
    struct probe *opened = calloc(1, sizeof *opened);
    if (opened != NULL) {
        opened->targets = config->targets;
        opened->seen = calloc(THREADS_MOST, sizeof *opened->seen);
    }
    if (opened == NULL || opened->seen == NULL) {
        free(opened);
        return err_set(error, ERR_LIMIT, "sched", "no memory");
    }
    if (load_programs(opened, error) != 0) {
        close_probe(opened);
        return -1;
    }
    *probe = opened;
    return 0;
}

/* Has the kernel show all its tasks to a program of ours: threads that have had no event yet. */
static int look(struct probe *probe, struct err *error)
{
    char nothing_read[64];
    if (bpf_load_attach(&probe->look, probe->programs->progs.on_task, error) != 0) {
        return -1;
    }
    int file = bpf_iter_create(bpf_link__fd(probe->look));
    if (file < 0) {
        return bpf_load_failed(error, errno, "cannot look at the tasks");
    }
    ssize_t got;
    do {
        got = read(file, nothing_read, sizeof nothing_read);
    } while (got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN)));
    int number = errno;
    close(file);
    return got == 0 ? 0 : bpf_load_failed(error, number, "cannot look at the tasks");
}

static int start(struct probe *probe, struct err *error)
{
    struct sched_bpf *programs = probe->programs;
    struct bpf_link **links = probe->links;
    if (probe->attached) {
        return 0;
    }
    sched_forget(probe);
    if (bpf_load_attach(&links[LINK_EXEC], programs->progs.on_exec, error) != 0 ||
        bpf_load_attach(&links[LINK_WAKING], programs->progs.on_waking, error) != 0 ||
        bpf_load_attach(&links[LINK_SWITCH], programs->progs.on_switch, error) != 0) {
        struct err ignored = {0};
        stop(probe, &ignored);
        return -1;
    }
    probe->attached = true;
    return 0;
}

static int begin(struct probe *probe, struct err *error)
{
    __atomic_store_n(&probe->memory->looked_ns, clock_now_ns(), __ATOMIC_RELEASE);
    return look(probe, error);
}

static int end(struct probe *probe, struct err *error)
{
    (void)error;
    if (probe->attached) {
        sched_refresh(probe);
    }
    return 0;
}

uint64_t sched_missed(struct probe *probe)
{
    const struct sched_bpf *programs = probe->programs;
    return targets_lost(probe->targets) + bpf_load_misses(programs->progs.on_switch) +
           bpf_load_misses(programs->progs.on_waking) + bpf_load_misses(programs->progs.on_exec);
}

#endif

const struct probe_ops probe_sched = {
    .name = "sched",
    .help = "time on and off the CPU by thread and reason, who woke whom, run-queue delay",
    .flags = PROBE_BPF,
    .metrics = sched_metrics,
    .metric_count = SCHED_METRICS,
    .why_not = targets_why_not,
    .open = open_probe,
    .start = start,
    .begin = begin,
    .end = end,
    .stop = stop,
    .read = sched_read,
    .close = close_probe,
};
