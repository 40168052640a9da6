#include "run/iperf3_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/iperf3_server_state.h"
#include "run/limits.h"

#define BACKLOG 1024
#define ACCEPTS_MOST 64 /* at once, before others have their turn */
#define PORTS_TRIED 16

void server_enter(struct server_control *control, enum server_phase phase, uint64_t within_ns)
{
    struct iperf3_server *server = control->server;

    server->pending -= server_is_pending(control);
    control->phase = phase;
    control->phase_ns = clock_now_ns();
    server->pending += server_is_pending(control);
    server_due(control, within_ns);
}

void server_due(struct server_control *control, uint64_t within_ns)
{
    if (timers_set(&control->server->timers, control, &control->timer,
                   clock_now_ns() + within_ns)) {
        server_close(control); /* no memory to remember it by */
    }
}

void server_close(struct server_control *control)
{
    struct iperf3_server *server = control->server;

    if (control->fd < 0) {
        return;
    }
    server_end_test(control, NULL);
    timers_cancel(&server->timers, &control->timer);
    close(control->fd);
    control->fd = -1;
    server->pending -= server_is_pending(control);
    *(control->previous ? &control->previous->next : &server->first) = control->next;
    *(control->next ? &control->next->previous : &server->last) = control->previous;
    control->next = server->dead;
    server->dead = control;
}

/* Events of this round may still name them until it is over. */
static void bury(struct iperf3_server *server)
{
    while (server->dead) {
        struct server_control *control = server->dead;
        server->dead = control->next;
        free(control->in);
        free(control->out);
        free(control);
    }
}

bool server_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family) {
        return false;
    }
    if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *x = (const struct sockaddr_in6 *)a;
        const struct sockaddr_in6 *y = (const struct sockaddr_in6 *)b;
        return memcmp(&x->sin6_addr, &y->sin6_addr, sizeof x->sin6_addr) == 0 &&
               x->sin6_scope_id == y->sin6_scope_id;
    }
    return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
           ((const struct sockaddr_in *)b)->sin_addr.s_addr;
}

/* Whoever has said least makes room, the oldest first: a real client says its cookie at once. */
static bool evict_pending(struct iperf3_server *server)
{
    struct server_control *worst = NULL;
    int worst_rank = 4;

    for (struct server_control *one = server->first; one; one = one->next) {
        int rank = one->phase == PHASE_CLOSING      ? 0
                   : one->phase == PHASE_PARAMETERS ? 3
                   : one->phase == PHASE_GREETING   ? 1 + (one->in_used > 0)
                                                    : 4;
        if (rank < worst_rank) {
            worst = one;
            worst_rank = rank;
        }
    }
    if (worst == NULL) {
        return false;
    }
    if (worst_rank > 0) {
        const int8_t byte = IPERF3_ACCESS_DENIED;
        (void)!send(worst->fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (server->config.events && server->config.events->refused) {
            server->config.events->refused(server->config.owner, worst->peer_text,
                                           "gave way to others before it asked for a test");
        }
    }
    server_close(worst);
    return true;
}

bool server_evict_test(struct iperf3_server *server)
{
    uint64_t now = clock_now_ns();
    for (struct server_control *one = server->first; one; one = one->next) {
        if ((one->phase == PHASE_TURN || one->phase == PHASE_STREAMS) &&
            now - one->phase_ns >= SERVER_PATIENCE_NS) {
            server_refuse(one, 0, 0, "gave way to others before its streams were there");
            return true;
        }
    }
    return false;
}

static void write_peer(struct server_control *control)
{
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&control->peer;
    const struct sockaddr_in *four = (const struct sockaddr_in *)&control->peer;
    char host[INET6_ADDRSTRLEN] = "?";

    if (control->peer.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        snprintf(control->peer_text, sizeof control->peer_text, "[%s]:%u", host,
                 ntohs(six->sin6_port));
    } else {
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        snprintf(control->peer_text, sizeof control->peer_text, "%s:%u", host,
                 ntohs(four->sin_port));
    }
}

/* A peer that vanished without a word is noticed. */
static void tune_control(int fd)
{
    const int on = 1, idle_s = 10, interval_s = 5, attempts = 3;
    const unsigned timeout_ms = 30000;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &attempts, sizeof attempts);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
}

static void welcome(struct iperf3_server *server, int fd, const struct sockaddr_storage *peer)
{
    struct server_control *control = calloc(1, sizeof *control);
    if (control == NULL) {
        close(fd);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = control};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
        close(fd);
        free(control);
        return;
    }
    control->server = server;
    control->fd = fd;
    control->peer = *peer;
    control->in_wanted = IPERF3_COOKIE_BYTES;
    control->previous = server->last;
    *(server->last ? &server->last->next : &server->first) = control;
    server->last = control;
    server->pending++;
    write_peer(control);
    server_enter(control, PHASE_GREETING, server->config.deadline_ns);
}

/* Out of files or memory: whoever only waits makes room; else nothing is accepted for a while. */
static void accept_failed(struct iperf3_server *server, int number)
{
    if (number == EAGAIN || number == EINTR || number == ECONNABORTED || evict_pending(server)) {
        return;
    }
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, server->listen_fd, NULL) == 0) {
        server->listening = false;
        server->listen_again_ns = clock_now_ns() + 100 * NS_PER_MS;
    }
}

static void accept_all(struct iperf3_server *server)
{
    for (int i = 0; i < ACCEPTS_MOST; i++) {
        struct sockaddr_storage peer;
        socklen_t length = sizeof peer;
        int fd = accept4(server->listen_fd, (struct sockaddr *)&peer, &length,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            accept_failed(server, errno);
            return;
        }
        if (server->pending >= server->config.pending_most) {
            evict_pending(server);
        }
        tune_control(fd);
        welcome(server, fd, &peer);
    }
}

static int watch(struct iperf3_server *server, int *fd, struct err *error)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = fd};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, *fd, &event)) {
        return err_system(error, errno, server->config.address->text, "cannot watch a socket");
    }
    return 0;
}

static int open_datagrams(struct iperf3_server *server)
{
    const struct address *address = server->config.address;
    const int on = 1;
    int fd =
        socket(address->socket_address.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
                    bind(fd, (const struct sockaddr *)&address->socket_address, address->length))) {
        int number = errno;
        close(fd);
        errno = number;
        return -1;
    }
    return fd;
}

/* Both sockets with the same port; where any will do, one is looked for that both can have. */
static int open_listeners(struct iperf3_server *server, struct err *error)
{
    struct address *address = server->config.address;
    struct address wanted = *address;

    for (int tries = PORTS_TRIED;;) {
        server->listen_fd = address->transport->listen(address, BACKLOG, false, error);
        if (server->listen_fd < 0) {
            return -1;
        }
        server->datagram_fd = open_datagrams(server);
        if (server->datagram_fd >= 0) {
            return 0;
        }
        int number = errno;
        bool any = strcmp(wanted.text, address->text) != 0;
        if (number != EADDRINUSE || !any || --tries == 0) {
            return err_system(error, number, address->text, "cannot take datagrams there");
        }
        close(server->listen_fd);
        server->listen_fd = -1;
        *address = wanted;
    }
}

static int start(struct iperf3_server *server, struct err *error)
{
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server->epoll_fd < 0) {
        return err_system(error, errno, "iperf3", "cannot watch sockets");
    }
    if (open_listeners(server, error) || watch(server, &server->listen_fd, error) ||
        watch(server, &server->datagram_fd, error) ||
        (server->config.stop_fd >= 0 && watch(server, &server->config.stop_fd, error))) {
        return -1;
    }
    server->listening = true;
    const struct iperf3_server_events *events = server->config.events;
    if (events && events->listening) {
        events->listening(server->config.owner, server->config.address);
    }
    return 0;
}

static int milliseconds_to_wait(struct iperf3_server *server)
{
    uint64_t next = timers_next_ns(&server->timers), now = clock_now_ns();
    if (!server->listening) {
        next = server->listen_again_ns < next ? server->listen_again_ns : next;
    }
    if (next <= now) {
        return 0;
    }
    uint64_t wait = (next - now + NS_PER_MS - 1) / NS_PER_MS;
    return wait < 10000 ? (int)wait : 10000;
}

/* One round of the loop; 1 at the end. */
static int turn(struct iperf3_server *server, struct err *error)
{
    struct epoll_event events[64];
    bool stop = false;
    struct server_control *late;

    int count = epoll_wait(server->epoll_fd, events, 64, milliseconds_to_wait(server));
    if (count < 0 && errno != EINTR) {
        return err_system(error, errno, server->config.address->text, "cannot wait");
    }
    for (int i = 0; i < count; i++) {
        void *what = events[i].data.ptr;
        if (what == &server->listen_fd) {
            accept_all(server);
        } else if (what == &server->datagram_fd) {
            server_greetings(server);
        } else if (what == &server->config.stop_fd) {
            stop = true;
        } else if (((struct server_control *)what)->fd >= 0) {
            server_control_ready(what, events[i].events);
        }
    }
    uint64_t now = clock_now_ns();
    while ((late = timers_expire(&server->timers, now)) != NULL) {
        server_control_late(late);
    }
    bury(server);
    if (!server->listening && now >= server->listen_again_ns) {
        server->listening = watch(server, &server->listen_fd, error) == 0;
        server->listen_again_ns = now + 100 * NS_PER_MS;
    }
    return stop;
}

static void finish(struct iperf3_server *server)
{
    const struct err why = {.code = ERR_INTERRUPTED, .what = "the server is being stopped"};
    while (server->first) {
        struct server_control *control = server->first;
        if (control->number) {
            server_end_test(control, &why);
            server_say_state(control, IPERF3_SERVER_TERMINATE);
        }
        server_close(control);
    }
    bury(server);
    timers_release(&server->timers);
    const int fds[] = {server->epoll_fd, server->listen_fd, server->datagram_fd};
    for (int i = 0; i < 3; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

int iperf3_serve(const struct iperf3_server_config *config, struct err *error)
{
    struct iperf3_server *server = calloc(1, sizeof *server);
    int status;

    if (server == NULL) {
        return err_system(error, ENOMEM, "iperf3", "cannot make a server");
    }
    server->config = *config;
    struct iperf3_server_config *own = &server->config;
    own->pending_most = own->pending_most ? own->pending_most : 256;
    own->tests_most = own->tests_most ? own->tests_most : 64;
    own->streams_most = own->streams_most ? own->streams_most : 1024;
    own->buffer_bytes_most = own->buffer_bytes_most ? own->buffer_bytes_most : LIMITS_SERVED_BYTES;
    own->duration_most_ns =
        own->duration_most_ns ? own->duration_most_ns : IPERF3_TIME_MOST_S * NS_PER_SECOND;
    own->interval_ns = own->interval_ns ? own->interval_ns : NS_PER_SECOND;
    own->deadline_ns = own->deadline_ns ? own->deadline_ns : IPERF3_DEADLINE_NS;
    server->epoll_fd = server->listen_fd = server->datagram_fd = -1;
    status = start(server, error);
    while (status == 0) {
        status = turn(server, error);
    }
    finish(server);
    free(server);
    return status < 0 ? -1 : 0;
}
