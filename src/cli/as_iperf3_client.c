/* The client of `sonde as iperf3`: one test from connecting to its last line. */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cli/as_iperf3.h"
#include "cli/output.h"
#include "run/iperf3_data.h"

/* How often it is looked whether a number of bytes has moved: the closer to it, the more often. */
#define LOOK_LEAST_NS (100 * NS_PER_US)
#define LOOK_MOST_NS (5 * NS_PER_MS)

struct course {
    const struct as_iperf3_options *options;
    struct as_iperf3_report report;
    struct iperf3_client *client;
    const struct iperf3_test *test;
    struct net_end ends[IPERF3_FLOWS_MOST];
    struct iperf3_side own;
    uint32_t count;
    void *run;
    int stop_fd;
    uint64_t start_ns;
    bool interrupted;
};

static const struct iperf3_data_ops *const data = &iperf3_data_threads;

static int reach(struct course *course, struct err *error)
{
    const struct as_iperf3_options *options = course->options;
    const struct iperf3_client_config config = {
        .test = &options->test,
        .host = options->host,
        .port = (uint16_t)options->port,
        .family = options->family,
        .source = options->source,
        .data_port = (uint16_t)options->client_port,
        .length_of_path = true,
        .stop_fd = course->stop_fd,
        .deadline_ns = options->connect_timeout_ns,
    };
    if (iperf3_client_open(&course->client, &config, error)) {
        return -1;
    }
    course->test = course->report.test = iperf3_client_test(course->client);
    as_iperf3_report_peer(&course->report, options->host, (int)options->port,
                          iperf3_client_cookie(course->client), iperf3_client_mss(course->client));
    uint32_t count = iperf3_flow_count(course->test);
    if (iperf3_client_connect(course->client, course->ends, count, error)) {
        return -1;
    }
    course->count = count;
    return as_iperf3_report_streams(&course->report, course->test, course->ends, count, error) ||
                   data->begin(NULL, course->test, false, course->ends, count, &course->run, error)
               ? -1
               : 0;
}

/* Half of the time that the rest will take at the mean rate so far. */
static uint64_t next_look_ns(const struct course *course)
{
    const struct iperf3_test *test = course->test;
    double wanted =
        test->bytes ? (double)test->bytes : (double)test->blocks * (double)iperf3_length(test);
    double moved = (double)data->moved(course->run);
    double elapsed_ns = (double)(clock_now_ns() - course->start_ns);
    double rest_ns = moved > 0 ? elapsed_ns * (wanted - moved) / moved / 2 : LOOK_LEAST_NS;
    return rest_ns < LOOK_LEAST_NS  ? LOOK_LEAST_NS
           : rest_ns > LOOK_MOST_NS ? LOOK_MOST_NS
                                    : (uint64_t)rest_ns;
}

/* Sleeps until the instant, or until there is a reason to end; true in that case. */
static bool wait_until(struct course *course, uint64_t until_ns)
{
    bool counted = course->test->bytes || course->test->blocks;
    for (uint64_t now = clock_now_ns(); now < until_ns; now = clock_now_ns()) {
        uint64_t left = until_ns - now, most = counted ? next_look_ns(course) : 50 * NS_PER_MS;
        struct timespec nap = clock_timespec(left < most ? left : most);
        struct pollfd stop = {.fd = course->stop_fd, .events = POLLIN};
        if (ppoll(&stop, 1, &nap, NULL) > 0) {
            course->interrupted = true;
            return true;
        }
        if ((counted && data->reached(course->run)) || iperf3_client_peer_ended(course->client)) {
            return true;
        }
    }
    return false;
}

/* The intervals of one stretch of the test, omitted or not; true where the test is to end. */
static bool watch_stretch(struct course *course, uint64_t start_ns, uint64_t length_ns,
                          bool omitted)
{
    double interval_s = course->options->interval_s;
    uint64_t step_ns = (uint64_t)llround(interval_s * 1e9);
    uint64_t end_ns = length_ns ? start_ns + length_ns : UINT64_MAX;

    for (uint64_t i = 1;; i++) {
        uint64_t due_ns = step_ns ? start_ns + i * step_ns : UINT64_MAX;
        if (due_ns >= end_ns) {
            bool over = wait_until(course, end_ns);
            if (!over && omitted) {
                as_iperf3_report_cut(&course->report, data, course->run,
                                     (double)(clock_now_ns() - start_ns) / 1e9, omitted);
            }
            return over;
        }
        if (wait_until(course, due_ns)) {
            return true;
        }
        as_iperf3_report_cut(&course->report, data, course->run,
                             (double)(clock_now_ns() - start_ns) / 1e9, omitted);
    }
}

static int move(struct course *course, struct err *error)
{
    const struct iperf3_test *test = course->test;

    if (iperf3_client_start(course->client, error) || data->start(course->run, error)) {
        return -1;
    }
    uint64_t start_ns = course->start_ns = clock_now_ns();
    if (test->omit_ns == 0 || !watch_stretch(course, start_ns, test->omit_ns, true)) {
        watch_stretch(course, start_ns + test->omit_ns, test->duration_ns, false);
    }
    /* Where nothing is sent from here, the server need not wait for our threads to end. */
    if (test->reverse && !course->interrupted) {
        iperf3_client_end(course->client);
    }
    data->stop(course->run, &course->own);
    as_iperf3_report_last(&course->report, data, course->run, &course->own);
    if (course->interrupted) {
        as_iperf3_report_end(&course->report, &course->own, NULL);
        return err_set(error, ERR_INTERRUPTED, "iperf3", "the client has terminated");
    }
    return iperf3_client_finish(course->client, &course->own, error);
}

static void say_server_output(struct course *course)
{
    bool is_json;
    const char *output = iperf3_client_output(course->client, &is_json);

    if (output == NULL) {
        return;
    }
    if (course->report.json) {
        json_t *value = is_json ? json_loads(output, 0, NULL) : json_string(output);
        json_object_set_new(course->report.json,
                            is_json ? "server_output_json" : "server_output_text", value);
        return;
    }
    printf("\nServer output:\n%s\n", output);
}

/* As the program words it. */
static void explain(struct course *course, const struct err *error)
{
    char text[512];
    if (error->code == ERR_INTERRUPTED) {
        snprintf(text, sizeof text, "interrupt - the client has terminated");
    } else if (strstr(error->what, "busy")) {
        snprintf(text, sizeof text, "error - the server is busy running a test. try again later");
    } else if (course->client == NULL && error->number) {
        snprintf(text, sizeof text, "error - unable to connect to server: %s",
                 strerror(error->number));
    } else {
        snprintf(text, sizeof text, "error - %s", error->what);
    }
    as_iperf3_report_fail(&course->report, text);
}

static int run_course(struct course *course)
{
    struct err failure = {0};
    int status = reach(course, &failure) || move(course, &failure) ? 1 : 0;

    if (status == 0) {
        as_iperf3_report_end(&course->report, &course->own, iperf3_client_peer(course->client));
        say_server_output(course);
        as_iperf3_say(&course->report, "%s", "");
        as_iperf3_say(&course->report, "iperf Done.");
    } else {
        explain(course, &failure);
    }
    as_iperf3_report_finish(&course->report);
    /* What stands in its JSON is no failure of the program, but for an interrupt. */
    return course->report.json && failure.code != ERR_INTERRUPTED ? 0 : status;
}

int as_iperf3_client(const struct as_iperf3_options *options, struct err *error)
{
    struct course *course = calloc(1, sizeof *course);
    if (course == NULL) {
        return err_system(error, ENOMEM, "iperf3", "cannot start");
    }
    course->options = options;
    course->stop_fd = output_stop_file(error);
    int status =
        course->stop_fd < 0 || as_iperf3_report_begin(&course->report, options, false, error)
            ? -1
            : run_course(course);
    if (course->run) {
        data->end(course->run);
    }
    for (uint32_t i = 0; i < course->count; i++) {
        net_end_close(course->ends[i]);
    }
    iperf3_client_close(course->client);
    as_iperf3_report_release(&course->report);
    output_stop_end(&course->stop_fd);
    free(course);
    return status;
}
