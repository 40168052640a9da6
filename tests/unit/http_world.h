/* Both readers of codec/http, fed in all ways: what they say is written down as one line of text,
 * in which pieces of a body are put together, so that two ways can be compared. */
#ifndef SONDE_TESTS_HTTP_WORLD_H
#define SONDE_TESTS_HTTP_WORLD_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "codec/http.h"
#include "judge.h"

enum {
    HTTP_EDGE_BYTES = 2 << 20, /* the most that is given at once */
    HTTP_SPLIT_MOST = 700,     /* bytes of what is cut at each place */
    HTTP_TARGET_MOST = 64,
    HTTP_SAID_MOST = 4096,
    HTTP_WHOLE = 0,
};

struct http_case {
    const char *asked; /* of answers: the requests, a letter each */
    const char *text;
    size_t length;
    int error;
    unsigned ends; /* messages that are whole before it */
};

static const struct http_limits http_few = {
    .head_bytes = 2000, .lines = 16, .interim = 4, .body_bytes = 1000};

/* What a reader said. */
struct http_said {
    char text[HTTP_SAID_MOST];
    size_t length;
    uint64_t body_bytes, body_sum; /* of the message so far */
    uint64_t wire_bytes;           /* of the messages that have ended */
    unsigned ends;
    int error;
};

/* Where a reader is, and what it has said. */
struct http_end {
    struct http_response_reader response;
    struct http_request_reader request;
    char target[HTTP_TARGET_MOST];
    bool server;
    struct http_said said;
};

/* Bytes that end where nothing can be read any more. */
static inline const uint8_t *http_at_the_edge(const void *bytes, size_t length)
{
    static uint8_t *memory;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (memory == NULL) {
        memory = mmap(NULL, HTTP_EDGE_BYTES + page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(memory, MAP_FAILED);
        assert_int_equal(mprotect(memory + HTTP_EDGE_BYTES, page, PROT_NONE), 0);
    }
    assert_true(length <= HTTP_EDGE_BYTES);
    uint8_t *to = memory + HTTP_EDGE_BYTES - length;
    if (length) {
        memcpy(to, bytes, length);
    }
    return to;
}

/* What was given may be gone, or other, at the next time. */
static inline void http_spoil(const uint8_t *bytes, size_t length)
{
    memset((uint8_t *)bytes, '#', length);
}

__attribute__((format(printf, 2, 3))) static inline void http_say(struct http_said *said,
                                                                  const char *form, ...)
{
    va_list arguments;
    va_start(arguments, form);
    int length =
        vsnprintf(said->text + said->length, sizeof said->text - said->length, form, arguments);
    va_end(arguments);
    said->length += (size_t)length;
    assert_true(said->length < sizeof said->text);
}

static inline void http_say_head(struct http_said *said, const struct http_event *event,
                                 bool server)
{
    if (server) {
        http_say(said, "%.*s %.*s%s", (int)event->method.length, event->method.at,
                 (int)event->target.length, event->target.at,
                 event->expects_continue ? " (waits)" : "");
    } else {
        http_say(said, "%u", event->status);
    }
    http_say(said, " 1.%u framing %d%s", event->minor, (int)event->framing,
             event->close ? " close" : "");
    if (event->has_length) {
        http_say(said, " length %" PRIu64, event->content_length);
    }
    http_say(said, "; ");
}

/* At the end all that was counted: the bytes of the body are those that were given. */
static inline void http_say_end(struct http_said *said, const struct http_event *event)
{
    assert_int_equal(event->body_bytes, said->body_bytes);
    http_say(said, "end %" PRIu64 "+%" PRIu64 "+%" PRIu64 " %" PRIx64 "; ", event->header_bytes,
             event->framing_bytes, event->body_bytes, said->body_sum);
    said->wire_bytes += event->header_bytes + event->framing_bytes + event->body_bytes;
    said->body_bytes = said->body_sum = 0;
    said->ends++;
}

static inline void http_hear(struct http_end *end, const struct http_event *event)
{
    struct http_said *said = &end->said;
    switch (event->kind) {
    case HTTP_INTERIM:
        http_say(said, "interim %u; ", event->status);
        break;
    case HTTP_HEAD:
        http_say_head(said, event, end->server);
        break;
    case HTTP_BODY:
        assert_true(event->length > 0);
        judge_sum(&said->body_sum, event->data, event->length);
        said->body_bytes += event->length;
        break;
    case HTTP_END:
        http_say_end(said, event);
        break;
    default:
        break;
    }
}

static inline void http_ask(struct http_end *end, const char *asked)
{
    for (; *asked; asked++) {
        const char *method = *asked == 'H' ? "HEAD" : *asked == 'C' ? "CONNECT" : "GET";
        assert_true(http_response_asked(&end->response, method));
    }
}

static inline void http_open(struct http_end *end, bool server, const char *asked,
                             const struct http_limits *limits)
{
    memset(end, 0, sizeof *end);
    end->server = server;
    if (server) {
        http_request_reader_init(&end->request, limits, end->target, sizeof end->target);
    } else {
        http_response_reader_init(&end->response, limits);
        http_ask(end, asked);
    }
}

/* One piece, up to the byte behind which there is nothing. */
static inline void http_feed(struct http_end *end, const char *bytes, size_t length)
{
    const uint8_t *piece = http_at_the_edge(bytes, length);
    struct http_event event;
    size_t used = 0;
    do {
        ssize_t taken =
            end->server ? http_request_read(&end->request, piece + used, length - used, &event)
                        : http_response_read(&end->response, piece + used, length - used, &event);
        assert_true(taken <= (ssize_t)(length - used));
        if (taken < 0) {
            assert_int_equal(event.kind, HTTP_NOTHING);
            end->said.error = (int)taken;
            return;
        }
        used += (size_t)taken;
        http_hear(end, &event);
        assert_true(event.kind != HTTP_NOTHING || used == length);
    } while (event.kind != HTTP_NOTHING);
    http_spoil(piece, length);
}

static inline void http_finish(struct http_end *end)
{
    struct http_event event;
    do {
        event = (struct http_event){0};
        end->said.error = end->server ? http_request_finish(&end->request)
                                      : http_response_finish(&end->response, &event);
        http_hear(end, &event);
    } while (event.kind != HTTP_NOTHING);
}

/* Once an error, always that error. */
static inline void http_stays_failed(struct http_end *end)
{
    struct http_event event;
    int error = end->said.error;
    if (error) {
        assert_int_equal(end->server
                             ? http_request_read(&end->request, (const uint8_t *)"H", 1, &event)
                             : http_response_read(&end->response, (const uint8_t *)"H", 1, &event),
                         error);
        http_finish(end);
        assert_int_equal(end->said.error, error);
    }
}

/* All of it in pieces of `chop` bytes (HTTP_WHOLE: one), or, where `cut` is not 0, in two; then the
 * end of the connection. */
static inline void http_play(struct http_end *end, const struct http_case *row, bool server,
                             const struct http_limits *limits, size_t chop, size_t cut)
{
    http_open(end, server, row->asked, limits);
    for (size_t at = 0; at < row->length && !end->said.error;) {
        size_t piece = cut && at < cut ? cut : chop ? chop : row->length;
        piece = piece < row->length - at ? piece : row->length - at;
        http_feed(end, row->text + at, piece);
        at += piece;
    }
    if (!end->said.error) {
        http_finish(end);
    }
    http_say(&end->said, "%s", end->said.error ? http_error_name(end->said.error) : "good");
    http_stays_failed(end);
}

/* Whole, byte for byte, in small pieces, cut at each place: all alike. Fills `whole`. */
static inline void http_play_all(struct http_end *whole, const struct http_case *row, bool server,
                                 const struct http_limits *limits)
{
    static const size_t chops[] = {1, 2, 3, 7, 16, 64};
    struct http_end other;
    http_play(whole, row, server, limits, HTTP_WHOLE, 0);
    for (size_t i = 0; i < sizeof chops / sizeof chops[0]; i++) {
        http_play(&other, row, server, limits, chops[i], 0);
        assert_string_equal(other.said.text, whole->said.text);
    }
    for (size_t cut = 1; cut < row->length && row->length <= HTTP_SPLIT_MOST; cut++) {
        http_play(&other, row, server, limits, HTTP_WHOLE, cut);
        assert_string_equal(other.said.text, whole->said.text);
    }
}

/* A table of what is wrong. */
static inline void http_all_bad(const struct http_case *rows, size_t count, bool server)
{
    struct http_end end;
    for (size_t i = 0; i < count; i++) {
        http_play_all(&end, &rows[i], server, &http_few);
        if (end.said.error != rows[i].error || end.said.ends != rows[i].ends) {
            print_error("row %zu, \"%.60s\": %s\n", i, rows[i].text, end.said.text);
        }
        assert_string_equal(http_error_name(end.said.error), http_error_name(rows[i].error));
        assert_int_equal(end.said.ends, rows[i].ends);
    }
}

#define HTTP_ALL_BAD(rows, server) http_all_bad(rows, sizeof(rows) / sizeof((rows)[0]), server)

#endif
