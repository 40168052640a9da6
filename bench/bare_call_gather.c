/* Calls of one byte over one connection, gathered: all that may be issued is issued, each call with
 * its own time, and goes out in one send; answers are matched one by one. Issuing stops at `high`
 * calls outstanding and goes on at half of that. Through epoll. With -e: one send a call, and one
 * look into the loop after each. */
#include <sys/epoll.h>

#include "bare.h"

#define BUFFER_BYTES (64 * 1024)

static uint8_t buffer[BUFFER_BYTES];

/* Numbers of calls since the start; the time of call i is issued_ns[i & mask]. */
struct calls {
    uint64_t *issued_ns;
    uint64_t mask, high;
    uint64_t issued, sent, answered;
    const uint8_t *pattern; /* `high` bytes */
    bool throttled;
    bool each; /* one call, one send, one look into the loop */
};

static void issue(struct calls *calls)
{
    if (calls->throttled && calls->issued - calls->answered > calls->high / 2) {
        return;
    }
    calls->throttled = false;
    do {
        calls->issued_ns[calls->issued++ & calls->mask] = bare_now();
    } while (!calls->each && calls->issued - calls->answered < calls->high);
    calls->throttled = calls->issued - calls->answered >= calls->high;
}

static void write_gathered(int fd, struct calls *calls, struct bare_count *count)
{
    if (calls->sent == calls->issued) {
        return;
    }
    ssize_t sent =
        send(fd, calls->pattern, calls->issued - calls->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    count->kernel_calls++;
    if (sent < 0 && errno != EAGAIN) {
        bare_die("send");
    }
    calls->sent += sent > 0 ? (uint64_t)sent : 0;
}

static void read_answers(int fd, struct calls *calls, struct bare_count *count)
{
    ssize_t received = recv(fd, buffer, sizeof buffer, 0);
    count->kernel_calls++;
    if (received < 0 && errno == EAGAIN) {
        return;
    }
    if (received <= 0) {
        bare_die("recv");
    }
    uint64_t now = bare_now();
    for (ssize_t i = 0; i < received; i++) {
        bare_record(now - calls->issued_ns[calls->answered++ & calls->mask]);
    }
    count->calls += (uint64_t)received;
}

static struct bare_count run(int epoll_fd, int fd, struct calls *calls, uint64_t until_ns,
                             struct bare_count count)
{
    for (uint64_t now = bare_now(); now < until_ns; now = bare_now()) {
        struct epoll_event event;
        issue(calls);
        write_gathered(fd, calls, &count);
        struct timespec left = bare_left(calls->each && !calls->throttled ? 0 : until_ns, now);
        int ready = epoll_pwait2(epoll_fd, &event, 1, &left, NULL);
        count.kernel_calls++;
        if (ready < 0 && errno != EINTR) {
            bare_die("epoll_pwait2");
        }
        if (ready == 1) {
            read_answers(fd, calls, &count);
        }
    }
    return count;
}

int main(int argc, char **argv)
{
    struct bare_options options = bare_parse(argc, argv);
    struct epoll_event event = {.events = EPOLLIN};
    struct calls calls = {.high = options.high, .each = options.each};
    struct bare_count count = {0};
    uint64_t size = 1;
    while (size < options.high) {
        size *= 2;
    }
    calls.mask = size - 1;
    calls.issued_ns = calloc(size, sizeof *calls.issued_ns);
    calls.pattern = calloc(1, options.high);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int fd = bare_connect(&options);
    if (!calls.issued_ns || !calls.pattern || epoll_fd < 0 ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        bare_die("set-up");
    }
    run(epoll_fd, fd, &calls, bare_now() + BARE_WARMUP_NS, count);
    count = bare_start();
    count = run(epoll_fd, fd, &calls, count.start_ns + (uint64_t)(options.seconds * 1e9), count);
    bare_print("bare_call_gather", &count);
    return 0;
}
