/* Inside of iperf3_client: waiting for a socket with a deadline, while the user may want to end. */
#ifndef SONDE_RUN_IPERF3_WIRE_H
#define SONDE_RUN_IPERF3_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct iperf3_wire {
    int fd;               /* non-blocking; -1: none */
    int stop_fd;          /* -1: none */
    uint64_t deadline_ns; /* of one wait */
    const char *subject;  /* the peer's address */
};

/* Waits for these poll events of `fd` until the instant: 1 when one is there, 2 when `also` (-1:
 * none) can be read, -1 with *error: ERR_INTERRUPTED, or ERR_SYSTEM with ETIMEDOUT and `what` was
 * waited for. */
int iperf3_wire_wait(const struct iperf3_wire *wire, int fd, short events, int also,
                     uint64_t until_ns, const char *what, struct err *error);

/* Reads exactly so many bytes. */
int iperf3_wire_read(const struct iperf3_wire *wire, void *to, size_t length, const char *what,
                     struct err *error);

/* Writes them all. */
int iperf3_wire_write(const struct iperf3_wire *wire, const void *from, size_t length,
                      const char *what, struct err *error);

#endif
