/* sonde ipc */
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/experiment.h"
#include "run/ipc.h"

struct ipc_command {
    struct ipc_options ipc;
    struct watch_options watch;
    struct repeat_options repeat;
    struct output_options output;
    enum ipc_mode mode;
};

static size_t fill_sets(struct ipc_command *command, struct opt_set *sets)
{
    size_t count = 0;
    sets[count++] = (struct opt_set){.title = "Transfer",
                                     .rows = ipc_option_rows,
                                     .count = IPC_OPTIONS,
                                     .target = &command->ipc};
    sets[count++] = (struct opt_set){.title = "Observation",
                                     .rows = watch_rows,
                                     .count = WATCH_OPTIONS,
                                     .target = &command->watch};
    sets[count++] = (struct opt_set){.title = "Probes",
                                     .rows = probe_option_rows,
                                     .count = PROBE_OPTIONS,
                                     .target = &command->watch.probe};
    sets[count++] = (struct opt_set){.title = "Repetition",
                                     .rows = repeat_rows,
                                     .count = REPEAT_OPTIONS,
                                     .target = &command->repeat};
    sets[count++] = (struct opt_set){.title = "Output",
                                     .rows = output_rows,
                                     .count = OUTPUT_OPTIONS,
                                     .target = &command->output};
    sets[count++] = (struct opt_set){.title = "Figures for other tools",
                                     .rows = output_measure_rows,
                                     .count = OUTPUT_FIGURES_OPTIONS,
                                     .target = &command->output};
    sets[count++] = (struct opt_set){.title = "Flame graphs",
                                     .rows = output_folded_rows,
                                     .count = OUTPUT_FOLDED_OPTIONS,
                                     .target = &command->output};
    return count;
}

static size_t ipc_sets(struct opt_set *sets)
{
    /* For help and completions, which read rows and write defaults. */
    static struct ipc_command storage;
    return fill_sets(&storage, sets);
}

/* A line a second: what ended in it, or how far a long transfer has come. */
static void print_progress(void *owner, const struct ipc_progress *progress)
{
    FILE *out = owner;
    char text[UNITS_TEXT_MAX];
    fprintf(out, "%8.2f s  ", (double)progress->at_ns / 1e9);
    if (progress->time_ns) {
        fprintf(out, "%s/s in %lu transfer%s\n",
                units_bytes(text, (double)progress->bytes * 1e9 / (double)progress->time_ns),
                progress->transfers, progress->transfers == 1 ? "" : "s");
    } else {
        fprintf(out, "%s of the present transfer moved\n",
                units_bytes(text, (double)progress->moved_bytes));
    }
    fflush(out);
}

static int execute(void *owner, size_t variant, const struct experiment_turn *turn,
                   struct err *error)
{
    const struct ipc_command *command = owner;
    const struct method_ops *method = method_find(command->ipc.methods.items[variant]);
    struct ipc_plan plan = {
        .mode = command->mode,
        .options = &command->ipc,
        .watch = &command->watch,
        .method = method,
        .label = method->name,
        .stop_fd = turn->stop_fd,
        .progress = turn->progress ? print_progress : NULL,
        .owner = turn->progress,
    };
    return ipc_execute(&plan, turn->record, NULL, error);
}

static int run_parsed(struct ipc_command *command, const struct opt_set *sets, size_t count,
                      const struct opt_arguments *arguments, int argc, char **argv,
                      struct err *error)
{
    command->mode = IPC_2THREAD;
    if (arguments->count > 1 || arguments->rest) {
        err_set(error, ERR_USAGE, arguments->rest ? "--" : arguments->items[1],
                "more than one mode");
        err_hint(error, "usage: sonde ipc [1thread|2thread|2proc] [options]");
        return opt_hint_loose(arguments, error);
    }
    if (arguments->count && ipc_mode_parse(arguments->items[0], &command->mode, error) != 0) {
        return opt_hint_loose(arguments, error);
    }
    if (ipc_check(&command->ipc, command->mode, error) != 0 ||
        output_check_folded(&command->output, &command->watch.probes, error) != 0) {
        return -1;
    }
    struct experiment experiment = {
        .operation = "block",
        .sets = sets,
        .set_count = count,
        .argument_name = "mode",
        .arguments = arguments,
        .output = &command->output,
        .repeat = &command->repeat,
        .variants = command->ipc.methods.count,
        .execute = execute,
        .owner = command,
    };
    return experiment_run(&experiment, argc, argv, error);
}

static int run(int argc, char **argv, struct err *error)
{
    struct ipc_command command;
    struct opt_set sets[COMMAND_SETS_MAX];
    struct opt_arguments arguments = {0};
    memset(&command, 0, sizeof command);
    size_t count = fill_sets(&command, sets);
    int result = -1;
    if (opt_defaults(sets, count, error) == 0 &&
        opt_parse(sets, count, argc, argv, &arguments, error) == 0) {
        result = run_parsed(&command, sets, count, &arguments, argc, argv, error);
    }
    opt_release(sets, count, &arguments);
    return result;
}

const struct command command_ipc = {
    .name = "ipc",
    .arguments = "[1thread|2thread|2proc] [options]",
    .summary = "bytes through a pipe or a socket: what buffers, transports and copies cost",
    .details =
        "Moves --total bytes from a sender to a receiver, in writes of --buffer bytes, again and "
        "again; a transfer's time runs from before its first write to after its last read. The two "
        "ends are one thread (both non-blocking, in turn), two threads of one process (the "
        "default), or two processes. --method says by which calls the bytes are moved: copy (write "
        "and read), writev (several buffers a call), vmsplice (the sender's pages go into the "
        "pipe), splice (nor does the receiver copy: it drops them), uring (io_uring), zerocopy "
        "(MSG_ZEROCOPY).",
    .examples = "  sonde ipc -b 64k   # how fast is a pipe, and which end is the limit\n"
                "  sonde ipc 2proc --transport local --socket-buffers -b 1m   # a socket pair\n"
                "  sonde ipc --method copy,vmsplice,splice -b 1m   # what copying costs\n"
                "  sonde ipc --observe self --probe sizes,sched -d 3   # and what the kernel did\n",
    .sets = ipc_sets,
    .run = run,
    .measures = true,
};
