/* tls: TCP as a transport; the engine's security layer (engine/secure.h) does the rest. */
#include "net/inet.h"
#include "net/tls.h"
#include "net/tune.h"

static int tls_tune(int fd, const struct net_tuning *tuning, struct err *error)
{
    return net_tune(fd, &transport_tls, tuning, error);
}

static int tls_parse(const char *rest, uint32_t flags, struct address *address, struct err *error)
{
    char reason[80];
    if (tls_why_not(reason, sizeof reason) < 0) {
        return err_set(error, ERR_UNSUPPORTED, address->text, "%s", reason);
    }
    return inet_parse(rest, flags, address, error);
}

const struct transport_ops transport_tls = {
    .scheme = "tls",
    .form = "tls://HOST:PORT",
    .help = "TLS over TCP; tls: is sonde's own server",
    .caps = TRANSPORT_CONNECTS | TRANSPORT_PORTS | TRANSPORT_SECURE,
    .parse = tls_parse,
    .listen = inet_listen,
    .open = inet_open,
    .tune = tls_tune,
};
