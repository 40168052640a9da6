/* permessage-deflate (RFC 7692) through zlib: messages inflated and deflated in pieces of any size.
 * What is negotiated stands in websocket_handshake.h.
 *
 * zlib's state is allocated, by zlib: some 10 KiB and the window (2^bits bytes, from the first
 * message on) to inflate; to deflate 2^(bits + 2) + 2^(memory_level + 9) bytes and some 6 KiB.
 *
 * A window of 8 bits, which zlib cannot deflate with (it takes 9, and nothing says that it will not
 * refer farther back than the peer remembers), is kept to by referring to the byte before only
 * (Z_RLE). */
#ifndef SONDE_CODEC_WEBSOCKET_DEFLATE_H
#define SONDE_CODEC_WEBSOCKET_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#include "codec/websocket.h"

enum { WEBSOCKET_DEFLATE_ROOM = 64 }; /* the least room that an output needs */

/* Input and output of one call. Both move on with it. */
struct websocket_flow {
    const uint8_t *from;
    size_t length; /* still to be taken */
    uint8_t *to;
    size_t room, made; /* `made` bytes of the room were filled by the last call */
};

struct websocket_inflater {
    z_stream stream;
    uint64_t message_most;  /* bytes of a message once inflated */
    uint64_t message_bytes; /* of the message so far */
    struct websocket_utf8 utf8;
    uint8_t tail;     /* bytes of the end that every message lacks that were given to zlib */
    bool no_context;  /* each message begins with an empty window */
    bool begun, open; /* a message; zlib's state */
};

/* `window_bits` is that of the peer's (websocket_window_bits), `no_context` what was agreed on for
 * its direction. 0, or WEBSOCKET_BAD_MEMORY. */
int websocket_inflater_open(struct websocket_inflater *inflater, int window_bits, bool no_context,
                            uint64_t message_most);
void websocket_inflater_close(struct websocket_inflater *inflater); /* safe to call twice */

/* Inflates a piece of a message; `last`: nothing of the message follows it (event.last). The text
 * of a text message is checked. 1: the room is full, call it again with more; 0: the piece is taken
 * and, where it was the last, the message is whole; or a negative error, with which the inflater
 * can only be closed. Never makes more bytes of a message than its limit. A peer that refers
 * farther back than the window that it agreed to is found out only where that lies before what the
 * same call has made. */
int websocket_inflate(struct websocket_inflater *inflater, struct websocket_flow *flow, bool text,
                      bool last);

struct websocket_deflater {
    z_stream stream;
    uint64_t message_bytes; /* made of the message so far */
    uint8_t held[4];        /* made, and perhaps the end that is not sent */
    uint8_t held_bytes;
    bool no_context;
    bool begun, open;
};

/* `level` and `memory_level` as zlib's: 1 to 9. 0, or WEBSOCKET_BAD_MEMORY. */
int websocket_deflater_open(struct websocket_deflater *deflater, int window_bits, bool no_context,
                            int level, int memory_level);
void websocket_deflater_close(struct websocket_deflater *deflater); /* safe to call twice */

/* Deflates a piece of a message, whose frames may carry any parts of what is made (the first one
 * with websocket_frame.compressed). 1: the room (at least WEBSOCKET_DEFLATE_ROOM) is full, call it
 * again with more; 0: the piece is taken and, where it was the last, the message is whole; or a
 * negative error. */
int websocket_deflate(struct websocket_deflater *deflater, struct websocket_flow *flow, bool last);

#endif
