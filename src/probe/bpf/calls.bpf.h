/* Which system call, or which operation of io_uring, an event is about. */
#ifndef SONDE_PROBE_BPF_CALLS_BPF_H
#define SONDE_PROBE_BPF_CALLS_BPF_H

#include "targets.bpf.h"

#include "calls_shared.h"

/* ---- system calls ---- */

/* The number as it stands in the registers, whatever the program is; ~0 after rt_sigreturn. */
static __always_inline __u64 call_raw_number(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
    return regs->orig_ax;
#elif defined(__TARGET_ARCH_arm64)
    return (__u64)(long)regs->syscallno;
#endif
}

/* A call of a 32-bit program. */
static __always_inline bool call_is_foreign(struct task_struct *task)
{
#if defined(__TARGET_ARCH_x86)
    return task->thread_info.status & 2; /* TS_COMPAT */
#elif defined(__TARGET_ARCH_arm64)
    return task->thread_info.flags & (1ul << 22); /* TIF_32BIT */
#endif
}

/* At the exit of a call, always below NUMBERS. sigreturn: number of rt_sigreturn. */
static __always_inline __u32 call_number(struct task_struct *task, struct pt_regs *regs,
                                         long result, __u32 sigreturn)
{
    __u64 number = call_raw_number(regs);
    if (call_is_foreign(task)) {
        return NUMBER_FOREIGN;
    }
    if (number < NUMBER_UNKNOWN) {
        return (__u32)number;
    }
    /* rt_sigreturn restores the registers of the interrupted code and marks them as "no system
     * call" (-1). A true call of number -1 fails with ENOSYS (38). */
    if (number == ~0ull && result != -38) {
        return sigreturn & (NUMBERS - 1);
    }
    return NUMBER_UNKNOWN;
}

/* ---- io_uring ---- */

/* The process that an operation belongs to. The kernel's own threads of a ring (workers, submission
 * poller) are threads of the process that owns it, so the current process is the right one in their
 * context too. */
static __always_inline __u32 operation_process(void)
{
    return (__u32)(bpf_get_current_pid_tgid() >> 32);
}

/* What a completion is of, always below OPERATIONS. */
static __always_inline __u32 operation_completed(void *request, __u32 flags)
{
    if (flags & 8) { /* IORING_CQE_F_NOTIF */
        return OPERATION_NOTICE;
    }
    if (!request) {
        return OPERATION_MULTISHOT;
    }
    return BPF_CORE_READ((struct io_kiocb *)request, opcode) & (OPERATIONS - 1);
}

/* True where a completion that does not name its operation moved bytes: it is in a provided buffer
 * (IORING_CQE_F_BUFFER). */
static __always_inline bool operation_in_buffer(__u32 flags)
{
    return flags & 1;
}

#endif
