#include "run/placement.h"

#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOLD_MOST = 8 };

/* One of its first `count`. */
static bool has(const struct cpu_list *list, size_t count, int cpu)
{
    for (size_t i = 0; i < count; i++) {
        if (list->of[i] == cpu) {
            return true;
        }
    }
    return false;
}

/* A number of at most seven digits; -1 where there is none. */
static long number(const char **at)
{
    char *end;
    if (!isdigit((unsigned char)**at)) {
        return -1;
    }
    long value = strtol(*at, &end, 10);
    if (end - *at > 7) {
        return -1;
    }
    *at = end;
    return value;
}

static int refuse(const char *option, const char *text, const cpu_set_t *allowed, struct err *error)
{
    err_set(error, ERR_USAGE, option, "\"%s\" is no list of CPUs that sonde may use", text);
    return err_hint(error, "like 0 or 1-3,6; %d are allowed here, see taskset -p $$",
                    CPU_COUNT_S(MACHINE_CPU_SETS * sizeof *allowed, allowed));
}

int placement_parse(const char *text, const char *option, struct cpu_list *list, struct err *error)
{
    cpu_set_t allowed[MACHINE_CPU_SETS];
    list->count = 0;
    if (!text) {
        return 0;
    }
    memset(allowed, 0, sizeof allowed);
    if (sched_getaffinity(0, sizeof allowed, allowed) < 0) {
        return err_system(error, errno, option, "cannot read which CPUs are allowed");
    }
    for (const char *at = text;;) {
        long from = number(&at), to = from;
        if (from >= 0 && *at == '-') {
            at++;
            to = number(&at);
        }
        if (from < 0 || to < from || to >= MACHINE_CPUS_KNOWN ||
            list->count + (size_t)(to - from) + 1 > MACHINE_CPUS_MAX) {
            return refuse(option, text, allowed, error);
        }
        for (long cpu = from; cpu <= to; cpu++) {
            if (!CPU_ISSET_S((size_t)cpu, sizeof allowed, allowed)) {
                return refuse(option, text, allowed, error);
            }
            list->of[list->count++] = (int)cpu;
        }
        if (*at == '\0') {
            return 0;
        }
        if (*at++ != ',') {
            return refuse(option, text, allowed, error);
        }
    }
}

/* Every CPU of the machine's choice, the server's too, that the other end has not been given. */
static void take_others(const struct machine_cpus *cpus, const struct cpu_list *taken, size_t most,
                        struct cpu_list *list)
{
    list->count = 0;
    if (!has(taken, taken->count, cpus->server)) {
        list->of[list->count++] = cpus->server;
    }
    for (size_t i = 0; i < cpus->client_count && list->count < most; i++) {
        if (!has(taken, taken->count, cpus->clients[i])) {
            list->of[list->count++] = cpus->clients[i];
        }
    }
}

int placement_choose(const struct placement_ask *ask, struct placement *placement,
                     struct err *error)
{
    struct machine_cpus cpus;
    struct cpu_list *clients = &placement->clients, *servers = &placement->servers;
    if (ask->servers && !ask->own_server) {
        err_set(error, ERR_USAGE, "--server-cpu", "this server is not sonde's own");
        return err_hint(error, "pin it where it is started, with taskset");
    }
    if (machine_pick_cpus(&cpus, error) < 0 ||
        placement_parse(ask->clients, "--cpu", clients, error) < 0 ||
        placement_parse(ask->servers, "--server-cpu", servers, error) < 0) {
        return -1;
    }
    placement->allowed = cpus.client_count + 1;
    if (!ask->apart || !ask->own_server || !cpus.pinned) {
        return 0;
    }
    if (!ask->servers && ask->clients) {
        take_others(&cpus, clients, 1, servers);
    } else if (!ask->servers) {
        servers->of[servers->count++] = cpus.server;
    }
    if (!ask->clients) {
        take_others(&cpus, servers, MACHINE_CPUS_MAX, clients);
    }
    return 0;
}

int placement_cpu(const struct cpu_list *list, size_t index)
{
    return list->count ? list->of[index % list->count] : -1;
}

size_t placement_usable(const struct placement *placement, const struct cpu_list *list)
{
    size_t different = 0;
    for (size_t i = 0; i < list->count; i++) {
        different += !has(list, i, list->of[i]);
    }
    return different ? different : placement->allowed;
}

void placement_text(const struct cpu_list *list, char *text, size_t size)
{
    int used = snprintf(text, size, "CPU%s", list->count > 1 ? "s" : "");
    for (size_t i = 0; i < list->count && used >= 0 && (size_t)used < size; i++) {
        if (i == TOLD_MOST) {
            snprintf(text + used, size - (size_t)used, ", ...");
            return;
        }
        used += snprintf(text + used, size - (size_t)used, "%s %d", i ? "," : "", list->of[i]);
    }
}
