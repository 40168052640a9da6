#include "probe/probe.h"

#include <string.h>

#include "base/clock.h"

#define PROBE struct probe_options

/* In the order of enum profile_event. */
static const char *const profile_events[] = {"auto", "cycles", "cpu-clock", NULL};

const struct opt probe_option_rows[PROBE_OPTIONS] = {
    OPT_LIST(PROBE, counters, .name = "counters", .argument = "LIST",
             .help = "what the counters probe counts: sets l1d, l1i, l2, mem, tlb, axi, and events "
                     "by name (default: task-clock, context switches, migrations, page faults, "
                     "cycles, instructions)"),
    OPT_DURATION(PROBE, memory_period_ns, .name = "memory-period", .initial = "10ms",
                 .least = NS_PER_MS, .most = 60 * NS_PER_SECOND, .argument = "TIME",
                 .help = "how often the memory probe looks"),
    OPT_COUNT(PROBE, profile_rate, .name = "profile-rate", .initial = "999", .least = 1,
              .most = 20000, .argument = "N",
              .help = "samples a second that the profile probe takes on each CPU"),
    OPT_CHOICE(PROBE, profile_event, .name = "profile-event", .initial = "auto",
               .choices = profile_events, .argument = "NAME",
               .help = "what the profile probe samples by (auto: the CPU's cycles where it counts "
                       "them, else the clock)"),
};

const struct probe_ops *const probes[] = {
#define X(name) &probe_##name,
    PROBES(X)
#undef X
        NULL,
};

const struct probe_ops *probe_find(const char *name)
{
    for (size_t i = 0; probes[i] != NULL; i++) {
        if (strcmp(probes[i]->name, name) == 0) {
            return probes[i];
        }
    }
    return NULL;
}
