#include "cli/workload_command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "engine/engine.h"
#include "run/run.h"
#include "run/session.h"

size_t workload_command_sets(const struct workload *workload, const struct opt *extra,
                             size_t extra_count, size_t extra_offset,
                             struct workload_command *storage, struct opt_set *sets)
{
    char *options = storage ? storage->options : NULL;
    struct run_options *run = storage ? &storage->run : NULL;
    size_t count = 0;
    sets[count++] = (struct opt_set){.title = "Workload",
                                     .rows = workload->options,
                                     .count = workload->option_count,
                                     .target = options};
    sets[count++] = (struct opt_set){
        .title = "Load", .rows = run_load_rows, .count = RUN_OPTIONS_LOAD, .target = run};
    sets[count++] = (struct opt_set){.title = "Connections and engines",
                                     .rows = run_wire_rows,
                                     .count = RUN_OPTIONS_WIRE,
                                     .target = run};
    sets[count++] = (struct opt_set){.title = "Sockets",
                                     .rows = wire_rows,
                                     .count = WIRE_OPTIONS,
                                     .target = run ? &run->wire : NULL};
    sets[count++] = (struct opt_set){.title = "Observation",
                                     .rows = watch_rows,
                                     .count = WATCH_OPTIONS,
                                     .target = run ? &run->watch : NULL};
    sets[count++] = (struct opt_set){.title = "Probes",
                                     .rows = probe_option_rows,
                                     .count = PROBE_OPTIONS,
                                     .target = run ? &run->watch.probe : NULL};
    if (extra_count) {
        sets[count++] = (struct opt_set){.title = "Sonde's own server",
                                         .rows = extra,
                                         .count = extra_count,
                                         .target = options ? options + extra_offset : NULL};
    }
    sets[count++] = (struct opt_set){.title = "Repetition",
                                     .rows = repeat_rows,
                                     .count = REPEAT_OPTIONS,
                                     .target = storage ? &storage->repeat : NULL};
    sets[count++] = (struct opt_set){.title = "Output",
                                     .rows = output_rows,
                                     .count = OUTPUT_OPTIONS,
                                     .target = storage ? &storage->output : NULL};
    return count;
}

/* One line an interval, as it ends. */
static void print_progress(void *owner, const struct run_progress *progress)
{
    const struct workload *workload = progress->workload;
    FILE *out = owner;
    char text[UNITS_TEXT_MAX], text2[UNITS_TEXT_MAX];
    fprintf(out, "%8.2f s", (double)progress->end_ns / 1e9);
    for (size_t i = 0; i < workload->metric_count; i++) {
        const struct metric *metric = &workload->metrics[i];
        double value;
        /* The count itself says nothing that the rate does not. */
        if (!metric->per_interval || metric->kind == METRIC_COUNT) {
            continue;
        }
        bool known = metric_compute(metric, progress->bank->counters, progress->window_ns, &value);
        fprintf(out, "  %s %s", known ? units_count(text, value) : "-", metric->title);
    }
    const struct histogram *first = &progress->bank->histograms[0];
    uint64_t median, tail;
    bool has_median = histogram_percentile(first, 50, &median);
    bool has_tail = histogram_percentile(first, 99, &tail);
    fprintf(out, "  p50 %s p99 %s", has_median ? units_duration(text, (double)median) : "-",
            has_tail ? units_duration(text2, (double)tail) : "-");
    if (progress->observed) {
        fprintf(out, "  %s: %s syscalls/s", progress->kernel_role,
                units_count(text, progress->kernel_calls_per_second));
    }
    fputc('\n', out);
    fflush(out);
}

/* The workload's own settings that were given, for the headline: "write each, high 1". */
static void make_note(const struct opt_set *set, char *note, size_t size)
{
    FILE *out = fmemopen(note, size, "w");
    if (!out) {
        return;
    }
    bool first = true;
    for (size_t i = 0; i < set->count; i++) {
        bool headline = strcmp(set->rows[i].name, "write") == 0;
        if (!(set->given >> i & 1) && !headline) {
            continue;
        }
        fprintf(out, "%s%s ", first ? "" : ", ", set->rows[i].name);
        opt_print_value(&set->rows[i], set->target, out);
        first = false;
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
    const struct workload *workload;
    struct workload_command *command;
    const struct opt_set *sets;
    struct address address;
    bool given_target;
    const struct session_ops *session; /* of the target; NULL: none */
    const char *session_target;
    char note[128];
};

/* One engine of --engine. */
static int execute_engine(void *owner, size_t variant, const struct experiment_turn *turn,
                          struct err *error)
{
    const struct measurement *measurement = owner;
    const struct run_options *options = &measurement->command->run;
    const char *server_name = options->server_engine;
    struct run_plan plan = {
        .workload = measurement->workload,
        .workload_options = measurement->command->options,
        .options = options,
        .target = measurement->given_target && !measurement->session ? &measurement->address : NULL,
        .session = measurement->session,
        .session_target = measurement->session_target,
        .note = measurement->note,
        .stop_fd = turn->stop_fd,
        .progress = turn->progress ? print_progress : NULL,
        .owner = turn->progress,
    };
    if (engine_of(options->engines.items[variant], "--engine", &plan.engine, error) < 0) {
        return -1;
    }
    if (!server_name) {
        server_name = plan.engine->flags & ENGINE_NO_KERNEL ? "epoll" : plan.engine->name;
    }
    plan.label = plan.engine->name;
    if (engine_of(server_name, "--server-engine", &plan.server_engine, error) < 0) {
        return -1;
    }
    if (turn->progress && options->engines.count > 1) {
        fprintf(turn->progress, "%s\n", plan.engine->name);
    }
    return run_execute(&plan, turn->record, error);
}

/* Options that this run has no use for: said, since nobody types them for nothing. */
static void add_idle_options(void *owner, struct record *record)
{
    static const struct {
        size_t offset;
        const char *name;
    } of_server[] = {{offsetof(struct run_options, server_engine), "--server-engine"},
                     {offsetof(struct run_options, server_threads), "--server-threads"}};
    const struct measurement *measurement = owner;
    const struct opt_set *sets = measurement->sets;
    const struct run_options *run = &measurement->command->run;
    bool own_server =
        !measurement->given_target ||
        (measurement->session ? measurement->session->own_server : measurement->address.own);
    for (size_t i = 0; i < sizeof of_server / sizeof *of_server && !own_server; i++) {
        if (opt_given(&sets[2], of_server[i].offset)) {
            record_add_warning(record, "%s has no effect: the server is not sonde's own",
                               of_server[i].name);
        }
    }
    if (run->rate == 0 && opt_given(&sets[1], offsetof(struct run_options, arrival))) {
        record_add_warning(record, "--arrival has no effect without --rate");
    }
    if (run->threads > run->connections) {
        record_add_warning(record, "%lu threads for %lu connections: only %lu run", run->threads,
                           run->connections, run->connections);
    }
}

/* Measures and prints, once everything is parsed. */
static int measure(const struct workload *workload, struct workload_command *command,
                   const struct opt_set *sets, size_t set_count,
                   const struct opt_arguments *arguments, int argc, char **argv, struct err *error)
{
    const char *target = arguments->count ? arguments->items[0] : NULL;
    struct measurement measurement = {
        .workload = workload, .command = command, .sets = sets, .given_target = target != NULL};
    if (target) {
        measurement.session = session_find(target, &measurement.session_target);
    }
    if (target && !measurement.session &&
        (address_parse(target, false, &measurement.address, error) < 0 ||
         workload_check_transport(workload, &measurement.address, error) < 0)) {
        return -1;
    }
    make_note(&sets[0], measurement.note, sizeof measurement.note);
    const struct experiment experiment = {
        .operation = workload->operation,
        .sets = sets,
        .set_count = set_count,
        .argument_name = "target",
        .arguments = arguments,
        .output = &command->output,
        .repeat = &command->repeat,
        .variants = command->run.engines.count,
        .execute = execute_engine,
        .warn = add_idle_options,
        .owner = &measurement,
    };
    return experiment_run(&experiment, argc, argv, error);
}

int workload_command_run(const struct workload *workload, const struct opt *extra,
                         size_t extra_count, size_t extra_offset, int argc, char **argv,
                         struct err *error)
{
    struct workload_command command = {.options = calloc(1, workload->options_bytes)};
    struct opt_set sets[COMMAND_SETS_MAX];
    struct opt_arguments arguments = {0};
    int result = -1;
    if (!command.options) {
        return err_system(error, ENOMEM, "memory", "cannot start");
    }
    size_t count =
        workload_command_sets(workload, extra, extra_count, extra_offset, &command, sets);
    bool given_warmup = false;
    if (opt_defaults(sets, count, error) == 0 &&
        opt_parse(sets, count, argc, argv, &arguments, error) == 0) {
        given_warmup = opt_given(&sets[1], offsetof(struct run_options, warmup_ns));
        if (arguments.count > 1 || arguments.rest) {
            err_set(error, ERR_USAGE, arguments.rest ? "--" : arguments.items[1],
                    "more than one target");
            err_hint(error, "usage: sonde %s [TARGET] [options]", workload->name);
            opt_hint_loose(&arguments, error);
        } else if (run_options_check(&command.run, given_warmup, error) == 0 &&
                   (!workload->check ||
                    workload->check(command.options, command.run.wire.receive_bytes, error) == 0)) {
            result = measure(workload, &command, sets, count, &arguments, argc, argv, error);
            if (result < 0 && error->code == ERR_USAGE && arguments.loose &&
                strcmp(error->subject, arguments.loose_value) == 0) {
                opt_hint_loose(&arguments, error);
            }
        }
    }
    opt_release(sets, count, &arguments);
    free(command.options);
    return result;
}
