/* One call of one byte in flight on each connection, through epoll: send, epoll_pwait2, receive. */
#include <sys/epoll.h>

#include "bare.h"

#define EVENTS 256
#define BUFFER_BYTES (64 * 1024)

struct connection {
    int fd;
    uint64_t sent_ns;
};

static uint8_t buffer[BUFFER_BYTES];

static void call(struct connection *connection, struct bare_count *count)
{
    static const uint8_t byte = 'x';
    connection->sent_ns = bare_now();
    if (send(connection->fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) {
        bare_die("send");
    }
    count->kernel_calls++;
}

static void answered(struct connection *connection, struct bare_count *count)
{
    ssize_t received = recv(connection->fd, buffer, sizeof buffer, 0);
    count->kernel_calls++;
    if (received < 0 && errno == EAGAIN) {
        return;
    }
    if (received != 1) {
        bare_die("recv");
    }
    bare_record(bare_now() - connection->sent_ns);
    count->calls++;
    call(connection, count);
}

static struct bare_count run(int epoll_fd, uint64_t until_ns, struct bare_count count)
{
    struct epoll_event events[EVENTS];
    for (uint64_t now = bare_now(); now < until_ns; now = bare_now()) {
        struct timespec left = bare_left(until_ns, now);
        int ready = epoll_pwait2(epoll_fd, events, EVENTS, &left, NULL);
        count.kernel_calls++;
        if (ready < 0 && errno != EINTR) {
            bare_die("epoll_pwait2");
        }
        for (int i = 0; i < ready; i++) {
            answered(events[i].data.ptr, &count);
        }
    }
    return count;
}

int main(int argc, char **argv)
{
    struct bare_options options = bare_parse(argc, argv);
    struct connection *connections = calloc(options.connections, sizeof *connections);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct bare_count count = {0};
    if (!connections || epoll_fd < 0) {
        bare_die("setup");
    }
    for (unsigned i = 0; i < options.connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        connections[i].fd = bare_connect(&options);
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connections[i].fd, &event) < 0) {
            bare_die("epoll_ctl");
        }
        call(&connections[i], &count);
    }
    run(epoll_fd, bare_now() + BARE_WARMUP_NS, count);
    count = bare_start();
    count = run(epoll_fd, count.start_ns + (uint64_t)(options.seconds * 1e9), count);
    bare_print("bare_call_epoll", &count);
    return 0;
}
