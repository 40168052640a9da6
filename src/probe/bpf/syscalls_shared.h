/* What the BPF programs and their loader share: the layout of the memory that both map, and the
 * table that finds a process. The includer has __u32 and __u64 (linux/types.h or kernel_types.h).
 */
#ifndef SONDE_PROBE_BPF_SYSCALLS_SHARED_H
#define SONDE_PROBE_BPF_SYSCALLS_SHARED_H

#define NUMBERS 512          /* system call numbers, a power of two; the two last are special */
#define NUMBER_FOREIGN 511   /* calls of 32-bit programs: their numbers mean other calls */
#define NUMBER_UNKNOWN 510   /* numbers that do not fit */
#define ERROR_CELLS 256      /* {number, errno} pairs of one process on one CPU, a power of two */
#define ERROR_PROBES 16      /* places looked at before an error is given up as lost */
#define OPERATIONS 128       /* io_uring operations; the two last are special */
#define OPERATION_NOTICE 126 /* "buffers are free" notices of zero-copy sends */
#define OPERATION_MULTISHOT 127 /* completions that do not name their request */
#define SLOTS_MOST 1024
#define TARGET_NAMES_MOST 32
#define NAME_BYTES 16

/* Bits of number_flags. */
#define NUMBER_MOVES_BYTES 1 /* a positive result is a number of bytes */
#define NUMBER_NEW_TASK 2    /* returns 0 in the new task, which did not call it */

/* Errors of the kernel end at 4095. */
#define ERROR_MOST 4095

struct call_cell {
    __u64 calls, bytes;
};

struct error_cell {
    __u32 key;    /* number << 16 | errno; 0: free */
    __u32 paused; /* nothing is counted while this is not 0 */
    __u64 count;
};

struct operation_cell {
    __u64 submitted, completed, bytes;
};

/* Counts of one process on one CPU. Written only by that CPU with preemption off, so plain
 * increments are enough; read by anyone. */
struct slot_counts {
    struct call_cell calls[NUMBERS];
    struct error_cell errors[ERROR_CELLS];
    struct operation_cell operations[OPERATIONS];
    __u64 lost; /* errors whose errno found no place; their calls are counted */
};

enum slot_state { SLOT_FREE = 0, SLOT_WAITING, SLOT_ACTIVE, SLOT_EXITED };

/* One observed process, living or gone. Never given to another process. */
struct slot {
    __u32 tgid;
    __u32 state;  /* enum slot_state */
    __u32 target; /* index into the loader's targets: children inherit it */
    __u32 parent; /* slot it was forked from, +1; 0: none */
    char name[NAME_BYTES];
};

/* Finds the slot of a process: sets of four entries, chosen by the low bits of its id. A fixed
 * number of plain loads, whether the process is observed or not; no helper call. */
#define TABLE_WAYS 4
#define TABLE_SETS 4096
#define ENTRY_ACTIVE (1u << 31) /* in the entry's low half, beside the slot */
#define ENTRY_NONE 0

struct shared_state {
    __u64 table[TABLE_SETS * TABLE_WAYS]; /* tgid << 32 | active | slot */
    struct slot slots[SLOTS_MOST];
    __u32 next_slot;      /* may grow beyond the number of slots: see slot_take */
    __u32 paused;         /* nothing is counted while this is not 0 */
    __u64 crowded;        /* processes that share the last slot, for want of one */
    __u64 lost_processes; /* processes that found no place in the table */
    __u64 lost_calls;     /* calls on a CPU that has no memory */
};

static inline __attribute__((always_inline)) __u64 *table_set(struct shared_state *state,
                                                              __u32 tgid)
{
    return &state->table[(tgid & (TABLE_SETS - 1)) * TABLE_WAYS];
}

static inline __attribute__((always_inline)) __u64 table_find(struct shared_state *state,
                                                              __u32 tgid)
{
    __u64 *set = table_set(state, tgid);
    for (int way = 0; way < TABLE_WAYS; way++) {
        __u64 entry = *(volatile __u64 *)&set[way];
        if (entry >> 32 == tgid) {
            return entry;
        }
    }
    return ENTRY_NONE;
}

/* False where its set is full. */
static inline __attribute__((always_inline)) int table_insert(struct shared_state *state,
                                                              __u32 tgid, __u32 low)
{
    __u64 *set = table_set(state, tgid);
    for (int way = 0; way < TABLE_WAYS; way++) {
        if (__sync_val_compare_and_swap(&set[way], ENTRY_NONE, (__u64)tgid << 32 | low) ==
            ENTRY_NONE) {
            return 1;
        }
    }
    return 0;
}

/* Every entry of the process: the loader and the fork program may both have added it. */
static inline __attribute__((always_inline)) void table_remove(struct shared_state *state,
                                                               __u32 tgid)
{
    __u64 *set = table_set(state, tgid);
    for (int way = 0; way < TABLE_WAYS; way++) {
        if (*(volatile __u64 *)&set[way] >> 32 == tgid) {
            *(volatile __u64 *)&set[way] = ENTRY_NONE;
        }
    }
}

/* A slot for a new process. The last of `limit` is shared by all that come when no other is left.
 */
static inline __attribute__((always_inline)) __u32 slot_take(struct shared_state *state,
                                                             __u32 limit)
{
    __u32 last = limit - 1;
    if (*(volatile __u32 *)&state->next_slot >= last) {
        __sync_fetch_and_add(&state->crowded, 1);
        return last;
    }
    __u32 slot = __sync_fetch_and_add(&state->next_slot, 1);
    if (slot >= last) {
        __sync_fetch_and_add(&state->crowded, 1);
        return last;
    }
    return slot;
}

#endif
