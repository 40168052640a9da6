/* The opening handshake over bytes: RFC 6455's own example, what peers may say, and what nobody
 * should. */
#include "websocket_world.h"

#include <stdio.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static void keys(void **state)
{
    (void)state;
    char key[WEBSOCKET_KEY_TEXT + 1], accept[WEBSOCKET_ACCEPT_TEXT + 1], reason[100] = "?";
    if (websocket_why_not(reason, sizeof reason)) {
        assert_string_not_equal(reason, "");
        assert_int_equal(websocket_accept(NULL, KEY, accept), WEBSOCKET_BAD_BUILD);
        skip();
    }
    assert_string_equal(reason, "");
    assert_int_equal(websocket_key((const uint8_t *)"the sample nonce", key), 0);
    assert_string_equal(key, KEY);
    struct websocket_hash *hash = websocket_hash_open();
    assert_non_null(hash);
    for (int i = 0; i < 3; i++) { /* prepared, and again, and without */
        memset(accept, 0, sizeof accept);
        assert_int_equal(websocket_accept(i < 2 ? hash : NULL, KEY, accept), 0);
        assert_string_equal(accept, ACCEPT);
    }
    websocket_hash_close(hash);
}

/* ---- requests ---- */

static ssize_t read_request(const char *text, size_t length, struct websocket_request *request)
{
    struct websocket_head head = {0};
    return websocket_request_read(&head, (char *)ws_at_the_edge(text, length), length, request);
}

static bool slice_is(struct websocket_slice slice, const char *text)
{
    return slice.length == strlen(text) && memcmp(slice.at, text, slice.length) == 0;
}

static void requests_written(void **state)
{
    (void)state;
    const struct websocket_deflate alternatives[] = {
        {.server_no_context_takeover = true,
         .server_max_window_bits = 10,
         .client_max_window_bits = WEBSOCKET_WINDOW_ANY},
        {.client_no_context_takeover = true, .client_max_window_bits = 8},
        {0}};
    const struct websocket_offer offer = {.target = "/chat?x=1",
                                          .host = "server.example.com:8080",
                                          .origin = "http://example.com",
                                          .protocols = "chat, superchat",
                                          .headers = "User-Agent: sonde\r\nCookie: a=b; c=d\r\n",
                                          .deflate = alternatives,
                                          .deflate_count = 3};
    static const char expected[] =
        "GET /chat?x=1 HTTP/1.1\r\nHost: server.example.com:8080\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n"
        "Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n"
        "Sec-WebSocket-Extensions: "
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; "
        "client_max_window_bits, permessage-deflate; client_no_context_takeover; "
        "client_max_window_bits=8, permessage-deflate\r\n"
        "User-Agent: sonde\r\nCookie: a=b; c=d\r\n\r\n";
    char text[1000];
    struct websocket_request request;
    struct websocket_slice protocol;
    size_t at = 0;
    ssize_t length = websocket_request_write(&offer, KEY, text, sizeof text);
    assert_int_equal(length, sizeof expected - 1);
    assert_memory_equal(text, expected, sizeof expected - 1);
    for (size_t room = 0; room < sizeof expected - 1; room++) {
        char *little = malloc(room + 1);
        assert_non_null(little);
        assert_int_equal(websocket_request_write(&offer, KEY, little, room), WEBSOCKET_BAD_ROOM);
        free(little);
    }
    assert_int_equal(read_request(text, (size_t)length, &request), length);
    assert_true(slice_is(request.target, "/chat?x=1"));
    assert_true(slice_is(request.host, "server.example.com:8080"));
    assert_true(slice_is(request.origin, "http://example.com"));
    assert_true(slice_is(request.key, KEY));
    assert_true(websocket_request_protocol(&request, &at, &protocol));
    assert_true(slice_is(protocol, "chat"));
    assert_true(websocket_request_protocol(&request, &at, &protocol));
    assert_true(slice_is(protocol, "superchat"));
    assert_false(websocket_request_protocol(&request, &at, &protocol));
}

/* Nothing of the caller's can bring lines of its own into a head. */
static void bad_arguments(void **state)
{
    (void)state;
    static const struct websocket_offer good = {.target = "/", .host = "h"};
    static const struct websocket_deflate narrow = {.server_max_window_bits = 7};
    struct websocket_offer offers[] = {
        {.target = "", .host = "h"},
        {.target = "chat", .host = "h"},
        {.target = "/a b", .host = "h"},
        {.target = "/a\r\nX: y", .host = "h"},
        {.target = "/a#b", .host = "h"},
        {.target = "/\xc3\xbc", .host = "h"},
        {.target = "/", .host = ""},
        {.target = "/", .host = "h\r\nX: y"},
        {.target = "/", .host = "h/"},
        {.target = "/", .host = "h", .origin = ""},
        {.target = "/", .host = "h", .origin = "a\nb"},
        {.target = "/", .host = "h", .protocols = ""},
        {.target = "/", .host = "h", .protocols = "a b"},
        {.target = "/", .host = "h", .protocols = "a,\r\n"},
        {.target = "/", .host = "h", .headers = "X: y"},
        {.target = "/", .host = "h", .headers = "X: y\n"},
        {.target = "/", .host = "h", .headers = "X\r\n"},
        {.target = "/", .host = "h", .headers = "X : y\r\n"},
        {.target = "/", .host = "h", .headers = "\r\n"},
        {.target = "/", .host = "h", .headers = "X: y\r\n\r\n"},
        {.target = "/", .host = "h", .headers = "X: y\r\nhOST: z\r\n"},
        {.target = "/", .host = "h", .headers = "Content-Length: 5\r\n"},
        {.target = "/", .host = "h", .deflate = &narrow, .deflate_count = 1},
    };
    char text[1000];
    assert_true(websocket_request_write(&good, KEY, text, sizeof text) > 0);
    assert_int_equal(websocket_request_write(&good, "short", text, sizeof text),
                     WEBSOCKET_BAD_ARGUMENT);
    for (size_t i = 0; i < sizeof offers / sizeof offers[0]; i++) {
        assert_int_equal(websocket_request_write(&offers[i], KEY, text, sizeof text),
                         WEBSOCKET_BAD_ARGUMENT);
    }
}

#define LINE "GET /chat HTTP/1.1\r\n"
#define HOST "Host: server.example.com\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define KEYED "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n"
#define END "\r\n"
#define X5 "X: y\r\nX: y\r\nX: y\r\nX: y\r\nX: y\r\n"
#define X20 X5 X5 X5 X5

struct head_case {
    const char *text;
    size_t length;
    int error; /* 0: it is good */
};

#define H(text) text, sizeof text - 1

static const struct head_case requests[] = {
    {H(LINE HOST UPGRADE KEYED END), 0},
    {H("GET http://h:80/x HTTP/1.1\r\n" HOST UPGRADE KEYED END), 0},
    {H("GET ws://h HTTP/1.1\r\n" HOST UPGRADE KEYED END), 0},
    {H(LINE "hOsT:[::1]:80\t \r\nuPGRADE: h2c , WebSocket\r\nCONNECTION: keep-alive,\tupgrade\r\n"
            "Connection: x\r\n" KEYED END),
     0},
    {H(LINE HOST UPGRADE KEYED "Origin: null\r\nContent-Length: 0\r\nX-\xc3: y\r\n" END),
     WEBSOCKET_BAD_HEAD_NAME},
    {H(LINE HOST UPGRADE KEYED "X: \xc3\xa4\t\r\n" END), 0},
    {H(LINE HOST UPGRADE KEYED "X:\r\n" END), 0},
    {H(LINE HOST UPGRADE KEYED X20 X20 X20 X20 X5 X5 X5 END), 0},
    {H(LINE HOST UPGRADE KEYED X20 X20 X20 X20 X5 X5 X5 "X:\r\n" END), WEBSOCKET_BAD_HEAD_LINES},
    /* lines */
    {H("\r\n" LINE HOST UPGRADE KEYED END), WEBSOCKET_BAD_REQUEST_LINE},
    {H("GET /chat HTTP/1.1\n" HOST UPGRADE KEYED END), WEBSOCKET_BAD_HEAD_LINE_END},
    {H(LINE HOST UPGRADE KEYED "\n"), WEBSOCKET_BAD_HEAD_LINE_END},
    {H(LINE HOST "X: a\rb\r\n" UPGRADE KEYED END), WEBSOCKET_BAD_HEAD_LINE_END},
    {H(LINE HOST "X: \r\r\n" UPGRADE KEYED END), WEBSOCKET_BAD_HEAD_LINE_END},
    {H(LINE "X: a\nb: c\r\n" HOST UPGRADE KEYED END), WEBSOCKET_BAD_HEAD_LINE_END},
    {H(LINE HOST "X: a\0b\r\n" UPGRADE KEYED END), WEBSOCKET_BAD_HEAD_BYTE},
    {H(LINE HOST "X: a\x7f\r\n" UPGRADE KEYED END), WEBSOCKET_BAD_HEAD_BYTE},
    {H("\x16\x03\x01\x02"), WEBSOCKET_BAD_HEAD_BYTE},
    {H(LINE "X: \x01\n"), WEBSOCKET_BAD_HEAD_BYTE}, /* what comes first is said */
    {H(LINE HOST "X: a\r\n b\r\n" UPGRADE KEYED END), WEBSOCKET_BAD_HEAD_FOLD},
    {H(LINE " Host: h\r\n" UPGRADE KEYED END), WEBSOCKET_BAD_HEAD_FOLD},
    {H(LINE "Host : h\r\n" UPGRADE KEYED END), WEBSOCKET_BAD_HEAD_NAME},
    {H(LINE HOST "X y: z\r\n" UPGRADE KEYED END), WEBSOCKET_BAD_HEAD_NAME},
    {H(LINE HOST ": z\r\n" UPGRADE KEYED END), WEBSOCKET_BAD_HEAD_NAME},
    {H(LINE HOST "X\r\n" UPGRADE KEYED END), WEBSOCKET_BAD_HEAD_NAME},
    /* the first line */
    {H("POST /chat HTTP/1.1\r\n" HOST UPGRADE KEYED END), WEBSOCKET_BAD_METHOD},
    {H("get /chat HTTP/1.1\r\n" HOST UPGRADE KEYED END), WEBSOCKET_BAD_METHOD},
    {H("GET /chat HTTP/1.0\r\n" HOST UPGRADE KEYED END), WEBSOCKET_BAD_HTTP_VERSION},
    {H("GET /chat HTTP/2.0\r\n" HOST UPGRADE KEYED END), WEBSOCKET_BAD_HTTP_VERSION},
    {H("GET /chat http/1.1\r\n" HOST UPGRADE KEYED END), WEBSOCKET_BAD_REQUEST_LINE},
    {H("GET /chat HTTP/1.1 \r\n" HOST UPGRADE KEYED END), WEBSOCKET_BAD_REQUEST_LINE},
    {H("GET  /chat HTTP/1.1\r\n" HOST UPGRADE KEYED END), WEBSOCKET_BAD_REQUEST_LINE},
    {H("GET /chat\r\n" HOST UPGRADE KEYED END), WEBSOCKET_BAD_REQUEST_LINE},
    {H("GET\r\n" HOST UPGRADE KEYED END), WEBSOCKET_BAD_REQUEST_LINE},
    {H("GET chat HTTP/1.1\r\n" HOST UPGRADE KEYED END), WEBSOCKET_BAD_TARGET},
    {H("GET * HTTP/1.1\r\n" HOST UPGRADE KEYED END), WEBSOCKET_BAD_TARGET},
    {H("GET /#a HTTP/1.1\r\n" HOST UPGRADE KEYED END), WEBSOCKET_BAD_TARGET},
    {H("GET http:///x HTTP/1.1\r\n" HOST UPGRADE KEYED END), WEBSOCKET_BAD_TARGET},
    /* headers */
    {H(LINE UPGRADE KEYED END), WEBSOCKET_BAD_HOST},
    {H(LINE "Host:\r\n" UPGRADE KEYED END), WEBSOCKET_BAD_HOST},
    {H(LINE "Host: a b\r\n" UPGRADE KEYED END), WEBSOCKET_BAD_HOST},
    {H(LINE HOST HOST UPGRADE KEYED END), WEBSOCKET_BAD_REPEATED},
    {H(LINE HOST KEYED END), WEBSOCKET_BAD_UPGRADE},
    {H(LINE HOST "Upgrade: websockets\r\nConnection: Upgrade\r\n" KEYED END),
     WEBSOCKET_BAD_UPGRADE},
    {H(LINE HOST "Upgrade: websocket\r\n" KEYED END), WEBSOCKET_BAD_CONNECTION},
    {H(LINE HOST "Upgrade: websocket\r\nConnection: keep-alive\r\n" KEYED END),
     WEBSOCKET_BAD_CONNECTION},
    {H(LINE HOST UPGRADE "Sec-WebSocket-Version: 13\r\n" END), WEBSOCKET_BAD_KEY},
    {H(LINE HOST UPGRADE
       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n" END),
     WEBSOCKET_BAD_KEY},
    {H(LINE HOST UPGRADE
       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE=\r\n" END),
     WEBSOCKET_BAD_KEY},
    {H(LINE HOST UPGRADE
       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25j Q==\r\n" END),
     WEBSOCKET_BAD_KEY},
    {H(LINE HOST UPGRADE KEYED "Sec-WebSocket-Key: " KEY "\r\n" END), WEBSOCKET_BAD_REPEATED},
    {H(LINE HOST UPGRADE KEYED "Sec-WebSocket-Version: 13\r\n" END), WEBSOCKET_BAD_REPEATED},
    {H(LINE HOST UPGRADE KEYED "Origin: a\r\nOrigin: a\r\n" END), WEBSOCKET_BAD_REPEATED},
    {H(LINE HOST UPGRADE "Sec-WebSocket-Key: " KEY "\r\n" END), WEBSOCKET_BAD_VERSION_MISSING},
    {H(LINE HOST UPGRADE "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 8\r\n" END),
     WEBSOCKET_BAD_VERSION},
    {H(LINE HOST UPGRADE "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13, 8\r\n" END),
     WEBSOCKET_BAD_VERSION_MISSING},
    {H(LINE HOST UPGRADE KEYED "Content-Length: 1\r\n" END), WEBSOCKET_BAD_BODY},
    {H(LINE HOST UPGRADE KEYED "Transfer-Encoding: chunked\r\n" END), WEBSOCKET_BAD_BODY},
    {H(LINE HOST UPGRADE KEYED "Sec-WebSocket-Protocol: a,, b\r\n" END), 0},
    {H(LINE HOST UPGRADE KEYED "Sec-WebSocket-Protocol: a b\r\n" END), WEBSOCKET_BAD_PROTOCOLS},
    {H(LINE HOST UPGRADE KEYED "Sec-WebSocket-Protocol:\r\n" END), WEBSOCKET_BAD_PROTOCOLS},
    {H(LINE HOST UPGRADE KEYED "Sec-WebSocket-Extensions: foo; bar=\"baz\", x\r\n" END), 0},
    {H(LINE HOST UPGRADE KEYED "Sec-WebSocket-Extensions: foo;\r\n" END), WEBSOCKET_BAD_EXTENSIONS},
    {H(LINE HOST UPGRADE KEYED "Sec-WebSocket-Extensions: foo; a=\r\n" END),
     WEBSOCKET_BAD_EXTENSIONS},
    {H(LINE HOST UPGRADE KEYED "Sec-WebSocket-Extensions: foo; a=\"b\r\n" END),
     WEBSOCKET_BAD_EXTENSIONS},
    {H(LINE HOST UPGRADE KEYED "Sec-WebSocket-Extensions: foo bar\r\n" END),
     WEBSOCKET_BAD_EXTENSIONS},
    {H(LINE HOST UPGRADE KEYED "Sec-WebSocket-Extensions:\r\n" END), WEBSOCKET_BAD_EXTENSIONS},
};

/* However a head is cut, it is judged alike; a good one says nothing until all of it is there. */
static void requests_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        const struct head_case *one = &requests[i];
        struct websocket_request request;
        ssize_t expected = one->error ? one->error : (ssize_t)one->length;
        ssize_t got = read_request(one->text, one->length, &request);
        if (got != expected) {
            fail_msg("request %zu: %s:\n%s", i, websocket_error_text((int)got), one->text);
        }
        struct websocket_head head = {0};
        for (size_t there = 0; there <= one->length; there++) {
            got = websocket_request_read(&head, (char *)ws_at_the_edge(one->text, there), there,
                                         &request);
            assert_int_equal(read_request(one->text, there, &request), got);
            if (got != 0) {
                break;
            }
            assert_null(request.target.at);
        }
        if (got != expected) {
            fail_msg("request %zu in pieces: %s", i, websocket_error_text((int)got));
        }
        unsigned answer = websocket_error_answer(one->error);
        assert_true(!one->error || (answer >= 400 && answer <= 505));
    }
    assert_int_equal(websocket_error_answer(WEBSOCKET_BAD_VERSION), 426);
    assert_int_equal(websocket_error_answer(WEBSOCKET_BAD_KEY), 400);
}

/* What lies behind a head is not looked at; a head has bounds. */
static void bounds(void **state)
{
    (void)state;
    static char text[3 * WEBSOCKET_HEAD_MOST];
    static const char begin[] = LINE HOST UPGRADE KEYED;
    struct websocket_request request;
    struct websocket_head head = {0};
    size_t length = sizeof begin - 1;
    memcpy(text, begin, length);
    memcpy(text + length, "\r\n\x81\x85\0\r\n\n", 8);
    assert_int_equal(websocket_request_read(&head, text, length + 8, &request), length + 2);

    memcpy(text + length, "X: ", 3);
    memset(text + length + 3, 'y', sizeof text - length - 3);
    memcpy(text + WEBSOCKET_HEAD_MOST - 4, "\r\n\r\n", 4);
    head = (struct websocket_head){0};
    assert_int_equal(websocket_request_read(&head, text, WEBSOCKET_HEAD_MOST - 1, &request), 0);
    assert_int_equal(websocket_request_read(&head, text, sizeof text, &request),
                     WEBSOCKET_HEAD_MOST);
    text[WEBSOCKET_HEAD_MOST - 4] = 'y';
    text[WEBSOCKET_HEAD_MOST - 3] = 'y';
    text[WEBSOCKET_HEAD_MOST - 2] = 'y';
    text[WEBSOCKET_HEAD_MOST - 1] = '\r';
    text[WEBSOCKET_HEAD_MOST] = '\n';
    head = (struct websocket_head){0};
    assert_int_equal(websocket_request_read(&head, text, sizeof text, &request),
                     WEBSOCKET_BAD_HEAD_LONG);
    head = (struct websocket_head){0};
    assert_int_equal(websocket_request_read(&head, text, WEBSOCKET_HEAD_MOST, &request),
                     WEBSOCKET_BAD_HEAD_LONG);
}

/* ---- responses ---- */

static const struct websocket_deflate offered[] = {{.server_no_context_takeover = true,
                                                    .server_max_window_bits = 10,
                                                    .client_max_window_bits = WEBSOCKET_WINDOW_ANY},
                                                   {.client_max_window_bits = 12}};
static const struct websocket_offer the_offer = {.target = "/",
                                                 .host = "h",
                                                 .protocols = "chat, superchat",
                                                 .deflate = offered,
                                                 .deflate_count = 2};

#define OK101 "HTTP/1.1 101 Switching Protocols\r\n"
#define ACCEPTED "Sec-WebSocket-Accept: " ACCEPT "\r\n"
#define EXTENSION "Sec-WebSocket-Extensions: "
#define DEFLATED EXTENSION "permessage-deflate"

static const struct head_case responses[] = {
    {H(OK101 UPGRADE ACCEPTED END), 0},
    {H("HTTP/1.1 101 \r\nSEC-websocket-ACCEPT:" ACCEPT " \r\nupgrade:WebSocket\r\n"
       "connection: foo , UPGRADE\r\nContent-Length: 0\r\n" END),
     0},
    {H("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK101 UPGRADE
           ACCEPTED END),
     0},
    {H(OK101 UPGRADE ACCEPTED "Sec-WebSocket-Protocol: superchat\r\n" END), 0},
    {H(OK101 UPGRADE ACCEPTED DEFLATED "; client_max_window_bits=12\r\n" END), 0},
    {H(OK101 UPGRADE ACCEPTED DEFLATED ";server_max_window_bits=\"9\";client_no_context_takeover;"
                                       "server_no_context_takeover\r\n" END),
     0},
    /* other statuses */
    {H("HTTP/1.1 200 OK\r\n" UPGRADE ACCEPTED END), WEBSOCKET_BAD_STATUS},
    {H("HTTP/1.1 301 Moved\r\nLocation: ws://other/\r\n" END), WEBSOCKET_BAD_STATUS},
    {H("HTTP/1.1 401 Unauthorized\r\n" END), WEBSOCKET_BAD_STATUS},
    {H("HTTP/1.0 503 Busy\r\n" END), WEBSOCKET_BAD_STATUS},
    {H("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\n" END), WEBSOCKET_BAD_STATUS},
    {H("HTTP/1.1 301 Moved\r\nLocation : ws://other/\r\n" END), WEBSOCKET_BAD_HEAD_NAME},
    /* the first line */
    {H("HTTP/1.0 101 Switching Protocols\r\n" UPGRADE ACCEPTED END), WEBSOCKET_BAD_HTTP_VERSION},
    {H("HTTP/1.2 101 Switching Protocols\r\n" UPGRADE ACCEPTED END), WEBSOCKET_BAD_HTTP_VERSION},
    {H("HTTP/2.0 200 OK\r\n" END), WEBSOCKET_BAD_HTTP_VERSION},
    {H("HTTP/1.1 101\r\n" UPGRADE ACCEPTED END), WEBSOCKET_BAD_STATUS_LINE},
    {H("HTTP/1.1 1O1 x\r\n" UPGRADE ACCEPTED END), WEBSOCKET_BAD_STATUS_LINE},
    {H("HTTP/1.1 099 x\r\n" END), WEBSOCKET_BAD_STATUS_LINE},
    {H("HTTP/1.1 600 x\r\n" END), WEBSOCKET_BAD_STATUS_LINE},
    {H("HTTP/1.1  101 x\r\n" UPGRADE ACCEPTED END), WEBSOCKET_BAD_STATUS_LINE},
    {H("http/1.1 101 x\r\n" UPGRADE ACCEPTED END), WEBSOCKET_BAD_STATUS_LINE},
    {H("\r\n" OK101 UPGRADE ACCEPTED END), WEBSOCKET_BAD_STATUS_LINE},
    {H("SSH-2.0-OpenSSH"), WEBSOCKET_BAD_STATUS_LINE},
    /* lines */
    {H("HTTP/1.1 101 Switching\n" UPGRADE ACCEPTED END), WEBSOCKET_BAD_HEAD_LINE_END},
    {H(OK101 "X: a\r\n\tb\r\n" UPGRADE ACCEPTED END), WEBSOCKET_BAD_HEAD_FOLD},
    {H(OK101 "Upgrade : websocket\r\nConnection: Upgrade\r\n" ACCEPTED END),
     WEBSOCKET_BAD_HEAD_NAME},
    /* headers */
    {H(OK101 "Connection: Upgrade\r\n" ACCEPTED END), WEBSOCKET_BAD_UPGRADE},
    {H(OK101 "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n" ACCEPTED END),
     WEBSOCKET_BAD_UPGRADE},
    {H(OK101 UPGRADE "Upgrade: websocket\r\n" ACCEPTED END), WEBSOCKET_BAD_UPGRADE},
    {H(OK101 "Upgrade: websocket\r\n" ACCEPTED END), WEBSOCKET_BAD_CONNECTION},
    {H(OK101 "Upgrade: websocket\r\nConnection: Upgraded\r\n" ACCEPTED END),
     WEBSOCKET_BAD_CONNECTION},
    {H(OK101 UPGRADE END), WEBSOCKET_BAD_ACCEPT_MISSING},
    {H(OK101 UPGRADE "Sec-WebSocket-Accept:\r\n" END), WEBSOCKET_BAD_ACCEPT},
    {H(OK101 UPGRADE "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" END),
     WEBSOCKET_BAD_ACCEPT},
    {H(OK101 UPGRADE "Sec-WebSocket-Accept: " ACCEPT "=\r\n" END), WEBSOCKET_BAD_ACCEPT},
    {H(OK101 UPGRADE ACCEPTED ACCEPTED END), WEBSOCKET_BAD_REPEATED},
    {H(OK101 UPGRADE ACCEPTED "Transfer-Encoding: chunked\r\n" END), WEBSOCKET_BAD_BODY},
    {H(OK101 UPGRADE ACCEPTED "Content-Length: 5\r\n" END), WEBSOCKET_BAD_BODY},
    {H(OK101 UPGRADE ACCEPTED "Sec-WebSocket-Protocol: other\r\n" END),
     WEBSOCKET_BAD_PROTOCOL_UNASKED},
    {H(OK101 UPGRADE ACCEPTED "Sec-WebSocket-Protocol: Chat\r\n" END),
     WEBSOCKET_BAD_PROTOCOL_UNASKED},
    {H(OK101 UPGRADE ACCEPTED "Sec-WebSocket-Protocol:\r\n" END), WEBSOCKET_BAD_PROTOCOL_UNASKED},
    {H(OK101 UPGRADE ACCEPTED "Sec-WebSocket-Protocol: chat, superchat\r\n" END),
     WEBSOCKET_BAD_PROTOCOL_UNASKED},
    {H(OK101 UPGRADE ACCEPTED
       "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat\r\n" END),
     WEBSOCKET_BAD_REPEATED},
    {H(OK101 UPGRADE ACCEPTED EXTENSION "x-webkit-deflate-frame\r\n" END),
     WEBSOCKET_BAD_EXTENSION_UNASKED},
    {H(OK101 UPGRADE ACCEPTED DEFLATED ", foo\r\n" END), WEBSOCKET_BAD_EXTENSION_UNASKED},
    {H(OK101 UPGRADE ACCEPTED DEFLATED "; client_max_window_bits=9, permessage-deflate\r\n" END),
     WEBSOCKET_BAD_REPEATED},
    {H(OK101 UPGRADE ACCEPTED EXTENSION "\r\n" END), WEBSOCKET_BAD_EXTENSIONS},
    {H(OK101 UPGRADE ACCEPTED DEFLATED "; client_max_window_bits=9;\r\n" END),
     WEBSOCKET_BAD_EXTENSIONS},
    /* no alternative of the offer is like this */
    {H(OK101 UPGRADE ACCEPTED DEFLATED "; client_max_window_bits=13\r\n" END),
     WEBSOCKET_BAD_EXTENSION_PARAMETER},
    {H(OK101 UPGRADE ACCEPTED DEFLATED "; client_max_window_bits\r\n" END),
     WEBSOCKET_BAD_EXTENSION_PARAMETER},
    {H(OK101 UPGRADE ACCEPTED DEFLATED "; client_max_window_bits=9; mode=x\r\n" END),
     WEBSOCKET_BAD_EXTENSION_PARAMETER},
    {H(OK101 UPGRADE ACCEPTED DEFLATED "; server_no_context_takeover=1\r\n" END),
     WEBSOCKET_BAD_EXTENSION_PARAMETER},
    {H(OK101 UPGRADE ACCEPTED DEFLATED
       "; client_max_window_bits=9; client_max_window_bits=9\r\n" END),
     WEBSOCKET_BAD_EXTENSION_PARAMETER},
};

static ssize_t read_response(const char *text, size_t length, struct websocket_response *response)
{
    struct websocket_head head = {0};
    return websocket_response_read(&head, (char *)ws_at_the_edge(text, length), length, &the_offer,
                                   ACCEPT, response);
}

static void responses_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof responses / sizeof responses[0]; i++) {
        const struct head_case *one = &responses[i];
        struct websocket_response response;
        ssize_t expected = one->error ? one->error : (ssize_t)one->length;
        ssize_t got = read_response(one->text, one->length, &response);
        if (got != expected) {
            fail_msg("response %zu: %s:\n%s", i, websocket_error_text((int)got), one->text);
        }
        struct websocket_head head = {0};
        for (size_t there = 0; there <= one->length; there++) {
            got = websocket_response_read(&head, (char *)ws_at_the_edge(one->text, there), there,
                                          &the_offer, ACCEPT, &response);
            if (got != 0) {
                break;
            }
            assert_int_equal(response.status, 0);
            assert_false(response.deflated);
        }
        if (got != expected) {
            fail_msg("response %zu in pieces: %s", i, websocket_error_text((int)got));
        }
        if (got < 0 && got != WEBSOCKET_BAD_STATUS) {
            assert_int_equal(response.status, 0);
        }
    }
}

static void outcomes(void **state)
{
    (void)state;
    struct websocket_response response;
    const struct head_case *moved = &responses[7], *busy = &responses[9];
    read_response(moved->text, moved->length, &response);
    assert_int_equal(response.status, 301);
    assert_true(slice_is(response.reason, "Moved"));
    assert_true(slice_is(response.location, "ws://other/"));
    read_response(busy->text, busy->length, &response);
    assert_int_equal(response.status, 503);
    assert_null(response.location.at);
    read_response(responses[3].text, responses[3].length, &response);
    assert_int_equal(response.status, 101);
    assert_true(slice_is(response.protocol, "superchat"));
    assert_false(response.deflated);
    read_response(responses[4].text, responses[4].length, &response);
    assert_true(response.deflated);
    assert_int_equal(response.deflate.client_max_window_bits, 12);
    assert_int_equal(response.deflate.server_max_window_bits, 0);
    read_response(responses[5].text, responses[5].length, &response);
    assert_int_equal(response.deflate.server_max_window_bits, 9);
    assert_true(response.deflate.client_no_context_takeover);
}

/* A hostile server's interim answers do not go on for ever. */
static void interim_flood(void **state)
{
    (void)state;
    static char text[2 * WEBSOCKET_HEAD_MOST];
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct websocket_head head = {0};
    struct websocket_response response;
    ssize_t got = 0;
    for (size_t at = 0; at + sizeof interim <= sizeof text && got == 0; at += sizeof interim - 1) {
        memcpy(text + at, interim, sizeof interim - 1);
        got = websocket_response_read(&head, text, at + sizeof interim - 1, &the_offer, ACCEPT,
                                      &response);
    }
    assert_int_equal(got, WEBSOCKET_BAD_HEAD_LONG);
}

/* Without an offer of its own a client takes neither extension nor subprotocol. */
static void nothing_offered(void **state)
{
    (void)state;
    static const struct websocket_offer plain = {.target = "/", .host = "h"};
    static const struct {
        const char *text;
        int error;
    } rows[] = {
        {OK101 UPGRADE ACCEPTED DEFLATED "\r\n" END, WEBSOCKET_BAD_EXTENSION_UNASKED},
        {OK101 UPGRADE ACCEPTED "Sec-WebSocket-Protocol: chat\r\n" END,
         WEBSOCKET_BAD_PROTOCOL_UNASKED},
    };
    for (size_t i = 0; i < 2; i++) {
        struct websocket_head head = {0};
        struct websocket_response response;
        assert_int_equal(websocket_response_read(&head, rows[i].text, strlen(rows[i].text), &plain,
                                                 ACCEPT, &response),
                         rows[i].error);
    }
}

/* ---- what a server answers ---- */

static void answers_written(void **state)
{
    (void)state;
    const struct websocket_deflate agreed = {.client_max_window_bits = 12};
    struct websocket_answer answer = {
        .accept = ACCEPT, .protocol = "chat", .headers = "Server: sonde\r\n", .deflate = &agreed};
    static const char expected[] =
        OK101 UPGRADE ACCEPTED "Sec-WebSocket-Protocol: chat\r\n" DEFLATED
                               "; client_max_window_bits=12\r\nServer: sonde\r\n\r\n";
    char text[500];
    struct websocket_response response;
    ssize_t length = websocket_response_write(&answer, text, sizeof text);
    assert_int_equal(length, sizeof expected - 1);
    assert_memory_equal(text, expected, sizeof expected - 1);
    assert_int_equal(read_response(text, (size_t)length, &response), length);
    assert_int_equal(websocket_response_write(&answer, text, (size_t)length - 1),
                     WEBSOCKET_BAD_ROOM);
    answer.protocol = "a\r\nb";
    assert_int_equal(websocket_response_write(&answer, text, sizeof text), WEBSOCKET_BAD_ARGUMENT);
    answer.protocol = NULL;
    answer.headers = "X";
    assert_int_equal(websocket_response_write(&answer, text, sizeof text), WEBSOCKET_BAD_ARGUMENT);
}

static void refusals(void **state)
{
    (void)state;
    static const int statuses[] = {400, 403, 404, 405, 426, 431, 500, 503, 505, 599};
    char text[500];
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        struct websocket_response response;
        ssize_t length = websocket_refusal_write(statuses[i], NULL, text, sizeof text - 1);
        assert_true(length > 0);
        assert_int_equal(read_response(text, (size_t)length, &response), WEBSOCKET_BAD_STATUS);
        assert_int_equal(response.status, statuses[i]);
        text[length] = '\0';
        assert_int_equal(strstr(text, "Sec-WebSocket-Version: 13\r\n") != NULL, statuses[i] == 426);
        assert_non_null(strstr(text, "close\r\n"));
    }
    assert_int_equal(websocket_refusal_write(101, NULL, text, sizeof text), WEBSOCKET_BAD_ARGUMENT);
    assert_int_equal(websocket_refusal_write(400, "X", text, sizeof text), WEBSOCKET_BAD_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),
        cmocka_unit_test(requests_written),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(requests_read),
        cmocka_unit_test(bounds),
        cmocka_unit_test(responses_read),
        cmocka_unit_test(outcomes),
        cmocka_unit_test(interim_flood),
        cmocka_unit_test(nothing_offered),
        cmocka_unit_test(answers_written),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests_name("websocket_handshake", tests, NULL, NULL);
}
