/* The account of numbered datagrams against a simple one that remembers everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "codec/datagram.h"
#include "workload/arrivals.h"

struct sum {
    uint64_t expected, arrived, late, duplicates;
};

static void take(struct arrivals *arrivals, struct sum *sum, uint64_t sequence)
{
    struct arrivals_change change = arrivals_take(arrivals, sequence, 0, 0);
    sum->expected += change.expected;
    sum->arrived += !change.duplicate;
    sum->late += change.late;
    sum->duplicates += change.duplicate;
}

/* Lost, swapped within the window and sent twice at random. */
static void agrees_with_a_simple_account(void **state)
{
    enum { COUNT = 5000 };
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct rng rng;
        struct arrivals arrivals = {0};
        struct sum sum = {0}, right = {0};
        static uint64_t order[2 * COUNT];
        static bool seen[COUNT];
        size_t length = 0;
        uint64_t newest = 0;
        bool any = false;
        rng_seed(&rng, seed);
        memset(seen, 0, sizeof seen);
        for (uint64_t i = 0; i < COUNT; i++) {
            uint64_t fate = rng_below(&rng, 20);
            for (uint64_t copies = fate == 0 ? 0 : fate == 1 ? 2 : 1; copies; copies--) {
                order[length++] = i;
            }
        }
        for (size_t i = 0; i + 300 < length; i += 1 + rng_below(&rng, 50)) {
            size_t other = i + rng_below(&rng, 300);
            uint64_t kept = order[i];
            order[i] = order[other];
            order[other] = kept;
        }
        for (size_t i = 0; i < length; i++) {
            uint64_t sequence = order[i];
            take(&arrivals, &sum, sequence);
            right.duplicates += seen[sequence];
            right.arrived += !seen[sequence];
            right.late += !seen[sequence] && any && sequence < newest;
            seen[sequence] = true;
            newest = any && newest > sequence ? newest : sequence;
            any = true;
        }
        sum.expected += arrivals_end(&arrivals, COUNT);
        assert_int_equal(arrivals_end(&arrivals, COUNT), 0);
        assert_int_equal(sum.expected, COUNT);
        assert_int_equal(sum.arrived, right.arrived);
        assert_int_equal(sum.late, right.late);
        assert_int_equal(sum.duplicates, right.duplicates);
    }
}

static void what_is_too_old_to_be_known_is_late(void **state)
{
    struct arrivals arrivals = {0};
    struct sum sum = {0};
    (void)state;
    take(&arrivals, &sum, 0);
    take(&arrivals, &sum, 5000);
    assert_int_equal(sum.expected, 5001);
    take(&arrivals, &sum, 5000 - ARRIVALS_WINDOW); /* just outside */
    take(&arrivals, &sum, 5001 - ARRIVALS_WINDOW); /* just inside */
    take(&arrivals, &sum, 5001 - ARRIVALS_WINDOW);
    assert_int_equal(sum.late, 2);
    assert_int_equal(sum.duplicates, 1);
    assert_int_equal(sum.arrived, 4);
}

static void the_tail_is_missing_until_it_comes(void **state)
{
    struct arrivals arrivals = {0};
    struct sum sum = {0};
    (void)state;
    take(&arrivals, &sum, 0);
    assert_int_equal(arrivals_end(&arrivals, 10), 9);
    take(&arrivals, &sum, 9);
    take(&arrivals, &sum, 9);
    assert_int_equal(sum.arrived, 2);
    assert_int_equal(sum.late, 1);
    assert_int_equal(sum.duplicates, 1);
}

/* RFC 3550, section 6.4.1: a sixteenth of each change of the transit time. */
static void jitter_is_the_rfc_s(void **state)
{
    static const uint64_t sent[] = {0, 1000, 2000, 3000}, came[] = {500, 1500, 2660, 3500};
    struct arrivals arrivals = {0};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        arrivals_take(&arrivals, i, sent[i], came[i]);
    }
    assert_true(arrivals.jitter_ns > 19.374 && arrivals.jitter_ns < 19.376);
}

/* The clocks of two machines need not agree, in either direction. */
static void clocks_may_differ(void **state)
{
    struct arrivals arrivals = {0};
    (void)state;
    arrivals_take(&arrivals, 0, UINT64_C(1) << 60, 5);
    arrivals_take(&arrivals, 1, (UINT64_C(1) << 60) + 10, 31);
    assert_true(arrivals.jitter_ns == 1.0);
}

static void head_comes_back_and_nothing_else_is_one(void **state)
{
    const struct datagram head = {.kind = DATAGRAM_END,
                                  .number = 0x01020304,
                                  .sequence = 0x1112131415161718,
                                  .sent_ns = 0x2122232425262728};
    static const uint8_t expected[DATAGRAM_BYTES] = {
        's',  'O',  'd',  'g',  1,    0,    0,    0,    1,    2,    3,
        4,    0,    0,    0,    0,    0x11, 0x12, 0x13, 0x14, 0x15, 0x16,
        0x17, 0x18, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28};
    uint8_t bytes[DATAGRAM_BYTES];
    struct datagram again;
    (void)state;
    datagram_encode(bytes, &head);
    assert_memory_equal(bytes, expected, sizeof bytes);
    assert_true(datagram_decode(bytes, sizeof bytes, &again));
    assert_int_equal(again.kind, head.kind);
    assert_int_equal(again.number, head.number);
    assert_int_equal(again.sequence, head.sequence);
    assert_int_equal(again.sent_ns, head.sent_ns);
    for (size_t length = 0; length < sizeof bytes; length++) {
        uint8_t *part = malloc(length + 1); /* a sanitizer sees a read beyond it */
        uint8_t *exact = realloc(part, length ? length : 1);
        assert_non_null(exact);
        memcpy(exact, bytes, length);
        assert_false(datagram_decode(exact, length, &again));
        free(exact);
    }
    for (size_t at = 0; at < sizeof bytes; at++) {
        bytes[at] ^= 0x80;
        bool may = (at >= 8 && at < 12) || at >= 16;
        assert_int_equal(datagram_decode(bytes, sizeof bytes, &again), may);
        bytes[at] ^= 0x80;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_simple_account),
        cmocka_unit_test(what_is_too_old_to_be_known_is_late),
        cmocka_unit_test(the_tail_is_missing_until_it_comes),
        cmocka_unit_test(jitter_is_the_rfc_s),
        cmocka_unit_test(clocks_may_differ),
        cmocka_unit_test(head_comes_back_and_nothing_else_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
