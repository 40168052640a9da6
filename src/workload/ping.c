/* `sonde ping` as the workload table sees it: options, metrics, the messages' heads. */
#include "workload/ping.h"

#include <string.h>

#include "base/clock.h"
#include "codec/sockperf.h"

#define OWN_HEAD_MOST 8
/* Of the first byte. Servers that only echo leave it as it is, which clients accept. */
#define OWN_ANSWER 0x80u

/* In the order of enum ping_format. */
static const char *const formats[] = {"own", "sockperf", NULL};
static const char *const schemes[] = {"ping+", "sockperf+"};

static const struct opt option_rows[] = {
    OPT_SIZE(struct ping_options, size_bytes, .name = "size", .letter = 'm', .initial = "64",
             .least = 1, .most = PING_SIZE_MAX, .argument = "SIZE",
             .help = "bytes of a message and of its answer"),
    OPT_COUNT(struct ping_options, burst, .name = "burst", .initial = "1", .least = 1,
              .most = 1 << 16, .argument = "N",
              .help = "messages that start together; without --rate the next ones start once all "
                      "are answered, with --rate it counts starts"),
    OPT_COUNT(struct ping_options, high, .name = "high", .initial = "0", .most = 1 << 22,
              .argument = "N",
              .help = "open loop: most messages from the oldest one in flight on a connection to "
                      "the newest; one that answers to half as many later ones have overtaken is "
                      "given up as lost (0: of 16,384; up to 1,048,576 while nothing is overtaken, "
                      "or what the sequence numbers allow)"),
    OPT_DURATION(struct ping_options, timeout_ns, .name = "timeout", .initial = "1s",
                 .least = NS_PER_MS, .most = 3600 * NS_PER_SECOND, .argument = "TIME",
                 .help = "datagrams: a message without an answer is lost after this time"),
    OPT_CHOICE(struct ping_options, format, .name = "format", .choices = formats, .initial = "own",
               .argument = "NAME",
               .help = "what the messages look like; sockperf+udp://HOST:PORT chooses it too"),
    OPT_BOOL(struct ping_options, stamps, .name = "stamps",
             .help = "split each round trip by the kernel's time stamps (udp and tcp)"),
};

const struct opt ping_server_rows[PING_SERVER_OPTIONS] = {
    OPT_SIZE(struct ping_options, size_bytes, .name = "size", .letter = 'm', .initial = "0",
             .most = PING_SIZE_MAX, .argument = "SIZE",
             .help = "ping+tcp and ping+unix: bytes of a message, answered with one send each (0: "
                     "what one receive brings is one)"),
};

uint32_t ping_head_bytes(const struct ping_options *options)
{
    if (options->format == PING_SOCKPERF) {
        return SOCKPERF_HEADER_BYTES;
    }
    return options->size_bytes < OWN_HEAD_MOST ? (uint32_t)options->size_bytes : OWN_HEAD_MOST;
}

uint64_t ping_sequence_mask(const struct ping_options *options)
{
    if (options->format == PING_SOCKPERF) {
        return UINT64_MAX;
    }
    return (UINT64_C(1) << (8 * ping_head_bytes(options) - 1)) - 1;
}

void ping_put_head(const struct ping_options *options, uint8_t *message, uint64_t sequence)
{
    if (options->format == PING_SOCKPERF) {
        bool wants = ping_wants_answer(options, sequence);
        const struct sockperf_header header = {
            .sequence = sequence,
            .length = (uint32_t)options->size_bytes,
            .flags = (uint16_t)(SOCKPERF_CLIENT | (wants ? SOCKPERF_PONG : 0)),
        };
        sockperf_encode(message, &header);
        return;
    }
    sequence &= ping_sequence_mask(options);
    for (uint32_t i = ping_head_bytes(options); i-- > 0;) {
        message[i] = (uint8_t)sequence;
        sequence >>= 8;
    }
}

const char *ping_take_head(const struct ping_options *options, const uint8_t *message,
                           uint64_t *sequence)
{
    uint32_t bytes = ping_head_bytes(options);
    *sequence = 0;
    if (options->format == PING_SOCKPERF) {
        struct sockperf_header header;
        enum sockperf_result result = sockperf_decode(message, bytes, &header);
        if (result != SOCKPERF_OK) {
            return sockperf_text(result);
        }
        if (header.length != options->size_bytes) {
            return "an answer of another length than its message";
        }
        if (header.flags != SOCKPERF_PONG) {
            return "what came is no answer of a server";
        }
        *sequence = header.sequence;
        return NULL;
    }
    for (uint32_t i = 0; i < bytes; i++) {
        *sequence = *sequence << 8 | message[i];
    }
    *sequence &= ping_sequence_mask(options);
    return NULL;
}

bool ping_is_request(const uint8_t *message, size_t length)
{
    return length > 0 && !(message[0] & OWN_ANSWER);
}

void ping_make_answer(uint8_t *message)
{
    message[0] |= OWN_ANSWER;
}

bool ping_whole_sequence(const struct ping_options *options, uint64_t wire, uint64_t last,
                         uint64_t *sequence)
{
    uint64_t back = (last - wire) & ping_sequence_mask(options);
    *sequence = last - back;
    return back < last;
}

bool ping_take_format(const char **url, uint32_t *format)
{
    for (uint32_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t length = strlen(schemes[i]);
        if (strncmp(*url, schemes[i], length) == 0) {
            *url += length;
            *format = i;
            return true;
        }
    }
    return false;
}

const char *ping_sockperf_port(const char *url, char *to, size_t size)
{
    const char *host = strstr(url, "://");
    const char *bracket = host ? strchr(host, ']') : NULL;
    bool ported = !host || strchr(bracket ? bracket : host + 3, ':');
    int length = ported ? 0 : snprintf(to, size, "%s:%d", url, SOCKPERF_PORT);
    return ported || length < 0 || (size_t)length >= size ? url : to;
}

static const char *take_target(void *member, const char *target)
{
    struct ping_options *options = member;
    bool named = ping_take_format(&target, &options->format);
    return named && options->format == PING_SOCKPERF
               ? ping_sockperf_port(target, options->target, sizeof options->target)
               : target;
}

static int check(void *member, uint64_t receive_bytes, struct err *error)
{
    struct ping_options *options = member;
    if (options->format == PING_SOCKPERF && options->size_bytes < SOCKPERF_HEADER_BYTES) {
        return err_set(error, ERR_USAGE, "--size", "a sockperf message has at least %d bytes",
                       SOCKPERF_HEADER_BYTES);
    }
    if (options->format == PING_SOCKPERF && options->size_bytes > SOCKPERF_MESSAGE_MAX) {
        return err_set(error, ERR_USAGE, "--size", "a sockperf message has at most %d bytes",
                       SOCKPERF_MESSAGE_MAX);
    }
    if (options->size_bytes > receive_bytes) {
        err_set(error, ERR_USAGE, "--size", "%lu bytes do not fit into one receive of %lu",
                options->size_bytes, receive_bytes);
        return err_hint(error, "raise --receive-buffer");
    }
    /* Half of the numbers tell an old message from a new one, the other half may be in flight. */
    uint64_t most = ping_sequence_mask(options) / 2 + 1;
    if (options->high > most || options->burst > most) {
        err_set(error, ERR_USAGE, options->high > most ? "--high" : "--burst",
                "at most %lu messages of %lu bytes can be told apart in flight", most,
                options->size_bytes);
        return err_hint(error, "raise --size");
    }
    if (options->high == 0) {
        options->high_is_bound = true;
        options->high = PING_SPAN_MAX;
        options->high = options->high < most ? options->high : most;
    }
    if (options->burst > options->high) {
        return err_set(error, ERR_USAGE, "--burst", "%lu is above --high %lu", options->burst,
                       options->high);
    }
    return 0;
}

static void tune(const void *member, struct net_tuning *tuning, uint8_t *channel_options)
{
    const struct ping_options *options = member;
    tuning->stamps = options->stamps;
    *channel_options |= options->stamps ? CHANNEL_STAMPS : 0;
}

/* Refused before anything starts: there would be nothing to split. */
static int fits(const void *member, const struct engine_ops *client,
                const struct engine_ops *server, const struct transport_ops *transport,
                struct err *error)
{
    const struct ping_options *options = member;
    (void)client;
    (void)server;
    if (options->stamps && !(transport->caps & TRANSPORT_PORTS)) {
        err_set(error, ERR_USAGE, "--stamps", "the kernel stamps no messages of %s",
                transport->scheme);
        return err_hint(error, "udp: and tcp: have time stamps");
    }
    return 0;
}

static uint64_t operations_per_start(const void *member)
{
    const struct ping_options *options = member;
    return options->burst;
}

static const struct metric metrics[] = {
    {"round_trips_per_second", "1/s", "round trips/s", "messages answered, per second",
     METRIC_PER_SECOND, PING_COUNT_COMPLETED, 0, true},
    {"round_trips", "1", "round trips", "messages answered", METRIC_COUNT, PING_COUNT_COMPLETED, 0,
     true},
    {"messages_sent", "1", "messages sent", "messages sent", METRIC_COUNT, PING_COUNT_SENT, 0,
     false},
    {"messages_lost", "1", "lost",
     "messages sent in the window without an answer after --timeout, those that were overtaken "
     "(see "
     "--high) and those in flight on a connection that failed",
     METRIC_COUNT, PING_COUNT_LOST, 0, false},
    {"messages_unsent", "1", "sends failed",
     "messages that the kernel did not take: not sent, not lost", METRIC_COUNT_OF,
     PING_COUNT_UNSENT, PING_COUNT_UNSENT, false},
    {"messages_duplicated", "1", "duplicated", "answers to a message that had been answered before",
     METRIC_COUNT, PING_COUNT_DUPLICATED, 0, false},
    {"messages_out_of_order", "1", "out of order",
     "messages answered after one that was sent later than they were", METRIC_COUNT,
     PING_COUNT_OUT_OF_ORDER, 0, false},
    {"messages_late", "1", "late",
     "answers that came when their message had been counted as lost (it stays so)", METRIC_COUNT,
     PING_COUNT_LATE, 0, false},
    {"messages_invalid", "1", "invalid", "datagrams that are no answer to any message sent",
     METRIC_COUNT, PING_COUNT_INVALID, 0, false},
    {"bytes_per_second", "bytes/s", "bytes/s", "payload bytes, both directions, per second",
     METRIC_PER_SECOND, PING_COUNT_BYTES, 0, false},
    {"clock_regressions", "1", "clock regressions",
     "answers or stamps that seemed to come before what they follow (counted with a time of 0)",
     METRIC_COUNT, PING_COUNT_REGRESSIONS, 0, false},
    {"round_trips_unstamped", "1", "not split",
     "with --stamps: round trips that are in no part of the split, since one of the kernel's "
     "stamps "
     "is not known: others were in flight, or the kernel, which begins some time after it was "
     "asked, "
     "did not stamp yet",
     METRIC_COUNT_OF, PING_COUNT_UNSTAMPED, PING_COUNT_TO_SPLIT, false},
};

const struct workload workload_ping = {
    .name = "ping",
    .summary = "small messages: latency of a round trip, what is lost, what the kernel's part is",
    .options = option_rows,
    .option_count = sizeof option_rows / sizeof *option_rows,
    .options_bytes = sizeof(struct ping_options),
    .check = check,
    .take_target = take_target,
    .tune = tune,
    .fits = fits,
    .operations_per_start = operations_per_start,
    .metrics = metrics,
    .metric_count = sizeof metrics / sizeof *metrics,
    .operations = PING_COUNT_COMPLETED,
    .bytes = PING_COUNT_BYTES,
    /* A message that is lost at the end is known to be so after its timeout only. */
    .kept = 1 << PING_COUNT_LOST | 1 << PING_COUNT_DUPLICATED | 1 << PING_COUNT_OUT_OF_ORDER |
            1 << PING_COUNT_LATE | 1 << PING_COUNT_INVALID,
    .kept_by_issue = 1 << PING_COUNT_LOST,
    .send_lag = PING_SEND_LAG,
    .operation = "ping",
    .server_metrics = ping_server_metrics,
    .server_metric_count = PING_SERVER_METRICS_OF_RUN,
    .client = &ping_client,
    .server = &ping_server,
};
