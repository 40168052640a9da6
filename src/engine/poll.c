/* poll: one array of files for the kernel to walk at every wait, as poll() makes any program do. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/ready.h"

struct poll_engine {
    struct ready_engine ready;
    struct pollfd *files;      /* two for each channel: read end, write end (-1 where the same) */
    struct channel **channels; /* NULL where the place is free */
    uint32_t count, capacity;  /* in channels */
    uint32_t free_slots;
};

static int poll_why_not(char *reason, size_t size)
{
    (void)reason;
    (void)size;
    return 0;
}

static int arm(struct ready_engine *ready, struct channel *channel)
{
    struct poll_engine *poll_engine = (struct poll_engine *)(void *)ready;
    if (channel->closing) {
        return 0;
    }
    struct pollfd *files = &poll_engine->files[2 * channel->slot];
    bool in = channel->wants & (CHANNEL_WANTS_RECEIVE | CHANNEL_WANTS_ACCEPT);
    bool out = channel->wants & (CHANNEL_WANTS_SEND | CHANNEL_WANTS_CONNECT);
    bool same = channel->fd == channel->write_fd;
    short events = (short)((in ? POLLIN : 0) | (out && same ? POLLOUT : 0));
    /* A negative file is skipped by the kernel: without it, an unwanted POLLHUP would spin. */
    files[0] = (struct pollfd){.fd = events ? channel->fd : -1, .events = events};
    files[1] = (struct pollfd){.fd = out && !same ? channel->write_fd : -1, .events = POLLOUT};
    return 0;
}

static void forget(struct ready_engine *ready, struct channel *channel)
{
    struct poll_engine *poll_engine = (struct poll_engine *)(void *)ready;
    poll_engine->files[2 * channel->slot] = (struct pollfd){.fd = -1};
    poll_engine->files[2 * channel->slot + 1] = (struct pollfd){.fd = -1};
    if (poll_engine->channels[channel->slot] == channel) {
        poll_engine->channels[channel->slot] = NULL;
        poll_engine->free_slots++;
    }
}

static int grow(struct poll_engine *poll_engine, uint32_t capacity)
{
    struct pollfd *files =
        reallocarray(poll_engine->files, capacity, 2 * sizeof *poll_engine->files);
    if (!files) {
        return -1;
    }
    poll_engine->files = files;
    struct channel **channels =
        reallocarray(poll_engine->channels, capacity, sizeof(struct channel *));
    if (!channels) {
        return -1;
    }
    poll_engine->channels = channels;
    poll_engine->capacity = capacity;
    return 0;
}

static void poll_fini(struct engine *engine)
{
    struct poll_engine *poll_engine = (struct poll_engine *)(void *)engine;
    if (poll_engine) {
        free(poll_engine->files);
        free(poll_engine->channels);
        ready_fini(&poll_engine->ready);
        free(poll_engine);
    }
}

static int poll_init(struct engine **engine, const struct engine_config *config,
                     struct call_table *calls, struct err *error)
{
    struct poll_engine *poll_engine = calloc(1, sizeof *poll_engine);
    if (!poll_engine || ready_init(&poll_engine->ready, &engine_poll, config, calls) < 0 ||
        grow(poll_engine, config->channels ? config->channels : 16) < 0) {
        poll_fini((struct engine *)poll_engine);
        return err_system(error, ENOMEM, "poll", "cannot start the engine");
    }
    poll_engine->ready.arm = arm;
    poll_engine->ready.forget = forget;
    *engine = &poll_engine->ready.engine;
    return 0;
}

static int poll_add(struct engine *engine, struct channel *channel)
{
    struct poll_engine *poll_engine = (struct poll_engine *)(void *)engine;
    uint32_t slot = poll_engine->count;
    int failed = ready_add(&poll_engine->ready, channel);
    if (failed) {
        return failed;
    }
    if (poll_engine->free_slots) {
        for (slot = 0; poll_engine->channels[slot]; slot++) {
        }
        poll_engine->free_slots--;
    } else {
        if (slot == poll_engine->capacity && grow(poll_engine, 2 * poll_engine->capacity) < 0) {
            return -ENOMEM;
        }
        poll_engine->count++;
    }
    channel->slot = slot;
    poll_engine->channels[slot] = channel;
    poll_engine->files[2 * slot] = (struct pollfd){.fd = -1};
    poll_engine->files[2 * slot + 1] = (struct pollfd){.fd = -1};
    return 0;
}

static int poll_reap(struct engine *engine, uint64_t until_ns, struct err *error)
{
    struct poll_engine *poll_engine = (struct poll_engine *)(void *)engine;
    struct timespec wait = clock_timespec(ready_wait_ns(until_ns));
    int ready = ppoll(poll_engine->files, 2 * (nfds_t)poll_engine->count, &wait, NULL);
    call_counted(engine->calls, CALL_PPOLL, ready, false);
    if (ready < 0) {
        return errno == EINTR ? 0 : err_system(error, errno, "poll", "waiting failed");
    }
    uint32_t count =
        poll_engine->count; /* channels added by a completion wait for the next round */
    for (uint32_t i = 0; i < count && ready > 0; i++) {
        /* Read before handling: a completion may grow or change the array. */
        short read_events = poll_engine->files[2 * i].revents;
        short write_events = poll_engine->files[2 * i + 1].revents;
        struct channel *channel = poll_engine->channels[i];
        ready -= (read_events != 0) + (write_events != 0);
        if (!channel || !(read_events | write_events)) {
            continue;
        }
        poll_engine->files[2 * i].revents = poll_engine->files[2 * i + 1].revents = 0;
        const short failed = POLLERR | POLLHUP | POLLNVAL;
        if ((read_events | write_events) & failed) {
            ready_handle_error(&poll_engine->ready, channel);
        }
        unsigned reported = 0;
        reported |= read_events & (POLLIN | failed) ? READY_READS : 0;
        reported |= write_events || read_events & (POLLOUT | failed) ? READY_WRITES : 0;
        reported |= (read_events | write_events) & failed ? READY_FAILED : 0;
        ready_handle(&poll_engine->ready, channel, reported);
    }
    return 0;
}

const struct engine_ops engine_poll = {
    .name = "poll",
    .help = "one event loop a worker, poll()",
    .flags = ENGINE_SENDS_AT_ONCE | ENGINE_ZEROCOPY | ENGINE_FILES | ENGINE_WAITS_TWICE,
    .why_not = poll_why_not,
    .init = poll_init,
    .add = poll_add,
    .submit = ready_submit,
    .reap = poll_reap,
    .fini = poll_fini,
};
