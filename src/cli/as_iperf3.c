/* sonde as iperf3: iperf3 3.12's command lines, text and JSON, over sonde's own protocol. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/as.h"
#include "cli/as_iperf3.h"

static int write_pid(const char *path)
{
    FILE *file = fopen(path, "w");
    bool good = file && fprintf(file, "%d", getpid()) > 0;
    if (file && fclose(file)) {
        good = false;
    }
    if (!good) {
        fprintf(stderr, "iperf3: error - unable to write PID file: %s\n", strerror(errno));
    }
    return good ? 0 : 1;
}

/* 0, or the exit status after it has said why. */
static int prepare(const struct as_iperf3_options *options)
{
    if (options->log_file && !freopen(options->log_file, "a", stdout)) {
        fprintf(stderr, "iperf3: parameter error - unable to open log file: %s\n", strerror(errno));
        return 1;
    }
    if (options->affinity) {
        char *rest;
        unsigned long cpu = strtoul(options->affinity, &rest, 10);
        cpu_set_t set;
        CPU_ZERO(&set);
        if (rest == options->affinity || *rest != '\0' || cpu >= CPU_SETSIZE) {
            fprintf(stderr, "iperf3: parameter error - -A: %s is no CPU\n", options->affinity);
            return 1;
        }
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set)) {
            fprintf(stderr, "iperf3: error - unable to set CPU affinity: %s\n", strerror(errno));
            return 1;
        }
    }
    if (options->daemon && daemon(0, 0)) {
        fprintf(stderr, "iperf3: error - unable to become a daemon: %s\n", strerror(errno));
        return 1;
    }
    return options->pid_file ? write_pid(options->pid_file) : 0;
}

static int run(int argc, char **argv, struct err *error)
{
    struct as_iperf3_options options;
    int status = as_iperf3_parse(argc, argv, &options);

    if (status != -1) {
        return status;
    }
    status = prepare(&options);
    if (status) {
        return status;
    }
    status = options.server ? as_iperf3_server(&options, error) : as_iperf3_client(&options, error);
    if (options.pid_file) {
        unlink(options.pid_file);
    }
    return status;
}

const struct as_program as_iperf3 = {
    .name = "iperf3",
    .summary = "bulk throughput, both ends of iperf3 3.12's protocol, text and JSON",
    .run = run,
};
