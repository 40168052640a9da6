#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "run/iperf3_server_state.h"

/* Has the loop look for the right events. */
static void listen_for(struct server_control *control)
{
    bool writing = control->out_sent < control->out_used;
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = control};

    if (writing != control->writing &&
        epoll_ctl(control->server->epoll_fd, EPOLL_CTL_MOD, control->fd, &event)) {
        server_close(control);
        return;
    }
    control->writing = writing;
}

/* The client went away. */
static void gone(struct server_control *control, int number)
{
    struct err why = {0};
    if (number) {
        err_system(&why, number, control->peer_text, "the control connection failed");
    } else {
        err_set(&why, ERR_SYSTEM, control->peer_text, "the client closed the control connection");
    }
    server_end_test(control, &why);
    server_close(control);
}

static void flush(struct server_control *control)
{
    while (control->out_sent < control->out_used) {
        ssize_t put = send(control->fd, control->out + control->out_sent,
                           control->out_used - control->out_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put < 0 && errno == EAGAIN) {
            break;
        }
        if (put < 0 && errno != EINTR) {
            gone(control, errno);
            return;
        }
        control->out_sent += put > 0 ? (size_t)put : 0;
    }
    if (control->out_sent == control->out_used) {
        control->out_sent = control->out_used = 0;
        if (control->phase == PHASE_CLOSING) {
            shutdown(control->fd, SHUT_WR);
        }
    }
    listen_for(control);
}

void server_say(struct server_control *control, const void *bytes, size_t length)
{
    if (control->fd < 0) {
        return;
    }
    uint8_t *out = realloc(control->out, control->out_used + length);
    if (out == NULL) {
        gone(control, ENOMEM);
        return;
    }
    control->out = out;
    memcpy(out + control->out_used, bytes, length);
    control->out_used += length;
    flush(control);
}

void server_say_state(struct server_control *control, enum iperf3_state state)
{
    int8_t byte = (int8_t)state;
    server_say(control, &byte, 1);
}

void server_refuse(struct server_control *control, int32_t reason, int number, const char *why)
{
    uint8_t bytes[1 + IPERF3_REFUSAL_BYTES] = {(uint8_t)IPERF3_ACCESS_DENIED};
    const struct iperf3_refusal refusal = {.reason = reason, .number = number};
    const struct iperf3_server_events *events = control->server->config.events;
    struct err error = {0};

    if (control->fd < 0 || control->phase == PHASE_CLOSING) {
        return;
    }
    if (control->number) {
        err_set(&error, ERR_PROTOCOL, control->peer_text, "%s", why);
        server_end_test(control, &error);
    } else if (events && events->refused) {
        events->refused(control->server->config.owner, control->peer_text, why);
    }
    if (reason) {
        bytes[0] = (uint8_t)IPERF3_SERVER_ERROR;
        iperf3_refusal_encode(bytes + 1, &refusal);
    }
    server_enter(control, PHASE_CLOSING, SERVER_CLOSING_NS);
    server_say(control, bytes, reason ? sizeof bytes : 1);
}

/* Fills control->own. */
static void stop_moving(struct server_control *control)
{
    const struct iperf3_server_config *config = &control->server->config;
    config->data->stop(control->run, control->own);
    if (config->events && config->events->stopped) {
        struct iperf3_server_test about = server_test_of(control);
        config->events->stopped(config->owner, &about, control->own);
    }
}

void server_end_test(struct server_control *control, const struct err *why)
{
    struct iperf3_server *server = control->server;
    const struct iperf3_server_config *config = &server->config;
    struct sockaddr_storage peer = control->peer;

    if (control->number == 0) {
        return;
    }
    if (control->run) {
        if (control->own == NULL) {
            control->own = calloc(1, sizeof *control->own);
        }
        if (control->own) {
            stop_moving(control);
        }
        config->data->end(control->run);
        control->run = NULL;
    }
    for (uint32_t i = 0; i < control->end_count; i++) {
        net_end_close(control->ends[i]);
    }
    if (config->events && config->events->finished) {
        struct iperf3_server_test about = server_test_of(control);
        config->events->finished(config->owner, &about, control->own, control->its, why);
    }
    server->tests--;
    server->streams -= control->end_room;
    server->buffer_bytes -= (uint64_t)control->end_room * iperf3_length(&control->test);
    free(control->ends);
    free(control->own);
    free(control->its);
    control->ends = NULL;
    control->own = control->its = NULL;
    control->end_count = control->end_room = 0;
    control->number = 0;
    if (control->phase == PHASE_STREAMS && control->test.udp) {
        control->phase = PHASE_LAST; /* it has its turn no longer */
        server_next_turn(server, &peer);
    }
}

/* Reads the next message from its beginning. */
static void want(struct server_control *control, size_t bytes)
{
    free(control->in);
    control->in = NULL;
    control->in_used = 0;
    control->in_wanted = bytes;
}

static void take_cookie(struct server_control *control)
{
    int status = iperf3_cookie_decode(control->small, control->in_used, control->cookie);
    if (status < 0) {
        server_refuse(control, IPERF3_REASON_COOKIE, 0, iperf3_error_text(status));
        return;
    }
    if (server_adopt(control)) {
        return;
    }
    want(control, IPERF3_FRAME_HEADER_BYTES);
    server_enter(control, PHASE_PARAMETERS, control->server->config.deadline_ns);
    server_say_state(control, IPERF3_PARAM_EXCHANGE);
}

static void bad_json(struct server_control *control, int32_t reason, const char *what, int status,
                     const char *member)
{
    char why[160];
    snprintf(why, sizeof why, "%s: %s%s%s", what, iperf3_error_text(status), member[0] ? ": " : "",
             member);
    server_refuse(control, reason, 0, why);
}

/* A number that says more of what is wrong than that something is. */
static int32_t parameter_reason(const char *member, int status)
{
    static const struct {
        const char *member;
        int32_t reason;
    } reasons[] = {{"omit", IPERF3_REASON_OMIT},
                   {"time", IPERF3_REASON_DURATION},
                   {"MSS", 10},
                   {"parallel", IPERF3_REASON_STREAMS},
                   {"window", IPERF3_REASON_WINDOW},
                   {"len", IPERF3_REASON_LENGTH},
                   {"burst", 15},
                   {"TOS", 21}};
    for (size_t i = 0; status == IPERF3_BAD_JSON_RANGE && i < sizeof reasons / sizeof reasons[0];
         i++) {
        if (strcmp(reasons[i].member, member) == 0) {
            return reasons[i].reason;
        }
    }
    return IPERF3_REASON_PARAMETERS;
}

static void take_parameters(struct server_control *control, const char *body, uint32_t length)
{
    struct iperf3_parameters parameters;
    const char *member;

    int status = iperf3_parameters_decode(body, length, &parameters, &member);
    if (status < 0) {
        bad_json(control, parameter_reason(member, status), "parameters", status, member);
        return;
    }
    want(control, 1);
    server_take_test(control, &parameters);
}

static void say_results(struct server_control *control)
{
    struct iperf3_results *results = &control->server->results;
    uint8_t header[IPERF3_FRAME_HEADER_BYTES];

    iperf3_side_to_results(&control->test, control->own, true, results);
    const struct iperf3_server_events *events = control->server->config.events;
    struct iperf3_server_test about = server_test_of(control);
    results->output = control->test.server_output && events && events->output
                          ? events->output(control->server->config.owner, &about)
                          : NULL;
    char *json = iperf3_results_encode(results);
    if (json == NULL) {
        server_refuse(control, 115, ENOMEM, "no memory");
        return;
    }
    size_t length = strlen(json);
    iperf3_frame_header(header, (uint32_t)length);
    server_enter(control, PHASE_LAST, control->server->config.deadline_ns);
    server_say(control, header, sizeof header);
    server_say(control, json, length);
    server_say_state(control, IPERF3_DISPLAY_RESULTS);
    free(json);
}

static void take_results(struct server_control *control, const char *body, uint32_t length)
{
    struct iperf3_results *results = &control->server->results;
    struct err error = {0};
    const char *member;

    int status = iperf3_results_decode(body, length, results, &member);
    if (status < 0) {
        bad_json(control, IPERF3_REASON_RESULTS, "results", status, member);
        return;
    }
    control->its = calloc(1, sizeof *control->its);
    if (control->its == NULL) {
        server_refuse(control, IPERF3_REASON_RESULTS, ENOMEM, "no memory");
        return;
    }
    if (iperf3_side_from_results(&control->test, results, false, control->peer_text, control->its,
                                 &error)) {
        server_refuse(control, 208, 0, error.what);
        return;
    }
    want(control, 1);
    say_results(control);
}

/* The frame's length is judged before there is memory for it. */
static void take_frame(struct server_control *control)
{
    bool parameters = control->phase == PHASE_PARAMETERS;
    uint32_t most = parameters ? IPERF3_PARAMETERS_MOST : SERVER_CLIENT_RESULTS_MOST, length;
    const char *body;

    if (control->in == NULL) {
        int status = iperf3_frame_decode(control->small, control->in_used, most, &body, &length);
        if (status < 0) {
            bad_json(control, parameters ? IPERF3_REASON_PARAMETERS : IPERF3_REASON_RESULTS,
                     parameters ? "parameters" : "results", status, "");
            return;
        }
        size_t wanted = IPERF3_FRAME_HEADER_BYTES + ((size_t)control->small[1] << 16) +
                        ((size_t)control->small[2] << 8) + control->small[3];
        control->in = malloc(wanted);
        if (control->in == NULL) {
            server_refuse(control, IPERF3_REASON_NEW_TEST, ENOMEM, "no memory");
            return;
        }
        memcpy(control->in, control->small, IPERF3_FRAME_HEADER_BYTES);
        control->in_wanted = wanted;
        return;
    }
    uint8_t *in = control->in; /* the next message may be waited for before this one is done */
    size_t used = control->in_used;
    control->in = NULL;
    if (iperf3_frame_decode(in, used, most, &body, &length) > 0) {
        (parameters ? take_parameters : take_results)(control, body, length);
    }
    free(in);
}

/* The client has ended the measured part. */
static void end_running(struct server_control *control)
{
    const struct iperf3_server_config *config = &control->server->config;

    control->own = calloc(1, sizeof *control->own);
    if (control->own == NULL) {
        server_refuse(control, IPERF3_REASON_RESULTS, ENOMEM, "no memory");
        return;
    }
    stop_moving(control);
    config->data->end(control->run);
    control->run = NULL;
    for (uint32_t i = 0; i < control->end_count; i++) {
        net_end_close(control->ends[i]);
    }
    control->end_count = 0;
    want(control, IPERF3_FRAME_HEADER_BYTES);
    server_enter(control, PHASE_RESULTS, config->deadline_ns);
    server_say_state(control, IPERF3_EXCHANGE_RESULTS);
}

static void take_state(struct server_control *control)
{
    enum iperf3_state state;
    char why[96];
    struct err error = {0};

    int status = iperf3_state_decode(control->small, control->in_used, &state);
    want(control, 1);
    if (status == 1 && state == IPERF3_TEST_END && control->phase == PHASE_RUNNING) {
        end_running(control);
    } else if (status == 1 && state == IPERF3_IPERF_DONE && control->phase == PHASE_LAST) {
        server_close(control);
    } else if (status == 1 && state == IPERF3_CLIENT_TERMINATE) {
        err_set(&error, ERR_SYSTEM, control->peer_text, "the client called the test off");
        server_end_test(control, &error);
        server_close(control);
    } else {
        snprintf(why, sizeof why, "the client sent %d (%s) out of place", (int8_t)control->small[0],
                 iperf3_state_name((int8_t)control->small[0]));
        server_refuse(control, IPERF3_REASON_MESSAGE, 0, why);
    }
}

static void take_message(struct server_control *control)
{
    switch (control->phase) {
    case PHASE_GREETING:
        take_cookie(control);
        break;
    case PHASE_PARAMETERS:
    case PHASE_RESULTS:
        take_frame(control);
        break;
    case PHASE_CLOSING:
        want(control, sizeof control->small); /* whatever it still says */
        break;
    default:
        take_state(control);
        break;
    }
}

void server_control_ready(struct server_control *control, uint32_t events)
{
    if (events & EPOLLOUT) {
        flush(control);
    }
    while (control->fd >= 0 && (events & (EPOLLIN | EPOLLERR | EPOLLHUP))) {
        uint8_t *in = control->in ? control->in : control->small;
        ssize_t got = recv(control->fd, in + control->in_used,
                           control->in_wanted - control->in_used, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) {
            return;
        }
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            if (control->phase == PHASE_LAST) { /* it has all that it needs, and so have we */
                server_close(control);
            } else {
                gone(control, got < 0 ? errno : 0);
            }
            return;
        }
        control->in_used += (size_t)got;
        if (control->in_used == control->in_wanted) {
            enum server_phase before = control->phase;
            take_message(control);
            if (control->phase == PHASE_CLOSING) {
                if (before == PHASE_CLOSING) {
                    return; /* others have their turn */
                }
                want(control, sizeof control->small);
            }
        }
    }
}

/* An interval of a running test is over. */
static void tick(struct server_control *control)
{
    const struct iperf3_server_config *config = &control->server->config;
    const struct iperf3_test *test = &control->test;
    uint64_t now = clock_now_ns(), moved = config->data->moved(control->run);
    uint64_t most = test->duration_ns ? test->duration_ns + test->omit_ns + SERVER_GRACE_NS
                                      : config->duration_most_ns;

    if (config->events && config->events->interval) {
        struct iperf3_server_test about = server_test_of(control);
        config->events->interval(config->owner, &about, control->tick_ns - control->start_ns,
                                 now - control->tick_ns, moved - control->moved);
    }
    control->tick_ns = now;
    if (moved != control->moved) {
        control->moved = moved;
        control->moved_ns = now;
    }
    if (now - control->start_ns > most) {
        server_refuse(control, 160, 0, "the client does not end the test");
    } else if (now - control->moved_ns > SERVER_STALL_NS) {
        server_refuse(control, IPERF3_REASON_NO_DATA, 0, "no data moved for too long");
    } else {
        /* From the instant at which it was due: a late turn moves none of the later ones. */
        uint64_t due = control->start_ns +
                       ((now - control->start_ns) / config->interval_ns + 1) * config->interval_ns;
        server_due(control, due - clock_now_ns());
    }
}

void server_control_late(struct server_control *control)
{
    static const char *const waited_for[] = {
        [PHASE_GREETING] = "no cookie came in time",
        [PHASE_PARAMETERS] = "no parameters came in time",
        [PHASE_TURN] = "other tests of the same host kept it waiting",
        [PHASE_STREAMS] = "its streams did not come in time",
        [PHASE_RESULTS] = "its results did not come in time",
        [PHASE_LAST] = "it did not end in time",
    };
    switch (control->phase) {
    case PHASE_RUNNING:
        tick(control);
        break;
    case PHASE_CLOSING:
    case PHASE_LAST:
        server_close(control);
        break;
    case PHASE_GREETING:
        server_refuse(control, IPERF3_REASON_COOKIE, 0, waited_for[PHASE_GREETING]);
        break;
    case PHASE_PARAMETERS:
        server_refuse(control, IPERF3_REASON_PARAMETERS, 0, waited_for[PHASE_PARAMETERS]);
        break;
    case PHASE_TURN:
        server_refuse(control, 0, 0, waited_for[PHASE_TURN]);
        break;
    default:
        server_refuse(control,
                      control->phase == PHASE_STREAMS ? IPERF3_REASON_STREAM_ACCEPT
                                                      : IPERF3_REASON_RESULTS,
                      0, waited_for[control->phase]);
        break;
    }
}
