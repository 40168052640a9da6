/* Header lines (RFC 9112, section 5), byte for byte: where the pieces are cut matters nowhere. Only
 * what says how to read the message is looked at; the rest is checked and passed over. */
#include <string.h>

#include "codec/http_message.h"

/* Headers that are looked at. */
enum {
    HEADER_OTHER,
    HEADER_LENGTH,
    HEADER_CODING,
    HEADER_CONNECTION,
    HEADER_HOST,
    HEADER_EXPECT,
};

/* Where in a value, or in one element of a list. */
enum { VALUE_BEFORE, VALUE_INSIDE, VALUE_BEHIND };

enum { WORD_TOO_LONG = HTTP_WORD_MOST + 1 }; /* longer than any that is known */

const bool http_is_token[256] = {
    ['!'] = true,         ['#'] = true,         ['$'] = true,         ['%'] = true, ['&'] = true,
    ['\''] = true,        ['*'] = true,         ['+'] = true,         ['-'] = true, ['.'] = true,
    ['^'] = true,         ['_'] = true,         ['`'] = true,         ['|'] = true, ['~'] = true,
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true,
};

/* ---- bytes ---- */

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* The top bit of each byte that is below 0x20 or 0x7f. One behind such a byte may be marked, too.
 */
static uint64_t mark_controls(uint64_t word)
{
    uint64_t deleted = word ^ EACH(0x7f);
    return (((word - EACH(0x20)) & ~word) | ((deleted - EACH(0x01)) & ~deleted)) & EACH(0x80);
}

static const uint8_t *skip_words(const uint8_t *at, const uint8_t *end)
{
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        uint64_t marks = mark_controls(word);
        if (marks) {
            return at + __builtin_ctzll(marks) / 8;
        }
        at += 8;
    }
    return at;
}
#else
static const uint8_t *skip_words(const uint8_t *at, const uint8_t *end)
{
    (void)end;
    return at;
}
#endif

const uint8_t *http_find_control(const uint8_t *at, const uint8_t *end)
{
    for (;;) {
        at = skip_words(at, end);
        while (at < end && !http_is_control(*at)) {
            /* Behind a tabulator there may be words again. */
            if (*at++ == '\t') {
                break;
            }
        }
        if (at == end || http_is_control(*at)) {
            return at;
        }
    }
}

int http_line_stop(uint8_t byte)
{
    return byte == '\r' ? 0 : byte == '\n' ? HTTP_BAD_HEAD_LINE_END : HTTP_BAD_HEAD_BYTE;
}

static char lower(uint8_t byte)
{
    return (char)(byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte);
}

static void put_word(struct http_message *message, const uint8_t *at, size_t length)
{
    size_t there = message->word_bytes;
    if (there + length > sizeof message->word) {
        message->word_bytes = WORD_TOO_LONG;
        return;
    }
    memcpy(message->word + there, at, length);
    message->word_bytes = (uint8_t)(there + length);
}

static bool same(const void *at, size_t length, const char *known, size_t known_length)
{
    const uint8_t *bytes = at;
    if (length != known_length) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (lower(bytes[i]) != known[i]) {
            return false;
        }
    }
    return true;
}

#define IS(at, length, known) same(at, length, known, sizeof(known) - 1)

static bool word_is(const struct http_message *message, const char *known)
{
    return same(message->word, message->word_bytes, known, strlen(known));
}

/* ---- values ---- */

static int length_byte(struct http_message *message, uint8_t byte)
{
    if (byte == ' ' || byte == '\t') {
        message->value = message->value == VALUE_BEFORE ? VALUE_BEFORE : VALUE_BEHIND;
        return 0;
    }
    if (byte < '0' || byte > '9' || message->value == VALUE_BEHIND) {
        return HTTP_BAD_LENGTH;
    }
    message->value = VALUE_INSIDE;
    uint64_t digit = byte - '0';
    if (message->content_length > (INT64_MAX - digit) / 10) {
        return HTTP_BAD_LENGTH_RANGE;
    }
    message->content_length = message->content_length * 10 + digit;
    return 0;
}

/* What may stand in a Host (RFC 3986, section 3.2.2), with its port. */
static const bool is_host[256] = {
    ['!'] = true, ['$' ... '.'] = true, ['0' ... ';'] = true, ['='] = true, ['A' ... '['] = true,
    [']'] = true, ['_'] = true,         ['a' ... 'z'] = true, ['~'] = true,
};

static int host_byte(struct http_message *message, uint8_t byte)
{
    if (byte == ' ' || byte == '\t') {
        message->value = message->value == VALUE_BEFORE ? VALUE_BEFORE : VALUE_BEHIND;
        return 0;
    }
    if (!is_host[byte] || message->value == VALUE_BEHIND) {
        return HTTP_BAD_HOST;
    }
    message->value = VALUE_INSIDE;
    return 0;
}

static int list_error(const struct http_message *message)
{
    return message->header == HEADER_CODING       ? HTTP_BAD_CODING
           : message->header == HEADER_CONNECTION ? HTTP_BAD_CONNECTION
                                                  : HTTP_BAD_EXPECT;
}

/* An element of a list has ended. */
static int list_word(struct http_message *message)
{
    bool empty = message->value == VALUE_BEFORE;
    int error = 0;
    if (message->header == HEADER_CODING) {
        error = empty                               ? HTTP_BAD_CODING
                : message->seen & HTTP_SEEN_CHUNKED ? HTTP_BAD_CODING_LAST
                : !word_is(message, "chunked")      ? HTTP_BAD_CODING
                                                    : 0;
        message->seen |= HTTP_SEEN_CHUNKED;
    } else if (message->header == HEADER_EXPECT) {
        error = empty || !word_is(message, "100-continue") ? HTTP_BAD_EXPECT : 0;
        message->seen |= HTTP_SEEN_CONTINUE;
    } else if (word_is(message, "close")) {
        message->seen |= HTTP_SEEN_CLOSE;
    } else if (word_is(message, "keep-alive")) {
        message->seen |= HTTP_SEEN_KEEP;
    }
    message->value = VALUE_BEFORE;
    message->word_bytes = 0;
    return error;
}

static int list_byte(struct http_message *message, uint8_t byte)
{
    if (byte == ',') {
        return list_word(message);
    }
    if (byte == ' ' || byte == '\t') {
        message->value = message->value == VALUE_BEFORE ? VALUE_BEFORE : VALUE_BEHIND;
        return 0;
    }
    if (message->value == VALUE_BEHIND || !http_is_token[byte]) {
        return list_error(message);
    }
    message->value = VALUE_INSIDE;
    put_word(message, &byte, 1);
    return 0;
}

static int value_byte(struct http_message *message, uint8_t byte)
{
    switch (message->header) {
    case HEADER_LENGTH:
        return length_byte(message, byte);
    case HEADER_HOST:
        return host_byte(message, byte);
    default:
        return list_byte(message, byte);
    }
}

static int value_end(struct http_message *message)
{
    bool empty = message->value == VALUE_BEFORE;
    switch (message->header) {
    case HEADER_OTHER:
        return 0;
    case HEADER_LENGTH:
        return empty ? HTTP_BAD_LENGTH : 0;
    case HEADER_HOST:
        return empty ? HTTP_BAD_HOST : 0;
    default:
        return list_word(message);
    }
}

static int read_value(struct http_message *message, const uint8_t **at, const uint8_t *end)
{
    if (message->header == HEADER_OTHER) {
        *at = http_find_control(*at, end);
    } else {
        for (; *at < end && !http_is_control(**at); ++*at) {
            int error = value_byte(message, **at);
            if (error) {
                return error;
            }
        }
    }
    if (*at == end) {
        return 0;
    }
    int error = http_line_stop(*(*at)++);
    message->line = HTTP_LINE_LF;
    return error ? error : value_end(message);
}

/* ---- names ---- */

/* Names that are no shorter than two words of theirs that may overlap; `set` is in small letters.
 * In a token nothing else becomes a letter or '-' where the bit of small letters is set. */
static bool name_is(const uint8_t *name, size_t length, const char *set)
{
    uint64_t first, last, first_known, last_known, small = UINT64_C(0x2020202020202020);
    memcpy(&first, name, sizeof first);
    memcpy(&last, name + length - sizeof last, sizeof last);
    memcpy(&first_known, set, sizeof first);
    memcpy(&last_known, set + length - sizeof last, sizeof last);
    return (first | small) == first_known && (last | small) == last_known;
}

static uint8_t header_of(const struct http_message *message, const uint8_t *name, size_t length)
{
    switch (length) {
    case 4:
        return message->server && IS(name, length, "host") ? HEADER_HOST : HEADER_OTHER;
    case 6:
        return message->server && IS(name, length, "expect") ? HEADER_EXPECT : HEADER_OTHER;
    case 10:
        return name_is(name, length, "connection") ? HEADER_CONNECTION : HEADER_OTHER;
    case 14:
        return name_is(name, length, "content-length") ? HEADER_LENGTH : HEADER_OTHER;
    case 17:
        return name[8] == '-' && name_is(name, length, "transfer-encoding") ? HEADER_CODING
                                                                            : HEADER_OTHER;
    default:
        return HEADER_OTHER;
    }
}

static int begin_value(struct http_message *message)
{
    unsigned before = message->seen;
    message->line = HTTP_LINE_VALUE;
    message->value = VALUE_BEFORE;
    message->word_bytes = 0;
    if (message->lines++ >= message->limits->lines) {
        return HTTP_BAD_HEAD_LINES;
    }
    if (message->header != HEADER_OTHER && message->phase == HTTP_IN_TRAILERS) {
        return HTTP_BAD_TRAILER;
    }
    switch (message->header) {
    case HEADER_LENGTH:
        message->seen |= HTTP_SEEN_LENGTH;
        return before & HTTP_SEEN_LENGTH ? HTTP_BAD_LENGTH_TWICE : 0;
    case HEADER_HOST:
        message->seen |= HTTP_SEEN_HOST;
        return before & HTTP_SEEN_HOST ? HTTP_BAD_HOST : 0;
    case HEADER_CODING:
        message->seen |= HTTP_SEEN_CODING;
        return 0;
    default:
        return 0;
    }
}

static int read_name(struct http_message *message, const uint8_t **at, const uint8_t *end)
{
    const uint8_t *name = *at, *stop = name;
    while (stop < end && http_is_token[*stop]) {
        stop++;
    }
    size_t length = (size_t)(stop - name);
    *at = stop;
    if (stop == end || message->word_bytes) {
        put_word(message, name, length);
    }
    if (stop == end) {
        return 0;
    }
    if (message->word_bytes) {
        name = (const uint8_t *)message->word;
        length = message->word_bytes;
    }
    if (*stop != ':' || length == 0) {
        bool ends = *stop == '\r' || *stop == '\n';
        return http_is_control(*stop) && !ends ? HTTP_BAD_HEAD_BYTE : HTTP_BAD_HEAD_NAME;
    }
    ++*at;
    message->header = header_of(message, name, length);
    return begin_value(message);
}

/* ---- lines ---- */

static int begin_line(struct http_message *message, const uint8_t **at)
{
    uint8_t byte = **at;
    message->word_bytes = 0;
    if (byte == '\r') {
        ++*at;
        message->line = HTTP_LINE_LAST_LF;
        return 0;
    }
    message->line = HTTP_LINE_NAME;
    return byte == ' ' || byte == '\t' ? HTTP_BAD_HEAD_FOLD
           : byte == '\n'              ? HTTP_BAD_HEAD_LINE_END
                                       : 0;
}

static int read_line(struct http_message *message, const uint8_t **at, const uint8_t *end)
{
    switch (message->line) {
    case HTTP_LINE_BEGIN:
        return begin_line(message, at);
    case HTTP_LINE_NAME:
        return read_name(message, at, end);
    case HTTP_LINE_VALUE:
        return read_value(message, at, end);
    default: {
        bool last = message->line == HTTP_LINE_LAST_LF;
        message->line = HTTP_LINE_BEGIN;
        return *(*at)++ != '\n' ? HTTP_BAD_HEAD_LINE_END : last ? HTTP_DONE : HTTP_MORE;
    }
    }
}

/* Values as nearly everybody writes them. */
static bool take_usual(struct http_message *message, const uint8_t *value, size_t length)
{
    enum { DIGITS_MOST = 18 }; /* of what is below 2^63 whatever they are */
    uint64_t number = 0;
    if (message->header == HEADER_CONNECTION && length == sizeof "keep-alive" - 1 &&
        memcmp(value, "keep-alive", length) == 0) {
        message->seen |= HTTP_SEEN_KEEP;
        return true;
    }
    if (message->header != HEADER_LENGTH || length == 0 || length > DIGITS_MOST) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (value[i] < '0' || value[i] > '9') {
            return false;
        }
        number = number * 10 + value[i] - '0';
    }
    message->content_length = number;
    return true;
}

int http_line_take(struct http_message *message, const uint8_t *name, const uint8_t *colon,
                   const uint8_t *stop)
{
    const uint8_t *value = colon + 1;
    message->header = header_of(message, name, (size_t)(colon - name));
    int error = begin_value(message);
    if (message->header != HEADER_OTHER && error == 0) {
        value += value < stop && *value == ' ';
        if (!take_usual(message, value, (size_t)(stop - value))) {
            for (; value < stop && error == 0; value++) {
                error = value_byte(message, *value);
            }
            error = error ? error : value_end(message);
        }
    }
    message->line = HTTP_LINE_BEGIN;
    return error;
}

int http_lines_read(struct http_message *message, const uint8_t **at, const uint8_t *end)
{
    int result = HTTP_MORE;
    while (*at < end && result == HTTP_MORE) {
        if (message->line == HTTP_LINE_BEGIN && end - *at > 1) {
            result = http_lines_fast(message, at, end);
        }
        if (*at < end && result == HTTP_MORE) {
            result = read_line(message, at, end);
        }
    }
    return result;
}

const uint8_t *http_head_bound(const struct http_message *message, const uint8_t *at,
                               const uint8_t *end)
{
    size_t room = message->limits->head_bytes - message->head_bytes;
    return (size_t)(end - at) > room ? at + room : end;
}

int http_head_count(struct http_message *message, size_t bytes, int result)
{
    message->head_bytes += (uint32_t)bytes;
    message->header_bytes += bytes;
    return result == HTTP_MORE && message->head_bytes >= message->limits->head_bytes
               ? HTTP_BAD_HEAD_LONG
               : result;
}
