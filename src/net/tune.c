#include "net/tune.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>

enum { DSCP_MOST = 63, DSCP_SHIFT = 2 /* above the two bits of ECN */ };

enum { UNSENT_LEAST = 4096 }; /* of a paced connection; the kernel adds a packet to that */

/* Software stamps of both directions. OPT_TSONLY: a sent packet's stamp comes back without its
 * data, so that waiting stamps hardly fill the receive buffer. */
enum {
    STAMPS = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE |
             SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY,
};

/* A socket while it is tuned: what errors name, and where calls are counted. */
struct tuned {
    int fd;
    const char *subject;
    struct net_calls *calls;
};

int net_buffer_sizes(int fd, uint64_t *send_bytes, uint64_t *receive_bytes, struct err *error)
{
    int size[2] = {0, 0};
    const int option[2] = {SO_SNDBUF, SO_RCVBUF};

    for (int i = 0; i < 2; i++) {
        socklen_t length = sizeof size[i];
        if (!getsockopt(fd, SOL_SOCKET, option[i], &size[i], &length)) {
            continue;
        }
        if (errno != ENOTSOCK || (size[i] = fcntl(fd, F_GETPIPE_SZ)) < 0) {
            return err_system(error, errno, "buffer sizes", "cannot be read");
        }
    }
    if (send_bytes) {
        *send_bytes = (uint64_t)size[0];
    }
    if (receive_bytes) {
        *receive_bytes = (uint64_t)size[1];
    }
    return 0;
}

int net_tune_check(const struct transport_ops *transport, const struct net_tuning *tuning,
                   struct err *error)
{
    const bool tcp = transport == &transport_tcp || transport == &transport_tls;
    const bool udp = transport == &transport_udp, secure = transport->caps & TRANSPORT_SECURE;
    const struct {
        bool asked, has;
        const char *what;
    } settings[] = {
        {tuning->congestion, tcp, "only tcp has a congestion control"},
        {tuning->mss, tcp, "only tcp has a maximum segment size"},
        {tuning->dscp_plus_1, tcp || udp, "only tcp and udp carry a DSCP"},
        {tuning->pacing_bytes_per_second, tcp || udp, "only tcp and udp are paced by the kernel"},
        {tuning->busy_poll_us, tcp || udp, "only tcp and udp can poll their device"},
        {tuning->segments, udp, "only udp has its messages joined and cut by the kernel"},
        {tuning->stamps, (tcp && !secure) || udp, "only tcp and udp have the kernel's time stamps"},
        {tuning->zerocopy, (tcp && !secure) || udp, "only tcp and udp can send without a copy"},
        {tuning->source, tcp || udp, "only tcp and udp have a source address"},
    };

    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (settings[i].asked && !settings[i].has) {
            return err_set(error, ERR_USAGE, transport->scheme, "%s", settings[i].what);
        }
    }
    if (tuning->dscp_plus_1 < 0 || tuning->dscp_plus_1 > DSCP_MOST + 1) {
        return err_set(error, ERR_USAGE, transport->scheme, "DSCP %d is no number from 0 to %d",
                       tuning->dscp_plus_1 - 1, DSCP_MOST);
    }
    return 0;
}

static int set_option(const struct tuned *tuned, int level, int option, const void *value,
                      size_t size)
{
    net_called(tuned->calls, NET_SETSOCKOPT);
    return setsockopt(tuned->fd, level, option, value, (socklen_t)size);
}

static int set_congestion(const struct tuned *tuned, const char *name, struct err *error)
{
    char available[160] = "";

    if (!set_option(tuned, IPPROTO_TCP, TCP_CONGESTION, name, strlen(name))) {
        return 0;
    }
    int number = errno;
    FILE *file = fopen("/proc/sys/net/ipv4/tcp_available_congestion_control", "re");
    if (file) {
        if (!fgets(available, sizeof available, file)) {
            available[0] = '\0';
        }
        available[strcspn(available, "\n")] = '\0';
        fclose(file);
    }
    err_system(error, number, "tcp", "cannot use congestion control \"%s\"", name);
    if (number == EPERM) {
        return err_hint(error, "add it to net.ipv4.tcp_allowed_congestion_control, or run as root");
    }
    return err_hint(error, "this kernel has loaded: %s", available[0] ? available : "none");
}

static int tune_buffers(const struct tuned *tuned, const struct net_tuning *tuning,
                        struct err *error)
{
    const uint64_t wanted[2] = {tuning->send_buffer, tuning->receive_buffer};
    const int option[2] = {SO_SNDBUF, SO_RCVBUF};

    for (int i = 0; i < 2; i++) {
        int size = wanted[i] > INT_MAX ? INT_MAX : (int)wanted[i];
        if (wanted[i] && set_option(tuned, SOL_SOCKET, option[i], &size, sizeof size)) {
            return err_system(error, errno, tuned->subject,
                              "cannot set the %s buffer to %llu bytes", i ? "receive" : "send",
                              (unsigned long long)wanted[i]);
        }
    }
    return 0;
}

static int set_number(const struct tuned *tuned, int level, int option, int value, const char *name,
                      struct err *error)
{
    if (set_option(tuned, level, option, &value, sizeof value)) {
        return err_system(error, errno, tuned->subject, "cannot set %s to %d", name, value);
    }
    return 0;
}

static int set_mss(const struct tuned *tuned, uint32_t mss, struct err *error)
{
    int value = mss > INT_MAX ? INT_MAX : (int)mss;
    if (set_number(tuned, IPPROTO_TCP, TCP_MAXSEG, value, "the maximum segment size", error)) {
        return error->number == EINVAL ? err_hint(error, "the kernel takes 88 to 32767 bytes") : -1;
    }
    return 0;
}

/* On an IPv6 socket both: it may come to speak to a mapped IPv4 address. */
static int set_dscp(const struct tuned *tuned, int dscp, struct err *error)
{
    int family = AF_INET, value = dscp << DSCP_SHIFT;
    socklen_t length = sizeof family;

    net_called(tuned->calls, NET_GETSOCKOPT);
    if (getsockopt(tuned->fd, SOL_SOCKET, SO_DOMAIN, &family, &length)) {
        return err_system(error, errno, tuned->subject, "cannot set the DSCP");
    }
    if (family == AF_INET6 &&
        set_number(tuned, IPPROTO_IPV6, IPV6_TCLASS, value, "IPV6_TCLASS", error)) {
        return -1;
    }
    return set_number(tuned, IPPROTO_IP, IP_TOS, value, "IP_TOS", error);
}

/* What TCP takes and cannot send yet at that pace is bounded by a fiftieth of a second of it: a
 * whole send buffer would be sent long after it was counted. */
static int set_pacing(const struct tuned *tuned, bool tcp, uint64_t bytes_per_second,
                      struct err *error)
{
    uint64_t unsent = bytes_per_second / 50;
    unsent = unsent < UNSENT_LEAST ? UNSENT_LEAST : unsent;
    if (set_option(tuned, SOL_SOCKET, SO_MAX_PACING_RATE, &bytes_per_second,
                   sizeof bytes_per_second)) {
        return err_system(error, errno, tuned->subject, "cannot pace at %" PRIu64 " bytes/s",
                          bytes_per_second);
    }
    return tcp ? set_number(tuned, IPPROTO_TCP, TCP_NOTSENT_LOWAT,
                            unsent > INT_MAX ? INT_MAX : (int)unsent, "TCP_NOTSENT_LOWAT", error)
               : 0;
}

static int set_busy_poll(const struct tuned *tuned, uint32_t wait_us, struct err *error)
{
    int value = wait_us > INT_MAX ? INT_MAX : (int)wait_us;
    if (set_number(tuned, SOL_SOCKET, SO_BUSY_POLL, value, "SO_BUSY_POLL", error)) {
        return error->number == EPERM ? err_hint(error, "this kernel asks for CAP_NET_ADMIN") : -1;
    }
    return 0;
}

/* What the socket does with the messages themselves. */
static int tune_messages(const struct tuned *tuned, const struct net_tuning *tuning,
                         struct err *error)
{
    if (tuning->segments && set_number(tuned, IPPROTO_UDP, UDP_GRO, 1, "UDP_GRO", error)) {
        return -1;
    }
    if (tuning->stamps &&
        set_number(tuned, SOL_SOCKET, SO_TIMESTAMPING, STAMPS, "SO_TIMESTAMPING", error)) {
        return -1;
    }
    return tuning->zerocopy ? set_number(tuned, SOL_SOCKET, SO_ZEROCOPY, 1, "SO_ZEROCOPY", error)
                            : 0;
}

int net_tune(int fd, const struct transport_ops *transport, const struct net_tuning *tuning,
             struct err *error)
{
    const struct tuned tuned = {.fd = fd, .subject = transport->scheme, .calls = tuning->calls};

    if (net_tune_check(transport, tuning, error) ||
        (tuning->nodelay && transport->caps & TRANSPORT_PORTS &&
         !(transport->caps & TRANSPORT_DATAGRAMS) &&
         set_number(&tuned, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY", error)) ||
        (tuning->congestion && set_congestion(&tuned, tuning->congestion, error)) ||
        (tuning->mss && set_mss(&tuned, tuning->mss, error)) ||
        (tuning->dscp_plus_1 && set_dscp(&tuned, tuning->dscp_plus_1 - 1, error)) ||
        (tuning->pacing_bytes_per_second &&
         set_pacing(&tuned, transport == &transport_tcp, tuning->pacing_bytes_per_second, error)) ||
        (tuning->busy_poll_us && set_busy_poll(&tuned, tuning->busy_poll_us, error)) ||
        tune_messages(&tuned, tuning, error)) {
        return -1;
    }
    return tune_buffers(&tuned, tuning, error);
}

/* An option's value, 0 where the socket has no such option. */
static int number_of(int fd, int level, int option)
{
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(fd, level, option, &value, &length) ? 0 : value;
}

int net_tuning_read(int fd, struct net_tuning *tuning, struct err *error)
{
    uint64_t pacing = UINT64_MAX;
    socklen_t length = sizeof pacing;

    *tuning = (struct net_tuning){0};
    if (net_buffer_sizes(fd, &tuning->send_buffer, &tuning->receive_buffer, error)) {
        return -1;
    }
    const int family = number_of(fd, SOL_SOCKET, SO_DOMAIN);
    const int protocol = number_of(fd, SOL_SOCKET, SO_PROTOCOL);
    if (family != AF_INET && family != AF_INET6) {
        return 0;
    }
    if (protocol == IPPROTO_TCP) {
        tuning->nodelay = number_of(fd, IPPROTO_TCP, TCP_NODELAY);
        tuning->mss = (uint32_t)number_of(fd, IPPROTO_TCP, TCP_MAXSEG);
    }
    if (protocol == IPPROTO_UDP) {
        tuning->segments = number_of(fd, IPPROTO_UDP, UDP_GRO);
    }
    const int class = family == AF_INET6 ? number_of(fd, IPPROTO_IPV6, IPV6_TCLASS)
                                         : number_of(fd, IPPROTO_IP, IP_TOS);
    tuning->dscp_plus_1 = class > 0 ? (class >> DSCP_SHIFT) + 1 : 0;
    /* All ones: not paced. Older kernels know 32 bits alone and write no more. */
    if (!getsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &pacing, &length)) {
        pacing = length < sizeof pacing ? (uint32_t)pacing : pacing;
        bool none = pacing == (length < sizeof pacing ? UINT32_MAX : UINT64_MAX);
        tuning->pacing_bytes_per_second = none ? 0 : pacing;
    }
    tuning->busy_poll_us = (uint32_t)number_of(fd, SOL_SOCKET, SO_BUSY_POLL);
    tuning->stamps = number_of(fd, SOL_SOCKET, SO_TIMESTAMPING) & SOF_TIMESTAMPING_SOFTWARE;
    tuning->zerocopy = number_of(fd, SOL_SOCKET, SO_ZEROCOPY);
    return 0;
}
