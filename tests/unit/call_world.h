/* What the tests of the client of `sonde call` share: a client driven by hand. */
#ifndef SONDE_UNIT_CALL_WORLD_H
#define SONDE_UNIT_CALL_WORLD_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "role_world.h"

#define KIB ((uint64_t)1024)
#define SEND_MOST (128 * KIB)
#define PERIOD 251

/* A client whose clock can be made up: instants are given relative to a moment in the future, so
 * that none lies before a reading that the client makes itself. */
struct client {
    struct world world;
    uint64_t zero_ns;
    uint64_t answered_bytes;
};

static inline struct call_options options_of(enum write_strategy strategy, uint64_t parameter,
                                             uint64_t high)
{
    return (struct call_options){.size_bytes = 1,
                                 .write = {.strategy = strategy, .parameter = parameter},
                                 .high = high,
                                 .low = high > 1 ? high / 2 : 1,
                                 .verify = true};
}

static inline void client_open(struct client *client, struct call_options options)
{
    *client = (struct client){.world = {.options = options}};
    world_open_with(&client->world, &call_client, 65536, true);
    client->zero_ns = clock_now_ns() + 1000 * NS_PER_SECOND;
}

static inline void client_close(struct client *client)
{
    world_close(&client->world);
}

static inline const struct step_out *event(struct client *client, enum op_kind kind, uint64_t at_ns)
{
    return world_event(&client->world, kind, client->zero_ns + at_ns);
}

/* What the server owes from the next position on. */
static inline void make_answer(struct client *client, uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        data[i] = (uint8_t)((client->answered_bytes + i) % PERIOD);
    }
    client->answered_bytes += length;
}

static inline const struct step_out *answer(struct client *client, size_t length, uint64_t at_ns)
{
    uint8_t *data = malloc(length); /* of exactly this size: a sanitizer sees a read beyond it */
    assert_non_null(data);
    make_answer(client, data, length);
    const struct step_out *out =
        world_received(&client->world, data, (int64_t)length, client->zero_ns + at_ns);
    free(data);
    return out;
}

static inline const struct step_out *sent(struct client *client, int64_t result, uint64_t at_ns)
{
    const struct op *send = world_asked(&client->world, OP_SEND);
    assert_non_null(send);
    struct op copy = *send;
    return world_sent(&client->world, &copy, result, client->zero_ns + at_ns);
}

/* Done at once and whole. */
static inline const struct step_out *sent_at_once(struct client *client)
{
    const struct op *send = world_asked(&client->world, OP_SEND);
    assert_non_null(send);
    struct op copy = *send;
    return world_sent(&client->world, &copy, (int64_t)copy.length, 0);
}

static inline uint64_t count(const struct client *client, enum call_counter counter)
{
    return world_counter(&client->world, counter);
}

static inline const struct histogram *times(const struct client *client, enum call_histogram which)
{
    return &client->world.bank->histograms[which];
}

static inline void assert_send(const struct client *client, uint64_t length)
{
    const struct op *send = world_asked(&client->world, OP_SEND);
    assert_non_null(send);
    assert_int_equal(send->length, length);
}

static inline void assert_no_send(const struct client *client)
{
    assert_null(world_asked(&client->world, OP_SEND));
}

/* Holds at any moment. */
static inline void check_invariants(const struct client *client)
{
    uint64_t completed = count(client, CALL_COUNT_COMPLETED);
    assert_int_equal(histogram_count(times(client, CALL_RESPONSE_TIME)), completed);
    assert_int_equal(histogram_count(times(client, CALL_SERVICE_TIME)), completed);
    assert_int_equal(count(client, CALL_COUNT_BYTES), count(client, CALL_COUNT_SENT_BYTES) +
                                                          count(client, CALL_COUNT_RECEIVED_BYTES));
    assert_int_equal(histogram_count(times(client, CALL_RECEIVED_SIZE)),
                     count(client, CALL_COUNT_RECEIVES));
    assert_int_equal(completed,
                     count(client, CALL_COUNT_RECEIVED_BYTES) / client->world.options.size_bytes);
    if (!world_asked(&client->world, OP_CLOSE)) {
        assert_int_equal(world_outstanding(&client->world),
                         count(client, CALL_COUNT_ISSUED) - completed);
        assert_true(world_outstanding(&client->world) <= client->world.options.high);
    }
    assert_true(count(client, CALL_COUNT_RESUMED) <= count(client, CALL_COUNT_THROTTLED));
    assert_int_equal(count(client, CALL_COUNT_REGRESSIONS), 0);
}

static inline void assert_lost(const struct client *client, enum bank_phase phase, int number,
                               uint64_t lost)
{
    const struct bank_error *row = &client->world.bank->errors[0];
    assert_non_null(world_asked(&client->world, OP_CLOSE));
    assert_int_equal(row->count, 1);
    assert_int_equal(row->phase, phase);
    assert_int_equal(row->number, number);
    assert_int_equal(client->world.bank->errors[1].count, 0);
    assert_int_equal(count(client, CALL_COUNT_LOST), lost);
    assert_int_equal(world_outstanding(&client->world), 0);
}

#endif
