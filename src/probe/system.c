#include "probe/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "probe/proc_file.h"

/* /proc/stat's first line: user nice system idle iowait irq softirq steal, in ticks. */
static int read_cpu(struct system_sample *sample, struct err *error)
{
    char text[512];
    unsigned long long user, nice, system, idle, wait, irq, softirq, steal = 0;
    if (proc_file_read("/proc/stat", text, sizeof text, error) < 0) {
        return -1;
    }
    if (sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
               &wait, &irq, &softirq, &steal) < 7) {
        return err_set(error, ERR_SYSTEM, "/proc/stat", "has no line of CPU times");
    }
    uint64_t tick_ns = NS_PER_SECOND / (uint64_t)sysconf(_SC_CLK_TCK);
    sample->user_ns = (user + nice) * tick_ns;
    sample->system_ns = system * tick_ns;
    sample->idle_ns = (idle + wait) * tick_ns;
    sample->irq_ns = irq * tick_ns;
    sample->softirq_ns = softirq * tick_ns;
    sample->steal_ns = steal * tick_ns;
    return 0;
}

/* Value of `key` in a table of /proc/net: a line of names, then a line of values, both beginning
 * with `prefix`. 0 where it is missing. */
static uint64_t table_value(const char *text, const char *prefix, const char *key)
{
    const char *names = text;
    while (names != NULL && strncmp(names, prefix, strlen(prefix)) != 0) {
        names = strchr(names, '\n');
        names = names != NULL ? names + 1 : NULL;
    }
    const char *values = names != NULL ? strchr(names, '\n') : NULL;
    if (values == NULL) {
        return 0;
    }
    const char *end = values++;
    while (names < end) {
        size_t length = strcspn(names, " \n"), value_length = strcspn(values, " \n");
        if (length == strlen(key) && strncmp(names, key, length) == 0) {
            return strtoull(values, NULL, 10);
        }
        names += length + 1;
        values += value_length;
        if (*values == '\0' || *values == '\n') {
            break;
        }
        values++;
    }
    return 0;
}

/* Value behind `key` in a line of names and values by turns, "TCP: inuse 3 orphan 0 tw 5". */
static bool line_value(const char *text, const char *prefix, const char *key, uint64_t *value)
{
    const char *line = text;
    while (line != NULL && strncmp(line, prefix, strlen(prefix)) != 0) {
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    size_t length = strlen(key);
    const char *end = line != NULL ? line + strcspn(line, "\n") : NULL;
    while (line != NULL && line < end) {
        line += strcspn(line, " \n");
        line += strspn(line, " ");
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            *value = strtoull(line + length, NULL, 10);
            return true;
        }
    }
    return false;
}

int system_sample(struct system_sample *sample, struct err *error)
{
    char text[16384];
    struct err ignored = {0};
    *sample = (struct system_sample){.at_ns = clock_now_ns()};
    if (read_cpu(sample, error) != 0) {
        return -1;
    }
    if (proc_file_read("/proc/loadavg", text, sizeof text, error) < 0) {
        return -1;
    }
    sample->load_1m = strtod(text, NULL);
    /* Some containers hide these: then nothing is known of them, which is no failure. */
    if (proc_file_read("/proc/net/netstat", text, sizeof text, &ignored) > 0) {
        sample->listen_overflows = table_value(text, "TcpExt:", "ListenOverflows");
        sample->listen_drops = table_value(text, "TcpExt:", "ListenDrops");
        sample->time_waits_begun = table_value(text, "TcpExt:", "TW");
        sample->loss_probes = table_value(text, "TcpExt:", "TCPLossProbes");
        sample->netstat_known = true;
    }
    if (proc_file_read("/proc/net/snmp", text, sizeof text, &ignored) > 0) {
        sample->retransmits = table_value(text, "Tcp:", "RetransSegs");
        sample->snmp_known = true;
    }
    if (proc_file_read("/proc/net/sockstat", text, sizeof text, &ignored) > 0) {
        sample->sockstat_known = line_value(text, "TCP:", "tw", &sample->time_waits);
    }
    return 0;
}
