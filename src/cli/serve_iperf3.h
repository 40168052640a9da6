/* The part of `sonde serve` that serves iperf3's clients: a thread for each address. */
#ifndef SONDE_CLI_SERVE_IPERF3_H
#define SONDE_CLI_SERVE_IPERF3_H

#include <stdatomic.h>
#include <stdbool.h>

#include "net/net.h"
#include "report/record.h"

/* Files that the tests and clients of one address may take. */
enum { SERVE_IPERF3_FILES = 1024 + 256 + 64 };

/* "HOST", "HOST:PORT", ":PORT" or "": without a host the loopback, without a port iperf3's. */
int serve_iperf3_parse(const char *rest, struct address *address, struct err *error);

struct serve_iperf3;

/* Listens on all of them (a port of 0 becomes the real one) and serves, a line on standard error
 * for each test that ends (`quiet`: that does not come to its end). *failed becomes true where an
 * address cannot go on. */
int serve_iperf3_open(struct serve_iperf3 **serving, struct address *addresses, uint32_t count,
                      bool quiet, _Atomic bool *failed, struct err *error);

/* Ends the tests and the threads: from here on the sums stand still. NULL is allowed. */
void serve_iperf3_stop(struct serve_iperf3 *serving);
/* Adds what the tests were in all to a run. 0 or -1 without memory. */
int serve_iperf3_fill(const struct serve_iperf3 *serving, struct record_run *run);

/* Ends the tests and the threads and releases it (NULL is allowed); -1 with *error where one had
 * failed. */
int serve_iperf3_close(struct serve_iperf3 *serving, struct err *error);

#endif
