/* Records read back: the figures of a run, and what happens to files that are none. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/result.h"

/* Two client processes, whose quotients add up; a server that was observed as well. */
static const char sample[] =
    "{\"schema\": \"sonde.record/1\", \"operation\": \"call\", \"runs\": [{"
    " \"label\": \"epoll\", \"complete\": true, \"repetition\": 3, \"discarded\": false,"
    " \"point\": {\"buffer\": \"4k\", \"transport\": \"pipe\"},"
    " \"metrics\": {\"calls_per_second\": {\"value\": 1000, \"unit\": \"1/s\"},"
    "  \"sender_lag\": {\"value\": null, \"unit\": \"ns\", \"reason\": \"closed loop\"}},"
    " \"histograms\": {\"response_time\": {\"unit\": \"ns\", \"mean\": 12.5, \"max\": 99,"
    "  \"percentiles\": {\"50\": 10, \"75\": 11, \"90\": 20, \"99\": 30, \"99.9\": null}}},"
    " \"processes\": ["
    "  {\"role\": \"client\", \"cpu_window_ns\": 1000, \"cpu_operations\": 10,"
    "   \"cpu_user_ns\": 200, \"cpu_system_ns\": 300, \"rss_bytes\": 4096,"
    "   \"context_switches\": {\"voluntary\": 5, \"involuntary\": 15},"
    "   \"engine_calls\": {\"available\": true, \"window_ns\": 1000, \"operations\": 10,"
    "    \"syscalls\": [{\"name\": \"sendto\", \"calls\": 20, \"bytes\": 2048, \"errors\": {}},"
    "     {\"name\": \"recvfrom\", \"calls\": 10, \"bytes\": 0, \"errors\": {\"EAGAIN\": 4}}],"
    "    \"io_uring\": [{\"name\": \"RECV\", \"completed\": 30, \"bytes\": 512}]},"
    "   \"kernel_calls\": {\"available\": false, \"reason\": \"not observed\"}},"
    "  {\"role\": \"client\", \"cpu_window_ns\": 1000, \"cpu_operations\": 10,"
    "   \"cpu_user_ns\": 100, \"cpu_system_ns\": 0, \"rss_bytes\": 4096,"
    "   \"context_switches\": {\"voluntary\": 0, \"involuntary\": 10},"
    "   \"engine_calls\": {\"available\": true, \"window_ns\": 1000, \"operations\": 10,"
    "    \"syscalls\": [{\"name\": \"sendto\", \"calls\": 20, \"bytes\": 6144}],"
    "    \"io_uring\": []}},"
    "  {\"role\": \"server\", \"cpu_window_ns\": 1000, \"cpu_operations\": null,"
    "   \"cpu_user_ns\": null, \"cpu_system_ns\": null, \"rss_bytes\": null,"
    "   \"context_switches\": {\"voluntary\": null, \"involuntary\": null},"
    "   \"kernel_calls\": {\"available\": true, \"window_ns\": 500000000, \"operations\": null,"
    "    \"syscalls\": [{\"name\": \"read\", \"calls\": 50, \"bytes\": 51200}]}}],"
    " \"errors\": [{\"phase\": \"connect\", \"name\": \"ECONNRESET\", \"count\": 2},"
    "  {\"phase\": \"send\", \"name\": \"EPIPE\", \"count\": 1}],"
    " \"probes\": [{\"name\": \"sched\", \"available\": true, \"rows\": ["
    "  {\"role\": \"client\", \"pid\": 7, \"tid\": 7, \"name\": \"sonde\", \"what\": \"\","
    "   \"metrics\": {\"on_cpu_ns\": {\"value\": 70, \"unit\": \"ns\"}}},"
    "  {\"role\": \"client\", \"pid\": 7, \"tid\": 8, \"name\": \"sonde\", \"what\": null,"
    "   \"metrics\": {\"on_cpu_ns\": {\"value\": 80, \"unit\": \"ns\"}}},"
    "  {\"role\": \"client\", \"what\": \"woken by sonde 12\","
    "   \"metrics\": {\"wakeups\": {\"value\": 9, \"unit\": \"1\"}}},"
    "  {\"what\": \"cpu 1\", \"metrics\": {\"irq_ns\": {\"value\": 5, \"unit\": \"ns\"}}}]}]"
    "}]}";

static int from_text(const char *text, struct result *result, struct err *error)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    int outcome = result_from_json(json, "sample", result, error);
    json_decref(json);
    return outcome;
}

/* The sample with the first `from` replaced. */
static char *changed(const char *from, const char *to)
{
    const char *at = strstr(sample, from);
    char *text = NULL;
    assert_non_null(at);
    assert_true(asprintf(&text, "%.*s%s%s", (int)(at - sample), sample, to, at + strlen(from)) > 0);
    return text;
}

static void assert_figure(const struct result_run *run, const char *key, double value,
                          const char *unit, enum figure_better better)
{
    const struct figure *figure = result_find(run, key);
    if (!figure) {
        fail_msg("there is no %s", key);
        return;
    }
    if (fabs(figure->value - value) > 1e-9 * fabs(value)) {
        fail_msg("%s is %.17g, not %.17g", key, figure->value, value);
    }
    assert_string_equal(figure->unit, unit);
    if (figure->better != better) {
        fail_msg("%s: better is %d, not %d", key, (int)figure->better, (int)better);
    }
}

static void a_run_becomes_figures(void **state)
{
    (void)state;
    struct result result;
    struct err error = {0};
    assert_int_equal(from_text(sample, &result, &error), 0);
    assert_string_equal(result.name, "sample");
    assert_string_equal(result.operation, "call");
    assert_int_equal(result.run_count, 1);
    const struct result_run *run = &result.runs[0];
    assert_string_equal(run->label, "epoll");
    assert_string_equal(run->point, "buffer=4k transport=pipe");
    assert_int_equal(run->repetition, 3);
    assert_true(run->complete && !run->discarded);
    assert_string_equal(run->figures[0].key, "calls_per_second");

    assert_figure(run, "calls_per_second", 1000, "1/s", FIGURE_HIGHER);
    assert_null(result_find(run, "sender_lag"));
    assert_figure(run, "response_time.mean", 12.5, "ns", FIGURE_LOWER);
    assert_figure(run, "response_time.p50", 10, "ns", FIGURE_LOWER);
    assert_figure(run, "response_time.p90", 20, "ns", FIGURE_LOWER);
    assert_figure(run, "response_time.p99", 30, "ns", FIGURE_LOWER);
    assert_null(result_find(run, "response_time.p99.9"));
    assert_figure(run, "response_time.max", 99, "ns", FIGURE_LOWER);
    assert_figure(run, "errors", 3, "1", FIGURE_LOWER);

    assert_figure(run, "client.cpu_user_ns_per_call", 20 + 10, "ns", FIGURE_LOWER);
    assert_figure(run, "client.cpu_system_ns_per_call", 30, "ns", FIGURE_LOWER);
    assert_figure(run, "client.cpu_ns_per_call", 60, "ns", FIGURE_LOWER);
    assert_figure(run, "client.cpu_busy", 0.6, "1", FIGURE_NEUTRAL);
    assert_figure(run, "client.switches_per_call", 3, "1", FIGURE_LOWER);
    assert_figure(run, "client.rss_bytes", 8192, "bytes", FIGURE_LOWER);
    assert_figure(run, "client.sendto_per_call", 4, "1", FIGURE_LOWER);
    assert_figure(run, "client.sendto_bytes", 8192 / 40.0, "bytes", FIGURE_NEUTRAL);
    assert_figure(run, "client.recvfrom_failed_share", 0.4, "1", FIGURE_LOWER);
    assert_figure(run, "client.syscalls_per_call", 5, "1", FIGURE_LOWER);
    assert_figure(run, "client.uring.RECV_per_call", 3, "1", FIGURE_NEUTRAL);
    double kib = (204.8 + 614.4 + 51.2) / 1024; /* for each call */
    assert_figure(run, "client.cpu_ns_per_kib", 60 / kib, "ns", FIGURE_LOWER);
    assert_figure(run, "client.syscalls_per_kib", 5 / kib, "1", FIGURE_LOWER);

    assert_null(result_find(run, "server.cpu_ns_per_call"));
    assert_figure(run, "server.kernel.read_per_second", 100, "/s", FIGURE_NEUTRAL);
    assert_figure(run, "server.kernel.read_bytes", 1024, "bytes", FIGURE_NEUTRAL);
    result_release(&result);
    result_release(&result);
}

static void probes_become_figures(void **state)
{
    (void)state;
    struct result result;
    struct err error = {0};
    assert_int_equal(from_text(sample, &result, &error), 0);
    const struct result_run *run = &result.runs[0];
    assert_figure(run, "sched.client.on_cpu_ns", 70, "ns", FIGURE_LOWER);
    assert_figure(run, "sched.client#2.on_cpu_ns", 80, "ns", FIGURE_LOWER);
    assert_figure(run, "sched.client.woken by sonde.wakeups", 9, "1", FIGURE_NEUTRAL);
    assert_figure(run, "sched.cpu 1.irq_ns", 5, "ns", FIGURE_LOWER);
    result_release(&result);
}

/* A call that a run did not make is 0 where its calls were counted, and unknown elsewhere. */
static void calls_that_were_not_made(void **state)
{
    (void)state;
    struct result result;
    struct err error = {0};
    assert_int_equal(from_text(sample, &result, &error), 0);
    const struct result_run *run = &result.runs[0];
    assert_true(result_value(run, "client.poll_per_call") == 0);
    assert_true(result_value(run, "client.uring.SEND_per_call") == 0);
    assert_true(result_value(run, "server.kernel.poll_per_second") == 0);
    assert_true(isnan(result_value(run, "server.poll_per_call")));
    assert_true(isnan(result_value(run, "client.kernel.poll_per_call")));
    assert_true(isnan(result_value(run, "server.cpu_ns_per_call")));
    assert_true(isnan(result_value(run, "server.kernel.switches_per_second")));
    assert_true(isnan(result_value(run, "calls_per_receive")));
    assert_true(result_value(run, "calls_per_second") == 1000);
    result_release(&result);
}

static void an_unknown_headline_keeps_its_place(void **state)
{
    (void)state;
    struct result result;
    struct err error = {0};
    char *text = changed("\"value\": 1000", "\"value\": null");
    assert_int_equal(from_text(text, &result, &error), 0);
    assert_string_equal(result.runs[0].figures[0].key, "calls_per_second");
    assert_true(isnan(result.runs[0].figures[0].value));
    result_release(&result);
    free(text);
}

static void what_is_no_record_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says; /* from NULL: `to` is the whole text */
    } cases[] = {
        {NULL, "[1]", "is no result of sonde: it holds an array"},
        {NULL, "\"sonde.record/1\"", "it holds a text"},
        {NULL, "7", "it holds a number"},
        {NULL, "null", "it holds null"},
        {NULL, "{}", "it names no schema"},
        {NULL, "{\"schema\": 1}", "it names no schema"},
        {NULL, "{\"schema\": \"sonde.record/1\"}", "has no \"runs\""},
        {NULL, "{\"schema\": \"sonde.record/1\", \"runs\": 3}",
         "\"runs\" is a number, not an array"},
        {NULL, "{\"schema\": \"sonde.record/1\", \"runs\": [3]}", "runs[0]: it is a number"},
        {"record/1", "record/2", "written by a newer sonde: its schema is sonde.record/2"},
        {"record/1", "record/17", "written by a newer sonde: its schema is sonde.record/17"},
        {"record/1", "record/x", "is no result of sonde's runs: its schema is sonde.record/x"},
        {"record/1", "record/", "its schema is sonde.record/"},
        {"record/1", "comparison/1", "its schema is sonde.comparison/1"},
        {"sonde.record/1", "\\u001b[31m", "it names no schema"},
        {"\"label\": \"epoll\"", "\"label\": 1", "runs[0]: \"label\" is a number, not a text"},
        {"\"label\": \"epoll\",", "", "runs[0]: has no \"label\""},
        {"\"complete\": true", "\"complete\": 1", "\"complete\" is a number, not true or false"},
        {"\"repetition\": 3", "\"repetition\": -3", "\"repetition\" is below 0"},
        {"\"repetition\": 3", "\"repetition\": 1e300", "\"repetition\" is too large"},
        {"\"buffer\": \"4k\"", "\"buffer\": 4096", "\"point\" is a number, not a text"},
        {"\"value\": 1000", "\"value\": \"1000\"", "runs[0]: \"value\" is a text, not a number"},
        {"{\"value\": 1000, \"unit\": \"1/s\"}", "1000",
         "calls_per_second is a number, not an object"},
        {"calls_per_second", "\\u001b[31m", "is no name such as"},
        {"\"99\": 30", "\"99\": []", "\"99\" is an array, not a number"},
        {"\"cpu_user_ns\": 200", "\"cpu_user_ns\": \"200\"",
         "runs[0].processes[0]: \"cpu_user_ns\" is a text, not a number"},
        {"\"cpu_user_ns\": 100", "\"cpu_user_ns\": -1",
         "runs[0].processes[1]: \"cpu_user_ns\" is below 0"},
        {"\"sendto\"", "\"send\\nto\"", "\"name\" is no plain name"},
        {"\"EAGAIN\": 4", "\"EAGAIN\": true", "a count of errors is true or false"},
        {"\"role\": \"client\"", "\"role\": null", "has no \"role\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct result result;
        struct err error = {0};
        char *text = cases[i].from ? changed(cases[i].from, cases[i].to) : strdup(cases[i].to);
        assert_int_equal(from_text(text, &result, &error), -1);
        if (error.code != ERR_USAGE || !strstr(error.what, cases[i].says)) {
            fail_msg("%s: '%s' does not say '%s'", cases[i].to, error.what, cases[i].says);
        }
        assert_string_equal(error.subject, "sample");
        assert_null(result.runs);
        assert_null(result.json);
        free(text);
    }
}

/* ---- files ---- */

struct written {
    char path[32];
};

static struct written write_file(const char *text, size_t length)
{
    struct written file = {"/tmp/sonde-result-XXXXXX"};
    int number = mkstemp(file.path);
    assert_true(number >= 0);
    assert_int_equal(write(number, text, length), (ssize_t)length);
    assert_int_equal(close(number), 0);
    return file;
}

static void a_file_is_read(void **state)
{
    (void)state;
    struct result result;
    struct err error = {0};
    struct written file = write_file(sample, strlen(sample));
    assert_int_equal(result_load(file.path, &result, &error), 0);
    assert_string_equal(result.name, file.path);
    assert_int_equal(result.run_count, 1);
    result_release(&result);
    unlink(file.path);
}

static void assert_refused(const char *text, size_t length, const char *says)
{
    struct result result;
    struct err error = {0};
    struct written file = write_file(text, length);
    assert_int_equal(result_load(file.path, &result, &error), -1);
    if (error.code != ERR_USAGE || !strstr(error.what, says)) {
        fail_msg("'%s' does not say '%s'", error.what, says);
    }
    assert_string_equal(error.subject, file.path);
    assert_null(result.runs);
    unlink(file.path);
}

static void every_truncation_is_seen(void **state)
{
    (void)state;
    char place[64];
    snprintf(place, sizeof place, "is truncated: it ends at line 1, column %d", 1000);
    assert_refused(sample, 1000, place);
    for (size_t length = 1; length < strlen(sample); length += 7) {
        assert_refused(sample, length, "is truncated: it ends at line 1");
    }
}

static void damaged_files_are_refused(void **state)
{
    (void)state;
    static char deep[100000];
    memset(deep, '[', sizeof deep);
    assert_refused("", 0, "is empty");
    assert_refused("hello\n", 6, "is no JSON at line 1");
    assert_refused("{\"a\": 1,\n \"a\": 2}", 17, "a key stands twice in one object at line 2");
    assert_refused("{\"a\": 1e999}", 12, "a number is too large at line 1");
    assert_refused("{\"a\": 99999999999999999999}", 27, "a number is too large");
    assert_refused("{\"a\": \"\xff\"}", 10, "a text is no valid one");
    assert_refused("{} {}", 5, "something follows its end");
    assert_refused("\0\0\0\0", 4, "is no JSON");
    assert_refused(deep, sizeof deep, "is nested too deeply");
}

static void what_cannot_be_read_is_said(void **state)
{
    (void)state;
    struct result result;
    struct err error = {0};
    assert_int_equal(result_load("/nonexistent/a.json", &result, &error), -1);
    assert_int_equal(error.code, ERR_USAGE);
    assert_non_null(strstr(error.what, "No such file"));
    assert_int_equal(result_load("/tmp", &result, &error), -1);
    assert_non_null(strstr(error.what, "Is a directory"));
    assert_int_equal(result_load("/dev/zero", &result, &error), -1);
    assert_non_null(strstr(error.what, "is no JSON"));
    result_release(&result);

    /* Sparse: a size that is refused before a byte is read. */
    struct written file = write_file("", 0);
    assert_int_equal(truncate(file.path, (off_t)5 << 30), 0);
    assert_int_equal(result_load(file.path, &result, &error), -1);
    assert_non_null(strstr(error.what, "is larger than 1 GiB"));
    unlink(file.path);
}

static void too_many_figures(void **state)
{
    (void)state;
    struct result result;
    struct err error = {0};
    json_t *json = json_loads(sample, 0, NULL);
    json_t *metrics = json_object_get(json_array_get(json_object_get(json, "runs"), 0), "metrics");
    json_t *quantity = json_object_get(metrics, "calls_per_second");
    for (int i = 0; i < 100001; i++) {
        char key[16];
        snprintf(key, sizeof key, "m%d", i);
        json_object_set(metrics, key, quantity);
    }
    assert_int_equal(result_from_json(json, "sample", &result, &error), -1);
    assert_non_null(strstr(error.what, "more than 100000 figures"));
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_becomes_figures),
        cmocka_unit_test(probes_become_figures),
        cmocka_unit_test(calls_that_were_not_made),
        cmocka_unit_test(an_unknown_headline_keeps_its_place),
        cmocka_unit_test(what_is_no_record_is_refused),
        cmocka_unit_test(a_file_is_read),
        cmocka_unit_test(every_truncation_is_seen),
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(what_cannot_be_read_is_said),
        cmocka_unit_test(too_many_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
