#include "run/iperf3.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/iperf3_wire.h"

#define PAUSE_NS (20 * NS_PER_MS) /* between two attempts to reach it */

struct iperf3_client {
    struct iperf3_test test;
    struct iperf3_wire wire;
    struct sockaddr_storage server;
    socklen_t server_length;
    struct sockaddr_storage source;
    socklen_t source_length; /* 0: none */
    uint32_t mss;            /* of the control connection */
    uint16_t data_port;
    bool length_of_path;
    char *output; /* of the server */
    bool output_is_json;
    char address[80], cookie[IPERF3_COOKIE_BYTES];
    int held[IPERF3_FLOWS_MOST]; /* the data connections once more, until the peer knows the end */
    uint32_t held_count;
    bool running, ended, finished, lost; /* lost: nothing can be said to the server any more */
    struct err end_failed;               /* why the end could not be said */
    struct iperf3_side peer;
};

static void write_address(struct iperf3_client *client)
{
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&client->server;
    const struct sockaddr_in *four = (const struct sockaddr_in *)&client->server;
    bool is_six = client->server.ss_family == AF_INET6;
    char host[INET6_ADDRSTRLEN] = "?";

    inet_ntop(client->server.ss_family,
              is_six ? (const void *)&six->sin6_addr : (const void *)&four->sin_addr, host,
              sizeof host);
    snprintf(client->address, sizeof client->address,
             is_six ? "iperf3://[%s]:%u" : "iperf3://%s:%u", host,
             ntohs(is_six ? six->sin6_port : four->sin_port));
}

/* Waits for a connection attempt that goes on. 0 or -1. */
static int await_connected(struct iperf3_client *client, int fd, int also, struct err *error)
{
    int number = 0;
    socklen_t length = sizeof number;
    uint64_t until = clock_now_ns() + client->wire.deadline_ns;

    int ready = iperf3_wire_wait(&client->wire, fd, POLLOUT, also, until, "to connect", error);
    if (ready < 0) {
        return -1;
    }
    if (ready == 2) { /* what the server says is more than what the socket says */
        return 2;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &length)) {
        number = errno;
    }
    return number ? err_system(error, number, client->address, "cannot connect") : 0;
}

/* Where the user wants it to come from. */
static int bind_source(const struct iperf3_client *client, int fd, uint16_t port, struct err *error)
{
    struct sockaddr_storage source = client->source;
    socklen_t length = client->source_length;
    if (length == 0 && port == 0) {
        return 0;
    }
    if (length == 0) {
        source = (struct sockaddr_storage){.ss_family = client->server.ss_family};
        length = client->server_length;
    }
    if (source.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)&source)->sin6_port = htons(port);
    } else {
        ((struct sockaddr_in *)&source)->sin_port = htons(port);
    }
    return bind(fd, (const struct sockaddr *)&source, length)
               ? err_system(error, errno, client->address, "cannot use the source address")
               : 0;
}

/* A connected, non-blocking socket to the server, tuned where `test` is not NULL. */
static int connect_socket(struct iperf3_client *client, int type, const struct iperf3_test *test,
                          uint16_t port, struct err *error)
{
    int fd = socket(client->server.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_system(error, errno, client->address, "cannot open a socket");
    }
    int status = test ? iperf3_tune(fd, test, true, NULL, error) : 0;
    if (status == 0) {
        status = bind_source(client, fd, port, error);
    }
    if (status == 0 &&
        connect(fd, (const struct sockaddr *)&client->server, client->server_length)) {
        status = errno == EINPROGRESS ? await_connected(client, fd, -1, error)
                                      : err_system(error, errno, client->address, "cannot connect");
    }
    if (status) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Reads why a server gives up. */
static int read_refusal(struct iperf3_client *client, struct err *error)
{
    uint8_t bytes[IPERF3_REFUSAL_BYTES];
    struct iperf3_refusal refusal;

    if (iperf3_wire_read(&client->wire, bytes, sizeof bytes, "why it refuses", error)) {
        return -1;
    }
    iperf3_refusal_decode(bytes, sizeof bytes, &refusal);
    const char *text = iperf3_reason_text(refusal.reason);
    if (refusal.number > 0) {
        char what[128];
        snprintf(what, sizeof what, "the server gives up: %s (iperf3's error %d)",
                 text ? text : "for a reason of its own", refusal.reason);
        return err_system(error, refusal.number, client->address, "%s", what);
    }
    return err_set(error, ERR_SYSTEM, client->address,
                   "the server gives up: %s (iperf3's error %d)",
                   text ? text : "for a reason of its own", refusal.reason);
}

/* The server's next byte, which has to be this one. */
static int expect(struct iperf3_client *client, enum iperf3_state wanted, struct err *error)
{
    char what[64];
    uint8_t byte;
    enum iperf3_state state;

    snprintf(what, sizeof what, "%s is due", iperf3_state_name(wanted));
    if (iperf3_wire_read(&client->wire, &byte, 1, what, error)) {
        client->lost = client->lost || error->code != ERR_INTERRUPTED;
        return -1;
    }
    int status = iperf3_state_decode(&byte, 1, &state);
    if (status == 1 && state == wanted) {
        return 0;
    }
    client->lost = true;
    if (status == 1 && state == IPERF3_ACCESS_DENIED) {
        err_set(error, ERR_SYSTEM, client->address, "the server is busy running a test");
        error->number = EBUSY;
        return err_hint(error, "iperf3 serves one client at a time: try again later");
    }
    if (status == 1 && state == IPERF3_SERVER_ERROR) {
        return read_refusal(client, error);
    }
    if (status == 1 && state == IPERF3_SERVER_TERMINATE) {
        return err_set(error, ERR_SYSTEM, client->address, "the server was terminated");
    }
    err_set(error, ERR_PROTOCOL, client->address, "sent %d (%s) where %s is due", (int8_t)byte,
            status == 1 ? iperf3_state_name(state) : "unknown", iperf3_state_name(wanted));
    return err_hint(error, "is it an iperf3 server?");
}

/* A server that is busy says so and closes at once: its word, where it has one, is worth more than
 * our failure to write. */
static int say(struct iperf3_client *client, const void *bytes, size_t length,
               enum iperf3_state answer, struct err *error)
{
    if (iperf3_wire_write(&client->wire, bytes, length, "to write", error)) {
        struct err instead = {0};
        client->lost = true;
        if (error->code == ERR_SYSTEM && expect(client, answer, &instead) &&
            instead.code == ERR_SYSTEM && (instead.number == 0 || instead.number == EBUSY)) {
            *error = instead;
        }
        return -1;
    }
    return 0;
}

static int say_state(struct iperf3_client *client, enum iperf3_state state,
                     enum iperf3_state answer, struct err *error)
{
    int8_t byte = (int8_t)state;
    return say(client, &byte, 1, answer, error);
}

/* Sends JSON, which is freed. */
static int say_json(struct iperf3_client *client, char *json, enum iperf3_state answer,
                    struct err *error)
{
    uint8_t header[IPERF3_FRAME_HEADER_BYTES];
    if (json == NULL) {
        return err_system(error, ENOMEM, client->address, "cannot write JSON");
    }
    size_t length = strlen(json);
    iperf3_frame_header(header, (uint32_t)length);
    int status = say(client, header, sizeof header, answer, error) ||
                 say(client, json, length, answer, error);
    free(json);
    return status ? -1 : 0;
}

static int connect_control(struct iperf3_client *client, const struct addrinfo *found,
                           struct err *error)
{
    const int on = 1;

    for (const struct addrinfo *item = found; item; item = item->ai_next) {
        if (item->ai_addrlen > sizeof client->server ||
            (client->source_length && item->ai_family != client->source.ss_family)) {
            continue;
        }
        memcpy(&client->server, item->ai_addr, item->ai_addrlen);
        client->server_length = item->ai_addrlen;
        write_address(client);
        client->wire.fd = connect_socket(client, SOCK_STREAM, NULL, 0, error);
        if (client->wire.fd >= 0) {
            if (setsockopt(client->wire.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)) {
                return err_system(error, errno, client->address, "cannot set TCP_NODELAY");
            }
            return 0;
        }
        if (error->code == ERR_INTERRUPTED) {
            return -1;
        }
    }
    if (error->number == ECONNREFUSED) {
        err_hint(error, "start one there: iperf3 -s");
    }
    return -1;
}

static int resolve(const char *host, const char *port, int family, struct addrinfo **found,
                   struct err *error)
{
    const struct addrinfo wanted = {.ai_family = family, .ai_socktype = SOCK_STREAM};
    int code = getaddrinfo(host, port, &wanted, found);
    if (code) {
        int number = code == EAI_SYSTEM ? errno : 0;
        err_set(error, ERR_SYSTEM, host, "cannot resolve the name: %s",
                number ? strerror(number) : gai_strerror(code));
        return err_hint(error, "check the name, or write a numeric address");
    }
    return 0;
}

static int reach(struct iperf3_client *client, const struct iperf3_client_config *config,
                 struct err *error)
{
    struct addrinfo *found = NULL;
    char port[8];

    if (config->source) {
        if (resolve(config->source, NULL, config->family, &found, error)) {
            return -1;
        }
        memcpy(&client->source, found->ai_addr, found->ai_addrlen);
        client->source_length = found->ai_addrlen;
        freeaddrinfo(found);
    }
    snprintf(port, sizeof port, "%u", config->port ? config->port : IPERF3_PORT);
    if (resolve(config->host, port, config->family, &found, error)) {
        return -1;
    }
    int status = connect_control(client, found, error);
    freeaddrinfo(found);
    return status;
}

/* The segment size is known once something has been said. */
static void read_segment_size(struct iperf3_client *client)
{
    struct iperf3_test *test = &client->test;
    socklen_t length = sizeof client->mss;

    if (getsockopt(client->wire.fd, IPPROTO_TCP, TCP_MAXSEG, &client->mss, &length)) {
        client->mss = 0;
    }
    if (client->length_of_path && test->udp && test->length_bytes == 0 &&
        client->mss >= IPERF3_UDP_BLOCK_LEAST) {
        test->length_bytes =
            client->mss < IPERF3_UDP_BLOCK_MOST ? client->mss : IPERF3_UDP_BLOCK_MOST;
    }
}

static int agree(struct iperf3_client *client, struct err *error)
{
    uint8_t random[IPERF3_COOKIE_BYTES - 1];
    struct iperf3_parameters parameters;

    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        return err_system(error, errno, client->address, "cannot get random bytes");
    }
    iperf3_cookie_make(random, client->cookie);
    if (say(client, client->cookie, sizeof client->cookie, IPERF3_PARAM_EXCHANGE, error) ||
        expect(client, IPERF3_PARAM_EXCHANGE, error)) {
        return -1;
    }
    read_segment_size(client);
    iperf3_test_to_parameters(&client->test, &parameters);
    if (say_json(client, iperf3_parameters_encode(&parameters), IPERF3_CREATE_STREAMS, error)) {
        return -1;
    }
    return expect(client, IPERF3_CREATE_STREAMS, error);
}

static int try_open(struct iperf3_client **result, const struct iperf3_client_config *config,
                    struct err *error)
{
    struct iperf3_client *client = calloc(1, sizeof *client);
    if (client == NULL) {
        return err_system(error, ENOMEM, config->host, "cannot make a client");
    }
    client->test = *config->test;
    client->wire = (struct iperf3_wire){
        .fd = -1,
        .stop_fd = config->stop_fd,
        .deadline_ns = config->deadline_ns ? config->deadline_ns : IPERF3_DEADLINE_NS,
        .subject = client->address,
    };
    client->length_of_path = config->length_of_path;
    client->data_port = config->data_port;
    if (reach(client, config, error) || agree(client, error)) {
        iperf3_client_close(client);
        return -1;
    }
    *result = client;
    return 0;
}

/* What may be over in a moment. */
static bool may_pass(const struct err *error)
{
    return error->code == ERR_SYSTEM && (error->number == EBUSY || error->number == ECONNREFUSED ||
                                         error->number == ECONNRESET || error->number == EPIPE);
}

int iperf3_client_open(struct iperf3_client **result, const struct iperf3_client_config *config,
                       struct err *error)
{
    const struct iperf3_wire nobody = {
        .fd = -1, .stop_fd = config->stop_fd, .subject = config->host};
    uint64_t until = clock_now_ns() + config->patience_ns;

    *result = NULL;
    if (iperf3_test_check(config->test, error)) {
        return -1;
    }
    while (try_open(result, config, error)) {
        struct err waited = {0};
        uint64_t now = clock_now_ns();
        if (!may_pass(error) || now >= until) {
            return -1;
        }
        iperf3_wire_wait(&nobody, -1, 0, -1, now + PAUSE_NS, "to try again", &waited);
        if (waited.code == ERR_INTERRUPTED) {
            *error = waited;
            return -1;
        }
        *error = (struct err){0};
    }
    return 0;
}

/* The server answers a hello once it has a socket for the stream. */
static int greet(struct iperf3_client *client, int fd, struct err *error)
{
    uint64_t until = clock_now_ns() + client->wire.deadline_ns;
    uint8_t bytes[IPERF3_HELLO_BYTES + 1];
    enum iperf3_greeting greeting;

    iperf3_hello_encode(bytes);
    if (send(fd, bytes, IPERF3_HELLO_BYTES, MSG_NOSIGNAL) != IPERF3_HELLO_BYTES) {
        return err_system(error, errno, client->address, "cannot send a datagram");
    }
    for (;;) {
        int ready = iperf3_wire_wait(&client->wire, fd, POLLIN, client->wire.fd, until,
                                     "no datagram came back", error);
        if (ready == 2) {
            return expect(client, IPERF3_TEST_START, error)
                       ? -1
                       : err_set(error, ERR_PROTOCOL, client->address,
                                 "began before the streams were there");
        }
        if (ready < 0) {
            return -1;
        }
        ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got < 0 && errno != EAGAIN && errno != EINTR) {
            return err_system(error, errno, client->address, "cannot reach it by UDP");
        }
        if (got > 0 && iperf3_reply_decode(bytes, (size_t)got, &greeting) > 0) {
            return 0;
        }
    }
}

static int make_stream(struct iperf3_client *client, uint32_t index, struct err *error)
{
    bool udp = client->test.udp;
    uint16_t port = client->data_port ? (uint16_t)(client->data_port + index) : 0;
    int fd = connect_socket(client, udp ? SOCK_DGRAM : SOCK_STREAM, &client->test, port, error);
    if (fd < 0) {
        return -1;
    }
    int status = 0;
    if (udp) {
        status = greet(client, fd, error);
    } else if (send(fd, client->cookie, sizeof client->cookie, MSG_NOSIGNAL) !=
               (ssize_t)sizeof client->cookie) { /* it fits into an empty buffer at once */
        status = err_system(error, errno, client->address, "cannot send the cookie");
    }
    int held = status ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (status == 0 && held < 0) {
        status = err_system(error, errno, client->address, "cannot hold a connection");
    }
    if (status) {
        close(fd);
        return -1;
    }
    client->held[client->held_count++] = held;
    return fd;
}

int iperf3_client_connect(struct iperf3_client *client, struct net_end *ends, uint32_t count,
                          struct err *error)
{
    if (count != iperf3_flow_count(&client->test)) {
        return err_set(error, ERR_USAGE, client->address, "%u connections for %u streams", count,
                       iperf3_flow_count(&client->test));
    }
    for (uint32_t i = 0; i < count; i++) {
        int fd = make_stream(client, i, error);
        if (fd < 0) {
            while (i--) {
                net_end_close(ends[i]);
            }
            return -1;
        }
        ends[i] = (struct net_end){.read_fd = fd, .write_fd = fd};
        if (i == 0 && !client->test.udp) {
            socklen_t length = sizeof client->test.congestion;
            if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, client->test.congestion, &length)) {
                client->test.congestion[0] = '\0'; /* not known */
            }
            client->test.congestion[sizeof client->test.congestion - 1] = '\0';
        }
    }
    return 0;
}

int iperf3_client_start(struct iperf3_client *client, struct err *error)
{
    if (expect(client, IPERF3_TEST_START, error) || expect(client, IPERF3_TEST_RUNNING, error)) {
        return -1;
    }
    client->running = true;
    return 0;
}

bool iperf3_client_peer_ended(struct iperf3_client *client)
{
    char byte;
    ssize_t got = recv(client->wire.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    /* The server has nothing to say before it is told of the end. */
    return got >= 0 || (errno != EAGAIN && errno != EINTR);
}

static int read_results(struct iperf3_client *client, struct iperf3_results *results,
                        struct err *error)
{
    uint8_t header[IPERF3_FRAME_HEADER_BYTES];
    const char *body, *member;
    uint32_t body_length;

    if (iperf3_wire_read(&client->wire, header, sizeof header, "its results are due", error)) {
        return -1;
    }
    int status =
        iperf3_frame_decode(header, sizeof header, IPERF3_RESULTS_MOST, &body, &body_length);
    if (status < 0) {
        return err_set(error, ERR_PROTOCOL, client->address, "results: %s",
                       iperf3_error_text(status));
    }
    size_t length = (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3];
    char *text = malloc(length);
    if (text == NULL) {
        return err_system(error, ENOMEM, client->address, "cannot read results");
    }
    if (iperf3_wire_read(&client->wire, text, length, "its results are due", error)) {
        free(text);
        return -1;
    }
    status = iperf3_results_decode(text, length, results, &member);
    if (status == 0 && client->test.server_output) {
        client->output = iperf3_results_output(text, length, &client->output_is_json);
    }
    free(text);
    if (status < 0) {
        return err_set(error, ERR_PROTOCOL, client->address, "results: %s%s%s",
                       iperf3_error_text(status), member[0] ? ": " : "", member);
    }
    return iperf3_side_from_results(&client->test, results, true, client->address, &client->peer,
                                    error);
}

static int say_end(struct iperf3_client *client, struct err *error)
{
    if (client->end_failed.code != ERR_NONE) {
        *error = client->end_failed;
        return -1;
    }
    if (!client->ended && say_state(client, IPERF3_TEST_END, IPERF3_EXCHANGE_RESULTS, error)) {
        return -1;
    }
    client->ended = true;
    return 0;
}

void iperf3_client_end(struct iperf3_client *client)
{
    struct err failed = {0};
    if (say_end(client, &failed)) {
        client->end_failed = failed;
    }
}

static int exchange(struct iperf3_client *client, const struct iperf3_side *own,
                    struct iperf3_results *results, struct err *error)
{
    struct iperf3_side side = *own;
    if (side.congestion[0] == '\0' && !client->test.udp) {
        memcpy(side.congestion, client->test.congestion, sizeof side.congestion);
    }
    iperf3_side_to_results(&client->test, &side, false, results);
    if (say_end(client, error) || expect(client, IPERF3_EXCHANGE_RESULTS, error) ||
        say_json(client, iperf3_results_encode(results), IPERF3_DISPLAY_RESULTS, error) ||
        read_results(client, results, error) || expect(client, IPERF3_DISPLAY_RESULTS, error)) {
        return -1;
    }
    client->finished = true;
    /* It may be gone before it reads this: both sides have all that they need. */
    struct err ignored = {0};
    say_state(client, IPERF3_IPERF_DONE, IPERF3_IPERF_DONE, &ignored);
    return 0;
}

int iperf3_client_finish(struct iperf3_client *client, const struct iperf3_side *own,
                         struct err *error)
{
    struct iperf3_results *results = calloc(1, sizeof *results);
    if (results == NULL) {
        return err_system(error, ENOMEM, client->address, "cannot exchange results");
    }
    int status = exchange(client, own, results, error);
    free(results);
    return status;
}

const struct iperf3_side *iperf3_client_peer(const struct iperf3_client *client)
{
    return &client->peer;
}

const char *iperf3_client_output(const struct iperf3_client *client, bool *json)
{
    *json = client->output_is_json;
    return client->output;
}

const struct iperf3_test *iperf3_client_test(const struct iperf3_client *client)
{
    return &client->test;
}

const char *iperf3_client_cookie(const struct iperf3_client *client)
{
    return client->cookie;
}

uint32_t iperf3_client_mss(const struct iperf3_client *client)
{
    return client->mss;
}

const char *iperf3_client_address(const struct iperf3_client *client)
{
    return client->address;
}

void iperf3_client_close(struct iperf3_client *client)
{
    if (client == NULL) {
        return;
    }
    if (client->wire.fd >= 0) {
        if (!client->finished && !client->lost) {
            const int8_t byte = IPERF3_CLIENT_TERMINATE;
            (void)!send(client->wire.fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
        close(client->wire.fd);
    }
    for (uint32_t i = 0; i < client->held_count; i++) {
        close(client->held[i]);
    }
    free(client->output);
    free(client);
}
