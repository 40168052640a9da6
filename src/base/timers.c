#include "base/timers.h"

#include <stdlib.h>

static void put(struct timers *timers, size_t index, struct timer timer)
{
    timers->heap[index] = timer;
    *timer.place = (uint32_t)index + 1;
}

static void sift_up(struct timers *timers, size_t index, struct timer timer)
{
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (timers->heap[parent].at_ns <= timer.at_ns) {
            break;
        }
        put(timers, index, timers->heap[parent]);
        index = parent;
    }
    put(timers, index, timer);
}

static void sift_down(struct timers *timers, size_t index, struct timer timer)
{
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= timers->count) {
            break;
        }
        if (child + 1 < timers->count &&
            timers->heap[child + 1].at_ns < timers->heap[child].at_ns) {
            child++;
        }
        if (timers->heap[child].at_ns >= timer.at_ns) {
            break;
        }
        put(timers, index, timers->heap[child]);
        index = child;
    }
    put(timers, index, timer);
}

int timers_set(struct timers *timers, void *owner, uint32_t *place, uint64_t at_ns)
{
    timers_cancel(timers, place);
    if (timers->count == timers->capacity) {
        size_t capacity = timers->capacity ? timers->capacity * 2 : 16;
        struct timer *heap = reallocarray(timers->heap, capacity, sizeof *heap);
        if (!heap) {
            return -1;
        }
        timers->heap = heap;
        timers->capacity = capacity;
    }
    size_t last = timers->count++;
    sift_up(timers, last, (struct timer){.at_ns = at_ns, .owner = owner, .place = place});
    return 0;
}

void timers_cancel(struct timers *timers, uint32_t *place)
{
    if (*place == 0) {
        return;
    }
    size_t index = *place - 1;
    *place = 0;
    struct timer moved = timers->heap[--timers->count];
    if (index == timers->count) {
        return;
    }
    if (index > 0 && timers->heap[(index - 1) / 2].at_ns > moved.at_ns) {
        sift_up(timers, index, moved);
    } else {
        sift_down(timers, index, moved);
    }
}

void *timers_expire(struct timers *timers, uint64_t now_ns)
{
    if (timers_next_ns(timers) > now_ns) {
        return NULL;
    }
    struct timer first = timers->heap[0];
    timers_cancel(timers, first.place);
    return first.owner;
}

void timers_release(struct timers *timers)
{
    free(timers->heap);
    *timers = (struct timers){0};
}
