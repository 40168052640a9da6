/* Both ends of `sonde ws` joined in memory: what one sends the other receives, in pieces of any
 * size. Included after cmocka.h. */
#ifndef SONDE_TESTS_WS_PAIR_H
#define SONDE_TESTS_WS_PAIR_H

#include "base/clock.h"
#include "role_world.h"

#define RECEIVE_BYTES 65536
#define WIRE_BYTES ((size_t)1 << 22)

/* What is on its way to one end. */
struct wire {
    uint8_t *data;
    size_t begin, end;
};

struct side {
    struct world world;
    struct wire to;     /* received by it */
    struct op send;     /* the one under way; kind OP_CONNECT: none */
    bool closed, shut;  /* asked for OP_CLOSE; OP_SHUTDOWN */
    bool paused, ended; /* the other's end was delivered */
    uint64_t timer_ns;  /* 0: not set */
};

struct pair {
    struct side client, server;
    size_t piece;      /* bytes that one receive brings */
    size_t send_piece; /* that one send takes; 0: all */
    uint64_t now_ns;
};

/* Takes what the last step of a side has asked for. */
static inline void take(struct pair *pair, struct side *side)
{
    const struct step_out *out = &side->world.context.out;
    if (out->set_timer) {
        side->timer_ns = out->timer_ns;
    }
    struct op ops[OUT_OPS];
    uint32_t count = out->count;
    memcpy(ops, out->ops, sizeof ops);
    for (uint32_t i = 0; i < count && !side->closed; i++) {
        switch (ops[i].kind) {
        case OP_SEND:
            assert_int_equal(side->send.kind, OP_CONNECT);
            side->send = ops[i];
            break;
        case OP_CLOSE:
            side->closed = true;
            break;
        case OP_SHUTDOWN:
            side->shut = true;
            break;
        case OP_PAUSE:
            side->paused = true;
            break;
        case OP_RECEIVE:
            side->paused = false;
            break;
        default:
            fail();
        }
    }
    (void)pair;
}

static inline void feed(struct pair *pair, struct side *side, struct op op)
{
    op.now_ns = ++pair->now_ns;
    world_step(&side->world, op);
    take(pair, side);
}

static inline bool complete_send(struct pair *pair, struct side *side, struct wire *wire)
{
    if (side->send.kind != OP_SEND) {
        return false;
    }
    struct op op = side->send;
    side->send.kind = OP_CONNECT;
    size_t most = pair->send_piece ? pair->send_piece : op.length;
    op.result = (int64_t)(op.length < most ? op.length : most);
    assert_true(wire->end + (size_t)op.result <= WIRE_BYTES);
    memcpy(wire->data + wire->end, op.data, (size_t)op.result);
    wire->end += (size_t)op.result;
    if (!side->closed) {
        feed(pair, side, op);
    }
    return true;
}

static inline bool deliver(struct pair *pair, struct side *side, struct side *other)
{
    struct wire *wire = &side->to;
    if (side->closed || side->paused) {
        return false;
    }
    size_t there = wire->end - wire->begin;
    size_t piece = there < pair->piece ? there : pair->piece;
    if (piece == 0 && !side->ended && (other->closed || other->shut) &&
        other->send.kind != OP_SEND) {
        side->ended = true;
        feed(pair, side, (struct op){.kind = OP_RECEIVE});
        return true;
    }
    if (piece == 0) {
        return false;
    }
    uint8_t *data = malloc(piece); /* of exactly this size: a sanitizer sees what lies beyond */
    assert_non_null(data);
    memcpy(data, wire->data + wire->begin, piece);
    wire->begin += piece;
    feed(pair, side, (struct op){.kind = OP_RECEIVE, .data = data, .result = (int64_t)piece});
    /* A send that is tried at once may point at it no longer. */
    free(data);
    return true;
}

/* Until nothing more happens. */
static inline void run_pair(struct pair *pair)
{
    bool more = true;
    while (more) {
        more = complete_send(pair, &pair->client, &pair->server.to);
        more = complete_send(pair, &pair->server, &pair->client.to) || more;
        more = deliver(pair, &pair->server, &pair->client) || more;
        more = deliver(pair, &pair->client, &pair->server) || more;
    }
}

static inline void side_open(struct side *side, const struct role *role,
                             const struct ws_options *options, uint64_t quota)
{
    *side = (struct side){.world = {.ws = *options}, .send = {.kind = OP_CONNECT}};
    side->to.data = malloc(WIRE_BYTES);
    assert_non_null(side->to.data);
    world_open_with(&side->world, role, RECEIVE_BYTES, true);
    side->world.context.quota = quota;
}

static inline struct ws_options options_of(enum ws_mode mode)
{
    return (struct ws_options){.mode = mode,
                               .size_bytes = 64,
                               .high = 1,
                               .timeout_ns = NS_PER_SECOND,
                               .code = WEBSOCKET_NORMAL,
                               .verify = true,
                               .server = {.frame_most = 1 << 20, .message_most = 1 << 20}};
}

static inline void pair_open(struct pair *pair, const struct ws_options *options, size_t piece,
                             uint64_t quota)
{
    *pair = (struct pair){.piece = piece, .now_ns = clock_now_ns() + 1000 * NS_PER_SECOND};
    static const struct role *const clients[] = {[WS_HANDSHAKE] = &ws_handshake_client,
                                                 [WS_HOLD] = &ws_hold_client,
                                                 [WS_MESSAGE] = &ws_message_client};
    side_open(&pair->client, clients[options->mode], options, quota);
    side_open(&pair->server, &ws_server, options, UINT64_MAX);
    pair->client.world.connection->dialed_ns = pair->client.world.connection->intended_ns =
        pair->now_ns;
    feed(pair, &pair->server, (struct op){.kind = OP_START});
    feed(pair, &pair->client, (struct op){.kind = OP_START});
}

static inline void pair_close(struct pair *pair)
{
    world_close(&pair->client.world);
    world_close(&pair->server.world);
    free(pair->client.to.data);
    free(pair->server.to.data);
}

static inline uint64_t of_client(const struct pair *pair, enum ws_counter counter)
{
    return world_counter(&pair->client.world, counter);
}

static inline uint64_t of_server(const struct pair *pair, enum ws_server_counter counter)
{
    return world_counter(&pair->server.world, counter);
}

static inline uint64_t times(const struct pair *pair, enum ws_histogram which)
{
    return histogram_count(&pair->client.world.bank->histograms[which]);
}

static inline void assert_no_errors(const struct pair *pair)
{
    assert_string_equal(pair->client.world.bank->errors[0].name, "");
    assert_string_equal(pair->server.world.bank->errors[0].name, "");
    assert_int_equal(pair->client.world.bank->errors[0].count, 0);
    assert_int_equal(pair->server.world.bank->errors[0].count, 0);
}

static inline void assert_error(const struct side *side, enum bank_phase phase, const char *name)
{
    const struct bank_error *row = &side->world.bank->errors[0];
    assert_string_equal(row->name, name);
    assert_int_equal(row->phase, phase);
    assert_int_equal(row->count, 1);
    assert_int_equal(side->world.bank->errors[1].count, 0);
}

static const size_t pieces[] = {1, 2, 3, 7, 130, 65536};
enum { PIECES = sizeof pieces / sizeof *pieces };

#endif
