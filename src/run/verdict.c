/* What limited a run, with the evidence. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "run/asked.h"
#include "run/conductor.h"
#include "run/verdict.h"
#include "workload/stream.h"

/* Waiting for a CPU for this share of the time is said. */
#define COMPETITION 0.05
/* So near to what its threads reach without any kernel, the client is the limit. */
#define NEAR_CEILING 0.8
/* In a shorter window a share of CPU time means nothing. */
#define SHARES_LEAST_NS (10 * NS_PER_MS)

static struct verdict_load load_of(const struct tally *tally, size_t cpus)
{
    struct verdict_load load = {0};
    uint32_t worker = 0;
    uint64_t cpu_ns = 0, thread_ns = 0;
    size_t threads = 0;
    for (uint32_t i = 0; i < tally->slot_count; i++) {
        cpu_ns += tally->worker_cpu_ns[i];
        thread_ns += tally->worker_window_ns[i];
        threads += tally->worker_window_ns[i] != 0;
    }
    if (threads == 0 || tally->window_ns == 0) {
        return load;
    }
    size_t usable = cpus && cpus < threads ? cpus : threads;
    double all = (double)cpu_ns / ((double)tally->window_ns * (double)usable);
    double busiest = tally_busiest(tally, &worker);
    load.known = true;
    load.busy = all > busiest ? all : busiest;
    load.cpus = (double)cpu_ns / (double)tally->window_ns;
    /* Threads that share a CPU wait for each other: that is not the doing of other programs. */
    load.waited = (double)tally->bank->runnable_ns / (double)thread_ns;
    load.runnable = threads > usable ? 0 : load.waited;
    return load;
}

/* The observed processes that are not sonde's, and a peer's server (this side counts no tallies of
 * it): the busiest thread, or CPU of a process. */
static struct verdict_load load_of_observed(const struct record_run *run)
{
    struct verdict_load load = {0};
    for (size_t i = 0; i < run->process_count; i++) {
        const struct record_process *process = &run->processes[i];
        bool other = strcmp(process->role, "observed") == 0 || strcmp(process->role, "server") == 0;
        if (other && process->busiest_thread >= 0) {
            load.known = true;
            load.busy = process->busiest_thread > load.busy ? process->busiest_thread : load.busy;
            load.cpus += process->cpu_window_ns
                             ? (double)(process->cpu_user_ns + process->cpu_system_ns) /
                                   (double)process->cpu_window_ns
                             : process->busiest_thread;
        }
    }
    return load;
}

/* near: the rate, as a share of what the client's threads reach without any kernel. */
static void judge_ends(double near, struct verdict_load client, struct verdict_load server,
                       char *text, size_t size)
{
    if (client.busy >= VERDICT_SATURATED && server.known && server.busy >= VERDICT_SATURATED) {
        snprintf(text, size, "both ends: client CPU (at %.0f%%) and server CPU (at %.0f%%)",
                 client.busy * 100, server.busy * 100);
    } else if (client.busy >= VERDICT_SATURATED || near >= NEAR_CEILING) {
        snprintf(text, size, "client CPU (at %.0f%%%s)", client.busy * 100,
                 server.known ? "" : "; the server is not observed");
    } else if (server.known && server.busy >= VERDICT_SATURATED) {
        snprintf(text, size, "server CPU (at %.0f%%, client at %.0f%%)", server.busy * 100,
                 client.busy * 100);
    } else if (client.busy + client.runnable >= VERDICT_SATURATED) {
        snprintf(text, size,
                 "other programs: the client had a CPU for %.0f%% of the time and "
                 "waited for one for %.0f%%",
                 client.busy * 100, client.runnable * 100);
    } else if (server.known) {
        snprintf(text, size,
                 "waiting: neither end is out of CPU (client %.0f%%, server %.0f%%): wake-ups, "
                 "timers or too few calls in flight",
                 client.busy * 100, server.busy * 100);
    } else {
        snprintf(text, size, "not the client's CPU (at %.0f%%); the server is not observed",
                 client.busy * 100);
    }
}

/* Looks like waiting for the other end, and is not. */
static void add_competition(struct verdict_load client, char *text, size_t size)
{
    size_t used = strlen(text);
    if (client.runnable >= COMPETITION && used < size && strncmp(text, "other", 5) != 0) {
        snprintf(text + used, size - used,
                 "; the client's threads waited for a CPU for %.0f%% of the time",
                 client.runnable * 100);
    }
}

/* ---- streams ---- */

/* Shares of the time of all that sends, at the ends that count. */
static void take_tcp(const struct conductor *conductor, struct verdict_stream *facts)
{
    const struct tally *ends[] = {&conductor->client.plain, &conductor->server.plain};
    uint32_t sent = conductor->plan->workload->flow_metrics[0].numerator;
    double covered_ns = 0, busy_ns = 0, window_ns = 0, buffer_ns = 0;
    for (size_t end = 0; end < 2; end++) {
        for (uint32_t i = 0; i < ends[end]->flow_count; i++) {
            const struct tcp_figures *tcp = &ends[end]->flows[i].tcp;
            if (ends[end]->flows[i].counters[sent] == 0 || tcp->covered_ns == 0) {
                continue;
            }
            covered_ns += (double)tcp->covered_ns;
            busy_ns += (double)tcp->busy_ns;
            window_ns += (double)tcp->receive_window_ns;
            buffer_ns += (double)tcp->send_buffer_ns;
        }
    }
    facts->tcp = covered_ns > 0;
    if (facts->tcp) {
        facts->tcp_busy = busy_ns / covered_ns;
        facts->receive_window = window_ns / covered_ns;
        facts->send_buffer = buffer_ns / covered_ns;
    }
}

/* Of the end that lost more. */
static void take_loss(const struct conductor *conductor, struct verdict_stream *facts)
{
    const struct tally *ends[] = {&conductor->client.plain, &conductor->server.plain};
    const struct stream_options *stream = conductor->plan->workload_options;
    uint64_t most = 0;
    for (size_t end = 0; end < 2 && conductor->plan->workload->lossy; end++) {
        const uint64_t *counters = ends[end]->bank->counters;
        uint64_t expected = counters[STREAM_COUNT_EXPECTED],
                 arrived = counters[STREAM_COUNT_ARRIVED];
        if (expected > arrived && expected - arrived > most) {
            most = expected - arrived;
            facts->receiver = end ? "server" : "client";
            facts->expected = expected;
            facts->arrived = arrived;
            facts->drops = counters[STREAM_COUNT_DROPS];
            facts->joined = stream->segments ? stream->batch : 1;
        }
    }
}

/* What the host did beside: the record has it. */
static double value_of(const struct record_run *run, const char *key)
{
    for (size_t i = 0; i < run->value_count; i++) {
        if (strcmp(run->values[i].metric->key, key) == 0 && run->values[i].available) {
            return run->values[i].value;
        }
    }
    return -1;
}

static double host_busy(const struct conductor *conductor)
{
    const struct machine_sample before = {.system = conductor->system_before};
    const struct machine_sample after = {.system = conductor->system_after};
    struct machine_noise noise;
    if (!before.system.at_ns || !after.system.at_ns) {
        return -1;
    }
    machine_noise(&before, &after, &noise);
    return noise.busy_share < 0 ? -1 : noise.busy_share + noise.steal_share;
}

/* What was sent a second, wherever it is known; else what came here. */
static double sent_rate(const struct conductor *conductor, double delivered)
{
    const struct tally *client = &conductor->client.plain, *server = &conductor->server.plain;
    uint32_t counter = conductor->plan->workload->sent_bytes;
    double sent = 0;
    if (client->window_ns) {
        sent += (double)client->bank->counters[counter] * 1e9 / (double)client->window_ns;
    }
    if (server->window_ns && conductor->plan->options->count == 0) {
        sent += (double)server->bank->counters[counter] * 1e9 / (double)server->window_ns;
    }
    return sent > delivered ? sent : delivered;
}

static void judge_stream(struct conductor *conductor, struct verdict_load client,
                         struct verdict_load server, double asked)
{
    struct record_run *run = conductor->run;
    char text[UNITS_TEXT_MAX];
    struct verdict_stream facts = {
        .client = client,
        .server = server,
        .host_busy = host_busy(conductor),
        .others = value_of(run, "other_cpu_share"),
        .asked = asked,
        .reached = sent_rate(conductor, run->value_count ? run->values[0].value : 0),
    };
    take_tcp(conductor, &facts);
    take_loss(conductor, &facts);
    verdict_stream(&facts, run->limited_by, sizeof run->limited_by);
    if (asked > 0 && !verdict_rate_reached(&facts)) {
        record_add_warning(conductor->record, "%s: the rate was not reached: %.1f%% of %s",
                           conductor->plan->label, 100 * facts.reached / asked,
                           units_si(text, asked * 8, "bit/s"));
    }
}

void fill_verdict(struct conductor *conductor)
{
    struct record_run *run = conductor->run;
    char *text = run->limited_by;
    size_t size = sizeof run->limited_by;
    const struct placement *placement = &conductor->placement;
    struct verdict_load client =
        load_of(&conductor->client.plain, placement_usable(placement, &placement->clients));
    struct verdict_load server =
        conductor->own_server
            ? load_of(&conductor->server.plain, placement_usable(placement, &placement->servers))
            : load_of_observed(run);
    if (conductor->plan->web_program && server.known) { /* several may share a CPU */
        size_t usable = placement_usable(placement, &placement->servers);
        size_t count = conductor->servers.count < usable ? conductor->servers.count : usable;
        double all = count ? server.cpus / (double)count : 0;
        server.busy = all > server.busy ? all : server.busy;
    }
    double rate = run->value_count ? run->values[0].value : 0;
    const struct workload *workload = conductor->plan->workload;
    double asked = workload->asked ? workload->asked(conductor->plan->workload_options) : 0;
    double open_rate = asked_rate(conductor);
    double lag = asked_lag(conductor, histogram_mean(&conductor->client.plain.bank->histograms[0]));
    if (!client.known) {
        snprintf(text, size, "unknown (nothing was measured)");
        return;
    }
    if (run->window_ns < SHARES_LEAST_NS) { /* CPU time comes in ticks */
        snprintf(text, size, "unknown (the window is too short for shares of CPU time)");
    } else if (conductor->plan->engine->flags & ENGINE_NO_KERNEL) {
        snprintf(text, size, "sonde itself (null engine: there is no kernel and no server)");
    } else if (workload->bulk) {
        judge_stream(conductor, client, server, asked);
    } else if (open_rate > 0 && rate >= (0.99 - lag) * open_rate) {
        snprintf(text, size, "the rate asked for (client at %.0f%% of its CPU%s)",
                 client.busy * 100, server.known ? "" : "; the server is not observed");
    } else {
        double ceiling = run->null_ceiling * (double)conductor->ceiling_cpus;
        judge_ends(ceiling > 0 ? rate / ceiling : 0, client, server, text, size);
    }
    add_competition(client, text, size);
}
