/* What each datagram of a stream of them begins with, and what its two ends say at its end: 32
 * bytes.
 *
 *   0  4  magic "sOdg"
 *   4  1  kind: DATAGRAM_*
 *   5  3  reserved, 0
 *   8  4  number of the stream, from 0, big-endian
 *  12  4  reserved, 0
 *  16  8  sequence: of this datagram, from 0; of an end or its answer: how many were sent; of a
 *         hello and its answer: the token, 0 where it is not known
 *  24  8  when it was sent, ns of the sender's own clock */
#ifndef SONDE_CODEC_DATAGRAM_H
#define SONDE_CODEC_DATAGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DATAGRAM_BYTES = 32 };

enum {
    DATAGRAM_PAYLOAD,
    DATAGRAM_END,       /* everything has been sent */
    DATAGRAM_END_HEARD, /* the answer: everything that arrived has been read */
    /* Of a stream that the server sends: */
    DATAGRAM_HELLO, /* from the client: send it here; later: still there */
    DATAGRAM_WHO,   /* the answer: say hello with this token */
    DATAGRAM_STOP,  /* from the client: enough */
    DATAGRAM_KINDS
};

struct datagram {
    uint8_t kind;
    uint32_t number;
    uint64_t sequence, sent_ns;
};

/* Writes DATAGRAM_BYTES. */
void datagram_encode(uint8_t *to, const struct datagram *datagram);

/* False where these bytes are none of them. */
bool datagram_decode(const uint8_t *data, size_t length, struct datagram *datagram);

#endif
