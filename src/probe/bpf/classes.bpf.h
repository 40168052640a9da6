/* Which power of two a value belongs to. */
#ifndef SONDE_PROBE_BPF_CLASSES_BPF_H
#define SONDE_PROBE_BPF_CLASSES_BPF_H

#include "kernel_types.h"

#include <bpf/bpf_helpers.h>

/* Position of the highest bit of a value from 1 to 2^32 - 1; `wide`, a constant: to 2^63 - 1. BPF
 * has no instruction for it, and a comparison is a branch there, which mispredicts where sizes
 * vary: the borrow of a subtraction serves instead. */
static __always_inline __u32 highest_bit(__u64 value, bool wide)
{
    __u64 position = 0, step;
    if (wide) {
        step = (0xffffffffull - value) >> 63 << 5;
        value >>= step;
        position = step;
    }
    step = (0xffffull - value) >> 63 << 4;
    value >>= step;
    position += step;
    step = (0xffull - value) >> 63 << 3;
    value >>= step;
    position += step;
    step = (0xfull - value) >> 63 << 2;
    value >>= step;
    position += step;
    /* What is left is 1 to 15: two bits for each. */
    return (__u32)position + ((0xffffaa50u >> (value << 1)) & 3);
}

#endif
