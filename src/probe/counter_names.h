/* The tables behind counter_events.h. Private to probe/. */
#ifndef SONDE_PROBE_COUNTER_NAMES_H
#define SONDE_PROBE_COUNTER_NAMES_H

#include "probe/counter_events.h"

/* An event that may stand for a counter of a set. */
struct counter_candidate {
    const char *name;     /* of our table, of libpfm4, or of the raw event for people */
    enum counter_cpu cpu; /* only there; COUNTER_CPU_OTHER: anywhere */
    uint64_t raw;         /* PERF_TYPE_RAW's config; 0: by name */
};

#define COUNTER_CANDIDATES 4

struct counter_choice {
    const char *name;
    struct counter_candidate candidates[COUNTER_CANDIDATES]; /* best first */
    const char *nothing; /* why, where this CPU has no candidate at all */
};

struct counter_set_row {
    struct counter_set set;
    struct counter_choice choices[2];
    struct counter_ratio ratios[2]; /* indexes into set.counters */
};

const struct counter_set_row *counter_set_row(const char *name);
extern const char *const counter_default_names[]; /* NULL-terminated */

/* By our own table: 0, or -1 where it is not there. */
int counter_name_find(const char *name, struct perf_event_attr *attr);

/* By libpfm4. ERR_USAGE, with the nearest of our names, where it does not know it. */
int counter_name_pfm(const char *name, struct perf_event_attr *attr, struct err *error);

/* 0, or -1 where the name means nothing on this machine. */
int counter_candidate_attr(const struct counter_candidate *candidate, struct perf_event_attr *attr);

#endif
