/* What limited a run, with the evidence. */
#include <stdio.h>
#include <string.h>

#include "run/conductor.h"

/* A thread that took at least this share of a CPU had no time left to speak of. */
#define SATURATED 0.93
/* Waiting for a CPU for this share of the time is said. */
#define COMPETITION 0.05

static double busiest_of(const struct record_run *run, const char *role, bool *known)
{
    double busiest = -1;
    for (size_t i = 0; i < run->process_count; i++) {
        const struct record_process *process = &run->processes[i];
        if (strcmp(process->role, role) == 0 && process->busiest_thread > busiest) {
            busiest = process->busiest_thread;
        }
    }
    *known = busiest >= 0;
    return busiest;
}

/* Time that the client's threads were ready to run while other programs had the CPU: part of the
 * evidence, since it looks like waiting for the server. */
static void add_competition(const struct conductor *conductor, char *text, size_t size)
{
    const struct tally *client = &conductor->client.plain;
    uint64_t window_ns = 0;
    for (uint32_t i = 0; i < client->slot_count; i++) {
        window_ns += client->worker_window_ns[i];
    }
    double share = window_ns ? (double)client->bank->runnable_ns / (double)window_ns : 0;
    size_t used = strlen(text);
    if (share >= COMPETITION && used < size) {
        snprintf(text + used, size - used,
                 "; the client's threads waited %.0f%% of the time for a CPU that others used",
                 share * 100);
    }
}

void fill_verdict(struct conductor *conductor)
{
    struct record_run *run = conductor->run;
    const struct run_options *options = conductor->plan->options;
    char *text = run->limited_by;
    size_t size = sizeof run->limited_by;
    uint32_t worker = 0;
    bool server_known, observed_known;
    double client = tally_busiest(&conductor->client.plain, &worker);
    double server = busiest_of(run, "server", &server_known);
    double observed = busiest_of(run, "observed", &observed_known);
    if (observed > server) {
        server = observed;
        server_known = true;
    }
    if (client < 0) {
        snprintf(text, size, "unknown (nothing was measured)");
    } else if (conductor->plan->engine->flags & ENGINE_NO_KERNEL) {
        snprintf(text, size, "sonde itself (null engine: there is no kernel and no server)");
    } else if (options->rate > 0 && run->values[0].value >= 0.99 * options->rate) {
        snprintf(text, size, "the rate asked for (client thread at %.0f%%%s)", client * 100,
                 server_known ? "" : ", server not observed");
    } else if (client >= SATURATED && server >= SATURATED) {
        snprintf(text, size, "both ends: client CPU (worker %u at %.0f%%), server CPU (at %.0f%%)",
                 worker, client * 100, server * 100);
    } else if (client >= SATURATED) {
        snprintf(text, size, "client CPU (worker %u at %.0f%%%s)", worker, client * 100,
                 server_known ? "" : "; server not observed");
    } else if (server_known && server >= SATURATED) {
        snprintf(text, size, "server CPU (busiest thread at %.0f%%, client at %.0f%%)",
                 server * 100, client * 100);
    } else if (server_known) {
        snprintf(text, size,
                 "waiting: neither end is out of CPU (client %.0f%%, server %.0f%%): wake-ups, "
                 "timers or too few calls in flight",
                 client * 100, server * 100);
    } else {
        snprintf(text, size,
                 "not the client's CPU (worker %u at %.0f%%); the server is not "
                 "observed",
                 worker, client * 100);
    }
    add_competition(conductor, text, size);
}
