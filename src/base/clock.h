/* The one clock of all measurements: CLOCK_MONOTONIC through the vDSO, in nanoseconds. */
#ifndef SONDE_BASE_CLOCK_H
#define SONDE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_SECOND UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_US UINT64_C(1000)

/* Nanoseconds of CLOCK_MONOTONIC; never 0. */
static inline uint64_t clock_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* Nanoseconds of CLOCK_REALTIME: only for what the kernel stamps by that clock. */
static inline uint64_t clock_real_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* A count of nanoseconds as a timespec. */
static inline struct timespec clock_timespec(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_SECOND),
                             .tv_nsec = (long)(ns % NS_PER_SECOND)};
}

/* What reading the clock costs and how finely it steps, measured on this machine. */
struct clock_quality {
    double cost_ns;         /* of one read */
    uint64_t step_ns;       /* smallest difference seen between two reads that differ */
    uint64_t resolution_ns; /* as clock_getres states it */
};

/* Measures the clock for a fraction of a millisecond. */
struct clock_quality clock_measure(void);

#endif
