#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "net/tune.h"
#include "run/iperf3.h"
#include "run/session.h"
#include "workload/stream.h"

#define PATIENCE_NS NS_PER_SECOND /* for runs that follow each other */

static bool is_stream(const struct workload *workload)
{
    return workload == &workload_stream || workload == &workload_stream_datagrams;
}

struct session {
    struct iperf3_test test;
    struct iperf3_client *client;
    struct record *record;
    bool zerocopy;          /* sends are asked to copy nothing */
    struct iperf3_side own; /* what it was told */
    uint64_t start_ns;      /* and the CPU time until then: */
    double user_s, system_s;
};

/* What the protocol, or a peer that follows it, has no word for. */
static int refuse(const struct stream_options *stream, const struct run_options *run,
                  struct err *error)
{
    const struct {
        bool given;
        const char *option, *reason;
    } refused[] = {
        {stream->verify, "--verify",
         "is not for iperf3: what its payload holds is not agreed upon"},
        {stream->segments && (stream->reverse || stream->bidir), "--gso",
         "is only for sending to iperf3"},
        {run->sources, "--source", "has no effect with iperf3: leave it out"},
        {run->secret, "--secret", "has no effect with iperf3: leave it out"},
        {run->wire.congestion &&
             strlen(run->wire.congestion) >= sizeof((struct iperf3_test *)0)->congestion,
         "--congestion", "is too long a name"},
        {stream->total_bytes && stream->total_bytes > INT64_MAX, "--bytes",
         "are too many for iperf3"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (refused[i].given) {
            return err_set(error, ERR_USAGE, refused[i].option, "%s", refused[i].reason);
        }
    }
    return 0;
}

/* The peer is told what each stream did, and so few can be told apart in one thread. */
static int check_threads(const struct stream_options *stream, const struct run_options *run,
                         struct err *error)
{
    uint64_t connections = stream_connections(stream);
    uint64_t each = (connections + run->threads - 1) / run->threads;
    for (size_t i = 0; i < run->engines.count; i++) {
        const struct engine_ops *engine = engine_find(run->engines.items[i]);
        if (engine && !(engine->flags & ENGINE_ONE_CHANNEL) && each > BANK_FLOWS) {
            err_set(error, ERR_USAGE, "--streams",
                    "%lu connections of one thread: iperf3 is told of each, at most %d", each,
                    BANK_FLOWS);
            return err_hint(error, "more --threads, or --engine threads");
        }
    }
    return 0;
}

/* iperf3 omits whole seconds. */
static void settle_warmup(struct run_options *run, bool given, char note[SESSION_NOTE])
{
    uint64_t rest_ns = run->warmup_ns % NS_PER_SECOND;
    if (!given) {
        run->warmup_ns = 0;
        snprintf(note, SESSION_NOTE,
                 "no warm-up: iperf3 can leave out whole seconds only (--warmup 1s does)");
    } else if (rest_ns) {
        run->warmup_ns += NS_PER_SECOND - rest_ns;
        snprintf(note, SESSION_NOTE,
                 "the warm-up is %lu s: iperf3 can leave out whole seconds only",
                 run->warmup_ns / NS_PER_SECOND);
    }
}

static int session_settle(const struct workload *workload, void *workload_options,
                          struct run_options *run, bool given_warmup, char note[SESSION_NOTE],
                          struct err *error)
{
    struct stream_options *stream = workload_options;
    note[0] = '\0';
    if (!is_stream(workload)) {
        err_set(error, ERR_USAGE, workload->name, "cannot speak to iperf3");
        return err_hint(error, "sonde stream can");
    }
    if (refuse(stream, run, error) < 0 || check_threads(stream, run, error) < 0) {
        return -1;
    }
    stream->format = DATAGRAM_FORMAT_IPERF3;
    if (stream->total_bytes == 0) { /* a counted run has none */
        settle_warmup(run, given_warmup, note);
    }
    return 0;
}

/* Larger than anything that the protocol has room for, it is refused by name later on. */
static uint32_t narrow(uint64_t value)
{
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

/* The test that a plan asks for. A peer that sends is asked to pace itself: iperf3's server lets
 * its kernel do it only where it opens its port anew. The end is the client's: a peer that sends is
 * not told of a number of bytes, since each stream of ours has a share of them, and iperf3's have
 * one of all together.
 */
static void test_of_plan(const struct run_plan *plan, struct iperf3_test *test)
{
    const struct run_options *run = plan->options;
    const struct stream_options *stream = plan->workload_options;
    bool peer_sends = stream->reverse || stream->bidir;
    bool by_kernel = stream->pacing == PACING_KERNEL;

    *test = (struct iperf3_test){
        .udp = stream->datagrams,
        .streams = narrow(stream->streams),
        .reverse = stream->reverse,
        .bidirectional = stream->bidir,
        .duration_ns = stream->total_bytes ? 0 : run->duration_ns,
        .bytes = peer_sends ? 0 : stream->total_bytes,
        .omit_ns = run->warmup_ns,
        .length_bytes = narrow(stream->length_bytes),
        .rate_bits_per_second = by_kernel && !peer_sends ? 0 : stream->rate_bytes * 8,
        .pacing_bits_per_second = by_kernel ? stream->rate_bytes * 8 : 0,
        .window_bytes = narrow(run->wire.window_bytes),
        .mss = narrow(run->wire.mss),
        .tos = run->wire.dscp_plus_1 ? (run->wire.dscp_plus_1 - 1) << 2 : 0,
        .nodelay = run->wire.nodelay,
        .counters_64bit = stream->datagrams,
    };
    snprintf(test->congestion, sizeof test->congestion, "%s",
             run->wire.congestion ? run->wire.congestion : "");
}

/* "HOST", "HOST:PORT", "[ADDRESS]:PORT" or a bare IPv6 address. */
static int parse_target(const char *target, char *host, size_t size, uint16_t *port,
                        struct err *error)
{
    const char *end, *colon;
    bool bracketed = target[0] == '[';

    if (bracketed) {
        target++;
        end = strchr(target, ']');
        colon = end ? end + 1 : NULL;
    } else {
        colon = strchr(target, ':');
        colon = colon && strchr(colon + 1, ':') ? NULL : colon; /* IPv6 */
        end = colon ? colon : target + strlen(target);
    }
    if (end == NULL || end == target || (size_t)(end - target) >= size ||
        (bracketed && colon[0] != '\0' && colon[0] != ':')) {
        err_set(error, ERR_USAGE, target, "no host to connect to");
        return err_hint(error, "write iperf3://HOST[:PORT]");
    }
    memcpy(host, target, (size_t)(end - target));
    host[end - target] = '\0';
    *port = IPERF3_PORT;
    if (colon && colon[0] == ':') {
        char *rest = NULL;
        unsigned long value = isdigit((unsigned char)colon[1]) ? strtoul(colon + 1, &rest, 10) : 0;
        if (value < 1 || value > UINT16_MAX || rest[0] != '\0') {
            return err_set(error, ERR_USAGE, target, "\"%s\" is no port from 1 to 65535",
                           colon + 1);
        }
        *port = (uint16_t)value;
    }
    return 0;
}

static void session_close(struct session *session)
{
    if (session) {
        iperf3_client_close(session->client);
        free(session);
    }
}

static int session_open(struct session **result, const struct session_config *config,
                        struct err *error)
{
    char host[256];
    uint16_t port;

    *result = NULL;
    if (parse_target(config->target, host, sizeof host, &port, error)) {
        return -1;
    }
    if (!is_stream(config->plan->workload)) {
        return err_set(error, ERR_USAGE, host, "only streams can be spoken of with iperf3");
    }
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        return err_system(error, ENOMEM, host, "cannot make a session");
    }
    session->record = config->record;
    session->zerocopy =
        ((const struct stream_options *)config->plan->workload_options)->zerocopy == ZEROCOPY_MSG;
    test_of_plan(config->plan, &session->test);
    const struct iperf3_client_config client = {.test = &session->test,
                                                .host = host,
                                                .port = port,
                                                .stop_fd = config->stop_fd,
                                                .patience_ns = PATIENCE_NS};
    if (iperf3_client_open(&session->client, &client, error)) {
        session_close(session);
        return -1;
    }
    *result = session;
    return 0;
}

/* Where both ends send, iperf3 has those of the client first; sonde takes turns. */
static uint32_t number_of(const struct iperf3_test *test, uint32_t index)
{
    if (!test->bidirectional) {
        return index;
    }
    return index < test->streams ? 2 * index : 2 * (index - test->streams) + 1;
}

static int session_connect(struct session *session, struct net_end *ends, uint32_t count,
                           struct err *error)
{
    struct net_end made[IPERF3_FLOWS_MOST];
    if (iperf3_client_connect(session->client, made, count, error) < 0) {
        return -1;
    }
    for (uint32_t i = 0; i < count; i++) {
        ends[number_of(&session->test, i)] = made[i];
    }
    for (uint32_t i = 0; session->zerocopy && i < count; i++) {
        if (net_tune(made[i].write_fd, &transport_tcp, &(struct net_tuning){.zerocopy = true},
                     error) < 0) {
            while (count--) {
                net_end_close(made[count]);
                ends[count] = (struct net_end){-1, -1};
            }
            return -1;
        }
    }
    return 0;
}

static void read_usage(double *user_s, double *system_s)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage); /* cannot fail */
    *user_s = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6;
    *system_s = (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
}

static int session_start(struct session *session, struct err *error)
{
    read_usage(&session->user_s, &session->system_s);
    session->start_ns = clock_now_ns();
    return iperf3_client_start(session->client, error);
}

static bool session_peer_ended(struct session *session)
{
    return iperf3_client_peer_ended(session->client);
}

static void session_stop(struct session *session)
{
    iperf3_client_end(session->client);
}

static int session_finish(struct session *session, const struct session_own *own, struct err *error)
{
    struct iperf3_side *side = &session->own;
    uint32_t count = iperf3_flow_count(&session->test);
    double user_s, system_s, all_s = (double)(clock_now_ns() - session->start_ns) / 1e9;

    read_usage(&user_s, &system_s);
    *side = (struct iperf3_side){.flow_count = count,
                                 .cpu_user = 100 * (user_s - session->user_s) / all_s,
                                 .cpu_system = 100 * (system_s - session->system_s) / all_s};
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = number_of(&session->test, i);
        side->flows[i].window.retransmits = UINT64_MAX;
        side->flows[i].duration_ns = own->flows_ns;
        if (number < own->flow_count) {
            side->flows[i].window = own->flows[number];
        }
    }
    return iperf3_client_finish(session->client, side, error);
}

enum {
    PEER_RATE,
    PEER_BYTES,
    PEER_WHOLE,
    PEER_RETRANSMITS,
    PEER_LOST,
    PEER_JITTER,
    PEER_CPU,
    PEER_METRICS
};

static const struct metric peer_metrics[PEER_METRICS] = {
    [PEER_RATE] = {.key = "peer_bytes_per_second",
                   .unit = "bytes/s",
                   .title = "peer's bytes/s",
                   .help = "payload of all streams per second, as the peer counted it",
                   .kind = METRIC_VALUE},
    [PEER_BYTES] = {.key = "peer_bytes",
                    .unit = "bytes",
                    .title = "peer's bytes",
                    .help = "payload of all streams, as the peer counted it: from the end of the "
                            "warm-up to the end of the test",
                    .kind = METRIC_VALUE},
    [PEER_WHOLE] = {.key = "whole_bytes",
                    .unit = "bytes",
                    .title = "own bytes of that",
                    .help = "payload of all streams as this end counted it, over the time that the "
                            "peer's bytes cover (the window, and a little before and after it)",
                    .kind = METRIC_VALUE},
    [PEER_RETRANSMITS] = {.key = "peer_retransmits",
                          .unit = "1",
                          .title = "peer's retransmits",
                          .help = "segments that the peer sent again",
                          .kind = METRIC_VALUE},
    [PEER_LOST] = {.key = "peer_lost",
                   .unit = "1",
                   .title = "lost, as the peer saw it",
                   .help = "datagrams that did not reach the peer",
                   .kind = METRIC_VALUE},
    [PEER_JITTER] = {.key = "peer_jitter",
                     .unit = "ns",
                     .title = "peer's jitter",
                     .help = "largest jitter of a stream at the peer (RFC 3550, section 6.4.1)",
                     .kind = METRIC_VALUE},
    [PEER_CPU] = {.key = "peer_cpus",
                  .unit = "1",
                  .title = "peer's CPUs",
                  .help = "CPUs that the peer's process kept busy",
                  .kind = METRIC_VALUE},
};

/* Where there is none, the reason is said. */
static int add(struct record_run *run, int which, double value, const char *reason,
               struct err *error)
{
    struct record_value *row = record_add_value(run, &peer_metrics[which]);
    if (row == NULL) {
        return err_system(error, ENOMEM, "iperf3", "cannot note the peer's results");
    }
    row->available = reason == NULL;
    row->value = reason ? 0 : value;
    snprintf(row->reason, sizeof row->reason, "%s", reason ? reason : "");
    return 0;
}

static bool session_arrived(const struct session *session, uint64_t *arrived, uint64_t *sent,
                            uint64_t *duration_ns)
{
    const struct iperf3_side *peer = iperf3_client_peer(session->client);
    *arrived = *sent = *duration_ns = 0;
    for (uint32_t i = 0; i < peer->flow_count; i++) {
        const struct iperf3_flow *flow = &peer->flows[i];
        if (iperf3_flow_sends(&session->test, i, false)) {
            *sent += session->own.flows[i].window.bytes;
            *arrived += flow->window.bytes;
            *duration_ns = flow->duration_ns > *duration_ns ? flow->duration_ns : *duration_ns;
        }
    }
    return *duration_ns > 0;
}

/* Where much of what left this end did not arrive, that has to be said. */
static int warn_of_loss(const struct session *session, struct err *error)
{
    uint64_t sent, arrived, duration_ns;
    session_arrived(session, &arrived, &sent, &duration_ns);
    if (session->test.udp && (double)arrived < 0.99 * (double)sent &&
        record_add_warning(session->record,
                           "the peer received %.3g%% of what was sent: \"client sent\" counts "
                           "what left this end, the headline what arrived",
                           100 * (double)arrived / (double)sent) < 0) {
        return err_system(error, ENOMEM, "memory", "cannot keep the record");
    }
    return 0;
}

static int session_fill(struct session *session, struct record_run *run, struct err *error)
{
    const struct iperf3_side *peer = iperf3_client_peer(session->client);
    const struct iperf3_test *test = &session->test;
    uint64_t bytes = 0, whole = 0, lost = 0, retransmits = 0, duration_ns = 0;
    double jitter_ns = 0;
    bool sends = test->bidirectional || test->reverse, known = true, within = false;

    for (uint32_t i = 0; i < peer->flow_count; i++) {
        const struct iperf3_flow *flow = &peer->flows[i];
        bool sent = iperf3_flow_sends(test, i, true);
        bytes += flow->window.bytes;
        whole += session->own.flows[i].window.bytes;
        duration_ns = flow->duration_ns > duration_ns ? flow->duration_ns : duration_ns;
        lost += sent ? 0 : flow->window.lost;
        jitter_ns =
            !sent && flow->window.jitter_ns > jitter_ns ? flow->window.jitter_ns : jitter_ns;
        within = within || (!sent && flow->omitted_within);
        known = known && (!sent || flow->window.retransmits != UINT64_MAX);
        retransmits += sent && known ? flow->window.retransmits : 0;
    }
    const char *no_datagrams = !test->udp      ? "the streams are no datagrams"
                               : test->reverse ? "the peer only sent"
                                               : NULL;
    const char *no_lost = within ? "the peer counts the omitted time's too" : no_datagrams;
    const char *no_retransmits = test->udp ? "datagrams are not sent again"
                                 : !sends  ? "the peer only received"
                                 : !known  ? "the peer does not know"
                                           : NULL;
    return warn_of_loss(session, error) ||
                   add(run, PEER_RATE, duration_ns ? (double)bytes * 1e9 / (double)duration_ns : 0,
                       duration_ns ? NULL : "the peer does not say how long it took", error) ||
                   add(run, PEER_BYTES, (double)bytes, NULL, error) ||
                   add(run, PEER_WHOLE, (double)whole, NULL, error) ||
                   add(run, PEER_RETRANSMITS, (double)retransmits, no_retransmits, error) ||
                   add(run, PEER_LOST, (double)lost, no_lost, error) ||
                   add(run, PEER_JITTER, jitter_ns, no_datagrams, error) ||
                   add(run, PEER_CPU, (peer->cpu_user + peer->cpu_system) / 100, NULL, error)
               ? -1
               : 0;
}

#define IPERF3_SESSION                                                                             \
    .foreign = true, .settle = session_settle, .open = session_open, .connect = session_connect,   \
    .start = session_start, .peer_ended = session_peer_ended, .stop = session_stop,                \
    .finish = session_finish, .arrived = session_arrived, .fill = session_fill,                    \
    .close = session_close

const struct session_ops session_iperf3 = {
    IPERF3_SESSION,
    .scheme = "iperf3",
    .form = "iperf3://HOST[:PORT]",
    .help = "a server of iperf3 (iperf3 -s), over TCP",
};

const struct session_ops session_iperf3_udp = {
    IPERF3_SESSION,
    .scheme = "iperf3+udp",
    .form = "iperf3+udp://HOST[:PORT]",
    .help = "the same, with datagrams",
    .datagrams = true,
};
