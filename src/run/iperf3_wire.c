#include "run/iperf3_wire.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

int iperf3_wire_wait(const struct iperf3_wire *wire, int fd, short events, int also,
                     uint64_t until_ns, const char *what, struct err *error)
{
    struct pollfd fds[] = {{.fd = fd, .events = events},
                           {.fd = wire->stop_fd, .events = POLLIN},
                           {.fd = also, .events = POLLIN}};
    for (;;) {
        uint64_t now = clock_now_ns();
        struct timespec wait = clock_timespec(until_ns > now ? until_ns - now : 0);
        int ready = ppoll(fds, 3, &wait, NULL);
        if (ready < 0 && errno != EINTR) {
            return err_system(error, errno, wire->subject, "cannot wait");
        }
        if (ready > 0 && fds[1].revents) {
            return err_set(error, ERR_INTERRUPTED, wire->subject, "interrupted");
        }
        if (ready > 0) {
            return fds[0].revents ? 1 : 2;
        }
        if (ready == 0 && clock_now_ns() >= until_ns) {
            err_set(error, ERR_SYSTEM, wire->subject, "no answer in time: %s", what);
            error->number = ETIMEDOUT;
            return -1;
        }
    }
}

static int failed(const struct iperf3_wire *wire, int number, const char *what, struct err *error)
{
    return err_system(error, number, wire->subject, "the control connection failed: %s", what);
}

int iperf3_wire_read(const struct iperf3_wire *wire, void *to, size_t length, const char *what,
                     struct err *error)
{
    uint64_t until = clock_now_ns() + wire->deadline_ns;
    size_t used = 0;

    while (used < length) {
        ssize_t got = recv(wire->fd, (char *)to + used, length - used, MSG_DONTWAIT);
        if (got > 0) {
            used += (size_t)got;
        } else if (got == 0) {
            err_set(error, ERR_SYSTEM, wire->subject, "closed the control connection: %s", what);
            error->number = ECONNRESET;
            return -1;
        } else if (errno != EAGAIN && errno != EINTR) {
            return failed(wire, errno, what, error);
        } else if (iperf3_wire_wait(wire, wire->fd, POLLIN, -1, until, what, error) < 0) {
            return -1;
        }
    }
    return 0;
}

int iperf3_wire_write(const struct iperf3_wire *wire, const void *from, size_t length,
                      const char *what, struct err *error)
{
    uint64_t until = clock_now_ns() + wire->deadline_ns;
    size_t used = 0;

    while (used < length) {
        ssize_t put =
            send(wire->fd, (const char *)from + used, length - used, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put >= 0) {
            used += (size_t)put;
        } else if (errno != EAGAIN && errno != EINTR) {
            return failed(wire, errno, what, error);
        } else if (iperf3_wire_wait(wire, wire->fd, POLLOUT, -1, until, what, error) < 0) {
            return -1;
        }
    }
    return 0;
}
