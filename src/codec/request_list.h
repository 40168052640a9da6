/* A file of requests: one a line, `[weight=N] [METHOD] TARGET`. Pure: what is found lies in the
 * text.
 *
 * TARGET is a path that begins with '/', or a URL of http or https. Lines end with LF or CR LF, the
 * last one perhaps with nothing; words stand between spaces or tabs. Empty lines and those that
 * begin with # are passed over. */
#ifndef SONDE_CODEC_REQUEST_LIST_H
#define SONDE_CODEC_REQUEST_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "codec/slice.h"
#include "codec/url.h"

enum { REQUEST_LIST_LINE_MOST = 8192, REQUEST_LIST_WEIGHT_MOST = 1000000 };

/* What can be wrong with a line, in the order in which it is looked for; with its target: also an
 * enum url_error. */
#define REQUEST_LIST_ERRORS(X)                                                                     \
    X(LINE_LONG, "a line longer than 8,192 characters")                                            \
    X(CONTROL, "a control character or a zero byte")                                               \
    X(WEIGHT, "a weight that is no number: weight=N")                                              \
    X(WEIGHT_RANGE, "a weight that is not from 1 to 1,000,000")                                    \
    X(WEIGHT_PLACE, "a weight behind what it is for: [weight=N] [METHOD] TARGET")                  \
    X(TARGETS, "more than one target: one request a line")                                         \
    X(WORDS, "more than [weight=N] [METHOD] TARGET: one request a line")                           \
    X(METHOD, "a method that is no token of at most 20 characters")                                \
    X(METHOD_CONNECT, "CONNECT, which asks for a tunnel and has no path")                          \
    X(TARGET_MISSING, "no target: a path that begins with '/' or a URL")                           \
    X(TARGET, "a target that is neither a path that begins with '/' nor a URL")

enum request_list_error {
    REQUEST_LIST_ERROR_BASE = -4500, /* errors are negative, and no errno */
#define X(name, text) REQUEST_LIST_BAD_##name,
    REQUEST_LIST_ERRORS(X)
#undef X
        REQUEST_LIST_ERROR_END
};

/* What an error of request_list_next says, for people: of either enum. */
const char *request_list_error_text(int error);

/* "WEIGHT", or url_error_name's; "unknown" for what is no error. */
const char *request_list_error_name(int error);

/* How far a text was read. */
struct request_list {
    struct slice text;
    size_t at;
    size_t line; /* number of the last line that was read, from 1 */
};

struct request_list_line {
    size_t number;       /* of the line, from 1; also beside an error */
    uint32_t weight;     /* 1 where none is given */
    struct slice method; /* none given: at is NULL */
    struct slice target; /* as it is written, without a fragment */
    struct url url;      /* a path alone: only url.target, and url.host.at is NULL */
};

static inline struct request_list request_list_of(struct slice text)
{
    return (struct request_list){.text = text};
}

/* 1 and a line, 0 at the end of the text, or a negative enum request_list_error or url_error (all
 * but line->number is then zero). An error ends nothing: the next call reads the next line. */
int request_list_next(struct request_list *list, struct request_list_line *line);

#endif
