/* The system call probe: loads the BPF programs of bpf/syscalls.bpf.c, says whom they observe, and
 * attaches what costs only while counting. */
#include "probe/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "probe/proc_file.h"
#include "probe/process.h"
#include "probe/syscall_names.h"
#include "probe/syscalls_table.h"

#if !SONDE_HAVE_BPF

static int why_not(char *reason, size_t reason_size, char *fix, size_t fix_size)
{
    snprintf(reason, reason_size, "built without BPF");
    snprintf(fix, fix_size, "install libbpf-dev, clang and bpftool, and build again");
    return -1;
}

static int open_probe(struct probe **probe, const struct probe_config *config, struct err *error)
{
    (void)config;
    *probe = NULL;
    err_set(error, ERR_UNSUPPORTED, "observe", "built without BPF");
    return err_hint(error, "install libbpf-dev, clang and bpftool, and build again");
}

static int start(struct probe *probe, struct err *error)
{
    (void)probe;
    return err_set(error, ERR_UNSUPPORTED, "observe", "built without BPF");
}

static int stop(struct probe *probe, struct err *error)
{
    (void)probe;
    (void)error;
    return 0;
}

static void pause_probe(struct probe *probe, bool paused)
{
    (void)probe;
    (void)paused;
}

static void close_probe(struct probe *probe)
{
    (void)probe;
}

uint64_t syscalls_lost(struct probe *probe)
{
    (void)probe;
    return 0;
}

#else

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include "syscalls.skel.h"
#pragma GCC diagnostic pop

#define COUNTS_BYTES_MOST (UINT64_C(64) << 20) /* of all CPUs' counts */
#define SLOTS_LEAST 8
#define INITIAL_PID_NAMESPACE                                                                      \
    0xEFFFFFFCu /* inode of the first pid namespace (PROC_PID_INIT_INO)                            \
                 */

/* libbpf reports only through a process-wide printer without context: the last line that it gave
 * to this thread, for the error's text. */
static _Thread_local char libbpf_line[160];

static int keep_line(enum libbpf_print_level level, const char *format, va_list arguments)
{
    if (level == LIBBPF_WARN) {
        vsnprintf(libbpf_line, sizeof libbpf_line, format, arguments);
        libbpf_line[strcspn(libbpf_line, "\n")] = '\0';
    }
    return 0;
}

/* ---- can it serve here? ---- */

static bool locked_down(void)
{
    char text[128] = "";
    int file = open("/sys/kernel/security/lockdown", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        ssize_t length = read(file, text, sizeof text - 1);
        text[length > 0 ? length : 0] = '\0';
        close(file);
    }
    return strstr(text, "[confidentiality]") != NULL;
}

/* Why the kernel refused a program, from the errno. */
static int refused(int number, char *reason, size_t reason_size, char *fix, size_t fix_size)
{
    fix[0] = '\0';
    if (number == EPERM && locked_down()) {
        snprintf(reason, reason_size, "kernel lockdown (confidentiality) forbids BPF tracing");
        snprintf(fix, fix_size, "boot with lockdown=integrity or none");
    } else if (number == EPERM || number == EACCES) {
        snprintf(reason, reason_size, "no permission: CAP_BPF and CAP_PERFMON are needed%s",
                 geteuid() == 0 ? ", which this root lacks" : "");
        snprintf(fix, fix_size,
                 geteuid() == 0 ? "give this container CAP_BPF and CAP_PERFMON"
                                : "run as root, or once: setcap cap_bpf,cap_perfmon+ep sonde");
    } else if (number == ENOSYS) {
        snprintf(reason, reason_size, "this kernel is built without BPF");
        snprintf(fix, fix_size, "use a kernel with CONFIG_BPF_SYSCALL");
    } else if (number == ESRCH || number == ENOENT) {
        snprintf(reason, reason_size, "this kernel has no sys_exit tracepoint");
        snprintf(fix, fix_size, "use a kernel with CONFIG_FTRACE_SYSCALLS");
    } else {
        snprintf(reason, reason_size, "the kernel refused a BPF program: %s", strerror(number));
    }
    return -1;
}

/* Loads (does not attach) a program of two instructions of the kind that the probe needs: what
 * the kernel allows is known only by asking it. 0 or an errno. */
static int try_program(void)
{
    const struct bpf_insn program[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
        {.code = BPF_JMP | BPF_EXIT},
    };
    int id = libbpf_find_vmlinux_btf_id("sys_exit", BPF_TRACE_RAW_TP);
    if (id <= 0) {
        return -id;
    }
    LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_TRACE_RAW_TP,
                .attach_btf_id = (__u32)id);
    int program_file = bpf_prog_load(BPF_PROG_TYPE_TRACING, "sonde_try", "Dual MIT/GPL", program,
                                     sizeof program / sizeof program[0], &options);
    if (program_file < 0) {
        return errno;
    }
    close(program_file);
    return 0;
}

/* What can be known without asking the kernel to load anything. */
static int lacking(char *reason, size_t reason_size, char *fix, size_t fix_size)
{
    struct stat space;
    if (stat("/proc/self/ns/pid", &space) == 0 && space.st_ino != INITIAL_PID_NAMESPACE) {
        snprintf(reason, reason_size,
                 "sonde runs in a pid namespace of its own, where process "
                 "ids are not the kernel's");
        snprintf(fix, fix_size, "share the host's (docker run --pid=host)");
        return -1;
    }
    if (access("/sys/kernel/btf/vmlinux", R_OK) != 0) {
        snprintf(reason, reason_size, "this kernel has no BTF (/sys/kernel/btf/vmlinux: %s)",
                 strerror(errno));
        snprintf(fix, fix_size, "use a kernel with CONFIG_DEBUG_INFO_BTF");
        return -1;
    }
    return 0;
}

static int why_not(char *reason, size_t reason_size, char *fix, size_t fix_size)
{
    if (lacking(reason, reason_size, fix, fix_size) != 0) {
        return -1;
    }
    libbpf_print_fn_t before = libbpf_set_print(keep_line);
    int number = try_program();
    libbpf_set_print(before);
    return number == 0 ? 0 : refused(number, reason, reason_size, fix, fix_size);
}

/* ---- opening ---- */

static int fail(struct err *error, int number, const char *what)
{
    char reason[160], fix[128];
    if (number < 0) {
        number = -number;
    }
    if (number == EPERM || number == ENOSYS) {
        refused(number, reason, sizeof reason, fix, sizeof fix);
        err_set(error, ERR_UNSUPPORTED, "observe", "%s", reason);
        err_hint(error, "%s", fix);
    } else {
        err_set(error, ERR_UNSUPPORTED, "observe", "%s: %s%s%.100s", what, strerror(number),
                libbpf_line[0] ? ": " : "", libbpf_line);
    }
    error->number = number;
    return -1;
}

static void fill_flags(struct syscalls_bpf__rodata *constants)
{
    /* Bytes through a file, socket, pipe or queue, or from memory to memory. Not here: sendmmsg
     * and recvmmsg, which return messages. */
    static const char *const movers[] = {
        "read",    "write",           "pread64",          "pwrite64",
        "readv",   "writev",          "preadv",           "pwritev",
        "preadv2", "pwritev2",        "recvfrom",         "sendto",
        "recvmsg", "sendmsg",         "sendfile",         "splice",
        "tee",     "vmsplice",        "copy_file_range",  "process_vm_readv",
        "msgrcv",  "mq_timedreceive", "process_vm_writev"};
    static const char *const creators[] = {"clone", "clone3", "fork", "vfork"};
    for (size_t i = 0; i < sizeof movers / sizeof movers[0]; i++) {
        int number = syscall_number(movers[i]);
        if (number >= 0) {
            constants->number_flags[number] |= NUMBER_MOVES_BYTES;
        }
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

static int fill_names(struct probe *probe, struct err *error)
{
    struct syscalls_bpf__rodata *constants = probe->programs->rodata;
    for (size_t i = 0; i < probe->target_count; i++) {
        const struct probe_target *target = &probe->targets[i];
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

/* How the kernel's io_uring_complete passes the completion, newest first. */
enum uring_shape { URING_CURRENT, URING_OLD, URING_NONE };

static int load_shape(struct probe *probe, enum uring_shape shape, struct err *error)
{
    struct syscalls_bpf *programs = syscalls_bpf__open();
    if (programs == NULL) {
        return fail(error, errno, "cannot read its BPF programs");
    }
    probe->programs = programs;
    programs->rodata->slot_limit = probe->slots;
    programs->rodata->follow = probe->follow;
    fill_flags(programs->rodata);
    if (fill_names(probe, error) != 0) {
        return -1;
    }
    bpf_program__set_autoload(programs->progs.on_submit, shape != URING_NONE);
    bpf_program__set_autoload(programs->progs.on_complete, shape == URING_CURRENT);
    bpf_program__set_autoload(programs->progs.on_complete_old, shape == URING_OLD);
    int status = bpf_map__set_max_entries(programs->maps.counts, probe->cpus * probe->slots);
    if (status == 0) {
        status = syscalls_bpf__load(programs);
    }
    return status == 0 ? 0 : fail(error, status, "cannot load its BPF programs");
}

/* The shape is found by trying, which costs nothing on a current kernel: asking for it would mean
 * to read the kernel's BTF once more (40 ms). */
static int load_programs(struct probe *probe, struct err *error)
{
    int cpus = libbpf_num_possible_cpus();
    if (cpus <= 0) {
        return fail(error, cpus, "cannot count the CPUs");
    }
    probe->cpus = (uint32_t)cpus;
    uint64_t slots = COUNTS_BYTES_MOST / (sizeof(struct slot_counts) * probe->cpus);
    slots = slots < SLOTS_LEAST ? SLOTS_LEAST : slots > SLOTS_MOST ? SLOTS_MOST : slots;
    probe->slots = (uint32_t)slots;
    int status = -1;
    for (enum uring_shape shape = URING_CURRENT; status != 0 && shape <= URING_NONE; shape++) {
        syscalls_bpf__destroy(probe->programs);
        probe->programs = NULL;
        status = load_shape(probe, shape, error);
        probe->uring = shape != URING_NONE;
        if (status != 0 && (shape == URING_NONE || error->number == EPERM || error->number == 0)) {
            return -1;
        }
    }
    if (!probe->uring) {
        snprintf(probe->uring_reason, sizeof probe->uring_reason,
                 "io_uring is not counted: this kernel lacks its tracepoints");
    }
    *error = (struct err){0}; /* of the shapes that were tried before */
    return 0;
}

static int map_counts(struct probe *probe, struct err *error)
{
    probe->state = &probe->programs->bss->state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = sizeof(struct slot_counts) * probe->cpus * probe->slots;
    bytes = (bytes + page - 1) / page * page;
    void *memory =
        mmap(NULL, bytes, PROT_READ, MAP_SHARED, bpf_map__fd(probe->programs->maps.counts), 0);
    if (memory == MAP_FAILED) {
        return fail(error, errno, "cannot map its counts");
    }
    probe->counts = memory;
    probe->counts_bytes = bytes;
    return 0;
}

static int attach(struct probe *probe, int which, struct bpf_program *program, struct err *error)
{
    if (probe->links[which] != NULL) {
        return 0;
    }
    libbpf_line[0] = '\0';
    libbpf_print_fn_t before = libbpf_set_print(keep_line);
    struct bpf_link *link = bpf_program__attach(program);
    int number = errno;
    libbpf_set_print(before);
    if (link == NULL) {
        return fail(error, number, "cannot attach a BPF program");
    }
    probe->links[which] = link;
    return 0;
}

static void detach(struct probe *probe, int which)
{
    bpf_link__destroy(probe->links[which]);
    probe->links[which] = NULL;
}

/* ---- whom to observe ---- */

/* Adds one process; one that is observed already is left as it is. 0, or an errno: ESRCH where it
 * is gone. */
static int add_process(struct probe *probe, pid_t pid, uint32_t target, bool waiting)
{
    struct shared_state *state = probe->state;
    struct process_sample sample;
    struct err ignored = {0};
    uint32_t tgid = (uint32_t)pid;
    if (table_find(state, tgid) != ENTRY_NONE) {
        return 0;
    }
    if (process_sample(pid, &sample, &ignored) != 0) {
        return ESRCH;
    }
    uint32_t slot = slot_take(state, probe->slots);
    if (slot != probe->slots - 1) {
        struct slot *to = &state->slots[slot];
        to->tgid = tgid;
        to->target = target;
        memset(to->name, 0, sizeof to->name);
        memcpy(to->name, sample.name, strnlen(sample.name, NAME_BYTES - 1));
        __atomic_store_n(&to->state, waiting ? SLOT_WAITING : SLOT_ACTIVE, __ATOMIC_RELEASE);
    }
    if (!table_insert(state, tgid, (waiting ? 0 : ENTRY_ACTIVE) | slot)) {
        __sync_fetch_and_add(&state->lost_processes, 1);
        return ENOSPC;
    }
    /* Gone before its exit could be seen: its entry would wait for a process of the same id. */
    if (process_sample(pid, &sample, &ignored) != 0 || sample.threads == 0) {
        table_remove(state, tgid);
        return ESRCH;
    }
    return 0;
}

/* Existing descendants: what /proc shows as children, level by level. */
static void add_children(struct probe *probe, pid_t parent, uint32_t target, int depth)
{
    pid_t *children = NULL;
    size_t count = 0;
    struct err ignored = {0};
    if (depth == 0 || process_children(parent, &children, &count, &ignored) != 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (add_process(probe, children[i], target, false) == 0) {
            add_children(probe, children[i], target, depth - 1);
        }
    }
    free(children);
}

static int add_name(struct probe *probe, uint32_t target, struct err *error)
{
    pid_t *pids = NULL;
    size_t count = 0;
    if (process_find(probe->targets[target].name, &pids, &count, error) != 0) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (pids[i] != getpid() && add_process(probe, pids[i], target, false) == 0 &&
            probe->follow) {
            add_children(probe, pids[i], target, 64);
        }
    }
    free(pids);
    return 0;
}

/* The process that a thread belongs to: /proc serves a thread's id like a process's, but the table
 * knows processes only. 0 where there is none. */
static pid_t process_of(pid_t pid)
{
    char path[64], text[1024];
    struct err gone = {0};
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (proc_file_read(path, text, sizeof text, &gone) < 0) {
        return 0;
    }
    const char *line = strstr(text, "\nTgid:");
    return line != NULL ? (pid_t)strtol(line + 6, NULL, 10) : 0;
}

static int add_targets(struct probe *probe, struct err *error)
{
    for (uint32_t i = 0; i < probe->target_count; i++) {
        const struct probe_target *target = &probe->targets[i];
        if (target->pid == 0) {
            if (add_name(probe, i, error) != 0) {
                return -1;
            }
            continue;
        }
        char subject[32];
        snprintf(subject, sizeof subject, "pid=%d", (int)target->pid);
        pid_t process = process_of(target->pid);
        if (process != 0 && process != target->pid) {
            return err_set(error, ERR_USAGE, subject, "is a thread of process %d", (int)process);
        }
        int number = add_process(probe, target->pid, i, target->at_exec);
        if (number != 0) {
            return err_set(error, ERR_SYSTEM, subject, "%s",
                           number == ESRCH ? "there is no such process" : strerror(number));
        }
        if (probe->follow && !target->at_exec) {
            add_children(probe, target->pid, i, 64);
        }
    }
    return 0;
}

/* ---- the operations ---- */

static void close_probe(struct probe *probe)
{
    if (probe == NULL) {
        return;
    }
    for (int i = LINK_COUNT; i-- > 0;) {
        detach(probe, i);
    }
    if (probe->counts != NULL) {
        munmap(probe->counts, probe->counts_bytes);
    }
    syscalls_bpf__destroy(probe->programs);
    free(probe->targets);
    free(probe);
}

static int prepare(struct probe *probe, struct err *error)
{
    libbpf_line[0] = '\0';
    libbpf_print_fn_t before = libbpf_set_print(keep_line);
    int status = load_programs(probe, error);
    libbpf_set_print(before);
    if (status != 0 || map_counts(probe, error) != 0) {
        return -1;
    }
    struct slot *shared = &probe->state->slots[probe->slots - 1];
    snprintf(shared->name, sizeof shared->name, "(others)");
    /* The programs that follow processes come first, so that none slips by unseen. */
    if (attach(probe, LINK_EXIT, probe->programs->progs.on_exit, error) != 0 ||
        attach(probe, LINK_EXEC, probe->programs->progs.on_exec, error) != 0 ||
        attach(probe, LINK_FORK, probe->programs->progs.on_fork, error) != 0) {
        return -1;
    }
    return add_targets(probe, error);
}

static int open_probe(struct probe **probe, const struct probe_config *config, struct err *error)
{
    char reason[160], fix[128];
    *probe = NULL;
    if (lacking(reason, sizeof reason, fix, sizeof fix) != 0) {
        err_set(error, ERR_UNSUPPORTED, "observe", "%s", reason);
        return err_hint(error, "%s", fix);
    }
    struct probe *opened = calloc(1, sizeof *opened);
    if (opened != NULL) {
        opened->targets = calloc(config->target_count + 1, sizeof *opened->targets);
    }
    if (opened == NULL || opened->targets == NULL) {
        free(opened);
        return err_set(error, ERR_LIMIT, "observe", "no memory");
    }
    if (config->target_count > 0) {
        memcpy(opened->targets, config->targets, config->target_count * sizeof *opened->targets);
    }
    opened->target_count = config->target_count;
    opened->follow = config->follow;
    if (prepare(opened, error) != 0) {
        close_probe(opened);
        return -1;
    }
    *probe = opened;
    return 0;
}

static int stop(struct probe *probe, struct err *error)
{
    (void)error;
    detach(probe, LINK_CALL);
    detach(probe, LINK_SUBMIT);
    detach(probe, LINK_COMPLETE);
    return 0;
}

static int start(struct probe *probe, struct err *error)
{
    struct syscalls_bpf *programs = probe->programs;
    struct bpf_program *complete = bpf_program__autoload(programs->progs.on_complete)
                                       ? programs->progs.on_complete
                                       : programs->progs.on_complete_old;
    if ((probe->uring && (attach(probe, LINK_SUBMIT, programs->progs.on_submit, error) != 0 ||
                          attach(probe, LINK_COMPLETE, complete, error) != 0)) ||
        attach(probe, LINK_CALL, programs->progs.on_call, error) != 0) {
        struct err ignored = {0};
        stop(probe, &ignored);
        return -1;
    }
    return 0;
}

static void pause_probe(struct probe *probe, bool paused)
{
    __atomic_store_n(&probe->state->paused, paused ? 1u : 0u, __ATOMIC_SEQ_CST);
}

/* Times that a program was skipped because another of them ran on that CPU. */
static uint64_t misses(const struct bpf_program *program)
{
    struct bpf_prog_info info = {0};
    __u32 length = sizeof info;
    int file = bpf_program__fd(program);
    if (file < 0 || bpf_obj_get_info_by_fd(file, &info, &length) != 0) {
        return 0;
    }
    return info.recursion_misses;
}

uint64_t syscalls_lost(struct probe *probe)
{
    const struct shared_state *state = probe->state;
    struct syscalls_bpf *programs = probe->programs;
    return state->lost_calls + state->lost_processes + misses(programs->progs.on_call) +
           misses(programs->progs.on_submit) + misses(programs->progs.on_complete) +
           misses(programs->progs.on_complete_old) + misses(programs->progs.on_fork) +
           misses(programs->progs.on_exec) + misses(programs->progs.on_exit);
}

#endif

const struct probe_ops probe_syscalls = {
    .name = "syscalls",
    .help = "system calls, errors and bytes by process, and io_uring's operations (BPF)",
    .why_not = why_not,
    .open = open_probe,
    .start = start,
    .pause = pause_probe,
    .stop = stop,
    .read = syscalls_read,
    .total = syscalls_total,
    .alive = syscalls_alive,
    .observes = syscalls_observes,
    .close = close_probe,
};
