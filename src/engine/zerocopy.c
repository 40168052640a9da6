#include "engine/zerocopy.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "net/notice.h"

/* Notices wait in the socket's error queue, where the kernel joins neighbours: they are read after
 * so many sends, or where it has something to report or no room for more. */
#define SENDS_A_LOOK 32

static ssize_t send_file(struct engine *engine, const struct channel *channel, const struct op *op)
{
    off_t at = op->data - op->file->mapped;
    ssize_t result = sendfile(channel->write_fd, op->file->fd, &at, op->length);
    return call_counted(engine->calls, CALL_SENDFILE, result, true);
}

static ssize_t send_with(struct engine *engine, const struct channel *channel, const struct op *op,
                         int how)
{
    return call_counted(engine->calls, CALL_SENDTO,
                        send(channel->write_fd, op->data, op->length, how), true);
}

void zerocopy_read_notices(struct engine *engine, struct channel *channel)
{
    struct call_table *calls = engine->calls;
    while (channel->notices > 0) {
        struct net_notice notice;
        ssize_t result =
            call_counted(calls, CALL_RECVMSG, net_notice_read(channel->write_fd, &notice), false);
        if (result < 0) {
            return;
        }
        uint32_t sends = notice.valid ? notice.last - notice.first + 1 : 0;
        sends = sends < channel->notices ? sends : channel->notices;
        channel->notices -= sends;
        calls->zerocopy_reported += sends;
        calls->zerocopy_copied += notice.copied ? sends : 0;
    }
}

ssize_t zerocopy_send(struct engine *engine, struct channel *channel, const struct op *op,
                      int blocking)
{
    struct call_table *calls = engine->calls;
    int how = MSG_NOSIGNAL | blocking | (op->flags & OP_MORE ? MSG_MORE : 0);
    if (op->file) {
        return send_file(engine, channel, op);
    }
    ssize_t sent = send_with(engine, channel, op, how | MSG_ZEROCOPY);
    if (sent < 0 && errno == ENOBUFS) {
        zerocopy_read_notices(engine, channel);
        sent = send_with(engine, channel, op, how | MSG_ZEROCOPY);
    }
    if (sent < 0 && errno == ENOBUFS) {
        /* The notices owed use up what the socket may hold for them: this one is copied. */
        sent = send_with(engine, channel, op, how);
        calls->zerocopy_sends += sent >= 0;
        calls->zerocopy_reported += sent >= 0;
        calls->zerocopy_copied += sent >= 0;
        return sent;
    }
    if (sent >= 0) {
        calls->zerocopy_sends++;
        channel->notices++;
        if (channel->notices % SENDS_A_LOOK == 0) {
            zerocopy_read_notices(engine, channel);
        }
    }
    return sent;
}
