/* io_uring: operations are queued in user space and go to the kernel together, with the wait for
 * completions, in one io_uring_enter. Receives and accepts fill buffers of a provided ring, so that
 * a connection that waits for data owns no buffer.
 *
 * Counting: liburing hides when it enters the kernel. Of its calls only three are used here after
 * init, each of which makes exactly one io_uring_enter as it is called (so read in liburing 2.3
 * and 2.9): io_uring_submit with entries queued, io_uring_submit_and_get_events always, and
 * io_uring_submit_and_wait_timeout with a timeout and an empty completion queue (nobody but this
 * thread fills it under DEFER_TASKRUN). */
#include "engine/engine.h"

#include <stdio.h>

#if SONDE_HAVE_URING

#include <errno.h>
#include <stdlib.h>

#include "engine/uring_setup.h"
#include "engine/uring_state.h"

#define BUFFERS_MIN 16
#define BUFFERS_FIRST_MAX 1024
#define STEADY_LEAST 4 /* channels: with fewer a single receive has been the cheaper one */
#define FIRST_BYTES ((size_t)2 << 20)
#define BUFFERS_MAX 32768 /* of one buffer ring: a limit of the kernel */

static int uring_reap(struct engine *engine, uint64_t until_ns, struct err *error)
{
    struct uring *uring = uring_of(engine);
    unsigned delivered = uring_work_off_pending(uring);
    unsigned ready = io_uring_cq_ready(&uring->ring);
    unsigned queued = io_uring_sq_ready(&uring->ring);
    uint64_t now_ns = until_ns && !ready && !delivered ? clock_now_ns() : UINT64_MAX;
    int result = 0;
    if (until_ns > now_ns) {
        struct timespec left = clock_timespec(until_ns - now_ns);
        struct __kernel_timespec wait = {.tv_sec = left.tv_sec, .tv_nsec = left.tv_nsec};
        struct io_uring_cqe *first;
        result = uring_count_enter(
            uring, queued, io_uring_submit_and_wait_timeout(&uring->ring, &first, 1, &wait, NULL));
    } else if (queued || !ready) {
        result = uring_count_enter(uring, queued, io_uring_submit_and_get_events(&uring->ring));
    }
    uring_settle_quiet(uring);
    uring_settle_messages(uring);
    uring_drain(uring);
    /* EAGAIN and EBUSY: what was not taken stays queued for the next time. */
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN &&
        result != -EBUSY) {
        return err_system(error, -result, "io_uring", "io_uring_enter failed");
    }
    return 0;
}

/* At first one buffer a channel, so that all can be filled in one round, as far as that takes
 * little memory; what more is needed shows (uring_buffers_relieve). */
static void count_buffers(const struct engine_config *config, uint32_t *first, uint32_t *most)
{
    uint32_t little = BUFFERS_MIN;
    while (little < BUFFERS_FIRST_MAX && 2 * little * config->receive_bytes <= FIRST_BYTES) {
        little *= 2;
    }
    *first = uring_power_of_two(config->channels, BUFFERS_MIN, little);
    *most = uring_power_of_two(4 * (uint64_t)config->channels, 16 * BUFFERS_MIN, BUFFERS_MAX);
}

static int uring_init(struct engine **engine, const struct engine_config *config,
                      struct call_table *calls, struct err *error)
{
    struct uring *uring = calloc(1, sizeof *uring);
    if (!uring) {
        return err_system(error, ENOMEM, "io_uring", "cannot start the engine");
    }
    uring->engine = (struct engine){.ops = &engine_uring, .calls = calls, .config = *config};
    uring->pending_end = &uring->pending;
    /* AUTO is single-shot but for CHANNEL_STEADY: a multishot receive costs a cancellation whenever
     * its channel pauses, as an echo does for each message, and gains nothing while one request is
     * in flight. */
    uring->multishot = config->receive_mode == URING_RECEIVE_MULTISHOT;
    uring->steady = config->receive_mode == URING_RECEIVE_AUTO && config->channels > STEADY_LEAST;
    int result = uring_open(&uring->ring, config->channels);
    if (result < 0) {
        err_system(error, -result, "io_uring", "cannot create a ring");
        err_hint(error, "%s", uring_explain(-result));
        free(uring);
        return -1;
    }
    uint32_t first, most;
    count_buffers(config, &first, &most);
    uring->quiet_most = uring->ring.sq.ring_entries;
    uring->quiet = calloc(uring->quiet_most, sizeof(struct channel *));
    *engine = &uring->engine;
    if (!uring->quiet) {
        err_system(error, ENOMEM, "io_uring", "cannot start the engine");
    }
    if (!uring->quiet || uring_buffers_open(&uring->buffers, &uring->ring, URING_BUFFER_GROUP,
                                            first, most, config->receive_bytes, error) < 0) {
        engine_uring.fini(*engine);
        *engine = NULL;
        return -1;
    }
    return 0;
}

static int uring_add(struct engine *engine, struct channel *channel)
{
    struct uring *uring = uring_of(engine);
    /* user_data keeps the tag in the low bits of the address. */
    if ((uintptr_t)channel & TAG_MASK) {
        return -EINVAL;
    }
    if (channel_is_plain(channel)) {
        return 0;
    }
    uint32_t first, most;
    count_buffers(&engine->config, &first, &most);
    int failed = uring_messages_open(&uring->messages, &uring->ring, first, most,
                                     engine->config.receive_bytes);
    return failed
               ? failed
               : messages_add(&uring->messages.calls, channel, engine->config.receive_bytes, false);
}

static void uring_fini(struct engine *engine)
{
    struct uring *uring = uring_of(engine);
    if (!uring) {
        return;
    }
    io_uring_queue_exit(&uring->ring);
    uring_buffers_close(&uring->buffers);
    uring_messages_close(&uring->messages);
    free(uring->quiet);
    free(uring);
}

#else

static int uring_why_not(char *reason, size_t size)
{
    snprintf(reason, size, "built without liburing (2.3 or newer)");
    return -1;
}

static int uring_init(struct engine **engine, const struct engine_config *config,
                      struct call_table *calls, struct err *error)
{
    (void)engine;
    (void)config;
    (void)calls;
    return err_set(error, ERR_UNSUPPORTED, "io_uring", "built without liburing (2.3 or newer)");
}

static int uring_add(struct engine *engine, struct channel *channel)
{
    (void)engine;
    (void)channel;
    return -1;
}

static enum submit_result uring_submit(struct engine *engine, struct op *op)
{
    (void)engine;
    (void)op;
    return SUBMIT_BUSY;
}

static int uring_reap(struct engine *engine, uint64_t until_ns, struct err *error)
{
    (void)engine;
    (void)until_ns;
    return err_set(error, ERR_UNSUPPORTED, "io_uring", "built without liburing (2.3 or newer)");
}

static void uring_fini(struct engine *engine)
{
    (void)engine;
}

#endif

const struct engine_ops engine_uring = {
    .name = "uring",
    .help = "io_uring: many operations in one entry, receives into provided buffers",
    .flags = ENGINE_ZEROCOPY | ENGINE_BUFFERS,
    .why_not = uring_why_not,
    .init = uring_init,
    .add = uring_add,
    .submit = uring_submit,
    .reap = uring_reap,
    .fini = uring_fini,
};
