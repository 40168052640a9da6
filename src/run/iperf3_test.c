#include "run/iperf3.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "net/tune.h"

uint32_t iperf3_flow_count(const struct iperf3_test *test)
{
    return test->bidirectional ? 2 * test->streams : test->streams;
}

int32_t iperf3_flow_id(uint32_t index)
{
    return index ? (int32_t)index + 2 : 1;
}

bool iperf3_flow_sends(const struct iperf3_test *test, uint32_t index, bool server)
{
    bool client_sends = test->bidirectional ? index < test->streams : !test->reverse;
    return server != client_sends;
}

uint32_t iperf3_length(const struct iperf3_test *test)
{
    if (test->length_bytes) {
        return test->length_bytes;
    }
    return test->udp ? 1460 : 128 << 10;
}

int iperf3_test_check(const struct iperf3_test *test, struct err *error)
{
    static const char subject[] = "iperf3";
    uint32_t length = iperf3_length(test);

    if (test->streams < 1 || test->streams > IPERF3_STREAMS_MOST) {
        return err_set(error, ERR_USAGE, subject, "%u streams: it knows 1 to %d", test->streams,
                       IPERF3_STREAMS_MOST);
    }
    if (test->reverse && test->bidirectional) {
        return err_set(error, ERR_USAGE, subject, "both in reverse and in both directions");
    }
    if (test->duration_ns > IPERF3_TIME_MOST_S * NS_PER_SECOND) {
        return err_set(error, ERR_USAGE, subject, "a test takes at most %d s", IPERF3_TIME_MOST_S);
    }
    if (test->omit_ns % NS_PER_SECOND || test->omit_ns > IPERF3_OMIT_MOST_S * NS_PER_SECOND) {
        return err_set(error, ERR_USAGE, subject, "it omits whole seconds, at most %d",
                       IPERF3_OMIT_MOST_S);
    }
    if (test->udp ? length < IPERF3_UDP_BLOCK_LEAST || length > IPERF3_UDP_BLOCK_MOST
                  : length > IPERF3_BLOCK_MOST) {
        return err_set(error, ERR_USAGE, subject, "%u bytes: it knows %u to %u", length,
                       test->udp ? IPERF3_UDP_BLOCK_LEAST : 1,
                       test->udp ? IPERF3_UDP_BLOCK_MOST : IPERF3_BLOCK_MOST);
    }
    if (test->window_bytes > IPERF3_WINDOW_MOST || test->mss > IPERF3_MSS_MOST ||
        test->burst > IPERF3_BURST_MOST || test->tos > 255) {
        return err_set(error, ERR_USAGE, subject,
                       "a window, segment size, burst or type of service beyond what it knows");
    }
    return 0;
}

static uint32_t whole_seconds(uint64_t ns)
{
    return (uint32_t)((ns + NS_PER_SECOND - 1) / NS_PER_SECOND);
}

void iperf3_test_to_parameters(const struct iperf3_test *test, struct iperf3_parameters *parameters)
{
    iperf3_parameters_default(parameters);
    parameters->protocol = test->udp ? IPERF3_UDP : IPERF3_TCP;
    parameters->omit_s = whole_seconds(test->omit_ns);
    parameters->time_s = whole_seconds(test->duration_ns);
    parameters->bytes = test->bytes;
    parameters->blocks = test->blocks;
    parameters->mss = test->mss;
    parameters->parallel = test->streams;
    parameters->window_bytes = test->window_bytes;
    parameters->length_bytes = iperf3_length(test);
    parameters->bandwidth = test->rate_bits_per_second;
    parameters->fqrate = test->pacing_bits_per_second;
    parameters->burst = test->burst;
    parameters->tos = test->tos;
    parameters->nodelay = test->nodelay;
    parameters->zerocopy = test->zerocopy;
    parameters->reverse = test->reverse;
    parameters->bidirectional = test->bidirectional;
    parameters->udp_counters_64bit = test->udp && test->counters_64bit;
    parameters->dont_fragment = test->dont_fragment;
    parameters->get_server_output = test->server_output;
    snprintf(parameters->congestion, sizeof parameters->congestion, "%s", test->congestion);
    snprintf(parameters->title, sizeof parameters->title, "%s", test->title);
    snprintf(parameters->extra_data, sizeof parameters->extra_data, "%s", test->extra_data);
    /* What peers read of it is the version of iperf3 whose protocol this is. */
    snprintf(parameters->client_version, sizeof parameters->client_version, "%s", "3.12");
}

int32_t iperf3_test_from_parameters(const struct iperf3_parameters *parameters,
                                    struct iperf3_test *test)
{
    if (parameters->protocol == IPERF3_SCTP) {
        return IPERF3_REASON_PROTOCOL;
    }
    *test = (struct iperf3_test){
        .udp = parameters->protocol == IPERF3_UDP,
        .streams = parameters->parallel,
        .reverse = parameters->reverse,
        .bidirectional = parameters->bidirectional,
        .duration_ns = parameters->time_s * NS_PER_SECOND,
        .bytes = parameters->bytes,
        .blocks = parameters->blocks,
        .omit_ns = parameters->omit_s * NS_PER_SECOND,
        .length_bytes = parameters->length_bytes,
        .rate_bits_per_second = parameters->bandwidth,
        .pacing_bits_per_second = parameters->fqrate,
        .burst = parameters->burst,
        .window_bytes = parameters->window_bytes,
        .mss = parameters->mss,
        .tos = parameters->tos,
        .nodelay = parameters->nodelay,
        .zerocopy = parameters->zerocopy,
        .counters_64bit = parameters->udp_counters_64bit,
        .dont_fragment = parameters->dont_fragment,
        .server_output = parameters->get_server_output,
    };
    memcpy(test->congestion, parameters->congestion, sizeof test->congestion);
    memcpy(test->title, parameters->title, sizeof test->title);
    memcpy(test->extra_data, parameters->extra_data, sizeof test->extra_data);
    memcpy(test->client_version, parameters->client_version, sizeof test->client_version);
    return 0;
}

static void flow_to_result(const struct iperf3_flow *flow, struct iperf3_stream_result *result)
{
    const struct session_flow *window = &flow->window;

    result->bytes = window->bytes;
    result->retransmits = window->retransmits == UINT64_MAX ? -1 : (int64_t)window->retransmits;
    result->jitter_s = window->jitter_ns / 1e9;
    result->omitted_errors = (int64_t)flow->omitted_lost;
    result->errors = (int64_t)(flow->omitted_lost + window->lost);
    result->omitted_packets = (int64_t)(flow->omitted_messages + flow->omitted_lost);
    result->packets = result->omitted_packets + (int64_t)(window->messages + window->lost);
    result->end_s = (double)flow->duration_ns / 1e9;
}

void iperf3_side_to_results(const struct iperf3_test *test, const struct iperf3_side *side,
                            bool server, struct iperf3_results *results)
{
    memset(results, 0, sizeof *results);
    results->cpu_user = side->cpu_user;
    results->cpu_system = side->cpu_system;
    results->cpu_total = side->cpu_user + side->cpu_system;
    results->sender_has_retransmits =
        !test->bidirectional && test->reverse != server ? -1 : !test->udp;
    memcpy(results->congestion_used, side->congestion, sizeof results->congestion_used);
    results->stream_count = side->flow_count;
    for (uint32_t i = 0; i < side->flow_count; i++) {
        results->streams[i].id = iperf3_flow_id(i);
        flow_to_result(&side->flows[i], &results->streams[i]);
        if (test->udp || !iperf3_flow_sends(test, i, server)) {
            results->streams[i].retransmits = -1;
        }
    }
}

/* What is not known, -1, counts as none. */
static uint64_t known(int64_t count)
{
    return count < 0 ? 0 : (uint64_t)count;
}

static uint64_t less(uint64_t from, uint64_t by)
{
    return from > by ? from - by : 0;
}

/* A sender's losses and jitter are the receiver's, repeated. */
static void flow_from_result(const struct iperf3_test *test,
                             const struct iperf3_stream_result *result, bool sent,
                             struct iperf3_flow *flow)
{
    uint64_t lost = sent ? 0 : known(result->errors), omitted = known(result->omitted_packets);

    flow->omitted_within = test->udp && test->omit_ns && result->omitted_unsaid;
    flow->omitted_lost = sent ? 0 : known(result->omitted_errors);
    flow->omitted_messages = less(omitted, flow->omitted_lost);
    flow->duration_ns = (uint64_t)((result->end_s - result->start_s) * 1e9);
    flow->window = (struct session_flow){
        .bytes = result->bytes,
        .lost = less(lost, flow->omitted_lost),
        .jitter_ns = sent ? 0 : result->jitter_s * 1e9,
        .retransmits = result->retransmits < 0 ? UINT64_MAX : (uint64_t)result->retransmits,
    };
    flow->window.messages = less(known(result->packets) - omitted, flow->window.lost);
}

int iperf3_side_from_results(const struct iperf3_test *test, const struct iperf3_results *results,
                             bool server, const char *subject, struct iperf3_side *side,
                             struct err *error)
{
    uint32_t count = iperf3_flow_count(test);

    *side = (struct iperf3_side){
        .cpu_user = results->cpu_user, .cpu_system = results->cpu_system, .flow_count = count};
    memcpy(side->congestion, results->congestion_used, sizeof side->congestion);
    if (results->stream_count != count) {
        return err_set(error, ERR_PROTOCOL, subject, "results of %u streams instead of %u",
                       results->stream_count, count);
    }
    for (uint32_t i = 0; i < count; i++) {
        /* The decoder has refused a number that stands twice: each finds its own place. */
        int32_t id = results->streams[i].id;
        uint32_t index = id == 1 ? 0 : (uint32_t)id - 2;
        if (id == 2 || index >= count) {
            return err_set(error, ERR_PROTOCOL, subject, "results of a stream %d, which is none",
                           id);
        }
        flow_from_result(test, &results->streams[i], iperf3_flow_sends(test, index, server),
                         &side->flows[index]);
    }
    return 0;
}

static int tune_failed(int32_t value, const char *what, int32_t *reason, struct err *error)
{
    int number = errno;
    if (reason) {
        *reason = value;
    }
    return err_system(error, number, "iperf3", "cannot set %s", what);
}

/* Socket buffers that are smaller than asked for would be another test. */
static int tune_window(int fd, bool datagrams, uint32_t window, int32_t *reason, struct err *error)
{
    const struct net_tuning tuning = {.send_buffer = window, .receive_buffer = window};
    const struct transport_ops *transport = datagrams ? &transport_udp : &transport_tcp;
    uint64_t send_bytes, receive_bytes;

    if (net_tune(fd, transport, &tuning, error) ||
        net_buffer_sizes(fd, &send_bytes, &receive_bytes, error)) {
        if (reason) {
            *reason = 124;
        }
        return -1;
    }
    if (send_bytes >= window && receive_bytes >= window) {
        return 0;
    }
    if (reason) {
        *reason = IPERF3_REASON_BUFFER;
    }
    err_set(error, ERR_LIMIT, "iperf3", "the kernel gives a socket buffer of %llu of %u bytes",
            (unsigned long long)(send_bytes < receive_bytes ? send_bytes : receive_bytes), window);
    return err_hint(error, "raise net.core.wmem_max and net.core.rmem_max, or ask for less");
}

/* A datagram has to fit into the socket's buffers. */
static int tune_datagrams(int fd, const struct iperf3_test *test, int32_t *reason,
                          struct err *error)
{
    const int discover = IP_PMTUDISC_DO;
    uint64_t send_bytes, receive_bytes;
    uint32_t length = iperf3_length(test);

    if (test->dont_fragment &&
        setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof discover)) {
        return tune_failed(145, "\"do not fragment\"", reason, error);
    }
    if (test->window_bytes || net_buffer_sizes(fd, &send_bytes, &receive_bytes, error) ||
        (send_bytes >= length && receive_bytes >= length)) {
        return 0;
    }
    return tune_window(fd, true, length + 1024, reason, error);
}

static int tune_tcp(int fd, const struct iperf3_test *test, bool connecting, int32_t *reason,
                    struct err *error)
{
    const int on = 1;
    int mss = (int)test->mss;

    if (test->nodelay && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)) {
        return tune_failed(122, "TCP_NODELAY", reason, error);
    }
    /* Agreed upon in the handshake: of an accepted connection it holds by the peer's doing. */
    if (mss && connecting && setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof mss)) {
        return tune_failed(123, "TCP_MAXSEG", reason, error);
    }
    if (test->congestion[0] && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, test->congestion,
                                          (socklen_t)strlen(test->congestion))) {
        /* Only the connecting end insists: the other one may not have it, and may not send. */
        if (connecting || errno != ENOENT) {
            return tune_failed(IPERF3_REASON_SET_CONGESTION, "the congestion control", reason,
                               error);
        }
    }
    return 0;
}

int iperf3_tune(int fd, const struct iperf3_test *test, bool connecting, int32_t *reason,
                struct err *error)
{
    int tos = (int)test->tos, domain = 0; /* IPv6's socket may speak IPv4 */
    uint64_t pacing = test->pacing_bits_per_second / 8;
    socklen_t length = sizeof domain;

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length)) {
        return tune_failed(101, "anything", reason, error);
    }
    if (tos &&
        (setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof tos) ||
         (domain == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof tos)))) {
        return tune_failed(125, "the type of service", reason, error);
    }
    if (pacing && setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &pacing, sizeof pacing)) {
        return tune_failed(140, "the pacing rate", reason, error);
    }
    if (test->window_bytes && tune_window(fd, test->udp, test->window_bytes, reason, error)) {
        return -1;
    }
    return test->udp ? tune_datagrams(fd, test, reason, error)
                     : tune_tcp(fd, test, connecting, reason, error);
}
