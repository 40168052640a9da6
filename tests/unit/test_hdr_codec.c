/* HdrHistogram's encoding. The texts below were written by HdrHistogram 2.1.11 (Java), with
 * new Histogram(1, 3600000000000L, 3) unless said otherwise. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/rng.h"
#include "stats/hdr_codec.h"

/* 37 * i^3 recorded i times for i = 1 .. 100; 0 three times, 2047 5 times, 2048 7 times, one hour
 * twice, 123,456,789 5 * 10^12 times. */
static const char cubes[] =
    "HISTFAAAAW54nJNpmSzMwMDozAABzFCaEch0M9ixgMH+A0SAzZ2pmYXlNxfbWgEuvr1MHEf5uSby8hzl5LvJKfCcXeg2"
    "u8hPVrGp7BJnWaS+sshcZ5X7z6xwlVmpn0XlPItaJ7PGSyatXmadrcx6d5kNNjMZTWcyWctkdpTJ4i6T1Xcmm+VMdlcZ"
    "HR4yOn1kdPnP6NbL5DGfyWstk899Rr/ljAHrGYO2M4YcZAw7yRhxlTHqLmPMc8a4z4wJaxmTmhlT2hnTehkzJjJmzWTM"
    "mcuYt5SxYCVj0UbGku2MZXsZKw4yViXXpNdlNzDmNjEWtjCWtjFWdjBWdzE2MvYwNjP2MbYzTmDsZZzE2M84hXEy4zTG"
    "6YwzgPxZjP5zGAPnMQYvYAxdxBi+hDFyGWP0CsbYVYyJaxiT1zEmb2DM3MSYuYUxextj/g7Gwl2MxXsYy/cxVh5gzD3E"
    "aHuE0f4Yo+MJxofSDQdOfW5ZzHT/DSMLANVeciE=";
static const char nothing[] = "HISTFAAAACF4nJNpmSzMwMDAyAABzFAayGd2M9ixgMH+A1QEAFKmBEw=";
/* 3,700,000,000,000: above the highest value, within HdrHistogram's last bucket. */
static const char beyond[] = "HISTFAAAACV4nJNpmSzMwMDAwgABzFCaEch0M9ixgMH+A0TgcxcLEwBlbQXS";
/* new Histogram(1, 3600000000000L, 2) with a 7. */
static const char two_digits[] = "HISTFAAAACN4nJNpmSzMwMDAxAABMJqRgYHZzWDHAgb7DxABXiYAVxYEWw==";

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static struct histogram *make(void)
{
    struct histogram *histogram = histogram_new();
    assert_non_null(histogram);
    return histogram;
}

static char *base64(const uint8_t *from, size_t length)
{
    char *text = calloc(1, length * 2 + 8);
    assert_non_null(text);
    size_t used = 0;
    for (size_t bit = 0; bit < length * 8; bit += 6) {
        unsigned pair = from[bit / 8] * 256U + (bit / 8 + 1 < length ? from[bit / 8 + 1] : 0U);
        text[used++] = digits[pair >> (10 - bit % 8) & 63];
    }
    while (used % 4) {
        text[used++] = '=';
    }
    return text;
}

static size_t unbase64(const char *text, uint8_t *to)
{
    size_t bits = 0;
    memset(to, 0, strlen(text) + 1);
    for (; *text && *text != '='; text++, bits += 6) {
        unsigned value = (unsigned)(strchr(digits, *text) - digits);
        unsigned pair = value << (10 - bits % 8);
        to[bits / 8] |= (uint8_t)(pair >> 8);
        to[bits / 8 + 1] |= (uint8_t)pair;
    }
    return bits / 8;
}

/* The plain form inside a text. */
static size_t unpack(const char *text, uint8_t *plain, size_t size)
{
    uint8_t *packed = malloc(strlen(text) + 2);
    assert_non_null(packed);
    uLongf length = size;
    size_t used = unbase64(text, packed);
    assert_memory_equal(packed, "\x1c\x84\x93\x14", 4);
    assert_int_equal(packed[4] << 24 | packed[5] << 16 | packed[6] << 8 | packed[7], used - 8);
    assert_int_equal(uncompress(plain, &length, packed + 8, used - 8), Z_OK);
    free(packed);
    return length;
}

/* A text around a plain form, whatever that is; `extra` bytes follow the compressed data. */
static char *pack(const uint8_t *plain, size_t length, size_t extra)
{
    uLongf used = compressBound(length);
    uint8_t *packed = calloc(1, 8 + used + extra);
    assert_non_null(packed);
    assert_int_equal(compress2(packed + 8, &used, plain, length, 9), Z_OK);
    used += extra;
    memcpy(packed, "\x1c\x84\x93\x14", 4);
    for (int i = 0; i < 4; i++) {
        packed[4 + i] = (uint8_t)(used >> (24 - 8 * i));
    }
    char *text = base64(packed, 8 + used);
    free(packed);
    return text;
}

/* Decodes into a histogram that holds something, which a refusal must leave as it was. Returns
 * whether the text was accepted. */
static bool accepts(const char *text, size_t length, struct histogram *result)
{
    static struct histogram before, after;
    struct err error = {0};
    histogram_clear(&before);
    histogram_record(&before, 12345, 3);
    memcpy(&after, &before, sizeof after);
    /* A copy of its own size, so that the sanitizer sees a read beyond the end. */
    char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, text, length);
    int status = hdr_decode(copy, length, &after, &error);
    free(copy);
    if (status) {
        assert_int_equal(status, -1);
        assert_int_equal(error.code, ERR_PROTOCOL);
        assert_string_not_equal(error.what, "");
        assert_memory_equal(&after, &before, sizeof after);
        return false;
    }
    assert_int_equal(error.code, ERR_NONE);
    if (result) {
        *result = after;
    }
    return true;
}

static bool accepts_plain(const uint8_t *plain, size_t length)
{
    char *text = pack(plain, length, 0);
    bool accepted = accepts(text, strlen(text), NULL);
    free(text);
    return accepted;
}

/* A plain form with this payload. Returns its length. */
static size_t plain_of(uint8_t *plain, const void *payload, size_t length)
{
    static const uint8_t header[40] = {0x1c, 0x84, 0x93, 0x13, 0,    0,    0,    0,
                                       0,    0,    0,    0,    0,    0,    0,    3, /* to digits */
                                       0,    0,    0,    0,    0,    0,    0,    1, /* lowest */
                                       0,    0,    0x03, 0x46, 0x30, 0xb8, 0xa0, 0x00, /* highest */
                                       0x3f, 0xf0, 0,    0,    0,    0,    0,    0}; /* ratio 1.0 */
    memcpy(plain, header, sizeof header);
    memcpy(plain + sizeof header, payload, length);
    for (int i = 0; i < 4; i++) {
        plain[4 + i] = (uint8_t)(length >> (24 - 8 * i));
    }
    return sizeof header + length;
}

static void reads_what_hdrhistogram_wrote(void **state)
{
    (void)state;
    struct histogram *expected = make();
    struct histogram *read = make();
    struct err error = {0};
    for (uint64_t i = 1; i <= 100; i++) {
        histogram_record(expected, i * i * i * 37, i);
    }
    histogram_record(expected, 0, 3);
    histogram_record(expected, 2047, 5);
    histogram_record(expected, 2048, 7);
    histogram_record(expected, UINT64_C(3600000000000), 2);
    histogram_record(expected, 123456789, UINT64_C(5000000000000));
    assert_int_equal(hdr_decode(cubes, strlen(cubes), read, &error), 0);
    assert_memory_equal(read, expected, sizeof *read);
    /* As HdrHistogram printed it. */
    assert_int_equal(histogram_count(read), UINT64_C(5000000005067));
    assert_int_equal(histogram_percentile_any(read, 50), 123469823);

    assert_int_equal(hdr_decode(nothing, strlen(nothing), read, &error), 0);
    assert_memory_equal(read, expected, sizeof *read);

    /* Decoding adds. */
    assert_int_equal(hdr_decode(cubes, strlen(cubes), read, &error), 0);
    histogram_add(expected, expected);
    assert_memory_equal(read, expected, sizeof *read);
    histogram_free(expected);
    histogram_free(read);
}

static void foreign_texts(void **state)
{
    (void)state;
    struct histogram *read = make();
    struct err error = {0};
    assert_int_equal(hdr_decode(beyond, strlen(beyond), read, &error), 0);
    assert_int_equal(read->out_of_range, 1);
    assert_int_equal(histogram_count(read), 0);
    assert_int_equal(read->minimum, UINT64_MAX);
    assert_false(accepts(two_digits, strlen(two_digits), NULL));
    /* A count of 0 where HdrHistogram would write a run. */
    uint8_t plain[64];
    struct histogram *expected = make();
    char *text = pack(plain, plain_of(plain, "\x00\x02\x00", 3), 0);
    histogram_clear(read);
    histogram_record(expected, 1, 1);
    assert_int_equal(hdr_decode(text, strlen(text), read, &error), 0);
    assert_memory_equal(read, expected, sizeof *read);
    free(text);
    histogram_free(expected);
    histogram_free(read);
}

/* Byte for byte, worked out by hand: two 1s, three hundred 5s, one 3000 (bucket 2524). */
static void writes_the_documented_bytes(void **state)
{
    (void)state;
    static const uint8_t payload[] = {0x01,       /* bucket 0: one zero, -1 */
                                      0x04,       /* 2 */
                                      0x05,       /* three zeroes, -3 */
                                      0xd8, 0x04, /* 300, ZigZag 600 */
                                      0xab, 0x27, /* 2518 zeroes, ZigZag 5035 */
                                      0x02};      /* 1 */
    uint8_t expected[64], plain[256];
    struct histogram *histogram = make();
    histogram_record(histogram, 1, 2);
    histogram_record(histogram, 5, 300);
    histogram_record(histogram, 3000, 1);
    char *text = hdr_encode(histogram);
    assert_non_null(text);
    size_t length = plain_of(expected, payload, sizeof payload);
    assert_int_equal(unpack(text, plain, sizeof plain), length);
    assert_memory_equal(plain, expected, length);
    free(text);

    histogram_clear(histogram);
    text = hdr_encode(histogram);
    assert_non_null(text);
    length = plain_of(expected, "\x01", 1);
    assert_int_equal(unpack(text, plain, sizeof plain), length);
    assert_memory_equal(plain, expected, length);
    free(text);

    /* The largest count of the format; what is beyond is written as that. */
    histogram_record(histogram, 0, UINT64_MAX);
    text = hdr_encode(histogram);
    assert_non_null(text);
    length = plain_of(expected, "\xfe\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    assert_int_equal(unpack(text, plain, sizeof plain), length);
    assert_memory_equal(plain, expected, length);
    free(text);
    histogram_free(histogram);
}

/* Encodes and decodes; all but the exact ends of the range must survive. */
static void assert_round_trip(const struct histogram *histogram)
{
    struct histogram *read = make();
    struct err error = {0};
    char *text = hdr_encode(histogram);
    assert_non_null(text);
    assert_int_equal(hdr_decode(text, strlen(text), read, &error), 0);
    assert_memory_equal(read->counts, histogram->counts, sizeof read->counts);
    assert_int_equal(read->out_of_range, 0);
    if (histogram_count(histogram)) {
        uint64_t high = histogram_highest_equivalent(histogram->maximum);
        assert_int_equal(read->minimum, histogram_lowest_equivalent(histogram->minimum));
        assert_int_equal(read->maximum, high < HISTOGRAM_HIGHEST ? high : HISTOGRAM_HIGHEST);
    } else {
        assert_int_equal(read->minimum, UINT64_MAX);
        assert_int_equal(read->maximum, 0);
    }
    free(text);
    histogram_free(read);
}

static void round_trips(void **state)
{
    (void)state;
    struct histogram *histogram = make();
    struct rng rng;
    rng_seed(&rng, 1);
    assert_round_trip(histogram);
    histogram_record(histogram, 0, 1);
    assert_round_trip(histogram);
    histogram_record(histogram, HISTOGRAM_HIGHEST, 1);
    histogram_record(histogram, HISTOGRAM_HIGHEST + 1, 1);
    assert_round_trip(histogram);
    /* Counts on both sides of every length of a number. */
    histogram_clear(histogram);
    for (unsigned bits = 0; bits < 62; bits++) {
        histogram_record(histogram, 2 * bits, UINT64_C(1) << bits);
        histogram_record(histogram, 2 * bits + 1, (UINT64_C(1) << bits) - 1);
    }
    histogram->counts[123] = INT64_MAX / 8;
    histogram->counts[121] = 1;
    histogram->counts[122] = 1;
    assert_round_trip(histogram);
    histogram_clear(histogram);
    histogram_record(histogram, 77, INT64_MAX);
    assert_round_trip(histogram);
    for (int i = 0; i < 200; i++) {
        histogram_clear(histogram);
        uint64_t values = rng_below(&rng, 3000);
        for (uint64_t j = 0; j < values; j++) {
            histogram_record(histogram, rng_next(&rng) >> (22 + rng_below(&rng, 42)),
                             rng_next(&rng) >> (14 + rng_below(&rng, 50)));
        }
        assert_round_trip(histogram);
    }
    histogram_free(histogram);
}

/* The largest text there is must be read: every bucket full of counts that do not compress. */
static void full_histogram(void **state)
{
    (void)state;
    struct histogram *histogram = make();
    struct rng rng;
    rng_seed(&rng, 2);
    for (uint32_t i = 0; histogram_value(i) <= HISTOGRAM_HIGHEST; i++) {
        histogram_record(histogram, histogram_value(i), rng_next(&rng) >> 17);
    }
    assert_round_trip(histogram);
    histogram_free(histogram);
}

static void refuses_every_truncation(void **state)
{
    (void)state;
    uint8_t packed[1024], plain[4096];
    for (size_t i = 0; i < strlen(cubes); i++) {
        assert_false(accepts(cubes, i, NULL));
    }
    size_t length = unbase64(cubes, packed);
    for (size_t i = 0; i < length; i++) {
        char *text = base64(packed, i);
        assert_false(accepts(text, strlen(text), NULL));
        free(text);
    }
    length = unpack(cubes, plain, sizeof plain);
    assert_true(accepts_plain(plain, length));
    for (size_t i = 0; i < length; i++) {
        assert_false(accepts_plain(plain, i));
    }
}

static void refuses_or_survives_every_flip(void **state)
{
    (void)state;
    static struct histogram good, read;
    char text[sizeof cubes];
    uint8_t plain[4096];
    int accepted = 0;
    assert_true(accepts(cubes, strlen(cubes), &good));
    for (size_t i = 0; i < strlen(cubes); i++) {
        /* Every flip where cookie and length are, single bits behind. */
        for (unsigned flip = 1; flip < 256; flip += i < 16 ? 1 : flip) {
            memcpy(text, cubes, sizeof cubes);
            text[i] = (char)(text[i] ^ (char)flip);
            /* The cookie's word size and unused Huffman codes may differ, the counts may not. */
            if (accepts(text, strlen(cubes), &read)) {
                accepted++;
                assert_memory_equal(&read, &good, sizeof read);
            }
        }
    }
    assert_in_range(accepted, 15, 30); /* the 15 other word sizes, and little else */
    /* Behind the checksum: the header's fields are checked, the counts cannot be. */
    size_t length = unpack(cubes, plain, sizeof plain);
    for (size_t bit = 0; bit < length * 8; bit++) {
        plain[bit / 8] ^= (uint8_t)(1U << bit % 8);
        bool valid = accepts_plain(plain, length);
        if (bit < 40 * 8) {
            assert_int_equal(valid, bit / 8 == 3 && bit % 8 >= 4);
        }
        plain[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

static void refuses_bad_payloads(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        bool accepted;
    } rows[] = {
        {"", 0, true},
        {"\x00", 1, true}, /* a count of 0 instead of a run */
        {"\x80", 1, false},
        {"\xff\xff\xff\xff\xff\xff\xff\xff", 8, false},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff", 9, false}, /* a run of 2^63 zeroes */
        {"\xfe\xff\xff\xff\xff\xff\xff\xff\xff", 9, false}, /* 2^63 - 1 and what is there */
        {"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", 9, true},
        {"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f\xfe\xff\xff\xff\xff\xff\xff\xff\x80", 18, false},
        {"\xfe\xff\xff\xff\xff\xff\xff\xff\xff"
         "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x04",
         19, false},                        /* 2^64 in all */
        {"\xff\x8f\x04", 3, true},          /* 33,792 zeroes: all buckets */
        {"\x81\x90\x04", 3, false},         /* 33,793 */
        {"\xff\x8f\x04\x00", 4, false},     /* a count behind them */
        {"\xff\x8f\x04\x01", 4, false},     /* a zero more */
        {"\xff\xff\xff\xff\x0f", 5, false}, /* 2^31 zeroes: 0 as a 32-bit product */
        {"\xff\xff\xff\xff\x1f", 5, false}, /* 2^32 */
    };
    uint8_t plain[128];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t length = plain_of(plain, rows[i].bytes, rows[i].length);
        assert_int_equal(accepts_plain(plain, length), rows[i].accepted);
        plain[7]++; /* stated length against real length */
        assert_false(accepts_plain(plain, length));
    }
}

static void refuses_what_is_too_large(void **state)
{
    (void)state;
    enum { BOMB = 64 << 20, MOST = 9 * HISTOGRAM_COUNTS };
    uint8_t *plain = calloc(1, BOMB);
    assert_non_null(plain);
    /* Each bucket at the longest form of 0: as long as a payload can be; then one byte more. */
    uint8_t *payload = malloc(MOST + 1);
    assert_non_null(payload);
    memset(payload, 0x80, MOST + 1);
    for (size_t i = 8; i < MOST; i += 9) {
        payload[i] = 0;
    }
    payload[MOST] = 0;
    assert_true(accepts_plain(plain, plain_of(plain, payload, MOST)));
    assert_false(accepts_plain(plain, plain_of(plain, payload, MOST + 1)));
    free(payload);
    /* 64 KB that inflate to 64 MB. */
    plain_of(plain, "", 0);
    memset(plain + 4, 0xff, 4);
    assert_false(accepts_plain(plain, BOMB));
    free(plain);
}

/* zlib allows any number of empty blocks before the data: valid, but the text has a limit. */
static void refuses_a_padded_text(void **state)
{
    (void)state;
    static const struct {
        size_t blocks;
        bool accepted;
    } rows[] = {{0, true}, {1000, true}, {200000, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t plain[64];
        size_t length = plain_of(plain, "\x02", 1);
        size_t used = 10;
        uint8_t *packed = calloc(1, rows[i].blocks * 5 + 128);
        assert_non_null(packed);
        memcpy(packed, "\x1c\x84\x93\x14....\x78\x01", used);
        for (size_t j = 0; j < rows[i].blocks; j++, used += 5) {
            memcpy(packed + used, "\x00\x00\x00\xff\xff", 5);
        }
        uint8_t last[] = {1, (uint8_t)length, 0, (uint8_t)~length, 0xff};
        memcpy(packed + used, last, sizeof last);
        memcpy(packed + used + 5, plain, length);
        used += 5 + length;
        uLong sum = adler32(adler32(0, NULL, 0), plain, (uInt)length);
        for (int j = 0; j < 4; j++) {
            packed[used++] = (uint8_t)(sum >> (24 - 8 * j));
        }
        for (int j = 0; j < 4; j++) {
            packed[4 + j] = (uint8_t)((used - 8) >> (24 - 8 * j));
        }
        char *text = base64(packed, used);
        assert_int_equal(accepts(text, strlen(text), NULL), rows[i].accepted);
        free(text);
        free(packed);
    }
}

static void refuses_what_follows(void **state)
{
    (void)state;
    uint8_t plain[4096];
    char text[sizeof cubes + 8];
    size_t length = unpack(cubes, plain, sizeof plain);
    char *longer = pack(plain, length, 1);
    assert_false(accepts(longer, strlen(longer), NULL));
    free(longer);
    static const char *const tails[] = {"=", "====", "AAAA", "\n", "   \n"};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        memcpy(text, cubes, sizeof cubes);
        strcat(text, tails[i]);
        assert_false(accepts(text, strlen(text), NULL));
    }
    /* Padding is no digit and stands at the end; the bits that it leaves unused are 0. */
    static const char *const endings[] = {"BE=w", "B===", "====", "=Ew=", "BEx=", "B w=", "BE-="};
    assert_string_equal(nothing + strlen(nothing) - 4, "BEw=");
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        memcpy(text, nothing, sizeof nothing);
        memcpy(text + strlen(nothing) - 4, endings[i], 4);
        assert_false(accepts(text, strlen(nothing), NULL));
    }
    for (uint8_t count = 2;; count += 2) { /* until one needs two of them */
        char *padded = pack(plain, plain_of(plain, (uint8_t[]){count, 4, 6, count}, count % 5), 0);
        char *last = padded + strlen(padded) - 3;
        assert_true(accepts(padded, strlen(padded), NULL));
        bool found = last[1] == '=';
        *last = (char)(*last + 1);
        assert_true(!found || !accepts(padded, strlen(padded), NULL));
        free(padded);
        if (found) {
            break;
        }
        assert_true(count < 120);
    }
}

/* More than 2^63 - 1 values cannot be told to HdrHistogram. */
static void refuses_a_sum_that_overflows(void **state)
{
    (void)state;
    struct histogram *read = make();
    struct histogram *before = make();
    struct err error = {0};
    histogram_record(read, 5, UINT64_C(9223372036854775807) - UINT64_C(5000000005067) + 1);
    *before = *read;
    assert_int_equal(hdr_decode(cubes, strlen(cubes), read, &error), -1);
    assert_int_equal(error.code, ERR_PROTOCOL);
    assert_memory_equal(read, before, sizeof *read);
    read->counts[5]--;
    error = (struct err){0};
    assert_int_equal(hdr_decode(cubes, strlen(cubes), read, &error), 0);
    assert_int_equal(histogram_count(read), INT64_MAX);
    histogram_free(read);
    histogram_free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_hdrhistogram_wrote),
        cmocka_unit_test(foreign_texts),
        cmocka_unit_test(writes_the_documented_bytes),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(full_histogram),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(refuses_or_survives_every_flip),
        cmocka_unit_test(refuses_bad_payloads),
        cmocka_unit_test(refuses_what_is_too_large),
        cmocka_unit_test(refuses_a_padded_text),
        cmocka_unit_test(refuses_what_follows),
        cmocka_unit_test(refuses_a_sum_that_overflows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
