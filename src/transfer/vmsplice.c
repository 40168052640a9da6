/* vmsplice and splice: the sender hands its pages to the pipe, the kernel copies nothing in.
 *
 * A pipe then refers to the sender's pages until they have been read: what is written to them
 * meanwhile would be read instead (vmsplice(2)). A block's content never changes once its end has
 * been opened, so a page may be handed over again while the pipe still holds it, and the sender
 * has nothing to wait for. Pages outlive their unmapping for as long as the pipe holds them. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "transfer/stream.h"

/* Of `splice`. */
struct splice_end {
    struct stream stream;
    int null_fd; /* the receiver's: where the bytes go; -1 at the sender */
};

static int vmsplice_why_not(const struct transport_ops *transport, char *reason, size_t size)
{
    return stream_only(transport, &transport_pipe,
                       "a sender's pages can be handed to a pipe, not to a socket", reason, size);
}

/* Takes as many pages as the pipe has slots free, so a block larger than the pipe's capacity takes
 * several calls. */
static ssize_t call_vmsplice(struct stream *stream, uint64_t asked)
{
    struct iovec block = {.iov_base = stream_next(stream), .iov_len = asked};
    return vmsplice(stream->end.config.fd, &block, 1, 0);
}

/* vmsplice does not look at O_NONBLOCK. */
static ssize_t call_vmsplice_nonblocking(struct stream *stream, uint64_t asked)
{
    struct iovec block = {.iov_base = stream_next(stream), .iov_len = asked};
    return vmsplice(stream->end.config.fd, &block, 1, SPLICE_F_NONBLOCK);
}

static int vmsplice_send(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    return stream_all(stream_of(end), bytes, CALL_VMSPLICE, call_vmsplice, false, error);
}

static ssize_t vmsplice_send_some(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    return stream_some(stream_of(end), bytes, CALL_VMSPLICE, call_vmsplice_nonblocking, false,
                       error);
}

static int vmsplice_open(struct transfer_end **end, bool sender,
                         const struct transfer_config *config, struct transfer_counts *counts,
                         struct err *error)
{
    return stream_open_one(end, &method_vmsplice, sender, config, counts, error);
}

const struct method_ops method_vmsplice = {
    .name = "vmsplice",
    .help = "vmsplice hands the sender's pages to the pipe, read copies them out: one copy saved",
    .flags = METHOD_SOME | METHOD_VERIFY,
    .buffers = 2,
    .why_not = vmsplice_why_not,
    .open = vmsplice_open,
    .send = vmsplice_send,
    .receive = stream_read,
    .send_some = vmsplice_send_some,
    .receive_some = stream_read_some,
    .close = stream_close,
};

static void splice_close(struct transfer_end *end)
{
    struct splice_end *splice_end = (struct splice_end *)(void *)end;
    if (splice_end && splice_end->null_fd >= 0) {
        close(splice_end->null_fd);
    }
    stream_close(end);
}

static int splice_open(struct transfer_end **end, bool sender, const struct transfer_config *config,
                       struct transfer_counts *counts, struct err *error)
{
    if (stream_open(end, sizeof(struct splice_end), &method_splice, sender, config, counts, 1,
                    error) < 0) {
        return -1;
    }
    struct splice_end *splice_end = (struct splice_end *)(void *)*end;
    splice_end->null_fd = -1;
    if (!sender) {
        splice_end->null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (splice_end->null_fd < 0) {
            err_system(error, errno, "/dev/null", "cannot open it");
            splice_close(*end);
            *end = NULL;
            return -1;
        }
    }
    return 0;
}

static ssize_t call_splice(struct stream *stream, uint64_t asked)
{
    struct splice_end *splice_end = (struct splice_end *)(void *)stream;
    return splice(stream->end.config.fd, NULL, splice_end->null_fd, NULL, asked, 0);
}

static ssize_t call_splice_nonblocking(struct stream *stream, uint64_t asked)
{
    struct splice_end *splice_end = (struct splice_end *)(void *)stream;
    return splice(stream->end.config.fd, NULL, splice_end->null_fd, NULL, asked, SPLICE_F_NONBLOCK);
}

static int splice_receive(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    return stream_all(stream_of(end), bytes, CALL_SPLICE, call_splice, false, error);
}

static ssize_t splice_receive_some(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    return stream_some(stream_of(end), bytes, CALL_SPLICE, call_splice_nonblocking, false, error);
}

const struct method_ops method_splice = {
    .name = "splice",
    .help = "vmsplice, and splice to /dev/null: no copy, and nobody sees the content",
    .flags = METHOD_SOME,
    .buffers = 1,
    .why_not = vmsplice_why_not,
    .open = splice_open,
    .send = vmsplice_send,
    .receive = splice_receive,
    .send_some = vmsplice_send_some,
    .receive_some = splice_receive_some,
    .close = splice_close,
};
