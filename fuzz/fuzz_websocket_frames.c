/* A stream of WebSocket frames of any bytes: the first says which end reads it, whether messages
 * may be compressed, and how it is cut. Cut or not, it says the same; what it says can be written
 * and read again. */
#include <stdlib.h>
#include <string.h>

#include "codec/websocket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 1 << 16 };

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

/* What was read: the bytes of all messages and control frames, with where they end. */
struct said {
    uint8_t *bytes;
    size_t length;
    int error;
};

static void say(struct said *said, const void *bytes, size_t length)
{
    if (length) {
        memcpy(said->bytes + said->length, bytes, length);
    }
    said->length += length;
}

/* One frame of what was read, written by the other end and read back. */
static void again(enum websocket_role role, const struct websocket_event *event)
{
    static const uint8_t mask[WEBSOCKET_MASK_BYTES] = {0x5a, 0, 0xff, 0x81};
    const struct websocket_limits limits = {MOST, MOST};
    const struct websocket_frame frame = {.opcode = event->kind == WEBSOCKET_DATA ? WEBSOCKET_BINARY
                                                                                  : WEBSOCKET_PONG,
                                          .mask = role == WEBSOCKET_SERVER ? mask : NULL,
                                          .length = event->length};
    struct websocket_reader reader;
    struct websocket_event read;
    uint8_t *wire = malloc(WEBSOCKET_HEADER_MOST + event->length);
    require(wire != NULL);
    size_t length = websocket_frame_write(wire, &frame, event->data);
    require(length <= WEBSOCKET_HEADER_MOST + event->length);
    websocket_reader_init(&reader, role, &limits, false);
    require(websocket_read(&reader, wire, length, &read) == (ssize_t)length);
    require(read.length == event->length && read.frame_end == (event->kind == WEBSOCKET_DATA));
    require(read.length == 0 || memcmp(read.data, event->data, read.length) == 0);
    free(wire);
}

static void hear(struct said *said, enum websocket_role role, const struct websocket_event *event)
{
    uint8_t kind = (uint8_t)event->kind;
    require(!event->length || event->data);
    if (event->kind == WEBSOCKET_NOTHING) {
        return;
    }
    if (event->kind != WEBSOCKET_DATA) {
        require(event->length <= WEBSOCKET_CONTROL_MOST);
        say(said, &kind, 1);
    }
    require(event->kind != WEBSOCKET_CLOSED || event->code == WEBSOCKET_NO_CODE ||
            websocket_code_valid(event->code));
    say(said, event->data, event->length);
    if (event->last) {
        uint8_t end = (uint8_t)(0x80 | event->text | event->compressed << 1);
        say(said, &end, 1);
    }
    again(role, event);
}

static void read_all(struct said *said, const uint8_t *data, size_t size, enum websocket_role role,
                     bool deflate, size_t chop)
{
    const struct websocket_limits limits = {.frame_most = MOST / 2, .message_most = MOST};
    struct websocket_reader reader;
    struct websocket_event event;
    said->bytes = malloc(3 * size + 16);
    require(said->bytes != NULL);
    websocket_reader_init(&reader, role, &limits, deflate);
    for (size_t at = 0; at < size && !said->error;) {
        size_t piece = chop && size - at > chop ? chop : size - at;
        uint8_t *copy = malloc(piece);
        require(copy != NULL);
        memcpy(copy, data + at, piece);
        for (size_t used = 0; used < piece && !said->error;) {
            ssize_t taken = websocket_read(&reader, copy + used, piece - used, &event);
            require(taken != 0 && taken <= (ssize_t)(piece - used));
            if (taken < 0) {
                said->error = (int)taken;
            } else {
                used += (size_t)taken;
                hear(said, role, &event);
            }
        }
        at += piece;
        free(copy);
    }
    require(!said->error || websocket_code_valid(websocket_error_answer(said->error)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    enum websocket_role role = data[0] & 1 ? WEBSOCKET_SERVER : WEBSOCKET_CLIENT;
    struct said whole = {0}, pieces = {0};
    read_all(&whole, data + 1, size - 1, role, data[0] & 2, 0);
    read_all(&pieces, data + 1, size - 1, role, data[0] & 2, 1 + data[0] / 4);
    require(whole.error == pieces.error);
    if (!whole.error) {
        require(whole.length == pieces.length);
        require(memcmp(whole.bytes, pieces.bytes, whole.length) == 0);
    }
    free(whole.bytes);
    free(pieces.bytes);
    return 0;
}
