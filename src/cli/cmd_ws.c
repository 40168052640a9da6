/* sonde ws */
#include "cli/commands.h"
#include "cli/workload_command.h"
#include "workload/ws.h"

/* --low is of each thread, and so compared with the connections that one has. */
static int check_run(const void *member, const struct run_options *run, struct err *error)
{
    const struct ws_options *options = member;
    uint64_t threads = run->workers * run->threads;
    uint64_t most = threads ? (run->connections + threads - 1) / threads : run->connections;
    if (options->low <= (most ? most : 1)) {
        return 0;
    }
    err_set(error, ERR_USAGE, "--low", "%lu is more than the connections of a thread, %lu",
            options->low, most);
    return err_hint(error, "--connections are divided among the threads of all --workers, --low is "
                           "of each thread");
}

static const char *const further[] = {"ws://HOST:PORT/PATH", "wss://HOST:PORT/PATH", NULL};

static const struct workload_form form = {
    .workload = &workload_ws,
    .choose = ws_choose,
    .check_run = check_run,
    .further = further,
    .load = {run_load_rows, RUN_OPTIONS_LOAD},
    .run = {run_wire_rows, RUN_OPTIONS_WIRE_ALONE},
    .sockets = {wire_rows, WIRE_OPTIONS},
    .server = {ws_server_rows, WS_SERVER_OPTIONS},
    .server_offset = offsetof(struct ws_options, server),
};

static size_t sets(struct opt_set *to)
{
    return workload_command_sets(&form, NULL, to);
}

static int run(int argc, char **argv, struct err *error)
{
    return workload_command_run(&form, argc, argv, error);
}

const struct command command_ws = {
    .name = "ws",
    .arguments = "[URL] [options]",
    .summary = "WebSocket: opening and closing handshakes, connections that are held, and messages",
    .details =
        "Opens WebSocket connections, closes each with --code as soon as it is open, and opens "
        "another: --connections are in flight at a time. The phases of each are timed apart: TCP "
        "connect (from making the socket), TLS handshake, upgrade (from the request to the answer "
        "101), held open (from there to this end's close frame) and close (to the answer to it). A "
        "handshake counts once its close frame has been answered, and "
        "then the server is "
        "to end the connection (one that does not within a second is closed from this end). One "
        "that fails is counted with what was wrong and where, and the others go on. With --mode "
        "message the connections are upgraded at the start and stay: messages of --size bytes go "
        "to and fro, --high of them in flight on each, or on a schedule (--rate), and every answer "
        "is checked; --count is divided among the connections (on a schedule whichever is free "
        "takes the next), and with it the upgrade and the close are in the measured time. With "
        "--mode "
        "hold all --connections are opened, evenly over --ramp, which the window begins with, and "
        "held to its end, where each is closed; what is lost meanwhile is counted with what ended "
        "it, is not dialed again, and fails the run; what memory a connection took is said of "
        "1,000 "
        "or more. URL is "
        "ws://HOST:PORT/PATH or, through TLS, wss://HOST:PORT/PATH (or tcp://HOST:PORT, "
        "tls://HOST:PORT, unix:PATH, also with ws+ before them: path /); without one, or with ws:, "
        "wss: or unix: alone, sonde "
        "starts its own server in another process on another CPU.",
    .examples =
        "  sonde ws -c 64   # how many handshakes a second?\n"
        "  sonde ws ws://127.0.0.1:9000/chat -c 500 --low 250 -n 50k --code 1001   # marks\n"
        "  sonde ws --rate 1000   # how long does a handshake take under a given load?\n"
        "  sonde ws wss: -c 64 --resume   # and with TLS, sessions resumed?\n"
        "  sonde ws --mode hold -c 9000 --ramp 3s -d 60s --ping-every 20s   # does it hold them?\n"
        "  sonde ws --mode message -c 100 --high 32   # how many echoes a second?\n"
        "  sonde ws --mode message -m 1k --deflate --payload random   # what does deflate cost?\n",
    .sets = sets,
    .run = run,
    .measures = true,
};
