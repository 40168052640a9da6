/* epoll: one set a worker; a channel's files stay registered, so that a receive costs no epoll_ctl.
 * Waits with epoll_pwait2 (nanoseconds; Linux 5.11).
 *
 * Level-triggered, but for a TCP socket that is being connected: it is registered once, for all
 * that can happen to it and edge-triggered, so that connecting, sending and receiving need no
 * second epoll_ctl. That is safe as long as each report is followed by receives until there is
 * nothing more (a short one empties a TCP socket), and sends wait only once the kernel has no room.
 * Where a report comes while nobody wants to receive, it is remembered; where one is not followed
 * to its end, the socket becomes level-triggered like all others. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/ready.h"

#define EVENTS_MAX 256
/* Marks the write end of a pipe in epoll_data (channels are aligned to 8). */
#define WRITE_END UINT64_C(1)

struct epoll_engine {
    struct ready_engine ready;
    int epoll_fd;
    struct epoll_event events[EVENTS_MAX];
};

static int control(struct epoll_engine *epoll, int action, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    int result = epoll_ctl(epoll->epoll_fd, action, fd, &event);
    call_counted(epoll->ready.engine.calls, CALL_EPOLL_CTL, result, false);
    return result < 0 ? -errno : 0;
}

/* channel->armed: bits 0-3 what is registered (as wants); then which files are in the set, whether
 * the file is registered edge-triggered, and whether something was reported that nobody wanted. */
enum { IN_SET = 16, WRITE_IN_SET = 32, EDGES = 64, MISSED = 128, ARMED_WANTS = 15 };

static int arm_file(struct epoll_engine *epoll, struct channel *channel, int fd, uint8_t set_bit,
                    uint32_t events, uint64_t data)
{
    int action = channel->armed & set_bit ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int failed = control(epoll, action, fd, events, data);
    if (!failed) {
        channel->armed |= set_bit;
    }
    return failed;
}

/* Registers for everything, edge-triggered; where that has been done, only to have reported again
 * what was missed. */
static int arm_edges(struct epoll_engine *epoll, struct channel *channel)
{
    bool again = channel->armed & MISSED && channel->wants & CHANNEL_WANTS_RECEIVE;
    if (channel->armed & EDGES && !again) {
        return 0;
    }
    int failed = arm_file(epoll, channel, channel->fd, IN_SET,
                          EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | (uint32_t)EPOLLET,
                          (uint64_t)(uintptr_t)channel);
    if (!failed) {
        channel->armed = (uint8_t)((channel->armed & ~MISSED) | EDGES);
    }
    return failed;
}

static int arm(struct ready_engine *ready, struct channel *channel)
{
    struct epoll_engine *epoll = (struct epoll_engine *)(void *)ready;
    uint8_t wants = channel->wants;
    uint8_t changed = (uint8_t)((wants ^ channel->armed) & ARMED_WANTS);
    if (channel->closing) {
        return 0;
    }
    /* Only TCP connects later than at once, and only of it is known what is said above. */
    if (channel->armed & EDGES ||
        (!channel->armed && wants & CHANNEL_WANTS_CONNECT && channel_is_plain(channel))) {
        return arm_edges(epoll, channel);
    }
    if (!changed) {
        return 0;
    }
    const uint8_t reads = CHANNEL_WANTS_RECEIVE | CHANNEL_WANTS_ACCEPT;
    const uint8_t writes = CHANNEL_WANTS_SEND | CHANNEL_WANTS_CONNECT;
    uint32_t in = wants & reads ? (uint32_t)EPOLLIN : 0;
    uint32_t out = wants & writes ? (uint32_t)EPOLLOUT : 0;
    uint64_t data = (uint64_t)(uintptr_t)channel;
    int failed = 0;
    if (channel->fd == channel->write_fd) {
        failed = arm_file(epoll, channel, channel->fd, IN_SET, in | out, data);
    } else {
        if (changed & reads) {
            failed = arm_file(epoll, channel, channel->fd, IN_SET, in, data);
        }
        if (!failed && changed & writes && channel->write_fd >= 0) {
            failed =
                arm_file(epoll, channel, channel->write_fd, WRITE_IN_SET, out, data | WRITE_END);
        }
    }
    if (!failed) {
        channel->armed = (uint8_t)((channel->armed & ~ARMED_WANTS) | wants);
    }
    return failed;
}

/* Closing a file takes it out of the set, unless another process or thread has it open, too. */
static void forget(struct ready_engine *ready, struct channel *channel)
{
    if (channel->kind == CHANNEL_LISTENER && channel->armed & IN_SET) {
        control((struct epoll_engine *)(void *)ready, EPOLL_CTL_DEL, channel->fd, 0, 0);
    }
    channel->armed = 0;
}

/* What was reported of an edge-triggered file has not been received to its end. */
static void keep_report(struct epoll_engine *epoll, struct channel *channel)
{
    if (channel->wants & CHANNEL_WANTS_RECEIVE) {
        channel->armed = IN_SET;
        arm(&epoll->ready, channel);
    } else {
        channel->armed |= MISSED;
    }
}

static void handle_event(struct epoll_engine *epoll, const struct epoll_event *event)
{
    struct channel *channel = (struct channel *)(uintptr_t)(event->data.u64 & ~WRITE_END);
    if (channel->closing) {
        return; /* closed by a completion of this same round */
    }
    bool reads = !(event->data.u64 & WRITE_END);
    bool writes = !reads || channel->fd == channel->write_fd;
    uint32_t events = event->events;
    unsigned reported = (reads && events & EPOLLIN ? READY_READS : 0) |
                        (writes && events & EPOLLOUT ? READY_WRITES : 0) |
                        (events & EPOLLRDHUP ? READY_ENDED : 0) |
                        (events & EPOLLPRI ? READY_URGENT : 0);
    if (events & (EPOLLERR | EPOLLHUP)) {
        ready_handle_error(&epoll->ready, channel);
        reported |= READY_FAILED | (reads ? READY_READS : 0) | (writes ? READY_WRITES : 0);
    }
    if (!ready_handle(&epoll->ready, channel, reported) && channel->armed & EDGES) {
        keep_report(epoll, channel);
    }
}

static int epoll_why_not(char *reason, size_t size)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        snprintf(reason, size, "epoll_create1: %s", strerror(errno));
        return -1;
    }
    struct timespec none = {0};
    struct epoll_event event;
    int result = epoll_pwait2(fd, &event, 1, &none, NULL);
    int failed = errno;
    close(fd);
    if (result < 0) {
        snprintf(reason, size, "epoll_pwait2: %s (needs Linux 5.11)", strerror(failed));
        return -1;
    }
    return 0;
}

static int epoll_init(struct engine **engine, const struct engine_config *config,
                      struct call_table *calls, struct err *error)
{
    struct epoll_engine *epoll = calloc(1, sizeof *epoll);
    if (!epoll || ready_init(&epoll->ready, &engine_epoll, config, calls) < 0) {
        free(epoll);
        return err_system(error, ENOMEM, "epoll", "cannot start the engine");
    }
    epoll->ready.arm = arm;
    epoll->ready.forget = forget;
    epoll->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll->epoll_fd < 0) {
        err_system(error, errno, "epoll", "cannot create the set");
        ready_fini(&epoll->ready);
        free(epoll);
        return -1;
    }
    *engine = &epoll->ready.engine;
    return 0;
}

static int epoll_add(struct engine *engine, struct channel *channel)
{
    channel->armed = 0; /* registered with the first operation that has to wait */
    return ready_add((struct ready_engine *)(void *)engine, channel);
}

static int epoll_reap(struct engine *engine, uint64_t until_ns, struct err *error)
{
    struct epoll_engine *epoll = (struct epoll_engine *)(void *)engine;
    struct timespec wait = clock_timespec(ready_wait_ns(until_ns));
    int count = epoll_pwait2(epoll->epoll_fd, epoll->events, EVENTS_MAX, &wait, NULL);
    call_counted(engine->calls, CALL_EPOLL_WAIT, count, false);
    if (count < 0) {
        return errno == EINTR ? 0 : err_system(error, errno, "epoll", "waiting failed");
    }
    for (int i = 0; i < count; i++) {
        handle_event(epoll, &epoll->events[i]);
    }
    return 0;
}

static void epoll_fini(struct engine *engine)
{
    struct epoll_engine *epoll = (struct epoll_engine *)(void *)engine;
    if (epoll) {
        close(epoll->epoll_fd);
        ready_fini(&epoll->ready);
        free(epoll);
    }
}

const struct engine_ops engine_epoll = {
    .name = "epoll",
    .help = "one event loop a worker, epoll",
    .flags = ENGINE_SENDS_AT_ONCE | ENGINE_ZEROCOPY | ENGINE_FILES,
    .why_not = epoll_why_not,
    .init = epoll_init,
    .add = epoll_add,
    .submit = ready_submit,
    .reap = epoll_reap,
    .fini = epoll_fini,
};
