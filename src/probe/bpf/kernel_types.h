/* The few kernel types that the programs touch, as far as they touch them. Every access is
 * relocated to the running kernel's layout when the program is loaded (CO-RE), so that building
 * needs neither kernel headers nor the BTF of a kernel. */
#ifndef SONDE_PROBE_BPF_KERNEL_TYPES_H
#define SONDE_PROBE_BPF_KERNEL_TYPES_H

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;

/* From the kernel's user interface (linux/bpf.h). */
enum { BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_PROG_ARRAY = 3 };
enum { BPF_F_MMAPABLE = 1 << 10 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pt_regs {
#if defined(__TARGET_ARCH_x86)
    unsigned long orig_ax;
    unsigned long sp;
#elif defined(__TARGET_ARCH_arm64)
    __s32 syscallno;
    __u64 sp;
#endif
};

struct thread_info {
    unsigned long flags;
#if defined(__TARGET_ARCH_x86)
    __u32 status;
#elif defined(__TARGET_ARCH_arm64)
    __u64 preempt_count;
#endif
};

typedef struct {
    int counter;
} atomic_t;

struct signal_struct {
    atomic_t live; /* threads that have not begun to exit */
};

struct rq {
    __u64 clock; /* ns; of no known beginning */
};

struct sched_info {
    unsigned long long last_arrival; /* on its CPU, by rq.clock */
};

struct cfs_rq {
    struct rq *rq; /* the CPU's */
};

struct sched_entity {
    struct cfs_rq *cfs_rq;
};

struct mm_struct {
    unsigned long start_code, end_code; /* of the program itself */
};

struct task_struct {
    struct thread_info thread_info;
    __s32 pid;
    __s32 tgid;
    struct mm_struct *mm;
    struct signal_struct *signal;
    char comm[16];
    unsigned int __state;
    unsigned int flags;
    int on_cpu;
    struct sched_entity se;
    struct sched_info sched_info;
    __u64 start_time; /* ns, CLOCK_MONOTONIC */
};

/* Before Linux 5.14. */
struct task_struct___before_5_14 {
    long state;
};

struct bpf_iter__task {
    struct task_struct *task;
};

struct io_ring_ctx {
    unsigned int flags;
};

struct io_kiocb {
    __u8 opcode;
};

struct io_uring_cqe {
    __u64 user_data;
    __s32 res;
    __u32 flags;
};

#pragma clang attribute pop

#endif
