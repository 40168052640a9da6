/* Both ends of `sonde stream`: one state machine, whose side sends or receives. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "codec/hello.h"
#include "workload/stream.h"
#include "workload/stream_payload.h"

/* What a connection may send before the loop is entered again, which would else never be where
 * sends always succeed. */
#define SENDS_IN_A_ROW 64
#define BYTES_IN_A_ROW ((uint64_t)8 << 20)
/* Nor may it keep the loop waiting for so long, where sends block: looked at every few sends. */
#define ROW_NS (2 * NS_PER_MS)
#define ROW_LOOK 8
/* A paced sender that was held up makes up for so much and no more. */
#define CATCH_UP_NS (100 * NS_PER_MS)
/* Where the kernel paces, so much may be given to it ahead of time. What it holds beyond that would
 * take its own time to leave at the end, and be in intervals in which it has not left. */
#define KERNEL_LEAD_NS (20 * NS_PER_MS)

/* What a worker's connections share. */
struct stream_worker {
    uint32_t opened; /* client, or greeted: connections so far, in the order of opening */
    struct stream_payload payload;
};

struct stream_connection {
    struct connection base;
    uint64_t sent, received;    /* payload since the beginning */
    uint64_t left;              /* to send or to receive; UINT64_MAX: no end */
    uint64_t due_ns;            /* paced: when the next block may go; 0: not begun */
    uint64_t row_bytes, row_ns; /* sent in a row, and since when */
    uint32_t row_sends;
    uint32_t number; /* among all connections of the run */
    uint8_t hello[HELLO_BYTES];
    uint8_t hello_bytes; /* of it sent or received */
    bool client, sends;
    bool started;   /* the client has begun to say hello */
    bool in_flight; /* a send is under way */
    bool stopped;   /* sends nothing more, or (a receiving client) has asked for the end */
    bool peer_done; /* it has ended its direction */
    bool closing;
};

static const struct stream_options *options_of(const struct role_context *context)
{
    return context->options;
}

static struct stream_connection *stream_of(struct connection *connection)
{
    return (struct stream_connection *)(void *)connection;
}

static void *open_worker(const void *options, uint32_t connections, struct err *error)
{
    const struct stream_options *stream = options;
    (void)connections;
    struct stream_worker *worker = calloc(1, sizeof *worker);
    if (!worker) {
        err_system(error, ENOMEM, "stream", "cannot start a worker");
        return NULL;
    }
    if (stream_payload_open(&worker->payload, stream->length_bytes,
                            stream->zerocopy == ZEROCOPY_SENDFILE, error) < 0) {
        free(worker);
        return NULL;
    }
    return worker;
}

static size_t worker_memory(const void *options)
{
    return stream_payload_memory(((const struct stream_options *)options)->length_bytes);
}

static void close_worker(void *shared)
{
    struct stream_worker *worker = shared;
    stream_payload_close(&worker->payload);
    free(worker);
}

static size_t connection_memory(const void *options)
{
    (void)options;
    return sizeof(struct stream_connection); /* payload is shared, receives use a lent buffer */
}

/* Once it is known which stream this is, and what for. */
static void set_course(const struct role_context *context, struct stream_connection *stream,
                       uint32_t number, bool sends)
{
    const struct stream_options *options = options_of(context);
    stream->number = number;
    stream->sends = sends;
    stream->left = UINT64_MAX;
    if (options->total_bytes) {
        stream->left = stream_share(options, number);
    }
}

static int open_client(struct role_context *context, struct connection *connection)
{
    struct stream_worker *worker = context->shared;
    struct stream_connection *stream = stream_of(connection);
    uint32_t number = context->first_number + worker->opened++;
    stream->client = true;
    set_course(context, stream, number, stream_client_sends(options_of(context), number));
    if (context->foreign_peer || context->greeted) {
        stream->hello_bytes = HELLO_BYTES; /* it would take it for payload */
    } else {
        struct hello hello = {.flags = stream->sends ? 0 : HELLO_REVERSE, .number = number};
        hello_encode(stream->hello, &hello);
    }
    return 0;
}

static int open_server(struct role_context *context, struct connection *connection)
{
    if (context->greeted) {
        struct stream_worker *worker = context->shared;
        struct stream_connection *stream = stream_of(connection);
        uint32_t number = context->first_number + worker->opened++;
        stream->hello_bytes = HELLO_BYTES;
        set_course(context, stream, number, !stream_client_sends(options_of(context), number));
    }
    return 0; /* else the hello says what it is for */
}

static void close_role(struct role_context *context, struct connection *connection)
{
    (void)context;
    (void)connection;
}

static void close_stream(struct role_context *context, struct stream_connection *stream)
{
    if (!stream->closing) {
        stream->closing = true;
        step_submit(context, &stream->base, OP_CLOSE);
    }
}

static void fail(struct role_context *context, struct stream_connection *stream,
                 enum bank_phase phase, int number, const char *name)
{
    bank_error(context->bank, phase, number, name);
    close_stream(context, stream);
}

static void count(struct role_context *context, struct stream_connection *stream, bool sent,
                  uint64_t bytes)
{
    uint64_t *counters = context->bank->counters;
    struct bank_flow *flow = step_flow(context, &stream->base, stream->number);
    counters[sent ? STREAM_COUNT_SENDS : STREAM_COUNT_RECEIVES]++;
    counters[sent ? STREAM_COUNT_SENT_BYTES : STREAM_COUNT_RECEIVED_BYTES] += bytes;
    if (flow) {
        flow->counters[sent ? STREAM_FLOW_SENDS : STREAM_FLOW_RECEIVES]++;
        flow->counters[sent ? STREAM_FLOW_SENT_BYTES : STREAM_FLOW_RECEIVED_BYTES] += bytes;
    }
    if (stream->left != UINT64_MAX) {
        stream->left -= bytes < stream->left ? bytes : stream->left;
    }
    if (context->quota != UINT64_MAX) { /* of a counted run: in bytes */
        context->quota -= bytes < context->quota ? bytes : context->quota;
    }
}

/* ---- sending ---- */

static void say_hello(struct role_context *context, struct stream_connection *stream)
{
    struct op *op = step_submit(context, &stream->base, OP_SEND);
    op->data = stream->hello + stream->hello_bytes;
    op->length = HELLO_BYTES - stream->hello_bytes;
    stream->in_flight = true;
}

/* A client that sends to somebody who is not sonde's listens from the beginning: what comes back is
 * no stream's, and an echo that nobody reads ends with both sides waiting for ever. */
static bool listens(const struct role_context *context, const struct stream_connection *stream)
{
    return stream->client && stream->sends && context->foreign_peer && !context->ends_apart;
}

/* Nothing more is sent. A client then waits until the server has read it all and says so. */
static void stop(struct role_context *context, struct stream_connection *stream)
{
    stream->stopped = true;
    if (context->ends_apart) {
        stream->peer_done = true;
        return;
    }
    step_submit(context, &stream->base, OP_SHUTDOWN);
    if (stream->client && stream->sends) {
        if (!listens(context, stream)) {
            step_submit(context, &stream->base, OP_RECEIVE);
        }
    } else if (!stream->client && stream->peer_done) {
        close_stream(context, stream);
    }
}

/* Paced: false where the next block has to wait. The kernel's pacing spreads what it was given. */
static bool may_send(struct role_context *context, struct stream_connection *stream)
{
    const struct stream_options *options = options_of(context);
    uint64_t lead_ns = options->pacing == PACING_KERNEL ? KERNEL_LEAD_NS : 0;
    if (options->rate_bytes == 0) {
        return true;
    }
    uint64_t now_ns = clock_now_ns();
    if (stream->due_ns == 0 || stream->due_ns + CATCH_UP_NS < now_ns) {
        stream->due_ns = now_ns;
    }
    if (stream->due_ns <= now_ns + lead_ns) {
        return true;
    }
    context->bank->counters[STREAM_COUNT_PAUSES]++;
    context->out.set_timer = true;
    context->out.timer_ns = stream->due_ns - lead_ns;
    return false;
}

/* The loop has been entered. */
static void new_row(struct stream_connection *stream)
{
    stream->row_sends = 0;
    stream->row_bytes = 0;
}

static bool row_is_long(struct stream_connection *stream)
{
    if (stream->row_sends >= SENDS_IN_A_ROW || stream->row_bytes >= BYTES_IN_A_ROW) {
        return true;
    }
    if (stream->row_sends % ROW_LOOK) {
        return false;
    }
    uint64_t now_ns = clock_now_ns();
    stream->row_ns = stream->row_sends ? stream->row_ns : now_ns;
    return now_ns - stream->row_ns > ROW_NS;
}

static void send_more(struct role_context *context, struct stream_connection *stream)
{
    struct stream_worker *worker = context->shared;
    if (stream->in_flight || stream->stopped) {
        return;
    }
    if (stream->left == 0 || context->draining || stream->peer_done) {
        stop(context, stream);
        return;
    }
    if (row_is_long(stream)) {
        context->out.resume = true;
        return;
    }
    if (!may_send(context, stream)) {
        return;
    }
    const struct stream_payload *payload = &worker->payload;
    struct op *op = step_submit(context, &stream->base, OP_SEND);
    op->data = payload->pattern + stream->sent % STREAM_PATTERN_PERIOD;
    op->length = payload->bytes < stream->left ? payload->bytes : (size_t)stream->left;
    op->flags = options_of(context)->zerocopy == ZEROCOPY_MSG ? OP_ZEROCOPY : 0;
    op->file = payload->file.fd >= 0 ? &payload->file : NULL;
    stream->in_flight = true;
}

static void begin(struct role_context *context, struct stream_connection *stream)
{
    if (stream->sends) {
        /* A server's receive goes on, for the client to ask for the end. */
        if (!stream->client || listens(context, stream)) {
            step_submit(context, &stream->base, OP_RECEIVE)->flags = OP_END_ONLY;
        }
        send_more(context, stream);
    } else if (stream->client && context->draining && !stream->stopped) {
        stop(context, stream); /* was asked for the end before the hello had gone */
    }
}

static void sent(struct role_context *context, struct stream_connection *stream,
                 const struct op *op)
{
    stream->in_flight = false;
    if (op->now_ns) { /* not done at once */
        new_row(stream);
    }
    if (op->result < 0) {
        fail(context, stream, PHASE_SEND, (int)-op->result, NULL);
        return;
    }
    if (stream->hello_bytes < HELLO_BYTES) {
        stream->hello_bytes = (uint8_t)(stream->hello_bytes + op->result);
        if (stream->hello_bytes < HELLO_BYTES) {
            say_hello(context, stream);
        } else {
            begin(context, stream);
        }
        return;
    }
    uint64_t bytes = (uint64_t)op->result, rate = options_of(context)->rate_bytes;
    count(context, stream, true, bytes);
    stream->sent += bytes;
    stream->row_sends++;
    stream->row_bytes += bytes;
    if (rate) {
        stream->due_ns += (uint64_t)((double)bytes * 1e9 / (double)rate);
    }
    send_more(context, stream);
}

/* ---- receiving ---- */

/* The payload at `data` is that of the stream from its present position on. */
static bool is_right(const struct stream_worker *worker, const struct stream_connection *stream,
                     const uint8_t *data, size_t length)
{
    const struct stream_payload *payload = &worker->payload;
    for (size_t done = 0; done < length;) {
        size_t piece = length - done < payload->bytes ? length - done : payload->bytes;
        const uint8_t *right = payload->pattern + (stream->received + done) % STREAM_PATTERN_PERIOD;
        if (memcmp(data + done, right, piece) != 0) {
            return false;
        }
        done += piece;
    }
    return true;
}

static void take_payload(struct role_context *context, struct stream_connection *stream,
                         const uint8_t *data, size_t length)
{
    if (stream->sends) {
        bool echo = stream->client && is_right(context->shared, stream, data, length);
        fail(context, stream, PHASE_PROTOCOL, 0,
             echo ? "the server sends back what it gets (an echo)" : "the receiving end sent data");
        return;
    }
    if (options_of(context)->verify && !is_right(context->shared, stream, data, length)) {
        fail(context, stream, PHASE_PROTOCOL, 0, "payload is not what was sent");
        return;
    }
    histogram_record(&context->bank->histograms[STREAM_RECEIVED_SIZE], length, 1);
    count(context, stream, false, length);
    stream->received += length;
    if (stream->left == 0 && context->foreign_peer) {
        stream->peer_done = true; /* it does not know that this was all */
        step_submit(context, &stream->base, OP_PAUSE);
    }
}

/* A server: takes the hello off the front; returns how many bytes of the data it was, -1 where it
 * is none. */
static int64_t take_hello(struct role_context *context, struct stream_connection *stream,
                          const uint8_t *data, size_t length)
{
    struct hello hello;
    const char *reason;
    size_t wanted = HELLO_BYTES - (size_t)stream->hello_bytes;
    size_t taken = length < wanted ? length : wanted;
    memcpy(stream->hello + stream->hello_bytes, data, taken);
    stream->hello_bytes = (uint8_t)(stream->hello_bytes + taken);
    int result = hello_decode(stream->hello, stream->hello_bytes, &hello, &reason);
    if (result < 0) {
        fail(context, stream, PHASE_PROTOCOL, 0, reason);
        return -1;
    }
    if (result > 0) {
        set_course(context, stream, hello.number, hello.flags & HELLO_REVERSE);
        begin(context, stream);
    }
    return (int64_t)taken;
}

/* The peer has ended its direction. */
static void ended(struct role_context *context, struct stream_connection *stream)
{
    stream->peer_done = true;
    if (!stream->client) {
        if (stream->hello_bytes < HELLO_BYTES || !stream->sends || stream->stopped) {
            close_stream(context, stream); /* everything has been read */
        } else {
            send_more(context, stream); /* asked to end */
        }
    } else if (stream->sends ? !stream->stopped
                             : stream->left != 0 && !stream->stopped && !context->foreign_peer) {
        fail(context, stream, PHASE_RECEIVE, 0, "the other end closed the stream");
    }
}

static void received(struct role_context *context, struct stream_connection *stream,
                     const struct op *op)
{
    if (op->result < 0) {
        fail(context, stream, PHASE_RECEIVE, (int)-op->result, NULL);
        return;
    }
    if (op->result == 0) {
        ended(context, stream);
        return;
    }
    const uint8_t *data = op->data;
    size_t length = (size_t)op->result;
    if (!stream->client && stream->hello_bytes < HELLO_BYTES) {
        int64_t taken = take_hello(context, stream, data, length);
        if (taken < 0 || (size_t)taken == length) {
            return;
        }
        data += taken;
        length -= (size_t)taken;
    }
    take_payload(context, stream, data, length);
}

/* ---- both ---- */

static void start_client(struct role_context *context, struct stream_connection *stream)
{
    stream->started = true;
    if (!stream->sends) {
        step_submit(context, &stream->base, OP_RECEIVE);
    }
    if (stream->hello_bytes < HELLO_BYTES) {
        say_hello(context, stream);
    } else {
        begin(context, stream);
    }
}

/* The window is over. A server hears of it from its client. */
static void drain_client(struct role_context *context, struct stream_connection *stream)
{
    if (!stream->started || stream->in_flight || stream->stopped || stream->peer_done) {
        return;
    }
    if (stream->sends) {
        context->out.set_timer = true; /* paced: not needed any more */
        context->out.timer_ns = 0;
        stop(context, stream);
    } else if (context->foreign_peer) {
        stream->peer_done = true; /* nobody can ask it to stop */
        step_submit(context, &stream->base, OP_PAUSE);
    } else {
        stop(context, stream);
    }
}

static void step(struct role_context *context, struct connection *connection, const struct op *op)
{
    struct stream_connection *stream = stream_of(connection);
    if (stream->closing) {
        return;
    }
    switch (op->kind) {
    case OP_START:
        if (stream->client) {
            start_client(context, stream);
        } else {
            context->bank->counters[STREAM_COUNT_ACCEPTED]++;
            if (stream->hello_bytes == HELLO_BYTES && stream->sends) {
                begin(context, stream);
            } else {
                step_submit(context, connection, OP_RECEIVE);
            }
        }
        break;
    case OP_RECEIVE:
        received(context, stream, op);
        break;
    case OP_SEND:
        sent(context, stream, op);
        break;
    case OP_RESUME:
        new_row(stream);
        send_more(context, stream);
        break;
    case OP_TIMER:
        send_more(context, stream);
        break;
    case OP_DRAIN:
        if (stream->client) {
            drain_client(context, stream);
        }
        break;
    default:
        break;
    }
}

/* A client is done once what it sent has been read, or what it receives has ended. */
static uint64_t outstanding(const struct connection *connection)
{
    const struct stream_connection *stream =
        (const struct stream_connection *)(const void *)connection;
    if (stream->closing || !stream->started || stream->peer_done) {
        return 0;
    }
    return 1;
}

static bool can_take(const struct role_context *context, const struct connection *connection)
{
    (void)context;
    (void)connection;
    return false; /* there is no open loop of streams */
}

static const struct histogram_metric histograms[] = {
    [STREAM_RECEIVED_SIZE] = {"received_size", "bytes", "received sizes",
                              "bytes that one receive returned"},
};

#define STREAM_ROLE                                                                                \
    .connection_bytes = sizeof(struct stream_connection), .histograms = histograms,                \
    .histogram_count = sizeof histograms / sizeof *histograms,                                     \
    .refused_counter = STREAM_COUNT_REFUSED, .flow_counters = STREAM_FLOW_COUNTERS,                \
    .connection_memory = connection_memory, .worker_memory = worker_memory,                        \
    .open_worker = open_worker, .close_worker = close_worker, .step = step,                        \
    .outstanding = outstanding, .close = close_role

const struct role stream_client = {STREAM_ROLE, .open = open_client, .can_take = can_take};
const struct role stream_server = {STREAM_ROLE, .open = open_server};
