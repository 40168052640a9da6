/* Names of counters, and what they become for perf_event_open(2) on a CPU. */
#ifndef SONDE_PROBE_COUNTER_EVENTS_H
#define SONDE_PROBE_COUNTER_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/perf_event.h>

#include "base/err.h"

/* CPUs whose own event numbers the sets know. */
enum counter_cpu { COUNTER_CPU_OTHER, COUNTER_CPU_INTEL, COUNTER_CPU_ZEN, COUNTER_CPU_ARM };

enum counter_cpu counter_cpu_here(void);

#define COUNTER_SET_EVENTS 4

/* What a set counts, by the names that the record gives: its own two, instructions, cycles. */
struct counter_set {
    const char *name; /* "l1d" */
    const char *counters[COUNTER_SET_EVENTS];
};

/* The set of that name; NULL where there is none. */
const struct counter_set *counter_set_find(const char *name);

struct counter_event {
    char name[40];   /* as asked for ("cycles"), or what a set calls it ("l1d refills") */
    char source[40]; /* the event that it became; empty: the name says it */
    struct perf_event_attr attr;
    uint32_t group;  /* events of one group are on the CPU's counters together */
    bool user_only;  /* the kernel's part may not be counted here */
    char reason[96]; /* why it cannot be counted here; empty: it can */
};

/* One event divided by another: "instructions per cycle". */
struct counter_ratio {
    const char *name;
    size_t numerator, denominator; /* events of the plan */
};

#define COUNTERS_MOST 48

struct counter_plan {
    struct counter_event events[COUNTERS_MOST];
    size_t event_count;
    struct counter_ratio ratios[COUNTERS_MOST];
    size_t ratio_count;
};

/* Tries an event on the machine: 0, or the errno of perf_event_open. */
typedef int counter_try(const struct perf_event_attr *attr, void *context);

/* Makes a plan of names: sets, "default", events of our own table, and all that libpfm4 knows.
 * No names: the default. Where a set has a choice of events, the first that the machine has.
 * ERR_USAGE for a name that nobody knows. */
int counter_plan_make(struct counter_plan *plan, char *const *names, size_t count,
                      enum counter_cpu cpu, counter_try *try, void *context, struct err *error);

/* Tries it for real, on the calling thread; the context is not used. */
counter_try counter_try_here;

/* perf_event_open(2): a descriptor, or -1 with errno. */
int counter_open(const struct perf_event_attr *attr, int tid, int leader);

/* What of an event is left where the kernel's part may not be counted. */
enum counter_user { COUNTER_USER_ALL, COUNTER_USER_PART, COUNTER_USER_NOTHING };
enum counter_user counter_user_part(const struct perf_event_attr *attr);

/* "ns" for clocks, else "1". */
const char *counter_unit(const struct perf_event_attr *attr);

/* Why perf_event_open failed with this errno, in words. Returns `to`. */
const char *counter_reason(int number, const struct perf_event_attr *attr, char *to, size_t size);

/* Sums over the stretches of one event on one thread. */
struct counter_total {
    uint64_t value;
    uint64_t enabled_ns, running_ns; /* wanted; really counted */
    int number;                      /* errno of the first failure */
};

/* Adds what read(2) gave for an event with the times enabled and running: `length` as read. */
void counter_total_add(struct counter_total *total, const void *bytes, long length);

/* True, and the value, where it was counted all the time. A value that was not is never scaled up:
 * *reason says what is wrong. */
bool counter_total_value(const struct counter_total *total, const struct perf_event_attr *attr,
                         uint64_t *value, char *reason, size_t reason_size);

#endif
