/* Connections that are held for the whole window: how fast they were opened, and what memory each
 * takes. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "run/conductor.h"
#include "run/fill.h"
#include "run/sysfile.h"

/* Fewer say nothing of the memory of one: buffers, histograms and stacks come once. */
#define MEMORY_CONNECTIONS 1000

/* Of heap and stacks: code and what several processes share is no connection's. */
static uint64_t private_bytes(pid_t pid)
{
    char path[48];
    uint64_t kib = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    return sysfile_field(path, "Anonymous:", &kib) == 0 ? kib * 1024 : 0;
}

/* Of all processes of an end; 0: not known of each. */
static uint64_t bytes_of(const struct processes *processes)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < processes->count; i++) {
        uint64_t bytes = private_bytes(processes->pids[i]);
        if (!bytes) {
            return 0;
        }
        sum += bytes;
    }
    return sum;
}

void held_memory(const struct conductor *conductor, struct held_memory *memory)
{
    *memory = (struct held_memory){0};
    if (conductor->plan->workload->ramp_ns) {
        memory->client_bytes = bytes_of(&conductor->clients);
        memory->server_bytes = started_server(conductor) ? bytes_of(&conductor->servers) : 0;
    }
}

uint64_t held_count(const struct conductor *conductor)
{
    double held = 0;
    metric_compute(&conductor->plan->workload->metrics[0], conductor->client.plain.bank->counters,
                   1, &held);
    return (uint64_t)held;
}

/* A counter of the client's by its metric's key. */
static uint64_t counted(const struct conductor *conductor, const char *key)
{
    const struct workload *workload = conductor->plan->workload;
    double value = 0;
    for (size_t i = 0; i < workload->metric_count; i++) {
        if (strcmp(workload->metrics[i].key, key) == 0) {
            metric_compute(&workload->metrics[i], conductor->client.plain.bank->counters, 1,
                           &value);
        }
    }
    return (uint64_t)value;
}

void held_missing(const struct conductor *conductor, char *to, size_t size)
{
    uint64_t connections = conductor->plan->options->connections;
    uint64_t dialed = counted(conductor, "connections_dialed");
    uint64_t opened = counted(conductor, "connections_opened");
    uint64_t failed = counted(conductor, "connections_failed");
    uint64_t settled = opened + failed;
    const struct {
        uint64_t count;
        const char *what;
    } parts[] = {
        {connections > dialed ? connections - dialed : 0, "never dialed"},
        {dialed > settled ? dialed - settled : 0, "not open yet"},
        {failed, "failed to open"},
        {counted(conductor, "connections_lost"), "lost"},
    };
    size_t used = 0;
    to[0] = '\0';
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char number[UNITS_TEXT_MAX];
        if (parts[i].count && used < size) {
            used += (size_t)snprintf(to + used, size - used, "%s%s %s", used ? ", " : "",
                                     units_count(number, (double)parts[i].count), parts[i].what);
        }
    }
}

static void set(struct record_run *run, const struct metric *metric, double value)
{
    struct record_value *row = record_add_value(run, metric);
    if (row) {
        row->available = true;
        row->value = value;
    }
}

static void set_memory(struct record_run *run, const struct metric *metric, uint64_t before,
                       uint64_t held, uint64_t connections)
{
    if (before && held > before && connections >= MEMORY_CONNECTIONS) {
        set(run, metric, (double)(held - before) / (double)connections);
    }
}

void held_fill(struct conductor *conductor)
{
    static const struct metric rows[] = {
        {"ramp_time", "ns", "ramp",
         "from the beginning of the window to the upgrade of the last connection", METRIC_VALUE, 0,
         0, false},
        {"ramp_upgrades_per_second", "1/s", "upgrades/s of the ramp",
         "connections that were opened, over that time: not over the window", METRIC_VALUE, 0, 0,
         false},
        {"client_bytes_per_connection", "bytes", "client's memory a connection",
         "anonymous resident memory (heap and stacks) that the client's processes have gained from "
         "before the first connection to the end of the window, over the connections then held: "
         "with what they have gained only once, and with what says where each is dialed to",
         METRIC_VALUE, 0, 0, false},
        {"server_bytes_per_connection", "bytes", "server's memory a connection",
         "likewise of sonde's own server", METRIC_VALUE, 0, 0, false},
    };
    const struct workload *workload = conductor->plan->workload;
    const struct bank *bank = conductor->client.plain.bank;
    uint64_t start_ns = atomic_load(&conductor->shared->client.start_ns);
    const struct held_memory *before = &conductor->memory_before, *held = &conductor->memory_held;
    if (!workload->ramp_ns) {
        return;
    }
    if (conductor->opened_ns > start_ns) {
        double ramp_ns = (double)(conductor->opened_ns - start_ns);
        set(conductor->run, &rows[0], ramp_ns);
        set(conductor->run, &rows[1], (double)bank->counters[workload->operations] * 1e9 / ramp_ns);
    }
    uint64_t connections = held_count(conductor);
    set_memory(conductor->run, &rows[2], before->client_bytes,
               held->client_bytes + connections * sizeof(struct dial), connections);
    set_memory(conductor->run, &rows[3], before->server_bytes, held->server_bytes, connections);
}
