/* One connection of a role (workload/workload.h) without any I/O: completions are fed by hand, and
 * what the step asks for is there to be looked at. Included after cmocka.h. */
#ifndef SONDE_TESTS_ROLE_WORLD_H
#define SONDE_TESTS_ROLE_WORLD_H

#include <stdlib.h>
#include <string.h>

#include "workload/call.h"
#include "workload/http.h"
#include "workload/ping.h"
#include "workload/stream.h"
#include "workload/ws.h"

struct world {
    const struct role *role;
    union {
        struct call_options options;
        struct ping_options ping;
        struct stream_options stream;
        struct ws_options ws;
        struct http_options http;
    };
    struct role_context context;
    struct bank *bank;
    struct connection *connection;
};

static inline void world_open_with(struct world *world, const struct role *role,
                                   uint32_t receive_bytes, bool sends_at_once)
{
    struct err error = {0};
    world->role = role;
    world->bank = calloc(1, sizeof *world->bank);
    assert_non_null(world->bank);
    bank_clear(world->bank);
    world->context = (struct role_context){.bank = world->bank,
                                           .options = &world->options,
                                           .sends_at_once = sends_at_once,
                                           .quota = UINT64_MAX,
                                           .receive_bytes = receive_bytes};
    world->context.shared = role->open_worker(&world->options, 1, &error);
    assert_non_null(world->context.shared);
    world->connection = calloc(1, role->connection_bytes);
    assert_non_null(world->connection);
    assert_int_equal(role->open(&world->context, world->connection), 0);
}

static inline void world_close(struct world *world)
{
    world->role->close(&world->context, world->connection);
    world->role->close_worker(world->context.shared);
    free(world->connection);
    free(world->bank);
}

/* Feeds one operation, as the worker does. */
static inline const struct step_out *world_step(struct world *world, struct op op)
{
    struct step_out *out = &world->context.out;
    out->count = 0;
    out->flush = out->resume = out->set_timer = false;
    op.channel = &world->connection->channel;
    world->role->step(&world->context, world->connection, &op);
    assert_true(out->count <= OUT_OPS);
    return out;
}

static inline const struct step_out *world_event(struct world *world, enum op_kind kind,
                                                 uint64_t now_ns)
{
    return world_step(world, (struct op){.kind = kind, .now_ns = now_ns});
}

static inline const struct step_out *world_received(struct world *world, const uint8_t *data,
                                                    int64_t result, uint64_t now_ns)
{
    return world_step(
        world, (struct op){.kind = OP_RECEIVE, .data = data, .result = result, .now_ns = now_ns});
}

/* The operation of a kind that the last step asked for; NULL where it did not. */
static inline const struct op *world_asked(const struct world *world, enum op_kind kind)
{
    const struct op *found = NULL;
    for (uint32_t i = 0; i < world->context.out.count; i++) {
        const struct op *op = &world->context.out.ops[i];
        assert_ptr_equal(op->channel, &world->connection->channel);
        if (op->kind == kind) {
            assert_null(found); /* none asks for the same twice in one step */
            found = op;
        }
    }
    return found;
}

/* Completes a send that was asked for. now_ns 0: done at once, as the worker says it. */
static inline const struct step_out *world_sent(struct world *world, const struct op *send,
                                                int64_t result, uint64_t now_ns)
{
    struct op op = *send;
    op.result = result;
    op.now_ns = now_ns;
    return world_step(world, op);
}

static inline uint64_t world_counter(const struct world *world, uint32_t counter)
{
    return world->bank->counters[counter];
}

static inline uint64_t world_outstanding(const struct world *world)
{
    return world->role->outstanding(world->connection);
}

#endif
