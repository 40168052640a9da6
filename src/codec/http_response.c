/* The client's end: answers, in the order of the requests. */
#include <string.h>

#include "codec/http_message.h"

/* Characters of "HTTP/1.1 200", and where in them the parts stand. */
enum { AT_MAJOR = 5, AT_MINOR = 7, AT_SPACE = 8, AT_STATUS = 9, AT_REASON = 12, IN_REASON = 13 };

void http_response_reader_init(struct http_response_reader *reader,
                               const struct http_limits *limits)
{
    *reader = (struct http_response_reader){.message = {.limits = limits}};
    http_message_begin(&reader->message);
}

bool http_response_asked(struct http_response_reader *reader, const char *method)
{
    if (reader->asked == HTTP_PIPELINE_MOST || reader->connect) {
        return false;
    }
    if (strcmp(method, "HEAD") == 0) {
        reader->heads[reader->asked / 64] |= UINT64_C(1) << reader->asked % 64;
    }
    reader->connect = strcmp(method, "CONNECT") == 0;
    reader->asked++;
    return true;
}

static void answered(struct http_response_reader *reader)
{
    reader->asked--;
    reader->heads[0] = reader->heads[0] >> 1 | reader->heads[1] << 63;
    reader->heads[1] >>= 1;
}

/* ---- the status line ---- */

static int version_byte(struct http_message *message, uint8_t byte)
{
    static const char version[] = "HTTP/1.1 ";
    bool digit = byte >= '0' && byte <= '9';
    if (message->at == AT_MINOR && digit) {
        message->minor = (uint8_t)(byte - '0');
        return message->minor > 1 ? HTTP_BAD_HTTP_VERSION : 0;
    }
    if (byte == (uint8_t)version[message->at]) {
        return 0;
    }
    return message->at == AT_MAJOR && digit ? HTTP_BAD_HTTP_VERSION : HTTP_BAD_STATUS_LINE;
}

static int status_byte(struct http_response_reader *reader, uint8_t byte)
{
    struct http_message *message = &reader->message;
    if (message->at < AT_STATUS) {
        return version_byte(message, byte);
    }
    if (message->at < AT_REASON) {
        if (byte < '0' || byte > '9') {
            return HTTP_BAD_STATUS;
        }
        reader->status = (uint16_t)(reader->status * 10 + byte - '0');
        return 0;
    }
    if (reader->status < 100 || reader->status > 599 || (byte >= '0' && byte <= '9')) {
        return HTTP_BAD_STATUS;
    }
    if (byte == '\r') {
        message->line = HTTP_LINE_LF; /* nothing may be said about it, not even a space */
        return 0;
    }
    return byte == ' ' ? 0 : byte == '\n' ? HTTP_BAD_HEAD_LINE_END : HTTP_BAD_STATUS_LINE;
}

static int read_start(struct http_response_reader *reader, const uint8_t **at, const uint8_t *end)
{
    struct http_message *message = &reader->message;
    if (message->at == 0 && end - *at >= AT_STATUS && memcmp(*at, "HTTP/1.1 ", AT_STATUS) == 0) {
        message->minor = 1;
        message->at = AT_STATUS;
        *at += AT_STATUS;
    }
    while (message->at < IN_REASON && message->line == HTTP_LINE_BEGIN) {
        if (*at == end) {
            return HTTP_MORE;
        }
        int error = status_byte(reader, *(*at)++);
        if (error) {
            return error;
        }
        message->at++;
    }
    if (message->line == HTTP_LINE_BEGIN) {
        *at = http_find_control(*at, end);
        if (*at == end) {
            return HTTP_MORE;
        }
        int error = http_line_stop(*(*at)++);
        if (error) {
            return error;
        }
        message->line = HTTP_LINE_LF;
    }
    message->phase = HTTP_IN_LINES; /* which begin with the line feed of this one */
    return HTTP_MORE;
}

/* ---- the head ---- */

static int choose_framing(struct http_response_reader *reader)
{
    struct http_message *message = &reader->message;
    bool none = reader->status < 200 || reader->status == 204;
    int error = http_body_choose(message, HTTP_UNTIL_CLOSE);
    if (error) {
        return error;
    }
    if (none && (message->framing == HTTP_CHUNKED || message->content_length > 0)) {
        return HTTP_BAD_BODY_FORBIDDEN;
    }
    if (none || reader->status == 304 || reader->heads[0] & 1) {
        message->framing = HTTP_NO_BODY;
    } else if (reader->connect && reader->asked == 1 && reader->status < 300) {
        message->framing = HTTP_TUNNEL;
    }
    return 0;
}

static bool closes(const struct http_message *message)
{
    return message->seen & HTTP_SEEN_CLOSE || message->framing >= HTTP_UNTIL_CLOSE ||
           (message->minor == 0 && !(message->seen & HTTP_SEEN_KEEP));
}

static void fill(const struct http_response_reader *reader, enum http_event_kind kind,
                 struct http_event *event)
{
    http_event_fill(&reader->message, kind, event);
    event->status = reader->status;
    event->close = closes(&reader->message);
}

static int end_head(struct http_response_reader *reader, struct http_event *event)
{
    struct http_message *message = &reader->message;
    int error = choose_framing(reader);
    if (error) {
        return error;
    }
    if (reader->status >= 200) {
        error = http_body_begin(message);
        if (error == 0) {
            fill(reader, HTTP_HEAD, event);
        }
        return error ? error : HTTP_DONE;
    }
    if (reader->status == 101) {
        return HTTP_BAD_SWITCHED;
    }
    if (message->minor == 0 || message->seen & HTTP_SEEN_CLOSE) {
        return HTTP_BAD_INTERIM;
    }
    if (reader->interim++ >= message->limits->interim) {
        return HTTP_BAD_INTERIM_MANY;
    }
    fill(reader, HTTP_INTERIM, event);
    uint64_t bytes = message->header_bytes;
    http_message_begin(message);
    message->header_bytes = bytes;
    reader->status = 0;
    return HTTP_DONE;
}

static int read_head(struct http_response_reader *reader, const uint8_t **at, const uint8_t *end,
                     struct http_event *event)
{
    struct http_message *message = &reader->message;
    const uint8_t *begin = *at, *bound = http_head_bound(message, begin, end);
    int result = HTTP_MORE;
    if (message->phase < HTTP_IN_LINES) {
        message->phase = HTTP_IN_START;
        result = read_start(reader, at, bound);
    }
    if (result == HTTP_MORE && message->phase == HTTP_IN_LINES) {
        result = http_lines_read(message, at, bound);
    }
    result = http_head_count(message, (size_t)(*at - begin), result);
    return result == HTTP_DONE ? end_head(reader, event) : result;
}

static int read_some(struct http_response_reader *reader, const uint8_t **at, const uint8_t *end,
                     struct http_event *event)
{
    struct http_message *message = &reader->message;
    if (message->phase > HTTP_IN_LINES && message->phase < HTTP_CLOSED) {
        return http_body_read(message, at, end, event);
    }
    if (*at == end) {
        return HTTP_MORE;
    }
    if (message->phase == HTTP_CLOSED) {
        return HTTP_BAD_AFTER_LAST;
    }
    return reader->asked ? read_head(reader, at, end, event) : HTTP_BAD_UNASKED;
}

/* What is said of an end is complete; the next answer may begin. */
static void end_message(struct http_response_reader *reader, struct http_event *event)
{
    fill(reader, HTTP_END, event);
    answered(reader);
    reader->status = 0;
    reader->interim = 0;
    http_message_begin(&reader->message);
    if (event->close) {
        reader->message.phase = HTTP_CLOSED;
    }
}

ssize_t http_response_read(struct http_response_reader *reader, const uint8_t *data, size_t length,
                           struct http_event *event)
{
    static const uint8_t nothing[1];
    const uint8_t *begin = length ? data : nothing, *at = begin;
    *event = (struct http_event){0};
    int result = reader->message.failed;
    if (result == 0) {
        result = read_some(reader, &at, begin + length, event);
    }
    if (result < 0) {
        reader->message.failed = (int16_t)result;
        *event = (struct http_event){0};
        return result;
    }
    if (event->kind == HTTP_END) {
        end_message(reader, event);
    }
    return at - begin;
}

int http_response_finish(struct http_response_reader *reader, struct http_event *event)
{
    struct http_message *message = &reader->message;
    *event = (struct http_event){0};
    if (message->failed) {
        return message->failed;
    }
    bool idle = message->phase == HTTP_AT_START || message->phase == HTTP_CLOSED;
    if (message->phase == HTTP_AT_END ||
        (message->phase == HTTP_IN_BODY && message->framing == HTTP_UNTIL_CLOSE)) {
        end_message(reader, event);
        reader->message.phase = HTTP_CLOSED;
        return 0;
    }
    if (idle && reader->asked == 0) {
        message->phase = HTTP_CLOSED;
        return 0;
    }
    message->failed = idle                             ? HTTP_BAD_UNANSWERED
                      : message->phase > HTTP_IN_LINES ? HTTP_BAD_BODY_CUT
                                                       : HTTP_BAD_HEAD_CUT;
    return message->failed;
}
