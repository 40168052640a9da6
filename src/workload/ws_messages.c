/* Messages on connections that stay: each is echoed, matched in order, timed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "workload/ws_client.h"

/* Most that is gathered for one send, where a message is not larger. */
#define GATHER_BYTES ((size_t)65536)

struct ws_times {
    uint64_t intended_ns, sent_ns;
};

/* A connection with its messages, whose numbers begin with 0. */
struct ws_talk {
    struct ws_client client;
    struct ws_times *ring; /* of a power of two */
    uint64_t mask;
    uint64_t issued, begun, completed;
    uint64_t left;        /* closed loop: that it may still issue; UINT64_MAX: no end */
    uint64_t taken_bytes; /* of the answer that comes in */
    bool mismatched;      /* which is not what was sent */
    uint64_t heard_ns;    /* the latest piece of an answer; 0: none */
};

static struct ws_talk *talk_of(struct ws_client *client)
{
    return (struct ws_talk *)(void *)client;
}

static uint64_t in_flight(const struct ws_talk *talk)
{
    return talk->issued - talk->completed;
}

static uint64_t ring_room(uint64_t high)
{
    uint64_t room = 4;
    while (room < high) {
        room *= 2;
    }
    return room;
}

static size_t send_room(const struct ws_options *options)
{
    size_t one = ws_message_room(options);
    size_t most = GATHER_BYTES / one;
    size_t count = options->high < most ? options->high : most;
    return one * (count ? count : 1);
}

static size_t connection_memory(const void *options)
{
    const struct ws_options *ws = options;
    /* zlib's states: to deflate, and to inflate */
    size_t compression = ws->deflate ? (size_t)350 << 10 : 0;
    return sizeof(struct ws_talk) + ring_room(ws->high) * sizeof(struct ws_times) + send_room(ws) +
           1024 + compression;
}

static int open_messages(struct role_context *context, struct connection *connection)
{
    struct ws_talk *talk = talk_of(ws_client_of(connection));
    const struct ws_options *options = ws_options_of(context);
    uint64_t room = ring_room(options->high);
    talk->ring = calloc(room, sizeof *talk->ring);
    talk->mask = room - 1;
    return talk->ring ? ws_client_room(&talk->client, send_room(options)) : -ENOMEM;
}

static void close_messages(struct role_context *context, struct connection *connection)
{
    struct ws_talk *talk = talk_of(ws_client_of(connection));
    (void)context;
    free(talk->ring);
    talk->ring = NULL;
    ws_client_close(&talk->client);
}

/* ---- sending --------------------------------------------------------------------------------- */

/* Appends a message in its frames; -1 where it cannot be compressed. */
static int append_message(struct role_context *context, struct ws_client *client, uint64_t number)
{
    static const uint8_t opcodes[] = {
        [WS_BINARY] = WEBSOCKET_BINARY, [WS_TEXT] = WEBSOCKET_TEXT, [WS_PING] = WEBSOCKET_PING};
    const struct ws_options *options = ws_options_of(context);
    const struct ws_worker *worker = context->shared;
    const uint8_t *data = ws_payload(worker, options, number);
    size_t length = options->size_bytes;
    bool compressed = client->compression && options->message != WS_PING;
    if (compressed) {
        struct websocket_flow flow = {.from = data,
                                      .length = length,
                                      .to = worker->compressed,
                                      .room = worker->compressed_room};
        if (websocket_deflate(&client->compression->deflater, &flow, true) != 0) {
            return -1;
        }
        data = worker->compressed;
        length = flow.made;
    }
    size_t most =
        options->fragment_bytes && options->message != WS_PING ? options->fragment_bytes : SIZE_MAX;
    bool first = true;
    do {
        size_t piece = length < most ? length : most;
        ws_client_append(context, client,
                         (struct websocket_frame){
                             .opcode = first ? (enum websocket_opcode)opcodes[options->message]
                                             : WEBSOCKET_CONTINUATION,
                             .more = piece < length,
                             .compressed = compressed && first,
                             .length = piece},
                         data);
        data += piece;
        length -= piece;
        first = false;
    } while (length);
    return 0;
}

/* Closed loop: each connection has its part of --count, or those that are quick would leave the
 * others nothing. All are there before the first one begins. */
static void take_part(struct role_context *context, struct ws_talk *talk)
{
    struct ws_worker *worker = context->shared;
    talk->left = UINT64_MAX;
    if (context->quota == UINT64_MAX || context->open_loop) {
        return;
    }
    worker->count = worker->begun ? worker->count : context->quota;
    uint64_t whole = worker->count / worker->connections;
    talk->left = whole + (worker->begun++ < worker->count % worker->connections);
}

static bool has_issued_all(const struct role_context *context, const struct ws_talk *talk)
{
    return context->draining || context->quota == 0 || talk->left == 0;
}

/* As many as may be in flight. */
static void issue(struct role_context *context, struct ws_talk *talk, uint64_t now_ns)
{
    uint64_t room = ws_options_of(context)->high - in_flight(talk);
    uint64_t count = room < talk->left ? room : talk->left;
    size_t one = ws_message_room(ws_options_of(context));
    size_t frames = (talk->client.out_room - talk->client.out_end) / one;
    count = count < frames ? count : frames;
    for (uint64_t i = 0; i < count; i++) {
        talk->ring[talk->issued++ & talk->mask].intended_ns = now_ns;
    }
    if (talk->left != UINT64_MAX) {
        talk->left -= count;
        context->quota -= count;
    }
}

static bool fill(struct role_context *context, struct ws_client *client)
{
    struct ws_talk *talk = talk_of(client);
    size_t one = ws_message_room(ws_options_of(context));
    uint64_t now_ns = clock_now_ns();
    if (!context->open_loop && !context->draining && !client->close_wanted) {
        issue(context, talk, now_ns);
    }
    while (talk->begun < talk->issued && client->out_room - client->out_end >= one) {
        if (append_message(context, client, talk->begun) < 0) {
            bank_error(context->bank, PHASE_SEND, 0, "no memory to compress");
            break;
        }
        talk->ring[talk->begun++ & talk->mask].sent_ns = now_ns;
        context->bank->counters[WS_COUNT_STARTED]++;
        context->bank->counters[WS_COUNT_BYTES] += ws_options_of(context)->size_bytes;
    }
    if (in_flight(talk) == 0 && has_issued_all(context, talk)) {
        ws_client_end(client);
    }
    return talk->begun == talk->issued;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void complete(struct role_context *context, struct ws_talk *talk, uint64_t now_ns)
{
    struct histogram *histograms = context->bank->histograms;
    const struct ws_times *times = &talk->ring[talk->completed++ & talk->mask];
    talk->taken_bytes = 0;
    context->bank->counters[WS_COUNT_COMPLETED]++;
    context->bank->counters[WS_COUNT_BYTES] += ws_options_of(context)->size_bytes;
    histogram_record(&histograms[WS_RESPONSE_TIME], now_ns - times->intended_ns, 1);
    histogram_record(&histograms[WS_SERVICE_TIME], now_ns - times->sent_ns, 1);
}

/* A piece of an answer's payload; NULL, or what is wrong with it. */
static const char *match(struct role_context *context, struct ws_talk *talk, const uint8_t *data,
                         size_t length, bool last)
{
    const struct ws_options *options = ws_options_of(context);
    if (talk->taken_bytes + length > options->size_bytes ||
        (last && talk->taken_bytes + length < options->size_bytes)) {
        return "an answer of another length than its message";
    }
    if (options->verify && length &&
        memcmp(data, ws_payload(context->shared, options, talk->completed) + talk->taken_bytes,
               length) != 0) {
        talk->mismatched = true; /* said at the end: a broken protocol says more */
    }
    talk->taken_bytes += length;
    return last && talk->mismatched ? "the answer is not what was sent" : NULL;
}

static const char *match_compressed(struct role_context *context, struct ws_talk *talk,
                                    const struct websocket_event *event)
{
    const struct ws_worker *worker = context->shared;
    struct websocket_flow flow = {.from = event->data, .length = event->length};
    int more;
    do {
        flow.to = worker->inflated;
        flow.room = WS_INFLATED_ROOM;
        more =
            websocket_inflate(&talk->client.compression->inflater, &flow, event->text, event->last);
        if (more < 0) {
            return websocket_error_text(more);
        }
        const char *wrong =
            match(context, talk, worker->inflated, flow.made, event->last && more == 0);
        if (wrong) {
            return wrong;
        }
    } while (more);
    return NULL;
}

static const char *took(struct role_context *context, struct ws_client *client,
                        const struct websocket_event *event, uint64_t now_ns)
{
    const struct ws_options *options = ws_options_of(context);
    struct ws_talk *talk = talk_of(client);
    bool pong = event->kind == WEBSOCKET_PONGED;
    talk->heard_ns = now_ns;
    if (pong && options->message != WS_PING) {
        return NULL; /* nobody has to ask for it (section 5.5.3) */
    }
    if (!pong && options->message == WS_PING) {
        return "a message that answers none";
    }
    if (talk->completed == talk->begun) {
        return "an answer to no message";
    }
    if (!pong && event->text != (options->message == WS_TEXT)) {
        return "an answer of another kind than its message";
    }
    const char *wrong = event->compressed && !pong
                            ? match_compressed(context, talk, event)
                            : match(context, talk, event->data, event->length, pong || event->last);
    if (!wrong && (pong || event->last)) {
        complete(context, talk, now_ns);
    }
    return wrong;
}

static void failed(struct role_context *context, struct ws_client *client)
{
    struct ws_talk *talk = talk_of(client);
    context->bank->counters[WS_COUNT_FAILED] += in_flight(talk);
    if (talk->left != UINT64_MAX) { /* its part is nobody else's */
        context->quota -= talk->left;
        talk->left = 0;
    }
}

static void opened(struct role_context *context, struct ws_client *client, uint64_t now_ns)
{
    (void)client;
    ws_client_timer(context, now_ns + ws_options_of(context)->timeout_ns);
}

/* A server that says nothing of what it was sent: slow answers are heard, a long queue of them
 * too. */
static const char *due(struct role_context *context, struct ws_client *client, uint64_t now_ns)
{
    const struct ws_talk *talk = talk_of(client);
    uint64_t since_ns = now_ns, timeout_ns = ws_options_of(context)->timeout_ns;
    if (talk->begun > talk->completed) {
        since_ns = talk->ring[talk->completed & talk->mask].sent_ns;
        since_ns = talk->heard_ns > since_ns ? talk->heard_ns : since_ns;
    }
    if (now_ns >= since_ns + timeout_ns) {
        return "no answer within --timeout";
    }
    ws_client_timer(context, since_ns + timeout_ns);
    return NULL;
}

/* A connection that is closed before the end is lost. */
static const struct ws_ways ways = {
    .opened = opened, .took = took, .fill = fill, .due = due, .failed = failed};

/* Open loop: one is due, meant to start at op->now_ns. */
static void arrived(struct role_context *context, struct ws_client *client, const struct op *op)
{
    struct ws_talk *talk = talk_of(client);
    uint64_t now_ns = clock_now_ns();
    histogram_record(&context->bank->histograms[WS_SEND_LAG],
                     now_ns > op->now_ns ? now_ns - op->now_ns : 0, 1);
    talk->ring[talk->issued++ & talk->mask].intended_ns = op->now_ns;
    context->quota -= context->quota == UINT64_MAX ? 0 : 1;
    ws_client_send(context, client, &ways);
}

static void step(struct role_context *context, struct connection *connection, const struct op *op)
{
    struct ws_client *client = ws_client_of(connection);
    if (op->kind == OP_START) {
        take_part(context, talk_of(client));
    }
    if (op->kind != OP_ARRIVAL) {
        ws_client_step(context, client, op, &ways);
    } else if (client->state != WS_GONE) {
        arrived(context, client, op);
    }
}

static uint64_t outstanding(const struct connection *connection)
{
    const struct ws_talk *talk = (const struct ws_talk *)(const void *)connection;
    uint8_t state = talk->client.state;
    bool handshake = state == WS_UPGRADING || state == WS_CLOSING;
    return state == WS_GONE ? 0 : in_flight(talk) + handshake;
}

static bool can_take(const struct role_context *context, const struct connection *connection)
{
    const struct ws_talk *talk = (const struct ws_talk *)(const void *)connection;
    return talk->client.state == WS_OPEN && in_flight(talk) < ws_options_of(context)->high;
}

static const struct histogram_metric histograms[] = {
    [WS_RESPONSE_TIME] = {"response_time", "ns", "round trip",
                          "from the intended start of a message (closed loop: from its issue) to "
                          "the receive that completed its answer",
                          PART_NONE},
    [WS_SERVICE_TIME] = {"service_time", "ns", "from its send",
                         "from the send of a message to the receive that completed its answer",
                         PART_NONE},
    [WS_SEND_LAG] = {"send_lag", "ns", "send lag",
                     "open loop: how long after its intended start a message was issued",
                     PART_NONE},
    WS_PHASES,
};

const struct role ws_message_client = {
    .connection_bytes = sizeof(struct ws_talk),
    .histograms = histograms,
    .histogram_count = sizeof histograms / sizeof *histograms,
    .connection_memory = connection_memory,
    .open_worker = ws_open_worker,
    .close_worker = ws_close_worker,
    .open = open_messages,
    .step = step,
    .outstanding = outstanding,
    .can_take = can_take,
    .close = close_messages,
};
