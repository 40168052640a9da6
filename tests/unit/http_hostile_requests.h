/* Requests that a server refuses, each with its error; `ends` of them are whole before it. Behind
 * the bytes the client ends the connection. */
#ifndef SONDE_TESTS_HTTP_HOSTILE_REQUESTS_H
#define SONDE_TESTS_HTTP_HOSTILE_REQUESTS_H

#include "http_world.h"

#define LINE "GET / HTTP/1.1\r\n"
#define NAMED "Host: h\r\n"
#define GET LINE NAMED "\r\n"
#define POST(lines) "POST / HTTP/1.1\r\n" NAMED lines "\r\n"
#define LENGTH(value) "Content-Length: " value "\r\n"
#define CODING(value) "Transfer-Encoding: " value "\r\n"
#define ROW(ends, error, text)                                                                     \
    {                                                                                              \
        NULL, text, sizeof(text) - 1, HTTP_BAD_##error, ends                                       \
    }
#define BAD(error, text) ROW(0, error, text)
#define FOUR(text) text text text text
#define SIXTEEN(text) FOUR(FOUR(text))

/* clang-format off */

static const struct http_case hostile_request_lines[] = {
    BAD(REQUEST_LINE, " GET / HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(REQUEST_LINE, "\r\n\r\n" GET),
    BAD(HEAD_LINE_END, "\rGET / HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(REQUEST_LINE, "\n" GET),
    BAD(REQUEST_LINE, ":"),
    BAD(REQUEST_LINE, "GET\r\n\r\n"),
    BAD(REQUEST_LINE, "GET\n"),
    BAD(REQUEST_LINE, "GET\t/ HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(REQUEST_LINE, "G(T / HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(REQUEST_LINE, "HTTP/1.1 200 OK\r\n\r\n"),
    BAD(REQUEST_LINE, "G\xc3\x8bT / HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(REQUEST_LINE, "GET /\r\n"),
    BAD(REQUEST_LINE, "GET /\n"),
    BAD(REQUEST_LINE, "GET / \r\n"),
    BAD(REQUEST_LINE, "GET /  HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(REQUEST_LINE, "GET / http/1.1\r\n" NAMED "\r\n"),
    BAD(REQUEST_LINE, "GET / HTTP/1.1 \r\n" NAMED "\r\n"),
    BAD(REQUEST_LINE, "GET / HTTP/1.10\r\n" NAMED "\r\n"),
    BAD(REQUEST_LINE, "GET / HTTP/1.\r\n" NAMED "\r\n"),
    BAD(REQUEST_LINE, "GET / HTTP/1\r\n" NAMED "\r\n"),
    BAD(REQUEST_LINE, "GET / HTTPS/1.1\r\n" NAMED "\r\n"),
    BAD(REQUEST_LINE, "GET / FTP/1.1\r\n" NAMED "\r\n"),
    BAD(REQUEST_LINE, "GET /a b HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(HEAD_BYTE, "\x16\x03\x01\x02"),
    BAD(HEAD_BYTE, "\0GET / HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(HEAD_BYTE, "GE\0T / HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(HEAD_BYTE, "GET /\0 HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(HEAD_BYTE, "GET /\x7f HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(HEAD_BYTE, "GET / HTTP\0/1.1\r\n" NAMED "\r\n"),
    BAD(HEAD_LINE_END, "GET / HTTP/1.1\n" NAMED "\r\n"),
    BAD(HEAD_LINE_END, "GET / HTTP/1.1\r" NAMED "\r\n"),
    BAD(HEAD_LINE_END, "GET / HTTP/1.1\r\r\n" NAMED "\r\n"),
    BAD(METHOD_LONG, "ABCDEFGHIJKLMNOPQRSTU / HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(METHOD_LONG, SIXTEEN("GET") " / HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(METHOD_CONNECT, "CONNECT h:80 HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(METHOD_CONNECT, "CONNECT / HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(HTTP_VERSION, "GET / HTTP/1.2\r\n" NAMED "\r\n"),
    BAD(HTTP_VERSION, "GET / HTTP/2.0\r\n" NAMED "\r\n"),
    BAD(HTTP_VERSION, "GET / HTTP/0.9\r\n" NAMED "\r\n"),
    BAD(HTTP_VERSION, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    BAD(TARGET, "GET  HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(TARGET, "GET a HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(TARGET, "GET ?x HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(TARGET, "GET /a#b HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(TARGET, "GET /\xc3\xa9 HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(TARGET, "GET * HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(TARGET, "OPTIONS ** HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(TARGET, "GET h:80 HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(TARGET, "GET ftp://h/ HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(TARGET, "GET http:/// HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(TARGET, "GET http://u@h/ HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(TARGET, "GET http://h?x HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(TARGET_LONG, "GET /" SIXTEEN("xxxx") " HTTP/1.1\r\n" NAMED "\r\n"),
    BAD(TARGET_LONG, "GET /" SIXTEEN(SIXTEEN("xxxxxxxx")) " HTTP/1.1\r\n" NAMED "\r\n"),
};

static const struct http_case hostile_requests[] = {
    BAD(HOST, LINE "\r\n"),
    BAD(HOST, LINE "X: y\r\n\r\n"),
    BAD(HOST, LINE "Host:\r\n\r\n"),
    BAD(HOST, LINE "Host: \r\n\r\n"),
    BAD(HOST, LINE NAMED NAMED "\r\n"),
    BAD(HOST, LINE NAMED "HOST: i\r\n\r\n"),
    BAD(HOST, LINE "Host: a b\r\n\r\n"),
    BAD(HOST, LINE "Host: a/b\r\n\r\n"),
    BAD(HOST, LINE "Host: u@h\r\n\r\n"),
    BAD(HOST, LINE "Host: h?x\r\n\r\n"),
    BAD(HOST, LINE "Host: h\xc3\xa9\r\n\r\n"),
    BAD(HOST, "GET / HTTP/1.0\r\nHost:\r\n\r\n"),
    BAD(HEAD_BYTE, LINE "Host: h\0\r\n\r\n"),
    BAD(HEAD_NAME, LINE "Host : h\r\n\r\n"),
    BAD(HEAD_NAME, LINE NAMED "nocolon\r\n\r\n"),
    BAD(HEAD_NAME, LINE NAMED ": y\r\n\r\n"),
    BAD(HEAD_FOLD, LINE " " NAMED "\r\n"),
    BAD(HEAD_FOLD, LINE NAMED "X: y\r\n z\r\n\r\n"),
    BAD(HEAD_LINE_END, LINE NAMED "\n"),
    BAD(HEAD_LINE_END, LINE "Host: h\n\r\n"),
    BAD(HEAD_LINE_END, LINE NAMED "X:\rY: z\r\n\r\n"),
    BAD(HEAD_LONG, LINE NAMED "X: " SIXTEEN(SIXTEEN("xxxxxxxx")) "\r\n\r\n"),
    BAD(HEAD_LINES, LINE NAMED SIXTEEN("X: y\r\n") "\r\n"),
    BAD(EXPECT, POST("Expect: 200-ok\r\n" LENGTH("2")) "hi"),
    BAD(EXPECT, POST("Expect:\r\n" LENGTH("2")) "hi"),
    BAD(EXPECT, POST("Expect: 100-continue, x\r\n" LENGTH("2")) "hi"),
    BAD(EXPECT, POST("Expect: 100-continue x\r\n" LENGTH("2")) "hi"),
    BAD(CONNECTION, LINE NAMED "Connection: a b\r\n\r\n"),
    BAD(LENGTH, POST(LENGTH("")) "hi"),
    BAD(LENGTH, POST(LENGTH("+2")) "hi"),
    BAD(LENGTH, POST(LENGTH("-2")) "hi"),
    BAD(LENGTH, POST(LENGTH("2, 2")) "hi"),
    BAD(LENGTH, POST(LENGTH("0x2")) "hi"),
    BAD(LENGTH, POST(LENGTH("2 2")) "hi"),
    BAD(LENGTH_RANGE, POST(LENGTH("18446744073709551618")) "hi"),
    BAD(LENGTH_TWICE, POST(LENGTH("2") LENGTH("2")) "hi"),
    BAD(LENGTH_TWICE, POST(LENGTH("2") LENGTH("0")) "hi"),
    BAD(LENGTH_AND_CODING, POST(LENGTH("5") CODING("chunked")) "0\r\n\r\n" GET),
    BAD(LENGTH_AND_CODING, POST(CODING("chunked") LENGTH("0")) "0\r\n\r\n" GET),
    BAD(CODING, POST(CODING("identity")) GET),
    BAD(CODING, POST(CODING("gzip, chunked")) "0\r\n\r\n"),
    BAD(CODING, POST(CODING("xchunked")) "0\r\n\r\n"),
    BAD(CODING, POST(CODING("")) GET),
    BAD(CODING_LAST, POST(CODING("chunked, identity")) "0\r\n\r\n"),
    BAD(CODING_LAST, POST(CODING("chunked") CODING("chunked")) "0\r\n\r\n"),
    BAD(CODING_VERSION, "POST / HTTP/1.0\r\n" CODING("chunked") "\r\n0\r\n\r\n"),
    BAD(BODY_LONG, POST(LENGTH("1001"))),
    BAD(BODY_LONG, POST(CODING("chunked")) "3e9\r\n"),
    BAD(BODY_LONG, POST(CODING("chunked")) "2\r\nhi\r\nffffffffffffffff\r\n"),
    BAD(CHUNK_SIZE, POST(CODING("chunked")) "0x2\r\nhi\r\n0\r\n\r\n"),
    BAD(CHUNK_SIZE, POST(CODING("chunked")) "2 \r\nhi\r\n0\r\n\r\n"),
    BAD(CHUNK_SIZE, POST(CODING("chunked")) "-2\r\nhi\r\n0\r\n\r\n"),
    BAD(CHUNK_RANGE, POST(CODING("chunked")) "10000000000000002\r\nhi\r\n0\r\n\r\n"),
    BAD(CHUNK_LINE_END, POST(CODING("chunked")) "2\nhi\r\n0\r\n\r\n"),
    BAD(CHUNK_LINE_END, POST(CODING("chunked")) "2;y\nxx\r\n4c\r\n0\r\n\r\n"),
    BAD(CHUNK_END, POST(CODING("chunked")) "1\r\nhi\r\n0\r\n\r\n"),
    BAD(CHUNK_END, POST(CODING("chunked")) "2\r\nhi\n0\r\n\r\n"),
    BAD(TRAILER, POST(CODING("chunked")) "0\r\n" LENGTH("5") "\r\n"),
    BAD(TRAILER, POST(CODING("chunked")) "0\r\n" NAMED "\r\n"),
    BAD(HEAD_NAME, POST(CODING("chunked")) "0\r\n" GET),
    ROW(1, REQUEST_LINE, GET "\n" GET),
    ROW(1, HEAD_LINE_END, GET "\r" GET),
    ROW(1, REQUEST_LINE, POST(LENGTH("2")) "hi!(" GET),
    ROW(1, HEAD_BYTE, GET "\0"),
    ROW(1, AFTER_LAST, LINE NAMED "Connection: close\r\n\r\n" GET),
    ROW(1, AFTER_LAST, "GET / HTTP/1.0\r\n\r\n" GET),
    ROW(1, AFTER_LAST, "POST / HTTP/1.0\r\n" LENGTH("2") "\r\nhi!"),
    BAD(HEAD_CUT, "G"),
    BAD(HEAD_CUT, "GET /"),
    BAD(HEAD_CUT, LINE),
    BAD(HEAD_CUT, LINE NAMED),
    BAD(HEAD_CUT, LINE NAMED "\r"),
    BAD(BODY_CUT, POST(LENGTH("2"))),
    BAD(BODY_CUT, POST(LENGTH("2")) "h"),
    BAD(BODY_CUT, POST(CODING("chunked")) "2\r\nh"),
    BAD(BODY_CUT, POST(CODING("chunked")) "2\r\nhi\r\n0\r\n"),
    ROW(1, HEAD_CUT, GET "GET / HTTP"),
    ROW(1, BODY_CUT, GET POST(LENGTH("2"))),
};

/* clang-format on */

#endif
