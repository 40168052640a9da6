#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "base/units.h"

typedef int parse_whole(const char *text, uint64_t *value);

struct good {
    parse_whole *parse;
    const char *text;
    uint64_t value;
};

static void test_parses_whole_values(void **state)
{
    (void)state;
    static const struct good rows[] = {
        {units_parse_count, "0", 0},
        {units_parse_count, "20k", 20000},
        {units_parse_count, "20K", 20000},
        {units_parse_count, "1.5k", 1500},
        {units_parse_count, "1.500k", 1500},
        {units_parse_count, "1.5000000000000000000000000k", 1500},
        {units_parse_count, "3M", 3000000},
        {units_parse_count, "2G", 2000000000},
        {units_parse_count, "007", 7},
        {units_parse_count, "18446744073709551615", UINT64_MAX},
        {units_parse_size, "1", 1},
        {units_parse_size, "64k", 65536},
        {units_parse_size, "64K", 65536},
        {units_parse_size, "64KiB", 65536},
        {units_parse_size, "1.5m", 1572864},
        {units_parse_size, "1g", UINT64_C(1) << 30},
        {units_parse_size, "16777215t", UINT64_C(16777215) << 40},
        {units_parse_duration, "5", UINT64_C(5000000000)},
        {units_parse_duration, "0", 0},
        {units_parse_duration, ".5", 500000000},
        {units_parse_duration, "5s", UINT64_C(5000000000)},
        {units_parse_duration, "10ms", 10000000},
        {units_parse_duration, "2us", 2000},
        {units_parse_duration, "2\u00b5s", 2000},
        {units_parse_duration, "2\u03bcs", 2000},
        {units_parse_duration, "7ns", 7},
        {units_parse_duration, "3m", UINT64_C(180000000000)},
        {units_parse_duration, "3min", UINT64_C(180000000000)},
        {units_parse_duration, "1h", UINT64_C(3600000000000)},
        {units_parse_duration, "0.000000001", 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t value = 12345;
        if (rows[i].parse(rows[i].text, &value) != 0 || value != rows[i].value) {
            fail_msg("\"%s\" gave %ju, not %ju", rows[i].text, (uintmax_t)value,
                     (uintmax_t)rows[i].value);
        }
    }
}

static void test_refuses_what_is_no_number(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",         " ",
        "-5",       "+5",
        "5 ",       " 5",
        "5x",       "5kk",
        "k",        ".",
        "5.",       "1.k",
        "1..5",     "nan",
        "inf",      "NaN",
        "1e3",      "0x10",
        "1,000",    "--5",
        "1.00001k", "\xff",
        "5\n",      "1.2.3",
        "\u0665",   "0.00000000000000000001k",
    };
    static parse_whole *const parsers[] = {units_parse_count, units_parse_size,
                                           units_parse_duration};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t p = 0; p < 3; p++) {
            uint64_t value = 12345;
            errno = 0;
            if (parsers[p](rows[i], &value) != -1 || value != 12345 || errno != EINVAL) {
                fail_msg("parser %zu: \"%s\" gave %ju, errno %d", p, rows[i], (uintmax_t)value,
                         errno);
            }
        }
    }
    uint64_t value;
    double rate;
    assert_int_equal(units_parse_count("1.5", &value), -1);
    assert_int_equal(units_parse_size("0.3k", &value), -1);
    assert_int_equal(units_parse_size("64kB", &value), -1); /* 1,000 or 1,024? */
    assert_int_equal(units_parse_duration("1.5ns", &value), -1);
    assert_int_equal(units_parse_count("5s", &value), -1);
    assert_int_equal(units_parse_duration("5k", &value), -1);
    static const char *const rates[] = {"", "-1", "nan", "inf", "1e3", "0x1p3", "1.", "5/s", "k"};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        assert_int_equal(units_parse_rate(rates[i], &rate), -1);
    }
}

static void test_refuses_overflow(void **state)
{
    (void)state;
    static const struct good rows[] = {
        {units_parse_count, "18446744073709551616", 0},
        {units_parse_count, "18446744073709552k", 0},
        {units_parse_count, "18446744073709551615.9k", 0},
        {units_parse_count, "99999999999999999999999999999999999999999999", 0},
        {units_parse_size, "16777216t", 0},
        {units_parse_size, "18014398509481984k", 0},
        {units_parse_duration, "18446744074", 0},
        {units_parse_duration, "5124096h", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t value = 12345;
        errno = 0;
        if (rows[i].parse(rows[i].text, &value) != -1 || value != 12345 || errno != ERANGE) {
            fail_msg("\"%s\" gave %ju, errno %d", rows[i].text, (uintmax_t)value, errno);
        }
    }
    double rate;
    assert_int_equal(units_parse_rate("18446744073709551616", &rate), -1);
    assert_int_equal(errno, ERANGE);
}

static void test_parses_rates(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } rows[] = {{"0", 0},         {"10k", 1e4}, {"2.5M", 2.5e6}, {"0.1", 0.1},
                {"1.1k", 1100.0}, {".25", .25}, {"1G", 1e9},     {"0.001", 0.001}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double value = -1;
        if (units_parse_rate(rows[i].text, &value) != 0 || value != rows[i].value) {
            fail_msg("\"%s\" gave %.17g", rows[i].text, value);
        }
    }
}

static void test_writes_counts_for_people(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        {0, "0"},
        {7, "7"},
        {1.5, "1.50"},
        {9.996, "10.0"},
        {99.96, "100"},
        {99.94, "99.9"},
        {0.01234, "0.0123"},
        {100, "100"},
        {999.6, "1,000"},
        {1000, "1,000"},
        {999999, "999,999"},
        {1620521, "1,620,521"},
        {-1500, "-1,500"},
        {-0.5, "-0.500"},
        {NAN, "-"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
        {123456789012.0, "123,456,789,012"},
        {1e300, "1.00e+300"},
        {1e-12, "1.00e-12"},
    };
    char text[UNITS_TEXT_MAX];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_ptr_equal(units_count(text, rows[i].value), text);
        assert_string_equal(text, rows[i].text);
    }
}

static void test_writes_scaled_for_people(void **state)
{
    (void)state;
    char text[UNITS_TEXT_MAX];
    assert_string_equal(units_si(text, 28.1e6, "bit/s"), "28.1 Mbit/s");
    assert_string_equal(units_si(text, 28.1e6, ""), "28.1 M");
    assert_string_equal(units_si(text, 281, ""), "281");
    assert_string_equal(units_si(text, 0, "bit/s"), "0 bit/s");
    assert_string_equal(units_si(text, 999.6, "B/s"), "1.00 kB/s");
    assert_string_equal(units_si(text, 999.4, "B/s"), "999 B/s");
    assert_string_equal(units_si(text, 999499, "B/s"), "999 kB/s");
    assert_string_equal(units_si(text, 999500, "B/s"), "1.00 MB/s");
    assert_string_equal(units_si(text, 1e300, "B/s"), "1.00e+282 EB/s");
    assert_string_equal(units_bytes(text, 65536), "64.0 KiB");
    assert_string_equal(units_bytes(text, 512), "512 B");
    assert_string_equal(units_bytes(text, 0), "0 B");
    assert_string_equal(units_bytes(text, 1.5), "1.50 B");
    assert_string_equal(units_bytes(text, 1023.7), "1.00 KiB");
    assert_string_equal(units_bytes(text, 1010 * 1024), "1010 KiB");
    assert_string_equal(units_bytes(text, 0x1p30), "1.00 GiB");
    assert_string_equal(units_bytes(text, -65536), "-64.0 KiB");
    assert_string_equal(units_duration(text, 5310), "5.31 \u00b5s");
    assert_string_equal(units_duration(text, 12e6), "12.0 ms");
    assert_string_equal(units_duration(text, 7), "7 ns");
    assert_string_equal(units_duration(text, 7.25), "7.25 ns");
    assert_string_equal(units_duration(text, 0.25), "0.250 ns");
    assert_string_equal(units_duration(text, 0), "0 ns");
    assert_string_equal(units_duration(text, 999.6), "1.00 \u00b5s");
    assert_string_equal(units_duration(text, 90e9), "90.0 s");
    assert_string_equal(units_duration(text, 1500e9), "25.0 min");
    assert_string_equal(units_duration(text, 7200e9), "2.00 h");
    assert_string_equal(units_duration(text, NAN), "-");
}

static void test_writes_exact_values(void **state)
{
    (void)state;
    char text[UNITS_TEXT_MAX];
    assert_string_equal(units_exact_size(text, 0), "0");
    assert_string_equal(units_exact_size(text, 1), "1");
    assert_string_equal(units_exact_size(text, 100), "100");
    assert_string_equal(units_exact_size(text, 1000), "1000");
    assert_string_equal(units_exact_size(text, 1536), "1.5k"); /* as short: the larger unit */
    assert_string_equal(units_exact_size(text, 65536), "64k");
    assert_string_equal(units_exact_size(text, 1572864), "1.5m");
    assert_string_equal(units_exact_size(text, UINT64_C(1) << 30), "1g");
    assert_string_equal(units_exact_size(text, UINT64_MAX), "18446744073709551615");
    assert_string_equal(units_exact_duration(text, 0), "0s");
    assert_string_equal(units_exact_duration(text, 1), "1ns");
    assert_string_equal(units_exact_duration(text, 100000000), "100ms");
    assert_string_equal(units_exact_duration(text, UINT64_C(5000000000)), "5s");
    assert_string_equal(units_exact_duration(text, UINT64_C(90000000000)), "90s");
    assert_string_equal(units_exact_duration(text, UINT64_C(60000000000)), "1m");
    assert_string_equal(units_exact_duration(text, UINT64_C(3600000000000)), "1h");
    assert_string_equal(units_exact_count(text, 20000), "20k");
    assert_string_equal(units_exact_count(text, 1001), "1001");
    assert_string_equal(units_exact_rate(text, 0), "0");
    assert_string_equal(units_exact_rate(text, 0.1), "0.1");
    assert_string_equal(units_exact_rate(text, 2500000), "2500000");
}

static void test_exact_values_parse_back(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 42);
    char text[UNITS_TEXT_MAX];
    for (int i = 0; i < 100000; i++) {
        /* All magnitudes, and round numbers among them. */
        uint64_t value = rng_next(&rng) >> rng_below(&rng, 64);
        value = i % 3 == 0   ? value << rng_below(&rng, 40)
                : i % 3 == 1 ? value / 1000 * 1000
                             : value;
        uint64_t back = value + 1;
        assert_int_equal(units_parse_size(units_exact_size(text, value), &back), 0);
        assert_true(back == value);
        back = value + 1;
        assert_int_equal(units_parse_duration(units_exact_duration(text, value), &back), 0);
        assert_true(back == value);
        back = value + 1;
        assert_int_equal(units_parse_count(units_exact_count(text, value), &back), 0);
        assert_true(back == value);
        double rate = (double)(value >> 16) / (double)(1 + rng_below(&rng, 1000)), rate_back = -1;
        assert_int_equal(units_parse_rate(units_exact_rate(text, rate), &rate_back), 0);
        if (rate_back != rate) {
            fail_msg("%.17g became \"%s\"", rate, text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parses_whole_values),
        cmocka_unit_test(test_refuses_what_is_no_number),
        cmocka_unit_test(test_refuses_overflow),
        cmocka_unit_test(test_parses_rates),
        cmocka_unit_test(test_writes_counts_for_people),
        cmocka_unit_test(test_writes_scaled_for_people),
        cmocka_unit_test(test_writes_exact_values),
        cmocka_unit_test(test_exact_values_parse_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
