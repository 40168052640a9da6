/* The client of `sonde ping`: starts messages, matches answers with them by their sequence numbers,
 * and gives up those that a datagram transport has lost. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "codec/sockperf.h"
#include "workload/ping.h"

#define HEAD_MOST SOCKPERF_HEADER_BYTES
#define ROOM_LEAST 64
#define SENDS_IN_A_ROW 64 /* without answers: before the worker looks at others again */

enum message_state {
    MESSAGE_NONE,    /* or one that asks for no answer */
    MESSAGE_WAITING, /* for its send or its answer */
    MESSAGE_ANSWERED,
    MESSAGE_GIVEN_UP,
};

struct message {
    uint64_t intended_ns, sent_ns;
    uint64_t sent_real_ns; /* of CLOCK_REALTIME; --stamps only */
    uint64_t state;        /* enum message_state */
};

struct ping_connection {
    struct connection base;
    struct message *ring; /* of `room`: message n at n & mask */
    uint64_t room, mask;
    /* Sequence numbers begin with 1. Those up to and including: */
    uint64_t issued;
    uint64_t begun; /* their send was submitted */
    uint64_t highest_answered;
    uint64_t oldest;         /* the first that is waiting, or not begun; else issued + 1 */
    uint64_t in_flight;      /* waiting */
    uint8_t *messages;       /* two of them: an engine may look at one until the next has gone */
    uint32_t send_offset;    /* of the message under way: bytes taken */
    bool sending;            /* a send is under way */
    uint8_t head[HEAD_MOST]; /* stream: of the answer that is coming in */
    uint64_t answer_bytes;   /* of that answer so far */
    uint64_t timer_ns;       /* when the timer expires; 0: it is not set */
    uint32_t row_sends;      /* without answers: since the last turn of others */
    bool failed;
};

static const struct ping_options *options_of(const struct role_context *context)
{
    return context->options;
}

static struct ping_connection *ping_of(struct connection *connection)
{
    return (struct ping_connection *)(void *)connection;
}

static struct message *message_of(struct ping_connection *ping, uint64_t sequence)
{
    return &ping->ring[sequence & ping->mask];
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
    size_t size = options_of(context)->size_bytes;
    ping->room = ROOM_LEAST;
    ping->mask = ROOM_LEAST - 1;
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

/* The ring holds what is in flight and as many messages before it, so that late and repeated
 * answers are known for what they are. */
static uint64_t room_for(uint64_t span)
{
    uint64_t room = ROOM_LEAST;
    while (room < 2 * span) {
        room *= 2;
    }
    return room;
}

static size_t ping_connection_memory(const void *options)
{
    const struct ping_options *ping = options;
    uint64_t span = ping->high_is_bound ? ping->burst : ping->high;
    return sizeof(struct ping_connection) + 2 * ping->size_bytes +
           room_for(span) * sizeof(struct message);
}

static void fail(struct role_context *context, struct ping_connection *ping, enum bank_phase phase,
                 int number, const char *name)
{
    if (ping->failed) {
        return;
    }
    bank_error(context->bank, phase, number, name);
    context->bank->counters[PING_COUNT_LOST] += ping->in_flight;
    ping->failed = true;
    step_submit(context, &ping->base, OP_CLOSE);
}

/* Happens only while more messages are in flight than ever before on this connection. */
static bool make_room(struct role_context *context, struct ping_connection *ping, uint64_t count)
{
    uint64_t room = room_for(ping->issued + count + 1 - ping->oldest);
    if (room <= ping->room) {
        return true;
    }
    struct message *ring = calloc(room, sizeof *ring);
    if (!ring) {
        fail(context, ping, PHASE_SEND, ENOMEM, NULL);
        return false;
    }
    uint64_t first = ping->issued > ping->room ? ping->issued - ping->room + 1 : 1;
    for (uint64_t i = first; i <= ping->issued; i++) {
        ring[i & (room - 1)] = *message_of(ping, i);
    }
    free(ping->ring);
    ping->ring = ring;
    ping->room = room;
    ping->mask = room - 1;
    return true;
}

/* ---- sending --------------------------------------------------------------------------------- */

/* The timer is moved ahead while there is nothing old in flight, long before it is due: an engine
 * that blocks in a receive then need not wait for an instant. */
static void watch_oldest(struct role_context *context, struct ping_connection *ping,
                         uint64_t now_ns)
{
    uint64_t timeout_ns = options_of(context)->timeout_ns;
    if (!ping_is_datagram(&ping->base.channel) || ping->in_flight == 0 ||
        (ping->timer_ns && ping->timer_ns > now_ns + timeout_ns / 2) ||
        ping->oldest > ping->begun) {
        return;
    }
    uint64_t due_ns = message_of(ping, ping->oldest)->sent_ns + timeout_ns;
    if (due_ns > ping->timer_ns) {
        ping->timer_ns = due_ns;
        context->out.set_timer = true;
        context->out.timer_ns = due_ns;
    }
}

static const uint8_t *bytes_of(const struct role_context *context,
                               const struct ping_connection *ping, uint64_t sequence)
{
    return ping->messages + (sequence & 1) * options_of(context)->size_bytes;
}

static void submit_rest(struct role_context *context, struct ping_connection *ping)
{
    struct op *op = step_submit(context, &ping->base, OP_SEND);
    op->data = bytes_of(context, ping, ping->begun) + ping->send_offset;
    op->length = options_of(context)->size_bytes - ping->send_offset;
    if (!context->open_loop && ping->begun == ping->issued && ping->in_flight) {
        op->flags = OP_QUIET; /* nothing to do before an answer comes */
    }
}

/* Begins to send the next message that was issued, unless one is under way. */
static void send_next(struct role_context *context, struct ping_connection *ping, uint64_t now_ns)
{
    if (ping->sending || ping->failed || ping->begun == ping->issued) {
        return;
    }
    ping->begun++;
    ping->sending = true;
    ping->send_offset = 0;
    struct message *message = message_of(ping, ping->begun);
    ping_put_head(options_of(context),
                  ping->messages + (ping->begun & 1) * options_of(context)->size_bytes,
                  ping->begun);
    submit_rest(context, ping);
    message->sent_ns = now_ns;
    watch_oldest(context, ping, now_ns);
    if (options_of(context)->stamps) {
        message->sent_real_ns = clock_real_ns();
    }
}

static void issue(struct role_context *context, struct ping_connection *ping, uint64_t count,
                  uint64_t intended_ns)
{
    for (uint64_t i = 0; i < count; i++) {
        bool wants = ping_wants_answer(options_of(context), ++ping->issued);
        *message_of(ping, ping->issued) = (struct message){
            .intended_ns = intended_ns, .state = wants ? MESSAGE_WAITING : MESSAGE_NONE};
        ping->in_flight += wants;
    }
    context->quota -= context->quota == UINT64_MAX ? 0 : count;
}

/* How many messages the next start has. */
static uint64_t burst_now(const struct role_context *context)
{
    uint64_t burst = options_of(context)->burst;
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
    if (!make_room(context, ping, burst)) {
        return;
    }
    uint64_t now_ns = clock_now_ns();
    uint64_t lag_ns = now_ns > op->now_ns ? now_ns - op->now_ns : 0;
    histogram_record(&context->bank->histograms[PING_SEND_LAG], lag_ns, burst);
    issue(context, ping, burst, op->now_ns);
    send_next(context, ping, now_ns);
}

static void advance_oldest(struct ping_connection *ping)
{
    while (ping->oldest <= ping->begun &&
           message_of(ping, ping->oldest)->state != MESSAGE_WAITING) {
        ping->oldest++;
    }
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
    } else {
        ping->send_offset += (uint32_t)op->result;
        context->bank->counters[PING_COUNT_BYTES] += (uint64_t)op->result;
        if (ping->send_offset < options_of(context)->size_bytes) {
            submit_rest(context, ping);
            return;
        }
        context->bank->counters[PING_COUNT_SENT]++;
    }
    ping->sending = false;
    if (options_of(context)->answer_every > 1) {
        advance_oldest(ping);
    }
    if (ping->begun < ping->issued) {
        send_next(context, ping, clock_now_ns());
    } else if (options_of(context)->answer_every > 1) {
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
    const char *wrong = ping_take_head(options_of(context), head, &wire);
    if (wrong) {
        return wrong;
    }
    if (!ping_whole_sequence(options_of(context), wire, ping->begun, &sequence)) {
        return "an answer to a message that was never sent";
    }
    struct message *message = message_of(ping, sequence);
    if (sequence + ping->room <= ping->issued || message->state == MESSAGE_ANSWERED) {
        counters[PING_COUNT_DUPLICATED]++;
        return "a second answer to the same message";
    }
    if (message->state == MESSAGE_NONE) {
        return "an answer that was not asked for";
    }
    if (message->state == MESSAGE_GIVEN_UP) {
        counters[PING_COUNT_LATE]++;
        message->state = MESSAGE_ANSWERED;
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
    if (options_of(context)->stamps) {
        split(context, message, sequence == ping->begun, op);
    }
    if (options_of(context)->log) {
        note(options_of(context)->log, message->sent_ns, op->now_ns);
    }
    message->state = MESSAGE_ANSWERED;
    ping->in_flight--;
    advance_oldest(ping);
    return NULL;
}

/* Answers on a stream: in pieces, or several together. */
static void take_stream(struct role_context *context, struct ping_connection *ping,
                        const struct op *op)
{
    const struct ping_options *options = options_of(context);
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
    bool whole = length == options_of(context)->size_bytes;
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
    uint64_t timeout_ns = options_of(context)->timeout_ns;
    ping->timer_ns = 0;
    for (uint64_t i = ping->oldest; i <= ping->begun; i++) {
        struct message *message = message_of(ping, i);
        if (message->state != MESSAGE_WAITING) {
            continue;
        }
        if (message->sent_ns + timeout_ns > now_ns || (i == ping->begun && ping->sending)) {
            break;
        }
        message->state = MESSAGE_GIVEN_UP;
        ping->in_flight--;
        context->bank->counters[PING_COUNT_LOST]++;
    }
    advance_oldest(ping);
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
        if (options_of(context)->answer_every != PING_ANSWER_NONE) {
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
    return !ping->failed &&
           ping->issued + burst_now(context) + 1 - ping->oldest <= options_of(context)->high;
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
