/* What client and server agree on of permessage-deflate: RFC 7692, sections 5 and 7.1. */
#include "websocket_world.h"

#include <stdio.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define REQUEST                                                                                    \
    "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                   \
    "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n"
#define RESPONSE                                                                                   \
    "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                              \
    "Sec-WebSocket-Accept: " ACCEPT "\r\n"
#define EXTENSION "Sec-WebSocket-Extensions: "

static void choices(void **state)
{
    (void)state;
    static const struct {
        const char *offer;
        struct websocket_deflate wish;
        bool agreed;
        struct websocket_deflate result;
    } rows[] = {
        {"permessage-deflate", {0}, true, {0}},
        {"foo, permessage-deflate", {0}, true, {0}},
        {"foo", {0}, false, {0}},
        {"Permessage-Deflate", {0}, false, {0}},
        {"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
         {0},
         true,
         {.server_no_context_takeover = true, .client_no_context_takeover = true}},
        {"permessage-deflate; server_max_window_bits=10",
         {0},
         true,
         {.server_max_window_bits = 10}},
        {"permessage-deflate; server_max_window_bits=8", {0}, true, {.server_max_window_bits = 8}},
        {"permessage-deflate; server_max_window_bits=12",
         {.server_max_window_bits = 9},
         true,
         {.server_max_window_bits = 9}},
        {"permessage-deflate; client_max_window_bits",
         {.client_max_window_bits = 11},
         true,
         {.client_max_window_bits = 11}},
        {"permessage-deflate; client_max_window_bits=9",
         {.client_max_window_bits = 11},
         true,
         {.client_max_window_bits = 9}},
        /* The offer does not let a server ask for it. */
        {"permessage-deflate", {.client_max_window_bits = 11}, true, {0}},
        {"permessage-deflate",
         {.client_no_context_takeover = true, .server_no_context_takeover = true},
         true,
         {.client_no_context_takeover = true, .server_no_context_takeover = true}},
        /* What cannot be read is passed over. */
        {"permessage-deflate; server_max_window_bits", {0}, false, {0}},
        {"permessage-deflate; server_max_window_bits=7", {0}, false, {0}},
        {"permessage-deflate; server_max_window_bits=16", {0}, false, {0}},
        {"permessage-deflate; server_max_window_bits=08", {0}, false, {0}},
        {"permessage-deflate; server_max_window_bits=1", {0}, false, {0}},
        {"permessage-deflate; server_max_window_bits=100", {0}, false, {0}},
        {"permessage-deflate; client_max_window_bits=7", {0}, false, {0}},
        {"permessage-deflate; client_max_window_bits; client_max_window_bits", {0}, false, {0}},
        {"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
         {0},
         false,
         {0}},
        {"permessage-deflate; server_no_context_takeover=true", {0}, false, {0}},
        {"permessage-deflate; foo", {0}, false, {0}},
        {"permessage-deflate; foo, permessage-deflate; server_max_window_bits=\"11\"",
         {0},
         true,
         {.server_max_window_bits = 11}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[500];
        struct websocket_request request;
        struct websocket_deflate agreed = {0};
        int length = snprintf(text, sizeof text, REQUEST EXTENSION "%s\r\n\r\n", rows[i].offer);
        struct websocket_head head = {0};
        assert_int_equal(websocket_request_read(&head, text, (size_t)length, &request), length);
        if (websocket_deflate_choose(&request, &rows[i].wish, &agreed) != rows[i].agreed ||
            memcmp(&agreed, &rows[i].result, sizeof agreed) != 0) {
            fail_msg("offer %zu: %s", i, rows[i].offer);
        }
    }
}

/* Offers in several headers are one list. */
static void several_headers(void **state)
{
    (void)state;
    static const char text[] =
        REQUEST EXTENSION "foo; a\r\n" EXTENSION "permessage-deflate; client_max_window_bits=9\r\n"
                          "\r\n";
    static const struct websocket_deflate wish = {0};
    struct websocket_head head = {0};
    struct websocket_request request;
    struct websocket_deflate agreed;
    assert_int_equal(websocket_request_read(&head, text, sizeof text - 1, &request),
                     sizeof text - 1);
    assert_true(websocket_deflate_choose(&request, &wish, &agreed));
    assert_int_equal(agreed.client_max_window_bits, 9);
}

#define ANY WEBSOCKET_WINDOW_ANY
#define SERVER_ALONE .server_no_context_takeover = true
#define CLIENT_ALONE .client_no_context_takeover = true

/* An answer has to keep to one of the alternatives, all of it. */
static void answers(void **state)
{
    (void)state;
    static const struct {
        struct websocket_deflate offers[2];
        const char *answer; /* behind the name */
        bool accepted;
        struct websocket_deflate agreed;
    } rows[] = {
        {{{0}, {0}}, "", true, {0}},
        {{{0}, {0}}, "; server_no_context_takeover", true, {SERVER_ALONE}},
        {{{0}, {0}}, "; client_no_context_takeover", true, {CLIENT_ALONE}},
        {{{0}, {0}}, "; server_max_window_bits=8", true, {.server_max_window_bits = 8}},
        {{{0}, {0}}, "; client_max_window_bits=15", false, {0}},
        {{{SERVER_ALONE}, {SERVER_ALONE}}, "", false, {0}},
        {{{SERVER_ALONE}, {0}}, "", true, {0}},
        /* A client that says of itself that it will keeps to it. */
        {{{CLIENT_ALONE}, {0}}, "", true, {CLIENT_ALONE}},
        {{{.client_max_window_bits = 10}, {0}}, "", true, {.client_max_window_bits = 10}},
        {{{.client_max_window_bits = ANY}, {0}}, "", true, {0}},
        {{{.client_max_window_bits = ANY}, {0}},
         "; client_max_window_bits=8",
         true,
         {.client_max_window_bits = 8}},
        {{{.client_max_window_bits = 10}, {0}},
         "; client_max_window_bits=9",
         true,
         {.client_max_window_bits = 9}},
        {{{.client_max_window_bits = 10}, {0}}, "; client_max_window_bits=11", false, {0}},
        {{{.client_max_window_bits = 10}, {0}}, "; client_max_window_bits", false, {0}},
        {{{.server_max_window_bits = 10}, {.server_max_window_bits = 9}}, "", false, {0}},
        {{{.server_max_window_bits = 10}, {.server_max_window_bits = 9}},
         "; server_max_window_bits=10",
         true,
         {.server_max_window_bits = 10}},
        {{{.server_max_window_bits = 10}, {.server_max_window_bits = 9}},
         "; server_max_window_bits=11",
         false,
         {0}},
        /* Half of one and half of the other is neither. */
        {{{.server_max_window_bits = 10}, {SERVER_ALONE, .client_max_window_bits = ANY}},
         "; server_max_window_bits=10; client_max_window_bits=12",
         false,
         {0}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct websocket_offer offer = {
            .target = "/", .host = "h", .deflate = rows[i].offers, .deflate_count = 2};
        struct websocket_head head = {0};
        struct websocket_response response;
        char text[500];
        int length = snprintf(text, sizeof text, RESPONSE EXTENSION "permessage-deflate%s\r\n\r\n",
                              rows[i].answer);
        ssize_t got =
            websocket_response_read(&head, text, (size_t)length, &offer, ACCEPT, &response);
        if (got != (rows[i].accepted ? length : WEBSOCKET_BAD_EXTENSION_PARAMETER) ||
            memcmp(&response.deflate, &rows[i].agreed, sizeof response.deflate) != 0) {
            fail_msg("answer %zu: %s: %s", i, rows[i].answer, websocket_error_text((int)got));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices),
        cmocka_unit_test(several_headers),
        cmocka_unit_test(answers),
    };
    return cmocka_run_group_tests_name("websocket_extension", tests, NULL, NULL);
}
