/* sonde serve: the answering end for any client. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/serve.h"
#include "cli/serve_control.h"
#include "cli/serve_iperf3.h"
#include "cli/serve_state.h"
#include "run/collect.h"
#include "run/control_server.h"
#include "run/fill.h"
#include "run/limits.h"
#include "run/machine.h"
#include "run/options.h"
#include "run/security.h"
#include "run/server.h"
#include "workload/call.h"
#include "workload/ping.h"

/* How long a stop waits for answers that are under way. */
#define STOP_NS (2 * NS_PER_SECOND)

enum { SERVE_OPTIONS = 7 };
static const struct opt serve_rows[SERVE_OPTIONS] = {
    OPT_CHOICE(struct serve_options, engine, .name = "engine", .letter = 'e',
               .choices = engine_names, .initial = "epoll", .argument = "NAME",
               .help = "kernel interface"),
    OPT_COUNT(struct serve_options, threads, .name = "threads", .letter = 't', .initial = "1",
              .least = 1, .most = 1024, .argument = "N",
              .help = "threads (the threads engine has one for each connection)"),
    OPT_COUNT(struct serve_options, workers, .name = "workers", .initial = "1", .least = 1,
              .most = PROCESSES_MOST, .argument = "N",
              .help =
                  "processes, with --threads in each (more by themselves where one may not open "
                  "enough files)"),
    OPT_COUNT(struct serve_options, connections_max, .name = "max-connections", .initial = "10000",
              .least = 1, .most = 1000000, .argument = "N",
              .help = "close further connections at once"),
    OPT_DURATION(struct serve_options, duration_ns, .name = "duration", .letter = 'd',
                 .initial = "0", .argument = "TIME",
                 .help = "stop after so long (0: on SIGTERM or Ctrl-C)"),
    OPT_TEXT(struct serve_options, secret, .name = "secret", .argument = "FILE",
             .help = "serve on sonde:// addresses only who proves the secret in this file "
                     "(required where other hosts can reach them)"),
    OPT_BOOL(struct serve_options, quiet, .name = "quiet", .letter = 'q',
             .help = "no line for each session of sonde:// and test of iperf3:// that has come to "
                     "its end"),
};

/* Place of a set that is looked at again. */
enum { SET_TLS = 2 };

static size_t serve_sets(struct serving *serving, struct opt_set *sets)
{
    sets[0] = (struct opt_set){.title = "Serving",
                               .rows = serve_rows,
                               .count = SERVE_OPTIONS,
                               .target = serving ? &serving->options : NULL};
    sets[1] = (struct opt_set){.title = "Sockets",
                               .rows = wire_rows,
                               .count = WIRE_OPTIONS,
                               .target = serving ? &serving->options.wire : NULL};
    sets[SET_TLS] = (struct opt_set){.title = "TLS",
                                     .rows = tls_server_rows,
                                     .count = TLS_SERVER_OPTIONS,
                                     .target = serving ? &serving->options.tls : NULL};
    sets[3] = (struct opt_set){.title = "Answers",
                               .rows = echo_option_rows,
                               .count = ECHO_OPTIONS,
                               .target = serving ? &serving->echo.echo : NULL};
    sets[4] = (struct opt_set){.title = "Messages",
                               .rows = ping_server_rows,
                               .count = PING_SERVER_OPTIONS,
                               .target = serving ? &serving->ping : NULL};
    sets[5] = (struct opt_set){.title = "WebSocket",
                               .rows = ws_server_rows,
                               .count = WS_SERVER_OPTIONS,
                               .target = serving ? &serving->ws.server : NULL};
    sets[6] = (struct opt_set){.title = "HTTP",
                               .rows = http_server_rows,
                               .count = HTTP_SERVER_OPTIONS,
                               .target = serving ? &serving->http.server : NULL};
    sets[7] = (struct opt_set){.title = "Output",
                               .rows = output_rows,
                               .count = OUTPUT_FILE_OPTIONS,
                               .target = serving ? &serving->output : NULL};
    return 8;
}

static size_t sets_for_help(struct opt_set *sets)
{
    return serve_sets(NULL, sets);
}

static void *serve_thread(void *argument)
{
    struct serving *serving = argument;
    if (server_run(&serving->config, &serving->failure) < 0 && serving->failure.code == ERR_NONE) {
        err_set(&serving->failure, ERR_SYSTEM, "serve", "a thread failed");
    }
    atomic_store(&serving->ended, true);
    return NULL;
}

static uint64_t open_connections(const struct serving *serving)
{
    uint64_t open = 0;
    for (uint32_t i = 0; i < serving->slot_count; i++) {
        if (atomic_load(&serving->slots[i].state) == SLOT_READY) {
            open += atomic_load(&serving->slots[i].open);
        }
    }
    return open;
}

/* To the client it looks as if the network had failed. */
static void tell_refused(const struct serving *serving, bool *told)
{
    if (*told || serving->hooks || atomic_load(&serving->control->refused) == 0) {
        return;
    }
    *told = true;
    fprintf(stderr,
            "sonde: --max-connections %" PRIu64
            " reached: further connections are closed at once\n",
            serving->options.connections_max);
}

/* Until a signal, the duration, or a failure; then an orderly end. */
static void serve_until_stopped(struct serving *serving, int stop_fd)
{
    uint64_t end_ns =
        serving->options.duration_ns ? clock_now_ns() + serving->options.duration_ns : UINT64_MAX;
    bool told = false;
    while (!atomic_load(&serving->ended) && clock_now_ns() < end_ns &&
           processes_broken(&serving->processes) < 0) {
        struct timespec look = clock_timespec(100 * NS_PER_MS);
        struct pollfd stop = {.fd = stop_fd, .events = POLLIN};
        tell_refused(serving, &told);
        if (ppoll(&stop, 1, &look, NULL) > 0) {
            struct signalfd_siginfo info; /* taken, so that a second one ends the waiting below */
            (void)!read(stop_fd, &info, sizeof info);
            break;
        }
    }
    serving->rss_bytes = serve_resident(serving);
    atomic_store(&serving->control->phase, RUN_DRAIN);
    uint64_t until_ns = clock_now_ns() + STOP_NS;
    while (open_connections(serving) && clock_now_ns() < until_ns) {
        struct timespec look = clock_timespec(5 * NS_PER_MS);
        struct pollfd stop = {.fd = stop_fd, .events = POLLIN};
        if (ppoll(&stop, 1, &look, NULL) > 0) {
            break;
        }
    }
    atomic_store(&serving->control->phase, RUN_STOP);
}

static int check_limits(struct serving *serving, struct err *error)
{
    const struct serve_options *options = &serving->options;
    bool each = engines[options->engine]->flags & ENGINE_ONE_CHANNEL;
    struct limits_warnings warnings = {.count = 0};
    uint64_t apart; /* in processes of their own */
    if (serve_plan_processes(serving, &apart, error) < 0) {
        return -1;
    }
    const uint64_t here =
        apart ? 0 : options->connections_max + serving->address_count * options->threads;
    const uint64_t others = here + 16 + (uint64_t)serving->iperf3_count * SERVE_IPERF3_FILES;
    struct limits_need need = {
        .files = others + (serving->control_count ? CONTROL_SERVER_FILES : 0),
        .threads = serving->processes.count * (each ? serving->share : options->threads),
    };
    need.files = need.files > apart ? need.files : apart;
    struct err ignored;
    if (serving->control_count && limits_check(&need, &warnings, &ignored) < 0) {
        need.files = others + CONTROL_SERVER_FILES_LEAST; /* it serves fewer clients at a time */
        need.files = need.files > apart ? need.files : apart;
    }
    if (limits_check(&need, &warnings, error) < 0) {
        return err_hint(error, "lower --max-connections, or raise the limit (ulimit -n)");
    }
    uint64_t left = limits_files_left();
    left = left > others ? left - others : 0;
    serving->control_files = left < CONTROL_SERVER_FILES ? (uint32_t)left : CONTROL_SERVER_FILES;
    return 0;
}

static bool all_network(const struct serving *serving)
{
    for (uint32_t i = 0; i < serving->address_count; i++) {
        if (!(serving->addresses[i].transport->caps & TRANSPORT_PORTS)) {
            return false;
        }
    }
    return true;
}

static int open_control(struct serving *serving, struct err *error)
{
    const struct serve_control_config config = {
        .secret = serving->options.secret ? &serving->secret : NULL,
        .connections_most = (uint32_t)serving->options.connections_max,
        .files_most = serving->control_files,
        .failed = &serving->ended,
        .quiet = serving->options.quiet,
    };
    return serving->control_count
               ? serve_control_open(&serving->control_server, &config, serving->controls,
                                    serving->control_count, error)
               : 0;
}

/* What tls:// addresses share. */
static int prepare_tls(struct serving *serving, struct err *error)
{
    for (uint32_t i = 0; i < serving->address_count; i++) {
        if (serving->addresses[i].transport->caps & TRANSPORT_SECURE) {
            serving->secure |= UINT64_C(1) << i;
        }
    }
    return serving->secure ? security_open_server(&serving->tls, &serving->options.tls,
                                                  serving->addresses, serving->address_count, error)
                           : 0;
}

/* Options that would have no effect. */
static int check_tls(const struct serving *serving, const struct opt_set *tls, struct err *error)
{
    char option[64];
    for (uint32_t i = 0; i < serving->address_count; i++) {
        if (serving->addresses[i].transport->caps & TRANSPORT_SECURE) {
            return 0;
        }
    }
    for (size_t i = 0; i < tls->count; i++) {
        if (tls->given >> i & 1) {
            snprintf(option, sizeof option, "--%s", tls->rows[i].name);
            err_set(error, ERR_USAGE, option, "no address speaks TLS");
            return err_hint(error, "write https://, wss:// or tls://HOST:PORT");
        }
    }
    return 0;
}

static int check_engine(const struct engine_ops *engine, struct err *error)
{
    char reason[160] = "";
    if (engine->flags & ENGINE_NO_KERNEL) {
        return err_set(error, ERR_USAGE, "--engine", "null serves nobody");
    }
    if (engine->why_not(reason, sizeof reason) < 0) {
        return err_set(error, ERR_UNSUPPORTED, "--engine", "%s cannot serve here: %s", engine->name,
                       reason);
    }
    return 0;
}

/* The limits of all answers are those of the protocols that have options of their own, too. */
static void share_limits(struct serving *serving)
{
    const struct echo_options *limits = &serving->echo.echo;
    serving->ws.server.idle_timeout_ns = limits->idle_timeout_ns;
    serving->ws.server.memory_bytes = limits->memory_bytes;
    serving->http.server.idle_timeout_ns = limits->idle_timeout_ns;
    serving->http.server.memory_bytes = limits->memory_bytes;
}

static int prepare(struct serving *serving, struct err *error)
{
    const struct serve_options *options = &serving->options;
    const struct engine_ops *engine = engines[options->engine];
    uint32_t threads_each = engine->flags & ENGINE_ONE_CHANNEL ? 1 : (uint32_t)options->threads;
    struct net_tuning tuning = {.nodelay = options->wire.nodelay,
                                .congestion = options->wire.congestion,
                                .busy_poll_us =
                                    options->wire.busy_poll && all_network(serving) ? 50 : 0};
    int *listeners = NULL;
    if (echo_check(&serving->echo.echo, options->wire.receive_bytes, error) < 0 ||
        http_server_check(&serving->http.server, error) < 0 || check_engine(engine, error) < 0 ||
        check_limits(serving, error) < 0 || prepare_tls(serving, error) < 0) {
        return -1;
    }
    uint32_t processes = serving->processes.count, threads = processes * threads_each;
    if (processes == 1 && server_listen(serving->addresses, serving->address_count, threads, false,
                                        SERVER_BACKLOG, &tuning, &listeners, error) < 0) {
        return -1;
    }
    serving->listening = serving->address_count;
    serving->slot_count =
        serving->address_count
            ? processes * server_slots(engine, threads_each, serving->address_count, serving->share)
            : 1; /* of nobody */
    serving->control = shared_memory(sizeof *serving->control, error);
    serving->slots = serving->control
                         ? shared_memory(serving->slot_count * sizeof *serving->slots, error)
                         : NULL;
    share_limits(serving);
    serving->config = (struct server_config){
        .engine = engine,
        .role = serving->service->role,
        .options = serve_options_of(serving),
        .control = serving->control,
        .slots = serving->slots,
        .slot_count = serving->slot_count,
        .threads = threads,
        .listeners = listeners,
        .listener_count = serving->address_count * threads,
        .addresses = serving->addresses,
        .address_count = serving->address_count,
        .connections_max = (uint32_t)options->connections_max,
        .tuning = tuning,
        .receive_bytes = (uint32_t)options->wire.receive_bytes,
        .receive_mode = options->wire.uring_receive,
        .busy_poll = options->wire.busy_poll,
        .tls = serving->tls,
        .secure_addresses = serving->secure,
    };
    if (!serving->slots || serve_start_processes(serving, error) < 0 ||
        open_control(serving, error) < 0) {
        return -1;
    }
    return serving->iperf3_count
               ? serve_iperf3_open(&serving->iperf3_server, serving->iperf3, serving->iperf3_count,
                                   serving->options.quiet, &serving->ended, error)
               : 0;
}

/* Its URL is "tcp" and the rest of it. */
static const char *iperf3_text(const struct address *address)
{
    return address->text + strlen("tcp");
}

static void announce(const struct serving *serving)
{
    if (serving->hooks) {
        serving->hooks->listening(serving->hooks->owner);
        return;
    }
    char processes[32] = "";
    if (serving->processes.count > 1) {
        snprintf(processes, sizeof processes, ", %u processes", serving->processes.count);
    }
    for (uint32_t i = 0; i < serving->address_count; i++) {
        const struct address *address = &serving->addresses[i];
        bool made = serving->secure >> i & 1 && !serving->options.tls.certificate;
        fprintf(stderr, "sonde: serving on %s%s (%s%s%s%s)%s\n", serve_prefix_of(serving, address),
                serve_text_of(serving, address), engines[serving->options.engine]->name, processes,
                made ? ", self-signed certificate" : "",
                serving->pathless >> i & 1 ? ", at every path" : "",
                address_is_loopback(address) ? "" : ": reachable from other hosts");
    }
    for (uint32_t i = 0; i < serving->control_count; i++) {
        fprintf(stderr, "sonde: serving on %s (for sonde's own clients%s)%s\n",
                serving->controls[i].text, serving->options.secret ? ", with a secret" : "",
                address_is_loopback(&serving->controls[i]) ? "" : ": reachable from other hosts");
    }
    for (uint32_t i = 0; i < serving->iperf3_count; i++) {
        const struct address *address = &serving->iperf3[i];
        fprintf(stderr, "sonde: serving on iperf3%s (for clients of iperf3, TCP and UDP)%s\n",
                iperf3_text(address),
                address_is_loopback(address) ? ": this machine only"
                                             : ": reachable from other hosts");
    }
}

/* What was done at each kind of address that there is. */
static int fill_served(const struct serving *serving, struct record_run *run,
                       const struct tally *tally, struct err *error)
{
    const struct service *service = serving->service;
    if (serving->address_count &&
        fill_server(run, service->role, service->metrics, service->metric_count, tally,
                    &serving->processes, error) < 0) {
        return -1;
    }
    if (serving->processes.count > 1) { /* they have ended */
        run->processes[run->process_count - 1].rss_bytes = serving->rss_bytes;
    }
    if ((serving->control_server && serve_control_fill(serving->control_server, run) < 0) ||
        (serving->iperf3_server && serve_iperf3_fill(serving->iperf3_server, run) < 0)) {
        return err_system(error, ENOMEM, "memory", "cannot keep the record");
    }
    return 0;
}

/* The whole time of serving as one run of a record. */
static int print_record(struct serving *serving, const struct opt_set *sets, size_t set_count,
                        uint64_t start_ns, int argc, char **argv, struct err *error)
{
    struct record record;
    struct tally tally;
    if (record_init(&record, argc, argv, error) < 0) {
        return -1;
    }
    int result = tally_init(&tally, serving->slot_count, 0, error);
    struct record_run *run = result ? NULL : record_add_run(&record, "serve");
    if (run) {
        collect(serving->slots, serving->slot_count, &tally);
        tally.window_ns = clock_now_ns() - start_ns;
        record.complete = run->complete = serving->failure.code == ERR_NONE;
        record.failure = run->failure = serving->failure;
        record.operation = "answer";
        snprintf(run->mode, sizeof run->mode, "serving");
        snprintf(run->observation, sizeof run->observation, "none (sonde observe pid=%d)",
                 getpid());
        for (uint32_t i = 0; i < serving->address_count; i++) {
            size_t used = strlen(run->detail);
            snprintf(run->detail + used, sizeof run->detail - used, "%s%s%s", i ? ", " : "",
                     serve_prefix_of(serving, &serving->addresses[i]),
                     serve_text_of(serving, &serving->addresses[i]));
        }
        for (uint32_t i = 0; i < serving->control_count; i++) {
            size_t used = strlen(run->detail);
            snprintf(run->detail + used, sizeof run->detail - used, "%s%s", used ? ", " : "",
                     serving->controls[i].text);
        }
        for (uint32_t i = 0; i < serving->iperf3_count; i++) {
            size_t used = strlen(run->detail);
            snprintf(run->detail + used, sizeof run->detail - used, "%siperf3%s", used ? ", " : "",
                     iperf3_text(&serving->iperf3[i]));
        }
        run->window_ns = run->wall_ns = tally.window_ns;
        uint64_t refused = atomic_load(&serving->control->refused);
        if (refused) {
            record_add_warning(&record,
                               "--max-connections %" PRIu64 " reached: %" PRIu64 " refused",
                               serving->options.connections_max, refused);
        }
        result = fill_served(serving, run, &tally, error);
        if (result == 0 && serving->tls &&
            security_fill(run, "server", !serving->service->role->times_security, serving->slots,
                          serving->slot_count, &run->tls) < 0) {
            result = err_system(error, ENOMEM, "memory", "cannot keep the record");
        }
    }
    if (serving->hooks) {
        if (result == 0) {
            serving->hooks->ended(serving->hooks->owner, run);
        }
    } else {
        result = result ? result : output_options_to_record(sets, set_count, &record, error);
        result = result ? result : machine_describe(&record, error);
        result = result ? result : output_write(&serving->output, &record, error);
    }
    tally_release(&tally);
    record_release(&record);
    return result;
}

static int serve(struct serving *serving, const struct opt_set *sets, size_t set_count, int argc,
                 char **argv, struct err *error)
{
    pthread_t thread;
    int stop_fd = output_check(&serving->output, error) < 0 ? -1 : output_stop_file(error);
    int result = stop_fd < 0 ? -1 : prepare(serving, error);
    uint64_t start_ns = clock_now_ns();
    bool echoes = serving->address_count > 0 && serving->processes.count == 1;
    if (result == 0 && echoes) {
        int failed = pthread_create(&thread, NULL, serve_thread, serving);
        if (failed) {
            result = err_system(error, failed, "serve", "cannot start");
        }
    }
    if (result == 0) {
        announce(serving);
        serve_until_stopped(serving, stop_fd);
        if (echoes) {
            pthread_join(thread, NULL);
        }
        serve_stop_processes(serving);
        serve_control_stop(serving->control_server);
        serve_iperf3_stop(serving->iperf3_server);
        result = print_record(serving, sets, set_count, start_ns, argc, argv, error);
        if (serving->failure.code != ERR_NONE) {
            *error = serving->failure;
            result = -1;
        }
    }
    serve_stop_processes(serving);
    struct err iperf3_error = {0}, control_error = {0};
    if (serve_iperf3_close(serving->iperf3_server, &iperf3_error) < 0 && result == 0) {
        *error = iperf3_error;
        result = -1;
    }
    if (serve_control_close(serving->control_server, &control_error) < 0 && result == 0) {
        *error = control_error;
        result = -1;
    }
    for (uint32_t i = 0; i < serving->listening; i++) {
        address_unlink(&serving->addresses[i]);
    }
    free((void *)(uintptr_t)serving->config.listeners);
    tls_context_close(serving->tls);
    shared_release(serving->slots, serving->slot_count * sizeof *serving->slots);
    shared_release(serving->control, sizeof *serving->control);
    if (stop_fd >= 0) {
        close(stop_fd);
    }
    return result;
}

int serve_run(int argc, char **argv, const struct serve_hooks *hooks, struct err *error)
{
    struct serving *serving = calloc(1, sizeof *serving);
    struct opt_set sets[COMMAND_SETS_MAX];
    struct opt_arguments arguments = {0};
    int result = -1;
    if (!serving) {
        return err_system(error, ENOMEM, "memory", "cannot start");
    }
    serving->hooks = hooks;
    size_t count = serve_sets(serving, sets);
    if (opt_defaults(sets, count, error) == 0 &&
        opt_parse(sets, count, argc, argv, &arguments, error) == 0 &&
        serve_take_addresses(serving, &arguments, error) == 0 &&
        check_tls(serving, &sets[SET_TLS], error) == 0) {
        result = serve(serving, sets, count, argc, argv, error);
    }
    opt_release(sets, count, &arguments);
    tls_secret_clear(&serving->secret);
    free(serving);
    return result;
}

static int run(int argc, char **argv, struct err *error)
{
    return serve_run(argc, argv, NULL, error);
}

const struct command command_serve = {
    .name = "serve",
    .arguments = "LISTEN... [options]",
    .summary = "the answering end: echoes every byte, or answers message by message",
    .details =
        "Listens on each address (tcp://HOST:PORT, tls://HOST:PORT, tcp://:PORT for loopback only, "
        "unix:PATH, "
        "unix:@NAME) and answers every byte until SIGTERM, Ctrl-C or --duration; then says what it "
        "did. At udp://HOST:PORT and unix-dgram:PATH it answers each message with itself, to whom "
        "it came from. ping+tcp://HOST:PORT answers each message of --size bytes with one send; "
        "sockperf+udp://HOST:PORT and sockperf+tcp://HOST:PORT serve sockperf's clients. "
        "discard+tcp://HOST:PORT and discard+unix:PATH read everything and answer nothing. One "
        "process serves one of these kinds, so that its figures are of one thing. On "
        "sonde://HOST:PORT it serves other sondes: each client (sonde call, "
        "ping or stream sonde://HOST:PORT) gets a server of its own with the options that it asks "
        "for, and what that server measured; for sonde+udp://HOST:PORT that one takes its data "
        "through UDP, at a port of its own. A line says of each session who it was and what it "
        "moved. On "
        "iperf3://HOST[:PORT] (iperf3:// alone: port 5201 of the loopback) it serves iperf3's "
        "clients, over TCP and UDP, several at a time, and says in a line what each test moved. At "
        "ws://HOST:PORT (any path; through TLS wss://HOST:PORT; ws+unix:PATH) it is a WebSocket "
        "server for any client: it answers handshakes, echoes messages, answers pings and closes. "
        "At http://HOST:PORT (https://HOST:PORT; http+unix:PATH) it is a web server: of the files "
        "below --root, and of answers that it makes: /bytes/SIZE, /chunked/SIZE, /close/SIZE, "
        "/delay/TIME (and /delay/TIME/bytes/SIZE), /status/CODE.",
    .examples = "  sonde serve tcp://127.0.0.1:7000 unix:/tmp/echo.sock   # two addresses\n"
                "  sonde serve udp://127.0.0.1:7000   # for sonde ping udp://127.0.0.1:7000\n"
                "  sonde serve sockperf+udp://127.0.0.1:11111   # for sockperf ping-pong\n"
                "  sonde serve iperf3://   # for iperf3 -c 127.0.0.1\n"
                "  sonde serve ws://127.0.0.1:9000 -t 2   # for any WebSocket client\n"
                "  sonde serve http://127.0.0.1:8000 --root site   # files, and /bytes/200m\n",
    .sets = sets_for_help,
    .run = run,
};
