/* Banks: the table of errors, adding, clearing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "workload/bank.h"

static struct bank *new_bank(void)
{
    struct bank *bank = calloc(1, sizeof *bank);
    assert_non_null(bank);
    bank_clear(bank);
    return bank;
}

static size_t error_rows(const struct bank *bank)
{
    size_t count = 0;
    while (count < BANK_ERRORS && bank->errors[count].count) {
        count++;
    }
    return count;
}

static void same_error_is_counted_in_one_row(void **state)
{
    struct bank *bank = new_bank();
    (void)state;
    for (int i = 0; i < 1000; i++) {
        bank_error(bank, PHASE_RECEIVE, ECONNRESET, NULL);
    }
    bank_error(bank, PHASE_SEND, ECONNRESET, NULL);
    bank_error(bank, PHASE_RECEIVE, EPIPE, NULL);
    bank_error(bank, PHASE_PROTOCOL, 0, "too much");
    bank_error(bank, PHASE_PROTOCOL, 0, "too little");
    bank_error(bank, PHASE_PROTOCOL, 0, "too much");
    assert_int_equal(error_rows(bank), 5);
    assert_int_equal(bank->errors[0].phase, PHASE_RECEIVE);
    assert_int_equal(bank->errors[0].number, ECONNRESET);
    assert_int_equal(bank->errors[0].count, 1000);
    assert_int_equal(bank->errors[1].count, 1);
    assert_int_equal(bank->errors[2].count, 1);
    assert_string_equal(bank->errors[3].name, "too much");
    assert_int_equal(bank->errors[3].count, 2);
    assert_string_equal(bank->errors[4].name, "too little");
    free(bank);
}

static void long_name_is_cut_and_found_again(void **state)
{
    struct bank *bank = new_bank();
    char name[200];
    (void)state;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    bank_error(bank, PHASE_PROTOCOL, 0, name);
    bank_error(bank, PHASE_PROTOCOL, 0, name);
    assert_int_equal(error_rows(bank), 1);
    assert_int_equal(bank->errors[0].count, 2);
    assert_int_equal(strlen(bank->errors[0].name), sizeof bank->errors[0].name - 1);
    free(bank);
}

static void full_table_counts_what_finds_no_row(void **state)
{
    struct bank *bank = new_bank();
    (void)state;
    for (int i = 1; i <= BANK_ERRORS + 7; i++) {
        bank_error(bank, PHASE_SEND, i, NULL);
    }
    bank_error(bank, PHASE_SEND, 1, NULL);
    assert_int_equal(error_rows(bank), BANK_ERRORS);
    assert_int_equal(bank->errors[0].count, 2);
    assert_int_equal(bank->errors_beyond, 7);

    struct bank *sum = new_bank();
    bank_error(sum, PHASE_ACCEPT, EMFILE, NULL);
    bank_add_errors(sum, bank);
    uint64_t total = sum->errors_beyond;
    for (size_t i = 0; i < BANK_ERRORS; i++) {
        total += sum->errors[i].count;
    }
    assert_int_equal(total, BANK_ERRORS + 7 + 1 + 1);
    free(sum);
    free(bank);
}

static void fill(struct bank *bank, uint64_t factor)
{
    bank->start_ns = 1000 * factor;
    bank->end_ns = 1000 * factor + 500;
    bank->cpu_user_ns = 3 * factor;
    bank->cpu_system_ns = 5 * factor;
    bank->switches_voluntary = 7 * factor;
    bank->switches_involuntary = 11 * factor;
    for (size_t i = 0; i < BANK_COUNTERS; i++) {
        bank->counters[i] = (i + 1) * factor;
    }
    for (size_t i = 0; i < CALL_KINDS; i++) {
        bank->calls.of[i] = (struct call_count){.calls = (i + 2) * factor,
                                                .again = factor,
                                                .errors = 2 * factor,
                                                .bytes = (i + 3) * factor};
    }
    bank->calls.uring_submitted = 13 * factor;
    bank->calls.uring_completed = 17 * factor;
    bank->calls.zerocopy_sends = 19 * factor;
    bank->calls.zerocopy_reported = 23 * factor;
    bank->calls.zerocopy_copied = 29 * factor;
    for (size_t i = 0; i < BANK_HISTOGRAMS; i++) {
        histogram_record(&bank->histograms[i], 100 * (i + 1) * factor, factor);
        histogram_record(&bank->histograms[i], HISTOGRAM_HIGHEST + 1, factor);
    }
    bank_error(bank, PHASE_SEND, EPIPE, NULL);
}

static void adding_adds_everything(void **state)
{
    struct bank *a = new_bank(), *b = new_bank(), *sum = new_bank();
    (void)state;
    fill(a, 1);
    fill(b, 2);
    bank_add(sum, b);
    bank_add(sum, a);
    assert_int_equal(sum->start_ns, 1000);
    assert_int_equal(sum->end_ns, 2500);
    assert_int_equal(sum->cpu_user_ns, 9);
    assert_int_equal(sum->cpu_system_ns, 15);
    assert_int_equal(sum->switches_voluntary, 21);
    assert_int_equal(sum->switches_involuntary, 33);
    for (size_t i = 0; i < BANK_COUNTERS; i++) {
        assert_int_equal(sum->counters[i], 3 * (i + 1));
    }
    for (size_t i = 0; i < CALL_KINDS; i++) {
        assert_int_equal(sum->calls.of[i].calls, 3 * (i + 2));
        assert_int_equal(sum->calls.of[i].again, 3);
        assert_int_equal(sum->calls.of[i].errors, 6);
        assert_int_equal(sum->calls.of[i].bytes, 3 * (i + 3));
    }
    assert_int_equal(sum->calls.uring_submitted, 39);
    assert_int_equal(sum->calls.uring_completed, 51);
    assert_int_equal(sum->calls.zerocopy_sends, 57);
    assert_int_equal(sum->calls.zerocopy_reported, 69);
    assert_int_equal(sum->calls.zerocopy_copied, 87);
    for (size_t i = 0; i < BANK_HISTOGRAMS; i++) {
        const struct histogram *histogram = &sum->histograms[i];
        assert_int_equal(histogram_count(histogram), 3);
        assert_int_equal(histogram->minimum, 100 * (i + 1));
        assert_int_equal(histogram->maximum, 200 * (i + 1));
        assert_int_equal(histogram->out_of_range, 3);
    }
    assert_int_equal(sum->errors[0].count, 2);
    free(a);
    free(b);
    free(sum);
}

static void cleared_is_as_new(void **state)
{
    struct bank *bank = new_bank(), *empty = new_bank();
    (void)state;
    fill(bank, 3);
    bank_clear(bank);
    assert_memory_equal(bank, empty, sizeof *bank);
    /* An empty bank adds nothing and takes no start from nowhere. */
    fill(bank, 3);
    bank_add(bank, empty);
    assert_int_equal(bank->start_ns, 3000);
    assert_int_equal(bank->counters[0], 3);
    assert_int_equal(bank->histograms[0].minimum, 300);
    free(bank);
    free(empty);
}

static void phases_have_names(void **state)
{
    (void)state;
    assert_string_equal(bank_phase_name(PHASE_SOCKET), "socket");
    assert_string_equal(bank_phase_name(PHASE_CONNECT), "connect");
    assert_string_equal(bank_phase_name(PHASE_DRAIN), "drain");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_error_is_counted_in_one_row),
        cmocka_unit_test(long_name_is_cut_and_found_again),
        cmocka_unit_test(full_table_counts_what_finds_no_row),
        cmocka_unit_test(adding_adds_everything),
        cmocka_unit_test(cleared_is_as_new),
        cmocka_unit_test(phases_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
