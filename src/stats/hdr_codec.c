#include "stats/hdr_codec.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Bits 4 to 7 of a cookie state a word size, which V2 does not use: 1 is written, any is read. */
#define COOKIE_PLAIN UINT32_C(0x1c849303)
#define COOKIE_COMPRESSED UINT32_C(0x1c849304)
#define COOKIE_WORD_SIZE UINT32_C(0x10)
#define COOKIE_WORD_MASK UINT32_C(0xf0)

/* Layout of the plain form, all big-endian: cookie, payload length, normalizing index offset,
 * significant digits (4 bytes each), lowest discernible value, highest trackable value,
 * conversion ratio as an IEEE 754 double (8 bytes each), payload. */
#define PLAIN_HEADER 40
#define COMPRESSED_HEADER 8 /* cookie, length of what follows */
#define RATIO_ONE UINT64_C(0x3ff0000000000000)
#define NUMBER_MOST 9 /* bytes of one LEB128-64b9B number */

#define PLAIN_MOST (PLAIN_HEADER + NUMBER_MOST * (size_t)HISTOGRAM_COUNTS)
/* zlib adds 0.1 % at worst; twice is more than any writer needs. */
#define COMPRESSED_MOST (COMPRESSED_HEADER + 2 * PLAIN_MOST)
#define TEXT_MOST ((COMPRESSED_MOST + 2) / 3 * 4)

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void put32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        to[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static void put64(uint8_t *to, uint64_t value)
{
    put32(to, (uint32_t)(value >> 32));
    put32(to + 4, (uint32_t)value);
}

static uint32_t get32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static uint64_t get64(const uint8_t *from)
{
    return (uint64_t)get32(from) << 32 | get32(from + 4);
}

/* Writes a number as ZigZag LEB128-64b9B: seven bits a byte, least first, and all eight of a
 * ninth byte. Returns the bytes written. */
static size_t put_number(uint8_t *to, int64_t number)
{
    uint64_t rest = (uint64_t)number << 1 ^ (number < 0 ? UINT64_MAX : 0);
    size_t length = 0;

    while (length < NUMBER_MOST - 1 && rest > 127) {
        to[length++] = (uint8_t)(rest | 128);
        rest >>= 7;
    }
    to[length++] = (uint8_t)rest;
    return length;
}

/* Reads such a number. Returns the bytes read; 0 where `length` ends inside it. */
static size_t get_number(const uint8_t *from, size_t length, int64_t *number)
{
    uint64_t value = 0;

    for (size_t i = 0; i < length && i < NUMBER_MOST; i++) {
        bool last = i == NUMBER_MOST - 1 || from[i] < 128;
        value |= (uint64_t)(i == NUMBER_MOST - 1 ? from[i] : from[i] & 127) << (7 * i);
        if (last) {
            *number = (int64_t)(value >> 1 ^ (value & 1 ? UINT64_MAX : 0));
            return i + 1;
        }
    }
    return 0;
}

/* Counts up to the largest value's bucket, runs of zeroes as negative numbers. Returns the bytes
 * written. An empty histogram is one zero, as HdrHistogram writes it. */
static size_t put_counts(uint8_t *to, const struct histogram *histogram)
{
    uint32_t end = histogram_index(histogram->maximum) + 1;
    size_t length = 0;

    for (uint32_t i = 0; i < end;) {
        uint64_t count = histogram->counts[i];
        uint32_t zeroes = 0;
        while (i < end && histogram->counts[i] == 0) {
            zeroes++;
            i++;
        }
        if (zeroes) {
            length += put_number(to + length, -(int64_t)zeroes);
        } else {
            /* The format has 63 bits for a count. */
            length += put_number(to + length, count < INT64_MAX ? (int64_t)count : INT64_MAX);
            i++;
        }
    }
    return length;
}

/* The plain form; `to` has PLAIN_MOST bytes. Returns the bytes written. */
static size_t put_plain(uint8_t *to, const struct histogram *histogram)
{
    size_t payload = put_counts(to + PLAIN_HEADER, histogram);

    put32(to, COOKIE_PLAIN | COOKIE_WORD_SIZE);
    put32(to + 4, (uint32_t)payload);
    put32(to + 8, 0);
    put32(to + 12, HISTOGRAM_DIGITS);
    put64(to + 16, 1);
    put64(to + 24, HISTOGRAM_HIGHEST);
    put64(to + 32, RATIO_ONE);
    return PLAIN_HEADER + payload;
}

/* Base64 with padding and a terminator, malloc'ed; NULL without memory. */
static char *base64_encode(const uint8_t *from, size_t length)
{
    char *text = malloc((length + 2) / 3 * 4 + 1);
    char *to = text;

    if (!text) {
        return NULL;
    }
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t group = (uint32_t)from[i] << 16 | (left > 1 ? (uint32_t)from[i + 1] << 8 : 0) |
                         (left > 2 ? from[i + 2] : 0);
        *to++ = base64_digits[group >> 18];
        *to++ = base64_digits[group >> 12 & 63];
        *to++ = left > 1 ? base64_digits[group >> 6 & 63] : '=';
        *to++ = left > 2 ? base64_digits[group & 63] : '=';
    }
    *to = '\0';
    return text;
}

char *hdr_encode(const struct histogram *histogram)
{
    uint8_t *plain = malloc(PLAIN_MOST);
    uint8_t *packed = NULL;
    char *text = NULL;

    if (plain) {
        size_t length = put_plain(plain, histogram);
        uLongf packed_length = compressBound((uLong)length);
        packed = malloc(COMPRESSED_HEADER + packed_length);
        if (packed &&
            compress(packed + COMPRESSED_HEADER, &packed_length, plain, (uLong)length) == Z_OK) {
            put32(packed, COOKIE_COMPRESSED | COOKIE_WORD_SIZE);
            put32(packed + 4, (uint32_t)packed_length);
            text = base64_encode(packed, COMPRESSED_HEADER + packed_length);
        }
    }
    free(plain);
    free(packed);
    return text;
}

/* Value of a base64 digit; 64 for any other character. */
static uint32_t base64_value(char digit)
{
    if (digit >= 'A' && digit <= 'Z') {
        return (uint32_t)(digit - 'A');
    }
    if (digit >= 'a' && digit <= 'z') {
        return (uint32_t)(digit - 'a' + 26);
    }
    if (digit >= '0' && digit <= '9') {
        return (uint32_t)(digit - '0' + 52);
    }
    return digit == '+' ? 62 : digit == '/' ? 63 : 64;
}

/* Strict: padded, no white space, unused bits 0. `to` has length / 4 * 3 bytes. False where the
 * text is not base64. */
static bool base64_decode(const char *text, size_t length, uint8_t *to, size_t *decoded)
{
    if (length % 4) {
        return false;
    }
    *decoded = 0;
    for (size_t i = 0; i < length; i += 4) {
        size_t padding = 0;
        uint32_t group = 0;
        if (i + 4 == length && text[i + 3] == '=') {
            padding = text[i + 2] == '=' ? 2 : 1;
        }
        for (size_t j = 0; j < 4; j++) {
            uint32_t value = j + padding < 4 ? base64_value(text[i + j]) : 0;
            if (value > 63) {
                return false;
            }
            group = group << 6 | value;
        }
        if (group & ((UINT32_C(1) << (8 * padding)) - 1)) {
            return false;
        }
        for (size_t j = 0; j + padding < 3; j++) {
            to[(*decoded)++] = (uint8_t)(group >> (16 - 8 * j));
        }
    }
    return true;
}

static int malformed(struct err *error, const char *what)
{
    return err_set(error, ERR_PROTOCOL, "histogram", "%s", what);
}

/* Adds a bucket's count. What lies above the highest value (HdrHistogram's last bucket reaches
 * beyond it) is out of range here too. */
static void add_count(struct histogram *histogram, uint32_t index, uint64_t count)
{
    uint64_t low = histogram_value(index);
    uint64_t high = histogram_highest_equivalent(low);

    if (low > HISTOGRAM_HIGHEST) {
        histogram->out_of_range += count;
        return;
    }
    histogram->counts[index] += count;
    if (low < histogram->minimum) {
        histogram->minimum = low;
    }
    high = high < HISTOGRAM_HIGHEST ? high : HISTOGRAM_HIGHEST;
    if (high > histogram->maximum) {
        histogram->maximum = high;
    }
}

/* Walks over the payload. Without `to` it only checks it and gives the sum of its counts; the
 * payload must be checked before it is added. */
static int get_counts(const uint8_t *payload, size_t length, struct histogram *to, uint64_t *total,
                      struct err *error)
{
    uint32_t index = 0;

    *total = 0;
    while (length) {
        int64_t number;
        size_t used = get_number(payload, length, &number);
        if (!used) {
            return malformed(error, "payload ends inside a number");
        }
        payload += used;
        length -= used;
        if (number < 0) {
            if (number < -(int64_t)(HISTOGRAM_COUNTS - index)) {
                return malformed(error, "run of zeroes beyond the last bucket");
            }
            index += (uint32_t)-number;
            continue;
        }
        if (index == HISTOGRAM_COUNTS) {
            return malformed(error, "more counts than buckets");
        }
        if ((uint64_t)number > INT64_MAX - *total) {
            return malformed(error, "counts overflow");
        }
        *total += (uint64_t)number;
        if (to && number) {
            add_count(to, index, (uint64_t)number);
        }
        index++;
    }
    return 0;
}

static int get_plain(const uint8_t *plain, size_t length, struct histogram *histogram,
                     struct err *error)
{
    uint64_t total;
    uint64_t present = histogram_count(histogram);

    if (length < PLAIN_HEADER) {
        return malformed(error, "header is truncated");
    }
    if ((get32(plain) & ~COOKIE_WORD_MASK) != COOKIE_PLAIN) {
        return malformed(error, "not in HdrHistogram's V2 encoding");
    }
    if (get32(plain + 4) != length - PLAIN_HEADER) {
        return malformed(error, "stated payload length is not the payload's");
    }
    if (get32(plain + 8) != 0 || get32(plain + 12) != HISTOGRAM_DIGITS || get64(plain + 16) != 1 ||
        get64(plain + 24) != HISTOGRAM_HIGHEST || get64(plain + 32) != RATIO_ONE) {
        malformed(error, "of another configuration");
        return err_hint(error, "only 1 to 3600000000000 with 3 significant digits is read");
    }
    plain += PLAIN_HEADER;
    length -= PLAIN_HEADER;
    if (get_counts(plain, length, NULL, &total, error)) {
        return -1;
    }
    if (present > INT64_MAX || total > INT64_MAX - present ||
        total > UINT64_MAX - histogram->out_of_range) {
        return malformed(error, "counts overflow when added");
    }
    return get_counts(plain, length, histogram, &total, error);
}

/* Inflates into a buffer that no honest input fills. */
static int get_compressed(const uint8_t *packed, size_t length, struct histogram *histogram,
                          struct err *error)
{
    uLongf plain_length = PLAIN_MOST + 1;
    uLong used;
    int result;

    if (length < COMPRESSED_HEADER) {
        return malformed(error, "header is truncated");
    }
    if ((get32(packed) & ~COOKIE_WORD_MASK) != COOKIE_COMPRESSED) {
        return malformed(error, "not in HdrHistogram's compressed V2 encoding");
    }
    used = (uLong)(length - COMPRESSED_HEADER);
    if (get32(packed + 4) != used) {
        return malformed(error, "stated length is not the data's");
    }
    uint8_t *plain = malloc(plain_length);
    if (!plain) {
        return err_system(error, ENOMEM, "histogram", "cannot inflate");
    }
    result = uncompress2(plain, &plain_length, packed + COMPRESSED_HEADER, &used);
    if (result == Z_MEM_ERROR) {
        result = err_system(error, ENOMEM, "histogram", "cannot inflate");
    } else if (result == Z_BUF_ERROR || (result == Z_OK && plain_length > PLAIN_MOST)) {
        result = malformed(error, "more data than the histogram has buckets");
    } else if (result != Z_OK || used != length - COMPRESSED_HEADER) {
        result = malformed(error, "compressed data is damaged");
    } else {
        result = get_plain(plain, plain_length, histogram, error);
    }
    free(plain);
    return result;
}

int hdr_decode(const char *text, size_t length, struct histogram *histogram, struct err *error)
{
    size_t decoded;
    int result;

    if (length > TEXT_MOST) {
        return malformed(error, "text is longer than any such histogram");
    }
    uint8_t *packed = malloc(length / 4 * 3 + 1);
    if (!packed) {
        return err_system(error, ENOMEM, "histogram", "cannot decode");
    }
    if (base64_decode(text, length, packed, &decoded)) {
        result = get_compressed(packed, decoded, histogram, error);
    } else {
        result = malformed(error, "not base64");
    }
    free(packed);
    return result;
}
