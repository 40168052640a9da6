/* The worker's connections where they are datagrams: dials, listeners, ready ends, flows and
 * channel options, through every engine. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "net_world.h"
#include "run/collect.h"
#include "run/server.h"
#include "run/worker.h"
#include "talk.h"

/* Nothing here takes so long unless something hangs. */
#define PATIENCE_NS (60 * NS_PER_SECOND)

/* One end on a thread: a worker, or a server of several. */
struct end {
    struct talk_log log;
    struct talk_options options;
    struct run_control *control;
    struct worker_slot *slots;
    uint32_t slot_count;
    struct worker_config worker;
    struct server_config server;
    struct err failure;
    struct tally tally;
    pthread_t thread;
};

static void end_open(struct end *end, const struct engine_ops *engine, const struct role *role,
                     uint32_t slot_count)
{
    struct err error = {0};
    *end = (struct end){.slot_count = slot_count};
    end->options.log = &end->log;
    end->control = shared_memory(sizeof *end->control, &error);
    end->slots = shared_memory(slot_count * sizeof *end->slots, &error);
    assert_true(end->control && end->slots);
    assert_int_equal(tally_init(&end->tally, slot_count, 0, &error), 0);
    end->worker = (struct worker_config){.engine = engine,
                                         .role = role,
                                         .options = &end->options,
                                         .control = end->control,
                                         .slot = end->slots,
                                         .receive_bytes = 4096,
                                         .cpu = -1,
                                         .quota = UINT64_MAX,
                                         .workers = 1,
                                         .connect_timeout_ns = 5 * NS_PER_SECOND};
    end->server = (struct server_config){.engine = engine,
                                         .role = role,
                                         .options = &end->options,
                                         .control = end->control,
                                         .slots = end->slots,
                                         .slot_count = slot_count,
                                         .threads = 1,
                                         .connections_max = 100,
                                         .receive_bytes = 4096,
                                         .busy_poll = false};
}

static void *worker_thread(void *argument)
{
    worker_run(&((struct end *)argument)->worker);
    return NULL;
}

static void *server_thread(void *argument)
{
    struct end *end = argument;
    server_run(&end->server, &end->failure);
    return NULL;
}

static void await(_Atomic uint32_t *what, uint32_t value)
{
    uint64_t until_ns = clock_now_ns() + PATIENCE_NS;
    while (atomic_load(what) != value) {
        struct timespec pause = clock_timespec(NS_PER_MS / 2);
        assert_true(clock_now_ns() < until_ns);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
}

static void end_start(struct end *end, void *(*thread)(void *))
{
    for (uint32_t i = 0; i < end->slot_count && thread == worker_thread; i++) {
        atomic_store(&end->slots[i].state, SLOT_STARTING);
    }
    assert_int_equal(pthread_create(&end->thread, NULL, thread, end), 0);
}

static void end_go(struct end *end)
{
    atomic_store(&end->control->start_ns, clock_now_ns());
    atomic_store(&end->control->phase, RUN_GO);
}

/* Cuts until a counter has reached a number. */
static void end_await(struct end *end, uint32_t counter, uint64_t number)
{
    struct tally part;
    struct err error = {0};
    uint64_t until_ns = clock_now_ns() + PATIENCE_NS;
    assert_int_equal(tally_init(&part, end->slot_count, 0, &error), 0);
    while (end->tally.bank->counters[counter] < number) {
        struct timespec pause = clock_timespec(NS_PER_MS);
        assert_true(clock_now_ns() < until_ns);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        collect(end->slots, end->slot_count, &part);
        tally_add(&end->tally, &part);
    }
    tally_release(&part);
}

static void end_close(struct end *end)
{
    atomic_store(&end->control->phase, RUN_STOP);
    pthread_join(end->thread, NULL);
    assert_int_equal(end->failure.code, ERR_NONE);
    for (uint32_t i = 0; i < end->slot_count; i++) {
        assert_int_equal(end->slots[i].failure.code, ERR_NONE);
    }
    assert_int_equal(end->tally.bank->errors[0].count, 0);
    tally_release(&end->tally);
    shared_release(end->slots, end->slot_count * sizeof *end->slots);
    shared_release(end->control, sizeof *end->control);
}

static bool can_serve(const struct engine_ops *engine)
{
    char reason[160];
    return !(engine->flags & ENGINE_NO_KERNEL) && engine->why_not(reason, sizeof reason) == 0;
}

/* A server through server_listen and server_run, `clients` dials of one worker to it. */
static void check_dialogue(const struct engine_ops *engine, const char *url, uint32_t threads,
                           uint32_t clients, uint8_t options)
{
    static struct end client, server;
    struct address address = parsed(url, false);
    struct dial dials[TALK_OPENED_MAX] = {{0}};
    int *listeners = NULL;
    struct err error = {0};
    const struct net_tuning tuning = {.receive_buffer = 30000};
    assert_int_equal(server_listen(&address, 1, threads, false, 0, &tuning, &listeners, &error), 0);
    for (uint32_t i = 0; i < threads; i++) {
        uint64_t bytes;
        assert_int_equal(net_buffer_sizes(listeners[i], NULL, &bytes, &error), 0);
        assert_int_equal(bytes, 60000); /* tuned: a datagram listener is what is read from */
    }
    end_open(&server, engine, &talk_server, server_slots(engine, threads, threads, 0));
    server.server.threads = threads;
    server.server.listeners = listeners;
    server.server.listener_count = threads;
    server.server.channel_options = options;
    end_start(&server, server_thread);
    await(&server.log.opened, threads);

    end_open(&client, engine, &talk_client, 1);
    client.options.messages = 20;
    for (uint32_t i = 0; i < clients; i++) {
        dials[i] = (struct dial){.address = &address, .end = {-1, -1}};
    }
    client.worker.dials = dials;
    client.worker.dial_count = client.worker.dials_in_all = clients;
    client.worker.channel_options = options;
    end_start(&client, worker_thread);
    await(&client.slots->state, SLOT_READY);
    end_go(&server);
    end_go(&client);
    end_await(&client, TALK_MESSAGES, 20 * clients);
    end_await(&server, TALK_SENT, 20 * clients);
    assert_int_equal(client.tally.bank->counters[TALK_OTHERS], 0);
    assert_int_equal(server.tally.bank->counters[TALK_BYTES],
                     client.tally.bank->counters[TALK_BYTES]);
    assert_int_equal(client.log.opened, clients);
    for (uint32_t i = 0; i < clients; i++) {
        assert_int_equal(client.log.kinds[i], CHANNEL_DATAGRAM);
        assert_int_equal(client.log.flows[i], i);
        assert_int_equal(client.log.options[i], options);
    }
    assert_int_equal(server.log.opened, threads); /* a peer is no connection */
    for (uint32_t i = 0; i < threads; i++) {
        assert_int_equal(server.log.kinds[i], CHANNEL_MANY);
        assert_int_equal(server.log.flows[i], 0);
        assert_int_equal(server.log.options[i], options);
    }
    end_close(&client);
    end_close(&server);
    free(listeners);
}

static void each_engine_serves_datagrams(void **state)
{
    static const char *const urls[] = {"udp:", "unix-dgram:"};
    (void)state;
    for (size_t i = 0; engines[i]; i++) {
        uint32_t clients = engines[i]->flags & ENGINE_ONE_CHANNEL ? 1 : 5;
        for (size_t j = 0; can_serve(engines[i]) && j < 2; j++) {
            check_dialogue(engines[i], urls[j], 1, clients, 0);
            check_dialogue(engines[i], urls[j], 2, clients, CHANNEL_BATCHED);
        }
    }
}

/* Ends that somebody else has connected: their type says what they are. */
static void ready_ends_are_known_by_their_type(void **state)
{
    static struct end server;
    static const int types[] = {SOCK_DGRAM, SOCK_STREAM};
    static const uint8_t kinds[] = {CHANNEL_DATAGRAM, CHANNEL_SOCKET, CHANNEL_PIPE};
    struct net_end ends[3], pipe_client, pipe_server;
    struct err error = {0};
    int pairs[2][2];
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(socketpair(AF_UNIX, types[i] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pairs[i]),
                         0);
        ends[i] = (struct net_end){pairs[i][1], pairs[i][1]};
    }
    assert_int_equal(transport_pipe.pair(&pipe_client, &pipe_server, &error), 0);
    ends[2] = pipe_server;
    end_open(&server, &engine_epoll, &talk_server, 1);
    server.worker.ends = ends;
    server.worker.end_count = 3;
    server.worker.channel_options = CHANNEL_STAMPS;
    end_start(&server, worker_thread);
    await(&server.slots->state, SLOT_READY);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(server.log.kinds[i], kinds[i]);
        assert_int_equal(server.log.flows[i], i);
        assert_int_equal(server.log.options[i], CHANNEL_STAMPS);
    }
    end_close(&server);
    for (size_t i = 0; i < 2; i++) {
        close(pairs[i][0]);
    }
    net_end_close(pipe_client);
}

/* Numbers beyond what the member holds do not begin again at 0. */
static void flows_saturate(void **state)
{
    enum { MANY = UINT16_MAX + 3 };
    static struct end client;
    struct dial *dials = calloc(MANY, sizeof *dials);
    (void)state;
    assert_non_null(dials);
    for (uint32_t i = 0; i < MANY; i++) {
        dials[i].end = (struct net_end){-1, -1};
    }
    end_open(&client, &engine_null, &talk_client, 1);
    client.log.opened = (uint32_t)TALK_OPENED_MAX - MANY; /* keeps the last ones */
    client.worker.dials = dials;
    client.worker.dial_count = client.worker.dials_in_all = MANY;
    end_start(&client, worker_thread);
    await(&client.slots->state, SLOT_READY);
    assert_int_equal(client.log.opened, TALK_OPENED_MAX);
    for (uint32_t i = 0; i < TALK_OPENED_MAX; i++) {
        uint32_t number = (uint32_t)MANY - TALK_OPENED_MAX + i;
        assert_int_equal(client.log.flows[i], number < UINT16_MAX ? number : UINT16_MAX);
    }
    end_close(&client);
    free(dials);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_engine_serves_datagrams),
        cmocka_unit_test(ready_ends_are_known_by_their_type),
        cmocka_unit_test(flows_saturate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
