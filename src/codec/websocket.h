/* WebSocket (RFC 6455) over bytes, both roles: frames, their masks, their text. No files, no clock,
 * no memory of its own; the opening handshake stands in websocket_handshake.h, permessage-deflate
 * in websocket_deflate.h.
 *
 * A reader takes the peer's bytes in pieces of any size and gives the payload where it lies,
 * unmasked in place. Whatever is wrong has a name (enum websocket_error), and from then on the
 * reader gives nothing but that error. */
#ifndef SONDE_CODEC_WEBSOCKET_H
#define SONDE_CODEC_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/rng.h"

enum {
    WEBSOCKET_HEADER_MOST = 14,   /* bytes of a frame's header */
    WEBSOCKET_CONTROL_MOST = 125, /* bytes of a control frame's payload */
    WEBSOCKET_REASON_MOST = 123,  /* of those, behind a close code */
    WEBSOCKET_MASK_BYTES = 4,
};

/* How a peer can break the protocol; what an end answers with: the close code, for a request the
 * status, 0 where the connection only ends. */
#define WEBSOCKET_ERRORS(X)                                                                        \
    /* the head of a handshake */                                                                  \
    X(HEAD_LONG, 431, "a head longer than is allowed")                                             \
    X(HEAD_LINES, 431, "more header lines than are allowed")                                       \
    X(HEAD_LINE_END, 400, "a line that does not end with CR LF")                                   \
    X(HEAD_BYTE, 400, "a control character in the head")                                           \
    X(HEAD_FOLD, 400, "a header line that continues the one before")                               \
    X(HEAD_NAME, 400, "a header line without a name that is a token before its colon")             \
    X(HTTP_VERSION, 505, "another version of HTTP than 1.1")                                       \
    X(UPGRADE, 426, "no upgrade to websocket")                                                     \
    X(CONNECTION, 400, "a Connection that does not say Upgrade")                                   \
    X(REPEATED, 400, "twice what may be said once")                                                \
    X(BODY, 400, "a handshake with a body")                                                        \
    X(EXTENSIONS, 400, "extensions that cannot be read")                                           \
    X(PROTOCOLS, 400, "subprotocols that cannot be read")                                          \
    /* of a request */                                                                             \
    X(REQUEST_LINE, 400, "a first line that is no HTTP request")                                   \
    X(METHOD, 405, "another method than GET")                                                      \
    X(TARGET, 400, "a target that is no path")                                                     \
    X(HOST, 400, "no Host, or one that is none")                                                   \
    X(KEY, 400, "no Sec-WebSocket-Key of 16 bytes in base64")                                      \
    X(VERSION_MISSING, 400, "no Sec-WebSocket-Version")                                            \
    X(VERSION, 426, "another Sec-WebSocket-Version than 13")                                       \
    /* of a response */                                                                            \
    X(STATUS_LINE, 0, "a first line that is no HTTP status")                                       \
    X(STATUS, 0, "another status than 101")                                                        \
    X(ACCEPT_MISSING, 0, "no Sec-WebSocket-Accept")                                                \
    X(ACCEPT, 0, "a Sec-WebSocket-Accept that does not follow from the key")                       \
    X(EXTENSION_UNASKED, 0, "an extension that was not offered")                                   \
    X(EXTENSION_PARAMETER, 0, "a parameter of permessage-deflate that was not offered")            \
    X(PROTOCOL_UNASKED, 0, "a subprotocol that was not offered")                                   \
    /* frames */                                                                                   \
    X(RESERVED_BITS, 1002, "a frame with reserved bits")                                           \
    X(OPCODE, 1002, "a frame with a reserved opcode")                                              \
    X(MASK_MISSING, 1002, "a client's frame without a mask")                                       \
    X(MASK_FORBIDDEN, 1002, "a server's frame with a mask")                                        \
    X(LENGTH_FORM, 1002, "a length in more bytes than it needs")                                   \
    X(LENGTH_RANGE, 1002, "a length of 2^63 or more")                                              \
    X(CONTROL_LONG, 1002, "a control frame of more than 125 bytes")                                \
    X(CONTROL_FRAGMENT, 1002, "a control frame in fragments")                                      \
    X(CONTINUATION, 1002, "a continuation of no message")                                          \
    X(INTERLEAVED, 1002, "a message that begins before another has ended")                         \
    X(CLOSE_SHORT, 1002, "a close frame of one byte")                                              \
    X(CLOSE_CODE, 1002, "a close code that may not be sent")                                       \
    X(CLOSE_TEXT, 1007, "a reason of the close that is not UTF-8")                                 \
    X(TEXT, 1007, "text that is not UTF-8")                                                        \
    X(TEXT_CUT, 1007, "text that ends inside a character")                                         \
    X(FRAME_LONG, 1009, "a frame longer than is allowed")                                          \
    X(MESSAGE_LONG, 1009, "a message longer than is allowed")                                      \
    X(DEFLATE, 1007, "a compressed message that cannot be inflated")                               \
    X(DEFLATE_CUT, 1007, "a compressed message that ends inside a block")                          \
    X(DEFLATE_LONG, 1009, "a message that is longer than allowed once inflated")                   \
    /* of this end */                                                                              \
    X(ARGUMENT, 0, "what cannot stand in a handshake")                                             \
    X(ROOM, 0, "no room for the handshake")                                                        \
    X(BUILD, 500, "built without OpenSSL, which the handshake's hash needs")                       \
    X(MEMORY, 1011, "no memory")

enum websocket_error {
    WEBSOCKET_ERROR_BASE = -2000, /* errors are negative, and no errno */
#define X(name, answer, text) WEBSOCKET_BAD_##name,
    WEBSOCKET_ERRORS(X)
#undef X
        WEBSOCKET_ERROR_END
};

/* What an enum websocket_error says, for people. */
const char *websocket_error_text(int error);

/* "RESERVED_BITS"; "unknown" for what is no error. */
const char *websocket_error_name(int error);

/* The close code to end with; of a request the status to refuse it with; 0: neither. */
unsigned websocket_error_answer(int error);

/* Close codes of section 7.4.1. */
enum websocket_code {
    WEBSOCKET_NORMAL = 1000,
    WEBSOCKET_GOING_AWAY = 1001,
    WEBSOCKET_PROTOCOL_ERROR = 1002,
    WEBSOCKET_UNACCEPTABLE = 1003,
    WEBSOCKET_NO_CODE = 1005,  /* stands for a close frame without one; never on the wire */
    WEBSOCKET_ABNORMAL = 1006, /* stands for an end without a close frame; never on the wire */
    WEBSOCKET_BAD_DATA = 1007,
    WEBSOCKET_POLICY = 1008,
    WEBSOCKET_TOO_BIG = 1009,
    WEBSOCKET_NO_EXTENSION = 1010,
    WEBSOCKET_INTERNAL = 1011,
};

/* Whether a close frame may carry it. */
bool websocket_code_valid(unsigned code);

enum websocket_role { WEBSOCKET_CLIENT, WEBSOCKET_SERVER };

enum websocket_opcode {
    WEBSOCKET_CONTINUATION = 0,
    WEBSOCKET_TEXT = 1,
    WEBSOCKET_BINARY = 2,
    WEBSOCKET_CLOSE = 8,
    WEBSOCKET_PING = 9,
    WEBSOCKET_PONG = 10,
};

/* ---- text ---- */

/* UTF-8 (RFC 3629) in pieces. All zeros: between two characters. */
struct websocket_utf8 {
    uint8_t left;      /* bytes of the character still to come */
    uint8_t low, high; /* bounds of the next one of them */
};

/* False as soon as a byte cannot stand where it stands; the state is of no use then. */
bool websocket_utf8_feed(struct websocket_utf8 *utf8, const uint8_t *data, size_t length);

/* Whether it may end here. */
static inline bool websocket_utf8_whole(const struct websocket_utf8 *utf8)
{
    return utf8->left == 0;
}

/* ---- masks ---- */

/* Masks, or unmasks, `length` bytes; `to` may be `from`. The first byte is that of the payload's
 * offset `phase` (only its last two bits matter). */
void websocket_mask(uint8_t *to, const uint8_t *from, size_t length,
                    const uint8_t mask[WEBSOCKET_MASK_BYTES], size_t phase);

/* A fresh mask, which each frame of a client's needs. The generator is no source of secrets: it
 * serves a load whose payload is nobody's to choose, not a browser that runs scripts of others. */
static inline void websocket_mask_draw(struct rng *rng, uint8_t mask[WEBSOCKET_MASK_BYTES])
{
    uint64_t random = rng_next(rng);
    for (int i = 0; i < WEBSOCKET_MASK_BYTES; i++) {
        mask[i] = (uint8_t)(random >> (32 + 8 * i));
    }
}

/* ---- reading ---- */

struct websocket_limits {
    uint64_t frame_most;   /* bytes of a frame's payload */
    uint64_t message_most; /* bytes of a message's frames together, as they are on the wire */
};

struct websocket_reader {
    struct websocket_limits limits;
    uint64_t left;          /* bytes of the frame's payload that are still to come */
    uint64_t message_bytes; /* of the message's frames so far, as announced */
    struct websocket_utf8 utf8;
    int16_t failed; /* the error that was found, or 0 */
    uint8_t role;   /* enum websocket_role: of this end */
    uint8_t opcode, message_opcode;
    uint8_t mask[WEBSOCKET_MASK_BYTES];
    uint8_t phase; /* in the mask */
    uint8_t header_there, control_there;
    bool deflate; /* permessage-deflate was agreed upon */
    bool in_frame, masked, final;
    bool in_message, compressed, message_begun;
    bool closed; /* a close frame was read */
    uint8_t header[WEBSOCKET_HEADER_MOST];
    uint8_t control[WEBSOCKET_CONTROL_MOST]; /* of one that comes in pieces */
};

/* Begins to read what comes behind the handshake. */
void websocket_reader_init(struct websocket_reader *reader, enum websocket_role role,
                           const struct websocket_limits *limits, bool deflate);

enum websocket_event_kind {
    WEBSOCKET_NOTHING, /* more bytes are needed */
    WEBSOCKET_DATA,    /* a piece of a message */
    WEBSOCKET_PINGED,  /* a whole ping: to be answered by a pong with the same payload */
    WEBSOCKET_PONGED,
    WEBSOCKET_CLOSED, /* a close frame: to be answered by one if none was sent */
};

struct websocket_event {
    enum websocket_event_kind kind;
    /* The payload, unmasked: where it lay; of a control frame that came in pieces, in the reader,
     * until the next read. Of a close frame the reason. */
    uint8_t *data;
    size_t length;
    /* of a message's piece */
    bool text;
    bool compressed;  /* to be inflated, and its text checked only then */
    bool first, last; /* of the message; there is always a last one, if need be without bytes */
    bool frame_end;
    /* of a close frame */
    uint16_t code; /* WEBSOCKET_NO_CODE where it has none */
};

/* Takes bytes until there is something to say, and returns how many (0 of 0): call it until all are
 * taken. Negative: an enum websocket_error, at the first byte that is wrong (of text: in the piece
 * with that byte). What comes behind a close frame is taken and ignored (section 1.4). */
ssize_t websocket_read(struct websocket_reader *reader, uint8_t *data, size_t length,
                       struct websocket_event *event);

/* ---- writing ---- */

struct websocket_frame {
    enum websocket_opcode opcode; /* CONTINUATION for all frames of a message but the first */
    bool more;                    /* not the last frame of its message */
    bool compressed;              /* the first frame of a compressed message */
    const uint8_t *mask;          /* WEBSOCKET_MASK_BYTES, new for each frame; NULL: a server's */
    uint64_t length;              /* of the payload: below 2^63, of a control frame at most 125 */
};

/* Writes the header and returns its length. */
size_t websocket_header_write(uint8_t to[WEBSOCKET_HEADER_MOST],
                              const struct websocket_frame *frame);

/* Writes the whole frame, masked, and returns its length: at most WEBSOCKET_HEADER_MOST and
 * frame->length. */
size_t websocket_frame_write(uint8_t *to, const struct websocket_frame *frame,
                             const uint8_t *payload);

/* Writes the payload of a close frame and returns its length: none for WEBSOCKET_NO_CODE. A reason
 * (NULL: none) that is too long is cut, between two characters. */
size_t websocket_close_write(uint8_t to[WEBSOCKET_CONTROL_MOST], unsigned code, const char *reason);

#endif
