/* What each end of a run took: memory over the window, and CPU time, calls to the kernel, switches
 * and waiting for each byte. */
#ifndef SONDE_RUN_FOOTPRINT_H
#define SONDE_RUN_FOOTPRINT_H

#include <stdbool.h>
#include <stdint.h>

#include "stats/metric.h"

struct conductor;

/* Memory of one end's processes together, as it was looked at during the window. */
struct footprint_end {
    uint32_t processes;               /* 0: it is not looked at */
    uint64_t last_ns, last_rss_bytes; /* the latest look */
    uint64_t looked_ns;               /* from the first to the last */
    uint64_t looks, rss_least_bytes;
    double rss_area;                             /* bytes times ns between them */
    uint64_t rss_most_bytes, virtual_most_bytes; /* of the looks */
    /* The kernel's own marks of the one process that it is, when the window began; 0: not known. */
    uint64_t rss_mark_bytes, virtual_mark_bytes;
};

struct footprint {
    uint64_t before_rss_bytes, before_virtual_bytes; /* of this process; 0: not known */
    uint64_t next_ns;                                /* when to look again; 0: not in the window */
    struct footprint_end client, server;
};

enum footprint_metric {
    FOOTPRINT_RUN_TIME,
    FOOTPRINT_DOWNLOAD,
    FOOTPRINT_SAMPLES,
    FOOTPRINT_BEFORE,
    FOOTPRINT_BEFORE_VIRTUAL,
    FOOTPRINT_CLIENT_LEAST,
    FOOTPRINT_CLIENT_AVERAGE,
    FOOTPRINT_CLIENT_PEAK,
    FOOTPRINT_CLIENT_VIRTUAL,
    FOOTPRINT_SERVER_AVERAGE,
    FOOTPRINT_SERVER_PEAK,
    FOOTPRINT_SERVER_VIRTUAL,
    FOOTPRINT_CLIENT_CALLS,
    FOOTPRINT_SERVER_CALLS,
    FOOTPRINT_CLIENT_SWITCHES,
    FOOTPRINT_SERVER_SWITCHES,
    FOOTPRINT_CLIENT_WAITED,
    FOOTPRINT_SERVER_WAITED,
    FOOTPRINT_METRICS
};
extern const struct metric footprint_metrics[FOOTPRINT_METRICS];

/* Before anything of the run is made: what its processes begin with. */
void footprint_before(struct conductor *conductor);

/* The window begins, and ends. */
void footprint_begin(struct conductor *conductor);
void footprint_end(struct conductor *conductor);

/* Looks, where it is time to: to be called now and then. */
void footprint_take(struct conductor *conductor, uint64_t now_ns);

/* To the record, once its processes are there. 0 or -1 without memory. */
int footprint_fill(struct conductor *conductor);

#endif
