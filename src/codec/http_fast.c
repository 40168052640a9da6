/* Whole header lines of the usual kind, 64 bytes at a time: a mask of the bytes that end a name and
 * one of those that end a value replace a branch for each byte, most of which a processor cannot
 * foresee. What is in any way unusual is left to http_lines.c, which judges alike. */
#include <string.h>

#include "codec/http_message.h"

#ifdef __SSE2__

#include <emmintrin.h>

enum { BLOCK_BYTES = 64 };

/* Bits of a block's bytes. */
struct masks {
    uint64_t others;   /* neither letters nor digits nor '-' */
    uint64_t controls; /* but for the tabulator */
};

/* Bytes that are at most `most`. */
static __m128i at_most(__m128i bytes, uint8_t most)
{
    return _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8((char)most)), bytes);
}

static void mark_sixteen(const uint8_t *at, unsigned *names, unsigned *controls)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)at);
    __m128i letters = at_most(
        _mm_sub_epi8(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), _mm_set1_epi8('a')), 'z' - 'a');
    __m128i digits = at_most(_mm_sub_epi8(bytes, _mm_set1_epi8('0')), 9);
    __m128i dashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('-'));
    __m128i low =
        _mm_andnot_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t')), at_most(bytes, 0x1f));
    __m128i deleted = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
    *names = (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(letters, digits), dashes));
    *controls = (unsigned)_mm_movemask_epi8(_mm_or_si128(low, deleted));
}

/* Behind the end, zeros are taken to stand. */
static struct masks mark(const uint8_t *at, const uint8_t *end)
{
    uint8_t last[BLOCK_BYTES] = {0};
    struct masks masks = {0};
    if (end - at < BLOCK_BYTES) {
        memcpy(last, at, (size_t)(end - at));
        at = last;
    }
#pragma GCC unroll 4
    for (unsigned i = 0; i < BLOCK_BYTES; i += 16) {
        unsigned names, controls;
        mark_sixteen(at + i, &names, &controls);
        masks.others |= (uint64_t)names << i;
        masks.controls |= (uint64_t)controls << i;
    }
    masks.others = ~masks.others;
    return masks;
}

/* The lines that are being read. */
struct scan {
    const uint8_t *line, *colon; /* where the line begins; where its name ends: NULL, not yet */
};

enum { LEFT = 2 }; /* beside HTTP_MORE, HTTP_DONE and errors: the line is not for us */

/* A byte that ends something: its place is `at`. */
static int stop(struct http_message *message, struct scan *scan, const uint8_t *at)
{
    if (!scan->colon) {
        if (*at == ':' && at > scan->line) {
            scan->colon = at;
            return HTTP_MORE;
        }
        return at == scan->line && at[0] == '\r' && at[1] == '\n' ? HTTP_DONE : LEFT;
    }
    if (at[0] != '\r' || at[1] != '\n') {
        return LEFT;
    }
    int error = http_line_take(message, scan->line, scan->colon, at);
    scan->line = at + 2;
    scan->colon = NULL;
    return error;
}

int http_lines_fast(struct http_message *message, const uint8_t **at, const uint8_t *end)
{
    struct scan scan = {.line = *at};
    size_t place = 0; /* in the block, from which on it is looked at */
    int result = HTTP_MORE;
    for (const uint8_t *block = *at; block < end && result == HTTP_MORE; block += BLOCK_BYTES) {
        struct masks masks = mark(block, end);
        while (place < BLOCK_BYTES && result == HTTP_MORE) {
            uint64_t found = (scan.colon ? masks.controls : masks.others) >> place;
            place = found ? place + (size_t)__builtin_ctzll(found) : BLOCK_BYTES;
            if (found) {
                const uint8_t *byte = block + place;
                result = end - byte < 2 ? LEFT : stop(message, &scan, byte);
                place += scan.line > byte ? 2 : 1;
            }
        }
        place -= BLOCK_BYTES;
    }
    *at = result == HTTP_DONE ? scan.line + 2 : scan.line;
    return result == LEFT ? HTTP_MORE : result;
}

#else

int http_lines_fast(struct http_message *message, const uint8_t **at, const uint8_t *end)
{
    (void)message;
    (void)at;
    (void)end;
    return HTTP_MORE;
}

#endif
