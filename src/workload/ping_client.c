/* The client of `sonde ping`: starts messages, matches answers with them by their sequence numbers,
 * and gives up those that a datagram transport has lost. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "workload/ping_flight.h"

#define SENDS_IN_A_ROW 64 /* without answers: before the worker looks at others again */

static struct ping_connection *ping_of(struct connection *connection)
{
    return (struct ping_connection *)(void *)connection;
}

static void *ping_open_worker(const void *options, uint32_t connections, struct err *error)
{
    (void)options;
    (void)connections;
    void *nothing = malloc(1); /* connections share nothing */
    if (!nothing) {
        err_system(error, ENOMEM, "ping", "cannot start");
    }
    return nothing;
}

static int ping_open(struct role_context *context, struct connection *connection)
{
    struct ping_connection *ping = ping_of(connection);
    size_t size = ping_options_of(context)->size_bytes;
    ping->room = PING_ROOM_LEAST;
    ping->mask = PING_ROOM_LEAST - 1;
    ping->ring = calloc(ping->room, sizeof *ping->ring);
    ping->messages = malloc(2 * size);
    if (!ping->ring || !ping->messages) {
        return -ENOMEM; /* close releases them */
    }
    for (size_t i = 0; i < 2 * size; i++) {
        ping->messages[i] = (uint8_t)(i % size);
    }
    ping->oldest = 1;
    return 0;
}

static void ping_close(struct role_context *context, struct connection *connection)
{
    struct ping_connection *ping = ping_of(connection);
    (void)context;
    free(ping->ring);
    free(ping->messages);
    ping->ring = NULL;
    ping->messages = NULL;
}

static size_t ping_connection_memory(const void *options)
{
    const struct ping_options *ping = options;
    uint64_t span = ping->high_is_bound ? ping->burst : ping->high;
    return sizeof(struct ping_connection) + 2 * ping->size_bytes +
           ping_room_for(span) * sizeof(struct message);
}

static void fail(struct role_context *context, struct ping_connection *ping, enum bank_phase phase,
                 int number, const char *name)
{
    if (ping->failed) {
        return;
    }
    bank_error(context->bank, phase, number, name);
    ping_give_up_all(context, ping);
    ping->failed = true;
    step_submit(context, &ping->base, OP_CLOSE);
}

static bool make_room(struct role_context *context, struct ping_connection *ping, uint64_t count)
{
    bool made = ping_make_room(ping, count);
    if (!made) {
        fail(context, ping, PHASE_SEND, ENOMEM, NULL);
    }
    return made;
}

/* ---- sending --------------------------------------------------------------------------------- */

/* The timer is moved ahead while there is nothing old in flight, long before it is due: an engine
 * that blocks in a receive then need not wait for an instant. */
static void watch_oldest(struct role_context *context, struct ping_connection *ping,
                         uint64_t now_ns)
{
    uint64_t timeout_ns = ping_options_of(context)->timeout_ns;
    if (!ping_is_datagram(&ping->base.channel) || ping->in_flight == 0 ||
        (ping->timer_ns && ping->timer_ns > now_ns + timeout_ns / 2) ||
        ping->oldest > ping->begun) {
        return;
    }
    uint64_t due_ns = ping_message_of(ping, ping->oldest)->sent_ns + timeout_ns;
    if (due_ns > ping->timer_ns) {
        ping->timer_ns = due_ns;
        context->out.set_timer = true;
        context->out.timer_ns = due_ns;
    }
}

static const uint8_t *bytes_of(const struct role_context *context,
                               const struct ping_connection *ping, uint64_t sequence)
{
    return ping->messages + (sequence & 1) * ping_options_of(context)->size_bytes;
}

static void submit_rest(struct role_context *context, struct ping_connection *ping)
{
    struct op *op = step_submit(context, &ping->base, OP_SEND);
    op->data = bytes_of(context, ping, ping->begun) + ping->send_offset;
    op->length = ping_options_of(context)->size_bytes - ping->send_offset;
    if (!context->open_loop && ping->begun == ping->issued && ping->in_flight) {
        op->flags = OP_QUIET; /* nothing to do before an answer comes */
    }
}

/* Whether the next message would have the number of one from before the last answer: an answer to
 * either could be taken for the other's. */
static bool numbers_are_used_up(const struct role_context *context,
                                const struct ping_connection *ping)
{
    const struct ping_options *options = ping_options_of(context);
    return ping_is_datagram(&ping->base.channel) && options->answer_every <= 1 &&
           ping->begun - ping->highest_answered > ping_sequence_mask(options);
}

/* Begins to send the next message that was issued, unless one is under way. */
static void send_next(struct role_context *context, struct ping_connection *ping, uint64_t now_ns)
{
    if (ping->sending || ping->failed || ping->begun == ping->issued) {
        return;
    }
    if (numbers_are_used_up(context, ping)) {
        fail(context, ping, PHASE_PROTOCOL, 0, "sequence numbers used up by losses (raise --size)");
        return;
    }
    ping->begun++;
    ping->sending = true;
    ping->send_offset = 0;
    struct message *message = ping_message_of(ping, ping->begun);
    ping_put_head(ping_options_of(context),
                  ping->messages + (ping->begun & 1) * ping_options_of(context)->size_bytes,
                  ping->begun);
    submit_rest(context, ping);
    message->sent_ns = now_ns;
    watch_oldest(context, ping, now_ns);
    if (ping_options_of(context)->stamps) {
        message->sent_real_ns = clock_real_ns();
    }
}

static void issue(struct role_context *context, struct ping_connection *ping, uint64_t count,
                  uint64_t intended_ns)
{
    for (uint64_t i = 0; i < count; i++) {
        bool wants = ping_wants_answer(ping_options_of(context), ++ping->issued);
        *ping_message_of(ping, ping->issued) = (struct message){
            .intended_ns = intended_ns, .state = wants ? MESSAGE_WAITING : MESSAGE_NONE};
        ping->in_flight += wants;
    }
    context->quota -= context->quota == UINT64_MAX ? 0 : count;
}

/* How many messages the next start has. */
static uint64_t burst_now(const struct role_context *context)
{
    uint64_t burst = ping_options_of(context)->burst;
    return burst < context->quota ? burst : context->quota;
}

/* Closed loop: starts the next messages once all are answered or given up. */
static void pump(struct role_context *context, struct ping_connection *ping)
{
    uint64_t burst = burst_now(context);
    if (context->open_loop || context->draining || ping->failed || ping->in_flight || burst == 0 ||
        !make_room(context, ping, burst)) {
        return;
    }
    uint64_t now_ns = clock_now_ns();
    issue(context, ping, burst, now_ns);
    send_next(context, ping, now_ns);
}

/* Open loop: messages meant to start at op->now_ns. */
static void arrived(struct role_context *context, struct ping_connection *ping, const struct op *op)
{
    uint64_t burst = burst_now(context);
    ping_give_up_overtaken(context, ping, burst);
    if (!make_room(context, ping, burst)) {
        return;
    }
    uint64_t now_ns = clock_now_ns();
    uint64_t lag_ns = now_ns > op->now_ns ? now_ns - op->now_ns : 0;
    histogram_record(&context->bank->histograms[PING_SEND_LAG], lag_ns, burst);
    issue(context, ping, burst, op->now_ns);
    send_next(context, ping, now_ns);
}

/* What follows the last message that was issued, where no answer does. */
static void go_on(struct role_context *context, struct ping_connection *ping)
{
    if (ping->in_flight || context->open_loop) {
        return;
    }
    if (++ping->row_sends >= SENDS_IN_A_ROW) {
        ping->row_sends = 0;
        context->out.resume = true;
    } else {
        pump(context, ping);
    }
}

/* A datagram that could not be sent for a passing reason is like one that was lost on the way: its
 * answer is waited for in vain. */
static bool is_passing(int number)
{
    return number == ECONNREFUSED || number == ENOBUFS || number == EAGAIN || number == ENOMEM;
}

static void sent(struct role_context *context, struct ping_connection *ping, const struct op *op)
{
    if (op->result < 0) {
        int number = (int)-op->result;
        if (!ping_is_datagram(&ping->base.channel) || !is_passing(number)) {
            fail(context, ping, PHASE_SEND, number, NULL);
            return;
        }
        bank_error(context->bank, PHASE_SEND, number, NULL);
        ping_not_sent(context, ping, number);
    } else {
        ping->send_offset += (uint32_t)op->result;
        context->bank->counters[PING_COUNT_BYTES] += (uint64_t)op->result;
        if (ping->send_offset < ping_options_of(context)->size_bytes) {
            submit_rest(context, ping);
            return;
        }
        context->bank->counters[PING_COUNT_SENT]++;
    }
    ping->sending = false;
    if (ping_options_of(context)->answer_every > 1) {
        ping_advance_oldest(ping);
    }
    if (ping->begun < ping->issued) {
        send_next(context, ping, clock_now_ns());
    } else if (ping_options_of(context)->answer_every > 1) {
        go_on(context, ping);
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

/* The time from one instant to a later one. */
static uint64_t passed(struct role_context *context, uint64_t from_ns, uint64_t to_ns)
{
    if (to_ns < from_ns) {
        context->bank->counters[PING_COUNT_REGRESSIONS]++;
        return 0;
    }
    return to_ns - from_ns;
}

/* Splits a round trip by the kernel's stamps. They are known of the message that was sent last
 * alone. */
static void split(struct role_context *context, const struct message *message, bool last,
                  const struct op *op)
{
    struct histogram *histograms = context->bank->histograms;
    const struct op_stamps *stamps = op->stamps;
    context->bank->counters[PING_COUNT_TO_SPLIT]++;
    if (!last || !stamps || !stamps->received_ns || stamps->sent_ns < message->sent_real_ns) {
        context->bank->counters[PING_COUNT_UNSTAMPED]++; /* or known of an earlier send */
        return;
    }
    uint64_t returned_ns = clock_real_ns() - (clock_now_ns() - op->now_ns);
    histogram_record(&histograms[PING_SEND_CALL], stamps->sent_ns - message->sent_real_ns, 1);
    histogram_record(&histograms[PING_NETWORK],
                     passed(context, stamps->sent_ns, stamps->received_ns), 1);
    histogram_record(&histograms[PING_WAKE_UP], passed(context, stamps->received_ns, returned_ns),
                     1);
}

static void note(struct ping_log *log, uint64_t sent_ns, uint64_t received_ns)
{
    if (log->count < log->room) {
        log->entries[log->count++] = (struct ping_log_entry){sent_ns, received_ns};
    } else {
        log->missed++;
    }
}

/* Books an answer; NULL, or what is wrong with it. */
static const char *answered(struct role_context *context, struct ping_connection *ping,
                            const uint8_t *head, const struct op *op)
{
    uint64_t *counters = context->bank->counters;
    uint64_t wire, sequence;
    const char *wrong = ping_take_head(ping_options_of(context), head, &wire);
    if (wrong) {
        return wrong;
    }
    if (!ping_whole_sequence(ping_options_of(context), wire, ping->begun, &sequence)) {
        return "an answer to a message that was never sent";
    }
    struct message *message = ping_message_of(ping, sequence);
    if (sequence + ping->room <= ping->issued) { /* whether it came before can no longer be told */
        counters[PING_COUNT_LATE]++;
        return NULL;
    }
    if (message->state == MESSAGE_ANSWERED) {
        counters[PING_COUNT_DUPLICATED]++;
        return "a second answer to the same message";
    }
    if (message->state == MESSAGE_NONE || message->state == MESSAGE_UNSENT) {
        return "an answer that was not asked for";
    }
    context->bank->silence.answered_ns = op->now_ns;
    context->bank->silence.lost = context->bank->silence.refused = 0;
    context->bank->silence.all_answered++;
    if (message->state == MESSAGE_GIVEN_UP) {
        counters[PING_COUNT_LATE]++;
        message->state = MESSAGE_ANSWERED;
        if (sequence > ping->highest_answered) {
            ping->highest_answered = sequence;
        }
        return NULL;
    }
    if (sequence < ping->highest_answered) {
        counters[PING_COUNT_OUT_OF_ORDER]++;
    } else {
        ping->highest_answered = sequence;
    }
    counters[PING_COUNT_COMPLETED]++;
    histogram_record(&context->bank->histograms[PING_RESPONSE_TIME],
                     passed(context, message->intended_ns, op->now_ns), 1);
    histogram_record(&context->bank->histograms[PING_SERVICE_TIME],
                     passed(context, message->sent_ns, op->now_ns), 1);
    if (ping_options_of(context)->stamps) {
        split(context, message, sequence == ping->begun, op);
    }
    if (ping_options_of(context)->log) {
        note(ping_options_of(context)->log, message->sent_ns, op->now_ns);
    }
    message->state = MESSAGE_ANSWERED;
    ping->in_flight--;
    ping_advance_oldest(ping);
    return NULL;
}

/* Answers on a stream: in pieces, or several together. */
static void take_stream(struct role_context *context, struct ping_connection *ping,
                        const struct op *op)
{
    const struct ping_options *options = ping_options_of(context);
    const uint8_t *data = op->data;
    uint64_t left = (uint64_t)op->result;
    uint32_t head_bytes = ping_head_bytes(options);
    while (left) {
        if (ping->answer_bytes < head_bytes) {
            uint64_t missing = head_bytes - ping->answer_bytes;
            uint64_t piece = missing < left ? missing : left;
            memcpy(ping->head + ping->answer_bytes, data, piece);
            ping->answer_bytes += piece;
            data += piece;
            left -= piece;
        }
        uint64_t missing = options->size_bytes - ping->answer_bytes;
        uint64_t piece = missing < left ? missing : left;
        ping->answer_bytes += piece;
        data += piece;
        left -= piece;
        if (ping->answer_bytes < options->size_bytes) {
            return;
        }
        ping->answer_bytes = 0;
        if (ping->in_flight == 0 || ping->oldest > ping->begun) {
            fail(context, ping, PHASE_PROTOCOL, 0, "the server sent more than it was asked");
            return;
        }
        uint64_t expected = ping->oldest;
        const char *wrong = answered(context, ping, ping->head, op);
        if (!wrong && ping->oldest == expected) {
            wrong = "answers in another order than their messages";
        }
        if (wrong) {
            fail(context, ping, PHASE_PROTOCOL, 0, wrong);
            return;
        }
    }
}

/* One datagram. What is no answer is counted and forgotten: anybody may have sent it. */
static void take_datagram(struct role_context *context, struct ping_connection *ping,
                          const uint8_t *data, uint64_t length, const struct op *op)
{
    uint64_t duplicated = context->bank->counters[PING_COUNT_DUPLICATED];
    bool whole = length == ping_options_of(context)->size_bytes;
    if ((!whole || answered(context, ping, data, op)) &&
        context->bank->counters[PING_COUNT_DUPLICATED] == duplicated) {
        context->bank->counters[PING_COUNT_INVALID]++;
    }
}

static void take_datagrams(struct role_context *context, struct ping_connection *ping,
                           const struct op *op)
{
    uint64_t length = (uint64_t)op->result;
    if (op->length > length) { /* cut: longer than any answer */
        context->bank->counters[PING_COUNT_INVALID]++;
        return;
    }
    uint64_t segment = op->segment ? op->segment : length;
    uint64_t at = 0;
    do {
        uint64_t piece = length - at < segment ? length - at : segment;
        take_datagram(context, ping, op->data + at, piece, op);
        at += piece;
    } while (at < length);
}

static void received(struct role_context *context, struct ping_connection *ping,
                     const struct op *op)
{
    bool datagram = ping_is_datagram(&ping->base.channel);
    if (op->result < 0) {
        if (datagram) { /* ends nothing: a refusal on the way, mostly */
            bank_error(context->bank, PHASE_RECEIVE, (int)-op->result, NULL);
            context->bank->silence.refused += op->result == -ECONNREFUSED;
        } else {
            fail(context, ping, PHASE_RECEIVE, (int)-op->result, NULL);
        }
        return;
    }
    if (op->result == 0 && !datagram) {
        fail(context, ping, PHASE_RECEIVE, 0, "the server closed the connection");
        return;
    }
    context->bank->counters[PING_COUNT_BYTES] += (uint64_t)op->result;
    if (datagram) {
        take_datagrams(context, ping, op);
    } else {
        take_stream(context, ping, op);
    }
    pump(context, ping);
}

/* Gives up the messages that have waited too long. */
static void expired(struct role_context *context, struct ping_connection *ping, uint64_t now_ns)
{
    ping->timer_ns = 0;
    ping_give_up_overdue(context, ping, now_ns);
    watch_oldest(context, ping, now_ns);
    pump(context, ping);
}

static void ping_step(struct role_context *context, struct connection *connection,
                      const struct op *op)
{
    struct ping_connection *ping = ping_of(connection);
    if (ping->failed) {
        return;
    }
    switch (op->kind) {
    case OP_START:
        if (ping_options_of(context)->answer_every != PING_ANSWER_NONE) {
            step_submit(context, connection, OP_RECEIVE);
        }
        pump(context, ping);
        break;
    case OP_RESUME:
        pump(context, ping);
        break;
    case OP_RECEIVE:
        received(context, ping, op);
        break;
    case OP_SEND:
        sent(context, ping, op);
        break;
    case OP_ARRIVAL:
        arrived(context, ping, op);
        break;
    case OP_TIMER:
        expired(context, ping, op->now_ns);
        break;
    default:
        break;
    }
}

static uint64_t ping_outstanding(const struct connection *connection)
{
    const struct ping_connection *ping = (const struct ping_connection *)(const void *)connection;
    return ping->failed ? 0 : ping->in_flight;
}

static bool ping_can_take(const struct role_context *context, const struct connection *connection)
{
    const struct ping_connection *ping = (const struct ping_connection *)(const void *)connection;
    return !ping->failed && ping_has_room(ping, ping_options_of(context), burst_now(context));
}

static const struct histogram_metric histograms[] = {
    [PING_RESPONSE_TIME] = {"response_time", "ns", "round trip",
                            "from the intended start of a message (closed loop: from its burst's "
                            "start) to the receive that completed its answer"},
    [PING_SERVICE_TIME] = {"service_time", "ns", "from its send",
                           "from the send of a message to the receive that completed its answer"},
    [PING_SEND_LAG] = {"send_lag", "ns", "send lag",
                       "open loop: how long after its intended start a message was issued"},
    [PING_SEND_CALL] = {"send_call", "ns", "send call",
                        "from the send to the kernel's stamp that the stack has handed it on",
                        PART_OF_WHOLE},
    [PING_NETWORK] = {"network", "ns", "network and peer",
                      "from the stamp of the message's leaving the stack to that of its answer's "
                      "coming in",
                      PART_HOLDS_PEER},
    [PING_WAKE_UP] = {"wake_up", "ns", "wake-up",
                      "from the stamp of the answer's coming in to the return of the receive",
                      PART_OF_WHOLE},
};

const struct role ping_client = {
    .connection_bytes = sizeof(struct ping_connection),
    .histograms = histograms,
    .histogram_count = sizeof histograms / sizeof *histograms,
    .open_worker = ping_open_worker,
    .close_worker = free,
    .open = ping_open,
    .step = ping_step,
    .outstanding = ping_outstanding,
    .can_take = ping_can_take,
    .close = ping_close,
    .connection_memory = ping_connection_memory,
};
