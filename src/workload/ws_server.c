/* The server of WebSocket: answers handshakes, echoes messages, answers pings and closes. Answers
 * are made in memory of the worker's; what the kernel does not take at once is kept with the
 * connection, from which nothing more is read meanwhile. An idle connection holds no memory but its
 * own. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "codec/websocket_deflate.h"
#include "codec/websocket_handshake.h"
#include "workload/ws.h"

/* How long a peer has to end its side behind a close frame or a refusal. */
#define LINGER_NS NS_PER_SECOND
#define RESPONSE_ROOM 1024
#define MEMORY_BYTES ((uint64_t)64 << 20)
#define ROOM_LEAST ((size_t)4096)

struct buffer {
    uint8_t *data;
    size_t begin, end, room;
};

/* What a worker's connections share. */
struct ws_pool {
    struct buffer answer;
    uint64_t used_bytes, most_bytes; /* kept with connections */
    struct websocket_hash *hash;
};

struct ws_compression {
    struct websocket_inflater inflater;
    struct websocket_deflater deflater;
};

enum peer_state {
    PEER_HEAD, /* its request is not whole */
    PEER_OPEN,
    PEER_ENDING,  /* the last bytes are on their way: then the connection is closed */
    PEER_REFUSED, /* likewise, but its end is waited for, so that it can read them */
    PEER_LINGERS,
    PEER_CLOSED,
};

struct ws_peer {
    struct connection base;
    uint8_t state; /* enum peer_state */
    bool paused;
    struct websocket_head head;
    struct buffer in;   /* a head that is not whole, or a message */
    struct buffer kept; /* answers that have not gone */
    uint64_t active_ns;
    struct websocket_reader reader;
    struct ws_compression *compression;
};

static const struct ws_server_options *options_of(const struct role_context *context)
{
    return &((const struct ws_options *)context->options)->server;
}

static struct ws_peer *peer_of(struct connection *connection)
{
    return (struct ws_peer *)(void *)connection;
}

static void *open_worker(const void *options, uint32_t connections, struct err *error)
{
    const struct ws_options *ws = options;
    struct ws_pool *pool = calloc(1, sizeof *pool);
    (void)connections;
    if (!pool) {
        err_system(error, ENOMEM, "ws", "cannot make the buffer pool");
        return NULL;
    }
    pool->hash = websocket_hash_open();
    pool->most_bytes = ws->server.memory_bytes ? ws->server.memory_bytes : MEMORY_BYTES;
    return pool;
}

static void close_worker(void *shared)
{
    struct ws_pool *pool = shared;
    if (pool) {
        free(pool->answer.data);
        websocket_hash_close(pool->hash);
    }
    free(pool);
}

static int open_peer(struct role_context *context, struct connection *connection)
{
    (void)context;
    (void)connection;
    return 0;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Room for `bytes` more; counted against the pool where it stays with a connection. */
static bool reserve(struct ws_pool *pool, struct buffer *buffer, size_t bytes, bool counted)
{
    size_t wanted = buffer->end + bytes;
    if (wanted <= buffer->room) {
        return true;
    }
    size_t room = buffer->room ? 2 * buffer->room : ROOM_LEAST;
    room = room < wanted ? wanted : room;
    if (counted && pool->used_bytes + room - buffer->room > pool->most_bytes) {
        return false;
    }
    uint8_t *data = realloc(buffer->data, room);
    if (!data) {
        return false;
    }
    pool->used_bytes += counted ? room - buffer->room : 0;
    buffer->data = data;
    buffer->room = room;
    return true;
}

static void release(struct ws_pool *pool, struct buffer *buffer)
{
    pool->used_bytes -= buffer->room;
    free(buffer->data);
    *buffer = (struct buffer){0};
}

static bool append(struct ws_pool *pool, struct buffer *buffer, const void *data, size_t bytes,
                   bool counted)
{
    if (!reserve(pool, buffer, bytes, counted)) {
        return false;
    }
    if (bytes) {
        memcpy(buffer->data + buffer->end, data, bytes);
    }
    buffer->end += bytes;
    return true;
}

static void close_peer(struct role_context *context, struct connection *connection)
{
    struct ws_peer *peer = peer_of(connection);
    release(context->shared, &peer->in);
    release(context->shared, &peer->kept);
    if (peer->compression) {
        websocket_inflater_close(&peer->compression->inflater);
        websocket_deflater_close(&peer->compression->deflater);
    }
    free(peer->compression);
    peer->compression = NULL;
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void set_timer(struct role_context *context, uint64_t at_ns)
{
    context->out.set_timer = true;
    context->out.timer_ns = at_ns;
}

static void leave(struct role_context *context, struct ws_peer *peer)
{
    if (peer->state != PEER_CLOSED) {
        peer->state = PEER_CLOSED;
        step_submit(context, &peer->base, OP_CLOSE);
    }
}

static void fail(struct role_context *context, struct ws_peer *peer, enum bank_phase phase,
                 int number, const char *name)
{
    bank_error(context->bank, phase, number, name);
    leave(context, peer);
}

/* ---- answers --------------------------------------------------------------------------------- */

static bool append_frame(struct ws_pool *pool, enum websocket_opcode opcode, bool compressed,
                         const uint8_t *payload, size_t length)
{
    const struct websocket_frame frame = {
        .opcode = opcode, .compressed = compressed, .length = length};
    struct buffer *answer = &pool->answer;
    if (!reserve(pool, answer, length + WEBSOCKET_HEADER_MOST, false)) {
        return false;
    }
    answer->end += websocket_frame_write(answer->data + answer->end, &frame, payload);
    return true;
}

static bool append_close(struct ws_pool *pool, unsigned code)
{
    uint8_t payload[WEBSOCKET_CONTROL_MOST];
    size_t bytes = websocket_close_write(payload, code, NULL);
    return append_frame(pool, WEBSOCKET_CLOSE, false, payload, bytes);
}

/* Breaks off: what the peer did wrong is counted, and said to it. */
static void break_off(struct role_context *context, struct ws_peer *peer, int error)
{
    unsigned code = websocket_error_answer(error);
    bank_error(context->bank, PHASE_PROTOCOL, 0, websocket_error_text(error));
    append_close(context->shared, code ? code : WEBSOCKET_INTERNAL);
    peer->state = PEER_REFUSED;
}

static void refuse(struct role_context *context, struct ws_peer *peer, int error)
{
    struct ws_pool *pool = context->shared;
    unsigned status = websocket_error_answer(error);
    bank_error(context->bank, PHASE_UPGRADE, 0, websocket_error_text(error));
    context->bank->counters[WS_SERVER_REQUESTS_REFUSED]++;
    peer->state = PEER_REFUSED;
    if (reserve(pool, &pool->answer, RESPONSE_ROOM, false)) {
        ssize_t bytes =
            websocket_refusal_write(status ? (int)status : 400, NULL,
                                    (char *)pool->answer.data + pool->answer.end, RESPONSE_ROOM);
        pool->answer.end += bytes > 0 ? (size_t)bytes : 0;
    }
}

/* ---- the request ----------------------------------------------------------------------------- */

static int agree(struct role_context *context, struct ws_peer *peer,
                 const struct websocket_request *request, struct websocket_deflate *agreed)
{
    const struct ws_server_options *options = options_of(context);
    const struct websocket_limits limits = {.frame_most = options->frame_most,
                                            .message_most = options->message_most};
    static const struct websocket_deflate wish = {0};
    bool deflate = options->deflate && websocket_deflate_choose(request, &wish, agreed);
    websocket_reader_init(&peer->reader, WEBSOCKET_SERVER, &limits, deflate);
    if (!deflate) {
        return 0;
    }
    peer->compression = calloc(1, sizeof *peer->compression);
    if (!peer->compression ||
        websocket_inflater_open(&peer->compression->inflater,
                                websocket_window_bits(agreed->client_max_window_bits),
                                agreed->client_no_context_takeover, options->message_most) < 0 ||
        websocket_deflater_open(&peer->compression->deflater,
                                websocket_window_bits(agreed->server_max_window_bits),
                                agreed->server_no_context_takeover, 6, 8) < 0) {
        return WEBSOCKET_BAD_MEMORY;
    }
    return 0;
}

static int answer_request(struct role_context *context, struct ws_peer *peer,
                          const struct websocket_request *request)
{
    struct ws_pool *pool = context->shared;
    char accept[WEBSOCKET_ACCEPT_TEXT + 1];
    struct websocket_deflate agreed = {0};
    int failed = websocket_accept(pool->hash, request->key.at, accept);
    failed = failed ? failed : agree(context, peer, request, &agreed);
    if (failed) {
        return failed;
    }
    const struct websocket_answer answer = {.accept = accept,
                                            .deflate = peer->compression ? &agreed : NULL};
    if (!reserve(pool, &pool->answer, RESPONSE_ROOM, false)) {
        return WEBSOCKET_BAD_MEMORY;
    }
    ssize_t bytes = websocket_response_write(&answer, (char *)pool->answer.data + pool->answer.end,
                                             RESPONSE_ROOM);
    if (bytes < 0) {
        return (int)bytes;
    }
    pool->answer.end += (size_t)bytes;
    peer->state = PEER_OPEN;
    context->bank->counters[WS_SERVER_UPGRADED]++;
    return 0;
}

/* Bytes of the data that belong to the head; all of it where it is not whole. */
static size_t take_head(struct role_context *context, struct ws_peer *peer, const uint8_t *data,
                        size_t length)
{
    struct ws_pool *pool = context->shared;
    size_t before = peer->in.end;
    struct websocket_request request = {0};
    if (before && !append(pool, &peer->in, data, length, true)) {
        fail(context, peer, PHASE_UPGRADE, ENOMEM, NULL);
        return length;
    }
    ssize_t bytes = before
                        ? websocket_request_read(&peer->head, (const char *)peer->in.data,
                                                 peer->in.end, &request)
                        : websocket_request_read(&peer->head, (const char *)data, length, &request);
    if (bytes == 0) {
        if (before == 0 && !append(pool, &peer->in, data, length, true)) {
            fail(context, peer, PHASE_UPGRADE, ENOMEM, NULL);
        }
        return length;
    }
    int failed = bytes < 0 ? (int)bytes : answer_request(context, peer, &request);
    if (failed) {
        refuse(context, peer, failed);
    }
    release(pool, &peer->in);
    return failed ? length : (size_t)bytes - before;
}

/* ---- messages -------------------------------------------------------------------------------- */

static int echo(struct role_context *context, struct ws_peer *peer, bool text,
                const uint8_t *payload, size_t length)
{
    struct ws_pool *pool = context->shared;
    enum websocket_opcode opcode = text ? WEBSOCKET_TEXT : WEBSOCKET_BINARY;
    context->bank->counters[WS_SERVER_MESSAGES]++;
    context->bank->counters[WS_SERVER_BYTES] += length;
    if (!peer->compression) {
        return append_frame(pool, opcode, false, payload, length) ? 0 : WEBSOCKET_BAD_MEMORY;
    }
    size_t room = length + length / 8 + 1024;
    uint8_t *compressed = malloc(room);
    struct websocket_flow flow = {
        .from = payload, .length = length, .to = compressed, .room = room};
    int failed = compressed ? websocket_deflate(&peer->compression->deflater, &flow, true)
                            : WEBSOCKET_BAD_MEMORY;
    if (failed == 0 && !append_frame(pool, opcode, true, compressed, flow.made)) {
        failed = WEBSOCKET_BAD_MEMORY;
    }
    free(compressed);
    return failed > 0 ? WEBSOCKET_BAD_MEMORY : failed;
}

/* A piece of a compressed message, to what there is of it. */
static int inflate_piece(struct role_context *context, struct ws_peer *peer,
                         const struct websocket_event *event)
{
    struct websocket_flow flow = {.from = event->data, .length = event->length};
    int more;
    do {
        if (!reserve(context->shared, &peer->in, ROOM_LEAST, true)) {
            return WEBSOCKET_BAD_MEMORY;
        }
        flow.to = peer->in.data + peer->in.end;
        flow.room = peer->in.room - peer->in.end;
        more = websocket_inflate(&peer->compression->inflater, &flow, event->text, event->last);
        peer->in.end += more >= 0 ? flow.made : 0;
    } while (more > 0);
    return more;
}

/* 0 or an error. */
static int take_piece(struct role_context *context, struct ws_peer *peer,
                      const struct websocket_event *event)
{
    int failed = 0;
    if (event->compressed) {
        failed = inflate_piece(context, peer, event);
    } else if (event->first && event->last) {
        return echo(context, peer, event->text, event->data, event->length);
    } else if (!append(context->shared, &peer->in, event->data, event->length, true)) {
        failed = WEBSOCKET_BAD_MEMORY;
    }
    if (failed == 0 && event->last) {
        failed = echo(context, peer, event->text, peer->in.data, peer->in.end);
        release(context->shared, &peer->in);
    }
    return failed;
}

/* 0 or an error. */
static int take_event(struct role_context *context, struct ws_peer *peer,
                      const struct websocket_event *event)
{
    struct ws_pool *pool = context->shared;
    bool room = true;
    switch (event->kind) {
    case WEBSOCKET_DATA:
        return take_piece(context, peer, event);
    case WEBSOCKET_PINGED:
        context->bank->counters[WS_SERVER_PINGS]++;
        room = append_frame(pool, WEBSOCKET_PONG, false, event->data, event->length);
        break;
    case WEBSOCKET_CLOSED:
        context->bank->counters[WS_SERVER_CLOSED]++;
        room = append_close(pool, event->code);
        peer->state = PEER_ENDING;
        break;
    default:
        break;
    }
    return room ? 0 : WEBSOCKET_BAD_MEMORY;
}

static void take_frames(struct role_context *context, struct ws_peer *peer, uint8_t *data,
                        size_t length)
{
    while (length && peer->state == PEER_OPEN) {
        struct websocket_event event;
        ssize_t taken = websocket_read(&peer->reader, data, length, &event);
        int failed = taken < 0 ? (int)taken : take_event(context, peer, &event);
        if (failed) {
            break_off(context, peer, failed);
            return;
        }
        data += taken;
        length -= (size_t)taken;
    }
}

/* ---- the wire -------------------------------------------------------------------------------- */

/* The answer to a close frame goes with the end of the connection, in one segment: in two of them
 * the second would be sent again by the kernel where the client is slow to read (a loss probe). The
 * end is a shutdown, since a close that finds bytes behind the client's close frame would reset the
 * connection and lose the answer. */
static uint32_t last_words(const struct ws_peer *peer)
{
    return peer->state == PEER_ENDING ? OP_MORE : 0;
}

static void submit_kept(struct role_context *context, struct ws_peer *peer)
{
    struct op *op = step_submit(context, &peer->base, OP_SEND);
    op->data = peer->kept.data + peer->kept.begin;
    op->length = peer->kept.end - peer->kept.begin;
    op->flags = last_words(peer);
}

static void drained(struct role_context *context, struct ws_peer *peer);

/* Everything has gone. */
static void all_sent(struct role_context *context, struct ws_peer *peer)
{
    if (peer->state == PEER_ENDING) {
        step_submit(context, &peer->base, OP_SHUTDOWN);
        leave(context, peer);
    } else if (peer->state == PEER_REFUSED) {
        peer->state = PEER_LINGERS;
        step_submit(context, &peer->base, OP_SHUTDOWN);
        set_timer(context, clock_now_ns() + LINGER_NS);
    }
    if (peer->paused && peer->state != PEER_CLOSED) {
        peer->paused = false;
        step_submit(context, &peer->base, OP_RECEIVE);
    }
    if (context->draining) {
        drained(context, peer);
    }
}

static void keep(struct role_context *context, struct ws_peer *peer, const uint8_t *data,
                 size_t length)
{
    if (!peer->paused) {
        peer->paused = true;
        step_submit(context, &peer->base, OP_PAUSE);
    }
    if (!append(context->shared, &peer->kept, data, length, true)) {
        fail(context, peer, PHASE_SEND, 0, "out of memory for answers");
        return;
    }
    submit_kept(context, peer);
}

/* Sends what a step has answered. */
static void send_answer(struct role_context *context, struct ws_peer *peer)
{
    struct ws_pool *pool = context->shared;
    struct buffer *answer = &pool->answer;
    if (answer->end && peer->state != PEER_CLOSED) {
        if (context->sends_at_once) {
            struct op *op = step_submit(context, &peer->base, OP_SEND);
            op->data = answer->data;
            op->length = answer->end;
            /* What does not go at once comes back in `sent`. */
            op->flags = OP_TRY | last_words(peer);
        } else {
            keep(context, peer, answer->data, answer->end);
        }
    }
    if (answer->end == 0 && peer->state == PEER_REFUSED && peer->kept.end == 0) {
        leave(context, peer); /* without memory there is nothing to be said */
    }
    answer->end = 0;
}

static void received(struct role_context *context, struct ws_peer *peer, const struct op *op)
{
    if (op->result <= 0) {
        bool ordered = peer->state == PEER_LINGERS || peer->state == PEER_ENDING;
        if (ordered || (op->result == 0 && peer->state == PEER_REFUSED)) {
            leave(context, peer);
        } else if (op->result < 0) {
            fail(context, peer, PHASE_RECEIVE, (int)-op->result, NULL);
        } else {
            fail(context, peer, peer->state == PEER_HEAD ? PHASE_UPGRADE : PHASE_RECEIVE, 0,
                 peer->state == PEER_HEAD ? "the client closed the connection"
                                          : "the connection ended without a close frame");
        }
        return;
    }
    uint8_t *data = (uint8_t *)(uintptr_t)op->data; /* lent, and ours to write to */
    size_t length = (size_t)op->result;
    if (peer->state == PEER_HEAD) {
        size_t taken = take_head(context, peer, data, length);
        data += taken;
        length -= taken;
    }
    /* A request has its time from the accept on, in however many pieces it comes. */
    peer->active_ns = peer->state == PEER_HEAD ? peer->active_ns : op->now_ns;
    take_frames(context, peer, data, length);
    send_answer(context, peer);
}

static void sent(struct role_context *context, struct ws_peer *peer, const struct op *op)
{
    bool tried = op->flags & OP_TRY;
    int64_t result = tried && op->result == -EAGAIN ? 0 : op->result;
    if (result < 0) {
        fail(context, peer, PHASE_SEND, (int)-result, NULL);
        return;
    }
    if (tried && (size_t)result < op->length) {
        keep(context, peer, op->data + result, op->length - (size_t)result);
        return;
    }
    if (!tried) {
        peer->kept.begin += (size_t)result;
        if (peer->kept.begin < peer->kept.end) {
            submit_kept(context, peer);
            return;
        }
        release(context->shared, &peer->kept);
    }
    all_sent(context, peer);
}

static void idle_check(struct role_context *context, struct ws_peer *peer, uint64_t now_ns)
{
    uint64_t idle_ns = options_of(context)->idle_timeout_ns;
    if (peer->state == PEER_LINGERS) {
        leave(context, peer);
    } else if (idle_ns && now_ns - peer->active_ns >= idle_ns) {
        context->bank->counters[WS_SERVER_IDLE_CLOSED]++;
        if (peer->state == PEER_OPEN && peer->kept.end == 0) {
            drained(context, peer); /* it is told, and has as long again to read that */
            set_timer(context, now_ns + idle_ns);
        } else {
            leave(context, peer);
        }
    } else if (idle_ns) {
        set_timer(context, peer->active_ns + idle_ns);
    }
}

static void drained(struct role_context *context, struct ws_peer *peer)
{
    if (peer->state == PEER_HEAD) {
        leave(context, peer);
    } else if (peer->state == PEER_OPEN && peer->kept.end == 0) {
        append_close(context->shared, WEBSOCKET_GOING_AWAY);
        peer->state = PEER_REFUSED;
        send_answer(context, peer);
    }
}

static void step(struct role_context *context, struct connection *connection, const struct op *op)
{
    struct ws_peer *peer = peer_of(connection);
    if (peer->state == PEER_CLOSED) {
        return;
    }
    switch (op->kind) {
    case OP_START:
        context->bank->counters[WS_SERVER_ACCEPTED]++;
        if (op->security) {
            histogram_record(&context->bank->histograms[WS_SERVER_TLS], op->security->handshake_ns,
                             1);
        }
        peer->active_ns = op->now_ns;
        if (options_of(context)->idle_timeout_ns) {
            set_timer(context, op->now_ns + options_of(context)->idle_timeout_ns);
        }
        step_submit(context, connection, OP_RECEIVE);
        break;
    case OP_RECEIVE:
        received(context, peer, op);
        break;
    case OP_SEND:
        sent(context, peer, op);
        break;
    case OP_TIMER:
        idle_check(context, peer, op->now_ns);
        break;
    case OP_DRAIN:
        drained(context, peer);
        break;
    default:
        break;
    }
}

static uint64_t outstanding(const struct connection *connection)
{
    const struct ws_peer *peer = (const struct ws_peer *)(const void *)connection;
    return peer->state != PEER_CLOSED && peer->kept.end > 0;
}

static size_t connection_memory(const void *options)
{
    (void)options;
    return sizeof(struct ws_peer); /* waiting answers are bounded together */
}

static const struct histogram_metric histograms[] = {
    [WS_SERVER_TLS] = {"tls_handshake", "ns", "TLS handshake",
                       "from the accepted connection to the end of TLS's handshake, as this end "
                       "saw it"},
};

const struct role ws_server = {
    .connection_bytes = sizeof(struct ws_peer),
    .histograms = histograms,
    .histogram_count = sizeof histograms / sizeof *histograms,
    .times_security = true,
    .refused_counter = WS_SERVER_REFUSED,
    .open_worker = open_worker,
    .close_worker = close_worker,
    .open = open_peer,
    .step = step,
    .outstanding = outstanding,
    .close = close_peer,
    .connection_memory = connection_memory,
};
