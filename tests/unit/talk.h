/* A small conversation in datagrams, for tests of workers and runs: the client says something,
 * hears it again and goes on; the server answers whoever spoke. */
#ifndef SONDE_TESTS_TALK_H
#define SONDE_TESTS_TALK_H

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workload/workload.h"

enum { TALK_MESSAGES, TALK_BYTES, TALK_SENT, TALK_OTHERS, TALK_OPENED_MAX = 8 };

/* What the roles were shown of their connections as they were opened. */
struct talk_log {
    _Atomic uint32_t opened;
    uint8_t kinds[TALK_OPENED_MAX], options[TALK_OPENED_MAX];
    uint16_t flows[TALK_OPENED_MAX];
};

struct talk {
    struct connection base;
    uint8_t text[64];
    uint32_t said;
};

struct talk_options {
    struct talk_log *log; /* NULL: none is kept */
    uint32_t messages;    /* that a client's connection says, one after the other's answer */
};

static void *talk_open_worker(const void *options, uint32_t connections, struct err *error)
{
    (void)options;
    (void)connections;
    (void)error;
    return malloc(1);
}

static int talk_open(struct role_context *context, struct connection *connection)
{
    const struct talk_options *options = context->options;
    uint32_t at = options->log ? atomic_fetch_add(&options->log->opened, 1) : TALK_OPENED_MAX;
    if (at < TALK_OPENED_MAX) {
        options->log->kinds[at] = connection->channel.kind;
        options->log->options[at] = connection->channel.options;
        options->log->flows[at] = connection->flow;
    }
    return 0;
}

static void talk_say(struct role_context *context, struct talk *talk)
{
    struct op *op = step_submit(context, &talk->base, OP_SEND);
    op->data = talk->text;
    op->length = (size_t)snprintf((char *)talk->text, sizeof talk->text, "from %u, %u",
                                  talk->base.flow, talk->said++);
}

/* Of several clients of one server, each hears its own words. */
static void talk_heard(struct role_context *context, struct talk *talk, const struct op *op)
{
    const struct talk_options *options = context->options;
    context->bank->counters[TALK_OTHERS] +=
        (size_t)op->result != strlen((const char *)talk->text) ||
        memcmp(op->data, talk->text, (size_t)op->result) != 0;
    if (talk->said < options->messages && !context->draining) {
        talk_say(context, talk);
    }
}

static void talk_answer(struct role_context *context, struct talk *talk, const struct op *op)
{
    struct op *send = step_submit(context, &talk->base, OP_SEND);
    memcpy(talk->text, op->data, (size_t)op->result);
    send->data = talk->text;
    send->length = (size_t)op->result;
    send->peer = op->peer;
    send->peer_length = op->peer_length;
}

/* True where a message was received. */
static bool talk_count(struct role_context *context, const struct op *op)
{
    uint64_t *counters = context->bank->counters;
    bool receive = op->kind == OP_RECEIVE;
    if (!receive && op->kind != OP_SEND) {
        return false;
    }
    if (op->result < 0) {
        bank_error(context->bank, receive ? PHASE_RECEIVE : PHASE_SEND, (int)-op->result, NULL);
        return false;
    }
    counters[receive ? TALK_MESSAGES : TALK_SENT]++;
    counters[TALK_BYTES] += receive ? (uint64_t)op->result : 0;
    return receive;
}

static void talk_client_step(struct role_context *context, struct connection *connection,
                             const struct op *op)
{
    struct talk *talk = (struct talk *)(void *)connection;
    if (op->kind == OP_START) {
        step_submit(context, connection, OP_RECEIVE);
        talk_say(context, talk);
    } else if (talk_count(context, op)) {
        talk_heard(context, talk, op);
    }
}

static void talk_server_step(struct role_context *context, struct connection *connection,
                             const struct op *op)
{
    if (op->kind == OP_START) {
        step_submit(context, connection, OP_RECEIVE);
    } else if (talk_count(context, op)) {
        talk_answer(context, (struct talk *)(void *)connection, op);
    }
}

static size_t talk_memory(const void *options)
{
    (void)options;
    return sizeof(struct talk);
}

static void talk_close(struct role_context *context, struct connection *connection)
{
    (void)context;
    (void)connection;
}

static const struct role talk_client = {
    .connection_bytes = sizeof(struct talk),
    .connection_memory = talk_memory,
    .open_worker = talk_open_worker,
    .close_worker = free,
    .open = talk_open,
    .step = talk_client_step,
    .close = talk_close,
};

static const struct role talk_server = {
    .connection_bytes = sizeof(struct talk),
    .connection_memory = talk_memory,
    .open_worker = talk_open_worker,
    .close_worker = free,
    .open = talk_open,
    .step = talk_server_step,
    .close = talk_close,
};

#endif
