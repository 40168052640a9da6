/* Requests of HTTP with nothing but epoll_wait, receive and send: one in flight on each connection,
 * the next one sent when the answer is whole. Each socket is registered once, edge-triggered; a
 * receive that did not fill the buffer has emptied it. */
#include <sys/epoll.h>

#include "bare_http.h"

#define EVENTS 256

static uint8_t buffer[BARE_HTTP_BUFFER_BYTES];

static void ask(struct bare_http *http, const struct bare_http_connection *connection)
{
    http->count.kernel_calls++;
    if (send(connection->fd, http->request, http->request_bytes, MSG_NOSIGNAL | MSG_DONTWAIT) !=
        (ssize_t)http->request_bytes) {
        bare_die("send");
    }
}

static void receive(struct bare_http *http, struct bare_http_connection *connection)
{
    ssize_t received;
    do {
        received = recv(connection->fd, buffer, sizeof buffer, MSG_DONTWAIT);
        http->count.kernel_calls++;
        if (received < 0 && errno == EAGAIN) {
            return;
        }
        if (bare_http_received(http, connection, received)) {
            ask(http, connection);
            return; /* the next answer is an edge of its own */
        }
    } while (received == (ssize_t)sizeof buffer);
}

int main(int argc, char **argv)
{
    struct bare_http http;
    bare_http_begin(&http, argc, argv);
    struct bare_http_connection *all = calloc(http.options.connections, sizeof *all);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!all || epoll_fd < 0) {
        bare_die("setup");
    }
    for (unsigned i = 0; i < http.options.connections; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = &all[i]};
        all[i].fd = bare_connect(&http.options);
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, all[i].fd, &event) < 0) {
            bare_die("epoll_ctl");
        }
    }
    http.count = bare_start();
    for (unsigned i = 0; i < http.options.connections; i++) {
        all[i].left = http.answer_bytes;
        all[i].sent_ns = bare_now();
        ask(&http, &all[i]);
    }
    uint64_t until_ns = http.count.start_ns + (uint64_t)(http.options.seconds * 1e9);
    while (bare_now() < until_ns) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll_fd, events, EVENTS, 100);
        http.count.kernel_calls++;
        for (int i = 0; i < ready; i++) {
            receive(&http, events[i].data.ptr);
        }
    }
    bare_print("bare_http_epoll", &http.count);
    return 0;
}
