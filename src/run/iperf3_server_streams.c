#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/iperf3_server_state.h"

#define STRAYS_MOST 8

/* A datagram, and who sent it. */
struct greeting {
    struct sockaddr_storage from;
    socklen_t from_length;
    uint8_t data[IPERF3_HELLO_BYTES + 1];
    ssize_t length; /* below 0: none there */
};

struct iperf3_server_test server_test_of(const struct server_control *control)
{
    return (struct iperf3_server_test){
        .number = control->number,
        .peer = control->peer_text,
        .test = &control->test,
        .cookie = control->cookie,
        .ends = control->ends,
        .end_count = control->end_count,
        .run = control->run,
    };
}

/* Tests take room of three kinds. */
struct room {
    uint64_t tests, streams, buffer_bytes;
};

static bool fits(const struct room *taken, uint32_t flows, uint64_t bytes, const struct room *most)
{
    return taken->tests + 1 <= most->tests && taken->streams + flows <= most->streams &&
           taken->buffer_bytes + bytes <= most->buffer_bytes;
}

/* Of what all together may have, one host leaves a quarter to the others. */
static uint64_t share(uint64_t most)
{
    return most - most / 4;
}

/* Whether there is room for it; else as what to refuse it. */
static const char *why_no_room(struct server_control *control, const struct iperf3_test *test)
{
    struct iperf3_server *server = control->server;
    const struct iperf3_server_config *config = &server->config;
    const struct room most = {config->tests_most, config->streams_most, config->buffer_bytes_most};
    const struct room shares = {share(most.tests), share(most.streams), share(most.buffer_bytes)};
    uint32_t flows = iperf3_flow_count(test);
    uint64_t bytes = (uint64_t)flows * iperf3_length(test);

    if (server->tests >= config->tests_most) {
        server_evict_test(server);
    }
    const struct room all = {server->tests, server->streams, server->buffer_bytes};
    if (!fits(&all, flows, bytes, &most)) {
        return "too many tests, streams or blocks at once";
    }
    struct room its = {0};
    for (const struct server_control *one = server->first; one; one = one->next) {
        if (one->number && server_same_host(&one->peer, &control->peer)) {
            its.tests++;
            its.streams += one->end_room;
            its.buffer_bytes += (uint64_t)one->end_room * iperf3_length(&one->test);
        }
    }
    return fits(&its, flows, bytes, &shares) ? NULL
                                             : "too many tests, streams or blocks of one host";
}

static void ask_for_streams(struct server_control *control)
{
    server_enter(control, PHASE_STREAMS,
                 control->test.udp ? SERVER_GREETING_NS : control->server->config.deadline_ns);
    server_say_state(control, IPERF3_CREATE_STREAMS);
}

static bool has_turn(const struct server_control *one, const struct sockaddr_storage *peer)
{
    return one->phase == PHASE_STREAMS && one->test.udp && server_same_host(&one->peer, peer);
}

void server_next_turn(struct iperf3_server *server, const struct sockaddr_storage *peer)
{
    struct server_control *next = NULL;
    for (struct server_control *one = server->first; one; one = one->next) {
        if (has_turn(one, peer)) {
            return;
        }
        if (next == NULL && one->phase == PHASE_TURN && server_same_host(&one->peer, peer)) {
            next = one;
        }
    }
    if (next) {
        ask_for_streams(next);
    }
}

void server_take_test(struct server_control *control, const struct iperf3_parameters *parameters)
{
    struct iperf3_server *server = control->server;
    struct iperf3_test test;

    int32_t reason = iperf3_test_from_parameters(parameters, &test);
    if (reason) {
        server_refuse(control, reason, 0, "a protocol that is not served");
        return;
    }
    if (test.duration_ns + test.omit_ns > server->config.duration_most_ns) {
        server_refuse(control, IPERF3_REASON_DURATION, 0, "the test would take too long");
        return;
    }
    const char *why = why_no_room(control, &test);
    if (why) {
        server_refuse(control, 0, 0, why);
        return;
    }
    uint32_t flows = iperf3_flow_count(&test);
    control->ends = calloc(flows, sizeof control->ends[0]);
    if (control->ends == NULL) {
        server_refuse(control, IPERF3_REASON_NEW_TEST, ENOMEM, "no memory");
        return;
    }
    control->test = test;
    control->end_room = flows;
    control->end_count = 0;
    control->number = ++server->numbers;
    server->tests++;
    server->streams += flows;
    server->buffer_bytes += (uint64_t)flows * iperf3_length(&test);
    if (server->config.events && server->config.events->accepted) {
        struct iperf3_server_test about = server_test_of(control);
        server->config.events->accepted(server->config.owner, &about);
    }
    if (!test.udp) {
        ask_for_streams(control);
        return;
    }
    server_enter(control, PHASE_TURN, SERVER_STREAMS_NS);
    server_next_turn(server, &control->peer);
}

static void begin(struct server_control *control)
{
    const struct iperf3_server_config *config = &control->server->config;
    struct err error = {0};

    if (config->data->begin(config->data_owner, &control->test, true, control->ends,
                            control->end_count, &control->run, &error)) {
        control->run = NULL;
        server_refuse(control, IPERF3_REASON_NEW_TEST, error.number, error.what);
        return;
    }
    /* The client counts only what arrives after it knows that the test is running. */
    server_say_state(control, IPERF3_TEST_START);
    server_say_state(control, IPERF3_TEST_RUNNING);
    if (control->fd < 0) {
        return;
    }
    server_enter(control, PHASE_RUNNING, config->interval_ns);
    control->start_ns = control->tick_ns = control->moved_ns = clock_now_ns();
    control->moved = 0;
    if (config->data->start(control->run, &error)) {
        server_refuse(control, IPERF3_REASON_CREATE_STREAM, error.number, error.what);
        return;
    }
    if (config->events && config->events->started) {
        struct iperf3_server_test about = server_test_of(control);
        config->events->started(config->owner, &about);
    }
}

/* Takes one more data connection of the test. */
static void add_stream(struct server_control *control, int fd)
{
    control->ends[control->end_count++] = (struct net_end){.read_fd = fd, .write_fd = fd};
    if (control->end_count == control->end_room) {
        struct sockaddr_storage peer = control->peer;
        begin(control);
        if (control->test.udp) {
            server_next_turn(control->server, &peer);
        }
        return;
    }
    uint64_t taken = clock_now_ns() - control->phase_ns;
    uint64_t rest = taken < SERVER_STREAMS_NS ? SERVER_STREAMS_NS - taken : 0;
    uint64_t step = control->test.udp ? SERVER_GREETING_NS : control->server->config.deadline_ns;
    server_due(control, step < rest ? step : rest);
}

bool server_adopt(struct server_control *control)
{
    struct server_control *test = control->server->first;
    struct err error = {0};
    int32_t reason = 0;

    while (test &&
           (test->number == 0 || memcmp(test->cookie, control->cookie, IPERF3_COOKIE_BYTES))) {
        test = test->next;
    }
    if (test == NULL) {
        return false;
    }
    if (test->phase != PHASE_STREAMS || test->test.udp ||
        !server_same_host(&test->peer, &control->peer)) {
        server_refuse(control, 0, 0, "the cookie of a test that takes no more streams");
        return true;
    }
    int fd = fcntl(control->fd, F_DUPFD_CLOEXEC, 0); /* not what epoll knows of it */
    if (fd < 0) {
        server_refuse(test, IPERF3_REASON_STREAM_ACCEPT, errno, "no file for a stream");
        return true;
    }
    epoll_ctl(control->server->epoll_fd, EPOLL_CTL_DEL, control->fd, NULL);
    server_close(control);
    if (iperf3_tune(fd, &test->test, false, &reason, &error)) {
        close(fd);
        server_refuse(test, reason, error.number, error.what);
        return true;
    }
    add_stream(test, fd);
    return true;
}

static struct greeting read_greeting(int fd)
{
    struct greeting greeting = {.from_length = sizeof greeting.from};
    greeting.length = recvfrom(fd, greeting.data, sizeof greeting.data, MSG_DONTWAIT | MSG_TRUNC,
                               (struct sockaddr *)&greeting.from, &greeting.from_length);
    return greeting;
}

static bool same_port(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    return a->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)a)->sin6_port ==
                                          ((const struct sockaddr_in6 *)b)->sin6_port
                                    : ((const struct sockaddr_in *)a)->sin_port ==
                                          ((const struct sockaddr_in *)b)->sin_port;
}

/* A socket for one peer's datagrams, at the address that its control connection came to. Until it
 * is connected it may be given what others send: that is read again as greetings. */
static int open_stream(struct server_control *control, const struct greeting *greeting,
                       struct greeting *strays, uint32_t *stray_count, int32_t *reason,
                       struct err *error)
{
    struct sockaddr_storage local;
    socklen_t length = sizeof local;
    const int on = 1;

    *reason = IPERF3_REASON_STREAM_ACCEPT;
    int fd = socket(greeting->from.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_system(error, errno, control->peer_text, "cannot open a socket");
    }
    if (getsockname(control->fd, (struct sockaddr *)&local, &length) ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        bind(fd, (struct sockaddr *)&local, length) ||
        connect(fd, (const struct sockaddr *)&greeting->from, greeting->from_length)) {
        err_system(error, errno, control->peer_text, "cannot open a stream");
        close(fd);
        return -1;
    }
    for (;;) {
        struct greeting stray = read_greeting(fd);
        if (stray.length < 0) {
            break;
        }
        bool foreign = !server_same_host(&stray.from, &greeting->from) ||
                       !same_port(&stray.from, &greeting->from);
        if (foreign && *stray_count < STRAYS_MOST) {
            strays[(*stray_count)++] = stray;
        }
    }
    if (iperf3_tune(fd, &control->test, false, reason, error)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Nobody is answered who has no control connection and no test that waits for this. */
static void take_greeting(struct iperf3_server *server, const struct greeting *greeting,
                          struct greeting *strays, uint32_t *stray_count)
{
    uint8_t reply[IPERF3_HELLO_BYTES];
    enum iperf3_greeting form;
    struct err error = {0};
    int32_t reason;

    if (iperf3_hello_decode(greeting->data, (size_t)greeting->length, &form) <= 0) {
        return;
    }
    struct server_control *control = server->first;
    while (control && !has_turn(control, &greeting->from)) {
        control = control->next;
    }
    if (control == NULL) {
        return;
    }
    int fd = open_stream(control, greeting, strays, stray_count, &reason, &error);
    if (fd < 0) {
        server_refuse(control, reason, error.number, error.what);
        return;
    }
    iperf3_reply_encode(reply, form);
    if (send(fd, reply, sizeof reply, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof reply) {
        int number = errno;
        close(fd);
        server_refuse(control, IPERF3_REASON_STREAM_ACCEPT, number, "cannot answer a datagram");
        return;
    }
    add_stream(control, fd);
}

void server_greetings(struct iperf3_server *server)
{
    for (int i = 0; i < 64; i++) {
        struct greeting strays[STRAYS_MOST];
        uint32_t count = 0;
        struct greeting greeting = read_greeting(server->datagram_fd);
        if (greeting.length < 0) {
            return;
        }
        take_greeting(server, &greeting, strays, &count);
        for (uint32_t stray = 0; stray < count; stray++) {
            greeting = strays[stray];
            take_greeting(server, &greeting, strays, &count);
        }
    }
}
