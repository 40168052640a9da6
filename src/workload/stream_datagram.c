#include "workload/stream_datagram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A sender that was held up makes up for so much and no more. */
#define CATCH_UP_NS (100 * NS_PER_MS)
/* What a datagram of any length holds behind its head: its position in it modulo this. */
#define PATTERN_PERIOD 251

void *datagram_open_worker(const void *options, uint32_t connections, struct err *error)
{
    const struct stream_options *stream = options;
    (void)connections;
    struct datagram_worker *worker = malloc(sizeof *worker + stream->length_bytes);
    if (!worker) {
        err_system(error, ENOMEM, "stream", "cannot make the payload");
        return NULL;
    }
    worker->opened = 0;
    for (size_t i = 0; i < stream->length_bytes; i++) {
        worker->pattern[i] = (uint8_t)(i % PATTERN_PERIOD);
    }
    return worker;
}

void datagram_close_worker(void *shared)
{
    free(shared);
}

size_t datagram_worker_memory(const void *options)
{
    const struct stream_options *stream = options;
    return sizeof(struct datagram_worker) + stream->length_bytes;
}

size_t datagram_connection_memory(const void *options)
{
    const struct stream_options *stream = options;
    return DATAGRAM_CONNECTION_BYTES + stream->batch * stream->length_bytes;
}

static void count_flow(struct bank_flow *flow, enum stream_flow_counter counter, uint64_t by)
{
    if (flow) {
        flow->counters[counter] += by;
    }
}

/* ---- sending ---- */

uint64_t datagram_share(const struct stream_options *options, uint32_t number)
{
    if (!options->total_bytes) {
        return UINT64_MAX;
    }
    return stream_share_end(options, number) - (number ? stream_share_end(options, number - 1) : 0);
}

int datagram_sender_open(struct datagram_sender *sender, const struct role_context *context,
                         uint32_t number)
{
    const struct stream_options *options = datagram_options(context);
    const struct datagram_worker *worker = context->shared;
    sender->number = number;
    sender->left = datagram_share(options, number);
    sender->batch = malloc(options->batch * options->length_bytes);
    if (!sender->batch) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < options->batch; i++) {
        memcpy(sender->batch + i * options->length_bytes, worker->pattern, options->length_bytes);
    }
    return 0;
}

void datagram_sender_close(struct datagram_sender *sender)
{
    free(sender->batch);
    sender->batch = NULL;
}

bool datagram_sender_due(struct datagram_sender *sender, const struct stream_options *options,
                         uint64_t now_ns)
{
    if (!options->rate_bytes) {
        return true;
    }
    if (sender->due_ns == 0 || sender->due_ns + CATCH_UP_NS < now_ns) {
        sender->due_ns = now_ns;
    }
    return sender->due_ns <= now_ns;
}

/* The next datagram's length: all of `length` but at the end, where none may be too short for its
 * head. */
static size_t next_length(uint64_t left, uint64_t length)
{
    if (left <= length) {
        return (size_t)left;
    }
    return (size_t)(left - length < DATAGRAM_BYTES ? left - DATAGRAM_BYTES : length);
}

/* A shorter datagram is the last of its batch. */
void datagram_sender_fill(struct datagram_sender *sender, const struct stream_options *options,
                          uint64_t now_ns, struct op *op)
{
    uint64_t left = sender->left;
    size_t bytes = 0;
    for (uint64_t i = 0; i < options->batch && left; i++) {
        size_t length = next_length(left, options->length_bytes);
        const struct datagram head = {
            .number = sender->number, .sequence = sender->sequence + i, .sent_ns = now_ns};
        datagram_formats[options->format].encode(sender->batch + bytes, &head);
        bytes += length;
        left -= left == UINT64_MAX ? 0 : length;
        if (length < options->length_bytes) {
            break;
        }
    }
    op->data = sender->batch;
    op->length = bytes;
    op->segment = bytes > options->length_bytes ? (uint32_t)options->length_bytes : 0;
}

void datagram_sender_sent(struct datagram_sender *sender, struct role_context *context,
                          struct bank_flow *flow, uint64_t bytes)
{
    const struct stream_options *options = datagram_options(context);
    uint64_t *counters = context->bank->counters;
    uint64_t messages = (bytes + options->length_bytes - 1) / options->length_bytes;
    counters[STREAM_COUNT_SENDS]++;
    counters[STREAM_COUNT_SENT_BYTES] += bytes;
    counters[STREAM_COUNT_SENT] += messages;
    count_flow(flow, STREAM_FLOW_SENDS, 1);
    count_flow(flow, STREAM_FLOW_SENT_BYTES, bytes);
    count_flow(flow, STREAM_FLOW_SENT, messages);
    sender->sequence += messages;
    if (sender->left != UINT64_MAX) {
        sender->left -= bytes < sender->left ? bytes : sender->left;
    }
    if (options->rate_bytes) {
        sender->due_ns += (uint64_t)((double)bytes * 1e9 / (double)options->rate_bytes);
    }
}

/* ---- receiving ---- */

static void count_expected(struct role_context *context, struct bank_flow *flow, uint64_t expected)
{
    context->bank->counters[STREAM_COUNT_EXPECTED] += expected;
    count_flow(flow, STREAM_FLOW_EXPECTED, expected);
}

void datagram_take(struct role_context *context, struct arrivals *arrivals, struct bank_flow *flow,
                   const struct datagram *head, const uint8_t *data, size_t length, uint64_t now_ns)
{
    const struct datagram_worker *worker = context->shared;
    const struct stream_options *options = datagram_options(context);
    uint64_t *counters = context->bank->counters;
    if (options->verify && (length > options->length_bytes ||
                            memcmp(data + DATAGRAM_BYTES, worker->pattern + DATAGRAM_BYTES,
                                   length - DATAGRAM_BYTES))) {
        bank_error(context->bank, PHASE_PROTOCOL, 0, "payload is not what was sent");
        return;
    }
    struct arrivals_change change = arrivals_take(arrivals, head->sequence, head->sent_ns, now_ns);
    counters[STREAM_COUNT_RECEIVED_BYTES] += length;
    count_flow(flow, STREAM_FLOW_RECEIVED_BYTES, length);
    count_expected(context, flow, change.expected);
    if (change.duplicate) {
        counters[STREAM_COUNT_DUPLICATES]++;
        count_flow(flow, STREAM_FLOW_DUPLICATES, 1);
        return;
    }
    uint64_t jitter_ns = (uint64_t)(arrivals->jitter_ns + 0.5);
    counters[STREAM_COUNT_ARRIVED]++;
    counters[STREAM_COUNT_LATE] += change.late;
    counters[STREAM_COUNT_JITTER_NS] += jitter_ns;
    count_flow(flow, STREAM_FLOW_ARRIVED, 1);
    count_flow(flow, STREAM_FLOW_LATE, change.late);
    count_flow(flow, STREAM_FLOW_JITTER_NS, jitter_ns);
}

void datagram_take_end(struct role_context *context, struct arrivals *arrivals,
                       struct bank_flow *flow, uint64_t count)
{
    count_expected(context, flow, arrivals_end(arrivals, count));
}

void datagram_count_receive(struct role_context *context, size_t bytes)
{
    context->bank->counters[STREAM_COUNT_RECEIVES]++;
    histogram_record(&context->bank->histograms[STREAM_RECEIVED_SIZE], bytes, 1);
}

const struct histogram_metric datagram_histograms[1] = {
    [STREAM_RECEIVED_SIZE] = {"received_size", "bytes", "received sizes",
                              "bytes that one receive returned"},
};
