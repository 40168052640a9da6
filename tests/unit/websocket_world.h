/* A peer in memory that echoes what WebSocket frames bring it, made of the codec alone, and a
 * tester in the other role that sends it whatever bytes and reads what it answers. */
#ifndef SONDE_TESTS_WEBSOCKET_WORLD_H
#define SONDE_TESTS_WEBSOCKET_WORLD_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "codec/websocket_deflate.h"
#include "codec/websocket_handshake.h"

/* Bytes that end where nothing can be read any more: at most two pages of them. */
static inline uint8_t *ws_at_the_edge(const void *bytes, size_t length)
{
    static uint8_t *pages;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (pages == NULL) {
        pages = mmap(NULL, 10 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(pages, MAP_FAILED);
        assert_int_equal(mprotect(pages + 9 * page, page, PROT_NONE), 0);
    }
    assert_true(length <= 9 * page);
    uint8_t *to = pages + 9 * page - length;
    if (length) {
        memcpy(to, bytes, length);
    }
    return to;
}

struct ws_bytes {
    uint8_t *data;
    size_t length, room;
};

static inline uint8_t *ws_grow(struct ws_bytes *bytes, size_t more)
{
    if (bytes->length + more > bytes->room) {
        bytes->room = 2 * bytes->room + more;
        bytes->data = realloc(bytes->data, bytes->room);
        assert_non_null(bytes->data);
    }
    bytes->length += more;
    return bytes->data + bytes->length - more;
}

static inline void ws_append(struct ws_bytes *bytes, const void *data, size_t length)
{
    if (length) {
        memcpy(ws_grow(bytes, length), data, length);
    }
}

static inline void ws_free(struct ws_bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct ws_bytes){0};
}

/* A frame: its first byte as it is on the wire, and its payload `times` over (0 is once). */
struct ws_frame {
    int first;
    const char *payload;
    size_t length, times;
};

static inline size_t ws_length(const struct ws_frame *frame)
{
    return frame->length * (frame->times ? frame->times : 1);
}

static inline struct ws_bytes ws_payload(const struct ws_frame *frame)
{
    struct ws_bytes payload = {0};
    ws_grow(&payload, 1); /* never NULL */
    payload.length = 0;
    for (size_t done = 0; done < ws_length(frame); done += frame->length) {
        ws_append(&payload, frame->payload, frame->length);
    }
    return payload;
}

/* Adds a frame, masked if the sender is a client; any first byte, unlike the codec's writer. */
static inline void ws_send(struct ws_bytes *wire, enum websocket_role sender, struct rng *rng,
                           const struct ws_frame *frame)
{
    uint8_t mask[WEBSOCKET_MASK_BYTES], header[WEBSOCKET_HEADER_MOST];
    websocket_mask_draw(rng, mask);
    struct ws_bytes payload = ws_payload(frame);
    struct websocket_frame form = {.opcode = WEBSOCKET_TEXT,
                                   .mask = sender == WEBSOCKET_CLIENT ? mask : NULL,
                                   .length = payload.length};
    size_t length = websocket_header_write(header, &form);
    header[0] = (uint8_t)frame->first;
    ws_append(wire, header, length);
    uint8_t *to = ws_grow(wire, payload.length);
    if (form.mask) {
        websocket_mask(to, payload.data, payload.length, mask, 0);
    } else {
        memcpy(to, payload.data, payload.length);
    }
    ws_free(&payload);
}

/* One end. What it has read is kept as a row of frames: messages whole, with FIN. */
struct ws_end {
    enum websocket_role role;
    struct websocket_reader reader;
    struct rng rng;
    bool echo;
    struct ws_bytes out;     /* wire, of an end that echoes */
    struct ws_bytes message; /* so far */
    struct ws_bytes read;    /* records: first byte, 8 bytes of length, payload */
    int error;
    unsigned code; /* of the close frame that came; 0: none */
    bool deflated;
    size_t fragment; /* bytes of a frame of compressed messages; 0: one frame */
    struct websocket_inflater inflater;
    struct websocket_deflater deflater;
};

static inline void ws_open(struct ws_end *end, enum websocket_role role, bool echo,
                           const struct websocket_deflate *deflate)
{
    const struct websocket_limits limits = {.frame_most = 32 << 20, .message_most = 32 << 20};
    *end = (struct ws_end){.role = role, .echo = echo, .deflated = deflate != NULL};
    rng_seed(&end->rng, role);
    websocket_reader_init(&end->reader, role, &limits, end->deflated);
    if (deflate) {
        int server = websocket_window_bits(deflate->server_max_window_bits);
        int client = websocket_window_bits(deflate->client_max_window_bits);
        bool serves = role == WEBSOCKET_SERVER;
        assert_int_equal(websocket_deflater_open(&end->deflater, serves ? server : client,
                                                 serves ? deflate->server_no_context_takeover
                                                        : deflate->client_no_context_takeover,
                                                 6, 8),
                         0);
        assert_int_equal(websocket_inflater_open(&end->inflater, serves ? client : server,
                                                 serves ? deflate->client_no_context_takeover
                                                        : deflate->server_no_context_takeover,
                                                 32 << 20),
                         0);
    }
}

static inline void ws_close(struct ws_end *end)
{
    websocket_inflater_close(&end->inflater);
    websocket_deflater_close(&end->deflater);
    ws_free(&end->out);
    ws_free(&end->message);
    ws_free(&end->read);
}

static inline void ws_record(struct ws_end *end, int first, const uint8_t *data, size_t length)
{
    uint64_t bytes = length;
    uint8_t byte = (uint8_t)first;
    ws_append(&end->read, &byte, 1);
    ws_append(&end->read, &bytes, sizeof bytes);
    ws_append(&end->read, data, length);
}

static inline void ws_write(struct ws_end *end, int first, const uint8_t *data, size_t length)
{
    struct ws_frame frame = {first, (const char *)data, length, 0};
    ws_send(&end->out, end->role, &end->rng, &frame);
}

/* A message, compressed, in fragments. */
static inline void ws_write_deflated(struct ws_end *end, bool text, const uint8_t *data,
                                     size_t length)
{
    struct ws_bytes made = {0};
    uint8_t some[300];
    struct websocket_flow flow = {.from = data, .length = length, .to = some, .room = sizeof some};
    int more;
    do {
        more = websocket_deflate(&end->deflater, &flow, true);
        assert_true(more >= 0);
        ws_append(&made, some, flow.made);
    } while (more);
    size_t at = 0;
    do {
        size_t piece = made.length - at;
        piece = end->fragment && piece > end->fragment ? end->fragment : piece;
        int first = at ? WEBSOCKET_CONTINUATION : 0x40 | (text ? WEBSOCKET_TEXT : WEBSOCKET_BINARY);
        ws_write(end, first | (at + piece == made.length ? 0x80 : 0), made.data + at, piece);
        at += piece;
    } while (at < made.length);
    ws_free(&made);
}

static inline int ws_inflate(struct ws_end *end, const struct websocket_event *event)
{
    uint8_t some[1000];
    struct websocket_flow flow = {
        .from = event->data, .length = event->length, .to = some, .room = sizeof some};
    int more;
    do {
        more = websocket_inflate(&end->inflater, &flow, event->text, event->last);
        if (more >= 0) {
            ws_append(&end->message, some, flow.made);
        }
    } while (more > 0);
    return more;
}

static inline int ws_data(struct ws_end *end, const struct websocket_event *event)
{
    if (event->compressed) {
        int error = ws_inflate(end, event);
        if (error) {
            return error;
        }
    } else {
        ws_append(&end->message, event->data, event->length);
    }
    if (event->last) {
        int first = event->text ? 0x81 : 0x82;
        if (!end->echo) {
            ws_record(end, first, end->message.data, end->message.length);
        } else if (end->deflated) {
            ws_write_deflated(end, event->text, end->message.data, end->message.length);
        } else {
            ws_write(end, first, end->message.data, end->message.length);
        }
        end->message.length = 0;
    }
    return 0;
}

static inline int ws_event(struct ws_end *end, const struct websocket_event *event)
{
    if (event->kind == WEBSOCKET_DATA) {
        return ws_data(end, event);
    }
    if (event->kind == WEBSOCKET_PINGED && end->echo) {
        ws_write(end, 0x8a, event->data, event->length);
    } else if (event->kind == WEBSOCKET_PINGED || (event->kind == WEBSOCKET_PONGED && !end->echo)) {
        ws_record(end, event->kind == WEBSOCKET_PINGED ? 0x89 : 0x8a, event->data, event->length);
    } else if (event->kind == WEBSOCKET_CLOSED) {
        end->code = event->code;
        if (end->echo) {
            uint8_t body[WEBSOCKET_CONTROL_MOST];
            ws_write(end, 0x88, body, websocket_close_write(body, event->code, NULL));
        }
    }
    return 0;
}

/* Gives an end bytes in pieces of `chop` (0: all at once), each in memory of its own. */
static inline void ws_feed(struct ws_end *end, const uint8_t *wire, size_t length, size_t chop)
{
    for (size_t at = 0; at < length && !end->error;) {
        size_t piece = chop && length - at > chop ? chop : length - at;
        uint8_t *copy = malloc(piece);
        assert_non_null(copy);
        memcpy(copy, wire + at, piece);
        for (size_t used = 0; used < piece && !end->error;) {
            struct websocket_event event;
            ssize_t taken = websocket_read(&end->reader, copy + used, piece - used, &event);
            assert_true(taken != 0 && taken <= (ssize_t)(piece - used));
            end->error = taken < 0 ? (int)taken : ws_event(end, &event);
            used += taken > 0 ? (size_t)taken : 0;
        }
        free(copy);
        at += piece;
    }
    if (end->error && end->echo && !end->code) {
        uint8_t body[WEBSOCKET_CONTROL_MOST];
        end->code = websocket_error_answer(end->error);
        ws_write(end, 0x88, body,
                 websocket_close_write(body, end->code, websocket_error_text(end->error)));
    }
}

#endif
