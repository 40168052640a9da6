/* The other end of a secured connection, for tests of engines: TLS over a socket, moved on by hand
 * between two turns of the engine. */
#ifndef SONDE_TESTS_TLS_PEER_H
#define SONDE_TESTS_TLS_PEER_H

#include "engine_world.h"

#include "engine/secure.h"
#include "net/tls.h"

struct tls_peer {
    int fd;
    struct tls *tls;
    size_t piece;                     /* most that is moved at once */
    bool shaken, failed, ended, gone; /* gone: the socket has ended */
    struct err error;
    uint8_t *received;
    size_t length, room;
    bool deaf; /* reads nothing */
};

static inline void peer_open(struct tls_peer *peer, int fd, struct tls_context *context,
                             enum tls_side side)
{
    *peer = (struct tls_peer){.fd = fd, .piece = 65536};
    const struct tls_config config = {.side = side, .peer = "the engine", .context = context};
    assert_int_equal(tls_open(&peer->tls, &config, &peer->error), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

static inline void peer_close(struct tls_peer *peer)
{
    tls_close(peer->tls);
    free(peer->received);
    if (peer->fd >= 0) {
        close(peer->fd);
    }
}

/* Sends what TLS has to say, as far as there is room. */
static inline void peer_flush(struct tls_peer *peer)
{
    uint8_t bytes[65536];
    size_t length;
    while ((length = tls_take(peer->tls, bytes, peer->piece))) {
        for (size_t sent = 0; sent < length;) {
            ssize_t result = send(peer->fd, bytes + sent, length - sent, MSG_NOSIGNAL);
            if (result < 0 && errno != EAGAIN) {
                return;
            }
            if (result < 0) {
                struct pollfd room = {.fd = peer->fd, .events = POLLOUT};
                poll(&room, 1, 1000);
                continue;
            }
            sent += (size_t)result;
        }
        if (peer->piece < sizeof bytes) {
            return; /* the engine has its turn between two pieces */
        }
    }
}

static inline void peer_read_plain(struct tls_peer *peer)
{
    while (!peer->ended && !peer->failed) {
        if (peer->room - peer->length < 65536) {
            peer->room = 2 * peer->room + 65536;
            peer->received = realloc(peer->received, peer->room);
            assert_non_null(peer->received);
        }
        ssize_t got = tls_read(peer->tls, peer->received + peer->length, 65536, &peer->error);
        if (got <= 0) {
            peer->ended = got < 0 && peer->error.code == ERR_NONE;
            peer->failed = got < 0 && !peer->ended;
            return;
        }
        peer->length += (size_t)got;
    }
}

/* One turn: what has come is taken, what is to be said is sent. */
static inline void peer_turn(struct tls_peer *peer)
{
    uint8_t bytes[65536];
    ssize_t got = peer->deaf ? -1 : recv(peer->fd, bytes, peer->piece, 0);
    if (got > 0) {
        assert_int_equal(tls_feed(peer->tls, bytes, (size_t)got, &peer->error), 0);
    } else if (!peer->deaf && (got == 0 || errno != EAGAIN)) {
        peer->gone = true;
    }
    if (!peer->shaken && !peer->failed) {
        int done = tls_handshake(peer->tls, &peer->error);
        peer->shaken = done > 0;
        peer->failed = done < 0;
    }
    if (peer->shaken) {
        peer_read_plain(peer);
    }
    peer_flush(peer);
}

/* Turns of both until the expression holds. */
#define TURN_WHILE_NOT(world, peer, expression)                                                    \
    do {                                                                                           \
        uint64_t turns_until_ns = clock_now_ns() + LIMIT_NS;                                       \
        while (!(expression)) {                                                                    \
            if (clock_now_ns() > turns_until_ns) {                                                 \
                fail_msg("still not: %s", #expression);                                            \
            }                                                                                      \
            peer_turn(peer);                                                                       \
            reap_until(world, clock_now_ns() + NS_PER_MS / 5);                                     \
        }                                                                                          \
    } while (0)

static inline void peer_write(struct tls_peer *peer, const void *bytes, size_t length)
{
    assert_int_equal(tls_write(peer->tls, bytes, length, &peer->error), 0);
}

#endif
