/* The server of `sonde ping`: exactly one send for each message, of the message's length. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "codec/sockperf.h"
#include "workload/ping.h"

/* What a worker's connections share: where an answer to a datagram is made. */
struct ping_worker {
    uint8_t answer[PING_SIZE_MAX]; /* what is not used is never touched */
};

/* Bytes that are kept until they are needed; empty ones cost nothing. */
struct bytes {
    uint8_t *data;
    size_t begin, end, capacity;
};

struct ping_peer {
    struct connection base;
    struct bytes message;       /* stream: the one that is coming in or being answered */
    struct bytes waiting;       /* stream: what came after it */
    size_t message_bytes;       /* its length; 0: not known yet */
    uint64_t arrived_ns;        /* its last piece did */
    uint64_t arrived_stamp_ns;  /* as the kernel says; 0: it does not */
    uint64_t answering_real_ns; /* when the latest answer's send began; 0: already accounted for */
    bool sending, paused, peer_done, closing;
};

static const struct ping_options *options_of(const struct role_context *context)
{
    return context->options;
}

static struct ping_peer *peer_of(struct connection *connection)
{
    return (struct ping_peer *)(void *)connection;
}

static void *open_worker(const void *options, uint32_t connections, struct err *error)
{
    (void)options;
    (void)connections;
    struct ping_worker *worker = malloc(sizeof *worker);
    if (!worker) {
        err_system(error, ENOMEM, "ping", "cannot start");
    }
    return worker;
}

static int open_peer(struct role_context *context, struct connection *connection)
{
    (void)context;
    (void)connection;
    return 0;
}

static void release(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}

static void close_peer(struct role_context *context, struct connection *connection)
{
    struct ping_peer *peer = peer_of(connection);
    (void)context;
    release(&peer->message);
    release(&peer->waiting);
}

static size_t connection_memory(const void *options)
{
    const struct ping_options *ping = options;
    return sizeof(struct ping_peer) + 2 * ping->size_bytes;
}

static void shut(struct role_context *context, struct ping_peer *peer)
{
    if (!peer->closing) {
        peer->closing = true;
        step_submit(context, &peer->base, OP_CLOSE);
    }
}

static void fail(struct role_context *context, struct ping_peer *peer, enum bank_phase phase,
                 int number, const char *name)
{
    bank_error(context->bank, phase, number, name);
    shut(context, peer);
}

/* ---- kernel time stamps ---------------------------------------------------------------------- */

static void record_passed(struct role_context *context, enum ping_server_histogram which,
                          uint64_t from_ns, uint64_t to_ns)
{
    histogram_record(&context->bank->histograms[which], to_ns > from_ns ? to_ns - from_ns : 0, 1);
}

/* What the stamps of a receive say of this message's way in and of the latest answer's way out. */
static void take_stamps(struct role_context *context, struct ping_peer *peer, const struct op *op)
{
    const struct op_stamps *stamps = op->stamps;
    peer->arrived_stamp_ns = 0;
    if (!stamps) {
        return;
    }
    if (peer->answering_real_ns && stamps->sent_ns >= peer->answering_real_ns) {
        record_passed(context, PING_SERVER_SEND_CALL, peer->answering_real_ns, stamps->sent_ns);
    }
    peer->answering_real_ns = 0;
    if (stamps->received_ns) {
        uint64_t returned_ns = clock_real_ns() - (clock_now_ns() - op->now_ns);
        peer->arrived_stamp_ns = stamps->received_ns;
        record_passed(context, PING_SERVER_WAKE_UP, stamps->received_ns, returned_ns);
    }
}

/* The answer to a stamped message is about to be sent. */
static void stamp_answer(struct role_context *context, struct ping_peer *peer)
{
    if (peer->arrived_stamp_ns) {
        record_passed(context, PING_SERVER_APPLICATION, peer->arrived_ns, clock_now_ns());
        peer->answering_real_ns = clock_real_ns();
        peer->arrived_stamp_ns = 0;
    }
}

/* ---- datagrams ------------------------------------------------------------------------------- */

/* Answers one message to where it came from, and nobody else: never longer than it was. */
static void answer_datagram(struct role_context *context, struct ping_peer *peer,
                            const struct op *received)
{
    uint64_t *counters = context->bank->counters;
    size_t length = (size_t)received->result;
    struct ping_worker *worker = context->shared;
    if (options_of(context)->format == PING_SOCKPERF) {
        struct sockperf_header header;
        if (sockperf_decode(received->data, length, &header) != SOCKPERF_OK ||
            header.length != length || !(header.flags & SOCKPERF_CLIENT)) {
            counters[PING_SERVER_INVALID]++;
            return;
        }
        counters[PING_SERVER_RECEIVED]++;
        if (!sockperf_wants_answer(&header)) {
            counters[PING_SERVER_SILENT]++;
            return;
        }
        memcpy(worker->answer, received->data, length);
        sockperf_make_answer(worker->answer);
    } else {
        if (length > sizeof worker->answer || !ping_is_request(received->data, length)) {
            counters[PING_SERVER_INVALID]++;
            return;
        }
        counters[PING_SERVER_RECEIVED]++;
        memcpy(worker->answer, received->data, length);
        ping_make_answer(worker->answer);
    }
    struct op *op = step_submit(context, &peer->base, OP_SEND);
    op->data = worker->answer;
    op->length = length;
    op->peer = received->peer;
    op->peer_length = received->peer_length;
    op->flags = OP_TRY;
    stamp_answer(context, peer);
}

static void datagram_received(struct role_context *context, struct ping_peer *peer,
                              const struct op *op)
{
    if (op->result < 0) { /* ends nothing: of an answer that could not be delivered, mostly */
        bank_error(context->bank, PHASE_RECEIVE, (int)-op->result, NULL);
        return;
    }
    if ((op->segment && op->segment < (uint64_t)op->result) || op->length > (uint64_t)op->result) {
        /* Joined ones, for which nobody has asked, or one that was cut. */
        context->bank->counters[PING_SERVER_INVALID]++;
        return;
    }
    context->bank->counters[PING_SERVER_RECEIVED_BYTES] += (uint64_t)op->result;
    peer->arrived_ns = op->now_ns;
    take_stamps(context, peer, op);
    answer_datagram(context, peer, op);
}

static void datagram_sent(struct role_context *context, const struct op *op)
{
    uint64_t *counters = context->bank->counters;
    if (op->result < 0) {
        counters[PING_SERVER_DROPPED]++;
        bank_error(context->bank, PHASE_SEND, (int)-op->result, NULL);
        return;
    }
    counters[PING_SERVER_ANSWERED]++;
    counters[PING_SERVER_SENT_BYTES] += (uint64_t)op->result;
}

/* ---- streams --------------------------------------------------------------------------------- */

/* Appends to *bytes; 0 or -1 without memory. */
static int append(struct bytes *bytes, const uint8_t *data, size_t length)
{
    if (bytes->begin == bytes->end) {
        bytes->begin = bytes->end = 0;
    }
    if (bytes->end + length > bytes->capacity && bytes->begin) {
        memmove(bytes->data, bytes->data + bytes->begin, bytes->end - bytes->begin);
        bytes->end -= bytes->begin;
        bytes->begin = 0;
    }
    if (bytes->end + length > bytes->capacity) {
        size_t capacity = bytes->end + length;
        uint8_t *grown = realloc(bytes->data, capacity);
        if (!grown) {
            return -1;
        }
        bytes->data = grown;
        bytes->capacity = capacity;
    }
    memcpy(bytes->data + bytes->end, data, length);
    bytes->end += length;
    return 0;
}

/* Reads the head of the message that is coming in once all of it is there: how long the whole is.
 * NULL, or what is wrong. */
static const char *take_length(const struct role_context *context, struct ping_peer *peer,
                               size_t left)
{
    const struct ping_options *options = options_of(context);
    struct sockperf_header header;
    if (options->format == PING_OWN) {
        peer->message_bytes = options->size_bytes ? options->size_bytes : left;
        return NULL;
    }
    enum sockperf_result result = sockperf_decode(peer->message.data, peer->message.end, &header);
    if (result == SOCKPERF_SHORT) {
        return NULL;
    }
    if (result != SOCKPERF_OK) {
        return sockperf_text(result);
    }
    if (!(header.flags & SOCKPERF_CLIENT)) {
        return "a sockperf message that is no client's";
    }
    peer->message_bytes = header.length;
    return NULL;
}

/* Moves bytes into the message that is coming in, up to its end. Returns how many, or -1 where the
 * connection failed. */
static ssize_t take_piece(struct role_context *context, struct ping_peer *peer, const uint8_t *data,
                          size_t left)
{
    size_t have = peer->message.end;
    size_t whole = peer->message_bytes;
    if (whole == 0 && options_of(context)->format == PING_SOCKPERF) {
        whole = SOCKPERF_HEADER_BYTES;
    } else if (whole == 0) {
        take_length(context, peer, left);
        whole = peer->message_bytes;
    }
    size_t piece = whole - have < left ? whole - have : left;
    if (append(&peer->message, data, piece) < 0) {
        fail(context, peer, PHASE_SEND, ENOMEM, NULL);
        return -1;
    }
    if (peer->message_bytes == 0) {
        const char *wrong = take_length(context, peer, left);
        if (wrong) {
            context->bank->counters[PING_SERVER_INVALID]++;
            fail(context, peer, PHASE_PROTOCOL, 0, wrong);
            return -1;
        }
    }
    return (ssize_t)piece;
}

static void forget_message(struct ping_peer *peer)
{
    peer->message.begin = peer->message.end = 0;
    peer->message_bytes = 0;
}

static void submit_rest(struct role_context *context, struct ping_peer *peer)
{
    struct op *op = step_submit(context, &peer->base, OP_SEND);
    op->data = peer->message.data + peer->message.begin;
    op->length = peer->message.end - peer->message.begin;
}

/* The message is whole: answers it, or forgets it. */
static void take_message(struct role_context *context, struct ping_peer *peer)
{
    context->bank->counters[PING_SERVER_RECEIVED]++;
    if (options_of(context)->format == PING_SOCKPERF) {
        struct sockperf_header header = {0};
        sockperf_decode(peer->message.data, peer->message.end, &header);
        if (!sockperf_wants_answer(&header)) {
            context->bank->counters[PING_SERVER_SILENT]++;
            forget_message(peer);
            return;
        }
        sockperf_make_answer(peer->message.data);
    }
    peer->sending = true;
    submit_rest(context, peer);
    stamp_answer(context, peer);
}

/* Feeds bytes until a message is being answered. Returns how many were used, or -1. */
static ssize_t feed(struct role_context *context, struct ping_peer *peer, const uint8_t *data,
                    size_t length)
{
    size_t used = 0;
    while (used < length && !peer->sending) {
        ssize_t piece = take_piece(context, peer, data + used, length - used);
        if (piece < 0) {
            return -1;
        }
        used += (size_t)piece;
        if (peer->message_bytes && peer->message.end == peer->message_bytes) {
            take_message(context, peer);
        }
    }
    return (ssize_t)used;
}

/* Stops reading while more waits than one receive brings. */
static void regulate(struct role_context *context, struct ping_peer *peer)
{
    size_t waiting = peer->waiting.end - peer->waiting.begin;
    if (!peer->paused && waiting >= context->receive_bytes) {
        peer->paused = true;
        step_submit(context, &peer->base, OP_PAUSE);
    } else if (peer->paused && waiting == 0) {
        peer->paused = false;
        step_submit(context, &peer->base, OP_RECEIVE);
    }
}

static void stream_received(struct role_context *context, struct ping_peer *peer,
                            const struct op *op)
{
    if (op->result <= 0) {
        if (op->result < 0) {
            bank_error(context->bank, PHASE_RECEIVE, (int)-op->result, NULL);
        }
        peer->peer_done = true;
        if (!peer->sending || op->result < 0) {
            shut(context, peer);
        }
        return;
    }
    size_t length = (size_t)op->result;
    context->bank->counters[PING_SERVER_RECEIVED_BYTES] += length;
    peer->arrived_ns = op->now_ns;
    take_stamps(context, peer, op);
    ssize_t used = feed(context, peer, op->data, length);
    if (used >= 0 && (size_t)used < length &&
        append(&peer->waiting, op->data + used, length - (size_t)used) < 0) {
        fail(context, peer, PHASE_RECEIVE, ENOMEM, NULL);
        return;
    }
    if (used >= 0) {
        regulate(context, peer);
    }
}

static void stream_sent(struct role_context *context, struct ping_peer *peer, const struct op *op)
{
    if (op->result < 0) {
        /* A peer that went away before its answer is not the server's failure, but it is said. */
        fail(context, peer, PHASE_SEND, (int)-op->result, NULL);
        return;
    }
    context->bank->counters[PING_SERVER_SENT_BYTES] += (uint64_t)op->result;
    peer->message.begin += (size_t)op->result;
    if (peer->message.begin < peer->message.end) {
        submit_rest(context, peer);
        return;
    }
    context->bank->counters[PING_SERVER_ANSWERED]++;
    peer->sending = false;
    forget_message(peer);
    struct bytes *waiting = &peer->waiting;
    if (waiting->begin < waiting->end) {
        ssize_t used =
            feed(context, peer, waiting->data + waiting->begin, waiting->end - waiting->begin);
        if (used < 0) {
            return;
        }
        waiting->begin += (size_t)used;
    }
    if (!peer->sending && (peer->peer_done || context->draining)) {
        shut(context, peer);
        return;
    }
    regulate(context, peer);
}

/* ---- either ---------------------------------------------------------------------------------- */

static void step(struct role_context *context, struct connection *connection, const struct op *op)
{
    struct ping_peer *peer = peer_of(connection);
    bool datagram = ping_is_datagram(&connection->channel);
    if (peer->closing) {
        return;
    }
    switch (op->kind) {
    case OP_START:
        context->bank->counters[PING_SERVER_ACCEPTED] += !datagram;
        step_submit(context, connection, OP_RECEIVE);
        break;
    case OP_RECEIVE:
        if (datagram) {
            datagram_received(context, peer, op);
        } else {
            stream_received(context, peer, op);
        }
        break;
    case OP_SEND:
        if (datagram) {
            datagram_sent(context, op);
        } else {
            stream_sent(context, peer, op);
        }
        break;
    case OP_DRAIN:
        if (!peer->sending) {
            shut(context, peer);
        }
        break;
    default:
        break;
    }
}

static uint64_t outstanding(const struct connection *connection)
{
    const struct ping_peer *peer = (const struct ping_peer *)(const void *)connection;
    return !peer->closing && peer->sending;
}

static const struct histogram_metric histograms[] = {
    [PING_SERVER_WAKE_UP] = {"wake_up", "ns", "wake-up",
                             "from the stamp of a message's coming in to the return of the receive",
                             PART_OF_WHOLE},
    [PING_SERVER_APPLICATION] = {"application", "ns", "application",
                                 "from the return of a receive to the send of the answer",
                                 PART_OF_WHOLE},
    [PING_SERVER_SEND_CALL] = {"send_call", "ns", "send call",
                               "from the send of an answer to the stamp that the stack has handed "
                               "it on",
                               PART_OF_WHOLE},
};

const struct role ping_server = {
    .connection_bytes = sizeof(struct ping_peer),
    .histograms = histograms,
    .histogram_count = sizeof histograms / sizeof *histograms,
    .refused_counter = PING_SERVER_REFUSED,
    .open_worker = open_worker,
    .close_worker = free,
    .open = open_peer,
    .step = step,
    .outstanding = outstanding,
    .close = close_peer,
    .connection_memory = connection_memory,
};

const struct metric ping_server_metrics[PING_SERVER_METRICS] = {
    {"server_messages", "1", "server received", "whole messages that the server received",
     METRIC_COUNT, PING_SERVER_RECEIVED, 0, false},
    {"server_answers", "1", "server answered", "messages that the server answered in full",
     METRIC_COUNT, PING_SERVER_ANSWERED, 0, false},
    {"server_silent", "1", "server not asked", "messages that by their format want no answer",
     METRIC_COUNT, PING_SERVER_SILENT, 0, false},
    {"server_dropped", "1", "server dropped",
     "answers to datagrams that the kernel did not take at once", METRIC_COUNT, PING_SERVER_DROPPED,
     0, false},
    {"server_invalid", "1", "server invalid", "messages that do not keep to their format",
     METRIC_COUNT, PING_SERVER_INVALID, 0, false},
    {"server_accepted", "1", "server accepted", "connections that the server accepted",
     METRIC_COUNT, PING_SERVER_ACCEPTED, 0, false},
    {"server_refused", "1", "server refused",
     "connections that the server closed at once because it was full", METRIC_COUNT,
     PING_SERVER_REFUSED, 0, false},
};
