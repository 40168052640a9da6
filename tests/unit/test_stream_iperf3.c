/* `stream` towards iperf3: what is asked for, what its datagrams look like, how streams end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "codec/iperf3.h"
#include "role_world.h"
#include "run/options.h"
#include "run/session.h"
#include "workload/datagram_format.h"
#include "workload/stream.h"

#define LENGTH 100

static void open_world(struct world *world, const struct role *role, struct stream_options stream)
{
    *world = (struct world){0};
    stream.length_bytes = LENGTH;
    stream.streams = 1;
    stream.format = DATAGRAM_FORMAT_IPERF3;
    stream.batch = stream.batch ? stream.batch : 1;
    world->stream = stream;
    world_open_with(world, role, 1024, false);
    world->context.foreign_peer = world->context.ends_apart = true;
}

static uint64_t outstanding(const struct world *world)
{
    return world->role->outstanding(world->connection);
}

/* ---- datagrams ---- */

static void heads_come_back_in_every_format(void **state)
{
    (void)state;
    for (int format = 0; format < DATAGRAM_FORMATS; format++) {
        size_t bytes =
            format == DATAGRAM_FORMAT_IPERF3 ? iperf3_datagram_bytes(true) : (size_t)DATAGRAM_BYTES;
        const struct datagram head = {.sequence = UINT64_C(5000000000), .sent_ns = 7000};
        struct datagram back;
        uint8_t whole[DATAGRAM_BYTES] = {0};
        datagram_formats[format].encode(whole, &head);
        for (size_t length = 0; length <= bytes; length++) {
            uint8_t *exact = malloc(length ? length : 1); /* nothing may be read behind it */
            assert_non_null(exact);
            memcpy(exact, whole, length);
            assert_int_equal(datagram_formats[format].decode(exact, length, &back),
                             length == bytes);
            free(exact);
        }
        assert_int_equal(back.sequence, head.sequence);
        assert_int_equal(back.sent_ns, head.sent_ns);
        assert_int_equal(back.kind, DATAGRAM_PAYLOAD);
    }
}

static void number_zero_is_none_of_iperf3s(void **state)
{
    (void)state;
    const struct iperf3_datagram wrong = {.sent_ns = 1000, .sequence = 0};
    uint8_t bytes[IPERF3_DATAGRAM_MOST];
    struct datagram head;
    size_t length = iperf3_datagram_encode(bytes, true, &wrong);
    assert_false(datagram_formats[DATAGRAM_FORMAT_IPERF3].decode(bytes, length, &head));
}

/* Numbered from 1, also within a batch; at the end nothing more is said. */
static void sends_what_iperf3_counts(void **state)
{
    (void)state;
    struct world world;
    open_world(&world, &stream_datagram_client, (struct stream_options){.batch = 3});
    const struct step_out *out = world_event(&world, OP_START, 1);
    for (uint64_t next = 1; next <= 9;) {
        const struct op *send = world_asked(&world, OP_SEND);
        assert_non_null(send);
        assert_int_equal(send->length, 3 * LENGTH);
        for (size_t i = 0; i < 3; i++, next++) {
            struct iperf3_datagram datagram;
            assert_true(iperf3_datagram_decode((const uint8_t *)send->data + i * LENGTH, LENGTH,
                                               true, &datagram) > 0);
            assert_int_equal(datagram.sequence, next);
        }
        out = world_step(&world, (struct op){.kind = OP_SEND, .result = 3 * LENGTH});
    }
    assert_int_equal(outstanding(&world), 1);
    world.context.draining = true;
    out = world_step(&world, (struct op){.kind = OP_SEND, .result = 3 * LENGTH});
    assert_int_equal(out->count, 0);
    assert_int_equal(outstanding(&world), 0);
    assert_int_equal(world.bank->counters[STREAM_COUNT_SENT], 12);
    world_close(&world);
}

static void receive(struct world *world, uint64_t sequence)
{
    const struct iperf3_datagram datagram = {.sent_ns = 1000, .sequence = sequence};
    uint8_t bytes[LENGTH] = {0};
    iperf3_datagram_encode(bytes, true, &datagram);
    world_received(world, bytes, sizeof bytes, 5000);
}

static void accounts_for_what_the_peer_sends(void **state)
{
    (void)state;
    static const uint64_t arrivals[] = {1, 2, 5, 4, 5, 8};
    struct world world;
    open_world(&world, &stream_datagram_client, (struct stream_options){.reverse = true});
    world_event(&world, OP_START, 1);
    assert_non_null(world_asked(&world, OP_RECEIVE));
    assert_null(world_asked(&world, OP_SEND));
    for (size_t i = 0; i < sizeof arrivals / sizeof *arrivals; i++) {
        receive(&world, arrivals[i]);
    }
    world_received(&world, (const uint8_t *)"9876", 4, 1); /* too late a greeting */
    const uint64_t *counters = world.bank->counters;
    assert_int_equal(counters[STREAM_COUNT_RECEIVED_BYTES], 6 * LENGTH);
    assert_int_equal(counters[STREAM_COUNT_EXPECTED], 8);
    assert_int_equal(counters[STREAM_COUNT_ARRIVED], 5);
    assert_int_equal(counters[STREAM_COUNT_LATE], 1);
    assert_int_equal(counters[STREAM_COUNT_DUPLICATES], 1);
    assert_int_equal(world.bank->errors[0].count, 1);
    assert_int_equal(world.bank->flows[0].counters[STREAM_FLOW_ARRIVED], 5);
    assert_int_equal(outstanding(&world), 1);
    world_event(&world, OP_DRAIN, 2);
    assert_non_null(world_asked(&world, OP_PAUSE));
    assert_int_equal(outstanding(&world), 0);
    receive(&world, 9); /* was under way: counts no more */
    assert_int_equal(counters[STREAM_COUNT_ARRIVED], 5);
    world_close(&world);
}

static void receives_its_share_and_no_more(void **state)
{
    (void)state;
    struct world world;
    open_world(&world, &stream_datagram_client,
               (struct stream_options){.reverse = true, .total_bytes = 2 * LENGTH});
    world.context.quota = 2 * LENGTH;
    world_event(&world, OP_START, 1);
    receive(&world, 1);
    assert_int_equal(outstanding(&world), 1);
    receive(&world, 2);
    assert_non_null(world_asked(&world, OP_PAUSE));
    assert_int_equal(outstanding(&world), 0);
    assert_int_equal(world.context.quota, 0);
    world_close(&world);
}

/* ---- streams ---- */

/* iperf3 takes the end of a connection for an error as long as it was not told of the test's. */
static void leaves_connections_as_they_are(void **state)
{
    (void)state;
    for (int reverse = 0; reverse < 2; reverse++) {
        struct world world;
        open_world(&world, &stream_client, (struct stream_options){.reverse = reverse});
        world.context.foreign_peer = world.context.ends_apart = true;
        world.role->close(&world.context, world.connection);
        memset(world.connection, 0, world.role->connection_bytes);
        assert_int_equal(world.role->open(&world.context, world.connection), 0);
        world_event(&world, OP_START, 1);
        assert_int_equal(outstanding(&world), 1);
        world.context.draining = true;
        if (reverse) {
            world_event(&world, OP_DRAIN, 2);
        } else {
            world_step(&world, (struct op){.kind = OP_SEND, .result = LENGTH});
        }
        assert_null(world_asked(&world, OP_SHUTDOWN));
        assert_null(world_asked(&world, OP_CLOSE));
        assert_int_equal(outstanding(&world), 0);
        world_close(&world);
    }
}

/* ---- what is asked for ---- */

static int settle(const struct workload *workload, struct stream_options *stream,
                  struct run_options *run, bool given_warmup, char *note, struct err *error)
{
    stream->streams = stream->streams ? stream->streams : 1;
    run->threads = run->threads ? run->threads : 1;
    *error = (struct err){0};
    return session_iperf3.settle(workload, stream, run, given_warmup, note, error);
}

static void refuses_what_cannot_be_said(void **state)
{
    (void)state;
    char *epoll[] = {"epoll"}, *threads[] = {"threads"};
    struct case_ {
        struct stream_options stream;
        struct run_options run;
        const char *subject;
    } cases[] = {
        {.stream = {.verify = true}, .subject = "--verify"},
        {.stream = {.segments = true, .reverse = true}, .subject = "--gso"},
        {.run = {.sources = "127.0.0.2"}, .subject = "--source"},
        {.run = {.secret = "file"}, .subject = "--secret"},
        {.run = {.wire.congestion = "sixteen letters!"}, .subject = "--congestion"},
        {.stream = {.streams = 65},
         .run = {.engines = {.items = epoll, .count = 1}},
         .subject = "--streams"},
        {.stream = {.streams = 33, .bidir = true},
         .run = {.engines = {.items = epoll, .count = 1}},
         .subject = "--streams"},
        {.stream = {.streams = 128}, .run = {.engines = {.items = threads, .count = 1}}},
        {.stream = {.streams = 64}, .run = {.engines = {.items = epoll, .count = 1}}},
        {.stream = {.segments = true}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char note[SESSION_NOTE];
        struct err error;
        int result = settle(&workload_stream, &cases[i].stream, &cases[i].run, true, note, &error);
        assert_int_equal(result, cases[i].subject ? -1 : 0);
        if (cases[i].subject) {
            assert_int_equal(error.code, ERR_USAGE);
            assert_string_equal(error.subject, cases[i].subject);
        } else {
            assert_int_equal(cases[i].stream.format, DATAGRAM_FORMAT_IPERF3);
        }
    }
    char note[SESSION_NOTE];
    struct stream_options stream = {0};
    struct run_options run = {0};
    struct err error;
    assert_int_equal(settle(&workload_call, &stream, &run, true, note, &error), -1);
    assert_string_equal(error.subject, "call");
}

static void warms_up_for_whole_seconds(void **state)
{
    (void)state;
    static const struct {
        uint64_t warmup_ns, becomes_s;
        bool given, noted;
    } cases[] = {{500 * NS_PER_MS, 0, false, true},
                 {500 * NS_PER_MS, 1, true, true},
                 {NS_PER_SECOND, 1, true, false},
                 {NS_PER_SECOND + 1, 2, true, true},
                 {0, 0, true, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char note[SESSION_NOTE];
        struct stream_options stream = {0};
        struct run_options run = {.warmup_ns = cases[i].warmup_ns};
        struct err error;
        assert_int_equal(settle(&workload_stream, &stream, &run, cases[i].given, note, &error), 0);
        assert_int_equal(run.warmup_ns, cases[i].becomes_s * NS_PER_SECOND);
        assert_int_equal(note[0] != '\0', cases[i].noted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_come_back_in_every_format),
        cmocka_unit_test(number_zero_is_none_of_iperf3s),
        cmocka_unit_test(sends_what_iperf3_counts),
        cmocka_unit_test(accounts_for_what_the_peer_sends),
        cmocka_unit_test(receives_its_share_and_no_more),
        cmocka_unit_test(leaves_connections_as_they_are),
        cmocka_unit_test(refuses_what_cannot_be_said),
        cmocka_unit_test(warms_up_for_whole_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
