/* From a plan to workers that are ready to go, and back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "probe/targets.h"
#include "run/conductor.h"
#include "run/peer.h"
#include "run/security.h"

/* Where to connect, and whether sonde has to start the server itself. */
static int find_target(struct conductor *conductor, struct err *error)
{
    const struct run_plan *plan = conductor->plan;
    if (plan->session) {
        conductor->address = (struct address){
            .transport = plan->session->datagrams ? &transport_udp : &transport_tcp};
        snprintf(conductor->address.text, sizeof conductor->address.text, "%s://%s",
                 plan->session->scheme, plan->session_target);
        if (plan->engine->flags & ENGINE_NO_KERNEL) {
            return err_set(error, ERR_USAGE, "--engine", "null speaks to nobody, not to %s either",
                           conductor->address.text);
        }
        return workload_check_transport(plan->workload, &conductor->address, error);
    }
    if (plan->target) {
        conductor->address = *plan->target;
    } else if (address_parse(plan->workload->needs & WORKLOAD_DATAGRAMS ? "udp:" : "tcp:", false,
                             &conductor->address, error) < 0) {
        return -1;
    }
    if (plan->web_program) {
        conductor->address.own = false;
        if (plan->engine->flags & ENGINE_NO_KERNEL) {
            return err_set(error, ERR_USAGE, "--engine", "null speaks to nobody, not to %s either",
                           web_server_name(plan->web_program));
        }
    }
    conductor->own_server = conductor->address.own && !(plan->engine->flags & ENGINE_NO_KERNEL);
    return workload_check_transport(plan->workload, &conductor->address, error);
}

static int make_pairs(struct conductor *conductor, struct err *error)
{
    uint32_t count = (uint32_t)conductor->plan->options->connections;
    conductor->client_ends = calloc(count, sizeof *conductor->client_ends);
    conductor->server_ends = calloc(count, sizeof *conductor->server_ends);
    if (!conductor->client_ends || !conductor->server_ends) {
        return err_system(error, ENOMEM, "memory", "cannot make the connections");
    }
    for (uint32_t i = 0; i < count; i++) {
        if (conductor->address.transport->pair(&conductor->client_ends[i],
                                               &conductor->server_ends[i], error) < 0) {
            return -1;
        }
        conductor->pair_count = i + 1;
    }
    return 0;
}

static void close_ends(struct net_end *ends, uint32_t count)
{
    for (uint32_t i = 0; ends && i < count; i++) {
        net_end_close(ends[i]);
        ends[i] = (struct net_end){-1, -1};
    }
}

/* Socket settings that both ends share. */
static void fill_tuning(const struct run_plan *plan, struct net_tuning *tuning,
                        uint8_t *channel_options)
{
    bool network = !plan->target || plan->target->transport->caps & TRANSPORT_PORTS;
    wire_tuning(&plan->options->wire, plan->workload, plan->workload_options, network, tuning,
                channel_options);
}

void run_tuning(const struct run_plan *plan, struct net_tuning *tuning, uint8_t *channel_options)
{
    uint64_t buffer_bytes = plan->options->socket_buffer_bytes;
    fill_tuning(plan, tuning, channel_options);
    if (buffer_bytes) {
        tuning->send_buffer = tuning->receive_buffer = buffer_bytes;
    }
}

static int start_server(struct conductor *conductor, struct err *error)
{
    const struct run_plan *plan = conductor->plan;
    const struct run_options *options = plan->options;
    bool pairs = conductor->address.transport->caps & TRANSPORT_PAIRS;
    struct net_tuning tuning;
    uint8_t channel_options;
    fill_tuning(plan, &tuning, &channel_options);
    conductor->server_slots =
        shared_memory(conductor->server_slot_count * sizeof(struct worker_slot), error);
    if (!conductor->server_slots || (pairs && make_pairs(conductor, error) < 0)) {
        return -1;
    }
    struct server_config config = {
        .engine = plan->server_engine,
        .role = plan->workload->server,
        .options = plan->workload_options,
        .control = &conductor->shared->server,
        .slots = conductor->server_slots,
        .slot_count = conductor->server_slot_count,
        .threads = conductor->server_threads,
        .addresses = &conductor->address,
        .address_count = pairs ? 0 : 1,
        .ends = conductor->server_ends,
        .end_count = conductor->pair_count,
        .foreign = conductor->client_ends,
        .foreign_count = conductor->pair_count,
        .connections_max = UINT32_MAX / 2,
        .tls = conductor->server_tls,
        .secure_addresses = conductor->server_tls ? 1 : 0,
        .tuning = tuning,
        .receive_bytes = (uint32_t)options->wire.receive_bytes,
        .receive_mode = options->wire.uring_receive,
        .busy_poll = options->wire.busy_poll,
        .channel_options = channel_options,
        .cpus = &conductor->placement.servers,
    };
    int result = server_spawn_all(&config, &conductor->servers, error);
    close_ends(conductor->server_ends, conductor->pair_count);
    return result;
}

static int start_web_server(struct conductor *conductor, struct err *error)
{
    struct web_server_plan web;
    setup_web_server(conductor, &web);
    if (web_server_start(&web, &conductor->web, error) < 0) {
        return -1;
    }
    conductor->servers = conductor->web.processes;
    conductor->address = conductor->web.address;
    return 0;
}

static int make_dials(struct conductor *conductor, struct err *error)
{
    uint32_t count = (uint32_t)conductor->plan->options->connections;
    bool kernel = !(conductor->plan->engine->flags & ENGINE_NO_KERNEL);
    conductor->dials = calloc(count, sizeof *conductor->dials);
    if (!conductor->dials) {
        return err_system(error, ENOMEM, "memory", "cannot plan the connections");
    }
    for (uint32_t i = 0; i < count; i++) {
        struct dial *dial = &conductor->dials[i];
        dial->end = (struct net_end){-1, -1};
        if (i < conductor->pair_count) {
            dial->end = conductor->client_ends[i];
            conductor->client_ends[i] = (struct net_end){-1, -1}; /* the worker's now */
        } else if (kernel) {
            dial->address = &conductor->address;
            dial->source =
                conductor->source_count ? &conductor->sources[i % conductor->source_count] : NULL;
        }
    }
    return 0;
}

/* Operations a second that are due; 0: a closed loop. */
static double run_rate(const struct run_plan *plan)
{
    const struct run_options *options = plan->options;
    if (!plan->workload->ramp_ns) {
        return run_rate_most(options);
    }
    uint64_t ramp_ns = plan->workload->ramp_ns(plan->workload_options, options->connections);
    return (double)options->connections * 1e9 / (double)(ramp_ns ? ramp_ns : 1);
}

void setup_worker(const struct run_plan *plan, struct worker_config *config)
{
    const struct run_options *options = plan->options;
    *config = (struct worker_config){
        .engine = plan->engine,
        .role = plan->workload->client,
        .options = plan->workload_options,
        .busy_poll = options->wire.busy_poll,
        .receive_bytes = (uint32_t)options->wire.receive_bytes,
        .receive_mode = options->wire.uring_receive,
        .cpu = -1,
        .quota = UINT64_MAX,
        .rate = run_rate(plan),
        .course = options->course.count ? &options->course : NULL,
        .course_after_ns = options->warmup_ns,
        .arrival = options->arrival ? ARRIVAL_POISSON : ARRIVAL_FIXED,
        .send_lag = plan->workload->send_lag,
        .workers = 1,
        .seed = options->seed,
        .connect_timeout_ns = options->connect_timeout_ns,
        .dials_on = options->dials_on,
        .foreign_peer = plan->session ? plan->session->foreign
                                      : plan->web_program || (plan->target && !plan->target->own),
        .greeted = plan->session && plan->session->own_server,
        .ends_apart = plan->session && plan->session->foreign,
    };
    run_tuning(plan, &config->tuning, &config->channel_options);
}

static int make_tallies(struct conductor *conductor, struct err *error)
{
    struct tallies *ends[] = {&conductor->client, &conductor->server};
    uint32_t slots[] = {conductor->worker_count, conductor->server_slot_count};
    uint32_t flows = conductor->plan->workload->client->flow_counters
                         ? (uint32_t)conductor->plan->options->connections
                         : 0;
    for (size_t i = 0; i < 2; i++) {
        if (tally_init(&ends[i]->part, slots[i], flows, error) < 0 ||
            tally_init(&ends[i]->plain, slots[i], flows, error) < 0 ||
            tally_init(&ends[i]->seen, slots[i], flows, error) < 0) {
            return -1;
        }
    }
    uint32_t workers = conductor->worker_count;
    if (tally_init(&conductor->discarded, workers, conductor->plan->session ? flows : 0, error) <
            0 ||
        tally_init(&conductor->before, workers, 0, error) < 0 ||
        tally_init(&conductor->interval, workers, flows, error) < 0 ||
        tally_init(&conductor->server_interval, slots[1], flows, error) < 0 ||
        tally_init(&conductor->block_plain, workers, 0, error) < 0 ||
        tally_init(&conductor->block_seen, workers, 0, error) < 0) {
        return -1;
    }
    return series_init(&conductor->series, 3600, BANK_COUNTERS, error);
}

/* Observation of the two ends: the client is this process or several of its own, the server one or
 * several where it is sonde's. */
static bool is_observed(const struct conductor *conductor, const char *word)
{
    const struct opt_list *observe = &conductor->plan->options->watch.observe;
    for (size_t i = 0; i < observe->count; i++) {
        if (strcmp(observe->items[i], word) == 0) {
            return true;
        }
    }
    return observe->count == 0; /* a probe alone looks at both ends */
}

/* Children of this process that are no part of its end. */
static void drop_children(struct conductor *conductor)
{
    struct targets *targets = watch_targets(conductor->watch);
    if (!targets) {
        return;
    }
    targets_drop(targets, conductor->web.keeper);
    for (uint32_t i = 0; i < conductor->servers.count && !is_observed(conductor, "server"); i++) {
        targets_drop(targets, conductor->servers.pids[i]);
    }
}

static int start_watch(struct conductor *conductor, struct err *error)
{
    const struct processes *clients = &conductor->clients, *servers = &conductor->servers;
    const struct watch_name names[] = {
        {.word = "self",
         .target = {.pid = clients->pids[0], .role = "client"},
         .more = clients->pids + 1,
         .more_count = clients->count - 1},
        {.word = "server",
         .target = {.pid = servers->pids[0], .role = "server"},
         .more = servers->pids + 1,
         .more_count = servers->count ? servers->count - 1 : 0,
         .sampled = conductor->plan->web_program != WEB_SERVER_NONE,
         .missing = "the server was not started by sonde",
         .elsewhere = conductor->session && conductor->plan->session->probe_count},
    };
    const struct watch_config config = {.options = &conductor->plan->options->watch,
                                        .names = names,
                                        .name_count = sizeof names / sizeof names[0]};
    int result = watch_open(&conductor->watch, &config, error);
    if (result == 0) {
        drop_children(conductor);
    }
    return result;
}

/* The ends get CPUs of their own, and the server one: where several streams could use more of them,
 * or are more than there are, the scheduler's choice is the better one. */
static int place(struct conductor *conductor, struct err *error)
{
    const struct run_options *options = conductor->plan->options;
    bool fits = !conductor->plan->workload->bulk || options->connections == 1 ||
                (machine_allowed_cpus() == 2 && options->connections == 2);
    const struct placement_ask ask = {.clients = options->cpus,
                                      .servers = options->server_cpus,
                                      .own_server = started_server(conductor),
                                      .apart = options->pin && fits};
    return placement_choose(&ask, &conductor->placement, error);
}

int setup_run(struct conductor *conductor, struct err *error)
{
    footprint_before(conductor);
    if (find_target(conductor, error) < 0 || place(conductor, error) < 0 ||
        security_open(conductor, error) < 0 || provision_run(conductor, error) < 0 ||
        make_tallies(conductor, error) < 0) {
        return -1;
    }
    conductor->shared = shared_memory(sizeof *conductor->shared, error);
    conductor->slots =
        conductor->shared ? shared_memory(conductor->worker_count * sizeof *conductor->slots, error)
                          : NULL;
    if (!conductor->slots || (conductor->own_server && start_server(conductor, error) < 0) ||
        (conductor->plan->web_program && start_web_server(conductor, error) < 0) ||
        peer_open(conductor, error) < 0 || peer_connect(conductor, error) < 0 ||
        make_dials(conductor, error) < 0) {
        return -1;
    }
    /* Processes are forked before they can be looked at, and threads begun where they are. */
    if ((client_apart(conductor) && client_start(conductor, error) < 0) ||
        start_watch(conductor, error) < 0 ||
        (!client_apart(conductor) && client_start(conductor, error) < 0)) {
        return -1;
    }
    if (client_await(conductor, error) < 0) {
        return -1;
    }
    held_memory(conductor, &conductor->memory_before); /* none has been dialed yet */
    return 0;
}

static void release_memory(struct conductor *conductor)
{
    struct tallies *ends[] = {&conductor->client, &conductor->server};
    for (size_t i = 0; i < 2; i++) {
        tally_release(&ends[i]->part);
        tally_release(&ends[i]->plain);
        tally_release(&ends[i]->seen);
    }
    tally_release(&conductor->discarded);
    tally_release(&conductor->before);
    tally_release(&conductor->interval);
    tally_release(&conductor->server_interval);
    flows_release(&conductor->interval_flows);
    tally_release(&conductor->block_plain);
    tally_release(&conductor->block_seen);
    series_release(&conductor->series);
    shared_release(conductor->slots, conductor->worker_count * sizeof *conductor->slots);
    shared_release(conductor->server_slots,
                   conductor->server_slot_count * sizeof *conductor->server_slots);
    shared_release(conductor->shared, sizeof *conductor->shared);
    free(conductor->configs);
    free(conductor->threads);
    free(conductor->dials);
    free(conductor->sources);
    free(conductor->client_ends);
    free(conductor->session_flows);
    free(conductor->server_ends);
}

/* What made a worker end says more than that its process did. */
static void stop_server(struct conductor *conductor, struct err *error)
{
    if (conductor->plan->web_program) {
        web_server_stop(&conductor->web, error);
        return;
    }
    for (uint32_t i = 0; i < conductor->servers.count && conductor->shared; i++) {
        struct err failure = {0};
        server_stop(conductor->servers.pids[i], &conductor->shared->server, &failure);
        if (error->code == ERR_NONE) {
            *error = failure;
        }
    }
    for (uint32_t i = 0; conductor->server_slots && i < conductor->server_slot_count; i++) {
        const struct worker_slot *slot = &conductor->server_slots[i];
        if (atomic_load(&slot->state) == SLOT_ENDED && slot->failure.code != ERR_NONE) {
            *error = slot->failure;
            return;
        }
    }
}

void teardown_run(struct conductor *conductor, struct err *error)
{
    *error = (struct err){0};
    if (conductor->shared) {
        atomic_store(&conductor->shared->client.phase, RUN_STOP);
    }
    client_stop(conductor, error);
    fill_connecting(conductor);
    struct err server_error = {0};
    stop_server(conductor, &server_error);
    if (error->code == ERR_NONE) {
        *error = server_error;
    }
    uint32_t taken = 0;
    for (uint32_t i = 0; i < conductor->started; i++) {
        taken += conductor->configs[i].dial_count;
    }
    for (uint32_t i = taken; conductor->dials && i < conductor->pair_count; i++) {
        net_end_close(conductor->dials[i].end); /* no worker took it over */
    }
    close_ends(conductor->client_ends, conductor->pair_count);
    close_ends(conductor->server_ends, conductor->pair_count);
    watch_close(conductor->watch);
    conductor->watch = NULL;
    peer_close(conductor);
    security_close(conductor);
    release_memory(conductor);
}
