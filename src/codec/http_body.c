/* Where a body ends (RFC 9112, sections 6 and 7). */
#include <string.h>

#include "codec/http_message.h"

const struct http_limits http_limits_usual = {
    .head_bytes = 64 << 10, .lines = 128, .interim = 16, .body_bytes = UINT64_MAX};

static const struct {
    const char *name, *text;
    uint16_t answer;
} errors[] = {
#define X(name, answer, text) {#name, text, answer},
    HTTP_ERRORS(X)
#undef X
};

static bool is_error(int error)
{
    return error > HTTP_ERROR_BASE && error < HTTP_ERROR_END;
}

const char *http_error_text(int error)
{
    return is_error(error) ? errors[error - HTTP_ERROR_BASE - 1].text : "unknown error";
}

const char *http_error_name(int error)
{
    return is_error(error) ? errors[error - HTTP_ERROR_BASE - 1].name : "unknown";
}

unsigned http_error_answer(int error)
{
    return is_error(error) ? errors[error - HTTP_ERROR_BASE - 1].answer : 0;
}

void http_message_begin(struct http_message *message)
{
    message->content_length = message->left = 0;
    message->header_bytes = message->framing_bytes = message->body_bytes = 0;
    message->head_bytes = 0;
    message->lines = message->seen = 0;
    message->phase = HTTP_AT_START;
    message->line = HTTP_LINE_BEGIN;
    message->at = message->word_bytes = 0;
    message->framing = HTTP_NO_BODY;
}

int http_body_choose(struct http_message *message, enum http_framing without)
{
    if (message->seen & HTTP_SEEN_CODING) {
        if (message->seen & HTTP_SEEN_LENGTH) {
            return HTTP_BAD_LENGTH_AND_CODING;
        }
        if (message->minor == 0) {
            return HTTP_BAD_CODING_VERSION;
        }
        message->framing = HTTP_CHUNKED;
    } else {
        message->framing = (uint8_t)(message->seen & HTTP_SEEN_LENGTH ? HTTP_BY_LENGTH : without);
    }
    return 0;
}

int http_body_begin(struct http_message *message)
{
    switch (message->framing) {
    case HTTP_BY_LENGTH:
        message->left = message->content_length;
        message->phase = message->left ? HTTP_IN_BODY : HTTP_AT_END;
        return message->left > message->limits->body_bytes ? HTTP_BAD_BODY_LONG : 0;
    case HTTP_UNTIL_CLOSE:
        message->left = message->limits->body_bytes;
        message->phase = HTTP_IN_BODY;
        return 0;
    case HTTP_CHUNKED:
        message->phase = HTTP_IN_CHUNK_SIZE;
        message->at = 0;
        return 0;
    default:
        message->phase = HTTP_AT_END;
        return 0;
    }
}

/* A piece of the body, as far as it is there. */
static int take_piece(struct http_message *message, const uint8_t **at, const uint8_t *end,
                      uint8_t then, struct http_event *event)
{
    if (message->left == 0) {
        return HTTP_BAD_BODY_LONG; /* one that has no end but the connection's */
    }
    size_t there = (size_t)(end - *at);
    size_t length = there < message->left ? there : (size_t)message->left;
    event->kind = HTTP_BODY;
    event->data = *at;
    event->length = length;
    *at += length;
    message->left -= length;
    message->body_bytes += length;
    if (message->left == 0 && message->framing != HTTP_UNTIL_CLOSE) {
        message->phase = then;
    }
    return HTTP_DONE;
}

static int hexadecimal(uint8_t byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Where in an extension (RFC 9112, section 7.1.1): ";name", ";name=value", ";name=\"value\"". */
enum { AT_NAME, IN_NAME, AT_VALUE, IN_VALUE, IN_QUOTES, BEHIND_BACKSLASH, BEHIND_QUOTES };

/* One byte of a chunk's size, or what stands behind it. */
static int size_byte(struct http_message *message, uint8_t byte)
{
    int digit = hexadecimal(byte);
    if (digit >= 0) {
        if (message->at++ >= HTTP_CHUNK_DIGITS_MOST) {
            return HTTP_BAD_CHUNK_RANGE;
        }
        message->left = message->left << 4 | (unsigned)digit;
        return 0;
    }
    if (message->at == 0 || (byte != '\r' && byte != ';')) {
        bool ends = byte == '\n' && message->at;
        return ends ? HTTP_BAD_CHUNK_LINE_END : HTTP_BAD_CHUNK_SIZE;
    }
    message->phase = byte == ';' ? HTTP_IN_CHUNK_EXTENSION : HTTP_AT_CHUNK_LF;
    message->extension_bytes = 0;
    message->value = AT_NAME;
    return message->left > message->limits->body_bytes - message->body_bytes ? HTTP_BAD_BODY_LONG
                                                                             : 0;
}

/* One byte of an extension that may stand in one; where in it the next one stands, or an error. */
static int extension_state(uint8_t state, uint8_t byte)
{
    bool token = http_is_token[byte];
    switch (state) {
    case AT_NAME:
        return token ? IN_NAME : HTTP_BAD_CHUNK_EXTENSION;
    case IN_NAME:
        return token         ? IN_NAME
               : byte == '=' ? AT_VALUE
               : byte == ';' ? AT_NAME
                             : HTTP_BAD_CHUNK_EXTENSION;
    case AT_VALUE:
        return token ? IN_VALUE : byte == '"' ? IN_QUOTES : HTTP_BAD_CHUNK_EXTENSION;
    case IN_VALUE:
        return token ? IN_VALUE : byte == ';' ? AT_NAME : HTTP_BAD_CHUNK_EXTENSION;
    case IN_QUOTES:
        return byte == '"' ? BEHIND_QUOTES : byte == '\\' ? BEHIND_BACKSLASH : IN_QUOTES;
    case BEHIND_BACKSLASH:
        return IN_QUOTES;
    default:
        return byte == ';' ? AT_NAME : HTTP_BAD_CHUNK_EXTENSION;
    }
}

static int extension_byte(struct http_message *message, uint8_t byte)
{
    uint8_t state = message->value;
    if (byte == '\r') {
        message->phase = HTTP_AT_CHUNK_LF;
        return state == IN_NAME || state == IN_VALUE || state == BEHIND_QUOTES
                   ? 0
                   : HTTP_BAD_CHUNK_EXTENSION;
    }
    if (http_is_control(byte)) {
        return byte == '\n' ? HTTP_BAD_CHUNK_LINE_END : HTTP_BAD_CHUNK_BYTE;
    }
    if (message->extension_bytes++ >= HTTP_EXTENSION_MOST) {
        return HTTP_BAD_CHUNK_EXTENSION_LONG;
    }
    int next = extension_state(state, byte);
    message->value = (uint8_t)next;
    return next < 0 ? next : 0;
}

/* One byte of what holds the chunks together. */
static int chunk_byte(struct http_message *message, uint8_t byte)
{
    message->framing_bytes++;
    switch (message->phase) {
    case HTTP_IN_CHUNK_SIZE:
        return size_byte(message, byte);
    case HTTP_IN_CHUNK_EXTENSION:
        return extension_byte(message, byte);
    case HTTP_AT_CHUNK_LF:
        message->phase = message->left ? HTTP_IN_CHUNK : HTTP_IN_TRAILERS;
        message->line = HTTP_LINE_BEGIN;
        return byte == '\n' ? 0 : HTTP_BAD_CHUNK_LINE_END;
    case HTTP_AT_CHUNK_END_CR:
        message->phase = HTTP_AT_CHUNK_END_LF;
        return byte == '\r' ? 0 : HTTP_BAD_CHUNK_END;
    default:
        message->phase = HTTP_IN_CHUNK_SIZE;
        message->at = 0;
        return byte == '\n' ? 0 : HTTP_BAD_CHUNK_END;
    }
}

static int read_trailers(struct http_message *message, const uint8_t **at, const uint8_t *end)
{
    const uint8_t *begin = *at;
    int result = http_lines_read(message, at, http_head_bound(message, *at, end));
    result = http_head_count(message, (size_t)(*at - begin), result);
    if (result == HTTP_DONE) {
        message->phase = HTTP_AT_END;
    }
    return result < 0 ? result : 0;
}

int http_body_read(struct http_message *message, const uint8_t **at, const uint8_t *end,
                   struct http_event *event)
{
    int error = 0;
    while (error == 0 && *at < end && message->phase != HTTP_AT_END) {
        switch (message->phase) {
        case HTTP_IN_BODY:
            return take_piece(message, at, end, HTTP_AT_END, event);
        case HTTP_IN_CHUNK:
            return take_piece(message, at, end, HTTP_AT_CHUNK_END_CR, event);
        case HTTP_IN_TRAILERS:
            error = read_trailers(message, at, end);
            break;
        default:
            error = chunk_byte(message, *(*at)++);
        }
    }
    if (error == 0 && message->phase == HTTP_AT_END) {
        http_event_fill(message, HTTP_END, event);
        return HTTP_DONE;
    }
    return error;
}

void http_event_fill(const struct http_message *message, enum http_event_kind kind,
                     struct http_event *event)
{
    event->kind = kind;
    event->framing = message->framing;
    event->minor = message->minor;
    event->has_length = message->seen & HTTP_SEEN_LENGTH;
    event->content_length = message->content_length;
    event->header_bytes = message->header_bytes;
    event->framing_bytes = message->framing_bytes;
    event->body_bytes = message->body_bytes;
}
