/* iperf3's parameters and results: texts as iperf3 3.12 sends them, what they become, and texts
 * that nobody should believe. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/iperf3_json.h"
#include "run/iperf3.h"
#include "run/iperf3_data_state.h"

static const char real_parameters[] =
    "{\"udp\":true,\"omit\":1,\"time\":7,\"num\":0,\"blockcount\":0,\"MSS\":1400,\"nodelay\":true,"
    "\"parallel\":3,\"reverse\":true,\"window\":131072,\"len\":1448,\"bandwidth\":1e+10,"
    "\"pacing_timer\":1000,\"burst\":10,\"TOS\":32,\"title\":\"of it\",\"congestion\":\"cubic\","
    "\"get_server_output\":1,\"udp_counters_64bit\":1,\"client_version\":\"3.12\"}";

/* A copy of its own size, so that the sanitizer sees a read beyond the end. */
static int parameters_of(const char *text, size_t length, struct iperf3_parameters *parameters,
                         const char **member)
{
    char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, text, length);
    int status = iperf3_parameters_decode(copy, length, parameters, member);
    free(copy);
    return status;
}

static void reads_real_parameters(void **state)
{
    (void)state;
    struct iperf3_parameters p;
    const char *member;

    assert_int_equal(parameters_of(real_parameters, strlen(real_parameters), &p, &member), 0);
    assert_int_equal(p.protocol, IPERF3_UDP);
    assert_int_equal(p.omit_s, 1);
    assert_int_equal(p.time_s, 7);
    assert_int_equal(p.mss, 1400);
    assert_int_equal(p.parallel, 3);
    assert_int_equal(p.window_bytes, 131072);
    assert_int_equal(p.length_bytes, 1448);
    assert_true(p.bandwidth == UINT64_C(10000000000));
    assert_int_equal(p.pacing_timer_us, 1000);
    assert_int_equal(p.burst, 10);
    assert_int_equal(p.tos, 32);
    assert_true(p.nodelay && p.reverse && !p.bidirectional && p.get_server_output &&
                p.udp_counters_64bit && !p.zerocopy);
    assert_string_equal(p.title, "of it");
    assert_string_equal(p.congestion, "cubic");
    assert_string_equal(p.client_version, "3.12");
    for (size_t length = 0; length < strlen(real_parameters); length++) {
        assert_int_equal(parameters_of(real_parameters, length, &p, &member), IPERF3_BAD_JSON);
    }
}

static void defaults_are_the_peers(void **state)
{
    (void)state;
    struct iperf3_parameters p;
    const char *member;

    assert_int_equal(parameters_of("{}", 2, &p, &member), 0);
    assert_int_equal(p.protocol, IPERF3_TCP);
    assert_int_equal(p.time_s, 10);
    assert_int_equal(p.parallel, 1);
    assert_int_equal(p.length_bytes, 128 << 10);
    const char *udp = "{\"udp\":true,\"new\":{\"deep\":[1,null]},\"authtoken\":\"secret\"}";
    assert_int_equal(parameters_of(udp, strlen(udp), &p, &member), 0);
    assert_int_equal(p.length_bytes, 1460);
    assert_true(p.token);
}

static void refuses(const char *text, int status, const char *member)
{
    struct iperf3_parameters p;
    const char *found;
    int got = parameters_of(text, strlen(text), &p, &found);
    if (got != status || strcmp(found, member) != 0) {
        fail_msg("%s: %s (%s)", text, iperf3_error_text(got), found);
    }
}

static void refuses_wrong_parameters(void **state)
{
    (void)state;
    static const char *const numbers[] = {"omit",         "time",   "num", "blockcount", "MSS",
                                          "parallel",     "window", "len", "bandwidth",  "fqrate",
                                          "pacing_timer", "burst",  "TOS", "flowlabel"};
    static const char *const wrong[] = {"\"1\"", "true", "null", "[1]", "{}", "1.5"};
    static const char *const beyond[] = {"-1", "-1e300", "1e300", "18446744073709551615",
                                         "9223372036854775808"};
    char text[200];

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        for (size_t j = 0; j < sizeof wrong / sizeof wrong[0]; j++) {
            snprintf(text, sizeof text, "{\"%s\":%s}", numbers[i], wrong[j]);
            refuses(text, IPERF3_BAD_JSON_TYPE, numbers[i]);
        }
        for (size_t j = 0; j < sizeof beyond / sizeof beyond[0]; j++) {
            snprintf(text, sizeof text, "{\"%s\":%s}", numbers[i], beyond[j]);
            refuses(text, IPERF3_BAD_JSON_RANGE, numbers[i]);
        }
        snprintf(text, sizeof text, "{\"%s\":1,\"%s\":1}", numbers[i], numbers[i]);
        refuses(text, IPERF3_BAD_JSON, "");
    }
    refuses("{\"omit\":601}", IPERF3_BAD_JSON_RANGE, "omit");
    refuses("{\"time\":86401}", IPERF3_BAD_JSON_RANGE, "time");
    refuses("{\"parallel\":0}", IPERF3_BAD_JSON_RANGE, "parallel");
    refuses("{\"parallel\":129}", IPERF3_BAD_JSON_RANGE, "parallel");
    refuses("{\"len\":1048577}", IPERF3_BAD_JSON_RANGE, "len");
    refuses("{\"udp\":true,\"len\":15}", IPERF3_BAD_JSON_RANGE, "len");
    refuses("{\"udp\":true,\"len\":65508}", IPERF3_BAD_JSON_RANGE, "len");
    refuses("{\"TOS\":256}", IPERF3_BAD_JSON_RANGE, "TOS");
    refuses("{\"congestion\":\"0123456789abcdef\"}", IPERF3_BAD_JSON_RANGE, "congestion");
    refuses("{\"congestion\":7}", IPERF3_BAD_JSON_TYPE, "congestion");
    refuses("{\"tcp\":\"yes\"}", IPERF3_BAD_JSON_TYPE, "tcp");
    refuses("{\"reverse\":\"yes\"}", IPERF3_BAD_JSON_TYPE, "reverse");
    refuses("{\"authtoken\":1}", IPERF3_BAD_JSON_TYPE, "authtoken");
    refuses("{\"reverse\":true,\"bidirectional\":true}", IPERF3_BAD_JSON_RANGE, "bidirectional");
    refuses("[]", IPERF3_BAD_JSON_OBJECT, "");
    refuses("null", IPERF3_BAD_JSON_OBJECT, "");
    refuses("{} {}", IPERF3_BAD_JSON, "");
    refuses("{\"title\":\"\\u0000\"}", IPERF3_BAD_JSON, "");
    refuses("{\"title\":\"\xff\"}", IPERF3_BAD_JSON, "");
    refuses("", IPERF3_BAD_JSON, "");
}

static void refuses_a_well_of_brackets(void **state)
{
    (void)state;
    static char text[IPERF3_PARAMETERS_MOST + 1];
    memset(text, '[', sizeof text - 1);
    refuses(text, IPERF3_BAD_JSON, "");
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    struct iperf3_parameters p;
    const char *member;
    char text[400] = "{\"title\":\"";

    for (int i = 0; i < 100; i++) {
        strncat(text, i == 0 ? "x" : "\xc3\xa9", sizeof text - strlen(text) - 1);
    }
    strncat(text, "\"}", sizeof text - strlen(text) - 1);
    assert_int_equal(parameters_of(text, strlen(text), &p, &member), 0);
    assert_int_equal(strlen(p.title), 63); /* x and 31 times two bytes */
    char *again = iperf3_parameters_encode(&p);
    assert_non_null(again); /* still UTF-8 */
    free(again);
}

static void parameters_survive(void **state)
{
    (void)state;
    struct iperf3_parameters p, again;
    const char *member;

    assert_int_equal(parameters_of(real_parameters, strlen(real_parameters), &p, &member), 0);
    char *text = iperf3_parameters_encode(&p);
    assert_non_null(text);
    assert_int_equal(parameters_of(text, strlen(text), &again, &member), 0);
    assert_memory_equal(&p, &again, sizeof p);
    assert_non_null(strstr(text, "\"nodelay\":true"));
    assert_non_null(strstr(text, "\"udp_counters_64bit\":1"));
    assert_null(strstr(text, "bidirectional"));
    free(text);
}

static void tests_survive(void **state)
{
    (void)state;
    const struct iperf3_test test = {.udp = true,
                                     .streams = 5,
                                     .reverse = true,
                                     .duration_ns = UINT64_C(1500000000),
                                     .omit_ns = UINT64_C(2000000000),
                                     .rate_bits_per_second = 12345678901,
                                     .tos = 184,
                                     .counters_64bit = true};
    struct iperf3_parameters parameters;
    struct iperf3_test again;

    iperf3_test_to_parameters(&test, &parameters);
    assert_int_equal(parameters.time_s, 2); /* rounded up: the client ends it anyway */
    assert_int_equal(parameters.length_bytes, 1460);
    assert_int_equal(iperf3_test_from_parameters(&parameters, &again), 0);
    assert_int_equal(again.streams, 5);
    assert_true(again.udp && again.reverse && again.counters_64bit);
    assert_true(again.rate_bits_per_second == 12345678901);
    parameters.protocol = IPERF3_SCTP;
    assert_int_equal(iperf3_test_from_parameters(&parameters, &again), IPERF3_REASON_PROTOCOL);
}

static void order_and_numbers_of_streams(void **state)
{
    (void)state;
    static const int32_t ids[] = {1, 3, 4, 5};
    struct iperf3_test test = {.streams = 2, .bidirectional = true};

    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(iperf3_flow_id(i), ids[i]);
        assert_int_equal(iperf3_flow_sends(&test, i, false), i < 2);
        assert_int_equal(iperf3_flow_sends(&test, i, true), i >= 2);
    }
    assert_int_equal(iperf3_flow_count(&test), 4);
    test.bidirectional = false;
    assert_int_equal(iperf3_flow_count(&test), 2);
    assert_true(iperf3_flow_sends(&test, 1, false));
    test.reverse = true;
    assert_true(iperf3_flow_sends(&test, 1, true) && !iperf3_flow_sends(&test, 1, false));
}

/* As Debian's iperf3 3.12 writes -1. */
static const char real_results[] =
    "{\"cpu_util_total\":36.744270977810331,\"cpu_util_user\":0.88,\"cpu_util_system\":35.86,"
    "\"sender_has_retransmits\":18446744073709551615,\"congestion_used\":\"bbr\",\"streams\":["
    "{\"id\":1,\"bytes\":1291277622,\"retransmits\":18446744073709551615,\"jitter\":0.000012,"
    "\"errors\":3,\"packets\":1000,\"start_time\":0,\"end_time\":1.00005},"
    "{\"id\":3,\"bytes\":7,\"retransmits\":-1,\"jitter\":0,\"errors\":5,\"omitted_errors\":2,"
    "\"packets\":50,\"omitted_packets\":10,\"start_time\":0,\"end_time\":2}]}";

static int results_of(const char *text, size_t length, struct iperf3_results *results,
                      const char **member)
{
    char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, text, length);
    int status = iperf3_results_decode(copy, length, results, member);
    free(copy);
    return status;
}

static struct iperf3_results results, more_results;
static struct iperf3_side side;

static void reads_real_results(void **state)
{
    (void)state;
    const struct iperf3_test test = {.udp = true, .streams = 2, .omit_ns = UINT64_C(1000000000)};
    struct err error = {0};
    const char *member;

    assert_int_equal(results_of(real_results, strlen(real_results), &results, &member), 0);
    assert_int_equal(results.sender_has_retransmits, -1);
    assert_int_equal(results.stream_count, 2);
    assert_true(results.streams[0].retransmits == -1 && results.streams[1].retransmits == -1);
    assert_int_equal(iperf3_side_from_results(&test, &results, true, "peer", &side, &error), 0);
    assert_true(side.flows[0].omitted_within && !side.flows[1].omitted_within);
    assert_int_equal(side.flows[0].window.messages, 997);
    assert_int_equal(side.flows[0].window.lost, 3);
    assert_true(side.flows[0].window.jitter_ns > 11999 && side.flows[0].window.jitter_ns < 12001);
    assert_int_equal(side.flows[1].window.messages, 37);
    assert_int_equal(side.flows[1].window.lost, 3);
    assert_int_equal(side.flows[1].omitted_lost, 2);
    assert_int_equal(side.flows[1].omitted_messages, 8);
    assert_int_equal(side.flows[1].duration_ns, 2000000000);
    for (size_t length = 0; length < strlen(real_results); length++) {
        assert_int_equal(results_of(real_results, length, &results, &member), IPERF3_BAD_JSON);
    }
}

static void results_survive(void **state)
{
    (void)state;
    const struct iperf3_test test = {.udp = true, .streams = 128, .bidirectional = true};
    struct err error = {0};
    const char *member;
    static struct iperf3_side again;

    memset(&side, 0, sizeof side);
    side.flow_count = 256;
    side.cpu_user = 12.5;
    for (uint32_t i = 0; i < 256; i++) {
        side.flows[i] = (struct iperf3_flow){.window = {.bytes = UINT64_C(1) << 50,
                                                        .messages = 100 + i,
                                                        .lost = i < 128 ? i : 0,
                                                        .jitter_ns = i < 128 ? 5 : 0,
                                                        .retransmits = UINT64_MAX},
                                             .omitted_messages = i,
                                             .duration_ns = 1500000000};
    }
    iperf3_side_to_results(&test, &side, true, &results); /* the server receives on the first */
    assert_int_equal(results.sender_has_retransmits, 0);
    char *text = iperf3_results_encode(&results);
    assert_non_null(text);
    assert_true(strlen(text) < 64 << 10);
    assert_int_equal(results_of(text, strlen(text), &more_results, &member), 0);
    free(text);
    assert_int_equal(iperf3_side_from_results(&test, &more_results, true, "", &again, &error), 0);
    for (uint32_t i = 0; i < 256; i++) {
        assert_true(again.flows[i].window.bytes == side.flows[i].window.bytes);
        assert_int_equal(again.flows[i].window.messages, 100 + i);
        assert_int_equal(again.flows[i].window.lost, side.flows[i].window.lost);
        assert_int_equal(again.flows[i].omitted_messages, i);
        assert_int_equal(again.flows[i].duration_ns, 1500000000);
    }
}

/* A text of results with one member of a stream replaced, by its name. */
static void stream_refuses(const char *name, const char *value, int status)
{
    static const char *const members[] = {
        "id",      "bytes",           "retransmits", "jitter",  "errors", "omitted_errors",
        "packets", "omitted_packets", "start_time",  "end_time"};
    char text[600] = "{\"cpu_util_total\":1,\"cpu_util_user\":1,\"cpu_util_system\":0,"
                     "\"sender_has_retransmits\":0,\"streams\":[{\"x\":0";
    const char *member;

    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        bool it = strcmp(members[i], name) == 0;
        size_t used = strlen(text);
        if (!it || value) {
            snprintf(text + used, sizeof text - used, ",\"%s\":%s", members[i], it ? value : "1");
        }
    }
    strncat(text, "}]}", sizeof text - strlen(text) - 1);
    int got = results_of(text, strlen(text), &results, &member);
    if (got != status) {
        fail_msg("%s: %s (%s)", text, iperf3_error_text(got), member);
    }
}

static void refuses_wrong_results(void **state)
{
    (void)state;
    static const char *const members[] = {"id",     "bytes",  "retransmits",
                                          "jitter", "errors", "packets"};
    stream_refuses("none", "1", 0);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        stream_refuses(members[i], NULL, IPERF3_BAD_JSON_MISSING);
        stream_refuses(members[i], "\"1\"", IPERF3_BAD_JSON_TYPE);
        stream_refuses(members[i], "null", IPERF3_BAD_JSON_TYPE);
        stream_refuses(members[i], "-2", IPERF3_BAD_JSON_RANGE);
        stream_refuses(members[i], "1e300", IPERF3_BAD_JSON_RANGE);
    }
    stream_refuses("omitted_errors", NULL, IPERF3_BAD_JSON_MISSING);
    stream_refuses("omitted_packets", NULL, IPERF3_BAD_JSON_MISSING);
    stream_refuses("omitted_packets", "2", IPERF3_BAD_JSON_RANGE);
    stream_refuses("start_time", "2", IPERF3_BAD_JSON_RANGE);
    stream_refuses("start_time", NULL, 0);
    stream_refuses("errors", "-1", 0);
}

static void refuses_wrong_streams(void **state)
{
    (void)state;
    static char text[40000];
    const char *head = "{\"cpu_util_total\":1,\"cpu_util_user\":1,\"cpu_util_system\":0,"
                       "\"sender_has_retransmits\":0,\"streams\":[";
    const struct iperf3_test test = {.streams = 2};
    struct err error = {0};
    const char *member;
    static const int pairs[][3] = {{1, 1, IPERF3_BAD_JSON_STREAM}, {1, 2, 0}, {1, 4, 0}, {3, 1, 0}};

    for (size_t i = 0; i < 4; i++) {
        snprintf(text, sizeof text,
                 "%s{\"id\":%d,\"bytes\":1,\"retransmits\":1,\"jitter\":0,\"errors\":0,"
                 "\"packets\":0},{\"id\":%d,\"bytes\":2,\"retransmits\":1,\"jitter\":0,"
                 "\"errors\":0,\"packets\":0}]}",
                 head, pairs[i][0], pairs[i][1]);
        assert_int_equal(results_of(text, strlen(text), &results, &member), pairs[i][2]);
        if (pairs[i][2] == 0) {
            int status = iperf3_side_from_results(&test, &results, true, "", &side, &error);
            assert_int_equal(status, i == 3 ? 0 : -1); /* 2 is never given, 4 is none of two */
        }
    }
    assert_int_equal(side.flows[0].window.bytes, 2);
    assert_int_equal(side.flows[1].window.bytes, 1);
    snprintf(text, sizeof text, "%s{}", head);
    for (int i = 0; i < 256; i++) {
        strncat(text, ",{}", sizeof text - strlen(text) - 1);
    }
    strncat(text, "]}", sizeof text - strlen(text) - 1);
    assert_int_equal(results_of(text, strlen(text), &results, &member), IPERF3_BAD_JSON_STREAM);
}

/* Numbers that arrive in this order: what is lost, and what came late. */
static void arrives(struct data_stream *stream, uint64_t sequence, uint64_t sent_us,
                    uint64_t now_us)
{
    uint8_t bytes[IPERF3_DATAGRAM_MOST];
    const struct iperf3_datagram datagram = {.sequence = sequence, .sent_ns = sent_us * 1000};
    size_t length = iperf3_datagram_encode(bytes, stream->run->test.counters_64bit, &datagram);
    iperf3_data_stream_datagram(stream, bytes, length, now_us * 1000);
}

static void loss_order_and_jitter(void **state)
{
    (void)state;
    struct data_run *run = calloc(1, sizeof *run + sizeof run->streams[0]);
    struct iperf3_flow flow;

    assert_non_null(run);
    struct data_stream *stream = &run->streams[0];
    run->test = (struct iperf3_test){.udp = true, .streams = 1};
    stream->run = run;
    stream->counting = true;
    arrives(stream, 1, 0, 100);
    arrives(stream, 2, 10, 110);
    arrives(stream, 5, 20, 120);
    iperf3_data_stream_flow(stream, 1, &flow);
    assert_int_equal(flow.window.lost, 2);
    assert_int_equal(flow.window.messages, 3);
    assert_true(flow.window.jitter_ns == 0);
    arrives(stream, 4, 30, 146); /* 16 us later than its like: 16 / 16 */
    iperf3_data_stream_flow(stream, 1, &flow);
    assert_int_equal(flow.window.lost, 1);
    assert_int_equal(flow.window.messages, 4);
    assert_int_equal(flow.window.out_of_order, 1);
    assert_true(flow.window.jitter_ns == 1000);
    arrives(stream, 6, 40, 156);
    assert_true(stream->jitter_ns == 937.5);
    iperf3_data_stream_datagram(stream, (const uint8_t *)"short", 5, 1); /* changes nothing */
    assert_int_equal(stream->counts.highest, 6);
    /* 32 bits go round. */
    stream->counts = (struct stream_counts){.highest = UINT64_C(0x1fffffffe)};
    arrives(stream, UINT64_C(0xffffffff), 0, 0);
    arrives(stream, 1, 0, 0);
    assert_true(stream->counts.highest == UINT64_C(0x200000001));
    assert_int_equal(stream->counts.lost, 1);
    arrives(stream, 0, 0, 0);
    assert_int_equal(stream->counts.lost, 0);
    assert_int_equal(stream->counts.out_of_order, 1);
    free(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_real_parameters),
        cmocka_unit_test(defaults_are_the_peers),
        cmocka_unit_test(refuses_wrong_parameters),
        cmocka_unit_test(refuses_a_well_of_brackets),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(parameters_survive),
        cmocka_unit_test(tests_survive),
        cmocka_unit_test(order_and_numbers_of_streams),
        cmocka_unit_test(reads_real_results),
        cmocka_unit_test(results_survive),
        cmocka_unit_test(refuses_wrong_results),
        cmocka_unit_test(refuses_wrong_streams),
        cmocka_unit_test(loss_order_and_jitter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
