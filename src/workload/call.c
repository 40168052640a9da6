/* `sonde call` as the workload table sees it: options, metrics, both roles. */
#include "workload/call.h"

#include <stdio.h>
#include <string.h>

#include "base/units.h"

static int parse_write(const char *text, void *member, struct err *error)
{
    struct call_write *write = member;
    if (strcmp(text, "gather") == 0) {
        *write = (struct call_write){.strategy = WRITE_GATHER};
        return 0;
    }
    if (strcmp(text, "each") == 0) {
        *write = (struct call_write){.strategy = WRITE_EACH};
        return 0;
    }
    uint64_t value;
    /* A bare number would be seconds: nobody means that here. */
    bool has_unit = text[0] && !(text[strlen(text) - 1] >= '0' && text[strlen(text) - 1] <= '9');
    if (has_unit && strncmp(text, "queue=", 6) == 0 &&
        units_parse_duration(text + 6, &value) == 0 && value > 0) {
        *write = (struct call_write){.strategy = WRITE_QUEUE, .parameter = value};
        return 0;
    }
    if (strncmp(text, "batch=", 6) == 0 && units_parse_count(text + 6, &value) == 0 && value > 0 &&
        value <= UINT32_MAX) {
        *write = (struct call_write){.strategy = WRITE_BATCH, .parameter = value};
        return 0;
    }
    err_set(error, ERR_USAGE, text, "is no write strategy");
    return err_hint(error, "accepts gather, each, queue=TIME (queue=10ms), batch=N (batch=64)");
}

static void print_write(const void *member, FILE *out)
{
    const struct call_write *write = member;
    char text[UNITS_TEXT_MAX];
    switch (write->strategy) {
    case WRITE_GATHER:
        fputs("gather", out);
        break;
    case WRITE_EACH:
        fputs("each", out);
        break;
    case WRITE_QUEUE:
        fprintf(out, "queue=%s", units_exact_duration(text, write->parameter));
        break;
    case WRITE_BATCH:
        fprintf(out, "batch=%lu", write->parameter);
        break;
    }
}

/* A call is at most 1 GiB and at most 16 Mi calls are in flight: their product stays far below
 * 2^63, so that positions in the stream cannot overflow. */
static const struct opt option_rows[] = {
    OPT_SIZE(struct call_options, size_bytes, .name = "size", .letter = 'm', .initial = "1",
             .least = 1, .most = 1 << 30, .argument = "SIZE",
             .help = "bytes of a call and of its answer"),
    OPT_CUSTOM(struct call_options, write, struct call_write, .name = "write", .initial = "gather",
               .argument = "HOW", .parse = parse_write, .print = print_write,
               .help = "gather (written when the loop is next about to wait), each (one send a "
                       "call, then the loop), queue=TIME (flushed by a timer), batch=N (N calls, "
                       "or an idle loop)"),
    OPT_COUNT(struct call_options, high, .name = "high", .initial = "20k", .least = 1,
              .most = 1 << 24, .argument = "N",
              .help = "calls in flight on a connection at which it stops issuing"),
    OPT_COUNT(struct call_options, low, .name = "low", .initial = "0", .most = 1 << 24,
              .argument = "N",
              .help = "goes on once fewer than this are in flight (0: half of --high)"),
    OPT_BOOL(struct call_options, cork, .name = "cork",
             .help = "tell the kernel when more calls follow at once (MSG_MORE)"),
    OPT_BOOL(struct call_options, verify, .name = "verify", .initial = "yes",
             .help = "check that every answer is what was sent"),
};

static int check(void *member, uint64_t receive_bytes, struct err *error)
{
    struct call_options *options = member;
    if (options->low > options->high) {
        return err_set(error, ERR_USAGE, "--low", "%lu is above --high %lu", options->low,
                       options->high);
    }
    if (options->low == 0) {
        options->low = options->high > 1 ? options->high / 2 : 1;
    }
    return echo_check(&options->echo, receive_bytes, error);
}

static const struct metric metrics[] = {
    {"calls_per_second", "1/s", "calls/s", "calls answered in full, per second", METRIC_PER_SECOND,
     CALL_COUNT_COMPLETED, 0, true},
    {"calls", "1", "calls", "calls answered in full", METRIC_COUNT, CALL_COUNT_COMPLETED, 0, true},
    {"calls_per_send", "1", "calls/send", "calls that left with one send, mean", METRIC_RATIO,
     CALL_COUNT_ISSUED, CALL_COUNT_SENDS, false},
    {"bytes_per_receive", "bytes", "bytes/receive", "bytes that one receive returned, mean",
     METRIC_RATIO, CALL_COUNT_RECEIVED_BYTES, CALL_COUNT_RECEIVES, false},
    {"bytes_per_second", "bytes/s", "bytes/s", "payload bytes, both directions, per second",
     METRIC_PER_SECOND, CALL_COUNT_BYTES, 0, false},
    {"in_flight", "1", "in flight", "calls in flight on a connection, mean over time", METRIC_RATIO,
     CALL_COUNT_IN_FLIGHT, CALL_COUNT_TIME, true},
    {"throttled", "1", "throttled", "times that a connection reached its high-water mark",
     METRIC_COUNT, CALL_COUNT_THROTTLED, 0, false},
    {"resumed", "1", "resumed", "times that it fell below its low-water mark and went on",
     METRIC_COUNT, CALL_COUNT_RESUMED, 0, false},
    {"calls_lost", "1", "calls lost", "calls in flight on a connection that failed", METRIC_COUNT,
     CALL_COUNT_LOST, 0, false},
    {"clock_regressions", "1", "clock regressions",
     "answers that seemed to come before their call (counted with a time of 0)", METRIC_COUNT,
     CALL_COUNT_REGRESSIONS, 0, false},
};

const struct workload workload_call = {
    .name = "call",
    .summary = "pipelined calls: what each write strategy costs, at both ends",
    .options = option_rows,
    .option_count = sizeof option_rows / sizeof *option_rows,
    .options_bytes = sizeof(struct call_options),
    .server_options = echo_option_rows,
    .server_option_count = ECHO_OPTIONS,
    .server_options_offset = offsetof(struct call_options, echo),
    .check = check,
    .metrics = metrics,
    .metric_count = sizeof metrics / sizeof *metrics,
    .operations = CALL_COUNT_COMPLETED,
    .bytes = CALL_COUNT_BYTES,
    .send_lag = CALL_SEND_LAG,
    .needs = WORKLOAD_STREAM,
    .operation = "call",
    .server_metrics = echo_metrics,
    .server_metric_count = ECHO_METRICS_OF_RUN, /* connections are no news in a run */
    .client = &call_client,
    .server = &echo_server,
};
