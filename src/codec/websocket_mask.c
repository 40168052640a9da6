#include <string.h>

#include "codec/websocket.h"

/* As wide as the registers that memcpy uses; where there are none, the compiler makes narrower ones
 * of it. */
typedef uint64_t wide __attribute__((vector_size(32)));

enum { STEP_BYTES = 4 * sizeof(wide) };

/* All whole steps; how many bytes. */
static inline __attribute__((always_inline)) size_t mask_steps(uint8_t *to, const uint8_t *from,
                                                               size_t length, uint64_t word)
{
    wide key = {word, word, word, word}, value;
    size_t at = 0;
    for (; length - at >= STEP_BYTES; at += STEP_BYTES) {
        for (size_t i = at; i < at + STEP_BYTES; i += sizeof value) {
            memcpy(&value, from + i, sizeof value);
            value ^= key;
            memcpy(to + i, &value, sizeof value);
        }
    }
    return at;
}

#if defined(__x86_64__)

/* Of the registers that not every x86-64 has. */
__attribute__((target("avx2"))) static size_t mask_steps_avx2(uint8_t *to, const uint8_t *from,
                                                              size_t length, uint64_t word)
{
    return mask_steps(to, from, length, word);
}

static size_t mask_bulk(uint8_t *to, const uint8_t *from, size_t length, uint64_t word)
{
    return __builtin_cpu_supports("avx2") ? mask_steps_avx2(to, from, length, word)
                                          : mask_steps(to, from, length, word);
}

#else

static size_t mask_bulk(uint8_t *to, const uint8_t *from, size_t length, uint64_t word)
{
    return mask_steps(to, from, length, word);
}

#endif

void websocket_mask(uint8_t *to, const uint8_t *from, size_t length,
                    const uint8_t mask[WEBSOCKET_MASK_BYTES], size_t phase)
{
    uint8_t turned[8];
    uint64_t word, value;
    for (size_t i = 0; i < sizeof turned; i++) {
        turned[i] = mask[(phase + i) % WEBSOCKET_MASK_BYTES];
    }
    memcpy(&word, turned, sizeof word);
    size_t at = length >= STEP_BYTES ? mask_bulk(to, from, length, word) : 0;
    for (; length - at >= sizeof word; at += sizeof word) {
        memcpy(&value, from + at, sizeof value);
        value ^= word;
        memcpy(to + at, &value, sizeof value);
    }
    for (; at < length; at++) {
        to[at] = from[at] ^ turned[at % WEBSOCKET_MASK_BYTES];
    }
}
