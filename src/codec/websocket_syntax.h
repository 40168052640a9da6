/* The syntax of HTTP/1.1 heads (RFC 7230) as far as WebSocket's handshake needs it: strict, in the
 * caller's buffer. For the files of codec/websocket. */
#ifndef SONDE_CODEC_WEBSOCKET_SYNTAX_H
#define SONDE_CODEC_WEBSOCKET_SYNTAX_H

#include "codec/websocket_handshake.h"

#define WEBSOCKET_DEFLATE_NAME "permessage-deflate"

/* Looks at what is new of a head. > 0: where it ends; 0: more is needed; negative: what is wrong.
 * `empty` is the error of a head whose first line is empty. */
ssize_t websocket_head_scan(struct websocket_head *head, const char *data, size_t length,
                            int empty);

/* Of a head that was scanned: takes the line at *at, without its end. False at the end. */
bool websocket_line_next(struct websocket_slice text, size_t *at, struct websocket_slice *line);

/* Likewise, name and value, without white space around them. */
bool websocket_header_next(struct websocket_slice lines, size_t *at, struct websocket_slice *name,
                           struct websocket_slice *value);

/* Takes the next element of a list with commas; empty ones are passed over. */
bool websocket_list_next(struct websocket_slice list, size_t *at, struct websocket_slice *element);

/* In any case of letters. */
bool websocket_same(struct websocket_slice slice, const char *text);
bool websocket_same_exactly(struct websocket_slice slice, const char *text);

bool websocket_is_token(struct websocket_slice slice);
/* Elements of a list that are all tokens, at least one. */
bool websocket_is_token_list(struct websocket_slice list);
/* What may stand in a header's value: no control characters but the tabulator. */
bool websocket_is_value(struct websocket_slice slice);
/* A path, with query or without: visible ASCII from "/" on, without "#". */
bool websocket_is_path(struct websocket_slice slice);
/* A host, with port or without. */
bool websocket_is_host(struct websocket_slice slice);

/* Whether the header belongs to the handshake itself. */
bool websocket_is_own_header(struct websocket_slice name);
/* Whether these are whole header lines that are none of the handshake's own. */
bool websocket_are_lines(const char *headers);

struct websocket_slice websocket_slice_of(const char *text); /* of NULL: of NULL */

/* Takes the next extension of a header's value (section 9.1): 1, or 0 at the end, or -1 where it
 * cannot be read. */
int websocket_extension_next(struct websocket_slice list, size_t *at, struct websocket_slice *name,
                             struct websocket_slice *parameters);

/* The parameters of permessage-deflate in an offer, or in the response to one. False where one is
 * unknown, stands twice or has a value that it may not have. */
bool websocket_deflate_read(struct websocket_slice parameters, bool response,
                            struct websocket_deflate *deflate);

/* Whether a response keeps to one of the offers; then *agreed is what both keep to. */
bool websocket_deflate_check(const struct websocket_deflate *offers, size_t count,
                             const struct websocket_deflate *response,
                             struct websocket_deflate *agreed);

/* ---- writing ---- */

/* Text that is put together. All of it, or none: `length` goes on where room ends. */
struct websocket_text {
    char *to;
    size_t room, length;
};

void websocket_put(struct websocket_text *text, const char *more);
/* "name: value" and the line's end; nothing of NULL. */
void websocket_put_header(struct websocket_text *text, const char *name, const char *value);
/* The header of extensions with these alternatives. */
void websocket_put_deflate(struct websocket_text *text, const struct websocket_deflate *deflate,
                           size_t count);
/* The length, or WEBSOCKET_BAD_ROOM. */
ssize_t websocket_put_end(const struct websocket_text *text);

#endif
