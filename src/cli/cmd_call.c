/* sonde call */
#include "cli/commands.h"
#include "cli/workload_command.h"
#include "workload/call.h"

static const char *const further[] = {"sonde://HOST:PORT", NULL};

static const struct workload_form form = {
    .workload = &workload_call,
    .load = {run_load_rows, RUN_OPTIONS_LOAD},
    .run = {run_wire_rows, RUN_OPTIONS_WIRE},
    .sockets = {wire_rows, WIRE_OPTIONS},
    .server = {echo_option_rows, ECHO_OPTIONS},
    .further = further,
    .server_offset = offsetof(struct call_options, echo),
};

static size_t sets(struct opt_set *to)
{
    return workload_command_sets(&form, NULL, to);
}

static int run(int argc, char **argv, struct err *error)
{
    return workload_command_run(&form, argc, argv, error);
}

const struct command command_call = {
    .name = "call",
    .arguments = "[TARGET] [options]",
    .summary = "pipelined calls: what each write strategy costs, at both ends",
    .details =
        "Issues calls of --size bytes up to a high-water mark, and times and matches every one. "
        "TARGET is a server that answers every byte (tcp://HOST:PORT, tls://HOST:PORT, unix:PATH); "
        "without one, or "
        "with tcp:, tls:, unix:, local: or pipe: alone, sonde starts its own in another process on "
        "another "
        "CPU.",
    .examples =
        "  sonde call --write each --observe server   # one send a call, and what the server did\n"
        "  sonde call -e threads,poll,epoll,uring -c 64 --high 1   # the engines side by side\n"
        "  sonde call --rate 10k --write each   # open loop: response time against a schedule\n"
        "  sonde call --find-max 'p99 < 5ms'   # how much load it bears below 5 ms\n"
        "  sonde call --rate-course 1k..50k -d 10   # a ramp, asked for and reached\n"
        "  sonde call tls: -c 50 --resume   # through TLS, with its handshakes' times\n"
        "  sonde call tcp://127.0.0.1:7 --json=result.json   # a server of yours\n",
    .sets = sets,
    .run = run,
    .measures = true,
};
