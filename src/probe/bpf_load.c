/* Loading and attaching BPF programs, and why that cannot be done. */
#include "probe/bpf_load.h"

#if SONDE_HAVE_BPF

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
int bpf_load_lacking(char *reason, size_t reason_size, char *fix, size_t fix_size)
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

int bpf_load_refused(char *reason, size_t reason_size, char *fix, size_t fix_size)
{
    if (bpf_load_lacking(reason, reason_size, fix, fix_size) != 0) {
        return -1;
    }
    libbpf_print_fn_t before = libbpf_set_print(keep_line);
    int number = try_program();
    libbpf_set_print(before);
    return number == 0 ? 0 : refused(number, reason, reason_size, fix, fix_size);
}

int bpf_load_failed(struct err *error, int number, const char *what)
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

int bpf_load_skeleton(struct bpf_object_skeleton *skeleton)
{
    libbpf_line[0] = '\0';
    libbpf_print_fn_t before = libbpf_set_print(keep_line);
    int status = bpf_object__load_skeleton(skeleton);
    libbpf_set_print(before);
    return status;
}

const char bpf_load_no_uring[] = "io_uring is not counted: this kernel lacks its tracepoints";

int bpf_load_uring(struct probe *probe,
                   int (*load)(struct probe *probe, enum uring_shape shape, struct err *error),
                   enum uring_shape *shape, struct err *error)
{
    for (*shape = URING_CURRENT;; (*shape)++) {
        if (load(probe, *shape, error) == 0) {
            *error = (struct err){0}; /* of the shapes that were tried before */
            return 0;
        }
        if (*shape == URING_NONE || error->number == EPERM || error->number == 0) {
            return -1;
        }
    }
}

int bpf_load_attach(struct bpf_link **link, struct bpf_program *program, struct err *error)
{
    if (*link != NULL) {
        return 0;
    }
    libbpf_line[0] = '\0';
    libbpf_print_fn_t before = libbpf_set_print(keep_line);
    *link = bpf_program__attach(program);
    int number = errno;
    libbpf_set_print(before);
    return *link != NULL ? 0 : bpf_load_failed(error, number, "cannot attach a BPF program");
}

void bpf_load_detach(struct bpf_link **link)
{
    bpf_link__destroy(*link);
    *link = NULL;
}

/* Times that a program was skipped because another of them ran on that CPU. */
uint64_t bpf_load_misses(const struct bpf_program *program)
{
    struct bpf_prog_info info = {0};
    __u32 length = sizeof info;
    int file = bpf_program__fd(program);
    if (file < 0 || bpf_obj_get_info_by_fd(file, &info, &length) != 0) {
        return 0;
    }
    return info.recursion_misses;
}

static void *map_memory(const struct bpf_map *map, size_t bytes, int protection, const char *failed,
                        struct err *error)
{
    void *memory = mmap(NULL, bpf_load_pages(bytes), protection, MAP_SHARED, bpf_map__fd(map), 0);
    if (memory == MAP_FAILED) {
        bpf_load_failed(error, errno, failed);
        return NULL;
    }
    return memory;
}

void *bpf_load_map(const struct bpf_map *map, size_t bytes, struct err *error)
{
    return map_memory(map, bytes, PROT_READ, "cannot map its counts", error);
}

void *bpf_load_map_writable(const struct bpf_map *map, size_t bytes, struct err *error)
{
    return map_memory(map, bytes, PROT_READ | PROT_WRITE, "cannot map its memory", error);
}

void bpf_load_unmap(void *memory, size_t bytes)
{
    if (memory != NULL) {
        munmap(memory, bpf_load_pages(bytes));
    }
}

size_t bpf_load_pages(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

#endif
