/* The server's end of the opening handshake: RFC 6455, section 4.2. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "codec/websocket_syntax.h"

/* A target is a path, or (RFC 7230, section 5.3.2) a whole URL with one. */
static bool is_target(struct websocket_slice target)
{
    static const char *const schemes[] = {"http://", "https://", "ws://", "wss://"};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        size_t length = strlen(schemes[i]);
        if (target.length > length && strncasecmp(target.at, schemes[i], length) == 0) {
            struct websocket_slice rest = {target.at + length, target.length - length};
            const char *slash = memchr(rest.at, '/', rest.length);
            size_t host = slash ? (size_t)(slash - rest.at) : rest.length;
            struct websocket_slice path = {rest.at + host, rest.length - host};
            return websocket_is_host((struct websocket_slice){rest.at, host}) &&
                   (!slash || websocket_is_path(path));
        }
    }
    return websocket_is_path(target);
}

/* "GET /chat HTTP/1.1". */
static int read_line(struct websocket_slice line, struct websocket_slice *target)
{
    const char *first = memchr(line.at, ' ', line.length);
    if (!first) {
        return WEBSOCKET_BAD_REQUEST_LINE;
    }
    struct websocket_slice method = {line.at, (size_t)(first - line.at)};
    struct websocket_slice rest = {first + 1, line.length - method.length - 1};
    const char *second = memchr(rest.at, ' ', rest.length);
    if (!second || !websocket_is_token(method)) {
        return WEBSOCKET_BAD_REQUEST_LINE;
    }
    *target = (struct websocket_slice){rest.at, (size_t)(second - rest.at)};
    struct websocket_slice version = {second + 1, rest.length - target->length - 1};
    if (version.length != 8 || memcmp(version.at, "HTTP/", 5) != 0) {
        return WEBSOCKET_BAD_REQUEST_LINE;
    }
    if (memcmp(version.at, "HTTP/1.1", 8) != 0) {
        return WEBSOCKET_BAD_HTTP_VERSION;
    }
    if (!websocket_same_exactly(method, "GET")) {
        return WEBSOCKET_BAD_METHOD;
    }
    return is_target(*target) ? 0 : WEBSOCKET_BAD_TARGET;
}

/* What the headers of a request say. */
struct seen {
    unsigned hosts, keys, versions, origins;
    bool upgrade, connection, body;
    struct websocket_slice version;
};

static bool lists(struct websocket_slice value, const char *word)
{
    struct websocket_slice element;
    for (size_t at = 0; websocket_list_next(value, &at, &element);) {
        if (websocket_same(element, word)) {
            return true;
        }
    }
    return false;
}

static int check_extensions(struct websocket_slice value)
{
    struct websocket_slice name, parameters;
    size_t at = 0, count = 0;
    int more;
    while ((more = websocket_extension_next(value, &at, &name, &parameters)) > 0) {
        count++;
    }
    return more < 0 || count == 0 ? WEBSOCKET_BAD_EXTENSIONS : 0;
}

static int read_header(struct websocket_slice name, struct websocket_slice value, struct seen *seen,
                       struct websocket_request *request)
{
    if (websocket_same(name, "Host")) {
        seen->hosts++;
        request->host = value;
    } else if (websocket_same(name, "Upgrade")) {
        seen->upgrade |= lists(value, "websocket");
    } else if (websocket_same(name, "Connection")) {
        seen->connection |= lists(value, "upgrade");
    } else if (websocket_same(name, "Sec-WebSocket-Key")) {
        seen->keys++;
        request->key = value;
    } else if (websocket_same(name, "Sec-WebSocket-Version")) {
        seen->versions++;
        seen->version = value;
    } else if (websocket_same(name, "Origin")) {
        seen->origins++;
        request->origin = value;
    } else if (websocket_same(name, "Sec-WebSocket-Protocol")) {
        return websocket_is_token_list(value) ? 0 : WEBSOCKET_BAD_PROTOCOLS;
    } else if (websocket_same(name, "Sec-WebSocket-Extensions")) {
        return check_extensions(value);
    } else if (websocket_same(name, "Transfer-Encoding") ||
               (websocket_same(name, "Content-Length") && !websocket_same(value, "0"))) {
        seen->body = true;
    }
    return 0;
}

/* Base64 of 16 bytes. The bits that the last character has too many are not looked at: some clients
 * fill them. */
static bool is_key(struct websocket_slice key)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (key.length != WEBSOCKET_KEY_TEXT) {
        return false;
    }
    for (size_t i = 0; i < WEBSOCKET_KEY_TEXT - 2; i++) {
        if (key.at[i] == '\0' || !strchr(alphabet, key.at[i])) {
            return false;
        }
    }
    return key.at[WEBSOCKET_KEY_TEXT - 2] == '=' && key.at[WEBSOCKET_KEY_TEXT - 1] == '=';
}

static bool is_number(struct websocket_slice value)
{
    for (size_t i = 0; i < value.length; i++) {
        if (value.at[i] < '0' || value.at[i] > '9') {
            return false;
        }
    }
    return value.length > 0 && value.length <= 3;
}

static int check_seen(const struct seen *seen, const struct websocket_request *request)
{
    if (seen->hosts > 1 || seen->keys > 1 || seen->versions > 1 || seen->origins > 1) {
        return WEBSOCKET_BAD_REPEATED;
    }
    if (!websocket_is_host(request->host)) {
        return WEBSOCKET_BAD_HOST;
    }
    if (seen->body) {
        return WEBSOCKET_BAD_BODY;
    }
    if (!seen->upgrade) {
        return WEBSOCKET_BAD_UPGRADE;
    }
    if (!seen->connection) {
        return WEBSOCKET_BAD_CONNECTION;
    }
    if (!websocket_same_exactly(seen->version, "13")) {
        return is_number(seen->version) ? WEBSOCKET_BAD_VERSION : WEBSOCKET_BAD_VERSION_MISSING;
    }
    return is_key(request->key) ? 0 : WEBSOCKET_BAD_KEY;
}

static int read_whole(struct websocket_slice text, struct websocket_request *request)
{
    struct websocket_slice line, name, value;
    struct seen seen = {.version = {"", 0}};
    size_t at = 0;
    if (!websocket_line_next(text, &at, &line)) {
        return WEBSOCKET_BAD_REQUEST_LINE;
    }
    int error = read_line(line, &request->target);
    if (error) {
        return error;
    }
    request->headers = (struct websocket_slice){text.at + at, text.length - at};
    for (at = 0; websocket_header_next(request->headers, &at, &name, &value);) {
        error = read_header(name, value, &seen, request);
        if (error) {
            return error;
        }
    }
    return check_seen(&seen, request);
}

ssize_t websocket_request_read(struct websocket_head *head, const char *data, size_t length,
                               struct websocket_request *request)
{
    *request = (struct websocket_request){0};
    ssize_t end = websocket_head_scan(head, data, length, WEBSOCKET_BAD_REQUEST_LINE);
    if (end <= 0) {
        return end;
    }
    int error = read_whole((struct websocket_slice){data, (size_t)end}, request);
    if (error) {
        *request = (struct websocket_request){0};
        return error;
    }
    return end;
}

bool websocket_request_protocol(const struct websocket_request *request, size_t *at,
                                struct websocket_slice *protocol)
{
    struct websocket_slice name, value;
    size_t skip = *at;
    for (size_t line = 0; websocket_header_next(request->headers, &line, &name, &value);) {
        if (!websocket_same(name, "Sec-WebSocket-Protocol")) {
            continue;
        }
        for (size_t in = 0; websocket_list_next(value, &in, protocol);) {
            if (skip-- == 0) {
                ++*at;
                return true;
            }
        }
    }
    return false;
}

ssize_t websocket_response_write(const struct websocket_answer *answer, char *to, size_t room)
{
    struct websocket_text text = {.to = to, .room = room};
    if (strlen(answer->accept) != WEBSOCKET_ACCEPT_TEXT || !websocket_are_lines(answer->headers) ||
        (answer->protocol && !websocket_is_token(websocket_slice_of(answer->protocol)))) {
        return WEBSOCKET_BAD_ARGUMENT;
    }
    websocket_put(&text, "HTTP/1.1 101 Switching Protocols\r\n"
                         "Upgrade: websocket\r\nConnection: Upgrade\r\n");
    websocket_put_header(&text, "Sec-WebSocket-Accept", answer->accept);
    websocket_put_header(&text, "Sec-WebSocket-Protocol", answer->protocol);
    websocket_put_deflate(&text, answer->deflate, answer->deflate ? 1 : 0);
    websocket_put(&text, answer->headers ? answer->headers : "");
    websocket_put(&text, "\r\n");
    return websocket_put_end(&text);
}

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].status == status) {
            return reasons[i].reason;
        }
    }
    return "Refused";
}

ssize_t websocket_refusal_write(int status, const char *headers, char *to, size_t room)
{
    struct websocket_text text = {.to = to, .room = room};
    char number[16];
    if (status < 200 || status > 599 || !websocket_are_lines(headers)) {
        return WEBSOCKET_BAD_ARGUMENT;
    }
    snprintf(number, sizeof number, "%d ", status);
    websocket_put(&text, "HTTP/1.1 ");
    websocket_put(&text, number);
    websocket_put(&text, reason_of(status));
    websocket_put(&text, "\r\n");
    if (status == 426) {
        /* What would be right: RFC 6455, section 4.4; RFC 7231, section 6.5.15. */
        websocket_put(&text, "Upgrade: websocket\r\nConnection: Upgrade, close\r\n"
                             "Sec-WebSocket-Version: 13\r\n");
    } else {
        websocket_put(&text, "Connection: close\r\n");
    }
    websocket_put(&text, status == 405 ? "Allow: GET\r\n" : "");
    websocket_put(&text, "Content-Length: 0\r\n");
    websocket_put(&text, headers ? headers : "");
    websocket_put(&text, "\r\n");
    return websocket_put_end(&text);
}
