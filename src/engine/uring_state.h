/* What the parts of the io_uring engine share: requests on their way to the kernel
 * (uring_request.c), completions on their way back (uring_complete.c), the engine (uring.c). */
#ifndef SONDE_ENGINE_URING_STATE_H
#define SONDE_ENGINE_URING_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include <liburing.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "engine/uring_buffers.h"
#include "engine/uring_messages.h"

/* What a completion belongs to: in the low bits of user_data, above them the channel, which is
 * aligned to 8. One of each kind is in the kernel for a channel at most, but for TAG_CANCEL and
 * TAG_CLOSE. Above TAG_MESSAGE stands a struct uring_message: a send of a CHANNEL_MANY. */
enum tag { TAG_RECEIVE, TAG_SEND, TAG_CONNECT, TAG_ACCEPT, TAG_CANCEL, TAG_CLOSE, TAG_MESSAGE };
#define TAG_MASK UINT64_C(7)
#define TAGS_CANCELLABLE 4

/* channel->armed. The first four are requests in the kernel or queued for it, 1 << enum tag. */
enum {
    ARMED_RECEIVE = 1 << TAG_RECEIVE,
    ARMED_SEND = 1 << TAG_SEND,
    ARMED_CONNECT = 1 << TAG_CONNECT,
    ARMED_ACCEPT = 1 << TAG_ACCEPT,
    ARMED_REQUESTS = 15,
    ARMED_CANCEL = 16,   /* cancellations are under way */
    ARMED_PENDING = 32,  /* in the list of channels with work left over */
    ARMED_SHUTDOWN = 64, /* shut down once the send has completed */
    ARMED_QUIET = 128,   /* the send tells only of failure */
};

#ifndef IORING_SEND_ZC_REPORT_USAGE /* liburing 2.3 is older */
#define IORING_SEND_ZC_REPORT_USAGE (1U << 3)
#define IORING_NOTIF_USAGE_ZC_COPIED (1U << 31)
#endif

/* In channel->send_flags beside OP_*: a datagram waits for room before it is tried again. */
#define SEND_WAITS (UINT32_C(1) << 31)

/* In channel->held: the channel's own memory holds something, so many bytes of it (the other bits);
 * else it names a buffer. It has the one or the other: nothing is received while something is held.
 */
#define HELD_IN_MEMORY (UINT32_C(1) << 31)

/* channel->slot while a receive ended that nobody wanted to hear of: the errno, or this. */
#define ENDED_BY_PEER UINT32_MAX

struct uring {
    struct engine engine;
    struct io_uring ring;
    struct uring_buffers buffers;
    struct uring_messages messages; /* of channels that are not plain */
    bool multishot;                 /* every plain receive; else of CHANNEL_STEADY where `steady` */
    bool steady;
    /* Channels with work left over for the next reap: held data that is wanted again, requests
     * that found no room or no buffer. First in, first out. */
    struct channel *pending, **pending_end;
    /* Channels whose quiet send has been queued and not yet settled; NULL: settled already. */
    struct channel **quiet;
    uint32_t quiet_count, quiet_most;
};

static inline struct uring *uring_of(struct engine *engine)
{
    return (struct uring *)(void *)engine;
}

/* Where the channel's receives go. */
static inline struct uring_buffers *uring_buffers_of(struct uring *uring,
                                                     const struct channel *channel)
{
    return channel_is_plain(channel) ? &uring->buffers : &uring->messages.buffers;
}

/* Everything was submitted and all completions are in the ring: a request that posts one only where
 * it fails, and has none there, has succeeded. */
static inline bool uring_sees_all(struct uring *uring)
{
    return io_uring_sq_ready(&uring->ring) == 0 && !io_uring_cq_has_overflow(&uring->ring);
}

/* Puts the channel on the list of those with work left over. */
static inline void uring_pend(struct uring *uring, struct channel *channel)
{
    if (channel->armed & ARMED_PENDING) {
        return;
    }
    channel->armed |= ARMED_PENDING;
    channel->next_pending = NULL;
    *uring->pending_end = channel;
    uring->pending_end = &channel->next_pending;
}

static inline void uring_deliver(struct uring *uring, struct channel *channel, enum op_kind kind,
                                 int64_t result, const uint8_t *data)
{
    struct op op = {.kind = kind, .channel = channel, .result = result, .data = data};
    op.now_ns = clock_now_ns();
    uring->engine.config.deliver(uring->engine.config.owner, &op);
}

/* Counts one io_uring_enter that was made while `queued` entries waited, with liburing's result,
 * and hands that through. */
int uring_count_enter(struct uring *uring, unsigned queued, int result);

/* engine_ops.submit. */
enum submit_result uring_submit(struct engine *engine, struct op *op);

/* Submits a send of a channel that is not plain (message.h). */
enum submit_result uring_send_message(struct uring *uring, struct op *op);

/* Queues a send; false: no room now. */
bool uring_arm_send(struct uring *uring, struct channel *channel, const uint8_t *data,
                    size_t length, uint32_t flags);

/* A free submission entry, NULL where the kernel takes none now; and marking it as one of the
 * channel's. */
struct io_uring_sqe *uring_take_entry(struct uring *uring);
void uring_tag_entry(struct io_uring_sqe *entry, struct channel *channel, enum tag tag);

/* The send that was queued with a message (uring_send_message) is through. Where it found no room,
 * its first segment is left to be sent. */
void uring_end_message(struct uring *uring, struct channel *channel, int32_t result);

/* A datagram found no room: waits until there is some. */
void uring_wait_for_room(struct uring *uring, struct channel *channel);

/* Frees the messages of CHANNEL_MANY that have been submitted, but for those that failed. Called
 * like uring_settle_quiet. */
void uring_settle_messages(struct uring *uring);

/* A message of a CHANNEL_MANY has failed: takes it off its channel, which is returned. */
struct channel *uring_fail_message(struct uring *uring, struct uring_message *message);

/* Asks again for what the channel wants and the kernel no longer does. `likely`: data is probably
 * there already. */
void uring_rearm(struct uring *uring, struct channel *channel, bool likely);

/* Cancels the channel's requests in `which` (ARMED_*). */
void uring_cancel(struct uring *uring, struct channel *channel, uint8_t which);

/* Ends the sending direction, once a send under way has completed. */
void uring_shut_down(struct uring *uring, struct channel *channel);

/* Brings OP_CLOSE one step on: cancel, wait for all completions, close, deliver. The channel may be
 * gone afterwards. */
void uring_advance_close(struct uring *uring, struct channel *channel);

/* Does what was left over for this reap; the count of deliveries, at least. */
unsigned uring_work_off_pending(struct uring *uring);

/* Completes the quiet sends that have been submitted: those that failed have posted a completion
 * by now, all others have succeeded. To be called before uring_drain. */
void uring_settle_quiet(struct uring *uring);

/* Handles the completions that are there now. */
void uring_drain(struct uring *uring);

#endif
