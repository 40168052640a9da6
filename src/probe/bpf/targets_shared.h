/* Whom the BPF programs of all probes observe: the memory that they and sonde share. Every probe's
 * object has the map `targets` of this one value; all but the first take it over from the loader of
 * the targets (probe/targets_bpf.c). The includer has __u32 and __u64. */
#ifndef SONDE_PROBE_BPF_TARGETS_SHARED_H
#define SONDE_PROBE_BPF_TARGETS_SHARED_H

#define SLOTS_MOST 1024
#define THREADS_MOST 1024 /* a power of two */
#define TARGET_NAMES_MOST 32
#define NAME_BYTES 16

enum slot_state { SLOT_FREE = 0, SLOT_WAITING, SLOT_ACTIVE, SLOT_EXITED };

/* One observed process, living or gone. Never given to another process. */
struct slot {
    __u32 tgid;
    __u32 state;  /* enum slot_state */
    __u32 target; /* index into the loader's targets: children inherit it */
    __u32 parent; /* slot it was forked from, +1; 0: none */
    char name[NAME_BYTES];
};

/* One thread of an observed process, living or gone, from the first event on in which some probe
 * saw it. Never given to another thread. The last one is shared by all that find no place. */
struct thread_slot {
    __u32 tid, tgid;
    __u32 slot;  /* of its process */
    __u32 state; /* enum slot_state */
    char name[NAME_BYTES];
};

/* Finds the slot of a process: sets of four entries, chosen by the low bits of its id. A fixed
 * number of plain loads, whether the process is observed or not; no helper call. Threads likewise,
 * by their id. */
#define TABLE_WAYS 4
#define TABLE_SETS 4096
#define ENTRY_ACTIVE (1u << 31) /* in the entry's low half, beside the slot */
#define ENTRY_NONE 0

/* Mirrors struct gate (probe/targets.h). */
struct shared_gate {
    __u32 open, turns;
    __u64 start_ns, end_ns;
    __u64 clock; /* GATE_CLOCK_RUNS and what to subtract from the time; else what it came to */
    __u32 muted; /* thread */
};

struct targets_state {
    struct shared_gate gate;
    __u64 padding[3];                            /* the gate alone in its cache line */
    __u64 table[TABLE_SETS * TABLE_WAYS];        /* tgid << 32 | active | slot */
    __u64 thread_table[TABLE_SETS * TABLE_WAYS]; /* tid << 32 | active | thread slot */
    struct slot slots[SLOTS_MOST];
    struct thread_slot threads[THREADS_MOST];
    __u32 slot_limit;      /* slots in use; set by the loader before anything is attached */
    __u32 follow;          /* children too */
    __u32 next_slot;       /* may grow beyond the number of slots: see slot_take */
    __u32 next_thread;     /* likewise */
    __u64 crowded;         /* processes that share the last slot, for want of one */
    __u64 crowded_threads; /* not 0 where threads share the last one */
    __u64 lost_processes;  /* processes that found no place in the table */
    __u64 lost_threads;    /* threads likewise */
    __u64 lost_events;     /* on a CPU that has no memory */
};

static inline __attribute__((always_inline)) __u64 *table_set(__u64 *table, __u32 id)
{
    return &table[(id & (TABLE_SETS - 1)) * TABLE_WAYS];
}

static inline __attribute__((always_inline)) __u64 table_find(const __u64 *table, __u32 id)
{
    __u64 *set = table_set((__u64 *)table, id);
    for (int way = 0; way < TABLE_WAYS; way++) {
        __u64 entry = *(volatile __u64 *)&set[way];
        if (entry >> 32 == id) {
            return entry;
        }
    }
    return ENTRY_NONE;
}

static inline __attribute__((always_inline)) int table_has_room(const __u64 *table, __u32 id)
{
    __u64 *set = table_set((__u64 *)table, id);
    for (int way = 0; way < TABLE_WAYS; way++) {
        if (*(volatile __u64 *)&set[way] == ENTRY_NONE) {
            return 1;
        }
    }
    return 0;
}

/* False where its set is full. */
static inline __attribute__((always_inline)) int table_insert(__u64 *table, __u32 id, __u32 low)
{
    __u64 *set = table_set((__u64 *)table, id);
    for (int way = 0; way < TABLE_WAYS; way++) {
        if (__sync_val_compare_and_swap(&set[way], ENTRY_NONE, (__u64)id << 32 | low) ==
            ENTRY_NONE) {
            return 1;
        }
    }
    return 0;
}

/* Like table_insert, for ids that two CPUs may bring at the same time: the entry that is there
 * afterwards, this one or the other's; ENTRY_NONE where the set is full. */
static inline __attribute__((always_inline)) __u64 table_claim(__u64 *table, __u32 id, __u32 low)
{
    __u64 *set = table_set(table, id);
    __u64 entry = (__u64)id << 32 | low;
    for (int way = 0; way < TABLE_WAYS; way++) {
        __u64 there = __sync_val_compare_and_swap(&set[way], ENTRY_NONE, entry);
        if (there == ENTRY_NONE || there >> 32 == id) {
            return there == ENTRY_NONE ? entry : there;
        }
    }
    return ENTRY_NONE;
}

/* Every entry of a process: the loader and the fork program may both have added it. */
static inline __attribute__((always_inline)) void table_remove(__u64 *table, __u32 id)
{
    __u64 *set = table_set((__u64 *)table, id);
    for (int way = 0; way < TABLE_WAYS; way++) {
        if (*(volatile __u64 *)&set[way] >> 32 == id) {
            *(volatile __u64 *)&set[way] = ENTRY_NONE;
        }
    }
}

/* The next free place below `last`; where there is none, `last`, which is shared. */
static inline __attribute__((always_inline)) __u32 place_take(__u32 *next, __u64 *crowded,
                                                              __u32 last)
{
    if (*(volatile __u32 *)next < last) {
        __u32 place = __sync_fetch_and_add(next, 1);
        if (place < last) {
            return place;
        }
    }
    __sync_fetch_and_add(crowded, 1);
    return last;
}

/* A slot for a new process. The last of `limit` is shared by all that come when no other is left.
 */
static inline __attribute__((always_inline)) __u32 slot_take(struct targets_state *state,
                                                             __u32 limit)
{
    return place_take(&state->next_slot, &state->crowded, limit - 1);
}

static inline __attribute__((always_inline)) __u32 thread_take(struct targets_state *state)
{
    return place_take(&state->next_thread, &state->crowded_threads, THREADS_MOST - 1);
}

#endif
