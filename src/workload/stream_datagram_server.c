/* The server of `sonde stream` over datagrams: one connection stands for all its peers. It keeps
 * account of the streams that clients send, and sends those that they ask for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "workload/stream_datagram.h"

/* No room, of which nothing tells when there is some: the socket is not that of one peer. */
#define NO_ROOM_NS (50 * NS_PER_US)

enum stream_state {
    STREAM_IDLE,    /* nobody has asked for it; or the client sends it */
    STREAM_SENDING, /* to peer */
    STREAM_ENDING,  /* the end is said until it is answered */
    STREAM_OVER,
};

struct datagram_stream {
    struct arrivals arrivals;
    struct datagram_sender sender;
    enum stream_state state;
    uint64_t token;    /* which only somebody at the address it was sent to can know */
    uint64_t heard_ns; /* the peer was there */
    uint64_t end_ns;   /* when the end is said again */
    struct sockaddr_storage peer;
    uint32_t peer_length;
};

struct datagram_server {
    struct connection base;
    struct datagram_stream *streams;
    uint32_t count, turn, row_sends;
    uint32_t only;                   /* greeted: the stream of this connection; else UINT32_MAX */
    uint64_t room_ns;                /* nothing is sent before */
    struct datagram_stream *sending; /* whose send is under way */
    uint8_t answer[DATAGRAM_BYTES], end[DATAGRAM_BYTES];
};

static struct datagram_server *server_of(struct connection *connection)
{
    return (struct datagram_server *)(void *)connection;
}

static void close_server(struct role_context *context, struct connection *connection)
{
    struct datagram_server *server = server_of(connection);
    (void)context;
    for (uint32_t i = 0; server->streams && i < server->count; i++) {
        datagram_sender_close(&server->streams[i].sender);
    }
    free(server->streams);
    server->streams = NULL;
}

static bool is_here(const struct datagram_server *server, uint32_t number)
{
    return server->only == UINT32_MAX || server->only == number;
}

static int open_server(struct role_context *context, struct connection *connection)
{
    struct datagram_server *server = server_of(connection);
    const struct stream_options *options = datagram_options(context);
    struct datagram_worker *worker = context->shared;
    server->only = context->greeted ? context->first_number + worker->opened++ : UINT32_MAX;
    server->count = (uint32_t)stream_connections(options);
    server->streams = calloc(server->count, sizeof *server->streams);
    if (!server->streams) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < server->count; i++) {
        struct datagram_stream *stream = &server->streams[i];
        if (stream_client_sends(options, i) || !is_here(server, i)) {
            continue;
        }
        /* What has been opened where one fails, close_server closes. */
        if (getrandom(&stream->token, sizeof stream->token, 0) != sizeof stream->token) {
            return -errno;
        }
        stream->token |= 1; /* 0 is none */
        if (datagram_sender_open(&stream->sender, context, i) < 0) {
            return -ENOMEM;
        }
    }
    return 0;
}

static struct bank_flow *flow_of(struct role_context *context, const struct datagram *head)
{
    return step_flow_at(context, head->number, head->number);
}

static void answer(struct role_context *context, struct datagram_server *server,
                   const struct op *op, const struct datagram *datagram)
{
    datagram_encode(server->answer, datagram);
    struct op *send = step_submit(context, &server->base, OP_SEND);
    send->data = server->answer;
    send->length = sizeof server->answer;
    send->peer = op->peer;
    send->peer_length = op->peer_length;
}

/* ---- sending ---- */

/* When the stream has something to send: now or before, later, or never (UINT64_MAX). */
static uint64_t wake_ns(struct role_context *context, struct datagram_stream *stream,
                        uint64_t now_ns)
{
    if (stream->state != STREAM_SENDING && stream->state != STREAM_ENDING) {
        return UINT64_MAX;
    }
    if (now_ns > stream->heard_ns + DATAGRAM_GONE_NS) {
        stream->state = STREAM_OVER;
        return UINT64_MAX;
    }
    if (stream->state == STREAM_SENDING && stream->sender.left == 0) {
        stream->state = STREAM_ENDING;
        stream->end_ns = now_ns;
    }
    if (stream->state == STREAM_ENDING) {
        return stream->end_ns;
    }
    return datagram_sender_due(&stream->sender, datagram_options(context), now_ns)
               ? now_ns
               : stream->sender.due_ns;
}

static void send_one(struct role_context *context, struct datagram_server *server,
                     struct datagram_stream *stream, uint64_t now_ns)
{
    struct op *op = step_submit(context, &server->base, OP_SEND);
    server->sending = stream;
    if (stream->state == STREAM_SENDING) {
        datagram_sender_fill(&stream->sender, datagram_options(context), now_ns, op);
    } else {
        const struct datagram end = {.kind = DATAGRAM_END,
                                     .number = stream->sender.number,
                                     .sequence = stream->sender.sequence};
        datagram_encode(server->end, &end);
        op->data = server->end;
        op->length = sizeof server->end;
        stream->end_ns = now_ns + DATAGRAM_AGAIN_NS;
    }
    op->peer = (const struct sockaddr *)(const void *)&stream->peer;
    op->peer_length = stream->peer_length;
}

/* One send of the stream whose turn it is, or the time of the next. */
static void send_more(struct role_context *context, struct datagram_server *server)
{
    uint64_t next_ns = UINT64_MAX;
    if (server->sending) {
        return;
    }
    if (server->row_sends >= DATAGRAM_SENDS_IN_A_ROW) {
        context->out.resume = true;
        return;
    }
    uint64_t now_ns = clock_now_ns();
    bool room = now_ns >= server->room_ns;
    for (uint32_t i = 0; i < server->count; i++) {
        uint32_t turn = (server->turn + i) % server->count;
        uint64_t at_ns = wake_ns(context, &server->streams[turn], now_ns);
        if (at_ns <= now_ns && room) {
            server->turn = (turn + 1) % server->count;
            send_one(context, server, &server->streams[turn], now_ns);
            return;
        }
        next_ns = at_ns < next_ns ? at_ns : next_ns;
    }
    if (next_ns != UINT64_MAX) {
        context->bank->counters[STREAM_COUNT_PAUSES]++;
        context->out.set_timer = true;
        context->out.timer_ns = room ? next_ns : server->room_ns;
    }
}

static void sent(struct role_context *context, struct datagram_server *server, const struct op *op)
{
    struct datagram_stream *stream = server->sending;
    if (op->data == server->answer) {
        return; /* the client asks again where it was lost */
    }
    server->sending = NULL;
    server->row_sends++;
    if (op->result == -EAGAIN || op->result == -ENOBUFS) {
        server->room_ns =
            clock_now_ns() + (op->result == -EAGAIN ? NO_ROOM_NS : DATAGRAM_NO_BUFFERS_NS);
    } else if (op->result < 0) {
        stream->state = STREAM_OVER;
        if (op->result != -ECONNREFUSED && op->result != -ENOENT) { /* these: it is gone */
            bank_error(context->bank, PHASE_SEND, (int)-op->result, NULL);
        }
    } else if (op->data != server->end) {
        uint32_t number = stream->sender.number;
        datagram_sender_sent(&stream->sender, context, step_flow_at(context, number, number),
                             (uint64_t)op->result);
    }
    send_more(context, server);
}

/* ---- receiving ---- */

static bool is_peer(const struct datagram_stream *stream, const struct op *op)
{
    return stream->peer_length && stream->peer_length == op->peer_length &&
           memcmp(&stream->peer, op->peer, op->peer_length) == 0;
}

static void take_hello(struct role_context *context, struct datagram_server *server,
                       struct datagram_stream *stream, const struct datagram *head,
                       const struct op *op)
{
    if (head->sequence != stream->token) {
        const struct datagram who = {
            .kind = DATAGRAM_WHO, .number = head->number, .sequence = stream->token};
        answer(context, server, op, &who);
    } else if (stream->state == STREAM_IDLE && op->peer_length <= sizeof stream->peer) {
        stream->state = STREAM_SENDING;
        stream->heard_ns = op->now_ns;
        stream->peer_length = op->peer_length;
        memcpy(&stream->peer, op->peer, op->peer_length);
    }
}

/* The client wants no more, and hears how many there were: from here where nothing is sent, else
 * from the stream itself. */
static void take_stop(struct role_context *context, struct datagram_server *server,
                      struct datagram_stream *stream, const struct datagram *head,
                      const struct op *op)
{
    if (stream->state == STREAM_SENDING && is_peer(stream, op)) {
        stream->state = STREAM_ENDING;
        stream->end_ns = op->now_ns;
    } else if (stream->state != STREAM_SENDING) {
        const struct datagram end = {
            .kind = DATAGRAM_END, .number = head->number, .sequence = stream->sender.sequence};
        stream->state = stream->state == STREAM_IDLE ? STREAM_OVER : stream->state;
        answer(context, server, op, &end);
    }
}

/* What a client says of a stream that it receives. */
static void take_wish(struct role_context *context, struct datagram_server *server,
                      const struct datagram *head, const struct op *op)
{
    struct datagram_stream *stream = &server->streams[head->number];
    if (is_peer(stream, op)) {
        stream->heard_ns = op->now_ns;
    }
    if (head->kind == DATAGRAM_HELLO) {
        take_hello(context, server, stream, head, op);
    } else if (head->kind == DATAGRAM_STOP) {
        take_stop(context, server, stream, head, op);
    } else if (head->kind == DATAGRAM_END_HEARD && is_peer(stream, op)) {
        stream->state = STREAM_OVER;
    }
}

/* What a client says of a stream that it sends; true: it was payload. */
static bool take_sent(struct role_context *context, struct datagram_server *server,
                      const struct datagram *head, const uint8_t *data, size_t length,
                      const struct op *op)
{
    struct arrivals *arrivals = &server->streams[head->number].arrivals;
    if (head->kind == DATAGRAM_PAYLOAD) {
        datagram_take(context, arrivals, flow_of(context, head), head, data, length, op->now_ns);
        return true;
    }
    if (head->kind == DATAGRAM_END) {
        struct datagram heard = *head;
        heard.kind = DATAGRAM_END_HEARD;
        datagram_take_end(context, arrivals, flow_of(context, head), head->sequence);
        answer(context, server, op, &heard);
    }
    return false;
}

/* One receive: a datagram, or several of one length that the kernel has joined, of which one at
 * most is answered. */
static void received(struct role_context *context, struct datagram_server *server,
                     const struct op *op)
{
    size_t length = op->result > 0 ? (size_t)op->result : 0, payload = 0;
    size_t each = op->segment ? op->segment : length;
    if (op->result == -EAGAIN || op->result == -ENOBUFS) {
        server->room_ns = clock_now_ns() + NO_ROOM_NS; /* uring: of a send that counts as lost */
        return;
    }
    if (op->result < 0) {
        bank_error(context->bank, PHASE_RECEIVE, (int)-op->result, NULL);
        return;
    }
    for (size_t at = 0; (at < length || at == 0) && context->out.count == 0;
         at += each ? each : 1) {
        const uint8_t *data = op->data + at;
        size_t piece = length - at < each ? length - at : each;
        struct datagram head;
        if (op->length > length || !datagram_decode(data, piece, &head) ||
            head.number >= server->count || !is_here(server, head.number)) {
            bank_error(context->bank, PHASE_PROTOCOL, 0, "a datagram of somebody else's");
        } else if (!stream_client_sends(datagram_options(context), head.number)) {
            take_wish(context, server, &head, op);
        } else if (take_sent(context, server, &head, data, piece, op)) {
            payload += piece;
        }
    }
    if (payload) {
        datagram_count_receive(context, payload);
    }
}

static void step(struct role_context *context, struct connection *connection, const struct op *op)
{
    struct datagram_server *server = server_of(connection);
    switch (op->kind) {
    case OP_START:
        step_submit(context, connection, OP_RECEIVE);
        break;
    case OP_RECEIVE:
        received(context, server, op);
        send_more(context, server);
        break;
    case OP_SEND:
        sent(context, server, op);
        break;
    case OP_RESUME:
    case OP_TIMER:
        server->row_sends = 0;
        send_more(context, server);
        break;
    default:
        break;
    }
}

static uint64_t outstanding(const struct connection *connection)
{
    (void)connection;
    return 0;
}

const struct role stream_datagram_server = {DATAGRAM_ROLE,
                                            .connection_bytes = sizeof(struct datagram_server),
                                            .open = open_server,
                                            .step = step,
                                            .outstanding = outstanding,
                                            .close = close_server};
