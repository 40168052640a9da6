/* Heads and bodies, as requests and responses have them alike. For the files of codec/http. */
#ifndef SONDE_CODEC_HTTP_MESSAGE_H
#define SONDE_CODEC_HTTP_MESSAGE_H

#include "codec/http.h"

/* Where in a message the next byte stands. */
enum http_phase {
    HTTP_AT_START, /* of its first line */
    HTTP_IN_START,
    HTTP_IN_LINES,
    HTTP_IN_BODY, /* by its length, or until the connection ends */
    HTTP_IN_CHUNK_SIZE,
    HTTP_IN_CHUNK_EXTENSION,
    HTTP_AT_CHUNK_LF, /* behind a size */
    HTTP_IN_CHUNK,
    HTTP_AT_CHUNK_END_CR,
    HTTP_AT_CHUNK_END_LF,
    HTTP_IN_TRAILERS,
    HTTP_AT_END, /* all was read, and it has yet to be said */
    HTTP_CLOSED, /* behind the last message */
};

/* Where in a line. */
enum http_line {
    HTTP_LINE_BEGIN,
    HTTP_LINE_NAME,
    HTTP_LINE_VALUE,
    HTTP_LINE_LF,
    HTTP_LINE_LAST_LF
};

/* What headers have said. */
enum {
    HTTP_SEEN_LENGTH = 1 << 0,
    HTTP_SEEN_CODING = 1 << 1,
    HTTP_SEEN_CHUNKED = 1 << 2,
    HTTP_SEEN_CLOSE = 1 << 3,
    HTTP_SEEN_KEEP = 1 << 4,
    HTTP_SEEN_HOST = 1 << 5,
    HTTP_SEEN_CONTINUE = 1 << 6,
};

enum { HTTP_MORE = 0, HTTP_DONE = 1 }; /* or a negative enum http_error */

/* Kinds of characters (RFC 9110, section 5.6.2). */
extern const bool http_is_token[256];

static inline bool http_is_control(uint8_t byte)
{
    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

/* The first byte that is a control character other than the tabulator, or `end`. */
const uint8_t *http_find_control(const uint8_t *at, const uint8_t *end);

/* Makes ready for the next message. */
void http_message_begin(struct http_message *message);

/* The end up to which a head may be read: what lies behind it is too much. */
const uint8_t *http_head_bound(const struct http_message *message, const uint8_t *at,
                               const uint8_t *end);

/* What was read of a head or of trailers is counted; `result` is passed on, but for the head that
 * has not ended where it must have. */
int http_head_count(struct http_message *message, size_t bytes, int result);

/* The end of the first line or of a header line: *at is behind its last character. */
int http_line_stop(uint8_t byte);

/* One header line, which is whole: name, colon, value, and the CR behind it; what stands between
 * them is right. 0 or an error. */
int http_line_take(struct http_message *message, const uint8_t *name, const uint8_t *colon,
                   const uint8_t *stop);

/* Whole lines, as far as they are usual; the message is at the beginning of one, before and after.
 * HTTP_DONE with the empty line. */
int http_lines_fast(struct http_message *message, const uint8_t **at, const uint8_t *end);

/* Header lines up to the empty one, or trailers. */
int http_lines_read(struct http_message *message, const uint8_t **at, const uint8_t *end);

/* What the headers say of the body, as far as that holds for both kinds of messages; `without` is
 * the framing where they say nothing. 0 or an error. */
int http_body_choose(struct http_message *message, enum http_framing without);

/* Begins a body of the message's framing. 0 or an error. */
int http_body_begin(struct http_message *message);

/* Up to one piece of the body. HTTP_DONE: there is an event. */
int http_body_read(struct http_message *message, const uint8_t **at, const uint8_t *end,
                   struct http_event *event);

/* What events of heads and ends have in common. */
void http_event_fill(const struct http_message *message, enum http_event_kind kind,
                     struct http_event *event);

#endif
