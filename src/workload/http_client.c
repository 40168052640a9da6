/* A client's HTTP connection: requests are sent, their answers read in order and timed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "workload/http_client.h"

/* How long a server may leave the connection open behind its last answer. */
#define LINGER_NS NS_PER_SECOND

static void set_timer(struct role_context *context, uint64_t at_ns)
{
    context->out.set_timer = true;
    context->out.timer_ns = at_ns;
}

static void record(struct role_context *context, enum http_histogram which, uint64_t from_ns,
                   uint64_t to_ns)
{
    histogram_record(&context->bank->histograms[which], to_ns > from_ns ? to_ns - from_ns : 0, 1);
}

/* ---- ends ------------------------------------------------------------------------------------ */

void http_client_drop_body(struct http_connection *http)
{
    free(http->body);
    http->body = NULL;
    http->body_bytes = http->body_room = 0;
}

static void leave(struct role_context *context, struct http_connection *http)
{
    http->state = HTTP_GONE;
    set_timer(context, 0);
    step_submit(context, &http->base, OP_CLOSE);
}

/* Requests that will never be answered. */
static void abandon(struct role_context *context, uint64_t count, enum bank_phase phase, int number,
                    const char *name)
{
    context->bank->counters[HTTP_COUNT_FAILED] += count;
    bank_error(context->bank, phase, number, name);
}

static void fail(struct role_context *context, struct http_connection *http, enum bank_phase phase,
                 int number, const char *name)
{
    abandon(context, http_in_flight(http), phase, number, name);
    leave(context, http);
}

static void fail_protocol(struct role_context *context, struct http_connection *http, int error)
{
    fail(context, http, PHASE_PROTOCOL, 0, http_error_text(error));
}

/* The requests behind a connection's last answer were not processed (RFC 9112, section 9.6): they
 * are asked again, as if they had not been. */
static void ask_again(struct role_context *context, struct http_connection *http)
{
    struct http_worker *worker = context->shared;
    uint32_t count = http_in_flight(http);
    if (count == 0) {
        return;
    }
    uint32_t sent = http->begun - http->completed;
    if (context->draining) { /* who asks at once has not asked, who has a schedule is late */
        if (context->open_loop) {
            abandon(context, count, PHASE_DRAIN, 0, "asked behind a connection's last answer");
        }
        http->completed = http->issued;
        return;
    }
    if (worker->again_first > worker->again_room / 2) { /* taken ones make room */
        worker->again_end -= worker->again_first;
        memmove(worker->again_ns, worker->again_ns + worker->again_first,
                worker->again_end * sizeof *worker->again_ns);
        worker->again_first = 0;
    }
    size_t needed = worker->again_end + count;
    if (context->open_loop && needed > worker->again_room) {
        uint64_t *again = realloc(worker->again_ns, 2 * needed * sizeof *again);
        if (!again) {
            abandon(context, count, PHASE_SEND, ENOMEM, NULL);
            http->completed = http->issued;
            return;
        }
        worker->again_ns = again;
        worker->again_room = 2 * needed;
    }
    for (; http->completed != http->issued; http->completed++) {
        if (context->open_loop) {
            worker->again_ns[worker->again_end++] =
                http_times_of(http, http->completed)->intended_ns;
        }
    }
    context->quota += context->quota == UINT64_MAX ? 0 : count;
    context->bank->counters[HTTP_COUNT_REPEATED] += sent;
}

/* Behind the last answer: a server that said so ends the connection, and has the TIME_WAIT. */
static void linger(struct role_context *context, struct http_connection *http, uint64_t now_ns,
                   bool server_ends)
{
    ask_again(context, http);
    if (!server_ends) {
        context->bank->counters[HTTP_COUNT_CLIENT_FIRST]++;
        leave(context, http);
        return;
    }
    http->state = HTTP_LINGERS;
    set_timer(context, now_ns + LINGER_NS);
}

/* ---- requests -------------------------------------------------------------------------------- */

/* Issues as many as may be in flight. A connection for one request has got it from its dialing. */
static void issue(struct role_context *context, struct http_connection *http, uint64_t now_ns)
{
    const struct http_options *options = http_options_of(context);
    struct http_worker *worker = context->shared;
    if (context->draining || !options->keep_alive) {
        return;
    }
    uint64_t room = options->pipeline - http_in_flight(http);
    for (; room && worker->again_first < worker->again_end && context->quota; room--) {
        http_times_of(http, http->issued++)->intended_ns = worker->again_ns[worker->again_first++];
        context->quota -= context->quota == UINT64_MAX ? 0 : 1;
    }
    if (worker->again_first == worker->again_end) {
        worker->again_first = worker->again_end = 0;
    }
    if (context->open_loop) {
        return;
    }
    room = room < context->quota ? room : context->quota;
    context->quota -= context->quota == UINT64_MAX ? 0 : room;
    for (; room; room--) {
        http_times_of(http, http->issued++)->intended_ns = now_ns;
    }
}

static void begin(struct role_context *context, struct http_connection *http,
                  const struct http_ask *ask, uint64_t now_ns)
{
    http_times_of(http, http->begun++)->sent_ns = now_ns;
    http_response_asked(&http->reader, ask->method);
    context->bank->counters[HTTP_COUNT_SENT]++;
    http->body_next = ask->body_apart;
}

static const struct http_ask *pick(struct http_worker *worker)
{
    return http_requests_pick(&worker->requests, &worker->rng);
}

/* Takes as many of those that were issued as go out together. */
static void gather(struct role_context *context, struct http_connection *http, uint64_t now_ns)
{
    struct http_worker *worker = context->shared;
    uint32_t waiting = http->issued - http->begun;
    if (!http->out) {
        const struct http_ask *ask = pick(worker);
        uint32_t count = waiting < ask->copies ? waiting : ask->copies;
        http->send_data = ask->head;
        http->send_bytes = count * ask->head_bytes;
        for (uint32_t i = 0; i < count; i++) {
            begin(context, http, ask, now_ns);
        }
        return;
    }
    size_t used = 0;
    for (; waiting && !http->body_next; waiting--) {
        const struct http_ask *ask = http->picked ? http->picked : pick(worker);
        http->picked = NULL;
        if (used + ask->head_bytes > HTTP_GATHER_BYTES && used) {
            http->picked = ask; /* the next one still, or large ones would come less often */
            break;
        }
        begin(context, http, ask, now_ns);
        if (ask->head_bytes > HTTP_GATHER_BYTES) {
            http->send_data = ask->head;
            http->send_bytes = ask->head_bytes;
            return;
        }
        memcpy(http->out + used, ask->head, ask->head_bytes);
        used += ask->head_bytes;
    }
    http->send_data = http->out;
    http->send_bytes = used;
}

static void submit_rest(struct role_context *context, struct http_connection *http)
{
    struct op *op = step_submit(context, &http->base, OP_SEND);
    op->data = http->send_data;
    op->length = http->send_bytes;
    http->sending = true;
    if (http->body_next) {
        op->flags = OP_MORE;
    } else if (!context->open_loop && http->begun == http->issued) {
        op->flags = OP_QUIET; /* nothing to do before an answer comes */
    }
}

/* Sends what is there to be sent, unless a send is under way. now_ns: as good as now. */
static void send_next(struct role_context *context, struct http_connection *http, uint64_t now_ns)
{
    const struct http_worker *worker = context->shared;
    if (http->sending || http->state != HTTP_OPEN) {
        return;
    }
    if (http->body_next) {
        http->body_next = false;
        http->send_data = worker->requests.body;
        http->send_bytes = worker->requests.body_bytes;
        submit_rest(context, http);
        return;
    }
    issue(context, http, now_ns);
    if (http->begun != http->issued) {
        gather(context, http, now_ns);
        submit_rest(context, http);
    }
}

static void sent(struct role_context *context, struct http_connection *http, const struct op *op)
{
    if (http->state == HTTP_LINGERS) { /* the last answer came first: nobody reads the rest */
        context->bank->counters[HTTP_COUNT_SENT_BYTES] += op->result > 0 ? (uint64_t)op->result : 0;
        http->sending = false;
        return;
    }
    bool closed = op->result == -EPIPE || op->result == -ECONNRESET;
    if (closed && http->begun != http->completed) {
        /* The server has closed: what it said before, perhaps that an answer is the last, is still
         * to be read, and then its end. Nothing more is sent meanwhile. */
        http->send_bytes = 0;
        return;
    }
    if (op->result < 0) {
        fail(context, http, PHASE_SEND, (int)-op->result, NULL);
        return;
    }
    context->bank->counters[HTTP_COUNT_SENT_BYTES] += (uint64_t)op->result;
    http->send_data += op->result;
    http->send_bytes -= (size_t)op->result;
    http->heard_ns = op->now_ns ? op->now_ns : http->heard_ns; /* it takes what it is sent */
    if (http->send_bytes) {
        submit_rest(context, http);
        return;
    }
    http->sending = false;
    if (http->body_next || http->begun != http->issued || http_in_flight(http) == 0) {
        send_next(context, http, op->now_ns ? op->now_ns : clock_now_ns());
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

static bool keep_piece(struct http_connection *http, const struct http_event *event)
{
    size_t needed = http->body_bytes + event->length;
    if (needed > http->body_room) {
        size_t room = needed > 2 * http->body_room ? needed : 2 * http->body_room;
        uint8_t *body = realloc(http->body, room);
        if (!body) {
            return false;
        }
        http->body = body;
        http->body_room = room;
    }
    memcpy(http->body + http->body_bytes, event->data, event->length);
    http->body_bytes = needed;
    return true;
}

/* A piece of a body. False where the connection has failed. */
static bool take_body(struct role_context *context, struct http_connection *http,
                      const struct http_event *event)
{
    context->bank->counters[HTTP_COUNT_BODY_BYTES] += event->length;
    bool kept = !http_options_of(context)->keep_body || keep_piece(http, event);
    bool hashed = !http->hash || sha256_add(http->hash, event->data, event->length);
    if (!kept || !hashed) {
        fail(context, http, PHASE_RECEIVE, ENOMEM, NULL);
    }
    return kept && hashed;
}

/* What an answer lacks to be a success; NULL: nothing. */
static const char *unexpected(const struct http_worker *worker, struct http_connection *http,
                              char *text, size_t size)
{
    uint8_t digest[SHA256_BYTES];
    if (!http_requests_expects(&worker->requests, http->status)) {
        snprintf(text, size, "status %u %s", http->status, http_status_text(http->status));
        return text;
    }
    if (http->hash &&
        (!sha256_end(http->hash, digest) || memcmp(digest, worker->digest, sizeof digest) != 0)) {
        return "a body with another SHA-256 than expected";
    }
    return NULL;
}

static void complete(struct role_context *context, struct http_connection *http,
                     uint64_t body_bytes, uint64_t now_ns)
{
    const struct http_worker *worker = context->shared;
    uint64_t *counters = context->bank->counters;
    const struct http_times *times = http_times_of(http, http->completed++);
    char text[80];
    const char *wrong = unexpected(worker, http, text, sizeof text);
    counters[HTTP_COUNT_1XX + http->status / 100 - 1]++;
    if (http->body) {
        http_client_drop_body(http);
    }
    if (wrong) {
        counters[HTTP_COUNT_UNEXPECTED]++;
        abandon(context, 1, PHASE_ANSWER, 0, wrong);
        return;
    }
    counters[HTTP_COUNT_COMPLETED]++;
    counters[HTTP_COUNT_WHOLE_BYTES] += body_bytes;
    record(context, HTTP_RESPONSE_TIME, times->intended_ns, now_ns);
    record(context, HTTP_SERVICE_TIME, times->sent_ns, now_ns);
    record(context, HTTP_FIRST_BYTE, times->sent_ns, http->first_ns);
    record(context, HTTP_DOWNLOAD, http->first_ns, now_ns);
}

/* An answer has ended; `left` bytes came behind it. False where nothing more is to be read. */
static bool take_end(struct role_context *context, struct http_connection *http, size_t left,
                     const struct http_event *event, uint64_t now_ns)
{
    bool last = event->close || !http_options_of(context)->keep_alive;
    bool asked = http->begun - http->completed > 1;
    if (left && (last || !asked)) { /* what it was framed as is not what was sent */
        fail_protocol(context, http, event->close ? HTTP_BAD_AFTER_LAST : HTTP_BAD_UNASKED);
        return false;
    }
    complete(context, http, event->body_bytes, now_ns);
    http->first_ns = left ? now_ns : 0;
    if (last) {
        linger(context, http, now_ns, event->close);
    }
    return !last;
}

/* False where nothing more is to be read. */
static bool take_event(struct role_context *context, struct http_connection *http,
                       const struct http_event *event, size_t left, uint64_t now_ns)
{
    uint64_t *counters = context->bank->counters;
    switch (event->kind) {
    case HTTP_NOTHING:
        return false;
    case HTTP_INTERIM:
        counters[HTTP_COUNT_1XX]++; /* its bytes are among those of the answer's end */
        return true;
    case HTTP_HEAD:
        http->status = event->status;
        if (http->hash && !sha256_begin(http->hash)) {
            fail(context, http, PHASE_RECEIVE, ENOMEM, NULL);
            return false;
        }
        return true;
    case HTTP_BODY:
        return take_body(context, http, event);
    case HTTP_END:
        counters[HTTP_COUNT_HEADER_BYTES] += event->header_bytes;
        return take_end(context, http, left, event, now_ns);
    }
    return false;
}

/* The server has ended the connection. */
static void ended(struct role_context *context, struct http_connection *http, const struct op *op)
{
    struct http_event event;
    if (http->state == HTTP_LINGERS) {
        context->bank->counters[HTTP_COUNT_SERVER_FIRST]++;
        leave(context, http);
        return;
    }
    if (op->result < 0) {
        fail(context, http, PHASE_RECEIVE, (int)-op->result, NULL);
        return;
    }
    int failed = http_response_finish(&http->reader, &event);
    if (failed == 0 && event.kind == HTTP_END) {
        context->bank->counters[HTTP_COUNT_HEADER_BYTES] += event.header_bytes;
        context->bank->counters[HTTP_COUNT_SERVER_FIRST]++;
        complete(context, http, event.body_bytes, op->now_ns);
        ask_again(context, http);
        leave(context, http);
    } else if (failed == 0 && http_in_flight(http) == 0) {
        context->bank->counters[HTTP_COUNT_IDLE_CLOSED]++;
        leave(context, http);
    } else {
        fail_protocol(context, http, failed ? failed : HTTP_BAD_UNANSWERED);
    }
}

static void received(struct role_context *context, struct http_connection *http,
                     const struct op *op)
{
    const uint8_t *data = op->data;
    if (op->result <= 0) {
        ended(context, http, op);
        return;
    }
    size_t left = (size_t)op->result;
    context->bank->counters[HTTP_COUNT_BYTES] += left;
    if (http->state == HTTP_LINGERS) {
        abandon(context, 0, PHASE_PROTOCOL, 0, http_error_text(HTTP_BAD_AFTER_LAST));
        leave(context, http);
        return;
    }
    http->heard_ns = op->now_ns;
    http->first_ns = http->first_ns ? http->first_ns : op->now_ns;
    struct http_event event;
    do {
        ssize_t taken = http_response_read(&http->reader, data, left, &event);
        if (taken < 0) {
            fail_protocol(context, http, (int)taken);
            return;
        }
        data += taken;
        left -= (size_t)taken;
    } while (take_event(context, http, &event, left, op->now_ns));
    send_next(context, http, op->now_ns);
}

/* ---- the connection -------------------------------------------------------------------------- */

/* An answer may have come before its request had gone: then it is the send that does not end. */
static void give_up(struct role_context *context, struct http_connection *http, bool silent)
{
    bool awaited = http->begun != http->completed;
    fail(context, http, awaited ? PHASE_RECEIVE : PHASE_SEND, 0,
         !silent   ? "an answer was not whole within --max-time"
         : awaited ? "nothing came within --timeout"
                   : "the rest of a request was not taken within --timeout");
}

/* Of the requests under way, the oldest says when the next look is due: a server that says nothing
 * and one that never comes to an end are given up. */
static void look_at_time(struct role_context *context, struct http_connection *http,
                         uint64_t now_ns)
{
    const struct http_options *options = http_options_of(context);
    uint64_t due_ns = now_ns + options->timeout_ns;
    bool awaited = http->begun != http->completed;
    if (awaited || http->sending) {
        uint64_t sent_ns = awaited ? http_times_of(http, http->completed)->sent_ns : 0;
        due_ns = (http->heard_ns > sent_ns ? http->heard_ns : sent_ns) + options->timeout_ns;
        uint64_t most_ns =
            awaited && options->request_most_ns ? sent_ns + options->request_most_ns : UINT64_MAX;
        if (now_ns >= due_ns || now_ns >= most_ns) {
            give_up(context, http, now_ns >= due_ns);
            return;
        }
        due_ns = due_ns < most_ns ? due_ns : most_ns;
    } else if (options->request_most_ns && options->request_most_ns < options->timeout_ns) {
        due_ns = now_ns + options->request_most_ns;
    }
    set_timer(context, due_ns);
}

/* How the connection came to be, where that was while the worker ran. */
static void record_phases(struct role_context *context, const struct connection *base,
                          const struct op *op)
{
    const struct op_security *security = op->security;
    uint64_t tls_ns = security ? security->handshake_ns : 0;
    uint64_t begun_ns = base->dialed_ns + base->socket_ns + base->set_up_ns;
    struct histogram *histograms = context->bank->histograms;
    histogram_record(&histograms[HTTP_SOCKET], base->socket_ns, 1);
    histogram_record(&histograms[HTTP_SET_UP], (uint64_t)base->set_up_ns + base->thread_ns, 1);
    record(context, HTTP_CONNECT, begun_ns, op->now_ns - tls_ns);
    if (security) {
        histogram_record(&histograms[HTTP_TLS], tls_ns, 1);
        context->bank->counters[HTTP_COUNT_TLS_RESUMED] += security->resumed;
    }
}

static void start(struct role_context *context, struct http_connection *http, const struct op *op)
{
    const struct http_options *options = http_options_of(context);
    const struct connection *base = &http->base;
    if (base->dialed_ns) {
        record_phases(context, base, op);
    }
    http->state = HTTP_OPEN;
    if (!options->keep_alive) {
        http_times_of(http, http->issued++)->intended_ns = base->intended_ns;
    }
    struct op *receive = step_submit(context, &http->base, OP_RECEIVE);
    receive->data = http->buffer;
    receive->length = http->buffer ? options->buffer_bytes : 0;
    look_at_time(context, http, op->now_ns);
    send_next(context, http, clock_now_ns());
}

static void expired(struct role_context *context, struct http_connection *http, uint64_t now_ns)
{
    if (http->state == HTTP_OPEN) {
        look_at_time(context, http, now_ns);
    } else if (http->state == HTTP_LINGERS) {
        context->bank->counters[HTTP_COUNT_CLIENT_FIRST]++;
        leave(context, http);
    }
}

/* Nothing new from now on: what waits for another connection waits in vain. */
static void drain(struct role_context *context, struct http_connection *http)
{
    struct http_worker *worker = context->shared;
    if (worker->again_first < worker->again_end) {
        abandon(context, worker->again_end - worker->again_first, PHASE_DRAIN, 0,
                "asked behind a connection's last answer");
        worker->again_first = worker->again_end = 0;
    }
    send_next(context, http, clock_now_ns());
}

/* Open loop: one is due, meant to start at op->now_ns. */
static void arrived(struct role_context *context, struct http_connection *http, const struct op *op)
{
    uint64_t now_ns = clock_now_ns();
    record(context, HTTP_SEND_LAG, op->now_ns, now_ns);
    http_times_of(http, http->issued++)->intended_ns = op->now_ns;
    context->quota -= context->quota == UINT64_MAX ? 0 : 1;
    send_next(context, http, now_ns);
}

void http_client_step(struct role_context *context, struct connection *connection,
                      const struct op *op)
{
    struct http_connection *http = http_client_of(connection);
    if (http->state == HTTP_GONE) {
        return;
    }
    switch (op->kind) {
    case OP_START:
        start(context, http, op);
        break;
    case OP_RECEIVE:
        received(context, http, op);
        break;
    case OP_SEND:
        sent(context, http, op);
        break;
    case OP_ARRIVAL:
        arrived(context, http, op);
        break;
    case OP_TIMER:
        expired(context, http, op->now_ns);
        break;
    case OP_DRAIN:
        drain(context, http);
        break;
    default:
        break;
    }
}
