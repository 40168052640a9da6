/* The opening handshake of WebSocket (RFC 6455, section 4) over bytes, both ends. No files, no
 * clock, no memory of its own, but for what OpenSSL's hash takes and gives back.
 *
 * A head is read from the caller's buffer, in which it grows: each call sees it from its beginning,
 * and looks only at what is new. Nothing is given of a head before all of it has been checked.
 * Readers return the bytes of the head (what lies behind them belongs to frames), 0 where it is not
 * whole, or a negative enum websocket_error. */
#ifndef SONDE_CODEC_WEBSOCKET_HANDSHAKE_H
#define SONDE_CODEC_WEBSOCKET_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "codec/websocket.h"

enum {
    WEBSOCKET_HEAD_MOST = 16 << 10, /* bytes of a head, with the interim answers before it */
    WEBSOCKET_LINES_MOST = 100,     /* header lines */
    WEBSOCKET_NONCE_BYTES = 16,
    WEBSOCKET_KEY_TEXT = 24, /* characters of base64 */
    WEBSOCKET_ACCEPT_TEXT = 28,
    WEBSOCKET_WINDOW_LEAST = 8, /* bits */
    WEBSOCKET_WINDOW_MOST = 15,
    WEBSOCKET_WINDOW_ANY = 255, /* client_max_window_bits without a value, in an offer */
};

/* Characters of somebody else's. */
struct websocket_slice {
    const char *at;
    size_t length;
};

/* Parameters of permessage-deflate (RFC 7692, section 7.1); all zeros: none of them is named. */
struct websocket_deflate {
    bool server_no_context_takeover, client_no_context_takeover;
    uint8_t server_max_window_bits, client_max_window_bits; /* 8 to 15; 0: not named */
};

/* The bits of a window that was, or was not, named. */
static inline int websocket_window_bits(uint8_t named)
{
    return named >= WEBSOCKET_WINDOW_LEAST && named <= WEBSOCKET_WINDOW_MOST
               ? named
               : WEBSOCKET_WINDOW_MOST;
}

/* 0 where this build can make and check handshakes; else -1, in words why not. */
int websocket_why_not(char *reason, size_t size);

/* The key from 16 random bytes, which each connection draws anew. */
int websocket_key(const uint8_t nonce[WEBSOCKET_NONCE_BYTES], char key[WEBSOCKET_KEY_TEXT + 1]);

/* A prepared hash, for whoever hashes many keys on one thread. NULL: it could not be made, and is
 * done without. */
struct websocket_hash;
struct websocket_hash *websocket_hash_open(void);
void websocket_hash_close(struct websocket_hash *hash); /* NULL is allowed */

/* What a server answers to a key (of WEBSOCKET_KEY_TEXT characters). `hash` may be NULL: slower. 0,
 * or a negative error. */
int websocket_accept(struct websocket_hash *hash, const char *key,
                     char accept[WEBSOCKET_ACCEPT_TEXT + 1]);

/* How far a head has been read. All zeros: not at all. */
struct websocket_head {
    size_t start; /* of the head itself: behind interim answers */
    size_t line;  /* where the line begins that is not whole */
    size_t seen;  /* what lies before needs no second look */
    unsigned lines;
};

/* ---- the client's end ---- */

/* What a client asks for. Texts end with a zero. */
struct websocket_offer {
    const char *target;    /* path and query, "/chat?x=1" */
    const char *host;      /* "example.org:8080": with the port where it is not the scheme's own */
    const char *origin;    /* NULL: none; likewise of the following */
    const char *protocols; /* "chat, superchat": the preferred one first */
    const char *headers;   /* further lines, each with its CR LF; none of the handshake's own */
    const struct websocket_deflate *deflate; /* alternatives, the preferred one first */
    size_t deflate_count;                    /* 0: it is not offered */
};

/* Writes the request and returns its length; WEBSOCKET_BAD_ARGUMENT where something of the offer
 * cannot stand in it, WEBSOCKET_BAD_ROOM where it is longer than `room`. */
ssize_t websocket_request_write(const struct websocket_offer *offer, const char *key, char *to,
                                size_t room);

/* Slices lie in the head. */
struct websocket_response {
    int status;
    struct websocket_slice reason, location; /* of any answer; NULL: none */
    struct websocket_slice protocol;         /* that was chosen; NULL: none */
    bool deflated;                           /* permessage-deflate was agreed upon */
    struct websocket_deflate deflate;
};

/* Reads the answer to an offer; `accept` is what websocket_accept made of its key. Interim answers
 * (1xx but 101) are passed over. Any other status than 101 is WEBSOCKET_BAD_STATUS, with the
 * status, reason and location in *response: nothing is followed. */
ssize_t websocket_response_read(struct websocket_head *head, const char *data, size_t length,
                                const struct websocket_offer *offer, const char *accept,
                                struct websocket_response *response);

/* ---- the server's end ---- */

/* Slices lie in the head. */
struct websocket_request {
    struct websocket_slice target, host;
    struct websocket_slice key;     /* of WEBSOCKET_KEY_TEXT characters */
    struct websocket_slice origin;  /* NULL: none */
    struct websocket_slice headers; /* all lines behind the first */
};

/* Reads a request. websocket_error_answer says with which status an error is refused. */
ssize_t websocket_request_read(struct websocket_head *head, const char *data, size_t length,
                               struct websocket_request *request);

/* Goes through the subprotocols that a request asks for: *at is 0 at first. False: no more. */
bool websocket_request_protocol(const struct websocket_request *request, size_t *at,
                                struct websocket_slice *protocol);

/* Agrees to the first offer of permessage-deflate that can be read and kept. `wish` limits the
 * windows and asks to do without context; of the client's window it asks for less only where the
 * offer lets it. False: the answer says nothing of it. */
bool websocket_deflate_choose(const struct websocket_request *request,
                              const struct websocket_deflate *wish,
                              struct websocket_deflate *agreed);

struct websocket_answer {
    const char *accept;                      /* what websocket_accept made of the request's key */
    const char *protocol;                    /* one that was asked for; NULL: none */
    const char *headers;                     /* as in struct websocket_offer */
    const struct websocket_deflate *deflate; /* as agreed; NULL: not */
};

/* As websocket_request_write: the answer 101. */
ssize_t websocket_response_write(const struct websocket_answer *answer, char *to, size_t room);

/* Any other answer, behind which the connection ends. `headers` may be NULL. */
ssize_t websocket_refusal_write(int status, const char *headers, char *to, size_t room);

#endif
