/* A heap of timers. Pure over time: `now` is an argument. Each timer belongs to an owner, who keeps
 * its place in a uint32_t (0: no timer). */
#ifndef SONDE_BASE_TIMERS_H
#define SONDE_BASE_TIMERS_H

#include <stddef.h>
#include <stdint.h>

struct timer {
    uint64_t at_ns;
    void *owner;
    uint32_t *place; /* in the owner: index in the heap + 1 */
};

struct timers {
    struct timer *heap; /* owned */
    size_t count, capacity;
};

/* Sets the owner's timer to at_ns (moves it where it is set already). 0, or -1 without memory. */
int timers_set(struct timers *timers, void *owner, uint32_t *place, uint64_t at_ns);

/* Removes the timer at *place, which becomes 0; nothing happens where it is 0. */
void timers_cancel(struct timers *timers, uint32_t *place);

/* Instant of the earliest timer; UINT64_MAX where there is none. */
static inline uint64_t timers_next_ns(const struct timers *timers)
{
    return timers->count ? timers->heap[0].at_ns : UINT64_MAX;
}

/* Removes the earliest timer that is due at now_ns and returns its owner; NULL where none is. */
void *timers_expire(struct timers *timers, uint64_t now_ns);

/* Frees the heap; safe to call twice. */
void timers_release(struct timers *timers);

#endif
