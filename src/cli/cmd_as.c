/* sonde as */
#include <stdio.h>
#include <string.h>

#include "base/opt.h"
#include "cli/as.h"
#include "cli/commands.h"

const struct as_program *const as_programs[] = {
    &as_iperf3, &as_sockperf, &as_ipc_static, &as_wsperf, &as_wsperf_py, &as_bench_overhead, NULL};

const struct as_program *as_find(const char *name)
{
    for (size_t i = 0; as_programs[i]; i++) {
        if (strcmp(as_programs[i]->name, name) == 0) {
            return as_programs[i];
        }
    }
    return NULL;
}

static int unknown(const char *name, struct err *error)
{
    const char *names[32];
    size_t count = 0;
    for (; as_programs[count] && count < sizeof names / sizeof *names; count++) {
        names[count] = as_programs[count]->name;
    }
    const char *nearest = opt_nearest(name, names, count);
    err_set(error, ERR_USAGE, name, "is no program that sonde can stand in for");
    return nearest ? err_hint(error, "did you mean sonde as %s?", nearest)
                   : err_hint(error, "sonde as lists them");
}

static int run(int argc, char **argv, struct err *error)
{
    if (argc < 2) {
        for (size_t i = 0; as_programs[i]; i++) {
            printf("  %-12s %s\n", as_programs[i]->name, as_programs[i]->summary);
        }
        return 0;
    }
    const struct as_program *program = as_find(argv[1]);
    if (!program) {
        return unknown(argv[1], error);
    }
    return program->run(argc - 1, argv + 1, error);
}

const struct command command_as = {
    .name = "as",
    .arguments = "[PROGRAM ARGUMENTS]",
    .summary = "another program's command line and output: iperf3, sockperf, wsperf, ipc-static, "
               "bench-overhead",
    .details =
        "Takes the program's own arguments and prints in its own format, so that scripts "
        "made for it go on working: iperf3 as version 3.12, sockperf as 3.7, "
        "wsperf and its driver wsperf.py, ipc-static, bench-overhead of Haiku's network "
        "benchmarks (ITERATIONS and NO_CONNECTIONS in the environment). Its socket creation is the "
        "socket call (non-blocking at once), its job setup for threads what lies between that "
        "and the connect, with the thread's start, and for poll() that and the connect until it "
        "is established; the download begins, as there, for threads with the end of the send "
        "and for poll() with the first byte; each iteration is a process of its own. An option "
        "that is not supported is "
        "refused by its name. A symbolic "
        "link with the program's name to sonde does "
        "the same. Without a program it lists those that there are.",
    .examples =
        "  sonde as iperf3 -c 127.0.0.1 -t 1 -P 4   # against iperf3 -s, or sonde as iperf3 -s\n"
        "  sonde as sockperf ping-pong -i 127.0.0.1 -m 64 -t 1   # against sockperf server\n"
        "  sonde as wsperf ws://127.0.0.1:9000 4 200000 1000 2000 > results.json\n"
        "  sonde as wsperf --wsuri ws://127.0.0.1:9000 --workers 4 --threads 0 --conns 50000 "
        "--lowmark 250 --highmark 500\n"
        "  sonde as ipc-static -i pipe 2thread   # 274948.53 KBytes/sec, or so\n"
        "  sonde as ipc-static -v -B -i local -s -b 1024 2thread\n"
        "  ITERATIONS=3 NO_CONNECTIONS=20 sonde as bench-overhead 127.0.0.1 8000   # threads "
        "against poll()\n",
    .run = run,
};
