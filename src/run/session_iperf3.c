#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "run/iperf3.h"
#include "run/session.h"

#define PATIENCE_NS NS_PER_SECOND /* for runs that follow each other */

static const char FORM[] = "iperf3://HOST[:PORT]";

struct session {
    struct iperf3_test test;
    struct iperf3_client *client;
    struct iperf3_side own; /* scratch of finish */
};

/* The test that a plan asks for: as many streams as connections, sending for the window's time. A
 * warm-up of whole seconds is iperf3's omitted time; the peer's figures cover any other one too. */
static void test_of_plan(const struct run_plan *plan, struct iperf3_test *test)
{
    const struct run_options *options = plan->options;

    *test = (struct iperf3_test){
        .streams = options->connections > IPERF3_STREAMS_MOST ? IPERF3_STREAMS_MOST + 1
                                                              : (uint32_t)options->connections,
        .duration_ns = options->duration_ns,
        .window_bytes = options->socket_buffer_bytes > IPERF3_WINDOW_MOST
                            ? IPERF3_WINDOW_MOST + 1
                            : (uint32_t)options->socket_buffer_bytes,
    };
    if (options->warmup_ns % NS_PER_SECOND == 0) {
        test->omit_ns = options->warmup_ns;
    } else {
        test->duration_ns += options->warmup_ns;
    }
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
        return err_hint(error, "write %s", FORM);
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
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        return err_system(error, ENOMEM, host, "cannot make a session");
    }
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

static int session_connect(struct session *session, struct net_end *ends, uint32_t count,
                           struct err *error)
{
    return iperf3_client_connect(session->client, ends, count, error);
}

static int session_start(struct session *session, struct err *error)
{
    return iperf3_client_start(session->client, error);
}

static bool session_peer_ended(struct session *session)
{
    return iperf3_client_peer_ended(session->client);
}

static int session_finish(struct session *session, const struct session_own *own, struct err *error)
{
    struct iperf3_side *side = &session->own;
    uint32_t count = iperf3_flow_count(&session->test);

    *side = (struct iperf3_side){.flow_count = count};
    for (uint32_t i = 0; i < count; i++) {
        side->flows[i].window.retransmits = UINT64_MAX;
        side->flows[i].duration_ns = own->window_ns;
        if (i < own->flow_count) {
            side->flows[i].window = own->flows[i];
        }
    }
    return iperf3_client_finish(session->client, side, error);
}

enum { PEER_RATE, PEER_RETRANSMITS, PEER_LOST, PEER_JITTER, PEER_CPU, PEER_METRICS };

static const struct metric peer_metrics[PEER_METRICS] = {
    [PEER_RATE] = {.key = "peer_bytes_per_second",
                   .unit = "bytes/s",
                   .title = "peer's bytes/s",
                   .help = "payload of all streams per second, as the peer counted it",
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

static int session_fill(struct session *session, struct record_run *run, struct err *error)
{
    const struct iperf3_side *peer = iperf3_client_peer(session->client);
    const struct iperf3_test *test = &session->test;
    uint64_t bytes = 0, lost = 0, retransmits = 0, duration_ns = 0;
    double jitter_ns = 0;
    bool sends = test->bidirectional || test->reverse, known = true, within = false;

    for (uint32_t i = 0; i < peer->flow_count; i++) {
        const struct iperf3_flow *flow = &peer->flows[i];
        bool sent = iperf3_flow_sends(test, i, true);
        bytes += flow->window.bytes;
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
    return add(run, PEER_RATE, duration_ns ? (double)bytes * 1e9 / (double)duration_ns : 0,
               duration_ns ? NULL : "the peer does not say how long it took", error) ||
                   add(run, PEER_RETRANSMITS, (double)retransmits, no_retransmits, error) ||
                   add(run, PEER_LOST, (double)lost, no_lost, error) ||
                   add(run, PEER_JITTER, jitter_ns, no_datagrams, error) ||
                   add(run, PEER_CPU, (peer->cpu_user + peer->cpu_system) / 100, NULL, error)
               ? -1
               : 0;
}

const struct session_ops session_iperf3 = {
    .scheme = "iperf3",
    .form = FORM,
    .help = "a server of iperf3 (iperf3 -s)",
    .open = session_open,
    .connect = session_connect,
    .start = session_start,
    .peer_ended = session_peer_ended,
    .finish = session_finish,
    .fill = session_fill,
    .close = session_close,
};
