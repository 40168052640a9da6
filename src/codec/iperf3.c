#include "codec/iperf3.h"

#include <string.h>

#define GREETINGS 4

static const uint8_t hellos[GREETINGS][IPERF3_HELLO_BYTES] = {
    [IPERF3_GREETING_NOW] = {'9', '8', '7', '6'},
    [IPERF3_GREETING_SWAPPED] = {'6', '7', '8', '9'},
    [IPERF3_GREETING_OLD_LITTLE] = {0x15, 0xcd, 0x5b, 0x07}, /* 123456789 */
    [IPERF3_GREETING_OLD_BIG] = {0x07, 0x5b, 0xcd, 0x15},
};

static const uint8_t replies[GREETINGS][IPERF3_HELLO_BYTES] = {
    [IPERF3_GREETING_NOW] = {'6', '7', '8', '9'},
    [IPERF3_GREETING_SWAPPED] = {'9', '8', '7', '6'},
    [IPERF3_GREETING_OLD_LITTLE] = {0xb1, 0x68, 0xde, 0x3a}, /* 987654321 */
    [IPERF3_GREETING_OLD_BIG] = {0x3a, 0xde, 0x68, 0xb1},
};

static void put(uint8_t *to, uint64_t value, size_t bytes)
{
    while (bytes--) {
        to[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

static uint64_t get(const uint8_t *from, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | from[i];
    }
    return value;
}

const char *iperf3_state_name(int state)
{
    switch (state) {
#define X(name, value)                                                                             \
    case (value):                                                                                  \
        return #name;
        IPERF3_STATES(X)
#undef X
    default:
        return "unknown";
    }
}

const char *iperf3_error_text(int error)
{
    switch (error) {
#define X(name, text)                                                                              \
    case IPERF3_BAD_##name:                                                                        \
        return text;
        IPERF3_ERRORS(X)
#undef X
    default:
        return "unknown error";
    }
}

const char *iperf3_reason_text(int32_t reason)
{
    static const struct {
        int32_t reason;
        const char *text;
    } texts[] = {
        {5, "the test would take too long"},
        {6, "too many streams"},
        {7, "its block size is not allowed"},
        {8, "its socket buffer is too large"},
        {10, "its segment size is not allowed"},
        {12, "its omitted time is not allowed"},
        {15, "its burst is not allowed"},
        {18, "SCTP is not available there"},
        {20, "its datagram size is not allowed"},
        {21, "its type of service is not allowed"},
        {27, "its rate is above the server's limit"},
        {100, "a new test could not be made"},
        {101, "the test could not be set up"},
        {106, "the cookie did not arrive"},
        {109, "the control connection was closed"},
        {110, "a message that the protocol does not know"},
        {114, "the parameters could not be read"},
        {117, "the results could not be read"},
        {122, "TCP_NODELAY could not be set"},
        {123, "the segment size could not be set"},
        {124, "the socket buffer could not be set"},
        {131, "that protocol is not available there"},
        {134, "that congestion control is not available there"},
        {141, "the socket buffer is smaller than asked for"},
        {142, "it wants a login"},
        {144, "no data arrived for too long"},
        {200, "a stream could not be made"},
        {202, "its stream listener could not be opened"},
        {204, "a stream could not be accepted"},
        {205, "a stream could not be written to"},
        {206, "a stream could not be read"},
        {208, "a stream has an unknown number"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].reason == reason) {
            return texts[i].text;
        }
    }
    return NULL;
}

void iperf3_cookie_make(const uint8_t random[IPERF3_COOKIE_BYTES - 1],
                        char cookie[IPERF3_COOKIE_BYTES])
{
    static const char characters[] = "abcdefghijklmnopqrstuvwxyz234567";
    for (size_t i = 0; i < IPERF3_COOKIE_BYTES - 1; i++) {
        cookie[i] = characters[random[i] % 32];
    }
    cookie[IPERF3_COOKIE_BYTES - 1] = '\0';
}

int iperf3_cookie_decode(const uint8_t *data, size_t length, char cookie[IPERF3_COOKIE_BYTES])
{
    size_t there = length < IPERF3_COOKIE_BYTES ? length : IPERF3_COOKIE_BYTES;
    bool ended = false;

    for (size_t i = 0; i < there; i++) {
        bool printable = data[i] > 0x20 && data[i] < 0x7f;
        ended = ended || data[i] == 0;
        if ((ended ? data[i] != 0 : !printable) || (i == 0 && ended)) {
            return IPERF3_BAD_COOKIE;
        }
    }
    if (there < IPERF3_COOKIE_BYTES) {
        return 0;
    }
    if (!ended) {
        return IPERF3_BAD_COOKIE;
    }
    memcpy(cookie, data, IPERF3_COOKIE_BYTES);
    return IPERF3_COOKIE_BYTES;
}

int iperf3_state_decode(const uint8_t *data, size_t length, enum iperf3_state *state)
{
    if (length == 0) {
        return 0;
    }
    switch ((int8_t)data[0]) {
#define X(name, value) case (value):
        IPERF3_STATES(X)
#undef X
        *state = (enum iperf3_state)(int8_t)data[0];
        return 1;
    default:
        return IPERF3_BAD_STATE;
    }
}

void iperf3_frame_header(uint8_t to[IPERF3_FRAME_HEADER_BYTES], uint32_t length)
{
    put(to, length, IPERF3_FRAME_HEADER_BYTES);
}

int iperf3_frame_decode(const uint8_t *data, size_t length, uint32_t most, const char **body,
                        uint32_t *body_length)
{
    if (length < IPERF3_FRAME_HEADER_BYTES) {
        return 0;
    }
    uint32_t declared = (uint32_t)get(data, IPERF3_FRAME_HEADER_BYTES);
    if (declared == 0) {
        return IPERF3_BAD_FRAME_EMPTY;
    }
    if (declared > most || declared > IPERF3_RESULTS_MOST) {
        return IPERF3_BAD_FRAME_LONG;
    }
    if (length - IPERF3_FRAME_HEADER_BYTES < declared) {
        return 0;
    }
    *body = (const char *)data + IPERF3_FRAME_HEADER_BYTES;
    *body_length = declared;
    return (int)(IPERF3_FRAME_HEADER_BYTES + declared);
}

void iperf3_refusal_encode(uint8_t to[IPERF3_REFUSAL_BYTES], const struct iperf3_refusal *refusal)
{
    put(to, (uint32_t)refusal->reason, 4);
    put(to + 4, (uint32_t)refusal->number, 4);
}

int iperf3_refusal_decode(const uint8_t *data, size_t length, struct iperf3_refusal *refusal)
{
    if (length < IPERF3_REFUSAL_BYTES) {
        return 0;
    }
    refusal->reason = (int32_t)(uint32_t)get(data, 4);
    refusal->number = (int32_t)(uint32_t)get(data + 4, 4);
    return IPERF3_REFUSAL_BYTES;
}

size_t iperf3_datagram_encode(uint8_t *to, bool wide, const struct iperf3_datagram *datagram)
{
    put(to, datagram->sent_ns / 1000000000, 4);
    put(to + 4, datagram->sent_ns % 1000000000 / 1000, 4);
    put(to + 8, datagram->sequence, wide ? 8 : 4);
    return iperf3_datagram_bytes(wide);
}

int iperf3_datagram_decode(const uint8_t *data, size_t length, bool wide,
                           struct iperf3_datagram *datagram)
{
    size_t bytes = iperf3_datagram_bytes(wide);
    if (length < bytes) {
        return IPERF3_BAD_DATAGRAM_SHORT;
    }
    uint64_t seconds = get(data, 4), microseconds = get(data + 4, 4);
    uint64_t sequence = get(data + 8, bytes - 8);
    if (microseconds >= 1000000 || sequence > INT64_MAX) {
        return IPERF3_BAD_DATAGRAM_RANGE;
    }
    datagram->sent_ns = seconds * 1000000000 + microseconds * 1000;
    datagram->sequence = sequence;
    return (int)bytes;
}

static int find(const uint8_t table[GREETINGS][IPERF3_HELLO_BYTES], const uint8_t *data,
                size_t length, enum iperf3_greeting *greeting)
{
    for (int i = 0; length == IPERF3_HELLO_BYTES && i < GREETINGS; i++) {
        if (memcmp(table[i], data, IPERF3_HELLO_BYTES) == 0) {
            *greeting = (enum iperf3_greeting)i;
            return IPERF3_HELLO_BYTES;
        }
    }
    return IPERF3_BAD_HELLO;
}

void iperf3_hello_encode(uint8_t to[IPERF3_HELLO_BYTES])
{
    memcpy(to, hellos[IPERF3_GREETING_NOW], IPERF3_HELLO_BYTES);
}

int iperf3_hello_decode(const uint8_t *data, size_t length, enum iperf3_greeting *greeting)
{
    return find(hellos, data, length, greeting);
}

void iperf3_reply_encode(uint8_t to[IPERF3_HELLO_BYTES], enum iperf3_greeting greeting)
{
    memcpy(to, replies[greeting], IPERF3_HELLO_BYTES);
}

int iperf3_reply_decode(const uint8_t *data, size_t length, enum iperf3_greeting *greeting)
{
    return find(replies, data, length, greeting);
}
