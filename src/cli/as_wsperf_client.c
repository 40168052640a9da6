/* wsperf itself: handshakes over `sonde ws`, and a result file of each one. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/as_wsperf.h"
#include "cli/output.h"
#include "run/collect.h"
#include "run/limits.h"
#include "run/run.h"
#include "workload/ws.h"

#define GOING_AWAY 1001
/* What the program's own library waits for each of a connect, an upgrade and a close. */
#define PATIENCE_NS (5 * NS_PER_SECOND)

struct prober {
    const struct as_wsperf_options *options;
    FILE *out;
    bool own_file; /* `out` is to be closed */
    struct run_options run;
    struct ws_options ws;
    struct ws_journal *journal; /* shared memory */
    struct address address;
    uint64_t whole[BANK_COUNTERS];
    int64_t epoch_ns; /* what is added to the clock to have the time since the epoch */
};

/* Before any load: a result that cannot be written is worth no run, and what an earlier run left
 * there is not to be taken for this one's. */
static int open_result(struct prober *prober, struct err *error)
{
    const char *path = prober->options->file;
    prober->out = path ? fopen(path, "we") : stdout;
    prober->own_file = path != NULL;
    return prober->out ? 0 : err_system(error, errno, path, "cannot be written");
}

/* The journal and behind it its records. */
static size_t journal_bytes(const struct prober *prober)
{
    return sizeof(struct ws_journal) + prober->options->connections * sizeof(struct ws_record);
}

/* The client may be several processes (provision_run): they write what this one reads. */
static int make_journal(struct prober *prober, struct err *error)
{
    struct ws_journal *journal = shared_memory(journal_bytes(prober), error);
    if (!journal) {
        return -1;
    }
    journal->room = prober->options->connections;
    journal->records = (struct ws_record *)(void *)(journal + 1);
    prober->ws.journal = prober->journal = journal;
    return 0;
}

/* Marks are of all connections; threads, of however many processes, have equal shares of them. */
static int fill_options(struct prober *prober, struct err *error)
{
    const struct as_wsperf_options *options = prober->options;
    uint64_t high = options->high < options->connections ? options->high : options->connections;
    uint64_t threads = options->threads ? options->threads : 1;
    threads = threads < high ? threads : high;
    prober->run = (struct run_options){
        .connections = high,
        .threads = threads,
        .count = options->connections,
        .duration_ns = NS_PER_SECOND,
        .interval_ns = NS_PER_SECOND,
        .drain_ns = PATIENCE_NS + 2 * NS_PER_SECOND,
        .wire = {.receive_bytes = 64 << 10, .nodelay = true},
        .connect_timeout_ns = PATIENCE_NS,
        .dials_on = true,
        .server_threads = 1,
    };
    struct opt_set usual = {
        .rows = workload_ws.options, .count = workload_ws.option_count, .target = &prober->ws};
    if (opt_defaults(&usual, 1, error) < 0) {
        return -1;
    }
    prober->ws.mode = WS_HANDSHAKE;
    prober->ws.low = options->low < high ? options->low : high;
    prober->ws.low_of = high;
    prober->ws.timeout_ns = PATIENCE_NS;
    prober->ws.code = GOING_AWAY;
    prober->ws.until_open = true;
    return 0;
}

static int prepare(struct prober *prober, struct err *error)
{
    const char *uri = prober->options->uri;
    if (fill_options(prober, error) < 0) {
        return -1;
    }
    if (strncasecmp(uri, "ws://", 5) != 0 && strncasecmp(uri, "wss://", 6) != 0) {
        err_set(error, ERR_USAGE, uri, "is no URI of a WebSocket");
        return err_hint(error, "ws://HOST:PORT/PATH");
    }
    const char *target = workload_ws.take_target(&prober->ws, uri);
    return workload_ws.check(&prober->ws, prober->run.wire.receive_bytes, error) < 0 ||
                   address_parse(target, false, &prober->address, error) < 0 ||
                   make_journal(prober, error) < 0 || open_result(prober, error) < 0
               ? -1
               : 0;
}

/* ---- the result ------------------------------------------------------------------------------ */

static uint64_t us_between(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (to_ns - from_ns) / NS_PER_US : 0;
}

/* The phase in which a connection failed lasts until then; those after it are 0. tcp_post_init is
 * TLS: without it the request goes out as soon as TCP is connected. */
static void write_record(const struct ws_record *record, FILE *out)
{
    uint64_t connected_ns = record->connected_ns ? record->connected_ns : record->ended_ns;
    uint64_t opened_ns = record->opened_ns ? record->opened_ns : record->ended_ns;
    fprintf(out,
            "{\"tcp_pre_init\":%" PRIu64 ",\"tcp_post_init\":%" PRIu64 ",\"open\":%" PRIu64
            ",\"close\":%" PRIu64 ",\"failed\":%s}",
            us_between(record->dialed_ns, connected_ns - record->tls_ns),
            record->tls_ns / NS_PER_US, us_between(connected_ns, opened_ns),
            us_between(opened_ns, record->ended_ns), record->closed ? "false" : "true");
}

static int write_result(struct prober *prober, struct err *error)
{
    const struct ws_journal *journal = prober->journal;
    const char *path = prober->options->file ? prober->options->file : "standard output";
    uint64_t count = atomic_load(&journal->dialed);
    uint64_t started_ns = UINT64_MAX, ended_ns = 0;
    count = count < journal->room ? count : journal->room;
    for (uint64_t i = 0; i < count; i++) {
        const struct ws_record *record = &journal->records[i];
        started_ns = record->dialed_ns < started_ns ? record->dialed_ns : started_ns;
        ended_ns = record->ended_ns > ended_ns ? record->ended_ns : ended_ns;
    }
    started_ns = count ? started_ns : clock_now_ns();
    ended_ns = ended_ns > started_ns ? ended_ns : started_ns;
    /* Launching begins with the first connection; going on with it is what counts as resuming. */
    fprintf(prober->out,
            "{\"total_duration\":%" PRIu64 ",\"started\":%" PRId64 ",\"ended\":%" PRId64
            ",\"handshake_throttle_count\":%" PRIu64 ",\"handshake_resume_count\":%" PRIu64
            ",\"connection_stats\":[",
            us_between(started_ns, ended_ns), prober->epoch_ns + (int64_t)started_ns,
            prober->epoch_ns + (int64_t)ended_ns, prober->whole[WS_COUNT_THROTTLED],
            prober->whole[WS_COUNT_RESUMED] + 1);
    for (uint64_t i = 0; i < count; i++) {
        fputs(i ? "," : "", prober->out);
        write_record(&journal->records[i], prober->out);
    }
    fputs("]}\n", prober->out);
    bool failed = ferror(prober->out) || fflush(prober->out) != 0;
    int number = errno;
    if (prober->own_file) {
        failed = fclose(prober->out) != 0 || failed;
        prober->out = NULL;
    }
    return failed ? err_system(error, number, path, "the result cannot be written") : 0;
}

/* ---- the run --------------------------------------------------------------------------------- */

/* "wsperf: ", with the result file: the lines of several of them are told apart by it. */
static void begin_line(const struct as_wsperf_options *options)
{
    fprintf(stderr, "wsperf: %s%s", options->file ? options->file : "", options->file ? ": " : "");
}

/* Why connections failed, on standard error: the result says only that they did. One without a
 * socket was never begun, and is tried again. */
static void tell_errors(const struct as_wsperf_options *options, const struct record_run *run)
{
    for (size_t i = 0; i < run->error_count; i++) {
        const struct record_error_count *row = &run->errors[i];
        bool begun = strcmp(row->phase, bank_phase_name(PHASE_SOCKET)) != 0;
        begin_line(options);
        fprintf(stderr, "%" PRIu64 " %s, %s: %s\n", row->count,
                begun ? "failed" : "times tried again", row->phase, row->name);
    }
}

static int measure(struct prober *prober, struct record *record, int *stop_fd, struct err *error)
{
    const struct run_plan plan = {
        .workload = &workload_ws,
        .workload_options = &prober->ws,
        .options = &prober->run,
        .engine = engine_find("epoll"),
        .server_engine = engine_find("epoll"),
        .target = &prober->address,
        .label = "wsperf",
        .stop_fd = *stop_fd,
        .whole = prober->whole,
        .skip_ceiling = true,
    };
    struct err failure = {0};
    /* Those that are closing have files beyond the most that are in flight. */
    limits_files_raise(prober->options->connections);
    run_execute(&plan, record, &failure);
    uint64_t dialed = atomic_load(&prober->journal->dialed);
    if (dialed == 0) { /* nothing could be begun */
        *error = failure;
        if (error->code == ERR_NONE) {
            err_set(error, ERR_SYSTEM, "wsperf", "no connection was begun");
        }
        return -1;
    }
    if (record->run_count) {
        tell_errors(prober->options, &record->runs[0]);
    }
    /* A file is written to its end, whoever wants to stop; what somebody else has to read may take
     * for ever. */
    if (!prober->own_file || !output_is_file(prober->options->file)) {
        output_stop_end(stop_fd);
    }
    if (write_result(prober, error) < 0) {
        return -1;
    }
    /* Connections that failed are what is measured here; that some were never begun is not. */
    if (dialed < prober->options->connections || failure.code == ERR_INTERRUPTED) {
        bool known = failure.code != ERR_NONE;
        begin_line(prober->options);
        fprintf(stderr, "%s: %s: the result is of %" PRIu64 " connections\n",
                known ? failure.subject : "run", known ? failure.what : "it ended before", dialed);
        return 1;
    }
    return 0;
}

static int64_t epoch_offset_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * (int64_t)NS_PER_SECOND + now.tv_nsec - (int64_t)clock_now_ns();
}

int as_wsperf_client(const struct as_wsperf_options *options, struct err *error)
{
    struct prober *prober = calloc(1, sizeof *prober);
    struct record record;
    if (!prober || record_init(&record, 0, NULL, error) != 0) {
        free(prober);
        return err_system(error, ENOMEM, "wsperf", "cannot start");
    }
    prober->options = options;
    prober->epoch_ns = epoch_offset_ns();
    int stop_fd = output_stop_file(error);
    int status =
        stop_fd < 0 || prepare(prober, error) < 0 ? -1 : measure(prober, &record, &stop_fd, error);
    output_stop_end(&stop_fd);
    record_release(&record);
    if (prober->own_file && prober->out) {
        fclose(prober->out);
    }
    shared_release(prober->journal, journal_bytes(prober));
    free(prober);
    return status;
}
