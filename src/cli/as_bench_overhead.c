/* sonde as bench-overhead: Haiku's benchmark of ways to do network I/O, over `sonde http`: so many
 * downloads at once, each on a connection of its own into a buffer of its own, by a thread for each
 * and by one loop around poll(). */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/as.h"
#include "cli/output.h"
#include "engine/engine.h"
#include "run/run.h"
#include "workload/http.h"

#define PATH "/testpayload"
#define BUFFER_BYTES (UINT64_C(4096) * 1024)
#define PATIENCE_NS (60 * NS_PER_SECOND) /* without a byte */
#define CONNECTIONS_MOST 100000
#define ITERATIONS_MOST 1000000
#define MIB 1048576.0

struct bench {
    const char *address;
    uint64_t port, iterations, connections;
    struct http_options http;
    struct run_options run;
    struct address target;
};

/* One of the two ways. */
struct way {
    const char *program; /* as it is called there */
    const char *setup;   /* as the table calls it */
    const struct engine_ops *engine;
    /* What is timed as the download: a thread's begins when the request has been sent, a poll()
     * loop's with the first receive that finds something. */
    const char *download;
    bool set_up_connects; /* the set-up of a job ends with the connect, not with a thread's start */
};

static const struct way ways[] = {
    {"overhead_threaded", "Threaded", &engine_threads, "service_time", false},
    {"overhead_async", "`poll()`-based", &engine_poll, "download", true},
};
enum { WAYS = sizeof ways / sizeof *ways };

/* Sums over the jobs, and over the runs, of one way. */
struct sums {
    uint64_t jobs, finished, runs;
    double bytes;
    double socket_ns, set_up_ns, connect_ns, download_ns, speed; /* over finished jobs */
    double run_ns, samples, memory_least, memory_average, memory_peak, virtual_peak; /* over runs */
};

/* ---- what is asked for ----------------------------------------------------------------------- */

static int read_number(const char *subject, const char *text, uint64_t most, uint64_t *value,
                       struct err *error)
{
    if (units_parse_count(text, value) < 0 || *value == 0 || *value > most) {
        err_set(error, ERR_USAGE, subject, "\"%.40s\" is no whole number from 1 to %" PRIu64, text,
                most);
        return err_hint(error, "usage: [ITERATIONS=10] [NO_CONNECTIONS=100] sonde as "
                               "bench-overhead [ADDRESS] [PORT]");
    }
    return 0;
}

static int read_environment(const char *name, uint64_t most, uint64_t *value, struct err *error)
{
    const char *text = getenv(name);
    return text && text[0] ? read_number(name, text, most, value, error) : 0;
}

static int parse(int argc, char **argv, struct bench *bench, struct err *error)
{
    struct in_addr ignored;
    *bench =
        (struct bench){.address = "127.0.0.1", .port = 8000, .iterations = 10, .connections = 100};
    if (argc > 3) {
        err_set(error, ERR_USAGE, argv[3], "is one argument too many");
        return err_hint(error, "usage: sonde as bench-overhead [ADDRESS] [PORT]");
    }
    if (argc > 1) {
        bench->address = argv[1];
    }
    if (inet_pton(AF_INET, bench->address, &ignored) != 1) {
        err_set(error, ERR_USAGE, bench->address, "is no IPv4 address");
        return err_hint(error, "usage: sonde as bench-overhead [ADDRESS] [PORT], such as 127.0.0.1 "
                               "8000");
    }
    return (argc > 2 && read_number(argv[2], argv[2], 65535, &bench->port, error) < 0) ||
                   read_environment("ITERATIONS", ITERATIONS_MOST, &bench->iterations, error) < 0 ||
                   read_environment("NO_CONNECTIONS", CONNECTIONS_MOST, &bench->connections,
                                    error) < 0
               ? -1
               : 0;
}

static int prepare(struct bench *bench, struct err *error)
{
    char url[80];
    struct opt_set usual = {
        .rows = workload_http.options, .count = workload_http.option_count, .target = &bench->http};
    if (opt_defaults(&usual, 1, error) < 0) {
        return -1;
    }
    bench->http.version = HTTP_1_0;
    bench->http.keep_alive = false;
    bench->http.buffer_bytes = BUFFER_BYTES;
    bench->http.timeout_ns = PATIENCE_NS;
    bench->run = (struct run_options){
        .connections = bench->connections,
        .threads = 1,
        .count = bench->connections,
        .duration_ns = NS_PER_SECOND,
        .interval_ns = NS_PER_SECOND,
        .drain_ns = PATIENCE_NS,
        .wire = {.receive_bytes = 64 << 10},
        .connect_timeout_ns = PATIENCE_NS,
        .server_threads = 1,
    };
    snprintf(url, sizeof url, "http://%s:%" PRIu64 PATH, bench->address, bench->port);
    const char *target = workload_http.take_target(&bench->http, url);
    return workload_http.check(&bench->http, bench->run.wire.receive_bytes, error) < 0 ||
                   address_parse(target, false, &bench->target, error) < 0
               ? -1
               : 0;
}

/* ---- what was measured ----------------------------------------------------------------------- */

static const struct histogram *times_of(const struct record_run *run, const char *key)
{
    for (size_t i = 0; i < run->histogram_count; i++) {
        const struct record_histogram *row = &run->histograms[i];
        if (strcmp(row->role, "client") == 0 && strcmp(row->metric->key, key) == 0) {
            return row->histogram;
        }
    }
    return NULL;
}

/* The sum of a phase over the jobs. */
static double sum_of(const struct record_run *run, const char *key)
{
    const struct histogram *times = times_of(run, key);
    return times ? histogram_mean(times) * (double)histogram_count(times) : 0;
}

/* The sum over the jobs of each one's own rate. */
static double speeds_of(const struct record_run *run, const char *key, double bytes_each)
{
    const struct histogram *times = times_of(run, key);
    uint32_t index = 0;
    uint64_t low, high, count;
    double sum = 0;
    while (times && histogram_next(times, &index, &low, &high, &count)) {
        double middle_ns = ((double)low + (double)high) / 2;
        sum += middle_ns > 0 ? bytes_each * 1e9 / middle_ns * (double)count : 0;
    }
    return sum;
}

static double value_of(const struct record_run *run, const char *key)
{
    const struct record_value *value = record_find_value(run, key);
    return value && value->available ? value->value : 0;
}

static void add_run(struct sums *sums, const struct way *way, const struct record_run *run)
{
    double finished = value_of(run, "requests");
    double bytes = value_of(run, "body_bytes") + value_of(run, "header_bytes");
    sums->runs++;
    sums->finished += (uint64_t)finished;
    sums->bytes += bytes;
    sums->socket_ns += sum_of(run, "socket");
    sums->set_up_ns += sum_of(run, "set_up");
    sums->connect_ns += sum_of(run, "connect");
    sums->download_ns += sum_of(run, way->download);
    sums->speed += finished > 0 ? speeds_of(run, way->download, bytes / finished) : 0;
    sums->run_ns += value_of(run, "run_time");
    sums->samples += value_of(run, "memory_samples");
    sums->memory_least += value_of(run, "client_memory_least");
    sums->memory_average += value_of(run, "client_memory_average");
    sums->memory_peak += value_of(run, "client_memory_peak");
    double virtual_peak = value_of(run, "client_virtual_peak");
    sums->virtual_peak = virtual_peak > sums->virtual_peak ? virtual_peak : sums->virtual_peak;
}

/* One iteration, in a process of its own as there. */
static int run_once(const struct bench *bench, const struct way *way, int stop_fd,
                    struct sums *sums, struct err *error)
{
    const struct run_plan plan = {
        .workload = http_choose(&bench->http),
        .workload_options = &bench->http,
        .options = &bench->run,
        .engine = way->engine,
        .server_engine = way->engine,
        .target = &bench->target,
        .label = way->program,
        .stop_fd = stop_fd,
        .fresh = true,
        .skip_ceiling = true,
    };
    struct record record;
    if (record_init(&record, 0, NULL, error) != 0) {
        return -1;
    }
    int result = run_execute(&plan, &record, error);
    const struct record_run *run = record.run_count ? &record.runs[0] : NULL;
    sums->jobs += bench->connections;
    if (result == 0 && run && value_of(run, "requests") != (double)bench->connections) {
        uint64_t failed = bench->connections - (uint64_t)value_of(run, "requests");
        const struct record_error_count *first = run->error_count ? &run->errors[0] : NULL;
        result = err_set(error, ERR_PROTOCOL, bench->http.where.plain,
                         "%" PRIu64 " of %" PRIu64 " downloads failed%s%s%s%s", failed,
                         bench->connections, first ? ": " : "", first ? first->phase : "",
                         first ? ": " : "", first ? first->name : "");
    }
    if (result == 0) {
        add_run(sums, way, run);
    }
    record_release(&record);
    return result;
}

/* ---- the report ------------------------------------------------------------------------------ */

static double us_each(double sum_ns, uint64_t count)
{
    return count ? sum_ns / (double)count / 1e3 : 0;
}

static double set_up_us(const struct way *way, const struct sums *sums)
{
    return us_each(sums->set_up_ns + (way->set_up_connects ? sums->connect_ns : 0), sums->finished);
}

static void print_sums(const struct way *way, const struct sums *sums)
{
    double finished = (double)sums->finished, runs = (double)sums->runs;
    printf("Total job count: %" PRIu64 "\n", sums->jobs);
    printf("Total successful runs: %" PRIu64 "\n", sums->runs);
    printf("Total data fetched: %g MiB\n", sums->bytes / MIB);
    printf("Data fetched per job: %g MiB\n", sums->bytes / MIB / finished);
    printf("Average socket creation time: %g us\n", us_each(sums->socket_ns, sums->finished));
    printf("Average job setup time: %g us\n", set_up_us(way, sums));
    printf("Average time spent receiving data: %g s\n", sums->download_ns / finished / 1e9);
    printf("Average download speed across all jobs: %g MiB/s\n", sums->speed / finished / MIB);
    printf("Average run time: %g s\n", sums->run_ns / runs / 1e9);
    printf("Memory usage statistics (averaged over %" PRIu64 " runs, %.0f samples): "
           "min: %g MiB avg: %g MiB max: %g MiB\n",
           sums->runs, sums->samples, sums->memory_least / runs / MIB,
           sums->memory_average / runs / MIB, sums->memory_peak / runs / MIB);
    printf("Peak virtual memory: %g MiB\n\n", sums->virtual_peak / MIB);
    fflush(stdout);
}

static void print_table(const struct sums *sums)
{
    struct utsname system;
    char setup[256], download[64], run[32], memory[32], socket[32], job[32];
    if (uname(&system) < 0) {
        system = (struct utsname){.sysname = "Linux", .machine = "unknown", .release = "unknown"};
    }
    puts("| Setup | Socket creation time | Job setup time | Download | Run time | Average memory "
         "consumption |\n| --- | --- | --- | --- | --- | --- |");
    for (size_t i = 0; i < WAYS; i++) {
        const struct sums *of = &sums[i];
        double finished = (double)of->finished, runs = (double)of->runs;
        snprintf(setup, sizeof setup, "%s (%.60s, %.60s) %s", system.sysname, system.machine,
                 system.release, ways[i].setup);
        snprintf(socket, sizeof socket, "%g us", us_each(of->socket_ns, of->finished));
        snprintf(job, sizeof job, "%g us", set_up_us(&ways[i], of));
        snprintf(download, sizeof download, "%g s @ %g MiB/s", of->download_ns / finished / 1e9,
                 of->speed / finished / MIB);
        snprintf(run, sizeof run, "%g s", of->run_ns / runs / 1e9);
        snprintf(memory, sizeof memory, "%g MiB", of->memory_average / runs / MIB);
        printf("| %s | %s | %s | %s | %s | %s |\n", setup, socket, job, download, run, memory);
    }
}

static int measure(const struct bench *bench, int stop_fd, struct err *error)
{
    struct sums sums[WAYS] = {{0}};
    bool colours = isatty(STDOUT_FILENO);
    for (size_t i = 0; i < WAYS; i++) {
        printf("%s::%s Running %" PRIu64 " iterations of %s%s\n", colours ? "\033[1m\033[36m" : "",
               colours ? "\033[39m" : "", bench->iterations, ways[i].program,
               colours ? "\033[0m" : "");
        fflush(stdout);
        for (uint64_t k = 0; k < bench->iterations; k++) {
            if (run_once(bench, &ways[i], stop_fd, &sums[i], error) < 0) {
                return -1;
            }
        }
        print_sums(&ways[i], &sums[i]);
    }
    print_table(sums);
    return 0;
}

static int run(int argc, char **argv, struct err *error)
{
    struct bench bench;
    if (parse(argc, argv, &bench, error) < 0 || prepare(&bench, error) < 0) {
        return -1;
    }
    int stop_fd = output_stop_file(error);
    int status = stop_fd < 0 ? -1 : measure(&bench, stop_fd, error);
    output_stop_end(&stop_fd);
    return status;
}

const struct as_program as_bench_overhead = {
    .name = "bench-overhead",
    .summary = "downloads by threads and by poll(), as Haiku's network benchmarks compare them",
    .run = run,
};
