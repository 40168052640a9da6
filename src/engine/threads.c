/* threads: one thread a connection, blocking receives. It enters ppoll only where a blocking
 * receive could not be left in time (an instant near ahead, a send that waits for room, a pipe). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/clock.h"
#include "engine/ready.h"

/* A blocking receive is left after this long, so that the thread sees the end of the run. */
#define BLOCKED_NS (10 * NS_PER_MS)

struct threads_engine {
    struct ready_engine ready;
    struct channel *channel;
    bool blocking; /* the file is in blocking mode */
};

static int threads_why_not(char *reason, size_t size)
{
    (void)reason;
    (void)size;
    return 0;
}

/* Nothing to tell the kernel: reap looks at what the channel wants. */
static int arm(struct ready_engine *ready, struct channel *channel)
{
    (void)ready;
    (void)channel;
    return 0;
}

static void forget(struct ready_engine *ready, struct channel *channel)
{
    struct threads_engine *threads = (struct threads_engine *)(void *)ready;
    if (threads->channel == channel) {
        threads->channel = NULL;
    }
}

static int threads_init(struct engine **engine, const struct engine_config *config,
                        struct call_table *calls, struct err *error)
{
    struct threads_engine *threads = calloc(1, sizeof *threads);
    if (!threads || ready_init(&threads->ready, &engine_threads, config, calls) < 0) {
        free(threads);
        return err_system(error, ENOMEM, "threads", "cannot start the engine");
    }
    threads->ready.arm = arm;
    threads->ready.forget = forget;
    *engine = &threads->ready.engine;
    return 0;
}

static int threads_add(struct engine *engine, struct channel *channel)
{
    struct threads_engine *threads = (struct threads_engine *)(void *)engine;
    if (threads->channel) {
        return -EBUSY; /* one channel a thread: that is the point of this engine */
    }
    threads->channel = channel;
    threads->blocking = false;
    return 0;
}

/* Blocking mode with a time limit, once the socket is connected. */
static int make_blocking(struct threads_engine *threads)
{
    int fd = threads->channel->fd;
    struct timeval limit = {.tv_usec = (suseconds_t)(BLOCKED_NS / NS_PER_US)};
    int flags = fcntl(fd, F_GETFL);
    int result = setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    call_counted(threads->ready.engine.calls, CALL_SETSOCKOPT, result, false);
    if (flags < 0 || result < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
        return -1;
    }
    threads->blocking = true;
    return 0;
}

/* Waits until one of the channel's files is ready, then handles it. */
static int wait_ready(struct threads_engine *threads, uint64_t wait_ns, struct err *error)
{
    struct channel *channel = threads->channel;
    bool in = channel->wants & (CHANNEL_WANTS_RECEIVE | CHANNEL_WANTS_ACCEPT);
    bool out = channel->wants & (CHANNEL_WANTS_SEND | CHANNEL_WANTS_CONNECT);
    struct pollfd files[2] = {
        {.fd = in ? channel->fd : -1, .events = POLLIN},
        {.fd = out ? channel->write_fd : -1, .events = POLLOUT},
    };
    struct timespec wait = clock_timespec(wait_ns);
    int ready = ppoll(files, 2, &wait, NULL);
    call_counted(threads->ready.engine.calls, CALL_PPOLL, ready, false);
    if (ready < 0) {
        return errno == EINTR ? 0 : err_system(error, errno, "threads", "waiting failed");
    }
    ready_handle(&threads->ready, channel, files[0].revents != 0, files[1].revents != 0);
    return 0;
}

static int threads_reap(struct engine *engine, uint64_t until_ns, struct err *error)
{
    struct threads_engine *threads = (struct threads_engine *)(void *)engine;
    struct channel *channel = threads->channel;
    uint64_t wait_ns = ready_wait_ns(until_ns);
    if (!channel) {
        struct timespec wait = clock_timespec(wait_ns);
        call_counted(engine->calls, CALL_PPOLL, ppoll(NULL, 0, &wait, NULL), false);
        return 0;
    }
    if (channel->wants != CHANNEL_WANTS_RECEIVE || channel->kind == CHANNEL_PIPE ||
        wait_ns < BLOCKED_NS) {
        return wait_ready(threads, wait_ns, error);
    }
    if (!threads->blocking && make_blocking(threads) < 0) {
        return err_system(error, errno, "threads", "cannot make the socket blocking");
    }
    ready_handle(&threads->ready, channel, true, false);
    return 0;
}

static void threads_fini(struct engine *engine)
{
    struct threads_engine *threads = (struct threads_engine *)(void *)engine;
    if (threads) {
        ready_fini(&threads->ready);
        free(threads);
    }
}

const struct engine_ops engine_threads = {
    .name = "threads",
    .help = "a thread a connection, blocking calls",
    .flags = ENGINE_ONE_CHANNEL | ENGINE_SENDS_AT_ONCE,
    .why_not = threads_why_not,
    .init = threads_init,
    .add = threads_add,
    .submit = ready_submit,
    .reap = threads_reap,
    .fini = threads_fini,
};
