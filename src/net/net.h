/* The transport seam: addresses, listening and opening sockets. No I/O of payload here: that is
 * the engines' (engine/engine.h). */
#ifndef SONDE_NET_NET_H
#define SONDE_NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"

struct transport_ops;

/* A target or a place to listen: tcp://127.0.0.1:1234, tcp://[::1]:1234, tls://localhost:1234,
 * udp://127.0.0.1:1234, unix:/run/x.sock, unix:@abstract, unix-dgram:PATH, local:, pipe:. As a
 * target, a transport's bare "tcp:", "tls:", "udp:", "unix:", "unix-dgram:" is sonde's own server
 * through it. */
struct address {
    const struct transport_ops *transport;
    bool own; /* bare (local: and pipe: always are): sonde makes the server; socket_address is where
                 it is to listen: loopback and a free port, or an abstract name of the kernel's */
    struct sockaddr_storage socket_address; /* not for local: and pipe: */
    socklen_t length;
    char text[160];      /* canonical, for people and the record */
    uint64_t resolve_ns; /* how long the look-up of its name took; 0: it needed none */
    char host[254];      /* as it was typed, without brackets; tcp:, tls: and udp: */
};

/* Calls to the kernel that making a socket ready took. */
enum net_call { NET_SOCKET, NET_BIND, NET_SETSOCKOPT, NET_GETSOCKOPT, NET_CALL_KINDS };

struct net_calls {
    uint32_t made[NET_CALL_KINDS];
    enum net_call last; /* where something failed: this one */
};

/* Counts a call; NULL: nobody wants to know. */
static inline void net_called(struct net_calls *calls, enum net_call call)
{
    if (calls) {
        calls->made[call]++;
        calls->last = call;
    }
}

/* Socket settings of a run. 0 / NULL / false: leave the kernel's default. One that the transport
 * does not have is refused by name (ERR_USAGE), but for nodelay.
 *
 * stamps: every receive brings a SCM_TIMESTAMPING whose ts[0] says when the message entered the
 * stack. When a sent one left it is read from the error queue (recvmsg with MSG_ERRQUEUE): a
 * SCM_TIMESTAMPING with ts[0], beside an IP_RECVERR or IPV6_RECVERR of origin
 * SO_EE_ORIGIN_TIMESTAMPING, and no data (SOF_TIMESTAMPING_OPT_TSONLY). Until that queue has been
 * emptied, the socket is reported with EPOLLERR. The kernel begins to stamp what is received a
 * moment after the first socket has asked for it: until then a receive brings none. */
struct net_tuning {
    bool nodelay;                          /* TCP_NODELAY */
    uint64_t send_buffer, receive_buffer;  /* SO_SNDBUF, SO_RCVBUF bytes */
    const char *congestion;                /* TCP_CONGESTION */
    uint32_t mss;                          /* TCP_MAXSEG bytes */
    int dscp_plus_1;                       /* IP_TOS / IPV6_TCLASS: this less 1, shifted by 2 */
    uint64_t pacing_bytes_per_second;      /* SO_MAX_PACING_RATE; udp: where the device has fq */
    uint32_t busy_poll_us;                 /* SO_BUSY_POLL */
    bool segments;                         /* udp: UDP_GRO (sends set UDP_SEGMENT by themselves) */
    bool stamps;                           /* SO_TIMESTAMPING: software, both directions (below) */
    bool zerocopy;                         /* SO_ZEROCOPY */
    const struct sockaddr_storage *source; /* bind before connect, IP_BIND_ADDRESS_NO_PORT */
    socklen_t source_length;
    struct net_calls *calls; /* where `open` and `tune` count theirs; may be NULL */
};

enum {
    TRANSPORT_CONNECTS = 1, /* client opens a socket and connects (tcp, unix) */
    TRANSPORT_PAIRS = 2,    /* both ends are made together, before the server's process starts */
    TRANSPORT_PORTS = 4,    /* a connection takes a local port */
    TRANSPORT_DATAGRAMS =
        8,                 /* messages, not a stream; `listen` gives a bound socket for all peers */
    TRANSPORT_SECURE = 16, /* a stream that is spoken through TLS */
};

/* The files of one end: two different ones for a pipe, the same twice for a socket. */
struct net_end {
    int read_fd, write_fd;
};

enum {
    ADDRESS_TO_LISTEN = 1, /* a place to listen: port 0 is allowed, local: and pipe: are not */
    ADDRESS_NUMERIC = 2,   /* no name look-ups: a host name is an error */
};

/* Closes both files of an end; a negative one is skipped. */
static inline void net_end_close(struct net_end end)
{
    if (end.read_fd >= 0) {
        close(end.read_fd);
    }
    if (end.write_fd >= 0 && end.write_fd != end.read_fd) {
        close(end.write_fd);
    }
}

/* listen and open are NULL without TRANSPORT_CONNECTS, pair is NULL without TRANSPORT_PAIRS. Only
 * TRANSPORT_PORTS transports take reuse_port. */
struct transport_ops {
    const char *scheme; /* "tcp" */
    const char *form;   /* "tcp://HOST:PORT", for help and errors */
    const char *help;
    uint32_t caps;
    /* `rest` is what follows "scheme:"; flags: ADDRESS_*; address->transport is set;
     * address->text holds the URL as typed (for errors) and becomes the canonical one. Resolves
     * names. */
    int (*parse)(const char *rest, uint32_t flags, struct address *address, struct err *error);
    /* A non-blocking listening socket, close-on-exec; reuse_port: SO_REUSEPORT, for one listener a
     * thread. The fd, or -1 with *error. Updates address (a port of 0 becomes the real one). Of
     * TRANSPORT_DATAGRAMS a bound one for all peers, without a backlog. */
    int (*listen)(struct address *address, int backlog, bool reuse_port, struct err *error);
    /* A non-blocking, tuned, not yet connected socket, which its peer can answer once it is
     * connected (a unix datagram socket is bound to a name). The fd or -1 with *error. */
    int (*open)(const struct address *address, const struct net_tuning *tuning, struct err *error);
    /* Applies the settings to an accepted or paired socket. For a pipe the larger of the two
     * buffers is its capacity. */
    int (*tune)(int fd, const struct net_tuning *tuning, struct err *error);
    /* Both ends at once (TRANSPORT_PAIRS), non-blocking. */
    int (*pair)(struct net_end *client, struct net_end *server, struct err *error);
};

extern const struct transport_ops transport_tcp, transport_tls, transport_udp, transport_unix,
    transport_unix_dgram, transport_local, transport_pipe;

/* All transports, NULL-terminated. */
extern const struct transport_ops *const transports[];

/* Parses a URL; a wrong scheme offers the nearest. Code ERR_USAGE on a malformed one, ERR_SYSTEM
 * where a name does not resolve. */
int address_parse(const char *url, bool to_listen, struct address *address, struct err *error);

/* As address_parse, with ADDRESS_* flags. */
int address_parse_with(const char *url, uint32_t flags, struct address *address, struct err *error);

/* As address_parse_with, where other forms than the transports' are taken too (NULL-terminated:
 * "sonde://HOST:PORT"): an error offers them. */
int address_parse_among(const char *url, uint32_t flags, const char *const *further,
                        struct address *address, struct err *error);

/* Makes an error about an address that was parsed with one scheme speak of the one that the user
 * wrote: "tcp" to "sonde". Returns -1. */
int address_error_of(struct err *error, const char *from, const char *to);

/* Parses a list of source addresses "127.0.0.2,127.0.0.8-127.0.0.11" (IPv4 ranges, IPv6 single),
 * all of one family, none twice, at most 65,536. *sources is malloc'ed and sorted; each one's
 * length is address_source_length. */
int address_parse_sources(const char *text, struct sockaddr_storage **sources, size_t *count,
                          struct err *error);

/* The length of a source address, for net_tuning.source_length. */
socklen_t address_source_length(const struct sockaddr_storage *source);

/* True where the address is on this machine's loopback (or a unix socket, local: or pipe:). */
bool address_is_loopback(const struct address *address);

/* True where it is the wildcard address. */
bool address_is_any(const struct address *address);

/* Removes what listening left behind (the file of a unix socket, only while it is a socket); does
 * nothing for any other address. Only for an address on which listen succeeded: the file of one
 * that was refused belongs to somebody else. */
void address_unlink(const struct address *address);

/* The buffers of a socket as the kernel holds them: for a socket twice what was asked for, or less
 * where net.core.wmem_max or rmem_max cut it (the doubling is the kernel's own bookkeeping, see
 * socket(7)); for a pipe both are its capacity. Either pointer may be NULL. */
int net_buffer_sizes(int fd, uint64_t *send_bytes, uint64_t *receive_bytes, struct err *error);

/* The settings that a socket has, as the kernel holds them: it cuts buffers (net_buffer_sizes) and
 * the segment size to what its limits and, once connected, the peer allow. What the socket has not
 * is 0; congestion and source are left out. -1 with *error where it is no open file. */
int net_tuning_read(int fd, struct net_tuning *tuning, struct err *error);

#endif
