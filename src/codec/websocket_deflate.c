#include "codec/websocket_deflate.h"

#include <limits.h>
#include <string.h>

/* How every message ends, and what is not sent of it (RFC 7692, section 7.2.1). */
static const uint8_t end_of_message[4] = {0x00, 0x00, 0xff, 0xff};

enum {
    WINDOW_LEAST_BITS = 9, /* of zlib's deflate; older ones take 8 for it without a word */
    UNUSED_BITS = 7,       /* of z_stream.data_type, as inflate leaves it */
    BLOCK_BOUNDARY = 128,
};

static uInt clipped(size_t length)
{
    return length < UINT_MAX ? (uInt)length : UINT_MAX;
}

/* ---- inflating ---- */

int websocket_inflater_open(struct websocket_inflater *inflater, int window_bits, bool no_context,
                            uint64_t message_most)
{
    *inflater = (struct websocket_inflater){.message_most = message_most, .no_context = no_context};
    /* A peer that was told 8 may be a zlib that takes 9 instead. */
    int bits = window_bits < WINDOW_LEAST_BITS ? WINDOW_LEAST_BITS : window_bits;
    if (inflateInit2(&inflater->stream, -bits) != Z_OK) {
        return WEBSOCKET_BAD_MEMORY;
    }
    inflater->open = true;
    return 0;
}

void websocket_inflater_close(struct websocket_inflater *inflater)
{
    if (inflater->open) {
        inflateEnd(&inflater->stream);
        inflater->open = false;
    }
}

static int begin_inflating(struct websocket_inflater *inflater)
{
    if (inflater->begun) {
        return 0;
    }
    inflater->begun = true;
    inflater->tail = 0;
    inflater->message_bytes = 0;
    inflater->utf8 = (struct websocket_utf8){0};
    return inflater->no_context && inflateReset(&inflater->stream) != Z_OK ? WEBSOCKET_BAD_DEFLATE
                                                                           : 0;
}

/* A block said that it was the last one (section 7.2.3.4): others follow it all the same, and may
 * refer to what came before. Keeps the window; to copy it out and in again would cost a peer two
 * bytes and this end 64 KiB. */
static int go_on(z_stream *stream)
{
    return inflateResetKeep(stream) == Z_OK ? 0 : WEBSOCKET_BAD_DEFLATE;
}

/* One call of zlib over `length` bytes; *taken of them. */
static int inflate_some(struct websocket_inflater *inflater, const uint8_t *from, size_t length,
                        struct websocket_flow *flow, bool text, size_t *taken)
{
    z_stream *stream = &inflater->stream;
    stream->next_in = (Bytef *)from;
    stream->avail_in = clipped(length);
    stream->next_out = flow->to + flow->made;
    stream->avail_out = clipped(flow->room - flow->made);
    int status = inflate(stream, Z_SYNC_FLUSH);
    size_t made = (size_t)(stream->next_out - (flow->to + flow->made));
    *taken = (size_t)(stream->next_in - (Bytef *)from);
    /* What came before an error is judged first, wherever the input was cut. */
    inflater->message_bytes += made;
    if (inflater->message_bytes > inflater->message_most) {
        return WEBSOCKET_BAD_DEFLATE_LONG;
    }
    if (text && !websocket_utf8_feed(&inflater->utf8, flow->to + flow->made, made)) {
        return WEBSOCKET_BAD_TEXT;
    }
    if (status == Z_MEM_ERROR) {
        return WEBSOCKET_BAD_MEMORY;
    }
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) {
        return WEBSOCKET_BAD_DEFLATE;
    }
    flow->made += made;
    return status == Z_STREAM_END ? go_on(stream) : 0;
}

/* Whether zlib may still have something to say, had it more room. */
static bool is_full(const struct websocket_flow *flow)
{
    return flow->made == flow->room;
}

static int end_inflating(struct websocket_inflater *inflater, struct websocket_flow *flow,
                         bool text)
{
    while (inflater->tail < sizeof end_of_message) {
        size_t taken;
        int error = inflate_some(inflater, end_of_message + inflater->tail,
                                 sizeof end_of_message - inflater->tail, flow, text, &taken);
        if (error) {
            return error;
        }
        inflater->tail = (uint8_t)(inflater->tail + taken);
        if (is_full(flow)) {
            return 1;
        }
    }
    int type = inflater->stream.data_type;
    if (!(type & BLOCK_BOUNDARY) || (type & UNUSED_BITS)) {
        return WEBSOCKET_BAD_DEFLATE_CUT;
    }
    if (text && !websocket_utf8_whole(&inflater->utf8)) {
        return WEBSOCKET_BAD_TEXT_CUT;
    }
    inflater->begun = false;
    return 0;
}

int websocket_inflate(struct websocket_inflater *inflater, struct websocket_flow *flow, bool text,
                      bool last)
{
    flow->made = 0;
    int error = flow->room ? begin_inflating(inflater) : WEBSOCKET_BAD_ROOM;
    if (error) {
        return error;
    }
    do { /* once without input too: there may be output that had no room */
        size_t taken;
        error = inflate_some(inflater, flow->from, flow->length, flow, text, &taken);
        if (error) {
            return error;
        }
        flow->from += taken;
        flow->length -= taken;
        if (is_full(flow)) {
            return 1;
        }
    } while (flow->length);
    return last ? end_inflating(inflater, flow, text) : 0;
}

/* ---- deflating ---- */

int websocket_deflater_open(struct websocket_deflater *deflater, int window_bits, bool no_context,
                            int level, int memory_level)
{
    *deflater = (struct websocket_deflater){.no_context = no_context};
    bool small = window_bits < WINDOW_LEAST_BITS;
    if (deflateInit2(&deflater->stream, level, Z_DEFLATED,
                     small ? -WINDOW_LEAST_BITS : -window_bits, memory_level,
                     small ? Z_RLE : Z_DEFAULT_STRATEGY) != Z_OK) {
        return WEBSOCKET_BAD_MEMORY;
    }
    deflater->open = true;
    return 0;
}

void websocket_deflater_close(struct websocket_deflater *deflater)
{
    if (deflater->open) {
        deflateEnd(&deflater->stream);
        deflater->open = false;
    }
}

/* One call of zlib. The last four bytes that it made are held back: they may be the end. */
static int deflate_some(struct websocket_deflater *deflater, struct websocket_flow *flow, int flush)
{
    z_stream *stream = &deflater->stream;
    memcpy(flow->to, deflater->held, deflater->held_bytes);
    stream->next_in = (Bytef *)flow->from;
    stream->avail_in = clipped(flow->length);
    stream->next_out = flow->to + deflater->held_bytes;
    stream->avail_out = clipped(flow->room - deflater->held_bytes);
    int status = deflate(stream, flush);
    if (status != Z_OK && status != Z_BUF_ERROR) {
        return WEBSOCKET_BAD_DEFLATE;
    }
    flow->length -= (size_t)(stream->next_in - (Bytef *)flow->from);
    flow->from = stream->next_in;
    size_t there = (size_t)(stream->next_out - flow->to);
    deflater->held_bytes = (uint8_t)(there < sizeof deflater->held ? there : sizeof deflater->held);
    flow->made = there - deflater->held_bytes;
    if (deflater->held_bytes) {
        memcpy(deflater->held, flow->to + flow->made, deflater->held_bytes);
    }
    deflater->message_bytes += flow->made;
    return stream->avail_out == 0 ? 1 : 0;
}

int websocket_deflate(struct websocket_deflater *deflater, struct websocket_flow *flow, bool last)
{
    flow->made = 0;
    if (flow->room < WEBSOCKET_DEFLATE_ROOM) {
        return WEBSOCKET_BAD_ROOM;
    }
    if (!deflater->begun) {
        deflater->begun = true;
        deflater->held_bytes = 0;
        deflater->message_bytes = 0;
        if (deflater->no_context && deflateReset(&deflater->stream) != Z_OK) {
            return WEBSOCKET_BAD_DEFLATE;
        }
    }
    if (!last && flow->length == 0) {
        return 0;
    }
    int full = deflate_some(deflater, flow, last ? Z_SYNC_FLUSH : Z_NO_FLUSH);
    if (full != 0 || !last) {
        return full;
    }
    /* Without input zlib makes nothing, or nothing but the end: an empty block stands for it
     * (section 7.2.3.6). */
    deflater->begun = false;
    if (deflater->message_bytes == 0) {
        flow->to[0] = 0;
        flow->made = 1;
    }
    return 0;
}
