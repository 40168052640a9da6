/* sonde stream */
#include <string.h>

#include "cli/commands.h"
#include "cli/workload_command.h"
#include "workload/stream.h"

static const char *const further[] = {"sonde://HOST:PORT", "sonde+udp://HOST:PORT",
                                      "iperf3://HOST[:PORT]", "iperf3+udp://HOST[:PORT]", NULL};

static void adapt(const void *options, struct run_options *run)
{
    const struct stream_options *stream = options;
    run->connections = stream_connections(stream);
    run->count = stream->total_bytes;
}

const struct workload_form stream_form = {
    .workload = &workload_stream,
    .datagrams = &workload_stream_datagrams,
    .run = {bulk_run_rows, BULK_OPTIONS_WIRE},
    .sockets = {bulk_wire_rows, BULK_OPTIONS},
    .adapt = adapt,
    .further = further,
};

static size_t sets(struct opt_set *to)
{
    return workload_command_sets(&stream_form, NULL, to);
}

/* Options that users of iperf3 have in their fingers. */
static void hint_iperf3(struct err *error)
{
    static const struct {
        const char *option, *hint;
    } known[] = {
        {"-u", "datagrams go to a target: sonde stream udp:"},
        {"-c", "the target needs no option: sonde stream iperf3://HOST, or tcp://HOST:PORT"},
        {"-p", "the port is part of the target: iperf3://HOST:PORT"},
        {"-s", "sonde serve iperf3://"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(error->subject, known[i].option) == 0 &&
            strcmp(error->what, "unknown option") == 0) {
            err_hint(error, "%s; with the options of iperf3: sonde as iperf3", known[i].hint);
        }
    }
}

static int run(int argc, char **argv, struct err *error)
{
    int result = workload_command_run(&stream_form, argc, argv, error);
    if (result < 0 && error->code == ERR_USAGE) {
        hint_iperf3(error);
    }
    return result;
}

const struct command command_stream = {
    .name = "stream",
    .arguments = "[TARGET] [options]",
    .summary = "bulk throughput of one or several streams, at both ends",
    .details =
        "Moves payload in one direction or both and reports what arrived, for each stream and each "
        "interval, with what TCP says of it (retransmits, RTT, congestion window, what held it up) "
        "and the CPU time of both ends for each GiB. Every byte is accounted for: what one end "
        "sent "
        "and the other did not receive is an error. "
        "TARGET is another sonde (sonde://HOST:PORT, sonde+udp://HOST:PORT), whose side is "
        "reported "
        "too, or a server that reads everything (tcp://HOST:PORT, tls://HOST:PORT, unix:PATH; "
        "sonde serve "
        "discard+tcp://HOST:PORT is one); without one, or "
        "with local: or pipe:, sonde starts its own in another process. "
        "iperf3://HOST[:PORT] and iperf3+udp://HOST[:PORT] are servers of iperf3 (iperf3 -s): a "
        "warm-up has whole seconds there, and is left out unless asked for.",
    .examples =
        "  sonde stream   # one stream over TCP on the loopback, for 5 s\n"
        "  sonde stream -P 4 --bidir --congestion cubic   # four each way\n"
        "  sonde stream -e threads,epoll,uring -l 1m   # the engines side by side\n"
        "  sonde stream -n 10g -R   # 10 GiB from the server to the client\n"
        "  sonde stream -Z msg   # without a copy, and whether the kernel copied after all\n"
        "  sonde stream udp: --rate 1G --batch 16   # datagrams: loss, order, jitter\n"
        "  sonde stream iperf3://127.0.0.1 -P 4 -R   # from a real iperf3 -s\n"
        "  sonde stream --rate 1G --window 256k   # paced to 1 Gbit/s, with fixed buffers\n",
    .sets = sets,
    .run = run,
    .measures = true,
};
