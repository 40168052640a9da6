/* A client's WebSocket connection: the request, the answer, control frames, the close. */
#include "workload/ws_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* How long a server may leave the connection open behind its close frame. */
#define LINGER_NS NS_PER_SECOND
#define REQUEST_ROOM (WS_PATH_MAX + WS_HOST_MAX + 512)
/* A pong and a close frame, which find room behind any message. */
#define CONTROL_ROOM (2 * (WEBSOCKET_HEADER_MOST + WEBSOCKET_CONTROL_MOST))
/* The periods of the payload: primes, so that an answer to another message is found out. */
#define BINARY_PERIOD 251
#define TEXT_PERIOD 89

static void make_pattern(const struct ws_options *options, uint8_t *pattern, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        pattern[i] =
            (uint8_t)(options->message == WS_TEXT ? '!' + i % TEXT_PERIOD : i % BINARY_PERIOD);
    }
}

void ws_close_worker(void *shared)
{
    struct ws_worker *worker = shared;
    if (worker) {
        free(worker->pattern);
        free(worker->compressed);
        free(worker->inflated);
        websocket_hash_close(worker->hash);
    }
    free(worker);
}

void *ws_open_worker(const void *member, uint32_t connections, struct err *error)
{
    const struct ws_options *options = member;
    (void)connections;
    struct ws_worker *worker = calloc(1, sizeof *worker);
    size_t pattern_bytes = options->size_bytes + BINARY_PERIOD;
    if (worker) {
        worker->pattern = malloc(pattern_bytes);
        if (options->deflate) {
            /* Of what cannot be compressed zlib makes a little more. */
            worker->compressed_room = options->size_bytes + options->size_bytes / 8 + 1024;
            worker->compressed = malloc(worker->compressed_room);
            worker->inflated = malloc(WS_INFLATED_ROOM);
        }
    }
    if (!worker || !worker->pattern ||
        (options->deflate && (!worker->compressed || !worker->inflated))) {
        ws_close_worker(worker);
        err_system(error, ENOMEM, "ws", "cannot make the messages");
        return NULL;
    }
    make_pattern(options, worker->pattern, pattern_bytes);
    worker->hash = websocket_hash_open();
    rng_seed(&worker->rng, clock_now_ns() ^ (uint64_t)(uintptr_t)worker);
    worker->deflate = (struct websocket_deflate){.client_max_window_bits = WEBSOCKET_WINDOW_ANY};
    worker->offer = (struct websocket_offer){
        .target = options->path[0] ? options->path : "/",
        .host = options->host[0] ? options->host : "localhost",
        .deflate = &worker->deflate,
        .deflate_count = options->deflate,
    };
    return worker;
}

size_t ws_message_room(const struct ws_options *options)
{
    size_t bytes = options->size_bytes;
    bytes += options->deflate ? bytes / 8 + 1024 : 0;
    size_t frames = options->fragment_bytes ? bytes / options->fragment_bytes + 1 : 1;
    return bytes + frames * WEBSOCKET_HEADER_MOST;
}

int ws_client_open(struct role_context *context, struct ws_client *client, size_t frames)
{
    struct ws_worker *worker = context->shared;
    uint8_t nonce[WEBSOCKET_NONCE_BYTES];
    char key[WEBSOCKET_KEY_TEXT + 1];
    char request[REQUEST_ROOM];
    for (size_t i = 0; i < sizeof nonce; i += sizeof(uint64_t)) {
        uint64_t random = rng_next(&worker->rng);
        memcpy(nonce + i, &random, sizeof random);
    }
    if (websocket_key(nonce, key) < 0 || websocket_accept(worker->hash, key, client->accept) < 0) {
        return -ENOTSUP;
    }
    ssize_t bytes = websocket_request_write(&worker->offer, key, request, sizeof request);
    if (bytes < 0) {
        return -EINVAL;
    }
    frames += CONTROL_ROOM;
    size_t room = frames > (size_t)bytes ? frames : (size_t)bytes;
    client->out = malloc(room);
    if (!client->out) {
        return -ENOMEM;
    }
    memcpy(client->out, request, (size_t)bytes);
    client->out_room = (uint32_t)room;
    client->out_end = (uint32_t)bytes;
    return 0;
}

void ws_client_close(struct ws_client *client)
{
    if (client->compression) {
        websocket_inflater_close(&client->compression->inflater);
        websocket_deflater_close(&client->compression->deflater);
    }
    free(client->compression);
    free(client->head);
    free(client->out);
    client->compression = NULL;
    client->head = NULL;
    client->out = NULL;
}

/* ---- ends ------------------------------------------------------------------------------------ */

static enum bank_phase phase_of(const struct ws_client *client, enum bank_phase open)
{
    return client->state == WS_UPGRADING ? PHASE_UPGRADE
           : client->state == WS_CLOSING ? PHASE_CLOSE
                                         : open;
}

static void set_timer(struct role_context *context, uint64_t at_ns)
{
    context->out.set_timer = true;
    context->out.timer_ns = at_ns;
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
    ways->failed(context, client);
    leave(context, client);
}

/* What the peer did wrong it is told, as far as that goes at once. */
static void fail_protocol(struct role_context *context, struct ws_client *client,
                          const struct ws_ways *ways, int error)
{
    unsigned code = websocket_error_answer(error);
    if (code >= WEBSOCKET_NORMAL && client->state == WS_OPEN && !client->sending &&
        context->sends_at_once) {
        uint8_t payload[WEBSOCKET_CONTROL_MOST];
        client->out_begin = client->out_end = 0;
        size_t bytes = websocket_close_write(payload, code, NULL);
        ws_client_append(context, client,
                         (struct websocket_frame){.opcode = WEBSOCKET_CLOSE, .length = bytes},
                         payload);
        struct op *send = step_submit(context, &client->base, OP_SEND);
        send->data = client->out;
        send->length = client->out_end;
        send->flags = OP_TRY;
    }
    fail(context, client, ways, phase_of(client, PHASE_PROTOCOL), 0, websocket_error_text(error));
}

/* ---- sending --------------------------------------------------------------------------------- */

void ws_client_append(struct role_context *context, struct ws_client *client,
                      struct websocket_frame frame, const uint8_t *payload)
{
    struct ws_worker *worker = context->shared;
    uint8_t mask[WEBSOCKET_MASK_BYTES];
    websocket_mask_draw(&worker->rng, mask);
    frame.mask = mask;
    client->out_end +=
        (uint32_t)websocket_frame_write(client->out + client->out_end, &frame, payload);
}

void ws_client_end(struct role_context *context, struct ws_client *client)
{
    (void)context;
    client->close_wanted = client->state == WS_OPEN;
}

static void append_close(struct role_context *context, struct ws_client *client, unsigned code)
{
    uint8_t payload[WEBSOCKET_CONTROL_MOST];
    size_t bytes = websocket_close_write(payload, code, NULL);
    ws_client_append(context, client,
                     (struct websocket_frame){.opcode = WEBSOCKET_CLOSE, .length = bytes}, payload);
}

static void submit_rest(struct role_context *context, struct ws_client *client)
{
    struct op *op = step_submit(context, &client->base, OP_SEND);
    op->data = client->out + client->out_begin;
    op->length = client->out_end - client->out_begin;
    client->sending = true;
}

void ws_client_send(struct role_context *context, struct ws_client *client,
                    const struct ws_ways *ways)
{
    if (client->sending || client->state != WS_OPEN) {
        return;
    }
    client->out_begin = client->out_end = 0;
    if (client->pong_wanted) {
        ws_client_append(
            context, client,
            (struct websocket_frame){.opcode = WEBSOCKET_PONG, .length = client->pong_bytes},
            client->pong);
        client->pong_wanted = false;
    }
    ways->fill(context, client);
    if (client->close_wanted && client->begun == client->issued) {
        client->close_wanted = false;
        append_close(context, client, (unsigned)ws_options_of(context)->code);
        client->state = WS_CLOSING;
        set_timer(context, clock_now_ns() + ws_options_of(context)->timeout_ns);
    }
    if (client->out_end) {
        context->bank->counters[WS_COUNT_WIRE_SENT] += client->out_end;
        submit_rest(context, client);
    }
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
    client->open_ns = now_ns;
    set_timer(context, 0);
    context->bank->counters[WS_COUNT_UPGRADED]++;
    histogram_record(&context->bank->histograms[WS_UPGRADE], now_ns - client->started_ns, 1);
    ways->opened(context, client, now_ns);
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
        histogram_record(&context->bank->histograms[WS_CLOSE], now_ns - client->open_ns, 1);
        set_timer(context, now_ns + LINGER_NS);
        ways->closed(context, client, now_ns);
        return;
    }
    if (!client->sending && context->sends_at_once) {
        client->out_begin = client->out_end = 0;
        append_close(context, client, event->code);
        struct op *send = step_submit(context, &client->base, OP_SEND);
        send->data = client->out;
        send->length = client->out_end;
        send->flags = OP_TRY;
    }
    snprintf(text, sizeof text, "the server closed with code %u", event->code);
    fail(context, client, ways, PHASE_PROTOCOL, 0, text);
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
        memcpy(client->pong, event->data, event->length);
        client->pong_bytes = (uint8_t)event->length;
        client->pong_wanted = client->state == WS_OPEN;
        context->bank->counters[WS_COUNT_PINGED]++;
        return true;
    case WEBSOCKET_CLOSED:
        take_close(context, client, ways, event, now_ns);
        return false;
    case WEBSOCKET_DATA:
    case WEBSOCKET_PONGED:
        wrong = ways->took(context, client, event, now_ns);
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
        context->bank->counters[WS_COUNT_SERVER_FIRST]++;
        set_timer(context, 0);
        if (ways->leaves) {
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
                    const struct ws_ways *ways)
{
    switch (client->state) {
    case WS_UPGRADING:
        fail(context, client, ways, PHASE_UPGRADE, 0, "no answer within --timeout");
        break;
    case WS_CLOSING:
        fail(context, client, ways, PHASE_CLOSE, 0, "no answer within --timeout");
        break;
    case WS_CLOSED:
        context->bank->counters[WS_COUNT_CLIENT_FIRST]++;
        if (ways->leaves) {
            leave(context, client);
        } else {
            client->state = WS_GONE;
        }
        break;
    default:
        break;
    }
}

void ws_client_step(struct role_context *context, struct ws_client *client, const struct op *op,
                    const struct ws_ways *ways)
{
    switch (op->kind) {
    case OP_START:
        client->state = WS_UPGRADING;
        client->started_ns = op->now_ns;
        set_timer(context, op->now_ns + ws_options_of(context)->timeout_ns);
        step_submit(context, &client->base, OP_RECEIVE);
        submit_rest(context, client);
        break;
    case OP_RECEIVE:
        received(context, client, op, ways);
        break;
    case OP_SEND:
        sent(context, client, op, ways);
        break;
    case OP_TIMER:
        expired(context, client, ways);
        break;
    default:
        break;
    }
}
