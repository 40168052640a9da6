#include "net/unix_socket.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* sun_path ends in a NUL for a path and begins with one for an abstract name: 107 bytes of each. */
enum { NAME_MAX_BYTES = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 };

static int socket_type(const struct address *address)
{
    return address->transport->caps & TRANSPORT_DATAGRAMS ? SOCK_DGRAM : SOCK_STREAM;
}

static int new_socket(const struct address *address)
{
    return socket(AF_UNIX, socket_type(address) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* An address without a name, to which the kernel gives an abstract one when it is bound: autobind,
 * unix(7). */
static const struct sockaddr_un NAMELESS = {.sun_family = AF_UNIX};
enum { NAMELESS_BYTES = sizeof(sa_family_t) };

static void write_text(struct address *address, bool abstract, const char *name)
{
    snprintf(address->text, sizeof address->text, "%s:%s%s", address->transport->scheme,
             abstract ? "@" : "", name);
}

int unix_parse(const char *rest, uint32_t flags, struct address *address, struct err *error)
{
    struct sockaddr_un *local = (struct sockaddr_un *)&address->socket_address;
    const char *scheme = address->transport->scheme;

    if (!rest[0] && !(flags & ADDRESS_TO_LISTEN)) { /* sonde's own server */
        address->own = true;
        *local = NAMELESS;
        address->length = NAMELESS_BYTES;
        write_text(address, false, "");
        return 0;
    }
    if (!strncmp(rest, "//", 2)) {
        if (rest[2] != '/') {
            err_set(error, ERR_USAGE, address->text, "a unix socket has no host");
            return err_hint(error, "did you mean %s:%s?", scheme, rest + 1);
        }
        /* unix:///run/x is the same as unix:/run/x */
        rest += strspn(rest, "/") - 1;
    }
    bool abstract = rest[0] == '@';
    const char *name = rest + abstract;
    size_t length = strlen(name);
    if (length == 0) {
        err_set(error, ERR_USAGE, address->text, "no %s", abstract ? "name" : "path");
        return err_hint(error, "write %s:PATH or %s:@NAME", scheme, scheme);
    }
    if (length > NAME_MAX_BYTES) {
        return err_set(error, ERR_USAGE, address->text, "the %s has %zu bytes, at most %d fit",
                       abstract ? "name" : "path", length, NAME_MAX_BYTES);
    }
    local->sun_family = AF_UNIX;
    memcpy(local->sun_path + abstract, name, length);
    address->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    write_text(address, abstract, name);
    return 0;
}

static int in_use(const struct address *address, struct err *error)
{
    err_set(error, ERR_SYSTEM, address->text, "cannot listen: another process listens there");
    error->number = EADDRINUSE;
    return err_hint(error, "stop it, or take another path");
}

/* Removes the file of a socket on which nobody listens any more; refuses anything else. A connect
 * tells the two apart. */
static int remove_stale(const struct address *address, struct err *error)
{
    const char *path = ((const struct sockaddr_un *)&address->socket_address)->sun_path;
    struct stat before, after;

    if (lstat(path, &before)) {
        return errno == ENOENT ? 0 : err_system(error, errno, address->text, "cannot listen");
    }
    if (!S_ISSOCK(before.st_mode)) {
        err_set(error, ERR_SYSTEM, address->text,
                "cannot listen: a file that is no socket is there");
        error->number = EADDRINUSE;
        return err_hint(error, "remove it, or take another path");
    }
    int fd = new_socket(address);
    if (fd < 0) {
        return err_system(error, errno, address->text, "cannot open a socket");
    }
    int number =
        connect(fd, (const struct sockaddr *)&address->socket_address, address->length) ? errno : 0;
    close(fd);
    switch (number) {
    case 0:
    case EAGAIN:     /* its backlog is full */
    case EPROTOTYPE: /* a socket of another type, which is somebody's */
    case EPERM:      /* a datagram socket that hears its own peer alone */
        return in_use(address, error);
    case ENOENT:
        return 0;
    case ECONNREFUSED:
        break;
    default:
        return err_system(error, number, address->text, "cannot listen: the file there");
    }
    /* The same file still? Another server may have taken the place since. */
    if (lstat(path, &after)) {
        return errno == ENOENT ? 0 : err_system(error, errno, address->text, "cannot listen");
    }
    if (after.st_ino != before.st_ino || after.st_dev != before.st_dev) {
        return in_use(address, error);
    }
    if (unlink(path) && errno != ENOENT) {
        return err_system(error, errno, address->text, "cannot remove the unused socket there");
    }
    return 0;
}

static int listen_failed(int number, const struct address *address, struct err *error)
{
    if (number == EADDRINUSE) {
        return in_use(address, error);
    }
    err_system(error, number, address->text, "cannot listen");
    if (number == ENOENT || number == ENOTDIR) {
        return err_hint(error, "its folder does not exist");
    }
    if (number == EACCES || number == EPERM || number == EROFS) {
        return err_hint(error, "take a path in a folder that you may write to");
    }
    return -1;
}

/* The abstract name that the kernel has given. 0, or -1 with errno. */
static int take_name(int fd, struct address *address)
{
    const struct sockaddr_un *local = (const struct sockaddr_un *)&address->socket_address;
    char name[NAME_MAX_BYTES + 1] = "";
    socklen_t length = sizeof address->socket_address;

    if (getsockname(fd, (struct sockaddr *)&address->socket_address, &length)) {
        return -1;
    }
    address->length = length;
    memcpy(name, local->sun_path + 1, length - offsetof(struct sockaddr_un, sun_path) - 1);
    write_text(address, true, name);
    return 0;
}

int unix_listen(struct address *address, int backlog, bool reuse_port, struct err *error)
{
    const struct sockaddr_un *local = (const struct sockaddr_un *)&address->socket_address;

    if (reuse_port) {
        err_set(error, ERR_UNSUPPORTED, address->text,
                "a unix socket has one listener, no SO_REUSEPORT");
        return err_hint(error, "share it between the threads");
    }
    int fd = new_socket(address);
    if (fd < 0) {
        return listen_failed(errno, address, error);
    }
    int result = bind(fd, (const struct sockaddr *)local, address->length);
    if (result && errno == EADDRINUSE && local->sun_path[0]) {
        if (remove_stale(address, error)) {
            close(fd);
            return -1;
        }
        result = bind(fd, (const struct sockaddr *)local, address->length);
    }
    if (result) {
        int number = errno;
        close(fd);
        return listen_failed(number, address, error);
    }
    if ((socket_type(address) == SOCK_STREAM && listen(fd, backlog)) ||
        (address->length == NAMELESS_BYTES && take_name(fd, address))) {
        int number = errno;
        close(fd);
        address_unlink(address);
        return listen_failed(number, address, error);
    }
    return fd;
}

int unix_open(const struct address *address, const struct net_tuning *tuning, struct err *error)
{
    net_called(tuning->calls, NET_SOCKET);
    int fd = new_socket(address);

    if (fd < 0) {
        return err_system(error, errno, address->text, "cannot open a socket");
    }
    /* A datagram can only be answered where its sender has a name. */
    if (socket_type(address) == SOCK_DGRAM) {
        net_called(tuning->calls, NET_BIND);
        if (bind(fd, (const struct sockaddr *)&NAMELESS, NAMELESS_BYTES)) {
            err_system(error, errno, address->text, "cannot take a name to be answered at");
            close(fd);
            return -1;
        }
    }
    if (address->transport->tune(fd, tuning, error)) {
        close(fd);
        return -1;
    }
    return fd;
}
