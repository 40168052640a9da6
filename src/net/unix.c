#include "net/tune.h"
#include "net/unix_socket.h"

static int unix_tune(int fd, const struct net_tuning *tuning, struct err *error)
{
    return net_tune(fd, &transport_unix, tuning, error);
}

const struct transport_ops transport_unix = {
    .scheme = "unix",
    .form = "unix:PATH",
    .help = "a unix stream socket; unix:@NAME is abstract, without a file; unix: is sonde's own "
            "server",
    .caps = TRANSPORT_CONNECTS,
    .parse = unix_parse,
    .listen = unix_listen,
    .open = unix_open,
    .tune = unix_tune,
};
