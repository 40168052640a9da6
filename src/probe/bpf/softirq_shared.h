/* What the interrupt programs and their loader share. The includer has __u32 and __u64. */
#ifndef SONDE_PROBE_BPF_SOFTIRQ_SHARED_H
#define SONDE_PROBE_BPF_SOFTIRQ_SHARED_H

#define VECTORS 16          /* of softirqs; the kernel has 10. A power of two */
#define SERVING_IRQ VECTORS /* device interrupts, after the vectors */
#define SERVED (VECTORS + 1)

/* Serving of one kind on one CPU. Written by that CPU with preemption off: a softirq is never
 * interrupted by another one there, nor a hard interrupt by another. */
struct served {
    __u64 began; /* 0: not being served; else 1 + the time on the gate's clock */
    __u64 count;
    __u64 time_ns; /* on the gate's clock */
};

struct cpu_served {
    struct served served[SERVED];
};

#endif
