/* sonde as sockperf: sockperf 3.7's command lines and text, over `sonde ping` and `sonde serve`. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/as.h"
#include "cli/as_sockperf.h"
#include "cli/output.h"
#include "cli/serve.h"
#include "engine/engine.h"
#include "run/run.h"
#include "workload/bank.h"

#define LOG_PER_SECOND                                                                             \
    1000000                 /* messages that the full log has room for: more than a core sends     \
                             */
#define MOST_PER_SECOND 1e7 /* more than a core sends */
#define LOG_MOST (UINT64_C(1) << 28)

/* A client while it runs. */
struct client {
    const struct as_sockperf_options *options;
    struct run_options run;
    struct ping_options ping;
    struct ping_log log;
    struct address address;
    uint64_t whole[BANK_COUNTERS];
};

static void write_url(const struct as_sockperf_options *options, const char *prefix, char *url,
                      size_t size)
{
    bool six = strchr(options->ip, ':') != NULL;
    snprintf(url, size, "%s%s://%s%s%s:%llu", prefix, options->tcp ? "tcp" : "udp", six ? "[" : "",
             options->ip, six ? "]" : "", (unsigned long long)options->port);
}

/* Starts per second; 0: each start waits for the answers before. Under load nothing waits for
 * answers: at the most, a schedule that is always behind, whose latencies count from the send. */
static double rate_of(const struct as_sockperf_options *options)
{
    bool most = options->mode == AS_SOCKPERF_UNDER_LOAD && options->per_second == 0;
    return (most ? MOST_PER_SECOND : (double)options->per_second) / (double)options->burst;
}

static int prepare(struct client *client, struct err *error)
{
    const struct as_sockperf_options *options = client->options;
    bool one_way = options->mode == AS_SOCKPERF_THROUGHPUT;
    uint64_t outside_ns = (AS_SOCKPERF_WARMUP_MS + AS_SOCKPERF_COOLDOWN_MS) * NS_PER_MS;
    char url[160];

    client->run = (struct run_options){
        .connections = 1,
        .threads = 1,
        .duration_ns = options->time_s * NS_PER_SECOND - outside_ns,
        .warmup_ns = AS_SOCKPERF_WARMUP_MS * NS_PER_MS,
        .cooldown_ns = AS_SOCKPERF_COOLDOWN_MS * NS_PER_MS,
        .interval_ns = NS_PER_SECOND,
        .drain_ns = 2 * NS_PER_SECOND,
        .rate = rate_of(options),
        .wire =
            {
                .receive_bytes = 64 << 10,
                .nodelay = !options->nagle,
                /* The program spins between messages that have a rate. */
                .busy_poll = options->mode == AS_SOCKPERF_UNDER_LOAD || options->spins,
            },
        .socket_buffer_bytes = options->buffer_bytes,
        .sources = options->client_ip,
        .connect_timeout_ns = 5 * NS_PER_SECOND,
        .server_threads = 1,
    };
    client->ping = (struct ping_options){
        .size_bytes = options->size_bytes,
        .burst = options->burst,
        .timeout_ns = NS_PER_SECOND,
        .format = PING_SOCKPERF,
        .answer_every = one_way ? PING_ANSWER_NONE : options->reply_every,
        .log = options->full_log ? &client->log : NULL,
    };
    if (options->full_log) {
        uint64_t room = (options->time_s + 1) * LOG_PER_SECOND;
        client->log.room = room < LOG_MOST ? room : LOG_MOST;
        client->log.entries = malloc(client->log.room * sizeof *client->log.entries);
        if (!client->log.entries) {
            return err_system(error, ENOMEM, options->full_log, "cannot keep a log");
        }
    }
    write_url(options, "", url, sizeof url);
    return address_parse(url, false, &client->address, error) ||
                   workload_ping.check(&client->ping, client->run.wire.receive_bytes, error)
               ? -1
               : 0;
}

static const struct histogram *round_trips(const struct record_run *run)
{
    for (size_t i = 0; i < run->histogram_count; i++) {
        const struct record_histogram *row = &run->histograms[i];
        if (strcmp(row->role, "client") == 0 && strcmp(row->metric->key, "service_time") == 0) {
            return row->histogram;
        }
    }
    return NULL;
}

static uint64_t value_of(const struct record_run *run, const char *key)
{
    const struct record_value *value = record_find_value(run, key);
    return value && value->available ? (uint64_t)value->value : 0;
}

static int report(const struct client *client, const struct record_run *run, struct err *error)
{
    const struct as_sockperf_options *options = client->options;
    const struct histogram *times = round_trips(run);
    struct histogram *none = times ? NULL : histogram_new();
    if (!times && !none) {
        return err_system(error, ENOMEM, "sockperf", "cannot report");
    }
    const struct as_sockperf_result result = {
        .total_s = (double)(run->wall_ns + client->run.warmup_ns + client->run.cooldown_ns) / 1e9,
        .valid_s = (double)run->window_ns / 1e9,
        .all_sent = client->whole[PING_COUNT_SENT],
        .all_received = client->whole[PING_COUNT_COMPLETED],
        .sent = value_of(run, "messages_sent"),
        .dropped = value_of(run, "messages_lost"),
        .duplicated = value_of(run, "messages_duplicated"),
        .out_of_order = value_of(run, "messages_out_of_order"),
        .round_trip_ns = times ? times : none,
    };
    int status = 0;
    if (options->mode == AS_SOCKPERF_THROUGHPUT) {
        as_sockperf_print_throughput(options, &result, stdout);
    } else {
        as_sockperf_print_latency(options, &result, stdout);
        status =
            options->full_log ? as_sockperf_write_log(options, &result, &client->log, error) : 0;
        if (client->log.missed) {
            fprintf(stderr, "sockperf: %llu messages found no room in the full log\n",
                    (unsigned long long)client->log.missed);
        }
    }
    histogram_free(none);
    return status;
}

static int measure(struct client *client, struct record *record, int stop_fd, struct err *error)
{
    const struct as_sockperf_options *options = client->options;
    struct workload workload = workload_ping;
    if (options->mode == AS_SOCKPERF_THROUGHPUT) {
        workload.operations = PING_COUNT_SENT; /* nothing else happens */
    }
    const struct run_plan plan = {
        .workload = &workload,
        .workload_options = &client->ping,
        .options = &client->run,
        .engine = &engine_threads,
        .server_engine = &engine_threads,
        .target = &client->address,
        .label = "sockperf",
        .stop_fd = stop_fd,
        .whole = client->whole,
        .skip_ceiling = true,
    };
    const struct timespec wait = {.tv_sec = (time_t)options->pre_warmup_wait_s};
    nanosleep(&wait, NULL);
    as_sockperf_print_head(options, stdout);
    printf("sockperf: Starting test...\n");
    fflush(stdout);
    struct err failure = {0};
    run_execute(&plan, record, &failure);
    const struct record_run *run = record->run_count ? &record->runs[0] : NULL;
    bool began = run && run->wall_ns > 0;
    if (began) {
        printf("sockperf: Test end (interrupted by %s)\nsockperf: Test ended\n",
               failure.code == ERR_INTERRUPTED ? "user" : "timer");
    }
    /* Silence of the server is a result here, as it is for the program. */
    bool silent = began && client->whole[PING_COUNT_COMPLETED] == 0;
    int status = began ? report(client, run, error) : 0;
    if (status == 0 && failure.code != ERR_NONE && failure.code != ERR_INTERRUPTED && !silent) {
        fprintf(stderr, "sockperf: ERROR: %s: %s\n", failure.subject, failure.what);
        status = 1;
    }
    return status;
}

int as_sockperf_client(const struct as_sockperf_options *options, struct err *error)
{
    struct client *client = calloc(1, sizeof *client);
    struct record record;
    if (!client || record_init(&record, 0, NULL, error) != 0) {
        free(client);
        return err_system(error, ENOMEM, "sockperf", "cannot start");
    }
    client->options = options;
    int stop_fd = output_stop_file(error);
    int status =
        stop_fd < 0 || prepare(client, error) ? -1 : measure(client, &record, stop_fd, error);
    output_stop_end(&stop_fd);
    record_release(&record);
    free(client->log.entries);
    free(client);
    return status;
}

static void on_listening(void *owner)
{
    as_sockperf_print_head(owner, stdout);
    printf("sockperf: [tid %d] using recvfrom() to block on socket(s)\n", (int)getpid());
    fflush(stdout);
}

static void on_ended(void *owner, const struct record_run *run)
{
    (void)owner;
    printf("sockperf: Test end (interrupted by user)\nsockperf: Test ended\n"
           "sockperf: Total %llu messages received and handled\n",
           (unsigned long long)value_of(run, "server_messages"));
}

int as_sockperf_server(const struct as_sockperf_options *options, struct err *error)
{
    const struct serve_hooks hooks = {
        .listening = on_listening, .ended = on_ended, .owner = (void *)(uintptr_t)options};
    char url[160], name[] = "serve", engine[] = "--engine", threads[] = "threads";
    char spins[] = "--busy-poll";
    char *words[] = {name, url, engine, threads, options->spins ? spins : NULL, NULL};

    write_url(options, "sockperf+", url, sizeof url);
    return serve_run(options->spins ? 5 : 4, words, &hooks, error);
}

static int run(int argc, char **argv, struct err *error)
{
    struct as_sockperf_options options;
    int status = as_sockperf_parse(argc, argv, &options);

    if (status != -1) {
        return status;
    }
    return options.mode == AS_SOCKPERF_SERVER ? as_sockperf_server(&options, error)
                                              : as_sockperf_client(&options, error);
}

const struct as_program as_sockperf = {
    .name = "sockperf",
    .summary = "latency of small messages, both ends of sockperf 3.7's format",
    .run = run,
};
