#include "net/tune.h"
#include "net/unix_socket.h"

static int unix_dgram_tune(int fd, const struct net_tuning *tuning, struct err *error)
{
    return net_tune(fd, &transport_unix_dgram, tuning, error);
}

const struct transport_ops transport_unix_dgram = {
    .scheme = "unix-dgram",
    .form = "unix-dgram:PATH",
    .help = "a unix datagram socket; unix-dgram:@NAME is abstract, without a file; unix-dgram: is "
            "sonde's own server",
    .caps = TRANSPORT_CONNECTS | TRANSPORT_DATAGRAMS,
    .parse = unix_parse,
    .listen = unix_listen,
    .open = unix_open,
    .tune = unix_dgram_tune,
};
