/* A client's role of http (workload/http_client.h) and what a server says to it: sends complete by
 * themselves unless a test holds them. */
#ifndef SONDE_TESTS_HTTP_TALK_H
#define SONDE_TESTS_HTTP_TALK_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "role_world.h"
#include "workload/http_client.h"

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define LAST "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"

enum { WIRE_ROOM = 1 << 20, TALK_FILE_MOST = 64 };

struct talk {
    struct world world;
    char *wire; /* what was sent, with a zero behind it */
    size_t wire_bytes;
    unsigned sends, mores, quiets; /* asked for; with OP_MORE; with OP_QUIET */
    bool holds;                    /* a send waits until it is completed by hand */
    bool closed, receiving;
    uint64_t timer_ns;
    struct op send; /* under way; kind is OP_SEND then */
    struct op receive;
    char file[TALK_FILE_MOST];
};

static inline void talk_look(struct talk *talk);

/* Completes the send under way by so many bytes, or an error. */
static inline void talk_sent(struct talk *talk, int64_t result)
{
    struct op send = talk->send;
    assert_int_equal(send.kind, OP_SEND);
    talk->send.kind = OP_START;
    if (result > 0) {
        assert_true(talk->wire_bytes + (size_t)result < WIRE_ROOM);
        memcpy(talk->wire + talk->wire_bytes, send.data, (size_t)result);
        talk->wire_bytes += (size_t)result;
        talk->wire[talk->wire_bytes] = '\0';
    }
    world_sent(&talk->world, &send, result, talk->holds ? clock_now_ns() : 0);
    talk_look(talk);
}

/* What the last step asked for. */
static inline void talk_look(struct talk *talk)
{
    const struct step_out *out = &talk->world.context.out;
    const struct op *send = world_asked(&talk->world, OP_SEND);
    const struct op *receive = world_asked(&talk->world, OP_RECEIVE);
    talk->closed |= world_asked(&talk->world, OP_CLOSE) != NULL;
    talk->timer_ns = out->set_timer ? out->timer_ns : talk->timer_ns;
    if (receive) {
        assert_false(talk->receiving);
        talk->receiving = true;
        talk->receive = *receive;
    }
    if (send) {
        assert_int_not_equal(talk->send.kind, OP_SEND); /* one at a time */
        assert_true(send->length > 0);
        talk->send = *send;
        talk->sends++;
        talk->mores += send->flags & OP_MORE ? 1 : 0;
        talk->quiets += send->flags & OP_QUIET ? 1 : 0;
        if (!talk->holds) {
            talk_sent(talk, (int64_t)talk->send.length);
        }
    }
}

static inline void talk_event(struct talk *talk, enum op_kind kind, uint64_t now_ns)
{
    world_event(&talk->world, kind, now_ns);
    talk_look(talk);
}

/* The server's bytes in pieces of `chop` (0: one), each in memory of its own. */
static inline void talk_hear_bytes(struct talk *talk, const void *bytes, size_t length, size_t chop)
{
    for (size_t at = 0, piece; at < length && !talk->closed; at += piece) {
        piece = chop && chop < length - at ? chop : length - at;
        uint8_t *copy = malloc(piece);
        assert_non_null(copy);
        memcpy(copy, (const uint8_t *)bytes + at, piece);
        world_received(&talk->world, copy, (int64_t)piece, clock_now_ns());
        free(copy);
        talk_look(talk);
    }
}

static inline void talk_hear(struct talk *talk, const char *text)
{
    talk_hear_bytes(talk, text, strlen(text), 0);
}

/* The end of what the server sends: 0, or -errno. */
static inline void talk_end(struct talk *talk, int result)
{
    world_received(&talk->world, NULL, result, clock_now_ns());
    talk_look(talk);
}

static inline void talk_init(struct talk *talk)
{
    memset(talk, 0, sizeof *talk);
    talk->wire = calloc(1, WIRE_ROOM);
    assert_non_null(talk->wire);
    talk->send.kind = OP_START;
    struct http_options *options = &talk->world.http;
    *options = (struct http_options){.keep_alive = true,
                                     .pipeline = 1,
                                     .timeout_ns = 10 * NS_PER_SECOND,
                                     .expect_status = "2xx,3xx",
                                     .response_most = (uint64_t)1 << 40};
    snprintf(options->where.path, sizeof options->where.path, "/p");
    snprintf(options->where.host, sizeof options->where.host, "h");
}

/* A file with such bytes, which goes with the talk. Returns its name. */
static inline const char *talk_file(struct talk *talk, const void *bytes, size_t length)
{
    snprintf(talk->file, sizeof talk->file, "/tmp/sonde-talk-XXXXXX");
    int fd = mkstemp(talk->file);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), length);
    close(fd);
    return talk->file;
}

/* Opens the connection without starting it. */
static inline void talk_open(struct talk *talk, uint64_t quota)
{
    const struct role *role = talk->world.http.keep_alive ? &http_client : &http_single_client;
    world_open_with(&talk->world, role, 65536, false);
    talk->world.context.quota = quota;
    if (role == &http_single_client && quota != UINT64_MAX) {
        talk->world.context.quota--; /* open took it off what world_open_with had set */
    }
}

static inline void talk_start(struct talk *talk)
{
    talk_event(talk, OP_START, clock_now_ns());
    assert_true(talk->receiving);
}

static inline void talk_begin(struct talk *talk, uint64_t quota)
{
    talk_open(talk, quota);
    talk_start(talk);
}

/* The worker has dialed again: another connection in the place of one that was closed. */
static inline void talk_redial(struct talk *talk)
{
    struct world *world = &talk->world;
    assert_true(talk->closed);
    world->role->close(&world->context, world->connection);
    memset(world->connection, 0, world->role->connection_bytes);
    talk->closed = talk->receiving = false;
    talk->send.kind = OP_START;
    assert_int_equal(world->role->open(&world->context, world->connection), 0);
    talk_start(talk);
}

static inline void talk_over(struct talk *talk)
{
    world_close(&talk->world);
    free(talk->wire);
    if (talk->file[0]) {
        unlink(talk->file);
    }
}

static inline uint64_t talk_count(const struct talk *talk, enum http_counter counter)
{
    return world_counter(&talk->world, counter);
}

/* How often an error was counted; name NULL: a number of that phase. */
static inline uint64_t talk_errors(const struct talk *talk, enum bank_phase phase, int number,
                                   const char *name)
{
    for (size_t i = 0; i < BANK_ERRORS; i++) {
        const struct bank_error *error = &talk->world.bank->errors[i];
        if (error->count && error->phase == phase && error->number == number &&
            (!name || strcmp(error->name, name) == 0)) {
            return error->count;
        }
    }
    return 0;
}

/* Everything that was sent has come to something. */
static inline void talk_adds_up(const struct talk *talk)
{
    assert_int_equal(talk_count(talk, HTTP_COUNT_SENT),
                     talk_count(talk, HTTP_COUNT_COMPLETED) + talk_count(talk, HTTP_COUNT_FAILED) +
                         talk_count(talk, HTTP_COUNT_REPEATED) + world_outstanding(&talk->world));
    assert_int_equal(histogram_count(&talk->world.bank->histograms[HTTP_RESPONSE_TIME]),
                     talk_count(talk, HTTP_COUNT_COMPLETED));
    assert_int_equal(histogram_count(&talk->world.bank->histograms[HTTP_FIRST_BYTE]),
                     talk_count(talk, HTTP_COUNT_COMPLETED));
    assert_int_equal(talk_count(talk, HTTP_COUNT_SENT_BYTES), talk->wire_bytes);
}

/* How often a text stands in what was sent. */
static inline unsigned talk_asked(const struct talk *talk, const char *text)
{
    unsigned count = 0;
    for (const char *at = talk->wire; (at = strstr(at, text)); at += strlen(text)) {
        count++;
    }
    return count;
}

#endif
