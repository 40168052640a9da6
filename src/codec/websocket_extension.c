/* Extensions and what is negotiated of permessage-deflate: RFC 6455, section 9.1; RFC 7692,
 * sections 5 and 7.1. */
#include <string.h>

#include "codec/websocket_syntax.h"

#define SERVER_NO_CONTEXT "server_no_context_takeover"
#define CLIENT_NO_CONTEXT "client_no_context_takeover"
#define SERVER_BITS "server_max_window_bits"
#define CLIENT_BITS "client_max_window_bits"

static void skip_space(struct websocket_slice text, size_t *at)
{
    while (*at < text.length && (text.at[*at] == ' ' || text.at[*at] == '\t')) {
        ++*at;
    }
}

static bool take_character(struct websocket_slice text, size_t *at, char c)
{
    if (*at < text.length && text.at[*at] == c) {
        ++*at;
        return true;
    }
    return false;
}

/* As many characters of a token as there are, at least one. */
static bool take_token(struct websocket_slice text, size_t *at, struct websocket_slice *token)
{
    *token = (struct websocket_slice){text.at + *at, 0};
    while (*at < text.length && websocket_is_token((struct websocket_slice){text.at + *at, 1})) {
        ++*at;
        token->length++;
    }
    return token->length > 0;
}

/* One parameter: a name and, *value not NULL, a value: a token, or one in quotation marks. */
static bool take_parameter(struct websocket_slice text, size_t *at, struct websocket_slice *name,
                           struct websocket_slice *value)
{
    *value = (struct websocket_slice){NULL, 0};
    skip_space(text, at);
    if (!take_token(text, at, name)) {
        return false;
    }
    skip_space(text, at);
    if (!take_character(text, at, '=')) {
        return true;
    }
    skip_space(text, at);
    bool quoted = take_character(text, at, '"');
    if (!take_token(text, at, value) || (quoted && !take_character(text, at, '"'))) {
        return false;
    }
    skip_space(text, at);
    return true;
}

int websocket_extension_next(struct websocket_slice list, size_t *at, struct websocket_slice *name,
                             struct websocket_slice *parameters)
{
    struct websocket_slice ignored, value;
    do {
        skip_space(list, at);
    } while (take_character(list, at, ','));
    if (*at == list.length) {
        return 0;
    }
    if (!take_token(list, at, name)) {
        return -1;
    }
    skip_space(list, at);
    size_t begin = *at;
    while (take_character(list, at, ';')) {
        if (!take_parameter(list, at, &ignored, &value)) {
            return -1;
        }
    }
    *parameters = (struct websocket_slice){list.at + begin, *at - begin};
    return *at == list.length || take_character(list, at, ',') ? 1 : -1;
}

/* 8 to 15, without zeros before it; 0 for anything else. */
static uint8_t read_bits(struct websocket_slice value)
{
    if (value.length == 1 && (value.at[0] == '8' || value.at[0] == '9')) {
        return (uint8_t)(value.at[0] - '0');
    }
    if (value.length == 2 && value.at[0] == '1' && value.at[1] >= '0' && value.at[1] <= '5') {
        return (uint8_t)(10 + value.at[1] - '0');
    }
    return 0;
}

static bool read_flag(struct websocket_slice value, bool *flag)
{
    if (value.at || *flag) {
        return false;
    }
    *flag = true;
    return true;
}

static bool read_window(struct websocket_slice value, bool may_lack, uint8_t *bits)
{
    if (*bits) {
        return false;
    }
    *bits = value.at ? read_bits(value) : may_lack ? WEBSOCKET_WINDOW_ANY : 0;
    return *bits != 0;
}

bool websocket_deflate_read(struct websocket_slice parameters, bool response,
                            struct websocket_deflate *deflate)
{
    struct websocket_slice name, value;
    size_t at = 0;
    *deflate = (struct websocket_deflate){0};
    while (take_character(parameters, &at, ';')) {
        if (!take_parameter(parameters, &at, &name, &value)) {
            return false;
        }
        bool fits = websocket_same_exactly(name, SERVER_NO_CONTEXT)
                        ? read_flag(value, &deflate->server_no_context_takeover)
                    : websocket_same_exactly(name, CLIENT_NO_CONTEXT)
                        ? read_flag(value, &deflate->client_no_context_takeover)
                    : websocket_same_exactly(name, SERVER_BITS)
                        ? read_window(value, false, &deflate->server_max_window_bits)
                    : websocket_same_exactly(name, CLIENT_BITS)
                        ? read_window(value, !response, &deflate->client_max_window_bits)
                        : false;
        if (!fits) {
            return false;
        }
    }
    return at == parameters.length;
}

static bool response_keeps(const struct websocket_deflate *offer,
                           const struct websocket_deflate *response)
{
    if (offer->server_no_context_takeover && !response->server_no_context_takeover) {
        return false;
    }
    if (offer->server_max_window_bits &&
        (!response->server_max_window_bits ||
         response->server_max_window_bits > offer->server_max_window_bits)) {
        return false;
    }
    /* WEBSOCKET_WINDOW_ANY is above all. */
    return response->client_max_window_bits <= offer->client_max_window_bits;
}

bool websocket_deflate_check(const struct websocket_deflate *offers, size_t count,
                             const struct websocket_deflate *response,
                             struct websocket_deflate *agreed)
{
    for (size_t i = 0; i < count; i++) {
        if (response_keeps(&offers[i], response)) {
            *agreed = *response;
            /* What the client said of itself it keeps to, whether the server repeats it or not. */
            agreed->client_no_context_takeover |= offers[i].client_no_context_takeover;
            if (!agreed->client_max_window_bits &&
                offers[i].client_max_window_bits != WEBSOCKET_WINDOW_ANY) {
                agreed->client_max_window_bits = offers[i].client_max_window_bits;
            }
            return true;
        }
    }
    return false;
}

static uint8_t smaller(uint8_t bits, uint8_t wish)
{
    int a = websocket_window_bits(bits), b = websocket_window_bits(wish);
    return (uint8_t)(a < b ? a : b);
}

static struct websocket_deflate agree(const struct websocket_deflate *offer,
                                      const struct websocket_deflate *wish)
{
    struct websocket_deflate agreed = {
        .server_no_context_takeover =
            offer->server_no_context_takeover || wish->server_no_context_takeover,
        .client_no_context_takeover =
            offer->client_no_context_takeover || wish->client_no_context_takeover,
    };
    if (offer->server_max_window_bits || wish->server_max_window_bits) {
        agreed.server_max_window_bits =
            smaller(offer->server_max_window_bits, wish->server_max_window_bits);
    }
    if (offer->client_max_window_bits) {
        agreed.client_max_window_bits =
            smaller(offer->client_max_window_bits, wish->client_max_window_bits);
    }
    return agreed;
}

bool websocket_deflate_choose(const struct websocket_request *request,
                              const struct websocket_deflate *wish,
                              struct websocket_deflate *agreed)
{
    struct websocket_slice name, value, extension, parameters;
    struct websocket_deflate offer;
    for (size_t line = 0; websocket_header_next(request->headers, &line, &name, &value);) {
        if (!websocket_same(name, "Sec-WebSocket-Extensions")) {
            continue;
        }
        for (size_t at = 0; websocket_extension_next(value, &at, &extension, &parameters) > 0;) {
            if (websocket_same_exactly(extension, WEBSOCKET_DEFLATE_NAME) &&
                websocket_deflate_read(parameters, false, &offer)) {
                *agreed = agree(&offer, wish);
                return true;
            }
        }
    }
    return false;
}

/* ---- writing ---- */

static void put_window(struct websocket_text *text, const char *name, uint8_t bits)
{
    if (!bits) {
        return;
    }
    char number[] = {'=', (char)('0' + bits / 10), (char)('0' + bits % 10), '\0'};
    if (bits < 10) {
        number[1] = number[2];
        number[2] = '\0';
    }
    websocket_put(text, "; ");
    websocket_put(text, name);
    websocket_put(text, bits == WEBSOCKET_WINDOW_ANY ? "" : number);
}

void websocket_put_deflate(struct websocket_text *text, const struct websocket_deflate *deflate,
                           size_t count)
{
    for (size_t i = 0; i < count; i++) {
        websocket_put(text, i == 0 ? "Sec-WebSocket-Extensions: " : ", ");
        websocket_put(text, WEBSOCKET_DEFLATE_NAME);
        websocket_put(text, deflate[i].server_no_context_takeover ? "; " SERVER_NO_CONTEXT : "");
        websocket_put(text, deflate[i].client_no_context_takeover ? "; " CLIENT_NO_CONTEXT : "");
        put_window(text, SERVER_BITS, deflate[i].server_max_window_bits);
        put_window(text, CLIENT_BITS, deflate[i].client_max_window_bits);
    }
    websocket_put(text, count ? "\r\n" : "");
}
