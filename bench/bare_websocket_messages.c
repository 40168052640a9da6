/* WebSocket messages to and fro with nothing but send and receive: HIGH of BYTES (at most 125) in
 * flight on each connection. As many as have been answered are sent again, with one call, from
 * memory that holds their frames ready. */
#include <sys/epoll.h>

#include "bare_websocket.h"

#define EVENTS 256
#define BUFFER_BYTES (64 * 1024)
#define HEADER_BYTES 2
#define MASK_BYTES 4
#define PAYLOAD_MOST 125

struct connection {
    int fd;
    size_t partly; /* bytes of an echo that has not come whole */
};

static uint8_t buffer[BUFFER_BYTES];

/* `count` masked frames of `bytes` zeros, unmasked: so the mask again and again. */
static uint8_t *make_frames(size_t count, size_t bytes)
{
    static const uint8_t mask[MASK_BYTES] = {1, 2, 3, 4};
    size_t whole = HEADER_BYTES + MASK_BYTES + bytes;
    uint8_t *frames = malloc(count * whole);
    if (!frames) {
        bare_die("malloc");
    }
    for (size_t i = 0; i < count; i++) {
        uint8_t *frame = frames + i * whole;
        frame[0] = 0x82;
        frame[1] = (uint8_t)(0x80 | bytes);
        for (size_t k = 0; k < MASK_BYTES + bytes; k++) {
            frame[HEADER_BYTES + k] = mask[k % MASK_BYTES];
        }
    }
    return frames;
}

static void upgrade(const struct connection *connection)
{
    if (send(connection->fd, BARE_REQUEST, sizeof BARE_REQUEST - 1, MSG_NOSIGNAL) < 0) {
        bare_die("send");
    }
    if (!bare_head_ends(buffer, recv(connection->fd, buffer, sizeof buffer, 0))) {
        bare_die("upgrade");
    }
}

static void send_frames(const struct connection *connection, const uint8_t *frames, size_t length,
                        struct bare_count *count)
{
    if (length == 0) {
        return;
    }
    count->kernel_calls++;
    if (send(connection->fd, frames, length, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)length) {
        bare_die("send"); /* what is in flight fits into the buffers */
    }
}

int main(int argc, char **argv)
{
    if (argc != 7 || bare_number(argv[5]) > PAYLOAD_MOST) {
        fprintf(stderr, "usage: %s ADDRESS PORT CONNECTIONS HIGH BYTES SECONDS\n", argv[0]);
        return 2;
    }
    struct bare_options options = {.address = bare_address(argv[1], argv[2])};
    size_t connections = bare_number(argv[3]), high = bare_number(argv[4]);
    size_t bytes = bare_number(argv[5]), whole = HEADER_BYTES + MASK_BYTES + bytes;
    uint64_t measured_ns = (uint64_t)(strtod(argv[6], NULL) * 1e9);
    uint8_t *frames = make_frames(high, bytes);
    struct connection *all = calloc(connections, sizeof *all);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!all || epoll_fd < 0) {
        bare_die("setup");
    }
    for (size_t i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
        all[i].fd = bare_connect(&options);
        if (fcntl(all[i].fd, F_SETFL, 0) < 0) {
            bare_die("fcntl");
        }
        upgrade(&all[i]);
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, all[i].fd, &event) < 0) {
            bare_die("epoll_ctl");
        }
    }
    struct bare_count count = {0};
    for (size_t i = 0; i < connections; i++) {
        send_frames(&all[i], frames, high * whole, &count);
    }
    uint64_t start_ns = bare_now() + BARE_WARMUP_NS;
    bool measured = false;
    for (uint64_t now = bare_now(); now < start_ns + measured_ns; now = bare_now()) {
        struct epoll_event events[EVENTS];
        if (!measured && now >= start_ns) {
            count = bare_start();
            measured = true;
        }
        int ready = epoll_wait(epoll_fd, events, EVENTS, 100);
        count.kernel_calls++;
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            ssize_t received = recv(connection->fd, buffer, sizeof buffer, MSG_DONTWAIT);
            count.kernel_calls++;
            if (received <= 0) {
                bare_die("recv");
            }
            connection->partly += (size_t)received;
            size_t answered = connection->partly / (HEADER_BYTES + bytes);
            connection->partly %= HEADER_BYTES + bytes;
            count.calls += answered;
            send_frames(connection, frames, answered * whole, &count);
        }
    }
    bare_print("bare_websocket_messages", &count);
    return 0;
}
