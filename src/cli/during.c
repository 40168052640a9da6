#include "cli/during.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/workload_command.h"
#include "engine/engine.h"
#include "run/load.h"
#include "run/session.h"
#include "workload/stream.h"

/* Of the window; below it is said. */
#define COVERED_LEAST 0.9
/* Of the rate that was asked for. */
#define REACHED_LEAST 0.95
#define DURING struct during_options

static const char *const choices[] = {"none", "stream", NULL};

const struct opt during_rows[DURING_OPTIONS] = {
    OPT_CHOICE(DURING, what, .name = "during", .choices = choices, .initial = "none",
               .argument = "LOAD",
               .help = "measure twice: without a load and beside bulk streams along the same path"),
    OPT_COUNT(DURING, streams, .name = "during-streams", .initial = "1", .least = 1, .most = 1024,
              .argument = "N", .help = "streams of the load"),
    OPT_CUSTOM(DURING, rate_bytes, uint64_t, .name = "during-rate", .initial = "0",
               .argument = "RATE", .parse = stream_parse_rate, .print = stream_print_rate,
               .help =
                   "pace each of them: bits per second (1G), or bytes (125MB); 0: as fast as it "
                   "goes"),
    OPT_BOOL(DURING, reverse, .name = "during-reverse",
             .help = "the server sends and the client receives"),
    OPT_TEXT(
        DURING, target, .name = "during-target", .argument = "URL",
        .help =
            "where the load goes: sonde://HOST:PORT, sonde+udp://, or what reads everything, such "
            "as sonde serve discard+tcp:// (default: with sonde:// the "
            "same server, beside sonde's own server another one through the same "
            "transport)"),
};

/* Values of the loaded run. */
static const struct metric metrics[] = {
    {"load_bytes_per_second", "bytes/s", "load throughput",
     "payload that the load beside this run moved in its window, per second", METRIC_VALUE, 0, 0,
     false},
    {"load_added_p50_ns", "ns", "added at p50",
     "median round trip less that of the run without the load in the same round", METRIC_VALUE, 0,
     0, false},
    {"load_added_p99_ns", "ns", "added at p99",
     "99th percentile of the round trips less that of the run without the load in the same round",
     METRIC_VALUE, 0, 0, false},
    {"load_lost_share", "1", "load's share lost",
     "of the load's datagrams, over its own window, which is longer", METRIC_VALUE, 0, 0, false},
};
enum { METRIC_LOAD, METRIC_P50, METRIC_P99, METRIC_LOST, METRIC_ALL };

static const double percentiles[METRIC_LOST] = {[METRIC_P50] = 50, [METRIC_P99] = 99};

/* One run without or with the load. */
struct side {
    bool made;                  /* in this round, and complete */
    size_t run;                 /* its place in the record */
    double values[METRIC_LOST]; /* percentiles; NaN: not known */
};

/* The two runs of one round. */
struct pair {
    struct side idle, loaded;
};

struct during {
    struct workload_command command; /* as `sonde stream` would have it */
    struct opt_set sets[COMMAND_SETS_MAX];
    size_t set_count;
    struct address address;            /* where there is no session */
    const struct session_ops *session; /* of the load; NULL: none */
    const char *session_target;
    struct run_plan plan;
    struct pair *pairs; /* owned */
};

/* ---- the plan -------------------------------------------------------------------------------- */

/* Whether both are the one socket at which a server takes the datagrams of everybody. */
static bool same_socket(const struct address *load, const struct address *target)
{
    return target && !target->own && !load->own && load->transport == target->transport &&
           load->transport->caps & TRANSPORT_DATAGRAMS && load->length == target->length &&
           memcmp(&load->socket_address, &target->socket_address, load->length) == 0;
}

/* What was given, or else the way that the measured run takes itself. */
static int find_target(struct during *during, const char *url, const struct during_beside *beside,
                       struct err *error)
{
    const struct address *target = beside->target;
    char bare[32];
    if (url) {
        during->session = session_find(url, &during->session_target);
    } else if (beside->session && beside->session->own_server) {
        during->session = beside->session;
        during->session_target = beside->session_target;
    } else if (beside->session || (target && !target->own)) {
        err_set(error, ERR_USAGE, "--during",
                "the server is not sonde's own, so that it has to be said where the load goes");
        return err_hint(error, "add --during-target URL, such as sonde://HOST:PORT for a sonde "
                               "serve sonde://HOST:PORT there");
    }
    if (during->session) {
        return 0;
    }
    snprintf(bare, sizeof bare, "%s:", target ? target->transport->scheme : transport_tcp.scheme);
    if (address_parse_among(url ? url : bare, 0, stream_form.further, &during->address, error) <
        0) {
        return -1;
    }
    if (same_socket(&during->address, target)) {
        err_set(error, ERR_USAGE, "--during-target",
                "the load would fill the very socket whose round trips are measured");
        return err_hint(error, "serve sonde:// there, and ping sonde+udp://HOST:PORT");
    }
    return 0;
}

static int settle_load(struct during *during, const struct workload *workload,
                       const struct address *address, struct err *error)
{
    struct stream_options *stream = during->command.options;
    struct run_options *load = &during->command.run;
    char note[SESSION_NOTE];
    if (workload_check_transport(workload, address, error) < 0 ||
        workload->check(stream, load->wire.receive_bytes, error) < 0 ||
        (during->session && during->session->settle &&
         during->session->settle(workload, stream, load, false, note, error) < 0)) {
        return -1;
    }
    stream_form.adapt(stream, load);
    return 0;
}

static int plan_load(struct during *during, const struct during_options *options,
                     const struct run_options *run, struct err *error)
{
    struct stream_options *stream = during->command.options;
    struct run_options *load = &during->command.run;
    const struct session_ops *session = during->session;
    const struct address spoken = {.transport = session && session->datagrams ? &transport_udp
                                                                              : &transport_tcp};
    const struct address *address = session ? &spoken : &during->address;
    bool datagrams = address->transport->caps & TRANSPORT_DATAGRAMS;
    const struct workload *workload = datagrams ? stream_form.datagrams : stream_form.workload;
    struct run_plan *plan = &during->plan;
    char reason[160];
    stream->streams = options->streams;
    stream->rate_bytes = options->rate_bytes;
    stream->reverse = options->reverse;
    load->wire.congestion = run->wire.congestion;
    load->tls = run->tls;
    load->sources = run->sources;
    load->secret = run->secret;
    load->connect_timeout_ns = run->connect_timeout_ns;
    load->pin =
        false; /* the measured ends have their CPUs: where the load runs is the scheduler's */
    if (settle_load(during, workload, address, error) < 0) {
        return -1;
    }
    *plan = (struct run_plan){.workload = workload,
                              .workload_options = stream,
                              .options = load,
                              .target = session ? NULL : &during->address,
                              .session = session,
                              .session_target = during->session_target,
                              .label = "load",
                              .stop_fd = -1};
    plan->engine = plan->server_engine = engine_find(load->engines.items[0]);
    if (!plan->engine || plan->engine->why_not(reason, sizeof reason) < 0) {
        return err_set(error, ERR_UNSUPPORTED, "--during", "the %s engine cannot serve here",
                       load->engines.items[0]);
    }
    return 0;
}

int during_open(struct during **to, const struct during_options *options,
                const struct during_beside *beside, struct err *error)
{
    struct during *during = calloc(1, sizeof *during);
    *to = during;
    if (during) {
        during->pairs = calloc(beside->runs, sizeof *during->pairs);
        during->command.options = calloc(1, stream_form.workload->options_bytes);
    }
    if (!during || !during->pairs || !during->command.options) {
        during_close(during);
        *to = NULL;
        return err_system(error, ENOMEM, "memory", "cannot plan the load");
    }
    during->set_count = workload_command_sets(&stream_form, &during->command, during->sets);
    if (opt_defaults(during->sets, during->set_count, error) < 0 ||
        find_target(during, options->target, beside, error) < 0 ||
        plan_load(during, options, beside->options, error) < 0) {
        during_close(during);
        *to = NULL;
        return -1;
    }
    return 0;
}

void during_close(struct during *during)
{
    if (during) {
        struct opt_arguments none = {0};
        opt_release(during->sets, during->set_count, &none);
        free(during->command.options);
        free(during->pairs);
        free(during);
    }
}

int during_check(const struct opt_set *set, struct err *error)
{
    const struct during_options *options = set->target;
    for (size_t i = 1; i < set->count && options->what == DURING_NONE; i++) {
        if (set->given >> i & 1) {
            char option[40];
            snprintf(option, sizeof option, "--%s", set->rows[i].name);
            err_set(error, ERR_USAGE, option, "there is no load without --during");
            return err_hint(error, "add --during stream");
        }
    }
    return 0;
}

/* ---- the runs -------------------------------------------------------------------------------- */

static int set_value(struct record_run *run, size_t which, double value, const char *reason)
{
    struct record_value *row = record_add_value(run, &metrics[which]);
    if (!row) {
        return -1;
    }
    row->available = isfinite(value);
    row->value = row->available ? value : 0;
    snprintf(row->reason, sizeof row->reason, "%s", row->available ? "" : reason);
    return 0;
}

/* Where it moved less than it was to. */
static void check_rate(const struct during *during, struct record *record,
                       const struct load_figures *figures)
{
    double asked = during->plan.workload->asked(during->plan.workload_options);
    char moved[UNITS_TEXT_MAX], wanted[UNITS_TEXT_MAX], lost[64] = "";
    if (figures->covered > 0 && asked > 0 && figures->rate < REACHED_LEAST * asked) {
        if (figures->lost >= 0.0005) {
            snprintf(lost, sizeof lost, ", and %.1f %% of its datagrams were lost",
                     100 * figures->lost);
        }
        record_add_warning(record, "the load moved %s of the %s that were asked for%s",
                           units_si(moved, 8 * figures->rate, "bit/s"),
                           units_si(wanted, 8 * asked, "bit/s"), lost);
    }
}

static int fill_load(const struct during *during, struct record *record, struct record_run *run,
                     const struct load_figures *figures)
{
    if (figures->covered > 0 && figures->covered < COVERED_LEAST) {
        record_add_warning(record, "the load was measured in only %.0f %% of the window",
                           100 * figures->covered);
    }
    check_rate(during, record, figures);
    for (size_t i = 0; i < figures->process_count; i++) {
        const struct record_process *from = &figures->processes[i];
        struct record_process *process = record_add_process(run, "load", from->pid, from->name);
        if (!process) {
            return -1;
        }
        *process = *from;
        snprintf(process->role, sizeof process->role, "load");
    }
    if (isfinite(figures->lost) && set_value(run, METRIC_LOST, figures->lost, "") < 0) {
        return -1;
    }
    return set_value(run, METRIC_LOAD, figures->covered > 0 ? figures->rate : NAN,
                     "the load did not last");
}

/* Once both runs of a round are there: what the load added. */
static int compare(struct pair *pair, struct record *record)
{
    int result = 0;
    if (pair->idle.made && pair->loaded.made) {
        struct record_run *run = &record->runs[pair->loaded.run];
        for (size_t i = METRIC_P50; i < METRIC_LOST; i++) {
            result |= set_value(run, i, pair->loaded.values[i] - pair->idle.values[i],
                                "too few round trips for this percentile");
        }
        *pair = (struct pair){0};
    }
    return result;
}

static void note(struct side *side, const struct record *record, size_t place)
{
    const struct record_run *run = &record->runs[place];
    *side = (struct side){.made = true, .run = place};
    for (size_t i = METRIC_P50; i < METRIC_LOST; i++) {
        uint64_t value;
        bool known = run->histogram_count &&
                     histogram_percentile(run->histograms[0].histogram, percentiles[i], &value);
        side->values[i] = known ? (double)value : NAN;
    }
}

/* A run that never began, for its error to stand somewhere. */
static int keep_failure(struct record *record, const char *label, const struct err *error)
{
    struct record_run *run = record_add_run(record, label);
    record->complete = false;
    if (run) {
        run->failure = *error;
    }
    return -1;
}

static int execute_loaded(struct during *during, const struct run_plan *plan,
                          const struct experiment_turn *turn, struct err *error)
{
    struct record *record = turn->record;
    size_t place = record->run_count;
    struct load *load;
    struct load_figures figures;
    struct err load_failure = {0};
    if (load_start(&load, &during->plan, turn->stop_fd, error) < 0) {
        return keep_failure(record, plan->label, error);
    }
    struct run_plan own = *plan;
    own.beside_ended = load_ended;
    own.beside = load;
    own.skip_ceiling = true; /* beside a load it would be none */
    int result = run_execute(&own, record, error);
    struct record_run *run = place < record->run_count ? &record->runs[place] : NULL;
    uint64_t from_ns = run ? run->window_start_ns : 0;
    int load_result =
        load_stop(&load, from_ns, from_ns + (run ? run->wall_ns : 0), &figures, &load_failure);
    if (run && run->window_ns && fill_load(during, record, run, &figures) < 0 && result == 0) {
        result = err_system(error, ENOMEM, "memory", "cannot keep the record");
    }
    if (load_result < 0 && (result == 0 || error->code != ERR_INTERRUPTED)) {
        *error = load_failure;
        result = -1;
    }
    if (result == 0 && run && figures.covered > 0 && figures.rate <= 0) {
        result = err_set(error, ERR_SYSTEM, "load", "stood still beside the round trips");
    }
    if (run && result < 0) {
        run->failure = *error;
        run->complete = record->complete = false;
    }
    return result;
}

int during_execute(struct during *during, size_t which, bool loaded, const struct run_plan *plan,
                   const struct experiment_turn *turn, struct err *error)
{
    struct pair *pair = &during->pairs[which];
    size_t place = turn->record->run_count;
    int result =
        loaded ? execute_loaded(during, plan, turn, error) : run_execute(plan, turn->record, error);
    if (result < 0) {
        *pair = (struct pair){0}; /* its other half stays alone */
        return result;
    }
    note(loaded ? &pair->loaded : &pair->idle, turn->record, place);
    if (compare(pair, turn->record) < 0) {
        return err_system(error, ENOMEM, "memory", "cannot keep the record");
    }
    return 0;
}
