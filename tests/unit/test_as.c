/* Lines of the stand-ins against literal ones that the programs themselves printed (iperf3 3.12,
 * sockperf 3.7). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cli/as_iperf3.h"
#include "cli/as_sockperf.h"

#define MEBI (1024.0 * 1024)
#define GIBI (1024.0 * MEBI)

static void units(void **state)
{
    static const struct {
        double bytes;
        char format;
        const char *text;
    } rows[] = {
        {0, 'A', "0.00 Byte"},
        {0, 'a', "0.00 bit"},
        {131072, 'A', " 128 KByte"},
        {32768, 'A', "32.0 KByte"},
        {1023 * 1024.0, 'A', "1023 KByte"},
        {1024 * 1024.0, 'A', "1.00 MByte"},
        {21.7 * GIBI, 'A', "21.7 GByte"},
        {6.21e9 / 8, 'a', "6.21 Gbit"},
        {9.994, 'A', "9.99 Byte"},
        {9.996, 'A', "10.0 Byte"},
        {99.94, 'A', "99.9 Byte"},
        {99.96, 'A', " 100 Byte"},
        {3185 * MEBI, 'M', "3185 MByte"},
        {1048576 / 8.0, 'k', "1049 Kbit"},
        {5e12, 'g', "40000 Gbit"},
        {5e15, 'A', "4547 TByte"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[32];
        as_iperf3_unit(text, sizeof text, rows[i].bytes, rows[i].format);
        assert_string_equal(text, rows[i].text);
    }
}

static void check_line(const struct as_iperf3_row *row, enum as_iperf3_shape shape,
                       const char *expected)
{
    char line[256];
    as_iperf3_line(line, sizeof line, row, shape, 'a');
    assert_string_equal(line, expected);
}

static void lines_of_streams(void **state)
{
    (void)state;
    struct as_iperf3_row row = {.end_s = 1.0,
                                .socket = 5,
                                .role = "",
                                .note = "",
                                .counts = {.bytes = (uint64_t)(1.69 * GIBI), .retransmits = 2},
                                .congestion_window_bytes = 1023 * 1024};
    check_line(&row, AS_IPERF3_RETRANSMITS_WINDOW,
               "[  5]   0.00-1.00   sec  1.69 GBytes  14.5 Gbits/sec    2   1023 KBytes       ");
    check_line(&row, AS_IPERF3_PLAIN,
               "[  5]   0.00-1.00   sec  1.69 GBytes  14.5 Gbits/sec                  ");
    row.note = "(omitted)";
    check_line(
        &row, AS_IPERF3_RETRANSMITS_WINDOW,
        "[  5]   0.00-1.00   sec  1.69 GBytes  14.5 Gbits/sec    2   1023 KBytes       (omitted)");
    row = (struct as_iperf3_row){.end_s = 30,
                                 .socket = 7,
                                 .role = "",
                                 .note = "sender",
                                 .counts = {.bytes = (uint64_t)(19.4 * GIBI), .retransmits = 3379}};
    check_line(&row, AS_IPERF3_RETRANSMITS,
               "[  7]   0.00-30.00  sec  19.4 GBytes  5.55 Gbits/sec  3379             sender");
    row.socket = 0;
    row.note = "receiver";
    check_line(&row, AS_IPERF3_PLAIN,
               "[SUM]   0.00-30.00  sec  19.4 GBytes  5.55 Gbits/sec                  receiver");
    row = (struct as_iperf3_row){.end_s = 1,
                                 .socket = 12,
                                 .role = "[RX-C]",
                                 .note = "",
                                 .counts = {.bytes = (uint64_t)(316 * MEBI)}};
    check_line(&row, AS_IPERF3_PLAIN,
               "[ 12][RX-C]   0.00-1.00   sec   316 MBytes  2.65 Gbits/sec                  ");
}

static void lines_of_datagrams(void **state)
{
    (void)state;
    struct as_iperf3_row row = {.end_s = 1.0,
                                .socket = 5,
                                .role = "",
                                .note = "",
                                .counts = {.bytes = 131072, .packets = 4, .jitter_ms = 0.007}};
    check_line(&row, AS_IPERF3_DATAGRAMS_SENT,
               "[  5]   0.00-1.00   sec   128 KBytes  1.05 Mbits/sec  4  ");
    row.role = "[TX-C]";
    check_line(&row, AS_IPERF3_DATAGRAMS_SENT_BIDIR,
               "[  5][TX-C]   0.00-1.00   sec   128 KBytes  1.05 Mbits/sec            4  ");
    row.role = "";
    row.note = "receiver";
    check_line(
        &row, AS_IPERF3_DATAGRAMS,
        "[  5]   0.00-1.00   sec   128 KBytes  1.05 Mbits/sec  0.007 ms  0/4 (0%)  receiver");
    row.counts.lost = 1;
    check_line(
        &row, AS_IPERF3_DATAGRAMS,
        "[  5]   0.00-1.00   sec   128 KBytes  1.05 Mbits/sec  0.007 ms  1/4 (25%)  receiver");
    row.counts.packets = row.counts.lost = 0;
    check_line(
        &row, AS_IPERF3_DATAGRAMS,
        "[  5]   0.00-1.00   sec   128 KBytes  1.05 Mbits/sec  0.007 ms  0/0 (0%)  receiver");
}

static char *printed_json(const char *text)
{
    char *printed = NULL;
    size_t size;
    json_t *json = json_loads(text, 0, NULL);
    FILE *out = open_memstream(&printed, &size);
    assert_non_null(json);
    assert_non_null(out);
    as_iperf3_json_print(json, out);
    fclose(out);
    json_decref(json);
    return printed;
}

static void json_looks_alike(void **state)
{
    (void)state;
    char *printed = printed_json("{\"start\": {\"connected\": [{\"socket\": 5}, {\"socket\": 7}], "
                                 "\"version\": \"a\\\"b\"}, \"intervals\": [], \"end\": {}, "
                                 "\"number\": 16705379804.667307, \"no\": false, \"zero\": 0}");
    assert_string_equal(printed, "{\n"
                                 "\t\"start\":\t{\n"
                                 "\t\t\"connected\":\t[{\n"
                                 "\t\t\t\t\"socket\":\t5\n"
                                 "\t\t\t}, {\n"
                                 "\t\t\t\t\"socket\":\t7\n"
                                 "\t\t\t}],\n"
                                 "\t\t\"version\":\t\"a\\\"b\"\n"
                                 "\t},\n"
                                 "\t\"intervals\":\t[],\n"
                                 "\t\"end\":\t{\n"
                                 "\t},\n"
                                 "\t\"number\":\t16705379804.667307,\n"
                                 "\t\"no\":\tfalse,\n"
                                 "\t\"zero\":\t0\n"
                                 "}\n");
    free(printed);
}

static char *printed_latency(const struct as_sockperf_options *options,
                             const struct as_sockperf_result *result)
{
    char *printed = NULL;
    size_t size;
    FILE *out = open_memstream(&printed, &size);
    assert_non_null(out);
    as_sockperf_print_latency(options, result, out);
    fclose(out);
    return printed;
}

static void lines_of_latency(void **state)
{
    (void)state;
    struct as_sockperf_options options = {.mode = AS_SOCKPERF_PING_PONG};
    struct histogram *times = histogram_new();
    assert_non_null(times);
    histogram_record(times, 2000, 600);
    histogram_record(times, 4000, 400);
    struct as_sockperf_result result = {.total_s = 1,
                                        .valid_s = 0.55,
                                        .all_sent = 2001,
                                        .all_received = 2000,
                                        .sent = 1000,
                                        .round_trip_ns = times};
    char *printed = printed_latency(&options, &result);
    static const char *const wanted[] = {
        "sockperf: [Total Run] RunTime=1.000 sec; Warm up time=400 msec; SentMessages=2001; "
        "ReceivedMessages=2000\n",
        "sockperf: ========= Printing statistics for Server No: 0\n",
        "sockperf: [Valid Duration] RunTime=0.550 sec; SentMessages=1000; ReceivedMessages=1000\n",
        "sockperf: \033[2;35m====> avg-latency=1.40",
        "sockperf: # dropped messages = 0; # duplicated messages = 0; # out-of-order messages = "
        "0\n",
        "sockperf: \033[2;35mTotal 1000 observations\033[0m; each percentile contains 10.00 "
        "observations\n",
        "sockperf: ---> <MAX> observation =    2.000\n",
        "sockperf: ---> percentile 99.999 =    2.000\n",
        "sockperf: ---> percentile 50.000 =    1.000\n",
        "sockperf: ---> <MIN> observation =    1.000\n",
    };
    const char *at = printed;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        at = strstr(at, wanted[i]);
        assert_non_null(at);
        at += strlen(wanted[i]);
    }
    free(printed);

    options.full_rtt = true;
    result.dropped = 3;
    printed = printed_latency(&options, &result);
    assert_non_null(strstr(printed, "====> avg-rtt=2.80"));
    assert_non_null(strstr(printed, "# dropped messages = 3;"));
    assert_non_null(strstr(printed, "---> <MAX> observation =    4.000\n"));
    free(printed);
    histogram_free(times);
}

/* Ranks are rounded as the program does: of two observations the third quarter is the second. */
static void few_observations(void **state)
{
    (void)state;
    const struct as_sockperf_options options = {.mode = AS_SOCKPERF_UNDER_LOAD};
    struct histogram *times = histogram_new();
    assert_non_null(times);
    struct as_sockperf_result result = {.total_s = 1, .all_sent = 2, .round_trip_ns = times};
    char *printed = printed_latency(&options, &result);
    assert_string_equal(
        printed, "sockperf: No messages were received from the server. Is the server down?\n");
    free(printed);
    histogram_record(times, 2000, 1);
    histogram_record(times, 4000, 1);
    result.all_received = 2;
    printed = printed_latency(&options, &result);
    assert_non_null(strstr(printed, "percentile 75.000 =    2.000\n"));
    assert_non_null(strstr(printed, "percentile 50.000 =    1.000\n"));
    assert_non_null(strstr(printed, "percentile 25.000 =    1.000\n"));
    free(printed);
    histogram_free(times);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units),
        cmocka_unit_test(lines_of_streams),
        cmocka_unit_test(lines_of_datagrams),
        cmocka_unit_test(json_looks_alike),
        cmocka_unit_test(lines_of_latency),
        cmocka_unit_test(few_observations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
