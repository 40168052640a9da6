/* What the tests of datagrams share beside engine_world.h: sockets, and what is to be seen of them.
 */
#ifndef SONDE_TESTS_DATAGRAM_WORLD_H
#define SONDE_TESTS_DATAGRAM_WORLD_H

#include "engine_world.h"

#include <sys/un.h>

#define ROOM 2048

static inline const uint64_t *calls_of(const struct world *world, enum engine_call call)
{
    return &world->calls.of[call].calls;
}

/* A bound UDP socket with room for all that a test sends to it. */
static inline int udp_socket(struct sockaddr_in *address)
{
    socklen_t size = sizeof *address;
    int bytes = 4 * 1024 * 1024;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    *address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &size), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes), 0);
    return fd;
}

/* Two UDP sockets connected to each other: a channel on one, *peer is the other. */
static inline struct end *end_of_udp(struct world *world, int *peer, uint32_t options)
{
    struct sockaddr_in address, peers;
    int fd = udp_socket(&address);
    *peer = udp_socket(&peers);
    assert_int_equal(connect(fd, (struct sockaddr *)&peers, sizeof peers), 0);
    assert_int_equal(connect(*peer, (struct sockaddr *)&address, sizeof address), 0);
    return end_add_with(world, CHANNEL_DATAGRAM, fd, fd, options);
}

static inline struct end *end_of_unix(struct world *world, int *peer, uint32_t options)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
    *peer = fds[1];
    return end_add_with(world, CHANNEL_DATAGRAM, fds[0], fds[0], options);
}

static inline void expect_letter(const struct end *end, size_t number, const void *data,
                                 size_t length)
{
    const struct letter *letter = &end->letters[number];
    assert_true(number < end->letter_count);
    assert_int_equal(letter->result, length);
    assert_int_equal(letter->length, length);
    assert_int_equal(letter->segment, 0);
    assert_memory_equal(end->received + letter->at, data, length);
}

static inline void expect_message(int fd, const void *data, size_t length)
{
    uint8_t got[ROOM];
    assert_int_equal(recv(fd, got, sizeof got, MSG_TRUNC), length);
    assert_memory_equal(got, data, length);
}

#endif
