/* Printers over one sample record that holds every kind of thing a record can hold.
 * `test_printers --sample` prints it as JSON, for the checks of the schema. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "printed.h"
#include "report/record.h"
#include "stats/hdr_codec.h"

static const struct metric rate = {.key = "calls_per_second",
                                   .unit = "1/s",
                                   .title = "calls/s",
                                   .kind = METRIC_PER_SECOND,
                                   .numerator = 3};
static const struct metric sends = {
    .key = "calls_per_send", .unit = "1", .title = "calls per send", .kind = METRIC_RATIO};
static const struct metric lag = {
    .key = "sender_lag", .unit = "ns", .title = "sender lag", .kind = METRIC_VALUE};
static const struct metric throttled = {
    .key = "throttled", .unit = "1", .title = "throttled", .kind = METRIC_COUNT, .numerator = 1};
static const struct metric odd = {.key = "odd", .unit = "ns", .title = "odd", .kind = METRIC_VALUE};
static const struct histogram_metric service = {"service_time", "ns", "service time", ""};
static const struct histogram_metric received = {"receive_size", "bytes", "bytes received", ""};

static void add_value(struct record_run *run, const struct metric *metric, double value)
{
    struct record_value *element = record_add_value(run, metric);
    element->available = true;
    element->value = value;
}

static void fill_client(struct record_run *run)
{
    struct record_process *client = record_add_process(run, "client", 100, "sonde");
    client->cpu_available = true;
    client->cpu_window_ns = 2000000000;
    client->cpu_operations = 4000;
    client->cpu_user_ns = 400000;
    client->cpu_system_ns = 800000;
    client->busiest_thread = 0.5;
    client->switches_voluntary = 30;
    client->switches_involuntary = 10;
    client->rss_bytes = 2097152;
    struct record_calls *calls = &client->engine_calls;
    calls->available = true;
    snprintf(calls->source, sizeof calls->source, "engine");
    calls->window_ns = 2000000000;
    calls->operations = 4000;
    struct record_syscall *call = record_add_syscall(calls, "recvfrom");
    call->calls = 1000;
    call->bytes = 4000;
    record_syscall_add_error(call, EAGAIN)->count = 250;
    record_syscall_add_error(call, ECONNRESET)->count = 2;
    record_add_syscall(calls, "sendto")->calls = 500;
    snprintf(client->kernel_calls.reason, sizeof client->kernel_calls.reason, "not asked for");
}

/* A server that was seen by the kernel only, without a count of operations. */
static void fill_server(struct record_run *run)
{
    struct record_process *server = record_add_process(run, "server", 200, "bad\033[31m\xff");
    struct record_calls *calls = &server->kernel_calls;
    calls->available = true;
    snprintf(calls->source, sizeof calls->source, "bpf");
    calls->window_ns = 1000000000;
    calls->lost = 7;
    record_add_syscall(calls, "io_uring_enter")->calls = 123456;
    struct record_uring *uring = record_add_uring(calls, "RECV");
    *uring = (struct record_uring){"RECV", 10, 20, 30};
}

static void fill_first(struct record_run *run)
{
    run->complete = true;
    run->window_ns = 2000000000;
    run->wall_ns = 4000000000;
    snprintf(run->mode, sizeof run->mode, "closed loop");
    snprintf(run->detail, sizeof run->detail, "tcp://127.0.0.1:1, 1 connection");
    add_value(run, &rate, 2000);
    add_value(run, &sends, 8);
    add_value(run, &odd, NAN);
    snprintf(record_add_value(run, &lag)->reason, sizeof run->values->reason, "closed loop");
    struct record_histogram *histogram = record_add_histogram(run, &service, "client");
    for (uint64_t i = 1; i <= 1000; i++) {
        histogram_record(histogram->histogram, i, 1);
    }
    histogram->histogram->out_of_range = 3;
    histogram = record_add_histogram(run, &received, "client");
    histogram_record(histogram->histogram, 1, 1);
    histogram_record(histogram->histogram, 4096, 3);
    record_add_histogram(run, &received, "server");
    for (uint64_t i = 0; i < 2; i++) {
        struct record_interval *interval = record_add_interval(run);
        interval->start_ns = i * 1000000000;
        interval->duration_ns = 500000000;
        struct record_value *value = record_interval_add_value(interval, &rate);
        value->available = true;
        value->value = 1990 + 20 * (double)i;
    }
    fill_client(run);
    fill_server(run);
    run->effect = (struct record_effect){.available = true,
                                         .metric = "calls_per_second",
                                         .ratio = {0.973, 0.961, 0.985},
                                         .blocks = 5};
    run->observing = true;
    snprintf(run->observation, sizeof run->observation, "server (pid 200), alternating");
    snprintf(run->limited_by, sizeof run->limited_by, "client CPU (\"worker 0\", 99 %%)");
    run->null_ceiling = 8e6;
}

static void fill_second(struct record_run *run)
{
    run->complete = true; /* but it failed: the failure counts */
    run->window_ns = run->wall_ns = 500000000;
    err_system(&run->failure, ECONNRESET, "tcp://127.0.0.1:1", "the server vanished");
    err_hint(&run->failure, "look at its log");
    record_add_value(run, &rate);
    add_value(run, &throttled, 5);
    record_add_histogram(run, &service, "client");
    record_add_error(run, "receive", ECONNRESET, NULL)->count = 2;
    record_add_error(run, "protocol", 0, "short answer")->count = 1;
    run->observing = true;
    snprintf(run->effect.reason, sizeof run->effect.reason, "not observed");
}

static void fill(struct record *record, size_t runs)
{
    static char *arguments[] = {"sonde", "call", "bad\xc3(", NULL};
    struct err error = {0};
    assert_int_equal(record_init(record, 3, arguments, &error), 0);
    record->complete = true;
    record->operation = "call";
    record_add_option(record, "connections", "1", false);
    record_add_option(record, "observe", "server", true);
    record_add_machine(record, "kernel", false, "Linux %s", "6.1");
    record_add_machine(record, "cores", true, "%d", 2);
    record_add_machine(record, "governor", true, "%s", "n/a");
    record_add_warning(record, "two cores only");
    struct record_run *run = record_add_run(record, "epoll");
    fill_first(run);
    record_add_error(run, "receive", ECONNRESET, NULL)->count = 40;
    if (runs > 1) {
        fill_second(record_add_run(record, "poll, \"quoted\""));
    }
}

/* JSON. Values are named by paths such as "runs/0/metrics/odd/value". */

struct sample {
    struct record record;
    json_t *json;
};

static json_t *at(json_t *value, const char *path)
{
    char copy[128], *rest = copy;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *part; value && (part = strsep(&rest, "/"));) {
        value = json_is_array(value) ? json_array_get(value, strtoul(part, NULL, 10))
                                     : json_object_get(value, part);
    }
    if (!value) {
        fail_msg("%s is missing", path);
    }
    return value;
}

static void assert_number(json_t *json, const char *path, double expected)
{
    assert_true(json_is_number(at(json, path)));
    double value = json_number_value(at(json, path));
    if (fabs(value - expected) > fabs(expected) * 1e-12) {
        fail_msg("%s is %.17g, not %.17g", path, value, expected);
    }
}

static void assert_text(json_t *json, const char *path, const char *expected)
{
    assert_true(json_is_string(at(json, path)));
    assert_string_equal(json_string_value(at(json, path)), expected);
}

static int set_up(void **state)
{
    static struct sample sample;
    fill(&sample.record, 2);
    char *text = print(&sample.record, &printer_json);
    sample.json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    assert_non_null(sample.json);
    *state = &sample;
    return 0;
}

static int tear_down(void **state)
{
    struct sample *sample = *state;
    json_decref(sample->json);
    record_release(&sample->record);
    return 0;
}

static void test_json_head(void **state)
{
    json_t *json = ((struct sample *)*state)->json;
    assert_text(json, "schema", "sonde.record/1");
    assert_text(json, "command/2", "bad\xef\xbf\xbd(");
    assert_text(json, "options/connections", "1");
    assert_int_equal(json_array_size(at(json, "options_given")), 1);
    assert_text(json, "options_given/0", "observe");
    assert_text(json, "machine/kernel", "Linux 6.1");
    assert_number(json, "machine/cores", 2);
    assert_text(json, "machine/governor", "n/a"); /* said to be a number and is none */
    assert_text(json, "warnings/0", "two cores only");
}

static void test_json_values_and_why_there_is_none(void **state)
{
    json_t *json = ((struct sample *)*state)->json;
    assert_number(json, "runs/0/metrics/calls_per_second/value", 2000);
    assert_true(json_is_integer(at(json, "runs/0/metrics/calls_per_second/value")));
    assert_text(json, "runs/0/metrics/calls_per_second/unit", "1/s");
    assert_true(json_is_null(at(json, "runs/0/metrics/sender_lag/value")));
    assert_text(json, "runs/0/metrics/sender_lag/unit", "ns");
    assert_text(json, "runs/0/metrics/sender_lag/reason", "closed loop");
    assert_true(json_is_null(at(json, "runs/0/metrics/odd/value")));
    assert_text(json, "runs/0/metrics/odd/reason", "not a finite number");
}

static void test_json_histograms(void **state)
{
    struct sample *sample = *state;
    json_t *json = sample->json;
    struct histogram *copy = histogram_new();
    struct err error = {0};
    assert_number(json, "runs/0/histograms/service_time/count", 1000);
    assert_number(json, "runs/0/histograms/service_time/out_of_range", 3);
    assert_number(json, "runs/0/histograms/service_time/min", 1);
    assert_number(json, "runs/0/histograms/service_time/max", 1000);
    assert_number(json, "runs/0/histograms/service_time/percentiles/99", 990);
    /* One value lies beyond 99.9 %: too few. */
    assert_true(json_is_null(at(json, "runs/0/histograms/service_time/percentiles/99.9")));
    assert_number(json, "runs/0/histograms/receive_size/count", 4);
    assert_text(json, "runs/0/histograms/server_receive_size/role", "server");
    assert_true(json_is_null(at(json, "runs/0/histograms/server_receive_size/mean")));
    json_t *encoded = at(json, "runs/0/histograms/service_time/encoded");
    assert_int_equal(
        hdr_decode(json_string_value(encoded), json_string_length(encoded), copy, &error), 0);
    assert_memory_equal(copy->counts, sample->record.runs[0].histograms[0].histogram->counts,
                        sizeof copy->counts);
    histogram_free(copy);
}

static void test_json_processes(void **state)
{
    json_t *json = at(((struct sample *)*state)->json, "runs/0/processes");
    assert_number(json, "0/cpu_user_ns", 400000);
    assert_number(json, "0/cpu_per_operation/user/value", 100);
    assert_number(json, "0/cpu_per_operation/system/value", 200);
    assert_number(json, "0/cpu_busy/value", 0.0006);
    assert_number(json, "0/context_switches/per_operation/value", 0.01);
    assert_text(json, "0/engine_calls/source", "engine");
    assert_text(json, "0/engine_calls/syscalls/0/name", "recvfrom");
    assert_number(json, "0/engine_calls/syscalls/0/calls_per_operation", 0.25);
    assert_number(json, "0/engine_calls/syscalls/0/errors/EAGAIN", 250);
    assert_number(json, "0/engine_calls/syscalls/0/errors/ECONNRESET", 2);
    assert_true(json_is_false(at(json, "0/kernel_calls/available")));
    assert_text(json, "0/kernel_calls/reason", "not asked for");
}

static void test_json_what_is_not_known_of_a_process(void **state)
{
    json_t *json = at(((struct sample *)*state)->json, "runs/0/processes/1");
    assert_text(json, "name", "bad\033[31m\xef\xbf\xbd");
    assert_true(json_is_null(at(json, "cpu_user_ns")));
    assert_true(json_is_null(at(json, "cpu_per_operation/user/value")));
    assert_text(json, "cpu_per_operation/user/reason", "CPU time not measured");
    assert_true(json_is_null(at(json, "busiest_thread/value")));
    assert_true(json_is_null(at(json, "rss_bytes")));
    assert_true(json_is_null(at(json, "kernel_calls/operations")));
    assert_true(json_is_null(at(json, "kernel_calls/syscalls/0/calls_per_operation")));
    assert_number(json, "kernel_calls/lost", 7);
    assert_number(json, "kernel_calls/io_uring/0/completed", 20);
    assert_text(json, "engine_calls/reason", "not counted");
}

static void test_json_failure_makes_it_incomplete(void **state)
{
    json_t *json = ((struct sample *)*state)->json;
    assert_true(json_is_false(at(json, "complete")));
    assert_true(json_is_true(at(json, "runs/0/complete")));
    assert_true(json_is_null(at(json, "runs/0/error")));
    assert_true(json_is_false(at(json, "runs/1/complete")));
    assert_text(json, "runs/1/error/code", "system");
    assert_text(json, "runs/1/error/errno", "ECONNRESET");
    assert_text(json, "runs/1/error/subject", "tcp://127.0.0.1:1");
    assert_text(json, "runs/1/error/hint", "look at its log");
    assert_true(json_is_null(at(json, "runs/1/probe_effect/ratio")));
    assert_text(json, "runs/1/probe_effect/reason", "not observed");
    assert_number(json, "runs/0/probe_effect/low", 0.961);
}

static void test_json_errors_of_all_runs_are_added_up(void **state)
{
    json_t *json = ((struct sample *)*state)->json;
    assert_int_equal(json_array_size(at(json, "errors")), 2);
    assert_text(json, "errors/0/name", "ECONNRESET");
    assert_number(json, "errors/0/count", 42);
    assert_number(json, "errors/0/errno", ECONNRESET);
    assert_text(json, "errors/1/name", "short answer");
    assert_true(json_is_null(at(json, "errors/1/errno")));
}

static void test_json_refuses_a_key_that_comes_twice(void **state)
{
    (void)state;
    struct record record;
    struct err error = {0};
    char *text = NULL;
    size_t length;
    fill(&record, 1);
    add_value(&record.runs[0], &sends, 9);
    FILE *memory = open_memstream(&text, &length);
    assert_int_equal(printer_json.print(&record, memory, &error), -1);
    fclose(memory);
    free(text);
    assert_non_null(strstr(error.what, "calls_per_send"));
    record_release(&record);
}

/* CSV */

/* Splits a line of CSV in place, as RFC 4180 says; returns the number of fields. */
static size_t split(char *line, char **fields, size_t most)
{
    size_t count = 0;
    for (char *from = line, *to; from && count < most; count++) {
        bool quoted = *from == '"';
        from += quoted;
        fields[count] = to = from;
        while (*from && (quoted || (*from != ',' && *from != '\n'))) {
            if (quoted && *from == '"' && *++from != '"') {
                quoted = false;
            } else {
                *to++ = *from++;
            }
        }
        from = *from == ',' ? from + 1 : NULL;
        *to = '\0';
    }
    return count;
}

#define FIELDS 100

static const char *field(char **names, char **values, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            return values[i];
        }
    }
    fail_msg("no column %s", name);
    return NULL;
}

static void test_csv_is_the_union_of_the_runs(void **state)
{
    (void)state;
    struct record record;
    char *lines[4], *names[FIELDS], *first[FIELDS], *second[FIELDS];
    fill(&record, 2);
    char *text = print(&record, &printer_csv), *rest = text;
    for (int i = 0; i < 4; i++) {
        lines[i] = strsep(&rest, "\n");
    }
    assert_string_equal(lines[3], "");
    assert_null(rest);
    size_t count = split(lines[0], names, FIELDS);
    assert_int_equal(split(lines[1], first, FIELDS), count);
    assert_int_equal(split(lines[2], second, FIELDS), count);
    static const struct {
        const char *name, *first, *second;
    } rows[] = {
        {"label", "epoll", "poll, \"quoted\""},
        {"mode", "closed loop", ""},
        {"window_s", "2", "0.5"},
        {"complete", "true", "false"},
        {"calls_per_second", "2000", ""},
        {"calls_per_send", "8", ""},
        {"sender_lag", "", ""},
        {"odd", "", ""},
        {"throttled", "", "5"},
        {"service_time_count", "1000", "0"},
        {"service_time_p50_ns", "500", ""},
        {"service_time_p99_ns", "990", ""},
        {"service_time_p99.9_ns", "", ""},
        {"service_time_max_ns", "1000", ""},
        {"receive_size_max_bytes", "4096", ""},
        {"client_cpu_user_ns_per_operation", "100", ""},
        {"server_cpu_user_ns_per_operation", "", ""},
        {"client_calls_per_operation", "0.375", ""},
        {"limited_by", "client CPU (\"worker 0\", 99 %)", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_string_equal(field(names, first, count, rows[i].name), rows[i].first);
        assert_string_equal(field(names, second, count, rows[i].name), rows[i].second);
    }
    free(text);
    record_release(&record);
}

/* Text */

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("'%s' is missing in:\n%s", part, text);
    }
}

static void assert_tidy(const char *text)
{
    size_t width = 0;
    for (const char *c = text; *c; c++) {
        unsigned char byte = (unsigned char)*c;
        assert_true(byte >= 0x20 || byte == '\n');
        assert_false(byte == '\n' && c > text && c[-1] == ' ');
        width = byte == '\n' ? 0 : width + ((byte & 0xc0) != 0x80);
        assert_true(width <= 100);
    }
}

static void test_text_of_one_run(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "epoll: tcp://127.0.0.1:1, 1 connection\n",
        "2,000 calls/s   4,000 calls in 2.00 s (the unobserved part of 4.00 s), closed loop\n",
        "service time  500 ns  750 ns  900 ns  950 ns  990 ns      -       -  ",
        "service time (client): 3 values above ",
        "sender lag  n/a (closed loop)",
        "odd  n/a (not a finite number)",
        "calls/s in each 1.00 s:  1,990  2,010\n",
        "4k .. <8k           3  75.0 %  ###############",
        "client sonde",
        "bad\\x1b[31m\\xff",
        "client (own count)",
        "server (seen by bpf)",
        "123 k   123,456 ", /* no operations to divide by: the calls themselves */
        "client (own count): recvfrom failed with ECONNRESET 2 times",
        "server (seen by bpf): 7 events were lost",
        "calls of client 100 (seen by the kernel): n/a (not asked for)",
        "receive    ECONNRESET     40  Connection reset by peer\n",
        "probe effect: calls_per_second x0.973 (0.961 .. 0.985, 95 %, 5 blocks)\n",
        "observation: server (pid 200), alternating\n",
        "limited by: client CPU (\"worker 0\", 99 %)\n",
        /* 4,000 calls took 1.2 ms */
        "8,000,000 calls/s of CPU time",
        "reached 41.7 % of that",
        "warning: two cores only\n",
    };
    struct record record;
    fill(&record, 1);
    char *text = print(&record, &printer_text);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        assert_contains(text, parts[i]);
    }
    assert_tidy(text);
    assert_null(strstr(text, "PARTIAL"));
    assert_null(strstr(text, "nan"));
    free(text);
    record_release(&record);
}

/* 0.25 calls for each operation, 4 bytes a call, a quarter of them EAGAIN, 500 a second. */
static void test_text_calls_per_operation(void **state)
{
    (void)state;
    char name[32], rate_text[16], each[16], bytes[16], again[16];
    struct record record;
    fill(&record, 1);
    char *text = print(&record, &printer_text);
    const char *line = strstr(text, "\n  recvfrom ");
    assert_non_null(line);
    assert_int_equal(sscanf(line, " %31s %15s %15s %15s %15s", name, rate_text, each, bytes, again),
                     5);
    assert_string_equal(rate_text, "500");
    assert_string_equal(each, "0.250");
    assert_string_equal(bytes, "4");
    assert_string_equal(again, "25.0");
    free(text);
    record_release(&record);
}

static void test_text_of_several_runs_begins_with_a_comparison(void **state)
{
    (void)state;
    struct record record;
    fill(&record, 2);
    char *text = print(&record, &printer_text);
    const char *details = strstr(text, "epoll: tcp://");
    const char *table = strstr(text, "\n  epoll ");
    assert_non_null(table);
    assert_true(table < details);
    char label[16], numbers[6][16], rest[32];
    assert_int_equal(sscanf(table, " %15s %15s %15s ns %15s ns %15s %15s ns %15s %31[^\n]", label,
                            numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5],
                            rest),
                     8);
    static const char *const expected[] = {"2,000", "500", "990", "0.375", "300", "-"};
    for (int i = 0; i < 6; i++) {
        assert_string_equal(numbers[i], expected[i]);
    }
    assert_string_equal(rest, "client CPU");
    assert_contains(table, "poll, \"quoted\" PARTIAL");
    assert_contains(text, "calls/s: n/a (not measured)");
    assert_contains(text, "PARTIAL: tcp://127.0.0.1:1: the server vanished: "
                          "Connection reset by peer: look at its log\n");
    assert_contains(text, "probe effect: n/a (not observed)");
    assert_tidy(text);
    free(text);
    record_release(&record);
}

static void test_a_record_without_runs_says_why(void **state)
{
    (void)state;
    struct record record;
    fill(&record, 1);
    record_release(&record);
    record.complete = true;
    err_set(&record.failure, ERR_LIMIT, "--connections", "too many");
    char *text = print(&record, &printer_text);
    char *json = print(&record, &printer_json);
    char *csv = print(&record, &printer_csv);
    assert_string_equal(text, "  NOT COMPLETE: --connections: too many\n");
    assert_contains(json, "\"complete\": false");
    assert_contains(json, "\"code\": \"limit\"");
    assert_null(strchr(strchr(csv, '\n') + 1, '\n'));
    free(text);
    free(json);
    free(csv);
    record_release(&record);
}

static void test_a_full_disk_is_an_error_of_every_printer(void **state)
{
    (void)state;
    static const struct printer *const printers[] = {&printer_text, &printer_json, &printer_csv};
    struct record record;
    fill(&record, 2);
    for (int i = 0; i < 6; i++) {
        struct err error = {0};
        FILE *full = fopen("/dev/full", "w");
        assert_non_null(full);
        setvbuf(full, NULL, i < 3 ? _IONBF : _IOFBF, 1 << 20);
        assert_int_equal(printers[i % 3]->print(&record, full, &error), -1);
        assert_int_equal(error.code, ERR_SYSTEM);
        fclose(full);
    }
    record_release(&record);
}

/* For the checks of the schema; test_print_probes has what printers make of it. */
static void fill_probe(struct record_run *run)
{
    static const struct record_scope scope = {"server", 200, 201, "sonde", "read"};
    struct record_probe *probe = record_add_probe(run, "sizes");
    probe->available = true;
    probe->window_ns = 1000000000;
    probe->operations = 2000;
    probe->bytes = 400000;
    probe->effect = run->effect;
    struct record_value *value = record_row_add_value(record_add_probe_row(probe, &scope), &sends);
    value->available = true;
    value->value = 2;
    struct record_distribution *sizes = record_add_distribution(probe, &received, &scope);
    sizes->classes[distribution_class(-1)] = 2;
    sizes->classes[distribution_class(0)] = 1;
    sizes->classes[distribution_class(100)] = 4;
    sizes->sum = 400;
}

static int print_sample(void)
{
    struct record record;
    struct err error = {0};
    fill(&record, 2);
    for (size_t i = 0; i < record.run_count; i++) {
        record.runs[i].repetition = 1;
    }
    if (record_summarise(&record) < 0) {
        return 1;
    }
    fill_probe(&record.runs[0]);
    int result = record_write(&record, &printer_json, "-", &error);
    record_release(&record);
    return result == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_json_head, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json_values_and_why_there_is_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json_histograms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json_processes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json_what_is_not_known_of_a_process, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_json_failure_makes_it_incomplete, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json_errors_of_all_runs_are_added_up, set_up,
                                        tear_down),
        cmocka_unit_test(test_json_refuses_a_key_that_comes_twice),
        cmocka_unit_test(test_csv_is_the_union_of_the_runs),
        cmocka_unit_test(test_text_of_one_run),
        cmocka_unit_test(test_text_calls_per_operation),
        cmocka_unit_test(test_text_of_several_runs_begins_with_a_comparison),
        cmocka_unit_test(test_a_record_without_runs_says_why),
        cmocka_unit_test(test_a_full_disk_is_an_error_of_every_printer),
    };
    if (argc == 2 && strcmp(argv[1], "--sample") == 0) {
        return print_sample();
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
