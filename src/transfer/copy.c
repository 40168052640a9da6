/* copy: the loop of ipc-static. A blocking write of exactly one buffer; reads that fill one from
 * its start until all has come, then from its start again. */
#include <unistd.h>

#include "transfer/stream.h"

static int copy_why_not(const struct transport_ops *transport, char *reason, size_t size)
{
    (void)transport;
    (void)reason;
    (void)size;
    return 0;
}

static int copy_open(struct transfer_end **end, bool sender, const struct transfer_config *config,
                     struct transfer_counts *counts, struct err *error)
{
    return stream_open_one(end, &method_copy, sender, config, counts, error);
}

static ssize_t call_write(struct stream *stream, uint64_t asked)
{
    return write(stream->end.config.fd, stream_next(stream), asked);
}

static int copy_send(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    return stream_all(stream_of(end), bytes, CALL_WRITE, call_write, false, error);
}

static ssize_t copy_send_some(struct transfer_end *end, uint64_t bytes, struct err *error)
{
    return stream_some(stream_of(end), bytes, CALL_WRITE, call_write, false, error);
}

const struct method_ops method_copy = {
    .name = "copy",
    .help = "write of one buffer, read until it is full: the kernel copies in and out",
    .flags = METHOD_SOME | METHOD_VERIFY,
    .buffers = 2,
    .why_not = copy_why_not,
    .open = copy_open,
    .send = copy_send,
    .receive = stream_read,
    .send_some = copy_send_some,
    .receive_some = stream_read_some,
    .close = stream_close,
};
