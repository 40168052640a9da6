/* sonde:// addresses of `sonde serve`: a line for each session as it ends, and what they were in
 * all. */
#ifndef SONDE_CLI_SERVE_CONTROL_H
#define SONDE_CLI_SERVE_CONTROL_H

#include "base/err.h"
#include "net/net.h"
#include "net/tls.h"
#include "report/record.h"

struct serve_control;

struct serve_control_config {
    const struct tls_secret *secret; /* NULL: none; outlives it */
    /* struct control_server_config's: */
    uint32_t connections_most, files_most;
    _Atomic bool *failed;
    bool quiet; /* no line for a session that was served to its end */
};

/* Listens on the addresses (updated: port 0). */
int serve_control_open(struct serve_control **serving, const struct serve_control_config *config,
                       struct address *addresses, uint32_t count, struct err *error);
/* Ends every session that is going on: from here on the sums stand still. NULL is allowed. */
void serve_control_stop(struct serve_control *serving);
/* Adds the sums to a run. 0 or -1 without memory. */
int serve_control_fill(const struct serve_control *serving, struct record_run *run);
/* 0, or -1 with *error where the server had to give up. NULL is allowed. */
int serve_control_close(struct serve_control *serving, struct err *error);

#endif
