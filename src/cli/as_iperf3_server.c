/* The server of `sonde as iperf3`: one test at a time, each reported like the program's. */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/as_iperf3.h"
#include "cli/output.h"
#include "run/iperf3_data.h"
#include "run/iperf3_server.h"

struct serving {
    const struct as_iperf3_options *options;
    struct as_iperf3_report report;
    struct err failure; /* of a report */
    bool reporting, ended_well;
    uint64_t tests;
    int one_off_fd; /* becomes readable after the one test of -1; -1: none */
    char *output;   /* what was printed, for a client that asked */
    size_t output_bytes;
};

static void announce(struct serving *serving)
{
    if (!serving->options->json) {
        printf("-----------------------------------------------------------\n"
               "Server listening on %llu (test #%llu)\n"
               "-----------------------------------------------------------\n",
               (unsigned long long)serving->options->port, (unsigned long long)serving->tests + 1);
        fflush(stdout);
    }
}

static void on_listening(void *owner, const struct address *address)
{
    struct serving *serving = owner;
    struct as_iperf3_report report;
    struct err ignored = {0};
    (void)address;
    if (!serving->options->json) {
        as_iperf3_report_begin(&report, serving->options, true, &ignored);
    }
    announce(serving);
}

static void begin_report(struct serving *serving, const struct iperf3_server_test *test)
{
    struct as_iperf3_options quiet = *serving->options;
    char host[80];

    quiet.verbose = false; /* the version was said when it began to listen */
    serving->reporting =
        as_iperf3_report_begin(&serving->report, &quiet, true, &serving->failure) == 0;
    if (!serving->reporting) {
        return;
    }
    serving->report.options = serving->options;
    serving->report.test = test->test;
    if (test->test->server_output && !serving->options->json) {
        serving->report.also = open_memstream(&serving->output, &serving->output_bytes);
    }
    snprintf(host, sizeof host, "%s", test->peer);
    char *colon = strrchr(host, ':');
    int port = colon ? (int)strtoul(colon + 1, NULL, 10) : 0;
    if (colon) {
        *colon = '\0';
    }
    char *bare = host[0] == '[' ? host + 1 : host;
    bare[strcspn(bare, "]")] = '\0';
    bare += strncmp(bare, "::ffff:", 7) == 0 ? 7 : 0;
    as_iperf3_report_peer(&serving->report, bare, port, test->cookie, 0);
}

static void on_accepted(void *owner, const struct iperf3_server_test *test)
{
    begin_report(owner, test);
}

static void on_started(void *owner, const struct iperf3_server_test *test)
{
    struct serving *serving = owner;
    if (serving->reporting && as_iperf3_report_streams(&serving->report, test->test, test->ends,
                                                       test->end_count, &serving->failure)) {
        serving->reporting = false;
    }
}

static void on_interval(void *owner, const struct iperf3_server_test *test, uint64_t start_ns,
                        uint64_t duration_ns, uint64_t bytes)
{
    struct serving *serving = owner;
    uint64_t omit_ns = test->test->omit_ns, end_ns = start_ns + duration_ns;
    bool omitted = start_ns + duration_ns / 2 < omit_ns;
    (void)bytes;

    if (serving->reporting && serving->options->interval_s > 0) {
        as_iperf3_report_cut(&serving->report, &iperf3_data_threads, test->run,
                             (double)(end_ns - (omitted ? 0 : omit_ns)) / 1e9, omitted);
    }
}

static void on_stopped(void *owner, const struct iperf3_server_test *test,
                       const struct iperf3_side *own)
{
    struct serving *serving = owner;
    if (!serving->reporting) {
        return;
    }
    as_iperf3_report_last(&serving->report, &iperf3_data_threads, test->run, own);
    if (!serving->options->json) { /* JSON waits for the client's results */
        as_iperf3_report_end(&serving->report, own, NULL);
    }
}

static const char *on_output(void *owner, const struct iperf3_server_test *test)
{
    struct serving *serving = owner;
    (void)test;
    return serving->report.also && fflush(serving->report.also) == 0 ? serving->output : NULL;
}

static void on_finished(void *owner, const struct iperf3_server_test *test,
                        const struct iperf3_side *own, const struct iperf3_side *peer,
                        const struct err *why)
{
    struct serving *serving = owner;
    struct as_iperf3_report *report = &serving->report;
    (void)test;

    if (report->json && report->streams && own) {
        as_iperf3_json_end(report, own, peer);
    }
    bool stopping = why && why->code == ERR_INTERRUPTED;
    if (stopping && peer) {
        why = NULL; /* all but its client's farewell was there */
    }
    if (why) {
        char text[400];
        snprintf(text, sizeof text, "%s",
                 stopping ? "interrupt - the server has terminated"
                 : strstr(why->what, "called the test off") ? "the client has terminated"
                                                            : why->what);
        as_iperf3_report_fail(report, text);
    }
    if (serving->reporting) {
        as_iperf3_report_finish(report);
    }
    if (report->also) {
        fclose(report->also);
        report->also = NULL;
    }
    free(serving->output);
    serving->output = NULL;
    as_iperf3_report_release(report);
    serving->reporting = false;
    serving->tests++;
    serving->ended_well = why == NULL;
    if (serving->one_off_fd >= 0) {
        (void)!write(serving->one_off_fd, &(uint64_t){1}, sizeof(uint64_t));
    } else if (!stopping) {
        announce(serving);
    }
}

static int serve_at(struct serving *serving, const char *host, int stop_fd, struct err *error)
{
    static const struct iperf3_server_events events = {
        .listening = on_listening,
        .accepted = on_accepted,
        .started = on_started,
        .stopped = on_stopped,
        .interval = on_interval,
        .finished = on_finished,
        .output = on_output,
    };
    const struct as_iperf3_options *options = serving->options;
    struct address address;
    char url[300];
    snprintf(url, sizeof url, strchr(host, ':') ? "tcp://[%s]:%llu" : "tcp://%s:%llu", host,
             (unsigned long long)options->port);
    if (address_parse(url, true, &address, error)) {
        return -1;
    }
    const struct iperf3_server_config config = {
        .address = &address,
        .stop_fd = stop_fd,
        .data = &iperf3_data_threads,
        .events = &events,
        .owner = serving,
        .tests_most = 1,
        .interval_ns = options->interval_s > 0 ? (uint64_t)llround(options->interval_s * 1e9) : 0,
    };
    return iperf3_serve(&config, error);
}

/* Where it is not said, at every address: with IPv6, which takes IPv4 too, if there is any. */
static int serve(struct serving *serving, int stop_fd, struct err *error)
{
    const struct as_iperf3_options *options = serving->options;
    const char *host = options->source              ? options->source
                       : options->family == AF_INET ? "0.0.0.0"
                                                    : "::";
    int result = serve_at(serving, host, stop_fd, error);
    bool without = error->number == EAFNOSUPPORT || error->number == EADDRNOTAVAIL;
    if (result && !options->source && options->family == 0 && without) {
        *error = (struct err){0};
        result = serve_at(serving, "0.0.0.0", stop_fd, error);
    }
    return result;
}

int as_iperf3_server(const struct as_iperf3_options *options, struct err *error)
{
    struct serving serving = {.options = options, .one_off_fd = -1};
    struct err failure = {0};
    int status = 0, signals = output_stop_file(error), stop_fd = signals;

    if (signals < 0) {
        return -1;
    }
    if (options->one_off) {
        stop_fd = serving.one_off_fd = eventfd(0, EFD_CLOEXEC);
        /* Its own descriptor ends the loop; a signal ends the process, as it does the program. */
        output_stop_end(&signals);
        if (stop_fd < 0) {
            return err_system(error, errno, "iperf3", "cannot make an event");
        }
    }
    if (serve(&serving, stop_fd, &failure)) {
        fprintf(stderr,
                "iperf3: error - unable to start listener for connections: %s\niperf3: exiting\n",
                failure.number ? strerror(failure.number) : failure.what);
        status = 1;
    } else if (!options->one_off) { /* a signal came */
        if (!options->json) {
            fputs("iperf3: interrupt - the server has terminated\n", stderr);
        }
        status = 1;
    }
    if (options->one_off && status == 0) {
        status = serving.ended_well ? 0 : 1;
    }
    if (serving.one_off_fd >= 0) {
        close(serving.one_off_fd);
    }
    output_stop_end(&signals);
    return status;
}
