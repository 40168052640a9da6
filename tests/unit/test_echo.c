/* The echo end, driven by hand: every byte comes back, in order, whatever the kernel takes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "role_world.h"

enum { RECEIVE_BYTES = 65536 };

static void server_open(struct world *world, struct echo_options echo, bool sends_at_once)
{
    *world = (struct world){.options = {.echo = echo}};
    if (world->options.echo.memory_bytes == 0) {
        world->options.echo.memory_bytes = 1 << 20;
    }
    world_open_with(world, &echo_server, RECEIVE_BYTES, sends_at_once);
    const struct step_out *out = world_event(world, OP_START, 1000);
    assert_non_null(world_asked(world, OP_RECEIVE));
    assert_int_equal(out->count, 1);
    assert_int_equal(world_counter(world, ECHO_COUNT_ACCEPTED), 1);
}

static const struct step_out *say(struct world *world, const char *text)
{
    return world_received(world, (const uint8_t *)text, (int64_t)strlen(text), 2000);
}

static struct op asked_send(const struct world *world, const char *text)
{
    const struct op *send = world_asked(world, OP_SEND);
    assert_non_null(send);
    assert_int_equal(send->length, strlen(text));
    assert_memory_equal(send->data, text, send->length);
    return *send;
}

static void answers_as_read(void **state)
{
    struct world world;
    (void)state;
    server_open(&world, (struct echo_options){0}, true);
    const char *text = "hello";
    say(&world, text);
    struct op send = asked_send(&world, text);
    assert_int_equal(send.flags & OP_TRY, OP_TRY);
    assert_ptr_equal(send.data, text); /* straight from the lent buffer */
    const struct step_out *out = world_sent(&world, &send, 5, 0);
    assert_int_equal(out->count, 0);
    assert_int_equal(world_outstanding(&world), 0);
    assert_int_equal(world_counter(&world, ECHO_COUNT_RECEIVED_BYTES), 5);
    assert_int_equal(world_counter(&world, ECHO_COUNT_SENT_BYTES), 5);
    assert_int_equal(world_counter(&world, ECHO_COUNT_RECEIVES), 1);
    assert_int_equal(world_counter(&world, ECHO_COUNT_SENDS), 1);
    assert_int_equal(histogram_count(&world.bank->histograms[ECHO_RECEIVED_SIZE]), 1);
    assert_int_equal(world.bank->histograms[ECHO_RECEIVED_SIZE].maximum, 5);
    world_close(&world);
}

/* What does not go at once is kept, sent in turn, and meanwhile nothing is read. */
static void try_that_is_short_waits_in_a_block(void **state)
{
    struct world world;
    (void)state;
    server_open(&world, (struct echo_options){0}, true);
    char text[] = "hello world";
    say(&world, text);
    struct op send = asked_send(&world, "hello world");
    world_sent(&world, &send, 4, 0);
    assert_non_null(world_asked(&world, OP_PAUSE));
    memset(text, '?', sizeof text); /* lent no longer */
    send = asked_send(&world, "o world");
    assert_int_equal(send.flags & OP_TRY, 0);
    assert_int_equal(world_outstanding(&world), 1);
    world_sent(&world, &send, 3, 3000);
    assert_null(world_asked(&world, OP_RECEIVE));
    send = asked_send(&world, "orld");
    world_sent(&world, &send, 4, 4000);
    assert_non_null(world_asked(&world, OP_RECEIVE)); /* reads on */
    assert_null(world_asked(&world, OP_SEND));
    assert_int_equal(world_outstanding(&world), 0);
    assert_int_equal(world_counter(&world, ECHO_COUNT_SENT_BYTES), 11);
    world_close(&world);
}

static void try_without_room_is_no_error(void **state)
{
    struct world world;
    (void)state;
    server_open(&world, (struct echo_options){0}, true);
    say(&world, "abc");
    struct op send = asked_send(&world, "abc");
    world_sent(&world, &send, -EAGAIN, 0);
    assert_non_null(world_asked(&world, OP_PAUSE));
    send = asked_send(&world, "abc");
    assert_int_equal(world.bank->errors[0].count, 0);
    assert_int_equal(world_counter(&world, ECHO_COUNT_SENDS), 0); /* nothing was taken */
    world_sent(&world, &send, 3, 3000);
    assert_non_null(world_asked(&world, OP_RECEIVE));
    assert_int_equal(world_counter(&world, ECHO_COUNT_SENT_BYTES), 3);
    world_close(&world);
}

static void engine_that_queues_sends_gets_a_copy(void **state)
{
    struct world world;
    (void)state;
    server_open(&world, (struct echo_options){0}, false);
    char text[] = "abcdef";
    say(&world, text);
    assert_non_null(world_asked(&world, OP_PAUSE));
    struct op send = asked_send(&world, "abcdef");
    memset(text, '?', sizeof text);
    assert_memory_equal(send.data, "abcdef", 6);
    assert_int_equal(send.flags & OP_TRY, 0);
    world_sent(&world, &send, 6, 3000);
    assert_non_null(world_asked(&world, OP_RECEIVE));
    world_close(&world);
}

static void byte_answers_are_one_send_each(void **state)
{
    (void)state;
    for (int at_once = 0; at_once < 2; at_once++) {
        struct world world;
        server_open(&world, (struct echo_options){.answer = ECHO_BYTE}, at_once);
        say(&world, "xyz");
        for (const char *c = "xyz"; *c; c++) {
            char one[2] = {*c, 0};
            struct op send = asked_send(&world, one);
            world_sent(&world, &send, 1, 3000);
        }
        assert_null(world_asked(&world, OP_SEND));
        assert_non_null(world_asked(&world, OP_RECEIVE));
        assert_int_equal(world_counter(&world, ECHO_COUNT_SENDS), 3);
        world_close(&world);
    }
}

static void half_close_is_answered_before_the_close(void **state)
{
    struct world world;
    (void)state;
    server_open(&world, (struct echo_options){0}, true);
    world_received(&world, NULL, 0, 3000);
    assert_non_null(world_asked(&world, OP_CLOSE)); /* nothing is owed */
    assert_int_equal(world_counter(&world, ECHO_COUNT_CLOSED), 1);
    world_close(&world);

    server_open(&world, (struct echo_options){0}, true);
    say(&world, "last words");
    struct op send = asked_send(&world, "last words");
    world_sent(&world, &send, -EAGAIN, 0);
    send = asked_send(&world, "last words");
    world_received(&world, NULL, 0, 3000); /* an engine may say so although it was paused */
    assert_null(world_asked(&world, OP_CLOSE));
    world_sent(&world, &send, 5, 4000);
    assert_null(world_asked(&world, OP_CLOSE));
    send = asked_send(&world, "words");
    world_sent(&world, &send, 5, 5000);
    assert_non_null(world_asked(&world, OP_CLOSE));
    assert_null(world_asked(&world, OP_RECEIVE));
    assert_int_equal(world_counter(&world, ECHO_COUNT_CLOSED), 1);
    assert_int_equal(world_counter(&world, ECHO_COUNT_SENT_BYTES), 10);
    assert_int_equal(world.bank->errors[0].count, 0);
    world_close(&world);
}

static void drain_lets_answers_out_and_closes(void **state)
{
    struct world world;
    (void)state;
    server_open(&world, (struct echo_options){0}, true);
    world.context.draining = true;
    world_event(&world, OP_DRAIN, 3000);
    assert_non_null(world_asked(&world, OP_CLOSE));
    world_close(&world);

    server_open(&world, (struct echo_options){0}, true);
    say(&world, "owed");
    struct op send = asked_send(&world, "owed");
    world_sent(&world, &send, 1, 0);
    send = asked_send(&world, "wed");
    world.context.draining = true;
    world_event(&world, OP_DRAIN, 3000);
    assert_null(world_asked(&world, OP_CLOSE));
    world_sent(&world, &send, 3, 4000);
    assert_non_null(world_asked(&world, OP_CLOSE));
    /* Nothing is asked of a connection that is closing. */
    const struct step_out *out = say(&world, "too late");
    assert_int_equal(out->count, 0);
    world_close(&world);
}

static void errors_close_and_are_counted(void **state)
{
    struct world world;
    (void)state;
    server_open(&world, (struct echo_options){0}, true);
    world_received(&world, NULL, -ECONNRESET, 3000);
    assert_non_null(world_asked(&world, OP_CLOSE));
    assert_int_equal(world.bank->errors[0].phase, PHASE_RECEIVE);
    assert_int_equal(world.bank->errors[0].number, ECONNRESET);
    world_close(&world);

    server_open(&world, (struct echo_options){0}, true);
    say(&world, "abc");
    struct op send = asked_send(&world, "abc");
    world_sent(&world, &send, -EPIPE, 0);
    assert_non_null(world_asked(&world, OP_CLOSE));
    assert_int_equal(world.bank->errors[0].phase, PHASE_SEND);
    assert_int_equal(world.bank->errors[0].number, EPIPE);
    assert_int_equal(world_outstanding(&world), 0);
    world_close(&world);
}

static void idle_connection_is_closed(void **state)
{
    struct world world;
    (void)state;
    server_open(&world, (struct echo_options){.idle_timeout_ns = 500}, true);
    assert_true(world.context.out.set_timer);
    assert_int_equal(world.context.out.timer_ns, 1500);
    world_received(&world, (const uint8_t *)"a", 1, 1400);
    struct op send = asked_send(&world, "a");
    world_sent(&world, &send, 1, 0);
    const struct step_out *out = world_event(&world, OP_TIMER, 1500);
    assert_int_equal(out->count, 0); /* it spoke at 1400 */
    assert_true(out->set_timer);
    assert_int_equal(out->timer_ns, 1900);
    world_event(&world, OP_TIMER, 1900);
    assert_non_null(world_asked(&world, OP_CLOSE));
    assert_int_equal(world_counter(&world, ECHO_COUNT_IDLE_CLOSED), 1);
    assert_int_equal(world_counter(&world, ECHO_COUNT_CLOSED), 1);
    world_close(&world);

    /* A slow reader is not idle while its answer goes out. */
    server_open(&world, (struct echo_options){.idle_timeout_ns = 500}, false);
    world_received(&world, (const uint8_t *)"abc", 3, 1400);
    send = asked_send(&world, "abc");
    world_sent(&world, &send, 1, 1800);
    world_event(&world, OP_TIMER, 1900);
    assert_null(world_asked(&world, OP_CLOSE));
    assert_int_equal(world.context.out.timer_ns, 2300);
    world_event(&world, OP_TIMER, 2300); /* no progress since: it is */
    assert_non_null(world_asked(&world, OP_CLOSE));
    world_close(&world);

    server_open(&world, (struct echo_options){0}, true);
    assert_false(world.context.out.set_timer); /* 0: never */
    world_close(&world);
}

/* All connections of a worker together may hold so much and no more; what is given back serves
 * again. */
static void memory_is_bounded(void **state)
{
    struct world world;
    static uint8_t data[RECEIVE_BYTES];
    struct connection *others[4];
    (void)state;
    server_open(&world, (struct echo_options){.memory_bytes = 2 * RECEIVE_BYTES}, false);
    struct connection *mine = world.connection;
    int refused = 0;
    for (int i = 0; i < 4; i++) {
        others[i] = calloc(1, echo_server.connection_bytes);
        assert_non_null(others[i]);
        world.connection = others[i];
        assert_int_equal(echo_server.open(&world.context, others[i]), 0);
        world_event(&world, OP_START, 1000);
        world_received(&world, data, sizeof data, 2000);
        bool closes = world_asked(&world, OP_CLOSE) != NULL;
        assert_int_equal(closes, i >= 2);
        assert_int_equal(world_asked(&world, OP_SEND) != NULL, !closes);
        refused += closes;
    }
    assert_int_equal(refused, 2);
    assert_int_equal(world.bank->errors[0].count, 2);
    assert_int_equal(world.bank->errors[0].phase, PHASE_SEND);
    echo_server.close(&world.context, others[0]); /* gives its block back */
    world.connection = mine;
    world_received(&world, data, sizeof data, 3000);
    assert_null(world_asked(&world, OP_CLOSE));
    assert_non_null(world_asked(&world, OP_SEND));
    for (int i = 0; i < 4; i++) {
        echo_server.close(&world.context, others[i]);
        free(others[i]);
    }
    world_close(&world);
}

/* A random world: any portions in, any portions out; every byte comes back once and in order. */
static void random_run(uint64_t seed, bool at_once, uint32_t answer)
{
    struct world world;
    struct rng rng;
    uint64_t told = 0, echoed = 0;
    bool reading = true, sending = false;
    struct op send = {0};
    static uint8_t data[RECEIVE_BYTES];
    rng_seed(&rng, seed);
    server_open(&world, (struct echo_options){.answer = answer}, at_once);
    for (int i = 0; i < 3000; i++) {
        if (sending) {
            bool tried = send.flags & OP_TRY;
            uint64_t taken = rng_below(&rng, 2) ? send.length : rng_below(&rng, send.length + 1);
            taken = taken || tried ? taken : 1;
            for (uint64_t j = 0; j < taken; j++) {
                assert_int_equal(send.data[j], (uint8_t)((echoed + j) * 31 >> 3));
            }
            echoed += taken;
            sending = false;
            world_sent(&world, &send, tried && taken == 0 ? -EAGAIN : (int64_t)taken,
                       tried ? 0 : 3000);
        } else {
            assert_true(reading); /* neither reading nor sending: stuck */
            assert_int_equal(told, echoed);
            uint64_t length = 1 + rng_below(&rng, answer == ECHO_BYTE ? 300 : RECEIVE_BYTES);
            for (uint64_t j = 0; j < length; j++) {
                data[j] = (uint8_t)((told + j) * 31 >> 3);
            }
            told += length;
            world_received(&world, data, (int64_t)length, 2000);
        }
        reading = (reading && !world_asked(&world, OP_PAUSE)) || world_asked(&world, OP_RECEIVE);
        const struct op *next = world_asked(&world, OP_SEND);
        if (next) {
            send = *next;
            sending = true;
        }
        assert_null(world_asked(&world, OP_CLOSE));
        assert_int_equal(world_counter(&world, ECHO_COUNT_RECEIVED_BYTES), told);
        assert_int_equal(world_counter(&world, ECHO_COUNT_SENT_BYTES), echoed);
    }
    assert_true(echoed > 1000);
    world_close(&world);
}

static void random_portions_lose_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 6; seed++) {
        random_run(seed, true, ECHO_AS_READ);
        random_run(seed, false, ECHO_AS_READ);
        random_run(seed, true, ECHO_BYTE);
        random_run(seed, false, ECHO_BYTE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_as_read),
        cmocka_unit_test(try_that_is_short_waits_in_a_block),
        cmocka_unit_test(try_without_room_is_no_error),
        cmocka_unit_test(engine_that_queues_sends_gets_a_copy),
        cmocka_unit_test(byte_answers_are_one_send_each),
        cmocka_unit_test(half_close_is_answered_before_the_close),
        cmocka_unit_test(drain_lets_answers_out_and_closes),
        cmocka_unit_test(errors_close_and_are_counted),
        cmocka_unit_test(idle_connection_is_closed),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(random_portions_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
