/* HTTP/1.1 and 1.0 (RFC 9110, 9112) over bytes, both ends. No files, no clock, no memory of its
 * own.
 *
 * A reader takes the peer's bytes in pieces of any size and gives bodies where they lie. It is
 * strict: what two readers could understand in two ways (where a message ends, above all) is an
 * error with a name (enum http_error), and from then on the reader gives nothing but that error.
 * How the bytes were cut into pieces changes nothing but the pieces of bodies.
 *
 * Everything of a message is counted once: header_bytes + framing_bytes + body_bytes is what it
 * took on the wire. */
#ifndef SONDE_CODEC_HTTP_H
#define SONDE_CODEC_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "codec/slice.h"

/* How a peer can break the protocol; the status that a server refuses it with, or 0. */
#define HTTP_ERRORS(X)                                                                             \
    /* heads and trailers */                                                                       \
    X(HEAD_LONG, 431, "a head longer than is allowed")                                             \
    X(HEAD_LINES, 431, "more header lines than are allowed")                                       \
    X(HEAD_LINE_END, 400, "a line that does not end with CR LF")                                   \
    X(HEAD_BYTE, 400, "a control character in the head")                                           \
    X(HEAD_FOLD, 400, "a header line that continues the one before")                               \
    X(HEAD_NAME, 400, "a header line without a name that is a token before its colon")             \
    X(HTTP_VERSION, 505, "another version of HTTP than 1.1 and 1.0")                               \
    X(LENGTH, 400, "a Content-Length that is no number")                                           \
    X(LENGTH_RANGE, 400, "a Content-Length of 2^63 or more")                                       \
    X(LENGTH_TWICE, 400, "more than one Content-Length")                                           \
    X(LENGTH_AND_CODING, 400, "a Content-Length beside a Transfer-Encoding")                       \
    X(CODING, 501, "a Transfer-Encoding other than chunked")                                       \
    X(CODING_LAST, 400, "a Transfer-Encoding in which chunked is not the last")                    \
    X(CODING_VERSION, 400, "a Transfer-Encoding in HTTP/1.0")                                      \
    X(CONNECTION, 400, "a Connection that is no list of tokens")                                   \
    X(TRAILER, 400, "a trailer that says how to read the message")                                 \
    /* bodies */                                                                                   \
    X(BODY_LONG, 413, "a body longer than is allowed")                                             \
    X(CHUNK_SIZE, 400, "a chunk without a size in hexadecimal digits")                             \
    X(CHUNK_RANGE, 400, "a chunk size of more than 16 digits")                                     \
    X(CHUNK_EXTENSION, 400, "a chunk extension that cannot be read")                               \
    X(CHUNK_EXTENSION_LONG, 400, "chunk extensions longer than are allowed")                       \
    X(CHUNK_BYTE, 400, "a control character behind a chunk size")                                  \
    X(CHUNK_LINE_END, 400, "a chunk size that does not end with CR LF")                            \
    X(CHUNK_END, 400, "a chunk that does not end with CR LF")                                      \
    /* of a response */                                                                            \
    X(STATUS_LINE, 0, "a first line that is no HTTP status")                                       \
    X(STATUS, 0, "a status that is no number from 100 to 599")                                     \
    X(SWITCHED, 0, "another protocol, which was not asked for")                                    \
    X(INTERIM, 0, "an interim answer in HTTP/1.0, or one that ends the connection")                \
    X(INTERIM_MANY, 0, "more interim answers than are allowed")                                    \
    X(BODY_FORBIDDEN, 0, "a body in an answer that has none")                                      \
    X(UNASKED, 0, "an answer that was not asked for")                                              \
    X(AFTER_LAST, 0, "bytes behind the last answer")                                               \
    X(UNANSWERED, 0, "the end of the connection before an answer")                                 \
    /* of either */                                                                                \
    X(HEAD_CUT, 0, "the end of the connection inside a head")                                      \
    X(BODY_CUT, 0, "the end of the connection inside a body")                                      \
    /* of a request */                                                                             \
    X(REQUEST_LINE, 400, "a first line that is no HTTP request")                                   \
    X(METHOD_LONG, 501, "a method longer than any that there is")                                  \
    X(METHOD_CONNECT, 501, "a tunnel is asked for")                                                \
    X(TARGET, 400, "a target that is no path and no URL")                                          \
    X(TARGET_LONG, 414, "a target longer than is allowed")                                         \
    X(HOST, 400, "no Host, several of them, or one that is none")                                  \
    X(EXPECT, 417, "an Expect other than 100-continue")                                            \
    /* of this end */                                                                              \
    X(OWN_METHOD, 0, "what is given as a method is no token")                                      \
    X(OWN_TARGET, 0, "what is given as a target is none")                                          \
    X(OWN_HOST, 0, "what is given as a host is none")                                              \
    X(OWN_HEADER, 0, "what is given as a header is no \"Name: value\" in printable characters")    \
    X(OWN_FRAMING, 0, "what is given as a header is one that sonde writes itself")                 \
    X(OWN_STATUS, 0, "what is given as a status is none")                                          \
    X(ROOM, 0, "no room for the head")

enum http_error {
    HTTP_ERROR_BASE = -3000, /* errors are negative, and no errno */
#define X(name, answer, text) HTTP_BAD_##name,
    HTTP_ERRORS(X)
#undef X
        HTTP_ERROR_END
};

/* What an enum http_error says, for people. */
const char *http_error_text(int error);

/* "CHUNK_SIZE"; "unknown" for what is no error. */
const char *http_error_name(int error);

/* The status to refuse a request with; 0: the connection only ends. */
unsigned http_error_answer(int error);

/* ---- reading ---- */

enum {
    HTTP_PIPELINE_MOST = 128,     /* requests of a connection that wait for their answers */
    HTTP_METHOD_MOST = 20,        /* characters */
    HTTP_WORD_MOST = 20,          /* of what is looked for in headers */
    HTTP_CHUNK_DIGITS_MOST = 16,  /* of a chunk's size */
    HTTP_EXTENSION_MOST = 1 << 10 /* bytes behind a chunk's size */
};

/* What a peer may send. */
struct http_limits {
    uint32_t head_bytes; /* of a head, with the trailers of its message */
    uint16_t lines;      /* of headers and trailers */
    uint8_t interim;     /* answers (1xx) before one answer */
    uint64_t body_bytes; /* of a body, without what chunks it */
};

/* 64 KiB, 128 lines, 16 interim answers, bodies of any length. */
extern const struct http_limits http_limits_usual;

/* Where a body ends. */
enum http_framing {
    HTTP_NO_BODY,
    HTTP_BY_LENGTH,
    HTTP_CHUNKED,
    HTTP_UNTIL_CLOSE,
    HTTP_TUNNEL, /* a CONNECT that succeeded: what follows is HTTP no more */
};

enum http_event_kind {
    HTTP_NOTHING, /* more bytes are needed */
    HTTP_INTERIM, /* an answer (1xx) before the answer */
    HTTP_HEAD,
    HTTP_BODY, /* a piece of it */
    HTTP_END,  /* of the message */
};

struct http_event {
    enum http_event_kind kind;
    /* of a piece of a body: where it lay, never empty */
    const uint8_t *data;
    size_t length;
    /* of a head, and again of its message's end */
    enum http_framing framing;
    uint16_t status; /* of an answer */
    uint8_t minor;   /* of HTTP/1.x */
    bool close;      /* no further message on this connection */
    bool has_length; /* a Content-Length was there, whether it speaks of this message or, as in an
                        answer to HEAD, of another */
    uint64_t content_length;
    /* of a request's head; they stay until the next read or until `data` goes */
    struct slice method, target; /* of an absolute URL: its path and query */
    bool expects_continue;       /* the body waits for a 100 or for the answer */
    /* of an end; header_bytes of an interim answer and of a head, too */
    uint64_t header_bytes, framing_bytes, body_bytes;
};

/* How far a message was read. Of both readers, and for the files of codec/http. */
struct http_message {
    const struct http_limits *limits;
    uint64_t content_length;
    uint64_t left; /* of the body or of the chunk */
    uint64_t header_bytes, framing_bytes, body_bytes;
    uint32_t head_bytes; /* of this head and its trailers */
    uint16_t lines;
    uint16_t seen; /* HTTP_SEEN_* */
    uint16_t extension_bytes;
    int16_t failed; /* the error that was found, or 0 */
    uint8_t phase, line, header, value;
    uint8_t at; /* characters of the first line, digits of a chunk's size */
    uint8_t minor, framing;
    uint8_t word_bytes;
    bool server; /* this end is: the message is a request */
    char word[HTTP_WORD_MOST];
};

struct http_response_reader {
    struct http_message message;
    uint64_t heads[HTTP_PIPELINE_MOST / 64]; /* a bit a request, the next one first: it was HEAD */
    uint16_t status;
    uint8_t asked; /* requests that wait for an answer */
    uint8_t interim;
    bool connect; /* the last of them is CONNECT */
};

/* Begins to read a connection. The limits stay the caller's, and have to stay. */
void http_response_reader_init(struct http_response_reader *reader,
                               const struct http_limits *limits);

/* Says that a request is on its way. False: HTTP_PIPELINE_MOST are, or one is CONNECT, behind
 * which nothing can be. The method matters only if it is HEAD or CONNECT, in capitals. */
bool http_response_asked(struct http_response_reader *reader, const char *method);

/* Reads up to one event and returns the bytes taken, or a negative enum http_error. To be called
 * until the event is HTTP_NOTHING, which always takes all bytes; the end of a message may take
 * none. */
ssize_t http_response_read(struct http_response_reader *reader, const uint8_t *data, size_t length,
                           struct http_event *event);

/* The server has ended the connection. 0, and the event is HTTP_END where that ended a body: then
 * to be called again. With HTTP_NOTHING, nothing was awaited. Or a negative enum http_error. */
int http_response_finish(struct http_response_reader *reader, struct http_event *event);

struct http_request_reader {
    struct http_message message;
    char *target;
    const char *target_at; /* in `target`, or in the data of this read */
    uint32_t target_room, target_bytes;
    uint8_t part;  /* of the first line */
    uint8_t blank; /* bytes of an empty line before it */
    uint8_t method_bytes;
    char method[HTTP_METHOD_MOST];
};

/* Begins to read a connection. `target` (`room` bytes, for as long as the reader is used) keeps a
 * target that comes in pieces; a longer one is HTTP_BAD_TARGET_LONG. */
void http_request_reader_init(struct http_request_reader *reader, const struct http_limits *limits,
                              char *target, uint32_t room);

/* Keeps targets elsewhere, in as much room: what is kept of one goes along. */
void http_request_move(struct http_request_reader *reader, char *target);

/* As http_response_read. */
ssize_t http_request_read(struct http_request_reader *reader, const uint8_t *data, size_t length,
                          struct http_event *event);

/* The client has ended the connection. 0 between two requests, else a negative enum http_error. */
int http_request_finish(struct http_request_reader *reader);

/* ---- writing ---- */

/* What a client asks for. Texts end with a zero. */
struct http_request {
    const char *method;  /* NULL: GET */
    const char *target;  /* path and query, "/a?x=1"; "*" with OPTIONS, "host:port" with CONNECT */
    const char *host;    /* "example.org:8080": with the port where it is not the scheme's own */
    const char *headers; /* further lines, each with its CR LF; NULL: none */
    bool old;            /* HTTP/1.0 */
    bool close;          /* asks for the end of the connection; otherwise, for its stay */
    bool has_body;       /* a Content-Length is written; the caller sends the body behind it */
    uint64_t body_bytes;
};

/* Writes the head and returns its length, or a negative enum http_error (HTTP_BAD_OWN_*, or
 * HTTP_BAD_ROOM). */
ssize_t http_request_write(const struct http_request *request, char *to, size_t room);

/* Whether a header that a user gives, "Name: value", may be among a request's: 0, or
 * HTTP_BAD_OWN_HEADER or HTTP_BAD_OWN_FRAMING. */
int http_header_check(struct slice line);

/* Whether it is a method: a token of at most HTTP_METHOD_MOST characters. */
bool http_method_valid(const char *method);

struct http_answer {
    unsigned status;           /* 100 to 599; interim ones and 204 have neither body nor length */
    const char *headers;       /* as in struct http_request */
    enum http_framing framing; /* HTTP_NO_BODY is written as a length of 0 (304: not at all) */
    uint64_t content_length;   /* of HTTP_BY_LENGTH */
    bool close;
    bool keep; /* says keep-alive, which HTTP/1.0 needs to hear */
};

/* As http_request_write. HTTP_UNTIL_CLOSE says close by itself. */
ssize_t http_answer_write(const struct http_answer *answer, char *to, size_t room);

/* What stands before a chunk of `bytes` (not 0), and returns its length; CR LF stands behind it,
 * and HTTP_LAST_CHUNK behind all of them. */
enum { HTTP_CHUNK_HEAD_MOST = 18 };
size_t http_chunk_write(uint64_t bytes, char to[HTTP_CHUNK_HEAD_MOST]);
#define HTTP_LAST_CHUNK "0\r\n\r\n"

/* "Not Found"; "Unknown" for a status without a name. */
const char *http_status_text(unsigned status);

#endif
