#include "codec/websocket_syntax.h"

#include <string.h>
#include <strings.h>

/* Kinds of characters (RFC 7230, section 3.2.6; RFC 3986, section 2). */
static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static bool is_token_character(char c)
{
    return is_alphanumeric(c) || is_one_of(c, "!#$%&'*+-.^_`|~");
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_control(char c)
{
    uint8_t byte = (uint8_t)c;
    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

struct websocket_slice websocket_slice_of(const char *text)
{
    return (struct websocket_slice){text, text ? strlen(text) : 0};
}

static struct websocket_slice trim(struct websocket_slice slice)
{
    while (slice.length && is_space(slice.at[0])) {
        slice.at++;
        slice.length--;
    }
    while (slice.length && is_space(slice.at[slice.length - 1])) {
        slice.length--;
    }
    return slice;
}

/* ---- whole heads ---- */

/* Control characters in what is new of a line; the last byte may be the CR of its end. */
static int check_bytes(const char *data, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        if (is_control(data[i])) {
            if (data[i] != '\r') {
                return WEBSOCKET_BAD_HEAD_BYTE;
            }
            if (i + 1 < to) {
                return WEBSOCKET_BAD_HEAD_LINE_END;
            }
        }
    }
    return 0;
}

static int check_header_line(const char *line, size_t length)
{
    if (is_space(line[0])) {
        return WEBSOCKET_BAD_HEAD_FOLD;
    }
    size_t name = 0;
    while (name < length && is_token_character(line[name])) {
        name++;
    }
    return name > 0 && name < length && line[name] == ':' ? 0 : WEBSOCKET_BAD_HEAD_NAME;
}

/* A line whose end was found: data[stop] is the LF. 1: the empty one that ends the head. */
static int end_line(struct websocket_head *head, const char *data, size_t stop, int empty)
{
    int error = check_bytes(data, head->seen, stop);
    if (error) {
        return error;
    }
    if (stop == head->line || data[stop - 1] != '\r') {
        return WEBSOCKET_BAD_HEAD_LINE_END;
    }
    size_t length = stop - 1 - head->line;
    if (length == 0) {
        return head->lines ? 1 : empty;
    }
    if (head->lines > 0) {
        error = check_header_line(data + head->line, length);
        if (error) {
            return error;
        }
    }
    if (head->lines++ > WEBSOCKET_LINES_MOST) {
        return WEBSOCKET_BAD_HEAD_LINES;
    }
    return 0;
}

ssize_t websocket_head_scan(struct websocket_head *head, const char *data, size_t length, int empty)
{
    size_t bound = length < WEBSOCKET_HEAD_MOST ? length : WEBSOCKET_HEAD_MOST;
    while (head->seen < bound) {
        const char *found = memchr(data + head->seen, '\n', bound - head->seen);
        if (!found) {
            int error = check_bytes(data, head->seen, bound);
            if (error) {
                return error;
            }
            head->seen = data[bound - 1] == '\r' ? bound - 1 : bound;
            break;
        }
        size_t stop = (size_t)(found - data);
        int ended = end_line(head, data, stop, empty);
        if (ended < 0) {
            return ended;
        }
        head->line = stop + 1;
        head->seen = stop + 1;
        if (ended) {
            return (ssize_t)stop + 1;
        }
    }
    return length >= WEBSOCKET_HEAD_MOST ? WEBSOCKET_BAD_HEAD_LONG : 0;
}

bool websocket_line_next(struct websocket_slice text, size_t *at, struct websocket_slice *line)
{
    const char *begin = text.at + *at;
    const char *end = *at < text.length ? memchr(begin, '\n', text.length - *at) : NULL;
    if (!end || end <= begin + 1) {
        return false;
    }
    *line = (struct websocket_slice){begin, (size_t)(end - begin) - 1};
    *at = (size_t)(end - text.at) + 1;
    return true;
}

bool websocket_header_next(struct websocket_slice lines, size_t *at, struct websocket_slice *name,
                           struct websocket_slice *value)
{
    struct websocket_slice line;
    if (!websocket_line_next(lines, at, &line)) {
        return false;
    }
    const char *colon = memchr(line.at, ':', line.length);
    if (!colon) {
        return false;
    }
    *name = (struct websocket_slice){line.at, (size_t)(colon - line.at)};
    *value = trim((struct websocket_slice){colon + 1, line.length - name->length - 1});
    return true;
}

/* ---- values ---- */

bool websocket_list_next(struct websocket_slice list, size_t *at, struct websocket_slice *element)
{
    while (*at < list.length) {
        const char *begin = list.at + *at;
        const char *comma = memchr(begin, ',', list.length - *at);
        size_t length = comma ? (size_t)(comma - begin) : list.length - *at;
        *at += length + (comma ? 1 : 0);
        *element = trim((struct websocket_slice){begin, length});
        if (element->length) {
            return true;
        }
    }
    return false;
}

bool websocket_same(struct websocket_slice slice, const char *text)
{
    return slice.length == strlen(text) && strncasecmp(slice.at, text, slice.length) == 0;
}

bool websocket_same_exactly(struct websocket_slice slice, const char *text)
{
    return slice.length == strlen(text) && memcmp(slice.at, text, slice.length) == 0;
}

static bool all(struct websocket_slice slice, bool (*fits)(char))
{
    for (size_t i = 0; i < slice.length; i++) {
        if (!fits(slice.at[i])) {
            return false;
        }
    }
    return true;
}

static bool is_not_control(char c)
{
    return !is_control(c);
}

static bool is_path_character(char c)
{
    return c > 0x20 && c < 0x7f && c != '#';
}

static bool is_host_character(char c)
{
    return is_alphanumeric(c) || is_one_of(c, "-._~%!$&'()*+,;=:[]");
}

bool websocket_is_token(struct websocket_slice slice)
{
    return slice.length && all(slice, is_token_character);
}

bool websocket_is_token_list(struct websocket_slice list)
{
    struct websocket_slice element;
    size_t at = 0, count = 0;
    for (; websocket_list_next(list, &at, &element); count++) {
        if (!websocket_is_token(element)) {
            return false;
        }
    }
    return count > 0;
}

bool websocket_is_value(struct websocket_slice slice)
{
    return all(slice, is_not_control);
}

bool websocket_is_path(struct websocket_slice slice)
{
    return slice.length && slice.at[0] == '/' && all(slice, is_path_character);
}

bool websocket_is_host(struct websocket_slice slice)
{
    return slice.length && all(slice, is_host_character);
}

bool websocket_is_own_header(struct websocket_slice name)
{
    static const char *const own[] = {"Host",
                                      "Upgrade",
                                      "Connection",
                                      "Content-Length",
                                      "Transfer-Encoding",
                                      "Origin",
                                      "Sec-WebSocket-Key",
                                      "Sec-WebSocket-Version",
                                      "Sec-WebSocket-Accept",
                                      "Sec-WebSocket-Protocol",
                                      "Sec-WebSocket-Extensions"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (websocket_same(name, own[i])) {
            return true;
        }
    }
    return false;
}

bool websocket_are_lines(const char *headers)
{
    struct websocket_slice rest = websocket_slice_of(headers);
    while (rest.length) {
        const char *end = memchr(rest.at, '\n', rest.length);
        const char *colon = memchr(rest.at, ':', rest.length);
        if (!end || end == rest.at || end[-1] != '\r' || !colon || colon > end) {
            return false;
        }
        struct websocket_slice line = {rest.at, (size_t)(end - rest.at) - 1};
        struct websocket_slice name = {rest.at, (size_t)(colon - rest.at)};
        if (!websocket_is_token(name) || websocket_is_own_header(name) ||
            !websocket_is_value(line)) {
            return false;
        }
        rest = (struct websocket_slice){end + 1, rest.length - line.length - 2};
    }
    return true;
}

/* ---- writing ---- */

void websocket_put(struct websocket_text *text, const char *more)
{
    size_t length = strlen(more);
    if (text->length <= text->room && length <= text->room - text->length) {
        memcpy(text->to + text->length, more, length);
    }
    text->length += length;
}

void websocket_put_header(struct websocket_text *text, const char *name, const char *value)
{
    if (value) {
        websocket_put(text, name);
        websocket_put(text, ": ");
        websocket_put(text, value);
        websocket_put(text, "\r\n");
    }
}

ssize_t websocket_put_end(const struct websocket_text *text)
{
    return text->length <= text->room ? (ssize_t)text->length : WEBSOCKET_BAD_ROOM;
}
