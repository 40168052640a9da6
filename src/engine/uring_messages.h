/* Messages through io_uring: what goes with a send until the kernel has taken it, and what comes
 * before a message in the buffer that it was received into. */
#ifndef SONDE_ENGINE_URING_MESSAGES_H
#define SONDE_ENGINE_URING_MESSAGES_H

#include <stdbool.h>
#include <stdint.h>

#include <liburing.h>

#include "engine/message.h"
#include "engine/uring_buffers.h"

/* Room for the data of a send that need not outlive its submission; a larger one is sent by a plain
 * call. */
#define URING_MESSAGE_BYTES 65536

/* A sendmsg on its way: all that the kernel reads from. */
struct uring_message {
    struct msghdr header;
    struct iovec vector;
    union message_control control;
    struct sockaddr_storage peer;
    struct channel *channel;
    uint32_t segment;
    bool told;     /* it failed: its completion comes, and ends it */
    uint32_t next; /* free message after this one, plus 1 */
    uint8_t data[URING_MESSAGE_BYTES];
} __attribute__((aligned(8)));

/* Empty until a channel is added that is not plain (message.h). */
struct uring_messages {
    struct uring_buffers buffers;
    struct msghdr receive[2];    /* what to ask for: [with the sender] */
    struct messages calls;       /* stamps */
    struct uring_message *sends; /* address space for `count`; memory only once used */
    uint32_t count;
    uint32_t free; /* newest free one plus 1, 0: none */
    /* Sends of CHANNEL_MANY that the kernel has not been seen to take. */
    uint32_t *queued;
    uint32_t queued_count;
};

/* A received message as it lies in its buffer. */
struct uring_received {
    struct op op; /* data, length, result, segment, peer */
    uint64_t received_ns;
};

/* Makes what channels need that are not plain, with buffers for messages of `bytes`. 0 or -errno.
 */
int uring_messages_open(struct uring_messages *messages, struct io_uring *ring, uint32_t first,
                        uint32_t most, size_t bytes);

/* After the ring itself has gone. Safe to call twice. */
void uring_messages_close(struct uring_messages *messages);

/* What is asked for with each receive of the channel. */
static inline struct msghdr *uring_receive_header(struct uring_messages *messages,
                                                  const struct channel *channel)
{
    return &messages->receive[channel->kind == CHANNEL_MANY];
}

/* Reads what a completion of `length` bytes has left in a buffer. */
void uring_messages_read(struct uring_messages *messages, const struct channel *channel,
                         const uint8_t *buffer, uint32_t length, struct uring_received *received);

/* A free message, NULL where all are under way. */
struct uring_message *uring_messages_take(struct uring_messages *messages);
void uring_messages_give(struct uring_messages *messages, struct uring_message *message);

/* Fills in where, how much and in which segments; the data stays where it is. */
void uring_messages_describe(struct uring_message *message, const struct op *op, size_t length,
                             bool segments);

static inline uint32_t uring_message_number(const struct uring_messages *messages,
                                            const struct uring_message *message)
{
    return (uint32_t)(message - messages->sends);
}

#endif
