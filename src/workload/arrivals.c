#include "workload/arrivals.h"

#include <string.h>

static void mark(struct arrivals *arrivals, uint64_t sequence, bool seen)
{
    uint64_t place = sequence % ARRIVALS_WINDOW;
    uint64_t bit = UINT64_C(1) << (place % 64);
    uint64_t *word = &arrivals->seen[place / 64];
    *word = seen ? *word | bit : *word & ~bit;
}

static bool was_seen(const struct arrivals *arrivals, uint64_t sequence)
{
    uint64_t place = sequence % ARRIVALS_WINDOW;
    return arrivals->seen[place / 64] >> (place % 64) & 1;
}

/* The newest so far: everything between the last newest and it is missing for now. */
static void advance(struct arrivals *arrivals, uint64_t sequence)
{
    if (sequence - arrivals->next >= ARRIVALS_WINDOW) {
        memset(arrivals->seen, 0, sizeof arrivals->seen);
    } else {
        for (uint64_t missing = arrivals->next; missing < sequence; missing++) {
            mark(arrivals, missing, false);
        }
    }
    mark(arrivals, sequence, true);
    arrivals->next = sequence + 1;
}

/* J += (|D| - J) / 16, D being the change of the transit time; the two clocks need not agree. */
static void take_transit(struct arrivals *arrivals, int64_t transit_ns)
{
    if (arrivals->begun) {
        /* Whole numbers first: between two clocks they may be larger than a double holds. */
        double change = (double)(transit_ns - arrivals->transit_ns);
        change = change < 0 ? -change : change;
        arrivals->jitter_ns += (change - arrivals->jitter_ns) / 16;
    }
    arrivals->begun = true;
    arrivals->transit_ns = transit_ns;
}

struct arrivals_change arrivals_take(struct arrivals *arrivals, uint64_t sequence, uint64_t sent_ns,
                                     uint64_t received_ns)
{
    struct arrivals_change change = {0};
    if (sequence >= arrivals->next) {
        change.expected = sequence - arrivals->next + 1;
        advance(arrivals, sequence);
    } else if (arrivals->next - sequence > ARRIVALS_WINDOW) {
        change.late = true;
    } else if (was_seen(arrivals, sequence)) {
        change.duplicate = true;
        return change;
    } else {
        change.late = true;
        mark(arrivals, sequence, true);
    }
    take_transit(arrivals, (int64_t)(received_ns - sent_ns));
    return change;
}

uint64_t arrivals_end(struct arrivals *arrivals, uint64_t count)
{
    uint64_t missing = count > arrivals->next ? count - arrivals->next : 0;
    if (missing) {
        advance(arrivals, count - 1);
        mark(arrivals, count - 1, false);
    }
    return missing;
}
