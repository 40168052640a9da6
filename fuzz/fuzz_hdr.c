/* hdr_decode on any bytes: as the text itself, and behind base64, checksum and header, where the
 * fuzzer would hardly come by mutation. What is accepted must survive encoding and decoding. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "stats/hdr_codec.h"

#define PAYLOAD_MOST 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void put(uint8_t *to, uint64_t value, size_t bytes)
{
    while (bytes--) {
        to[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

/* The data as the payload of an otherwise correct text; the first byte may damage its header. */
static size_t wrap(const uint8_t *data, size_t size, char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static uint8_t plain[40 + PAYLOAD_MOST], packed[8 + 2 * sizeof plain];
    uint8_t damage = size ? *data : 40;
    size_t used = 0;

    data += size ? 1 : 0;
    size -= size ? 1 : 0;
    size = size < PAYLOAD_MOST ? size : PAYLOAD_MOST;
    put(plain, 0x1c849313, 4);
    put(plain + 4, size, 4);
    put(plain + 8, 0, 4);
    put(plain + 12, HISTOGRAM_DIGITS, 4);
    put(plain + 16, 1, 8);
    put(plain + 24, HISTOGRAM_HIGHEST, 8);
    put(plain + 32, UINT64_C(0x3ff0000000000000), 8);
    if (damage < 40) {
        plain[damage] ^= 1;
    }
    memcpy(plain + 40, data, size);
    uLongf length = sizeof packed - 8;
    require(compress2(packed + 8, &length, plain, 40 + size, 1) == Z_OK);
    put(packed, 0x1c849314, 4);
    put(packed + 4, length, 4);
    length += 8;
    memset(packed + length, 0, 2);
    for (size_t bit = 0; bit < length * 8; bit += 6) {
        unsigned pair = packed[bit / 8] * 256U + packed[bit / 8 + 1];
        text[used++] = digits[pair >> (10 - bit % 8) & 63];
    }
    while (used % 4) {
        text[used++] = '=';
    }
    return used;
}

static void decode(const char *text, size_t length)
{
    static struct histogram first, second;
    struct err error = {0};

    histogram_clear(&first);
    histogram_clear(&second);
    if (hdr_decode(text, length, &first, &error)) {
        require(error.code == ERR_PROTOCOL);
        require(first.minimum == UINT64_MAX && first.maximum == 0 && first.out_of_range == 0);
        return;
    }
    char *again = hdr_encode(&first);
    require(again != NULL);
    require(hdr_decode(again, strlen(again), &second, &error) == 0);
    first.out_of_range = 0; /* the format does not tell */
    require(memcmp(&first, &second, sizeof first) == 0);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[4 * (40 + PAYLOAD_MOST)];

    decode((const char *)data, size);
    decode(text, wrap(data, size, text));
    return 0;
}
