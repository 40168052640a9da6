/* From what a run measured to its record. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "run/arrived.h"
#include "run/asked.h"
#include "run/conductor.h"
#include "run/fill.h"
#include "run/look.h"
#include "run/security.h"
#include "run/session.h"
#include "run/sysfile.h"

const struct metric run_extra_metrics[RUN_EXTRA_METRICS] = {
    {"send_behind", "1", "behind schedule",
     "open loop: operations that were due in the window and not yet issued at its end",
     METRIC_VALUE, 0, 0, false},
    {"unfinished", "1", "unfinished",
     "operations issued and not answered within the drain after the window", METRIC_VALUE, 0, 0,
     false},
    {"finished_after", "1", "finished afterwards",
     "operations that finished after the window, before the run had ended: in the latencies, and "
     "in no "
     "count or rate",
     METRIC_VALUE, 0, 0, false},
    {"rate_reached", "1", "share of the rate",
     "open loop: operations finished per second over "
     "the rate asked for",
     METRIC_VALUE, 0, 0, false},
    {"rate_asked", "1/s", "rate asked for",
     "open loop whose rate changes: operations that were due, per second", METRIC_VALUE, 0, 0,
     true},
    {"worker_busy", "1", "busiest client thread",
     "largest share of a CPU that one client thread took", METRIC_VALUE, 0, 0, false},
    {"kernel_calls_per_second", "1/s", "kernel calls/s",
     "system calls of the observed processes, per second of the observed parts", METRIC_VALUE, 0, 0,
     true},
    {"tcp_retransmits", "1", "host's TCP retransmits",
     "segments that this host (network namespace) sent again during the window, over all "
     "connections",
     METRIC_VALUE, 0, 0, false},
    {"tcp_loss_probes", "1", "host's TCP loss probes",
     "segments sent because no acknowledgement had come within two round trips and some ms, though "
     "nothing was known to be lost; most count as retransmits, too. Many where the program at the "
     "other end is slow to read",
     METRIC_VALUE, 0, 0, false},
    {"listen_overflows", "1", "host's listen overflows",
     "times that a listener's backlog on this host was full during the window, for a connection or "
     "a request for one (ListenOverflows)",
     METRIC_VALUE, 0, 0, false},
    {"listen_drops", "1", "host's listen drops",
     "packets of connections that were being established which this host's listeners dropped "
     "during "
     "the window, for a full backlog or any other reason (ListenDrops)",
     METRIC_VALUE, 0, 0, false},
    {"time_waits_begun", "1", "host's TIME_WAITs begun",
     "sockets of this host that came into TIME_WAIT during the window, of either end and anybody "
     "(TW); also those in FIN_WAIT_2 that no process holds any more",
     METRIC_VALUE, 0, 0, false},
    {"time_waits", "1", "in TIME_WAIT at the end",
     "sockets of this host in TIME_WAIT when the window ended, likewise: each keeps a pair of "
     "ports "
     "for a minute",
     METRIC_VALUE, 0, 0, false},
    {"steal_share", "1", "stolen CPU time",
     "share of the host's CPU time that its hypervisor gave to others during the window",
     METRIC_VALUE, 0, 0, false},
    {"other_cpu_share", "1", "CPU time of others",
     "share of the host's CPU time during the window that was used, and not by sonde's ends: by "
     "other programs (a server that this run did not start is one) and by interrupts",
     METRIC_VALUE, 0, 0, false},
    {"cpu_frequency", "Hz", "CPU clock rate",
     "of the fastest CPU at the end of the window, as the kernel says; that of a virtual machine "
     "may be a constant",
     METRIC_VALUE, 0, 0, false},
    {"load_1m", "1", "load", "the host's load average over a minute, when the window began",
     METRIC_VALUE, 0, 0, false},
    {"zerocopy_sends", "1", "zero-copy sends",
     "sends of both ends that were to be made without a copy (MSG_ZEROCOPY, or SEND_ZC of "
     "io_uring)",
     METRIC_VALUE, 0, 0, false},
    {"zerocopy_reported", "1", "of them reported on",
     "sends of which the kernel has said that it is through with their data", METRIC_VALUE, 0, 0,
     false},
    {"zerocopy_copied", "1", "of these copied",
     "sends whose data the kernel copied after all, by its own report", METRIC_VALUE, 0, 0, false},
};

struct record_value *fill_value(struct record_run *run, const struct metric *metric, double value)
{
    struct record_value *row = record_add_value(run, metric);
    if (row) {
        row->available = true;
        row->value = value;
    }
    return row;
}

/* The headline is called what it is. */
static void name_headline(const struct conductor *conductor, struct record_run *run)
{
    run->values[0].metric =
        arrived_metric(conductor, run->values[0].metric, arrived_basis(conductor));
}

static int fill_metrics(struct record_run *run, const struct metric *metrics, size_t count,
                        const struct tally *tally)
{
    for (size_t i = 0; i < count; i++) {
        if (metrics[i].kind == METRIC_COUNT_OF &&
            tally->bank->counters[metrics[i].denominator] == 0) {
            continue;
        }
        struct record_value *row = record_add_value(run, &metrics[i]);
        if (!row) {
            return -1;
        }
        row->available =
            metric_compute(&metrics[i], tally->bank->counters, tally->window_ns, &row->value);
    }
    return 0;
}

/* The part of the rate that was reached. A counted run goes on until the last answer, which the
 * schedule knows nothing of: it is behind by no more than its latest arrival was. */
static double rate_reached(const struct conductor *conductor)
{
    const struct run_plan *plan = conductor->plan;
    const struct record_run *run = conductor->run;
    double rate = asked_rate(conductor);
    double reached = rate > 0 ? run->values[0].value / rate : 1;
    if (plan->options->count == 0) {
        return reached;
    }
    const struct histogram *lag =
        &conductor->client.plain.bank->histograms[plan->workload->send_lag];
    double window_ns = (double)run->window_ns;
    double over_ns = window_ns - (double)plan->options->count * 1e9 / rate;
    double lag_ns = histogram_count(lag) ? (double)lag->maximum : 0;
    if (over_ns <= 0) {
        return reached < 1 ? reached : 1; /* of the schedule, or of what was interrupted */
    }
    return reached * window_ns / (window_ns - over_ns + (over_ns < lag_ns ? over_ns : lag_ns));
}

static int fill_extras(struct conductor *conductor)
{
    const struct run_plan *plan = conductor->plan;
    struct record_run *run = conductor->run;
    uint32_t worker = 0;
    if (run_rate_most(plan->options) > 0) {
        double reached = rate_reached(conductor);
        if (plan->options->course.count) {
            fill_value(run, &run_extra_metrics[RUN_EXTRA_ASKED], asked_rate(conductor));
        }
        fill_value(run, &run_extra_metrics[RUN_EXTRA_REACHED], reached);
        fill_check_rate(conductor, reached);
        fill_value(run, &run_extra_metrics[RUN_EXTRA_BEHIND], (double)conductor->behind);
    }
    fill_host(conductor);
    fill_check(conductor);
    fill_value(run, &run_extra_metrics[RUN_EXTRA_UNFINISHED], (double)conductor->unfinished);
    if (conductor->finished_after) {
        fill_value(run, &run_extra_metrics[RUN_EXTRA_AFTER], (double)conductor->finished_after);
    }
    double busiest = tally_busiest(&conductor->client.plain, &worker);
    if (busiest >= 0) {
        fill_value(run, &run_extra_metrics[RUN_EXTRA_BUSY], busiest);
    }
    held_fill(conductor);
    return run->value_count ? look_fill(conductor) : -1;
}

static int fill_histograms(struct record_run *run, const struct role *role, const char *name,
                           const struct bank *bank)
{
    for (size_t i = 0; i < role->histogram_count; i++) {
        if (histogram_count(&bank->histograms[i]) == 0 && bank->histograms[i].out_of_range == 0) {
            continue; /* send lag of a closed loop, for one */
        }
        struct record_histogram *row = record_add_histogram(run, &role->histograms[i], name);
        if (!row) {
            return -1;
        }
        histogram_add(row->histogram, &bank->histograms[i]);
    }
    return 0;
}

/* The first phase of every connection, which they share: names are looked up once a run. */
static int fill_resolve(struct conductor *conductor)
{
    static const struct histogram_metric row = {
        "resolve", "ns", "resolve (once)",
        "looking the target's name up: once, before the run, and for all of its connections",
        PART_NONE};
    uint64_t resolve_ns = conductor->address.resolve_ns;
    if (!conductor->plan->workload->own_protocol || resolve_ns == 0) {
        return 0;
    }
    struct record_histogram *histogram = record_add_histogram(conductor->run, &row, "client");
    if (histogram) {
        histogram_record(histogram->histogram, resolve_ns, 1);
    }
    return histogram ? 0 : -1;
}

/* Of a rate that changes. Where an interval's parts were observed in turn, it is that of all of it.
 */
static int fill_interval_asked(const struct conductor *conductor, size_t i,
                               struct record_interval *interval)
{
    const struct series *series = &conductor->series;
    uint64_t end_ns = interval->start_ns + interval->duration_ns;
    if (conductor->plan->options->course.count == 0) {
        return 0;
    }
    if (conductor->client.seen.window_ns) {
        end_ns = i + 1 < series->count ? series->points[i + 1].start_ns
                                       : conductor->window_end_ns - conductor->window_start_ns;
    }
    struct record_value *row =
        record_interval_add_value(interval, &run_extra_metrics[RUN_EXTRA_ASKED]);
    if (!row) {
        return -1;
    }
    row->value = asked_between(conductor, interval->start_ns, end_ns);
    row->available = isfinite(row->value);
    return 0;
}

static int fill_intervals(struct conductor *conductor)
{
    const struct workload *workload = conductor->plan->workload;
    uint64_t so_far[BANK_COUNTERS] = {0};
    for (size_t i = 0; i < conductor->series.count; i++) {
        const struct series_point *point = &conductor->series.points[i];
        struct record_interval *interval = record_add_interval(conductor->run);
        if (!interval) {
            return -1;
        }
        interval->start_ns = point->start_ns;
        interval->duration_ns = point->duration_ns;
        for (size_t j = 0; j < BANK_COUNTERS; j++) {
            so_far[j] += point->counters[j];
        }
        for (size_t j = 0; j < workload->metric_count; j++) {
            const struct metric *metric = &workload->metrics[j];
            const struct metric *named =
                arrived_metric(conductor, metric, arrived_basis_of_intervals(conductor));
            struct record_value *row =
                metric->per_interval ? record_interval_add_value(interval, named) : NULL;
            if (row) {
                row->available =
                    metric_compute(metric, metric->kind == METRIC_LEVEL ? so_far : point->counters,
                                   point->duration_ns, &row->value);
            }
        }
        if (fill_interval_asked(conductor, i, interval) < 0) {
            return -1;
        }
        uint64_t observed_ns = point->counters[SERIES_KERNEL_NS];
        struct record_value *row =
            observed_ns ? record_interval_add_value(interval, &run_extra_metrics[RUN_EXTRA_KERNEL])
                        : NULL;
        if (row) {
            row->available = true;
            row->value = (double)point->counters[SERIES_KERNEL_CALLS] * 1e9 / (double)observed_ns;
        }
    }
    return 0;
}

static void fill_errors(struct record_run *run, const struct bank *bank, const char *where)
{
    for (size_t i = 0; i < BANK_ERRORS && bank->errors[i].count; i++) {
        const struct bank_error *error = &bank->errors[i];
        char phase[16];
        snprintf(phase, sizeof phase, "%s%s", where, bank_phase_name(error->phase));
        struct record_error_count *row = record_add_error(run, phase, error->number, error->name);
        if (row) {
            row->count += error->count;
        }
    }
    if (bank->errors_beyond) {
        struct record_error_count *row = record_add_error(run, "", 0, "other errors");
        if (row) {
            row->count += bank->errors_beyond;
        }
    }
}

void fill_connecting(struct conductor *conductor)
{
    if (conductor->going || !conductor->slots || !conductor->discarded.bank) {
        return;
    }
    collect(conductor->slots, conductor->worker_count, &conductor->discarded);
    fill_errors(conductor->run, conductor->discarded.bank, "");
}

/* An engine's own counts of its calls. */
int fill_calls(struct record_calls *calls, const struct call_table *table, uint64_t window_ns,
               uint64_t operations)
{
    calls->available = true;
    snprintf(calls->source, sizeof calls->source, "engine");
    calls->window_ns = window_ns;
    calls->operations = operations;
    for (size_t i = 0; i < CALL_KINDS; i++) {
        const struct call_count *count = &table->of[i];
        if (count->calls == 0) {
            continue;
        }
        struct record_syscall *row =
            record_add_syscall(calls, engine_call_name((enum engine_call)i));
        if (!row) {
            return -1;
        }
        row->calls = count->calls;
        row->bytes = count->bytes;
        struct record_error_count *again =
            count->again ? record_syscall_add_error(row, EAGAIN) : NULL;
        if (again) {
            again->count = count->again;
        }
        int number = count->error > 0 ? (int)count->error : 0; /* a peer may not have said it */
        struct record_error_count *other =
            count->errors ? record_syscall_add_error(row, number) : NULL;
        if (other) {
            other->count = count->errors;
            snprintf(other->name, sizeof other->name, "%s", number ? "" : "other");
        }
    }
    if (table->uring_submitted || table->uring_completed) {
        struct record_uring *row = record_add_uring(calls, "all");
        if (row) {
            row->submitted = table->uring_submitted;
            row->completed = table->uring_completed;
        }
    }
    record_sort_calls(calls);
    return 0;
}

static uint64_t operations_of(const struct conductor *conductor, const struct tally *tally)
{
    return tally->bank->counters[conductor->plan->workload->operations];
}

/* One of sonde's own ends: CPU time and calls as its workers counted them. */
static int fill_end(struct record_run *run, const char *role, const struct processes *processes,
                    const struct tally *tally, uint64_t operations)
{
    char name[sizeof((struct process_sample *)NULL)->name] = "sonde";
    uint64_t rss_bytes = 0;
    for (uint32_t i = 0; i < processes->count; i++) {
        struct process_sample sample;
        struct err ignored;
        if (process_sample(processes->pids[i], &sample, &ignored) == 0) {
            rss_bytes += sample.rss_bytes;
            memcpy(name, sample.name, sizeof name);
        }
    }
    struct record_process *process = record_add_process(run, role, processes->pids[0], name);
    if (!process) {
        return -1;
    }
    process->processes = processes->count;
    const struct bank *bank = tally->bank;
    uint32_t worker = 0;
    process->cpu_available = tally->window_ns > 0;
    process->cpu_window_ns = tally->window_ns;
    process->cpu_operations = operations;
    process->cpu_user_ns = bank->cpu_user_ns;
    process->cpu_system_ns = bank->cpu_system_ns;
    process->switches_voluntary = bank->switches_voluntary;
    process->switches_involuntary = bank->switches_involuntary;
    process->busiest_thread = tally_busiest(tally, &worker);
    process->rss_bytes = rss_bytes;
    snprintf(process->kernel_calls.reason, sizeof process->kernel_calls.reason, "not observed");
    return fill_calls(&process->engine_calls, &bank->calls, tally->window_ns, operations);
}

/* What decides when the kernel sends what was written: Nagle's algorithm and the congestion
 * control, which a reader has to know of TCP figures. */
static void describe_tcp(const struct conductor *conductor, FILE *out)
{
    const struct run_options *options = conductor->plan->options;
    char congestion[32];
    const char *own =
        conductor->own_server || (conductor->plan->session && conductor->plan->session->own_server)
            ? "both ends"
            : "the client";
    if (conductor->plan->engine->flags & ENGINE_NO_KERNEL ||
        !(conductor->address.transport->caps & TRANSPORT_PORTS) ||
        conductor->address.transport->caps & TRANSPORT_DATAGRAMS) {
        return;
    }
    if (sysfile_line("/proc/sys/net/ipv4/tcp_congestion_control", congestion, sizeof congestion) <
        0) {
        snprintf(congestion, sizeof congestion, "unknown congestion control");
    }
    fprintf(out, ", %s at %s, %s", options->wire.nodelay ? "NODELAY" : "Nagle's algorithm", own,
            options->wire.congestion ? options->wire.congestion : congestion);
}

/* From the start of the window to its end. Where the conductor had to wait for a CPU, its workers
 * began the first part before it saw that, or ended the last one after. */
static uint64_t window_wall_ns(const struct conductor *conductor)
{
    const struct bank *bank = conductor->client.plain.bank;
    if (conductor->plan->options->count && conductor->client.plain.window_ns &&
        conductor->client.seen.window_ns == 0) {
        /* Until all had ended; that it was seen a little later is no part of it. */
        return conductor->client.plain.window_ns;
    }
    uint64_t start_ns = conductor->window_start_ns, end_ns = conductor->window_end_ns;
    if (bank->start_ns && bank->start_ns < start_ns) {
        start_ns = bank->start_ns;
    }
    return (bank->end_ns > end_ns ? bank->end_ns : end_ns) - start_ns;
}

static void describe_placement(const struct placement *placement, FILE *out)
{
    const struct cpu_list *lists[2] = {&placement->servers, &placement->clients};
    for (size_t i = 0; i < 2; i++) {
        char text[96];
        if (lists[i]->count) {
            placement_text(lists[i], text, sizeof text);
            fprintf(out, ", %s on %s", i ? "client" : "server", text);
        }
    }
}

/* There is no loop of streams. */
static const char *mode_of(const struct run_plan *plan)
{
    const struct workload *workload = plan->workload;
    if (workload->ramp_ns) {
        return "held";
    }
    if (workload->bulk) {
        bool paced = workload->asked && workload->asked(plan->workload_options) > 0;
        return paced ? "paced" : "unpaced";
    }
    return run_rate_most(plan->options) > 0 ? "open loop" : "closed loop";
}

static void describe(struct conductor *conductor)
{
    const struct run_plan *plan = conductor->plan;
    const struct run_options *options = plan->options;
    struct record_run *run = conductor->run;
    FILE *out = fmemopen(run->detail, sizeof run->detail, "w");
    if (out) {
        bool null = plan->engine->flags & ENGINE_NO_KERNEL;
        fprintf(out, "%s%s", null ? "no server" : conductor->address.text,
                conductor->own_server ? " (own server)" : "");
        if (plan->web_program) {
            bool several = conductor->servers.count > 1;
            fprintf(out, several ? " (%s, %u processes)" : " (%s)", conductor->web.software,
                    conductor->servers.count);
        }
        fprintf(out, ", %s", plan->engine->name);
        fprintf(out, ", %lu connection%s, %u thread%s", options->connections,
                options->connections == 1 ? "" : "s", conductor->worker_count,
                conductor->worker_count == 1 ? "" : "s");
        if (conductor->clients.count > 1) {
            fprintf(out, " in %u processes", conductor->clients.count);
        }
        describe_tcp(conductor, out);
        describe_placement(&conductor->placement, out);
        bool note = plan->note && plan->note[0];
        fprintf(out, "%s%s", note ? ", " : "", note ? plan->note : "");
        fclose(out);
    }
    snprintf(run->mode, sizeof run->mode, "%s", mode_of(plan));
    run->window_ns = conductor->client.plain.window_ns;
    run->wall_ns = window_wall_ns(conductor);
    run->window_start_ns = conductor->window_start_ns;
}

int fill_server(struct record_run *run, const struct role *role, const struct metric *metrics,
                size_t metric_count, const struct tally *tally, const struct processes *processes,
                struct err *error)
{
    fill_errors(run, tally->bank, "server ");
    if (fill_metrics(run, metrics, metric_count, tally) < 0 ||
        fill_histograms(run, role, "server", tally->bank) < 0 ||
        fill_end(run, "server", processes, tally, 0) < 0) {
        return err_system(error, ENOMEM, "memory", "cannot keep the record");
    }
    return 0;
}

/* What became of sends without a copy, at both ends together. */
static void fill_zerocopy(struct conductor *conductor)
{
    struct bank *ends[] = {conductor->client.plain.bank, conductor->server.plain.bank};
    uint64_t sends = 0, reported = 0, copied = 0;
    for (size_t i = 0; i < (conductor->own_server ? 2 : 1); i++) {
        sends += ends[i]->calls.zerocopy_sends;
        reported += ends[i]->calls.zerocopy_reported;
        copied += ends[i]->calls.zerocopy_copied;
    }
    if (sends == 0 && reported == 0) {
        return;
    }
    fill_value(conductor->run, &run_extra_metrics[RUN_EXTRA_ZEROCOPY], (double)sends);
    fill_value(conductor->run, &run_extra_metrics[RUN_EXTRA_ZEROCOPY_REPORTED], (double)reported);
    fill_value(conductor->run, &run_extra_metrics[RUN_EXTRA_ZEROCOPY_COPIED], (double)copied);
    if (copied) {
        record_add_warning(
            conductor->record, "%s: the kernel copied %.1f%% of the zero-copy sends after all%s",
            conductor->plan->label, (double)copied * 100 / (double)reported,
            address_is_loopback(&conductor->address) ? ", as it always does on the loopback" : "");
    }
}

static bool is_of(const struct metric *metric, const struct metric *rows, size_t count)
{
    return metric >= rows && metric < rows + count;
}

void fill_leave_out(struct record_run *run, const struct workload *workload, const void *options)
{
    size_t kept = 0;
    if (!workload->has) {
        return;
    }
    for (size_t i = 0; i < run->value_count; i++) {
        const struct metric *metric = run->values[i].metric;
        bool server = is_of(metric, workload->server_metrics, workload->server_metric_count);
        bool own = server || is_of(metric, workload->metrics, workload->metric_count);
        if (!own || workload->has(options, metric, server)) {
            run->values[kept++] = run->values[i];
        }
    }
    run->value_count = kept;
}

int fill_run(struct conductor *conductor, struct err *error)
{
    struct record_run *run = conductor->run;
    const struct workload *workload = conductor->plan->workload;
    const struct tally *client = &conductor->client.plain;
    /* What CPU time and calls of the unobserved parts were for. */
    uint64_t operations =
        workload->whole ? conductor->plain_operations : operations_of(conductor, client);
    describe(conductor);
    fill_errors(run, client->bank, "");
    fill_errors(run, conductor->client.seen.bank, "");
    fill_errors(run, conductor->before.bank, "warm-up ");
    if (fill_metrics(run, workload->metrics, workload->metric_count, client) < 0 ||
        fill_extras(conductor) < 0 ||
        fill_histograms(run, workload->client, "client", client->bank) < 0 ||
        fill_resolve(conductor) < 0 || security_fill_run(conductor) < 0 ||
        fill_intervals(conductor) < 0 ||
        fill_end(run, "client", &conductor->clients, client, operations)) {
        return err_system(error, ENOMEM, "memory", "cannot keep the record");
    }
    if (conductor->own_server) {
        if (fill_server(run, workload->server, workload->server_metrics,
                        workload->server_metric_count, &conductor->server.plain,
                        &conductor->servers, error) < 0) {
            return -1;
        }
        struct record_process *server = &run->processes[run->process_count - 1];
        /* Its workers were cut a little earlier or later than the client's. */
        double scale = client->window_ns
                           ? (double)conductor->server.plain.window_ns / (double)client->window_ns
                           : 0;
        server->cpu_operations = server->engine_calls.operations =
            (uint64_t)((double)operations * scale + 0.5);
    }
    fill_leave_out(run, workload, conductor->plan->workload_options);
    name_headline(conductor, run);
    arrived_warn(conductor);
    fill_zerocopy(conductor);
    if (flows_fill(conductor) < 0) {
        return err_system(error, ENOMEM, "memory", "cannot keep the record");
    }
    if (watch_fill(conductor->watch, workload->metrics[0].key, conductor->record, run, error) < 0) {
        return -1;
    }
    const struct processes *clients = &conductor->clients, *servers = &conductor->servers;
    if (footprint_fill(conductor) < 0 ||
        record_join_processes(run, "client", clients->pids, clients->count) < 0 ||
        record_join_processes(run, "server", servers->pids, servers->count) < 0) {
        return err_system(error, ENOMEM, "memory", "cannot keep the record");
    }
    return 0;
}
