/* `sonde stream` as the workload table sees it: metrics, both roles. */
#include "workload/stream.h"

static const struct metric metrics[] = {
    {"bytes_per_second", "bytes/s", "throughput",
     "payload received at the receiving ends, per second", METRIC_PER_SECOND,
     STREAM_COUNT_DELIVERED, 0, true},
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
    {"server_received_bytes", "bytes", "server received",
     "payload that the server received (between its own cuts, which lie a little apart from the "
     "client's; the throughput is scaled by the times)",
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

const struct workload workload_stream = {
    .name = "stream",
    .needs = WORKLOAD_STREAM,
    .summary = "bulk throughput of one or several streams, with what the kernel did for it",
    .options = stream_option_rows,
    .option_count = STREAM_OPTIONS,
    .options_bytes = sizeof(struct stream_options),
    .check = stream_check,
    .tune = stream_tune,
    .fits = stream_fits,
    .has = stream_has,
    .metrics = metrics,
    .metric_count = sizeof metrics / sizeof *metrics,
    .operations = STREAM_COUNT_BLOCKS,
    .bytes = STREAM_COUNT_DELIVERED,
    .operation = "block",
    .server_metrics = server_metrics,
    .server_metric_count = sizeof server_metrics / sizeof *server_metrics,
    .client = &stream_client,
    .server = &stream_server,
    .join = stream_join,
    .bulk = true,
    .asked = stream_asked,
    .sent_bytes = STREAM_COUNT_SENT_BYTES,
    .received_bytes = STREAM_COUNT_RECEIVED_BYTES,
    .arrived_bytes = STREAM_COUNT_ARRIVED_BYTES,
    .flow = "stream",
    .flow_metrics = flow_metrics,
    .flow_metric_count = sizeof flow_metrics / sizeof *flow_metrics,
};
