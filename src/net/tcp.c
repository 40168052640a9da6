#include "net/inet.h"
#include "net/tune.h"

static int tcp_tune(int fd, const struct net_tuning *tuning, struct err *error)
{
    return net_tune(fd, &transport_tcp, tuning, error);
}

const struct transport_ops transport_tcp = {
    .scheme = "tcp",
    .form = "tcp://HOST:PORT",
    .help = "TCP over IPv4, or over IPv6 as tcp://[ADDRESS]:PORT; tcp: is sonde's own server",
    .caps = TRANSPORT_CONNECTS | TRANSPORT_PORTS,
    .parse = inet_parse,
    .listen = inet_listen,
    .open = inet_open,
    .tune = tcp_tune,
};
