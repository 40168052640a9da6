/* Time in interrupts on each CPU: softirqs by vector, and the handlers of devices. */
#include "targets.bpf.h"

#include "softirq_shared.h"

char license_name[] SEC("license") = "Dual MIT/GPL";

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1); /* CPUs: set by the loader */
    __type(key, __u32);
    __type(value, struct cpu_served);
} cpus SEC(".maps");

static __always_inline struct served *served_of(__u32 kind)
{
    __u32 cpu = bpf_get_smp_processor_id();
    struct cpu_served *on = bpf_map_lookup_elem(&cpus, &cpu);
    return on && kind < SERVED ? &on->served[kind] : 0;
}

/* Times are on the gate's clock, which stands still while it is closed: of a serving that a window
 * begins or ends in, the part in the window counts. It counts as one where it ends in a window. */
static __always_inline int enter(__u32 kind)
{
    struct served *served = served_of(kind);
    struct targets_state *state = targets_get();
    if (served && state) {
        __u64 now_ns = bpf_ktime_get_ns();
        served->began = 1 + targets_clock_at(targets_clock(state), now_ns);
    }
    return 0;
}

static __always_inline int leave(__u32 kind)
{
    struct served *served = served_of(kind);
    struct targets_state *state = targets_get();
    if (served && state && served->began != 0) {
        __u64 now_ns = bpf_ktime_get_ns();
        __u64 clock = targets_clock(state);
        __u64 at = 1 + targets_clock_at(clock, now_ns);
        served->time_ns += at > served->began ? at - served->began : 0;
        served->began = 0;
        served->count += clock >> 63;
    }
    return 0;
}

SEC("tp_btf/softirq_entry")
int BPF_PROG(on_softirq, unsigned int vector)
{
    return enter(vector & (VECTORS - 1));
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(after_softirq, unsigned int vector)
{
    return leave(vector & (VECTORS - 1));
}

SEC("tp_btf/irq_handler_entry")
int BPF_PROG(on_irq, int number)
{
    return enter(SERVING_IRQ);
}

SEC("tp_btf/irq_handler_exit")
int BPF_PROG(after_irq, int number)
{
    return leave(SERVING_IRQ);
}
