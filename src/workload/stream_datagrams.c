/* `sonde stream` over datagrams as the workload table sees it: numbered, in batches, paced by
 * timers; the receiving end keeps account of each stream's loss, order, duplicates and jitter. */
#include "workload/stream.h"

/* What became of the datagrams that one end received. */
#define ARRIVALS(prefix, title, who)                                                               \
    {prefix "arrived_datagrams",                                                                   \
     "1",                                                                                          \
     title "datagrams arrived",                                                                    \
     "datagrams that the " who " received, duplicates left out",                                   \
     METRIC_COUNT,                                                                                 \
     STREAM_COUNT_ARRIVED,                                                                         \
     0,                                                                                            \
     false},                                                                                       \
        {prefix "lost_datagrams",                                                                  \
         "1",                                                                                      \
         title "datagrams lost",                                                                   \
         "datagrams that a later one shows to be missing, or the end of the stream",               \
         METRIC_MISSING,                                                                           \
         STREAM_COUNT_ARRIVED,                                                                     \
         STREAM_COUNT_EXPECTED,                                                                    \
         false},                                                                                   \
        {prefix "lost_share",   "1",                                                               \
         title "share lost",    "of those that should have arrived",                               \
         METRIC_MISSING_SHARE,  STREAM_COUNT_ARRIVED,                                              \
         STREAM_COUNT_EXPECTED, false},                                                            \
        {prefix "late_datagrams",                                                                  \
         "1",                                                                                      \
         title "out of order",                                                                     \
         "datagrams that came behind a later one",                                                 \
         METRIC_COUNT,                                                                             \
         STREAM_COUNT_LATE,                                                                        \
         0,                                                                                        \
         false},                                                                                   \
        {prefix "duplicate_datagrams",                                                             \
         "1",                                                                                      \
         title "duplicates",                                                                       \
         "datagrams that came again",                                                              \
         METRIC_COUNT,                                                                             \
         STREAM_COUNT_DUPLICATES,                                                                  \
         0,                                                                                        \
         false},                                                                                   \
        {prefix "jitter_ns",                                                                       \
         "ns",                                                                                     \
         title "jitter",                                                                           \
         "interarrival jitter (RFC 3550, section 6.4.1), mean over the datagrams",                 \
         METRIC_RATIO,                                                                             \
         STREAM_COUNT_JITTER_NS,                                                                   \
         STREAM_COUNT_ARRIVED,                                                                     \
         false},                                                                                   \
    {                                                                                              \
        prefix "receive_buffer_drops", "1", title "receive-buffer drops (packets)",                \
            "packets that the " who "'s socket had no room for (one that the kernel has joined "   \
            "counts once)",                                                                        \
            METRIC_COUNT, STREAM_COUNT_DROPS, 0, false                                             \
    }

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
    {"sent_datagrams", "1", "datagrams sent", "datagrams that the client sent", METRIC_COUNT,
     STREAM_COUNT_SENT, 0, false},
    {"datagrams_per_send", "1", "datagrams/send", "datagrams that left with one send, mean",
     METRIC_RATIO, STREAM_COUNT_SENT, STREAM_COUNT_SENDS, false},
    ARRIVALS("client_", "client ", "client"),
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
    {"server_sent_datagrams", "1", "server datagrams sent", "datagrams that the server sent",
     METRIC_COUNT, STREAM_COUNT_SENT, 0, false},
    {"server_datagrams_per_send", "1", "server datagrams/send",
     "datagrams that left with one send of the server's, mean", METRIC_RATIO, STREAM_COUNT_SENT,
     STREAM_COUNT_SENDS, false},
    ARRIVALS("", "", "server"),
    {"server_bytes_per_receive", "bytes", "server bytes/receive",
     "bytes that one receive of the server's returned, mean", METRIC_RATIO,
     STREAM_COUNT_RECEIVED_BYTES, STREAM_COUNT_RECEIVES, false},
};

_Static_assert(STREAM_FLOW_DATAGRAM_COUNTERS <= FLOW_COUNTERS, "they have room");

static const struct metric flow_metrics[] = {
    {"sent_bytes_per_second", "bytes/s", "sent", "payload that this end sent on it, per second",
     METRIC_PER_SECOND, STREAM_FLOW_SENT_BYTES, 0, false},
    {"received_bytes_per_second", "bytes/s", "received",
     "payload that this end received on it, per second", METRIC_PER_SECOND,
     STREAM_FLOW_RECEIVED_BYTES, 0, false},
    {"sent_datagrams", "1", "sent", "datagrams that this end sent on it", METRIC_COUNT,
     STREAM_FLOW_SENT, 0, false},
    {"arrived_datagrams", "1", "arrived", "datagrams that this end received on it", METRIC_COUNT,
     STREAM_FLOW_ARRIVED, 0, false},
    {"lost_datagrams", "1", "lost", "datagrams that are missing at this end", METRIC_MISSING,
     STREAM_FLOW_ARRIVED, STREAM_FLOW_EXPECTED, false},
    {"late_datagrams", "1", "out of order", "datagrams that came behind a later one", METRIC_COUNT,
     STREAM_FLOW_LATE, 0, false},
    {"duplicate_datagrams", "1", "duplicates", "datagrams that came again", METRIC_COUNT,
     STREAM_FLOW_DUPLICATES, 0, false},
    {"jitter_ns", "ns", "jitter", "interarrival jitter, mean over the datagrams", METRIC_RATIO,
     STREAM_FLOW_JITTER_NS, STREAM_FLOW_ARRIVED, false},
};

const struct workload workload_stream_datagrams = {
    .name = "stream",
    .summary = "bulk throughput of datagrams, with what became of them",
    .options = stream_option_rows,
    .option_count = STREAM_OPTIONS,
    .options_bytes = sizeof(struct stream_options),
    .check = stream_datagrams_check,
    .tune = stream_tune,
    .fits = stream_datagrams_fit,
    .has = stream_has,
    .metrics = metrics,
    .metric_count = sizeof metrics / sizeof *metrics,
    .operations = STREAM_COUNT_BLOCKS,
    .bytes = STREAM_COUNT_DELIVERED,
    .needs = WORKLOAD_DATAGRAMS,
    .operation = "datagram",
    .server_metrics = server_metrics,
    .server_metric_count = sizeof server_metrics / sizeof *server_metrics,
    .client = &stream_datagram_client,
    .server = &stream_datagram_server,
    .join = stream_join,
    .bulk = true,
    .lossy = true,
    .asked = stream_asked,
    .sent_bytes = STREAM_COUNT_SENT_BYTES,
    .received_bytes = STREAM_COUNT_RECEIVED_BYTES,
    .arrived_bytes = STREAM_COUNT_ARRIVED_BYTES,
    .flow = "stream",
    .flow_metrics = flow_metrics,
    .flow_metric_count = sizeof flow_metrics / sizeof *flow_metrics,
};
