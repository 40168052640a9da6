/* A run that goes through JSON and comes back, and what is refused of one that is not right. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/record_read.h"

static const struct metric rate = {.key = "server_rate",
                                   .unit = "bytes/s",
                                   .title = "bytes received/s",
                                   .kind = METRIC_PER_SECOND};
static const struct metric none = {.key = "server_none", .unit = "1", .title = "none"};
static const struct metric on_cpu = {.key = "on_cpu_ns", .unit = "ns", .title = "on CPU"};
static const struct histogram_metric received = {"received_size", "bytes", "received sizes", ""};
static const struct histogram_metric delay = {"delay", "ns", "run-queue delay", ""};

static void fill_calls(struct record_calls *calls, const char *source)
{
    calls->available = true;
    snprintf(calls->source, sizeof calls->source, "%s", source);
    calls->window_ns = 1000000000;
    calls->operations = 500;
    calls->lost = 3;
    struct record_syscall *call = record_add_syscall(calls, "recvfrom");
    call->calls = 40;
    call->bytes = 4096;
    record_syscall_add_error(call, EAGAIN)->count = 7;
    struct record_error_count *other = record_syscall_add_error(call, 0);
    other->count = 2;
    snprintf(other->name, sizeof other->name, "other");
    struct record_uring *uring = record_add_uring(calls, "RECV");
    uring->submitted = 1;
    uring->completed = 2;
    uring->bytes = 3;
}

static void fill_probe(struct record_run *run)
{
    struct record_probe *probe = record_add_probe(run, "sched");
    struct record_scope scope = {.role = "server", .pid = 12, .tid = 13, .name = "sonde"};
    probe->available = true;
    probe->window_ns = 5;
    probe->operations = 6;
    probe->bytes = 7;
    probe->lost = 8;
    probe->effect = (struct record_effect){
        .available = true, .metric = "calls_per_second", .ratio = {0.99, 0.98, 1.01}, .blocks = 5};
    struct record_value *value = record_row_add_value(record_add_probe_row(probe, &scope), &on_cpu);
    value->available = true;
    value->value = 70;
    scope.tid = 0;
    struct record_probe_row *row = record_add_probe_row(probe, &scope);
    assert_int_equal(record_row_set_code(row, "[kernel]", "vfs_read"), 0);
    record_row_add_value(row, &on_cpu)->available = true;
    assert_non_null(record_add_stack(probe, &scope, "sonde (server);main;vfs_read_[k]", 4));
    scope.tid = 13;
    snprintf(scope.what, sizeof scope.what, "after wake-up");
    struct record_distribution *distribution = record_add_distribution(probe, &delay, &scope);
    distribution->classes[0] = 1;
    distribution->classes[1] = 2;
    distribution->classes[2] = 3;
    distribution->classes[40] = 4;
    distribution->sum = 99;
}

/* The server's side of a run. */
static void fill_run(struct record_run *run)
{
    struct record_process *process = record_add_process(run, "server", 12, "sonde-server");
    process->tid = 13;
    process->cpu_available = true;
    process->cpu_window_ns = 1000;
    process->cpu_operations = 500;
    process->cpu_user_ns = 30;
    process->cpu_system_ns = 40;
    process->busiest_thread = 0.25;
    process->switches_voluntary = 5;
    process->switches_involuntary = 6;
    process->rss_bytes = 4096;
    fill_calls(&process->engine_calls, "engine");
    fill_calls(&process->kernel_calls, "bpf");
    struct record_process *unknown = record_add_process(run, "observed", 14, "x");
    snprintf(unknown->kernel_calls.reason, sizeof unknown->kernel_calls.reason, "not observed");
    struct record_value *value = record_add_value(run, &rate);
    value->available = true;
    value->value = 12.5;
    record_add_value(run, &none);
    struct histogram *histogram = record_add_histogram(run, &received, "server")->histogram;
    histogram_record(histogram, 5001, 9);
    histogram_record(histogram, 1000003, 1);
    histogram->out_of_range = 4;
    struct record_error_count *error = record_add_error(run, "server send", EPIPE, NULL);
    error->count = 3;
    record_add_error(run, "server protocol", 0, "answer too long")->count = 1;
    fill_probe(run);
    run->effect = run->probes[0].effect;
    run->observing = true;
    snprintf(run->observation, sizeof run->observation, "server (pid 12)");
}

/* A run as JSON; the record is released. */
static json_t *sample(void)
{
    struct record record = {0};
    struct err error = {0};
    fill_run(record_add_run(&record, "server"));
    json_t *json = record_run_json(&record.runs[0], &error);
    assert_non_null(json);
    record_release(&record);
    return json;
}

static void test_it_comes_back(void **state)
{
    (void)state;
    json_t *json = sample();
    struct record record = {0};
    struct err error = {0};
    struct record_run *run = record_add_run(&record, "server");
    assert_int_equal(record_run_read(run, json, "peer", &error), 0);
    assert_string_equal(run->values[0].metric->title, "bytes received/s");
    assert_string_equal(run->histograms[0].metric->title, "received sizes");
    assert_int_equal(run->histograms[0].histogram->minimum, 5001);
    assert_int_equal(run->histograms[0].histogram->maximum, 1000003);
    assert_int_equal(run->histograms[0].histogram->out_of_range, 4);
    assert_string_equal(run->probes[0].rows[0].values[0].metric->title, "on CPU");
    assert_int_equal(run->probes[0].distributions[0].classes[40], 4);
    assert_string_equal(run->probes[0].rows[1].symbol, "vfs_read");
    assert_null(run->probes[0].rows[0].symbol);
    assert_string_equal(run->probes[0].stacks[0].frames, "sonde (server);main;vfs_read_[k]");
    assert_int_equal(run->probes[0].stacks[0].samples, 4);
    assert_int_equal(run->errors[0].number, EPIPE);
    assert_true(run->observing);
    json_t *again = record_run_json(run, &error);
    assert_non_null(again);
    json_object_del(json, "window_ns");
    json_object_del(again, "window_ns");
    if (!json_equal(json, again)) {
        char *one = json_dumps(json, JSON_COMPACT), *two = json_dumps(again, JSON_COMPACT);
        fail_msg("%s\nbecame\n%s", one, two);
    }
    json_decref(again);
    json_decref(json);
    record_release(&record);
}

/* It is added to what is there, and nothing of what is there is lost. */
static void test_it_is_added(void **state)
{
    (void)state;
    json_t *json = sample();
    struct record record = {0};
    struct err error = {0};
    struct record_run *run = record_add_run(&record, "epoll");
    record_add_process(run, "client", 1, "sonde");
    record_add_value(run, &on_cpu)->value = 1;
    run->window_ns = 77;
    assert_int_equal(record_run_read(run, json, "peer", &error), 0);
    assert_string_equal(run->label, "epoll");
    assert_int_equal(run->window_ns, 77);
    assert_int_equal(run->process_count, 3);
    assert_string_equal(run->processes[0].role, "client");
    assert_int_equal(run->value_count, 3);
    record_release(&record);
    json_decref(json);
}

static void expect_refused(const json_t *json)
{
    struct record record = {0};
    struct err error = {0};
    struct record_run *run = record_add_run(&record, "epoll");
    if (record_run_read(run, json, "peer", &error) < 0) {
        assert_int_equal(error.code, ERR_PROTOCOL);
        assert_string_equal(error.subject, "peer");
        assert_int_equal(run->process_count + run->value_count + run->histogram_count +
                             run->probe_count + run->error_count + run->kept_count,
                         0);
    }
    record_release(&record);
}

/* Puts something else in the place of every value, however deep. */
static void mutate(json_t *root, json_t *at)
{
    static const char *const others[] = {"null", "-1",  "1e300",     "\"\\u001b\"",         "{}",
                                         "[]",   "[1]", "{\"a\":1}", "9223372036854775807", "true"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const char *key;
        json_t *value;
        void *next;
        size_t index;
        json_object_foreach_safe(at, next, key, value)
        {
            json_t *kept = json_incref(value);
            json_object_set_new(at, key, json_loads(others[i], JSON_DECODE_ANY, NULL));
            expect_refused(root);
            json_object_set_new(at, key, kept);
        }
        json_array_foreach(at, index, value)
        {
            json_t *kept = json_incref(value);
            json_array_set_new(at, index, json_loads(others[i], JSON_DECODE_ANY, NULL));
            expect_refused(root);
            json_array_set_new(at, index, kept);
        }
    }
    const char *key;
    json_t *value;
    size_t index;
    json_object_foreach(at, key, value)
    {
        mutate(root, value);
    }
    json_array_foreach(at, index, value)
    {
        mutate(root, value);
    }
}

static void test_anything_in_any_place(void **state)
{
    (void)state;
    json_t *json = sample();
    mutate(json, json);
    json_decref(json);
}

static void test_what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *what;
    } wrong[] = {
        {"[]", "holds no run"},
        {"{\"processes\":{}}", "\"processes\" is an object, not an array"},
        {"{\"processes\":[3]}", "processes is a number, not an object"},
        {"{\"processes\":[{\"pid\":-3}]}", "processes[0]: \"pid\" is no count"},
        {"{\"processes\":[{\"pid\":99999999999}]}", "processes[0]: \"pid\" is too large"},
        {"{\"processes\":[{\"pid\":3}]}", "has no \"engine_calls\""},
        {"{\"metrics\":{\"a b\":{\"value\":1,\"unit\":\"1\"}}}", "no plain name"},
        {"{\"histograms\":{\"x\":{\"role\":\"client\",\"unit\":\"ns\",\"encoded\":\"\"}}}",
         "is not the server's"},
        {"{\"histograms\":{\"x\":{\"role\":\"server\",\"unit\":\"ns\",\"encoded\":\"AAAA\"}}}",
         "a histogram: "},
        {"{\"probes\":[{\"name\":\"a\",\"rows\":[{\"pid\":1e3}]}]}",
         "probes[0]: \"pid\" is no count"},
        {"{\"errors\":[{\"errno\":70000}]}", "\"errno\" is none"},
        {"{\"probes\":[{\"name\":\"\\u009b2J\"}]}", "\"name\" is no plain text"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct record record = {0};
        struct err error = {0};
        struct record_run *run = record_add_run(&record, "epoll");
        json_t *json = json_loads(wrong[i].text, JSON_DECODE_ANY, NULL);
        assert_non_null(json);
        assert_int_equal(record_run_read(run, json, "peer", &error), -1);
        assert_int_equal(error.code, ERR_PROTOCOL);
        if (!strstr(error.what, wrong[i].what)) {
            fail_msg("%s: \"%s\" does not say \"%s\"", wrong[i].text, error.what, wrong[i].what);
        }
        json_decref(json);
        record_release(&record);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_comes_back),
        cmocka_unit_test(test_it_is_added),
        cmocka_unit_test(test_anything_in_any_place),
        cmocka_unit_test(test_what_is_wrong_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
