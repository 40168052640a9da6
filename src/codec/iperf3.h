/* iperf3's control protocol over bytes: no files, no clock, no memory of its own. Every decoder
 * gives the number of bytes that it consumed, 0 where it needs more, or a negative enum
 * iperf3_error.
 *
 * The client opens the control connection and sends its cookie (37 bytes). From then on the server
 * leads with single bytes (enum iperf3_state): PARAM_EXCHANGE, to which the client answers with its
 * parameters as JSON behind four bytes of length; CREATE_STREAMS, upon which the client connects
 * its data connections one after the other (TCP: each begins with the cookie; UDP: a hello, which
 * the server answers); TEST_START and TEST_RUNNING. The client ends with TEST_END; after the
 * server's EXCHANGE_RESULTS the client sends its results as JSON, then the server its own;
 * DISPLAY_RESULTS is answered with IPERF_DONE. */
#ifndef SONDE_CODEC_IPERF3_H
#define SONDE_CODEC_IPERF3_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPERF3_PORT 5201
#define IPERF3_COOKIE_BYTES 37 /* 36 characters and a zero */
#define IPERF3_FRAME_HEADER_BYTES 4
#define IPERF3_PARAMETERS_MOST (64U << 10) /* bytes of JSON */
#define IPERF3_RESULTS_MOST (4U << 20)
#define IPERF3_HELLO_BYTES 4
#define IPERF3_DATAGRAM_MOST 16 /* bytes of the header of a datagram */

/* Bytes on the control connection, both ways. */
#define IPERF3_STATES(X)                                                                           \
    X(TEST_START, 1)                                                                               \
    X(TEST_RUNNING, 2)                                                                             \
    X(RESULT_REQUEST, 3)                                                                           \
    X(TEST_END, 4)                                                                                 \
    X(STREAM_BEGIN, 5)                                                                             \
    X(STREAM_RUNNING, 6)                                                                           \
    X(STREAM_END, 7)                                                                               \
    X(ALL_STREAMS_END, 8)                                                                          \
    X(PARAM_EXCHANGE, 9)                                                                           \
    X(CREATE_STREAMS, 10)                                                                          \
    X(SERVER_TERMINATE, 11)                                                                        \
    X(CLIENT_TERMINATE, 12)                                                                        \
    X(EXCHANGE_RESULTS, 13)                                                                        \
    X(DISPLAY_RESULTS, 14)                                                                         \
    X(IPERF_START, 15)                                                                             \
    X(IPERF_DONE, 16)                                                                              \
    X(ACCESS_DENIED, -1)                                                                           \
    X(SERVER_ERROR, -2)

enum iperf3_state {
#define X(name, value) IPERF3_##name = (value),
    IPERF3_STATES(X)
#undef X
};

/* How a peer can break the protocol. */
#define IPERF3_ERRORS(X)                                                                           \
    X(COOKIE, "the cookie is not 36 printable characters and a zero")                              \
    X(STATE, "a byte that is no state of the protocol")                                            \
    X(FRAME_EMPTY, "JSON of no length")                                                            \
    X(FRAME_LONG, "JSON longer than is allowed")                                                   \
    X(DATAGRAM_SHORT, "a datagram shorter than its header")                                        \
    X(DATAGRAM_RANGE, "a datagram with a sequence number or time out of range")                    \
    X(HELLO, "a datagram that is no greeting")                                                     \
    X(JSON, "text that is not JSON, or has a key twice")                                           \
    X(JSON_OBJECT, "JSON that is no object")                                                       \
    X(JSON_MISSING, "a member is missing")                                                         \
    X(JSON_TYPE, "a member of the wrong type")                                                     \
    X(JSON_RANGE, "a member out of range")                                                         \
    X(JSON_STREAM, "more streams than are allowed, or one twice")                                  \
    X(MEMORY, "no memory")

enum iperf3_error {
    IPERF3_ERROR_BASE = -1000, /* errors are negative, and no errno */
#define X(name, text) IPERF3_BAD_##name,
    IPERF3_ERRORS(X)
#undef X
};

/* "TEST_START"; "unknown" for what is no state. */
const char *iperf3_state_name(int state);

/* What an enum iperf3_error says, for people. */
const char *iperf3_error_text(int error);

/* What a server's reason for SERVER_ERROR says (the numbers are iperf3's own), for people; NULL for
 * an unknown one. */
const char *iperf3_reason_text(int32_t reason);

/* Reasons that a server of ours gives. */
enum iperf3_reason {
    IPERF3_REASON_DURATION = 5,
    IPERF3_REASON_STREAMS = 6,
    IPERF3_REASON_LENGTH = 7,
    IPERF3_REASON_WINDOW = 8,
    IPERF3_REASON_OMIT = 12,
    IPERF3_REASON_DATAGRAM_LENGTH = 20,
    IPERF3_REASON_NEW_TEST = 100,
    IPERF3_REASON_COOKIE = 106,
    IPERF3_REASON_MESSAGE = 110,
    IPERF3_REASON_PARAMETERS = 114,
    IPERF3_REASON_RESULTS = 117,
    IPERF3_REASON_PROTOCOL = 131,
    IPERF3_REASON_SET_CONGESTION = 134,
    IPERF3_REASON_BUFFER = 141,
    IPERF3_REASON_NO_DATA = 144,
    IPERF3_REASON_CREATE_STREAM = 200,
    IPERF3_REASON_STREAM_ACCEPT = 204,
};

/* Makes a cookie of 36 random bytes. */
void iperf3_cookie_make(const uint8_t random[IPERF3_COOKIE_BYTES - 1],
                        char cookie[IPERF3_COOKIE_BYTES]);

/* Takes a cookie; what follows a zero in it has to be zeros. */
int iperf3_cookie_decode(const uint8_t *data, size_t length, char cookie[IPERF3_COOKIE_BYTES]);

/* Takes one byte of state. */
int iperf3_state_decode(const uint8_t *data, size_t length, enum iperf3_state *state);

/* The length that stands before JSON. */
void iperf3_frame_header(uint8_t to[IPERF3_FRAME_HEADER_BYTES], uint32_t length);

/* Takes a whole frame of at most `most` bytes of JSON: *body points into data. The length is judged
 * as soon as its four bytes are there. */
int iperf3_frame_decode(const uint8_t *data, size_t length, uint32_t most, const char **body,
                        uint32_t *body_length);

/* What follows SERVER_ERROR: iperf3's own number of the reason, and an errno of the server's
 * machine (0: none). */
struct iperf3_refusal {
    int32_t reason, number;
};

#define IPERF3_REFUSAL_BYTES 8

void iperf3_refusal_encode(uint8_t to[IPERF3_REFUSAL_BYTES], const struct iperf3_refusal *refusal);
int iperf3_refusal_decode(const uint8_t *data, size_t length, struct iperf3_refusal *refusal);

/* What stands at the head of each datagram. */
struct iperf3_datagram {
    uint64_t sent_ns;  /* the sender's clock, in whole microseconds below 2^32 s */
    uint64_t sequence; /* from 1 on; modulo 2^32 where counters have 32 bits */
};

/* 12 bytes, or 16 with counters of 64 bits (`wide`). */
static inline size_t iperf3_datagram_bytes(bool wide)
{
    return wide ? 16 : 12;
}

/* Writes the header (iperf3_datagram_bytes) and returns its length. */
size_t iperf3_datagram_encode(uint8_t *to, bool wide, const struct iperf3_datagram *datagram);

/* Takes the header; a datagram is whole, so that a short one is an error. */
int iperf3_datagram_decode(const uint8_t *data, size_t length, bool wide,
                           struct iperf3_datagram *datagram);

/* How a peer greets: 3.10 and later have one form, older ones a number in their own byte order. */
enum iperf3_greeting {
    IPERF3_GREETING_NOW,
    IPERF3_GREETING_SWAPPED,
    IPERF3_GREETING_OLD_LITTLE,
    IPERF3_GREETING_OLD_BIG,
};

void iperf3_hello_encode(uint8_t to[IPERF3_HELLO_BYTES]);
int iperf3_hello_decode(const uint8_t *data, size_t length, enum iperf3_greeting *greeting);

/* The answer to a hello, in the form that its sender knows. */
void iperf3_reply_encode(uint8_t to[IPERF3_HELLO_BYTES], enum iperf3_greeting greeting);
int iperf3_reply_decode(const uint8_t *data, size_t length, enum iperf3_greeting *greeting);

#endif
