/* From what a run of `sonde ipc` measured to its record. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "probe/process.h"
#include "run/fill.h"
#include "run/ipc_state.h"

/* An end that was on its CPU for at least this share of the time had no time left to speak of. */
#define SATURATED 0.93
/* Waiting for a CPU for this share of the time is said. */
#define COMPETITION 0.05
/* Two ends that the scheduler has put on one CPU wait for it at least so much, together. */
#define SHARING 0.3

static const struct metric ipc_metrics[] = {
    {"bytes_per_second", "bytes/s", "bandwidth",
     "bytes moved, over the time from before the first write to after the last read of each "
     "transfer",
     METRIC_VALUE, 0, 0, false},
    {"transfers", "1", "transfers", "transfers measured, unobserved", METRIC_VALUE, 0, 0, false},
    {"bytes", "bytes", "bytes", "bytes moved in them", METRIC_VALUE, 0, 0, false},
    {"blocks", "1", "blocks", "buffers filled in them", METRIC_VALUE, 0, 0, false},
    {"cpu_ns_per_kib", "ns", "CPU/KiB", "CPU time of both ends for each KiB", METRIC_VALUE, 0, 0,
     false},
    {"send_buffer_bytes", "bytes", "send buffer",
     "of the sender's socket, or the pipe's capacity, as the kernel holds it", METRIC_VALUE, 0, 0,
     false},
    {"receive_buffer_bytes", "bytes", "receive buffer",
     "of the receiver's socket, or the pipe's capacity, as the kernel holds it", METRIC_VALUE, 0, 0,
     false},
    {"waits", "1", "waits", "one thread: times that neither end could move", METRIC_VALUE, 0, 0,
     false},
    {"zerocopy_sends", "1", "zero-copy sends", "sends that the kernel has reported on",
     METRIC_VALUE, 0, 0, false},
    {"zerocopy_copied", "1", "of them copied", "sends that the kernel copied after all",
     METRIC_VALUE, 0, 0, false},
};
enum {
    IPC_BANDWIDTH,
    IPC_TRANSFER_COUNT,
    IPC_BYTES,
    IPC_BLOCKS,
    IPC_CPU,
    IPC_SEND_BUFFER,
    IPC_RECEIVE_BUFFER,
    IPC_WAITS,
    IPC_ZEROCOPY,
    IPC_COPIED
};

#define SIDE_METRICS(side, title, does)                                                            \
    {side "_calls_per_block",                                                                      \
     "1",                                                                                          \
     title " calls/block",                                                                         \
     "calls of the " side "'s method for each buffer",                                             \
     METRIC_VALUE,                                                                                 \
     0,                                                                                            \
     0,                                                                                            \
     false},                                                                                       \
        {side "_bytes_per_call",                                                                   \
         "bytes",                                                                                  \
         title " bytes/call",                                                                      \
         "bytes that one of these calls " does ", mean over those that moved any",                 \
         METRIC_VALUE,                                                                             \
         0,                                                                                        \
         0,                                                                                        \
         false},                                                                                   \
        {side "_short_share",                                                                      \
         "1",                                                                                      \
         title " short",                                                                           \
         "share of these calls that moved less than was asked for",                                \
         METRIC_VALUE,                                                                             \
         0,                                                                                        \
         0,                                                                                        \
         false},                                                                                   \
        {side "_again_share",                                                                      \
         "1",                                                                                      \
         title " EAGAIN",                                                                          \
         "share of these calls that would have had to wait",                                       \
         METRIC_VALUE,                                                                             \
         0,                                                                                        \
         0,                                                                                        \
         false},                                                                                   \
        {side "_cpu_ns_per_kib",                                                                   \
         "ns",                                                                                     \
         title " CPU/KiB",                                                                         \
         "CPU time of the " side "'s thread for each KiB",                                         \
         METRIC_VALUE,                                                                             \
         0,                                                                                        \
         0,                                                                                        \
         false},                                                                                   \
        {side "_switches_per_block",                                                               \
         "1",                                                                                      \
         title " switches/block",                                                                  \
         "context switches of the " side "'s thread for each buffer",                              \
         METRIC_VALUE,                                                                             \
         0,                                                                                        \
         0,                                                                                        \
         false},                                                                                   \
        {side "_cpu_share",                                                                        \
         "1",                                                                                      \
         title " on CPU",                                                                          \
         "share of the measured time that the " side "'s thread was on a CPU",                     \
         METRIC_VALUE,                                                                             \
         0,                                                                                        \
         0,                                                                                        \
         false},                                                                                   \
    {                                                                                              \
        side "_runnable_share", "1", title " to run",                                              \
            "share of the measured time that the " side "'s thread was ready and had no CPU",      \
            METRIC_VALUE, 0, 0, false                                                              \
    }
enum {
    SIDE_CALLS,
    SIDE_BYTES,
    SIDE_SHORT,
    SIDE_AGAIN,
    SIDE_CPU,
    SIDE_SWITCHES,
    SIDE_SHARE,
    SIDE_RUNNABLE,
    SIDE_METRIC_COUNT
};
static const struct metric side_metrics[SIDES][SIDE_METRIC_COUNT] = {
    {SIDE_METRICS("sender", "sender", "moved")},
    {SIDE_METRICS("receiver", "receiver", "moved")},
};

const struct histogram_metric ipc_transfer_time = {
    "transfer_time", "ns", "transfer time",
    "from before the first write to after the last read of one transfer"};

const struct metric *ipc_figures(size_t group, size_t *count)
{
    *count = group == 0 ? sizeof ipc_metrics / sizeof *ipc_metrics : SIDE_METRIC_COUNT;
    return group == 0 ? ipc_metrics : group <= SIDES ? side_metrics[group - 1] : NULL;
}

static void add_calls(struct call_table *to, const struct call_table *from)
{
    for (size_t i = 0; i < CALL_KINDS; i++) {
        to->of[i].calls += from->of[i].calls;
        to->of[i].again += from->of[i].again;
        to->of[i].errors += from->of[i].errors;
        to->of[i].bytes += from->of[i].bytes;
    }
    to->uring_submitted += from->uring_submitted;
    to->uring_completed += from->uring_completed;
}

void ipc_tally_add(struct ipc_tally *to, const struct ipc_tally *from)
{
    for (int side = 0; side < SIDES; side++) {
        struct ipc_sum *sum = &to->sides[side];
        const struct ipc_sum *more = &from->sides[side];
        add_calls(&sum->counts.calls, &more->counts.calls);
        sum->counts.bytes += more->counts.bytes;
        sum->counts.blocks += more->counts.blocks;
        sum->counts.short_calls += more->counts.short_calls;
        sum->counts.waits += more->counts.waits;
        sum->counts.zerocopy_sent += more->counts.zerocopy_sent;
        sum->counts.zerocopy_copied += more->counts.zerocopy_copied;
        sum->cpu_ns += more->cpu_ns;
        sum->user_ns += more->user_ns;
        sum->system_ns += more->system_ns;
        sum->switches_voluntary += more->switches_voluntary;
        sum->switches_involuntary += more->switches_involuntary;
        sum->runnable_ns += more->runnable_ns;
    }
    to->transfers += from->transfers;
    to->bytes += from->bytes;
    to->blocks += from->blocks;
    to->time_ns += from->time_ns;
}

static bool set(struct record_run *run, const struct metric *metric, double value)
{
    struct record_value *row = record_add_value(run, metric);
    if (row) {
        row->available = isfinite(value);
        row->value = isfinite(value) ? value : 0;
    }
    return row != NULL;
}

/* The calls of an end, and of them those that failed with EAGAIN and those that moved bytes. */
static void sum_calls(const struct call_table *table, uint64_t *calls, uint64_t *again,
                      uint64_t *moving)
{
    *calls = *again = *moving = 0;
    for (size_t i = 0; i < CALL_KINDS; i++) {
        const struct call_count *count = &table->of[i];
        *calls += count->calls;
        *again += count->again;
        *moving += count->bytes ? count->calls - count->again - count->errors : 0;
    }
}

static bool fill_side(const struct ipc_conductor *conductor, int side)
{
    const struct ipc_tally *plain = &conductor->plain;
    const struct ipc_sum *sum = &plain->sides[side];
    const struct metric *metrics = side_metrics[side];
    struct record_run *run = conductor->run;
    bool apart = conductor->end_count == 2;
    uint64_t calls, again, moving;
    sum_calls(&sum->counts.calls, &calls, &again, &moving);
    double blocks = (double)plain->blocks, all = (double)calls;
    double kib = (double)plain->bytes / 1024, cpu = (double)sum->cpu_ns;
    double switches = (double)(sum->switches_voluntary + sum->switches_involuntary);
    return set(run, &metrics[SIDE_CALLS], all / blocks) &&
           (moving == 0 ||
            set(run, &metrics[SIDE_BYTES], (double)sum->counts.bytes / (double)moving)) &&
           set(run, &metrics[SIDE_SHORT], (double)sum->counts.short_calls / all) &&
           set(run, &metrics[SIDE_AGAIN], (double)again / all) &&
           (!apart ||
            (set(run, &metrics[SIDE_CPU], cpu / kib) &&
             set(run, &metrics[SIDE_SWITCHES], switches / blocks) &&
             set(run, &metrics[SIDE_SHARE], cpu / (double)plain->time_ns) &&
             set(run, &metrics[SIDE_RUNNABLE], (double)sum->runnable_ns / (double)plain->time_ns)));
}

static bool fill_values(const struct ipc_conductor *conductor)
{
    const struct ipc_tally *plain = &conductor->plain;
    const struct transfer_counts *sent = &plain->sides[SIDE_SENDER].counts;
    struct record_run *run = conductor->run;
    double cpu = (double)(plain->sides[SIDE_SENDER].cpu_ns + plain->sides[SIDE_RECEIVER].cpu_ns);
    return set(run, &ipc_metrics[IPC_BANDWIDTH],
               (double)plain->bytes * 1e9 / (double)plain->time_ns) &&
           set(run, &ipc_metrics[IPC_TRANSFER_COUNT], (double)plain->transfers) &&
           set(run, &ipc_metrics[IPC_BYTES], (double)plain->bytes) &&
           set(run, &ipc_metrics[IPC_BLOCKS], (double)plain->blocks) &&
           set(run, &ipc_metrics[IPC_CPU], cpu * 1024 / (double)plain->bytes) &&
           fill_side(conductor, SIDE_SENDER) && fill_side(conductor, SIDE_RECEIVER) &&
           set(run, &ipc_metrics[IPC_SEND_BUFFER], (double)conductor->channel.send_buffer_bytes) &&
           set(run, &ipc_metrics[IPC_RECEIVE_BUFFER],
               (double)conductor->channel.receive_buffer_bytes) &&
           (conductor->end_count == 2 ||
            set(run, &ipc_metrics[IPC_WAITS], (double)plain->sides[SIDE_RECEIVER].counts.waits)) &&
           (sent->zerocopy_sent == 0 ||
            (set(run, &ipc_metrics[IPC_ZEROCOPY], (double)sent->zerocopy_sent) &&
             set(run, &ipc_metrics[IPC_COPIED], (double)sent->zerocopy_copied)));
}

static int add_end(const struct ipc_conductor *conductor, const char *role, int side,
                   const struct call_table *calls)
{
    const struct ipc_tally *plain = &conductor->plain;
    const struct ipc_sum *sum = &plain->sides[side];
    pid_t pid = side == SIDE_SENDER && conductor->child > 0 ? conductor->child : getpid();
    struct process_sample sample = {.name = "sonde"};
    struct err ignored;
    if (process_sample(pid, &sample, &ignored) != 0) {
        snprintf(sample.name, sizeof sample.name, "sonde");
    }
    struct record_process *process = record_add_process(conductor->run, role, pid, sample.name);
    if (!process) {
        return -1;
    }
    uint64_t sampled = sum->user_ns + sum->system_ns;
    double user = sampled ? (double)sum->user_ns / (double)sampled : 0;
    process->tid = conductor->shared->sides[side].tid;
    process->cpu_available = true;
    process->cpu_window_ns = plain->time_ns;
    process->cpu_operations = plain->blocks;
    process->cpu_user_ns = (uint64_t)((double)sum->cpu_ns * user);
    process->cpu_system_ns = sum->cpu_ns - process->cpu_user_ns;
    process->busiest_thread = (double)sum->cpu_ns / (double)plain->time_ns;
    process->switches_voluntary = sum->switches_voluntary;
    process->switches_involuntary = sum->switches_involuntary;
    process->rss_bytes = sample.rss_bytes;
    snprintf(process->kernel_calls.reason, sizeof process->kernel_calls.reason, "%s",
             conductor->gate && conductor->child == 0 ? "counted with the whole process"
                                                      : "not observed");
    return fill_calls(&process->engine_calls, calls, plain->time_ns, plain->blocks);
}

static int add_ends(const struct ipc_conductor *conductor)
{
    const struct ipc_sum *sides = conductor->plain.sides;
    if (conductor->end_count == 2) {
        return add_end(conductor, "sender", SIDE_SENDER, &sides[SIDE_SENDER].counts.calls) ||
                       add_end(conductor, "receiver", SIDE_RECEIVER,
                               &sides[SIDE_RECEIVER].counts.calls)
                   ? -1
                   : 0;
    }
    struct call_table both = sides[SIDE_SENDER].counts.calls;
    add_calls(&both, &sides[SIDE_RECEIVER].counts.calls);
    return add_end(conductor, "both", SIDE_SENDER, &both);
}

/* One end's share of the measured time. */
struct load {
    double on_cpu, runnable;
};

static struct load load_of(const struct ipc_tally *tally, int side)
{
    const struct ipc_sum *sum = &tally->sides[side];
    return (struct load){.on_cpu = (double)sum->cpu_ns / (double)tally->time_ns,
                         .runnable = (double)sum->runnable_ns / (double)tally->time_ns};
}

/* Both ends took turns on one CPU: together they used about one, and waited for it. Pinned so, or
 * placed so by the scheduler. */
static bool shared_a_cpu(const struct ipc_conductor *conductor, struct load sender,
                         struct load receiver)
{
    const struct ipc_options *options = conductor->plan->options;
    int cpu = ipc_cpu(options, true);
    if (cpu >= 0 && cpu != ipc_cpu(options, false)) {
        return false;
    }
    double together = sender.on_cpu + receiver.on_cpu;
    return together >= SATURATED && together <= 2 - SATURATED &&
           (cpu >= 0 || sender.runnable + receiver.runnable >= SHARING);
}

static void judge_two(const struct ipc_conductor *conductor, struct load sender,
                      struct load receiver, char *text, size_t size)
{
    bool first = sender.on_cpu >= SATURATED, second = receiver.on_cpu >= SATURATED;
    if (first && second) {
        snprintf(text, size, "both ends: sender CPU (at %.0f%%) and receiver CPU (at %.0f%%)",
                 sender.on_cpu * 100, receiver.on_cpu * 100);
    } else if (first || second) {
        snprintf(text, size, "%s CPU (at %.0f%%, %s at %.0f%%)", first ? "sender" : "receiver",
                 (first ? sender : receiver).on_cpu * 100, first ? "receiver" : "sender",
                 (first ? receiver : sender).on_cpu * 100);
    } else if (shared_a_cpu(conductor, sender, receiver)) {
        snprintf(text, size, "the one CPU that both ends shared (sender %.0f%%, receiver %.0f%%)",
                 sender.on_cpu * 100, receiver.on_cpu * 100);
    } else if (sender.runnable >= COMPETITION || receiver.runnable >= COMPETITION) {
        snprintf(text, size,
                 "waiting for a CPU: sender had one for %.0f%% of the time and waited for one for "
                 "%.0f%%, receiver %.0f%% and %.0f%%",
                 sender.on_cpu * 100, sender.runnable * 100, receiver.on_cpu * 100,
                 receiver.runnable * 100);
    } else {
        snprintf(text, size,
                 "waiting for each other: sender on a CPU for %.0f%% of the time, receiver for "
                 "%.0f%%",
                 sender.on_cpu * 100, receiver.on_cpu * 100);
    }
}

/* What the bandwidth was limited by, from what each end did in the measured time. */
static void judge(const struct ipc_conductor *conductor)
{
    const struct ipc_tally *plain = &conductor->plain;
    struct record_run *run = conductor->run;
    size_t size = sizeof run->limited_by;
    struct load sender = load_of(plain, SIDE_SENDER);
    if (conductor->end_count == 2) {
        judge_two(conductor, sender, load_of(plain, SIDE_RECEIVER), run->limited_by, size);
    } else if (sender.runnable >= COMPETITION) {
        snprintf(run->limited_by, size,
                 "other programs: the thread had a CPU for %.0f%% of the time and waited for one "
                 "for %.0f%%",
                 sender.on_cpu * 100, sender.runnable * 100);
    } else {
        snprintf(run->limited_by, size, "one CPU does it all (at %.0f%%)", sender.on_cpu * 100);
    }
}

static void describe(const struct ipc_conductor *conductor)
{
    const struct ipc_plan *plan = conductor->plan;
    const struct ipc_options *options = plan->options;
    struct record_run *run = conductor->run;
    char buffer[UNITS_TEXT_MAX], total[UNITS_TEXT_MAX];
    FILE *out = fmemopen(run->detail, sizeof run->detail, "w");
    if (out) {
        fprintf(out, "%s, %s, %s by %s, %s in buffers of %s", ipc_mode_names[plan->mode],
                conductor->channel.text, "moved", plan->method->name,
                units_bytes(total, (double)options->total_bytes),
                units_bytes(buffer, (double)options->buffer_bytes));
        if (options->cpus.count) {
            fprintf(out, ", sender on CPU %d, receiver on CPU %d", ipc_cpu(options, true),
                    ipc_cpu(options, false));
        }
        fprintf(out, "%s%s", options->socket_buffers ? ", socket buffers of that size" : "",
                options->verify ? ", verified" : "");
        fclose(out);
    }
    snprintf(run->mode, sizeof run->mode, "closed loop");
    run->window_ns = conductor->plain.time_ns;
    run->wall_ns = conductor->window_end_ns - conductor->window_start_ns;
    if (options->total_bytes % options->buffer_bytes) {
        record_add_warning(conductor->record,
                           "the last block of a transfer is short: %lu bytes are no multiple of "
                           "%lu",
                           options->total_bytes, options->buffer_bytes);
    }
}

int ipc_fill(struct ipc_conductor *conductor, struct err *error)
{
    struct record_run *run = conductor->run;
    describe(conductor);
    bool measured = conductor->plain.transfers > 0;
    if (measured) {
        struct record_histogram *row = record_add_histogram(run, &ipc_transfer_time, "client");
        if (!fill_values(conductor) || !row || add_ends(conductor) != 0) {
            return err_system(error, ENOMEM, "memory", "cannot keep the record");
        }
        histogram_add(row->histogram, conductor->times);
        judge(conductor);
    }
    return watch_fill(conductor->watch, ipc_metrics[IPC_BANDWIDTH].key, conductor->record, run,
                      error);
}
