#include "run/options.h"

#include "base/clock.h"
#include "engine/engine.h"

static const char *const uring_receive_names[] = {"auto", "multishot", "single", NULL};
static const char *const arrivals[] = {"fixed", "poisson", NULL};

#define RUN struct run_options

const struct opt run_load_rows[RUN_OPTIONS_LOAD] = {
    OPT_COUNT(RUN, connections, .name = "connections", .letter = 'c', .initial = "1", .least = 1,
              .most = 1000000, .argument = "N", .help = "connections in all"),
    OPT_COUNT(RUN, threads, .name = "threads", .letter = 't', .initial = "1", .least = 1,
              .most = 1024, .argument = "N",
              .help = "client threads (the threads engine has one for each connection)"),
    OPT_DURATION(RUN, duration_ns, .name = "duration", .letter = 'd', .initial = "5s",
                 .least = 10 * NS_PER_MS, .most = 366 * 24 * 3600 * NS_PER_SECOND,
                 .argument = "TIME", .help = "length of the measured window"),
    OPT_COUNT(RUN, count, .name = "count", .letter = 'n', .initial = "0", .argument = "N",
              .help = "stop after so many operations instead (0: by --duration)"),
    OPT_RATE(RUN, rate, .name = "rate", .letter = 'r', .initial = "0", .most = 1000000000,
             .argument = "RATE",
             .help = "open loop: start so many operations a second, whatever the answers do "
                     "(0: closed loop)"),
    OPT_CHOICE(RUN, arrival, .name = "arrival", .choices = arrivals, .initial = "fixed",
               .argument = "KIND", .help = "open loop: evenly spaced or random (Poisson) starts"),
    OPT_DURATION(RUN, warmup_ns, .name = "warmup", .letter = 'w', .initial = "500ms",
                 .most = 3600 * NS_PER_SECOND, .argument = "TIME",
                 .help = "run so long first and discard what is measured"),
    OPT_DURATION(RUN, interval_ns, .name = "interval", .letter = 'i', .initial = "1s",
                 .least = 100 * NS_PER_MS, .most = 3600 * NS_PER_SECOND, .argument = "TIME",
                 .help = "report a line for each such stretch"),
    OPT_DURATION(RUN, drain_ns, .name = "drain", .initial = "2s", .most = 60 * NS_PER_SECOND,
                 .argument = "TIME",
                 .help = "wait at most so long for the answers in flight at the end"),
};

const struct opt run_wire_rows[RUN_OPTIONS_WIRE] = {
    OPT_LIST(RUN, engines, .name = "engine", .letter = 'e', .choices = engine_names,
             .initial = "epoll", .argument = "LIST",
             .help = "kernel interface of the client and of sonde's own server; several: a run "
                     "with each"),
    OPT_TEXT(RUN, server_engine, .name = "server-engine", .argument = "NAME",
             .help = "engine of sonde's own server, where it is to differ"),
    OPT_COUNT(RUN, server_threads, .name = "server-threads", .initial = "1", .least = 1,
              .most = 1024, .argument = "N", .help = "threads of sonde's own server"),
    OPT_SIZE(RUN, socket_buffer_bytes, .name = "socket-buffer", .initial = "0", .most = 1 << 30,
             .argument = "SIZE",
             .help = "SO_SNDBUF and SO_RCVBUF of the client's sockets (0: the kernel's default)"),
    OPT_DURATION(RUN, connect_timeout_ns, .name = "connect-timeout", .initial = "5s",
                 .least = NS_PER_MS, .most = 3600 * NS_PER_SECOND, .argument = "TIME",
                 .help = "give up where connections are not established in this time"),
    OPT_TEXT(RUN, sources, .name = "source", .argument = "LIST",
             .help = "source addresses, for more local ports: 127.0.0.2-127.0.0.9"),
    OPT_TEXT(RUN, secret, .name = "secret", .argument = "FILE",
             .help = "prove to sonde://HOST:PORT with the secret in this file who you are, and "
                     "encrypt the control channel (required for other hosts)"),
    OPT_BOOL(RUN, pin, .name = "pin", .initial = "yes",
             .help = "pin sonde's own server and the client's threads to different CPUs (only "
                     "with sonde's own server)"),
};

const struct opt wire_rows[WIRE_OPTIONS] = {
    OPT_SIZE(struct wire_options, receive_bytes, .name = "receive-buffer", .initial = "64k",
             .least = 1, .most = 16 << 20, .argument = "SIZE",
             .help = "most that one receive takes"),
    OPT_CHOICE(struct wire_options, uring_receive, .name = "uring-receive",
               .choices = uring_receive_names, .initial = "auto", .argument = "HOW",
               .help = "uring: receive with one lasting request or one for each"),
    OPT_BOOL(struct wire_options, nodelay, .name = "nodelay", .initial = "yes",
             .help = "TCP_NODELAY on sonde's sockets"),
    OPT_TEXT(struct wire_options, congestion, .name = "congestion", .argument = "NAME",
             .help = "TCP congestion control of the client and of sonde's own server, such as "
                     "cubic (default: the kernel's)"),
};

#define WATCH struct watch_options

const struct opt watch_rows[WATCH_OPTIONS] = {
    OPT_LIST(WATCH, observe, .name = "observe", .letter = 'o', .argument = "WHO",
             .help = "see what the kernel does for self, an end of the run (server, if it is "
                     "sonde's own; of ipc sender or receiver), pid=N or comm=NAME; several "
                     "allowed"),
    OPT_LIST(WATCH, probes, .name = "probe", .argument = "LIST",
             .help = "look with these probes, which take turns (default: syscalls; sonde doctor "
                     "lists them); without --observe at all that sonde itself runs"),
    OPT_BOOL(WATCH, require, .name = "require-observe",
             .help = "fail where observing is not possible"),
    OPT_BOOL(WATCH, follow, .name = "follow", .initial = "yes",
             .help = "observe the children of observed processes too"),
};

int run_options_check(struct run_options *options, bool given_warmup, struct err *error)
{
    if (options->count) {
        if (given_warmup && options->warmup_ns) {
            err_set(error, ERR_USAGE, "--count", "cannot be combined with --warmup");
            return err_hint(error, "a counted run measures its first operation too");
        }
        options->warmup_ns = 0;
    }
    if (options->interval_ns > options->duration_ns && options->count == 0) {
        options->interval_ns = options->duration_ns;
    }
    return 0;
}
