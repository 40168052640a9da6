/* HdrHistogram's texts. The distributions below were written by HdrHistogram 2.1.11 (Java):
 * outputPercentileDistribution(out, 5, 1000.0) of new Histogram(1, 3600000000000L, 3). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "stats/hdr_codec.h"
#include "stats/hdr_text.h"

/* 1000 * i recorded i * i times for i = 1 .. 7; 5,000,000 once. */
static const char small[] = "       Value     Percentile TotalCount 1/(1-Percentile)\n"
                            "\n"
                            "       1.000 0.000000000000          1           1.00\n"
                            "       4.001 0.100000000000         30           1.11\n"
                            "       4.001 0.200000000000         30           1.25\n"
                            "       5.003 0.300000000000         55           1.43\n"
                            "       6.003 0.400000000000         91           1.67\n"
                            "       6.003 0.500000000000         91           2.00\n"
                            "       6.003 0.550000000000         91           2.22\n"
                            "       6.003 0.600000000000         91           2.50\n"
                            "       7.003 0.650000000000        140           2.86\n"
                            "       7.003 0.700000000000        140           3.33\n"
                            "       7.003 0.750000000000        140           4.00\n"
                            "       7.003 0.775000000000        140           4.44\n"
                            "       7.003 0.800000000000        140           5.00\n"
                            "       7.003 0.825000000000        140           5.71\n"
                            "       7.003 0.850000000000        140           6.67\n"
                            "       7.003 0.875000000000        140           8.00\n"
                            "       7.003 0.887500000000        140           8.89\n"
                            "       7.003 0.900000000000        140          10.00\n"
                            "       7.003 0.912500000000        140          11.43\n"
                            "       7.003 0.925000000000        140          13.33\n"
                            "       7.003 0.937500000000        140          16.00\n"
                            "       7.003 0.943750000000        140          17.78\n"
                            "       7.003 0.950000000000        140          20.00\n"
                            "       7.003 0.956250000000        140          22.86\n"
                            "       7.003 0.962500000000        140          26.67\n"
                            "       7.003 0.968750000000        140          32.00\n"
                            "       7.003 0.971875000000        140          35.56\n"
                            "       7.003 0.975000000000        140          40.00\n"
                            "       7.003 0.978125000000        140          45.71\n"
                            "       7.003 0.981250000000        140          53.33\n"
                            "       7.003 0.984375000000        140          64.00\n"
                            "       7.003 0.985937500000        140          71.11\n"
                            "       7.003 0.987500000000        140          80.00\n"
                            "       7.003 0.989062500000        140          91.43\n"
                            "       7.003 0.990625000000        140         106.67\n"
                            "       7.003 0.992187500000        140         128.00\n"
                            "    5001.215 0.992968750000        141         142.22\n"
                            "    5001.215 1.000000000000        141\n"
                            "#[Mean    =       41.017, StdDeviation   =      419.043]\n"
                            "#[Max     =     5001.215, Total count    =          141]\n"
                            "#[Buckets =           32, SubBuckets     =         2048]\n";

/* 26,399 once. */
static const char one[] = "       Value     Percentile TotalCount 1/(1-Percentile)\n"
                          "\n"
                          "      26.399 0.000000000000          1           1.00\n"
                          "      26.399 1.000000000000          1\n"
                          "#[Mean    =       26.392, StdDeviation   =        0.000]\n"
                          "#[Max     =       26.399, Total count    =            1]\n"
                          "#[Buckets =           32, SubBuckets     =         2048]\n";

static const char none[] = "       Value     Percentile TotalCount 1/(1-Percentile)\n"
                           "\n"
                           "#[Mean    =        0.000, StdDeviation   =        0.000]\n"
                           "#[Max     =        0.000, Total count    =            0]\n"
                           "#[Buckets =           32, SubBuckets     =         2048]\n";

/* 37 * i^3 recorded i times for i = 1 .. 100; 0 three times, 2047 5 times, 2048 7 times, one hour
 * twice, 123,456,789 5 * 10^12 times: lines in which a percentile lies in the middle of two
 * texts, and the last three. */
static const char *const cubes[] = {
    "  123469.823 0.999780273438 5000000005065        4551.11\n",
    "  123469.823 0.999926757813 5000000005065       13653.33\n",
    "  123469.823 0.999999994040 5000000005065   167772160.63\n",
    "#[Mean    =   123437.057, StdDeviation   =     2276.927]\n",
    "#[Max     = 3601330077.695, Total count    = 5000000005067]\n",
    "#[Buckets =           32, SubBuckets     =         2048]\n",
};

static struct histogram *make(void)
{
    struct histogram *histogram = histogram_new();
    assert_non_null(histogram);
    return histogram;
}

static char *distribution(const struct histogram *histogram, double unit)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    assert_non_null(out);
    hdr_distribution(out, histogram, unit);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void check(const struct histogram *histogram, const char *expected)
{
    char *text = distribution(histogram, 1000);
    assert_string_equal(text, expected);
    free(text);
}

static void fill_small(struct histogram *histogram)
{
    for (uint64_t i = 1; i <= 7; i++) {
        histogram_record(histogram, 1000 * i, i * i);
    }
    histogram_record(histogram, 5000000, 1);
}

static void test_distribution(void **state)
{
    (void)state;
    struct histogram *histogram = make();
    check(histogram, none);
    histogram_record(histogram, 26399, 1);
    check(histogram, one);
    histogram_clear(histogram);
    fill_small(histogram);
    check(histogram, small);
    histogram_free(histogram);
}

static void test_long_distribution(void **state)
{
    (void)state;
    struct histogram *histogram = make();
    for (uint64_t i = 1; i <= 100; i++) {
        histogram_record(histogram, 37 * i * i * i, i);
    }
    histogram_record(histogram, 0, 3);
    histogram_record(histogram, 2047, 5);
    histogram_record(histogram, 2048, 7);
    histogram_record(histogram, HISTOGRAM_HIGHEST, 2);
    histogram_record(histogram, 123456789, UINT64_C(5000000000000));
    char *text = distribution(histogram, 1000);
    for (size_t i = 0; i < sizeof cubes / sizeof *cubes; i++) {
        assert_non_null(strstr(text, cubes[i]));
    }
    free(text);
    histogram_free(histogram);
}

static void test_unit(void **state)
{
    (void)state;
    struct histogram *histogram = make();
    histogram_record(histogram, 1500, 2);
    char *text = distribution(histogram, 1);
    assert_non_null(strstr(text, "    1500.000 1.000000000000          2\n"));
    free(text);
    histogram_free(histogram);
}

static void test_log(void **state)
{
    (void)state;
    struct histogram *histogram = make();
    struct histogram *again = make();
    struct err error = {0};
    char *text = NULL;
    size_t length = 0;
    fill_small(histogram);
    FILE *out = open_memstream(&text, &length);
    assert_non_null(out);
    hdr_log_begin(out, UINT64_C(1441812279474000000), "sonde 1");
    assert_int_equal(hdr_log_line(out, "A", 127000000, 1007000000, histogram), 0);
    assert_int_equal(hdr_log_line(out, "a b,c\x7f\xff", 0, 1, histogram), 0);
    assert_int_equal(hdr_log_line(out, "", 1500000000, 2, histogram), 0);
    assert_int_equal(fclose(out), 0);
    static const char head[] =
        "#[Logged with sonde 1]\n"
        "#[Histogram log format version 1.3]\n"
        "#[StartTime: 1441812279.474 (seconds since epoch), Wed Sep 09 15:24:39 UTC 2015]\n"
        "#[BaseTime: 1441812279.474 (seconds since epoch)]\n"
        "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\","
        "\"Interval_Compressed_Histogram\"\n";
    static const char *const lines[] = {"Tag=A,0.127000,1.007000,5.000000,",
                                        "Tag=a_b_c__,0.000000,0.000000,5.000000,",
                                        "1.500000,0.000000,5.000000,"};
    assert_memory_equal(text, head, strlen(head));
    const char *at = text + strlen(head);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_memory_equal(at, lines[i], strlen(lines[i]));
        at += strlen(lines[i]);
        const char *end = strchr(at, '\n');
        assert_non_null(end);
        assert_int_equal(hdr_decode(at, (size_t)(end - at), again, &error), 0);
        at = end + 1;
    }
    assert_string_equal(at, "");
    assert_int_equal(histogram_count(again), 3 * histogram_count(histogram));
    free(text);
    histogram_free(again);
    histogram_free(histogram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_long_distribution),
        cmocka_unit_test(test_unit),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
