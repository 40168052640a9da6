/* threads: one thread a connection, blocking receives; while nothing is to be received but an end,
 * blocking sends on a stream. It enters ppoll only where a blocking call could not be left in time
 * or could not wait for all (an instant near ahead, a send that waits for room beside a receive, a
 * pipe). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/clock.h"
#include "engine/ready.h"

/* A blocking call is left after this long, so that the thread sees the end of the run. */
#define BLOCKED_NS (10 * NS_PER_MS)

/* Messages taken from the socket before others get their turn, where the loop does not wait. */
#define RECEIVES_IN_A_ROW 32

struct threads_engine {
    struct ready_engine ready;
    struct channel *channel;
    bool blocking;       /* the file is in blocking mode, receives have their time limit */
    bool blocking_sends; /* and sends */
    bool end_only;       /* of the receive nothing but the end is expected: OP_END_ONLY */
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
    int failed = ready_add(&threads->ready, channel);
    if (failed) {
        return failed;
    }
    threads->channel = channel;
    threads->blocking = threads->blocking_sends = threads->end_only = false;
    return 0;
}

static int limit(struct threads_engine *threads, int option)
{
    struct timeval limit = {.tv_usec = (suseconds_t)(BLOCKED_NS / NS_PER_US)};
    int result = setsockopt(threads->channel->fd, SOL_SOCKET, option, &limit, sizeof limit);
    call_counted(threads->ready.engine.calls, CALL_SETSOCKOPT, result, false);
    return result;
}

/* Blocking mode with a time limit, once the socket is connected. */
static int make_blocking(struct threads_engine *threads)
{
    if (threads->blocking) {
        return 0;
    }
    int fd = threads->channel->fd;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || limit(threads, SO_RCVTIMEO) < 0 ||
        fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
        return -1;
    }
    threads->blocking = true;
    return 0;
}

/* A time limit for sends, too: only who sends in bulk pays for it. */
static int make_sends_blocking(struct threads_engine *threads)
{
    if (!threads->blocking_sends &&
        (make_blocking(threads) < 0 || limit(threads, SO_SNDTIMEO) < 0)) {
        return -1;
    }
    threads->blocking_sends = true;
    return 0;
}

/* A send may block while nothing else can happen on the channel, or nothing but its end. */
static enum submit_result threads_submit(struct engine *engine, struct op *op)
{
    struct threads_engine *threads = (struct threads_engine *)(void *)engine;
    struct channel *channel = op->channel;
    if (op->kind == OP_RECEIVE) {
        threads->end_only = op->flags & OP_END_ONLY;
    }
    bool receives = channel->wants & CHANNEL_WANTS_RECEIVE && !threads->end_only;
    if (op->kind != OP_SEND || receives || op->flags & OP_TRY || channel->kind != CHANNEL_SOCKET ||
        !channel_is_plain(channel)) {
        return ready_submit(engine, op);
    }
    if (make_sends_blocking(threads) < 0) {
        op->result = -errno;
        return SUBMIT_DONE;
    }
    return ready_send_blocking(&threads->ready, op);
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
    short events = files[0].revents | files[1].revents;
    if (events & POLLERR) {
        ready_handle_error(&threads->ready, channel);
    }
    unsigned reported = files[0].revents ? READY_READS : 0;
    reported |= files[1].revents ? READY_WRITES : 0;
    reported |= events & (POLLERR | POLLHUP | POLLNVAL) ? READY_FAILED : 0;
    ready_handle(&threads->ready, channel, reported);
    return 0;
}

static int threads_reap(struct engine *engine, uint64_t until_ns, struct err *error)
{
    struct threads_engine *threads = (struct threads_engine *)(void *)engine;
    struct channel *channel = threads->channel;
    uint64_t wait_ns = ready_wait_ns(until_ns);
    /* Where the first may wait for something, a second one could but find nothing. */
    threads->ready.receives_in_a_row = wait_ns ? 1 : RECEIVES_IN_A_ROW;
    if (!channel) {
        struct timespec wait = clock_timespec(wait_ns);
        call_counted(engine->calls, CALL_PPOLL, ppoll(NULL, 0, &wait, NULL), false);
        return 0;
    }
    if (channel->wants == 0 && wait_ns == 0) {
        return 0; /* nothing to ask the kernel for: a bulk sender goes on at once */
    }
    if (channel->wants == CHANNEL_WANTS_SEND && threads->blocking_sends && wait_ns >= BLOCKED_NS) {
        ready_handle_send_blocking(&threads->ready, channel);
        return 0;
    }
    if (engine->config.spins && wait_ns == 0 && !threads->blocking &&
        channel->wants == CHANNEL_WANTS_RECEIVE) {
        ready_handle(&threads->ready, channel, READY_READS);
        return 0;
    }
    if (channel->wants != CHANNEL_WANTS_RECEIVE || channel->kind == CHANNEL_PIPE ||
        wait_ns < BLOCKED_NS) {
        return wait_ready(threads, wait_ns, error);
    }
    if (make_blocking(threads) < 0) {
        return err_system(error, errno, "threads", "cannot make the socket blocking");
    }
    ready_handle(&threads->ready, channel, READY_READS);
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
    .flags = ENGINE_ONE_CHANNEL | ENGINE_SENDS_AT_ONCE | ENGINE_ZEROCOPY | ENGINE_FILES,
    .why_not = threads_why_not,
    .init = threads_init,
    .add = threads_add,
    .submit = threads_submit,
    .reap = threads_reap,
    .fini = threads_fini,
};
