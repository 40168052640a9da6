/* WebSocket requests of any bytes, whole and in pieces (the first byte says how): both are judged
 * alike, and of what is accepted every part lies in it and can be answered. */
#include <stdlib.h>
#include <string.h>

#include "codec/websocket_handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void within(struct websocket_slice slice, const char *text, size_t length)
{
    require(slice.at >= text && slice.at + slice.length <= text + length);
}

static void answer(const struct websocket_request *request)
{
    static const struct websocket_deflate wishes[] = {
        {0}, {true, true, 9, 9}, {.client_max_window_bits = 8}};
    char accept[WEBSOCKET_ACCEPT_TEXT + 1], text[1000];
    require(request->key.length == WEBSOCKET_KEY_TEXT);
    require(websocket_accept(NULL, request->key.at, accept) == 0);
    for (size_t i = 0; i < sizeof wishes / sizeof wishes[0]; i++) {
        struct websocket_deflate agreed;
        struct websocket_answer answer = {.accept = accept};
        if (websocket_deflate_choose(request, &wishes[i], &agreed)) {
            require(!agreed.server_max_window_bits ||
                    websocket_window_bits(agreed.server_max_window_bits) ==
                        agreed.server_max_window_bits);
            require(agreed.client_max_window_bits <= WEBSOCKET_WINDOW_MOST);
            answer.deflate = &agreed;
        }
        require(websocket_response_write(&answer, text, sizeof text) > 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    size_t chop = 1 + data[0];
    const char *text = (const char *)data + 1;
    size_t length = size - 1;
    struct websocket_head whole = {0}, pieces = {0};
    struct websocket_request request, again;
    ssize_t result = websocket_request_read(&whole, text, length, &request);
    require(result <= (ssize_t)length);
    ssize_t other = 0;
    for (size_t there = 0; there < length && other == 0;) {
        there = length - there > chop ? there + chop : length;
        other = websocket_request_read(&pieces, text, there, &again);
    }
    require(result == other);
    if (result <= 0) {
        require(result == 0 || websocket_error_answer((int)result) >= 400);
        require(request.target.at == NULL);
        return 0;
    }
    within(request.target, text, (size_t)result);
    within(request.host, text, (size_t)result);
    within(request.key, text, (size_t)result);
    within(request.headers, text, (size_t)result);
    if (request.origin.at) {
        within(request.origin, text, (size_t)result);
    }
    struct websocket_slice protocol;
    for (size_t at = 0; websocket_request_protocol(&request, &at, &protocol);) {
        within(protocol, text, (size_t)result);
    }
    answer(&request);
    return 0;
}
