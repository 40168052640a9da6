/* The client of `sonde call` against a random world: sends taken in any portions and completed at
 * any time, answers cut anywhere. A naive model says at any moment what must have been counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "role_world.h"

enum { STEPS = 3000, CALLS_MAX = 200000, ANSWER_MAX = 300000 };
#define PERIOD 251

struct chance {
    struct world world;
    struct rng rng;
    uint64_t now_ns;
    bool flush, resume, timer, sending;
    struct op send;            /* under way */
    uint64_t send_ns;          /* when it was submitted */
    uint64_t accepted, echoed; /* bytes that the kernel took, and that were answered */
    uint64_t receives, sends, arrivals;
    uint64_t *left_ns; /* of each call: when its first byte left */
    uint64_t left;     /* calls whose first byte has left */
    struct histogram *service;
    uint8_t *answer;
};

static void take_out(struct chance *chance)
{
    const struct step_out *out = &chance->world.context.out;
    chance->flush |= out->flush;
    chance->resume |= out->resume;
    chance->timer |= out->set_timer;
    assert_null(world_asked(&chance->world, OP_CLOSE));
    const struct op *send = world_asked(&chance->world, OP_SEND);
    if (send) {
        assert_false(chance->sending); /* one at a time */
        assert_true(send->length > 0 && send->length <= 131072);
        for (size_t i = 0; i < send->length; i++) {
            assert_int_equal(send->data[i], (chance->accepted + i) % PERIOD);
        }
        chance->send = *send;
        chance->sending = true;
        chance->send_ns = chance->now_ns;
    }
}

/* The kernel takes some of the send that is under way. */
static void complete_send(struct chance *chance)
{
    const uint64_t size = chance->world.options.size_bytes;
    uint64_t length = chance->send.length;
    uint64_t taken = rng_below(&chance->rng, 3) ? length : 1 + rng_below(&chance->rng, length);
    chance->accepted += taken;
    chance->sends++;
    while (chance->left * size < chance->accepted) {
        assert_true(chance->left < CALLS_MAX);
        chance->left_ns[chance->left++] = chance->send_ns;
    }
    chance->sending = false;
    world_sent(&chance->world, &chance->send, (int64_t)taken, chance->now_ns);
    take_out(chance);
}

static void give_answer(struct chance *chance)
{
    const uint64_t size = chance->world.options.size_bytes;
    uint64_t owed = chance->accepted - chance->echoed;
    uint64_t length = owed < ANSWER_MAX ? owed : ANSWER_MAX;
    if (rng_below(&chance->rng, 2)) {
        length = 1 + rng_below(&chance->rng, length);
    }
    for (uint64_t i = 0; i < length; i++) {
        chance->answer[i] = (uint8_t)((chance->echoed + i) % PERIOD);
    }
    uint64_t before = chance->echoed / size;
    chance->echoed += length;
    for (uint64_t call = before; call < chance->echoed / size; call++) {
        histogram_record(chance->service, chance->now_ns - chance->left_ns[call], 1);
    }
    chance->receives++;
    world_received(&chance->world, chance->answer, (int64_t)length, chance->now_ns);
    take_out(chance);
}

static void feed(struct chance *chance, enum op_kind kind, bool *asked)
{
    *asked = false;
    world_event(&chance->world, kind, chance->now_ns);
    take_out(chance);
}

static void one_step(struct chance *chance)
{
    chance->now_ns += 1 + rng_below(&chance->rng, 100000);
    switch (rng_below(&chance->rng, 6)) {
    case 0:
        if (chance->sending) {
            complete_send(chance);
        }
        break;
    case 1:
        if (chance->accepted > chance->echoed) {
            give_answer(chance);
        }
        break;
    case 2:
        if (chance->flush) {
            feed(chance, OP_FLUSH, &chance->flush);
        }
        break;
    case 3:
        if (chance->resume) {
            feed(chance, OP_RESUME, &chance->resume);
        }
        break;
    case 4:
        if (chance->timer) {
            feed(chance, OP_TIMER, &chance->timer);
        }
        break;
    default:
        if (chance->world.context.open_loop && !chance->world.context.draining &&
            call_client.can_take(&chance->world.context, chance->world.connection)) {
            bool ignored;
            chance->arrivals++;
            feed(chance, OP_ARRIVAL, &ignored);
        }
    }
}

static void check(const struct chance *chance)
{
    const struct world *world = &chance->world;
    const struct bank *bank = world->bank;
    uint64_t completed = chance->echoed / world->options.size_bytes;
    uint64_t issued = world_counter(world, CALL_COUNT_ISSUED);
    assert_int_equal(world_counter(world, CALL_COUNT_COMPLETED), completed);
    assert_int_equal(world_counter(world, CALL_COUNT_SENT_BYTES), chance->accepted);
    assert_int_equal(world_counter(world, CALL_COUNT_RECEIVED_BYTES), chance->echoed);
    assert_int_equal(world_counter(world, CALL_COUNT_BYTES), chance->accepted + chance->echoed);
    assert_int_equal(world_counter(world, CALL_COUNT_SENDS), chance->sends);
    assert_int_equal(world_counter(world, CALL_COUNT_RECEIVES), chance->receives);
    assert_int_equal(world_counter(world, CALL_COUNT_LOST), 0);
    assert_int_equal(world_counter(world, CALL_COUNT_REGRESSIONS), 0);
    assert_int_equal(world_outstanding(world), issued - completed);
    assert_true(issued - completed <= world->options.high);
    assert_true(chance->accepted <= issued * world->options.size_bytes);
    if (world->context.open_loop) {
        assert_int_equal(issued, chance->arrivals);
    }
    assert_int_equal(bank->errors[0].count, 0);
}

static void check_histograms(const struct chance *chance)
{
    const struct bank *bank = chance->world.bank;
    const struct histogram *service = &bank->histograms[CALL_SERVICE_TIME];
    uint64_t completed = chance->echoed / chance->world.options.size_bytes;
    assert_int_equal(histogram_count(&bank->histograms[CALL_RESPONSE_TIME]), completed);
    assert_int_equal(histogram_count(&bank->histograms[CALL_RECEIVED_SIZE]), chance->receives);
    assert_int_equal(histogram_count(service), completed);
    /* Where several calls are issued and sent in one step, or a call is sent on its arrival, the
     * client stamps the send with its own reading of the clock, which the model does not know. */
    enum write_strategy strategy = chance->world.options.write.strategy;
    if (strategy == WRITE_BATCH || (strategy == WRITE_EACH && chance->world.context.open_loop)) {
        return;
    }
    /* The service time of every single call, against the model's. */
    assert_int_equal(service->minimum, chance->service->minimum);
    assert_int_equal(service->maximum, chance->service->maximum);
    assert_memory_equal(service->counts, chance->service->counts, sizeof service->counts);
}

static void finish(struct chance *chance)
{
    bool ignored;
    chance->world.context.draining = true;
    feed(chance, OP_DRAIN, &ignored);
    uint64_t issued = world_counter(&chance->world, CALL_COUNT_ISSUED);
    for (int i = 0; i < 2000000 && world_outstanding(&chance->world); i++) {
        one_step(chance);
    }
    assert_int_equal(world_outstanding(&chance->world), 0);
    assert_int_equal(world_counter(&chance->world, CALL_COUNT_ISSUED), issued);
    assert_int_equal(chance->echoed, issued * chance->world.options.size_bytes);
}

static void run(const struct call_options *options, bool open_loop, uint64_t seed)
{
    struct chance chance = {.world = {.options = *options}};
    chance.left_ns = calloc(CALLS_MAX, sizeof *chance.left_ns);
    chance.answer = malloc(ANSWER_MAX);
    chance.service = histogram_new();
    assert_true(chance.left_ns && chance.answer && chance.service);
    rng_seed(&chance.rng, seed);
    world_open_with(&chance.world, &call_client, 65536, true);
    chance.world.context.open_loop = open_loop;
    chance.now_ns = clock_now_ns() + 1000 * NS_PER_SECOND;
    world_event(&chance.world, OP_START, chance.now_ns);
    take_out(&chance);
    for (int i = 0; i < STEPS && chance.left < CALLS_MAX / 2; i++) {
        one_step(&chance);
        check(&chance);
    }
    check_histograms(&chance);
    finish(&chance);
    check(&chance);
    check_histograms(&chance);
    assert_true(world_counter(&chance.world, CALL_COUNT_COMPLETED) > 0);
    world_close(&chance.world);
    histogram_free(chance.service);
    free(chance.answer);
    free(chance.left_ns);
}

static void run_strategy(struct call_write write)
{
    static const uint64_t sizes[] = {1, 7, 1000, 200000};
    static const uint64_t highs[] = {1, 2, 3, 50};
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < 4; j++) {
            for (int open_loop = 0; open_loop < 2; open_loop++) {
                struct call_options options = {.size_bytes = sizes[i],
                                               .write = write,
                                               .high = highs[j],
                                               .low = (highs[j] + 1) / 2,
                                               .cork = j & 1,
                                               .verify = true};
                run(&options, open_loop, 100 * i + 10 * j + (uint64_t)open_loop);
            }
        }
    }
}

static void gather(void **state)
{
    (void)state;
    run_strategy((struct call_write){WRITE_GATHER, 0});
}

static void each(void **state)
{
    (void)state;
    run_strategy((struct call_write){WRITE_EACH, 0});
}

static void queue(void **state)
{
    (void)state;
    run_strategy((struct call_write){WRITE_QUEUE, NS_PER_MS});
}

static void batch(void **state)
{
    (void)state;
    run_strategy((struct call_write){WRITE_BATCH, 3});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gather),
        cmocka_unit_test(each),
        cmocka_unit_test(queue),
        cmocka_unit_test(batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
