/* The first 32 bytes of each data connection: whose it is. All numbers in network order:
 *
 *   0  magic "SNDE"   4  version   6  flags (0)   8  flow   12  zero   16  token */
#ifndef SONDE_CODEC_HELLO_H
#define SONDE_CODEC_HELLO_H

#include <stdint.h>

#include "base/err.h"

enum { HELLO_BYTES = 32, HELLO_TOKEN_BYTES = 16, HELLO_VERSION = 1 };

struct hello {
    uint32_t flow; /* the connection's number in its run, from 0 */
    uint8_t token[HELLO_TOKEN_BYTES];
};

void hello_write(uint8_t to[HELLO_BYTES], const struct hello *hello);

/* 0, or -1 with *error (ERR_PROTOCOL) where the bytes are no hello of this version. */
int hello_read(const uint8_t from[HELLO_BYTES], struct hello *hello, struct err *error);

/* True where these first bytes of a connection (4 of them) begin a hello. */
int hello_begins(const uint8_t from[4]);

#endif
