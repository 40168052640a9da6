/* sonde http */
#include "cli/commands.h"
#include "cli/workload_command.h"
#include "workload/http.h"

static const char *const further[] = {"http://HOST:PORT/PATH", "https://HOST:PORT/PATH", NULL};

static uint64_t payload_bytes(const void *options)
{
    return ((const struct http_options *)options)->size_bytes;
}

static const struct workload_form form = {
    .workload = &workload_http,
    .choose = http_choose,
    .further = further,
    .load = {run_load_rows, RUN_OPTIONS_LOAD},
    .run = {run_wire_rows, RUN_OPTIONS_WIRE_ALONE},
    .sockets = {wire_rows, WIRE_OPTIONS},
    .server = {http_server_rows, HTTP_SERVER_OPTIONS},
    .server_offset = offsetof(struct http_options, server),
    .payload_bytes = payload_bytes,
};

static size_t sets(struct opt_set *to)
{
    return workload_command_sets(&form, NULL, to);
}

static int run(int argc, char **argv, struct err *error)
{
    return workload_command_run(&form, argc, argv, error);
}

const struct command command_http = {
    .name = "http",
    .arguments = "[URL] [options]",
    .summary = "HTTP: requests and downloads, in a closed loop or on a schedule",
    .details =
        "Asks for URL again and again, on --connections that stay (with --no-keep-alive each "
        "request on one of its own), --pipeline requests in flight on each, or on a schedule "
        "(--rate), and reads every answer to its end: an answer that breaks the protocol, is cut "
        "or is not as expected (--expect-status) has failed, is counted with what was wrong, and "
        "enters no latency. The phases are timed apart: making the socket, set-up, TCP connect, "
        "TLS handshake (of connections that were dialed in the window), first byte (from the send "
        "of the request) and download (from there to the last byte). A connection that the server "
        "ends is dialed again. URL is http://HOST:PORT/PATH or, through TLS, "
        "https://HOST:PORT/PATH (or tcp://HOST:PORT, tls://HOST:PORT, unix:PATH, also with http+ "
        "before them); without one, or with http:, https: or unix: alone, sonde starts its own "
        "server in another process on another CPU, which answers with --size bytes; or, with "
        "--server, an installed lighttpd or nginx, which it measures like its own and of which "
        "nothing is left afterwards.",
    .examples =
        "  sonde http http://127.0.0.1:8080/ -c 100   # how many requests a second?\n"
        "  sonde http http://127.0.0.1:8080/ -c 100 --rate 20k   # how long do they take at 20,000 "
        "a second?\n"
        "  sonde http -m 200m -n 100 -c 100 --no-keep-alive -e threads,poll,epoll,uring   # what "
        "does each way of downloading cost?\n"
        "  sonde http --server nginx -c 100   # how fast is nginx here?\n"
        "  sonde http http://127.0.0.1:8080 --urls requests.txt   # a mixture of requests\n"
        "  sonde http https: -c 16 --no-keep-alive --resume   # and with TLS?\n",
    .sets = sets,
    .run = run,
    .measures = true,
};
