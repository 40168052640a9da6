/* The client of `sonde call`: issues calls up to the high-water mark, writes them as the strategy
 * says, and matches every answer with its call. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "workload/call.h"

/* Most that one send takes, as Twisted's transport has it (128 KiB). */
#define SEND_BYTES_MAX ((size_t)131072)
/* Every byte of the stream is its position modulo this prime, so that an answer can be checked. */
#define PATTERN_PERIOD ((size_t)251)

/* What a worker's connections share: the bytes that they send. */
struct call_worker {
    uint8_t pattern[SEND_BYTES_MAX + PATTERN_PERIOD];
};

/* One send: calls up to (not including) end_call had their first byte in it or in an earlier. */
struct call_send {
    uint64_t end_call;
    uint64_t sent_ns;
};

struct call_connection {
    struct connection base;
    uint64_t *issued_ns;     /* ring of `room`: when each call in flight was issued or intended */
    struct call_send *sends; /* ring of `room`: sends not yet answered in full */
    uint64_t room, mask;     /* 0 until the first call; a power of two, and room-1 */
    uint64_t issued, completed; /* calls */
    uint64_t sent_bytes;        /* taken by the kernel */
    uint64_t sending_bytes;     /* in the send under way; 0: none */
    uint64_t received_bytes;
    uint64_t send_first, send_end;     /* positions in the ring of sends */
    uint64_t looked_ns;                /* up to when the in-flight integral reaches */
    uint32_t integral_rest, time_rest; /* what of it is below its unit */
    bool throttled;
    bool failed;
    bool flush_timer;
    bool resuming; /* has asked for OP_RESUME: the loop is to be entered before the next send */
    bool corked;   /* the last send told the kernel that more follows */
};

static const struct call_options *options_of(const struct role_context *context)
{
    return context->options;
}

static struct call_connection *call_of(struct connection *connection)
{
    return (struct call_connection *)(void *)connection;
}

static void *call_open_worker(const void *options, uint32_t connections, struct err *error)
{
    (void)options;
    (void)connections;
    struct call_worker *worker = malloc(sizeof *worker);
    if (!worker) {
        err_system(error, ENOMEM, "call", "cannot make the send pattern");
        return NULL;
    }
    for (size_t i = 0; i < sizeof worker->pattern; i++) {
        worker->pattern[i] = (uint8_t)(i % PATTERN_PERIOD);
    }
    return worker;
}

static int call_open(struct role_context *context, struct connection *connection)
{
    (void)context;
    (void)connection;
    return 0; /* an idle connection has no rings */
}

static void call_close(struct role_context *context, struct connection *connection)
{
    struct call_connection *call = call_of(connection);
    (void)context;
    free(call->issued_ns);
    free(call->sends);
    call->issued_ns = NULL;
    call->sends = NULL;
}

/* The least ring for `calls` in flight. */
static uint64_t ring_room(uint64_t calls)
{
    uint64_t room = 4;
    while (room < calls) {
        room *= 2;
    }
    return room;
}

static size_t call_connection_memory(const void *options)
{
    const struct call_options *call = options;
    return sizeof(struct call_connection) +
           ring_room(call->high) * (sizeof(uint64_t) + sizeof(struct call_send));
}

static uint64_t in_flight(const struct call_connection *call)
{
    return call->issued - call->completed;
}

/* Adds the time since the last look to the integral of calls in flight, which went from `before`
 * to the present number in that time. */
static void integrate(struct role_context *context, struct call_connection *call, uint64_t before,
                      uint64_t now_ns)
{
    uint64_t passed_ns = now_ns > call->looked_ns ? now_ns - call->looked_ns : 0;
    uint64_t *counters = context->bank->counters;
    uint64_t integral = passed_ns * (before + in_flight(call)) / 2 + call->integral_rest;
    uint64_t time = passed_ns + call->time_rest;
    counters[CALL_COUNT_IN_FLIGHT] += integral >> CALL_TIME_SHIFT;
    counters[CALL_COUNT_TIME] += time >> CALL_TIME_SHIFT;
    call->integral_rest = integral & ((1u << CALL_TIME_SHIFT) - 1);
    call->time_rest = time & ((1u << CALL_TIME_SHIFT) - 1);
    call->looked_ns = now_ns > call->looked_ns ? now_ns : call->looked_ns;
}

static void fail(struct role_context *context, struct call_connection *call, enum bank_phase phase,
                 int number, const char *name)
{
    if (call->failed) {
        return;
    }
    bank_error(context->bank, phase, number, name);
    context->bank->counters[CALL_COUNT_LOST] += in_flight(call);
    call->failed = true;
    step_submit(context, &call->base, OP_CLOSE);
}

/* ---- issuing --------------------------------------------------------------------------------- */

/* Moves the rings to larger ones. Happens only when more calls are in flight than ever before on
 * this connection, so a steady load allocates nothing. 0 or -1 without memory. */
static int grow_rings(struct call_connection *call, uint64_t calls)
{
    uint64_t room = ring_room(calls), mask = room - 1;
    uint64_t *issued_ns = malloc(room * sizeof *issued_ns);
    struct call_send *sends = malloc(room * sizeof *sends);
    if (!issued_ns || !sends) {
        free(issued_ns);
        free(sends);
        return -1;
    }
    for (uint64_t i = call->completed; i < call->issued; i++) {
        issued_ns[i & mask] = call->issued_ns[i & call->mask];
    }
    for (uint64_t i = call->send_first; i < call->send_end; i++) {
        sends[i & mask] = call->sends[i & call->mask];
    }
    free(call->issued_ns);
    free(call->sends);
    call->issued_ns = issued_ns;
    call->sends = sends;
    call->room = room;
    call->mask = mask;
    return 0;
}

/* Room for `count` more calls in flight; a connection that cannot have it fails. */
static bool make_room(struct role_context *context, struct call_connection *call, uint64_t count)
{
    uint64_t wanted = in_flight(call) + count;
    if (__builtin_expect(wanted <= call->room, 1)) {
        return true;
    }
    if (grow_rings(call, wanted) == 0) {
        return true;
    }
    fail(context, call, PHASE_SEND, ENOMEM, NULL);
    return false;
}

static uint64_t may_issue(const struct role_context *context, const struct call_connection *call)
{
    if (call->throttled || context->draining) {
        return 0;
    }
    uint64_t room = options_of(context)->high - in_flight(call);
    return room < context->quota ? room : context->quota;
}

/* Issues `count` calls, each with a clock reading of its own; returns the last. The first may use
 * the reading that was just made. */
static uint64_t issue_calls(struct role_context *context, struct call_connection *call,
                            uint64_t count, uint64_t now_ns)
{
    uint64_t *ring = call->issued_ns;
    const uint64_t mask = call->mask;
    const uint64_t end = call->issued + count;
    const uint64_t before = in_flight(call);
    uint64_t next = call->issued;

    integrate(context, call, before, now_ns);
    ring[next++ & mask] = now_ns;
    while (next < end) {
        now_ns = clock_now_ns();
        ring[next++ & mask] = now_ns;
    }
    call->issued = end;
    integrate(context, call, before, now_ns);
    context->quota -= context->quota == UINT64_MAX ? 0 : count;
    context->bank->counters[CALL_COUNT_ISSUED] += count;
    if (in_flight(call) >= options_of(context)->high) {
        call->throttled = true;
        context->bank->counters[CALL_COUNT_THROTTLED]++;
    }
    return now_ns;
}

/* ---- writing --------------------------------------------------------------------------------- */

static uint64_t pending_bytes(const struct role_context *context,
                              const struct call_connection *call)
{
    return call->issued * options_of(context)->size_bytes - call->sent_bytes - call->sending_bytes;
}

/* Submits a send of up to `most` pending bytes. now_ns: when they leave. */
static void start_send(struct role_context *context, struct call_connection *call, uint64_t most,
                       uint64_t now_ns)
{
    const struct call_options *options = options_of(context);
    const struct call_worker *worker = context->shared;
    uint64_t length = pending_bytes(context, call);
    length = length < most ? length : most;
    length = length < SEND_BYTES_MAX ? length : SEND_BYTES_MAX;

    struct op *op = step_submit(context, &call->base, OP_SEND);
    op->data = worker->pattern + call->sent_bytes % PATTERN_PERIOD;
    op->length = length;
    bool more = options->write.strategy == WRITE_EACH || options->write.strategy == WRITE_BATCH;
    if (options->cork && more && !context->open_loop && may_issue(context, call)) {
        op->flags = OP_MORE;
    }
    call->corked = op->flags & OP_MORE;
    call->sending_bytes = length;
    if (!context->open_loop && pending_bytes(context, call) == 0 && may_issue(context, call) == 0) {
        op->flags |= OP_QUIET; /* nothing to do before an answer comes */
    }
    uint64_t end_byte = call->sent_bytes + length;
    uint64_t end_call = (end_byte + options->size_bytes - 1) / options->size_bytes;
    uint64_t last = call->send_end == call->send_first
                        ? call->completed
                        : call->sends[(call->send_end - 1) & call->mask].end_call;
    if (end_call > last) {
        call->sends[call->send_end++ & call->mask] =
            (struct call_send){.end_call = end_call, .sent_ns = now_ns};
    }
}

/* Writes what the strategy says is to be written now. `flushing`: the loop is about to wait. */
static void write_calls(struct role_context *context, struct call_connection *call, uint64_t now_ns,
                        bool flushing)
{
    const struct call_options *options = options_of(context);
    uint64_t pending = pending_bytes(context, call);
    if (call->sending_bytes || pending == 0 || call->failed) {
        return;
    }
    if (flushing || context->draining) {
        start_send(context, call, UINT64_MAX, now_ns);
        return;
    }
    switch (options->write.strategy) {
    case WRITE_GATHER:
        context->out.flush = true;
        break;
    case WRITE_EACH:
        if (!call->resuming) {
            start_send(context, call, options->size_bytes, now_ns);
        }
        break;
    case WRITE_BATCH:
        if (pending >= options->write.parameter * options->size_bytes) {
            start_send(context, call, options->write.parameter * options->size_bytes, now_ns);
        } else {
            context->out.flush = true;
        }
        break;
    case WRITE_QUEUE:
        if (!call->flush_timer) {
            call->flush_timer = true;
            context->out.set_timer = true;
            /* The next tick of a periodic timer, not a period from now. */
            context->out.timer_ns =
                (now_ns / options->write.parameter + 1) * options->write.parameter;
        }
        break;
    }
}

/* Issues what may be issued (closed loop) and writes what is to be written. */
static void pump(struct role_context *context, struct call_connection *call, uint64_t now_ns)
{
    const struct call_write *write = &options_of(context)->write;
    if (call->resuming && !context->draining) {
        return;
    }
    uint64_t count = context->open_loop || call->failed ? 0 : may_issue(context, call);
    if (write->strategy == WRITE_EACH) {
        bool free_to_send = !call->sending_bytes && pending_bytes(context, call) == 0;
        count = count && free_to_send ? 1 : 0;
    } else if (write->strategy == WRITE_BATCH && count) {
        uint64_t gathered = pending_bytes(context, call) / options_of(context)->size_bytes;
        uint64_t wanted = gathered < write->parameter ? write->parameter - gathered : 0;
        count = count < wanted ? count : wanted;
    }
    if (count) {
        if (!make_room(context, call, count)) {
            return;
        }
        now_ns = issue_calls(context, call, count, now_ns);
    }
    write_calls(context, call, now_ns, false);
}

/* After a short send: calls beyond the bytes that were taken leave with a later one. A send without
 * any call's first byte is forgotten: the ring has room for one for each call in flight. */
static void shorten_last_send(const struct role_context *context, struct call_connection *call)
{
    const uint64_t size = options_of(context)->size_bytes;
    if (call->send_end == call->send_first) {
        return;
    }
    struct call_send *last = &call->sends[(call->send_end - 1) & call->mask];
    uint64_t end_call = (call->sent_bytes + size - 1) / size;
    uint64_t before = call->send_end - call->send_first == 1
                          ? call->completed
                          : call->sends[(call->send_end - 2) & call->mask].end_call;
    last->end_call = end_call < last->end_call ? end_call : last->end_call;
    if (last->end_call <= before) {
        call->send_end--;
    }
}

static void sent(struct role_context *context, struct call_connection *call, const struct op *op)
{
    const struct call_options *options = options_of(context);
    if (op->result < 0) {
        fail(context, call, PHASE_SEND, (int)-op->result, NULL);
        return;
    }
    uint64_t taken = (uint64_t)op->result;
    bool whole = taken == call->sending_bytes;
    call->sent_bytes += taken;
    call->sending_bytes = 0;
    context->bank->counters[CALL_COUNT_SENDS]++;
    context->bank->counters[CALL_COUNT_SENT_BYTES] += taken;
    context->bank->counters[CALL_COUNT_BYTES] += taken;
    if (!whole) {
        shorten_last_send(context, call);
    }
    if (options->write.strategy == WRITE_EACH && whole && op->now_ns == 0) {
        /* Done at once: the loop is entered before the next call. */
        call->resuming =
            pending_bytes(context, call) || (!context->open_loop && may_issue(context, call));
        context->out.resume = call->resuming;
        return;
    }
    uint64_t now_ns = op->now_ns ? op->now_ns : clock_now_ns();
    if (options->write.strategy == WRITE_BATCH || options->write.strategy == WRITE_EACH) {
        pump(context, call, now_ns);
    } else {
        /* What did not fit into one send goes now. What was issued meanwhile is left to the timer
         * where that decides. */
        bool rest = !whole || taken == SEND_BYTES_MAX;
        write_calls(context, call, now_ns, rest || options->write.strategy != WRITE_QUEUE);
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

/* Records the calls up to `target` as answered at now_ns. */
static void complete(struct role_context *context, struct call_connection *call, uint64_t target,
                     uint64_t now_ns)
{
    struct histogram *response = &context->bank->histograms[CALL_RESPONSE_TIME];
    struct histogram *service = &context->bank->histograms[CALL_SERVICE_TIME];
    uint64_t *counters = context->bank->counters;
    const uint64_t *ring = call->issued_ns;
    const uint64_t mask = call->mask;
    uint64_t next = call->completed;

    counters[CALL_COUNT_COMPLETED] += target - next;
    for (; next < target; next++) {
        uint64_t waited_ns = now_ns - ring[next & mask];
        if (__builtin_expect((int64_t)waited_ns < 0, 0)) {
            counters[CALL_COUNT_REGRESSIONS]++;
            waited_ns = 0;
        }
        histogram_record(response, waited_ns, 1);
    }
    while (call->completed < target) {
        const struct call_send *send = &call->sends[call->send_first & mask];
        uint64_t end = send->end_call < target ? send->end_call : target;
        if (end > call->completed) { /* a short send may have left no call's first byte in it */
            uint64_t waited_ns = now_ns > send->sent_ns ? now_ns - send->sent_ns : 0;
            histogram_record(service, waited_ns, end - call->completed);
            call->completed = end;
        }
        if (end == send->end_call) {
            call->send_first++;
        }
    }
}

/* True where the bytes are the ones that were sent at this place of the stream. */
static bool matches(const struct call_worker *worker, uint64_t position, const uint8_t *data,
                    size_t length)
{
    while (length) {
        size_t piece = length < SEND_BYTES_MAX ? length : SEND_BYTES_MAX;
        if (memcmp(data, worker->pattern + position % PATTERN_PERIOD, piece) != 0) {
            return false;
        }
        data += piece;
        position += piece;
        length -= piece;
    }
    return true;
}

static void received(struct role_context *context, struct call_connection *call,
                     const struct op *op)
{
    const struct call_options *options = options_of(context);
    uint64_t *counters = context->bank->counters;
    if (op->result < 0) {
        fail(context, call, PHASE_RECEIVE, (int)-op->result, NULL);
        return;
    }
    if (op->result == 0) {
        fail(context, call, PHASE_RECEIVE, 0, "the server closed the connection");
        return;
    }
    size_t length = (size_t)op->result;
    if (call->received_bytes + length > call->sent_bytes + call->sending_bytes) {
        fail(context, call, PHASE_PROTOCOL, 0, "the server sent more than it was asked");
        return;
    }
    if (options->verify && !matches(context->shared, call->received_bytes, op->data, length)) {
        fail(context, call, PHASE_PROTOCOL, 0, "the answer is not what was sent");
        return;
    }
    call->received_bytes += length;
    counters[CALL_COUNT_RECEIVES]++;
    counters[CALL_COUNT_RECEIVED_BYTES] += length;
    counters[CALL_COUNT_BYTES] += length;
    histogram_record(&context->bank->histograms[CALL_RECEIVED_SIZE], length, 1);
    integrate(context, call, in_flight(call), op->now_ns);
    complete(context, call, call->received_bytes / options->size_bytes, op->now_ns);
    if (call->throttled && in_flight(call) < options->low) {
        call->throttled = false;
        counters[CALL_COUNT_RESUMED]++;
    }
    pump(context, call, op->now_ns);
}

/* Open loop: one call is due, meant to start at op->now_ns. */
static void arrived(struct role_context *context, struct call_connection *call, const struct op *op)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t before = in_flight(call);
    uint64_t lag_ns = now_ns > op->now_ns ? now_ns - op->now_ns : 0;
    if (!make_room(context, call, 1)) {
        return;
    }
    call->issued_ns[call->issued++ & call->mask] = op->now_ns;
    integrate(context, call, before, now_ns);
    context->bank->counters[CALL_COUNT_ISSUED]++;
    context->quota -= context->quota == UINT64_MAX ? 0 : 1;
    histogram_record(&context->bank->histograms[CALL_SEND_LAG], lag_ns, 1);
    write_calls(context, call, now_ns, false);
}

static void call_step(struct role_context *context, struct connection *connection,
                      const struct op *op)
{
    struct call_connection *call = call_of(connection);
    if (call->failed) {
        return;
    }
    switch (op->kind) {
    case OP_START:
        call->looked_ns = op->now_ns;
        step_submit(context, connection, OP_RECEIVE);
        pump(context, call, op->now_ns);
        break;
    case OP_RECEIVE:
        received(context, call, op);
        break;
    case OP_SEND:
        sent(context, call, op);
        break;
    case OP_FLUSH:
        write_calls(context, call, op->now_ns, true);
        break;
    case OP_RESUME:
        call->resuming = false;
        pump(context, call, op->now_ns);
        break;
    case OP_ARRIVAL:
        arrived(context, call, op);
        break;
    case OP_TIMER:
        call->flush_timer = false;
        write_calls(context, call, op->now_ns, true);
        break;
    case OP_DRAIN:
        write_calls(context, call, op->now_ns, true);
        if (call->corked) { /* the calls that were to follow never will */
            step_submit(context, connection, OP_PUSH);
        }
        break;
    default:
        break;
    }
}

static uint64_t call_outstanding(const struct connection *connection)
{
    const struct call_connection *call = (const struct call_connection *)(const void *)connection;
    return call->failed ? 0 : in_flight(call);
}

static bool call_can_take(const struct role_context *context, const struct connection *connection)
{
    const struct call_connection *call = (const struct call_connection *)(const void *)connection;
    return !call->failed && in_flight(call) < options_of(context)->high;
}

static const struct histogram_metric histograms[] = {
    [CALL_RESPONSE_TIME] = {"response_time", "ns", "response time",
                            "from the intended start of a call (closed loop: from its issue) to "
                            "the receive that completed its answer"},
    [CALL_SERVICE_TIME] = {"service_time", "ns", "service time",
                           "from the send that carried a call's first byte to the receive that "
                           "completed its answer"},
    [CALL_SEND_LAG] = {"send_lag", "ns", "send lag",
                       "open loop: how long after its intended start a call was issued"},
    [CALL_RECEIVED_SIZE] = {"received_size", "bytes", "received sizes",
                            "bytes that one receive returned"},
};

const struct role call_client = {
    .connection_bytes = sizeof(struct call_connection),
    .histograms = histograms,
    .histogram_count = sizeof histograms / sizeof *histograms,
    .open_worker = call_open_worker,
    .close_worker = free,
    .open = call_open,
    .step = call_step,
    .outstanding = call_outstanding,
    .can_take = call_can_take,
    .close = call_close,
    .connection_memory = call_connection_memory,
};
