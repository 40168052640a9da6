/* TLS of a run: what both ends share of it, and what its connections have come to. */
#ifndef SONDE_RUN_SECURITY_H
#define SONDE_RUN_SECURITY_H

#include "report/record.h"
#include "run/conductor.h"

/* Makes what the ends of a secure target share: of sonde's own server with a certificate that was
 * made for it, and a client that trusts exactly that one. Does nothing for other targets. 0 or -1
 * with *error. */
int security_open(struct conductor *conductor, struct err *error);
void security_close(struct conductor *conductor); /* safe to call twice */

/* A server's, by its options; its certificate, where it is made, is for these hosts too. */
int security_open_server(struct tls_context **context, const struct tls_options *options,
                         const struct address *addresses, uint32_t count, struct err *error);

/* Sums what slots say into *tls and, unless the role that they served has times of its own
 * (times_security), into histograms of the run for this end. 0 or -1 without memory. */
int security_fill(struct record_run *run, const char *end, bool times,
                  const struct worker_slot *slots, uint32_t count, struct record_tls *tls);

/* The same for both ends of a run. */
int security_fill_run(struct conductor *conductor);

#endif
