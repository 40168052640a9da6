/* The client of `sonde ping` against a network that loses, repeats and reorders at random: what it
 * counts is what was done to it. */
#include "ping_world.h"

#include "base/rng.h"

#define MESSAGES 20000
#define COPIES_MOST 64

struct network {
    uint8_t copies[COPIES_MOST][8]; /* on their way back */
    uint64_t numbers[COPIES_MOST];
    size_t count;
    uint64_t highest; /* first answers delivered so far */
    uint64_t lost, duplicated, reordered;
    bool answered[MESSAGES + 2];
};

static void put_on_the_way(struct network *network, const uint8_t *message, uint64_t number)
{
    assert_true(network->count < COPIES_MOST);
    memcpy(network->copies[network->count], message, 8);
    network->numbers[network->count++] = number;
}

/* Delivers one of the copies and books what that is. */
static void deliver_one(struct network *network, struct pinger *pinger, size_t which, size_t size)
{
    uint64_t number = network->numbers[which];
    uint8_t copy[8];
    memcpy(copy, network->copies[which], 8);
    network->count--;
    memmove(&network->copies[which], &network->copies[which + 1],
            (network->count - which) * sizeof network->copies[0]);
    memmove(&network->numbers[which], &network->numbers[which + 1],
            (network->count - which) * sizeof network->numbers[0]);
    if (network->answered[number]) {
        network->duplicated++;
    } else {
        network->answered[number] = true;
        network->reordered += number < network->highest;
        network->highest = number > network->highest ? number : network->highest;
    }
    pinger_receive(pinger, copy, size);
}

static void run_network(uint64_t seed, size_t size)
{
    static struct network network;
    struct pinger pinger;
    struct rng rng;
    network = (struct network){0};
    rng_seed(&rng, seed);
    pinger_open(&pinger, ping_options(size), CHANNEL_DATAGRAM);
    pinger.world.context.open_loop = true;
    pinger_event(&pinger, OP_START, clock_now_ns());
    for (uint64_t number = 1; number <= MESSAGES; number++) {
        uint8_t message[8];
        pinger_event(&pinger, OP_ARRIVAL, clock_now_ns());
        pinger_send(&pinger, message);
        double luck = rng_unit(&rng);
        if (luck < 0.1) {
            network.lost++;
        } else {
            put_on_the_way(&network, message, number);
        }
        if (luck > 0.9) {
            put_on_the_way(&network, message, number);
        }
        /* At most 30 under way: one-byte numbers stay unambiguous. */
        while (network.count > 30 || (network.count && rng_unit(&rng) < 0.5)) {
            size_t which = (size_t)(rng_unit(&rng) * (double)network.count);
            deliver_one(&network, &pinger, which, size);
        }
        if (number % 40 == 0) { /* all is quiet, and what has not come will not come */
            while (network.count) {
                deliver_one(&network, &pinger, 0, size);
            }
            pinger_expire(&pinger, clock_now_ns() + 2 * TIMEOUT_NS);
            assert_int_equal(pinged(&pinger, PING_COUNT_LOST), network.lost);
            assert_int_equal(world_outstanding(&pinger.world), 0);
        }
    }
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), MESSAGES - network.lost);
    assert_int_equal(timed(&pinger, PING_RESPONSE_TIME), MESSAGES - network.lost);
    assert_int_equal(pinged(&pinger, PING_COUNT_DUPLICATED), network.duplicated);
    assert_int_equal(pinged(&pinger, PING_COUNT_OUT_OF_ORDER), network.reordered);
    assert_int_equal(pinged(&pinger, PING_COUNT_LATE), 0);
    assert_int_equal(pinged(&pinger, PING_COUNT_INVALID), 0);
    assert_true(network.duplicated > 0 && network.reordered > 0);
    pinger_close(&pinger);
}

static void counts_what_was_done(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        run_network(seed, 8);
        run_network(seed, 2);
        run_network(seed, 1);
    }
}

/* A stream cut anywhere brings the same answers. */
static void streams_cut_anywhere(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 7);
    for (size_t size = 1; size <= 40; size += 3) {
        struct pinger pinger;
        struct ping_options options = ping_options(size);
        uint8_t messages[50 * 40];
        options.burst = 50;
        pinger_open(&pinger, options, CHANNEL_SOCKET);
        pinger_event(&pinger, OP_START, clock_now_ns());
        for (uint64_t round = 1; round <= 20; round++) {
            for (size_t i = 0; i < 50; i++) {
                pinger_send(&pinger, messages + i * size);
            }
            for (size_t at = 0; at < 50 * size;) {
                size_t piece = 1 + (size_t)(rng_unit(&rng) * 3 * (double)size);
                piece = piece < 50 * size - at ? piece : 50 * size - at;
                pinger_receive(&pinger, messages + at, piece);
                at += piece;
            }
            assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), 50 * round);
        }
        pinger_close(&pinger);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_what_was_done),
        cmocka_unit_test(streams_cut_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
