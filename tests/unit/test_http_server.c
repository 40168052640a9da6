/* The HTTP server's role without I/O: requests in pieces of any size, sends that take a part, and
 * what is broken. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "http_hostile_requests.h"
#include "role_world.h"
#include "workload/http_server.h"

enum { QUEUED_MOST = 64 };

/* A worker of one connection, and the client's view of it. */
struct served {
    struct world world;
    size_t send_most; /* bytes that one send takes; 0: all */
    bool refuses;     /* sends that try find no room */
    bool receiving, shut, closed, in_send;
    struct op send; /* that waits, where `holds` */
    bool holds;     /* sends wait until they are let go */
    bool resumes;
    uint64_t timer_ns, now_ns;
    struct op done[QUEUED_MOST]; /* sends that were done at once */
    size_t done_begin, done_end;
    char *said;
    size_t said_bytes, said_room;
};

static void open_served(struct served *served, const struct http_server_options *options,
                        bool sends_at_once)
{
    *served = (struct served){.now_ns = 1000 * NS_PER_SECOND};
    served->world.http.server = *options;
    world_open_with(&served->world, &http_server, 65536, sends_at_once);
    served->world.context.sends_files = sends_at_once;
}

static struct http_server_options usual(void)
{
    return (struct http_server_options){.head_most = 1000, .body_most = 1000};
}

static void hear(struct served *served, const struct op *op, size_t bytes)
{
    if (served->said_room - served->said_bytes < bytes + 1) {
        served->said_room = 2 * served->said_room + bytes + 1;
        served->said = realloc(served->said, served->said_room);
        assert_non_null(served->said);
    }
    if (op->file) {
        off_t at = (off_t)(uintptr_t)op->data;
        assert_int_equal(pread(op->file->fd, served->said + served->said_bytes, bytes, at), bytes);
    } else {
        memcpy(served->said + served->said_bytes, op->data, bytes);
    }
    served->said_bytes += bytes;
    served->said[served->said_bytes] = '\0';
}

/* The kernel's part of a send. */
static void take_send(struct served *served, struct op op)
{
    assert_false(served->in_send);
    assert_false(served->shut);
    assert_true(op.length > 0);
    bool tries = op.flags & OP_TRY;
    if (served->holds && !tries) {
        served->in_send = true;
        served->send = op;
        return;
    }
    size_t bytes =
        served->send_most && served->send_most < op.length ? served->send_most : op.length;
    op.result = (int64_t)bytes;
    if (tries && (served->refuses || served->holds)) {
        op.result = -EAGAIN;
    } else {
        hear(served, &op, bytes);
    }
    assert_true(served->done_end < QUEUED_MOST);
    served->done[served->done_end++] = op;
}

static void take_out(struct served *served)
{
    const struct step_out *out = &served->world.context.out;
    if (out->set_timer) {
        served->timer_ns = out->timer_ns;
    }
    served->resumes |= out->resume;
    for (uint32_t i = 0; i < out->count; i++) {
        assert_false(served->closed);
        switch (out->ops[i].kind) {
        case OP_SEND:
            take_send(served, out->ops[i]);
            break;
        case OP_RECEIVE:
            served->receiving = true;
            break;
        case OP_PAUSE:
            served->receiving = false;
            break;
        case OP_SHUTDOWN:
            served->shut = true;
            break;
        default:
            assert_int_equal(out->ops[i].kind, OP_CLOSE);
            served->closed = true;
        }
    }
}

static void feed(struct served *served, struct op op)
{
    world_step(&served->world, op);
    take_out(served);
    while (!served->closed && (served->done_begin < served->done_end || served->resumes)) {
        if (served->done_begin < served->done_end) {
            struct op done = served->done[served->done_begin++];
            if (served->done_begin == served->done_end) {
                served->done_begin = served->done_end = 0;
            }
            world_step(&served->world, done);
        } else {
            served->resumes = false;
            world_event(&served->world, OP_RESUME, served->now_ns);
        }
        take_out(served);
    }
}

static void start(struct served *served)
{
    feed(served, (struct op){.kind = OP_START, .now_ns = served->now_ns});
    assert_true(served->receiving);
}

/* False: the server does not read now. */
static bool say(struct served *served, const void *data, size_t length)
{
    if (!served->receiving || served->closed) {
        return false;
    }
    uint8_t *lent = malloc(length); /* gone behind the step */
    assert_non_null(lent);
    memcpy(lent, data, length);
    struct op op = {
        .kind = OP_RECEIVE, .data = lent, .result = (int64_t)length, .now_ns = served->now_ns};
    world_step(&served->world, op);
    free(lent);
    take_out(served);
    feed(served, (struct op){.kind = OP_FLUSH, .now_ns = served->now_ns}); /* what was done */
    return true;
}

static void say_pieces(struct served *served, const char *data, size_t length, size_t piece)
{
    for (size_t at = 0; at < length; at += piece) {
        size_t bytes = length - at < piece ? length - at : piece;
        if (!say(served, data + at, bytes)) {
            return;
        }
    }
}

static void end(struct served *served)
{
    if (served->receiving && !served->closed) {
        served->receiving = false;
        feed(served, (struct op){.kind = OP_RECEIVE, .now_ns = served->now_ns});
    }
}

static void let_go(struct served *served)
{
    assert_true(served->in_send);
    struct op op = served->send;
    served->in_send = false;
    op.result = (int64_t)op.length;
    op.now_ns = served->now_ns;
    hear(served, &op, op.length);
    feed(served, op);
}

static void close_served(struct served *served)
{
    world_close(&served->world);
    free(served->said);
}

static uint64_t count(const struct served *served, enum http_server_counter counter)
{
    return world_counter(&served->world, counter);
}

/* An answer, as HTTP's reader of answers takes it. */
struct heard {
    unsigned status;
    size_t body;
    bool close, right; /* its bytes are the generated ones */
};

/* What was said, answer by answer. asked: a letter each, H for HEAD. */
static size_t all_heard(const struct served *served, const char *asked, struct heard *heard,
                        size_t most)
{
    struct http_response_reader reader;
    size_t at = 0, found = 0;
    http_response_reader_init(&reader, &http_limits_usual);
    for (size_t i = 0; asked[i]; i++) {
        assert_true(http_response_asked(&reader, asked[i] == 'H' ? "HEAD" : "GET"));
    }
    memset(heard, 0, most * sizeof *heard);
    heard[0].right = true;
    for (;;) {
        struct http_event event;
        ssize_t taken = http_response_read(&reader, (const uint8_t *)served->said + at,
                                           served->said_bytes - at, &event);
        if (taken < 0) {
            fail_msg("%s behind %s", http_error_text((int)taken), served->said);
        }
        at += (size_t)taken;
        if (event.kind == HTTP_NOTHING && served->closed &&
            http_response_finish(&reader, &event) == 0 && event.kind == HTTP_NOTHING) {
            return found;
        }
        if (event.kind == HTTP_NOTHING) {
            return found;
        }
        if (event.kind == HTTP_HEAD) {
            heard[found].status = event.status;
            heard[found].close = event.close;
        } else if (event.kind == HTTP_BODY) {
            for (size_t i = 0; i < event.length; i++) {
                heard[found].right &=
                    event.data[i] == (uint8_t)http_block[heard[found].body++ % HTTP_LINE_BYTES];
            }
        } else if (event.kind == HTTP_END) {
            if (++found == most) {
                return found;
            }
            heard[found].right = true;
        }
    }
}

#define ASK(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

static const size_t pieces[] = {1, 7, 100, 65536};
enum { PIECES = sizeof pieces / sizeof *pieces };

static void pipelined_requests_in_pieces(void **state)
{
    (void)state;
    static const char text[] = ASK("/bytes/200") ASK("/bytes/0") ASK("/chunked/100k")
        ASK("/status/404") "HEAD /bytes/5m HTTP/1.1\r\nHost: h\r\n\r\n"
                           "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" ASK(
                               "/bytes/300k") ASK("/chunked/16k") ASK("/close/20000");
    static const size_t bodies[] = {200, 0, 100 << 10, 14, 0, 17, 300 << 10, 16 << 10, 20000};
    enum { ANSWERS = sizeof bodies / sizeof *bodies };
    const struct http_server_options options = usual();
    for (size_t i = 0; i < 4 * PIECES; i++) {
        struct served served;
        struct heard heard[ANSWERS];
        uint64_t sum = 0;
        open_served(&served, &options, i & 1);
        served.send_most = i & 2 ? 999 : 0;
        served.refuses = i & 2;
        start(&served);
        for (size_t at = 0; at < sizeof text - 1;) { /* it may stop to read, and go on */
            size_t piece = pieces[i / 4], left = sizeof text - 1 - at;
            assert_true(say(&served, text + at, left < piece ? left : piece));
            at += left < piece ? left : piece;
        }
        assert_int_equal(all_heard(&served, "GGGGHGGGG", heard, ANSWERS), ANSWERS - 1);
        for (size_t k = 0; k < ANSWERS; k++) {
            assert_int_equal(heard[k].body, bodies[k]);
            assert_true(heard[k].right || k == 3 || k == 5);
            assert_int_equal(heard[k].close, k == ANSWERS - 1);
            sum += bodies[k];
        }
        assert_int_equal(count(&served, HTTP_SERVER_REQUESTS), ANSWERS);
        assert_int_equal(count(&served, HTTP_SERVER_BODY_BYTES), sum);
        assert_int_equal(count(&served, HTTP_SERVER_BYTES), served.said_bytes);
        assert_int_equal(count(&served, HTTP_SERVER_REJECTED), 0);
        assert_true(served.shut); /* the client cannot have known that it was the last */
        end(&served);
        assert_true(served.closed);
        assert_int_equal(bank_errors(served.world.bank), 0);
        close_served(&served);
    }
}

/* While answers cannot go, nothing more is read, however much is asked for. */
static void nothing_is_read_while_answers_wait(void **state)
{
    (void)state;
    const struct http_server_options options = usual();
    for (int at_once = 0; at_once < 2; at_once++) {
        struct served served;
        char text[20 * sizeof ASK("/bytes/16k")] = "";
        open_served(&served, &options, at_once);
        served.holds = true;
        start(&served);
        for (int i = 0; i < 20; i++) {
            strncat(text, ASK("/bytes/16k"), sizeof text - strlen(text) - 1);
        }
        assert_true(say(&served, text, strlen(text)));
        assert_true(served.in_send);
        assert_false(served.receiving);
        assert_true(world_outstanding(&served.world));
        assert_true(served.send.length < HTTP_ANSWER_MOST + HTTP_SMALL_BODY + 1024);
        while (served.in_send) {
            let_go(&served);
        }
        assert_true(served.receiving);
        assert_false(world_outstanding(&served.world));
        assert_int_equal(count(&served, HTTP_SERVER_REQUESTS), 20);
        close_served(&served);
    }
}

static void versions_and_ends(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool close, waits; /* for the client's end */
    } rows[] = {
        {ASK("/bytes/1"), false, false},
        {"GET /bytes/1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", true, false},
        {"GET /bytes/1 HTTP/1.0\r\n\r\n", true, false},
        {"GET /bytes/1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false, false},
        {"GET /chunked/1 HTTP/1.0\r\n\r\n", true, false},
        {"GET /chunked/1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, true},
        {"GET /close/1 HTTP/1.1\r\nHost: h\r\n\r\n", true, true},
    };
    const struct http_server_options options = usual();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct served served;
        struct heard heard[2];
        open_served(&served, &options, true);
        start(&served);
        assert_true(say(&served, rows[i].text, strlen(rows[i].text)));
        assert_int_equal(served.closed, rows[i].close && !rows[i].waits);
        assert_int_equal(served.shut, rows[i].waits);
        all_heard(&served, "GG", heard, 2);
        assert_int_equal(heard[0].status, 200);
        assert_int_equal(heard[0].body, 1);
        assert_int_equal(heard[0].close, rows[i].close);
        assert_int_equal(strstr(served.said, "keep-alive") != NULL,
                         !rows[i].close && strstr(rows[i].text, "1.0"));
        close_served(&served);
    }
}

static void a_delay_is_waited_for(void **state)
{
    (void)state;
    static const char text[] = ASK("/bytes/1") ASK("/delay/20ms/bytes/70000") ASK("/bytes/2");
    struct http_server_options options = usual();
    options.idle_timeout_ns = NS_PER_MS;
    struct served served;
    struct heard heard[3];
    open_served(&served, &options, true);
    start(&served);
    uint64_t due_ns = served.now_ns + 20 * NS_PER_MS;
    assert_true(say(&served, text, sizeof text - 1));
    assert_int_equal(all_heard(&served, "GGG", heard, 3), 1);
    assert_int_equal(served.timer_ns, due_ns);
    assert_false(served.receiving);
    served.now_ns = due_ns;
    feed(&served, (struct op){.kind = OP_TIMER, .now_ns = due_ns - 1}); /* too early */
    assert_int_equal(served.timer_ns, due_ns);
    assert_int_equal(all_heard(&served, "GGG", heard, 3), 1);
    feed(&served, (struct op){.kind = OP_TIMER, .now_ns = due_ns});
    assert_int_equal(all_heard(&served, "GGG", heard, 3), 3);
    assert_int_equal(heard[1].body, 70000);
    assert_true(heard[1].right);
    assert_true(served.receiving);
    /* The idle timeout is on again. */
    assert_int_equal(served.timer_ns, due_ns + NS_PER_MS);
    feed(&served, (struct op){.kind = OP_TIMER, .now_ns = served.timer_ns});
    assert_true(served.closed);
    assert_int_equal(count(&served, HTTP_SERVER_IDLE_CLOSED), 1);
    close_served(&served);
}

static void limits(void **state)
{
    (void)state;
    struct http_server_options options = usual();
    struct served served;
    struct heard heard[4];
    options.requests_most = 2;
    open_served(&served, &options, true);
    start(&served);
    assert_true(
        say(&served, ASK("/bytes/1") ASK("/bytes/1") ASK("/bytes/1"), 3 * strlen(ASK("/bytes/1"))));
    assert_int_equal(all_heard(&served, "GGG", heard, 4), 2);
    assert_true(heard[1].close);
    assert_true(served.shut);
    assert_int_equal(count(&served, HTTP_SERVER_REJECTED), 0);
    feed(&served, (struct op){.kind = OP_TIMER, .now_ns = served.timer_ns}); /* it stays too long */
    assert_true(served.closed);
    close_served(&served);

    options = usual();
    options.memory_bytes = 10000;
    open_served(&served, &options, false);
    start(&served);
    assert_true(say(&served, ASK("/bytes/16k"), strlen(ASK("/bytes/16k"))));
    assert_true(served.closed);
    assert_int_equal(bank_errors(served.world.bank), 1);
    assert_int_equal(served.said_bytes, 0);
    close_served(&served);
}

static void the_end_of_the_run(void **state)
{
    (void)state;
    const struct http_server_options options = usual();
    struct served served;
    open_served(&served, &options, true);
    start(&served);
    served.world.context.draining = true;
    feed(&served, (struct op){.kind = OP_DRAIN, .now_ns = served.now_ns});
    assert_true(served.closed); /* it was idle */
    close_served(&served);

    open_served(&served, &options, true);
    served.holds = true;
    start(&served);
    assert_true(say(&served, ASK("/bytes/9"), strlen(ASK("/bytes/9"))));
    served.world.context.draining = true;
    feed(&served, (struct op){.kind = OP_DRAIN, .now_ns = served.now_ns});
    assert_false(served.closed);
    let_go(&served);
    assert_true(served.closed);
    assert_int_equal(count(&served, HTTP_SERVER_REQUESTS), 1);
    close_served(&served);
}

static void play_broken(const struct http_case *row, size_t piece, bool at_once)
{
    const struct http_server_options options = usual();
    struct served served;
    struct heard heard[4];
    if (row->error == HTTP_BAD_TARGET_LONG || row->error == HTTP_BAD_HEAD_LINES) {
        return; /* there is more room here */
    }
    open_served(&served, &options, at_once);
    start(&served);
    say_pieces(&served, row->text, row->length, piece);
    end(&served);
    bool gone = row->error == HTTP_BAD_AFTER_LAST && count(&served, HTTP_SERVER_REJECTED) == 0;
    unsigned status = http_error_answer(row->error);
    size_t answers = all_heard(&served, "GGG", heard, 4);
    assert_true(served.closed);
    assert_int_equal(count(&served, HTTP_SERVER_REJECTED), gone ? 0 : 1);
    assert_int_equal(bank_errors(served.world.bank), gone ? 0 : 1);
    if (!gone) {
        assert_string_equal(served.world.bank->errors[0].name, http_error_text(row->error));
    }
    assert_int_equal(count(&served, HTTP_SERVER_REQUESTS), row->ends);
    assert_int_equal(answers, row->ends + (status ? 1 : 0));
    if (status) {
        assert_int_equal(heard[answers - 1].status, status);
        assert_true(heard[answers - 1].close);
    }
    close_served(&served);
}

static void broken_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * PIECES; i++) {
        for (size_t k = 0; k < sizeof hostile_request_lines / sizeof *hostile_request_lines; k++) {
            play_broken(&hostile_request_lines[k], pieces[i / 2], i & 1);
        }
        for (size_t k = 0; k < sizeof hostile_requests / sizeof *hostile_requests; k++) {
            play_broken(&hostile_requests[k], pieces[i / 2], i & 1);
        }
    }
}

/* An idle connection holds nothing of the worker's. */
static void idle_ones_hold_nothing(void **state)
{
    (void)state;
    const struct http_server_options options = usual();
    struct served served;
    open_served(&served, &options, false);
    const struct http_pool *pool = served.world.context.shared;
    start(&served);
    say_pieces(&served, ASK("/bytes/9"), strlen(ASK("/bytes/9")), 1);
    say_pieces(&served, ASK("/chunked/200k"), strlen(ASK("/chunked/200k")), 11);
    uint64_t spare = pool->answer ? pool->answer->room : 0;
    for (const struct http_buffer *buffer = pool->spare; buffer; buffer = buffer->next) {
        spare += buffer->room;
    }
    assert_int_equal(pool->used_bytes, spare);
    close_served(&served);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipelined_requests_in_pieces),
        cmocka_unit_test(nothing_is_read_while_answers_wait),
        cmocka_unit_test(versions_and_ends),
        cmocka_unit_test(a_delay_is_waited_for),
        cmocka_unit_test(limits),
        cmocka_unit_test(the_end_of_the_run),
        cmocka_unit_test(broken_requests),
        cmocka_unit_test(idle_ones_hold_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
