/* The worker's loop on threads of its own, against the null engine and through socket pairs: cuts,
 * counted runs, phases, drain, stop. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "run/collect.h"
#include "run/worker.h"
#include "workload/call.h"

/* Nothing here takes so long unless something hangs. */
#define PATIENCE_NS (60 * NS_PER_SECOND)
#define CONNECTIONS_MAX 100

/* One end: a worker on its thread, and the sum of all that it was asked to cut. */
struct end {
    struct run_control *control;
    struct worker_slot *slot;
    struct worker_config config;
    struct tally part, sum;
    pthread_t thread;
    bool running;
    uint32_t cuts;
};

struct pair_world {
    struct call_options options;
    struct end client, server;
    struct dial dials[CONNECTIONS_MAX];
    struct net_end server_ends[CONNECTIONS_MAX];
};

static void nap(uint64_t ns)
{
    struct timespec pause = clock_timespec(ns);
    clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

static void end_open(struct end *end, const struct engine_ops *engine, const struct role *role,
                     const struct call_options *options)
{
    struct err error = {0};
    end->control = shared_memory(sizeof *end->control, &error);
    end->slot = shared_memory(sizeof *end->slot, &error);
    assert_true(end->control && end->slot);
    assert_int_equal(tally_init(&end->part, 1, 0, &error), 0);
    assert_int_equal(tally_init(&end->sum, 1, 0, &error), 0);
    end->config = (struct worker_config){.engine = engine,
                                         .role = role,
                                         .send_lag = CALL_SEND_LAG,
                                         .options = options,
                                         .control = end->control,
                                         .slot = end->slot,
                                         .receive_bytes = 65536,
                                         .cpu = -1,
                                         .quota = UINT64_MAX,
                                         .workers = 1,
                                         .connect_timeout_ns = 5 * NS_PER_SECOND,
                                         .connections_max = CONNECTIONS_MAX};
}

static void *end_thread(void *argument)
{
    worker_run(argument);
    return NULL;
}

static void end_start(struct end *end)
{
    atomic_store(&end->slot->state, SLOT_STARTING);
    assert_int_equal(pthread_create(&end->thread, NULL, end_thread, &end->config), 0);
    end->running = true;
}

static void end_cut(struct end *end)
{
    collect(end->slot, 1, &end->part);
    tally_add(&end->sum, &end->part);
    end->cuts++;
}

static void end_await(struct end *end, enum slot_state wanted)
{
    uint64_t until_ns = clock_now_ns() + PATIENCE_NS;
    while (atomic_load(&end->slot->state) != (uint32_t)wanted) {
        assert_true(clock_now_ns() < until_ns);
        nap(NS_PER_MS / 2);
    }
}

/* Stops and joins it; what it had not given yet comes to the sum. */
static void end_stop(struct end *end)
{
    if (end->running) {
        atomic_store(&end->control->phase, RUN_STOP);
        pthread_join(end->thread, NULL);
        end->running = false;
        assert_int_equal(atomic_load(&end->slot->state), SLOT_ENDED);
        end_cut(end);
    }
}

static void end_close(struct end *end)
{
    end_stop(end);
    tally_release(&end->part);
    tally_release(&end->sum);
    shared_release(end->slot, sizeof *end->slot);
    shared_release(end->control, sizeof *end->control);
}

static uint64_t sum_of(const struct end *end, uint32_t counter)
{
    return end->sum.bank->counters[counter];
}

static void go(struct end *end)
{
    atomic_store(&end->control->start_ns, clock_now_ns());
    atomic_store(&end->control->phase, RUN_GO);
}

static struct call_options usual(uint64_t high)
{
    return (struct call_options){.size_bytes = 1,
                                 .high = high,
                                 .low = high > 1 ? high / 2 : 1,
                                 .verify = true,
                                 .echo = {.memory_bytes = 64 << 20}};
}

/* A client without a kernel. */
static void null_open(struct end *end, const struct call_options *options, struct dial *dials,
                      uint32_t connections)
{
    *end = (struct end){0};
    end_open(end, &engine_null, &call_client, options);
    for (uint32_t i = 0; i < connections; i++) {
        dials[i] = (struct dial){.end = {-1, -1}};
    }
    end->config.dials = dials;
    end->config.dial_count = end->config.dials_in_all = connections;
}

/* A client and a server through socket pairs. */
static void pair_open(struct pair_world *world, const struct engine_ops *engine,
                      uint32_t connections)
{
    struct err error = {0};
    for (uint32_t i = 0; i < connections; i++) {
        world->dials[i] = (struct dial){0};
        assert_int_equal(transport_local.pair(&world->dials[i].end, &world->server_ends[i], &error),
                         0);
    }
    world->client = world->server = (struct end){0};
    end_open(&world->client, engine, &call_client, &world->options);
    end_open(&world->server, engine, &echo_server, &world->options);
    world->client.config.dials = world->dials;
    world->client.config.dial_count = world->client.config.dials_in_all = connections;
    world->server.config.ends = world->server_ends;
    world->server.config.end_count = connections;
    end_start(&world->server);
    end_start(&world->client);
    end_await(&world->client, SLOT_READY);
    end_await(&world->server, SLOT_READY);
    atomic_store(&world->server.control->phase, RUN_GO);
}

static void pair_close(struct pair_world *world)
{
    end_close(&world->client);
    end_close(&world->server);
}

static bool can_serve(const struct engine_ops *engine)
{
    char reason[160];
    return !(engine->flags & ENGINE_NO_KERNEL) && engine->why_not(reason, sizeof reason) == 0;
}

static void check_sum(const struct end *end, uint64_t calls)
{
    const struct bank *bank = end->sum.bank;
    assert_int_equal(bank->counters[CALL_COUNT_ISSUED], calls);
    assert_int_equal(bank->counters[CALL_COUNT_COMPLETED], calls);
    assert_int_equal(bank->counters[CALL_COUNT_SENT_BYTES], calls);
    assert_int_equal(bank->counters[CALL_COUNT_RECEIVED_BYTES], calls);
    assert_int_equal(histogram_count(&bank->histograms[CALL_RESPONSE_TIME]), calls);
    assert_int_equal(histogram_count(&bank->histograms[CALL_SERVICE_TIME]), calls);
    assert_int_equal(histogram_count(&bank->histograms[CALL_RECEIVED_SIZE]),
                     bank->counters[CALL_COUNT_RECEIVES]);
    assert_true(bank->histograms[CALL_RECEIVED_SIZE].minimum > 0); /* zeroed memory says 0 */
    assert_int_equal(bank->errors[0].count, 0);
}

/* ---- null engine ----------------------------------------------------------------------------- */

static void cuts_lose_nothing(void **state)
{
    struct end end;
    struct dial dials[3];
    struct call_options options = usual(100);
    (void)state;
    null_open(&end, &options, dials, 3);
    end.config.quota = 3000000;
    end_start(&end);
    end_await(&end, SLOT_READY);
    go(&end);
    while (atomic_load(&end.slot->state) != SLOT_FINISHED || end.cuts < 300) {
        uint32_t before = atomic_load(&end.slot->cut_done);
        end_cut(&end);
        assert_int_equal(atomic_load(&end.slot->cut_done), before + 1);
    }
    end_stop(&end);
    check_sum(&end, 3000000);
    assert_int_equal(atomic_load(&end.slot->outstanding), 0);
    end_close(&end);
}

static void counted_run_is_exact(void **state)
{
    static const uint64_t quotas[] = {1, 2, 99, 100, 101, 12345};
    static const enum write_strategy strategies[] = {WRITE_GATHER, WRITE_EACH, WRITE_BATCH,
                                                     WRITE_QUEUE};
    (void)state;
    for (size_t i = 0; i < sizeof quotas / sizeof *quotas; i++) {
        for (size_t j = 0; j < 4; j++) {
            struct end end;
            struct dial dials[1];
            struct call_options options = usual(100);
            options.write = (struct call_write){strategies[j], j == 2 ? 7 : NS_PER_MS};
            null_open(&end, &options, dials, 1);
            end.config.quota = quotas[i];
            end_start(&end);
            end_await(&end, SLOT_READY);
            go(&end);
            end_await(&end, SLOT_FINISHED);
            assert_true(atomic_load(&end.slot->finished_ns) > 0);
            end_stop(&end);
            check_sum(&end, quotas[i]);
            end_close(&end);
        }
    }
}

static void nothing_begins_before_it_is_told(void **state)
{
    struct end end;
    struct dial dials[2];
    struct call_options options = usual(10);
    (void)state;
    null_open(&end, &options, dials, 2);
    end_start(&end);
    end_await(&end, SLOT_READY);
    assert_int_equal(atomic_load(&end.slot->open), 2);
    nap(30 * NS_PER_MS);
    end_cut(&end);
    assert_int_equal(sum_of(&end, CALL_COUNT_ISSUED), 0);
    /* Nor before the agreed instant. */
    atomic_store(&end.control->start_ns, clock_now_ns() + 3600 * NS_PER_SECOND);
    atomic_store(&end.control->phase, RUN_GO);
    nap(30 * NS_PER_MS);
    end_cut(&end);
    assert_int_equal(sum_of(&end, CALL_COUNT_ISSUED), 0);
    end_stop(&end);
    assert_int_equal(sum_of(&end, CALL_COUNT_ISSUED), 0);
    end_close(&end);
}

static void drain_finishes_what_is_in_flight(void **state)
{
    struct end end;
    struct dial dials[4];
    struct call_options options = usual(50);
    (void)state;
    null_open(&end, &options, dials, 4);
    end_start(&end);
    end_await(&end, SLOT_READY);
    go(&end);
    nap(5 * NS_PER_MS);
    assert_int_equal(atomic_load(&end.slot->state), SLOT_READY);
    atomic_store(&end.control->phase, RUN_DRAIN);
    end_await(&end, SLOT_FINISHED);
    assert_int_equal(atomic_load(&end.slot->outstanding), 0);
    end_cut(&end);
    uint64_t issued = sum_of(&end, CALL_COUNT_ISSUED);
    assert_true(issued > 0);
    nap(5 * NS_PER_MS);
    end_stop(&end);
    check_sum(&end, issued); /* nothing new came, nothing was left */
    end_close(&end);
}

static void open_loop_issues_what_is_scheduled(void **state)
{
    struct end end;
    struct dial dials[2];
    struct call_options options = usual(100000);
    (void)state;
    null_open(&end, &options, dials, 2);
    end.config.rate = 2000;
    end_start(&end);
    end_await(&end, SLOT_READY);
    go(&end);
    uint64_t start_ns = atomic_load(&end.control->start_ns);
    nap(300 * NS_PER_MS);
    uint64_t before_ns = clock_now_ns();
    atomic_store(&end.control->phase, RUN_DRAIN);
    end_await(&end, SLOT_FINISHED);
    uint64_t after_ns = clock_now_ns();
    end_stop(&end);
    uint64_t issued = sum_of(&end, CALL_COUNT_ISSUED);
    uint64_t due = issued + atomic_load(&end.slot->behind);
    /* One at the start and one every 500 us, however late the thread was. */
    assert_true(due >= (before_ns - start_ns) / 500000);
    assert_true(due <= (after_ns - start_ns) / 500000 + 1);
    check_sum(&end, issued);
    /* Those never issued count with the age that they had reached. */
    assert_int_equal(histogram_count(&end.sum.bank->histograms[CALL_SEND_LAG]), due);
    end_close(&end);
}

static void open_loop_with_a_count_is_exact(void **state)
{
    struct end end;
    struct dial dials[3];
    struct call_options options = usual(10);
    (void)state;
    null_open(&end, &options, dials, 3);
    end.config.rate = 20000;
    end.config.arrival = ARRIVAL_POISSON;
    end.config.quota = 777;
    end_start(&end);
    end_await(&end, SLOT_READY);
    go(&end);
    end_await(&end, SLOT_FINISHED);
    end_stop(&end);
    check_sum(&end, 777);
    end_close(&end);
}

static void idle_worker_leaves_when_told(void **state)
{
    struct end end;
    struct dial dials[1];
    struct call_options options = usual(1);
    (void)state;
    null_open(&end, &options, dials, 1);
    end.config.rate = 0.001; /* the next operation is due in a quarter of an hour */
    end_start(&end);
    end_await(&end, SLOT_READY);
    go(&end);
    nap(10 * NS_PER_MS);
    uint64_t told_ns = clock_now_ns();
    end_stop(&end);
    /* It looks every 20 ms; the rest is for a machine that is busy. */
    assert_true(clock_now_ns() - told_ns < 5 * NS_PER_SECOND);
    end_close(&end);
}

/* ---- through the kernel ---------------------------------------------------------------------- */

/* Every engine: both ends agree on every byte, through hundreds of cuts of either. */
static void run_pair(const struct engine_ops *engine, uint32_t connections, struct call_write write)
{
    static struct pair_world world;
    world.options = usual(64);
    world.options.write = write;
    pair_open(&world, engine, connections);
    go(&world.client);
    for (int i = 0; i < 200; i++) {
        end_cut(&world.client);
        end_cut(&world.server);
    }
    atomic_store(&world.client.control->phase, RUN_DRAIN);
    end_await(&world.client, SLOT_FINISHED);
    assert_int_equal(atomic_load(&world.client.slot->outstanding), 0);
    end_stop(&world.client);
    end_stop(&world.server);
    uint64_t issued = sum_of(&world.client, CALL_COUNT_ISSUED);
    assert_true(issued >= connections);
    check_sum(&world.client, issued);
    assert_int_equal(sum_of(&world.server, ECHO_COUNT_RECEIVED_BYTES), issued);
    assert_int_equal(sum_of(&world.server, ECHO_COUNT_SENT_BYTES), issued);
    assert_int_equal(sum_of(&world.server, ECHO_COUNT_ACCEPTED), connections);
    pair_close(&world);
}

static void both_ends_agree(void **state)
{
    (void)state;
    for (size_t i = 0; engines[i]; i++) {
        if (can_serve(engines[i])) {
            run_pair(engines[i], 1, (struct call_write){WRITE_GATHER, 0});
            run_pair(engines[i], 1, (struct call_write){WRITE_EACH, 0});
        }
    }
}

static void many_connections(void **state)
{
    (void)state;
    for (size_t i = 0; engines[i]; i++) {
        if (can_serve(engines[i]) && !(engines[i]->flags & ENGINE_ONE_CHANNEL)) {
            run_pair(engines[i], CONNECTIONS_MAX, (struct call_write){WRITE_GATHER, 0});
        }
    }
}

/* The server goes away in mid-run: what was in flight is lost, said, and the client is done. */
static void vanished_server_ends_the_work(void **state)
{
    static struct pair_world world;
    (void)state;
    for (size_t i = 0; engines[i]; i++) {
        if (!can_serve(engines[i])) {
            continue;
        }
        world.options = usual(64);
        pair_open(&world, engines[i], 1);
        go(&world.client);
        nap(5 * NS_PER_MS);
        end_stop(&world.server);
        end_await(&world.client, SLOT_FINISHED);
        assert_int_equal(atomic_load(&world.client.slot->open), 0);
        end_stop(&world.client);
        const struct bank *bank = world.client.sum.bank;
        assert_int_equal(bank->errors[0].count, 1);
        assert_int_equal(bank->errors[1].count, 0);
        assert_int_equal(bank->counters[CALL_COUNT_ISSUED],
                         bank->counters[CALL_COUNT_COMPLETED] + bank->counters[CALL_COUNT_LOST]);
        assert_int_equal(histogram_count(&bank->histograms[CALL_RESPONSE_TIME]),
                         bank->counters[CALL_COUNT_COMPLETED]);
        pair_close(&world);
    }
}

static void refused_connection_is_a_failure(void **state)
{
    (void)state;
    for (size_t i = 0; engines[i]; i++) {
        if (!can_serve(engines[i])) {
            continue;
        }
        struct end end = {0};
        struct err error = {0};
        struct address address;
        struct call_options options = usual(1);
        struct dial dial = {.address = &address, .end = {-1, -1}};
        assert_int_equal(address_parse("tcp://127.0.0.1:0", true, &address, &error), 0);
        int listener = transport_tcp.listen(&address, 1, false, &error);
        assert_true(listener >= 0);
        close(listener); /* nobody listens on that port now */
        end_open(&end, engines[i], &call_client, &options);
        end.config.dials = &dial;
        end.config.dial_count = end.config.dials_in_all = 1;
        end_start(&end);
        end_await(&end, SLOT_ENDED);
        assert_int_equal(end.slot->failure.code, ERR_SYSTEM);
        assert_non_null(strstr(end.slot->failure.what, "cannot connect"));
        end_stop(&end);
        end_close(&end);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_lose_nothing),
        cmocka_unit_test(counted_run_is_exact),
        cmocka_unit_test(nothing_begins_before_it_is_told),
        cmocka_unit_test(drain_finishes_what_is_in_flight),
        cmocka_unit_test(open_loop_issues_what_is_scheduled),
        cmocka_unit_test(open_loop_with_a_count_is_exact),
        cmocka_unit_test(idle_worker_leaves_when_told),
        cmocka_unit_test(both_ends_agree),
        cmocka_unit_test(many_connections),
        cmocka_unit_test(vanished_server_ends_the_work),
        cmocka_unit_test(refused_connection_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
