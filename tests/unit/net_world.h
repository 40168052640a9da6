/* Sockets for the tests of transports: parsed, listening, opened, or the test fails with the error.
 * A test includes cmocka.h first. */
#ifndef SONDE_TESTS_NET_WORLD_H
#define SONDE_TESTS_NET_WORLD_H

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include "net/net.h"

static inline void assert_flags(int fd)
{
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

/* Parses, or fails the test with the error. */
static inline struct address parsed(const char *url, bool to_listen)
{
    struct address address;
    struct err error = {0};
    if (address_parse(url, to_listen, &address, &error)) {
        fail_msg("%s: %s: %s", url, error.subject, error.what);
    }
    assert_non_null(address.transport);
    return address;
}

static inline int listening(struct address *address, bool reuse_port)
{
    struct err error = {0};
    int fd = address->transport->listen(address, 16, reuse_port, &error);
    if (fd < 0) {
        fail_msg("%s: %s", error.subject, error.what);
    }
    assert_flags(fd);
    return fd;
}

static inline int opened(const struct address *address, const struct net_tuning *tuning)
{
    struct err error = {0};
    int fd = address->transport->open(address, tuning, &error);
    if (fd < 0) {
        fail_msg("%s: %s", error.subject, error.what);
    }
    assert_flags(fd);
    return fd;
}

static inline void assert_ready(int fd, short events)
{
    struct pollfd wait = {.fd = fd, .events = events};
    assert_int_equal(poll(&wait, 1, 5000), 1);
}

static inline bool have_ipv6(void)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool result = fd >= 0 && !bind(fd, (struct sockaddr *)&six, sizeof six);
    if (fd >= 0) {
        close(fd);
    }
    return result;
}

#endif
