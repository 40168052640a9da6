/* sonde as ipc-static: the command line, output and exit statuses of the IPC benchmark of the
 * University of Cambridge's operating-system labs (R. N. M. Watson). One transfer and no warm-up;
 * its KByte is 1,024 bytes; usage errors end with EX_USAGE, the others with EX_OSERR. */
#include <inttypes.h>
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

/* False where the program would print its usage. */
static bool parse(int argc, char **argv, struct ipc_static *options)
{
    int letter, mode;
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
            valid = parse_number(optarg, INT64_MAX, &options->buffer);
            break;
        case 'i':
            valid = parse_name(optarg, types, &options->type);
            break;
        case 'p':
            valid = parse_number(optarg, 65535, &options->port);
            break;
        case 'P':
            valid = parse_name(optarg, counter_sets, &options->counters);
            break;
        case 'q':
            options->quiet = true;
            break;
        case 's':
            options->socket_buffers = true;
            break;
        case 't':
            valid = parse_number(optarg, INT64_MAX, &options->total);
            break;
        case 'v':
            options->verbose = true;
            break;
        default:
            valid = false;
        }
    }
    valid = valid && !(options->socket_buffers && options->type == IPC_PIPE) &&
            optind == argc - 1 && parse_name(argv[optind], ipc_mode_names, &mode);
    if (valid) {
        options->mode = (enum ipc_mode)mode;
    }
    return valid;
}

static void print_result(const struct ipc_static *options, const struct ipc_outcome *outcome)
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

/* The counters of both ends together: the sums over the threads' rows of the counters probe. */
static void print_counters(const struct ipc_static *options, const struct record_run *run)
{
    (void)options;
    (void)run;
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
    struct watch_options watch = {.follow = true};
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
    close(plan.stop_fd);
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
        print_result(&options, &outcome);
        if (options.counters >= 0) {
            print_counters(&options, &record.runs[0]);
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
