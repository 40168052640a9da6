/* `sonde stream` over datagrams: numbered, in batches, paced by timers; the server keeps account of
 * each stream's loss, order, duplicates and jitter. Its one connection stands for all its peers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "codec/datagram.h"
#include "workload/arrivals.h"
#include "workload/stream.h"

#define SENDS_IN_A_ROW 64
#define CATCH_UP_NS (100 * NS_PER_MS)
/* How often the end of a stream is said until it is answered. */
#define END_NS (20 * NS_PER_MS)
/* The kernel had no memory for it: not full, so that it would say when there is room. */
#define NO_BUFFERS_NS NS_PER_MS
/* What a datagram of any length holds behind its head: its position in it modulo this. */
#define PATTERN_PERIOD 251

struct datagram_worker {
    uint32_t opened;
    uint8_t pattern[];
};

struct datagram_client {
    struct connection base;
    uint8_t *batch; /* what is being sent: `batch` datagrams */
    uint64_t sequence;
    uint64_t left; /* bytes */
    uint64_t due_ns;
    uint32_t number, row_sends;
    uint8_t end[DATAGRAM_BYTES];
    bool started, in_flight, ending, end_in_flight, done, closing;
};

struct datagram_server {
    struct connection base;
    struct arrivals *streams;
    uint8_t answer[DATAGRAM_BYTES];
    bool closing;
};

static const struct stream_options *options_of(const struct role_context *context)
{
    return context->options;
}

static struct datagram_client *client_of(struct connection *connection)
{
    return (struct datagram_client *)(void *)connection;
}

static struct datagram_server *server_of(struct connection *connection)
{
    return (struct datagram_server *)(void *)connection;
}

static void *open_worker(const void *options, uint32_t connections, struct err *error)
{
    const struct stream_options *stream = options;
    (void)connections;
    struct datagram_worker *worker = malloc(sizeof *worker + stream->length_bytes);
    if (!worker) {
        err_system(error, ENOMEM, "stream", "cannot make the payload");
        return NULL;
    }
    worker->opened = 0;
    for (size_t i = 0; i < stream->length_bytes; i++) {
        worker->pattern[i] = (uint8_t)(i % PATTERN_PERIOD);
    }
    return worker;
}

static void close_worker(void *shared)
{
    free(shared);
}

static size_t connection_memory(const void *options)
{
    const struct stream_options *stream = options;
    return sizeof(struct datagram_client) + stream->batch * stream->length_bytes;
}

static void count_flow(struct bank_flow *flow, enum stream_flow_counter counter, uint64_t by)
{
    if (flow) {
        flow->counters[counter] += by;
    }
}

/* ---- client ---- */

static int open_client(struct role_context *context, struct connection *connection)
{
    struct datagram_client *client = client_of(connection);
    struct datagram_worker *worker = context->shared;
    const struct stream_options *options = options_of(context);
    client->number = context->first_number + worker->opened++;
    client->batch = malloc(options->batch * options->length_bytes);
    if (!client->batch) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < options->batch; i++) {
        memcpy(client->batch + i * options->length_bytes, worker->pattern, options->length_bytes);
    }
    client->left = UINT64_MAX;
    if (options->total_bytes) {
        client->left = stream_share_end(options, client->number) -
                       (client->number ? stream_share_end(options, client->number - 1) : 0);
    }
    return 0;
}

static void close_client(struct role_context *context, struct connection *connection)
{
    struct datagram_client *client = client_of(connection);
    (void)context;
    free(client->batch);
    client->batch = NULL;
}

static void fail_client(struct role_context *context, struct datagram_client *client,
                        enum bank_phase phase, int number)
{
    bank_error(context->bank, phase, number, NULL);
    client->closing = true;
    step_submit(context, &client->base, OP_CLOSE);
}

static void say_end(struct role_context *context, struct datagram_client *client)
{
    const struct datagram end = {
        .kind = DATAGRAM_END, .number = client->number, .sequence = client->sequence};
    datagram_encode(client->end, &end);
    struct op *op = step_submit(context, &client->base, OP_SEND);
    op->data = client->end;
    op->length = sizeof client->end;
    client->end_in_flight = true;
    context->out.set_timer = true;
    context->out.timer_ns = clock_now_ns() + END_NS;
}

static void end(struct role_context *context, struct datagram_client *client)
{
    client->ending = true;
    if (context->foreign_peer || client->sequence == 0) {
        client->done = true; /* nobody would answer; nothing was sent */
        return;
    }
    step_submit(context, &client->base, OP_RECEIVE);
    say_end(context, client);
}

/* The next datagram's length: all of `length` but at the end, where none may be too short for its
 * head. */
static size_t next_length(const struct datagram_client *client, uint64_t left, uint64_t length)
{
    (void)client;
    if (left <= length) {
        return (size_t)left;
    }
    return (size_t)(left - length < DATAGRAM_BYTES ? left - DATAGRAM_BYTES : length);
}

/* Heads of the datagrams of a batch; returns its bytes. A shorter one is the last of its batch. */
static size_t fill_batch(const struct stream_options *options, struct datagram_client *client,
                         uint64_t now_ns)
{
    uint64_t left = client->left;
    size_t bytes = 0;
    for (uint64_t i = 0; i < options->batch && left; i++) {
        size_t length = next_length(client, left, options->length_bytes);
        const struct datagram head = {
            .number = client->number, .sequence = client->sequence + i, .sent_ns = now_ns};
        datagram_encode(client->batch + bytes, &head);
        bytes += length;
        left -= left == UINT64_MAX ? 0 : length;
        if (length < options->length_bytes) {
            break;
        }
    }
    return bytes;
}

static void send_more(struct role_context *context, struct datagram_client *client)
{
    const struct stream_options *options = options_of(context);
    if (client->in_flight || client->ending) {
        return;
    }
    if (client->left == 0 || context->draining) {
        end(context, client);
        return;
    }
    if (client->row_sends >= SENDS_IN_A_ROW) {
        context->out.resume = true;
        return;
    }
    uint64_t now_ns = clock_now_ns();
    if (options->rate_bytes) {
        if (client->due_ns == 0 || client->due_ns + CATCH_UP_NS < now_ns) {
            client->due_ns = now_ns;
        }
        if (client->due_ns > now_ns) {
            context->bank->counters[STREAM_COUNT_PAUSES]++;
            context->out.set_timer = true;
            context->out.timer_ns = client->due_ns;
            return;
        }
    }
    struct op *op = step_submit(context, &client->base, OP_SEND);
    op->data = client->batch;
    op->length = fill_batch(options, client, now_ns);
    op->segment = op->length > options->length_bytes ? (uint32_t)options->length_bytes : 0;
    client->in_flight = true;
}

static void count_sent(struct role_context *context, struct datagram_client *client, uint64_t bytes)
{
    const struct stream_options *options = options_of(context);
    uint64_t *counters = context->bank->counters;
    struct bank_flow *flow = step_flow(context, &client->base, client->number);
    uint64_t messages = (bytes + options->length_bytes - 1) / options->length_bytes;
    counters[STREAM_COUNT_SENDS]++;
    counters[STREAM_COUNT_SENT_BYTES] += bytes;
    counters[STREAM_COUNT_SENT] += messages;
    count_flow(flow, STREAM_FLOW_SENDS, 1);
    count_flow(flow, STREAM_FLOW_SENT_BYTES, bytes);
    count_flow(flow, STREAM_FLOW_SENT, messages);
    client->sequence += messages;
    if (client->left != UINT64_MAX) {
        client->left -= bytes < client->left ? bytes : client->left;
    }
    if (context->quota != UINT64_MAX) {
        context->quota -= bytes < context->quota ? bytes : context->quota;
    }
    if (options->rate_bytes) {
        client->due_ns += (uint64_t)((double)bytes * 1e9 / (double)options->rate_bytes);
    }
}

static void sent(struct role_context *context, struct datagram_client *client, const struct op *op)
{
    if (op->now_ns) {
        client->row_sends = 0;
    }
    if (client->end_in_flight) {
        client->end_in_flight = false;
        return; /* said again by the timer where it was lost */
    }
    client->in_flight = false;
    if (op->result == -ENOBUFS) {
        context->out.set_timer = true;
        context->out.timer_ns = clock_now_ns() + NO_BUFFERS_NS;
        return;
    }
    if (op->result < 0) {
        fail_client(context, client, PHASE_SEND, (int)-op->result);
        return;
    }
    client->row_sends++;
    count_sent(context, client, (uint64_t)op->result);
    send_more(context, client);
}

static void heard(struct role_context *context, struct datagram_client *client, const struct op *op)
{
    struct datagram answer;
    if (op->result < 0) {
        fail_client(context, client, PHASE_RECEIVE, (int)-op->result);
    } else if (datagram_decode(op->data, (size_t)op->result, &answer) &&
               answer.kind == DATAGRAM_END_HEARD && answer.number == client->number) {
        client->done = true;
        context->out.set_timer = true;
        context->out.timer_ns = 0;
    }
}

static void step_client(struct role_context *context, struct connection *connection,
                        const struct op *op)
{
    struct datagram_client *client = client_of(connection);
    if (client->closing || client->done) {
        return;
    }
    switch (op->kind) {
    case OP_START:
        client->started = true;
        send_more(context, client);
        break;
    case OP_SEND:
        sent(context, client, op);
        break;
    case OP_RECEIVE:
        heard(context, client, op);
        break;
    case OP_RESUME:
        client->row_sends = 0;
        send_more(context, client);
        break;
    case OP_TIMER:
        if (client->ending && !client->end_in_flight) {
            say_end(context, client);
        } else {
            send_more(context, client);
        }
        break;
    case OP_DRAIN:
        if (client->started) {
            send_more(context, client);
        }
        break;
    default:
        break;
    }
}

static uint64_t client_outstanding(const struct connection *connection)
{
    const struct datagram_client *client = (const struct datagram_client *)(const void *)connection;
    return client->started && !client->closing && !client->done ? 1 : 0;
}

static bool can_take(const struct role_context *context, const struct connection *connection)
{
    (void)context;
    (void)connection;
    return false;
}

/* ---- server ---- */

static int open_server(struct role_context *context, struct connection *connection)
{
    struct datagram_server *server = server_of(connection);
    server->streams = calloc(options_of(context)->streams, sizeof *server->streams);
    return server->streams ? 0 : -ENOMEM;
}

static void close_server(struct role_context *context, struct connection *connection)
{
    struct datagram_server *server = server_of(connection);
    (void)context;
    free(server->streams);
    server->streams = NULL;
}

static void count_expected(struct role_context *context, struct bank_flow *flow, uint64_t expected)
{
    context->bank->counters[STREAM_COUNT_EXPECTED] += expected;
    count_flow(flow, STREAM_FLOW_EXPECTED, expected);
}

static void take_payload(struct role_context *context, struct arrivals *arrivals,
                         const struct datagram *head, const uint8_t *data, size_t length,
                         uint64_t now_ns)
{
    const struct datagram_worker *worker = context->shared;
    const struct stream_options *options = options_of(context);
    uint64_t *counters = context->bank->counters;
    if (options->verify && (length > options->length_bytes ||
                            memcmp(data + DATAGRAM_BYTES, worker->pattern + DATAGRAM_BYTES,
                                   length - DATAGRAM_BYTES))) {
        bank_error(context->bank, PHASE_PROTOCOL, 0, "payload is not what was sent");
        return;
    }
    struct bank_flow *flow = step_flow_at(context, head->number, head->number);
    struct arrivals_change change = arrivals_take(arrivals, head->sequence, head->sent_ns, now_ns);
    counters[STREAM_COUNT_RECEIVED_BYTES] += length;
    count_flow(flow, STREAM_FLOW_RECEIVED_BYTES, length);
    count_expected(context, flow, change.expected);
    if (change.duplicate) {
        counters[STREAM_COUNT_DUPLICATES]++;
        count_flow(flow, STREAM_FLOW_DUPLICATES, 1);
        return;
    }
    uint64_t jitter_ns = (uint64_t)(arrivals->jitter_ns + 0.5);
    counters[STREAM_COUNT_ARRIVED]++;
    counters[STREAM_COUNT_LATE] += change.late;
    counters[STREAM_COUNT_JITTER_NS] += jitter_ns;
    count_flow(flow, STREAM_FLOW_ARRIVED, 1);
    count_flow(flow, STREAM_FLOW_LATE, change.late);
    count_flow(flow, STREAM_FLOW_JITTER_NS, jitter_ns);
}

static void take_end(struct role_context *context, struct datagram_server *server,
                     const struct datagram *head, const struct op *op)
{
    struct arrivals *arrivals = &server->streams[head->number];
    struct bank_flow *flow = step_flow_at(context, head->number, head->number);
    count_expected(context, flow, arrivals_end(arrivals, head->sequence));
    struct datagram answer = *head;
    answer.kind = DATAGRAM_END_HEARD;
    datagram_encode(server->answer, &answer);
    struct op *send = step_submit(context, &server->base, OP_SEND);
    send->data = server->answer;
    send->length = sizeof server->answer;
    send->peer = op->peer;
    send->peer_length = op->peer_length;
}

/* One receive: a datagram, or several of one length that the kernel has joined. */
static void received(struct role_context *context, struct datagram_server *server,
                     const struct op *op)
{
    size_t length = op->result > 0 ? (size_t)op->result : 0;
    size_t each = op->segment ? op->segment : length;
    bool answered = false;
    if (op->result < 0) {
        bank_error(context->bank, PHASE_RECEIVE, (int)-op->result, NULL);
        return;
    }
    context->bank->counters[STREAM_COUNT_RECEIVES]++;
    histogram_record(&context->bank->histograms[STREAM_RECEIVED_SIZE], length, 1);
    for (size_t at = 0; at < length || at == 0; at += each ? each : 1) {
        const uint8_t *data = op->data + at;
        size_t piece = length - at < each ? length - at : each;
        struct datagram head;
        if (op->length > length || !datagram_decode(data, piece, &head) ||
            head.number >= options_of(context)->streams) {
            bank_error(context->bank, PHASE_PROTOCOL, 0, "a datagram of somebody else's");
        } else if (head.kind == DATAGRAM_PAYLOAD) {
            take_payload(context, &server->streams[head.number], &head, data, piece, op->now_ns);
        } else if (head.kind == DATAGRAM_END && !answered) {
            answered = true;
            take_end(context, server, &head, op);
        }
    }
}

static void step_server(struct role_context *context, struct connection *connection,
                        const struct op *op)
{
    struct datagram_server *server = server_of(connection);
    if (server->closing) {
        return;
    }
    if (op->kind == OP_START) {
        step_submit(context, connection, OP_RECEIVE);
    } else if (op->kind == OP_RECEIVE) {
        received(context, server, op);
    }
}

static uint64_t server_outstanding(const struct connection *connection)
{
    (void)connection;
    return 0;
}

static const struct histogram_metric histograms[] = {
    [STREAM_RECEIVED_SIZE] = {"received_size", "bytes", "received sizes",
                              "bytes that one receive returned"},
};

#define DATAGRAM_ROLE                                                                              \
    .histograms = histograms, .histogram_count = sizeof histograms / sizeof *histograms,           \
    .refused_counter = STREAM_COUNT_REFUSED, .flow_counters = STREAM_FLOW_DATAGRAM_COUNTERS,       \
    .drops_counter = STREAM_COUNT_DROPS, .connection_memory = connection_memory,                   \
    .open_worker = open_worker, .close_worker = close_worker

const struct role stream_datagram_client = {DATAGRAM_ROLE,
                                            .connection_bytes = sizeof(struct datagram_client),
                                            .open = open_client,
                                            .step = step_client,
                                            .outstanding = client_outstanding,
                                            .can_take = can_take,
                                            .close = close_client};
const struct role stream_datagram_server = {DATAGRAM_ROLE,
                                            .connection_bytes = sizeof(struct datagram_server),
                                            .open = open_server,
                                            .step = step_server,
                                            .outstanding = server_outstanding,
                                            .close = close_server};

_Static_assert(STREAM_FLOW_DATAGRAM_COUNTERS <= FLOW_COUNTERS, "they have room");

static const struct metric metrics[] = {
    {"bytes_per_second", "bytes/s", "throughput",
     "payload received at the receiving ends, per second; where these are not sonde's, payload "
     "that "
     "the kernel took from the sender",
     METRIC_PER_SECOND, STREAM_COUNT_DELIVERED, 0, true},
    {"bits_per_second", "bit/s", "bit rate", "the same in bits", METRIC_PER_SECOND,
     STREAM_COUNT_DELIVERED_BITS, 0, true},
    {"sent_bytes", "bytes", "client sent", "payload that the client sent", METRIC_COUNT,
     STREAM_COUNT_SENT_BYTES, 0, false},
    {"sent_datagrams", "1", "datagrams sent", "datagrams that the client sent", METRIC_COUNT,
     STREAM_COUNT_SENT, 0, false},
    {"datagrams_per_send", "1", "datagrams/send", "datagrams that left with one send, mean",
     METRIC_RATIO, STREAM_COUNT_SENT, STREAM_COUNT_SENDS, false},
    {"pauses", "1", "pauses", "times that a paced stream of the client's waited for a timer",
     METRIC_COUNT, STREAM_COUNT_PAUSES, 0, false},
};

static const struct metric server_metrics[] = {
    {"server_received_bytes", "bytes", "server received", "payload that the server received",
     METRIC_COUNT, STREAM_COUNT_RECEIVED_BYTES, 0, false},
    {"arrived_datagrams", "1", "datagrams arrived",
     "datagrams that the server received, duplicates left out", METRIC_COUNT, STREAM_COUNT_ARRIVED,
     0, false},
    {"lost_datagrams", "1", "datagrams lost",
     "datagrams that a later one shows to be missing, or the end of the stream", METRIC_MISSING,
     STREAM_COUNT_ARRIVED, STREAM_COUNT_EXPECTED, false},
    {"lost_share", "1", "share lost", "of those that should have arrived", METRIC_MISSING_SHARE,
     STREAM_COUNT_ARRIVED, STREAM_COUNT_EXPECTED, false},
    {"late_datagrams", "1", "out of order", "datagrams that came behind a later one", METRIC_COUNT,
     STREAM_COUNT_LATE, 0, false},
    {"duplicate_datagrams", "1", "duplicates", "datagrams that came again", METRIC_COUNT,
     STREAM_COUNT_DUPLICATES, 0, false},
    {"jitter_ns", "ns", "jitter",
     "interarrival jitter (RFC 3550, section 6.4.1), mean over the datagrams", METRIC_RATIO,
     STREAM_COUNT_JITTER_NS, STREAM_COUNT_ARRIVED, false},
    {"receive_buffer_drops", "1", "dropped by the receive buffer",
     "packets that the server's socket had no room for (one that the kernel has joined counts "
     "once)",
     METRIC_COUNT, STREAM_COUNT_DROPS, 0, false},
    {"server_bytes_per_receive", "bytes", "server bytes/receive",
     "bytes that one receive of the server's returned, mean", METRIC_RATIO,
     STREAM_COUNT_RECEIVED_BYTES, STREAM_COUNT_RECEIVES, false},
};

static const struct metric flow_metrics[] = {
    {"sent_bytes_per_second", "bytes/s", "sent", "payload that this end sent on it, per second",
     METRIC_PER_SECOND, STREAM_FLOW_SENT_BYTES, 0, false},
    {"received_bytes_per_second", "bytes/s", "received",
     "payload that this end received on it, per second", METRIC_PER_SECOND,
     STREAM_FLOW_RECEIVED_BYTES, 0, false},
    {"sent_datagrams", "1", "sent", "datagrams that this end sent on it", METRIC_COUNT,
     STREAM_FLOW_SENT, 0, false},
    {"arrived_datagrams", "1", "arrived", "datagrams that this end received on it", METRIC_COUNT,
     STREAM_FLOW_ARRIVED, 0, false},
    {"lost_datagrams", "1", "lost", "datagrams that are missing at this end", METRIC_MISSING,
     STREAM_FLOW_ARRIVED, STREAM_FLOW_EXPECTED, false},
    {"late_datagrams", "1", "out of order", "datagrams that came behind a later one", METRIC_COUNT,
     STREAM_FLOW_LATE, 0, false},
    {"duplicate_datagrams", "1", "duplicates", "datagrams that came again", METRIC_COUNT,
     STREAM_FLOW_DUPLICATES, 0, false},
    {"jitter_ns", "ns", "jitter", "interarrival jitter, mean over the datagrams", METRIC_RATIO,
     STREAM_FLOW_JITTER_NS, STREAM_FLOW_ARRIVED, false},
};

const struct workload workload_stream_datagrams = {
    .name = "stream",
    .summary = "bulk throughput of datagrams, with what became of them",
    .options = stream_option_rows,
    .option_count = STREAM_OPTIONS,
    .options_bytes = sizeof(struct stream_options),
    .check = stream_datagrams_check,
    .tune = stream_tune,
    .metrics = metrics,
    .metric_count = sizeof metrics / sizeof *metrics,
    .operations = STREAM_COUNT_BLOCKS,
    .bytes = STREAM_COUNT_DELIVERED,
    .needs = WORKLOAD_DATAGRAMS,
    .operation = "datagram",
    .server_metrics = server_metrics,
    .server_metric_count = sizeof server_metrics / sizeof *server_metrics,
    .client = &stream_datagram_client,
    .server = &stream_datagram_server,
    .join = stream_join,
    .bulk = true,
    .lossy = true,
    .asked = stream_asked,
    .sent_bytes = STREAM_COUNT_SENT_BYTES,
    .received_bytes = STREAM_COUNT_RECEIVED_BYTES,
    .flow = "stream",
    .flow_metrics = flow_metrics,
    .flow_metric_count = sizeof flow_metrics / sizeof *flow_metrics,
};
