/* The message header of sockperf. The first bytes are what sockperf 3.7 itself sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "codec/sockperf.h"

static const uint8_t request[] = {0, 0, 0, 0, 0, 0, 0x10, 0xb9, 0, 3, 0, 0, 0, 0x40};
static const uint8_t answer[] = {0, 0, 0, 0, 0, 0, 0x10, 0xb9, 0, 2, 0, 0, 0, 0x40};

static void bytes_of_the_real_one(void **state)
{
    (void)state;
    const struct sockperf_header header = {
        .sequence = 0x10b9, .flags = SOCKPERF_CLIENT | SOCKPERF_PONG, .length = 64};
    struct sockperf_header read;
    uint8_t bytes[SOCKPERF_HEADER_BYTES];
    sockperf_encode(bytes, &header);
    assert_memory_equal(bytes, request, sizeof request);
    assert_int_equal(sockperf_decode(request, sizeof request, &read), SOCKPERF_OK);
    assert_int_equal(read.sequence, 0x10b9);
    assert_int_equal(read.flags, SOCKPERF_CLIENT | SOCKPERF_PONG);
    assert_int_equal(read.length, 64);
    assert_true(sockperf_wants_answer(&read));
    sockperf_make_answer(bytes);
    assert_memory_equal(bytes, answer, sizeof answer);
    assert_int_equal(sockperf_decode(answer, sizeof answer, &read), SOCKPERF_OK);
    assert_false(sockperf_wants_answer(&read));
}

static void all_bits_survive(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        const struct sockperf_header header = {.sequence = UINT64_C(1) << bit,
                                               .flags = (uint16_t)(bit % 8),
                                               .length = 14 + bit * 1000};
        struct sockperf_header read;
        uint8_t bytes[SOCKPERF_HEADER_BYTES];
        sockperf_encode(bytes, &header);
        assert_int_equal(sockperf_decode(bytes, sizeof bytes, &read), SOCKPERF_OK);
        assert_int_equal(read.sequence, header.sequence);
        assert_int_equal(read.flags, header.flags);
        assert_int_equal(read.length, header.length);
    }
}

/* Against the end of a page: not one byte more is read. */
static void truncated_at_every_length(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *memory =
        mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_int_equal(mprotect(memory + page, page, PROT_NONE), 0);
    for (size_t length = 0; length <= sizeof request; length++) {
        struct sockperf_header header = {.sequence = 42};
        uint8_t *at = memory + page - length;
        memcpy(at, request, length);
        bool whole = length == sizeof request;
        assert_int_equal(sockperf_decode(at, length, &header),
                         whole ? SOCKPERF_OK : SOCKPERF_SHORT);
        assert_int_equal(header.sequence, whole ? 0x10b9 : 42);
    }
    munmap(memory, 2 * page);
}

static void every_field_is_checked(void **state)
{
    (void)state;
    static const struct {
        struct sockperf_header header;
        enum sockperf_result result;
    } rows[] = {
        {{.length = 0}, SOCKPERF_BAD_LENGTH},
        {{.length = 13}, SOCKPERF_BAD_LENGTH},
        {{.length = 14}, SOCKPERF_OK},
        {{.length = SOCKPERF_MESSAGE_MAX}, SOCKPERF_OK},
        {{.length = SOCKPERF_MESSAGE_MAX + 1}, SOCKPERF_BAD_LENGTH},
        {{.length = 0x80000000}, SOCKPERF_BAD_LENGTH},
        {{.length = UINT32_MAX}, SOCKPERF_BAD_LENGTH},
        {{.length = 14, .flags = 7}, SOCKPERF_OK},
        {{.length = 14, .flags = 8}, SOCKPERF_BAD_FLAGS},
        {{.length = 14, .flags = 0x8003}, SOCKPERF_BAD_FLAGS},
        {{.length = 14, .sequence = UINT64_MAX}, SOCKPERF_OK},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sockperf_header read;
        uint8_t bytes[SOCKPERF_HEADER_BYTES];
        sockperf_encode(bytes, &rows[i].header);
        assert_int_equal(sockperf_decode(bytes, sizeof bytes, &read), rows[i].result);
    }
}

static void only_requests_are_answered(void **state)
{
    (void)state;
    for (uint16_t flags = 0; flags < 8; flags++) {
        const struct sockperf_header header = {.flags = flags, .length = 14};
        assert_int_equal(sockperf_wants_answer(&header), flags == 3);
    }
    for (int result = SOCKPERF_OK; result <= SOCKPERF_BAD_FLAGS; result++) {
        assert_true(strlen(sockperf_text((enum sockperf_result)result)) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_the_real_one),      cmocka_unit_test(all_bits_survive),
        cmocka_unit_test(truncated_at_every_length),  cmocka_unit_test(every_field_is_checked),
        cmocka_unit_test(only_requests_are_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
