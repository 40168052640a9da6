/* The server of HTTP: reads requests, answers them in their order. Answers are made in memory of
 * the worker's; what the kernel does not take at once is kept with the connection, from which
 * nothing more is read meanwhile. An idle connection holds no memory but its own. */
#include "workload/http_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* How long a peer has to end its side behind a refusal. */
#define LINGER_NS NS_PER_SECOND
/* Sends that are done at once, before other connections have their turn. */
#define SENDS_IN_A_ROW 16
/* A body for which a receive that waits for the next request may wait. */
#define LONG_BYTES ((uint64_t)256 << 10)

static struct http_peer *peer_of(struct connection *connection)
{
    return (struct http_peer *)(void *)connection;
}

static void *open_worker(const void *options, uint32_t connections, struct err *error)
{
    (void)connections;
    return http_pool_open(&((const struct http_options *)options)->server, error);
}

static void close_worker(void *shared)
{
    http_pool_close(shared);
}

static int open_peer(struct role_context *context, struct connection *connection)
{
    struct http_pool *pool = context->shared;
    struct http_peer *peer = peer_of(connection);
    pool->peers += pool->peers < 2;
    http_request_reader_init(&peer->reader, &pool->limits, pool->target, sizeof pool->target);
    return 0;
}

static void close_peer(struct role_context *context, struct connection *connection)
{
    struct http_pool *pool = context->shared;
    struct http_peer *peer = peer_of(connection);
    http_buffer_give(pool, &peer->in);
    http_buffer_give(pool, &peer->out);
    http_peer_forget_target(pool, peer);
    http_page_leave(peer->asked);
    http_page_leave(peer->page);
    peer->asked = peer->page = NULL;
}

/* ---- ends ---- */

void http_peer_set_timer(struct role_context *context, uint64_t at_ns)
{
    context->out.set_timer = true;
    context->out.timer_ns = at_ns;
}

void http_peer_leave(struct role_context *context, struct http_peer *peer)
{
    if (peer->state != PEER_CLOSED) {
        peer->state = PEER_CLOSED;
        step_submit(context, &peer->base, OP_CLOSE);
    }
}

void http_peer_fail(struct role_context *context, struct http_peer *peer, enum bank_phase phase,
                    int number, const char *name)
{
    bank_error(context->bank, phase, number, name);
    http_peer_leave(context, peer);
}

void http_peer_fail_memory(struct role_context *context, struct http_peer *peer)
{
    http_peer_fail(context, peer, PHASE_SEND, 0, "out of memory for answers");
}

/* ---- the wire ---- */

static bool sends_files(const struct role_context *context, const struct http_peer *peer)
{
    return context->sends_files && !(peer->base.channel.options & CHANNEL_SECURE);
}

static void submit_out(struct role_context *context, struct http_peer *peer)
{
    struct op *op = step_submit(context, &peer->base, OP_SEND);
    bool quiet = !peer->page && !peer->in && !peer->last && !context->draining;
    op->data = peer->out->data + peer->out->begin;
    op->length = http_buffer_bytes(peer->out);
    op->flags = quiet ? OP_QUIET : 0;
    peer->sending = true;
}

/* Sends what a step has made. */
static void submit_answer(struct role_context *context, struct http_peer *peer)
{
    struct http_pool *pool = context->shared;
    if (!context->sends_at_once) {
        peer->out = pool->answer;
        pool->answer = NULL;
        submit_out(context, peer);
        return;
    }
    bool more = peer->page && peer->phase == PAGE_REST;
    struct op *op = step_submit(context, &peer->base, OP_SEND);
    op->data = pool->answer->data;
    op->length = pool->answer->end;
    op->flags = OP_TRY | (more ? OP_MORE : 0); /* what does not go at once comes back in `sent` */
    peer->sending = true;
}

static void pause_receive(struct role_context *context, struct http_peer *peer)
{
    if (!peer->paused && !peer->ended) {
        peer->paused = true;
        step_submit(context, &peer->base, OP_PAUSE);
    }
}

/* Requests that cannot be answered yet. */
static void hold(struct role_context *context, struct http_peer *peer, const uint8_t *data,
                 size_t length)
{
    pause_receive(context, peer);
    if (!http_buffer_append(context->shared, &peer->in, data, length)) {
        http_peer_fail(context, peer, PHASE_RECEIVE, 0, "out of memory for requests");
    }
}

/* The page's rest, as far as one send takes it. */
static void submit_rest(struct role_context *context, struct http_peer *peer)
{
    const struct http_page *page = peer->page;
    uint64_t left = page->rest_bytes - peer->position;
    if (left >= LONG_BYTES && !peer->end_only && !peer->paused && !peer->ended) {
        peer->end_only = true;
        step_submit(context, &peer->base, OP_RECEIVE)->flags = OP_END_ONLY;
    }
    struct op *op = step_submit(context, &peer->base, OP_SEND);
    size_t most, from = 0;
    if (page->rest == HTTP_REST_FILE) {
        /* A place in the file: nothing is mapped, so that a file that shrinks is no fault. */
        op->file = &page->file;
        op->data = (const uint8_t *)(uintptr_t)peer->position;
        most = 4 * HTTP_BLOCK_BYTES;
    } else if (page->rest == HTTP_REST_CHUNKS) {
        from = peer->position % HTTP_CHUNK_WIRE;
        most = sizeof http_chunks - 1 - from;
        op->data = (const uint8_t *)http_chunks + from;
    } else {
        from = (HTTP_SMALL_BODY + peer->position) % HTTP_LINE_BYTES;
        most = HTTP_BLOCK_BYTES - from;
        op->data = (const uint8_t *)http_block + from;
    }
    op->length = left < most ? (size_t)left : most;
    peer->sending = true;
}

/* Reads the next piece of a file that the engine cannot send by itself. */
static void read_piece(struct role_context *context, struct http_peer *peer)
{
    struct http_pool *pool = context->shared;
    const struct http_page *page = peer->page;
    uint64_t left = page->rest_bytes - peer->position;
    size_t bytes = left < HTTP_FILE_PIECE ? (size_t)left : HTTP_FILE_PIECE;
    if (!http_buffer_reserve(pool, &pool->answer, bytes)) {
        http_peer_fail_memory(context, peer);
        return;
    }
    ssize_t got = http_file_read(pool, page->file.fd, pool->answer->data + pool->answer->end, bytes,
                                 peer->position);
    if (got <= 0) {
        http_peer_fail(context, peer, PHASE_SEND, (int)-got,
                       got ? NULL : "a file became shorter while it was sent");
        return;
    }
    pool->answer->end += (size_t)got;
    peer->position += (uint64_t)got;
    peer->unsent_body += (uint64_t)got;
}

/* One step of the page that is sent. False: nothing can be done before what was made has gone, or
 * before its time. */
static bool go_on_page(struct role_context *context, struct http_peer *peer)
{
    struct http_pool *pool = context->shared;
    struct http_page *page = peer->page;
    switch (peer->phase) {
    case PAGE_DELAYED:
        return false;
    case PAGE_TEXT:
        peer->phase = PAGE_REST;
        http_peer_put_text(context, peer, page);
        return true;
    case PAGE_REST:
        if (peer->position == page->rest_bytes) {
            peer->phase = PAGE_TAIL;
            return true;
        }
        if (page->rest == HTTP_REST_FILE && !sends_files(context, peer)) {
            bool room = http_buffer_bytes(pool->answer) < HTTP_FILE_PIECE;
            if (room) {
                read_piece(context, peer);
            }
            return room;
        }
        return false;
    default:
        http_peer_put_tail(context, peer, page);
        peer->page = NULL;
        http_page_leave(page);
        return true;
    }
}

/* What was sent has gone. */
static void count_gone(struct role_context *context, struct http_peer *peer)
{
    uint64_t *counters = context->bank->counters;
    counters[HTTP_SERVER_REQUESTS] += peer->unsent_requests;
    counters[HTTP_SERVER_BODY_BYTES] += peer->unsent_body;
    peer->unsent_requests = 0;
    peer->unsent_body = 0;
}

/* Everything has gone. */
static void all_gone(struct role_context *context, struct http_peer *peer)
{
    struct http_pool *pool = context->shared;
    if (peer->last) {
        if (!peer->lingers || peer->ended) {
            http_peer_leave(context, peer);
            return;
        }
        peer->state = PEER_LINGERS;
        step_submit(context, &peer->base, OP_SHUTDOWN);
        http_peer_set_timer(context, pool->now_ns + LINGER_NS);
    } else if (peer->ended) {
        int error = http_request_finish(&peer->reader);
        if (error) {
            http_peer_refuse(context, peer, error);
        }
        http_peer_leave(context, peer);
        return;
    } else if (context->draining) {
        http_peer_leave(context, peer);
        return;
    }
    if (peer->paused || peer->end_only) {
        peer->paused = peer->end_only = false;
        if (!peer->ended) {
            step_submit(context, &peer->base, OP_RECEIVE);
        }
    }
}

static void take_held(struct role_context *context, struct http_peer *peer)
{
    struct http_buffer *in = peer->in;
    if (peer->last) {
        http_peer_take_after_last(context, peer);
        in->begin = in->end;
    } else {
        in->begin += http_peer_take(context, peer, in->data + in->begin, http_buffer_bytes(in));
    }
    if (in->begin == in->end) {
        http_buffer_give(context->shared, &peer->in);
    }
}

/* Makes what can be made, and sends it; nothing is being sent. */
static void go_on(struct role_context *context, struct http_peer *peer)
{
    struct http_pool *pool = context->shared;
    if (peer->sending) {
        return;
    }
    if (++peer->row > SENDS_IN_A_ROW) {
        context->out.resume = true;
        return;
    }
    while (peer->state == PEER_OPEN) {
        if (peer->page) {
            if (!go_on_page(context, peer)) {
                break;
            }
        } else if (peer->in && (peer->last || http_answers_fit(pool))) {
            take_held(context, peer);
        } else {
            break;
        }
    }
    bool made = http_buffer_bytes(pool->answer) > 0;
    if (peer->state != PEER_OPEN) {
        if (pool->answer) {
            pool->answer->end = 0;
        }
    } else if (made) {
        submit_answer(context, peer);
    } else if (peer->page && peer->phase == PAGE_REST) {
        submit_rest(context, peer);
    } else if (!peer->page) {
        count_gone(context, peer); /* it ended with a rest */
        all_gone(context, peer);
    }
}

/* An end without TLS's close_notify, as many clients make it: between two requests nothing can have
 * been cut off. */
static bool cuts_nothing(struct http_peer *peer, const struct op *op)
{
    return engine_failure_name((int)-op->result) && !peer->sending && !peer->page && !peer->in &&
           http_request_finish(&peer->reader) == 0;
}

static void received(struct role_context *context, struct http_peer *peer, const struct op *op)
{
    if (op->result < 0) {
        if (peer->state == PEER_LINGERS || peer->last || cuts_nothing(peer, op)) {
            http_peer_leave(context, peer);
        } else {
            http_peer_fail(context, peer, PHASE_RECEIVE, (int)-op->result, NULL);
        }
        return;
    }
    if (op->result == 0) {
        peer->ended = true;
        if (peer->state == PEER_LINGERS) {
            http_peer_leave(context, peer);
        } else if (!peer->sending && !peer->page && !peer->in) {
            all_gone(context, peer);
        }
        return;
    }
    if (peer->state == PEER_LINGERS) {
        return;
    }
    size_t length = (size_t)op->result;
    if (peer->sending || peer->page || peer->in) {
        hold(context, peer, op->data, length);
        return;
    }
    if (!peer->last) {
        size_t taken = http_peer_take(context, peer, op->data, length);
        if (taken < length && peer->state == PEER_OPEN) {
            hold(context, peer, op->data + taken, length - taken);
        }
    }
    go_on(context, peer);
}

static void buffers_gone(struct role_context *context, struct http_peer *peer)
{
    count_gone(context, peer);
    peer->sending = false;
    go_on(context, peer);
}

static void sent_try(struct role_context *context, struct http_peer *peer, const struct op *op)
{
    struct http_pool *pool = context->shared;
    struct http_buffer *answer = pool->answer;
    size_t sent = op->result > 0 ? (size_t)op->result : 0;
    if (sent == op->length) {
        answer->end = 0;
        buffers_gone(context, peer);
        return;
    }
    if (answer->end - sent > answer->room / 4) {
        answer->begin = sent;
        peer->out = answer;
        pool->answer = NULL;
    } else {
        bool kept = http_buffer_append(pool, &peer->out, answer->data + sent, answer->end - sent);
        answer->end = 0;
        if (!kept) {
            http_peer_fail_memory(context, peer);
            return;
        }
    }
    submit_out(context, peer);
}

static void sent_out(struct role_context *context, struct http_peer *peer, const struct op *op)
{
    peer->out->begin += (size_t)op->result;
    if (peer->out->begin < peer->out->end) {
        submit_out(context, peer);
        return;
    }
    http_buffer_give(context->shared, &peer->out);
    buffers_gone(context, peer);
}

static void sent_rest(struct role_context *context, struct http_peer *peer, const struct op *op)
{
    const struct http_page *page = peer->page;
    if (op->result == 0) {
        http_peer_fail(context, peer, PHASE_SEND, 0, "a file became shorter while it was sent");
        return;
    }
    uint64_t before = http_page_rest_body(page, peer->position);
    peer->position += (uint64_t)op->result;
    context->bank->counters[HTTP_SERVER_BODY_BYTES] +=
        http_page_rest_body(page, peer->position) - before;
    peer->sending = false;
    go_on(context, peer);
}

static void sent(struct role_context *context, struct http_peer *peer, const struct op *op)
{
    const struct http_pool *pool = context->shared;
    bool tried = op->flags & OP_TRY;
    if (op->now_ns) { /* not done at once */
        peer->row = 0;
    }
    if (op->result < 0 && !(tried && op->result == -EAGAIN)) {
        peer->sending = false;
        if (tried) {
            ((struct http_pool *)context->shared)->answer->end = 0;
        }
        http_peer_fail(context, peer, PHASE_SEND, (int)-op->result, NULL);
        return;
    }
    peer->active_ns = pool->now_ns;
    context->bank->counters[HTTP_SERVER_BYTES] += op->result > 0 ? (uint64_t)op->result : 0;
    if (tried) {
        sent_try(context, peer, op);
    } else if (peer->out) {
        sent_out(context, peer, op);
    } else {
        sent_rest(context, peer, op);
    }
}

/* ---- time ---- */

static void timed(struct role_context *context, struct http_peer *peer, uint64_t now_ns)
{
    uint64_t idle_ns = http_server_options_of(context)->idle_timeout_ns;
    if (peer->state == PEER_LINGERS) {
        http_peer_leave(context, peer);
        return;
    }
    if (peer->page && peer->phase == PAGE_DELAYED) {
        if (now_ns < peer->wake_ns) {
            http_peer_set_timer(context, peer->wake_ns);
            return;
        }
        peer->active_ns = now_ns;
        peer->phase = PAGE_TEXT;
        go_on(context, peer);
    } else if (idle_ns && now_ns - peer->active_ns >= idle_ns) {
        context->bank->counters[HTTP_SERVER_IDLE_CLOSED]++;
        http_peer_leave(context, peer);
    }
    if (idle_ns && peer->state == PEER_OPEN && !context->out.set_timer) {
        http_peer_set_timer(context, peer->active_ns + idle_ns);
    }
}

static void step(struct role_context *context, struct connection *connection, const struct op *op)
{
    struct http_pool *pool = context->shared;
    struct http_peer *peer = peer_of(connection);
    if (peer->state == PEER_CLOSED) {
        return;
    }
    pool->calls = &context->bank->calls;
    if (op->now_ns) {
        pool->now_ns = op->now_ns;
    }
    if (op->kind != OP_SEND) {
        peer->row = 0;
    }
    switch (op->kind) {
    case OP_START:
        context->bank->counters[HTTP_SERVER_ACCEPTED]++;
        peer->active_ns = pool->now_ns;
        if (http_server_options_of(context)->idle_timeout_ns) {
            http_peer_set_timer(context,
                                pool->now_ns + http_server_options_of(context)->idle_timeout_ns);
        }
        step_submit(context, connection, OP_RECEIVE);
        break;
    case OP_RECEIVE:
        received(context, peer, op);
        break;
    case OP_SEND:
        sent(context, peer, op);
        break;
    case OP_RESUME:
        go_on(context, peer);
        break;
    case OP_TIMER:
        timed(context, peer, op->now_ns);
        break;
    case OP_DRAIN:
        if (!peer->sending && !peer->page && !peer->in) {
            http_peer_leave(context, peer);
        }
        break;
    default:
        break;
    }
}

static uint64_t outstanding(const struct connection *connection)
{
    const struct http_peer *peer = (const struct http_peer *)(const void *)connection;
    return peer->state == PEER_OPEN && (peer->sending || peer->page || peer->in);
}

static size_t connection_memory(const void *options)
{
    (void)options;
    return sizeof(struct http_peer); /* waiting answers are bounded together */
}

const struct role http_server = {
    .connection_bytes = sizeof(struct http_peer),
    .refused_counter = HTTP_SERVER_REFUSED,
    .open_worker = open_worker,
    .close_worker = close_worker,
    .open = open_peer,
    .step = step,
    .outstanding = outstanding,
    .close = close_peer,
    .connection_memory = connection_memory,
};
