/* Answers of any bytes to a WebSocket request, whole and in pieces (the first byte says how, and
 * what was offered): both are judged alike, and what is accepted keeps to the offer. */
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
    require(!slice.at || (slice.at >= text && slice.at + slice.length <= text + length));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct websocket_deflate alternatives[] = {
        {.server_no_context_takeover = true, .client_max_window_bits = WEBSOCKET_WINDOW_ANY},
        {.server_max_window_bits = 10}};
    static const struct websocket_offer offers[] = {{.target = "/", .host = "h"},
                                                    {.target = "/",
                                                     .host = "h",
                                                     .protocols = "chat, superchat",
                                                     .deflate = alternatives,
                                                     .deflate_count = 2}};
    if (size == 0) {
        return 0;
    }
    size_t chop = 1 + data[0] / 2;
    const struct websocket_offer *offer = &offers[data[0] % 2];
    const char *text = (const char *)data + 1, *accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    size_t length = size - 1;
    struct websocket_head whole = {0}, pieces = {0};
    struct websocket_response response, again;
    ssize_t result = websocket_response_read(&whole, text, length, offer, accept, &response);
    require(result <= (ssize_t)length);
    ssize_t other = 0;
    for (size_t there = 0; there < length && other == 0;) {
        there = length - there > chop ? there + chop : length;
        other = websocket_response_read(&pieces, text, there, offer, accept, &again);
    }
    require(result == other);
    within(response.reason, text, length);
    within(response.location, text, length);
    within(response.protocol, text, length);
    if (result > 0) {
        require(response.status == 101);
        require(offer->deflate_count || !response.deflated);
        require(!response.deflated || response.deflate.server_no_context_takeover ||
                (response.deflate.server_max_window_bits >= 8 &&
                 response.deflate.server_max_window_bits <= 10));
        require(offer->protocols || !response.protocol.at);
    } else if (result == WEBSOCKET_BAD_STATUS) {
        require(response.status >= 200 && response.status <= 599);
    } else {
        require(response.status == 0 && !response.deflated);
    }
    return 0;
}
