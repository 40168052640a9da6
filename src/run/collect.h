/* Cutting and collecting: what all workers of one end measured in one part of the window. */
#ifndef SONDE_RUN_COLLECT_H
#define SONDE_RUN_COLLECT_H

#include "run/worker.h"

/* More flows than these are in the sums only. */
#define TALLY_FLOWS 1024

/* One connection, at one end. */
struct tally_flow {
    bool seen;
    uint64_t counters[FLOW_COUNTERS];
    struct tcp_figures tcp; /* totals: of the tally's parts alone; at_ns 0: not known */
};

/* The sum over an end's workers for one or more parts. */
struct tally {
    struct bank *bank;  /* sums; start_ns and end_ns span all of it */
    uint64_t window_ns; /* measured time: of the workers that worked, summed over parts */
    uint64_t skew_ns;   /* most that such a worker's cut of a part was later than another's */
    /* Of a part: the first start and the last end of workers that worked. 0: none did. */
    uint64_t first_ns, last_ns;
    uint64_t *worker_cpu_ns, *worker_window_ns; /* for each slot */
    uint32_t slot_count;
    struct tally_flow *flows; /* by the connection's number among all of the run */
    uint32_t flow_count;      /* of them there is room for; 0: connections are not told apart */
};

int tally_init(struct tally *tally, uint32_t slot_count, uint32_t flow_count, struct err *error);
void tally_release(struct tally *tally); /* safe to call twice */
void tally_clear(struct tally *tally);
/* Adds one tally (of a part) to another of the same slots. */
void tally_add(struct tally *to, const struct tally *from);

/* Adds what one part, or one connection, measured to another. */
void tally_flow_add(struct tally_flow *to, const struct tally_flow *from);

/* Asks all workers of `slots` for a cut: at several ends, of all before any is waited for. */
void collect_ask(struct worker_slot *slots, uint32_t slot_count);

/* Waits for the cuts (bounded: an idle worker looks every 20 ms) and sums what they closed into
 * *tally, which is cleared first. Returns how many did not cut in time: theirs comes with a later
 * call, which first waits for the cut that is owed. */
uint32_t collect_take(struct worker_slot *slots, uint32_t slot_count, struct tally *tally);

/* Both. */
uint32_t collect(struct worker_slot *slots, uint32_t slot_count, struct tally *tally);

/* Largest share of a CPU that one worker took, 0..1, and which; -1 where nothing was measured. */
double tally_busiest(const struct tally *tally, uint32_t *worker);

/* Zeroed memory that children share, reserved but not committed; NULL with *error. */
void *shared_memory(size_t bytes, struct err *error);
void shared_release(void *memory, size_t bytes);

#endif
