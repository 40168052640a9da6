/* The client of `sonde stream` over datagrams: each connection sends a stream, or receives one. */
#include <errno.h>

#include "workload/stream_datagram.h"

struct datagram_client {
    struct connection base;
    struct datagram_sender sender;
    struct arrivals arrivals;
    uint64_t left;  /* receiving: bytes that still count towards the run's; UINT64_MAX: no end */
    uint64_t token; /* receiving: the server's answer to the hello; 0: none yet */
    uint32_t number, row_sends;
    uint8_t said[DATAGRAM_BYTES]; /* what is said to the server, beside payload */
    bool sends, started, in_flight, said_in_flight;
    bool begun;  /* receiving: payload has come */
    bool ending; /* the end has been said, or asked for */
    bool done, closing;
};

_Static_assert(sizeof(struct datagram_client) <= DATAGRAM_CONNECTION_BYTES, "as is planned");

static struct datagram_client *client_of(struct connection *connection)
{
    return (struct datagram_client *)(void *)connection;
}

static int open_client(struct role_context *context, struct connection *connection)
{
    struct datagram_client *client = client_of(connection);
    struct datagram_worker *worker = context->shared;
    client->number = context->first_number + worker->opened++;
    client->sends = stream_client_sends(datagram_options(context), client->number);
    client->left = datagram_share(datagram_options(context), client->number);
    return client->sends ? datagram_sender_open(&client->sender, context, client->number) : 0;
}

static void close_client(struct role_context *context, struct connection *connection)
{
    (void)context;
    datagram_sender_close(&client_of(connection)->sender);
}

static void fail(struct role_context *context, struct datagram_client *client,
                 enum bank_phase phase, int number)
{
    bank_error(context->bank, phase, number, NULL);
    client->closing = true;
    step_submit(context, &client->base, OP_CLOSE);
}

static void count_quota(struct role_context *context, uint64_t bytes)
{
    if (context->quota != UINT64_MAX) {
        context->quota -= bytes < context->quota ? bytes : context->quota;
    }
}

/* Says something to the server; `again_ns` later the timer comes. While the last is under way
 * nothing more is said: whatever is, is said again. */
static void say(struct role_context *context, struct datagram_client *client, uint8_t kind,
                uint64_t sequence, uint64_t again_ns)
{
    if (!client->said_in_flight) {
        const struct datagram datagram = {
            .kind = kind, .number = client->number, .sequence = sequence};
        datagram_encode(client->said, &datagram);
        struct op *op = step_submit(context, &client->base, OP_SEND);
        op->data = client->said;
        op->length = sizeof client->said;
        client->said_in_flight = true;
    }
    context->out.set_timer = true;
    context->out.timer_ns = again_ns ? clock_now_ns() + again_ns : 0;
}

static void say_again(struct role_context *context, struct datagram_client *client)
{
    if (client->sends) {
        say(context, client, DATAGRAM_END, client->sender.sequence, DATAGRAM_AGAIN_NS);
    } else if (client->ending) {
        say(context, client, DATAGRAM_STOP, 0, DATAGRAM_AGAIN_NS);
    } else {
        say(context, client, DATAGRAM_HELLO, client->token,
            client->begun ? DATAGRAM_ALIVE_NS : DATAGRAM_AGAIN_NS);
    }
}

/* ---- sending ---- */

static void end(struct role_context *context, struct datagram_client *client)
{
    client->ending = true;
    if (context->foreign_peer || client->sender.sequence == 0) {
        client->done = true; /* nobody would answer; nothing was sent */
        return;
    }
    step_submit(context, &client->base, OP_RECEIVE);
    say_again(context, client);
}

static void send_more(struct role_context *context, struct datagram_client *client)
{
    if (client->in_flight || client->ending) {
        return;
    }
    if (client->sender.left == 0 || context->draining) {
        end(context, client);
        return;
    }
    if (client->row_sends >= DATAGRAM_SENDS_IN_A_ROW) {
        context->out.resume = true;
        return;
    }
    const struct stream_options *options = datagram_options(context);
    uint64_t now_ns = clock_now_ns();
    if (!datagram_sender_due(&client->sender, options, now_ns)) {
        context->bank->counters[STREAM_COUNT_PAUSES]++;
        context->out.set_timer = true;
        context->out.timer_ns = client->sender.due_ns;
        return;
    }
    datagram_sender_fill(&client->sender, options, now_ns,
                         step_submit(context, &client->base, OP_SEND));
    client->in_flight = true;
}

static void sent(struct role_context *context, struct datagram_client *client, const struct op *op)
{
    if (op->now_ns) {
        client->row_sends = 0;
    }
    if (client->said_in_flight) {
        client->said_in_flight = false;
        return; /* said again by the timer where it was lost */
    }
    client->in_flight = false;
    if (op->result == -ENOBUFS) {
        context->out.set_timer = true;
        context->out.timer_ns = clock_now_ns() + DATAGRAM_NO_BUFFERS_NS;
        return;
    }
    if (op->result < 0) {
        fail(context, client, PHASE_SEND, (int)-op->result);
        return;
    }
    client->row_sends++;
    datagram_sender_sent(&client->sender, context,
                         step_flow(context, &client->base, client->number), (uint64_t)op->result);
    count_quota(context, (uint64_t)op->result);
    send_more(context, client);
}

/* ---- receiving ---- */

/* From a peer that hears of the end by other means. */
static void stop_receiving(struct role_context *context, struct datagram_client *client)
{
    if (!client->done) {
        client->done = true;
        step_submit(context, &client->base, OP_PAUSE);
    }
}

/* The head of a datagram of this stream; false where it is none. */
static bool decode(const struct role_context *context, const struct datagram_client *client,
                   const uint8_t *data, size_t length, struct datagram *head)
{
    uint32_t format = datagram_options(context)->format;
    if (!datagram_formats[format].decode(data, length, head)) {
        return false;
    }
    if (format != DATAGRAM_FORMAT_OWN) { /* it does not say which stream, and has its socket */
        head->number = client->number;
    }
    return head->number == client->number;
}

static void take_payload(struct role_context *context, struct datagram_client *client,
                         const struct datagram *head, const uint8_t *data, size_t length,
                         uint64_t now_ns)
{
    if (!client->begun) {
        client->begun = true;
        if (!client->ending && !context->ends_apart) {
            context->out.set_timer = true;
            context->out.timer_ns = clock_now_ns() + DATAGRAM_ALIVE_NS;
        }
    }
    datagram_take(context, &client->arrivals, step_flow(context, &client->base, client->number),
                  head, data, length, now_ns);
    if (client->left != UINT64_MAX) {
        length = length < client->left ? length : client->left;
        client->left -= length;
    }
    count_quota(context, length);
    if (client->left == 0 && context->ends_apart) {
        stop_receiving(context, client);
    }
}

/* The server has sent all: what has not come is lost, and counts towards a counted run too. */
static void take_end(struct role_context *context, struct datagram_client *client, uint64_t count)
{
    datagram_take_end(context, &client->arrivals, step_flow(context, &client->base, client->number),
                      count);
    if (client->left != UINT64_MAX) {
        count_quota(context, client->left);
        client->left = 0;
    }
    client->done = true;
    say(context, client, DATAGRAM_END_HEARD, count, 0);
}

/* One datagram of a stream that is received; true: it was payload. */
static bool take(struct role_context *context, struct datagram_client *client,
                 const struct datagram *head, const uint8_t *data, size_t length, uint64_t now_ns)
{
    switch (head->kind) {
    case DATAGRAM_PAYLOAD:
        if (!client->done) {
            take_payload(context, client, head, data, length, now_ns);
        }
        return true;
    case DATAGRAM_WHO:
        if (!client->token && !client->ending && !client->done) {
            client->token = head->sequence;
            say_again(context, client);
        }
        return false;
    case DATAGRAM_END:
        if (client->done) { /* the answer was lost */
            say(context, client, DATAGRAM_END_HEARD, head->sequence, 0);
        } else {
            take_end(context, client, head->sequence);
        }
        return false;
    default:
        return false;
    }
}

static void received(struct role_context *context, struct datagram_client *client,
                     const struct op *op)
{
    size_t length = op->result > 0 ? (size_t)op->result : 0, payload = 0;
    size_t each = op->segment ? op->segment : length;
    if (op->result < 0 && client->done) {
        return;
    }
    if (op->result < 0) {
        fail(context, client, PHASE_RECEIVE, (int)-op->result);
        return;
    }
    for (size_t at = 0; at < length; at += each) {
        size_t piece = length - at < each ? length - at : each;
        struct datagram head;
        if (op->length > length || !decode(context, client, op->data + at, piece, &head)) {
            bank_error(context->bank, PHASE_PROTOCOL, 0, "a datagram of somebody else's");
        } else if (!client->sends) {
            payload += take(context, client, &head, op->data + at, piece, op->now_ns) ? piece : 0;
        } else if (head.kind == DATAGRAM_END_HEARD && client->ending) {
            client->done = true;
            context->out.set_timer = true;
            context->out.timer_ns = 0;
        }
    }
    if (payload) {
        datagram_count_receive(context, payload);
    }
}

/* ---- both ---- */

static void start(struct role_context *context, struct datagram_client *client)
{
    client->started = true;
    if (client->sends) {
        send_more(context, client);
        return;
    }
    step_submit(context, &client->base, OP_RECEIVE);
    if (!context->ends_apart) { /* else the peer knows already */
        say_again(context, client);
    }
}

static void drain(struct role_context *context, struct datagram_client *client)
{
    if (!client->started) {
        return;
    }
    if (client->sends) {
        send_more(context, client);
    } else if (context->ends_apart) {
        stop_receiving(context, client);
    } else if (!client->ending) {
        client->ending = true;
        say_again(context, client);
    }
}

static void step(struct role_context *context, struct connection *connection, const struct op *op)
{
    struct datagram_client *client = client_of(connection);
    bool over = client->done && (client->sends || (op->kind != OP_RECEIVE && op->kind != OP_SEND));
    if (client->closing || over) {
        return;
    }
    switch (op->kind) {
    case OP_START:
        start(context, client);
        break;
    case OP_SEND:
        sent(context, client, op);
        break;
    case OP_RECEIVE:
        received(context, client, op);
        break;
    case OP_RESUME:
        client->row_sends = 0;
        send_more(context, client);
        break;
    case OP_TIMER:
        if (client->ending || !client->sends) {
            say_again(context, client);
        } else {
            send_more(context, client);
        }
        break;
    case OP_DRAIN:
        drain(context, client);
        break;
    default:
        break;
    }
}

static uint64_t outstanding(const struct connection *connection)
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

const struct role stream_datagram_client = {DATAGRAM_ROLE,
                                            .connection_bytes = sizeof(struct datagram_client),
                                            .open = open_client,
                                            .step = step,
                                            .outstanding = outstanding,
                                            .can_take = can_take,
                                            .close = close_client};
