#include "cli/serve_iperf3.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/rarely.h"
#include "run/iperf3_data.h"
#include "run/iperf3_server.h"

/* One address. */
struct listener {
    struct serve_iperf3 *serving;
    struct address *address;
    pthread_t thread;
    bool started, failed;
    struct err failure;
    sem_t listening;        /* posted once it listens, or cannot */
    struct rarely reported; /* who was turned away */
};

struct serve_iperf3 {
    bool quiet;  /* no line for a test that has come to its end */
    int stop_fd; /* an eventfd, for all of them */
    _Atomic bool *failed;
    bool stopped;
    struct err failure; /* of whichever failed first */
    _Atomic uint64_t served, not_finished, refused, received_bytes, sent_bytes;
    uint32_t count;
    struct listener listeners[];
};

static const struct metric metrics[] = {
    {"iperf3_tests_served", "1", "iperf3 tests served", "tests that came to their end",
     METRIC_VALUE, 0, 0, false},
    {"iperf3_tests_failed", "1", "iperf3 tests not finished", "tests that did not", METRIC_VALUE, 0,
     0, false},
    {"iperf3_refused", "1", "iperf3 clients turned away", "who came and was not served",
     METRIC_VALUE, 0, 0, false},
    {"iperf3_received_bytes", "bytes", "iperf3 received",
     "payload that this end received, of tests that did not finish too", METRIC_VALUE, 0, 0, false},
    {"iperf3_sent_bytes", "bytes", "iperf3 sent",
     "payload that this end sent, of tests that did not finish too", METRIC_VALUE, 0, 0, false},
};

int serve_iperf3_parse(const char *rest, struct address *address, struct err *error)
{
    char url[300];
    const char *bracket = strrchr(rest, ']'), *colon = strrchr(bracket ? bracket : rest, ':');
    int length = colon ? snprintf(url, sizeof url, "tcp://%s", rest)
                       : snprintf(url, sizeof url, "tcp://%s:%d", rest, IPERF3_PORT);
    if (length >= (int)sizeof url) {
        return err_set(error, ERR_USAGE, rest, "is too long for a host");
    }
    return address_parse(url, true, address, error) < 0 ? address_error_of(error, "tcp", "iperf3")
                                                        : 0;
}

/* ---- lines ---- */

/* What one end did on the streams of one direction. */
struct direction {
    struct session_flow sum;
    uint64_t duration_ns;
    bool counted, retransmits_known;
    double jitter_ns; /* the largest */
};

static void add_flow(struct direction *direction, const struct iperf3_flow *flow)
{
    const struct session_flow *window = &flow->window;
    struct session_flow *sum = &direction->sum;
    direction->retransmits_known =
        window->retransmits != UINT64_MAX && (!direction->counted || direction->retransmits_known);
    direction->counted = true;
    sum->bytes += window->bytes;
    sum->messages += window->messages;
    sum->lost += window->lost;
    sum->retransmits += direction->retransmits_known ? window->retransmits : 0;
    if (flow->duration_ns > direction->duration_ns) {
        direction->duration_ns = flow->duration_ns;
    }
    if (window->jitter_ns > direction->jitter_ns) {
        direction->jitter_ns = window->jitter_ns;
    }
}

static void print_direction(FILE *out, const struct direction *direction, bool sent, bool udp)
{
    const struct session_flow *sum = &direction->sum;
    char bytes[UNITS_TEXT_MAX], rate[UNITS_TEXT_MAX], first[UNITS_TEXT_MAX], more[UNITS_TEXT_MAX];
    double seconds = (double)direction->duration_ns / 1e9;
    if (!direction->counted) {
        return;
    }
    fprintf(out, ", %s %s bytes", sent ? "sent" : "received",
            units_count(bytes, (double)sum->bytes));
    if (seconds > 0) {
        fprintf(out, " at %s", units_si(rate, 8 * (double)sum->bytes / seconds, "bit/s"));
    }
    if (sent && direction->retransmits_known) {
        fprintf(out, " with %s retransmit%s", units_count(first, (double)sum->retransmits),
                sum->retransmits == 1 ? "" : "s");
    } else if (!sent && udp) {
        fprintf(out, " with %s of %s datagrams lost, jitter %s",
                units_count(first, (double)sum->lost),
                units_count(more, (double)(sum->lost + sum->messages)),
                units_duration(rate, direction->jitter_ns));
    }
}

/* One write, so that lines of several threads stay whole. */
static void print_test(const struct iperf3_server_test *test, const struct iperf3_side *own,
                       const struct err *why)
{
    char line[800] = "";
    FILE *out = fmemopen(line, sizeof line - 1, "w");
    if (!out) {
        return;
    }
    const struct iperf3_test *agreed = test->test;
    fprintf(out, "sonde: iperf3 test %lu: %s, %s, %u stream%s%s", test->number, test->peer,
            agreed->udp ? "UDP" : "TCP", agreed->streams, agreed->streams == 1 ? "" : "s",
            agreed->bidirectional ? " each way" : "");
    if (own) {
        struct direction directions[2] = {0};
        uint64_t duration_ns = 0;
        char text[UNITS_TEXT_MAX];
        for (uint32_t i = 0; i < own->flow_count; i++) {
            struct direction *direction = &directions[iperf3_flow_sends(agreed, i, true)];
            add_flow(direction, &own->flows[i]);
            duration_ns =
                direction->duration_ns > duration_ns ? direction->duration_ns : duration_ns;
        }
        fprintf(out, ", %s", units_duration(text, (double)duration_ns));
        print_direction(out, &directions[0], false, agreed->udp);
        print_direction(out, &directions[1], true, agreed->udp);
    }
    if (why) {
        fprintf(out, ": not finished: %s", why->what);
    }
    fputc('\n', out);
    fclose(out);
    fputs(line, stderr);
}

/* ---- events ---- */

static void on_listening(void *owner, const struct address *address)
{
    struct listener *listener = owner;
    (void)address; /* the same */
    sem_post(&listener->listening);
}

static void on_finished(void *owner, const struct iperf3_server_test *test,
                        const struct iperf3_side *own, const struct iperf3_side *peer,
                        const struct err *why)
{
    const struct listener *listener = owner;
    struct serve_iperf3 *serving = listener->serving;
    (void)peer;
    atomic_fetch_add(why ? &serving->not_finished : &serving->served, 1);
    for (uint32_t i = 0; own && i < own->flow_count; i++) {
        bool sends = iperf3_flow_sends(test->test, i, true);
        atomic_fetch_add(sends ? &serving->sent_bytes : &serving->received_bytes,
                         own->flows[i].window.bytes);
    }
    if (why || !serving->quiet) {
        print_test(test, own, why);
    }
}

static void on_refused(void *owner, const char *peer, const char *why)
{
    struct listener *listener = owner;
    char more[RARELY_TEXT];
    atomic_fetch_add(&listener->serving->refused, 1);
    if (rarely(&listener->reported, clock_now_ns(), more)) {
        fprintf(stderr, "sonde: iperf3: %s was turned away: %s%s\n", peer, why, more);
    }
}

static void *serve_thread(void *argument)
{
    static const struct iperf3_server_events events = {
        .listening = on_listening, .finished = on_finished, .refused = on_refused};
    struct listener *listener = argument;
    const struct iperf3_server_config config = {
        .address = listener->address,
        .stop_fd = listener->serving->stop_fd,
        .data = &iperf3_data_threads,
        .events = &events,
        .owner = listener,
    };
    if (iperf3_serve(&config, &listener->failure) < 0) {
        listener->failed = true;
        atomic_store(listener->serving->failed, true);
        sem_post(&listener->listening);
    }
    return NULL;
}

static int start(struct listener *listener, struct err *error)
{
    sem_init(&listener->listening, 0, 0); /* cannot fail: not shared, 0 */
    int failed = pthread_create(&listener->thread, NULL, serve_thread, listener);
    if (failed) {
        sem_destroy(&listener->listening);
        return err_system(error, failed, "serve", "cannot start");
    }
    listener->started = true;
    while (sem_wait(&listener->listening) < 0) {
    }
    if (atomic_load(listener->serving->failed)) {
        return -1; /* close has the reason */
    }
    return 0;
}

int serve_iperf3_open(struct serve_iperf3 **result, struct address *addresses, uint32_t count,
                      bool quiet, _Atomic bool *failed, struct err *error)
{
    struct serve_iperf3 *serving = calloc(1, sizeof *serving + count * sizeof *serving->listeners);
    *result = NULL;
    if (!serving) {
        return err_system(error, ENOMEM, "memory", "cannot serve");
    }
    serving->failed = failed;
    serving->quiet = quiet;
    serving->stop_fd = eventfd(0, EFD_CLOEXEC);
    int status = serving->stop_fd < 0 ? err_system(error, errno, "serve", "cannot start") : 0;
    for (uint32_t i = 0; i < count && status == 0; i++) {
        struct listener *listener = &serving->listeners[i];
        listener->serving = serving;
        listener->address = &addresses[i];
        serving->count = i + 1;
        status = start(listener, error);
    }
    if (status < 0) {
        serve_iperf3_close(serving, error);
        return -1;
    }
    *result = serving;
    return 0;
}

void serve_iperf3_stop(struct serve_iperf3 *serving)
{
    if (!serving || serving->stopped) {
        return;
    }
    serving->stopped = true;
    if (serving->stop_fd >= 0 && eventfd_write(serving->stop_fd, 1) < 0) {
        err_system(&serving->failure, errno, "serve", "cannot stop");
    }
    for (uint32_t i = 0; i < serving->count; i++) {
        struct listener *listener = &serving->listeners[i];
        if (!listener->started) {
            continue;
        }
        pthread_join(listener->thread, NULL);
        sem_destroy(&listener->listening);
        if (listener->failed && serving->failure.code == ERR_NONE) {
            serving->failure = listener->failure;
        }
    }
}

int serve_iperf3_fill(const struct serve_iperf3 *serving, struct record_run *run)
{
    const uint64_t values[] = {serving->served, serving->not_finished, serving->refused,
                               serving->received_bytes, serving->sent_bytes};
    return record_add_counts(run, metrics, values, sizeof metrics / sizeof *metrics);
}

int serve_iperf3_close(struct serve_iperf3 *serving, struct err *error)
{
    int status = 0;
    if (!serving) {
        return 0;
    }
    serve_iperf3_stop(serving);
    if (serving->failure.code != ERR_NONE) {
        *error = serving->failure;
        status = -1;
    }
    if (serving->stop_fd >= 0) {
        close(serving->stop_fd);
    }
    free(serving);
    return status;
}
