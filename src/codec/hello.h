/* What a connection between sonde's own two ends begins with: fixed 32 bytes from the client, which
 * say what the connection is for. They belong to no figure.
 *
 *   0  4  magic "sOnd"
 *   4  1  version, 1
 *   5  1  flags: HELLO_*
 *   6  2  reserved, 0
 *   8  4  number of the stream, from 0, big-endian
 *  12  4  reserved, 0
 *  16 16  token of the test that it belongs to; zeros: none */
#ifndef SONDE_CODEC_HELLO_H
#define SONDE_CODEC_HELLO_H

#include <stddef.h>
#include <stdint.h>

enum { HELLO_BYTES = 32, HELLO_TOKEN_BYTES = 16, HELLO_VERSION = 1 };

enum {
    HELLO_REVERSE = 1, /* the server sends */
    HELLO_FLAGS = 1,   /* all that are defined */
};

struct hello {
    uint8_t flags;
    uint32_t number;
    uint8_t token[HELLO_TOKEN_BYTES];
};

/* Writes HELLO_BYTES. */
void hello_encode(uint8_t *to, const struct hello *hello);

/* Reads a hello from the first `length` bytes of a connection. Returns HELLO_BYTES, 0 where more
 * bytes are needed, or -1 with *reason (static) as soon as they cannot be one. */
int hello_decode(const uint8_t *data, size_t length, struct hello *hello, const char **reason);

#endif
