/* Opening and closing WebSocket handshakes with nothing but the system calls that they need:
 * socket, TCP_NODELAY, connect, epoll_ctl, send, receive (101), send (close), receive (close),
 * receive (end), close. Once HIGH are in flight, no more are begun until fewer than LOW are.
 *
 * Each socket is registered once, edge-triggered. A short receive has emptied it, and what comes
 * later is a new edge; where the end had already come (EPOLLRDHUP), it is read at once. */
#include <sys/epoll.h>

#include "bare_websocket.h"

#define EVENTS 256
#define BUFFER_BYTES (64 * 1024)
/* Begun before answers get their turn, so that both ends have something to do. */
#define BEGUN_IN_A_ROW 64

struct connection {
    int fd;
    enum { CONNECTING, UPGRADING, CLOSING, CLOSED } state;
    uint64_t began_ns;
    struct connection *next; /* spare */
};

struct load {
    struct sockaddr_in address;
    int epoll_fd;
    uint64_t begun, in_flight, failed, total, low, high;
    bool throttled;
    struct connection *spare;
    struct bare_count count;
};

static uint8_t buffer[BUFFER_BYTES];

static void begin(struct load *load)
{
    struct connection *connection = load->spare;
    load->spare = connection->next;
    const struct sockaddr *address = (const struct sockaddr *)&load->address;
    int one = 1;
    connection->began_ns = bare_now();
    connection->state = CONNECTING;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connection->fd < 0 ||
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
        (connect(connection->fd, address, sizeof load->address) < 0 && errno != EINPROGRESS)) {
        bare_die("connect");
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = connection};
    if (epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) < 0) {
        bare_die("epoll_ctl");
    }
    load->count.kernel_calls += 4;
    load->begun++;
    load->throttled = ++load->in_flight >= load->high;
}

/* True where more might have been begun. */
static bool begin_some(struct load *load)
{
    load->throttled = load->throttled && load->in_flight >= load->low;
    for (int i = 0; i < BEGUN_IN_A_ROW && !load->throttled && load->begun < load->total; i++) {
        begin(load);
    }
    return !load->throttled && load->begun < load->total;
}

static void end(struct load *load, struct connection *connection)
{
    if (connection->state == CLOSED) {
        bare_record(bare_now() - connection->began_ns);
        load->count.calls++;
    } else {
        load->failed++;
    }
    close(connection->fd);
    load->count.kernel_calls++;
    load->in_flight--;
    connection->next = load->spare;
    load->spare = connection;
}

static void send_all(struct load *load, int fd, const void *data, size_t length)
{
    load->count.kernel_calls++;
    if (send(fd, data, length, MSG_NOSIGNAL) != (ssize_t)length && errno != EPIPE &&
        errno != ECONNRESET) {
        bare_die("send");
    }
}

/* True where the connection is through. */
static bool receive(struct load *load, struct connection *connection)
{
    ssize_t received = recv(connection->fd, buffer, sizeof buffer, 0);
    load->count.kernel_calls++;
    if (received < 0 && errno == EAGAIN) {
        return false;
    }
    if (received <= 0) {
        end(load, connection);
        return true;
    }
    if (connection->state == UPGRADING && bare_head_ends(buffer, received)) {
        send_all(load, connection->fd, bare_close, sizeof bare_close);
        connection->state = CLOSING;
    } else if (connection->state == CLOSING) {
        connection->state = CLOSED;
    }
    return false;
}

static void handle(struct load *load, struct connection *connection, uint32_t events)
{
    bool over = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    if (connection->state == CONNECTING) {
        if (over) {
            end(load, connection);
            return;
        }
        send_all(load, connection->fd, BARE_REQUEST, sizeof BARE_REQUEST - 1);
        connection->state = UPGRADING;
    }
    if (!(events & EPOLLIN) && !over) {
        return;
    }
    while (!receive(load, connection) && over) {
    }
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: %s ADDRESS PORT CONNECTIONS LOW HIGH\n", argv[0]);
        return 2;
    }
    struct load load = {.address = bare_address(argv[1], argv[2]),
                        .total = bare_number(argv[3]),
                        .low = bare_number(argv[4]),
                        .high = bare_number(argv[5]),
                        .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    struct connection *connections = calloc(load.high, sizeof *connections);
    if (!connections || load.epoll_fd < 0) {
        bare_die("setup");
    }
    for (uint64_t i = 0; i < load.high; i++) {
        connections[i].next = load.spare;
        load.spare = &connections[i];
    }
    load.count = bare_start();
    struct epoll_event events[EVENTS];
    while (load.total > load.begun || load.in_flight) {
        bool more = begin_some(&load);
        int ready = epoll_wait(load.epoll_fd, events, EVENTS, more ? 0 : -1);
        load.count.kernel_calls++;
        if (ready < 0 && errno != EINTR) {
            bare_die("epoll_wait");
        }
        for (int i = 0; i < ready; i++) {
            handle(&load, events[i].data.ptr, events[i].events);
        }
    }
    bare_print("bare_websocket_handshakes", &load.count);
    if (load.failed) {
        fprintf(stderr, "%s: %llu of the connections failed\n", argv[0],
                (unsigned long long)load.failed);
        return 1;
    }
    return 0;
}
