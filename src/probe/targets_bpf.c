/* The BPF side of a set of targets: the programs that follow processes, and the memory that the
 * programs of all probes share. */
#include "probe/targets_state.h"

#include <stdio.h>

#if !SONDE_HAVE_BPF

static int absent(struct err *error)
{
    err_set(error, ERR_UNSUPPORTED, "observe", "built without BPF");
    return err_hint(error, "install libbpf-dev, clang and bpftool, and build again");
}

int targets_why_not(char *reason, size_t reason_size, char *fix, size_t fix_size)
{
    struct err error;
    absent(&error);
    snprintf(reason, reason_size, "%s", error.what);
    snprintf(fix, fix_size, "%s", error.hint);
    return -1;
}

int targets_bpf_open(struct targets *targets, struct err *error)
{
    (void)targets;
    return absent(error);
}

int targets_bpf_attach(struct targets *targets, struct err *error)
{
    (void)targets;
    return absent(error);
}

uint64_t targets_bpf_lost(const struct targets *targets)
{
    (void)targets;
    return 0;
}

void targets_bpf_close(struct targets *targets)
{
    (void)targets;
}

int targets_bpf_share(const struct targets *targets, struct bpf_map *map, struct err *error)
{
    (void)targets;
    (void)map;
    return absent(error);
}

#else

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "probe/bpf_load.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include "targets.skel.h"
#pragma GCC diagnostic pop

enum { LINK_FORK, LINK_EXEC, LINK_EXIT, LINK_COUNT };

struct targets_programs {
    struct targets_bpf *skeleton;
    struct bpf_link *links[LINK_COUNT];
};

int targets_why_not(char *reason, size_t reason_size, char *fix, size_t fix_size)
{
    return bpf_load_refused(reason, reason_size, fix, fix_size);
}

static int fill_names(struct targets *targets, struct err *error)
{
    struct targets_bpf__rodata *constants = targets->programs->skeleton->rodata;
    for (size_t i = 0; i < targets->target_count; i++) {
        const struct probe_target *target = &targets->targets[i];
        if (target->pid != 0) {
            continue;
        }
        if (constants->name_count == TARGET_NAMES_MOST) {
            return err_set(error, ERR_LIMIT, "observe", "more than %d names to observe",
                           TARGET_NAMES_MOST);
        }
        char padded[NAME_BYTES] = {0};
        memcpy(padded, target->name, strnlen(target->name, NAME_BYTES - 1));
        memcpy(constants->names[constants->name_count], padded, sizeof padded);
        constants->name_targets[constants->name_count++] = (__u32)i;
    }
    return 0;
}

int targets_bpf_open(struct targets *targets, struct err *error)
{
    char reason[160], fix[128];
    if (bpf_load_lacking(reason, sizeof reason, fix, sizeof fix) != 0) {
        err_set(error, ERR_UNSUPPORTED, "observe", "%s", reason);
        return err_hint(error, "%s", fix);
    }
    targets->programs = calloc(1, sizeof *targets->programs);
    if (targets->programs == NULL) {
        return err_set(error, ERR_LIMIT, "observe", "no memory");
    }
    struct targets_bpf *skeleton = targets_bpf__open();
    targets->programs->skeleton = skeleton;
    if (skeleton == NULL) {
        return bpf_load_failed(error, errno, "cannot read its BPF programs");
    }
    if (fill_names(targets, error) != 0) {
        return -1;
    }
    int status = bpf_load_skeleton(skeleton->skeleton);
    if (status != 0) {
        return bpf_load_failed(error, status, "cannot load its BPF programs");
    }
    targets->state_bytes = bpf_load_pages(sizeof *targets->state);
    targets->state = bpf_load_map_writable(skeleton->maps.targets, sizeof *targets->state, error);
    return targets->state != NULL ? 0 : -1;
}

int targets_bpf_attach(struct targets *targets, struct err *error)
{
    struct bpf_link **links = targets->programs->links;
    struct targets_bpf *skeleton = targets->programs->skeleton;
    if (bpf_load_attach(&links[LINK_EXIT], skeleton->progs.on_exit, error) != 0 ||
        bpf_load_attach(&links[LINK_EXEC], skeleton->progs.on_exec, error) != 0 ||
        bpf_load_attach(&links[LINK_FORK], skeleton->progs.on_fork, error) != 0) {
        return -1;
    }
    return 0;
}

uint64_t targets_bpf_lost(const struct targets *targets)
{
    if (targets->programs == NULL || targets->programs->skeleton == NULL) {
        return 0;
    }
    const struct targets_bpf *skeleton = targets->programs->skeleton;
    return bpf_load_misses(skeleton->progs.on_fork) + bpf_load_misses(skeleton->progs.on_exec) +
           bpf_load_misses(skeleton->progs.on_exit);
}

void targets_bpf_close(struct targets *targets)
{
    if (targets->programs == NULL) {
        return;
    }
    for (int i = LINK_COUNT; i-- > 0;) {
        bpf_load_detach(&targets->programs->links[i]);
    }
    targets_bpf__destroy(targets->programs->skeleton);
    free(targets->programs);
    targets->programs = NULL;
}

int targets_bpf_share(const struct targets *targets, struct bpf_map *map, struct err *error)
{
    int status = bpf_map__reuse_fd(map, bpf_map__fd(targets->programs->skeleton->maps.targets));
    return status == 0 ? 0 : bpf_load_failed(error, status, "cannot share its targets");
}

#endif
