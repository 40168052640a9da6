#include "run/control_door.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "codec/knock.h"

/* Taken in a row before the client's other wishes are looked at. */
#define KNOCKS_IN_A_ROW 1024

/* One connection's place. */
struct caller {
    struct sockaddr_storage from; /* ss_family 0: nobody has called yet */
    uint8_t challenge[KNOCK_TOKEN_BYTES];
};

struct control_door {
    int fd;
    struct address address;       /* where it listens */
    struct sockaddr_storage peer; /* who may come; its port is another one */
    const uint8_t *token;
    struct net_end *ends;
    uint32_t wanted, in;
    struct caller callers[]; /* `wanted` of them */
};

static bool same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family) {
        return false;
    }
    if (a->ss_family == AF_INET6) {
        return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                      &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
    }
    return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
           ((const struct sockaddr_in *)b)->sin_addr.s_addr;
}

static in_port_t *port_at(struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET6 ? &((struct sockaddr_in6 *)address)->sin6_port
                                          : &((struct sockaddr_in *)address)->sin_port;
}

struct control_door *control_door_open(int control_fd, const uint8_t *token, struct net_end *ends,
                                       uint32_t wanted, uint16_t *port, struct err *error)
{
    struct control_door *door = calloc(1, sizeof *door + wanted * sizeof *door->callers);
    socklen_t length = sizeof door->peer;
    if (!door) {
        err_system(error, ENOMEM, "memory", "cannot prepare a run");
        return NULL;
    }
    door->fd = -1;
    door->token = token;
    door->ends = ends;
    door->wanted = wanted;
    door->address = (struct address){.transport = &transport_udp, .text = "udp data port"};
    door->address.length = sizeof door->address.socket_address;
    if (getpeername(control_fd, (struct sockaddr *)&door->peer, &length) < 0 ||
        getsockname(control_fd, (struct sockaddr *)&door->address.socket_address,
                    &door->address.length) < 0) {
        err_system(error, errno, "udp data port", "cannot be opened");
        control_door_close(door);
        return NULL;
    }
    *port_at(&door->address.socket_address) = 0;
    door->fd = transport_udp.listen(&door->address, 0, true, error);
    if (door->fd < 0) {
        control_door_close(door);
        return NULL;
    }
    *port = ntohs(*port_at(&door->address.socket_address));
    return door;
}

int control_door_file(const struct control_door *door)
{
    return door->fd;
}

bool control_door_all_in(const struct control_door *door)
{
    return door->in == door->wanted;
}

/* An answer that is lost is asked for again. */
static void answer(int fd, const struct caller *caller, enum knock_kind kind, uint32_t number,
                   bool connected)
{
    struct knock knock = {.kind = (uint8_t)kind, .number = number};
    uint8_t bytes[KNOCK_BYTES];
    bool six = caller->from.ss_family == AF_INET6;
    socklen_t length = six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    memcpy(knock.token, caller->challenge, sizeof knock.token);
    knock_encode(bytes, &knock);
    (void)sendto(fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL,
                 connected ? NULL : (const struct sockaddr *)&caller->from, connected ? 0 : length);
}

/* The one who has proved where he is gets a socket of his own. */
static int let_in(struct control_door *door, uint32_t number, struct err *error)
{
    const struct caller *caller = &door->callers[number];
    struct address address = door->address;
    int fd = transport_udp.listen(&address, 0, true, error);
    if (fd < 0) {
        return -1;
    }
    if (connect(fd, (const struct sockaddr *)&caller->from, address.length) < 0) {
        err_system(error, errno, "udp data port", "cannot connect to its client");
        close(fd);
        return -1;
    }
    door->ends[number] = (struct net_end){fd, fd};
    door->in++;
    answer(fd, caller, KNOCK_WELCOME, number, true);
    return 0;
}

/* One datagram. Whatever is not right has no answer: nobody learns why. */
static int take(struct control_door *door, const struct knock *knock,
                const struct sockaddr_storage *from, struct err *error)
{
    struct caller *caller = knock->number < door->wanted ? &door->callers[knock->number] : NULL;
    if (!caller || !same_host(from, &door->peer) || door->ends[knock->number].read_fd >= 0) {
        return 0;
    }
    bool known = caller->from.ss_family != 0;
    struct sockaddr_storage earlier = caller->from, now = *from;
    if (known && *port_at(&earlier) != *port_at(&now)) {
        return 0; /* the token has served for this number */
    }
    if (knock->kind == KNOCK_CALL && knock_same_token(knock->token, door->token)) {
        if (!known &&
            getrandom(caller->challenge, sizeof caller->challenge, 0) != sizeof caller->challenge) {
            return err_system(error, errno, "udp data port", "there is no randomness");
        }
        caller->from = *from;
        answer(door->fd, caller, KNOCK_CHALLENGE, knock->number, false);
    } else if (knock->kind == KNOCK_ECHO && known &&
               knock_same_token(knock->token, caller->challenge)) {
        return let_in(door, knock->number, error);
    }
    return 0;
}

/* The welcome of some may have been lost: they echo again, into what is their connection now. */
static void welcome_again(struct control_door *door)
{
    for (uint32_t i = 0; i < door->wanted; i++) {
        uint8_t bytes[KNOCK_BYTES + 1];
        struct knock knock;
        int fd = door->ends[i].read_fd;
        ssize_t got = fd >= 0 ? recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) : -1;
        if (got > 0 && knock_decode(bytes, (size_t)got, &knock) && knock.kind == KNOCK_ECHO &&
            knock_same_token(knock.token, door->callers[i].challenge)) {
            answer(fd, &door->callers[i], KNOCK_WELCOME, i, true);
        }
    }
}

int control_door_serve(struct control_door *door, struct err *error)
{
    for (int i = 0; i < KNOCKS_IN_A_ROW; i++) {
        struct sockaddr_storage from = {0};
        socklen_t length = sizeof from;
        uint8_t bytes[KNOCK_BYTES + 1];
        struct knock knock;
        ssize_t got = recvfrom(door->fd, bytes, sizeof bytes, MSG_DONTWAIT,
                               (struct sockaddr *)&from, &length);
        if (got < 0 && errno == EAGAIN) {
            break;
        }
        if (got > 0 && knock_decode(bytes, (size_t)got, &knock) &&
            take(door, &knock, &from, error) < 0) {
            return -1;
        }
    }
    welcome_again(door);
    return 0;
}

void control_door_clear(struct control_door *door)
{
    for (uint32_t i = 0; i < door->wanted; i++) {
        uint8_t bytes[KNOCK_BYTES];
        int most = KNOCKS_IN_A_ROW;
        while (most-- && recv(door->ends[i].read_fd, bytes, sizeof bytes, MSG_DONTWAIT) >= 0) {
        }
    }
}

void control_door_close(struct control_door *door)
{
    if (!door) {
        return;
    }
    if (door->fd >= 0) {
        close(door->fd);
    }
    free(door);
}
