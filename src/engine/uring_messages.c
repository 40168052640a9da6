#if SONDE_HAVE_URING

#include "engine/uring_messages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SENDS_MAX 1024

/* Before a message in its buffer: io_uring_recvmsg_out, the sender, the control messages. Always so
 * many, so that what is left is the size of a receive exactly. */
#define SENDER_BYTES sizeof(struct sockaddr_storage)
#define CONTROL_BYTES sizeof(union message_control)
#define PREFIX_BYTES (sizeof(struct io_uring_recvmsg_out) + SENDER_BYTES + CONTROL_BYTES)

int uring_messages_open(struct uring_messages *messages, struct io_uring *ring, uint32_t first,
                        uint32_t most, size_t bytes)
{
    struct err error = {0};
    if (messages->sends) {
        return 0;
    }
    if (uring_buffers_open(&messages->buffers, ring, URING_MESSAGE_GROUP, first, most,
                           bytes + PREFIX_BYTES, &error) < 0) {
        uring_buffers_close(&messages->buffers);
        return error.number ? -error.number : -ENOMEM;
    }
    messages->queued = calloc(SENDS_MAX, sizeof *messages->queued);
    void *memory = mmap(NULL, SENDS_MAX * sizeof *messages->sends, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || !messages->queued) {
        if (memory != MAP_FAILED) {
            munmap(memory, SENDS_MAX * sizeof *messages->sends);
        }
        free(messages->queued);
        messages->queued = NULL;
        io_uring_unregister_buf_ring(ring, URING_MESSAGE_GROUP);
        uring_buffers_close(&messages->buffers);
        return -ENOMEM;
    }
    messages->sends = memory;
    messages->receive[false] = (struct msghdr){.msg_controllen = CONTROL_BYTES + SENDER_BYTES};
    messages->receive[true] =
        (struct msghdr){.msg_namelen = SENDER_BYTES, .msg_controllen = CONTROL_BYTES};
    return 0;
}

void uring_messages_close(struct uring_messages *messages)
{
    if (messages->sends) {
        munmap(messages->sends, SENDS_MAX * sizeof *messages->sends);
    }
    uring_buffers_close(&messages->buffers);
    messages_close(&messages->calls);
    free(messages->queued);
    *messages = (struct uring_messages){0};
}

void uring_messages_read(struct uring_messages *messages, const struct channel *channel,
                         const uint8_t *buffer, uint32_t length, struct uring_received *received)
{
    const struct msghdr *asked = uring_receive_header(messages, channel);
    struct io_uring_recvmsg_out out;
    memcpy(&out, buffer, sizeof out);
    const uint8_t *name = buffer + sizeof out;
    const uint8_t *control = name + asked->msg_namelen;
    const uint8_t *data = control + asked->msg_controllen;
    struct op *op = &received->op;
    *received = (struct uring_received){.op.data = data, .op.length = out.payloadlen};
    op->result = (int64_t)(buffer + length - data);
    if (channel->kind == CHANNEL_MANY) {
        op->peer = (const struct sockaddr *)(const void *)name;
        op->peer_length = out.namelen;
    }
    if (out.controllen) {
        struct msghdr header = {.msg_control = (void *)(uintptr_t)control,
                                .msg_controllen = out.controllen};
        message_read_control(&header, &op->segment, &received->received_ns);
        op->segment = op->segment < op->length ? op->segment : 0;
    }
}

struct uring_message *uring_messages_take(struct uring_messages *messages)
{
    struct uring_message *message = NULL;
    if (messages->free) {
        message = &messages->sends[messages->free - 1]; /* the newest: still in the cache */
        messages->free = message->next;
    } else if (messages->count < SENDS_MAX) {
        message = &messages->sends[messages->count++];
    }
    return message;
}

void uring_messages_give(struct uring_messages *messages, struct uring_message *message)
{
    message->channel = NULL;
    message->next = messages->free;
    messages->free = uring_message_number(messages, message) + 1;
}

void uring_messages_describe(struct uring_message *message, const struct op *op, size_t length,
                             bool segments)
{
    message->channel = op->channel;
    message->segment = op->segment;
    message->told = false;
    message->vector = (struct iovec){.iov_base = (void *)(uintptr_t)op->data, .iov_len = length};
    message->header = (struct msghdr){.msg_iov = &message->vector, .msg_iovlen = 1};
    if (op->peer) {
        socklen_t room = sizeof message->peer;
        message->header.msg_name = &message->peer;
        message->header.msg_namelen = op->peer_length < room ? op->peer_length : room;
        memcpy(&message->peer, op->peer, message->header.msg_namelen);
    }
    if (segments) {
        message_put_segment(&message->header, &message->control, (uint16_t)op->segment);
    }
}

#else

/* An empty translation unit is no valid C. */
typedef int uring_messages_is_absent;

#endif
