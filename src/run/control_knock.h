/* The client's side of codec/knock.h: data connections of a run over datagrams. */
#ifndef SONDE_RUN_CONTROL_KNOCK_H
#define SONDE_RUN_CONTROL_KNOCK_H

#include <stdint.h>

#include "base/err.h"
#include "codec/knock.h"
#include "net/net.h"

/* Knocks with connected, non-blocking sockets, of the numbers from 0, until all are let in; what is
 * lost is said again. -1 with *error (`name`: the server) where that is not so at an instant, or
 * stop_fd becomes readable. */
int control_knock(const struct net_end *ends, uint32_t count, const uint8_t *token,
                  const char *name, uint64_t until_ns, int stop_fd, struct err *error);

#endif
