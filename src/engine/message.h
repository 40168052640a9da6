/* Messages through plain calls: what the engines share in serving datagrams, segments and the
 * kernel's time stamps. */
#ifndef SONDE_ENGINE_MESSAGE_H
#define SONDE_ENGINE_MESSAGE_H

#include <netinet/in.h>
#include <time.h>

#include "engine/engine.h"

/* Taken by one recvmmsg, and given to one sendmmsg. */
#define MESSAGES_RECEIVED_AT_ONCE 32
#define MESSAGES_SENT_AT_ONCE 64

/* Most that one receive takes into memory of the channel's own: half of what fits channel->held. */
#define CHANNEL_MEMORY_MOST (UINT32_C(1) << 30)

/* Most that one send with UDP_SEGMENT takes: UDP_MAX_SEGMENTS of older kernels, and a payload of
 * UDP over IPv4. */
#define SEGMENTS_MAX 64
#define SEGMENTED_BYTES_MAX 65507

/* Room for the control messages of one receive: UDP_GRO, SCM_TIMESTAMPING (three times), and what
 * else the owner's settings may bring. */
union message_control {
    char bytes[256];
    size_t aligned; /* as a struct cmsghdr */
};

/* When the latest send of a file left the stack. */
struct sent_stamp {
    uint64_t sent_ns;
    bool owed; /* sent, and the stamp is not read yet */
};

struct message_batch {
    struct mmsghdr headers[MESSAGES_RECEIVED_AT_ONCE];
    struct iovec vectors[MESSAGES_RECEIVED_AT_ONCE];
    struct sockaddr_storage peers[MESSAGES_RECEIVED_AT_ONCE];
    union message_control controls[MESSAGES_RECEIVED_AT_ONCE];
    uint8_t data[]; /* MESSAGES_RECEIVED_AT_ONCE times receive_bytes */
};

/* What an engine keeps for such channels; empty until one is added that needs it. */
struct messages {
    struct message_batch *batch; /* CHANNEL_BATCHED */
    struct sent_stamp *stamps;   /* CHANNEL_STAMPS, by file */
    size_t stamp_count;
};

/* Streams without options take the engines' short way, and nothing here. CHANNEL_STEADY asks for
 * nothing that is not on it. */
static inline bool channel_is_plain(const struct channel *channel)
{
    return channel->kind < CHANNEL_DATAGRAM && !(channel->options & ~CHANNEL_STEADY);
}

static inline bool channel_is_datagram(const struct channel *channel)
{
    return channel->kind >= CHANNEL_DATAGRAM;
}

/* What an OP_RECEIVE says of where to receive. */
static inline void channel_take_memory(struct channel *channel, const struct op *op)
{
    bool own = op->length && channel_is_plain(channel);
    channel->memory = own ? (uint8_t *)(uintptr_t)op->data : NULL;
    channel->memory_bytes =
        op->length < CHANNEL_MEMORY_MOST ? (uint32_t)op->length : CHANNEL_MEMORY_MOST;
}

/* Makes what the channel needs; to be called when it is added. With `batches` false the engine has
 * its own way of taking several messages. 0 or -ENOMEM. */
int messages_add(struct messages *messages, const struct channel *channel, size_t receive_bytes,
                 bool batches);

/* Safe to call twice. */
void messages_close(struct messages *messages);

/* How many bytes of a send with op->segment go with one call that has UDP_SEGMENT; at most one
 * segment where that is of no use. */
size_t message_segmented_bytes(size_t length, uint32_t segment);

/* Writes the UDP_SEGMENT control message. */
void message_put_segment(struct msghdr *header, union message_control *control, uint16_t segment);

/* Reads the control messages of a receive: the size of its segments (0: one message) and when it
 * entered the stack. */
void message_read_control(struct msghdr *header, uint32_t *segment, uint64_t *received_ns);

/* Sends without waiting, with exactly one call: sendto, sendmsg with UDP_SEGMENT or sendmmsg. Of
 * `op` it reads data, length, flags, segment and peer. The bytes taken, or -1 with errno. */
ssize_t message_send(struct engine *engine, const struct channel *channel, const struct op *op);

/* CHANNEL_STAMPS: to be called after a successful send. Reads the stamp at once (one recvmmsg),
 * because an error queue that is not empty would wake every wait for the channel. */
void message_stamp_sent(struct messages *messages, struct engine *engine,
                        const struct channel *channel);

/* CHANNEL_STAMPS: to be called where a wait ended and there was nothing to receive: reads stamps
 * that came late, since they would end every wait to come. */
void message_stamps_late(struct messages *messages, struct engine *engine,
                         const struct channel *channel);

/* CHANNEL_STAMPS: when the latest send left the stack. Looks again where that is not known yet. */
uint64_t message_sent_ns(struct messages *messages, struct engine *engine,
                         const struct channel *channel);

#endif
