/* A client's WebSocket connection: the request, the answer, control frames, the close. */
#include "workload/ws_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* How long a server may leave the connection open behind its close frame. */
#define LINGER_NS NS_PER_SECOND
/* ---- ends ------------------------------------------------------------------------------------ */

static enum bank_phase phase_of(const struct ws_client *client, enum bank_phase open)
{
    return client->state == WS_UPGRADING ? PHASE_UPGRADE
           : client->state == WS_CLOSING ? PHASE_CLOSE
                                         : open;
}

void ws_client_timer(struct role_context *context, uint64_t at_ns)
{
    context->out.set_timer = true;
    context->out.timer_ns = at_ns;
}

/* A duration that ends now. */
static void record(struct role_context *context, enum ws_histogram which, uint64_t from_ns,
                   uint64_t now_ns)
{
    histogram_record(&context->bank->histograms[which], now_ns > from_ns ? now_ns - from_ns : 0, 1);
}

static void leave(struct role_context *context, struct ws_client *client)
{
    client->state = WS_GONE;
    step_submit(context, &client->base, OP_CLOSE);
}

static void fail(struct role_context *context, struct ws_client *client, const struct ws_ways *ways,
                 enum bank_phase phase, int number, const char *name)
{
    bank_error(context->bank, phase, number, name);
    if (ways->failed) {
        ways->failed(context, client);
    }
    leave(context, client);
}

/* Appends a frame to what lies at `to`; its bytes. */
static size_t write_frame(struct role_context *context, uint8_t *to, struct websocket_frame frame,
                          const uint8_t *payload)
{
    struct ws_worker *worker = context->shared;
    uint8_t mask[WEBSOCKET_MASK_BYTES];
    websocket_mask_draw(&worker->rng, mask);
    frame.mask = mask;
    return websocket_frame_write(to, &frame, payload);
}

static size_t write_close(struct role_context *context, uint8_t *to, unsigned code)
{
    uint8_t payload[WEBSOCKET_CONTROL_MOST];
    size_t bytes = websocket_close_write(payload, code, NULL);
    return write_frame(
        context, to, (struct websocket_frame){.opcode = WEBSOCKET_CLOSE, .length = bytes}, payload);
}

/* A last close frame, as far as that goes at once. */
static void try_close(struct role_context *context, struct ws_client *client, unsigned code)
{
    struct ws_worker *worker = context->shared;
    if (client->sending || !context->sends_at_once) {
        return;
    }
    struct op *send = step_submit(context, &client->base, OP_SEND);
    send->data = worker->last;
    send->length = write_close(context, worker->last, code);
    send->flags = OP_TRY;
}

/* What the peer did wrong it is told. */
static void fail_protocol(struct role_context *context, struct ws_client *client,
                          const struct ws_ways *ways, int error)
{
    unsigned code = websocket_error_answer(error);
    if (code >= WEBSOCKET_NORMAL && client->state == WS_OPEN) {
        try_close(context, client, code);
    }
    fail(context, client, ways, phase_of(client, PHASE_PROTOCOL), 0, websocket_error_text(error));
}

/* ---- sending --------------------------------------------------------------------------------- */

void ws_client_append(struct role_context *context, struct ws_client *client,
                      struct websocket_frame frame, const uint8_t *payload)
{
    client->out_end +=
        (uint32_t)write_frame(context, client->out + client->out_end, frame, payload);
}

void ws_client_end(struct ws_client *client)
{
    client->close_wanted = client->state == WS_OPEN;
}

static void submit_rest(struct role_context *context, struct ws_client *client)
{
    struct op *op = step_submit(context, &client->base, OP_SEND);
    op->data = client->out + client->out_begin;
    op->length = client->out_end - client->out_begin;
    client->sending = true;
}

static void begin_close(struct role_context *context, struct ws_client *client)
{
    uint64_t now_ns = clock_now_ns();
    const struct ws_options *options = ws_options_of(context);
    client->close_wanted = false;
    client->out_end +=
        (uint32_t)write_close(context, client->out + client->out_end, (unsigned)options->code);
    client->state = WS_CLOSING;
    record(context, WS_OPEN_TIME, client->since_ns, now_ns);
    client->since_ns = now_ns;
    ws_client_timer(context, now_ns + options->timeout_ns);
}

void ws_client_send(struct role_context *context, struct ws_client *client,
                    const struct ws_ways *ways)
{
    if (client->sending || client->state != WS_OPEN) {
        return;
    }
    client->out_begin = client->out_end = 0;
    if (!client->out && ws_client_room(client, 0) < 0) {
        fail(context, client, ways, PHASE_SEND, ENOMEM, NULL);
        return;
    }
    if (client->pong) {
        ws_client_append(
            context, client,
            (struct websocket_frame){.opcode = WEBSOCKET_PONG, .length = client->pong->bytes},
            client->pong->data);
        free(client->pong);
        client->pong = NULL;
    }
    uint32_t before = client->out_end;
    bool all = !ways->fill || ways->fill(context, client);
    context->bank->counters[WS_COUNT_WIRE_SENT] += client->out_end - before;
    if (client->close_wanted && all) {
        begin_close(context, client);
    }
    if (client->out_end) {
        submit_rest(context, client);
    }
}

/* Of a lean role's client that says nothing. */
static void drop_room(struct ws_client *client)
{
    free(client->out);
    client->out = NULL;
    client->out_room = client->out_begin = client->out_end = 0;
}

static void sent(struct role_context *context, struct ws_client *client, const struct op *op,
                 const struct ws_ways *ways)
{
    if (op->result < 0) {
        fail(context, client, ways, phase_of(client, PHASE_SEND), (int)-op->result, NULL);
        return;
    }
    client->out_begin += (uint32_t)op->result;
    if (client->out_begin < client->out_end) {
        submit_rest(context, client);
        return;
    }
    client->sending = false;
    ws_client_send(context, client, ways);
}

/* ---- the answer to the upgrade ------------------------------------------------------------------
 */

/* 0 or an error. */
static int agree(struct role_context *context, struct ws_client *client,
                 const struct websocket_response *response)
{
    const struct ws_options *options = ws_options_of(context);
    const struct websocket_limits limits = {.frame_most = 2 * options->size_bytes + 65536,
                                            .message_most = 2 * options->size_bytes + 65536};
    websocket_reader_init(&client->reader, WEBSOCKET_CLIENT, &limits, response->deflated);
    if (!response->deflated) {
        return 0;
    }
    struct ws_compression *compression = calloc(1, sizeof *compression);
    client->compression = compression;
    const struct websocket_deflate *deflate = &response->deflate;
    if (!compression ||
        websocket_inflater_open(&compression->inflater,
                                websocket_window_bits(deflate->server_max_window_bits),
                                deflate->server_no_context_takeover, limits.message_most) < 0 ||
        websocket_deflater_open(&compression->deflater,
                                websocket_window_bits(deflate->client_max_window_bits),
                                deflate->client_no_context_takeover, 6, 8) < 0) {
        return WEBSOCKET_BAD_MEMORY;
    }
    return 0;
}

static void refuse_answer(struct role_context *context, struct ws_client *client,
                          const struct ws_ways *ways, int error,
                          const struct websocket_response *response)
{
    char text[80];
    const char *name = websocket_error_text(error);
    if (error == WEBSOCKET_BAD_STATUS) {
        snprintf(text, sizeof text, "answered with status %d%s%.*s", response->status,
                 response->location.at ? " to " : "",
                 response->location.at ? (int)response->location.length : 0,
                 response->location.at ? response->location.at : "");
        for (char *at = text; *at; at++) {
            *at = *at < ' ' || *at > '~' ? '?' : *at; /* it is somebody else's */
        }
        name = text;
    }
    fail(context, client, ways, PHASE_UPGRADE, 0, name);
}

/* Keeps a piece of a head that is not whole. */
static bool keep_piece(struct ws_client *client, const uint8_t *data, size_t length)
{
    struct ws_head *head = client->head;
    size_t bytes = head ? head->bytes : 0;
    size_t room = bytes + length;
    if (!head || room > head->room) {
        head = realloc(head, sizeof *head + room);
        if (!head) {
            return false;
        }
        if (!client->head) {
            head->read = (struct websocket_head){0};
        }
        head->room = room;
    }
    memcpy(head->data + bytes, data, length);
    head->bytes = room;
    client->head = head;
    return true;
}

/* Takes the answer; bytes of `data` that were of it, or -1 where that is not known yet or it has
 * failed. */
static ssize_t take_answer(struct role_context *context, struct ws_client *client,
                           const struct ws_ways *ways, const struct op *op)
{
    const struct ws_worker *worker = context->shared;
    size_t length = (size_t)op->result;
    struct websocket_response response = {0};
    struct websocket_head whole = {0};
    size_t before = client->head ? client->head->bytes : 0;
    if (client->head && !keep_piece(client, op->data, length)) {
        fail(context, client, ways, PHASE_UPGRADE, ENOMEM, NULL);
        return -1;
    }
    struct ws_head *head = client->head;
    ssize_t bytes = websocket_response_read(
        head ? &head->read : &whole, head ? head->data : (const char *)op->data,
        head ? head->bytes : length, &worker->offer, client->accept, &response);
    int failed = bytes < 0 ? (int)bytes : 0;
    if (bytes == 0) {
        if (!head && !keep_piece(client, op->data, length)) {
            fail(context, client, ways, PHASE_UPGRADE, ENOMEM, NULL);
        }
        return -1;
    }
    failed = failed ? failed : agree(context, client, &response);
    if (failed) {
        refuse_answer(context, client, ways, failed, &response);
        return -1;
    }
    if (worker->offer.deflate_count && !response.deflated) {
        fail(context, client, ways, PHASE_UPGRADE, 0, "permessage-deflate was not agreed to");
        return -1;
    }
    free(client->head);
    client->head = NULL;
    return bytes - (ssize_t)before;
}

static void opened(struct role_context *context, struct ws_client *client,
                   const struct ws_ways *ways, uint64_t now_ns)
{
    client->state = WS_OPEN;
    ws_client_timer(context, 0);
    context->bank->counters[WS_COUNT_UPGRADED]++;
    record(context, WS_UPGRADE, client->since_ns, now_ns);
    client->since_ns = now_ns;
    if (ways->opened) {
        ways->opened(context, client, now_ns);
    }
}

/* ---- frames ---------------------------------------------------------------------------------- */

static void take_close(struct role_context *context, struct ws_client *client,
                       const struct ws_ways *ways, const struct websocket_event *event,
                       uint64_t now_ns)
{
    char text[64];
    if (client->state == WS_CLOSING) {
        client->state = WS_CLOSED;
        context->bank->counters[WS_COUNT_CLOSED]++;
        record(context, WS_CLOSE, client->since_ns, now_ns);
        ws_client_timer(context, now_ns + LINGER_NS);
        if (ways->closed) {
            ways->closed(context, client, now_ns);
        }
        return;
    }
    try_close(context, client, event->code);
    snprintf(text, sizeof text, "the server closed with code %u", event->code);
    fail(context, client, ways, PHASE_PROTOCOL, 0, text);
}

/* A ping, to be answered; of several the latest. False without memory. */
static bool take_ping(struct role_context *context, struct ws_client *client,
                      const struct websocket_event *event)
{
    context->bank->counters[WS_COUNT_PINGED]++;
    if (client->state != WS_OPEN) {
        return true;
    }
    client->pong = client->pong ? client->pong : malloc(sizeof *client->pong);
    if (client->pong) {
        memcpy(client->pong->data, event->data, event->length);
        client->pong->bytes = (uint8_t)event->length;
    }
    return client->pong;
}

/* False where nothing more is to be taken. */
static bool take_event(struct role_context *context, struct ws_client *client,
                       const struct ws_ways *ways, const struct websocket_event *event,
                       uint64_t now_ns)
{
    const char *wrong = NULL;
    switch (event->kind) {
    case WEBSOCKET_NOTHING:
        return true;
    case WEBSOCKET_PINGED:
        wrong = take_ping(context, client, event) ? NULL : "no memory";
        break;
    case WEBSOCKET_CLOSED:
        take_close(context, client, ways, event, now_ns);
        return false;
    case WEBSOCKET_DATA:
    case WEBSOCKET_PONGED:
        wrong = ways->took ? ways->took(context, client, event, now_ns) : NULL;
        break;
    }
    if (wrong) {
        fail(context, client, ways, phase_of(client, PHASE_PROTOCOL), 0, wrong);
    }
    return !wrong;
}

static void take_frames(struct role_context *context, struct ws_client *client,
                        const struct ws_ways *ways, uint8_t *data, size_t length, uint64_t now_ns)
{
    context->bank->counters[WS_COUNT_WIRE_RECEIVED] += length;
    while (length) {
        struct websocket_event event;
        ssize_t taken = websocket_read(&client->reader, data, length, &event);
        if (taken < 0) {
            fail_protocol(context, client, ways, (int)taken);
            return;
        }
        if (!take_event(context, client, ways, &event, now_ns)) {
            return;
        }
        data += taken;
        length -= (size_t)taken;
    }
}

/* The connection has ended, in order or not. */
static void ended(struct role_context *context, struct ws_client *client,
                  const struct ws_ways *ways, const struct op *op)
{
    if (client->state == WS_CLOSED) {
        context->bank->counters[op->result < 0 ? WS_COUNT_RESET : WS_COUNT_SERVER_FIRST]++;
        ws_client_timer(context, 0);
        if (ways->dials) {
            leave(context, client);
        } else {
            client->state = WS_GONE;
        }
        return;
    }
    if (op->result < 0) {
        fail(context, client, ways, phase_of(client, PHASE_RECEIVE), (int)-op->result, NULL);
        return;
    }
    fail(context, client, ways, phase_of(client, PHASE_RECEIVE), 0,
         client->state == WS_UPGRADING ? "the server closed the connection"
                                       : "the connection ended without a close frame");
}

static void received(struct role_context *context, struct ws_client *client, const struct op *op,
                     const struct ws_ways *ways)
{
    if (op->result <= 0) {
        ended(context, client, ways, op);
        return;
    }
    /* Lent, and ours to write to. */
    uint8_t *data = (uint8_t *)(uintptr_t)op->data;
    size_t length = (size_t)op->result;
    if (client->state == WS_UPGRADING) {
        ssize_t of_head = take_answer(context, client, ways, op);
        if (of_head < 0) {
            return;
        }
        opened(context, client, ways, op->now_ns);
        data += of_head;
        length -= (size_t)of_head;
    }
    if (length && client->state != WS_CLOSED && client->state != WS_GONE) {
        take_frames(context, client, ways, data, length, op->now_ns);
    }
    ws_client_send(context, client, ways);
}

static void expired(struct role_context *context, struct ws_client *client,
                    const struct ws_ways *ways, uint64_t now_ns)
{
    const char *wrong;
    switch (client->state) {
    case WS_OPEN:
        wrong = ways->due ? ways->due(context, client, now_ns) : NULL;
        if (wrong) {
            fail(context, client, ways, PHASE_RECEIVE, 0, wrong);
        } else {
            ws_client_send(context, client, ways);
        }
        break;
    case WS_UPGRADING:
        fail(context, client, ways, PHASE_UPGRADE, 0, "no answer within --timeout");
        break;
    case WS_CLOSING:
        fail(context, client, ways, PHASE_CLOSE, 0, "no answer within --timeout");
        break;
    case WS_CLOSED:
        context->bank->counters[WS_COUNT_CLIENT_FIRST]++;
        if (ways->dials) {
            leave(context, client);
        } else {
            client->state = WS_GONE;
        }
        break;
    default:
        break;
    }
}

static void connected(struct role_context *context, const struct ws_client *client,
                      const struct op *op)
{
    const struct op_security *security = op->security;
    uint64_t tls_ns = security ? security->handshake_ns : 0;
    record(context, WS_CONNECT, client->base.dialed_ns, op->now_ns - tls_ns);
    if (security) {
        histogram_record(&context->bank->histograms[WS_TLS], tls_ns, 1);
        context->bank->counters[WS_COUNT_TLS_RESUMED] += security->resumed;
    }
}

static void start(struct role_context *context, struct ws_client *client, const struct op *op,
                  const struct ws_ways *ways)
{
    if (ways->dials) {
        connected(context, client, op);
    }
    client->state = WS_UPGRADING;
    int failed = ws_client_request(context, client);
    client->since_ns = clock_now_ns();
    if (failed) {
        fail(context, client, ways, PHASE_UPGRADE, -failed, NULL);
        return;
    }
    ws_client_timer(context, op->now_ns + ws_options_of(context)->timeout_ns);
    step_submit(context, &client->base, OP_RECEIVE);
    submit_rest(context, client);
}

void ws_client_step(struct role_context *context, struct ws_client *client, const struct op *op,
                    const struct ws_ways *ways)
{
    bool was_open = client->state == WS_OPEN;
    switch (client->state == WS_GONE ? OP_CLOSE : op->kind) {
    case OP_START:
        start(context, client, op, ways);
        break;
    case OP_RECEIVE:
        received(context, client, op, ways);
        break;
    case OP_SEND:
        sent(context, client, op, ways);
        break;
    case OP_TIMER:
        expired(context, client, ways, op->now_ns);
        break;
    case OP_DRAIN:
        ws_client_send(context, client, ways);
        break;
    default:
        break;
    }
    if (was_open && client->state == WS_GONE) {
        record(context, WS_OPEN_TIME, client->since_ns, op->now_ns ? op->now_ns : clock_now_ns());
    }
    if (ways->lean && !client->sending) {
        drop_room(client);
    }
}
