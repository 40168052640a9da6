#include "codec/sockperf.h"

enum { SEQUENCE_AT = 0, FLAGS_AT = 8, LENGTH_AT = 10 };
#define FLAGS_KNOWN (SOCKPERF_CLIENT | SOCKPERF_PONG | SOCKPERF_WARMUP)

static void put(uint8_t *to, uint64_t value, size_t bytes)
{
    while (bytes--) {
        to[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

static uint64_t take(const uint8_t *from, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | from[i];
    }
    return value;
}

void sockperf_encode(uint8_t *to, const struct sockperf_header *header)
{
    put(to + SEQUENCE_AT, header->sequence, 8);
    put(to + FLAGS_AT, header->flags, 2);
    put(to + LENGTH_AT, header->length, 4);
}

enum sockperf_result sockperf_decode(const uint8_t *data, size_t size,
                                     struct sockperf_header *header)
{
    if (size < SOCKPERF_HEADER_BYTES) {
        return SOCKPERF_SHORT;
    }
    struct sockperf_header found = {
        .sequence = take(data + SEQUENCE_AT, 8),
        .flags = (uint16_t)take(data + FLAGS_AT, 2),
        .length = (uint32_t)take(data + LENGTH_AT, 4),
    };
    if (found.length < SOCKPERF_HEADER_BYTES || found.length > SOCKPERF_MESSAGE_MAX) {
        return SOCKPERF_BAD_LENGTH;
    }
    if (found.flags & ~FLAGS_KNOWN) {
        return SOCKPERF_BAD_FLAGS;
    }
    *header = found;
    return SOCKPERF_OK;
}

bool sockperf_wants_answer(const struct sockperf_header *header)
{
    return (header->flags & FLAGS_KNOWN) == (SOCKPERF_CLIENT | SOCKPERF_PONG);
}

void sockperf_make_answer(uint8_t *message)
{
    message[FLAGS_AT + 1] &= (uint8_t)~SOCKPERF_CLIENT;
}

const char *sockperf_text(enum sockperf_result result)
{
    switch (result) {
    case SOCKPERF_OK:
        return "correct";
    case SOCKPERF_SHORT:
        return "a sockperf message without a whole header";
    case SOCKPERF_BAD_LENGTH:
        return "a sockperf message of an impossible length";
    case SOCKPERF_BAD_FLAGS:
        return "a sockperf message with unknown flags";
    }
    return "wrong";
}
