#include "net/inet.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"

enum {
    HOST_MAX = sizeof((struct address *)0)->host - 1
}; /* longest name that DNS can carry, RFC 1035 2.3.4 */

static bool is_stream(const struct address *address)
{
    return !(address->transport->caps & TRANSPORT_DATAGRAMS);
}

static int new_socket(const struct address *address)
{
    return socket(address->socket_address.ss_family,
                  (is_stream(address) ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC,
                  0);
}

static uint16_t get_port(const struct sockaddr_storage *storage)
{
    return ntohs(storage->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)storage)->sin6_port
                                                : ((const struct sockaddr_in *)storage)->sin_port);
}

static void set_port(struct sockaddr_storage *storage, uint16_t port)
{
    if (storage->ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)storage)->sin6_port = htons(port);
    } else {
        ((struct sockaddr_in *)storage)->sin_port = htons(port);
    }
}

static void write_text(struct address *address)
{
    const struct sockaddr_storage *storage = &address->socket_address;
    char host[INET6_ADDRSTRLEN] = "?";

    if (storage->ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)storage)->sin6_addr, host, sizeof host);
        snprintf(address->text, sizeof address->text, "%s://[%s]:%u", address->transport->scheme,
                 host, get_port(storage));
    } else {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)storage)->sin_addr, host, sizeof host);
        snprintf(address->text, sizeof address->text, "%s://%s:%u", address->transport->scheme,
                 host, get_port(storage));
    }
}

static int parse_port(const char *text, bool to_listen, uint16_t *port,
                      const struct address *address, struct err *error)
{
    const char *subject = address->text;
    uint32_t value = 0;

    if (!text[0]) {
        err_set(error, ERR_USAGE, subject, "no port");
        return err_hint(error, "write %s", address->transport->form);
    }
    for (const char *at = text; *at; at++) {
        if (!isdigit((unsigned char)*at)) {
            return err_set(error, ERR_USAGE, subject, "port \"%s\" is no number from %d to 65535",
                           text, to_listen ? 0 : 1);
        }
        value = value * 10 + (uint32_t)(*at - '0');
        if (value > UINT16_MAX) {
            return err_set(error, ERR_USAGE, subject, "port \"%s\" is above 65535", text);
        }
    }
    if (value == 0 && !to_listen) {
        err_set(error, ERR_USAGE, subject, "nothing can connect to port 0");
        return err_hint(error, "port 0 is for listening: it takes any free one");
    }
    *port = (uint16_t)value;
    return 0;
}

/* Splits "HOST:PORT" or "[HOST]:PORT" into the host (HOST_MAX + 1 bytes) and the port's text. */
static int split(const char *authority, char *host, const char **port, bool *bracketed,
                 const struct address *address, struct err *error)
{
    const char *subject = address->text, *scheme = address->transport->scheme;
    const char *start = authority, *end;

    *bracketed = authority[0] == '[';
    if (*bracketed) {
        start++;
        end = strchr(start, ']');
        if (!end) {
            return err_set(error, ERR_USAGE, subject, "\"[\" without \"]\"");
        }
        *port = end + 1;
    } else {
        end = strchr(start, ':');
        if (end && strchr(end + 1, ':')) {
            err_set(error, ERR_USAGE, subject, "an IPv6 address stands in brackets");
            return err_hint(error, "write %s://[ADDRESS]:PORT, for instance %s://[::1]:1234",
                            scheme, scheme);
        }
        end = end ? end : start + strlen(start);
        *port = end;
    }
    if (**port != ':') {
        err_set(error, ERR_USAGE, subject, "no port");
        return err_hint(error, "write %s", address->transport->form);
    }
    ++*port;
    size_t length = (size_t)(end - start);
    if (length > HOST_MAX) {
        return err_set(error, ERR_USAGE, subject, "a host name has at most %d characters",
                       HOST_MAX);
    }
    memcpy(host, start, length);
    host[length] = '\0';
    return 0;
}

static int parse_bracketed(const char *host, struct address *address, struct err *error)
{
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&address->socket_address;

    if (strchr(host, '%')) {
        err_set(error, ERR_USAGE, address->text, "zone identifiers (%%eth0) are not supported");
        return err_hint(error, "use an address of global or loopback scope");
    }
    if (inet_pton(AF_INET6, host, &six->sin6_addr) != 1) {
        return err_set(error, ERR_USAGE, address->text, "\"%s\" is not an IPv6 address", host);
    }
    six->sin6_family = AF_INET6;
    return 0;
}

static int look_up(const char *host, struct address *address, struct err *error)
{
    const struct addrinfo wanted = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;

    uint64_t start_ns = clock_now_ns();
    int code = getaddrinfo(host, NULL, &wanted, &found);
    address->resolve_ns = clock_now_ns() - start_ns;
    if (code) {
        int number = code == EAI_SYSTEM ? errno : 0;
        err_set(error, ERR_SYSTEM, address->text, "cannot resolve \"%s\": %s", host,
                number ? strerror(number) : gai_strerror(code));
        error->number = number;
        return err_hint(error, "check the name, or write a numeric address");
    }
    int result = -1;
    for (struct addrinfo *item = found; item && result; item = item->ai_next) {
        if ((item->ai_family == AF_INET || item->ai_family == AF_INET6) &&
            item->ai_addrlen <= sizeof address->socket_address) {
            memcpy(&address->socket_address, item->ai_addr, item->ai_addrlen);
            result = 0;
        }
    }
    freeaddrinfo(found);
    if (result) {
        err_set(error, ERR_SYSTEM, address->text, "\"%s\" has no IPv4 or IPv6 address", host);
    }
    return result;
}

/* A host without brackets: a numeric IPv4 address or a name. "localhost" is 127.0.0.1, where sonde
 * listens by default, whatever order the resolver prefers; another name is its first address. */
static int parse_host(const char *host, uint32_t flags, struct address *address, struct err *error)
{
    struct sockaddr_in *four = (struct sockaddr_in *)&address->socket_address;
    const char *numeric = !host[0] || !strcasecmp(host, "localhost") ? "127.0.0.1" : host;

    if (inet_pton(AF_INET, numeric, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        return 0;
    }
    for (const char *at = host; *at; at++) {
        if (!isalnum((unsigned char)*at) && !strchr("-._", *at)) {
            return err_set(error, ERR_USAGE, address->text, "\"%s\" is not a host", host);
        }
    }
    if (host[strspn(host, "0123456789.")] == '\0') {
        return err_set(error, ERR_USAGE, address->text, "\"%s\" is not an IPv4 address", host);
    }
    if (flags & ADDRESS_NUMERIC) {
        return err_set(error, ERR_USAGE, address->text, "\"%s\" is not a numeric address", host);
    }
    return look_up(host, address, error);
}

/* Sonde's own server, at a port that its listening takes. */
static int parse_own(struct address *address)
{
    struct sockaddr_in *four = (struct sockaddr_in *)&address->socket_address;

    address->own = true;
    four->sin_family = AF_INET;
    four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address->length = sizeof *four;
    snprintf(address->host, sizeof address->host, "127.0.0.1");
    snprintf(address->text, sizeof address->text, "%s:", address->transport->scheme);
    return 0;
}

int inet_parse(const char *rest, uint32_t flags, struct address *address, struct err *error)
{
    char host[HOST_MAX + 1];
    const char *port_text = "";
    uint16_t port = 0;
    bool bracketed = false;

    if (!rest[0] && !(flags & ADDRESS_TO_LISTEN)) {
        return parse_own(address);
    }
    if (strncmp(rest, "//", 2)) {
        err_set(error, ERR_USAGE, address->text, "\"//\" is missing after \"%s:\"",
                address->transport->scheme);
        return err_hint(error, "write %s", address->transport->form);
    }
    if (split(rest + 2, host, &port_text, &bracketed, address, error) ||
        parse_port(port_text, flags & ADDRESS_TO_LISTEN, &port, address, error)) {
        return -1;
    }
    if (bracketed ? parse_bracketed(host, address, error)
                  : parse_host(host, flags, address, error)) {
        return -1;
    }
    set_port(&address->socket_address, port);
    address->length = address_source_length(&address->socket_address);
    snprintf(address->host, sizeof address->host, "%s", host[0] ? host : "127.0.0.1");
    write_text(address);
    return 0;
}

/* A port that is free at this address now, 0 where none can be had. */
static uint16_t free_port(const struct address *address)
{
    struct sockaddr_storage storage = address->socket_address;
    socklen_t length = sizeof storage;
    uint16_t port = 0;

    set_port(&storage, 0);
    int fd = new_socket(address);
    if (fd < 0) {
        return 0;
    }
    if (!bind(fd, (struct sockaddr *)&storage, address->length) &&
        !getsockname(fd, (struct sockaddr *)&storage, &length)) {
        port = get_port(&storage);
    }
    close(fd);
    return port;
}

/* Ports below this one need privilege: net.ipv4.ip_unprivileged_port_start. */
static unsigned unprivileged_port(void)
{
    unsigned port = 1024;
    FILE *file = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "re");
    if (file) {
        if (fscanf(file, "%u", &port) != 1) {
            port = 1024;
        }
        fclose(file);
    }
    return port;
}

static int listen_failed(int number, const struct address *address, struct err *error)
{
    unsigned port = get_port(&address->socket_address);

    if (number == EADDRINUSE) {
        unsigned other = free_port(address);
        err_set(error, ERR_SYSTEM, address->text, "cannot listen: port %u is in use", port);
        error->number = number;
        if (other) {
            return err_hint(error, "stop what listens there, or take another port: %u is free",
                            other);
        }
        return err_hint(error, "stop what listens there, or take another port");
    }
    err_system(error, number, address->text, "cannot listen");
    if (number == EACCES) {
        return err_hint(error,
                        "ports below %u need root or CAP_NET_BIND_SERVICE: take a higher one",
                        unprivileged_port());
    }
    if (number == EADDRNOTAVAIL) {
        return err_hint(error, "this machine does not have that address: see \"ip address\"");
    }
    if (number == EAFNOSUPPORT) {
        return err_hint(error, "this kernel runs without IPv6: use an IPv4 address");
    }
    return -1;
}

/* Binds and, for a stream, listens. SO_REUSEADDR is not for datagrams: there it would let a second
 * server take the port of the first. A free port that is to be shared by datagram sockets is bound
 * before it is made sharable: the kernel would else hand out one that others share already. */
static int bind_listener(int fd, const struct address *address, int backlog, bool reuse_port)
{
    const int on = 1;
    const bool stream = is_stream(address);
    const bool share_later = !stream && get_port(&address->socket_address) == 0;

    if ((stream && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on)) ||
        (reuse_port && !share_later && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on)) ||
        bind(fd, (const struct sockaddr *)&address->socket_address, address->length) ||
        (reuse_port && share_later && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on))) {
        return -1;
    }
    return stream ? listen(fd, backlog) : 0;
}

int inet_listen(struct address *address, int backlog, bool reuse_port, struct err *error)
{
    socklen_t length = sizeof address->socket_address;
    int fd = new_socket(address);

    if (fd < 0) {
        return listen_failed(errno, address, error);
    }
    if (bind_listener(fd, address, backlog, reuse_port) ||
        getsockname(fd, (struct sockaddr *)&address->socket_address, &length)) {
        int number = errno;
        close(fd);
        return listen_failed(number, address, error);
    }
    write_text(address);
    return fd;
}

/* Binds to the source address alone: with IP_BIND_ADDRESS_NO_PORT the kernel takes the port at
 * connect, when it knows the destination, so that each destination has the whole range. */
static int bind_source(int fd, const struct address *address, const struct net_tuning *tuning,
                       struct err *error)
{
    const int on = 1;
    char source[INET6_ADDRSTRLEN] = "?";
    const struct sockaddr_storage *storage = tuning->source;
    const void *host = storage->ss_family == AF_INET6
                           ? (const void *)&((const struct sockaddr_in6 *)storage)->sin6_addr
                           : (const void *)&((const struct sockaddr_in *)storage)->sin_addr;

    inet_ntop(storage->ss_family, host, source, sizeof source);
    if (storage->ss_family != address->socket_address.ss_family) {
        return err_set(error, ERR_USAGE, address->text,
                       "source address %s is of the other IP version", source);
    }
    net_called(tuning->calls, NET_SETSOCKOPT);
    int failed = setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (!failed) {
        net_called(tuning->calls, NET_BIND);
        failed = bind(fd, (const struct sockaddr *)storage, tuning->source_length);
    }
    if (failed) {
        int number = errno;
        err_system(error, number, address->text, "cannot use source address %s", source);
        if (number == EADDRNOTAVAIL) {
            err_hint(error, "this machine does not have it: see \"ip address\"");
        }
        return -1;
    }
    return 0;
}

int inet_open(const struct address *address, const struct net_tuning *tuning, struct err *error)
{
    net_called(tuning->calls, NET_SOCKET);
    int fd = new_socket(address);

    if (fd < 0) {
        return err_system(error, errno, address->text, "cannot open a socket");
    }
    if (address->transport->tune(fd, tuning, error) ||
        (tuning->source && bind_source(fd, address, tuning, error))) {
        close(fd);
        return -1;
    }
    return fd;
}
