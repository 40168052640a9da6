#include "cli/serve_control.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/rarely.h"
#include "run/control_server.h"

struct serve_control {
    struct control_server *server;
    bool quiet;
    _Atomic uint64_t begun, served, failed, refused, received_bytes, sent_bytes;
    struct rarely reported; /* errors of strangers */
    struct err failure;     /* why it gave up */
};

static const struct metric metrics[] = {
    {"sessions_served", "1", "sessions served", "clients of sonde:// that were served to the end",
     METRIC_VALUE, 0, 0, false},
    {"sessions_failed", "1", "sessions not finished",
     "clients of sonde:// that were being served and did not come to the end", METRIC_VALUE, 0, 0,
     false},
    {"sessions_refused", "1", "clients turned away",
     "who came to a sonde:// address and was not served", METRIC_VALUE, 0, 0, false},
    {"sessions_received_bytes", "bytes", "sessions received",
     "payload that the servers of finished sessions received", METRIC_VALUE, 0, 0, false},
    {"sessions_sent_bytes", "bytes", "sessions sent",
     "payload of streams that the servers of finished sessions sent", METRIC_VALUE, 0, 0, false},
};

static void on_refused(void *owner, const struct err *failure)
{
    struct serve_control *serving = owner;
    char more[RARELY_TEXT];
    atomic_fetch_add(&serving->refused, 1);
    if (rarely(&serving->reported, clock_now_ns(), more)) {
        fprintf(stderr, "sonde: %s: %s%s%s%s\n", failure->subject, failure->what,
                failure->hint[0] ? ": " : "", failure->hint, more);
    }
}

static void print_bytes(FILE *out, const char *did, uint64_t bytes, uint64_t duration_ns)
{
    char count[UNITS_TEXT_MAX], rate[UNITS_TEXT_MAX];
    if (bytes == 0) {
        return;
    }
    fprintf(out, ", %s %s bytes", did, units_count(count, (double)bytes));
    if (duration_ns) {
        double seconds = (double)duration_ns / 1e9;
        fprintf(out, " at %s", units_si(rate, 8 * (double)bytes / seconds, "bit/s"));
    }
}

/* One write, so that lines of several threads stay whole. */
static void on_ended(void *owner, const struct control_session *session)
{
    struct serve_control *serving = owner;
    char line[800] = "", text[UNITS_TEXT_MAX];
    bool finished = session->failure == NULL;
    uint64_t number = atomic_fetch_add(&serving->begun, 1) + 1;
    atomic_fetch_add(finished ? &serving->served : &serving->failed, 1);
    if (finished) {
        atomic_fetch_add(&serving->received_bytes, session->received_bytes);
        atomic_fetch_add(&serving->sent_bytes, session->sent_bytes);
    }
    FILE *out = finished && serving->quiet ? NULL : fmemopen(line, sizeof line - 1, "w");
    if (!out) {
        return;
    }
    fprintf(out, "sonde: session %lu: %s, %s over %s (%s), %u connection%s", number, session->peer,
            session->workload, session->transport, session->engine, session->connections,
            session->connections == 1 ? "" : "s");
    if (session->duration_ns) {
        fprintf(out, ", %s", units_duration(text, (double)session->duration_ns));
    }
    if (finished) {
        print_bytes(out, "received", session->received_bytes, session->duration_ns);
        print_bytes(out, "sent", session->sent_bytes, session->duration_ns);
        if (session->counted) {
            /* "server received" of a run's figures: here there is no other end. */
            const char *word =
                strncmp(session->counted, "server ", 7) ? session->counted : session->counted + 7;
            fprintf(out, ", %s %ss %s", units_count(text, (double)session->count),
                    session->operation, word);
        }
    } else {
        const char *hint = session->failure->hint;
        fprintf(out, ": not finished: %s%s%s", session->failure->what, hint[0] ? ": " : "", hint);
    }
    fputc('\n', out);
    fclose(out);
    fputs(line, stderr);
}

int serve_control_open(struct serve_control **result, const struct serve_control_config *ask,
                       struct address *addresses, uint32_t count, struct err *error)
{
    struct serve_control *serving = *result = calloc(1, sizeof *serving);
    const struct control_server_config config = {
        .secret = ask->secret,
        .connections_most = ask->connections_most,
        .files_most = ask->files_most,
        .failed = ask->failed,
        .refused = on_refused,
        .ended = on_ended,
        .owner = serving,
    };
    if (!serving) {
        return err_system(error, ENOMEM, "memory", "cannot serve");
    }
    serving->quiet = ask->quiet;
    return control_server_open(&serving->server, &config, addresses, count, error);
}

void serve_control_stop(struct serve_control *serving)
{
    if (serving) {
        control_server_close(serving->server, &serving->failure);
        serving->server = NULL;
    }
}

int serve_control_fill(const struct serve_control *serving, struct record_run *run)
{
    const uint64_t values[] = {serving->served, serving->failed, serving->refused,
                               serving->received_bytes, serving->sent_bytes};
    return record_add_counts(run, metrics, values, sizeof metrics / sizeof *metrics);
}

int serve_control_close(struct serve_control *serving, struct err *error)
{
    int result = 0;
    serve_control_stop(serving);
    if (serving && serving->failure.code != ERR_NONE) {
        *error = serving->failure;
        result = -1;
    }
    free(serving);
    return result;
}
