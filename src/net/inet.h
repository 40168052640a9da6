/* What the transports over IPv4 and IPv6 share: SCHEME://HOST:PORT, listening and opening. Which of
 * them it is says address->transport. The functions are members of struct transport_ops (net.h). */
#ifndef SONDE_NET_INET_H
#define SONDE_NET_INET_H

#include "net/net.h"

int inet_parse(const char *rest, uint32_t flags, struct address *address, struct err *error);
int inet_listen(struct address *address, int backlog, bool reuse_port, struct err *error);
int inet_open(const struct address *address, const struct net_tuning *tuning, struct err *error);

#endif
