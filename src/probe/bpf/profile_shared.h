/* What the program of the profile probe and its loader share. The includer has __u32 and __u64. */
#ifndef SONDE_PROBE_BPF_PROFILE_SHARED_H
#define SONDE_PROBE_BPF_PROFILE_SHARED_H

#define PROFILE_FRAMES 127   /* of one stack; the kernel's own limit (perf_event_max_stack) */
#define PROFILE_STACKS 16384 /* different ones: 17 MiB */
#define PROFILE_COUNTS 32768 /* different struct profile_key */

/* Instead of a stack's hash. */
#define PROFILE_NO_STACK 0   /* it was not in user space, or not in the kernel */
#define PROFILE_LOST_STACK 1 /* there was no place for it, or it could not be read */
#define PROFILE_FIRST_HASH 2

/* Innermost frame first; the tail is of older stacks. */
struct profile_stack {
    __u64 count;
    __u64 frames[PROFILE_FRAMES];
};

struct profile_key {
    __u64 user, kernel; /* hashes of stacks */
    char name[16];      /* of the thread */
    __u32 tgid;
    __u32 unused;
};

struct profile_memory {
    __u64 ticks;       /* of all CPUs while the gate was open, whoever ran */
    __u64 samples;     /* of observed processes */
    __u64 lost;        /* samples that found no place */
    __u64 lost_stacks; /* stacks of samples that are counted */
};

#endif
