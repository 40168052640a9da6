#include "cli/workload_command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/interval_line.h"
#include "engine/engine.h"
#include "run/run.h"
#include "run/session.h"
#include "workload/stream.h"

/* Places of the sets that are looked at again. */
enum { SET_WORKLOAD, SET_COURSE, SET_RUN, SET_LOAD };

/* Appends a set, unless it is empty. */
static void add_set(struct opt_set *sets, size_t *count, const char *title, struct row_set rows,
                    void *target)
{
    if (rows.count) {
        sets[(*count)++] = (struct opt_set){
            .title = title, .rows = rows.rows, .count = rows.count, .target = target};
    }
}

size_t workload_command_sets(const struct workload_form *form, struct workload_command *storage,
                             struct opt_set *sets)
{
    const struct workload *workload = form->workload;
    char *options = storage ? storage->options : NULL;
    struct run_options *run = storage ? &storage->run : NULL;
    size_t count = 0;
    add_set(sets, &count, "Workload", (struct row_set){workload->options, workload->option_count},
            options);
    add_set(sets, &count, "Course", (struct row_set){run_course_rows, RUN_OPTIONS_COURSE}, run);
    add_set(sets, &count, "Connections and engines", form->run, run);
    add_set(sets, &count, "Load", form->load, run);
    add_set(sets, &count, "Sockets", form->sockets, run ? &run->wire : NULL);
    add_set(sets, &count, "TLS", (struct row_set){tls_client_rows, TLS_CLIENT_OPTIONS},
            run ? &run->tls : NULL);
    add_set(sets, &count, "Observation", (struct row_set){watch_rows, WATCH_OPTIONS},
            run ? &run->watch : NULL);
    add_set(sets, &count, "Probes", (struct row_set){probe_option_rows, PROBE_OPTIONS},
            run ? &run->watch.probe : NULL);
    add_set(sets, &count, "Sonde's own server", form->server,
            options ? options + form->server_offset : NULL);
    if (form->payload_bytes) {
        add_set(sets, &count, "Another web server",
                (struct row_set){web_server_rows, WEB_SERVER_OPTIONS},
                storage ? &storage->web_server : NULL);
    }
    if (form->during) {
        add_set(sets, &count, "Latency under load", (struct row_set){during_rows, DURING_OPTIONS},
                storage ? &storage->during : NULL);
    }
    if (form->load.count) {
        add_set(sets, &count, "Highest rate", (struct row_set){find_max_rows, FIND_MAX_OPTIONS},
                storage ? &storage->find_max : NULL);
    }
    add_set(sets, &count, "Repetition", (struct row_set){repeat_rows, REPEAT_OPTIONS},
            storage ? &storage->repeat : NULL);
    add_set(sets, &count, "Output", (struct row_set){output_rows, OUTPUT_OPTIONS},
            storage ? &storage->output : NULL);
    add_set(sets, &count, "Live view", (struct row_set){output_live_rows, OUTPUT_LIVE_OPTIONS},
            storage ? &storage->output : NULL);
    add_set(sets, &count, "Figures for other tools",
            (struct row_set){output_measure_rows, OUTPUT_MEASURE_OPTIONS},
            storage ? &storage->output : NULL);
    add_set(sets, &count, "Flame graphs",
            (struct row_set){output_folded_rows, OUTPUT_FOLDED_OPTIONS},
            storage ? &storage->output : NULL);
    return count;
}

static void follow(void *owner, const struct run_progress *progress)
{
    const struct experiment_turn *turn = owner;
    if (turn->progress && !progress->drain) {
        interval_line_print(turn->progress, progress);
    }
    exports_progress(turn->exports, progress);
}

static void look(void *owner, const struct run_look *seen)
{
    const struct experiment_turn *turn = owner;
    live_look(turn->live, seen);
}

/* A setting as a reader takes it in: "rate 1.00 Gbit/s", "window 64k", "bidir". */
static void note_row(const struct opt *row, const void *target, FILE *out)
{
    const char *member = (const char *)target + row->offset;
    char text[UNITS_TEXT_MAX];
    fputs(row->name, out);
    if (row->print == stream_print_rate) {
        fprintf(out, " %s",
                units_si(text, (double)*(const uint64_t *)(const void *)member * 8, "bit/s"));
    } else if (row->type != OPT_TYPE_BOOL || !*(const bool *)member) {
        fputc(' ', out);
        opt_print_value(row, target, out);
    }
}

/* Rows that the headline has in words of its own, and those of the run that it has not. */
static bool is_noted(const struct opt_set *set, size_t row, bool whole)
{
    const char *name = set->rows[row].name;
    if (strcmp(name, "nodelay") == 0 || strcmp(name, "congestion") == 0) {
        return false;
    }
    return whole || strcmp(name, "server-engine") == 0 || strcmp(name, "server-threads") == 0;
}

/* Settings of the workload, its sockets and its server that were given, for the headline: "write
 * each, high 1". */
static void make_note(const struct opt_set *sets, size_t count, const struct workload_form *form,
                      char *note, size_t size)
{
    FILE *out = fmemopen(note, size, "w");
    if (!out) {
        return;
    }
    bool first = true;
    for (size_t s = 0; s < count; s++) {
        const struct opt_set *set = &sets[s];
        bool whole = s == SET_WORKLOAD || set->rows == form->sockets.rows;
        for (size_t i = 0; i < set->count && (whole || s == SET_RUN); i++) {
            bool headline = s == SET_WORKLOAD && strcmp(set->rows[i].name, "write") == 0;
            if (is_noted(set, i, whole) && (set->given >> i & 1 || headline)) {
                fputs(first ? "" : ", ", out);
                note_row(&set->rows[i], set->target, out);
                first = false;
            }
        }
    }
    fclose(out);
}

static int engine_of(const char *name, const char *option, const struct engine_ops **engine,
                     struct err *error)
{
    char reason[160] = "";
    *engine = engine_find(name);
    if (!*engine) {
        const char *nearest = NULL;
        size_t count = 0;
        while (engine_names[count]) {
            count++;
        }
        nearest = opt_nearest(name, engine_names, count);
        err_set(error, ERR_USAGE, option, "\"%s\" is no engine", name);
        return nearest ? err_hint(error, "did you mean %s?", nearest)
                       : err_hint(error, "sonde doctor lists the engines");
    }
    if ((*engine)->why_not(reason, sizeof reason) < 0) {
        err_set(error, ERR_UNSUPPORTED, option, "the %s engine cannot serve here: %s", name,
                reason);
        return err_hint(error, "sonde doctor lists the engines that can");
    }
    return 0;
}

/* What the callbacks of the experiment need. */
struct measurement {
    const struct workload_form *form;
    const struct workload *workload;
    struct workload_command *command;
    const struct opt_set *sets;
    size_t set_count;
    struct address address;
    bool given_target;
    const struct session_ops *session; /* of the target; NULL: none */
    const char *session_target;
    char session_note[SESSION_NOTE];
    char note[256];
    struct during *during;    /* NULL: no load beside it */
    struct find_max find_max; /* of command->find_max, if anything is searched for */
};

/* The server's engine, of the client's. */
static const char *server_engine_name(const struct run_options *options,
                                      const struct engine_ops *client)
{
    if (options->server_engine) {
        return options->server_engine;
    }
    return client->flags & ENGINE_NO_KERNEL ? "epoll" : client->name;
}

/* Settings of sockets, where the ends are a pair of files that nobody connects. */
static int check_pair(const struct wire_options *wire, const struct transport_ops *transport,
                      struct err *error)
{
    const struct {
        bool given;
        const char *option;
    } settings[] = {{wire->window_bytes, "--window"},
                    {wire->mss, "--mss"},
                    {wire->dscp_plus_1, "--dscp"},
                    {wire->congestion, "--congestion"}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (settings[i].given && transport->caps & TRANSPORT_PAIRS) {
            return err_set(error, ERR_USAGE, settings[i].option,
                           "has no effect with %s: leave it out", transport->scheme);
        }
    }
    return 0;
}

/* Before the first one runs. Unknown engines are refused where they are used. */
static int check_fit(const struct measurement *measurement, struct err *error)
{
    const struct workload *workload = measurement->workload;
    const struct run_options *options = &measurement->command->run;
    bool given = measurement->given_target;
    const struct session_ops *session = measurement->session;
    const struct transport_ops *transport = given ? measurement->address.transport : &transport_tcp;
    bool web = measurement->command->web_server.program != WEB_SERVER_NONE;
    bool own_server = (!given || measurement->address.own) && !web;
    if (session) {
        transport = session->datagrams ? &transport_udp : &transport_tcp;
        own_server = session->own_server;
    }
    if (check_pair(&options->wire, transport, error) < 0) {
        return -1;
    }
    for (size_t i = 0; workload->fits && i < options->engines.count; i++) {
        const struct engine_ops *client = engine_find(options->engines.items[i]);
        if (!client) {
            continue;
        }
        const struct engine_ops *server = engine_find(server_engine_name(options, client));
        if (workload->fits(measurement->command->options, client, own_server ? server : NULL,
                           transport, error) < 0) {
            return -1;
        }
    }
    return 0;
}

/* One engine of --engine. With --during each has two variants: without and with the load. */
static int execute_engine(void *owner, size_t variant, const struct experiment_turn *turn,
                          struct err *error)
{
    const struct measurement *measurement = owner;
    const struct run_options *options = &measurement->command->run;
    bool several = options->engines.count > 1;
    bool loaded = measurement->during && variant % 2;
    size_t engine = measurement->during ? variant / 2 : variant;
    char label[48];
    struct experiment_turn followed = *turn;
    struct run_plan plan = {
        .workload = measurement->workload,
        .workload_options = measurement->command->options,
        .options = options,
        .target = measurement->given_target && !measurement->session ? &measurement->address : NULL,
        .session = measurement->session,
        .session_target = measurement->session_target,
        .web_program = measurement->command->web_server.program,
        .note = measurement->note,
        .stop_fd = turn->stop_fd,
        .progress = turn->progress || turn->exports ? follow : NULL,
        .look = turn->live ? look : NULL,
        .owner = &followed,
        .fresh = !measurement->during && (several || turn->repetition),
    };
    if (plan.web_program) {
        plan.payload_bytes = measurement->form->payload_bytes(plan.workload_options);
    }
    if (engine_of(options->engines.items[engine], "--engine", &plan.engine, error) < 0) {
        return -1;
    }
    plan.label = plan.engine->name;
    if (engine_of(server_engine_name(options, plan.engine), "--server-engine", &plan.server_engine,
                  error) < 0) {
        return -1;
    }
    if (measurement->during) {
        snprintf(label, sizeof label, "%s%s%s", several ? plan.engine->name : "",
                 several ? " " : "", loaded ? "during" : "idle");
        plan.label = label;
    }
    if (measurement->command->find_max.goal.count) {
        plan.label = measurement->find_max.label;
        plan.skip_ceiling = plan.may_be_overloaded = true;
    }
    if (turn->progress && (several || measurement->during)) {
        fprintf(turn->progress, "%s\n", plan.label);
    }
    exports_begin(turn->exports, plan.label, turn->repetition, turn->discarded);
    int result = measurement->during
                     ? during_execute(measurement->during, engine, loaded, &plan, turn, error)
                     : run_execute(&plan, turn->record, error);
    live_clear(turn->live);
    return result;
}

/* Of streams: users of iperf3 mean the time by -t. */
static void warn_of_threads(const struct run_options *run, struct record *record)
{
    bool one_each = false;
    for (size_t i = 0; i < run->engines.count; i++) {
        const struct engine_ops *engine = engine_find(run->engines.items[i]);
        one_each = one_each || (engine && engine->flags & ENGINE_ONE_CHANNEL);
    }
    if (one_each || run->threads > run->connections) {
        record_add_warning(record, "--threads %lu has no effect%s: %s (the time is --duration, -d)",
                           run->threads, run->engines.count > 1 ? " everywhere" : "",
                           one_each ? "the threads engine has one for each stream"
                                    : "there are no more threads than streams");
    }
}

static const char *why_refused(bool web)
{
    return web ? "this server is not sonde's own" : "this run starts no server";
}

/* Options of a server of sonde's own, which this run does not start. */
static int refuse_given(const struct opt_set *set, bool web, struct err *error)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->given >> i & 1) {
            char name[48];
            snprintf(name, sizeof name, "--%s", set->rows[i].name);
            err_set(error, ERR_USAGE, name, "%s", why_refused(web));
            return web ? -1 : err_hint(error, "say it where the server is started");
        }
    }
    return 0;
}

/* Refuses options that this run has no use for: nobody types them for nothing. */
static int check_given(const struct measurement *measurement, struct err *error)
{
    static const struct {
        size_t offset;
        const char *name;
        bool of_session; /* it has an effect at a session's own server */
        bool of_web;     /* and at another web server */
    } of_server[] = {{offsetof(struct run_options, server_engine), "--server-engine", true, false},
                     {offsetof(struct run_options, server_threads), "--server-threads", true, true},
                     {offsetof(struct run_options, pin), "--pin", false, true}};
    const struct opt_set *sets = measurement->sets;
    const struct session_ops *session = measurement->session;
    bool web = measurement->command->web_server.program != WEB_SERVER_NONE;
    bool own = !web && (!measurement->given_target || (!session && measurement->address.own));
    for (size_t i = 0; i < sizeof of_server / sizeof *of_server && !own; i++) {
        bool heard = (session && session->own_server && of_server[i].of_session) ||
                     (web && of_server[i].of_web);
        if (!heard && opt_given(&sets[SET_RUN], of_server[i].offset)) {
            err_set(error, ERR_USAGE, of_server[i].name, "%s", why_refused(web));
            return web ? -1
                       : err_hint(error,
                                  of_server[i].of_session
                                      ? "say it where the server is started"
                                      : "--cpu pins the client, taskset a server where it is "
                                        "started");
        }
    }
    for (size_t i = 0; i < measurement->set_count; i++) {
        bool of_own = sets[i].rows == measurement->form->server.rows && !own && !session;
        if ((of_own && refuse_given(&sets[i], web, error) < 0) ||
            (sets[i].rows == during_rows && during_check(&sets[i], error) < 0)) {
            return -1;
        }
    }
    return 0;
}

/* Connections that are held have a window, in which they are opened, and no other course. */
static int check_held(const struct measurement *measurement, bool given_warmup, struct err *error)
{
    const struct workload *workload = measurement->workload;
    struct run_options *options = &measurement->command->run;
    char ramp[UNITS_TEXT_MAX];
    if (!workload->ramp_ns) {
        return 0;
    }
    if (options->count || run_rate_most(options) > 0 || options->arrival ||
        (given_warmup && options->warmup_ns)) {
        err_set(error, ERR_USAGE,
                options->count          ? "--count"
                : options->rate > 0     ? "--rate"
                : options->course.count ? "--rate-course"
                : options->arrival      ? "--arrival poisson"
                                        : "--warmup",
                "connections that are held have none");
        return err_hint(error, "they are opened in the window, which begins with --ramp and is "
                               "--duration long");
    }
    options->warmup_ns = 0;
    uint64_t ramp_ns = workload->ramp_ns(measurement->command->options, options->connections);
    if (ramp_ns >= options->duration_ns) {
        units_duration(ramp, (double)ramp_ns);
        err_set(error, ERR_USAGE, "--duration", "opening %lu connections takes %s of it (--ramp)",
                options->connections, ramp);
        return err_hint(error, "a longer --duration, or a shorter --ramp");
    }
    return 0;
}

/* Options that this run makes nothing of. */
static void add_idle_options(void *owner, struct record *record)
{
    const struct measurement *measurement = owner;
    const struct opt_set *sets = measurement->sets;
    const struct run_options *run = &measurement->command->run;
    const struct address *address = &measurement->address;
    bool secure = measurement->given_target && !measurement->session &&
                  address->transport->caps & TRANSPORT_SECURE;
    for (size_t i = 0; i < measurement->set_count && !secure; i++) {
        for (size_t j = 0; sets[i].rows == tls_client_rows && j < sets[i].count; j++) {
            if (sets[i].given >> j & 1) {
                record_add_warning(record,
                                   "--%s has no effect: the target is not spoken with "
                                   "through TLS",
                                   sets[i].rows[j].name);
            }
        }
    }
    if (run_rate_most(run) == 0 && measurement->form->load.count &&
        opt_given(&sets[SET_LOAD], offsetof(struct run_options, arrival))) {
        record_add_warning(record, "--arrival has no effect without --rate");
    }
    if (measurement->session_note[0]) {
        record_add_warning(record, "%s", measurement->session_note);
    }
    if (measurement->form->workload->bulk &&
        opt_given(&sets[SET_COURSE], offsetof(struct run_options, threads))) {
        warn_of_threads(run, record);
    } else if (run->workers * run->threads > run->connections &&
               !measurement->form->workload->bulk) {
        record_add_warning(record, "%lu threads for %lu connections: only %lu run",
                           run->workers * run->threads, run->connections, run->connections);
    }
}

/* An error about a target of which the workload took its own part speaks of all of it. */
static int name_target(const char *given, const char *target, struct err *error)
{
    char scheme[24], whole[48];
    size_t length = strcspn(target, ":");
    const char *plus = strchr(given, '+');
    if (target != given && strcmp(error->subject, target) == 0) {
        snprintf(error->subject, sizeof error->subject, "%s", given);
    } else if (target != given && plus && length < sizeof scheme) {
        snprintf(scheme, sizeof scheme, "%.*s", (int)length, target);
        snprintf(whole, sizeof whole, "%.*s%s", (int)(plus + 1 - given), given, scheme);
        address_error_of(error, scheme, whole);
    }
    return -1;
}

/* An address that was made of a URL of the workload's own is spoken of by that URL. */
static void name_address(const char *given, const char *target, struct address *address)
{
    const char *rest = strstr(given, "://");
    if (target == given || !rest || memchr(given, '+', (size_t)(rest - given))) {
        return;
    }
    int most = (int)sizeof address->text - 1;
    bool whole = strlen(given) <= (size_t)most;
    snprintf(address->text, sizeof address->text, "%.*s%s", whole ? most : most - 3, given,
             whole ? "" : "...");
}

/* The target, if any, and what follows from it: which workload it is. */
static int find_target(struct measurement *measurement, const char *given, bool given_warmup,
                       struct err *error)
{
    const struct workload_form *form = measurement->form;
    struct workload_command *command = measurement->command;
    bool web = command->web_server.program != WEB_SERVER_NONE;
    if (web && given) {
        err_set(error, ERR_USAGE, "--server", "starts the server itself: no URL beside it");
        return err_hint(error, "leave out one of the two");
    }
    const char *asked = web ? "http://127.0.0.1" WEB_SERVER_PATH : given;
    const char *target = asked && form->workload->take_target
                             ? form->workload->take_target(command->options, asked)
                             : asked;
    target = web ? NULL : target; /* of the URL it is the path that counts */
    measurement->workload = form->choose ? form->choose(command->options) : form->workload;
    measurement->given_target = target != NULL;
    measurement->session = target ? session_find(target, &measurement->session_target) : NULL;
    if (measurement->session) {
        if (measurement->workload->own_protocol) {
            err_set(error, ERR_USAGE, target,
                    "%s speaks a protocol of its own from the first "
                    "byte on, and none of sonde's",
                    measurement->workload->operation);
            return err_hint(error, "give it the server's own URL");
        }
        bool datagrams = measurement->session->datagrams && form->datagrams;
        measurement->workload = datagrams ? form->datagrams : measurement->workload;
    } else if (target) {
        if (address_parse_among(target, 0, form->further, &measurement->address, error) < 0) {
            return name_target(given, target, error);
        }
        name_address(given, target, &measurement->address);
        bool datagrams = measurement->address.transport->caps & TRANSPORT_DATAGRAMS;
        measurement->workload =
            datagrams && form->datagrams ? form->datagrams : measurement->workload;
    }
    const struct workload *workload = measurement->workload;
    if ((target && !measurement->session &&
         workload_check_transport(workload, &measurement->address, error) < 0) ||
        (workload->check &&
         workload->check(command->options, command->run.wire.receive_bytes, error) < 0)) {
        return -1;
    }
    const struct session_ops *session = measurement->session;
    if (session && session->settle &&
        session->settle(workload, command->options, &command->run, given_warmup,
                        measurement->session_note, error) < 0) {
        return -1;
    }
    if (form->adapt) {
        form->adapt(command->options, &command->run);
    }
    return form->check_run ? form->check_run(command->options, &command->run, error) : 0;
}

static void drive_searches(void *owner, struct experiment_course *course)
{
    find_max_drive(&((struct measurement *)owner)->find_max, course);
}

/* Measures and prints, once everything is parsed. */
static int measure(struct measurement *measurement, const struct opt_arguments *arguments, int argc,
                   char **argv, struct err *error)
{
    const struct opt_set *sets = measurement->sets;
    struct workload_command *command = measurement->command;
    size_t engine_count = command->run.engines.count;
    make_note(sets, measurement->set_count, measurement->form, measurement->note,
              sizeof measurement->note);
    if (output_check_folded(&command->output, &command->run.watch.probes, error) < 0) {
        return -1;
    }
    measurement->find_max = (struct find_max){
        .options = &command->find_max,
        .workload = measurement->workload,
        .workload_options = command->options,
        .run = &command->run,
        .repeat = &command->repeat,
        .upper = command->run.rate,
    };
    if (command->find_max.goal.count && find_max_check(&measurement->find_max, error) < 0) {
        return -1;
    }
    bool address = measurement->given_target && !measurement->session;
    const struct during_beside beside = {.options = &command->run,
                                         .target = address ? &measurement->address : NULL,
                                         .session = measurement->session,
                                         .session_target = measurement->session_target,
                                         .runs = engine_count};
    if (command->during.what != DURING_NONE &&
        during_open(&measurement->during, &command->during, &beside, error) < 0) {
        return -1;
    }
    const struct experiment experiment = {
        .operation = measurement->workload->operation,
        .sets = sets,
        .set_count = measurement->set_count,
        .argument_name = "target",
        .arguments = arguments,
        .output = &command->output,
        .repeat = &command->repeat,
        .variants = measurement->during ? 2 * engine_count : engine_count,
        .live = true,
        .execute = execute_engine,
        .drive = command->find_max.goal.count ? drive_searches : NULL,
        .warn = add_idle_options,
        .owner = measurement,
    };
    int result = experiment_run(&experiment, argc, argv, error);
    during_close(measurement->during);
    return result;
}

static struct run_given given_of(const struct opt_set *course)
{
    return (struct run_given){opt_given(course, offsetof(struct run_options, warmup_ns)),
                              opt_given(course, offsetof(struct run_options, duration_ns)),
                              opt_given(course, offsetof(struct run_options, interval_ns))};
}

static int settle_find_max(struct measurement *measurement, struct err *error)
{
    struct workload_command *command = measurement->command;
    struct find_max_given given = {
        .run = given_of(&measurement->sets[SET_COURSE]),
        .during = command->during.what != DURING_NONE,
        .hgrm = command->output.hgrm != NULL,
    };
    for (size_t i = 0; i < measurement->set_count; i++) {
        const struct opt_set *set = &measurement->sets[i];
        if (set->rows == repeat_rows) {
            given.repeat = opt_given(set, offsetof(struct repeat_options, repeat));
            given.warmup_runs = opt_given(set, offsetof(struct repeat_options, warmup_runs));
        }
    }
    return find_max_settle(&command->find_max, &command->run, &command->repeat,
                           measurement->workload, &given, error);
}

int workload_command_run(const struct workload_form *form, int argc, char **argv, struct err *error)
{
    const struct workload *workload = form->workload;
    struct workload_command command = {.options = calloc(1, workload->options_bytes)};
    struct opt_set sets[COMMAND_SETS_MAX];
    struct opt_arguments arguments = {0};
    struct measurement measurement = {.form = form, .command = &command, .sets = sets};
    int result = -1;
    if (!command.options) {
        return err_system(error, ENOMEM, "memory", "cannot start");
    }
    size_t count = measurement.set_count = workload_command_sets(form, &command, sets);
    if (opt_defaults(sets, count, error) == 0 &&
        opt_parse(sets, count, argc, argv, &arguments, error) == 0) {
        bool warmup = opt_given(&sets[SET_COURSE], offsetof(struct run_options, warmup_ns));
        const char *target = arguments.count ? arguments.items[0] : NULL;
        if (arguments.count > 1 || arguments.rest) {
            err_set(error, ERR_USAGE, arguments.rest ? "--" : arguments.items[1],
                    "more than one target");
            err_hint(error, "usage: sonde %s [TARGET] [options]", workload->name);
            opt_hint_loose(&arguments, error);
        } else if (find_target(&measurement, target, warmup, error) == 0 &&
                   check_given(&measurement, error) == 0 && check_fit(&measurement, error) == 0 &&
                   settle_find_max(&measurement, error) == 0 &&
                   check_held(&measurement, warmup, error) == 0 &&
                   run_options_check(&command.run, given_of(&sets[SET_COURSE]),
                                     workload->bulk ? "--bytes" : "--count", error) == 0) {
            result = measure(&measurement, &arguments, argc, argv, error);
        }
        if (result < 0 && error->code == ERR_USAGE && arguments.loose &&
            strcmp(error->subject, arguments.loose_value) == 0) {
            opt_hint_loose(&arguments, error);
        }
    }
    opt_release(sets, count, &arguments);
    free(command.options);
    return result;
}
