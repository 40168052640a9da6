/* Options of `sonde stream`, and what both of its workloads make of both ends. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/units.h"
#include "workload/stream.h"

/* "10Mbit", "10mbps": what the user may have meant. False where it is nothing of that kind. */
static bool guess_rate(const char *text, char *guess, size_t size)
{
    static const char *const units[] = {"bit/s", "bits/s", "bits", "bit", "bps", "b/s"};
    size_t length = strlen(text);
    double value;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t unit = strlen(units[i]);
        if (length <= unit || length - unit >= size ||
            strcasecmp(text + length - unit, units[i]) != 0) {
            continue;
        }
        memcpy(guess, text, length - unit);
        guess[length - unit] = '\0';
        char *last = &guess[length - unit - 1];
        *last = *last == 'm' || *last == 'g' ? (char)(*last - 'a' + 'A') : *last;
        return units_parse_rate(guess, &value) == 0;
    }
    return false;
}

int stream_parse_rate(const char *text, void *member, struct err *error)
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
    if (guess_rate(text, number, sizeof number)) {
        return err_hint(error, "did you mean %s? bits per second need no unit", number);
    }
    return err_hint(error, "accepts bits per second (100M, 2.5G) or bytes (125MB), 0: no limit");
}

void stream_print_rate(const void *member, FILE *out)
{
    char text[UNITS_TEXT_MAX];
    uint64_t bytes = *(const uint64_t *)member;
    fputs(units_exact_rate(text, (double)bytes * 8), out);
}

/* What a send offers where the user does not say: of a paced stream no more than 10 ms of its rate,
 * so that it leaves evenly. */
static uint64_t default_length(const struct stream_options *options)
{
    uint64_t length = STREAM_LENGTH, paced = options->rate_bytes / 100;
    if (options->datagrams) {
        return STREAM_DATAGRAM_LENGTH;
    }
    if (options->rate_bytes && paced < length) {
        length = paced ? paced : 1;
    }
    return length;
}

/* A send for which the rate leaves more than a second is no pacing. */
static int check_pace(const struct stream_options *options, struct err *error)
{
    uint64_t bytes = options->length_bytes * (options->datagrams ? options->batch : 1);
    char text[UNITS_TEXT_MAX];
    if (options->rate_bytes == 0 || bytes <= options->rate_bytes) {
        return 0;
    }
    err_set(error, ERR_USAGE, "--rate", "one send of %lu bytes takes longer than a second at %s",
            bytes, units_si(text, (double)options->rate_bytes * 8, "bit/s"));
    return err_hint(error, "lower --length%s, or raise --rate to %s at least",
                    options->datagrams && options->batch > 1 ? " or --batch" : "",
                    units_exact_rate(text, (double)bytes * 8));
}

static const char *const pacings[] = {"kernel", "timer", NULL};
static const char *const zerocopies[] = {"none", "msg", "sendfile", NULL};

const struct opt stream_option_rows[STREAM_OPTIONS] = {
    OPT_SIZE(struct stream_options, length_bytes, .name = "length", .letter = 'l', .initial = "0",
             .most = 64 << 20, .argument = "SIZE",
             .help =
                 "bytes that one send offers (0: 128k, with --rate at most 10 ms of it), or of a "
                 "datagram, 64 to 65507 (0: 1,400)"),
    OPT_COUNT(struct stream_options, streams, .name = "streams", .letter = 'P', .initial = "1",
              .least = 1, .most = 100000, .argument = "N",
              .help = "streams, a connection each (with --bidir so many in each direction)"),
    OPT_BOOL(struct stream_options, reverse, .name = "reverse", .letter = 'R',
             .help = "the server sends and the client receives"),
    OPT_BOOL(struct stream_options, bidir, .name = "bidir",
             .help = "both directions at once, each stream in one"),
    OPT_SIZE(
        struct stream_options, total_bytes, .name = "bytes", .letter = 'n', .initial = "0",
        .argument = "SIZE",
        .help =
            "move so many in all, over all streams, from the beginning: without --warmup (0: by "
            "--duration)"),
    OPT_CUSTOM(struct stream_options, rate_bytes, uint64_t, .name = "rate", .letter = 'b',
               .initial = "0", .argument = "RATE", .parse = stream_parse_rate,
               .print = stream_print_rate,
               .help = "pace each stream: bits per second (1G), or bytes (125MB); 0: as fast as it "
                       "goes"),
    OPT_CHOICE(struct stream_options, pacing, .name = "pacing", .choices = pacings,
               .initial = "kernel", .argument = "BY",
               .help =
                   "--rate by the kernel (SO_MAX_PACING_RATE, TCP only; it is given 20 ms of it "
                   "ahead) or by sonde's own timers alone"),
    OPT_COUNT(struct stream_options, batch, .name = "batch", .initial = "1", .least = 1,
              .most = 1024, .argument = "N", .help = "datagrams: so many with one send"),
    OPT_BOOL(struct stream_options, segments, .name = "gso",
             .help = "udp: the kernel cuts a batch and joins what arrives (UDP_SEGMENT, UDP_GRO)"),
    OPT_CHOICE(struct stream_options, zerocopy, .name = "zerocopy", .letter = 'Z',
               .choices = zerocopies, .initial = "none", .argument = "HOW",
               .help = "send without a copy: msg (TCP: MSG_ZEROCOPY, of io_uring SEND_ZC), or "
                       "sendfile from memory"),
    OPT_BOOL(struct stream_options, verify, .name = "verify",
             .help = "check every byte where it is received"),
};

static int check(const struct stream_options *options, struct err *error)
{
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

static int settle_datagrams(struct stream_options *options, uint64_t receive_bytes,
                            struct err *error)
{
    uint64_t length = options->length_bytes;
    if (length < STREAM_DATAGRAM_LEAST || length > receive_bytes || length > 65507) {
        err_set(error, ERR_USAGE, "--length", "%lu bytes are no datagram", length);
        return err_hint(error, "accepts %d to 65507 and no more than --receive-buffer (%lu)",
                        STREAM_DATAGRAM_LEAST, receive_bytes);
    }
    if (options->segments && length * options->batch > 65507) {
        err_set(error, ERR_USAGE, "--gso", "%lu datagrams of %lu bytes are more than 65507 bytes",
                options->batch, length);
        return err_hint(error, "lower --batch to %lu", 65507 / length);
    }
    if (options->total_bytes &&
        options->total_bytes / stream_connections(options) < STREAM_DATAGRAM_LEAST) {
        return err_set(error, ERR_USAGE, "--bytes", "%lu bytes are no datagram for each stream",
                       options->total_bytes);
    }
    options->pacing = PACING_TIMER; /* the kernel paces datagrams only where the device has fq */
    return 0;
}

static int settle(struct stream_options *options, bool datagrams, uint64_t receive_bytes,
                  struct err *error)
{
    if (check(options, error) < 0) {
        return -1;
    }
    options->datagrams = datagrams;
    options->length_bytes = options->length_bytes ? options->length_bytes : default_length(options);
    if (!datagrams && (options->batch > 1 || options->segments)) {
        err_set(error, ERR_USAGE, options->segments ? "--gso" : "--batch", "is for datagrams");
        return err_hint(error, "sonde stream udp:");
    }
    if (datagrams && options->zerocopy != ZEROCOPY_NONE) {
        err_set(error, ERR_USAGE, "--zerocopy",
                "is for streams: each datagram has bytes of its own");
        return err_hint(error, "leave it out, or take a transport of streams");
    }
    if (datagrams && settle_datagrams(options, receive_bytes, error) < 0) {
        return -1;
    }
    return check_pace(options, error);
}

int stream_check(void *options, uint64_t receive_bytes, struct err *error)
{
    return settle(options, false, receive_bytes, error);
}

int stream_datagrams_check(void *options, uint64_t receive_bytes, struct err *error)
{
    return settle(options, true, receive_bytes, error);
}

/* What was delivered: at the receiving ends. The server's share is scaled to the client's time,
 * whose cuts lie a little apart, so that its rate is the one that the server saw. */
void stream_join(const void *options, uint64_t *client, const uint64_t *server, double scale)
{
    const struct stream_options *stream = options;
    uint64_t delivered = client[STREAM_COUNT_RECEIVED_BYTES];
    if (server) {
        double received = (double)server[STREAM_COUNT_RECEIVED_BYTES] * scale;
        /* A peer's windows may be anything: what no counter can hold is not converted. */
        uint64_t scaled = received < 1e18 ? (uint64_t)(received + 0.5) : (uint64_t)1e18;
        delivered += scale == 1 ? server[STREAM_COUNT_RECEIVED_BYTES] : scaled;
    } else {
        delivered += client[STREAM_COUNT_ARRIVED_BYTES];
    }
    client[STREAM_COUNT_DELIVERED] = delivered;
    client[STREAM_COUNT_DELIVERED_BITS] = 8 * delivered;
    client[STREAM_COUNT_BLOCKS] = (delivered + stream->length_bytes - 1) / stream->length_bytes;
}

/* What a stream's sockets need besides, at both ends. */
void stream_tune(const void *options, struct net_tuning *tuning, uint8_t *channel_options)
{
    const struct stream_options *stream = options;
    tuning->zerocopy = stream->zerocopy == ZEROCOPY_MSG;
    if (stream->datagrams) {
        tuning->segments = stream->segments;
        *channel_options |= (uint8_t)(CHANNEL_BATCHED | (stream->segments ? CHANNEL_SEGMENTS : 0));
    } else if (stream->pacing == PACING_KERNEL) {
        tuning->pacing_bytes_per_second = stream->rate_bytes;
    }
}

double stream_asked(const void *options)
{
    const struct stream_options *stream = options;
    return (double)stream->rate_bytes * (double)stream_connections(stream);
}

int stream_fits(const void *options, const struct engine_ops *client,
                const struct engine_ops *server, const struct transport_ops *transport,
                struct err *error)
{
    const struct stream_options *stream = options;
    const char *how = zerocopies[stream->zerocopy];
    const uint32_t needed = stream->zerocopy == ZEROCOPY_MSG ? ENGINE_ZEROCOPY : ENGINE_FILES;
    const struct engine_ops *senders[] = {
        stream->reverse ? NULL : client,
        stream->reverse || stream->bidir ? server : NULL,
    };
    if (stream->zerocopy == ZEROCOPY_NONE) {
        return 0;
    }
    if (transport->caps & TRANSPORT_SECURE) {
        return err_set(error, ERR_USAGE, "--zerocopy",
                       "%s cannot send without a copy (%s): what is sent is encrypted first",
                       transport->scheme, how);
    }
    if (stream->zerocopy == ZEROCOPY_MSG && transport != &transport_tcp) {
        err_set(error, ERR_USAGE, "--zerocopy", "%s cannot send without a copy (%s), only tcp",
                transport->scheme, how);
        return err_hint(error, "--zerocopy sendfile serves every stream");
    }
    for (size_t i = 0; i < sizeof senders / sizeof *senders; i++) {
        if (senders[i] && !(senders[i]->flags & needed)) {
            err_set(error, ERR_USAGE, "--zerocopy", "the %s engine cannot send by %s",
                    senders[i]->name, how);
            return err_hint(error, needed == ENGINE_FILES
                                       ? "accepts sendfile with threads, poll and epoll"
                                       : "accepts msg with threads, poll, epoll and uring");
        }
    }
    return 0;
}

int stream_datagrams_fit(const void *options, const struct engine_ops *client,
                         const struct engine_ops *server, const struct transport_ops *transport,
                         struct err *error)
{
    const struct stream_options *stream = options;
    const char *option = stream->bidir ? "--bidir" : "--reverse";
    if ((!stream->reverse && !stream->bidir) || stream->format != DATAGRAM_FORMAT_OWN) {
        return 0;
    }
    if (!server || (client && client->flags & ENGINE_NO_KERNEL)) {
        err_set(error, ERR_USAGE, option, "only sonde's own server sends datagrams");
        return err_hint(error, "sonde stream udp: %s", option);
    }
    if (transport == &transport_unix_dgram && !(server->flags & ENGINE_SENDS_AT_ONCE)) {
        err_set(error, ERR_USAGE, option,
                "the server's %s engine cannot wait for room in a %s socket of many peers",
                server->name, transport->scheme);
        return err_hint(error, "--server-engine epoll can, and udp: needs not");
    }
    return 0;
}

/* Means over what an end does not do in this run, and what it would count of datagrams there, mean
 * nothing. */
bool stream_has(const void *options, const struct metric *metric, bool server)
{
    const struct stream_options *stream = options;
    bool sends = stream->bidir || stream->reverse == server;
    bool receives = stream->bidir || stream->reverse != server;
    bool divides = metric->kind != METRIC_COUNT && metric->kind != METRIC_PER_SECOND;
    switch (divides ? metric->denominator : metric->numerator) {
    case STREAM_COUNT_SENDS:
    case STREAM_COUNT_SENT:
        return sends;
    case STREAM_COUNT_RECEIVES:
    case STREAM_COUNT_ARRIVED:
    case STREAM_COUNT_EXPECTED:
    case STREAM_COUNT_LATE:
    case STREAM_COUNT_DUPLICATES:
    case STREAM_COUNT_DROPS:
        return receives;
    default:
        return true;
    }
}
