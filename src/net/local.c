#include "net/tune.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int local_parse(const char *rest, uint32_t flags, struct address *address, struct err *error)
{
    if (rest[0]) {
        return err_set(error, ERR_USAGE, address->text, "nothing follows \"local:\"");
    }
    if (flags & ADDRESS_TO_LISTEN) {
        err_set(error, ERR_USAGE, address->text, "no other process could connect to it");
        return err_hint(error, "listen on tcp:// or unix:");
    }
    snprintf(address->text, sizeof address->text, "local:");
    return 0;
}

static int local_tune(int fd, const struct net_tuning *tuning, struct err *error)
{
    return net_tune(fd, &transport_local, tuning, error);
}

static int local_pair(struct net_end *client, struct net_end *server, struct err *error)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends)) {
        return err_system(error, errno, "local:", "cannot make a pair of sockets");
    }
    *client = (struct net_end){.read_fd = ends[0], .write_fd = ends[0]};
    *server = (struct net_end){.read_fd = ends[1], .write_fd = ends[1]};
    return 0;
}

const struct transport_ops transport_local = {
    .scheme = "local",
    .form = "local:",
    .help = "a pair of unix stream sockets, to a server that sonde starts",
    .caps = TRANSPORT_PAIRS,
    .parse = local_parse,
    .tune = local_tune,
    .pair = local_pair,
};
