/* Both ends of iperf3's protocol over the plain data operations, for tests against the real one.
 *   iperf3_peer server URL [pending tests deadline_ms]     serves until its standard input ends
 *   iperf3_peer client HOST PORT [name=value …]            one test; prints what both sides saw */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/iperf3_data.h"
#include "run/iperf3_server.h"

static int complain(const struct err *error)
{
    fprintf(stderr, "%s: %s%s%s\n", error->subject, error->what, error->hint[0] ? ": " : "",
            error->hint);
    return 1;
}

static void print_side(const char *name, const struct iperf3_side *side)
{
    printf(", \"%s\": {\"cpu\": %.3f, \"congestion\": \"%s\", \"flows\": [", name,
           side->cpu_user + side->cpu_system, side->congestion);
    for (uint32_t i = 0; i < side->flow_count; i++) {
        const struct iperf3_flow *flow = &side->flows[i];
        printf("%s{\"bytes\": %" PRIu64 ", \"messages\": %" PRIu64 ", \"lost\": %" PRIu64
               ", \"out_of_order\": %" PRIu64 ", \"jitter_ns\": %.0f, \"retransmits\": %" PRId64
               ", \"omitted\": %" PRIu64 ", \"duration_ns\": %" PRIu64 "}",
               i ? ", " : "", flow->window.bytes, flow->window.messages, flow->window.lost,
               flow->window.out_of_order, flow->window.jitter_ns, (int64_t)flow->window.retransmits,
               flow->omitted_messages + flow->omitted_lost, flow->duration_ns);
    }
    printf("]}");
}

static void on_listening(void *owner, const struct address *address)
{
    (void)owner;
    printf("{\"event\": \"listening\", \"address\": \"%s\"}\n", address->text);
}

static void on_accepted(void *owner, const struct iperf3_server_test *test)
{
    (void)owner;
    printf("{\"event\": \"accepted\", \"test\": %" PRIu64 ", \"udp\": %d, \"streams\": %u, "
           "\"version\": \"%s\"}\n",
           test->number, test->test->udp, test->test->streams, test->test->client_version);
}

static void on_interval(void *owner, const struct iperf3_server_test *test, uint64_t start_ns,
                        uint64_t duration_ns, uint64_t bytes)
{
    (void)owner;
    printf("{\"event\": \"interval\", \"test\": %" PRIu64 ", \"start_ns\": %" PRIu64
           ", \"duration_ns\": %" PRIu64 ", \"bytes\": %" PRIu64 "}\n",
           test->number, start_ns, duration_ns, bytes);
}

static void on_finished(void *owner, const struct iperf3_server_test *test,
                        const struct iperf3_side *own, const struct iperf3_side *peer,
                        const struct err *why)
{
    (void)owner;
    printf("{\"event\": \"finished\", \"test\": %" PRIu64 ", \"why\": \"%s\"", test->number,
           why ? why->what : "");
    if (own) {
        print_side("own", own);
    }
    if (peer) {
        print_side("peer", peer);
    }
    printf("}\n");
}

static void on_refused(void *owner, const char *peer, const char *why)
{
    (void)owner;
    printf("{\"event\": \"refused\", \"peer\": \"%s\", \"why\": \"%s\"}\n", peer, why);
}

static int serve(int count, char **words)
{
    static const struct iperf3_server_events events = {.listening = on_listening,
                                                       .accepted = on_accepted,
                                                       .interval = on_interval,
                                                       .finished = on_finished,
                                                       .refused = on_refused};
    struct address address;
    struct err error = {0};
    struct iperf3_server_config config = {.address = &address,
                                          .stop_fd = STDIN_FILENO,
                                          .data = &iperf3_data_threads,
                                          .events = &events};

    if (address_parse(words[0], true, &address, &error)) {
        return complain(&error);
    }
    config.pending_most = count > 1 ? (uint32_t)strtoul(words[1], NULL, 10) : 0;
    config.tests_most = count > 2 ? (uint32_t)strtoul(words[2], NULL, 10) : 0;
    config.deadline_ns = count > 3 ? strtoull(words[3], NULL, 10) * NS_PER_MS : 0;
    return iperf3_serve(&config, &error) ? complain(&error) : 0;
}

static int set(struct iperf3_test *test, const char *word)
{
    const char *value = strchr(word, '=');
    size_t length = value ? (size_t)(value - word) : strlen(word);
    uint64_t number = value ? strtoull(value + 1, NULL, 10) : 1;
#define IS(name) (length == strlen(name) && strncmp(word, name, length) == 0)
    if (IS("udp")) {
        test->udp = number;
    } else if (IS("streams")) {
        test->streams = (uint32_t)number;
    } else if (IS("reverse")) {
        test->reverse = number;
    } else if (IS("bidirectional")) {
        test->bidirectional = number;
    } else if (IS("ms")) {
        test->duration_ns = number * NS_PER_MS;
    } else if (IS("omit_ms")) {
        test->omit_ns = number * NS_PER_MS;
    } else if (IS("bytes")) {
        test->bytes = number;
        test->duration_ns = 0;
    } else if (IS("length")) {
        test->length_bytes = (uint32_t)number;
    } else if (IS("rate")) {
        test->rate_bits_per_second = number;
    } else if (IS("window")) {
        test->window_bytes = (uint32_t)number;
    } else if (IS("mss")) {
        test->mss = (uint32_t)number;
    } else if (IS("tos")) {
        test->tos = (uint32_t)number;
    } else if (IS("nodelay")) {
        test->nodelay = number;
    } else if (IS("wide")) {
        test->counters_64bit = number;
    } else if (IS("congestion") && value) {
        snprintf(test->congestion, sizeof test->congestion, "%s", value + 1);
    } else {
        fprintf(stderr, "iperf3_peer: what is %s?\n", word);
        return -1;
    }
    return 0;
}

static void wait_for_end(struct iperf3_client *client, const struct iperf3_test *test, void *run)
{
    const struct timespec nap = {.tv_nsec = (long)NS_PER_MS};
    uint64_t until = clock_now_ns() + test->duration_ns + test->omit_ns;
    while (!iperf3_client_peer_ended(client) &&
           (test->duration_ns ? clock_now_ns() < until : !iperf3_data_threads.reached(run))) {
        nanosleep(&nap, NULL);
    }
}

static int run_test(struct iperf3_client *client, const struct iperf3_test *test,
                    struct iperf3_side *own, struct err *error)
{
    static struct net_end ends[IPERF3_FLOWS_MOST];
    uint32_t count = iperf3_flow_count(test);
    void *run;

    if (iperf3_client_connect(client, ends, count, error) ||
        iperf3_data_threads.begin(NULL, test, false, ends, count, &run, error)) {
        return -1;
    }
    int status = iperf3_client_start(client, error);
    if (status == 0) {
        status = iperf3_data_threads.start(run, error);
    }
    if (status == 0) {
        wait_for_end(client, test, run);
        iperf3_data_threads.stop(run, own);
    }
    iperf3_data_threads.end(run);
    for (uint32_t i = 0; i < count; i++) {
        net_end_close(ends[i]);
    }
    return status ? status : iperf3_client_finish(client, own, error);
}

static int be_client(int count, char **words)
{
    static struct iperf3_side own;
    struct iperf3_test test = {.streams = 1, .duration_ns = NS_PER_SECOND};
    struct iperf3_client_config config = {.test = &test, .stop_fd = -1};
    struct iperf3_client *client;
    struct err error = {0};

    config.host = words[0];
    config.port = (uint16_t)strtoul(words[1], NULL, 10);
    for (int i = 2; i < count; i++) {
        if (strncmp(words[i], "deadline_ms=", 12) == 0) {
            config.deadline_ns = strtoull(words[i] + 12, NULL, 10) * NS_PER_MS;
        } else if (strncmp(words[i], "patience_ms=", 12) == 0) {
            config.patience_ns = strtoull(words[i] + 12, NULL, 10) * NS_PER_MS;
        } else if (set(&test, words[i])) {
            return 2;
        }
    }
    if (iperf3_client_open(&client, &config, &error)) {
        return complain(&error);
    }
    int status = run_test(client, &test, &own, &error);
    if (status == 0) {
        printf("{\"address\": \"%s\"", iperf3_client_address(client));
        print_side("own", &own);
        print_side("peer", iperf3_client_peer(client));
        printf("}\n");
    }
    iperf3_client_close(client);
    return status ? complain(&error) : 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc >= 3 && strcmp(argv[1], "server") == 0) {
        return serve(argc - 2, argv + 2);
    }
    if (argc >= 4 && strcmp(argv[1], "client") == 0) {
        return be_client(argc - 2, argv + 2);
    }
    fprintf(stderr, "usage: iperf3_peer server URL … | client HOST PORT [name=value …]\n");
    return 2;
}
