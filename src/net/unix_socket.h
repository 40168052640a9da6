/* What the transports over unix sockets share: SCHEME:PATH and SCHEME:@NAME, listening and opening.
 * Which of them it is says address->transport. The functions are members of struct transport_ops
 * (net.h). */
#ifndef SONDE_NET_UNIX_SOCKET_H
#define SONDE_NET_UNIX_SOCKET_H

#include "net/net.h"

int unix_parse(const char *rest, uint32_t flags, struct address *address, struct err *error);
int unix_listen(struct address *address, int backlog, bool reuse_port, struct err *error);
int unix_open(const struct address *address, const struct net_tuning *tuning, struct err *error);

#endif
