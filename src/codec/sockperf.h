/* The message header of sockperf 3.7: sequence number (8 bytes), flags (2), length of the whole
 * message (4), each most significant byte first, without padding. What follows the header is of no
 * meaning. A client numbers its messages from 1; a server sends a message back as it came, without
 * SOCKPERF_CLIENT, where SOCKPERF_PONG asks for that. */
#ifndef SONDE_CODEC_SOCKPERF_H
#define SONDE_CODEC_SOCKPERF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOCKPERF_PORT 11111 /* where its server listens unless told otherwise */
#define SOCKPERF_HEADER_BYTES 14
#define SOCKPERF_MESSAGE_MAX 65507 /* what one UDP datagram holds; also on TCP */

enum {
    SOCKPERF_CLIENT = 1, /* from a client; without: from a server */
    SOCKPERF_PONG = 2,   /* an answer is wanted; stays set in the answer */
    SOCKPERF_WARMUP = 4, /* to be received and forgotten */
};

struct sockperf_header {
    uint64_t sequence;
    uint32_t length; /* of the message, header included */
    uint16_t flags;
};

enum sockperf_result {
    SOCKPERF_OK,
    SOCKPERF_SHORT,      /* more bytes are needed for the header */
    SOCKPERF_BAD_LENGTH, /* shorter than its header, or above SOCKPERF_MESSAGE_MAX */
    SOCKPERF_BAD_FLAGS,  /* a bit that means nothing */
};

/* Writes SOCKPERF_HEADER_BYTES. */
void sockperf_encode(uint8_t *to, const struct sockperf_header *header);

/* Reads a header from the first bytes of a message; *header is set only for SOCKPERF_OK. */
enum sockperf_result sockperf_decode(const uint8_t *data, size_t size,
                                     struct sockperf_header *header);

/* True where a server answers. */
bool sockperf_wants_answer(const struct sockperf_header *header);

/* Turns an encoded request into its answer, in place. */
void sockperf_make_answer(uint8_t *message);

/* What is wrong, for people. */
const char *sockperf_text(enum sockperf_result result);

#endif
