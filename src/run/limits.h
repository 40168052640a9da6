/* The plan's checks, before anything starts: what is short is raised where it can be, else the run
 * is refused with the numbers. */
#ifndef SONDE_RUN_LIMITS_H
#define SONDE_RUN_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What a plan needs of the machine. 0: nothing of it. */
struct limits_need {
    uint64_t files;       /* that one process will hold, beside those open now */
    uint64_t connections; /* at once, to one destination */
    uint64_t sources;     /* source addresses that they are spread over; 0: the kernel's choice */
    bool ports;           /* each connection takes a local port (TRANSPORT_PORTS) */
    bool port_taken;      /* the server listens on one of them, which is then no source's */
    uint64_t memory_bytes;
    uint64_t threads; /* and processes, to be started */
    uint64_t backlog; /* of listening sockets */
};

/* What a server keeps for all its clients together at most, where they say how much: blocks,
 * batches, buffers. */
#define LIMITS_SERVED_BYTES ((uint64_t)512 << 20)

enum { LIMITS_WARNINGS_MAX = 8, LIMITS_WARNING_BYTES = 224 };

/* Texts for the record's warnings. */
struct limits_warnings {
    char text[LIMITS_WARNINGS_MAX][LIMITS_WARNING_BYTES];
    size_t count;
};

/* Checks every need, raising soft limits of this process (which its children inherit) to the hard
 * ones where that helps. 0, or -1 with *error of code ERR_LIMIT. *warnings may be NULL. */
int limits_check(const struct limits_need *need, struct limits_warnings *warnings,
                 struct err *error);

/* Files that this process may open beside those open now, once its soft limit has been raised as
 * far as `needed` asks for it and the hard one allows. */
uint64_t limits_files_raise(uint64_t needed);

/* Files that this process may still open under the limit that holds now. */
uint64_t limits_files_left(void);

/* Local ports that a source address has towards one destination: net.ipv4.ip_local_port_range less
 * the reserved ones in it. 0 where that cannot be read. */
uint64_t limits_local_ports(void);

#endif
