/* A whole run of a workload of datagrams, with sonde's own server, through every engine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "run/run.h"
#include "talk.h"

static const struct metric metrics[] = {
    {"messages_per_second", "1/s", "messages/s", "heard again, per second", METRIC_PER_SECOND,
     TALK_MESSAGES, 0, true},
    {"others", "1", "others", "of other clients", METRIC_COUNT, TALK_OTHERS, 0, false},
};
static const struct metric server_metrics[] = {
    {"server_messages", "1", "messages", "answered", METRIC_COUNT, TALK_SENT, 0, false},
};

static const struct workload talk = {
    .name = "talk",
    .metrics = metrics,
    .metric_count = 2,
    .operations = TALK_MESSAGES,
    .bytes = TALK_BYTES,
    .needs = WORKLOAD_DATAGRAMS,
    .operation = "message",
    .server_metrics = server_metrics,
    .server_metric_count = 1,
    .client = &talk_client,
    .server = &talk_server,
};

static double value_of(const struct record_run *run, const char *key)
{
    for (size_t i = 0; i < run->value_count; i++) {
        if (strcmp(run->values[i].metric->key, key) == 0) {
            assert_true(run->values[i].available);
            return run->values[i].value;
        }
    }
    return -1;
}

/* One run; target NULL: none. The run's record is looked at by `look`. */
static void execute(const struct engine_ops *engine, const char *target, uint64_t server_threads,
                    void (*look)(const struct record_run *run))
{
    struct run_options options = {.connections = 3,
                                  .threads = 1,
                                  .duration_ns = 150 * NS_PER_MS,
                                  .interval_ns = 150 * NS_PER_MS,
                                  .drain_ns = NS_PER_SECOND,
                                  .wire = {.receive_bytes = 4096, .nodelay = true},
                                  .connect_timeout_ns = 5 * NS_PER_SECOND,
                                  .server_threads = server_threads};
    const struct talk_options talk_options = {.messages = UINT32_MAX};
    struct address address;
    struct record record;
    struct err error = {0};
    assert_int_equal(record_init(&record, 0, NULL, &error), 0);
    if (target) {
        assert_int_equal(address_parse(target, false, &address, &error), 0);
    }
    const struct run_plan plan = {.workload = &talk,
                                  .workload_options = &talk_options,
                                  .options = &options,
                                  .engine = engine,
                                  .server_engine = engine,
                                  .target = target ? &address : NULL,
                                  .label = engine->name,
                                  .stop_fd = -1,
                                  .skip_ceiling = true};
    if (run_execute(&plan, &record, &error) < 0 || error.code != ERR_NONE) {
        fail_msg("%s, %s: %s: %s", engine->name, target ? target : "no target", error.subject,
                 error.what);
    }
    assert_int_equal(record.run_count, 1);
    const struct record_run *run = &record.runs[0];
    assert_true(run->complete);
    assert_int_equal(run->error_count, 0);
    assert_true(value_of(run, "messages_per_second") > 0);
    assert_true(value_of(run, "server_messages") > 0);
    assert_true(value_of(run, "others") == 0);
    look(run);
    record_release(&record);
}

/* What only TCP has, is not said of others. */
static void look_udp(const struct record_run *run)
{
    assert_non_null(strstr(run->detail, "udp://127.0.0.1:"));
    assert_non_null(strstr(run->detail, "(own server)"));
    assert_null(strstr(run->detail, "NODELAY"));
    assert_true(value_of(run, "tcp_retransmits") == -1);
    assert_true(value_of(run, "listen_overflows") == -1);
}

static void look_unix(const struct record_run *run)
{
    assert_non_null(strstr(run->detail, "unix-dgram:@"));
    assert_non_null(strstr(run->detail, "(own server)"));
}

static void each_engine_runs(void **state)
{
    char reason[160];
    (void)state;
    for (size_t i = 0; engines[i]; i++) {
        if (engines[i]->flags & ENGINE_NO_KERNEL || engines[i]->why_not(reason, sizeof reason)) {
            continue;
        }
        for (uint64_t threads = 1; threads <= 2; threads++) {
            execute(engines[i], NULL, threads, look_udp);
            execute(engines[i], "udp:", threads, look_udp);
            execute(engines[i], "unix-dgram:", threads, look_unix);
        }
    }
}

static void wrong_transports_are_refused(void **state)
{
    static const char *const streams[] = {"tcp:", "tcp://127.0.0.1:9", "unix:", "local:", "pipe:"};
    static const char *const messages[] = {"udp:", "udp://127.0.0.1:9", "unix-dgram:@x"};
    struct workload any = talk, stream = talk;
    struct address address;
    struct err error = {0};
    (void)state;
    any.needs = 0;
    stream.needs = WORKLOAD_STREAM;
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(address_parse(streams[i], false, &address, &error), 0);
        assert_int_equal(workload_check_transport(&any, &address, &error), 0);
        assert_int_equal(workload_check_transport(&stream, &address, &error), 0);
        assert_int_equal(workload_check_transport(&talk, &address, &error), -1);
        assert_int_equal(error.code, ERR_USAGE);
        char subject[32]; /* a subject's own last colon is not said twice */
        size_t length = strlen(streams[i]);
        length -= streams[i][length - 1] == ':';
        snprintf(subject, sizeof subject, "%.*s", (int)length, streams[i]);
        assert_string_equal(error.subject, subject);
        assert_string_equal(error.hint, "take udp://HOST:PORT or unix-dgram:PATH");
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(address_parse(messages[i], false, &address, &error), 0);
        assert_int_equal(workload_check_transport(&any, &address, &error), 0);
        assert_int_equal(workload_check_transport(&talk, &address, &error), 0);
        assert_int_equal(workload_check_transport(&stream, &address, &error), -1);
        assert_int_equal(error.code, ERR_USAGE);
        assert_string_equal(error.hint, "take tcp://HOST:PORT or tls://HOST:PORT or unix:PATH");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_engine_runs),
        cmocka_unit_test(wrong_transports_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
