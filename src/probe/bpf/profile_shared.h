/* What the program of the profile probe and its loader share. The includer has __u32 and __u64. */
#ifndef SONDE_PROBE_BPF_PROFILE_SHARED_H
#define SONDE_PROBE_BPF_PROFILE_SHARED_H

#define PROFILE_FRAMES 127   /* of one stack; the kernel's own limit (perf_event_max_stack) */
#define PROFILE_STACKS 16384 /* different ones: 18 MiB */
#define PROFILE_COUNTS 32768 /* different struct profile_key */

/* Instead of a stack's hash. */
#define PROFILE_NO_STACK 0   /* it was not in user space, or not in the kernel */
#define PROFILE_LOST_STACK 1 /* there was no place for it, or it could not be read */
#define PROFILE_FIRST_HASH 2

/* Words from the user's stack pointer on that are kept. Code without frame pointers, such as the C
 * library's calls into the kernel, leaves its caller's address there; which word that is, its
 * unwind information says later. */
#define PROFILE_WORDS 12
/* Only a chain that is no longer than this is looked for another time, from the stack: one that is
 * did not come about by chance. */
#define PROFILE_FEW_FRAMES 4

/* Innermost frame first; what is behind is of older stacks. */
struct profile_stack {
    __u32 count; /* of frames, by the frame pointer as it is */
    __u32 more;  /* behind them: by the frame pointer that stands in `saved` */
    __u32 saved; /* a word, + 1; 0: none looks like one */
    __u32 unused;
    __u64 words[PROFILE_WORDS]; /* 0: not in the program's own code */
    __u64 frames[PROFILE_FRAMES + 1];
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
