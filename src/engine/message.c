#include "engine/message.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

/* Read from an error queue with one call. */
#define STAMPS_AT_ONCE 8

static int add_stamps(struct messages *messages, int fd)
{
    size_t needed = (size_t)fd + 1;
    if (needed > messages->stamp_count) {
        size_t count = needed < 64 ? 64 : 2 * needed;
        struct sent_stamp *stamps = reallocarray(messages->stamps, count, sizeof *stamps);
        if (!stamps) {
            return -ENOMEM;
        }
        messages->stamps = stamps;
        messages->stamp_count = count;
    }
    messages->stamps[fd] = (struct sent_stamp){0};
    return 0;
}

int messages_add(struct messages *messages, const struct channel *channel, size_t receive_bytes,
                 bool batches)
{
    if (batches && channel_is_datagram(channel) && channel->options & CHANNEL_BATCHED &&
        !messages->batch) {
        messages->batch =
            malloc(sizeof *messages->batch + MESSAGES_RECEIVED_AT_ONCE * receive_bytes);
        if (!messages->batch) {
            return -ENOMEM;
        }
    }
    return channel->options & CHANNEL_STAMPS ? add_stamps(messages, channel->fd) : 0;
}

void messages_close(struct messages *messages)
{
    free(messages->batch);
    free(messages->stamps);
    *messages = (struct messages){0};
}

size_t message_segmented_bytes(size_t length, uint32_t segment)
{
    size_t segments = SEGMENTED_BYTES_MAX / segment;
    segments = segments > SEGMENTS_MAX ? SEGMENTS_MAX : segments;
    size_t most = (segments ? segments : 1) * segment;
    return length < most ? length : most;
}

void message_put_segment(struct msghdr *header, union message_control *control, uint16_t segment)
{
    header->msg_control = control;
    header->msg_controllen = CMSG_SPACE(sizeof segment);
    memset(control, 0, CMSG_SPACE(sizeof segment));
    struct cmsghdr *message = CMSG_FIRSTHDR(header);
    message->cmsg_level = SOL_UDP;
    message->cmsg_type = UDP_SEGMENT;
    message->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(message), &segment, sizeof segment);
}

/* The software stamp, which is the first of three. */
static uint64_t stamp_ns(struct cmsghdr *message)
{
    struct timespec time;
    memcpy(&time, CMSG_DATA(message), sizeof time);
    return (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_nsec;
}

static bool is_stamp(const struct cmsghdr *message)
{
    return message->cmsg_level == SOL_SOCKET && message->cmsg_type == SCM_TIMESTAMPING &&
           message->cmsg_len >= CMSG_LEN(sizeof(struct timespec));
}

void message_read_control(struct msghdr *header, uint32_t *segment, uint64_t *received_ns)
{
    *segment = 0;
    *received_ns = 0;
    for (struct cmsghdr *message = CMSG_FIRSTHDR(header); message;
         message = CMSG_NXTHDR(header, message)) {
        if (message->cmsg_level == SOL_UDP && message->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(message), sizeof size);
            *segment = (uint32_t)size;
        } else if (is_stamp(message)) {
            *received_ns = stamp_ns(message);
        }
    }
}

static ssize_t send_batch(struct engine *engine, const struct channel *channel, const struct op *op)
{
    struct mmsghdr headers[MESSAGES_SENT_AT_ONCE];
    struct iovec vectors[MESSAGES_SENT_AT_ONCE];
    unsigned count = 0;
    for (size_t at = 0; at < op->length && count < MESSAGES_SENT_AT_ONCE; count++) {
        size_t left = op->length - at;
        size_t bytes = left < op->segment ? left : op->segment;
        vectors[count] =
            (struct iovec){.iov_base = (void *)(uintptr_t)(op->data + at), .iov_len = bytes};
        headers[count] = (struct mmsghdr){.msg_hdr = {.msg_name = (void *)(uintptr_t)op->peer,
                                                      .msg_namelen = op->peer ? op->peer_length : 0,
                                                      .msg_iov = &vectors[count],
                                                      .msg_iovlen = 1}};
        at += bytes;
    }
    int sent = sendmmsg(channel->write_fd, headers, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    ssize_t result = sent < 0 ? -1 : 0;
    for (int i = 0; i < sent; i++) {
        result += headers[i].msg_len;
    }
    return call_counted(engine->calls, CALL_SENDMMSG, result, true);
}

static ssize_t send_segments(struct engine *engine, const struct channel *channel,
                             const struct op *op, size_t length)
{
    union message_control control;
    struct iovec vector = {.iov_base = (void *)(uintptr_t)op->data, .iov_len = length};
    struct msghdr header = {.msg_name = (void *)(uintptr_t)op->peer,
                            .msg_namelen = op->peer ? op->peer_length : 0,
                            .msg_iov = &vector,
                            .msg_iovlen = 1};
    message_put_segment(&header, &control, (uint16_t)op->segment);
    ssize_t result = sendmsg(channel->write_fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    return call_counted(engine->calls, CALL_SENDMSG, result, true);
}

ssize_t message_send(struct engine *engine, const struct channel *channel, const struct op *op)
{
    int how = MSG_NOSIGNAL | MSG_DONTWAIT;
    size_t length = op->length;
    if (!channel_is_datagram(channel)) {
        how |= op->flags & OP_MORE ? MSG_MORE : 0;
    } else if (op->segment && length > op->segment) {
        if (!(channel->options & CHANNEL_SEGMENTS)) {
            return send_batch(engine, channel, op);
        }
        length = message_segmented_bytes(length, op->segment);
        if (length > op->segment) {
            return send_segments(engine, channel, op, length);
        }
    }
    ssize_t result =
        sendto(channel->write_fd, op->data, length, how, op->peer, op->peer ? op->peer_length : 0);
    return call_counted(engine->calls, CALL_SENDTO, result, true);
}

/* The stamp in one message of an error queue; 0: it holds none, or of something else than leaving
 * the stack. */
static uint64_t read_sent(struct msghdr *header)
{
    uint64_t sent_ns = 0;
    for (struct cmsghdr *message = CMSG_FIRSTHDR(header); message;
         message = CMSG_NXTHDR(header, message)) {
        bool extended = (message->cmsg_level == SOL_IP && message->cmsg_type == IP_RECVERR) ||
                        (message->cmsg_level == SOL_IPV6 && message->cmsg_type == IPV6_RECVERR);
        if (is_stamp(message)) {
            sent_ns = stamp_ns(message);
        } else if (extended) {
            struct sock_extended_err what;
            memcpy(&what, CMSG_DATA(message), sizeof what);
            if (what.ee_origin != SO_EE_ORIGIN_TIMESTAMPING || what.ee_info != SCM_TSTAMP_SND) {
                return 0;
            }
        }
    }
    return sent_ns;
}

/* recvmmsg takes all that is there with one call, where recvmsg would need one more to see the
 * end. Without a vector the payload that may come along is cut off. */
static void read_stamps(struct messages *messages, struct engine *engine, int fd)
{
    union message_control controls[STAMPS_AT_ONCE];
    struct mmsghdr headers[STAMPS_AT_ONCE];
    struct sent_stamp *stamp = &messages->stamps[fd];
    int count;
    do {
        for (int i = 0; i < STAMPS_AT_ONCE; i++) {
            headers[i] = (struct mmsghdr){
                .msg_hdr = {.msg_control = &controls[i], .msg_controllen = sizeof controls[i]}};
        }
        count = recvmmsg(fd, headers, STAMPS_AT_ONCE, MSG_ERRQUEUE | MSG_DONTWAIT, NULL);
        call_counted(engine->calls, CALL_RECVMMSG, count, false);
        for (int i = 0; i < count; i++) {
            uint64_t sent_ns = read_sent(&headers[i].msg_hdr);
            if (sent_ns) {
                *stamp = (struct sent_stamp){.sent_ns = sent_ns};
            }
        }
    } while (count == STAMPS_AT_ONCE);
}

void message_stamp_sent(struct messages *messages, struct engine *engine,
                        const struct channel *channel)
{
    messages->stamps[channel->fd].owed = true;
    read_stamps(messages, engine, channel->fd);
}

void message_stamps_late(struct messages *messages, struct engine *engine,
                         const struct channel *channel)
{
    read_stamps(messages, engine, channel->fd);
}

uint64_t message_sent_ns(struct messages *messages, struct engine *engine,
                         const struct channel *channel)
{
    if (messages->stamps[channel->fd].owed) {
        read_stamps(messages, engine, channel->fd);
    }
    return messages->stamps[channel->fd].sent_ns;
}
