/* What a client may ask a serving sonde for: the rows of the command line decide. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "run/control_plan.h"
#include "run/session.h"
#include "workload/call.h"
#include "workload/stream.h"

static struct control_message asked(const char *options, const char *wire)
{
    return (struct control_message){
        .kind = CONTROL_PREPARE,
        .workload = "call",
        .engine = "epoll",
        .transport = "tcp",
        .options = json_loads(options, 0, NULL),
        .wire = json_loads(wire, 0, NULL),
        .connections = 3,
        .threads = 2,
    };
}

static _Atomic uint64_t reserved_bytes;

static void forget(struct control_plan *plan, struct control_message *message)
{
    control_plan_release(plan);
    control_plan_release(plan);
    control_plan_message_release(message);
}

static void test_options_of_both_kinds(void **state)
{
    (void)state;
    struct control_message message =
        asked("{\"size\":\"64k\",\"write\":\"queue=10ms\",\"answer\":\"byte\"}",
              "{\"receive-buffer\":\"16k\",\"nodelay\":\"no\",\"congestion\":\"reno\"}");
    struct control_plan plan;
    struct err error = {0};
    assert_int_equal(control_plan_read(&plan, &message, &reserved_bytes, &error), 0);
    const struct call_options *options = plan.options;
    assert_ptr_equal(plan.workload, &workload_call);
    assert_string_equal(plan.engine->name, "epoll");
    assert_int_equal(options->size_bytes, 65536);
    assert_int_equal(options->write.strategy, WRITE_QUEUE);
    assert_int_equal(options->echo.answer, ECHO_BYTE);
    assert_int_equal(options->high, 20000); /* its default */
    assert_int_equal(plan.wire.receive_bytes, 16384);
    assert_false(plan.wire.nodelay);
    assert_string_equal(plan.wire.congestion, "reno");
    assert_int_equal(plan.connections, 3);
    assert_int_equal(plan.threads, 2);
    forget(&plan, &message);
}

/* What a client's plan becomes is what the server makes of it. */
static void test_there_and_back(void **state)
{
    (void)state;
    struct call_options options;
    struct run_options run = {.connections = 7, .server_threads = 2};
    struct control_message message;
    struct control_plan plan;
    struct err error = {0};
    struct opt_set sets[] = {
        {.rows = workload_call.options, .count = workload_call.option_count, .target = &options},
        {.rows = echo_option_rows, .count = ECHO_OPTIONS, .target = &options.echo},
        {.rows = wire_rows, .count = WIRE_OPTIONS, .target = &run.wire},
        {.rows = watch_rows, .count = WATCH_OPTIONS, .target = &run.watch},
        {.rows = probe_option_rows, .count = PROBE_OPTIONS, .target = &run.watch.probe},
    };
    char *argv[] = {"call",
                    "--size=3k",
                    "--high=17",
                    "--write=batch=4",
                    "--no-verify",
                    "--probe=sched,syscalls",
                    "--observe=self,server",
                    "--answer=byte",
                    "--receive-buffer=1234"};
    struct opt_arguments arguments;
    assert_int_equal(opt_defaults(sets, 5, &error), 0);
    assert_int_equal(opt_parse(sets, 5, sizeof argv / sizeof *argv, argv, &arguments, &error), 0);
    const struct engine_ops *epoll = engines[0];
    for (size_t i = 0; engines[i]; i++) {
        epoll = strcmp(engines[i]->name, "epoll") == 0 ? engines[i] : epoll;
    }
    const struct run_plan wanted = {.workload = &workload_call,
                                    .workload_options = &options,
                                    .options = &run,
                                    .server_engine = epoll,
                                    .session = &session_sonde};
    assert_int_equal(control_plan_message(&wanted, true, &message, &error), 0);
    assert_int_equal(control_plan_read(&plan, &message, &reserved_bytes, &error), 0);
    const struct call_options *there = plan.options;
    assert_int_equal(there->size_bytes, 3072);
    assert_int_equal(there->high, 17);
    assert_int_equal(there->write.parameter, 4);
    assert_false(there->verify);
    assert_int_equal(there->echo.answer, ECHO_BYTE);
    assert_int_equal(plan.wire.receive_bytes, 1234);
    assert_int_equal(plan.watch.probes.count, 2);
    assert_string_equal(plan.watch.probes.items[0], "sched");
    /* Whom to observe there, the server knows alone. */
    assert_int_equal(plan.watch.observe.count, 1);
    assert_string_equal(plan.watch.observe.items[0], "server");
    assert_int_equal(plan.connections, 7);
    forget(&plan, &message);
    opt_release(sets, 5, &arguments);
}

/* One name, two workloads; what depends on the transport is settled here too. */
static void test_streams_and_datagrams(void **state)
{
    (void)state;
    for (int datagrams = 0; datagrams < 2; datagrams++) {
        struct control_message message =
            asked("{\"streams\":\"3\"}", "{\"window\":\"64k\",\"dscp\":\"8\"}");
        struct control_plan plan;
        struct err error = {0};
        message.workload = "stream";
        message.transport = datagrams ? "udp" : "tcp";
        assert_int_equal(control_plan_read(&plan, &message, &reserved_bytes, &error), 0);
        const struct stream_options *options = plan.options;
        assert_ptr_equal(plan.workload, datagrams ? &workload_stream_datagrams : &workload_stream);
        assert_ptr_equal(plan.transport, datagrams ? &transport_udp : &transport_tcp);
        assert_int_equal(options->datagrams, datagrams);
        assert_int_equal(options->length_bytes, datagrams ? STREAM_DATAGRAM_LENGTH : STREAM_LENGTH);
        assert_int_equal(plan.wire.window_bytes, 65536);
        assert_int_equal(plan.wire.dscp_plus_1, 9);
        forget(&plan, &message);
    }
}

static void refuses_only(struct control_message *message, const char *subject, const char *what)
{
    struct control_plan plan;
    struct err error = {0};
    assert_int_equal(control_plan_read(&plan, message, &reserved_bytes, &error), -1);
    assert_string_equal(error.subject, subject);
    if (!strstr(error.what, what)) {
        fail_msg("\"%s\" does not say \"%s\"", error.what, what);
    }
    control_plan_release(&plan);
    control_plan_release(&plan);
}

static void refuses(struct control_message message, const char *subject, const char *what)
{
    refuses_only(&message, subject, what);
    control_plan_message_release(&message);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    refuses(asked("{\"sise\":\"1\"}", "{}"), "--sise", "unknown option");
    refuses(asked("{\"size\":\"1h\"}", "{}"), "--size", "");
    refuses(asked("{\"size\":\"0\"}", "{}"), "--size", "");
    refuses(asked("{\"size\":\"8g\"}", "{}"), "--size", "");
    refuses(asked("{\"size\":\"\"}", "{}"), "--size", "");
    refuses(asked("{\"low\":\"9\",\"high\":\"8\"}", "{}"), "--low", "is above --high");
    refuses(asked("{\"nodelay\":\"no\"}", "{}"), "--nodelay", "unknown option");
    refuses(asked("{}", "{\"nodelay\":\"perhaps\"}"), "--nodelay", "");
    refuses(asked("{}", "{\"connections\":\"3\"}"), "--connections", "unknown option");
    struct control_message message = asked("{}", "{}");
    message.workload = "nothing";
    refuses(message, "nothing", "no such workload");
    message = asked("{}", "{}");
    message.engine = "null";
    refuses(message, "null", "no such engine that serves");
    message = asked("{}", "{}");
    message.transport = "pigeon";
    refuses(message, "pigeon", "no data connections");
    message = asked("{}", "{}");
    message.transport = "udp";
    refuses(message, "sonde://", "needs a stream of bytes");
    message = asked("{\"zerocopy\":\"msg\"}", "{}");
    message.workload = "stream";
    message.transport = "udp";
    refuses(message, "--zerocopy", "is for streams");
    message = asked("{\"reverse\":\"yes\",\"zerocopy\":\"sendfile\"}", "{}");
    message.workload = "stream";
    message.engine = "uring";
    refuses(message, "--zerocopy", "cannot send by sendfile");
    message = asked("{}", "{}");
    message.watch = json_loads("{\"observe\":\"comm=sshd\"}", 0, NULL);
    refuses(message, "--observe", "not for the peer to choose");
}

static bool uring_can(void)
{
    char reason[160];
    for (size_t i = 0; engines[i]; i++) {
        if (strcmp(engines[i]->name, "uring") == 0) {
            return engines[i]->why_not(reason, sizeof reason) == 0;
        }
    }
    return false;
}

/* So many blocks and batches as nobody needs are refused; what a run takes is free again when it is
 * over. */
static void test_memory_is_bounded(void **state)
{
    (void)state;
    struct control_message message = asked("{\"length\":\"64m\",\"reverse\":\"yes\"}", "{}");
    message.workload = "stream";
    message.threads = message.connections = 9;
    refuses(message, "memory", "at most 512 MiB for its clients");
    message = asked("{\"length\":\"65000\",\"batch\":\"1024\",\"reverse\":\"yes\"}", "{}");
    message.workload = "stream";
    message.transport = "udp";
    message.connections = 9;
    refuses(message, "memory", "for its clients");
    message = asked("{}", "{\"receive-buffer\":\"16m\"}");
    message.threads = message.connections = 40;
    refuses(message, "memory", "for its clients");
    if (uring_can()) {
        message = asked("{}", "{\"receive-buffer\":\"16m\"}");
        message.engine = "uring";
        message.connections = 40;
        message.threads = 1;
        refuses(message, "memory", "for its clients");
    }
    assert_int_equal(reserved_bytes, 0);
}

/* One after the other, and together only as long as there is room. */
static void test_runs_share_the_memory(void **state)
{
    (void)state;
    struct control_message message = asked("{\"length\":\"64m\"}", "{}");
    struct control_plan plans[3];
    struct err error = {0};
    message.workload = "stream";
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++) {
            assert_int_equal(control_plan_read(&plans[i], &message, &reserved_bytes, &error), 0);
        }
        message.threads = 3; /* with what the others have */
        refuses_only(&message, "memory", "385 MiB are in use");
        message.threads = 2;
        for (int i = 0; i < 3; i++) {
            control_plan_release(&plans[i]);
        }
        assert_int_equal(reserved_bytes, 0);
    }
    control_plan_message_release(&message);
}

/* A thread without a connection is not started. */
static void test_threads_without_connections(void **state)
{
    (void)state;
    struct control_message message = asked("{}", "{}");
    struct control_plan plan;
    struct err error = {0};
    message.threads = 200;
    assert_int_equal(control_plan_read(&plan, &message, &reserved_bytes, &error), 0);
    assert_int_equal(plan.threads, 3);
    forget(&plan, &message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_of_both_kinds),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_streams_and_datagrams),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_runs_share_the_memory),
        cmocka_unit_test(test_threads_without_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
