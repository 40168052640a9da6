/* What limits streams: who lost it, who was out of CPU, and what TCP says held it up. */
#include <stdio.h>

#include "run/verdict.h"

/* So much of the rate is the rate: the first and the last block need not lie in the window. */
#define REACHED 0.97
/* A loss that is said as what limits. */
#define LOST 0.05
/* So much of the host's CPU time is all of it. */
#define FULL 0.95
/* Waiting for a CPU for this share of the time is no chance. */
#define COMPETITION 0.05
/* What held TCP up for most of the time is what limits. */
#define HELD 0.5
/* TCP had something to send for practically all of the time. */
#define ALWAYS 0.9

bool verdict_rate_reached(const struct verdict_stream *facts)
{
    return facts->asked > 0 && facts->reached >= REACHED * facts->asked;
}

/* "client 56%, server 31% of a CPU" */
static const char *ends_text(const struct verdict_stream *facts, char *to, size_t size)
{
    if (facts->server.known) {
        snprintf(to, size, "client %.0f%%, server %.0f%% of a CPU", facts->client.cpus * 100,
                 facts->server.cpus * 100);
    } else {
        snprintf(to, size, "client %.0f%% of a CPU; the server is not observed",
                 facts->client.cpus * 100);
    }
    return to;
}

/* Datagrams that never arrived say more than any CPU. */
static bool judge_loss(const struct verdict_stream *facts, char *text, size_t size)
{
    uint64_t missing = facts->expected > facts->arrived ? facts->expected - facts->arrived : 0;
    double share = facts->expected ? (double)missing / (double)facts->expected : 0;
    double joined = facts->joined ? (double)facts->joined : 1;
    if (share < LOST) {
        return false;
    }
    if ((double)facts->drops * joined >= (double)missing / 2) {
        snprintf(text, size,
                 "the receive buffer of the %s: %.0f%% of the datagrams were dropped there "
                 "(--window makes it larger, --rate sends slower)",
                 facts->receiver, share * 100);
    } else {
        snprintf(text, size,
                 "the path: %.0f%% of the datagrams were lost on the way, and not in the %s's "
                 "receive buffer (--rate sends slower)",
                 share * 100, facts->receiver);
    }
    return true;
}

static bool judge_cpu(const struct verdict_stream *facts, const char *ends, char *text, size_t size)
{
    const struct verdict_load *client = &facts->client, *server = &facts->server;
    bool client_full = client->busy >= VERDICT_SATURATED;
    bool server_full = server->known && server->busy >= VERDICT_SATURATED;
    bool waits = client->waited >= COMPETITION || server->waited >= COMPETITION;
    if (client_full || server_full) {
        snprintf(text, size, "%s CPU (%s)",
                 client_full && server_full ? "both ends: client CPU and server"
                 : client_full              ? "client"
                                            : "server",
                 ends);
    } else if (client->busy + client->runnable >= VERDICT_SATURATED) {
        snprintf(text, size,
                 "other programs: the client had a CPU for %.0f%% of the time and waited for one "
                 "for %.0f%%",
                 client->busy * 100, client->runnable * 100);
    } else if (facts->host_busy >= FULL && waits) {
        snprintf(text, size, "all CPUs are full (%s; other programs %.0f%% of all CPU time)", ends,
                 facts->others * 100);
    } else {
        return false;
    }
    return true;
}

static bool judge_tcp(const struct verdict_stream *facts, const char *ends, char *text, size_t size)
{
    if (!facts->tcp) {
        return false;
    }
    if (facts->receive_window >= HELD && facts->receive_window >= facts->send_buffer) {
        snprintf(text, size,
                 "the receiver's window: it held TCP up for %.0f%% of the time (%s; --window, or "
                 "a receiver that reads faster)",
                 facts->receive_window * 100, ends);
    } else if (facts->send_buffer >= HELD) {
        snprintf(text, size,
                 "the send buffer: it held TCP up for %.0f%% of the time (%s; --window makes it "
                 "larger)",
                 facts->send_buffer * 100, ends);
    } else if (facts->tcp_busy >= ALWAYS) {
        snprintf(text, size,
                 "the path or its congestion window: TCP had something to send for %.0f%% of the "
                 "time, no buffer held it up for most of it (%s)",
                 facts->tcp_busy * 100 < 100 ? facts->tcp_busy * 100 : 100, ends);
    } else {
        snprintf(text, size,
                 "waiting: TCP had something to send for %.0f%% of the time alone (%s): wake-ups "
                 "of the sender",
                 facts->tcp_busy * 100, ends);
    }
    return true;
}

void verdict_stream(const struct verdict_stream *facts, char *text, size_t size)
{
    char ends[96];
    ends_text(facts, ends, sizeof ends);
    if (judge_loss(facts, text, size)) {
        return;
    }
    if (verdict_rate_reached(facts)) {
        snprintf(text, size, "the rate asked for: --rate (%s)", ends);
    } else if (!judge_cpu(facts, ends, text, size) && !judge_tcp(facts, ends, text, size)) {
        snprintf(text, size, "waiting: no end is out of CPU (%s): wake-ups between the ends", ends);
    }
}
