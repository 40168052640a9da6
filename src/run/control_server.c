#include "run/control_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/control_run.h"

/* Who has not said what he wants may take so long from his first packet on, and be so many; the
 * oldest has to go where a new one finds no place. */
#define GUEST_NS (5 * NS_PER_SECOND)
#define GUESTS_MOST 1024
/* Of these a burst may find no place; who is younger is not sent away for it. */
#define GUEST_LEAST_NS NS_PER_SECOND
/* What he may say before he is known. */
#define GUEST_TEXT_MOST ((size_t)64 << 10)
#define BACKLOG 4096
#define LOOK_NS (NS_PER_SECOND / 4)
/* Files that a client being served has beside its data connections: its control channel, an
 * eventfd, the socket that datagrams knock at, one to spare while its process is started. */
#define CLIENT_FILES 4
/* Out of files, and nobody there who could make room: so long nobody is let in. */
#define PAUSE_NS (100 * NS_PER_MS)

/* A connection of which it is not known yet, or not for long, what it is. */
struct guest {
    int fd; /* -1: a free place; the link's once it has begun */
    uint64_t since_ns;
    struct sockaddr_storage from;
    uint8_t first[HELLO_BYTES];
    size_t first_length;
    bool control, greeted; /* link is open; its hello came */
    struct control_link link;
};

struct control_server {
    struct control_server_config config;
    int listeners[CONTROL_LISTENERS_MOST];
    uint32_t listener_count;
    uint32_t guests_most, clients_most; /* as many as there are files for */
    int stop_fd;                        /* eventfd: readable once the server is closing */
    bool started;
    pthread_t thread;
    struct err failure;       /* why the thread ended by itself; to be read once it is joined */
    uint64_t accept_again_ns; /* nobody is let in before */
    pthread_mutex_t lock;     /* data connections of the runs */
    struct control_run *runs[CONTROL_CLIENTS_MOST];
    _Atomic uint64_t reserved_bytes; /* that the runs take of LIMITS_SERVED_BYTES */
    uint32_t run_count;
    struct guest guests[GUESTS_MOST];
    /* What is waited for: stop_fd, the listeners, and those guests that are there. ppoll takes no
     * more entries than there may be open files. */
    struct pollfd files[1 + CONTROL_LISTENERS_MOST + GUESTS_MOST];
    struct guest *polled[GUESTS_MOST]; /* whose the files behind the listeners' are */
};

/* ---- addresses ---- */

static uint16_t port_of(const struct sockaddr_storage *address)
{
    return ntohs(address->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port
                                                : ((const struct sockaddr_in *)address)->sin_port);
}

static void name_address(struct address *address)
{
    static const char scheme[] = "sonde";
    char rest[sizeof address->text];
    snprintf(rest, sizeof rest, "%s", address->text + strlen("tcp"));
    snprintf(address->text, sizeof address->text, "%s%.*s", scheme,
             (int)(sizeof address->text - sizeof scheme), rest);
}

int control_address_parse(const char *rest, const struct tls_secret *secret, bool to_listen,
                          struct address *address, struct err *error)
{
    char url[160];
    if (snprintf(url, sizeof url, "tcp://%s", rest) >= (int)sizeof url) {
        return err_set(error, ERR_USAGE, "sonde://", "the address is too long");
    }
    if (address_parse(url, to_listen, address, error) < 0) {
        return address_error_of(error, "tcp", "sonde");
    }
    name_address(address);
    if (!secret && !address_is_loopback(address)) {
        err_set(error, ERR_USAGE, address->text, "%s: the control channel needs a secret",
                to_listen ? "other hosts can reach it" : "is on another host");
        return err_hint(error, "--secret FILE, at both ends with the same content");
    }
    return 0;
}

/* ---- guests ---- */

static void send_away(struct guest *guest)
{
    if (guest->control) {
        control_link_close(&guest->link);
    } else if (guest->fd >= 0) {
        close(guest->fd);
    }
    *guest = (struct guest){.fd = -1};
}

/* Says why before he has to go, as far as there is room in the socket. */
static void refuse(struct guest *guest, const struct err *reason)
{
    struct control_message message;
    struct err ignored;
    control_error_message(reason, &message);
    control_link_send(&guest->link, &message, &ignored);
    send_away(guest);
}

static void report(const struct control_server *server, const struct guest *guest,
                   const struct err *failure)
{
    struct err named;
    if (server->config.refused && failure->code != ERR_NONE) {
        control_error_of_peer(&guest->link, failure, &named);
        server->config.refused(server->config.owner, &named);
    }
}

/* "10.0.0.1:40000" */
static void name_peer(const struct sockaddr_storage *from, char *to, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    bool six = from->ss_family == AF_INET6;
    inet_ntop(from->ss_family,
              six ? (const void *)&((const struct sockaddr_in6 *)from)->sin6_addr
                  : (const void *)&((const struct sockaddr_in *)from)->sin_addr,
              host, sizeof host);
    snprintf(to, size, "client %s%s%s:%u", six ? "[" : "", host, six ? "]" : "", port_of(from));
}

/* The one who would have to go for another; NULL where all are young. */
static struct guest *find_oldest(struct control_server *server, uint64_t now_ns)
{
    struct guest *oldest = NULL;
    for (size_t i = 0; i < server->guests_most; i++) {
        struct guest *guest = &server->guests[i];
        if (guest->fd >= 0 && (!oldest || guest->since_ns < oldest->since_ns)) {
            oldest = guest;
        }
    }
    return oldest && now_ns - oldest->since_ns >= GUEST_LEAST_NS ? oldest : NULL;
}

/* A place for a new one: a free one, or that of the oldest; NULL where all are young. */
static struct guest *find_place(struct control_server *server, uint64_t now_ns)
{
    for (size_t i = 0; i < server->guests_most; i++) {
        if (server->guests[i].fd < 0) {
            return &server->guests[i];
        }
    }
    return find_oldest(server, now_ns);
}

static uint64_t connections_in_use(const struct control_server *server)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < server->run_count; i++) {
        sum += server->runs[i]->wanted;
    }
    return sum;
}

/* He has said what he wants: from here on a thread is his. */
static void begin_run(struct control_server *server, struct guest *guest,
                      struct control_message *prepare, uint16_t port)
{
    const struct control_run_config config = {.port = port,
                                              .stop_fd = server->stop_fd,
                                              .lock = &server->lock,
                                              .reserved_bytes = &server->reserved_bytes,
                                              .ended = server->config.ended,
                                              .owner = server->config.owner};
    struct err error = {0};
    if (server->run_count == server->clients_most) {
        err_set(&error, ERR_LIMIT, "serve", "%u clients are being served", server->clients_most);
    } else if (connections_in_use(server) + prepare->connections >
               server->config.connections_most) {
        err_set(&error, ERR_LIMIT, "--connections",
                "the server takes %u in all, %lu of them are in use",
                server->config.connections_most, connections_in_use(server));
        err_hint(&error, "sonde serve --max-connections");
    }
    struct control_run *run =
        error.code == ERR_NONE ? control_run_start(&guest->link, prepare, &config, &error) : NULL;
    control_release(prepare);
    if (!run) {
        report(server, guest, &error);
        refuse(guest, &error);
        return;
    }
    pthread_mutex_lock(&server->lock);
    server->runs[server->run_count++] = run;
    pthread_mutex_unlock(&server->lock);
    *guest = (struct guest){.fd = -1};
}

static int greet(struct guest *guest, const struct control_message *hello, struct err *error)
{
    const struct control_message answer = {.kind = CONTROL_HELLO,
                                           .version_least = CONTROL_VERSION,
                                           .version_most = CONTROL_VERSION,
                                           .program = "sonde " SONDE_VERSION};
    if (hello->version_least > CONTROL_VERSION || hello->version_most < CONTROL_VERSION) {
        return err_set(error, ERR_UNSUPPORTED, "control channel",
                       "the client speaks versions %lu to %lu of it, the server %d",
                       hello->version_least, hello->version_most, CONTROL_VERSION);
    }
    guest->greeted = true;
    return control_link_send(&guest->link, &answer, error);
}

static void follow_control(struct control_server *server, struct guest *guest, uint16_t port)
{
    struct err error = {0};
    struct control_message message;
    int moved = control_link_move(&guest->link, &error);
    while (moved == 0) {
        int found = control_link_next(&guest->link, &message, &error);
        if (found == 0) {
            return;
        }
        moved = found < 0 ? -1 : 0;
        if (found > 0 && guest->greeted && message.kind == CONTROL_PREPARE) {
            begin_run(server, guest, &message, port);
            return;
        }
        if (found > 0 && !guest->greeted && message.kind == CONTROL_HELLO) {
            moved = greet(guest, &message, &error);
        } else if (found > 0) {
            moved = err_set(&error, ERR_PROTOCOL, "control", "the message \"%s\" out of turn",
                            control_name(message.kind));
        }
        if (found > 0) {
            control_release(&message);
        }
    }
    report(server, guest, &error);
    /* Before TLS is over there is nothing to say that he could read, but for its alert. */
    if (guest->link.secured && !guest->link.ended) {
        refuse(guest, &error);
    } else {
        send_away(guest);
    }
}

static void follow_data(struct control_server *server, struct guest *guest)
{
    struct hello hello;
    const char *ignored;
    int taken = -1;
    if (hello_decode(guest->first, guest->first_length, &hello, &ignored) > 0) {
        pthread_mutex_lock(&server->lock);
        for (uint32_t i = 0; i < server->run_count; i++) {
            if (taken < 0) {
                taken = control_run_take(server->runs[i], &hello, guest->fd);
            }
        }
        pthread_mutex_unlock(&server->lock);
    }
    if (taken == 0) {
        *guest = (struct guest){.fd = -1};
    } else {
        send_away(guest);
    }
}

/* What his first four bytes say. -1: neither the control channel nor a data connection. */
static int begin_control(struct control_server *server, struct guest *guest)
{
    const struct tls_secret *secret = server->config.secret;
    const struct err wanted = {.code = ERR_PROTOCOL,
                               .subject = "control channel",
                               .what = "the server wants a secret",
                               .hint = "--secret FILE"};
    struct err ignored;
    char peer[96];
    bool encrypted = guest->first[0] == 0x16 && guest->first[1] == 3; /* RFC 8446, 5.1 */
    bool plain = guest->first[0] == 0;
    if ((encrypted && !secret) || !(encrypted || plain)) {
        return -1;
    }
    guest->control = true;
    name_peer(&guest->from, peer, sizeof peer);
    if (control_link_open(&guest->link, guest->fd, TLS_SERVER, encrypted ? secret : NULL,
                          GUEST_TEXT_MOST, peer, &ignored) < 0) {
        return -1;
    }
    if (plain && secret) {
        refuse(guest, &wanted);
        return 0;
    }
    return control_link_feed(&guest->link, guest->first, guest->first_length, &ignored) < 0 &&
                   !encrypted
               ? -1
               : 0;
}

static bool begins_hello(const struct guest *guest)
{
    struct hello ignored;
    const char *reason;
    return hello_decode(guest->first, guest->first_length, &ignored, &reason) == 0;
}

static void follow_guest(struct control_server *server, struct guest *guest, uint16_t port)
{
    while (guest->fd >= 0 && !guest->control) {
        size_t wanted = guest->first_length < 4 ? 4 : HELLO_BYTES;
        ssize_t got = recv(guest->fd, guest->first + guest->first_length,
                           wanted - guest->first_length, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && errno == EAGAIN) {
            return;
        }
        guest->first_length += got > 0 ? (size_t)got : 0;
        if (got <= 0) {
            send_away(guest);
        } else if (guest->first_length == HELLO_BYTES) {
            follow_data(server, guest);
            return;
        } else if (guest->first_length == 4 && !begins_hello(guest) &&
                   begin_control(server, guest) < 0) {
            send_away(guest);
        }
    }
    if (guest->fd >= 0 && guest->control) {
        follow_control(server, guest, port);
    }
}

/* ---- the loop ---- */

static uint16_t local_port(int fd)
{
    struct sockaddr_storage own = {0};
    socklen_t length = sizeof own;
    return getsockname(fd, (struct sockaddr *)&own, &length) < 0 ? 0 : port_of(&own);
}

/* Out of files or memory: whoever only waits makes room; else nobody is let in for a while. */
static void accept_failed(struct control_server *server, int number, uint64_t now_ns)
{
    if (number == EAGAIN || number == EINTR || number == ECONNABORTED) {
        return;
    }
    struct guest *oldest = find_oldest(server, now_ns);
    if (oldest) {
        send_away(oldest);
    } else {
        server->accept_again_ns = now_ns + PAUSE_NS;
    }
}

static void accept_guests(struct control_server *server, int listener, uint64_t now_ns)
{
    for (;;) {
        struct guest *place = find_place(server, now_ns);
        if (!place) {
            return; /* they wait in the backlog */
        }
        struct sockaddr_storage from = {0};
        socklen_t length = sizeof from;
        int fd = accept4(listener, (struct sockaddr *)&from, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            accept_failed(server, errno, now_ns);
            return;
        }
        send_away(place);
        *place = (struct guest){.fd = fd, .since_ns = now_ns, .from = from};
        follow_guest(server, place, local_port(fd));
    }
}

static void join_runs(struct control_server *server, bool all)
{
    for (uint32_t i = 0; i < server->run_count;) {
        struct control_run *run = server->runs[i];
        if (!all && !atomic_load(&run->over)) {
            i++;
            continue;
        }
        pthread_mutex_lock(&server->lock);
        server->runs[i] = server->runs[--server->run_count];
        pthread_mutex_unlock(&server->lock);
        control_run_free(run);
    }
}

/* Fills the files to wait for; guests whose time is over are sent away. How many are there. */
static size_t plan_wait(struct control_server *server, uint64_t now_ns)
{
    size_t there = 0, first = 1 + server->listener_count;
    for (size_t i = 0; i < server->guests_most; i++) {
        struct guest *guest = &server->guests[i];
        if (guest->fd >= 0 && now_ns - guest->since_ns > GUEST_NS) {
            send_away(guest);
        }
        if (guest->fd >= 0) {
            bool waits = guest->control && control_link_waits(&guest->link);
            server->files[first + there] =
                (struct pollfd){.fd = guest->fd, .events = (short)(POLLIN | (waits ? POLLOUT : 0))};
            server->polled[there++] = guest;
        }
    }
    bool full = now_ns < server->accept_again_ns || find_place(server, now_ns) == NULL;
    server->files[0] = (struct pollfd){.fd = server->stop_fd, .events = POLLIN};
    for (uint32_t i = 0; i < server->listener_count; i++) {
        server->files[1 + i] =
            (struct pollfd){.fd = full ? -1 : server->listeners[i], .events = POLLIN};
    }
    return there;
}

/* How long may be waited: while somebody is there, time passes (deadlines, runs that are over).
 * NULL: until something comes. */
static const struct timespec *time_to_look(const struct control_server *server, size_t there,
                                           uint64_t now_ns, struct timespec *look)
{
    bool pause = now_ns < server->accept_again_ns;
    *look = clock_timespec(pause ? server->accept_again_ns - now_ns : LOOK_NS);
    return pause || there > 0 || server->run_count > 0 ? look : NULL;
}

static void *serve_control(void *argument)
{
    struct control_server *server = argument;
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        struct timespec look;
        size_t there = plan_wait(server, now_ns), first = 1 + server->listener_count;
        int ready =
            ppoll(server->files, first + there, time_to_look(server, there, now_ns, &look), NULL);
        if (ready < 0 && errno != EINTR) {
            err_system(&server->failure, errno, "serve", "cannot wait for clients");
            atomic_store(server->config.failed, true);
            break;
        }
        if (ready > 0 && server->files[0].revents) {
            break;
        }
        now_ns = clock_now_ns();
        for (size_t i = 0; ready > 0 && i < there; i++) {
            struct guest *guest = server->polled[i];
            if (server->files[first + i].revents && guest->fd >= 0) {
                follow_guest(server, guest, local_port(guest->fd));
            }
        }
        for (uint32_t i = 0; ready > 0 && i < server->listener_count; i++) {
            if (server->files[1 + i].revents) {
                accept_guests(server, server->listeners[i], now_ns);
            }
        }
        join_runs(server, false);
    }
    return NULL;
}

int control_server_open(struct control_server **opened, const struct control_server_config *config,
                        struct address *addresses, uint32_t address_count, struct err *error)
{
    struct control_server *server = *opened = calloc(1, sizeof *server);
    if (!server || address_count > CONTROL_LISTENERS_MOST) {
        return err_system(error, server ? E2BIG : ENOMEM, "serve", "cannot start");
    }
    server->config = *config;
    /* Half of the files for who is being served, half for who comes. */
    uint32_t half = config->files_most / 2;
    server->guests_most = half < GUESTS_MOST ? half : GUESTS_MOST;
    server->clients_most =
        half / CLIENT_FILES < CONTROL_CLIENTS_MOST ? half / CLIENT_FILES : CONTROL_CLIENTS_MOST;
    pthread_mutex_init(&server->lock, NULL);
    for (size_t i = 0; i < GUESTS_MOST; i++) {
        server->guests[i].fd = -1;
    }
    server->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (server->stop_fd < 0) {
        return err_system(error, errno, "serve", "cannot start");
    }
    for (uint32_t i = 0; i < address_count; i++) {
        int fd = addresses[i].transport->listen(&addresses[i], BACKLOG, false, error);
        if (fd < 0) {
            return -1;
        }
        name_address(&addresses[i]);
        server->listeners[server->listener_count++] = fd;
    }
    int failed = pthread_create(&server->thread, NULL, serve_control, server);
    if (failed) {
        return err_system(error, failed, "serve", "cannot start a thread");
    }
    server->started = true;
    return 0;
}

int control_server_close(struct control_server *server, struct err *error)
{
    uint64_t one = 1;
    if (!server) {
        return 0;
    }
    if (server->started) {
        (void)!write(server->stop_fd, &one, sizeof one);
        pthread_join(server->thread, NULL);
    }
    int result = server->failure.code == ERR_NONE ? 0 : -1;
    if (result < 0) {
        *error = server->failure;
    }
    join_runs(server, true);
    for (size_t i = 0; i < GUESTS_MOST; i++) {
        send_away(&server->guests[i]);
    }
    for (uint32_t i = 0; i < server->listener_count; i++) {
        close(server->listeners[i]);
    }
    if (server->stop_fd >= 0) {
        close(server->stop_fd);
    }
    pthread_mutex_destroy(&server->lock);
    free(server);
    return result;
}
