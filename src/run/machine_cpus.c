#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/machine.h"
#include "run/sysfile.h"

_Static_assert(MACHINE_CPUS_KNOWN == MACHINE_CPU_SETS * CPU_SETSIZE, "a set holds so many");

/* True where a list of CPUs "0-3,8" names this one. */
static bool list_names(const char *list, int cpu)
{
    char *at = (char *)list;
    while (isdigit((unsigned char)*at)) {
        long from = strtol(at, &at, 10), to = from;
        if (*at == '-') {
            to = strtol(at + 1, &at, 10);
        }
        if (cpu >= from && cpu <= to) {
            return true;
        }
        at += *at == ',';
    }
    return false;
}

int machine_pick_cpus(struct machine_cpus *cpus, struct err *error)
{
    cpu_set_t allowed[MACHINE_CPU_SETS];
    char path[96], siblings[256] = "";
    size_t found = 0;

    memset(cpus, 0, sizeof *cpus);
    memset(allowed, 0, sizeof allowed);
    if (sched_getaffinity(0, sizeof allowed, allowed)) {
        return err_system(error, errno, "CPUs", "cannot read which are allowed");
    }
    for (int cpu = 0; cpu < MACHINE_CPUS_KNOWN && found <= MACHINE_CPUS_MAX; cpu++) {
        if (!CPU_ISSET_S(cpu, sizeof allowed, allowed)) {
            continue;
        }
        if (found++ == 0) {
            cpus->server = cpu;
        } else {
            cpus->clients[cpus->client_count++] = cpu;
        }
    }
    if (found < 2) {
        cpus->client_count = 0;
        snprintf(cpus->reason, sizeof cpus->reason,
                 "not pinned: this process may use %zu CPU, pinning takes two", found);
        return 0;
    }
    cpus->pinned = true;
    /* Hardware threads of the server's core share its execution units: they come last. */
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
             cpus->server);
    sysfile_line(path, siblings, sizeof siblings);
    int moved[MACHINE_CPUS_MAX];
    size_t kept = 0, last = 0;
    for (size_t i = 0; i < cpus->client_count; i++) {
        if (list_names(siblings, cpus->clients[i])) {
            moved[last++] = cpus->clients[i];
        } else {
            cpus->clients[kept++] = cpus->clients[i];
        }
    }
    memcpy(cpus->clients + kept, moved, last * sizeof moved[0]);
    return 0;
}

int machine_pin(int cpu, struct err *error)
{
    cpu_set_t set[MACHINE_CPU_SETS];

    if (cpu < 0 || cpu >= MACHINE_CPUS_KNOWN) {
        return err_set(error, ERR_USAGE, "CPUs", "there is no CPU %d", cpu);
    }
    memset(set, 0, sizeof set);
    CPU_SET_S(cpu, sizeof set, set);
    if (sched_setaffinity(0, sizeof set, set)) {
        return err_system(error, errno, "CPUs", "cannot pin a thread to CPU %d", cpu);
    }
    return 0;
}
