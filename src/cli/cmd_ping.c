/* sonde ping */
#include "cli/commands.h"
#include "cli/workload_command.h"
#include "workload/ping.h"

static const char *const further[] = {"sonde://HOST:PORT", "sonde+udp://HOST:PORT",
                                      "sockperf+udp://HOST[:PORT]", "sockperf+tcp://HOST[:PORT]",
                                      NULL};

/* A message at a time, with nothing to gather: its default engine blocks. */
static const struct workload_form form = {
    .workload = &workload_ping,
    .load = {run_load_rows, RUN_OPTIONS_LOAD},
    .run = {run_blocking_rows, RUN_OPTIONS_WIRE},
    .sockets = {wire_rows, WIRE_OPTIONS},
    .further = further,
    .during = true,
};

static size_t sets(struct opt_set *to)
{
    return workload_command_sets(&form, NULL, to);
}

static int run(int argc, char **argv, struct err *error)
{
    return workload_command_run(&form, argc, argv, error);
}

const struct command command_ping = {
    .name = "ping",
    .arguments = "[TARGET] [options]",
    .summary = "small messages: latency of a round trip, what is lost, the kernel's part in it",
    .details =
        "Sends messages of --size bytes, each of which is answered by one of the same length, and "
        "times every round trip: one message at a time on each connection, or on a schedule "
        "(--rate). TARGET is a server that answers every message (sonde serve udp://HOST:PORT, or "
        "one that echoes a stream: tcp://HOST:PORT, tls://HOST:PORT, unix:PATH), or a sockperf "
        "server "
        "(sockperf+udp://HOST:PORT, sockperf+tcp://HOST:PORT), or another sonde "
        "(sonde://HOST:PORT, sonde+udp://HOST:PORT), whose side is reported too; without one, or "
        "with tcp:, udp:, "
        "unix:, unix-dgram:, local: or pipe: alone, sonde starts its own in another process on "
        "another CPU. Answers to datagrams that are lost, duplicated or out of order are counted "
        "apart; a lost one is in no latency. Loss on one machine is mostly a socket without room: "
        "see --socket-buffer (of both ends) and a lower --rate. Answers that come late raise "
        "--timeout. With --during each engine is measured twice, without "
        "and beside a load: streams along the same path, with ends of their own.",
    .examples =
        "  sonde ping   # how long does a round trip through loopback TCP take?\n"
        "  sonde ping udp: -m 14   # and through UDP, with small messages?\n"
        "  sonde ping udp: --stamps   # where does the time go: stack, wake-up, application?\n"
        "  sonde ping --busy-poll   # what does spinning at both ends save?\n"
        "  sonde ping -e threads,poll,epoll,uring   # what does each kernel interface add?\n"
        "  sonde ping udp: --rate 10k   # latency under a load that does not wait for answers\n"
        "  sonde ping --during stream   # what does bulk on the same path add?\n"
        "  sonde ping sockperf+udp://127.0.0.1:11111   # against a sockperf server\n",
    .sets = sets,
    .run = run,
    .measures = true,
};
