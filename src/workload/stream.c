/* `sonde stream` as the workload table sees it: options, metrics, both roles. */
#include "workload/stream.h"

#include <stdio.h>
#include <string.h>

#include "base/units.h"

/* "1G": bits per second, as the field has it; "125MB": bytes. */
static int parse_rate(const char *text, void *member, struct err *error)
{
    uint64_t *bytes = member;
    char number[64];
    size_t length = strlen(text);
    double value;
    bool of_bytes = length && text[length - 1] == 'B';
    length -= length && (of_bytes || text[length - 1] == 'b');
    if (length && length < sizeof number) {
        memcpy(number, text, length);
        number[length] = '\0';
        if (units_parse_rate(number, &value) == 0 && (value == 0 || value >= 8) && value <= 1e15) {
            *bytes = (uint64_t)(of_bytes ? value : value / 8);
            return 0;
        }
    }
    err_set(error, ERR_USAGE, text, "is no rate");
    return err_hint(error, "accepts bits per second (100M, 2.5G) or bytes (125MB), 0: no limit");
}

static void print_rate(const void *member, FILE *out)
{
    char text[UNITS_TEXT_MAX];
    uint64_t bytes = *(const uint64_t *)member;
    fputs(units_exact_rate(text, (double)bytes * 8), out);
}

static const char *const pacings[] = {"kernel", "timer", NULL};

static const struct opt option_rows[] = {
    OPT_SIZE(struct stream_options, length_bytes, .name = "length", .letter = 'l',
             .initial = "128k", .least = 1, .most = 64 << 20, .argument = "SIZE",
             .help = "bytes that one send offers"),
    OPT_COUNT(struct stream_options, streams, .name = "streams", .letter = 'P', .initial = "1",
              .least = 1, .most = 100000, .argument = "N",
              .help = "streams, a connection each (with --bidir so many in each direction)"),
    OPT_BOOL(struct stream_options, reverse, .name = "reverse", .letter = 'R',
             .help = "the server sends and the client receives"),
    OPT_BOOL(struct stream_options, bidir, .name = "bidir",
             .help = "both directions at once, each stream in one"),
    OPT_SIZE(struct stream_options, total_bytes, .name = "bytes", .letter = 'n', .initial = "0",
             .argument = "SIZE",
             .help = "move so many in all, over all streams (0: by --duration)"),
    OPT_CUSTOM(struct stream_options, rate_bytes, uint64_t, .name = "rate", .letter = 'b',
               .initial = "0", .argument = "RATE", .parse = parse_rate, .print = print_rate,
               .help = "pace each stream: bits per second (1G), or bytes (125MB); 0: as fast as it "
                       "goes"),
    OPT_CHOICE(struct stream_options, pacing, .name = "pacing", .choices = pacings,
               .initial = "kernel", .argument = "BY",
               .help = "--rate by the kernel (SO_MAX_PACING_RATE, TCP only) or by sonde's own "
                       "timers"),
    OPT_BOOL(struct stream_options, verify, .name = "verify",
             .help = "check every byte where it is received"),
};

static int check(void *member, uint64_t receive_bytes, struct err *error)
{
    struct stream_options *options = member;
    (void)receive_bytes;
    if (options->reverse && options->bidir) {
        err_set(error, ERR_USAGE, "--bidir", "cannot be combined with --reverse");
        return err_hint(error, "it has streams of both directions already");
    }
    if (options->total_bytes && options->total_bytes < stream_connections(options)) {
        return err_set(error, ERR_USAGE, "--bytes", "%lu bytes are not one for each of %lu streams",
                       options->total_bytes, stream_connections(options));
    }
    return 0;
}

static const struct metric metrics[] = {
    {"bytes_per_second", "bytes/s", "throughput",
     "payload received at the receiving ends, per second; where these are not sonde's, payload "
     "that "
     "the kernel took from the sender",
     METRIC_PER_SECOND, STREAM_COUNT_DELIVERED, 0, true},
    {"bits_per_second", "bit/s", "bit rate", "the same in bits", METRIC_PER_SECOND,
     STREAM_COUNT_DELIVERED_BITS, 0, true},
    {"sent_bytes", "bytes", "client sent", "payload that the client sent", METRIC_COUNT,
     STREAM_COUNT_SENT_BYTES, 0, false},
    {"received_bytes", "bytes", "client received", "payload that the client received", METRIC_COUNT,
     STREAM_COUNT_RECEIVED_BYTES, 0, false},
    {"bytes_per_send", "bytes", "bytes/send", "bytes that one send of the client's took, mean",
     METRIC_RATIO, STREAM_COUNT_SENT_BYTES, STREAM_COUNT_SENDS, false},
    {"bytes_per_receive", "bytes", "bytes/receive",
     "bytes that one receive of the client's returned, mean", METRIC_RATIO,
     STREAM_COUNT_RECEIVED_BYTES, STREAM_COUNT_RECEIVES, false},
    {"pauses", "1", "pauses", "times that a paced stream of the client's waited for a timer",
     METRIC_COUNT, STREAM_COUNT_PAUSES, 0, false},
};

static const struct metric server_metrics[] = {
    {"server_sent_bytes", "bytes", "server sent", "payload that the server sent", METRIC_COUNT,
     STREAM_COUNT_SENT_BYTES, 0, false},
    {"server_received_bytes", "bytes", "server received", "payload that the server received",
     METRIC_COUNT, STREAM_COUNT_RECEIVED_BYTES, 0, false},
    {"server_bytes_per_send", "bytes", "server bytes/send",
     "bytes that one send of the server's took, mean", METRIC_RATIO, STREAM_COUNT_SENT_BYTES,
     STREAM_COUNT_SENDS, false},
    {"server_bytes_per_receive", "bytes", "server bytes/receive",
     "bytes that one receive of the server's returned, mean", METRIC_RATIO,
     STREAM_COUNT_RECEIVED_BYTES, STREAM_COUNT_RECEIVES, false},
};

static const struct metric flow_metrics[] = {
    {"sent_bytes_per_second", "bytes/s", "sent", "payload that this end sent on it, per second",
     METRIC_PER_SECOND, STREAM_FLOW_SENT_BYTES, 0, false},
    {"received_bytes_per_second", "bytes/s", "received",
     "payload that this end received on it, per second", METRIC_PER_SECOND,
     STREAM_FLOW_RECEIVED_BYTES, 0, false},
    {"sent_bytes", "bytes", "bytes sent", "payload that this end sent on it", METRIC_COUNT,
     STREAM_FLOW_SENT_BYTES, 0, false},
    {"received_bytes", "bytes", "bytes received", "payload that this end received on it",
     METRIC_COUNT, STREAM_FLOW_RECEIVED_BYTES, 0, false},
};

/* What was delivered: at the receiving ends. The server's share is scaled to the client's time,
 * whose cuts lie a little apart, so that its rate is the one that the server saw. */
static void join(const void *options, uint64_t *client, const uint64_t *server, double scale)
{
    const struct stream_options *stream = options;
    uint64_t delivered = client[STREAM_COUNT_RECEIVED_BYTES];
    if (server) {
        double received = (double)server[STREAM_COUNT_RECEIVED_BYTES] * scale;
        delivered += scale == 1 ? server[STREAM_COUNT_RECEIVED_BYTES] : (uint64_t)(received + 0.5);
    } else {
        delivered += client[STREAM_COUNT_SENT_BYTES];
    }
    client[STREAM_COUNT_DELIVERED] += delivered;
    client[STREAM_COUNT_DELIVERED_BITS] += 8 * delivered;
    client[STREAM_COUNT_BLOCKS] += (delivered + stream->length_bytes - 1) / stream->length_bytes;
}

static double asked(const void *options)
{
    const struct stream_options *stream = options;
    return (double)stream->rate_bytes * (double)stream_connections(stream);
}

const struct workload workload_stream = {
    .name = "stream",
    .summary = "bulk throughput of one or several streams, with what the kernel did for it",
    .options = option_rows,
    .option_count = sizeof option_rows / sizeof *option_rows,
    .options_bytes = sizeof(struct stream_options),
    .check = check,
    .metrics = metrics,
    .metric_count = sizeof metrics / sizeof *metrics,
    .operations = STREAM_COUNT_BLOCKS,
    .bytes = STREAM_COUNT_DELIVERED,
    .operation = "block",
    .server_metrics = server_metrics,
    .server_metric_count = sizeof server_metrics / sizeof *server_metrics,
    .client = &stream_client,
    .server = &stream_server,
    .join = join,
    .bulk = true,
    .asked = asked,
    .sent_bytes = STREAM_COUNT_SENT_BYTES,
    .received_bytes = STREAM_COUNT_RECEIVED_BYTES,
    .flow = "stream",
    .flow_metrics = flow_metrics,
    .flow_metric_count = sizeof flow_metrics / sizeof *flow_metrics,
};
