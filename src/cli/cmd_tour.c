/* sonde tour: three write strategies in half a minute's reading: what calls per system call do to
 * the rate, seen from the server's side too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "run/machine.h"
#include "run/run.h"
#include "workload/call.h"

/* One stop of the tour: a workload's options as they would be typed. */
struct stop {
    const char *title;
    const char *arguments[6];
};

static const struct stop stops[] = {
    {"gathered, sent when the loop waits", {"--write", "gather", NULL}},
    {"one send a call, the loop after each", {"--write", "each", NULL}},
    {"queued, flushed by a timer", {"--write", "queue=10ms", NULL}},
};
enum { STOPS = sizeof stops / sizeof *stops };

/* Shared by all stops: short enough for the whole tour to take about ten seconds. */
static const char *const common[] = {"--duration", "2500ms",    "--warmup", "300ms", "--interval",
                                     "500ms",      "--observe", "server",   NULL};

struct tour_command {
    struct run_options run;
    struct call_options call;
    struct output_options output;
};

static size_t run_sets(struct tour_command *tour, struct opt_set *sets)
{
    sets[0] = (struct opt_set){
        .rows = workload_call.options, .count = workload_call.option_count, .target = &tour->call};
    sets[1] =
        (struct opt_set){.rows = run_load_rows, .count = RUN_OPTIONS_LOAD, .target = &tour->run};
    sets[2] =
        (struct opt_set){.rows = run_wire_rows, .count = RUN_OPTIONS_WIRE, .target = &tour->run};
    sets[3] =
        (struct opt_set){.rows = watch_rows, .count = WATCH_OPTIONS, .target = &tour->run.watch};
    sets[4] = (struct opt_set){
        .rows = echo_option_rows, .count = ECHO_OPTIONS, .target = &tour->call.echo};
    sets[5] = (struct opt_set){.rows = wire_rows, .count = WIRE_OPTIONS, .target = &tour->run.wire};
    sets[6] = (struct opt_set){
        .rows = probe_option_rows, .count = PROBE_OPTIONS, .target = &tour->run.watch.probe};
    sets[7] = (struct opt_set){
        .rows = run_course_rows, .count = RUN_OPTIONS_COURSE, .target = &tour->run};
    return 8;
}

static int parse_stop(const struct stop *stop, struct opt_set *sets, size_t count,
                      struct opt_arguments *arguments, struct err *error)
{
    char *argv[24] = {(char *)(uintptr_t) "call"};
    int argc = 1;
    for (size_t i = 0; stop->arguments[i]; i++) {
        argv[argc++] = (char *)(uintptr_t)stop->arguments[i];
    }
    for (size_t i = 0; common[i]; i++) {
        argv[argc++] = (char *)(uintptr_t)common[i];
    }
    return opt_defaults(sets, count, error) < 0 ||
                   opt_parse(sets, count, argc, argv, arguments, error) < 0
               ? -1
               : 0;
}

static int run_stop(const struct stop *stop, struct record *record, int stop_fd, struct err *error)
{
    struct tour_command *tour = calloc(1, sizeof *tour);
    struct opt_set sets[COMMAND_SETS_MAX];
    struct opt_arguments arguments = {0};
    if (!tour) {
        return err_set(error, ERR_SYSTEM, "memory", "cannot start");
    }
    size_t count = run_sets(tour, sets);
    int result = parse_stop(stop, sets, count, &arguments, error);
    if (result == 0) {
        result = run_options_check(&tour->run, (struct run_given){0}, "--count", error);
    }
    if (result == 0) {
        result = workload_call.check(&tour->call, tour->run.wire.receive_bytes, error);
    }
    if (result == 0) {
        struct run_plan plan = {.workload = &workload_call,
                                .workload_options = &tour->call,
                                .options = &tour->run,
                                .engine = &engine_epoll,
                                .server_engine = &engine_epoll,
                                .label = stop->arguments[1],
                                .stop_fd = stop_fd,
                                .skip_ceiling = true};
        result = run_execute(&plan, record, error);
    }
    opt_release(sets, count, &arguments);
    free(tour);
    return result;
}

/* ---- the table ------------------------------------------------------------------------------- */

static const struct record_process *server_of(const struct record_run *run)
{
    for (size_t i = 0; i < run->process_count; i++) {
        if (strcmp(run->processes[i].role, "server") == 0) {
            return &run->processes[i];
        }
    }
    return NULL;
}

/* Calls per second of one system call, or of all where name is NULL. */
static double call_rate(const struct record_calls *calls, const char *name)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < calls->syscall_count; i++) {
        if (!name || strcmp(calls->syscalls[i].name, name) == 0) {
            sum += calls->syscalls[i].calls;
        }
    }
    return calls->window_ns ? (double)sum * 1e9 / (double)calls->window_ns : 0;
}

static void print_row(const struct stop *stop, const struct record_run *run)
{
    char text[6][UNITS_TEXT_MAX];
    const struct record_value *rate = record_find_value(run, "calls_per_second");
    const struct record_value *per_send = record_find_value(run, "calls_per_send");
    const struct record_process *server = server_of(run);
    const struct record_calls *calls = NULL;
    double all = 0;
    if (server) {
        calls = server->kernel_calls.available ? &server->kernel_calls : &server->engine_calls;
        all = call_rate(calls, NULL);
    }
    printf("  %-12s %14s %11s %12s %12s %12s", stop->arguments[1],
           rate && rate->available ? units_count(text[0], rate->value) : "-",
           per_send && per_send->available ? units_count(text[1], per_send->value) : "-",
           calls ? units_count(text[2], call_rate(calls, "recvfrom")) : "-",
           calls ? units_count(text[3], call_rate(calls, "sendto")) : "-",
           calls ? units_count(text[4], all) : "-");
    for (size_t i = 0; i < run->histogram_count; i++) {
        uint64_t median;
        if (strcmp(run->histograms[i].metric->key, "response_time") == 0 &&
            histogram_percentile(run->histograms[i].histogram, 50, &median)) {
            printf(" %11s", units_duration(text[5], (double)median));
        }
    }
    printf("\n");
}

static void print_table(const struct record *record)
{
    printf("\n  %-12s %14s %11s %12s %12s %12s\n", "", "", "", "server", "server", "server all");
    printf("  %-12s %14s %11s %12s %12s %12s %11s\n", "--write", "calls/s", "calls/send",
           "recvfrom/s", "sendto/s", "syscalls/s", "response p50");
    for (size_t i = 0; i < record->run_count && i < STOPS; i++) {
        print_row(&stops[i], &record->runs[i]);
    }
    for (size_t i = 0; i < record->run_count && i < 1; i++) {
        const struct record_run *run = &record->runs[i];
        printf("\nServer's system calls: %s\n",
               run->effect.available || strncmp(run->observation, "none", 4) != 0
                   ? "counted by the kernel (BPF) in half of the time; calls/s come from the "
                     "other half"
                   : "counted by the server itself");
        if (strncmp(run->observation, "none", 4) == 0) {
            printf("Observation: %s\n", run->observation);
        }
    }
    printf("\nEvery call is one byte, answered by one byte, timed and matched one by one; one "
           "TCP\nconnection, at most 20,000 calls in flight. What differs is only when the client "
           "writes:\na call that needs a system call of its own at both ends costs microseconds, a "
           "gathered\none nanoseconds. The queue gathers as well, but its timer lets at most "
           "20,000 calls go\nevery 10 ms: 2,000,000 a second, each after waiting about 10 ms.\n");
    printf("\nThe same with every detail:\n");
    for (size_t i = 0; i < STOPS; i++) {
        printf("  sonde call --write %-11s --observe server   # %s\n", stops[i].arguments[1],
               stops[i].title);
    }
}

static int run(int argc, char **argv, struct err *error)
{
    struct output_options output = {0};
    struct opt_set set = {
        .title = "Output", .rows = output_rows, .count = OUTPUT_OPTIONS, .target = &output};
    struct opt_arguments arguments = {0};
    struct record record;
    if (opt_defaults(&set, 1, error) < 0 || opt_parse(&set, 1, argc, argv, &arguments, error) < 0) {
        opt_release(&set, 1, &arguments);
        return -1;
    }
    if (arguments.count) {
        err_set(error, ERR_USAGE, arguments.items[0], "the tour takes no target");
        opt_release(&set, 1, &arguments);
        return -1;
    }
    int stop_fd = output_stop_file(error);
    if (stop_fd < 0 || record_init(&record, argc, argv, error) < 0) {
        return -1;
    }
    record.complete = true;
    record.operation = workload_call.operation;
    int result = machine_describe(&record, error);
    bool text = output_text(&output);
    if (text) {
        printf("sonde: how the way of writing decides the rate (about %d s)\n", STOPS * 3);
    }
    for (size_t i = 0; i < STOPS && result == 0; i++) {
        if (text && !output.quiet) {
            printf("  %zu/%d  %s ...\n", i + 1, STOPS, stops[i].title);
            fflush(stdout);
        }
        result = run_stop(&stops[i], &record, stop_fd, error);
    }
    if (result < 0) {
        record.failure = *error;
        record.complete = false;
    }
    output_stop_end(&stop_fd);
    if (text) {
        print_table(&record);
    }
    struct err ignored;
    struct output_options files = output;
    int written = 0;
    if (files.json || files.csv) {
        written = output_write_files(&files, &record, result < 0 ? &ignored : error);
    }
    opt_release(&set, 1, &arguments);
    record_release(&record);
    return result < 0 ? -1 : written;
}

static size_t sets(struct opt_set *to)
{
    to[0] = (struct opt_set){.title = "Output", .rows = output_rows, .count = OUTPUT_OPTIONS};
    return 1;
}

const struct command command_tour = {
    .name = "tour",
    .arguments = "[options]",
    .summary = "see it work: three ways to write, one table",
    .details = "Runs short workloads against sonde's own server, observed, and explains them in "
               "one table, with the commands that made each row.",
    .examples = "  sonde tour   # start here\n",
    .sets = sets,
    .run = run,
};
