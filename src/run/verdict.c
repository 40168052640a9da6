/* What limited a run, with the evidence. */
#include <stdio.h>
#include <string.h>

#include "run/conductor.h"

/* An end that took at least this share of the CPU that it can have had no time left to speak of. */
#define SATURATED 0.93
/* Waiting for a CPU for this share of the time is said. */
#define COMPETITION 0.05
/* So near to what its threads reach without any kernel, the client is the limit. */
#define NEAR_CEILING 0.8

/* How busy one end was: the busiest thread's share of a CPU, or that of all threads of the CPUs
 * that they may use, where that is more; and how long its threads waited for a CPU. */
struct load {
    bool known;
    double busy, runnable;
};

static struct load load_of(const struct tally *tally, size_t cpus)
{
    struct load load = {0};
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
    /* Threads that share a CPU wait for each other: that is not the doing of other programs. */
    load.runnable = threads > usable ? 0 : (double)tally->bank->runnable_ns / (double)thread_ns;
    return load;
}

/* The observed processes that are not sonde's, and a peer's server (this side counts no tallies of
 * it): the busiest thread, or CPU of a process. */
static struct load load_of_observed(const struct record_run *run)
{
    struct load load = {0};
    for (size_t i = 0; i < run->process_count; i++) {
        const struct record_process *process = &run->processes[i];
        bool other = strcmp(process->role, "observed") == 0 || strcmp(process->role, "server") == 0;
        if (other && process->busiest_thread >= 0) {
            load.known = true;
            load.busy = process->busiest_thread > load.busy ? process->busiest_thread : load.busy;
        }
    }
    return load;
}

/* near: the rate, as a share of what the client's threads reach without any kernel. */
static void judge_ends(double near, struct load client, struct load server, char *text, size_t size)
{
    if (client.busy >= SATURATED && server.known && server.busy >= SATURATED) {
        snprintf(text, size, "both ends: client CPU (at %.0f%%) and server CPU (at %.0f%%)",
                 client.busy * 100, server.busy * 100);
    } else if (client.busy >= SATURATED || near >= NEAR_CEILING) {
        snprintf(text, size, "client CPU (at %.0f%%%s)", client.busy * 100,
                 server.known ? "" : "; the server is not observed");
    } else if (server.known && server.busy >= SATURATED) {
        snprintf(text, size, "server CPU (at %.0f%%, client at %.0f%%)", server.busy * 100,
                 client.busy * 100);
    } else if (client.busy + client.runnable >= SATURATED) {
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
static void add_competition(struct load client, char *text, size_t size)
{
    size_t used = strlen(text);
    if (client.runnable >= COMPETITION && used < size && strncmp(text, "other", 5) != 0) {
        snprintf(text + used, size - used,
                 "; the client's threads waited for a CPU for %.0f%% of the time",
                 client.runnable * 100);
    }
}

void fill_verdict(struct conductor *conductor)
{
    struct record_run *run = conductor->run;
    const struct run_options *options = conductor->plan->options;
    char *text = run->limited_by;
    size_t size = sizeof run->limited_by;
    const struct placement *placement = &conductor->placement;
    struct load client =
        load_of(&conductor->client.plain, placement_usable(placement, &placement->clients));
    struct load server =
        conductor->own_server
            ? load_of(&conductor->server.plain, placement_usable(placement, &placement->servers))
            : load_of_observed(run);
    double rate = run->value_count ? run->values[0].value : 0;
    const struct workload *workload = conductor->plan->workload;
    double asked = workload->asked ? workload->asked(conductor->plan->workload_options) : 0;
    if (!client.known) {
        snprintf(text, size, "unknown (nothing was measured)");
        return;
    }
    if (conductor->plan->engine->flags & ENGINE_NO_KERNEL) {
        snprintf(text, size, "sonde itself (null engine: there is no kernel and no server)");
    } else if ((options->rate > 0 && rate >= 0.99 * options->rate) ||
               (asked > 0 && rate >= 0.97 * asked)) {
        snprintf(text, size, "the rate asked for (client at %.0f%% of its CPU%s)",
                 client.busy * 100, server.known ? "" : "; the server is not observed");
    } else {
        double ceiling = run->null_ceiling * (double)conductor->ceiling_cpus;
        judge_ends(ceiling > 0 ? rate / ceiling : 0, client, server, text, size);
    }
    add_competition(client, text, size);
}
