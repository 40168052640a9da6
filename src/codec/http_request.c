/* The server's end: requests, one behind the other. */
#include <string.h>

#include "codec/http_message.h"
#include "codec/url.h"

/* Parts of the first line. */
enum { IN_METHOD, IN_TARGET, IN_VERSION };

enum { AT_MAJOR = 5, AT_MINOR = 7, BEHIND_VERSION = 8 }; /* characters of "HTTP/1.1" */

void http_request_reader_init(struct http_request_reader *reader, const struct http_limits *limits,
                              char *target, uint32_t room)
{
    *reader = (struct http_request_reader){
        .message = {.limits = limits, .server = true}, .target = target, .target_room = room};
    http_message_begin(&reader->message);
}

void http_request_move(struct http_request_reader *reader, char *target)
{
    if (reader->target_at == reader->target && target != reader->target) {
        memcpy(target, reader->target, reader->target_bytes);
        reader->target_at = target;
    }
    reader->target = target;
}

static void begin(struct http_request_reader *reader)
{
    http_message_begin(&reader->message);
    reader->target_bytes = 0;
    reader->part = IN_METHOD;
    reader->blank = reader->method_bytes = 0;
}

/* ---- the request line ---- */

static int bad_byte(uint8_t byte, int otherwise)
{
    return byte == '\r' || byte == '\n' || !http_is_control(byte) ? otherwise : HTTP_BAD_HEAD_BYTE;
}

static int read_method(struct http_request_reader *reader, const uint8_t **at, const uint8_t *end)
{
    for (; *at < end && http_is_token[**at]; ++*at) {
        if (reader->method_bytes == HTTP_METHOD_MOST) {
            return HTTP_BAD_METHOD_LONG;
        }
        reader->method[reader->method_bytes++] = (char)**at;
    }
    if (*at == end) {
        return HTTP_MORE;
    }
    if (**at != ' ' || reader->method_bytes == 0) {
        return bad_byte(**at, HTTP_BAD_REQUEST_LINE);
    }
    ++*at;
    reader->part = IN_TARGET;
    return HTTP_MORE;
}

static int read_target(struct http_request_reader *reader, const uint8_t **at, const uint8_t *end)
{
    const uint8_t *from = *at;
    while (*at<end &&* * at> ' ' && **at < 0x7f && **at != '#') {
        ++*at;
    }
    size_t length = (size_t)(*at - from);
    if (length > reader->target_room - reader->target_bytes) {
        return HTTP_BAD_TARGET_LONG;
    }
    if (reader->target_bytes == 0) {
        reader->target_at = (const char *)from;
    } else {
        memcpy(reader->target + reader->target_bytes, from, length);
    }
    reader->target_bytes += (uint32_t)length;
    if (*at == end) {
        return HTTP_MORE;
    }
    if (**at != ' ' || reader->target_bytes == 0) {
        bool ends = **at == '\r' || **at == '\n'; /* as HTTP/0.9 would */
        return ends ? HTTP_BAD_REQUEST_LINE : bad_byte(**at, HTTP_BAD_TARGET);
    }
    ++*at;
    reader->part = IN_VERSION;
    return HTTP_MORE;
}

static int version_byte(struct http_message *message, uint8_t byte)
{
    static const char version[] = "HTTP/1.1";
    bool digit = byte >= '0' && byte <= '9';
    if (message->at == AT_MINOR && digit) {
        message->minor = (uint8_t)(byte - '0');
        return message->minor > 1 ? HTTP_BAD_HTTP_VERSION : 0;
    }
    if (byte == (uint8_t)version[message->at]) {
        return 0;
    }
    return message->at == AT_MAJOR && digit ? HTTP_BAD_HTTP_VERSION
                                            : bad_byte(byte, HTTP_BAD_REQUEST_LINE);
}

static int read_version(struct http_message *message, const uint8_t **at, const uint8_t *end)
{
    for (; *at < end && message->at < BEHIND_VERSION; message->at++) {
        int error = version_byte(message, *(*at)++);
        if (error) {
            return error;
        }
    }
    if (*at == end) {
        return HTTP_MORE;
    }
    uint8_t byte = *(*at)++;
    if (byte != '\r') {
        return byte == '\n' ? HTTP_BAD_HEAD_LINE_END : bad_byte(byte, HTTP_BAD_REQUEST_LINE);
    }
    message->line = HTTP_LINE_LF;
    message->phase = HTTP_IN_LINES; /* which begin with the line feed of this one */
    return HTTP_MORE;
}

/* One empty line before a request is passed over (RFC 9112, section 2.2). */
static int read_blank(struct http_request_reader *reader, const uint8_t **at, const uint8_t *end)
{
    static const char line[] = "\r\n";
    while (*at < end && reader->blank < 2) {
        if (**at != (uint8_t)line[reader->blank]) {
            return reader->blank ? HTTP_BAD_HEAD_LINE_END : HTTP_MORE;
        }
        reader->blank++;
        ++*at;
    }
    return HTTP_MORE;
}

static int read_start(struct http_request_reader *reader, const uint8_t **at, const uint8_t *end)
{
    struct http_message *message = &reader->message;
    int result = HTTP_MORE;
    if (message->phase == HTTP_AT_START) {
        result = read_blank(reader, at, end);
        if (result == HTTP_MORE && *at < end && reader->blank != 1) {
            message->phase = HTTP_IN_START;
        }
    }
    while (result == HTTP_MORE && *at < end && message->phase == HTTP_IN_START) {
        result = reader->part == IN_METHOD   ? read_method(reader, at, end)
                 : reader->part == IN_TARGET ? read_target(reader, at, end)
                                             : read_version(message, at, end);
    }
    return result;
}

/* ---- the head ---- */

static bool method_is(const struct http_request_reader *reader, const char *method)
{
    return reader->method_bytes == strlen(method) &&
           memcmp(reader->method, method, reader->method_bytes) == 0;
}

/* In a server's terms: a path with its query, or "*". */
static int take_target(const struct http_request_reader *reader, struct slice *target)
{
    struct url url;
    *target = (struct slice){reader->target_at, reader->target_bytes};
    if (target->at[0] == '/' ||
        (target->length == 1 && target->at[0] == '*' && method_is(reader, "OPTIONS"))) {
        return 0;
    }
    if (url_parse(URL_HTTP, *target, &url) != 0) {
        return HTTP_BAD_TARGET;
    }
    *target = url.target.length ? url.target : slice_of("/");
    return target->at[0] == '/' ? 0 : HTTP_BAD_TARGET;
}

static void fill(const struct http_request_reader *reader, enum http_event_kind kind,
                 struct http_event *event)
{
    const struct http_message *message = &reader->message;
    http_event_fill(message, kind, event);
    event->close = message->seen & HTTP_SEEN_CLOSE ||
                   (message->minor == 0 && !(message->seen & HTTP_SEEN_KEEP));
}

static int end_head(struct http_request_reader *reader, struct http_event *event)
{
    struct http_message *message = &reader->message;
    int error = take_target(reader, &event->target);
    if (method_is(reader, "CONNECT")) {
        error = HTTP_BAD_METHOD_CONNECT;
    }
    if (error == 0 && message->minor > 0 && !(message->seen & HTTP_SEEN_HOST)) {
        error = HTTP_BAD_HOST;
    }
    error = error ? error : http_body_choose(message, HTTP_NO_BODY);
    error = error ? error : http_body_begin(message);
    if (error) {
        return error;
    }
    fill(reader, HTTP_HEAD, event);
    event->method = (struct slice){reader->method, reader->method_bytes};
    event->expects_continue =
        message->seen & HTTP_SEEN_CONTINUE && message->minor > 0 && message->phase != HTTP_AT_END;
    return HTTP_DONE;
}

/* Of a head that comes in pieces: what was in the last one goes. */
static int keep_target(struct http_request_reader *reader)
{
    if (reader->target_bytes && reader->target_at != reader->target) {
        memcpy(reader->target, reader->target_at, reader->target_bytes);
        reader->target_at = reader->target;
    }
    return HTTP_MORE;
}

static int read_head(struct http_request_reader *reader, const uint8_t **at, const uint8_t *end,
                     struct http_event *event)
{
    struct http_message *message = &reader->message;
    const uint8_t *from = *at, *bound = http_head_bound(message, from, end);
    int result = HTTP_MORE;
    if (message->phase < HTTP_IN_LINES) {
        result = read_start(reader, at, bound);
    }
    if (result == HTTP_MORE && message->phase == HTTP_IN_LINES) {
        result = http_lines_read(message, at, bound);
    }
    result = http_head_count(message, (size_t)(*at - from), result);
    return result == HTTP_DONE   ? end_head(reader, event)
           : result == HTTP_MORE ? keep_target(reader)
                                 : result;
}

ssize_t http_request_read(struct http_request_reader *reader, const uint8_t *data, size_t length,
                          struct http_event *event)
{
    static const uint8_t nothing[1];
    struct http_message *message = &reader->message;
    const uint8_t *from = length ? data : nothing, *at = from, *end = from + length;
    *event = (struct http_event){0};
    int result = message->failed;
    if (result == 0 && message->phase == HTTP_CLOSED) {
        result = length ? HTTP_BAD_AFTER_LAST : HTTP_MORE;
    } else if (result == 0 && message->phase > HTTP_IN_LINES) {
        result = http_body_read(message, &at, end, event);
    } else if (result == 0 && length) {
        result = read_head(reader, &at, end, event);
    }
    if (result < 0) {
        message->failed = (int16_t)result;
        *event = (struct http_event){0};
        return result;
    }
    if (event->kind == HTTP_END) {
        fill(reader, HTTP_END, event);
        begin(reader);
        message->phase = event->close ? HTTP_CLOSED : HTTP_AT_START;
    }
    return at - from;
}

int http_request_finish(struct http_request_reader *reader)
{
    struct http_message *message = &reader->message;
    bool begun = message->phase != HTTP_AT_START || reader->blank == 1;
    if (message->failed == 0 && begun && message->phase < HTTP_AT_END) {
        message->failed = message->phase > HTTP_IN_LINES ? HTTP_BAD_BODY_CUT : HTTP_BAD_HEAD_CUT;
    }
    return message->failed;
}
