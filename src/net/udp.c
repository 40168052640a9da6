#include "net/inet.h"
#include "net/tune.h"

static int udp_tune(int fd, const struct net_tuning *tuning, struct err *error)
{
    return net_tune(fd, &transport_udp, tuning, error);
}

const struct transport_ops transport_udp = {
    .scheme = "udp",
    .form = "udp://HOST:PORT",
    .help = "UDP over IPv4, or over IPv6 as udp://[ADDRESS]:PORT; udp: is sonde's own server",
    .caps = TRANSPORT_CONNECTS | TRANSPORT_PORTS | TRANSPORT_DATAGRAMS,
    .parse = inet_parse,
    .listen = inet_listen,
    .open = inet_open,
    .tune = udp_tune,
};
