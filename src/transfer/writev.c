/* writev: several blocks of their own in one call at each end. */
#include <sys/uio.h>

#include "transfer/stream.h"

/* Enough to make the cost of entering the kernel small beside that of copying even at 1 KiB. */
#define BLOCKS_MOST 16
/* Beyond this, a call is nearly all copying and gathering saves nothing, while the blocks no longer
 * fit a second-level cache: blocks of more than half of it go one a call, as with copy. */
#define WINDOW_BYTES (UINT64_C(1) << 20)

/* The vector of the blocks, and parts of blocks, in `bytes` bytes from the position; at: where they
 * lie. */
static int gather(const struct stream *stream, uint8_t *at, uint64_t bytes, struct iovec *vector)
{
    uint64_t buffer = stream->end.config.buffer_bytes;
    uint64_t room = buffer - stream->position % buffer;
    int count = 0;
    while (bytes > 0) {
        uint64_t part = room < bytes ? room : bytes;
        vector[count++] = (struct iovec){.iov_base = at, .iov_len = part};
        at += part;
        bytes -= part;
        room = buffer;
    }
    return count;
}

static ssize_t call_writev(struct stream *stream, uint64_t asked)
{
    struct iovec vector[BLOCKS_MOST];
    int count = gather(stream, stream_next(stream), asked, vector);
    return writev(stream->end.config.fd, vector, count);
}

static ssize_t call_readv(struct stream *stream, uint64_t asked)
{
    struct iovec vector[BLOCKS_MOST];
    int count = gather(stream, stream->memory + stream->position, asked, vector);
    return readv(stream->end.config.fd, vector, count);
}

static int writev_why_not(const struct transport_ops *transport, char *reason, size_t size)
{
    (void)transport;
    (void)reason;
    (void)size;
    return 0;
}

static int writev_open(struct transfer_end **end, bool sender, const struct transfer_config *config,
                       struct transfer_counts *counts, struct err *error)
{
    uint64_t blocks =
        config->buffer_bytes ? stream_blocks(config->buffer_bytes, WINDOW_BYTES, BLOCKS_MOST) : 1;
    return stream_open(end, sizeof(struct stream), &method_writev, sender, config, counts, blocks,
                       error);
}

static int writev_send(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    return stream_all(stream_of(end), bytes, CALL_WRITEV, call_writev, false, error);
}

static int writev_receive(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    return stream_all(stream_of(end), bytes, CALL_READV, call_readv, true, error);
}

static ssize_t writev_send_some(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    return stream_some(stream_of(end), bytes, CALL_WRITEV, call_writev, false, error);
}

static ssize_t writev_receive_some(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    return stream_some(stream_of(end), bytes, CALL_READV, call_readv, true, error);
}

const struct method_ops method_writev = {
    .name = "writev",
    .help = "writev and readv of up to 16 blocks, 1 MiB at most: fewer calls, as many copies",
    .flags = METHOD_SOME | METHOD_VERIFY,
    .buffers = 2,
    .why_not = writev_why_not,
    .open = writev_open,
    .send = writev_send,
    .receive = writev_receive,
    .send_some = writev_send_some,
    .receive_some = writev_receive_some,
    .close = stream_close,
};
