/* The common peer of the bare loops and of sonde: an epoll echo server on 127.0.0.1. It answers as
 * it reads, holds what finds no room, and prints its port. */
#include <sys/epoll.h>

#include "bare.h"

#define BUFFER_BYTES (256 * 1024)
#define EVENTS 256
#define FILES 65536

/* What waits to be sent on a file; nothing is read from it meanwhile. */
struct rest {
    uint8_t *data;
    size_t offset, length;
};

static struct rest rests[FILES];
static uint8_t buffer[BUFFER_BYTES];

static void watch(int epoll_fd, int action, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll_fd, action, fd, &event) < 0) {
        bare_die("epoll_ctl");
    }
}

static void drop(int fd)
{
    free(rests[fd].data);
    rests[fd] = (struct rest){0};
    close(fd);
}

static void hold(int epoll_fd, int fd, const uint8_t *data, size_t length)
{
    rests[fd] = (struct rest){.data = malloc(length), .length = length};
    if (!rests[fd].data) {
        bare_die("malloc");
    }
    memcpy(rests[fd].data, data, length);
    watch(epoll_fd, EPOLL_CTL_MOD, fd, EPOLLOUT);
}

static void send_rest(int epoll_fd, int fd)
{
    struct rest *rest = &rests[fd];
    ssize_t sent = send(fd, rest->data + rest->offset, rest->length - rest->offset, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        drop(fd);
        return;
    }
    rest->offset += sent > 0 ? (size_t)sent : 0;
    if (rest->offset == rest->length) {
        free(rest->data);
        *rest = (struct rest){0};
        watch(epoll_fd, EPOLL_CTL_MOD, fd, EPOLLIN);
    }
}

static void echo(int epoll_fd, int fd)
{
    ssize_t received = recv(fd, buffer, sizeof buffer, 0);
    if (received < 0 && errno == EAGAIN) {
        return;
    }
    if (received <= 0) {
        drop(fd);
        return;
    }
    ssize_t sent = send(fd, buffer, (size_t)received, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        drop(fd);
    } else if (sent < received) {
        size_t done = sent > 0 ? (size_t)sent : 0;
        hold(epoll_fd, fd, buffer + done, (size_t)received - done);
    }
}

static void welcome(int epoll_fd, int listener)
{
    int one = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    if (fd >= FILES) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(epoll_fd, EPOLL_CTL_ADD, fd, EPOLLIN);
}

static int open_listener(const struct bare_options *options)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = options->address;
    socklen_t size = sizeof address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) < 0) {
        bare_die("listen");
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

/* Serves until it is killed. */
int main(int argc, char **argv)
{
    struct bare_options options = bare_parse(argc, argv);
    int listener = open_listener(&options);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        bare_die("epoll_create1");
    }
    watch(epoll_fd, EPOLL_CTL_ADD, listener, EPOLLIN);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                welcome(epoll_fd, fd);
            } else if (events[i].events & EPOLLOUT) {
                send_rest(epoll_fd, fd);
            } else {
                echo(epoll_fd, fd);
            }
        }
    }
}
