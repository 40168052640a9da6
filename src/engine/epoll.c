/* epoll: one level-triggered set; a channel's files stay registered, so that a receive costs no
 * epoll_ctl. Waits with epoll_pwait2 (nanoseconds; Linux 5.11). */
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

/* channel->armed: bits 0-3 what is registered (as wants); bit 4: fd is in the set; bit 5: the
 * write end is. */
enum { IN_SET = 16, WRITE_IN_SET = 32, ARMED_WANTS = 15 };

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

static int arm(struct ready_engine *ready, struct channel *channel)
{
    struct epoll_engine *epoll = (struct epoll_engine *)(void *)ready;
    uint8_t wants = channel->wants;
    uint8_t changed = (uint8_t)((wants ^ channel->armed) & ARMED_WANTS);
    if (!changed || channel->closing) {
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

static void forget(struct ready_engine *ready, struct channel *channel)
{
    (void)ready;
    channel->armed = 0; /* closing a file takes it out of the set */
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
        uint64_t data = epoll->events[i].data.u64;
        uint32_t events = epoll->events[i].events;
        struct channel *channel = (struct channel *)(uintptr_t)(data & ~WRITE_END);
        if (channel->closing) {
            continue; /* closed by a completion of this same round */
        }
        bool failed = (events & (EPOLLERR | EPOLLHUP)) != 0;
        bool write_end = (data & WRITE_END) != 0;
        if (failed) {
            ready_handle_error(&epoll->ready, channel);
        }
        ready_handle(&epoll->ready, channel, !write_end && (failed || events & EPOLLIN),
                     write_end
                         ? failed || events & EPOLLOUT
                         : channel->fd == channel->write_fd && (failed || (events & EPOLLOUT)));
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
    .help = "one event loop a worker, level-triggered epoll",
    .flags = ENGINE_SENDS_AT_ONCE | ENGINE_ZEROCOPY | ENGINE_FILES,
    .why_not = epoll_why_not,
    .init = epoll_init,
    .add = epoll_add,
    .submit = ready_submit,
    .reap = epoll_reap,
    .fini = epoll_fini,
};
