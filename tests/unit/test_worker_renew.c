/* Connections that come and go (struct role's renew_below), through real sockets: how many are
 * dialed, how many are open at a time, what happens where they cannot be. */
#include <arpa/inet.h>
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

#define PATIENCE_NS (60 * NS_PER_SECOND)
#define MOST 8

enum { VISITS, DIALED, FAILED, THROTTLED, RESUMED };

struct visit_options {
    uint32_t below;
    uint64_t stay_ns; /* before it leaves */
    bool settles;     /* once it is there it counts no more against the most */
};

/* A client that leaves as soon as it is there, or a while later. */
struct visit {
    struct connection base;
    uint64_t place; /* in a row: each leaves at a time of its own */
    bool gone, settled;
};

static uint32_t most_open, now_open;
static uint32_t open_at_resume; /* the most that were open when dialing went on */
static uint64_t resumes;

static void *open_worker(const void *options, uint32_t connections, struct err *error)
{
    (void)options;
    (void)connections;
    (void)error;
    return malloc(1);
}

static int open_visit(struct role_context *context, struct connection *connection)
{
    struct visit *visit = (struct visit *)(void *)connection;
    context->quota -= context->quota == UINT64_MAX ? 0 : 1;
    visit->place = context->bank->counters[DIALED]++ % MOST + 1;
    if (context->bank->counters[RESUMED] != resumes) {
        resumes = context->bank->counters[RESUMED];
        open_at_resume = now_open > open_at_resume ? now_open : open_at_resume;
    }
    now_open++;
    most_open = now_open > most_open ? now_open : most_open;
    return 0;
}

static void close_visit(struct role_context *context, struct connection *connection)
{
    context->settled -= ((const struct visit *)(const void *)connection)->settled;
    now_open--;
}

static void step(struct role_context *context, struct connection *connection, const struct op *op)
{
    const struct visit_options *options = context->options;
    struct visit *visit = (struct visit *)(void *)connection;
    if (op->kind == OP_START) {
        assert_true(op->now_ns >= connection->dialed_ns);
        assert_true(connection->dialed_ns >= connection->intended_ns);
        visit->settled = options->settles;
        context->settled += options->settles;
        context->out.set_timer = true;
        context->out.timer_ns = op->now_ns + options->stay_ns * visit->place;
    } else if (op->kind == OP_TIMER && !visit->gone) {
        visit->gone = true;
        context->bank->counters[VISITS]++;
        step_submit(context, connection, OP_CLOSE);
    }
}

static uint64_t outstanding(const struct connection *connection)
{
    return !((const struct visit *)(const void *)connection)->gone;
}

static uint32_t renew_below(const void *member, uint32_t most)
{
    const struct visit_options *options = member;
    return options->below ? options->below : most;
}

static const struct role visitor = {
    .connection_bytes = sizeof(struct visit),
    .open_worker = open_worker,
    .close_worker = free,
    .open = open_visit,
    .step = step,
    .outstanding = outstanding,
    .close = close_visit,
    .renew_below = renew_below,
    .throttled_counter = THROTTLED,
    .resumed_counter = RESUMED,
    .undialed_counter = FAILED,
};

struct renewal {
    struct run_control *control;
    struct worker_slot *slot;
    struct visit_options options;
    struct address address;
    struct dial dials[MOST];
    struct worker_config config;
    struct tally tally;
    pthread_t thread;
    int listener; /* -1: none */
};

static void *run_thread(void *argument)
{
    worker_run(argument);
    return NULL;
}

static void renewal_open(struct renewal *renewal, const struct engine_ops *engine,
                         struct visit_options options, uint64_t quota)
{
    struct err error = {0};
    *renewal = (struct renewal){.options = options, .listener = -1};
    most_open = now_open = open_at_resume = 0;
    resumes = 0;
    renewal->control = shared_memory(sizeof *renewal->control, &error);
    renewal->slot = shared_memory(sizeof *renewal->slot, &error);
    assert_true(renewal->control && renewal->slot);
    assert_int_equal(tally_init(&renewal->tally, 1, 0, &error), 0);
    assert_int_equal(address_parse("tcp://127.0.0.1:0", true, &renewal->address, &error), 0);
    renewal->listener = transport_tcp.listen(&renewal->address, 1024, false, &error);
    assert_true(renewal->listener >= 0);
    for (size_t i = 0; i < MOST; i++) {
        renewal->dials[i] =
            (struct dial){.address = &renewal->address, .end = {.read_fd = -1, .write_fd = -1}};
    }
    renewal->config = (struct worker_config){.engine = engine,
                                             .role = &visitor,
                                             .options = &renewal->options,
                                             .control = renewal->control,
                                             .slot = renewal->slot,
                                             .receive_bytes = 4096,
                                             .cpu = -1,
                                             .dials = renewal->dials,
                                             .dial_count = MOST,
                                             .dials_in_all = MOST,
                                             .quota = quota,
                                             .workers = 1,
                                             .connect_timeout_ns = NS_PER_SECOND};
}

static void renewal_run(struct renewal *renewal)
{
    assert_int_equal(pthread_create(&renewal->thread, NULL, run_thread, &renewal->config), 0);
    atomic_store(&renewal->control->start_ns, clock_now_ns());
    atomic_store(&renewal->control->phase, RUN_GO);
    uint64_t until_ns = clock_now_ns() + PATIENCE_NS;
    while (atomic_load(&renewal->slot->state) < SLOT_FINISHED) {
        struct timespec pause = clock_timespec(NS_PER_MS);
        assert_true(clock_now_ns() < until_ns);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    atomic_store(&renewal->control->phase, RUN_STOP);
    pthread_join(renewal->thread, NULL);
    collect(renewal->slot, 1, &renewal->tally);
}

static uint64_t counted(const struct renewal *renewal, uint32_t counter)
{
    return renewal->tally.bank->counters[counter];
}

static void renewal_close(struct renewal *renewal)
{
    tally_release(&renewal->tally);
    shared_release(renewal->slot, sizeof *renewal->slot);
    shared_release(renewal->control, sizeof *renewal->control);
    if (renewal->listener >= 0) {
        close(renewal->listener);
    }
}

static void as_many_as_the_quota_and_no_more_at_a_time(void **state)
{
    (void)state;
    for (size_t i = 0; engines[i]; i++) {
        char reason[160];
        if (engines[i]->flags & (ENGINE_NO_KERNEL | ENGINE_ONE_CHANNEL) ||
            engines[i]->why_not(reason, sizeof reason) < 0) {
            continue;
        }
        struct renewal renewal;
        renewal_open(&renewal, engines[i], (struct visit_options){.stay_ns = NS_PER_MS}, 100);
        renewal_run(&renewal);
        assert_int_equal(counted(&renewal, VISITS), 100);
        assert_int_equal(counted(&renewal, DIALED), 100);
        assert_int_equal(counted(&renewal, FAILED), 0);
        assert_int_equal(most_open, MOST);
        assert_int_equal(now_open, 0);
        assert_int_equal(renewal.tally.bank->errors[0].count, 0);
        renewal_close(&renewal);
    }
}

static void marks(void **state)
{
    (void)state;
    struct renewal renewal;
    renewal_open(&renewal, engine_find("epoll"),
                 (struct visit_options){.below = 3, .stay_ns = 2 * NS_PER_MS}, 5 * MOST);
    renewal_run(&renewal);
    assert_int_equal(counted(&renewal, VISITS), 5 * MOST);
    assert_int_equal(most_open, MOST);
    assert_true(open_at_resume < 3);
    assert_true(counted(&renewal, THROTTLED) > 1);
    assert_true(counted(&renewal, THROTTLED) <= 1 + 4 * MOST / (MOST - 2));
    assert_int_equal(counted(&renewal, RESUMED), counted(&renewal, THROTTLED));
    renewal_close(&renewal);
}

/* Those that have settled stay open beside as many as may be in flight. */
static void settled_ones_leave_room(void **state)
{
    (void)state;
    struct renewal renewal;
    renewal_open(&renewal, engine_find("epoll"),
                 (struct visit_options){.below = 3, .stay_ns = 50 * NS_PER_MS, .settles = true},
                 10 * MOST);
    renewal_run(&renewal);
    assert_int_equal(counted(&renewal, VISITS), 10 * MOST);
    assert_true(most_open > MOST);
    assert_int_equal(now_open, 0);
    assert_true(counted(&renewal, RESUMED) >= 1);
    assert_int_equal(counted(&renewal, RESUMED), counted(&renewal, THROTTLED));
    renewal_close(&renewal);
}

static void nobody_there_is_a_failure(void **state)
{
    (void)state;
    struct renewal renewal;
    renewal_open(&renewal, engine_find("epoll"), (struct visit_options){0}, 100);
    close(renewal.listener);
    renewal.listener = -1;
    renewal_run(&renewal);
    assert_int_equal(atomic_load(&renewal.slot->state), SLOT_ENDED);
    assert_int_equal(renewal.slot->failure.code, ERR_SYSTEM);
    assert_int_equal(renewal.slot->failure.number, ECONNREFUSED);
    assert_true(counted(&renewal, FAILED) > 0);
    assert_int_equal(counted(&renewal, FAILED), renewal.tally.bank->errors[0].count);
    assert_int_equal(now_open, 0);
    /* A few were tried: the first one alone says nothing of the others. */
    assert_int_equal(counted(&renewal, DIALED), 8);
    assert_int_equal(counted(&renewal, FAILED), 8);
    renewal_close(&renewal);
}

/* Each of them is one that failed, and none of those pauses the dialing. */
static void nobody_there_is_a_result_where_dialing_goes_on(void **state)
{
    (void)state;
    struct renewal renewal;
    renewal_open(&renewal, engine_find("epoll"), (struct visit_options){.below = 3}, 100);
    renewal.config.dials_on = true;
    close(renewal.listener);
    renewal.listener = -1;
    renewal_run(&renewal);
    assert_int_equal(renewal.slot->failure.code, ERR_NONE);
    assert_int_equal(counted(&renewal, DIALED), 100);
    assert_int_equal(counted(&renewal, FAILED), 100);
    assert_int_equal(renewal.tally.bank->errors[0].number, ECONNREFUSED);
    assert_int_equal(renewal.tally.bank->errors[0].count, 100);
    assert_int_equal(now_open, 0);
    renewal_close(&renewal);
}

/* Each second dial has a source that is none of this machine. */
static void one_that_cannot_be_dialed_is_counted(void **state)
{
    (void)state;
    struct renewal renewal;
    struct sockaddr_in foreign = {.sin_family = AF_INET};
    struct sockaddr_storage source = {0};
    inet_pton(AF_INET, "192.0.2.1", &foreign.sin_addr); /* of documentation: nobody's here */
    memcpy(&source, &foreign, sizeof foreign);
    renewal_open(&renewal, engine_find("epoll"), (struct visit_options){.stay_ns = NS_PER_MS}, 20);
    for (size_t i = 1; i < MOST; i += 2) {
        renewal.dials[i].source = &source;
    }
    renewal_run(&renewal);
    /* Those that got no socket are no connection, and were not taken off the quota. */
    assert_int_equal(counted(&renewal, VISITS), 20);
    assert_int_equal(counted(&renewal, FAILED), 0);
    assert_int_equal(renewal.tally.bank->errors[0].phase, PHASE_SOCKET);
    assert_int_equal(renewal.tally.bank->errors[0].number, EADDRNOTAVAIL);
    assert_true(renewal.tally.bank->errors[0].count > 0);
    renewal_close(&renewal);
}

/* The very first one is refused, and so is each that has its turn later. */
static void a_bad_one_among_good_ones_is_counted(void **state)
{
    (void)state;
    for (size_t i = 0; engines[i]; i++) {
        char reason[160];
        if (engines[i]->flags & (ENGINE_NO_KERNEL | ENGINE_ONE_CHANNEL) ||
            engines[i]->why_not(reason, sizeof reason) < 0) {
            continue;
        }
        struct renewal renewal;
        struct err error;
        struct address nobody;
        assert_int_equal(address_parse("tcp://127.0.0.1:0", true, &nobody, &error), 0);
        int fd = transport_tcp.listen(&nobody, 1, false, &error); /* takes a port that is free */
        assert_true(fd >= 0);
        close(fd);
        renewal_open(&renewal, engines[i], (struct visit_options){.stay_ns = NS_PER_MS}, 5 * MOST);
        renewal.dials[0].address = &nobody;
        renewal_run(&renewal);
        assert_int_equal(atomic_load(&renewal.slot->state), SLOT_ENDED);
        assert_int_equal(renewal.slot->failure.code, ERR_NONE);
        assert_int_equal(counted(&renewal, DIALED), 5 * MOST);
        assert_int_equal(counted(&renewal, VISITS), 4 * MOST + (MOST - 5));
        assert_int_equal(counted(&renewal, FAILED), 5);
        const struct bank_error *errors = renewal.tally.bank->errors;
        assert_int_equal(errors[0].phase, PHASE_CONNECT);
        assert_int_equal(errors[0].number, ECONNREFUSED);
        assert_int_equal(errors[0].count, 5);
        assert_int_equal(errors[1].count, 0);
        renewal_close(&renewal);
    }
}

/* Each dial once, in a loop and on a schedule, those without a socket too; then the run is over. */
static void once_each(void **state)
{
    (void)state;
    struct role once = visitor;
    struct sockaddr_in foreign = {.sin_family = AF_INET};
    struct sockaddr_storage source = {0};
    once.once = true;
    inet_pton(AF_INET, "192.0.2.1", &foreign.sin_addr); /* of documentation: nobody's here */
    memcpy(&source, &foreign, sizeof foreign);
    for (int scheduled = 0; scheduled < 2; scheduled++) {
        struct renewal renewal;
        renewal_open(&renewal, engine_find("epoll"), (struct visit_options){.stay_ns = NS_PER_MS},
                     UINT64_MAX);
        renewal.config.role = &once;
        renewal.config.rate = scheduled ? 1000 : 0;
        renewal.config.send_lag = 0;
        renewal.dials[MOST / 2].source = &source;
        renewal_run(&renewal);
        assert_int_equal(counted(&renewal, VISITS), MOST - 1);
        assert_int_equal(counted(&renewal, DIALED), MOST - 1);
        assert_int_equal(counted(&renewal, FAILED), 0); /* nobody was dialed */
        assert_int_equal(renewal.tally.bank->errors[0].phase, PHASE_SOCKET);
        assert_int_equal(histogram_count(&renewal.tally.bank->histograms[0]),
                         scheduled ? MOST - 1 : 0);
        assert_int_equal(now_open, 0);
        assert_int_equal(atomic_load(&renewal.slot->behind), 0);
        renewal_close(&renewal);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_as_the_quota_and_no_more_at_a_time),
        cmocka_unit_test(marks),
        cmocka_unit_test(settled_ones_leave_room),
        cmocka_unit_test(nobody_there_is_a_failure),
        cmocka_unit_test(nobody_there_is_a_result_where_dialing_goes_on),
        cmocka_unit_test(one_that_cannot_be_dialed_is_counted),
        cmocka_unit_test(a_bad_one_among_good_ones_is_counted),
        cmocka_unit_test(once_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
