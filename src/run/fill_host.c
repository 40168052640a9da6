/* What the host as a whole went through during the window, to a run's record. */
#include "run/conductor.h"
#include "run/fill.h"
#include "run/flows.h"
#include "run/machine.h"

/* CPU time that sonde's ends took during the window. Their workers count it in the parts alone:
 * what lies between those is taken to be alike. */
static double own_cpu_ns(const struct conductor *conductor)
{
    bool both = conductor->own_server || (conductor->peer_counted && conductor->peer_same_host);
    const struct tallies *ends[] = {&conductor->client, &conductor->server};
    double wall_ns = (double)(conductor->window_end_ns - conductor->window_start_ns);
    double sum_ns = (double)conductor->web_cpu_ns;
    for (size_t i = 0; i < (both ? 2 : 1); i++) {
        const struct tally *plain = &ends[i]->plain, *seen = &ends[i]->seen;
        double measured_ns = (double)(plain->window_ns + seen->window_ns);
        double cpu_ns = (double)(plain->bank->cpu_user_ns + plain->bank->cpu_system_ns) +
                        (double)(seen->bank->cpu_user_ns + seen->bank->cpu_system_ns);
        sum_ns += measured_ns > 0 ? cpu_ns * wall_ns / measured_ns : 0;
    }
    return sum_ns;
}

/* What is not known is a row without a value. */
static void set_if(bool known, struct record_run *run, size_t which, uint64_t value)
{
    struct record_value *row = fill_value(run, &run_extra_metrics[which], (double)value);
    if (row) {
        row->available = known;
    }
}

static void fill_host_tcp(struct record_run *run, const struct system_sample *before,
                          const struct system_sample *after)
{
    bool netstat = before->netstat_known && after->netstat_known;
    set_if(before->snmp_known && after->snmp_known, run, RUN_EXTRA_RETRANSMITS,
           after->retransmits - before->retransmits);
    set_if(netstat, run, RUN_EXTRA_LOSS_PROBES, after->loss_probes - before->loss_probes);
    set_if(netstat, run, RUN_EXTRA_OVERFLOWS, after->listen_overflows - before->listen_overflows);
    set_if(netstat, run, RUN_EXTRA_DROPS, after->listen_drops - before->listen_drops);
    set_if(netstat, run, RUN_EXTRA_TIME_WAITS_BEGUN,
           after->time_waits_begun - before->time_waits_begun);
    set_if(after->sockstat_known, run, RUN_EXTRA_TIME_WAITS, after->time_waits);
}

void fill_host(struct conductor *conductor)
{
    const struct machine_sample before = {.system = conductor->system_before};
    const struct machine_sample after = {.system = conductor->system_after};
    struct record_run *run = conductor->run;
    struct machine_noise noise;
    if (!before.system.at_ns || !after.system.at_ns) {
        return;
    }
    machine_noise(&before, &after, &noise);
    if (flows_are_tcp(conductor)) { /* nothing else has any of it */
        fill_host_tcp(run, &before.system, &after.system);
    }
    if (noise.all_ns) {
        double others = noise.busy_share - own_cpu_ns(conductor) / (double)noise.all_ns;
        fill_value(run, &run_extra_metrics[RUN_EXTRA_STEAL], noise.steal_share);
        /* The host counts in ticks: a little below 0 is 0. */
        fill_value(run, &run_extra_metrics[RUN_EXTRA_OTHERS], others > 0 ? others : 0);
    }
    if (conductor->cpu_frequency > 0) {
        fill_value(run, &run_extra_metrics[RUN_EXTRA_FREQUENCY], conductor->cpu_frequency);
    }
    fill_value(run, &run_extra_metrics[RUN_EXTRA_LOAD], noise.load_1m);
}
