/* Socket settings, for all transports in one place. */
#ifndef SONDE_NET_TUNE_H
#define SONDE_NET_TUNE_H

#include "net/net.h"

/* Refuses, by name, what the transport does not have; TCP_NODELAY alone is silently of no use to
 * the others. */
int net_tune_check(const struct transport_ops *transport, const struct net_tuning *tuning,
                   struct err *error);

/* Checks and sets everything but the source address on a socket of the transport: what `tune` of
 * every transport over sockets does. */
int net_tune(int fd, const struct transport_ops *transport, const struct net_tuning *tuning,
             struct err *error);

#endif
