/* Warnings of a run's record: where its figures are not what they look like. */
#include <stdio.h>

#include "base/clock.h"
#include "base/units.h"
#include "run/asked.h"
#include "run/conductor.h"
#include "run/fill.h"

/* Workers that are cut later than others by less than this, or than a twentieth of the window, are
 * cut at the same time. */
#define SKEW_LEAST_NS (50 * NS_PER_MS)
/* Shorter windows get a warning. */
#define WINDOW_LEAST_NS (10 * NS_PER_MS)

/* Says where an open loop was not what it was to be: every latency then stands for another load. */
void fill_check_rate(struct conductor *conductor, double reached)
{
    const struct run_plan *plan = conductor->plan;
    const struct bank *bank = conductor->client.plain.bank;
    const struct histogram *lag = &bank->histograms[plan->workload->send_lag];
    char tail[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX], wanted[UNITS_TEXT_MAX], behind[UNITS_TEXT_MAX];
    const char *name = plan->workload->client->histograms[plan->workload->send_lag].title;
    double mean_ns = histogram_mean(lag), response_ns = histogram_mean(&bank->histograms[0]);
    uint64_t lag_ns;
    if (histogram_percentile(lag, 99, &lag_ns)) {
        units_duration(tail, (double)lag_ns);
    } else {
        snprintf(tail, sizeof tail, "-"); /* too few for that percentile */
    }
    units_duration(most, histogram_count(lag) ? (double)lag->maximum : 0);
    units_count(wanted, asked_rate(conductor));
    double allowed = asked_lag(conductor, response_ns);
    units_count(behind, (double)conductor->behind);
    /* What was in flight as the window ended was begun in it: only what was not answered at all, or
     * never begun, was not reached. A single arrival is no share of a rate. */
    double wanted_count = asked_rate(conductor) * (double)conductor->run->window_ns / 1e9;
    double late = wanted_count > 0 ? (double)conductor->finished_after / wanted_count : 0;
    bool several = (1 - reached - late) * wanted_count > 2;
    if (reached + late < 0.99 - allowed && several) {
        record_add_warning(conductor->record,
                           "%s: the rate was not reached: %.1f%% of %s/s (%s p99 %s, max %s; "
                           "%s behind at the end)",
                           plan->label, reached * 100, wanted, name, tail, most, behind);
    } else if (reached > 1.01 + allowed) {
        record_add_warning(conductor->record,
                           "%s: %.1f%% of %s/s were answered in the window: it began with a "
                           "backlog, so its latencies are those of a server that catches up",
                           plan->label, reached * 100, wanted);
    }
    if (mean_ns > 100e3 && mean_ns > response_ns / 5) {
        record_add_warning(conductor->record,
                           "%s: the schedule was not kept: %s p99 %s, max %s, which is part of the "
                           "response times",
                           plan->label, name, tail, most);
    }
}

/* A rate from a moment is none. */
static void check_window(struct conductor *conductor)
{
    char text[UNITS_TEXT_MAX];
    uint64_t window_ns = conductor->run->window_ns;
    if (window_ns && window_ns < WINDOW_LEAST_NS) {
        record_add_warning(conductor->record,
                           "%s: the window is only %s long: too short for a rate",
                           conductor->plan->label, units_duration(text, (double)window_ns));
    }
    uint64_t skew_ns = conductor->client.plain.skew_ns;
    if (skew_ns > SKEW_LEAST_NS && skew_ns > window_ns / 20) {
        record_add_warning(conductor->record,
                           "%s: a worker stood still for up to %s where others went on (it had no "
                           "CPU, or was stopped): intervals of before and after overlap, and rates "
                           "are sums of each worker's own",
                           conductor->plan->label, units_duration(text, (double)skew_ns));
    }
}

/* A server that went away in the window leaves a mean of two loads. Of connections that are held
 * none is begun behind the ramp. */
static void check_intervals(struct conductor *conductor)
{
    const struct series *series = &conductor->series;
    uint32_t operations = conductor->plan->workload->operations;
    size_t good = series->count;
    while (good && series->points[good - 1].counters[operations] == 0 &&
           series->points[good - 1].counters[SERIES_ERRORS]) {
        good--;
    }
    if (good && good < series->count && !conductor->plan->workload->ramp_ns) {
        char since[UNITS_TEXT_MAX];
        record_add_warning(conductor->record,
                           "%s: nothing but errors from %s of the window on: did the server end?",
                           conductor->plan->label,
                           units_duration(since, (double)series->points[good].start_ns));
    }
}

/* Says why a run that was to be split by time stamps is not. */
static void check_stamps(struct conductor *conductor)
{
    const struct run_plan *plan = conductor->plan;
    const struct role *role = plan->workload->client;
    struct net_tuning asked = {0};
    uint8_t channel_options = 0;
    uint64_t parts = 0;
    if (plan->workload->tune) {
        plan->workload->tune(plan->workload_options, &asked, &channel_options);
    }
    for (size_t i = 0; i < role->histogram_count; i++) {
        parts += role->histograms[i].part != PART_NONE
                     ? histogram_count(&conductor->client.plain.bank->histograms[i])
                     : 0;
    }
    if (!asked.stamps || parts) {
        return;
    }
    const struct transport_ops *transport = conductor->address.transport;
    if (!(transport->caps & TRANSPORT_PORTS) || plan->engine->flags & ENGINE_NO_KERNEL) {
        record_add_warning(
            conductor->record, "%s: no %s is split by time stamps: the kernel has none for %s",
            plan->label, plan->workload->operation,
            plan->engine->flags & ENGINE_NO_KERNEL ? "the null engine" : transport->scheme);
    } else {
        record_add_warning(conductor->record,
                           "%s: no %s is split by time stamps: none came for both directions",
                           plan->label, plan->workload->operation);
    }
}

void fill_check(struct conductor *conductor)
{
    check_window(conductor);
    check_intervals(conductor);
    check_stamps(conductor);
}
