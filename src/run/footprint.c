#include "run/footprint.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "probe/memory_sample.h"
#include "report/figures.h"
#include "run/conductor.h"
#include "run/fill.h"
#include "run/sysfile.h"

/* At most so often, and so that looking takes no more than a 400th of the conductor's time. It
 * looks when it is awake anyway. */
#define PERIOD_MOST_NS (50 * NS_PER_MS)
#define PERIOD_LEAST_NS (5 * NS_PER_MS)
#define LOOKS_WANTED 32 /* of a window whose end is not known */
#define REST 400

#define MIB 1048576.0
#define GIB 1073741824.0

#define OF_SERVER "likewise of sonde's own server, or else of the observed processes"

const struct metric footprint_metrics[FOOTPRINT_METRICS] = {
    {"run_time", "ns", "run time",
     "from the beginning of the window to its end; of a counted run until all had ended",
     METRIC_VALUE, 0, 0, false},
    {"download_bytes_per_second", "bytes/s", "rate of one download",
     "bytes of an answer over the mean time from the send of its request to its last byte",
     METRIC_VALUE, 0, 0, false},
    {"memory_samples", "1", "samples of memory",
     "how often the ends' memory was looked at in the window; with its beginning and end",
     METRIC_VALUE, 0, 0, false},
    {"memory_before", "bytes", "memory before the run",
     "resident memory (RSS) of sonde's process before it made anything for the run: each end "
     "begins "
     "with that, a server as its forked child; with several runs (more than one engine, --repeat) "
     "the client is forked too, so that no run has what another one left",
     METRIC_VALUE, 0, 0, false},
    {"virtual_before", "bytes", "virtual before the run", "likewise of its virtual memory",
     METRIC_VALUE, 0, 0, false},
    {"client_memory_least", "bytes", "client's least memory",
     "resident memory (RSS) of the client's processes, the smallest sample", METRIC_VALUE, 0, 0,
     false},
    {"client_memory_average", "bytes", "client's average memory",
     "resident memory (RSS) of the client's processes, averaged over the window", METRIC_VALUE, 0,
     0, false},
    {"client_memory_peak", "bytes", "client's peak memory",
     "its largest resident memory in the window: the kernel's mark (VmHWM, set back as the window "
     "begins); of several processes, or where that cannot be, the largest of the samples",
     METRIC_VALUE, 0, 0, false},
    {"client_virtual_peak", "bytes", "client's peak virtual",
     "its largest virtual memory in the window: the largest of the samples or, where it rose in "
     "the window, the kernel's mark (VmPeak)",
     METRIC_VALUE, 0, 0, false},
    {"server_memory_average", "bytes", "server's average memory", OF_SERVER, METRIC_VALUE, 0, 0,
     false},
    {"server_memory_peak", "bytes", "server's peak memory",
     OF_SERVER " (whose marks are not set back)", METRIC_VALUE, 0, 0, false},
    {"server_virtual_peak", "bytes", "server's peak virtual", OF_SERVER, METRIC_VALUE, 0, 0, false},
    {"client_calls_per_mib", "1", "client calls/MiB",
     "calls to the kernel that the client's engine made for each MiB of payload", METRIC_VALUE, 0,
     0, false},
    {"server_calls_per_mib", "1", "server calls/MiB",
     OF_SERVER ", as the kernel saw them (--probe syscalls)", METRIC_VALUE, 0, 0, false},
    {"client_switches_per_gib", "1", "client switches/GiB",
     "context switches of the client's threads, of their own accord or not, for each GiB",
     METRIC_VALUE, 0, 0, false},
    {"server_switches_per_gib", "1", "server switches/GiB", OF_SERVER, METRIC_VALUE, 0, 0, false},
    {"client_waited_ns_per_gib", "ns", "client waiting/GiB",
     "time in which the client's threads were ready to run and waited for a CPU (run-queue delay, "
     "summed over them), for each GiB",
     METRIC_VALUE, 0, 0, false},
    {"server_waited_ns_per_gib", "ns", "server waiting/GiB", "likewise of sonde's own server",
     METRIC_VALUE, 0, 0, false},
};

/* ---- memory ---------------------------------------------------------------------------------- */

/* Whose memory an end's is. `own`: sonde's. */
struct whom {
    const pid_t *pids;
    size_t count;
    bool own;
    pid_t foreign[8];
};

static void find_whom(const struct conductor *conductor, bool server, struct whom *whom)
{
    const struct processes *own = server ? &conductor->servers : &conductor->clients;
    *whom = (struct whom){.pids = own->pids, .count = own->count, .own = true};
    if (server && !conductor->own_server) {
        whom->count = watch_foreign(conductor->watch, whom->foreign,
                                    sizeof whom->foreign / sizeof *whom->foreign);
        whom->pids = whom->foreign;
        whom->own = false;
    }
}

static uint64_t own_cpu_ns(void)
{
    struct timespec used = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * NS_PER_SECOND + (uint64_t)used.tv_nsec;
}

/* Sums over the processes that are there; false where none is. */
static bool look_at(const struct whom *whom, uint64_t *rss_bytes, uint64_t *virtual_bytes)
{
    bool any = false;
    *rss_bytes = *virtual_bytes = 0;
    for (size_t i = 0; i < whom->count; i++) {
        uint64_t resident = 0, virtual = 0;
        if (whom->pids[i] > 0 && memory_resident(whom->pids[i], &resident, &virtual) == 0) {
            *rss_bytes += resident;
            *virtual_bytes += virtual;
            any = true;
        }
    }
    return any;
}

static void look(const struct conductor *conductor, bool server, struct footprint_end *end)
{
    struct whom whom;
    uint64_t rss_bytes, virtual_bytes;
    if (end->processes == 0) {
        return; /* who comes later is not searched for again and again */
    }
    find_whom(conductor, server, &whom);
    if (!look_at(&whom, &rss_bytes, &virtual_bytes)) {
        return;
    }
    uint64_t now_ns = clock_now_ns();
    if (end->last_ns) {
        uint64_t since_ns = now_ns - end->last_ns;
        end->looked_ns += since_ns;
        end->rss_area += ((double)end->last_rss_bytes + (double)rss_bytes) / 2 * (double)since_ns;
    }
    end->rss_least_bytes =
        end->looks && end->rss_least_bytes < rss_bytes ? end->rss_least_bytes : rss_bytes;
    end->looks++;
    end->last_ns = now_ns;
    end->last_rss_bytes = rss_bytes;
    end->rss_most_bytes = rss_bytes > end->rss_most_bytes ? rss_bytes : end->rss_most_bytes;
    end->virtual_most_bytes =
        virtual_bytes > end->virtual_most_bytes ? virtual_bytes : end->virtual_most_bytes;
}

static void look_at_both(struct conductor *conductor)
{
    struct footprint *footprint = &conductor->footprint;
    uint64_t cpu_ns = own_cpu_ns(), now_ns = clock_now_ns();
    look(conductor, false, &footprint->client);
    look(conductor, true, &footprint->server);
    uint64_t period_ns = (now_ns - conductor->window_start_ns) / LOOKS_WANTED;
    period_ns = period_ns < PERIOD_LEAST_NS ? PERIOD_LEAST_NS : period_ns;
    period_ns = period_ns > PERIOD_MOST_NS ? PERIOD_MOST_NS : period_ns;
    uint64_t rest_ns = (own_cpu_ns() - cpu_ns) * REST;
    footprint->next_ns = now_ns + (rest_ns > period_ns ? rest_ns : period_ns);
}

/* Sets the kernel's mark of the largest resident memory back to what it is now: proc(5),
 * clear_refs.
 */
static void set_back(pid_t pid)
{
    char path[48];
    snprintf(path, sizeof path, "/proc/%d/clear_refs", (int)pid);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "5", 1); /* where it fails, the mark counts only if it rises */
        close(fd);
    }
}

static uint64_t mark_of(pid_t pid, const char *key)
{
    char path[48];
    uint64_t kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    return sysfile_field(path, key, &kib) == 0 ? kib * 1024 : 0;
}

static void begin_end(struct conductor *conductor, bool server, struct footprint_end *end)
{
    struct whom whom;
    find_whom(conductor, server, &whom);
    *end = (struct footprint_end){.processes = (uint32_t)whom.count};
    if (whom.count == 1) {
        if (whom.own) {
            set_back(whom.pids[0]);
        }
        end->rss_mark_bytes = mark_of(whom.pids[0], "VmHWM:");
        end->virtual_mark_bytes = mark_of(whom.pids[0], "VmPeak:");
    }
}

/* A mark that has risen was reached in the window. */
static void take_mark(pid_t pid, const char *key, uint64_t before, uint64_t *most_bytes)
{
    uint64_t mark = mark_of(pid, key);
    if (before && mark > before && mark > *most_bytes) {
        *most_bytes = mark;
    }
}

static void end_end(struct conductor *conductor, bool server, struct footprint_end *end)
{
    struct whom whom;
    find_whom(conductor, server, &whom);
    if (end->processes == 1 && whom.count == 1) {
        take_mark(whom.pids[0], "VmHWM:", end->rss_mark_bytes, &end->rss_most_bytes);
        take_mark(whom.pids[0], "VmPeak:", end->virtual_mark_bytes, &end->virtual_most_bytes);
    }
}

void footprint_before(struct conductor *conductor)
{
    struct footprint *footprint = &conductor->footprint;
    if (memory_resident(getpid(), &footprint->before_rss_bytes, &footprint->before_virtual_bytes) !=
        0) {
        footprint->before_rss_bytes = footprint->before_virtual_bytes = 0;
    }
}

void footprint_begin(struct conductor *conductor)
{
    begin_end(conductor, false, &conductor->footprint.client);
    begin_end(conductor, true, &conductor->footprint.server);
    look_at_both(conductor);
}

void footprint_take(struct conductor *conductor, uint64_t now_ns)
{
    if (conductor->footprint.next_ns && now_ns >= conductor->footprint.next_ns) {
        look_at_both(conductor);
    }
}

void footprint_end(struct conductor *conductor)
{
    struct footprint *footprint = &conductor->footprint;
    look_at_both(conductor);
    footprint->next_ns = 0;
    end_end(conductor, false, &footprint->client);
    end_end(conductor, true, &footprint->server);
}

/* ---- to the record --------------------------------------------------------------------------- */

static int set(struct record_run *run, enum footprint_metric which, double value)
{
    return isfinite(value) && !fill_value(run, &footprint_metrics[which], value) ? -1 : 0;
}

static int set_memory(struct record_run *run, const struct footprint_end *end,
                      enum footprint_metric first)
{
    if (end->rss_most_bytes == 0) {
        return 0;
    }
    double average =
        end->looked_ns ? end->rss_area / (double)end->looked_ns : (double)end->last_rss_bytes;
    return set(run, first, average) < 0 || set(run, first + 1, (double)end->rss_most_bytes) < 0 ||
                   set(run, first + 2, (double)end->virtual_most_bytes) < 0
               ? -1
               : 0;
}

/* What was moved while an end's figures were taken, over `window_ns`. What a counted run moved is
 * all there is, however late an own end was cut. */
static double bytes_in(const struct conductor *conductor, uint64_t window_ns, bool own)
{
    const struct tally *client = &conductor->client.plain;
    double bytes = (double)client->bank->counters[conductor->plan->workload->bytes];
    if (own && conductor->plan->options->count) {
        return bytes;
    }
    return client->window_ns ? bytes * (double)window_ns / (double)client->window_ns : 0;
}

/* Sums over the processes of an end, each over what was moved in its own time. */
struct shares {
    double calls, cpu_ns, switches;
    bool any;
};

static void add_process(const struct conductor *conductor, const struct record_process *process,
                        bool own, struct shares *to)
{
    const struct record_calls *calls =
        process->engine_calls.available ? &process->engine_calls : &process->kernel_calls;
    double bytes = bytes_in(conductor, process->cpu_window_ns, own);
    to->any = true;
    to->cpu_ns += process->cpu_available
                      ? (double)(process->cpu_user_ns + process->cpu_system_ns) / bytes
                      : NAN;
    to->switches +=
        process->cpu_available
            ? (double)(process->switches_voluntary + process->switches_involuntary) / bytes
            : NAN;
    /* What the kernel saw is of the observed parts, which a counted run has no totals of. */
    bool engine = calls == &process->engine_calls;
    to->calls += calls->available
                     ? figures_calls(calls) / bytes_in(conductor, calls->window_ns, own && engine)
                     : NAN;
}

static struct shares shares_of(const struct conductor *conductor, bool server)
{
    const struct record_run *run = conductor->run;
    struct shares shares = {0};
    for (size_t i = 0; i < run->process_count; i++) {
        const struct record_process *process = &run->processes[i];
        bool client = strcmp(process->role, "client") == 0;
        bool other = strcmp(process->role, "server") == 0 ||
                     (!conductor->own_server && strcmp(process->role, "observed") == 0);
        if (server ? other : client) {
            add_process(conductor, process, client || conductor->own_server, &shares);
        }
    }
    return shares;
}

/* Run-queue delay, which sonde's own threads alone know of themselves. */
static double waited(const struct conductor *conductor, const struct tally *tally)
{
    return tally->window_ns
               ? (double)tally->bank->runnable_ns / bytes_in(conductor, tally->window_ns, true)
               : NAN;
}

static int fill_shares(struct conductor *conductor, bool server)
{
    static const struct {
        enum footprint_metric calls, switches, waited;
        enum bulk_metric cpu;
    } rows[] = {{FOOTPRINT_CLIENT_CALLS, FOOTPRINT_CLIENT_SWITCHES, FOOTPRINT_CLIENT_WAITED,
                 BULK_CLIENT_CPU},
                {FOOTPRINT_SERVER_CALLS, FOOTPRINT_SERVER_SWITCHES, FOOTPRINT_SERVER_WAITED,
                 BULK_SERVER_CPU}};
    struct record_run *run = conductor->run;
    struct shares shares = shares_of(conductor, server);
    const struct tally *tally = server ? &conductor->server.plain : &conductor->client.plain;
    double cpu_ns = shares.cpu_ns * GIB;
    bool bulk = conductor->plan->workload->bulk; /* has it already */
    if (!shares.any) {
        return 0;
    }
    if (!bulk && isfinite(cpu_ns) && !fill_value(run, &bulk_metrics[rows[server].cpu], cpu_ns)) {
        return -1;
    }
    return set(run, rows[server].calls, shares.calls * MIB) < 0 ||
                   set(run, rows[server].switches, shares.switches * GIB) < 0 ||
                   ((!server || conductor->own_server) &&
                    set(run, rows[server].waited, waited(conductor, tally) * GIB) < 0)
               ? -1
               : 0;
}

/* Counters that are of all parts have no CPU time beside them; and of less than a MiB, what a MiB
 * would cost is not known. */
static bool has_bytes(const struct conductor *conductor)
{
    const struct workload *workload = conductor->plan->workload;
    return workload->bytes && !(workload->whole >> workload->bytes & 1) &&
           (double)conductor->client.plain.bank->counters[workload->bytes] >= MIB;
}

/* Of workloads that download: NaN of others. How long an answer is, all parts of the window say
 * together: one that ends in an unobserved part may have come in others. */
static double download_rate(const struct conductor *conductor)
{
    const struct workload *workload = conductor->plan->workload;
    const struct bank *bank = conductor->client.plain.bank, *seen = conductor->client.seen.bank;
    double bytes = (double)bank->counters[workload->whole_bytes] +
                   (double)seen->counters[workload->whole_bytes];
    double operations =
        (double)bank->counters[workload->operations] + (double)seen->counters[workload->operations];
    double mean_ns = NAN;
    for (size_t i = 0; i < workload->client->histogram_count; i++) {
        const struct histogram *histogram = &bank->histograms[i];
        const char *key = workload->client->histograms[i].key;
        if (histogram_count(histogram) && strcmp(key, "service_time") == 0) {
            mean_ns = histogram_mean(histogram);
        }
    }
    return workload->whole_bytes && operations > 0 ? bytes / operations * 1e9 / mean_ns : NAN;
}

int footprint_fill(struct conductor *conductor)
{
    const struct footprint *footprint = &conductor->footprint;
    struct record_run *run = conductor->run;
    if (set(run, FOOTPRINT_RUN_TIME, (double)run->wall_ns) < 0 ||
        set(run, FOOTPRINT_BEFORE,
            footprint->before_rss_bytes ? (double)footprint->before_rss_bytes : NAN) < 0 ||
        set(run, FOOTPRINT_BEFORE_VIRTUAL,
            footprint->before_rss_bytes ? (double)footprint->before_virtual_bytes : NAN) < 0 ||
        set(run, FOOTPRINT_SAMPLES, (double)footprint->client.looks) < 0 ||
        set(run, FOOTPRINT_CLIENT_LEAST,
            footprint->client.looks ? (double)footprint->client.rss_least_bytes : NAN) < 0 ||
        set_memory(run, &footprint->client, FOOTPRINT_CLIENT_AVERAGE) < 0 ||
        set_memory(run, &footprint->server, FOOTPRINT_SERVER_AVERAGE) < 0) {
        return -1;
    }
    if (!has_bytes(conductor)) {
        return 0;
    }
    return set(run, FOOTPRINT_DOWNLOAD, download_rate(conductor)) < 0 ||
                   fill_shares(conductor, false) < 0 || fill_shares(conductor, true) < 0
               ? -1
               : 0;
}
