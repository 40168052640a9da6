/* How the two ends of a run over datagrams meet: the client knocks with the run's token, the server
 * challenges it with random bytes, which it sends back: so it receives where it says that it is,
 * and only then the server lets it in. All four have the same length: nobody is sent more than what
 * came.
 *
 *   0  4  magic "sOkn"
 *   4  1  version, 1
 *   5  1  kind: KNOCK_*
 *   6  2  reserved, 0
 *   8  4  number of the connection, from 0, big-endian
 *  12  4  reserved, 0
 *  16 16  the token; of the others the challenge */
#ifndef SONDE_CODEC_KNOCK_H
#define SONDE_CODEC_KNOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KNOCK_BYTES = 32, KNOCK_TOKEN_BYTES = 16, KNOCK_VERSION = 1 };

enum knock_kind { KNOCK_CALL, KNOCK_CHALLENGE, KNOCK_ECHO, KNOCK_WELCOME, KNOCK_KINDS };

struct knock {
    uint8_t kind;
    uint32_t number;
    uint8_t token[KNOCK_TOKEN_BYTES];
};

/* Writes KNOCK_BYTES. */
void knock_encode(uint8_t *to, const struct knock *knock);

/* False where a datagram of exactly these bytes is none. */
bool knock_decode(const uint8_t *data, size_t length, struct knock *knock);

/* Whether two tokens are the same, in a time that says nothing of where they differ. */
bool knock_same_token(const uint8_t *a, const uint8_t *b);

#endif
