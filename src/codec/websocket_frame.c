#include <string.h>

#include "codec/websocket.h"

/* Bits of the first two bytes of a header (section 5.2). */
enum {
    BIT_FINAL = 0x80,
    BIT_COMPRESSED = 0x40, /* RSV1 */
    BITS_RESERVED = 0x70,
    BITS_OPCODE = 0x0f,
    BIT_CONTROL = 0x08, /* of an opcode */
    BIT_MASKED = 0x80,
    BITS_LENGTH = 0x7f,
    LENGTH_16 = 126, /* the length follows in 2 bytes */
    LENGTH_64 = 127, /* in 8 */
};

static const struct {
    const char *name, *text;
    uint16_t answer;
} errors[] = {
#define X(name, answer, text) {#name, text, answer},
    WEBSOCKET_ERRORS(X)
#undef X
};

static bool is_error(int error)
{
    return error > WEBSOCKET_ERROR_BASE && error < WEBSOCKET_ERROR_END;
}

const char *websocket_error_text(int error)
{
    return is_error(error) ? errors[error - WEBSOCKET_ERROR_BASE - 1].text : "unknown error";
}

const char *websocket_error_name(int error)
{
    return is_error(error) ? errors[error - WEBSOCKET_ERROR_BASE - 1].name : "unknown";
}

unsigned websocket_error_answer(int error)
{
    return is_error(error) ? errors[error - WEBSOCKET_ERROR_BASE - 1].answer : 0;
}

bool websocket_code_valid(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

void websocket_reader_init(struct websocket_reader *reader, enum websocket_role role,
                           const struct websocket_limits *limits, bool deflate)
{
    *reader =
        (struct websocket_reader){.limits = *limits, .role = (uint8_t)role, .deflate = deflate};
}

/* How long the header is, as far as its first bytes tell. */
static size_t header_bytes(const uint8_t *header, size_t there)
{
    if (there < 2) {
        return 2;
    }
    uint8_t length = header[1] & BITS_LENGTH;
    size_t extended = length == LENGTH_16 ? 2 : length == LENGTH_64 ? 8 : 0;
    return 2 + extended + (header[1] & BIT_MASKED ? WEBSOCKET_MASK_BYTES : 0);
}

static int check_first(const struct websocket_reader *reader, uint8_t byte)
{
    uint8_t opcode = byte & BITS_OPCODE;
    uint8_t reserved = byte & BITS_RESERVED;
    bool compressible = opcode == WEBSOCKET_TEXT || opcode == WEBSOCKET_BINARY;
    if (reserved && !(reserved == BIT_COMPRESSED && reader->deflate && compressible)) {
        return WEBSOCKET_BAD_RESERVED_BITS;
    }
    if (opcode & BIT_CONTROL) {
        if (opcode > WEBSOCKET_PONG) {
            return WEBSOCKET_BAD_OPCODE;
        }
        return byte & BIT_FINAL ? 0 : WEBSOCKET_BAD_CONTROL_FRAGMENT;
    }
    if (opcode > WEBSOCKET_BINARY) {
        return WEBSOCKET_BAD_OPCODE;
    }
    if (opcode == WEBSOCKET_CONTINUATION) {
        return reader->in_message ? 0 : WEBSOCKET_BAD_CONTINUATION;
    }
    return reader->in_message ? WEBSOCKET_BAD_INTERLEAVED : 0;
}

static int check_second(const struct websocket_reader *reader, const uint8_t *header)
{
    bool masked = header[1] & BIT_MASKED;
    if (masked != (reader->role == WEBSOCKET_SERVER)) {
        return masked ? WEBSOCKET_BAD_MASK_FORBIDDEN : WEBSOCKET_BAD_MASK_MISSING;
    }
    uint8_t length = header[1] & BITS_LENGTH;
    if (!(header[0] & BIT_CONTROL)) {
        return 0;
    }
    if (length > WEBSOCKET_CONTROL_MOST) {
        return WEBSOCKET_BAD_CONTROL_LONG;
    }
    bool close = (header[0] & BITS_OPCODE) == WEBSOCKET_CLOSE;
    return close && length == 1 ? WEBSOCKET_BAD_CLOSE_SHORT : 0;
}

/* The payload's length from the whole header; negative where it may not be. */
static int64_t check_length(const struct websocket_reader *reader, const uint8_t *header)
{
    uint8_t form = header[1] & BITS_LENGTH;
    uint64_t length = form;
    if (form >= LENGTH_16) {
        size_t bytes = form == LENGTH_16 ? 2 : 8;
        length = 0;
        for (size_t i = 0; i < bytes; i++) {
            length = length << 8 | header[2 + i];
        }
        if (length >> 63) {
            return WEBSOCKET_BAD_LENGTH_RANGE;
        }
        if (length <= (form == LENGTH_16 ? 125u : UINT16_MAX)) {
            return WEBSOCKET_BAD_LENGTH_FORM;
        }
    }
    if (header[0] & BIT_CONTROL) {
        return (int64_t)length;
    }
    if (length > reader->limits.frame_most) {
        return WEBSOCKET_BAD_FRAME_LONG;
    }
    if (length > reader->limits.message_most ||
        reader->message_bytes > reader->limits.message_most - length) {
        return WEBSOCKET_BAD_MESSAGE_LONG;
    }
    return (int64_t)length;
}

static int begin_frame(struct websocket_reader *reader, const uint8_t *header, size_t bytes)
{
    int64_t length = check_length(reader, header);
    if (length < 0) {
        return (int)length;
    }
    reader->in_frame = true;
    reader->header_there = 0;
    reader->left = (uint64_t)length;
    reader->opcode = header[0] & BITS_OPCODE;
    reader->final = header[0] & BIT_FINAL;
    reader->masked = header[1] & BIT_MASKED;
    reader->phase = 0;
    if (reader->masked) {
        memcpy(reader->mask, header + bytes - WEBSOCKET_MASK_BYTES, WEBSOCKET_MASK_BYTES);
    }
    if (reader->opcode & BIT_CONTROL) {
        reader->control_there = 0;
        return 0;
    }
    if (reader->opcode != WEBSOCKET_CONTINUATION) {
        reader->in_message = true;
        reader->message_begun = false;
        reader->message_opcode = reader->opcode;
        reader->compressed = header[0] & BIT_COMPRESSED;
    }
    reader->message_bytes += reader->left;
    return 0;
}

/* Checks what is there of a header. The header's length where it is whole, 0 where it is not. */
static int check_header(const struct websocket_reader *reader, const uint8_t *header, size_t there)
{
    int error = there > 0 ? check_first(reader, header[0]) : 0;
    if (error == 0 && there > 1) {
        error = check_second(reader, header);
    }
    if (error) {
        return error;
    }
    size_t bytes = header_bytes(header, there);
    return there >= bytes ? (int)bytes : 0;
}

/* Takes bytes of a header; reader->in_frame where it was whole. */
static ssize_t take_header(struct websocket_reader *reader, const uint8_t *data, size_t length)
{
    if (reader->header_there == 0) {
        int bytes = check_header(reader, data, length);
        if (bytes != 0) {
            int error = bytes < 0 ? bytes : begin_frame(reader, data, (size_t)bytes);
            return error ? error : bytes;
        }
    }
    /* In pieces: byte by byte, so that none of the payload is taken. */
    for (size_t used = 0; used < length;) {
        reader->header[reader->header_there++] = data[used++];
        int bytes = check_header(reader, reader->header, reader->header_there);
        if (bytes != 0) {
            int error = bytes < 0 ? bytes : begin_frame(reader, reader->header, (size_t)bytes);
            return error ? error : (ssize_t)used;
        }
    }
    return (ssize_t)length;
}

static int end_control(struct websocket_reader *reader, uint8_t *data, size_t length,
                       struct websocket_event *event)
{
    reader->in_frame = false;
    event->data = data;
    event->length = length;
    if (reader->opcode != WEBSOCKET_CLOSE) {
        event->kind = reader->opcode == WEBSOCKET_PING ? WEBSOCKET_PINGED : WEBSOCKET_PONGED;
        return 0;
    }
    event->kind = WEBSOCKET_CLOSED;
    event->code = WEBSOCKET_NO_CODE;
    if (length >= 2) {
        struct websocket_utf8 utf8 = {0};
        event->code = (uint16_t)(data[0] << 8 | data[1]);
        event->data += 2;
        event->length -= 2;
        if (!websocket_code_valid(event->code)) {
            return WEBSOCKET_BAD_CLOSE_CODE;
        }
        if (!websocket_utf8_feed(&utf8, event->data, event->length) ||
            !websocket_utf8_whole(&utf8)) {
            return WEBSOCKET_BAD_CLOSE_TEXT;
        }
    }
    reader->closed = true;
    return 0;
}

/* A control frame's payload is given whole: from where it lies if all of it is there. */
static int take_control(struct websocket_reader *reader, uint8_t *data, size_t piece,
                        struct websocket_event *event)
{
    if (reader->masked) {
        websocket_mask(data, data, piece, reader->mask, reader->phase);
        reader->phase = (uint8_t)((reader->phase + piece) % WEBSOCKET_MASK_BYTES);
    }
    reader->left -= piece;
    if (reader->left == 0 && reader->control_there == 0) {
        return end_control(reader, data, piece, event);
    }
    memcpy(reader->control + reader->control_there, data, piece);
    reader->control_there = (uint8_t)(reader->control_there + piece);
    return reader->left ? 0 : end_control(reader, reader->control, reader->control_there, event);
}

static int take_data(struct websocket_reader *reader, uint8_t *data, size_t piece,
                     struct websocket_event *event)
{
    if (piece == 0 && reader->left) {
        return 0;
    }
    if (reader->masked) {
        websocket_mask(data, data, piece, reader->mask, reader->phase);
        reader->phase = (uint8_t)((reader->phase + piece) % WEBSOCKET_MASK_BYTES);
    }
    reader->left -= piece;
    event->kind = WEBSOCKET_DATA;
    event->data = data;
    event->length = piece;
    event->text = reader->message_opcode == WEBSOCKET_TEXT;
    event->compressed = reader->compressed;
    event->first = !reader->message_begun;
    event->frame_end = reader->left == 0;
    event->last = event->frame_end && reader->final;
    reader->message_begun = true;
    reader->in_frame = !event->frame_end;
    reader->in_message = !event->last;
    reader->message_bytes = event->last ? 0 : reader->message_bytes;
    if (event->text && !event->compressed) {
        if (!websocket_utf8_feed(&reader->utf8, data, piece)) {
            return WEBSOCKET_BAD_TEXT;
        }
        if (event->last && !websocket_utf8_whole(&reader->utf8)) {
            return WEBSOCKET_BAD_TEXT_CUT;
        }
    }
    return 0;
}

ssize_t websocket_read(struct websocket_reader *reader, uint8_t *data, size_t length,
                       struct websocket_event *event)
{
    *event = (struct websocket_event){0};
    if (reader->failed) {
        return reader->failed;
    }
    if (reader->closed || length == 0) {
        return (ssize_t)length;
    }
    size_t used = 0;
    if (!reader->in_frame) {
        ssize_t taken = take_header(reader, data, length);
        if (taken < 0) {
            reader->failed = (int16_t)taken;
            return taken;
        }
        used = (size_t)taken;
        if (!reader->in_frame) {
            return taken;
        }
    }
    size_t piece = length - used < reader->left ? length - used : (size_t)reader->left;
    int error = reader->opcode & BIT_CONTROL ? take_control(reader, data + used, piece, event)
                                             : take_data(reader, data + used, piece, event);
    if (error) {
        *event = (struct websocket_event){0};
        reader->failed = (int16_t)error;
        return error;
    }
    return (ssize_t)(used + piece);
}

size_t websocket_header_write(uint8_t to[WEBSOCKET_HEADER_MOST],
                              const struct websocket_frame *frame)
{
    size_t bytes = frame->length <= 125 ? 0 : frame->length <= UINT16_MAX ? 2 : 8;
    uint64_t form = bytes == 0 ? frame->length : bytes == 2 ? LENGTH_16 : LENGTH_64;
    to[0] = (uint8_t)(frame->opcode | (frame->more ? 0 : BIT_FINAL) |
                      (frame->compressed ? BIT_COMPRESSED : 0));
    to[1] = (uint8_t)(form | (frame->mask ? BIT_MASKED : 0));
    for (size_t i = 0; i < bytes; i++) {
        to[2 + i] = (uint8_t)(frame->length >> (8 * (bytes - 1 - i)));
    }
    if (frame->mask) {
        memcpy(to + 2 + bytes, frame->mask, WEBSOCKET_MASK_BYTES);
        bytes += WEBSOCKET_MASK_BYTES;
    }
    return 2 + bytes;
}

size_t websocket_frame_write(uint8_t *to, const struct websocket_frame *frame,
                             const uint8_t *payload)
{
    size_t header = websocket_header_write(to, frame);
    size_t length = (size_t)frame->length;
    if (frame->mask) {
        websocket_mask(to + header, payload, length, frame->mask, 0);
    } else if (length) {
        memcpy(to + header, payload, length);
    }
    return header + length;
}

size_t websocket_close_write(uint8_t to[WEBSOCKET_CONTROL_MOST], unsigned code, const char *reason)
{
    if (code == WEBSOCKET_NO_CODE) {
        return 0;
    }
    to[0] = (uint8_t)(code >> 8);
    to[1] = (uint8_t)code;
    size_t length = reason ? strlen(reason) : 0;
    if (length > WEBSOCKET_REASON_MOST) {
        length = WEBSOCKET_REASON_MOST;
        while (length && ((uint8_t)reason[length] & 0xc0) == 0x80) {
            length--;
        }
    }
    if (length) {
        memcpy(to + 2, reason, length);
    }
    return 2 + length;
}
