#include "base/clock.h"

struct clock_quality clock_measure(void)
{
    enum { READS = 2000 };
    struct clock_quality quality = {.step_ns = UINT64_MAX};
    struct timespec resolution;
    uint64_t best_ns = UINT64_MAX;

    clock_getres(CLOCK_MONOTONIC, &resolution);
    quality.resolution_ns = (uint64_t)resolution.tv_nsec;
    /* The least of several rounds: an interrupt in one of them must not count as clock cost. */
    for (int round = 0; round < 4; round++) {
        uint64_t start = clock_now_ns();
        uint64_t last = start;
        for (int i = 0; i < READS; i++) {
            uint64_t now = clock_now_ns();
            if (now != last && now - last < quality.step_ns) {
                quality.step_ns = now - last;
            }
            last = now;
        }
        if (last - start < best_ns) {
            best_ns = last - start;
        }
    }
    quality.cost_ns = (double)best_ns / READS;
    return quality;
}
