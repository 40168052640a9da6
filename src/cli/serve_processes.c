/* Several processes of `sonde serve`: on request, or where one may not open enough files. */
#include <stdlib.h>
#include <unistd.h>

#include "cli/serve_state.h"
#include "probe/process.h"
#include "run/limits.h"

static bool all_network(const struct serving *serving)
{
    for (uint32_t i = 0; i < serving->address_count; i++) {
        if (!(serving->addresses[i].transport->caps & TRANSPORT_PORTS)) {
            return false;
        }
    }
    return serving->address_count > 0;
}

int serve_plan_processes(struct serving *serving, uint64_t *files, struct err *error)
{
    const struct serve_options *options = &serving->options;
    uint32_t flags = engines[options->engine]->flags;
    uint32_t asked = options->workers ? (uint32_t)options->workers : 1;
    uint32_t threads = flags & ENGINE_ONE_CHANNEL ? 1 : (uint32_t)options->threads;
    const struct process_need need = {
        .connections = options->connections_max,
        .files_each = flags & ENGINE_WAITS_TWICE ? 2 : 1,
        .threads = threads,
        .files_thread = serving->address_count + 3,
        .spread = true,
    };
    serving->processes.count = asked;
    serving->processes.pids[0] = asked == 1 ? getpid() : 0;
    serving->share = (uint32_t)options->connections_max;
    *files = 0;
    if (!all_network(serving)) {
        return asked == 1
                   ? 0
                   : err_set(error, ERR_USAGE, "--workers",
                             "only addresses of the network are served by several processes");
    }
    uint64_t allowed = limits_files_raise(processes_files(&need, asked));
    uint32_t count = processes_needed(&need, asked, allowed);
    if (count > 1) {
        serving->processes.count = count;
        serving->processes.pids[0] = 0;
        serving->share = (uint32_t)processes_share(&need, count);
        *files = processes_files(&need, count);
    }
    return 0;
}

int serve_start_processes(struct serving *serving, struct err *error)
{
    return serving->processes.count == 1
               ? 0
               : server_spawn_all(&serving->config, &serving->processes, error);
}

void serve_stop_processes(struct serving *serving)
{
    if (serving->stopped) {
        return;
    }
    serving->stopped = true;
    for (uint32_t i = 0; i < serving->processes.count && serving->processes.count > 1; i++) {
        struct err failure = {0};
        server_stop(serving->processes.pids[i], serving->control, &failure);
        if (serving->failure.code == ERR_NONE) {
            serving->failure = failure;
        }
    }
}

uint64_t serve_resident(const struct serving *serving)
{
    uint64_t rss_bytes = 0;
    for (uint32_t i = 0; i < serving->processes.count; i++) {
        struct process_sample sample;
        struct err ignored;
        bool known = process_sample(serving->processes.pids[i], &sample, &ignored) == 0;
        rss_bytes += known ? sample.rss_bytes : 0;
    }
    return rss_bytes;
}
