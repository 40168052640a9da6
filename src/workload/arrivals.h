/* What became of a stream of numbered datagrams, at its receiver: loss, order, duplicates, jitter.
 * Constant memory: a datagram that comes more than ARRIVALS_WINDOW behind the newest counts as
 * late, since it can no longer be told whether it had come before. */
#ifndef SONDE_WORKLOAD_ARRIVALS_H
#define SONDE_WORKLOAD_ARRIVALS_H

#include <stdbool.h>
#include <stdint.h>

enum { ARRIVALS_WINDOW = 1024 };

struct arrivals {
    uint64_t next; /* sequence that is expected next */
    uint64_t seen[ARRIVALS_WINDOW / 64];
    bool begun; /* there is a transit time to compare with */
    int64_t transit_ns;
    double jitter_ns; /* RFC 3550, section 6.4.1 */
};

/* How one datagram changed the account. Lost are those expected that were no arrivals. */
struct arrivals_change {
    uint64_t expected; /* so many more should have come by now, this one included */
    bool late;         /* a newer one came before */
    bool duplicate;    /* it is no arrival: it came before */
};

struct arrivals_change arrivals_take(struct arrivals *arrivals, uint64_t sequence, uint64_t sent_ns,
                                     uint64_t received_ns);

/* `count` were sent in all; returns how many more should have come than was known. */
uint64_t arrivals_end(struct arrivals *arrivals, uint64_t count);

#endif
