/* sonde as ipc-static: the command line, output and exit statuses of the IPC benchmark of the
 * University of Cambridge's operating-system labs (R. N. M. Watson). One transfer and no warm-up;
 * its KByte is 1,024 bytes; usage errors end with EX_USAGE, the others with EX_OSERR. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/as.h"
#include "cli/output.h"
#include "run/ipc.h"

#define BUFFER_DEFAULT 131072
#define TOTAL_DEFAULT 16777216
#define PORT_DEFAULT 10141

static const char *const types[] = {"pipe", "local", "tcp", NULL};
static const char *const counter_sets[] = {"l1d", "l1i", "l2", "mem", "tlb", "axi", NULL};

struct ipc_static {
    bool bare, quiet, socket_buffers, verbose;
    int64_t buffer, total, port;
    int type, counters; /* indexes; counters -1: none */
    enum ipc_mode mode;
};

static int usage(const char *program)
{
    fprintf(stderr,
            "%s [-Bqsv] [-b buffersize] [-i pipe|local|tcp] [-p tcp_port]\n"
            "\t[-P l1d|l1i|l2|mem|tlb|axi] [-t totalsize] mode\n"
            "\n"
            "Modes (pick one - default 1thread):\n"
            "    1thread                IPC within a single thread\n"
            "    2thread                IPC between two threads in one process\n"
            "    2proc                  IPC between two threads in two different processes\n"
            "\n"
            "Optional flags:\n"
            "    -B                     Run in bare mode: no preparatory activities\n"
            "    -i pipe|local|tcp      Select pipe, local sockets, or TCP (default: pipe)\n"
            "    -p tcp_port            Set TCP port number (default: %d)\n"
            "    -P l1d|l1i|l2|mem|tlb|axi  Enable hardware performance counters\n"
            "    -q                     Just run the benchmark, don't print stuff out\n"
            "    -s                     Set send/receive socket-buffer sizes to buffersize\n"
            "    -v                     Provide a verbose benchmark description\n"
            "    -b buffersize          Specify a buffer size (default: %d)\n"
            "    -t totalsize           Specify total I/O size (default: %d)\n",
            program, PORT_DEFAULT, BUFFER_DEFAULT, TOTAL_DEFAULT);
    return EX_USAGE;
}

/* A whole decimal number from 1 to `most`. */
static bool parse_number(const char *text, int64_t most, int64_t *value)
{
    char *end;
    *value = strtoll(text, &end, 10);
    return *text != '\0' && *end == '\0' && *value > 0 && *value <= most;
}

static bool parse_name(const char *text, const char *const *names, int *index)
{
    for (*index = 0; names[*index]; ++*index) {
        if (strcmp(names[*index], text) == 0) {
            return true;
        }
    }
    return false;
}

/* What was wrong, on standard error before the usage: the program itself prints only that. */
static bool refuse(char **argv, const char *what, const char *value)
{
    fprintf(stderr, "%s: %s%s%s\n", argv[0], what, value ? ": " : "", value ? value : "");
    return false;
}

/* What stands behind the options. */
static bool parse_mode(int argc, char **argv, struct ipc_static *options)
{
    int mode;
    if (options->socket_buffers && options->type == IPC_PIPE) {
        return refuse(argv, "-s sets a socket's buffers: take -i local or -i tcp", NULL);
    }
    if (optind == argc) {
        return argc > 1 ? refuse(argv, "no mode", NULL) : false;
    }
    if (optind != argc - 1) {
        return refuse(argv, "more than a mode", argv[optind + 1]);
    }
    if (!parse_name(argv[optind], ipc_mode_names, &mode)) {
        return refuse(argv, "no mode", argv[optind]);
    }
    options->mode = (enum ipc_mode)mode;
    return true;
}

/* False where the program would print its usage. */
static bool parse(int argc, char **argv, struct ipc_static *options)
{
    int letter;
    bool valid = true;
    *options = (struct ipc_static){
        .buffer = BUFFER_DEFAULT, .total = TOTAL_DEFAULT, .port = PORT_DEFAULT, .counters = -1};
    optind = 0;
    opterr = 1;
    /* "+": as its getopt does, ends at the first argument that is no option. */
    while (valid && (letter = getopt(argc, argv, "+Bb:i:p:P:qst:v")) != -1) {
        switch (letter) {
        case 'B':
            options->bare = true;
            break;
        case 'b':
            valid = parse_number(optarg, INT64_MAX, &options->buffer) ||
                    refuse(argv, "-b takes bytes, above 0 and without a unit", optarg);
            break;
        case 'i':
            valid = parse_name(optarg, types, &options->type) ||
                    refuse(argv, "-i takes pipe, local or tcp", optarg);
            break;
        case 'p':
            valid = parse_number(optarg, 65535, &options->port) ||
                    refuse(argv, "-p takes a port from 1 to 65535", optarg);
            break;
        case 'P':
            valid = parse_name(optarg, counter_sets, &options->counters) ||
                    refuse(argv, "-P takes l1d, l1i, l2, mem, tlb or axi", optarg);
            break;
        case 'q':
            options->quiet = true;
            break;
        case 's':
            options->socket_buffers = true;
            break;
        case 't':
            valid = parse_number(optarg, INT64_MAX, &options->total) ||
                    refuse(argv, "-t takes bytes, above 0 and without a unit", optarg);
            break;
        case 'v':
            options->verbose = true;
            break;
        default:
            valid = false;
        }
    }
    /* getopt has named an unknown option itself. */
    return valid && parse_mode(argc, argv, options);
}

static void print_configuration(const struct ipc_static *options, const struct ipc_outcome *outcome)
{
    uint64_t time_ns = outcome->time_ns;
    if (options->verbose) {
        printf("Benchmark configuration:\n"
               "  buffersize: %" PRId64 "\n  totalsize: %" PRId64 "\n  blockcount: %" PRId64
               "\n  mode: %s\n  ipctype: %s\n  time: %" PRIu64 ".%09" PRIu64 "\n",
               options->buffer, options->total, options->total / options->buffer,
               ipc_mode_names[options->mode], types[options->type], time_ns / NS_PER_SECOND,
               time_ns % NS_PER_SECOND);
    }
}

static void print_rate(const struct ipc_static *options, const struct ipc_outcome *outcome)
{
    printf("%.2f KBytes/sec\n", (double)options->total / 1024 * 1e9 / (double)outcome->time_ns);
}

/* The program's names for the counters of each set, and what the counters probe calls them. */
static const struct counter_pair {
    const char *names[2], *events[2]; /* NULL: the program counts none there */
} counter_pairs[] = {
    {{"L1_DCACHE_ACCESS", "L1_DCACHE_REFILL"}, {"l1d accesses", "l1d refills"}},
    {{NULL, "L1_ICACHE_REFILL"}, {NULL, "l1i refills"}},
    {{"L2_ACCESS", NULL}, {"l2 accesses", NULL}},
    {{"MEM_READ", "MEM_WRITE"}, {"memory reads", "memory writes"}},
    {{"ITLB_REFILL", "DTLB_REFILL"}, {"itlb refills", "dtlb refills"}},
    {{"AXI_READ", "AXI_WRITE"}, {"bus reads", "bus writes"}},
};

/* The sum of an event over the processes of the run; NaN where it is not known for all of them.
 * Events are named "l1d accesses = L1-dcache-loads". */
static double sum_event(const struct record_probe *probe, const char *event)
{
    size_t length = strlen(event), found = 0;
    double sum = 0;
    for (size_t i = 0; probe && i < probe->row_count; i++) {
        const struct record_probe_row *row = &probe->rows[i];
        const char *what = row->scope.what;
        bool same = strncmp(what, event, length) == 0 &&
                    (what[length] == '\0' || strncmp(what + length, " = ", 3) == 0);
        if (same && row->scope.tid == 0 && row->value_count > 0) {
            sum += row->values[0].available ? row->values[0].value : (double)NAN;
            found++;
        }
    }
    return found ? sum : (double)NAN;
}

static void print_count(const char *name, double value)
{
    if (isfinite(value)) {
        printf("  %s: %.0f\n", name, value);
    } else {
        printf("  %s: n/a\n", name);
    }
}

static void print_ratio(const char *name, const char *by, double value)
{
    if (isfinite(value)) {
        printf("  %s/%s: %f\n", name, by, value);
    } else {
        printf("  %s/%s: n/a\n", name, by);
    }
}

/* The counters of the transfer that was counted, which comes after the one that gives the rate. */
static void print_counters(const char *program, const struct ipc_static *options,
                           const struct record_run *run)
{
    const struct record_probe *probe = run->probe_count ? &run->probes[0] : NULL;
    const struct counter_pair *pair = &counter_pairs[options->counters];
    double instructions = sum_event(probe, "instructions"), cycles = sum_event(probe, "cycles");
    if (probe && probe->reason[0] && !(isfinite(instructions) && isfinite(cycles))) {
        fprintf(stderr, "%s: -P %s: %s\n", program, counter_sets[options->counters], probe->reason);
    }
    printf("\n  pmctype: %s\n", counter_sets[options->counters]);
    print_count("INSTR_EXECUTED", instructions);
    print_count("CLOCK_CYCLES", cycles);
    print_ratio("CLOCK_CYCLES", "INSTR_EXECUTED", cycles / instructions);
    for (int i = 0; i < 2; i++) {
        if (pair->names[i]) {
            double count = sum_event(probe, pair->events[i]);
            print_count(pair->names[i], count);
            print_ratio(pair->names[i], "INSTR_EXECUTED", count / instructions);
            print_ratio(pair->names[i], "CLOCK_CYCLES", count / cycles);
        }
    }
    putchar('\n');
}

static int measure(const struct ipc_static *options, struct record *record,
                   struct ipc_outcome *outcome, struct err *error)
{
    struct ipc_options ipc = {
        .transport = (uint32_t)options->type,
        .buffer_bytes = (uint64_t)options->buffer,
        .total_bytes = (uint64_t)options->total,
        .socket_buffers = options->socket_buffers,
        .prepare = !options->bare,
        .port = options->type == IPC_TCP ? (uint64_t)options->port : 0,
        .transfers = 1,
    };
    /* Counting costs something, so it is done in a second transfer. */
    bool counting = options->counters >= 0;
    char *names[] = {(char *)(uintptr_t)probe_counters.name};
    char *sets[] = {(char *)(uintptr_t)(counting ? counter_sets[options->counters] : "")};
    char *whom[] = {(char *)(uintptr_t) "self", (char *)(uintptr_t) "sender"};
    struct watch_options watch = {.follow = true};
    if (counting) {
        ipc.transfers = 2;
        watch.observe = (struct opt_list){.items = whom, .count = 2};
        watch.probes = (struct opt_list){.items = names, .count = 1};
        watch.probe.counters = (struct opt_list){.items = sets, .count = 1};
    }
    struct ipc_plan plan = {
        .mode = options->mode,
        .options = &ipc,
        .watch = &watch,
        .method = &method_copy,
        .label = "ipc-static",
        .stop_fd = output_stop_file(error),
    };
    if (plan.stop_fd < 0 || ipc_check(&ipc, options->mode, error) != 0) {
        return -1;
    }
    int result = ipc_execute(&plan, record, outcome, error);
    output_stop_end(&plan.stop_fd);
    return result;
}

static int run(int argc, char **argv, struct err *error)
{
    struct ipc_static options;
    struct ipc_outcome outcome = {0};
    struct record record;
    struct err failure = {0};
    if (!parse(argc, argv, &options)) {
        return usage(argv[0]);
    }
    if (options.total % options.buffer != 0) {
        fprintf(stderr,
                "%s: FAIL: data size (%" PRId64 ") is not a multiple of buffersize (%" PRId64 ")\n",
                argv[0], options.total, options.buffer);
        return EX_USAGE;
    }
    if (record_init(&record, argc, argv, error) != 0) {
        return -1;
    }
    record.complete = true;
    int status = EX_OK;
    if (measure(&options, &record, &outcome, &failure) != 0) {
        fprintf(stderr, "%s: FAIL: %s: %s%s%s\n", argv[0], failure.subject, failure.what,
                failure.hint[0] ? ": " : "", failure.hint);
        status = EX_OSERR;
    } else if (!options.quiet) {
        print_configuration(&options, &outcome);
        if (options.counters >= 0) {
            print_counters(argv[0], &options, &record.runs[0]);
        }
        print_rate(&options, &outcome);
    }
    record_release(&record);
    return status;
}

const struct as_program as_ipc_static = {
    .name = "ipc-static",
    .summary = "IPC through a pipe or a socket, by buffer size",
    .run = run,
};
