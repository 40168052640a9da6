#include <string.h>

#include "codec/websocket.h"

/* As wide as the widest registers that are worth it; where there are none, the compiler makes words
 * of it. */
typedef uint64_t wide __attribute__((vector_size(32)));

static inline void mask_wide(uint8_t *to, const uint8_t *from, wide key)
{
    wide value;
    memcpy(&value, from, sizeof value);
    value ^= key;
    memcpy(to, &value, sizeof value);
}

/* All of the multiples of 128 bytes. */
static size_t mask_bulk(uint8_t *to, const uint8_t *from, size_t length, uint64_t word)
{
    wide key = {word, word, word, word};
    size_t at = 0;
    for (; length - at >= 4 * sizeof key; at += 4 * sizeof key) {
        for (size_t i = 0; i < 4; i++) {
            mask_wide(to + at + i * sizeof key, from + at + i * sizeof key, key);
        }
    }
    return at;
}

void websocket_mask(uint8_t *to, const uint8_t *from, size_t length,
                    const uint8_t mask[WEBSOCKET_MASK_BYTES], size_t phase)
{
    uint8_t turned[8];
    uint64_t word, value;
    for (size_t i = 0; i < sizeof turned; i++) {
        turned[i] = mask[(phase + i) % WEBSOCKET_MASK_BYTES];
    }
    memcpy(&word, turned, sizeof word);
    size_t at = mask_bulk(to, from, length, word);
    for (; length - at >= sizeof word; at += sizeof word) {
        memcpy(&value, from + at, sizeof value);
        value ^= word;
        memcpy(to + at, &value, sizeof value);
    }
    for (; at < length; at++) {
        to[at] = from[at] ^ turned[at % WEBSOCKET_MASK_BYTES];
    }
}
