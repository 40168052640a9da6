/* Cutting and collecting: what all workers of one end measured in one part of the window. */
#ifndef SONDE_RUN_COLLECT_H
#define SONDE_RUN_COLLECT_H

#include "run/worker.h"

/* The sum over an end's workers for one or more parts. */
struct tally {
    struct bank *bank;  /* sums; start_ns and end_ns span all of it */
    uint64_t window_ns; /* measured time: mean over workers, summed over parts */
    uint64_t *worker_cpu_ns, *worker_window_ns; /* for each slot */
    uint32_t slot_count;
};

int tally_init(struct tally *tally, uint32_t slot_count, struct err *error);
void tally_release(struct tally *tally); /* safe to call twice */
void tally_clear(struct tally *tally);
/* Adds one tally (of a part) to another of the same slots. */
void tally_add(struct tally *to, const struct tally *from);

/* Asks all workers of `slots` for a cut, waits for them (bounded: an idle worker looks every 20 ms)
 * and sums what they closed into *tally, which is cleared first. Returns how many did not cut in
 * time: theirs comes with a later call, which first waits for the cut that is owed. */
uint32_t collect(struct worker_slot *slots, uint32_t slot_count, struct tally *tally);

/* Largest share of a CPU that one worker took, 0..1, and which; -1 where nothing was measured. */
double tally_busiest(const struct tally *tally, uint32_t *worker);

/* Zeroed memory that children share, reserved but not committed; NULL with *error. */
void *shared_memory(size_t bytes, struct err *error);
void shared_release(void *memory, size_t bytes);

#endif
