/* The client's end of the opening handshake: RFC 6455, section 4.1. */
#include <string.h>

#include "codec/websocket_syntax.h"

static bool offer_fits(const struct websocket_offer *offer)
{
    struct websocket_slice target = websocket_slice_of(offer->target);
    struct websocket_slice host = websocket_slice_of(offer->host);
    struct websocket_slice origin = websocket_slice_of(offer->origin);
    struct websocket_slice protocols = websocket_slice_of(offer->protocols);
    for (size_t i = 0; i < offer->deflate_count; i++) {
        uint8_t server = offer->deflate[i].server_max_window_bits;
        uint8_t client = offer->deflate[i].client_max_window_bits;
        if ((server && websocket_window_bits(server) != server) ||
            (client && client != WEBSOCKET_WINDOW_ANY && websocket_window_bits(client) != client)) {
            return false;
        }
    }
    return websocket_is_path(target) && websocket_is_host(host) &&
           (!origin.at || (origin.length && websocket_is_value(origin))) &&
           (!protocols.at || websocket_is_token_list(protocols)) &&
           websocket_are_lines(offer->headers);
}

ssize_t websocket_request_write(const struct websocket_offer *offer, const char *key, char *to,
                                size_t room)
{
    struct websocket_text text = {.to = to, .room = room};
    if (!offer_fits(offer) || strlen(key) != WEBSOCKET_KEY_TEXT) {
        return WEBSOCKET_BAD_ARGUMENT;
    }
    websocket_put(&text, "GET ");
    websocket_put(&text, offer->target);
    websocket_put(&text, " HTTP/1.1\r\n");
    websocket_put_header(&text, "Host", offer->host);
    websocket_put(&text, "Upgrade: websocket\r\nConnection: Upgrade\r\n");
    websocket_put_header(&text, "Sec-WebSocket-Key", key);
    websocket_put(&text, "Sec-WebSocket-Version: 13\r\n");
    websocket_put_header(&text, "Origin", offer->origin);
    websocket_put_header(&text, "Sec-WebSocket-Protocol", offer->protocols);
    websocket_put_deflate(&text, offer->deflate, offer->deflate_count);
    websocket_put(&text, offer->headers ? offer->headers : "");
    websocket_put(&text, "\r\n");
    return websocket_put_end(&text);
}

/* "HTTP/1.1 101 Switching Protocols": the status and its reason. Of the version only the minor one
 * may differ, and then not with 101. */
static int read_status(struct websocket_slice line, struct websocket_response *response)
{
    enum { AT_MINOR = 7, AT_STATUS = 9, AT_REASON = 13 };
    const char *at = line.at;
    if (line.length < AT_REASON || at[AT_STATUS - 1] != ' ' || at[AT_REASON - 1] != ' ') {
        return WEBSOCKET_BAD_STATUS_LINE;
    }
    for (size_t i = AT_STATUS; i < AT_REASON - 1; i++) {
        if (at[i] < '0' || at[i] > '9') {
            return WEBSOCKET_BAD_STATUS_LINE;
        }
        response->status = response->status * 10 + (at[i] - '0');
    }
    if (response->status < 100 || response->status > 599) {
        return WEBSOCKET_BAD_STATUS_LINE;
    }
    if (at[AT_MINOR] != '1' && (at[AT_MINOR] != '0' || response->status == 101)) {
        return WEBSOCKET_BAD_HTTP_VERSION;
    }
    response->reason = (struct websocket_slice){at + AT_REASON, line.length - AT_REASON};
    return 0;
}

/* What the headers of an answer say. */
struct seen {
    unsigned upgrades, accepts, protocols, extensions;
    bool websocket, connection, accept, body;
    struct websocket_slice protocol;
};

static int read_extensions(struct websocket_slice value, const struct websocket_offer *offer,
                           struct seen *seen, struct websocket_response *response)
{
    struct websocket_slice name, parameters;
    struct websocket_deflate said;
    size_t at = 0;
    int more;
    while ((more = websocket_extension_next(value, &at, &name, &parameters)) > 0) {
        if (!websocket_same_exactly(name, WEBSOCKET_DEFLATE_NAME) || offer->deflate_count == 0) {
            return WEBSOCKET_BAD_EXTENSION_UNASKED;
        }
        if (seen->extensions++) {
            return WEBSOCKET_BAD_REPEATED;
        }
        if (!websocket_deflate_read(parameters, true, &said) ||
            !websocket_deflate_check(offer->deflate, offer->deflate_count, &said,
                                     &response->deflate)) {
            return WEBSOCKET_BAD_EXTENSION_PARAMETER;
        }
        response->deflated = true;
    }
    return more < 0 || value.length == 0 ? WEBSOCKET_BAD_EXTENSIONS : 0;
}

static bool says_upgrade(struct websocket_slice value)
{
    struct websocket_slice element;
    for (size_t at = 0; websocket_list_next(value, &at, &element);) {
        if (websocket_same(element, "upgrade")) {
            return true;
        }
    }
    return false;
}

static int read_header(struct websocket_slice name, struct websocket_slice value,
                       const struct websocket_offer *offer, const char *accept, struct seen *seen,
                       struct websocket_response *response)
{
    if (websocket_same(name, "Upgrade")) {
        seen->upgrades++;
        seen->websocket = websocket_same(value, "websocket");
    } else if (websocket_same(name, "Connection")) {
        seen->connection |= says_upgrade(value);
    } else if (websocket_same(name, "Sec-WebSocket-Accept")) {
        seen->accepts++;
        seen->accept = websocket_same_exactly(value, accept);
    } else if (websocket_same(name, "Sec-WebSocket-Protocol")) {
        seen->protocols++;
        seen->protocol = value;
    } else if (websocket_same(name, "Sec-WebSocket-Extensions")) {
        return read_extensions(value, offer, seen, response);
    } else if (websocket_same(name, "Transfer-Encoding") ||
               (websocket_same(name, "Content-Length") && !websocket_same(value, "0"))) {
        seen->body = true;
    }
    return 0;
}

static bool asked_for(const struct websocket_offer *offer, struct websocket_slice protocol)
{
    struct websocket_slice list = websocket_slice_of(offer->protocols), element;
    for (size_t at = 0; websocket_list_next(list, &at, &element);) {
        if (element.length == protocol.length &&
            memcmp(element.at, protocol.at, protocol.length) == 0) {
            return true;
        }
    }
    return false;
}

/* The headers of an answer 101. */
static int check_upgrade(struct websocket_slice lines, const struct websocket_offer *offer,
                         const char *accept, struct websocket_response *response)
{
    struct websocket_slice name, value;
    struct seen seen = {0};
    for (size_t at = 0; websocket_header_next(lines, &at, &name, &value);) {
        int error = read_header(name, value, offer, accept, &seen, response);
        if (error) {
            return error;
        }
    }
    if (seen.upgrades != 1 || !seen.websocket) {
        return WEBSOCKET_BAD_UPGRADE;
    }
    if (!seen.connection) {
        return WEBSOCKET_BAD_CONNECTION;
    }
    if (seen.accepts > 1 || seen.protocols > 1) {
        return WEBSOCKET_BAD_REPEATED;
    }
    if (!seen.accept) {
        return seen.accepts ? WEBSOCKET_BAD_ACCEPT : WEBSOCKET_BAD_ACCEPT_MISSING;
    }
    if (seen.body) {
        return WEBSOCKET_BAD_BODY;
    }
    if (seen.protocols && !asked_for(offer, seen.protocol)) {
        return WEBSOCKET_BAD_PROTOCOL_UNASKED;
    }
    response->protocol = seen.protocol;
    return 0;
}

static void find_location(struct websocket_slice lines, struct websocket_response *response)
{
    struct websocket_slice name, value;
    for (size_t at = 0; websocket_header_next(lines, &at, &name, &value);) {
        if (!response->location.at && websocket_same(name, "Location")) {
            response->location = value;
        }
    }
}

/* A whole head. 1 where it is an interim one. */
static int read_answer(struct websocket_slice text, const struct websocket_offer *offer,
                       const char *accept, struct websocket_response *response)
{
    struct websocket_slice line;
    size_t at = 0;
    if (!websocket_line_next(text, &at, &line)) {
        return WEBSOCKET_BAD_STATUS_LINE;
    }
    int error = read_status(line, response);
    if (error) {
        return error;
    }
    struct websocket_slice lines = {text.at + at, text.length - at};
    if (response->status == 101) {
        return check_upgrade(lines, offer, accept, response);
    }
    if (response->status < 200) {
        return 1;
    }
    find_location(lines, response);
    return WEBSOCKET_BAD_STATUS;
}

/* Whoever does not speak HTTP/1 is known by the first bytes. */
static int check_begin(const struct websocket_head *head, const char *data, size_t length)
{
    static const char version[] = "HTTP/1.";
    size_t there = length - head->start;
    size_t compared = there < sizeof version - 1 ? there : sizeof version - 1;
    if (head->lines == 0 && memcmp(data + head->start, version, compared) != 0) {
        size_t name = compared < 5 ? compared : 5;
        return memcmp(data + head->start, version, name) == 0 ? WEBSOCKET_BAD_HTTP_VERSION
                                                              : WEBSOCKET_BAD_STATUS_LINE;
    }
    return 0;
}

ssize_t websocket_response_read(struct websocket_head *head, const char *data, size_t length,
                                const struct websocket_offer *offer, const char *accept,
                                struct websocket_response *response)
{
    for (;;) {
        *response = (struct websocket_response){0};
        if (length == head->start) {
            return 0;
        }
        int error = check_begin(head, data, length);
        if (error) {
            return error;
        }
        ssize_t end = websocket_head_scan(head, data, length, WEBSOCKET_BAD_STATUS_LINE);
        if (end <= 0) {
            return end;
        }
        struct websocket_slice text = {data + head->start, (size_t)end - head->start};
        int result = read_answer(text, offer, accept, response);
        if (result == 0) {
            return end;
        }
        if (result < 0) {
            if (result != WEBSOCKET_BAD_STATUS) {
                *response = (struct websocket_response){0};
            }
            return result;
        }
        *head =
            (struct websocket_head){.start = (size_t)end, .line = (size_t)end, .seen = (size_t)end};
    }
}
