/* What a run takes of the machine: threads, slots, processes, source addresses; within its limits.
 */
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/secure.h"
#include "run/conductor.h"
#include "run/limits.h"

/* connect() tries the ports of one parity first, and all of them once those are taken: sources are
 * filled to less than half. */
#define PORTS_USED 0.4
#define SOURCES_MOST 250 /* 127.0.0.2 and what follows */

static bool thread_each(const struct engine_ops *engine)
{
    return engine->flags & ENGINE_ONE_CHANNEL;
}

static bool has_datagrams(const struct conductor *conductor)
{
    return conductor->address.transport->caps & TRANSPORT_DATAGRAMS;
}

static bool has_pairs(const struct conductor *conductor)
{
    return conductor->address.transport->caps & TRANSPORT_PAIRS;
}

static bool has_files(const struct conductor *conductor)
{
    return !(conductor->plan->engine->flags & ENGINE_NO_KERNEL);
}

/* What counts against the limit of open files for each connection. */
static uint32_t files_each(const struct conductor *conductor, const struct engine_ops *engine)
{
    if (conductor->address.transport == &transport_pipe) {
        return 4;
    }
    return has_pairs(conductor) || engine->flags & ENGINE_WAITS_TWICE ? 2 : 1;
}

/* What makes all connections in one process cannot leave them to several. */
static int check_workers(const struct conductor *conductor, struct err *error)
{
    const struct run_plan *plan = conductor->plan;
    if (plan->options->workers <= 1 || (!plan->session && !has_pairs(conductor))) {
        return 0;
    }
    err_set(error, ERR_USAGE, "--workers", "the connections of %s are made by one process",
            conductor->address.text);
    return err_hint(error, "--threads makes several threads in it");
}

/* More local ports for sonde's own server, where the kernel's choice would not have enough. */
static int find_sources(struct conductor *conductor, struct err *error)
{
    const struct run_options *options = conductor->plan->options;
    const struct address *address = &conductor->address;
    double ports = (double)limits_local_ports() * PORTS_USED;
    /* Where dialing is what is measured, the search for a free port must not be. */
    bool measured = conductor->plan->workload->client->renew_below != NULL;
    double most = measured ? ports : (double)limits_local_ports();
    char text[48];
    if (options->sources) {
        return address_parse_sources(options->sources, &conductor->sources,
                                     &conductor->source_count, error);
    }
    if (!started_server(conductor) || !(address->transport->caps & TRANSPORT_PORTS) ||
        address->socket_address.ss_family != AF_INET || !address_is_loopback(address) ||
        (double)options->connections < most || ports < 1 ||
        (double)options->connections > ports * SOURCES_MOST) {
        return 0;
    }
    snprintf(text, sizeof text, "127.0.0.2-127.0.0.%lu",
             (uint64_t)((double)options->connections / ports) + 2);
    record_add_warning(conductor->record,
                       "%lu connections from the source addresses %s: each has %lu local ports",
                       options->connections, text, limits_local_ports());
    return address_parse_sources(text, &conductor->sources, &conductor->source_count, error);
}

/* Processes and threads of the client, and the files that one of those processes opens. */
static uint64_t plan_client(struct conductor *conductor)
{
    const struct run_plan *plan = conductor->plan;
    const struct run_options *options = plan->options;
    struct process_need need = {
        .connections = options->connections,
        .files_each = files_each(conductor, plan->engine),
        .threads = thread_each(plan->engine) ? 0 : (uint32_t)options->threads,
        .files_thread = 2,
    };
    uint64_t asked = options->workers ? options->workers : 1;
    uint32_t count = (uint32_t)(asked < need.connections ? asked : need.connections);
    if (has_files(conductor) && !has_pairs(conductor) && !plan->session) {
        uint64_t allowed = limits_files_raise(processes_files(&need, count));
        count = processes_needed(&need, count, allowed);
    }
    uint64_t threads = (uint64_t)count * need.threads;
    conductor->clients.count = count;
    conductor->apart = count > 1 || (plan->fresh && !has_pairs(conductor) && !plan->session);
    conductor->clients.pids[0] = conductor->apart ? 0 : getpid();
    conductor->worker_count =
        (uint32_t)(threads && threads < need.connections ? threads : need.connections);
    return has_files(conductor) ? processes_files(&need, count) : 0;
}

void setup_web_server(const struct conductor *conductor, struct web_server_plan *web)
{
    const struct run_plan *plan = conductor->plan;
    *web = (struct web_server_plan){.program = plan->web_program,
                                    .payload_bytes = plan->payload_bytes,
                                    .connections = plan->options->connections,
                                    .processes = (uint32_t)plan->options->server_threads,
                                    .congestion = plan->options->wire.congestion,
                                    .cpus = &conductor->placement.servers,
                                    .stop_fd = plan->stop_fd};
}

/* Those of sonde's own server. Threads have a listener each from the start. The threads engine
 * accepts on one thread and makes one for each connection; datagrams make no connections, so that
 * as many threads as were asked for serve them. Of sockets other than the network's, any process
 * could accept all connections: they have one. */
static uint64_t plan_server(struct conductor *conductor)
{
    const struct run_plan *plan = conductor->plan;
    const struct run_options *options = plan->options;
    bool datagrams = has_datagrams(conductor), pairs = has_pairs(conductor);
    bool each = thread_each(plan->server_engine) && !datagrams;
    uint32_t threads = each ? 1 : (uint32_t)options->server_threads;
    struct process_need need = {
        .connections = options->connections,
        .files_each = files_each(conductor, plan->server_engine),
        .threads = each ? 0 : threads,
        .files_thread = each ? 2 : 4,
        .spread = true,
    };
    bool several = conductor->address.transport->caps & TRANSPORT_PORTS && !datagrams;
    if (plan->web_program) {
        struct web_server_plan web;
        setup_web_server(conductor, &web);
        return web_server_files(&web);
    }
    if (!conductor->own_server) {
        return 0;
    }
    uint64_t allowed = limits_files_raise(processes_files(&need, 1));
    uint32_t count = several ? processes_needed(&need, 1, allowed) : 1;
    uint32_t connections = (uint32_t)processes_share(&need, count) + 8;
    const struct role *client = plan->workload->client;
    if (client->renew_below || client->redials) { /* the next comes while one's thread still ends */
        connections *= 2;
    }
    conductor->servers.count = count;
    conductor->server_threads = count * threads;
    conductor->server_slot_count =
        count * server_slots(plan->server_engine, threads, pairs ? 0 : threads,
                             datagrams ? 0 : connections);
    return pairs || datagrams ? 0 : processes_files(&need, count);
}

/* That there are more processes than were asked for. */
static void say_processes(const struct conductor *conductor)
{
    uint32_t clients = conductor->clients.count, servers = conductor->servers.count;
    struct rlimit limit;
    if ((clients > 1 && clients > conductor->plan->options->workers) || servers > 1) {
        char server[48] = "";
        if (servers) {
            snprintf(server, sizeof server, " and %u server process%s", servers,
                     servers == 1 ? "" : "es");
        }
        record_add_warning(conductor->record,
                           "%u client process%s%s: one may open %lu files (RLIMIT_NOFILE)", clients,
                           clients == 1 ? "" : "es", server,
                           getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0);
    }
}

static int check_limits(struct conductor *conductor, uint64_t files, struct err *error)
{
    const struct run_plan *plan = conductor->plan;
    const struct run_options *options = plan->options;
    const struct transport_ops *transport = conductor->address.transport;
    struct limits_warnings warnings = {.count = 0};
    bool kernel = has_files(conductor);
    struct limits_need need = {
        .files = files,
        .connections = options->connections,
        .sources = conductor->source_count,
        .ports = kernel && transport->caps & TRANSPORT_PORTS,
        .threads = conductor->worker_count + conductor->server_slot_count +
                   (client_apart(conductor) ? conductor->clients.count : 0),
        .backlog = kernel && !plan->session && transport->caps & TRANSPORT_CONNECTS &&
                           !has_datagrams(conductor)
                       ? options->connections
                       : 0,
    };
    size_t each_bytes = plan->workload->client->connection_memory(plan->workload_options);
    if (transport->caps & TRANSPORT_SECURE) { /* sonde's own server holds as much */
        each_bytes += (conductor->own_server ? 2 : 1) * (size_t)SECURE_CONNECTION_BYTES;
    }
    need.memory_bytes = options->connections * each_bytes;
    if (limits_check(&need, &warnings, error) < 0) {
        return -1;
    }
    for (size_t i = 0; i < warnings.count; i++) {
        record_add_warning(conductor->record, "%s", warnings.text[i]);
    }
    return 0;
}

int provision_run(struct conductor *conductor, struct err *error)
{
    if (check_workers(conductor, error) < 0 || find_sources(conductor, error) < 0) {
        return -1;
    }
    uint64_t client = plan_client(conductor), server = plan_server(conductor);
    if (check_limits(conductor, client > server ? client : server, error) < 0) {
        return -1;
    }
    say_processes(conductor);
    return 0;
}
