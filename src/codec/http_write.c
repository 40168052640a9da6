/* Heads that this end writes. Nothing that a user gives can bring lines of its own into them. */
#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#include "codec/http_message.h"

/* Text that is put together. All of it, or none: `length` goes on where room ends. */
struct text {
    char *to;
    size_t room, length;
};

static void put(struct text *text, const char *more)
{
    size_t length = strlen(more);
    if (text->length <= text->room && length <= text->room - text->length) {
        memcpy(text->to + text->length, more, length);
    }
    text->length += length;
}

static void put_number(struct text *text, uint64_t number)
{
    char digits[sizeof "18446744073709551615"];
    snprintf(digits, sizeof digits, "%" PRIu64, number);
    put(text, digits);
}

static ssize_t put_end(const struct text *text)
{
    return text->length <= text->room ? (ssize_t)text->length : HTTP_BAD_ROOM;
}

/* ---- what may be written ---- */

static bool is_token(struct slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (!http_is_token[(uint8_t)text.at[i]]) {
            return false;
        }
    }
    return text.length > 0;
}

/* Headers that say how to read the message, or that a writer writes itself. */
static bool is_own(struct slice name)
{
    static const char *const own[] = {
        "Host",    "Connection",      "Content-Length", "Transfer-Encoding",
        "Trailer", "Upgrade",         "Expect",         "Keep-Alive",
        "TE",      "Proxy-Connection"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (strlen(own[i]) == name.length && strncasecmp(own[i], name.at, name.length) == 0) {
            return true;
        }
    }
    return false;
}

int http_header_check(struct slice line)
{
    const char *colon = line.length ? memchr(line.at, ':', line.length) : NULL;
    if (!colon || !is_token((struct slice){line.at, (size_t)(colon - line.at)})) {
        return HTTP_BAD_OWN_HEADER;
    }
    const uint8_t *end = (const uint8_t *)line.at + line.length;
    if (http_find_control((const uint8_t *)colon, end) != end) {
        return HTTP_BAD_OWN_HEADER;
    }
    return is_own((struct slice){line.at, (size_t)(colon - line.at)}) ? HTTP_BAD_OWN_FRAMING : 0;
}

static int check_lines(const char *headers)
{
    struct slice rest = slice_of(headers);
    while (rest.length) {
        const char *feed = memchr(rest.at, '\n', rest.length);
        if (!feed || feed == rest.at || feed[-1] != '\r') {
            return HTTP_BAD_OWN_HEADER;
        }
        struct slice line = {rest.at, (size_t)(feed - rest.at) - 1};
        int error = http_header_check(line);
        if (error) {
            return error;
        }
        rest = (struct slice){feed + 1, rest.length - line.length - 2};
    }
    return 0;
}

bool http_method_valid(const char *method)
{
    struct slice text = slice_of(method);
    return text.length <= HTTP_METHOD_MOST && is_token(text);
}

static bool is_visible(const char *text, const char *without)
{
    for (; *text > 0x20 && *text < 0x7f && !strchr(without, *text); text++) {
    }
    return *text == '\0';
}

static bool target_fits(const char *method, const char *target)
{
    if (!target || !is_visible(target, "#")) {
        return false;
    }
    if (strcmp(method, "CONNECT") == 0) {
        return target[0] && is_visible(target, "/?@");
    }
    return target[0] == '/' || (strcmp(target, "*") == 0 && strcmp(method, "OPTIONS") == 0);
}

static bool host_fits(const char *host)
{
    return host && host[0] && is_visible(host, "/?#@\\\"<>^`{|}");
}

/* ---- requests ---- */

ssize_t http_request_write(const struct http_request *request, char *to, size_t room)
{
    struct text text = {.to = to, .room = room};
    const char *method = request->method ? request->method : "GET";
    if (!http_method_valid(method)) {
        return HTTP_BAD_OWN_METHOD;
    }
    if (!target_fits(method, request->target)) {
        return HTTP_BAD_OWN_TARGET;
    }
    if (!host_fits(request->host)) {
        return HTTP_BAD_OWN_HOST;
    }
    int error = check_lines(request->headers);
    if (error) {
        return error;
    }
    put(&text, method);
    put(&text, " ");
    put(&text, request->target);
    put(&text, request->old ? " HTTP/1.0\r\nHost: " : " HTTP/1.1\r\nHost: ");
    put(&text, request->host);
    put(&text, "\r\n");
    if (request->close != request->old) { /* where it is not the version's own */
        put(&text, request->close ? "Connection: close\r\n" : "Connection: keep-alive\r\n");
    }
    if (request->has_body) {
        put(&text, "Content-Length: ");
        put_number(&text, request->body_bytes);
        put(&text, "\r\n");
    }
    put(&text, request->headers ? request->headers : "");
    put(&text, "\r\n");
    return put_end(&text);
}

/* ---- answers ---- */

static const struct {
    uint16_t status;
    const char *text;
} statuses[] = {
    {100, "Continue"},
    {200, "OK"},
    {201, "Created"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {411, "Length Required"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {418, "I'm a Teapot"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

const char *http_status_text(unsigned status)
{
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        if (statuses[i].status == status) {
            return statuses[i].text;
        }
    }
    return "Unknown";
}

ssize_t http_answer_write(const struct http_answer *answer, char *to, size_t room)
{
    struct text text = {.to = to, .room = room};
    int error = check_lines(answer->headers);
    if (answer->status < 100 || answer->status > 599) {
        return HTTP_BAD_OWN_STATUS;
    }
    if (error) {
        return error;
    }
    bool bare = answer->status < 200 || answer->status == 204 ||
                (answer->status == 304 && answer->framing == HTTP_NO_BODY);
    bool close = answer->close || (!bare && answer->framing == HTTP_UNTIL_CLOSE);
    put(&text, "HTTP/1.1 ");
    put_number(&text, answer->status);
    put(&text, " ");
    put(&text, http_status_text(answer->status));
    put(&text, "\r\n");
    if (!bare && answer->framing <= HTTP_BY_LENGTH) {
        put(&text, "Content-Length: ");
        put_number(&text, answer->framing == HTTP_BY_LENGTH ? answer->content_length : 0);
        put(&text, "\r\n");
    } else if (!bare && answer->framing == HTTP_CHUNKED) {
        put(&text, "Transfer-Encoding: chunked\r\n");
    }
    if (close || answer->keep) {
        put(&text, close ? "Connection: close\r\n" : "Connection: keep-alive\r\n");
    }
    put(&text, answer->headers ? answer->headers : "");
    put(&text, "\r\n");
    return put_end(&text);
}

size_t http_chunk_write(uint64_t bytes, char to[HTTP_CHUNK_HEAD_MOST])
{
    static const char digits[] = "0123456789abcdef";
    size_t length = 1;
    for (uint64_t rest = bytes >> 4; rest; rest >>= 4) {
        length++;
    }
    for (size_t i = 0; i < length; i++) {
        to[length - 1 - i] = digits[bytes >> 4 * i & 15];
    }
    to[length] = '\r';
    to[length + 1] = '\n';
    return length + 2;
}
